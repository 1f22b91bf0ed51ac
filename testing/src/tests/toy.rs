//! A protocol that hides nothing: a cookie, a handshake of one round trip, a rekey by the client, pings, and a data plane.
//!
//! ```text
//!  HELLO { session } -->                    <-- COOKIE { session, cookie }
//!  HELLO { session, cookie } -->            <-- WELCOME { session, peer, address }
//!  REKEY { peer, tag } -->                  <-- REKEYED { session, tag }
//!  BYE { peer } -->                         <-- BYE { session }
//!  DATA { peer or 0, tag, sequence, packet, checksum over it with the key }
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
    time::{Duration, Instant},
};

use adit_tunnel::{
    Accept, Answer, Answering, Applicant, Class, CloseKind, Closed, Content, Event, FlowId, IpNet, KeyChange, KeyTag,
    Listener, NetworkConfig, OpenError, Opened, Opener, Path, PeerId, ReplayWindow, Retry, Routing, SealError, Sealer,
    Transmit, Tunnel, Verdict,
};
use bytes::Bytes;

use crate::{Birth, ListenerBirth};

const HELLO: u8 = 1;
const COOKIE: u8 = 2;
const WELCOME: u8 = 3;
const REKEY: u8 = 4;
const REKEYED: u8 = 5;
const BYE: u8 = 6;
const DATA: u8 = 16;
const PING: &[u8] = &[0xfe];

const HEADER: usize = 1 + 4 + 4 + 8;
const TRAILER: usize = 8;
const RESEND: Duration = Duration::from_millis(500);
const GIVE_UP: Duration = Duration::from_secs(30);
const REKEY_EVERY: Duration = Duration::from_secs(60);
const LINGER: Duration = Duration::from_secs(5);
const PING_EVERY: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(45);

/// What the toy does wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Faults {
    #[default]
    None,
    DatagramAfterClosed,
    EventAfterClosed,
    DeadlineAfterClosed,
    WakesWhenPoked,
    StuckDeadline,
    Storm,
    FloodOfDatagrams,
    SameOpenerTwice,
    RemovesOpenerTwice,
    SealerBeforeOpener,
    LosesOpener,
    TwoSealers,
    WrongRoom,
    KeysBeforeVerdict,
    AsksTwice,
    TakenName,
    WrongKey,
}

type Toys = Event<ToySealer, ToyOpener>;

/// What both ends have.
struct Core {
    faults: Faults,
    path: Path,
    session: u32,
    peer: u32,
    closed: bool,
    heard: Instant,
    ping: Option<Instant>,
    /// The tag in use, and when the one before it goes.
    tag: u32,
    old: Option<(u32, Instant)>,
    events: VecDeque<Toys>,
    out: VecDeque<Transmit>,
}

impl Core {
    fn new(faults: Faults, path: Path, session: u32, now: Instant) -> Self {
        Self {
            faults,
            path,
            session,
            peer: 0,
            closed: false,
            heard: now,
            ping: None,
            tag: 0,
            old: None,
            events: VecDeque::new(),
            out: VecDeque::new(),
        }
    }

    fn send(&mut self, kind: u8, words: &[u32]) {
        self.out.push_back(Transmit { path: self.path, datagram: make(kind, words) });
    }

    fn end(&mut self, kind: CloseKind, why: &'static str) {
        self.closed = true;
        (self.ping, self.old) = (None, None);
        self.events.push_back(Event::Closed(Closed { kind, source: why.into(), retry: Retry::Never }));
        if self.faults == Faults::EventAfterClosed {
            self.events.push_back(Event::Path(self.path));
        }
    }

    fn add_opener(&mut self, tag: u32) {
        for _ in 0..if self.faults == Faults::SameOpenerTwice { 2 } else { 1 } {
            let opener = ToyOpener { key: key(self.session, tag), window: ReplayWindow::new(64), scratch: Vec::new() };
            self.events.push_back(Event::Keys(KeyChange::AddOpener {
                tag: KeyTag(tag),
                flow: FlowId(0),
                opener: Box::new(opener),
            }));
        }
    }

