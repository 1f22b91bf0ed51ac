//! Real clients and the real server, joined by links on one virtual clock. Packets travel too, sealed and opened with the keys
//! both ends handed out.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use adit_testing::SeededRandom;
use adit_tunnel::{
    Accept, Answering, Applicant, Class, CloseKind, Closed, Content, Epoch, Event, IpNet, KeyChange, KeyTag, Listener,
    NetworkConfig, Opener, Path, PeerId, Prompt, Random, Routing, Secret, Transmit, Transport, Tunnel, Verdict,
};
use bytes::Bytes;

use crate::{
    config::{ClientIdentity, Config, Credentials, Remote, ServerCheck, Settings},
    data::{DataOpener, DataSealer},
    error::SessionError,
    server::{
        ClientAnchors, ClientCertificates, ClientCheck, Server, ServerConfig, ServerLimits, ServerSession,
        ServerSessionError, ServerSettings,
    },
    session::{Carry, Session},
    tests::{
        START, UNIX_START,
        link::{Link, LinkSettings},
        pair::{missing, numbered},
        pki, secs,
        server::seal,
    },
};

/// Everything a test may choose; what it leaves is one working client.
pub(super) struct Setup {
    pub(super) settings: Settings,
    pub(super) identity: Option<ClientIdentity>,
    pub(super) credentials: Option<Credentials>,
    /// IV_PROTO bits that clients do not announce.
    pub(super) withheld: u32,
    pub(super) withhold_ncp: bool,
    pub(super) server: ServerSettings,
    pub(super) limits: ServerLimits,
    pub(super) check: ClientCheck,
    pub(super) owner: Owner,
    pub(super) transport: Transport,
    pub(super) link: LinkSettings,
    pub(super) seed: u64,
}

/// What the owner of the server decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The password is looked at; certificates alone are enough.
    Checks,
    /// The same, so much later.
    ChecksAfter(Duration),
    NeverAnswers,
    HasNoAddress,
    Says(Duration),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            identity: None,
            credentials: Some(Credentials { username: "user".to_owned(), password: Secret::from("password") }),
            withheld: 0,
            withhold_ncp: false,
            server: ServerSettings::default(),
            limits: ServerLimits::default(),
            check: ClientCheck { certificates: ClientCertificates::None, login: true },
            owner: Owner::Checks,
            transport: Transport::Udp,
            link: LinkSettings::GOOD,
            seed: 1,
        }
    }
}

impl Setup {
    pub(super) fn new(change: impl FnOnce(&mut Self)) -> Self {
        let mut setup = Self::default();
        change(&mut setup);
        setup
    }

    fn client_config(&self) -> Arc<Config> {
        let check = ServerCheck {
            ca: vec![pki::CA.as_ref().der().clone()],
            extended_key_usage: Some("1.3.6.1.5.5.7.3.1".to_owned()),
            ..ServerCheck::default()
        };
        let mut config = Config::builder(vec![Remote::new("vpn.example", 1194, self.transport)])
            .server_check(check)
            .identity(self.identity.clone(), self.credentials.clone())
            .settings(|settings| *settings = self.settings.clone())
            .build()
            .unwrap();
        config.dangerous().withhold_iv_proto(self.withheld);
        if self.withhold_ncp {
            config.dangerous().withhold_iv_ncp();
        }
        Arc::new(config)
    }

    fn server_config(&self) -> Arc<ServerConfig> {
        let identity = Arc::new(pki::SERVER.identity());
        let config = ServerConfig::builder(identity, self.check.clone())
            .settings(|settings| *settings = self.server.clone())
            .limits(|limits| *limits = self.limits.clone())
            .build();
        Arc::new(config.unwrap())
    }

    /// The server, and no client yet.
    pub(super) fn empty(self) -> Net {
        let seed = self.seed;
        let mut drawn = seed << 16;
        let randoms = Box::new(move || {
            drawn += 1;
            Box::new(SeededRandom::new(drawn)) as Box<dyn Random>
        });
        let server = Server::new(self.server_config(), randoms, Epoch::new(*START, UNIX_START), *START);
        Net {
            now: *START,
            server,
            client_config: self.client_config(),
            setup: self,
            clients: Vec::new(),
            peers: BTreeMap::new(),
            gone: Vec::new(),
            verdicts: Vec::new(),
            stray: Vec::new(),
            dropped: 0,
            traffic: None,
        }
    }

    /// One client that has sent its first packet.
    pub(super) fn start(self) -> Net {
        let mut net = self.empty();
        net.add_client();
        net
    }

