//! Which connection a segment belongs to: one look-up by its 5-tuple, however many connections there are.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{random::Random, slots::Key};

/// Addresses and ports of a TCP connection, seen from our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    pub(crate) local: (IpAddr, u16),
    pub(crate) remote: (IpAddr, u16),
}

/// What is left of a connection that we closed first: enough to acknowledge a repeated FIN (RFC 9293 §3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeWait {
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
    pub(crate) window: u16,
}

/// To whom a 5-tuple belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Connection(Key),
    TimeWait(TimeWait),
}

/// All 5-tuples in use.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    owners: HashMap<Tuple, Owner>,
    /// When which 5-tuple may be used again, in that order.
    time_waits: VecDeque<(Instant, Tuple)>,
}

impl Demux {
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
        self.owners.insert(tuple, Owner::TimeWait(time_wait));
        self.time_waits.push_back((now + TIME_WAIT, tuple));
    }

    /// Frees the 5-tuples that have waited long enough.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.time_waits.front().is_some_and(|(until, _)| *until <= now) {
            self.expire_first();
        }
    }

    fn expire_first(&mut self) {
        // Until now it was nobody else's: only free 5-tuples are given away.
        if let Some((_, tuple)) = self.time_waits.pop_front() {
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