    fn set_sealer(&mut self, tag: u32, peer: u32) {
        for flow in 0..if self.faults == Faults::TwoSealers { 2 } else { 1 } {
            let wrong = u64::from(self.faults == Faults::WrongKey);
            let sealer = ToySealer { peer, tag, key: key(self.session, tag) ^ wrong, sequence: 0, faults: self.faults };
            self.events.push_back(Event::Keys(KeyChange::SetSealer {
                flow: FlowId(flow),
                selectors: Vec::new(),
                sealer: Box::new(sealer),
            }));
        }
    }

    fn begin(&mut self, now: Instant, peer: u32, network: NetworkConfig) {
        if self.faults == Faults::SealerBeforeOpener {
            self.set_sealer(1, peer);
            self.add_opener(1);
        } else {
            self.add_opener(1);
            if self.faults == Faults::TwoSealers {
                let opener = ToyOpener { key: 0, window: ReplayWindow::new(64), scratch: Vec::new() };
                self.events.push_back(Event::Keys(KeyChange::AddOpener {
                    tag: KeyTag(99),
                    flow: FlowId(1),
                    opener: Box::new(opener),
                }));
            }
            self.set_sealer(1, peer);
        }
        (self.tag, self.ping) = (1, Some(now + PING_EVERY));
        self.events.push_back(Event::Up(network));
        let storm = if self.faults == Faults::Storm { 1000 } else { 0 };
        self.events.extend((0..storm).map(|_| Event::Path(self.path)));
        (0..if self.faults == Faults::FloodOfDatagrams { 1000 } else { 0 }).for_each(|_| self.send(HELLO, &[0]));
    }

    fn retire(&mut self, now: Instant) {
        if let Some((tag, _)) = self.old.take_if(|(_, at)| *at <= now) {
            self.remove_opener(tag);
            if self.faults == Faults::RemovesOpenerTwice {
                self.remove_opener(tag);
            }
            if self.faults == Faults::LosesOpener {
                self.remove_opener(self.tag);
            }
        }
    }

    fn remove_opener(&mut self, tag: u32) {
        self.events.push_back(Event::Keys(KeyChange::RemoveOpener { tag: KeyTag(tag) }));
    }

    fn on_time(&mut self, now: Instant) {
        self.retire(now);
        if self.ping.is_some_and(|at| at <= now) {
            self.ping = Some(now + PING_EVERY);
            self.events.push_back(Event::Inject { flow: FlowId(0), packet: Bytes::from_static(PING) });
        }
        if !self.closed && now >= self.heard + SILENCE {
            self.end(CloseKind::TimedOut, "silence");
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let silence = (!self.closed).then_some(self.heard + SILENCE);
        [self.ping, self.old.map(|(_, at)| at), silence].into_iter().flatten().min()
    }
}

pub(super) struct ToyClient {
    core: Core,
    started: Instant,
    cookie: Option<u32>,
    resend: Option<Instant>,
    /// The tag to come, asked for.
    wanted: Option<u32>,
    rekey: Option<Instant>,
    poked: bool,
}

impl ToyClient {
    pub(super) fn new(mut birth: Birth, faults: Faults) -> Self {
        let session = birth.random.next_u32();
        let mut core = Core::new(faults, birth.path, session, birth.now);
        core.send(HELLO, &[session]);
        let resend = Some(birth.now + RESEND);
        Self { core, started: birth.now, cookie: None, resend, wanted: None, rekey: None, poked: false }
    }

    pub(super) fn rekey(&mut self, now: Instant) {
        if !self.core.closed && self.core.tag != 0 && self.wanted.is_none() && self.core.old.is_none() {
            let tag = self.core.tag + 1;
            self.core.add_opener(tag);
            (self.wanted, self.rekey, self.resend) = (Some(tag), None, Some(now + RESEND));
            self.core.send(REKEY, &[self.core.peer, tag]);
        }
    }

    fn resend(&mut self, now: Instant) {
        self.resend = Some(now + RESEND);
        match (self.wanted, self.cookie) {
            (Some(tag), _) => self.core.send(REKEY, &[self.core.peer, tag]),
            (None, Some(cookie)) => self.core.send(HELLO, &[self.core.session, cookie]),
            (None, None) => self.core.send(HELLO, &[self.core.session]),
        }
        if self.core.tag == 0 && now >= self.started + GIVE_UP {
            self.end(CloseKind::TimedOut, "no answer");
        }
    }

