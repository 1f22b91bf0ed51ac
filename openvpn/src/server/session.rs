//! One client, from its first packet to its farewell.

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_tunnel::{
    Answer, Answering, Applicant, Class, Closed, Epoch, Event, NetworkConfig, Path, PeerId, Random, Timers, Transmit,
    Transport, Tunnel, Verdict,
};
use rustls::ServerConfig as TlsConfig;

use super::{
    client::Abilities,
    config::ServerConfig,
    error::ServerSessionError,
    half_open::HalfOpen,
    judging::{Application, Name},
    slot::{ServerSlot, SlotEvent},
};
use crate::{
    config::ControlWrap,
    control::{
        channel::Channel,
        link::ControlLink,
        message::{self, Message, MessageError},
        packet::{ControlPacket, KeyId, Opcode, SessionId},
        reliable::{Received, Reliable},
        wrap::{Role, Wrapper},
    },
    data::{DataOpener, DataSealer},
    data_keys::{DataKeys, Renewal},
    error::PeerMisbehaved,
    exchanged::Exchanged,
    keepalive::{Keepalive, Limits},
    server::push::Agreed,
    tls::{TlsSession, ToldClock},
};

/// The answering end of one OpenVPN session, made by a [`crate::Server`].
///
/// ```text
///  Handshaking ──key message──▶ Judging ──Admitted──▶ Admitted ──asks for options──▶ Up ──▶ … ──▶ Leaving ──▶ Closed
///                                  └──────Refused, NoAddress, Later──────────────────────────────────▲
/// ```
///
/// It ends for good with [`Event::Closed`]; then it is to be dropped, and [`adit_tunnel::Listener::forget`] called. Over TCP, the
/// end of the stream is told by [`Tunnel::handle_path`].
pub struct ServerSession {
    pub(super) config: Arc<ServerConfig>,
    peer: PeerId,
    pub(super) path: Path,
    pub(super) random: Box<dyn Random>,
    epoch: Epoch,
    clock: Arc<ToldClock>,
    tls_config: Arc<TlsConfig>,
    wrap: ControlWrap,

    pub(super) link: ControlLink,
    pub(super) slot: ServerSlot,
    pub(super) keys: DataKeys,
    pub(super) phase: Phase,
    pub(super) application: Application,
    /// Who the client is, from its first key message on.
    pub(super) name: Option<Name>,
    pub(super) client: Abilities,
    /// The client has asked for its options.
    pub(super) push_requested: bool,
    agreed: Option<Agreed>,
    pub(super) keepalive: Keepalive,
    half_open: Option<HalfOpen>,

    pub(super) timers: Timers<Timer>,
    pub(super) events: VecDeque<Event<DataSealer, DataOpener>>,
    transmits: VecDeque<Transmit>,
    dropped_datagrams: u64,
}

/// How far the session is.
#[derive(Debug)]
pub(super) enum Phase {
    /// The first handshake runs.
    Handshaking,
    /// The owner is asked whether the client may come in.
    Judging,
    /// It may; when it asks, it is told this.
    Admitted(Box<NetworkConfig>),
    /// Traffic flows.
    Up,
    /// The last word was said; why, for the owner.
    Leaving(ServerSessionError),
    /// Over.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// A control packet is to be sent again.
    Retransmit,
    /// The handshake of the newest key takes too long.
    HandWindow,
    /// The verdict takes its time: the client is told.
    Pending,
    /// A data key is to be sealed with, or has lived long enough.
    Keys,
    /// Our turn to renegotiate.
    Renegotiate,
    /// Look at the counters of the data channel.
    Sample,
    /// Stop waiting for the acknowledgement of the last word.
    GiveUp,
}

/// What makes a session.
pub(super) struct Birth {
    pub(super) config: Arc<ServerConfig>,
    pub(super) peer: PeerId,
    pub(super) path: Path,
    pub(super) random: Box<dyn Random>,
    pub(super) epoch: Epoch,
    pub(super) wrap: ControlWrap,
    /// The client's session id.
    pub(super) client: SessionId,
    /// Our session id, if it is the cookie that the client has returned.
    pub(super) cookie: Option<SessionId>,
    pub(super) half_open: HalfOpen,
}

