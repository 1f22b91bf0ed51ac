//! Who the client is, whether it may come in, and what it is told then.

use std::time::{Duration, Instant};

use adit_tunnel::{Applicant, Login, NetworkConfig, Verdict};

use super::{
    client::Abilities,
    config::DEFAULT_TUN_MTU,
    error::ServerSessionError,
    push::{self, Agreed},
    session::{Phase, ServerSession, Timer},
    slot::Introduction,
};
use crate::{
    control::packet::KeyId,
    data::{DataKeyParams, Role},
    data_keys::Derivation,
    key_exchange::ServerMessage,
    session::{iv_proto, peer_info::occ_string},
    tls::holder,
};

/// The question whether a client may come in.
#[derive(Debug, Default)]
pub(super) enum Application {
    /// It is not asked.
    #[default]
    None,
    /// It waits for the owner.
    Waiting(Box<Applicant>),
    /// The owner thinks about it.
    Taken,
}

impl Application {
    pub(super) fn take(&mut self) -> Option<Applicant> {
        match std::mem::take(self) {
            Self::Waiting(applicant) => {
                *self = Self::Taken;
                Some(*applicant)
            }
            other @ (Self::None | Self::Taken) => {
                *self = other;
                None
            }
        }
    }

    const fn is_open(&self) -> bool {
        !matches!(self, Self::None)
    }
}

/// Who a client is; it must not change while the session lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// The common name of its certificate.
    certified: Option<String>,
    user: Option<String>,
}

impl ServerSession {
    /// The client's key message has come. At first ours goes out at once, for nothing else can be said before; at a
    /// renegotiation it waits for the verdict, so that the client uses no key that we might not open.
    pub(super) fn on_introduction(
        &mut self,
        now: Instant,
        introduction: Introduction,
    ) -> Result<(), ServerSessionError> {
        let (tls, suite) = self.tls_description();
        tracing::debug!(tls, suite, key_id = self.slot.channel.key_id.value(), "a client introduces itself");
        let again = self.slot.channel.key_id != KeyId::FIRST;
        if !again {
            self.client = Abilities::new(&introduction.peer_info, &introduction.options);
            let ours = self.key_message();
            self.slot.answer(ours)?;
        }
        match self.applicant(introduction, again) {
            Ok(applicant) => {
                self.application = Application::Waiting(Box::new(applicant));
                if !again {
                    self.phase = Phase::Judging;
                    self.timers.set(Timer::Pending, now + PENDING_AFTER);
                }
                Ok(())
            }
            Err(error) => {
                self.refuse(now, error, PLAIN_REFUSAL);
                Ok(())
            }
        }
    }

    fn applicant(&mut self, introduction: Introduction, again: bool) -> Result<Applicant, ServerSessionError> {
        let certificate = self.slot.tls().and_then(crate::tls::TlsSession::peer_certificate);
        let certified = certificate.map(|leaf| holder(leaf).ok_or(ServerSessionError::NoCommonName)).transpose()?;
        let Introduction { username, password, .. } = introduction;
        let login = match self.config.clients.login {
            true if username.is_empty() || username.contains(char::is_control) => {
                return Err(ServerSessionError::NoLogin);
            }
            true => Some(Login { user: username, password }),
            false => None,
        };
        let name = Name { certified, user: login.as_ref().map(|login| login.user.clone()) };
        if again && self.name.as_ref() != Some(&name) {
            return Err(ServerSessionError::NameChanged);
        }
        let identity = name.certified.clone();
        self.name = Some(name);
        Ok(Applicant { identity, login, addresses: Vec::new(), alone: false, again })
    }

    fn key_message(&mut self) -> ServerMessage {
        let settings = &self.config.settings;
        let agreed = self.agreed().map(|agreed| agreed.cipher);
        let cipher =
            agreed.or_else(|| self.client.choose_cipher(settings)).or_else(|| settings.data_ciphers.first().copied());
        let proto = match (self.path.transport, self.path.remote.is_ipv6()) {
            (adit_tunnel::Transport::Udp, false) => "proto UDPv4",
            (adit_tunnel::Transport::Udp, true) => "proto UDPv6",
            (adit_tunnel::Transport::Tcp, false) => "proto TCPv4_SERVER",
            (adit_tunnel::Transport::Tcp, true) => "proto TCPv6_SERVER",
        };
        let end = ",key-method 2,tls-server";
        let options = cipher.map(|cipher| occ_string(proto, settings.tun_mtu, cipher, settings.auth, end));
        ServerMessage::new(self.random.as_mut(), options.unwrap_or_default())
    }

