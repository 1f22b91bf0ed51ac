//! UDP associations that begin at the other end: one for each source and destination, closed when idle.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use crate::{
    Accept, Stack, StackEvent, UdpId, Unreachable,
    demux::{Endpoints, Tuple},
    slots::Key,
    udp::{self, SOCKET_COST, UdpSocket},
};

/// All associations, by their ends and by when they were last heard of.
#[derive(Debug, Default)]
pub(crate) struct Associations {
    by_tuple: HashMap<Tuple, Key>,
    /// When each may have been idle for too long; never later than the truth.
    deadlines: BTreeSet<(Instant, Key)>,
    /// How many of the events are [`StackEvent::UdpIncoming`].
    pub(crate) untold: usize,
}

impl Associations {
    pub(crate) fn find(&self, tuple: &Tuple) -> Option<Key> {
        self.by_tuple.get(tuple).copied()
    }

    /// The earliest deadline.
    pub(crate) fn idle_at(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    pub(crate) fn remove(&mut self, tuple: &Tuple, deadline: Instant) {
        if let Some(key) = self.by_tuple.remove(tuple) {
            self.deadlines.remove(&(deadline, key));
        }
    }
}

impl Stack {
    /// Both ends of an association announced by [`StackEvent::UdpIncoming`]; `None` once it is closed, and for sockets of
    /// [`bind_udp`](Self::bind_udp).
    #[must_use]
    pub fn udp_endpoints(&self, id: UdpId) -> Option<Endpoints> {
        self.sockets.get(id.0)?.association().map(Endpoints::from)
    }

    /// Closes an association announced by [`StackEvent::UdpIncoming`] and tells the remote why by an ICMP error, within the rate
    /// of answers to strangers. Other sockets are just closed.
    pub fn refuse_udp(&mut self, now: Instant, id: UdpId, reason: Unreachable) {
        let now = self.clock.advance(now);
        let Some(socket) = self.sockets.get(id.0) else { return };
        let about = socket.association().and_then(|tuple| {
            // What was read is not kept; the headers are what the remote knows its datagram by.
            udp::packet(tuple.remote, tuple.local, 0, socket.first_received().unwrap_or_default())
        });
        self.close_udp(id);
        let Some(about) = about else { return };
        self.counters.incoming_refused += 1;
        if self.may_answer(now) {
            self.counters.unreachables_sent += 1;
            self.answer(self.unreachable(&about, reason));
        }
    }

    /// The association a datagram belongs to, a new one if need be; `None` if there is no room for it.
    pub(crate) fn associated(&mut self, now: Instant, tuple: Tuple) -> Option<Key> {
        if self.config.accept == Accept::Nothing {
            return None;
        }
        if let Some(key) = self.associations.find(&tuple) {
            self.sockets.get_mut(key)?.touch(now);
            return Some(key);
        }
        let is_nowhere = tuple.local.1 == 0 || tuple.remote.1 == 0;
        let is_flooded = self.associations.untold >= self.config.max_incoming;
        if is_nowhere || is_flooded || !self.has_room_for_association() {
            self.counters.udp_dropped += 1;
            return None;
        }
        let deadline = self.idle_deadline(now);
        let key = self.sockets.insert(UdpSocket::associated(tuple, now, deadline));
        self.associations.by_tuple.insert(tuple, key);
        self.associations.deadlines.insert((deadline, key));
        self.associations.untold += 1;
        self.counters.associations += 1;
        self.events.push_back(StackEvent::UdpIncoming(UdpId(key)));
        Some(key)
    }

    /// Charges the budget if there is. Those that were idle for longest give way.
    fn has_room_for_association(&mut self) -> bool {
        while self.sockets.len() >= self.config.max_connections || !self.budget.charge(SOCKET_COST) {
            if !self.evict_association() {
                return false;
            }
        }
        true
    }

    /// Closes the association that was idle for longest; `false` if there is none.
    fn evict_association(&mut self) -> bool {
        while let Some(&(at, key)) = self.associations.deadlines.first() {
            if !self.put_off(at, key) {
                self.counters.associations_evicted += 1;
                self.lose_association(key);
                return true;
            }
        }
        false
    }

    /// Closes those that were idle for too long.
    pub(crate) fn expire_associations(&mut self, now: Instant) {
        while let Some(&(at, key)) = self.associations.deadlines.first()
            && at <= now
        {
            if !self.put_off(at, key) {
                self.lose_association(key);
            }
        }
    }

    /// Moves a deadline to where it belongs; `false` if it is there. So a datagram costs no more than a note of the time.
    fn put_off(&mut self, at: Instant, key: Key) -> bool {
        let Some((last, _)) = self.sockets.get(key).and_then(UdpSocket::idle_since) else {
            return self.associations.deadlines.remove(&(at, key));
        };
        let deadline = self.idle_deadline(last);
        if deadline <= at {
            return false;
        }
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.look_again_at(deadline);
        }
        self.associations.deadlines.remove(&(at, key));
        self.associations.deadlines.insert((deadline, key));
        true
    }

    fn idle_deadline(&self, last: Instant) -> Instant {
        last + self.config.udp_idle.min(LONGEST_IDLE)
    }

    /// Closes an association, and tells its owner.
    pub(crate) fn lose_association(&mut self, key: Key) {
        self.close_udp(UdpId(key));
        self.events.push_back(StackEvent::UdpClosed(UdpId(key)));
    }
}

/// So that no sum overflows; our own judgement.
const LONGEST_IDLE: Duration = Duration::from_secs(7 * 24 * 3600);
