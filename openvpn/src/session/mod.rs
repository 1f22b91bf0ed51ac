//! The client: one attempt at one server, from the first reset to the farewell.
//!
//! ```text
//!  reset ──▶ TLS ──▶ key exchange ──▶ options pulled ──▶ up ──▶ … renegotiations … ──▶ closed
//!  └──────── KeySlot (one per key id) ────┘
//! ```

mod carry;
mod closing;
mod keepalive;
mod key_slot;
mod keys;
mod login;
mod messages;
pub(crate) mod peer_info;
#[cfg(test)]
mod testing;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_tunnel::{
    Answer, Class, CloseKind, Closed, Epoch, Event, Path, Prompt, Random, Rekeys, Retry, Timers, Transmit, Transport,
    Tunnel, TunnelDetails,
};
use rustls::ClientConfig;

use self::{
    key_slot::{KeySlot, SlotEvent, hard_reset},
    login::Login,
};
use crate::{
    algorithms::Cipher,
    config::{Config, ConfigError, ControlWrap, Remote, Settings},
    control::{
        link::ControlLink,
        message::PushAssembler,
        packet::{ControlPacket, KeyId, Opcode, SessionId},
        reliable::Received,
        wrap::{Role, Wrapper},
    },
    data::{DataOpener, DataSealer},
    data_keys::DataKeys,
    error::SessionError,
    exchanged::Exchanged,
    keepalive::{Keepalive, Limits},
    options::PulledOptions,
    probe::{Probe, ProbeReport, Probing},
    tls::{TlsSession, ToldClock},
};

pub use carry::Carry;
pub use peer_info::iv_proto;

/// One OpenVPN session with one server, as a client.
///
/// It ends for good with [`Event::Closed`]; the next attempt is a new session, given [`Session::into_carry`] of the old.
pub struct Session {
    config: Arc<Config>,
    remote: Remote,
    path: Path,
    random: Box<dyn Random>,
    epoch: Epoch,
    started: Instant,
    clock: Arc<ToldClock>,
    tls_config: Arc<ClientConfig>,

    link: ControlLink,
    slot: KeySlot,
    keys: DataKeys,
    /// Once agreed upon.
    cipher: Option<Cipher>,
    phase: Phase,
    login: Login,
    options: PulledOptions,
    /// The server's options string, for servers that cannot negotiate.
    server_options: String,
    /// Since when options are asked for.
    pulling_since: Instant,
    push_reply: PushAssembler,
    keepalive: Keepalive,

    timers: Timers<Timer>,
    events: VecDeque<Event<DataSealer, DataOpener>>,
    transmits: VecDeque<Transmit>,
    dropped_datagrams: u64,
    /// Prompts the server has caused.
    prompts: u32,
    /// What a session has found out that only wants to know.
    probing: Option<Box<Probing>>,
    /// What was negotiated with the newest data keys.
    agreed: Agreed,
}

/// What was negotiated, and how often.
#[derive(Debug, Default)]
struct Agreed {
    suite: String,
    server: Option<String>,
    times: u64,
    /// Renegotiations the session ended in.
    failed: u64,
}

/// How far the session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first handshake runs.
    Handshaking,
    /// The server has proved who it is; a question must be answered before we prove who we are.
    Asking,
    /// The server is being asked for its options.
    Pulling,
    /// Traffic flows.
    Up,
    /// The server wants an answer before it lets us try again.
    Challenged,
    /// A probe has ended TLS, and listens whether our certificate is refused.
    Parting,
    /// We have said goodbye and wait for the acknowledgement.
    Leaving,
    /// Over.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    /// A control packet is to be sent again.
    Retransmit,
    /// The server has not answered at all.
    Connect,
    /// The handshake of the newest key takes too long.
    HandWindow,
    /// Ask for options again.
    PushRequest,
    /// A data key is to be sealed with, or has lived long enough.
    Keys,
    /// Our turn to renegotiate.
    Renegotiate,
    /// Look at the counters of the data channel.
    Sample,
    /// `session-timeout`.
    SessionTimeout,
    /// Stop waiting for the farewell's acknowledgement, or for a person's answer.
    GiveUp,
}

