//! The IKE SA: keys, message ids, and the way in and out for messages.
//!
//! A handshake ([`initiator`], [`responder`]) makes the first one; rekeying makes its successors. An established IKE SA is not a state but a
//! window: at most one request of ours in flight, and the last answer we gave.

pub(crate) mod initiator;
pub(crate) mod keys;
pub(crate) mod nat;
pub(crate) mod responder;
pub(crate) mod window;

use std::{
    collections::VecDeque,
    fmt, mem,
    time::{Duration, Instant},
};

use adit_tunnel::{Epoch, Event, Path, PeerId, Random, Timers, Transmit};
use bytes::{Bytes, BytesMut};

use self::{
    keys::IkeKeys,
    window::{Requester, Responder},
};
use crate::{
    config::{Retransmission, Settings},
    esp::{EspOpener, EspSealer},
    message::{self, Delete, Header, IkeSpi, Message, Opened, Payload, Reassembly, Undecodable, numbers::ExchangeType},
    negotiate::IkeSuite,
};

/// The timers of a session. Those of an SA carry its SPI of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The handshake has to be finished.
    Handshake,
    /// An error that anybody may have sent is believed, for nothing better came.
    Suspicion,
    /// The request in flight of this IKE SA is sent again.
    Retransmit(IkeSpi),
    /// The counters of the data plane are looked at: liveness, volume, keepalives.
    Sample,
    /// This child is old enough to be rekeyed.
    RekeyChild(u32),
    /// The IKE SA is old enough to be rekeyed.
    RekeyIke,
    /// The authentication runs out.
    Reauthenticate,
    /// What was refused for the moment is tried again.
    TryAgain,
    /// The opener of this SPI is no longer needed.
    RemoveOpener(u32),
    /// The IKE SA with this SPI should have been deleted by the peer by now.
    Abandon(IkeSpi),
    /// The child with this SPI should have been used, or deleted, by the peer by now.
    AbandonChild(u32),
    /// The farewell has taken long enough.
    Close,
}

/// What every step of a session may use.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) end: End,
    pub(crate) settings: &'a Settings,
    pub(crate) random: &'a mut dyn Random,
    pub(crate) out: &'a mut Outbox,
    pub(crate) timers: &'a mut Timers<Timer>,
    /// Where our datagrams go.
    pub(crate) path: &'a mut Path,
    pub(crate) epoch: Epoch,
}

/// Which end of the association we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The one that came to the gateway.
    Client,
    /// The gateway, whose SPIs contain the name of the peer.
    Gateway(PeerId),
}

impl End {
    /// IKE at port 500 has no marker, at every other port it has (RFC 7296 §2.23). strongSwan leaves it out, and expects none,
    /// as soon as either port is 500: what comes from there to another port of a gateway can only be IKE.
    pub(crate) fn has_marker(self, path: &Path) -> bool {
        let ours = match self {
            Self::Client => NAT_T_PORT,
            Self::Gateway(_) => path.local.map_or(NAT_T_PORT, |local| local.port()),
        };
        path.remote.port() != IKE_PORT && ours != IKE_PORT
    }

    pub(crate) const fn is_client(self) -> bool {
        matches!(self, Self::Client)
    }
}

/// What is to be polled.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) events: VecDeque<Event<EspSealer, EspOpener>>,
    pub(crate) transmits: VecDeque<Transmit>,
}

