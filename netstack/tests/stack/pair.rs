//! A stack that connects against a stack that answers, on a virtual clock.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use adit_netstack::{Accept, ConnectionId, Stack, StackConfig, StackEvent, UdpId};
use adit_tunnel::IpNet;

use crate::{
    client::Client,
    link::{Link, Quality},
    world::{OURS_V4, OURS_V6, Packets, config, now},
};

/// Both stacks, and what is between them.
pub(crate) struct Pair {
    pub(crate) client: Stack,
    pub(crate) gateway: Stack,
    pub(crate) up: Link,
    pub(crate) down: Link,
    pub(crate) now: Instant,
    /// Connections that came in and that the test has not taken.
    pub(crate) incoming: Vec<ConnectionId>,
    pub(crate) associations: Vec<UdpId>,
    /// Events of the gateway that nobody took.
    pub(crate) events: Vec<StackEvent>,
}

/// What a gateway answers with: for everything, to the client's addresses alone.
pub(crate) fn answering() -> StackConfig {
    StackConfig {
        addresses: vec![GATEWAY_V4, GATEWAY_V6],
        accept: Accept::Any,
        peers: vec![IpNet::host(OURS_V4), IpNet::host(OURS_V6)],
        ..config()
    }
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(config(), answering(), Quality::PERFECT, crate::world::seed())
    }

    pub(crate) fn with(client: StackConfig, gateway: StackConfig, quality: Quality, seed: u64) -> Self {
        Self {
            client: Stack::new(client, seed),
            gateway: Stack::new(gateway, !seed),
            up: Link::new(quality, seed ^ 1),
            down: Link::new(quality, seed ^ 2),
            now: now(),
            incoming: Vec::new(),
            associations: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Everything that can happen now, then on to the next moment at which something does; `false` if there is none.
    /// Owners: of the client's connections, and of the gateway's.
    pub(crate) fn step(&mut self, ours: &mut [&mut Client], theirs: &mut [&mut Client], end: Option<Instant>) -> bool {
        self.settle(ours, theirs);
        self.advance(ours, theirs, end)
    }

    /// The same after [`settle`](Self::settle).
    pub(crate) fn advance(
        &mut self,
        ours: &mut [&mut Client],
        theirs: &mut [&mut Client],
        end: Option<Instant>,
    ) -> bool {
        let next =
            [self.client.poll_timeout(), self.gateway.poll_timeout(), self.up.next_arrival(), self.down.next_arrival()];
        let Some(next) = next.into_iter().flatten().min().filter(|next| end.is_none_or(|end| *next <= end)) else {
            return false;
        };
        self.now = self.now.max(next);
        while let Some(packet) = self.up.arrive(self.now) {
            self.gateway.handle_packet(self.now, &packet);
        }
        while let Some(packet) = self.down.arrive(self.now) {
            self.client.handle_packet(self.now, &packet);
        }
        for stack in [&mut self.client, &mut self.gateway] {
            if stack.poll_timeout().is_some_and(|at| at <= self.now) {
                stack.handle_timeout(self.now);
            }
        }
        self.settle(ours, theirs);
        true
    }

    /// Lets both ends say what they have to say, without the time going on.
    pub(crate) fn settle(&mut self, ours: &mut [&mut Client], theirs: &mut [&mut Client]) {
        for _ in 0..3 {
            while let Some(event) = self.client.poll_event() {
                let _others = ours.iter_mut().any(|client| client.on_event(event));
            }
            while let Some(event) = self.gateway.poll_event() {
                if let StackEvent::Incoming(id) = event {
                    self.incoming.push(id);
                } else if let StackEvent::UdpIncoming(id) = event {
                    self.associations.push(id);
                } else if !theirs.iter_mut().any(|client| client.on_event(event)) {
                    self.events.push(event);
                }
            }
            for client in &mut *ours {
                client.run(&mut self.client);
            }
            for client in &mut *theirs {
                client.run(&mut self.gateway);
            }
            for (stack, link) in [(&mut self.client, &mut self.up), (&mut self.gateway, &mut self.down)] {
                let mut sink = Packets::default();
                stack.poll_packets(self.now, &mut sink);
                for packet in sink.0 {
                    link.send(self.now, &packet);
                }
            }
        }
    }

    /// Steps until `done`.
    ///
    /// # Panics
    /// If it is not within an hour of virtual time, or nothing is left to happen.
    pub(crate) fn run(
        &mut self,
        ours: &mut [&mut Client],
        theirs: &mut [&mut Client],
        mut done: impl FnMut(&mut Self, &[&mut Client], &[&mut Client]) -> bool,
    ) {
        let limit = self.now + Duration::from_secs(3600);
        while !done(self, ours, theirs) {
            assert!(self.step(ours, theirs, Some(limit)), "not done, and nothing is left to happen within an hour");
        }
    }

    /// Steps for some time.
    pub(crate) fn run_for(&mut self, ours: &mut [&mut Client], theirs: &mut [&mut Client], time: Duration) {
        let end = self.now + time;
        while self.step(ours, theirs, Some(end)) {}
        self.now = end;
    }

    pub(crate) fn connect(&mut self, remote: SocketAddr) -> Client {
        Client::new(self.client.connect(self.now, remote).unwrap())
    }

    /// What the gateway wants to send.
    pub(crate) fn answers(&mut self) -> Vec<Vec<u8>> {
        let mut sink = Packets::default();
        self.gateway.poll_packets(self.now, &mut sink);
        sink.0
    }

    /// Connects, and accepts at the gateway; both owners.
    pub(crate) fn connected(&mut self, remote: SocketAddr) -> (Client, Client) {
        let mut ours = self.connect(remote);
        self.run(&mut [&mut ours], &mut [], |pair, _, _| !pair.incoming.is_empty());
        let id = self.incoming.remove(0);
        self.gateway.accept(self.now, id);
        let mut theirs = Client::new(id);
        self.run(&mut [&mut ours], &mut [&mut theirs], |_, ours, theirs| ours[0].connected && theirs[0].connected);
        (ours, theirs)
    }
}

pub(crate) const GATEWAY_V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 8, 0, 1));
pub(crate) const GATEWAY_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