impl Session {
    /// Starts a session with `config.remotes()[remote]` over `path`; the first datagram waits in `poll_transmit`.
    ///
    /// The randomness of TLS itself comes from `ring`; everything else from `random`.
    ///
    /// # Errors
    /// [`ConfigError::NoRemote`] when there is no such gateway.
    pub fn new(
        config: Arc<Config>,
        remote: usize,
        carry: Carry,
        path: Path,
        random: Box<dyn Random>,
        epoch: Epoch,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        Self::begin(config, remote, carry, path, random, epoch, now, None)
    }

    /// Starts a session that only wants to know: it ends with [`Event::Closed`] of [`adit_tunnel::CloseKind::Local`] when it has
    /// found out all it can, and keeps a [`ProbeReport`] all the while. Arguments as in [`Self::new`].
    ///
    /// # Errors
    /// [`ConfigError::NoRemote`] when there is no such gateway.
    pub fn probe(
        config: Arc<Config>,
        remote: usize,
        path: Path,
        random: Box<dyn Random>,
        epoch: Epoch,
        now: Instant,
        probe: Probe,
    ) -> Result<Self, ConfigError> {
        Self::begin(config, remote, Carry::default(), path, random, epoch, now, Some(probe))
    }

    /// What a probe has found out so far; `None` of other sessions.
    #[must_use]
    pub fn probe_report(&self) -> Option<ProbeReport> {
        self.probing.as_ref().map(|probing| probing.report())
    }

    fn begin(
        config: Arc<Config>,
        remote: usize,
        carry: Carry,
        path: Path,
        mut random: Box<dyn Random>,
        epoch: Epoch,
        now: Instant,
        probe: Option<Probe>,
    ) -> Result<Self, ConfigError> {
        let remote = config.remotes.get(remote).ok_or(ConfigError::NoRemote)?.clone();
        let settings = &config.settings;
        let clock = Arc::new(ToldClock::default());
        clock.tell(epoch.unix_time(now));
        let wrap = remote.control_wrap.as_ref().unwrap_or(&settings.control_wrap);
        let probing = probe.map(|probe| Box::new(Probing::new(probe, first_report(&config, wrap), now)));
        let tls_config = match &probing {
            Some(probing) => config.tls.watching(Arc::clone(&clock), &probing.seen),
            None => config.tls.with_clock(Arc::clone(&clock)),
        };
        let wrapper = Wrapper::new(wrap, Role::Client, &settings.crypto);
        let mut options = PulledOptions::from_local(settings).map_err(|e| ConfigError::Option(e.to_string()))?;
        if settings.pull && remote.transport == Transport::Udp && keepalive::is_unsaid(settings) {
            options.ping_restart = Some(keepalive::PULL_PING_RESTART);
        }
        let session_id = SessionId::random(random.as_mut());
        let link = ControlLink::new(session_id, wrapper, epoch, settings.max_packet_size);
        let slot = KeySlot::new(KeyId::FIRST, hard_reset(wrap), Arc::clone(&tls_config), settings.tls_timeout, now);
        let login = Login::new(&config, carry);
        let mut session = Self {
            path,
            random,
            epoch,
            started: now,
            clock,
            tls_config,
            link,
            slot,
            keys: DataKeys::default(),
            cipher: None,
            phase: Phase::Handshaking,
            login,
            options,
            server_options: String::new(),
            pulling_since: now,
            push_reply: PushAssembler::default(),
            keepalive: Keepalive::new(Limits::default(), now),
            timers: Timers::new(),
            events: VecDeque::new(),
            transmits: VecDeque::new(),
            dropped_datagrams: 0,
            prompts: 0,
            probing,
            agreed: Agreed::default(),
            remote,
            config,
        };
        session.start(now);
        Ok(session)
    }

    /// What the next session with the same configuration must know; of use once the session is closed.
    #[must_use]
    pub fn into_carry(self) -> Carry {
        self.login.into_carry()
    }