impl Context<'_> {
    pub(crate) fn unix_time(&self) -> Duration {
        self.epoch.unix_time(self.now)
    }

    pub(crate) fn set(&mut self, timer: Timer, after: Duration) {
        if let Some(at) = self.now.checked_add(after) {
            self.timers.set(timer, at);
        }
    }

    /// Sends IKE messages to `path`, with the non-ESP marker where it belongs (RFC 7296 §2.23).
    pub(crate) fn send(&mut self, path: Path, datagrams: &[Bytes]) {
        for message in datagrams {
            let datagram = if self.end.has_marker(&path) {
                let mut marked = BytesMut::with_capacity(NON_ESP_MARKER.len() + message.len());
                marked.extend_from_slice(&NON_ESP_MARKER);
                marked.extend_from_slice(message);
                marked.freeze()
            } else {
                message.clone()
            };
            self.out.transmits.push_back(Transmit { path, datagram });
        }
    }

    /// An SPI of ESP to receive on that is none of these: random, with the name of the peer in front at a gateway. Those up to
    /// 255 are reserved (RFC 4303 §2.1). `None` if almost all of them are taken.
    pub(crate) fn esp_spi(&mut self, taken: impl Fn(u32) -> bool) -> Option<u32> {
        (0..ESP_SPI_DRAWS).find_map(|_| {
            let random = self.random.next_u32();
            let spi = match self.end {
                End::Client => random,
                End::Gateway(peer) => peer.0 << ESP_SPI_RANDOM_BITS | random >> (32 - ESP_SPI_RANDOM_BITS),
            };
            (spi > 255 && !taken(spi)).then_some(spi)
        })
    }

    pub(crate) fn ike_spi(&mut self) -> IkeSpi {
        loop {
            let random = self.random.next_u64();
            let spi = match self.end {
                End::Client => random,
                End::Gateway(peer) => u64::from(peer.0) << 32 | random >> 32,
            };
            if spi != 0 {
                return IkeSpi(spi);
            }
        }
    }

    pub(crate) fn nonce(&mut self) -> Bytes {
        let mut nonce = [0; NONCE_BYTES];
        self.random.fill(&mut nonce);
        Bytes::copy_from_slice(&nonce)
    }

    /// A time up to a tenth shorter, so that two ends with the same habits do not meet (RFC 7296 §2.8).
    pub(crate) fn jittered(&mut self, time: Duration) -> Duration {
        time.saturating_sub((time / 10).mul_f64(f64::from(self.random.next_u32()) / f64::from(u32::MAX)))
    }
}

/// IKE, without UDP encapsulation.
pub(crate) const IKE_PORT: u16 = 500;
/// IKE and ESP in UDP.
pub(crate) const NAT_T_PORT: u16 = 4500;
/// Where an SPI would stand in an ESP packet (RFC 3948 §2.2).
pub(crate) const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// The rest of an SPI of ours is the name of the peer.
pub(crate) const ESP_SPI_RANDOM_BITS: u32 = 12;
/// With half of the SPIs taken, all of so many draws fail once in 2^64 times.
const ESP_SPI_DRAWS: u32 = 64;
/// At least 16 bytes, and half the key size of the PRF (RFC 7296 §2.10): enough for SHA-512.
const NONCE_BYTES: usize = 32;

/// One IKE SA that has keys.
pub(crate) struct IkeSa {
    pub(crate) initiator_spi: IkeSpi,
    pub(crate) responder_spi: IkeSpi,
    /// Whether we are the original initiator of this IKE SA: decides the I flag and the keys.
    pub(crate) ours: bool,
    pub(crate) suite: IkeSuite,
    pub(crate) keys: IkeKeys,
    pub(crate) requester: Requester,
    pub(crate) responder: Responder,
    /// Fragments of the peer's requests, and of its responses.
    requests: Reassembly,
    responses: Reassembly,
    /// The datagram of the request that is being received, or its first fragment: when it comes again, so does the answer.
    request: Bytes,
    /// Both ends announced RFC 7383.
    pub(crate) fragmentation: bool,
    /// The handshake is over.
    is_up: bool,
}

impl IkeSa {
    pub(crate) fn new(
        spis: (IkeSpi, IkeSpi),
        ours: bool,
        suite: IkeSuite,
        keys: IkeKeys,
        first_request: u32,
        fragmentation: bool,
    ) -> Self {
        Self {
            initiator_spi: spis.0,
            responder_spi: spis.1,
            ours,
            suite,
            keys,
            requester: Requester::starting_at(first_request),
            responder: Responder::default(),
            requests: Reassembly::new(),
            responses: Reassembly::new(),
            request: Bytes::new(),
            fragmentation,
            is_up: false,
        }
    }

