//! What befalls the world: restarts, sleep, moves, blackouts.

use std::time::Duration;

use adit_tunnel::{Listener, Path, Tunnel};

use super::{Pair, ends::addresses, listener_birth, nat::Mapping};
use crate::Conditions;

/// From where a client that is started again sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// From where the one before it did.
    Same,
    /// From elsewhere, as seen by the listener.
    New,
}

impl<C: Tunnel, L: Listener> Pair<C, L> {
    /// The client is gone without a word, and a new one begins at once.
    pub fn restart_client(&mut self, client: usize, port: Port) {
        match port {
            Port::Same => {}
            Port::New => self.move_client(client, Mapping::Dead),
        }
        self.clients[client].frozen_until = None;
        self.replace_client(client);
    }

    /// The listener is gone without a word with all its tunnels, and a new one begins at once.
    pub fn restart_listener(&mut self) {
        self.listener.incarnation += 1;
        self.listener.peers.clear();
        self.listener.pool.clear();
        let birth = listener_birth(&self.setup, &self.clock, self.listener.incarnation);
        self.listener.listener = (self.make_listener)(birth);
    }

    /// Time passes without anybody being run; what was under way arrives late.
    pub fn suspend(&mut self, time: Duration) {
        self.clock.pass(time);
    }

    /// A client sleeps while the rest of the world goes on; what comes for it is lost.
    pub fn suspend_client(&mut self, client: usize, time: Duration) {
        self.clients[client].frozen_until = Some(self.clock.now() + time);
    }

    /// The NAT before a client gives it another address outside, which nobody is told.
    pub fn rebind(&mut self, client: usize, old: Mapping) {
        let end = &mut self.clients[client];
        end.addresses += 1;
        let (_, outside) = addresses(client, end.addresses, true);
        end.nat.rebind(outside, old);
    }

    /// A client goes to another network, and is told so by its driver.
    pub fn roam(&mut self, client: usize) {
        self.move_client(client, Mapping::Dead);
        let end = &mut self.clients[client];
        let path = Path { local: Some(end.address), ..end.driven.path };
        end.driven.path = path;
        end.driven.tunnel.handle_path(self.clock.now(), &path);
        self.settle_client(client);
    }

    /// Nothing gets through in either direction for so long.
    pub fn blackout(&mut self, client: usize, time: Duration) {
        let (now, end) = (self.clock.now(), &mut self.clients[client]);
        end.up.blackout(now, now + time);
        end.down.blackout(now, now + time);
    }

    /// Changes the conditions of all links.
    pub fn conditions(&mut self, conditions: Conditions) {
        for client in &mut self.clients {
            (client.up.conditions, client.down.conditions) = (conditions, conditions);
        }
    }

    fn move_client(&mut self, client: usize, old: Mapping) {
        let end = &mut self.clients[client];
        end.addresses += 1;
        let (inside, outside) = addresses(client, end.addresses, self.setup.nat);
        end.address = inside;
        end.nat.rebind(outside, old);
        end.nat.forget();
    }
}