    /// Datagrams that were dropped because they were malformed, forged, replayed or out of place.
    #[must_use]
    pub fn dropped_datagrams(&self) -> u64 {
        self.dropped_datagrams
    }

    fn start(&mut self, now: Instant) {
        let answer = self.connect_timeout();
        self.timers.set(Timer::Connect, now + answer);
        self.timers.set(Timer::HandWindow, now + self.settings().hand_window);
        self.flush(now);
    }

    fn settings(&self) -> &Settings {
        &self.config.settings
    }

    fn control_wrap(&self) -> &ControlWrap {
        self.remote.control_wrap.as_ref().unwrap_or(&self.config.settings.control_wrap)
    }

    fn connect_timeout(&self) -> Duration {
        let timeout = self.remote.connect_timeout.unwrap_or(self.config.settings.connect_timeout);
        timeout.min(self.settings().hand_window)
    }

    fn on_control_datagram(&mut self, now: Instant, datagram: &[u8]) {
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
        if !self.belongs_to_us(&packet) {
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

    /// Whether both session ids are those of this session, as far as they are known.
    fn belongs_to_us(&self, packet: &ControlPacket) -> bool {
        let ours = packet.peer_session_id.is_none_or(|ours| ours == self.link.session_id);
        match self.link.peer_session_id {
            Some(peer) => ours && peer == packet.session_id,
            // The server's first answer must repeat our session id: an attacker off the path does not know it.
            None => ours && packet.peer_session_id.is_some(),
        }
    }

    /// Whether the packet belongs to the newest key; starts a renegotiation the server asks for.
    fn accepts(&mut self, now: Instant, packet: &ControlPacket) -> bool {
        if !is_from_server(packet) {
            return false;
        }
        match self.link.peer_session_id {
            None => {
                let answers = packet.opcode == Opcode::HARD_RESET_SERVER_V2;
                if answers {
                    self.link.peer_session_id = Some(packet.session_id);
                }
                answers
            }
            Some(_) if packet.key_id == self.slot.channel.key_id => true,
            Some(_) => {
                let asks = packet.opcode == Opcode::SOFT_RESET_V1
                    && packet.key_id == self.slot.channel.key_id.next()
                    && self.phase == Phase::Up
                    && self.slot.is_ready();
                if asks {
                    self.renegotiate(now, "the server");
                }
                asks
            }
        }
    }

    fn on_packet(&mut self, now: Instant, packet: ControlPacket) {
        if packet.peer_session_id.is_some() {
            self.slot.channel.reliable.on_acks(now, packet.acks.as_slice());
        }
        if let Some(id) = packet.packet_id {
            let received = self.slot.channel.reliable.on_packet(id, packet.payload);
            if received == Received::OutOfWindow {
                tracing::debug!(id, "control packet outside the window");
            }
        }
        self.check_farewell();
        if !self.listens() {
            return;
        }
        let mut slot_events = Vec::new();
        let result = self.slot.advance(&mut slot_events);
        let handled = slot_events.into_iter().try_for_each(|event| self.on_slot_event(now, event));
        if let Err(error) = handled.and(result)
            && self.listens()
        {
            let retry = retry_after(&error);
            self.fail(now, error, retry);
        }
    }

    /// Tells a probe; nobody else listens.
    fn note(&mut self, note: impl FnOnce(&mut Probing)) {
        if let Some(probing) = &mut self.probing {
            note(probing);
        }
    }

    /// Whether what the server says still matters: not after the last word of either side.
    fn listens(&self) -> bool {
        match self.phase {
            Phase::Handshaking | Phase::Asking | Phase::Pulling | Phase::Up | Phase::Parting => true,
            Phase::Challenged | Phase::Leaving | Phase::Closed => false,
        }
    }

    fn on_slot_event(&mut self, now: Instant, event: SlotEvent) -> Result<(), SessionError> {
        match event {
            // Whatever it says after our goodbye, but that it refuses us.
            _ if self.phase == Phase::Parting => Ok(()),
            SlotEvent::Answered => {
                self.timers.stop(Timer::Connect);
                self.note(|probing| probing.on_answered(now));
                Ok(())
            }
            // A renegotiation cannot wait for a person; it says what is known.
            SlotEvent::WantsKeyMessage => {
                let tls = self.slot.tls().map_or(("?", "?"), TlsSession::description);
                self.note(|probing| probing.on_tls(tls));
                if self.probing.as_ref().is_some_and(|probing| !probing.probe.login) {
                    self.part(now);
                    return Ok(());
                }
                match self.login.question().filter(|_| self.slot.channel.key_id == KeyId::FIRST) {
                    Some(prompt) => {
                        self.ask(now, prompt);
                        Ok(())
                    }
                    None => self.send_key_message(),
                }
            }
            SlotEvent::Ready { options } => self.on_key_ready(now, options),
            SlotEvent::Record(record) => self.on_record(now, &record),
        }
    }

    /// Asks only now that the server has answered and proved who it is: of several addresses tried side by side, one asks.
    fn ask(&mut self, now: Instant, prompt: Prompt) {
        if self.phase == Phase::Handshaking {
            self.phase = Phase::Asking;
            self.timers.stop(Timer::HandWindow);
            self.timers.set(Timer::GiveUp, now + ANSWER_TIMEOUT);
            self.events.push_back(Event::Prompt(prompt));
        }
    }

    fn send_key_message(&mut self) -> Result<(), SessionError> {
        let transport = self.path.transport;
        let (wrap, ipv6) = (self.control_wrap(), self.path.remote.is_ipv6());
        let options = peer_info::options_string(self.settings(), wrap, self.tun_mtu(), transport, ipv6);
        let peer_info = peer_info::peer_info(self.settings());
        let message = self.login.key_message(self.random.as_mut(), options, peer_info);
        self.slot.send_key_message(message)
    }

    fn on_key_ready(&mut self, now: Instant, options: String) -> Result<(), SessionError> {
        let (version, suite) = self.slot.tls().map_or(("?", "?"), TlsSession::description);
        if self.slot.channel.key_id != KeyId::FIRST {
            tracing::debug!(tls = version, suite, key_id = self.slot.channel.key_id.value(), "control channel renewed");
            return self.install_keys(now);
        }
        tracing::info!(tls = version, suite, wrap = wrap_name(self.control_wrap()), "control channel up");
        self.server_options = options;
        if !self.settings().pull {
            return self.go_up(now);
        }
        self.phase = Phase::Pulling;
        self.pulling_since = now;
        // A server that knows REQUEST_PUSH speaks first; others wait to be asked.
        let announced = peer_info::announced(self.settings()) & iv_proto::REQUEST_PUSH != 0;
        let wait = if announced { PUSH_REQUEST_FIRST } else { Duration::ZERO };
        self.timers.set(Timer::PushRequest, now + wait);
        Ok(())
    }

    /// Options are complete: makes the first keys and tells the owner.
    fn go_up(&mut self, now: Instant) -> Result<(), SessionError> {
        self.timers.stop(Timer::PushRequest);
        self.timers.stop(Timer::HandWindow);
        self.phase = Phase::Up;
        self.install_keys(now)?;
        self.login.on_up();
        if self.probing.is_some() {
            let (cipher, network) = (self.cipher.map(|cipher| cipher.to_string()), self.network_config());
            self.note(|probing| {
                probing.report.accepted_us = Some(true);
                probing.report.cipher = cipher;
                probing.report.network = Some(network);
            });
            self.leave(now);
            return Ok(());
        }
        if self.options.protocol_flags.dyn_tls_crypt
            && let Some(exported) = self.slot.exchanged().and_then(Exchanged::export_dynamic_tls_crypt)
        {
            let wrapper = Wrapper::dynamic(&exported, self.control_wrap(), Role::Client, &self.settings().crypto);
            self.link.set_dynamic(wrapper);
            tracing::debug!("renegotiations are wrapped by dynamic tls-crypt");
        }
        self.start_keepalive(now);
        let network = self.network_config();
        if network.addresses.is_empty() {
            // An embedder may have an address of its own in mind.
            tracing::warn!(
                "the server gives us no address inside the tunnel; if it has no pool, the profile needs `ifconfig`"
            );
        }
        self.events.push_back(Event::Up(network));
        Ok(())
    }

    fn network_config(&self) -> adit_tunnel::NetworkConfig {
        let mtu = self.tun_mtu();
        self.options.network_config(self.path.remote.ip(), mtu, self.keys.tcp_mtu(mtu, self.mssfix(), self.path))
    }

    fn tun_mtu(&self) -> u16 {
        self.options.tun_mtu.or(self.remote.tun_mtu).unwrap_or(self.config.settings.tun_mtu)
    }

    fn mssfix(&self) -> crate::config::Mssfix {
        self.remote.mssfix.unwrap_or(self.config.settings.mssfix)
    }

    /// Starts a handshake under the next key id.
    fn renegotiate(&mut self, now: Instant, by: &str) {
        let key_id = self.slot.channel.key_id.next();
        tracing::debug!(key_id = key_id.value(), by, "renegotiation starts");
        let (started, renewal) = (self.slot.channel.started, self.renewal());
        self.keys.on_renegotiation(now, started, &renewal, &mut self.events);
        let settings = &self.config.settings;
        self.slot =
            KeySlot::new(key_id, Opcode::SOFT_RESET_V1, Arc::clone(&self.tls_config), settings.tls_timeout, now);
        self.timers.stop(Timer::Renegotiate);
        self.timers.set(Timer::HandWindow, now + settings.hand_window);
    }

    /// Puts into `transmits` whatever the newest slot has to send.
    fn flush(&mut self, now: Instant) {
        if self.phase == Phase::Closed {
            return;
        }
        self.link.flush(now, &mut self.slot.channel, self.path, &mut self.transmits);
        self.timers.set_or_stop(Timer::Retransmit, self.slot.channel.reliable.poll_timeout());
        self.timers.set_or_stop(Timer::Keys, self.keys.poll_timeout());
    }

    fn on_timer(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Retransmit => self.note(|probing| probing.on_sent(now)),
            Timer::Connect => {
                let error = SessionError::NoAnswer(self.connect_timeout());
                self.fail(now, error, Retry::NextAddress);
            }
            Timer::HandWindow => {
                // AUTH_PENDING may have made it longer than `hand-window`.
                let window = now.duration_since(self.slot.channel.started);
                let error = SessionError::HandshakeTimeout { window, stage: self.slot.stage() };
                self.fail(now, error, Retry::NextAddress);
            }
            Timer::PushRequest => self.request_push(now),
            Timer::Keys => self.keys.on_time(now, self.slot.channel.all_arrived(), &mut self.events),
            Timer::Renegotiate => self.renegotiate(now, "us"),
            Timer::Sample => self.sample(now),
            Timer::SessionTimeout => self.fail(now, SessionError::SessionTimeout, Retry::Never),
            Timer::GiveUp => self.on_give_up(),
        }
    }

    fn push_closed(&mut self, closed: Closed) {
        if self.phase == Phase::Closed {
            return;
        }
        if self.phase == Phase::Up && !self.slot.is_ready() && closed.kind != CloseKind::Local {
            self.agreed.failed += 1;
        }
        self.phase = Phase::Closed;
        self.timers.stop_all();
        self.events.push_back(Event::Closed(closed));
    }
}

impl Tunnel for Session {
    type Sealer = DataSealer;
    type Opener = DataOpener;