    /// The owner takes its time: a client that is told waits longer than it would otherwise.
    pub(super) fn tell_pending(&mut self) {
        if !matches!(self.phase, Phase::Judging) {
            return;
        }
        let window = self.config.settings.hand_window.as_secs();
        let timeout =
            if self.client.announces(iv_proto::AUTH_PENDING) { format!(",timeout {window}") } else { String::new() };
        self.send_control_message(&format!("AUTH_PENDING{timeout}\0"));
        let info = self.config.settings.pending_info.as_ref().filter(|info| self.client.can_show(info));
        if let Some(info) = info {
            let text = format!("INFO_PRE,{info}\0");
            self.send_control_message(&text);
        }
    }

    pub(super) fn on_verdict(&mut self, now: Instant, verdict: Verdict) {
        if !self.application.is_open() || !self.listens() {
            return;
        }
        self.application = Application::None;
        self.timers.stop(Timer::Pending);
        let result = match verdict {
            Verdict::Admitted(network) => self.on_admitted(now, network),
            Verdict::Refused => {
                self.refuse(now, ServerSessionError::Refused, PLAIN_REFUSAL);
                Ok(())
            }
            Verdict::NoAddress => {
                let text = self.later_text(NO_ADDRESS_BACKOFF, "no address is free");
                self.refuse(now, ServerSessionError::NoAddress, &text);
                Ok(())
            }
            Verdict::Later(wait) => {
                let text = self.later_text(wait, "come back later");
                self.refuse(now, ServerSessionError::Later, &text);
                Ok(())
            }
        };
        if let Err(error) = result {
            self.fail(now, error);
        }
    }

    /// What tells a client to come back; older ones know only that they failed.
    fn later_text(&self, wait: Duration, reason: &str) -> String {
        if self.client.announces(iv_proto::AUTH_FAILED_TEMP) {
            format!("AUTH_FAILED,TEMP[backoff {}]:{reason}\0", wait.as_secs())
        } else {
            format!("AUTH_FAILED,{reason}\0")
        }
    }

    fn on_admitted(&mut self, now: Instant, network: Box<NetworkConfig>) -> Result<(), ServerSessionError> {
        if self.slot.is_judging() {
            let Some(agreed) = self.agreed() else { return Err(ServerSessionError::DataKeys) };
            let ours = self.key_message();
            self.slot.answer(ours)?;
            return self.install_keys(now, &agreed);
        }
        self.phase = Phase::Admitted(network);
        self.push_if_due(now)
    }

    /// Tells the client its options, if it may come in and has asked: by PUSH_REQUEST, or once for all by IV_PROTO.
    pub(super) fn push_if_due(&mut self, now: Instant) -> Result<(), ServerSessionError> {
        let Phase::Admitted(network) = &mut self.phase else { return Ok(()) };
        if !self.push_requested && !self.client.announces(iv_proto::REQUEST_PUSH) {
            return Ok(());
        }
        let mut network = std::mem::take(network.as_mut());
        let Some(agreed) = self.agree() else {
            self.refuse(now, ServerSessionError::NoSharedCipher, NO_SHARED_CIPHER);
            return Ok(());
        };
        self.install_keys(now, &agreed)?;
        for message in push::messages(&push::options(&network, &agreed, &self.client, &self.config.settings)) {
            self.send_control_message(&message);
        }
        network.mtu = agreed.tun_mtu;
        network.tcp_mtu = self.keys.tcp_mtu(agreed.tun_mtu, self.config.settings.mssfix, self.path);
        self.on_up(now, network, agreed);
        Ok(())
    }

