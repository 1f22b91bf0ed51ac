//! A session and a [`ScriptedServer`], joined by two links on one virtual clock. Packets travel too, sealed and opened with
//! the keys both ends handed out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use adit_testing::SeededRandom;
use adit_tunnel::{
    Answer, Class, Closed, Content, Epoch, Event, KeyChange, KeyTag, NetworkConfig, Opener, Path, Prompt, Secret,
    Transport, Tunnel,
};
use bytes::Bytes;

use super::{
    START, UNIX_START,
    link::{Link, LinkSettings},
    pki,
    server::{Script, ScriptedServer, seal},
};
use crate::{
    config::{ClientIdentity, Config, ConfigError, Credentials, Remote, ServerCheck, Settings},
    data::{DataOpener, DataSealer},
    error::SessionError,
    session::{Carry, Session},
};

/// Everything a test may choose; what it leaves is a working tunnel.
pub(super) struct Setup {
    pub(super) settings: Settings,
    pub(super) check: ServerCheck,
    pub(super) identity: Option<ClientIdentity>,
    pub(super) credentials: Option<Credentials>,
    pub(super) remote: Remote,
    pub(super) carry: Carry,
    pub(super) script: Script,
    pub(super) link: LinkSettings,
    pub(super) seed: u64,
    /// In place of all that the client is told above: a profile.
    pub(super) profile: Option<String>,
}

impl Default for Setup {
    fn default() -> Self {
        let check = ServerCheck {
            ca: vec![pki::CA.as_ref().der().clone()],
            extended_key_usage: Some("1.3.6.1.5.5.7.3.1".to_owned()),
            ..ServerCheck::default()
        };
        Self {
            // Silence ends no session, unless a test is about that.
            settings: Settings { ping_restart: Some(Duration::ZERO), ..Settings::default() },
            check,
            identity: None,
            credentials: Some(Credentials { username: "user".to_owned(), password: Secret::from("password") }),
            remote: Remote::new("vpn.example", 1194, Transport::Udp),
            carry: Carry::default(),
            script: Script::default(),
            link: LinkSettings::GOOD,
            seed: 1,
            profile: None,
        }
    }
}

impl Setup {
    pub(super) fn new(change: impl FnOnce(&mut Self)) -> Self {
        let mut setup = Self::default();
        change(&mut setup);
        setup
    }

    /// The configuration alone.
    pub(super) fn config(&self) -> Result<Config, ConfigError> {
        if let Some(text) = &self.profile {
            return Ok(super::directives::config(text));
        }
        Config::builder(vec![self.remote.clone()])
            .server_check(self.check.clone())
            .identity(self.identity.clone(), self.credentials.clone())
            .settings(|settings| *settings = self.settings.clone())
            .build()
    }

    /// Starts both ends; nothing has travelled yet.
    pub(super) fn start(self) -> Pair {
        let (config, epoch) = (Arc::new(self.config().unwrap()), Epoch::new(*START, UNIX_START));
        let transport = config.remotes()[0].transport;
        let remote = if transport == Transport::Tcp { "192.0.2.1:443" } else { "192.0.2.1:1194" };
        let path = Path { transport, local: None, remote: remote.parse().unwrap() };
        let random = Box::new(SeededRandom::new(self.seed));
        let client = Session::new(Arc::clone(&config), 0, self.carry, path, random, epoch, *START).unwrap();
        Pair {
            now: *START,
            client,
            server: ScriptedServer::new(self.script, self.seed),
            config,
            path,
            to_server: Link::new(self.link, self.seed.wrapping_mul(2)),
            to_client: Link::new(self.link, self.seed.wrapping_mul(2) + 1),
            plane: Plane::default(),
            traffic: None,
            log: Log::default(),
        }
    }

    /// Starts both ends, and runs until the tunnel is up.
    pub(super) fn up(self) -> Pair {
        let mut pair = self.start();
        pair.come_up();
        pair
    }

