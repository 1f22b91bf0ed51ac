//! The data channel's keys: which is used to seal, which still open, when they go.
//!
//! ```text
//!  made ──▶ opens at once; seals at once if the first, else when the peer surely has it too
//!  renegotiation starts ──▶ opens for `tran-window` more, or until two newer keys have come
//! ```

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use adit_tunnel::{Event, FlowId, KeyChange, KeyTag, Path, Sealer, Transport, Usage};

use super::{Derivation, Session, Timer, peer_info, peer_info::iv_proto};
use crate::{
    algorithms::Cipher,
    config::Mssfix,
    control::packet::SessionId,
    crypto::Crypto,
    data::{DataKeyParams, DataSealer, Role, data_keys},
    error::SessionError,
};

/// What the PRF needs besides the key messages.
pub(super) struct KeyMaterial<'a> {
    pub(super) crypto: &'a dyn Crypto,
    pub(super) client: SessionId,
    pub(super) server: SessionId,
}

/// Every key of a session that is still of use.
#[derive(Default)]
pub(super) struct DataKeys {
    /// The newest last.
    live: VecDeque<LiveKey>,
    /// Waits until the peer surely opens what it seals.
    next_sealer: Option<Box<DataSealer>>,
    cipher: Option<Cipher>,
    /// Lengths of the datagrams of packets of every length up to the MTU.
    sealed_lengths: Vec<usize>,
    /// Time between the last two renegotiations.
    interval: Option<Duration>,
    retired: Totals,
}

struct LiveKey {
    tag: KeyTag,
    usage: Arc<Usage>,
    retire_at: Option<Instant>,
}

/// Sums over all keys of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) sealed_packets: u64,
    pub(super) sealed_bytes: u64,
    pub(super) opened_packets: u64,
    pub(super) opened_bytes: u64,
}

impl Totals {
    fn add(&mut self, usage: &Usage) {
        self.sealed_packets += usage.sealed_packets.load(Relaxed);
        self.sealed_bytes += usage.sealed_bytes.load(Relaxed);
        self.opened_packets += usage.opened_packets.load(Relaxed);
        self.opened_bytes += usage.opened_bytes.load(Relaxed);
    }

    fn of(usage: &Usage) -> Self {
        let mut totals = Self::default();
        totals.add(usage);
        totals
    }
}

impl DataKeys {
    /// The newest key becomes an old one.
    pub(super) fn on_renegotiation(&mut self, now: Instant, last_started: Instant, tran_window: Duration) {
        self.interval = Some(now.duration_since(last_started));
        if let Some(newest) = self.live.back_mut() {
            newest.retire_at = Some(now + tran_window);
        }
    }

    /// Sums over all keys so far.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.retired;
        self.live.iter().for_each(|key| totals.add(&key.usage));
        totals
    }

    /// What the newest key has carried.
    pub(super) fn newest(&self) -> Totals {
        self.live.back().map_or_else(Totals::default, |key| Totals::of(&key.usage))
    }

    /// The largest inner TCP packet whose datagram keeps to `mssfix`.
    pub(super) fn tcp_mtu(&self, mtu: u16, mssfix: Mssfix, path: Path) -> u16 {
        let limit = match (mssfix, path.transport) {
            (Mssfix::Off, _) => return mtu,
            (Mssfix::Payload(limit), _) => usize::from(limit),
            (Mssfix::OuterIp(limit), transport) => {
                let ip = if path.remote.is_ipv6() { 40 } else { 20 };
                let above = match transport {
                    Transport::Udp => 8,
                    // A TCP header with timestamps, and the length of the datagram.
                    Transport::Tcp => 32 + 2,
                };
                usize::from(limit).saturating_sub(ip + above)
            }
        };
        let fitting = self.sealed_lengths.iter().rposition(|sealed| *sealed <= limit).unwrap_or_default();
        u16::try_from(fitting).unwrap_or(mtu).max(MIN_TCP_MTU).min(mtu)
    }

    /// When the oldest key goes. The only key stays, however long its renegotiation takes.
    fn next_retirement(&self) -> Option<Instant> {
        let oldest = self.live.front().filter(|_| self.live.len() > 1)?;
        oldest.retire_at
    }

    /// The newest key does not seal yet.
    pub(super) fn sealer_waits(&self) -> bool {
        self.next_sealer.is_some()
    }

    /// The key that packets are sealed with is about to run out of packet ids.
    pub(super) fn sealing_is_exhausted(&self, limit: u64) -> bool {
        let waiting = usize::from(self.next_sealer.is_some());
        let sealing = self.live.iter().rev().nth(waiting);
        sealing.is_some_and(|key| key.usage.sealed_packets.load(Relaxed) >= limit)
    }

    fn retire(&mut self, index: usize) -> Option<KeyTag> {
        let key = self.live.remove(index)?;
        self.retired.add(&key.usage);
        Some(key.tag)
    }
}