    /// What both ends are able to do; `None` without a common cipher.
    fn agree(&self) -> Option<Agreed> {
        let (client, settings) = (&self.client, &self.config.settings);
        let tun_mtu =
            client.mtu.unwrap_or(settings.tun_mtu).clamp(MIN_PUSHED_MTU, settings.tun_mtu.max(MIN_PUSHED_MTU));
        Some(Agreed {
            cipher: client.choose_cipher(settings)?,
            peer_id: client.announces(iv_proto::DATA_V2).then_some(self.peer().0),
            exporter: client.announces(iv_proto::TLS_KEY_EXPORT),
            // It is told by `protocol-flags`, which bit 7 says the client understands.
            dynamic_tls_crypt: client.announces(iv_proto::DYN_TLS_CRYPT)
                && client.announces(iv_proto::CC_EXIT_NOTIFY)
                && client.announces(iv_proto::TLS_KEY_EXPORT),
            tun_mtu,
        })
    }

    /// Makes the keys of the newest slot.
    fn install_keys(&mut self, now: Instant, agreed: &Agreed) -> Result<(), ServerSessionError> {
        let derivation = if agreed.exporter { Derivation::Exporter } else { Derivation::Prf };
        let (settings, renewal) = (&self.config.settings, self.renewal());
        let crypto = settings.crypto.as_ref();
        let client = self.link.peer_session_id.ok_or(ServerSessionError::DataKeys)?;
        let sids = (client, self.link.session_id);
        let exchanged = self.slot.exchanged().ok_or(ServerSessionError::DataKeys)?;
        let keys = exchanged.key_material(derivation, sids, crypto).ok_or(ServerSessionError::DataKeys)?;
        let params = DataKeyParams {
            cipher: agreed.cipher,
            auth: settings.auth,
            keys: &keys,
            role: Role::Server,
            key_id: self.slot.channel.key_id.value(),
            peer_id: agreed.peer_id,
            framing: crate::config::Framing::None,
            replay_window: settings.replay_window,
            mtu: agreed.tun_mtu,
        };
        let started = self.slot.channel.started;
        let installed = self.keys.install(now, started, &params, crypto, &renewal, &mut self.events);
        installed.map_err(|_| ServerSessionError::DataKeys)?;
        tracing::info!(key_id = params.key_id, cipher = %agreed.cipher, derivation = derivation.name(), "data keys installed");
        self.timers.stop(Timer::HandWindow);
        if !renewal.reneg_sec.is_zero() {
            // Not all clients of a server that was started anew at the same moment (2.x takes off up to a tenth).
            let tenth = renewal.reneg_sec / 10;
            let earlier = tenth.mul_f64(f64::from(self.random.next_u32()) / f64::from(u32::MAX));
            self.timers.set(Timer::Renegotiate, now + renewal.reneg_sec - earlier);
        }
        Ok(())
    }

    /// Sends a control message, if there is a control channel to send it on.
    pub(super) fn send_control_message(&mut self, text: &str) {
        if let Err(error) = self.slot.send_message(text.as_bytes()) {
            tracing::warn!(?error, "a control message could not be sent");
        }
    }

    /// Says no. A client that waits for our key message reads nothing before it has come.
    pub(super) fn refuse(&mut self, now: Instant, error: ServerSessionError, text: &str) {
        tracing::info!(%error, remote = %self.path.remote, "a client is refused");
        if self.slot.is_judging() {
            let ours = self.key_message();
            if let Err(error) = self.slot.answer(ours) {
                return self.fail(now, error);
            }
        }
        self.keys.withdraw(&mut self.events);
        self.send_control_message(text);
        self.say_last_word(now, error, REFUSAL_TIMEOUT);
    }
}

/// To a client whose login is wrong, or that may not come in.
const PLAIN_REFUSAL: &str = "AUTH_FAILED\0";
/// As 2.x says it (`push.c`), with a prefix that clients know.
const NO_SHARED_CIPHER: &str = "AUTH_FAILED,Data channel cipher negotiation failed (no shared cipher)\0";
/// How long the owner may think before the client is told that it does.
const PENDING_AFTER: Duration = Duration::from_secs(1);
/// When an address may have become free. Our own judgement.
const NO_ADDRESS_BACKOFF: Duration = Duration::from_secs(60);
/// Long enough for a few retransmissions.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(15);
/// IV_MTU below makes no sense: RFC 791 has every host accept 576 bytes.
const MIN_PUSHED_MTU: u16 = 576;
const _: () = assert!(MIN_PUSHED_MTU <= DEFAULT_TUN_MTU);
