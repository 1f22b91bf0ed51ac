//! Datagrams carried by hand, one by one, under names that a diagram may use.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use adit_tunnel::{Listener, Tunnel};

use super::{Datagram, End, Pair};

/// A datagram that waits to be carried.
#[derive(Debug)]
pub(super) struct Held {
    from: End,
    datagram: Datagram,
}

impl<C: Tunnel, L: Listener> Pair<C, L> {
    /// From now on no control datagram travels by itself. Data does.
    pub fn by_hand(&mut self) {
        self.by_hand = true;
    }

    /// Whatever waits is sent, and datagrams travel by themselves again. Those that have a name are forgotten.
    pub fn let_go(&mut self) {
        self.by_hand = false;
        self.named.clear();
        while let Some(Held { from, datagram }) = self.held.pop_front() {
            self.on_its_way(from, datagram);
        }
    }

    /// Takes the one datagram that an end has sent.
    ///
    /// # Panics
    /// If it is silent, or has sent several.
    pub fn says(&mut self, from: End) -> Datagram {
        let said = self.says_first(from);
        self.is_silent(from);
        said
    }

    /// Takes the first datagram that an end has sent and that was not taken yet.
    ///
    /// # Panics
    /// If it is silent.
    pub fn says_first(&mut self, from: End) -> Datagram {
        assert!(self.by_hand, "nothing is carried by hand");
        let index = self.held.iter().position(|held| held.from == from);
        let held = index.and_then(|index| self.held.remove(index));
        held.unwrap_or_else(|| panic!("{from:?} says nothing, after {:?}", self.clock.elapsed())).datagram
    }

    /// Takes all that an end has sent.
    pub fn says_all(&mut self, from: End) -> Vec<Datagram> {
        let (taken, left): (VecDeque<_>, _) = self.held.drain(..).partition(|held| held.from == from);
        self.held = left;
        taken.into_iter().map(|held| held.datagram).collect()
    }

    /// Insists that an end has sent nothing that was not taken.
    ///
    /// # Panics
    /// If it has.
    pub fn is_silent(&self, from: End) {
        let said: Vec<_> = self.held.iter().filter(|held| held.from == from).collect();
        assert!(said.is_empty(), "{from:?} also says {said:?}, after {:?}", self.clock.elapsed());
    }

    /// Takes the one datagram that an end has sent, and gives it a name such as "the request of the client".
    ///
    /// # Panics
    /// If the end is silent or has sent several, or the name is taken.
    pub fn keep(&mut self, name: &str, from: End) {
        let said = self.says(from);
        assert!(self.named.insert(name.to_owned(), said).is_none(), "there is already {name}");
    }

    /// The datagram of this name arrives. It keeps its name, and may arrive again.
    ///
    /// # Panics
    /// If there is none.
    pub fn arrives(&mut self, name: &str) {
        let datagram = self.named.get(name).unwrap_or_else(|| panic!("there is no {name}")).clone();
        self.deliver(datagram);
    }

    /// A datagram arrives where it goes, at once.
    pub fn deliver(&mut self, datagram: Datagram) {
        if self.listener.listening.contains(&datagram.destination) {
            self.listener_hears(datagram);
        } else if let Some(client) = self.clients.iter().position(|end| end.nat.knows(datagram.destination)) {
            self.client_hears(client, datagram);
        } else {
            self.lost_in_the_world += 1;
        }
    }

    /// Carries the one datagram of an end to the other.
    ///
    /// # Panics
    /// As [`Self::says`].
    pub fn carry(&mut self, from: End) {
        let said = self.says(from);
        self.deliver(said);
    }

    /// Time passes for one end alone: only its deadlines have their effect.
    pub fn run_alone(&mut self, end: End, time: Duration) {
        let until = self.clock.now() + time;
        while let Some(at) = self.deadline_of(end).filter(|at| *at <= until) {
            self.clock.jump_to(at);
            match end {
                End::Client(client) => self.expire_client(client),
                End::Listener => {
                    let peers: Vec<_> = self.listener.peers.keys().copied().collect();
                    peers.into_iter().for_each(|peer| self.expire_peer(peer));
                }
            }
        }
        self.clock.jump_to(until);
    }

    pub(super) fn hold_back(&mut self, from: End, datagram: &Datagram) -> bool {
        if self.by_hand {
            self.held.push_back(Held { from, datagram: datagram.clone() });
        }
        self.by_hand
    }

    fn on_its_way(&mut self, from: End, datagram: Datagram) {
        match from {
            End::Client(client) => self.clients[client].up.send(self.clock.now(), datagram),
            End::Listener => self.send_down(datagram),
        }
    }

    fn deadline_of(&self, end: End) -> Option<Instant> {
        match end {
            End::Client(client) => self.clients[client].driven.tunnel.poll_timeout(),
            End::Listener => self.listener.peers.values().filter_map(super::PeerEnd::next_deadline).min(),
        }
    }
}