    fn end(&mut self, kind: CloseKind, why: &'static str) {
        (self.resend, self.rekey) = (None, None);
        self.core.end(kind, why);
    }
}

impl Tunnel for ToyClient {
    type Sealer = ToySealer;
    type Opener = ToyOpener;

    fn classify(&self, _: &Path, datagram: &[u8]) -> Class {
        classify(datagram)
    }

    fn handle_datagram(&mut self, now: Instant, _: &Path, datagram: &mut [u8]) {
        let (kind, words) = parse(datagram);
        if self.core.closed {
            if self.core.faults == Faults::DatagramAfterClosed {
                self.core.send(BYE, &[self.core.peer]);
            }
            return;
        }
        if words.first() != Some(&self.core.session) {
            return;
        }
        self.core.heard = now;
        match (kind, &words[1..]) {
            (COOKIE, [cookie]) if self.core.tag == 0 => {
                self.cookie = Some(*cookie);
                self.resend(now);
            }
            (WELCOME, [peer, address]) if self.core.tag == 0 => {
                (self.core.peer, self.resend, self.rekey) = (*peer, None, Some(now + REKEY_EVERY));
                self.core.begin(now, *peer, network(Ipv4Addr::from(*address)));
            }
            (REKEYED, [tag]) if self.wanted == Some(*tag) => {
                (self.wanted, self.resend, self.rekey) = (None, None, Some(now + REKEY_EVERY));
                self.core.old = Some((self.core.tag, now + LINGER));
                self.core.tag = *tag;
                self.core.set_sealer(*tag, self.core.peer);
            }
            (BYE, []) => self.end(CloseKind::PeerClosed, "goodbye"),
            _ => {}
        }
    }

    fn handle_message(&mut self, now: Instant, _: &[u8]) {
        self.core.heard = now;
    }

    fn handle_peer_path(&mut self, _: Instant, _: &Path) {}

    fn handle_path(&mut self, _: Instant, path: &Path) {
        self.core.path = *path;
    }

    fn handle_answer(&mut self, _: Instant, _: Answer) {}

    fn handle_timeout(&mut self, now: Instant) {
        if self.core.closed || self.core.faults == Faults::StuckDeadline {
            return;
        }
        self.core.on_time(now);
        if self.core.closed {
            return self.end_quietly();
        }
        if self.resend.is_some_and(|at| at <= now) {
            self.resend(now);
        }
        if self.rekey.is_some_and(|at| at <= now) {
            self.rekey(now);
        }
    }

    fn close(&mut self, _: Instant) {
        if self.core.closed {
            self.poked = true;
            return;
        }
        self.core.send(BYE, &[self.core.peer]);
        self.end(CloseKind::Local, "closed");
    }

    fn poll_event(&mut self) -> Option<Toys> {
        if self.poked && self.core.faults == Faults::WakesWhenPoked {
            return Some(Event::Path(self.core.path));
        }
        self.core.events.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.core.out.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.core.closed && self.core.faults == Faults::DeadlineAfterClosed {
            return Some(self.core.heard);
        }
        [self.core.deadline(), self.resend, self.rekey].into_iter().flatten().min()
    }
}

impl ToyClient {
    fn end_quietly(&mut self) {
        (self.resend, self.rekey) = (None, None);
    }
}

pub(super) struct ToyListener {
    faults: Faults,
    secret: u32,
    /// The peer of each session.
    peers: BTreeMap<u32, PeerId>,
    names: VecDeque<PeerId>,
    next: u32,
}

impl ToyListener {
    pub(super) fn new(mut birth: ListenerBirth, faults: Faults) -> Self {
        let secret = (birth.randoms)().next_u32();
        Self { faults, secret, peers: BTreeMap::new(), names: VecDeque::new(), next: 1 }
    }

    fn cookie(&self, remote: SocketAddr, session: u32) -> u32 {
        let text = format!("{remote} {session} {}", self.secret);
        checksum(u64::from(self.secret), text.as_bytes()) as u32
    }
}

impl Listener for ToyListener {
    type Tunnel = ToyPeer;

    fn route(&self, _: &Path, datagram: &[u8]) -> Routing {
        match parse(datagram) {
            (HELLO, words) => match words.first().and_then(|session| self.peers.get(session)) {
                Some(peer) => Routing::Peer(*peer),
                None => Routing::New,
            },
            (REKEY | BYE | DATA, words) => match words.first() {
                Some(peer) if *peer != 0 => Routing::Peer(PeerId(*peer)),
                _ => Routing::Drop,
            },
            _ => Routing::Drop,
        }
    }