impl ServerSession {
    pub(super) fn new(birth: Birth, now: Instant) -> Result<Self, ServerSessionError> {
        let Birth { config, peer, path, mut random, epoch, wrap, client, cookie, half_open } = birth;
        let settings = &config.settings;
        let clock = Arc::new(ToldClock::default());
        clock.tell(epoch.unix_time(now));
        let tls_config = config.tls.with_clock(Arc::clone(&clock));
        let wrapper = Wrapper::new(&wrap, Role::Server, &settings.crypto);
        let (session_id, wrapper, slot) = match cookie {
            Some(cookie) => {
                let slot = ServerSlot::after_cookie(settings.tls_timeout, &tls_config, now)?;
                (cookie, wrapper.after_cookie(), slot)
            }
            None => {
                let channel = Channel::new(KeyId::FIRST, Reliable::new(settings.tls_timeout, 0), now);
                let slot = ServerSlot::new(channel, Opcode::HARD_RESET_SERVER_V2, Arc::clone(&tls_config));
                (SessionId::random(random.as_mut()), wrapper, slot)
            }
        };
        let mut link = ControlLink::new(session_id, wrapper, epoch, settings.max_packet_size);
        link.peer_session_id = Some(client);
        let mut timers = Timers::new();
        timers.set(Timer::HandWindow, now + settings.hand_window);
        Ok(Self {
            peer,
            path,
            random,
            epoch,
            clock,
            tls_config,
            wrap,
            link,
            slot,
            keys: DataKeys::default(),
            phase: Phase::Handshaking,
            application: Application::None,
            name: None,
            client: Abilities::default(),
            push_requested: false,
            agreed: None,
            keepalive: Keepalive::new(Limits::default(), now),
            half_open: Some(half_open),
            timers,
            events: VecDeque::new(),
            transmits: VecDeque::new(),
            dropped_datagrams: 0,
            config,
        })
    }

    /// Datagrams that were dropped because they were malformed, forged, replayed or out of place.
    #[must_use]
    pub fn dropped_datagrams(&self) -> u64 {
        self.dropped_datagrams
    }

