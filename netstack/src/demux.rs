//! Which connection a segment belongs to: one look-up by its 5-tuple, however many connections there are.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use crate::{device, random::Random, slots::Key};

/// Addresses and ports of a connection or association, seen from our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    pub(crate) local: (IpAddr, u16),
    pub(crate) remote: (IpAddr, u16),
}

/// Both ends of a connection or association.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Endpoints {
    /// Ours; of one that began at the other end, where it wants to go.
    pub local: SocketAddr,
    /// Theirs, at the other end of the tunnel.
    pub remote: SocketAddr,
}

impl From<Tuple> for Endpoints {
    fn from(tuple: Tuple) -> Self {
        Self { local: tuple.local.into(), remote: tuple.remote.into() }
    }
}

/// What is left of a connection that we closed first: enough to acknowledge a repeated FIN (RFC 9293 §3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeWait {
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
    pub(crate) window: u16,
}

impl TimeWait {
    /// Whether a SYN with this sequence number is surely newer than the connection that waits: it may take its place (RFC 9293
    /// §3.6.1, MAY-2).
    pub(crate) const fn is_before(&self, sequence: u32) -> bool {
        device::is_before(self.acknowledgment, sequence)
    }
}

/// To whom a 5-tuple belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Connection(Key),
    /// Until then.
    TimeWait(TimeWait, Instant),
}

/// All 5-tuples in use.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    owners: HashMap<Tuple, Owner>,
    /// When which 5-tuple may be used again, in that order.
    time_waits: VecDeque<(Instant, Tuple)>,
    /// How far into the ports the last one was taken; none yet.
    last: Option<u16>,
}

impl Demux {
    pub(crate) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    pub(crate) fn find(&self, tuple: &Tuple) -> Option<Owner> {
        self.owners.get(tuple).copied()
    }

    /// A free local port towards a remote; at most all of them are tried. In turn, with steps at random (RFC 6056 §3.3.5), so that
    /// none comes again soon: a peer that closed first remembers it for a minute, and may take a new SYN for an old one.
    pub(crate) fn free_port(&mut self, random: &mut Random, local: IpAddr, remote: (IpAddr, u16)) -> Option<u16> {
        let start = match self.last {
            Some(last) => last + 1 + random.below(LONGEST_STEP),
            None => random.below(PORTS),
        };
        let mut offsets = (0..PORTS).map(|step| (start + step) % PORTS);
        let is_free = |offset: &u16| !self.owners.contains_key(&Tuple { local: (local, FIRST_PORT + offset), remote });
        let offset = offsets.find(is_free)?;
        self.last = Some(offset);
        Some(FIRST_PORT + offset)
    }

    pub(crate) fn insert(&mut self, tuple: Tuple, key: Key) {
        self.owners.insert(tuple, Owner::Connection(key));
    }

    pub(crate) fn remove(&mut self, tuple: &Tuple) {
        self.owners.remove(tuple);
    }

    /// Keeps a 5-tuple from being used again for a while. When too many wait, the oldest need not wait any longer:
    /// nobody loses data by that, and ports cannot run out for lack of patience.
    pub(crate) fn wait(&mut self, now: Instant, tuple: Tuple, time_wait: TimeWait) {
        self.expire(now);
        if self.time_waits.len() >= MAX_TIME_WAITS {
            self.expire_first();
        }
        let until = now + TIME_WAIT;
        self.owners.insert(tuple, Owner::TimeWait(time_wait, until));
        self.time_waits.push_back((until, tuple));
    }

    /// Frees the 5-tuples that have waited long enough.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.time_waits.front().is_some_and(|(until, _)| *until <= now) {
            self.expire_first();
        }
    }

    fn expire_first(&mut self) {
        // A remote may have used it again meanwhile: then it is another's, or waits anew.
        if let Some((until, tuple)) = self.time_waits.pop_front()
            && matches!(self.owners.get(&tuple), Some(Owner::TimeWait(_, end)) if *end == until)
        {
            self.owners.remove(&tuple);
        }
    }
}

/// The dynamic ports (RFC 6335 §6).
pub(crate) const FIRST_PORT: u16 = 49152;
pub(crate) const PORTS: u16 = 16384;
/// So two thirds of the ports are taken before one comes again.
const LONGEST_STEP: u16 = 2;
/// RFC 9293 says four minutes, Linux waits one; inside a tunnel half a minute is many round trips.
const TIME_WAIT: Duration = Duration::from_secs(30);
/// A quarter of the ports towards a single remote; 500 KiB.
const MAX_TIME_WAITS: usize = 4096;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_port_comes_again_within_thousands_of_connections() {
        let (local, remote) = (IpAddr::from([10, 0, 0, 1]), (IpAddr::from([10, 0, 0, 2]), 80));
        let (mut demux, mut random) = (Demux::default(), Random::new(7));
        // As many as a peer with a TIME-WAIT of a minute sees of 150 connections a second.
        let mut recent = VecDeque::new();
        let mut unlike = HashSet::new();
        for _ in 0..3 * PORTS {
            let port = demux.free_port(&mut random, local, remote).unwrap();
            assert!(port >= FIRST_PORT && !recent.contains(&port), "{port}");
            recent.push_back(port);
            unlike.insert(port.wrapping_sub(*recent.iter().nth_back(1).unwrap_or(&port)));
            if recent.len() > 9000 {
                recent.pop_front();
            }
        }
        assert!(unlike.len() > 2, "not to be foreseen: {unlike:?}");
    }
}