impl Session {
    /// Makes the keys of the newest slot: opens with them at once, seals with them when the peer surely has them.
    pub(super) fn install_keys(&mut self, now: Instant) -> Result<(), SessionError> {
        let settings = &self.config.settings;
        let crypto = settings.crypto.as_ref();
        let derivation = if self.options.tls_ekm() { Derivation::Exporter } else { Derivation::Prf };
        self.check_agreed()?;
        let cipher = self.choose_cipher()?;
        let server = self.peer_session_id.ok_or(SessionError::DataKeys)?;
        let material = KeyMaterial { crypto, client: self.session_id, server };
        let keys = self.slot.key_material(derivation, material).ok_or(SessionError::DataKeys)?;
        let key_id = self.slot.key_id.value();
        let framing = self.options.framing.unwrap_or(settings.framing);
        let peer_id = self.options.peer_id.filter(|_| self.announces(iv_proto::DATA_V2));
        let params = DataKeyParams {
            cipher,
            auth: settings.auth,
            keys: &keys,
            role: Role::Client,
            key_id,
            peer_id,
            framing,
            replay_window: settings.replay_window,
            mtu: self.tun_mtu(),
        };
        let usage = Arc::new(Usage::default());
        let (sealer, opener) = data_keys(&params, crypto, Arc::clone(&usage)).map_err(|_| SessionError::DataKeys)?;
        tracing::info!(
            key_id,
            %cipher,
            derivation = derivation.name(),
            data = if peer_id.is_some() { "v2" } else { "v1" },
            framing = framing_name(framing),
            "data keys installed"
        );
        let first = self.keys.live.is_empty();
        let tag = KeyTag(key_id.into());
        self.keys.cipher = Some(cipher);
        self.keys.sealed_lengths = (0..=usize::from(self.tun_mtu())).map(|len| sealer.sealed_len(len)).collect();
        self.keys.live.push_back(LiveKey { tag, usage, retire_at: None });
        let flow = FlowId::default();
        self.events.push_back(Event::Keys(KeyChange::AddOpener { tag, flow, opener: Box::new(opener) }));
        // A sealer that still waits is the newest the peer surely has by now.
        self.switch_sealer();
        self.keys.next_sealer = Some(Box::new(sealer));
        if first {
            self.switch_sealer();
        } else {
            self.timers.set(Timer::SwitchSealer, now + self.deferral());
        }
        self.timers.stop(Timer::HandWindow);
        let reneg = self.config.settings.reneg_sec;
        if !reneg.is_zero() {
            self.timers.set(Timer::Renegotiate, now + reneg);
        }
        self.retire_surplus();
        Ok(())
    }

    /// Counters of the live keys, the newest last.
    #[cfg(test)]
    pub(crate) fn usages(&self) -> Vec<Arc<Usage>> {
        self.keys.live.iter().map(|key| Arc::clone(&key.usage)).collect()
    }

    /// Whether IV_PROTO has this bit.
    pub(super) fn announces(&self, bit: u32) -> bool {
        peer_info::announced(&self.config.settings) & bit != 0
    }

