//! The answering end of the toy protocol. A hello may say, each after a semicolon: `name=NAME` (proved), `user=NAME`,
//! `password=WORD`, `ask=ADDRESS`, `alone`; `echo` is answered by itself, and remembered by nobody. `again` during a tunnel asks
//! to be let in once more.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use adit_tunnel::{
    Accept, Answer, Answering, Applicant, Class, CloseKind, Closed, Event, FlowId, KeyChange, KeyTag, Listener, Login,
    NetworkConfig, Path, PeerId, Retry, Routing, Transmit, Tunnel, Verdict,
};
use bytes::Bytes;

use super::toy::*;

/// Makes a tunnel for each stranger that says hello.
#[derive(Default)]
pub(super) struct ToyListener {
    pub(super) peers: HashMap<SocketAddr, PeerId>,
    /// Tunnels that exist.
    pub(super) alive: Arc<AtomicUsize>,
    /// Whether it leaves without a word.
    pub(super) mute: bool,
}

/// How long a peer may be silent.
pub(super) const PATIENCE: Duration = Duration::from_millis(1500);

impl Listener for ToyListener {
    type Tunnel = ToyServer;

    fn route(&self, path: &Path, datagram: &[u8]) -> Routing {
        match (datagram, self.peers.get(&path.remote)) {
            ([DATA, key, ..], _) => Routing::Peer(PeerId((*key).into())),
            (_, Some(peer)) => Routing::Peer(*peer),
            ([HELLO, ..], None) => Routing::New,
            _ => Routing::Drop,
        }
    }

    fn accept(&mut self, now: Instant, path: &Path, datagram: &mut [u8]) -> Accept<ToyServer> {
        let hello = String::from_utf8_lossy(&datagram[1..]).into_owned();
        if hello == "echo" {
            return Accept::Reply(Transmit { path: *path, datagram: Bytes::copy_from_slice(datagram) });
        }
        let taken = |id: &u8| self.peers.values().any(|peer| peer.0 == u32::from(*id));
        let Some(id) = (1..=u8::MAX).find(|id| !taken(id)) else { return Accept::Drop };
        self.peers.insert(path.remote, PeerId(id.into()));
        let tunnel = ToyServer::new(id, *path, now, Alive::new(&self.alive), self.mute, &hello);
        Accept::Peer(PeerId(id.into()), Box::new(tunnel))
    }

    fn forget(&mut self, peer: PeerId) {
        self.peers.retain(|_, other| *other != peer);
    }
}

/// Counts while it lives.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

pub(super) struct ToyServer {
    id: u8,
    path: Path,
    _alive: Alive,
    mute: bool,
    address: Option<[u8; 4]>,
    closed: bool,
    heard: Instant,
    applicants: VecDeque<Applicant>,
    events: VecDeque<Event<ToySealer, ToyOpener>>,
    out: VecDeque<Transmit>,
}

impl ToyServer {
    fn new(id: u8, path: Path, now: Instant, alive: Alive, mute: bool, hello: &str) -> Self {
        let mut server = Self {
            id,
            path,
            _alive: alive,
            mute,
            address: None,
            closed: false,
            heard: now,
            applicants: VecDeque::new(),
            events: VecDeque::new(),
            out: VecDeque::new(),
        };
        server.apply(hello);
        server
    }

    fn apply(&mut self, hello: &str) {
        let said =
            |key: &str| hello.split(';').find_map(|part| Some(part.strip_prefix(key)?.strip_prefix('=')?.to_owned()));
        let login =
            said("user").map(|user| Login { user, password: said("password").unwrap_or_default().as_str().into() });
        let asked: Option<IpAddr> = said("ask").map(|address| address.parse().expect("an address"));
        self.applicants.push_back(Applicant {
            identity: said("name"),
            login,
            addresses: asked.into_iter().collect(),
            alone: hello.split(';').any(|part| part == "alone"),
            again: self.address.is_some(),
        });
    }

