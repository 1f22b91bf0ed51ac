//! A tunnel protocol of one round trip, that hides nothing from nobody: what the driver needs to be tested.

use std::{
    collections::VecDeque,
    error::Error,
    net::Ipv4Addr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use adit_driver::{Failure, Protocol, Remote, RetryPolicy, SocketOptions};
use adit_tunnel::{
    Answer, Class, CloseKind, Closed, Content, Dns, Epoch, Event, FlowId, IpNet, KeyChange, KeyTag, NetworkConfig,
    OpenError, Opened, Opener, Path, Prompt, Random, Retry, SealError, Sealer, Transmit, Tunnel,
};
use bytes::Bytes;
use tokio::sync::watch;

pub(super) const HELLO: u8 = 1;
pub(super) const WELCOME: u8 = 2;
pub(super) const BYE: u8 = 3;
pub(super) const REJECT: u8 = 4;
pub(super) const BUSY: u8 = 5;
pub(super) const REDIRECT: u8 = 6;
pub(super) const CHALLENGE: u8 = 7;
/// An answer that makes the tunnel start over.
pub(super) const RETRY: &[u8] = b"retry";
pub(super) const ANSWER: u8 = 8;
pub(super) const EXPIRE: u8 = 9;
/// With a port: the gateway goes on there.
pub(super) const MOVE: u8 = 10;
/// With a number: the end, of that kind.
pub(super) const END: u8 = 11;
/// The kinds of end by their number.
pub(super) const KINDS: [CloseKind; 8] = [
    CloseKind::Local,
    CloseKind::PeerClosed,
    CloseKind::TimedOut,
    CloseKind::PeerNotAuthenticated,
    CloseKind::AuthFailed,
    CloseKind::NoAgreement,
    CloseKind::PeerMisbehaved,
    CloseKind::Internal,
];
/// Not who it should be, this time.
pub(super) const STRANGER: u8 = 12;
pub(super) const DATA: u8 = 16;
/// The first byte of a message among packets.
pub(super) const PING: u8 = 0xfe;

const HEADER: usize = 6;
const TRAILER: usize = 4;
const RESEND: Duration = Duration::from_millis(100);
const PING_EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_millis(1500);

/// Makes toy tunnels.
pub(super) struct Toy {
    remotes: Vec<Remote>,
    pub(super) policy: RetryPolicy,
    /// Until a gateway that never answered counts as dead, and until one that was up does.
    pub(super) patience: Duration,
    pub(super) started: Arc<AtomicUsize>,
    pub(super) finished: Arc<AtomicUsize>,
    /// What becomes of the tunnel's deadlines.
    pub(super) deadlines: Deadlines,
    /// Where the driver said that we are now.
    pub(super) roamed: watch::Sender<Option<Path>>,
    /// How often the driver said that the network cannot reach the gateway.
    pub(super) unreachable: Arc<AtomicUsize>,
    /// What a hello says besides: see [`super::toy_gateway`].
    pub(super) hello: String,
    /// The gateway's own address inside.
    pub(super) gateway: Option<Ipv4Addr>,
    /// What the gateway carries; empty is everything.
    pub(super) selectors: Vec<IpNet>,
}

pub(super) type Deadlines = Arc<dyn Fn(Option<Instant>) -> Option<Instant> + Send + Sync>;

impl Toy {
    pub(super) fn new(remotes: impl Into<Vec<Remote>>) -> Self {
        Self {
            remotes: remotes.into(),
            policy: RetryPolicy {
                first_wait: Duration::from_millis(20),
                longest_wait: Duration::from_millis(100),
                doubling_from_round: 5,
                rounds: None,
                shuffle: false,
            },
            patience: PATIENCE,
            started: Arc::default(),
            finished: Arc::default(),
            deadlines: Arc::new(|deadline| deadline),
            roamed: watch::Sender::new(None),
            unreachable: Arc::default(),
            hello: String::new(),
            gateway: None,
            selectors: Vec::new(),
        }
    }
}

impl Protocol for Toy {
    type Tunnel = ToyTunnel;

    fn remotes(&self) -> Vec<Remote> {
        self.remotes.clone()
    }

    fn retry_policy(&self) -> RetryPolicy {
        self.policy.clone()
    }

    fn socket_options(&self) -> SocketOptions {
        SocketOptions::default()
    }

    fn start(
        &mut self,
        _: usize,
        path: Path,
        _: Box<dyn Random>,
        _: Epoch,
        now: Instant,
    ) -> Result<ToyTunnel, Box<dyn Error + Send + Sync>> {
        self.started.fetch_add(1, Relaxed);
        Ok(ToyTunnel::new(path, self, now))
    }

    fn hint(&self, failure: &Failure) -> Option<&'static str> {
        (!failure.was_up()).then_some("the protocol's own")
    }

    fn finished(&mut self, _: ToyTunnel) {
        self.finished.fetch_add(1, Relaxed);
    }
}