    /// Starts both ends, and runs until the session has ended.
    pub(super) fn fails(self) -> Pair {
        let mut pair = self.start();
        pair.run_until(Duration::from_secs(1000), |pair| pair.log.closed.is_some());
        pair.closed();
        pair
    }
}

pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) client: Session,
    pub(super) server: ScriptedServer,
    pub(super) config: Arc<Config>,
    pub(super) path: Path,
    pub(super) to_server: Link,
    pub(super) to_client: Link,
    pub(super) plane: Plane,
    traffic: Option<Traffic>,
    pub(super) log: Log,
}

/// What the driver holds of the data plane.
#[derive(Default)]
pub(super) struct Plane {
    pub(super) openers: BTreeMap<KeyTag, Box<DataOpener>>,
    pub(super) sealer: Option<Box<DataSealer>>,
}

/// Numbered packets in both directions.
struct Traffic {
    every: Duration,
    next: Instant,
    number: u64,
}

/// What happened at the client.
#[derive(Default)]
pub(super) struct Log {
    pub(super) ups: Vec<NetworkConfig>,
    /// `+1`, `seal 1`, `-0`, with when.
    pub(super) keys: Vec<(Instant, String)>,
    pub(super) injected: Vec<(Instant, Bytes)>,
    pub(super) prompts: Vec<Prompt>,
    pub(super) paths: Vec<Path>,
    pub(super) closed: Option<(Instant, Closed)>,
    /// Control datagrams as they left.
    pub(super) sent: Vec<(Instant, Bytes)>,
    /// Packets that were opened.
    pub(super) opened: Vec<Vec<u8>>,
    pub(super) unopened: usize,
    /// Numbers of the packets that [`Pair::start_traffic`] sent, in either direction.
    pub(super) traffic_sent: u64,
}