    fn accept(&mut self, now: Instant, path: &Path, datagram: &mut [u8]) -> Accept<ToyPeer> {
        let (_, words) = parse(datagram);
        match words[..] {
            [session] => {
                let reply = make(COOKIE, &[session, self.cookie(path.remote, session)]);
                Accept::Reply(Transmit { path: *path, datagram: reply })
            }
            [session, cookie] if cookie == self.cookie(path.remote, session) => {
                let name = self.names.pop_front().unwrap_or(PeerId(self.next));
                self.next += u32::from(name.0 == self.next && self.faults != Faults::TakenName);
                self.peers.insert(session, name);
                Accept::Peer(name, Box::new(ToyPeer::new(self.faults, *path, session, name, now)))
            }
            _ => Accept::Drop,
        }
    }

    fn forget(&mut self, peer: PeerId) {
        self.peers.retain(|_, name| *name != peer);
        self.names.push_back(peer);
    }
}

pub(super) struct ToyPeer {
    core: Core,
    applicant: VecDeque<Applicant>,
    address: Option<Ipv4Addr>,
}

impl ToyPeer {
    fn new(faults: Faults, path: Path, session: u32, name: PeerId, now: Instant) -> Self {
        let mut core = Core::new(faults, path, session, now);
        core.peer = name.0;
        let applicant = Applicant {
            identity: Some(format!("session {session}")),
            login: None,
            addresses: vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            alone: false,
            again: false,
        };
        if faults == Faults::KeysBeforeVerdict {
            core.add_opener(1);
        }
        Self { core, applicant: VecDeque::from([applicant]), address: None }
    }

    fn welcome(&mut self) {
        if let Some(address) = self.address {
            self.core.send(WELCOME, &[self.core.session, self.core.peer, address.into()]);
        }
    }
}

impl Tunnel for ToyPeer {
    type Sealer = ToySealer;
    type Opener = ToyOpener;

    fn classify(&self, _: &Path, datagram: &[u8]) -> Class {
        classify(datagram)
    }

    fn handle_datagram(&mut self, now: Instant, path: &Path, datagram: &mut [u8]) {
        let (kind, words) = parse(datagram);
        if self.core.closed {
            return;
        }
        self.core.heard = now;
        self.core.path = *path;
        match (kind, &words[1..]) {
            (HELLO, _) => self.welcome(),
            (REKEY, [tag]) => {
                if *tag == self.core.tag + 1 && self.core.old.is_none() {
                    self.core.add_opener(*tag);
                    self.core.set_sealer(*tag, 0);
                    self.core.old = Some((self.core.tag, now + LINGER));
                    self.core.tag = *tag;
                }
                if *tag == self.core.tag {
                    self.core.send(REKEYED, &[self.core.session, *tag]);
                }
            }
            (BYE, _) => self.core.end(CloseKind::PeerClosed, "goodbye"),
            _ => {}
        }
        if self.core.faults == Faults::AsksTwice && self.address.is_none() {
            self.applicant.extend(self.applicant.front().cloned().or(Some(Applicant {
                identity: None,
                login: None,
                addresses: Vec::new(),
                alone: false,
                again: false,
            })));
        }
    }

    fn handle_message(&mut self, now: Instant, _: &[u8]) {
        self.core.heard = now;
    }

    fn handle_peer_path(&mut self, _: Instant, path: &Path) {
        self.core.path = *path;
        self.core.events.push_back(Event::Path(*path));
    }

    fn handle_path(&mut self, _: Instant, _: &Path) {}

    fn handle_answer(&mut self, _: Instant, _: Answer) {}

    fn handle_timeout(&mut self, now: Instant) {
        if !self.core.closed {
            self.core.on_time(now);
        }
    }

    fn close(&mut self, _: Instant) {
        if !self.core.closed {
            self.core.send(BYE, &[self.core.session]);
            self.core.end(CloseKind::Local, "closed");
        }
    }

    fn poll_event(&mut self) -> Option<Toys> {
        self.core.events.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.core.out.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.core.deadline()
    }
}

impl Answering for ToyPeer {
    fn poll_applicant(&mut self) -> Option<Applicant> {
        self.applicant.pop_front()
    }

