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
}

impl Demux {
    pub(crate) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    pub(crate) fn find(&self, tuple: &Tuple) -> Option<Owner> {
        self.owners.get(tuple).copied()
    }

    /// A free local port towards a remote, chosen at random (RFC 6056 §3.3.2); at most all of them are tried.
    pub(crate) fn free_port(&self, random: &mut Random, local: IpAddr, remote: (IpAddr, u16)) -> Option<u16> {
        let start = random.below(PORTS);
        let ports = (0..PORTS).map(|step| FIRST_PORT + (start + step) % PORTS);
        let is_free = |port: &u16| !self.owners.contains_key(&Tuple { local: (local, *port), remote });
        ports.into_iter().find(is_free)
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
/// RFC 9293 says four minutes, Linux waits one; inside a tunnel half a minute is many round trips.
const TIME_WAIT: Duration = Duration::from_secs(30);
/// A quarter of the ports towards a single remote; 500 KiB.
const MAX_TIME_WAITS: usize = 4096;