    /// One client, up at both ends.
    pub(super) fn up(self) -> Net {
        let mut net = self.start();
        net.come_up();
        net
    }

    /// One client, until its session has ended.
    pub(super) fn fails(self) -> Net {
        let mut net = self.start();
        net.run_until(secs(1000), |net| net.clients[0].end.closed.is_some());
        net.clients[0].end.closed.as_ref().expect("the client's end");
        net
    }
}

pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) server: Server,
    client_config: Arc<Config>,
    pub(super) setup: Setup,
    pub(super) clients: Vec<Client>,
    pub(super) peers: BTreeMap<PeerId, Peer>,
    /// Peers whose sessions have ended.
    pub(super) gone: Vec<Peer>,
    verdicts: Vec<(Instant, PeerId, Verdict)>,
    /// What the server sent to addresses without a client.
    pub(super) stray: Vec<Transmit>,
    /// Datagrams that the server did not route anywhere.
    pub(super) dropped: usize,
    traffic: Option<(Duration, Instant, u64)>,
}

/// A client with its place in the network.
pub(super) struct Client {
    pub(super) end: End<Session>,
    pub(super) address: SocketAddr,
    pub(super) up: Link,
    pub(super) down: Link,
}

/// What the server's driver holds of a client.
pub(super) struct Peer {
    pub(super) end: End<ServerSession>,
    /// Where data goes.
    pub(super) path: Path,
    pub(super) applicants: Vec<Applicant>,
    pub(super) paths: Vec<Path>,
}

/// One end of a tunnel, and what its driver holds and has seen.
pub(super) struct End<T> {
    pub(super) tunnel: T,
    openers: BTreeMap<KeyTag, Box<DataOpener>>,
    sealer: Option<Box<DataSealer>>,
    pub(super) ups: Vec<NetworkConfig>,
    /// `+1`, `seal 1`, `-0`.
    pub(super) keys: Vec<String>,
    pub(super) prompts: Vec<Prompt>,
    pub(super) closed: Option<Closed>,
    pub(super) opened: Vec<Vec<u8>>,
    pub(super) unopened: usize,
    pub(super) exit_notices: usize,
}

impl<T: Tunnel<Sealer = DataSealer, Opener = DataOpener>> End<T> {
    fn new(tunnel: T) -> Self {
        Self {
            tunnel,
            openers: BTreeMap::new(),
            sealer: None,
            ups: Vec::new(),
            keys: Vec::new(),
            prompts: Vec::new(),
            closed: None,
            opened: Vec::new(),
            unopened: 0,
            exit_notices: 0,
        }
    }

    /// Takes everything the tunnel has to say; returns what is to be sent, and where data goes from now on.
    fn drain(&mut self) -> (Vec<Bytes>, Vec<Path>) {
        let (mut sealed, mut paths) = (Vec::new(), Vec::new());
        while let Some(event) = self.tunnel.poll_event() {
            assert!(self.closed.is_none(), "after Closed: {event:?}");
            match event {
                Event::Up(network) => self.ups.push(network),
                Event::Keys(change) => self.on_key_change(change),
                Event::Inject { packet, .. } => sealed.extend(self.seal(&packet)),
                Event::Prompt(prompt) => self.prompts.push(prompt),
                Event::Path(path) => paths.push(path),
                Event::Closed(closed) => self.closed = Some(closed),
            }
        }
        if self.closed.is_some() {
            assert_eq!(self.tunnel.poll_timeout(), None, "a closed session waits for nothing");
        }
        (sealed, paths)
    }

    pub(super) fn seal(&mut self, content: &[u8]) -> Option<Bytes> {
        self.sealer.as_mut().map(|sealer| seal(sealer, content))
    }

    /// Whether an authentic packet came that is newer than all before.
    fn receive(&mut self, now: Instant, path: &Path, datagram: &mut [u8]) -> bool {
        match self.tunnel.classify(path, datagram) {
            Class::Control => self.tunnel.handle_datagram(now, path, datagram),
            Class::Ignore => {}
            Class::Data(tag) => {
                let Some(opened) = self.openers.get_mut(&tag).and_then(|opener| opener.open(datagram).ok()) else {
                    self.unopened += 1;
                    return false;
                };
                match opened.content {
                    Content::Packet(range) => self.opened.push(datagram[range].to_vec()),
                    Content::Message(range) => {
                        self.exit_notices += usize::from(datagram[range.clone()].len() == 17);
                        self.tunnel.handle_message(now, &datagram[range]);
                    }
                    Content::Unpacked | Content::Filler => {}
                }
                return opened.newest;
            }
        }
        false
    }

