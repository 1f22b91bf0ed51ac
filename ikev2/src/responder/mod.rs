//! The gateway's front door: decides before any state of a peer exists.
//!
//! ```text
//!  IKE_SA_INIT ─▶ limits ─▶ cookie, if many are half open ─▶ proposals, group ─▶ keys ─▶ ServerSession
//!                   │            └─▶ N(COOKIE)                  └─▶ N(NO_PROPOSAL_CHOSEN), N(INVALID_KE_PAYLOAD)
//!                   └─▶ dropped
//! ```

mod config;
mod cookie;
mod error;
mod half_open;
mod session;

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_tunnel::{Accept, Epoch, Listener, Path, PeerId, Random, Randoms, Routing, Transmit};
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use self::{cookie::Cookies, half_open::HalfOpen};
use crate::{
    message::{
        Header, IkeSpi, Message, MessageId, Notify,
        numbers::{ExchangeType, NotifyType},
    },
    sa::{
        ESP_SPI_RANDOM_BITS, End, NON_ESP_MARKER,
        responder::init::{Acceptable, notification},
    },
};

pub use self::{
    config::{AcceptedPeers, ClientAnchors, Limits, ResponderBuilder, ResponderConfig, SharedKey},
    error::ServerError,
    session::ServerSession,
};

/// The answering end of IKEv2, for any number of clients.
///
/// At port 500 messages have no marker, at every other port they have (RFC 7296 §2.23): the port is that of [`Path::local`]. What
/// comes from port 500 has none either, for strongSwan's sake.
/// ESP comes in UDP only.
pub struct Responder {
    config: Arc<ResponderConfig>,
    randoms: Randoms,
    random: Box<dyn Random>,
    epoch: Epoch,
    cookies: Cookies,
    /// Peers, by how they began.
    peers: HashMap<PeerId, Beginning>,
    beginnings: HashMap<Beginning, PeerId>,
    half_open: HalfOpen,
    /// Where the search for a free name begins.
    next: u32,
    hints: Hints,
}

/// What names a peer while it does not know our SPI: with the hash of its IKE_SA_INIT, for another one of the same SPI, behind the same
/// NAT or after a restart, begins another IKE SA (RFC 7296 §2.1).
type Beginning = (IkeSpi, SocketAddr, [u8; 32]);

impl Responder {
    /// `randoms` makes a source of randomness for each peer.
    #[must_use]
    pub fn new(config: Arc<ResponderConfig>, mut randoms: Randoms, epoch: Epoch, now: Instant) -> Self {
        let mut random = randoms();
        let cookies = Cookies::new(&mut *random, now);
        // After a restart others have the names of those before, so that old SPIs lead to nobody.
        let next = random.next_u32();
        Self {
            config,
            randoms,
            random,
            epoch,
            cookies,
            peers: HashMap::new(),
            beginnings: HashMap::new(),
            half_open: HalfOpen::default(),
            next,
            hints: Hints { since: now, sent: 0 },
        }
    }

    /// Peers, of whatever state.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Peers that have not proved who they are.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.half_open.total()
    }

    fn on_message(&mut self, now: Instant, path: &Path, datagram: &[u8]) -> Accept<ServerSession> {
        let Some(header) = Header::peek(datagram) else { return Accept::Drop };
        if header.response {
            return Accept::Drop;
        }
        if header.major_version != Header::MAJOR_VERSION {
            return self.hint(now, path, &header, NotifyType::INVALID_MAJOR_VERSION);
        }
        let is_first = header.exchange == ExchangeType::IKE_SA_INIT
            && header.from_initiator
            && header.responder_spi == IkeSpi(0)
            && header.message_id == MessageId(0);
        if !is_first {
            // Of an IKE SA that is no more: the peer finds out earlier (RFC 7296 §2.21.4).
            return self.hint(now, path, &header, NotifyType::INVALID_IKE_SPI);
        }
        if datagram.len() > LONGEST_INIT {
            tracing::debug!("an IKE_SA_INIT of {} bytes from {} was dropped", datagram.len(), path.remote);
            return Accept::Drop;
        }
        let Ok(message) = Message::decode(datagram) else {
            tracing::debug!("an IKE_SA_INIT from {} that cannot be decoded was dropped", path.remote);
            return Accept::Drop;
        };
        tracing::trace!("received: {message}");
        self.on_init(now, path, &message, datagram)
    }

    fn on_init(&mut self, now: Instant, path: &Path, message: &Message, datagram: &[u8]) -> Accept<ServerSession> {
        let limits = *self.config.limits();
        let from = path.remote.ip();
        if self.peers.len() >= limits.peers || self.half_open.total() >= limits.half_open {
            tracing::debug!("too many peers: {} is not answered", path.remote);
            return Accept::Drop;
        }
        let config = Arc::clone(&self.config);
        // Forged senders must not use up the share of an address that is not theirs.
        let crowded = self.half_open.of(from) >= limits.half_open_per_address.div_ceil(2);
        let wants_cookie = crowded || self.half_open.total() >= limits.cookie_threshold;
        if wants_cookie && !self.has_cookie(now, path, message) {
            let Some(nonce) = message.nonce() else { return Accept::Drop };
            let spi = message.header.initiator_spi;
            let cookie = self.cookies.make(&mut *self.random, now, from, spi, nonce);
            return reply(path, &message.header, Notify::status(NotifyType::COOKIE, cookie));
        }
        if self.half_open.of(from) >= limits.half_open_per_address {
            tracing::debug!("too many half-open peers of {from}: {} is not answered", path.remote);
            return Accept::Drop;
        }
        let acceptable = match Acceptable::new(&config.settings().ike_proposals, message, datagram) {
            Ok(acceptable) => acceptable,
            Err(notify) => {
                tracing::debug!("IKE_SA_INIT from {} is refused: {}", path.remote, notify.notify_type);
                return reply(path, &message.header, notify);
            }
        };
        let peer = self.free_name();
        let random = (self.randoms)();
        let guard = self.half_open.enter(from);
        let session = ServerSession::accept(config, peer, path, random, self.epoch, guard, now, acceptable);
        let Some(session) = session else {
            // The public value is none, or not of its group.
            return reply(path, &message.header, Notify::status(NotifyType::INVALID_SYNTAX, Bytes::new()));
        };
        let beginning = beginning(message.header.initiator_spi, path, datagram);
        self.peers.insert(peer, beginning);
        self.beginnings.insert(beginning, peer);
        Accept::Peer(peer, Box::new(session))
    }

    fn has_cookie(&self, now: Instant, path: &Path, message: &Message) -> bool {
        let (Some(cookie), Some(nonce)) = (message.notify(NotifyType::COOKIE), message.nonce()) else { return false };
        self.cookies.verify(now, path.remote.ip(), message.header.initiator_spi, nonce, &cookie.data)
    }

    /// Nothing protects it, so it is but a hint; and not many are given, for anybody can ask for them in another's name.
    fn hint(&mut self, now: Instant, path: &Path, header: &Header, notify: NotifyType) -> Accept<ServerSession> {
        if !self.hints.allow(now) {
            return Accept::Drop;
        }
        let message = Message::response(header, vec![crate::message::Payload::notify(notify, Bytes::new())]);
        Accept::Reply(transmit(path, &message.encode()))
    }

    fn free_name(&mut self) -> PeerId {
        loop {
            self.next = self.next.wrapping_add(1);
            let name = PeerId(self.next & PeerId::MAX.0);
            if name.0 != 0 && !self.peers.contains_key(&name) {
                return name;
            }
        }
    }
}