    /// The handshake is over.
    pub(crate) fn up(mut self) -> Self {
        self.is_up = true;
        self
    }

    fn schedule<'a>(&self, settings: &'a Settings) -> &'a Retransmission {
        settings.retransmission_once_up.as_ref().filter(|_| self.is_up).unwrap_or(&settings.retransmission)
    }

    /// The SPI we chose: names the SA among ours.
    pub(crate) const fn our_spi(&self) -> IkeSpi {
        if self.ours { self.initiator_spi } else { self.responder_spi }
    }

    /// Whether a message with this header may belong here.
    pub(crate) fn matches(&self, header: &Header) -> bool {
        header.initiator_spi == self.initiator_spi
            && header.responder_spi == self.responder_spi
            && header.from_initiator != self.ours
    }

    /// Sends a request, and again until it is answered.
    pub(crate) fn request(&mut self, cx: &mut Context<'_>, exchange: ExchangeType, payloads: Vec<Payload>) {
        let message = Message::request(self.spis(), exchange, self.ours, self.requester.next_id(), payloads);
        let datagrams = self.seal(cx, &message, self.fragmentation);
        cx.send(*cx.path, &datagrams);
        let schedule = self.schedule(cx.settings);
        let wait = self.requester.start(datagrams, schedule);
        cx.set(Timer::Retransmit(self.our_spi()), wait);
    }

    /// Answers the request with the expected id to where it came from.
    pub(crate) fn respond(&mut self, cx: &mut Context<'_>, to: Path, request: &Received, payloads: Vec<Payload>) {
        let message = Message::response(&request.message.header, payloads);
        // In fragments only if the request was, or both ends said so (RFC 7383 §2.5.1).
        let datagrams = self.seal(cx, &message, self.fragmentation || request.fragmented);
        cx.send(to, &datagrams);
        self.answered(datagrams);
    }

    /// Answers a request that was authentic, but made no sense.
    pub(crate) fn refuse(&mut self, cx: &mut Context<'_>, to: Path, request: &Header, payload: Payload) {
        let message = Message::response(request, vec![payload]);
        let datagrams = self.seal(cx, &message, false);
        cx.send(to, &datagrams);
        self.answered(datagrams);
    }

    fn answered(&mut self, response: Vec<Bytes>) {
        self.responder.answered(mem::take(&mut self.request), response);
        self.requests = Reassembly::new();
    }

    /// The response in flight has been taken.
    pub(crate) fn response_taken(&mut self, cx: &mut Context<'_>) {
        self.requester.finish();
        self.responses = Reassembly::new();
        cx.timers.stop(Timer::Retransmit(self.our_spi()));
    }

    /// Sends the request in flight once more. False when the peer has been asked often enough.
    #[must_use]
    pub(crate) fn retransmit(&mut self, cx: &mut Context<'_>) -> bool {
        let spi = self.our_spi();
        let schedule = self.schedule(cx.settings);
        let Some((datagrams, wait)) = self.requester.retransmit(schedule) else {
            return false;
        };
        let path = *cx.path;
        cx.send(path, datagrams);
        cx.set(Timer::Retransmit(spi), wait);
        true
    }

    /// Sends the request in flight as if for the first time: the way there has changed.
    pub(crate) fn start_again(&mut self, cx: &mut Context<'_>) {
        self.requester.start_again();
        // True: it counts as not sent yet, and at least one try is always allowed.
        let _sent = self.requester.is_idle() || self.retransmit(cx);
    }

    /// Verifies and decodes one datagram. `Ok(None)` when it is a fragment of something, a repetition, or of no use.
    pub(crate) fn receive(
        &mut self,
        cx: &mut Context<'_>,
        path: &Path,
        header: &Header,
        datagram: &mut [u8],
    ) -> Result<Option<Received>, Undecodable> {
        if header.response {
            if !self.requester.awaits(header.message_id) {
                return Ok(None);
            }
        } else if self.is_repeated(header, datagram) {
            if self.responder.may_repeat(cx.now) {
                tracing::trace!(id = header.message_id.0, "request again, response again");
                cx.send(*path, self.responder.response());
            }
            return Ok(None);
        } else if !self.responder.expects(header.message_id) {
            return Ok(None);
        }
        // Decrypted in place, and needed as it was to recognize a repetition.
        let original = (!header.response).then(|| Bytes::copy_from_slice(datagram));
        let cipher = if self.ours { &*self.keys.responder } else { &*self.keys.initiator };
        let reassembly = if header.response { &mut self.responses } else { &mut self.requests };
        let opened = message::open(datagram, cipher, reassembly);
        if let Some(original) = original
            && !matches!(opened, Err(Undecodable::Unauthenticated(_)))
            && (self.request.is_empty() || !message::is_later_fragment(&original))
        {
            self.request = original;
        }
        let opened = opened?;
        if let Some(Opened { message, .. }) = &opened {
            tracing::trace!("received: {message}");
        }
        Ok(opened.map(|Opened { message, fragmented }| Received { message, fragmented }))
    }

    /// Whether this is the request after the one that waits for our answer, and ends the IKE SA: the answer is waited for no
    /// more, and this request is the next one.
    pub(crate) fn gives_up(&mut self, header: &Header, datagram: &[u8]) -> bool {
        let may = !header.response && header.exchange == ExchangeType::INFORMATIONAL;
        if !may || !self.responder.expects_next(header.message_id) {
            return false;
        }
        let cipher = if self.ours { &*self.keys.responder } else { &*self.keys.initiator };
        let opened = message::open(&mut datagram.to_vec(), cipher, &mut Reassembly::new());
        let Ok(Some(Opened { message, .. })) = opened else { return false };
        let ends = message.error().is_some() || message.payloads.contains(&Payload::Delete(Delete::Ike));
        if ends {
            self.answered(Vec::new());
        }
        ends
    }

    /// Whether this is the request answered last: the same datagram, of several fragments the first one alone. The peer may
    /// have cut it into smaller ones meanwhile, which only shows in an authentic first one (RFC 7383 §2.5.2, §2.6.1).
    fn is_repeated(&self, header: &Header, datagram: &[u8]) -> bool {
        if self.responder.repeated(datagram) {
            return true;
        }
        let cipher = if self.ours { &*self.keys.responder } else { &*self.keys.initiator };
        self.responder.answered_last(header.message_id)
            && message::is_first_fragment(datagram)
            && message::open(&mut datagram.to_vec(), cipher, &mut Reassembly::new()).is_ok()
    }

    /// Both the identifier the notifications of NAT detection are computed with.
    pub(crate) const fn spis(&self) -> (IkeSpi, IkeSpi) {
        (self.initiator_spi, self.responder_spi)
    }

    fn seal(&mut self, cx: &mut Context<'_>, message: &Message, fragment: bool) -> Vec<Bytes> {
        let settings = cx.settings;
        let outer = if cx.path.remote.is_ipv4() { 20 } else { 40 } + 8 + NON_ESP_MARKER.len();
        let limit =
            (fragment && settings.fragmentation).then(|| usize::from(settings.fragment_size).saturating_sub(outer));
        tracing::trace!("sent: {message}");
        let cipher = if self.ours { &mut *self.keys.initiator } else { &mut *self.keys.responder };
        message.seal(cipher, &mut *cx.random, limit)
    }
}

impl fmt::Debug for IkeSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IkeSa")
            .field("initiator_spi", &self.initiator_spi)
            .field("responder_spi", &self.responder_spi)
            .field("ours", &self.ours)
            .finish_non_exhaustive()
    }
}

/// A verified message.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) fragmented: bool,
}