    fn on_key_change(&mut self, change: KeyChange<DataSealer, DataOpener>) {
        let text = match change {
            KeyChange::AddOpener { tag, opener, .. } => {
                self.openers.insert(tag, opener);
                format!("+{}", tag.0)
            }
            KeyChange::SetSealer { sealer, .. } => {
                let text = format!("{sealer:?}");
                self.sealer = Some(sealer);
                let bytes = text.split("bytes: [").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
                format!("seal {}", bytes.parse::<u8>().unwrap() & 7)
            }
            KeyChange::RemoveOpener { tag } => {
                assert!(self.openers.remove(&tag).is_some(), "removed twice: {tag:?}");
                format!("-{}", tag.0)
            }
            KeyChange::RemoveFlow { .. } => {
                self.sealer = None;
                "no flow".to_owned()
            }
        };
        self.keys.push(text);
    }
}

impl Net {
    /// Starts one more client.
    pub(super) fn add_client(&mut self) {
        let number = self.clients.len();
        let address = SocketAddr::from(([198, 51, 100, 1 + number as u8], 40_000));
        let path = Path { transport: self.setup.transport, local: None, remote: SERVER };
        let seed = self.setup.seed * 1000 + number as u64;
        let random = Box::new(SeededRandom::new(seed));
        let epoch = Epoch::new(*START, UNIX_START);
        let config = Arc::clone(&self.client_config);
        let session = Session::new(config, 0, Carry::default(), path, random, epoch, self.now).unwrap();
        self.clients.push(Client {
            end: End::new(session),
            address,
            up: Link::new(self.setup.link, seed * 2),
            down: Link::new(self.setup.link, seed * 2 + 1),
        });
    }

    /// Runs until every client is up at both ends.
    pub(super) fn come_up(&mut self) {
        let up = |net: &Self| net.clients.iter().all(|client| !client.end.ups.is_empty());
        assert!(self.run_until(secs(60), up), "{:?}", self.states());
        self.run(Duration::from_millis(100));
        assert_eq!(self.peers.len(), self.clients.len(), "{:?}", self.states());
    }

    pub(super) fn states(&self) -> Vec<String> {
        let clients = self.clients.iter().map(|client| format!("{:?} {:?}", client.end.tunnel, client.end.closed));
        let peers = self.peers.values().chain(&self.gone);
        clients.chain(peers.map(|peer| format!("{:?} {:?}", peer.end.tunnel, peer.end.closed))).collect()
    }

    /// The only client.
    pub(super) fn client(&mut self) -> &mut End<Session> {
        &mut self.clients[0].end
    }

    /// The only peer.
    pub(super) fn peer(&mut self) -> &mut Peer {
        assert_eq!(self.peers.len(), 1, "{:?}", self.states());
        self.peers.values_mut().next().unwrap()
    }

    /// Why the first client's session ended.
    pub(super) fn client_error(&self) -> &SessionError {
        let closed = self.clients[0].end.closed.as_ref();
        closed.unwrap_or_else(|| panic!("{:?}", self.states())).source.downcast_ref().unwrap()
    }

    /// How the last session of the server ended, and why.
    pub(super) fn server_error(&self) -> (CloseKind, &ServerSessionError) {
        let closed = self.gone.last().and_then(|peer| peer.end.closed.as_ref());
        let closed = closed.unwrap_or_else(|| panic!("{:?}", self.states()));
        (closed.kind, closed.source.downcast_ref().unwrap())
    }

    /// The server's driver does something with its session of the only peer.
    pub(super) fn with_peer(&mut self, act: impl FnOnce(&mut ServerSession, Instant)) {
        let now = self.now;
        act(&mut self.peer().end.tunnel, now);
        self.settle();
    }