    /// A server may only switch on what we announced: anything else changes the wire format under our feet.
    fn check_agreed(&self) -> Result<(), SessionError> {
        let flags = &self.options.protocol_flags;
        let wanted = [
            (self.options.tls_ekm(), iv_proto::TLS_KEY_EXPORT, "tls-ekm"),
            (flags.dyn_tls_crypt, iv_proto::DYN_TLS_CRYPT, "dyn-tls-crypt"),
            (flags.aead_epoch, iv_proto::DATA_EPOCH, "aead-epoch"),
        ];
        match wanted.into_iter().find(|(on, bit, _)| *on && !self.announces(*bit)) {
            Some((_, _, name)) => Err(SessionError::Unsupported(format!("{name}, although we did not announce it"))),
            None => Ok(()),
        }
    }

    /// How long after a renegotiation to go on sealing with the old key: the peer may make its own keys only after our
    /// acknowledgement has reached it, or after somebody has judged our credentials (OpenVPN 2.6 `ssl.c`,
    /// tls_select_encryption_key; it counts from the start of the handshake, which is too early on a slow line). With a
    /// peer that renegotiates faster than we do, half of its interval, so that the old key is not gone before.
    fn deferral(&self) -> Duration {
        let ours = self.config.settings.reneg_sec;
        let interval = self.keys.interval.unwrap_or(Duration::MAX);
        let shortest = if ours.is_zero() { interval } else { interval.min(ours) };
        self.config.settings.hand_window.min(shortest / 2)
    }

    /// Seals with the newest key from now on.
    pub(super) fn switch_sealer(&mut self) {
        if let Some(sealer) = self.keys.next_sealer.take() {
            self.timers.stop(Timer::SwitchSealer);
            let change = KeyChange::SetSealer { flow: FlowId::default(), selectors: Vec::new(), sealer };
            self.events.push_back(Event::Keys(change));
        }
    }

    /// Drops keys whose time is over.
    pub(super) fn retire_keys(&mut self, now: Instant) {
        while self.keys.next_retirement().is_some_and(|at| at <= now) {
            // The newest sealer must be in use before the old opener goes.
            self.switch_sealer();
            if let Some(tag) = self.keys.retire(0) {
                self.events.push_back(Event::Keys(KeyChange::RemoveOpener { tag }));
            }
        }
        self.schedule_retirement();
    }

    pub(super) fn schedule_retirement(&mut self) {
        match self.keys.next_retirement() {
            Some(at) => self.timers.set(Timer::RetireKey, at),
            None => self.timers.stop(Timer::RetireKey),
        }
    }

    fn retire_surplus(&mut self) {
        while self.keys.live.len() > MAX_LIVE_KEYS {
            if let Some(tag) = self.keys.retire(0) {
                self.events.push_back(Event::Keys(KeyChange::RemoveOpener { tag }));
            }
        }
        self.schedule_retirement();
    }

    /// What the server pushed; from a server that does not negotiate, what its options string says; else our fallback.
    fn choose_cipher(&self) -> Result<Cipher, SessionError> {
        let settings = &self.config.settings;
        let allowed = |cipher: &Cipher| settings.data_ciphers.contains(cipher);
        if let Some(cipher) = self.keys.cipher {
            return Ok(cipher);
        }
        if let Some(cipher) = self.options.cipher {
            let fallback = settings.data_ciphers_fallback == Some(cipher);
            return if allowed(&cipher) || fallback {
                Ok(cipher)
            } else {
                Err(SessionError::Cipher(cipher.to_string()))
            };
        }
        peer_info::cipher_of_options(&self.server_options)
            .filter(allowed)
            .or(settings.data_ciphers_fallback)
            .ok_or(SessionError::NoCipher)
    }
}

impl Derivation {
    const fn name(self) -> &'static str {
        match self {
            Self::Exporter => "exporter",
            Self::Prf => "prf",
        }
    }
}

const fn framing_name(framing: crate::config::Framing) -> &'static str {
    use crate::config::Framing;
    match framing {
        Framing::None => "none",
        Framing::V1 => "v1",
        Framing::V1Swap => "v1-swap",
        Framing::V2 => "v2",
    }
}

/// 2.x opens with two; one more costs little and catches what reordering delays across two renegotiations.
const MAX_LIVE_KEYS: usize = 3;
/// RFC 791: every host accepts 576 bytes. `mssfix` never asks for less.
const MIN_TCP_MTU: u16 = 576;