    /// Bytes that the client makes us hold; never much more than [`crate::ServerLimits::peer_bytes`].
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.slot.held_bytes()
    }

    pub(super) fn on_control_datagram(&mut self, now: Instant, datagram: &[u8]) {
        let Some(&first) = datagram.first() else { return };
        let (opcode, key_id) = Opcode::split(first);
        let (packet, seen) = match self.link.verify(key_id, datagram) {
            Ok(verified) => verified,
            Err(error) => {
                tracing::debug!(%error, ?opcode, ?key_id, length = datagram.len(), "control datagram dropped");
                self.dropped_datagrams += 1;
                return;
            }
        };
        tracing::trace!(?packet, "received");
        let ours = packet.peer_session_id.is_none_or(|ours| ours == self.link.session_id);
        if !ours || self.link.peer_session_id != Some(packet.session_id) {
            tracing::debug!(?packet, "control packet of another session");
            self.dropped_datagrams += 1;
            return;
        }
        self.link.mark(key_id, seen);
        if !self.accepts(now, &packet) {
            tracing::debug!(?packet, "control packet out of place");
            self.dropped_datagrams += 1;
            return;
        }
        self.keepalive.on_received(now);
        self.on_packet(now, packet);
    }

    /// Whether the packet belongs to the newest key; starts a renegotiation the client asks for.
    fn accepts(&mut self, now: Instant, packet: &ControlPacket) -> bool {
        if !is_from_client(packet) {
            return false;
        }
        let newest = self.slot.channel.key_id;
        if packet.key_id == newest {
            return true;
        }
        let asks = packet.opcode == Opcode::SOFT_RESET_V1
            && packet.key_id == newest.next()
            && matches!(self.phase, Phase::Up)
            && self.slot.is_ready();
        if asks {
            self.renegotiate(now, "the client");
        }
        asks
    }

    fn on_packet(&mut self, now: Instant, packet: ControlPacket) {
        if packet.peer_session_id.is_some() {
            self.slot.channel.reliable.on_acks(now, packet.acks.as_slice());
        }
        if let Some(id) = packet.packet_id
            && self.slot.channel.reliable.on_packet(id, packet.payload) == Received::OutOfWindow
        {
            tracing::debug!(id, "control packet outside the window");
        }
        self.check_farewell();
        if !self.listens() {
            return;
        }
        let mut slot_events = Vec::new();
        let advanced = self.slot.advance(self.config.limits.peer_bytes, &mut slot_events);
        let handled = slot_events.into_iter().try_for_each(|event| self.on_slot_event(now, event));
        let held = match self.slot.held_bytes() > self.config.limits.peer_bytes {
            true => Err(PeerMisbehaved::HoldsTooMuch.into()),
            false => Ok(()),
        };
        if let Err(error) = handled.and(advanced).and(held)
            && self.listens()
        {
            self.fail(now, error);
        }
    }

    /// Whether what the client says still matters: not after the last word of either side.
    pub(super) fn listens(&self) -> bool {
        match self.phase {
            Phase::Handshaking | Phase::Judging | Phase::Admitted(_) | Phase::Up => true,
            Phase::Leaving(_) | Phase::Closed => false,
        }
    }

    fn on_slot_event(&mut self, now: Instant, event: SlotEvent) -> Result<(), ServerSessionError> {
        match event {
            _ if !self.listens() => Ok(()),
            SlotEvent::Introduced(introduction) => self.on_introduction(now, introduction),
            SlotEvent::Record(record) => self.on_record(now, &record),
        }
    }

    /// One TLS record: usually one message.
    fn on_record(&mut self, now: Instant, record: &[u8]) -> Result<(), ServerSessionError> {
        for message in message::messages(record) {
            match message {
                Ok(message) => self.on_message(now, message)?,
                Err(MessageError::TooManyMessages) => return Err(PeerMisbehaved::ControlMessageTooLong.into()),
                Err(error) => tracing::warn!(%error, "control message ignored"),
            }
            if !self.listens() {
                break;
            }
        }
        Ok(())
    }

    fn on_message(&mut self, now: Instant, message: Message) -> Result<(), ServerSessionError> {
        tracing::debug!(?message, "control message");
        #[expect(clippy::wildcard_enum_match_arm, reason = "everything else is for clients")]
        match message {
            Message::PushRequest => {
                self.push_requested = true;
                self.push_if_due(now)
            }
            Message::Exit => {
                self.fail(now, ServerSessionError::ClientExits);
                Ok(())
            }
            _ => {
                tracing::debug!("control message not understood");
                Ok(())
            }
        }
    }

    /// The client has been let in and told so: its network, and the keys to reach it.
    pub(super) fn on_up(&mut self, now: Instant, network: NetworkConfig, agreed: Agreed) {
        tracing::info!(peer = self.peer.0, remote = %self.path.remote, "a client is in");
        self.phase = Phase::Up;
        self.agreed = Some(agreed);
        self.half_open = None;
        if agreed.dynamic_tls_crypt
            && let Some(exported) = self.slot.exchanged().and_then(Exchanged::export_dynamic_tls_crypt)
        {
            self.link.set_dynamic(Wrapper::dynamic(&exported, &self.wrap, Role::Server, &self.config.settings.crypto));
            tracing::debug!("renegotiations are wrapped by dynamic tls-crypt");
        }
        self.start_keepalive(now);
        self.events.push_back(Event::Up(network));
    }

    pub(crate) fn agreed(&self) -> Option<Agreed> {
        self.agreed
    }

    pub(super) fn peer(&self) -> PeerId {
        self.peer
    }

    /// Starts a handshake under the next key id.
    pub(super) fn renegotiate(&mut self, now: Instant, by: &str) {
        let (key_id, renewal) = (self.slot.channel.key_id.next(), self.renewal());
        tracing::debug!(key_id = key_id.value(), by, "renegotiation starts");
        self.keys.on_renegotiation(now, self.slot.channel.started, &renewal, &mut self.events);
        let settings = &self.config.settings;
        let channel = Channel::new(key_id, Reliable::new(settings.tls_timeout, 0), now);
        self.slot = ServerSlot::new(channel, Opcode::SOFT_RESET_V1, Arc::clone(&self.tls_config));
        self.application = Application::None;
        self.timers.stop(Timer::Renegotiate);
        self.timers.set(Timer::HandWindow, now + settings.hand_window);
    }

    /// Our own turn: only when the client has everything of the last handshake.
    pub(super) fn renegotiate_in_turn(&mut self, now: Instant, by: &str) {
        if !matches!(self.phase, Phase::Up) {
            return;
        }
        if self.slot.is_ready() && self.slot.channel.all_arrived() {
            self.renegotiate(now, by);
        } else {
            self.timers.set(Timer::Renegotiate, now + RENEGOTIATE_AGAIN);
        }
    }

    pub(super) fn renewal(&self) -> Renewal {
        let settings = &self.config.settings;
        Renewal {
            hand_window: settings.hand_window,
            tran_window: settings.tran_window,
            reneg_sec: settings.reneg_sec,
            reneg_bytes: settings.reneg_bytes,
            reneg_packets: settings.reneg_packets,
        }
    }

    /// Puts into `transmits` whatever the newest slot has to send.
    pub(super) fn flush(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.link.flush(now, &mut self.slot.channel, self.path, &mut self.transmits);
        self.timers.set_or_stop(Timer::Retransmit, self.slot.channel.reliable.poll_timeout());
        self.timers.set_or_stop(Timer::Keys, self.keys.poll_timeout());
    }

    fn on_timer(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Retransmit => {}
            Timer::HandWindow => {
                let window = self.config.settings.hand_window;
                self.fail(now, ServerSessionError::HandshakeTimeout { window, stage: self.slot.stage() });
            }
            Timer::Pending => self.tell_pending(),
            Timer::Keys => self.keys.on_time(now, self.slot.channel.all_arrived(), &mut self.events),
            Timer::Renegotiate => self.renegotiate_in_turn(now, "us"),
            Timer::Sample => self.sample(now),
            Timer::GiveUp => self.on_give_up(),
        }
    }

    /// Version and suite of TLS, for logs.
    pub(super) fn tls_description(&self) -> (&'static str, &'static str) {
        self.slot.tls().map_or(("?", "?"), TlsSession::description)
    }

    pub(super) fn push_closed(&mut self, closed: Closed) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.phase = Phase::Closed;
        self.half_open = None;
        self.application = Application::None;
        self.timers.stop_all();
        self.events.push_back(Event::Closed(closed));
    }

    /// Counters of the live keys, the newest last.
    #[cfg(test)]
    pub(crate) fn usages(&self) -> Vec<Arc<adit_tunnel::Usage>> {
        self.keys.usages()
    }

    /// Our turn to renegotiate has come.
    #[cfg(test)]
    pub(crate) fn renegotiate_now(&mut self, now: Instant) {
        self.renegotiate_in_turn(now, "test");
        self.flush(now);
    }

    /// Whether PUSH_REQUEST has come.
    #[cfg(test)]
    pub(crate) fn was_asked_for_options(&self) -> bool {
        self.push_requested
    }

    /// For tables of what becomes of it: the newest key id, how far its slot is, and how far the session is.
    #[cfg(test)]
    pub(crate) fn state_names(&self) -> (u8, &'static str, &'static str) {
        let phase = match self.phase {
            Phase::Handshaking => "Handshaking",
            Phase::Judging => "Judging",
            Phase::Admitted(_) => "Admitted",
            Phase::Up => "Up",
            Phase::Leaving(_) => "Leaving",
            Phase::Closed => "Closed",
        };
        (self.slot.channel.key_id.value(), self.slot.state_name(), phase)
    }

    /// Our session id, and the id of the client's next packet of the newest key.
    #[cfg(test)]
    pub(crate) fn expects(&self) -> (SessionId, u32) {
        (self.link.session_id, self.slot.channel.reliable.expected())
    }

    /// The newest key id.
    #[cfg(test)]
    pub(crate) fn key_id(&self) -> u8 {
        self.slot.channel.key_id.value()
    }
}