pub(super) struct ToyTunnel {
    path: Path,
    up: bool,
    closed: bool,
    patience: Duration,
    deadlines: Deadlines,
    roamed: watch::Sender<Option<Path>>,
    unreachable: Arc<AtomicUsize>,
    hello: Vec<u8>,
    gateway: Option<Ipv4Addr>,
    selectors: Vec<IpNet>,
    heard: Instant,
    next: Instant,
    events: VecDeque<Event<ToySealer, ToyOpener>>,
    out: VecDeque<Transmit>,
}

impl ToyTunnel {
    fn new(path: Path, toy: &Toy, now: Instant) -> Self {
        let mut tunnel = Self {
            path,
            up: false,
            closed: false,
            patience: toy.patience,
            deadlines: Arc::clone(&toy.deadlines),
            roamed: toy.roamed.clone(),
            unreachable: Arc::clone(&toy.unreachable),
            hello: [&[HELLO], toy.hello.as_bytes()].concat(),
            gateway: toy.gateway,
            selectors: toy.selectors.clone(),
            heard: now,
            next: now + RESEND,
            events: VecDeque::new(),
            out: VecDeque::new(),
        };
        tunnel.hello();
        tunnel
    }

    fn hello(&mut self) {
        let hello = self.hello.clone();
        self.send(&hello);
    }

    fn send(&mut self, bytes: &[u8]) {
        self.out.push_back(Transmit { path: self.path, datagram: Bytes::copy_from_slice(bytes) });
    }

    fn end(&mut self, kind: CloseKind, why: &str, retry: Retry) {
        self.closed = true;
        self.events.push_back(Event::Closed(Closed { kind, source: why.into(), retry }));
    }

    /// `key` is what our datagrams are to bear.
    fn on_welcome(&mut self, now: Instant, key: u8, address: [u8; 4]) {
        if self.up {
            return;
        }
        self.up = true;
        self.next = now + PING_EVERY;
        let opener = Box::new(ToyOpener { seen: 0, scratch: Vec::new() });
        let keys = [
            KeyChange::AddOpener { tag: KeyTag(1), flow: FlowId(0), opener },
            KeyChange::SetSealer {
                flow: FlowId(0),
                selectors: self.selectors.clone(),
                sealer: Box::new(ToySealer { key, sequence: 0 }),
            },
        ];
        self.events.extend(keys.map(Event::Keys));
        self.events.push_back(Event::Up(NetworkConfig {
            addresses: vec![IpNet::new(address, 24).expect("a prefix")],
            gateway4: self.gateway,
            mtu: 1400,
            tcp_mtu: 1400,
            dns: Dns { servers: vec![[10, 9, 0, 1].into()], ..Dns::default() },
            ..NetworkConfig::default()
        }));
        // Acknowledges: the driver takes that for an answer to something valid.
        self.send(&[PING]);
    }
}

impl Tunnel for ToyTunnel {
    type Sealer = ToySealer;
    type Opener = ToyOpener;

    fn classify(&self, _: &Path, datagram: &[u8]) -> Class {
        match datagram {
            [DATA, key, ..] => Class::Data(KeyTag((*key).into())),
            [HELLO..=STRANGER, ..] => Class::Control,
            _ => Class::Ignore,
        }
    }

    fn handle_datagram(&mut self, now: Instant, _: &Path, datagram: &mut [u8]) {
        if self.closed {
            return;
        }
        match datagram {
            [WELCOME] => self.on_welcome(now, 1, [10, 9, 0, 2]),
            [WELCOME, key, a, b, c, d] => self.on_welcome(now, *key, [*a, *b, *c, *d]),
            [REJECT] => self.end(CloseKind::AuthFailed, "wrong password", Retry::FreshCredentials),
            [BUSY] => self.end(CloseKind::PeerClosed, "the gateway is full", Retry::NextRemote),
            [BYE] => self.end(CloseKind::PeerClosed, "the gateway left", Retry::After(Duration::ZERO)),
            [EXPIRE] => self.end(CloseKind::TimedOut, "the session is over", Retry::Never),
            [CHALLENGE] => {
                self.events.push_back(Event::Prompt(Prompt::Challenge { text: "code?".into(), echo: false }));
            }
            [STRANGER] => self.end(CloseKind::PeerNotAuthenticated, "another name", Retry::NextRemote),
            [END, kind] => self.end(KINDS[usize::from(*kind)], "it ended", Retry::Never),
            [MOVE, high, low] => {
                self.path.remote.set_port(u16::from_be_bytes([*high, *low]));
                self.events.push_back(Event::Path(self.path));
                self.send(&[HELLO]);
            }
            [REDIRECT, host @ ..] => {
                let host = String::from_utf8_lossy(host).into_owned();
                self.end(CloseKind::PeerClosed, "go elsewhere", Retry::Redirect(host));
            }
            _ => return,
        }
        self.heard = now;
    }

