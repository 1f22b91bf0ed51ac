//! What a driver holds of the data plane of one tunnel, suspicious of every change.

use std::{collections::BTreeMap, net::IpAddr};

use adit_tunnel::{Content, FlowId, IpNet, KeyChange, KeyTag, OpenError, Opener, SealError, Sealer};

use super::{Rules, packet};

/// Openers by tag, sealers by flow.
pub(super) struct Plane<S, O> {
    openers: BTreeMap<KeyTag, (FlowId, Box<O>)>,
    sealers: BTreeMap<FlowId, (Vec<IpNet>, Box<S>)>,
}

/// A change of keys, without the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyNote {
    /// There is a new opener.
    Opens(KeyTag),
    /// The flow has a new sealer.
    Seals(FlowId),
    /// The opener is gone.
    Removed(KeyTag),
    /// The flow has no sealer any more.
    FlowRemoved(FlowId),
}

/// Why a packet was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsealed {
    NoSealer,
    Refused(SealError),
}

/// Why a datagram was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unopened {
    UnknownKey(KeyTag),
    Refused(OpenError),
}

/// What was in a datagram.
#[derive(Debug)]
pub(super) enum Inside {
    Packet(Vec<u8>),
    Message(Vec<u8>),
    Filler,
}

impl<S: Sealer, O: Opener> Plane<S, O> {
    pub(super) const fn new() -> Self {
        Self { openers: BTreeMap::new(), sealers: BTreeMap::new() }
    }

    /// What is wrong with the change, if anything.
    pub(super) fn apply(&mut self, change: KeyChange<S, O>, rules: &Rules) -> Result<KeyNote, String> {
        match change {
            KeyChange::AddOpener { tag, flow, opener } => {
                if self.openers.insert(tag, (flow, opener)).is_some() && !rules.openers_may_be_replaced {
                    return Err(format!("the opener {tag:?} is added twice"));
                }
                Ok(KeyNote::Opens(tag))
            }
            KeyChange::SetSealer { flow, selectors, sealer } => {
                // The peer could answer with keys that we cannot open yet.
                if !self.openers.values().any(|(f, _)| *f == flow) {
                    return Err(format!("{flow:?} has a sealer before an opener"));
                }
                let rival = self.sealers.iter().find(|(f, (nets, _))| **f != flow && *nets == selectors);
                if let Some((rival, _)) = rival {
                    return Err(format!("{flow:?} and {rival:?} both seal what goes to {selectors:?}"));
                }
                self.sealers.insert(flow, (selectors, sealer));
                Ok(KeyNote::Seals(flow))
            }
            KeyChange::RemoveOpener { tag } => match self.openers.remove(&tag) {
                Some(_) => Ok(KeyNote::Removed(tag)),
                None => Err(format!("the opener {tag:?} is removed, and is not there")),
            },
            KeyChange::RemoveFlow { flow } => match self.sealers.remove(&flow) {
                Some(_) => Ok(KeyNote::FlowRemoved(flow)),
                None => Err(format!("{flow:?} is removed, and has no sealer")),
            },
        }
    }

    /// What is wrong with the keys as they are once everything is drained.
    pub(super) fn fault(&self) -> Option<String> {
        let deaf = self.sealers.keys().find(|flow| !self.openers.values().any(|(f, _)| f == *flow))?;
        Some(format!("{deaf:?} has a sealer, and no opener"))
    }

    pub(super) fn clear(&mut self) {
        self.openers.clear();
        self.sealers.clear();
    }

    pub(super) fn tags(&self) -> impl Iterator<Item = KeyTag> {
        self.openers.keys().copied()
    }

    pub(super) fn flows(&self) -> impl Iterator<Item = (FlowId, &[IpNet])> {
        self.sealers.iter().map(|(flow, (selectors, _))| (*flow, &selectors[..]))
    }

    /// Seals with the flow whose selectors take the packet: the longest prefix wins, as in the driver.
    pub(super) fn seal(&mut self, packet: &[u8]) -> Result<Vec<u8>, Unsealed> {
        let flow = self.flow_of(packet::destination(packet)).ok_or(Unsealed::NoSealer)?;
        self.seal_in(flow, packet)
    }

    fn flow_of(&self, destination: Option<IpAddr>) -> Option<FlowId> {
        let fit = |selectors: &[IpNet]| match selectors {
            [] => Some(0),
            nets => {
                let fitting = nets.iter().filter(|net| destination.is_some_and(|to| net.contains(to)));
                fitting.map(|net| u16::from(net.prefix()) + 1).max()
            }
        };
        let fitting = self.flows().filter_map(|(flow, selectors)| Some((fit(selectors)?, flow)));
        fitting.max_by_key(|(fit, _)| *fit).map(|(_, flow)| flow)
    }

    /// # Panics
    /// If the sealer breaks its contract.
    pub(super) fn seal_in(&mut self, flow: FlowId, content: &[u8]) -> Result<Vec<u8>, Unsealed> {
        let (_, sealer) = self.sealers.get_mut(&flow).ok_or(Unsealed::NoSealer)?;
        let (start, len) = (sealer.header_len(), sealer.sealed_len(content.len()));
        let end = start + content.len();
        assert!(end <= len, "contract: {len} bytes for a packet of {} behind {start}", content.len());
        let mut buffer = vec![0; len];
        buffer[start..end].copy_from_slice(content);
        let range = sealer.seal(&mut buffer, start..end).map_err(Unsealed::Refused)?;
        assert_eq!(range, 0..len, "contract: the room a sealer asks for is exact");
        Ok(buffer)
    }

    /// What was in it, and whether it is the newest.
    pub(super) fn open(&mut self, tag: KeyTag, datagram: &mut [u8]) -> Result<(Inside, bool), Unopened> {
        let (_, opener) = self.openers.get_mut(&tag).ok_or(Unopened::UnknownKey(tag))?;
        let opened = opener.open(datagram).map_err(Unopened::Refused)?;
        let inside = match opened.content {
            Content::Packet(range) => Inside::Packet(datagram[range].to_vec()),
            Content::Unpacked => Inside::Packet(opener.unpacked().to_vec()),
            Content::Message(range) => Inside::Message(datagram[range].to_vec()),
            Content::Filler => Inside::Filler,
        };
        Ok((inside, opened.newest))
    }
}