    pub(super) fn with_client(&mut self, act: impl FnOnce(&mut Session, Instant)) {
        let now = self.now;
        act(&mut self.clients[0].end.tunnel, now);
        self.settle();
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

    /// One packet each way between each client and its peer.
    pub(super) fn assert_traffic_flows(&mut self) {
        for number in 0..self.clients.len() {
            let packet = numbered(self.now.duration_since(*START).as_micros() as u64 + number as u64);
            let id = self.peer_of(number);
            self.client_sends(number, &packet);
            self.run(Duration::from_millis(500));
            assert_eq!(self.peers[&id].end.opened.last(), Some(&packet), "at the server");
            self.peer_sends(id, &packet);
            self.run(Duration::from_millis(500));
            assert_eq!(self.clients[number].end.opened.last(), Some(&packet), "at the client");
        }
    }

    /// The peer at the client's address, of which there is one.
    pub(super) fn peer_of(&self, client: usize) -> PeerId {
        let address = self.clients[client].address;
        let mut there = self.peers.iter().filter(|(_, peer)| peer.path.remote == address).map(|(id, _)| *id);
        there.next().unwrap_or_else(|| panic!("no peer at {address}: {:?}", self.states()))
    }

    pub(super) fn client_sends(&mut self, client: usize, content: &[u8]) {
        let Client { end, up, .. } = &mut self.clients[client];
        up.send(self.now, end.seal(content).expect("a sealer"));
    }

    pub(super) fn peer_sends(&mut self, peer: PeerId, content: &[u8]) {
        let peer = self.peers.get_mut(&peer).expect("a peer");
        let (datagram, path) = (peer.end.seal(content).expect("a sealer"), peer.path);
        self.send_to_client(Transmit { path, datagram });
    }

    /// Both ends of the only tunnel send a numbered packet now and then.
    pub(super) fn start_traffic(&mut self, every: Duration) {
        self.traffic = Some((every, self.now, 0));
    }

    /// Stops it, waits for what is under way, and looks whether everything arrived.
    pub(super) fn assert_nothing_lost(&mut self) {
        let (_, _, count) = self.traffic.take().expect("traffic");
        self.run(secs(1));
        assert!(count > 0);
        assert_eq!(missing(&self.peer().end.opened, count), [0; 0], "at the server");
        assert_eq!(missing(&self.client().opened, count), [0; 0], "at the client");
    }

    /// Gives the server a datagram at once, from any address; returns what it answered to that address.
    pub(super) fn inject_from(&mut self, from: SocketAddr, datagram: &[u8]) -> Vec<Bytes> {
        self.receive_at_server(from, datagram.to_vec());
        self.settle();
        let (to_it, stray) = std::mem::take(&mut self.stray).into_iter().partition(|sent| sent.path.remote == from);
        self.stray = stray;
        let to_it: Vec<Transmit> = to_it;
        to_it.into_iter().map(|sent| sent.datagram).collect()
    }

    /// Drains both ends. Called after each input, as the contract wants it.
    pub(super) fn settle(&mut self) {
        for client in &mut self.clients {
            let (sealed, _) = client.end.drain();
            sealed.into_iter().for_each(|datagram| client.up.send(self.now, datagram));
            while let Some(transmit) = client.end.tunnel.poll_transmit() {
                client.up.send(self.now, transmit.datagram);
            }
        }
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            self.settle_peer(id);
        }
    }

    fn settle_peer(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let (sealed, paths) = peer.end.drain();
        let mut out: Vec<Transmit> =
            sealed.into_iter().map(|datagram| Transmit { path: peer.path, datagram }).collect();
        if let Some(path) = paths.last() {
            peer.path = *path;
            peer.paths.extend(paths);
        }
        let applicant = peer.end.tunnel.poll_applicant();
        while let Some(transmit) = peer.end.tunnel.poll_transmit() {
            out.push(transmit);
        }
        let over = peer.end.closed.is_some();
        out.into_iter().for_each(|transmit| self.send_to_client(transmit));
        if let Some(applicant) = applicant {
            self.judge(id, applicant);
        }
        if over && let Some(peer) = self.peers.remove(&id) {
            self.gone.push(peer);
            self.server.forget(id);
        }
    }

    fn judge(&mut self, id: PeerId, applicant: Applicant) {
        let password = |applicant: &Applicant| applicant.login.as_ref().map(|login| login.password.expose().to_vec());
        let right = applicant.login.is_none() || password(&applicant) == Some(b"password".to_vec());
        let verdict = if right { Verdict::Admitted(Box::new(network(id))) } else { Verdict::Refused };
        let (wait, verdict) = match self.setup.owner {
            Owner::Checks => (Duration::ZERO, verdict),
            Owner::ChecksAfter(wait) => (wait, verdict),
            Owner::NeverAnswers => (secs(1_000_000), verdict),
            Owner::HasNoAddress => (Duration::ZERO, Verdict::NoAddress),
            Owner::Says(wait) => (Duration::ZERO, Verdict::Later(wait)),
        };
        self.peers.get_mut(&id).unwrap().applicants.push(applicant);
        if wait.is_zero() {
            self.peers.get_mut(&id).unwrap().end.tunnel.handle_verdict(self.now, verdict);
            return self.settle_peer(id);
        }
        self.verdicts.push((self.now + wait, id, verdict));
    }