    fn handle_message(&mut self, now: Instant, _: &[u8]) {
        self.heard = now;
    }

    fn handle_peer_path(&mut self, _: Instant, path: &Path) {
        self.path = *path;
        self.events.push_back(Event::Path(*path));
    }

    fn handle_path(&mut self, _: Instant, path: &Path) {
        self.path = *path;
        self.roamed.send_replace(Some(*path));
    }

    fn handle_unreachable(&mut self, _: Instant) {
        self.unreachable.fetch_add(1, Relaxed);
    }

    fn handle_answer(&mut self, _: Instant, answer: Answer) {
        match answer {
            Answer::Response(text) if text.expose() == RETRY => {
                self.end(CloseKind::AuthFailed, "the answer goes with the next attempt", Retry::After(Duration::ZERO));
            }
            Answer::Response(text) => self.send(&[&[ANSWER], text.expose()].concat()),
            Answer::Cancelled => self.end(CloseKind::AuthFailed, "nobody answered", Retry::FreshCredentials),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        if now >= self.heard + self.patience {
            self.end(CloseKind::TimedOut, "the gateway does not answer", Retry::NextRemote);
        } else if now >= self.next && self.up {
            self.next = now + PING_EVERY;
            self.events.push_back(Event::Inject { flow: FlowId(0), packet: Bytes::from_static(&[PING]) });
        } else if now >= self.next {
            self.next = now + RESEND;
            self.hello();
        }
    }

    fn close(&mut self, _: Instant) {
        if !self.closed {
            self.send(&[BYE]);
            self.end(CloseKind::Local, "closed", Retry::Never);
        }
    }

    fn poll_event(&mut self) -> Option<Event<ToySealer, ToyOpener>> {
        self.events.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (self.deadlines)((!self.closed).then(|| self.next.min(self.heard + self.patience)))
    }
}

#[derive(Debug)]
pub(super) struct ToySealer {
    key: u8,
    sequence: u32,
}

impl ToySealer {
    pub(super) const fn new() -> Self {
        Self::with_key(1)
    }

    pub(super) const fn with_key(key: u8) -> Self {
        Self { key, sequence: 0 }
    }
}

impl Sealer for ToySealer {
    fn header_len(&self) -> usize {
        HEADER
    }

    fn sealed_len(&self, packet_len: usize) -> usize {
        HEADER + packet_len + TRAILER
    }

    fn seal(&mut self, buf: &mut [u8], packet: Range<usize>) -> Result<Range<usize>, SealError> {
        if packet.start < HEADER || buf.len() < packet.end + TRAILER {
            return Err(SealError::NoRoom);
        }
        self.sequence += 1;
        let start = packet.start - HEADER;
        buf[start] = DATA;
        buf[start + 1] = self.key;
        buf[start + 2..packet.start].copy_from_slice(&self.sequence.to_be_bytes());
        let sum = checksum(&buf[start..packet.end]);
        buf[packet.clone()].iter_mut().for_each(|byte| *byte ^= 0x5a);
        buf[packet.end..packet.end + TRAILER].copy_from_slice(&sum.to_be_bytes());
        Ok(start..packet.end + TRAILER)
    }
}

#[derive(Debug)]
pub(super) struct ToyOpener {
    seen: u32,
    scratch: Vec<u8>,
}

impl ToyOpener {
    pub(super) const fn new() -> Self {
        Self { seen: 0, scratch: Vec::new() }
    }
}

impl Opener for ToyOpener {
    fn open(&mut self, datagram: &mut [u8]) -> Result<Opened, OpenError> {
        let end = datagram.len().checked_sub(TRAILER).filter(|end| *end >= HEADER).ok_or(OpenError::Malformed)?;
        datagram[HEADER..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
        if checksum(&datagram[..end]).to_be_bytes() != datagram[end..] {
            return Err(OpenError::Forged);
        }
        let sequence = u32::from_be_bytes([datagram[2], datagram[3], datagram[4], datagram[5]]);
        let newest = sequence > self.seen;
        self.seen = self.seen.max(sequence);
        let content = match datagram.get(HEADER) {
            Some(&PING) => Content::Message(HEADER..end),
            _ => Content::Packet(HEADER..end),
        };
        Ok(Opened { content, newest })
    }

    fn unpacked(&self) -> &[u8] {
        &self.scratch
    }
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