    fn classify(&self, _: &Path, datagram: &[u8]) -> Class {
        Opcode::classify(datagram)
    }

    fn handle_datagram(&mut self, now: Instant, path: &Path, datagram: &mut [u8]) {
        if self.phase == Phase::Closed || path.remote != self.path.remote {
            self.dropped_datagrams += 1;
            return;
        }
        self.clock.tell(self.epoch.unix_time(now));
        self.on_control_datagram(now, datagram);
        self.flush(now);
    }

    fn handle_message(&mut self, now: Instant, message: &[u8]) {
        if self.phase == Phase::Up {
            self.on_data_message(now, message);
            self.flush(now);
        }
    }

    fn handle_peer_path(&mut self, _: Instant, path: &Path) {
        // A client does not follow its server to another address (2.x does so only with `float`): the server would have
        // to be reached there first.
        tracing::debug!(remote = %path.remote, "an authentic data packet came from another address");
    }

    fn handle_path(&mut self, now: Instant, path: &Path) {
        self.on_new_path(now, *path);
        self.flush(now);
    }

    fn handle_answer(&mut self, now: Instant, answer: Answer) {
        self.clock.tell(self.epoch.unix_time(now));
        self.on_answer(now, answer);
        self.flush(now);
    }

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

    fn details(&self) -> TunnelDetails {
        // The first keys were no rekey; each later ones come with a TLS session of their own.
        let rekeys = self.agreed.times.saturating_sub(1);
        TunnelDetails {
            protocol: "openvpn",
            suite: self.agreed.suite.clone(),
            peer_identity: self.agreed.server.clone(),
            rekey_at: self.timers.get(Timer::Renegotiate),
            rekeys: Rekeys { data: rekeys, control: rekeys },
            failed_rekeys: Rekeys { data: self.agreed.failed, control: self.agreed.failed },
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("remote", &self.path.remote)
            .field("phase", &self.phase)
            .field("key_id", &self.slot.channel.key_id)
            .finish_non_exhaustive()
    }
}

/// Whether a server sends such packets: resets begin the numbering of a key, and nothing else does.
fn is_from_server(packet: &ControlPacket) -> bool {
    let (first_key, first_packet) = (packet.key_id == KeyId::FIRST, packet.packet_id == Some(0));
    match packet.opcode {
        Opcode::ACK_V1 => true,
        Opcode::CONTROL_V1 => !first_packet,
        Opcode::HARD_RESET_SERVER_V2 => first_packet && first_key,
        Opcode::SOFT_RESET_V1 => first_packet && !first_key,
        _ => false,
    }
}

const fn wrap_name(wrap: &ControlWrap) -> &'static str {
    match wrap {
        ControlWrap::None => "none",
        ControlWrap::TlsAuth { .. } => "tls-auth",
        ControlWrap::TlsCrypt(_) => "tls-crypt",
        ControlWrap::TlsCryptV2 { .. } => "tls-crypt-v2",
    }
}

/// What a probe knows before it has asked anything.
fn first_report(config: &Config, wrap: &ControlWrap) -> ProbeReport {
    ProbeReport {
        wrap: wrap_name(wrap),
        certificate_shown: !config.certificates.is_empty(),
        offered_ciphers: config.settings.data_ciphers.iter().map(ToString::to_string).collect(),
        ..ProbeReport::default()
    }
}

/// What a failure of ours or of the protocol allows: what depends on the configuration alone will not get better.
fn retry_after(error: &SessionError) -> Retry {
    use crate::tls::TlsFailure;
    #[expect(clippy::wildcard_enum_match_arm, reason = "everything else may be a fault of this one address")]
    match error {
        SessionError::Tls(TlsFailure::ServerCertificate(_) | TlsFailure::NoAgreement(_))
        | SessionError::Cipher(_)
        | SessionError::NoCipher
        | SessionError::Unsupported(_)
        | SessionError::KeyExchange(_) => Retry::NextRemote,
        SessionError::Tls(TlsFailure::OurCertificate(_)) => Retry::FreshCredentials,
        _ => Retry::NextAddress,
    }
}

/// How long a person may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// When to ask a server that should have pushed by itself.
const PUSH_REQUEST_FIRST: Duration = Duration::from_secs(1);
/// How often to ask (OpenVPN wire protocol, "PUSH_REQUEST").
const PUSH_REQUEST_INTERVAL: Duration = Duration::from_secs(5);