    fn send_to_client(&mut self, transmit: Transmit) {
        match self.clients.iter_mut().find(|client| client.address == transmit.path.remote) {
            Some(client) => client.down.send(self.now, transmit.datagram),
            None => self.stray.push(transmit),
        }
    }

    fn receive_at_server(&mut self, from: SocketAddr, mut datagram: Vec<u8>) {
        let path = Path { transport: self.setup.transport, local: Some(SERVER), remote: from };
        match self.server.route(&path, &datagram) {
            Routing::Drop => self.dropped += 1,
            Routing::Peer(id) => {
                let Some(peer) = self.peers.get_mut(&id) else { return };
                let newest = peer.end.receive(self.now, &path, &mut datagram);
                if newest && path != peer.path {
                    peer.end.tunnel.handle_peer_path(self.now, &path);
                }
            }
            Routing::New => match self.server.accept(self.now, &path, &mut datagram) {
                Accept::Reply(transmit) => self.send_to_client(transmit),
                Accept::Drop => self.dropped += 1,
                Accept::Peer(id, tunnel) => {
                    let (applicants, paths) = (Vec::new(), Vec::new());
                    let peer = Peer { end: End::new(*tunnel), path, applicants, paths };
                    assert!(self.peers.insert(id, peer).is_none(), "{id:?} is given twice");
                }
            },
        }
    }

    /// Jumps to the next thing that happens; `false` once that lies after `until`.
    fn step(&mut self, until: Instant) -> bool {
        self.settle();
        let links = self.clients.iter().flat_map(|client| [client.up.next_arrival(), client.down.next_arrival()]);
        let clients = self.clients.iter().map(|client| client.end.tunnel.poll_timeout());
        let peers = self.peers.values().map(|peer| peer.end.tunnel.poll_timeout());
        let verdicts = self.verdicts.iter().map(|(at, ..)| Some(*at));
        let traffic = self.traffic.map(|(_, next, _)| next);
        let next = links.chain(clients).chain(peers).chain(verdicts).chain([traffic]).flatten().min();
        let Some(next) = next.filter(|at| *at <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(next);
        self.act();
        true
    }

    fn act(&mut self) {
        self.send_numbered();
        for number in 0..self.clients.len() {
            let address = self.clients[number].address;
            while let Some(datagram) = self.clients[number].up.arrived(self.now) {
                self.receive_at_server(address, datagram.to_vec());
                self.settle();
            }
            while let Some(datagram) = self.clients[number].down.arrived(self.now) {
                let path = Path { transport: self.setup.transport, local: None, remote: SERVER };
                self.clients[number].end.receive(self.now, &path, &mut datagram.to_vec());
                self.settle();
            }
            if self.clients[number].end.tunnel.poll_timeout().is_some_and(|at| at <= self.now) {
                self.clients[number].end.tunnel.handle_timeout(self.now);
                self.settle();
            }
        }
        for peer in self.peers.values_mut() {
            if peer.end.tunnel.poll_timeout().is_some_and(|at| at <= self.now) {
                peer.end.tunnel.handle_timeout(self.now);
                assert!(
                    peer.end.tunnel.poll_timeout().is_none_or(|at| at > self.now),
                    "a deadline that does not go away"
                );
            }
        }
        self.settle();
        let due = |(at, ..): &mut (Instant, PeerId, Verdict)| *at <= self.now;
        let verdicts: Vec<_> = self.verdicts.extract_if(.., due).collect();
        for (_, id, verdict) in verdicts {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.end.tunnel.handle_verdict(self.now, verdict);
            }
        }
        self.settle();
    }

    fn send_numbered(&mut self) {
        let Some((every, next, number)) = self.traffic.filter(|(_, next, _)| *next <= self.now) else { return };
        self.traffic = Some((every, next + every, number + 1));
        let id = *self.peers.keys().next().expect("a peer");
        self.client_sends(0, &numbered(number));
        self.peer_sends(id, &numbered(number));
    }
}

/// What the owner gives a peer.
pub(super) fn network(peer: PeerId) -> NetworkConfig {
    let address = Ipv4Addr::from(0x0a08_0000 + peer.0 + 1);
    NetworkConfig {
        addresses: vec![IpNet::new(address, 24).unwrap()],
        gateway4: Some(Ipv4Addr::new(10, 8, 0, 1)),
        ..NetworkConfig::default()
    }
}

/// Clients must show certificates of the test CA.
pub(super) fn certificates_required() -> ClientCheck {
    let anchors = ClientAnchors { ca: vec![pki::CA.as_ref().der().clone()], crls: Vec::new() };
    ClientCheck { certificates: ClientCertificates::Required(anchors), login: false }
}

pub(super) const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1194);