    fn send(&mut self, bytes: &[u8]) {
        self.out.push_back(Transmit { path: self.path, datagram: Bytes::copy_from_slice(bytes) });
    }

    fn welcome(&mut self) {
        if let Some(address) = self.address {
            let id = self.id;
            self.send(&[&[WELCOME, id], &address[..]].concat());
        }
    }

    fn end(&mut self, kind: CloseKind, why: &str) {
        self.closed = true;
        self.events.push_back(Event::Closed(Closed { kind, source: why.into(), retry: Retry::Never }));
    }
}

impl Answering for ToyServer {
    fn poll_applicant(&mut self) -> Option<Applicant> {
        self.applicants.pop_front()
    }

    fn handle_verdict(&mut self, _: Instant, verdict: Verdict) {
        match verdict {
            Verdict::Admitted(_) if self.address.is_some() => {}
            Verdict::Admitted(network) => {
                let IpAddr::V4(address) = network.addresses[0].address() else { panic!("an IPv4 pool") };
                self.address = Some(address.octets());
                let keys = [
                    KeyChange::AddOpener {
                        tag: KeyTag(self.id.into()),
                        flow: FlowId(0),
                        opener: Box::new(ToyOpener::new()),
                    },
                    KeyChange::SetSealer { flow: FlowId(0), selectors: Vec::new(), sealer: Box::new(ToySealer::new()) },
                ];
                self.events.extend(keys.map(Event::Keys));
                self.events.push_back(Event::Up(NetworkConfig { mtu: 1400, tcp_mtu: 1400, ..*network }));
                self.welcome();
            }
            Verdict::Refused => {
                self.send(&[REJECT]);
                self.end(CloseKind::PeerNotAuthenticated, "not let in");
            }
            Verdict::NoAddress | Verdict::Later(_) => {
                self.send(&[BUSY]);
                self.end(CloseKind::Local, "no room");
            }
        }
    }
}

impl Tunnel for ToyServer {
    type Sealer = ToySealer;
    type Opener = ToyOpener;

    fn classify(&self, _: &Path, datagram: &[u8]) -> Class {
        match datagram {
            [DATA, key, ..] => Class::Data(KeyTag((*key).into())),
            [HELLO | BYE, ..] => Class::Control,
            _ => Class::Ignore,
        }
    }

    fn handle_datagram(&mut self, now: Instant, _: &Path, datagram: &mut [u8]) {
        if self.closed {
            return;
        }
        self.heard = now;
        match datagram {
            [HELLO, hello @ ..] if hello.ends_with(b"again") => {
                let hello = String::from_utf8_lossy(hello).into_owned();
                self.apply(&hello);
            }
            [HELLO, ..] => self.welcome(),
            _ => self.end(CloseKind::PeerClosed, "the peer left"),
        }
    }

    fn handle_message(&mut self, now: Instant, _: &[u8]) {
        self.heard = now;
        self.events.push_back(Event::Inject { flow: FlowId(0), packet: Bytes::from_static(&[PING]) });
    }

    fn handle_peer_path(&mut self, _: Instant, path: &Path) {
        self.path = *path;
        self.events.push_back(Event::Path(*path));
    }

    fn handle_path(&mut self, _: Instant, _: &Path) {}

    fn handle_answer(&mut self, _: Instant, _: Answer) {}

    fn handle_timeout(&mut self, now: Instant) {
        if !self.closed && now >= self.heard + PATIENCE {
            self.end(CloseKind::TimedOut, "the peer is silent");
        }
    }

    fn close(&mut self, _: Instant) {
        // A mute one never comes to an end.
        if !self.closed && !self.mute {
            self.send(&[EXPIRE]);
            self.end(CloseKind::Local, "closed");
        }
    }

    fn poll_event(&mut self) -> Option<Event<ToySealer, ToyOpener>> {
        self.events.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (!self.closed).then(|| self.heard + PATIENCE)
    }
}