impl Pair {
    /// Runs until the tunnel is up.
    pub(super) fn come_up(&mut self) {
        self.run_until(Duration::from_secs(60), |pair| !pair.log.ups.is_empty() || pair.log.closed.is_some());
        assert!(self.log.closed.is_none(), "{:?}", self.log.closed);
        assert_eq!(self.log.ups.len(), 1, "{:?} after {:?}", self.client, self.now.duration_since(*START));
        // Until the last acknowledgements have arrived.
        self.run(Duration::from_millis(100));
    }

    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// Runs until the condition holds; returns whether it came to that.
    pub(super) fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let until = self.now + limit;
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            if !self.step(until) {
                return done(self);
            }
        }
    }

    /// Both ends send a numbered packet now and then.
    pub(super) fn start_traffic(&mut self, every: Duration) {
        self.traffic = Some(Traffic { every, next: self.now, number: 0 });
    }

    /// Stops it, and waits for what is under way.
    pub(super) fn stop_traffic(&mut self) {
        self.log.traffic_sent = self.traffic.take().map_or(0, |traffic| traffic.number);
        self.run(Duration::from_secs(1));
    }

    /// Every number arrived at both ends, and nothing else did.
    pub(super) fn assert_nothing_lost(&self) {
        assert!(self.log.traffic_sent > 0);
        assert_eq!(missing(&self.server.opened, self.log.traffic_sent), [0; 0], "at the server");
        assert_eq!(missing(&self.log.opened, self.log.traffic_sent), [0; 0], "at the client");
    }

    /// One packet each way with the current keys.
    pub(super) fn assert_traffic_flows(&mut self) {
        let (before_client, before_server) = (self.log.opened.len(), self.server.opened.len());
        let packet = numbered(self.now.duration_since(*START).as_micros() as u64);
        self.client_sends(&packet);
        self.server_sends(&packet);
        self.run(Duration::from_secs(1));
        assert_eq!(&self.log.opened[before_client..], std::slice::from_ref(&packet), "at the client");
        assert_eq!(self.server.opened[before_server..], [packet], "at the server");
    }

    pub(super) fn client_sends(&mut self, content: &[u8]) {
        let sealer = self.plane.sealer.as_mut().expect("a sealer");
        let datagram = seal(sealer, content);
        self.to_server.send(self.now, datagram);
    }

    pub(super) fn server_sends(&mut self, content: &[u8]) {
        let datagram = self.server.seal(content).expect("the server has keys");
        self.to_client.send(self.now, datagram);
    }

    pub(super) fn close(&mut self) {
        self.client.close(self.now);
        self.settle();
    }

    pub(super) fn answer(&mut self, text: &str) {
        self.client.handle_answer(self.now, Answer::Response(Secret::from(text)));
        self.settle();
    }

    pub(super) fn cancel(&mut self) {
        self.client.handle_answer(self.now, Answer::Cancelled);
        self.settle();
    }

    /// The server says something on the control channel, and it arrives.
    pub(super) fn server_says(&mut self, record: &[u8]) {
        self.server.say(self.now, record);
        self.run(Duration::from_millis(100));
    }

    /// Gives the client a datagram at once.
    pub(super) fn inject(&mut self, datagram: &[u8]) {
        self.deliver_to_client(datagram);
        self.settle();
    }

    pub(super) fn closed(&self) -> &Closed {
        let (_, closed) = self.log.closed.as_ref().unwrap_or_else(|| panic!("not closed: {:?}", self.client));
        closed
    }

    /// Why the session ended.
    pub(super) fn error(&self) -> &SessionError {
        self.closed().source.downcast_ref().unwrap()
    }

    /// When the session ended, since the start.
    pub(super) fn closed_after(&self) -> Duration {
        self.closed();
        self.log.closed.as_ref().map_or(Duration::ZERO, |(at, _)| at.duration_since(*START))
    }

    /// The client's key changes so far, in words.
    pub(super) fn key_changes(&self) -> Vec<&str> {
        self.log.keys.iter().map(|(_, change)| change.as_str()).collect()
    }

    /// When the client changed a key so, last.
    pub(super) fn key_change_at(&self, change: &str) -> Instant {
        self.log.keys.iter().rev().find(|(_, text)| text == change).unwrap_or_else(|| panic!("no {change}")).0
    }

    /// Drains both ends. Called after each input, as the contract wants it.
    pub(super) fn settle(&mut self) {
        while let Some(event) = self.client.poll_event() {
            self.on_event(event);
        }
        while let Some(transmit) = self.client.poll_transmit() {
            assert_eq!(transmit.path.remote, self.path.remote);
            self.log.sent.push((self.now, transmit.datagram.clone()));
            self.to_server.send(self.now, transmit.datagram);
        }
        if self.log.closed.is_some() {
            assert_eq!(self.client.poll_timeout(), None, "a closed session waits for nothing");
        }
        while let Some(datagram) = self.server.poll_transmit() {
            self.to_client.send(self.now, datagram);
        }
    }

    /// Jumps to the next thing that happens; `false` once that lies after `until`.
    fn step(&mut self, until: Instant) -> bool {
        self.settle();
        let deadlines = [
            self.to_server.next_arrival(),
            self.to_client.next_arrival(),
            self.client.poll_timeout(),
            self.server.poll_timeout(),
            self.traffic.as_ref().map(|traffic| traffic.next),
        ];
        let next = deadlines.into_iter().flatten().min().filter(|at| *at <= until);
        let Some(next) = next else {
            self.now = until;
            return false;
        };
        let before = (self.now, self.log.sent.len(), self.client.poll_timeout());
        self.now = self.now.max(next);
        let acted = self.act();
        let after = (self.now, self.log.sent.len(), self.client.poll_timeout());
        assert!(acted || before != after, "a deadline that does not go away: {:?}", self.client);
        true
    }

    /// Whether something arrived.
    fn act(&mut self) -> bool {
        let mut acted = false;
        if self.traffic.as_ref().is_some_and(|traffic| traffic.next <= self.now) {
            self.send_numbered();
            acted = true;
        }
        while let Some(datagram) = self.to_server.arrived(self.now) {
            self.server.handle(self.now, &datagram);
            self.settle();
            acted = true;
        }
        while let Some(datagram) = self.to_client.arrived(self.now) {
            self.deliver_to_client(&datagram);
            self.settle();
            acted = true;
        }
        if self.client.poll_timeout().is_some_and(|at| at <= self.now) {
            self.client.handle_timeout(self.now);
            self.settle();
        }
        if self.server.poll_timeout().is_some_and(|at| at <= self.now) {
            self.server.handle_timeout(self.now);
            self.settle();
            acted = true;
        }
        acted
    }

    fn send_numbered(&mut self) {
        let Some(traffic) = &mut self.traffic else { return };
        let packet = numbered(traffic.number);
        traffic.number += 1;
        traffic.next = self.now + traffic.every;
        self.client_sends(&packet);
        self.server_sends(&packet);
    }

    fn deliver_to_client(&mut self, datagram: &[u8]) {
        let mut datagram = datagram.to_vec();
        match self.client.classify(&self.path, &datagram) {
            Class::Control => self.client.handle_datagram(self.now, &self.path, &mut datagram),
            Class::Data(tag) => {
                let opened = self.plane.openers.get_mut(&tag).and_then(|opener| opener.open(&mut datagram).ok());
                match opened.map(|opened| opened.content) {
                    Some(Content::Packet(range)) => self.log.opened.push(datagram[range].to_vec()),
                    Some(Content::Message(range)) => self.client.handle_message(self.now, &datagram[range]),
                    Some(Content::Unpacked | Content::Filler) => {}
                    None => self.log.unopened += 1,
                }
            }
            Class::Ignore => {}
        }
    }

    fn on_event(&mut self, event: Event<DataSealer, DataOpener>) {
        assert!(self.log.closed.is_none(), "after Closed: {event:?}");
        match event {
            Event::Up(network) => self.log.ups.push(network),
            Event::Keys(change) => self.on_key_change(change),
            Event::Inject { packet, .. } => {
                self.client_sends(&packet);
                self.log.injected.push((self.now, packet));
            }
            Event::Prompt(prompt) => self.log.prompts.push(prompt),
            Event::Path(path) => self.log.paths.push(path),
            Event::Closed(closed) => self.log.closed = Some((self.now, closed)),
        }
    }

    fn on_key_change(&mut self, change: KeyChange<DataSealer, DataOpener>) {
        let text = match change {
            KeyChange::AddOpener { tag, opener, .. } => {
                self.plane.openers.insert(tag, opener);
                format!("+{}", tag.0)
            }
            KeyChange::SetSealer { sealer, .. } => {
                let text = format!("{sealer:?}");
                self.plane.sealer = Some(sealer);
                // The header's first byte, as Debug shows it: opcode and key id.
                let bytes = text.split("bytes: [").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
                format!("seal {}", bytes.parse::<u8>().unwrap() & 7)
            }
            KeyChange::RemoveOpener { tag } => {
                assert!(self.plane.openers.remove(&tag).is_some(), "removed twice: {tag:?}");
                format!("-{}", tag.0)
            }
            KeyChange::RemoveFlow { .. } => "remove flow".to_owned(),
        };
        self.log.keys.push((self.now, text));
    }
}

/// Looks like the beginning of an IPv4 packet.
pub(super) fn numbered(number: u64) -> Vec<u8> {
    let mut packet = vec![0x45; 60];
    packet[8..16].copy_from_slice(&number.to_be_bytes());
    packet
}

/// Numbers that did not arrive.
pub(super) fn missing(packets: &[Vec<u8>], count: u64) -> Vec<u64> {
    let number = |packet: &Vec<u8>| u64::from_be_bytes(packet[8..16].try_into().unwrap());
    let numbers: BTreeSet<u64> = packets.iter().map(number).collect();
    assert_eq!(numbers.len(), packets.len(), "a packet arrived twice");
    (0..count).filter(|number| !numbers.contains(number)).collect()
}