impl Listener for Responder {
    type Tunnel = ServerSession;

    fn route(&self, path: &Path, datagram: &[u8]) -> Routing {
        let known = |name: u32| {
            let peer = PeerId(name);
            self.peers.contains_key(&peer).then_some(Routing::Peer(peer))
        };
        let marked = End::Gateway(PeerId(0)).has_marker(path);
        let message = match datagram.split_first_chunk::<4>() {
            Some((&NON_ESP_MARKER, message)) if marked => message,
            Some((spi, _)) if marked => {
                return known(u32::from_be_bytes(*spi) >> ESP_SPI_RANDOM_BITS).unwrap_or(Routing::Drop);
            }
            // The keepalive of a NAT, or nothing at all.
            None if marked => return Routing::Drop,
            Some(_) | None => datagram,
        };
        let Some(header) = Header::peek(message) else { return Routing::Drop };
        if header.responder_spi == IkeSpi(0) && header.from_initiator {
            let known = self.beginnings.get(&beginning(header.initiator_spi, path, message));
            return known.map_or(Routing::New, |peer| Routing::Peer(*peer));
        }
        let ours = if header.from_initiator { header.responder_spi } else { header.initiator_spi };
        u32::try_from(ours.0 >> 32).ok().and_then(known).unwrap_or(Routing::New)
    }

    fn accept(&mut self, now: Instant, path: &Path, datagram: &mut [u8]) -> Accept<ServerSession> {
        let marked = End::Gateway(PeerId(0)).has_marker(path);
        let message = if marked { datagram.strip_prefix(&NON_ESP_MARKER) } else { Some(&*datagram) };
        message.map_or(Accept::Drop, |message| self.on_message(now, path, message))
    }

    fn forget(&mut self, peer: PeerId) {
        if let Some(beginning) = self.peers.remove(&peer)
            && self.beginnings.get(&beginning) == Some(&peer)
        {
            self.beginnings.remove(&beginning);
        }
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("config", &self.config)
            .field("peers", &self.peers.len())
            .field("half_open", &self.half_open.total())
            .finish_non_exhaustive()
    }
}

/// How many unprotected hints were given of late.
struct Hints {
    since: Instant,
    sent: u32,
}

impl Hints {
    fn allow(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self { since: now, sent: 0 };
        }
        self.sent += 1;
        self.sent <= HINTS_PER_SECOND
    }
}

fn beginning(spi: IkeSpi, path: &Path, message: &[u8]) -> Beginning {
    (spi, path.remote, Sha256::digest(message).into())
}

fn reply(path: &Path, request: &Header, notify: Notify) -> Accept<ServerSession> {
    Accept::Reply(transmit(path, &notification(request, notify)))
}

fn transmit(path: &Path, message: &[u8]) -> Transmit {
    let mut datagram = BytesMut::with_capacity(NON_ESP_MARKER.len() + message.len());
    if End::Gateway(PeerId(0)).has_marker(path) {
        datagram.extend_from_slice(&NON_ESP_MARKER);
    }
    datagram.extend_from_slice(message);
    Transmit { path: *path, datagram: datagram.freeze() }
}

/// It is kept until the client has proved who it is; one with the largest group and every algorithm there is has some 3 kB. Our
/// judgement.
const LONGEST_INIT: usize = 8192;
/// Enough for a restart with a hundred clients; our judgement.
const HINTS_PER_SECOND: u32 = 100;