impl Tunnel for ServerSession {
    type Sealer = DataSealer;
    type Opener = DataOpener;

    fn classify(&self, _: &Path, datagram: &[u8]) -> Class {
        Opcode::classify(datagram)
    }

    fn handle_datagram(&mut self, now: Instant, path: &Path, datagram: &mut [u8]) {
        if matches!(self.phase, Phase::Closed)
            || (path.transport, path.remote) != (self.path.transport, self.path.remote)
        {
            self.dropped_datagrams += 1;
            return;
        }
        self.clock.tell(self.epoch.unix_time(now));
        self.on_control_datagram(now, datagram);
        self.flush(now);
    }

    fn handle_message(&mut self, now: Instant, message: &[u8]) {
        if matches!(self.phase, Phase::Up) {
            self.on_data_message(now, message);
            self.flush(now);
        }
    }

    /// A client that has a peer id may move: its newest authentic packet tells where it is now. Nobody moves before it is let in
    /// (CVE-2020-11810), nor between streams.
    fn handle_peer_path(&mut self, _: Instant, path: &Path) {
        let floats = matches!(self.phase, Phase::Up) && self.agreed.is_some_and(|agreed| agreed.peer_id.is_some());
        let datagrams = (path.transport, self.path.transport) == (Transport::Udp, Transport::Udp);
        if floats && datagrams && *path != self.path {
            tracing::info!(peer = self.peer.0, from = %self.path.remote, to = %path.remote, "a client moves");
            self.path = *path;
            self.events.push_back(Event::Path(*path));
        }
    }