    fn handle_verdict(&mut self, now: Instant, verdict: Verdict) {
        let Verdict::Admitted(network) = verdict else {
            self.core.send(BYE, &[self.core.session]);
            return self.core.end(CloseKind::AuthFailed, "refused");
        };
        let inner = network.addresses.iter().find_map(|net| match net.address() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
        if let Some(address) = inner.filter(|_| !self.core.closed && self.address.is_none()) {
            self.address = Some(address);
            self.core.begin(now, 0, self::network(address));
            self.welcome();
        }
    }
}

pub(super) struct ToySealer {
    peer: u32,
    tag: u32,
    key: u64,
    sequence: u64,
    faults: Faults,
}

impl Sealer for ToySealer {
    fn header_len(&self) -> usize {
        HEADER
    }

    fn sealed_len(&self, packet_len: usize) -> usize {
        HEADER + packet_len + TRAILER + usize::from(self.faults == Faults::WrongRoom)
    }

    fn seal(&mut self, buf: &mut [u8], packet: Range<usize>) -> Result<Range<usize>, SealError> {
        let (start, end) = (packet.start.checked_sub(HEADER).ok_or(SealError::NoRoom)?, packet.end + TRAILER);
        if buf.len() < end {
            return Err(SealError::NoRoom);
        }
        self.sequence += 1;
        buf[start] = DATA;
        buf[start + 1..start + 5].copy_from_slice(&self.peer.to_be_bytes());
        buf[start + 5..start + 9].copy_from_slice(&self.tag.to_be_bytes());
        buf[start + 9..packet.start].copy_from_slice(&self.sequence.to_be_bytes());
        let sum = checksum(self.key, &buf[start..packet.end]);
        buf[packet.end..end].copy_from_slice(&sum.to_be_bytes());
        Ok(start..end)
    }
}

pub(super) struct ToyOpener {
    key: u64,
    window: ReplayWindow,
    scratch: Vec<u8>,
}

impl Opener for ToyOpener {
    fn open(&mut self, datagram: &mut [u8]) -> Result<Opened, OpenError> {
        let end = datagram.len().checked_sub(TRAILER).filter(|end| *end >= HEADER).ok_or(OpenError::Malformed)?;
        if checksum(self.key, &datagram[..end]).to_be_bytes() != datagram[end..] {
            return Err(OpenError::Forged);
        }
        let sequence = u64::from_be_bytes(datagram[9..HEADER].try_into().expect("eight bytes"));
        if !self.window.check(sequence) {
            return Err(OpenError::Replayed);
        }
        let newest = self.window.mark(sequence);
        let message = datagram[HEADER..end] == *PING;
        let content = if message { Content::Message(HEADER..end) } else { Content::Packet(HEADER..end) };
        Ok(Opened { content, newest })
    }

    fn unpacked(&self) -> &[u8] {
        &self.scratch
    }
}

fn network(address: Ipv4Addr) -> NetworkConfig {
    let addresses = vec![IpNet::new(address, 16).expect("a prefix")];
    NetworkConfig { addresses, mtu: 1400, tcp_mtu: 1400, ..NetworkConfig::default() }
}

fn make(kind: u8, words: &[u32]) -> Bytes {
    let mut bytes = vec![kind];
    words.iter().for_each(|word| bytes.extend(word.to_be_bytes()));
    bytes.into()
}

fn parse(datagram: &[u8]) -> (u8, Vec<u32>) {
    let Some((kind, rest)) = datagram.split_first() else { return (0, Vec::new()) };
    let (words, _) = rest.as_chunks::<4>();
    (*kind, words.iter().map(|word| u32::from_be_bytes(*word)).collect())
}

fn classify(datagram: &[u8]) -> Class {
    match parse(datagram) {
        (DATA, words) if words.len() > 1 => Class::Data(KeyTag(words[1])),
        (HELLO..=BYE, words) if !words.is_empty() => Class::Control,
        _ => Class::Ignore,
    }
}

fn key(session: u32, tag: u32) -> u64 {
    u64::from(session) << 32 | u64::from(tag)
}

/// FNV-1a.
fn checksum(key: u64, bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes.iter().fold(start, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
