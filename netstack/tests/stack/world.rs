//! Both ends, the links between them, and the time.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use adit_netstack::{ConnectionId, PacketSink, Stack, StackConfig, StackEvent};

use crate::{
    client::Client,
    host::Host,
    link::{Link, Quality},
};

pub(crate) const OURS_V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 8, 0, 2));
pub(crate) const HOST_V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 100, 30));
pub(crate) const OURS_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
pub(crate) const HOST_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 30));

/// A stack, a host, and what is between them.
pub(crate) struct World {
    pub(crate) stack: Stack,
    pub(crate) host: Host,
    pub(crate) up: Link,
    pub(crate) down: Link,
    pub(crate) now: Instant,
    /// Every packet the stack sent, when the world is told to keep them.
    pub(crate) seen: Option<Vec<Vec<u8>>>,
    /// Events no client took.
    pub(crate) events: Vec<StackEvent>,
}

/// The seed of a test: fixed, or from the environment.
pub(crate) fn seed() -> u64 {
    std::env::var("TUNNEL_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x5eed)
}

pub(crate) fn config() -> StackConfig {
    StackConfig { addresses: vec![OURS_V4, OURS_V6], mtu: 1400, tcp_mtu: 1400, ..StackConfig::default() }
}

pub(crate) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the virtual clock has to start somewhere")]
    Instant::now()
}

/// What a stack wants to send.
pub(crate) fn take_packets(stack: &mut Stack, now: Instant) -> Vec<Vec<u8>> {
    let mut sink = Packets::default();
    stack.poll_packets(now, &mut sink);
    sink.0
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(config(), Quality::PERFECT, seed())
    }

    pub(crate) fn with(config: StackConfig, quality: Quality, seed: u64) -> Self {
        let now = now();
        Self {
            stack: Stack::new(config, seed),
            host: Host::new(&[HOST_V4, HOST_V6], 1400, now),
            up: Link::new(quality, seed ^ 1),
            down: Link::new(quality, seed ^ 2),
            now,
            seen: None,
            events: Vec::new(),
        }
    }

    /// Everything that can happen now, then on to the next moment at which something does.
    ///
    /// # Panics
    /// If nothing is left to happen while the caller still waits.
    pub(crate) fn step(&mut self, clients: &mut [&mut Client]) {
        self.settle(clients);
        let next =
            [self.stack.poll_timeout(), self.host.poll_at(self.now), self.up.next_arrival(), self.down.next_arrival()];
        let next = next.into_iter().flatten().min().expect("something is left to happen");
        self.now = self.now.max(next);
        while let Some(packet) = self.up.arrive(self.now) {
            self.host.arrive(packet);
        }
        while let Some(packet) = self.down.arrive(self.now) {
            self.stack.handle_packet(self.now, &packet);
        }
        if self.stack.poll_timeout().is_some_and(|at| at <= self.now) {
            self.stack.handle_timeout(self.now);
        }
        self.settle(clients);
    }

    /// Lets both ends say what they have to say, without the time going on.
    pub(crate) fn settle(&mut self, clients: &mut [&mut Client]) {
        for _ in 0..3 {
            while let Some(event) = self.stack.poll_event() {
                if !clients.iter_mut().any(|client| client.on_event(event)) {
                    self.events.push(event);
                }
            }
            for client in &mut *clients {
                client.run(&mut self.stack);
            }
            for packet in self.take_packets() {
                self.up.send(self.now, &packet);
                if let Some(seen) = &mut self.seen {
                    seen.push(packet);
                }
            }
        }
        for packet in self.host.poll(self.now) {
            self.down.send(self.now, &packet);
        }
    }

    /// What the stack wants to send.
    pub(crate) fn take_packets(&mut self) -> Vec<Vec<u8>> {
        take_packets(&mut self.stack, self.now)
    }

    /// Steps until `done`; gives up after an hour of virtual time.
    pub(crate) fn run(&mut self, clients: &mut [&mut Client], mut done: impl FnMut(&mut Self, &[&mut Client]) -> bool) {
        let limit = self.now + Duration::from_secs(3600);
        while !done(self, clients) {
            assert!(self.now < limit, "not done within an hour");
            self.step(clients);
        }
    }

    /// Steps for some time; ends early when nothing is left to happen.
    pub(crate) fn run_for(&mut self, clients: &mut [&mut Client], time: Duration) {
        let end = self.now + time;
        loop {
            self.settle(clients);
            let next = [
                self.stack.poll_timeout(),
                self.host.poll_at(self.now),
                self.up.next_arrival(),
                self.down.next_arrival(),
            ];
            match next.into_iter().flatten().min() {
                Some(next) if next <= end => self.step(clients),
                _ => break,
            }
        }
        self.now = end;
    }

    pub(crate) fn connect(&mut self, remote: SocketAddr) -> ConnectionId {
        self.stack.connect(self.now, remote).unwrap()
    }

    /// Connects to a listening socket and waits until both ends know.
    pub(crate) fn connected(&mut self, port: u16, buffer: usize) -> (Client, smoltcp::iface::SocketHandle) {
        let handle = self.host.listen(port, buffer);
        let mut client = Client::new(self.connect(SocketAddr::new(HOST_V4, port)));
        self.run(&mut [&mut client], |world, clients| clients[0].connected && world.host.socket(handle).may_send());
        (client, handle)
    }
}

/// A sink without end.
#[derive(Default)]
pub(crate) struct Packets(pub(crate) Vec<Vec<u8>>);

impl PacketSink for Packets {
    fn has_room(&mut self) -> bool {
        true
    }

    fn packet(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) {
        assert!(self.0.len() < 100_000, "there is no end to the packets");
        let mut packet = vec![0xaa; len];
        fill(&mut packet);
        self.0.push(packet);
    }
}