    /// The stream is gone, or our socket has another address.
    fn handle_path(&mut self, now: Instant, path: &Path) {
        if self.path.transport == Transport::Tcp {
            return self.fail(now, ServerSessionError::StreamLost);
        }
        if self.listens() && path.local != self.path.local {
            self.path.local = path.local;
            self.events.push_back(Event::Path(self.path));
        }
    }

    /// A server asks no questions.
    fn handle_answer(&mut self, _: Instant, _: Answer) {}

    fn handle_timeout(&mut self, now: Instant) {
        self.clock.tell(self.epoch.unix_time(now));
        while let Some(timer) = self.timers.expired(now) {
            self.on_timer(now, timer);
        }
        self.flush(now);
    }

    fn close(&mut self, now: Instant) {
        self.leave(now);
        self.flush(now);
    }

    fn poll_event(&mut self) -> Option<Event<DataSealer, DataOpener>> {
        self.events.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}

impl Answering for ServerSession {
    fn poll_applicant(&mut self) -> Option<Applicant> {
        self.application.take()
    }

    fn handle_verdict(&mut self, now: Instant, verdict: Verdict) {
        self.clock.tell(self.epoch.unix_time(now));
        self.on_verdict(now, verdict);
        self.flush(now);
    }
}

impl fmt::Debug for ServerSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match &self.phase {
            Phase::Handshaking => "Handshaking",
            Phase::Judging => "Judging",
            Phase::Admitted(_) => "Admitted",
            Phase::Up => "Up",
            Phase::Leaving(_) => "Leaving",
            Phase::Closed => "Closed",
        };
        f.debug_struct("ServerSession")
            .field("peer", &self.peer)
            .field("remote", &self.path.remote)
            .field("phase", &format_args!("{phase}"))
            .field("key_id", &self.slot.channel.key_id)
            .finish_non_exhaustive()
    }
}

/// Whether a client sends such packets: resets begin the numbering of a key, and nothing else does.
fn is_from_client(packet: &ControlPacket) -> bool {
    let (first_key, first_packet) = (packet.key_id == KeyId::FIRST, packet.packet_id == Some(0));
    match packet.opcode {
        Opcode::ACK_V1 => true,
        Opcode::CONTROL_V1 => !first_packet,
        Opcode::CONTROL_WKC_V1 => !first_packet && first_key,
        Opcode::HARD_RESET_CLIENT_V2 | Opcode::HARD_RESET_CLIENT_V3 => first_packet && first_key,
        Opcode::SOFT_RESET_V1 => first_packet && !first_key,
        _ => false,
    }
}

/// When our turn to renegotiate comes while the last handshake is not quite over.
const RENEGOTIATE_AGAIN: Duration = Duration::from_secs(1);
