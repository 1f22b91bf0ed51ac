//! One key id's control channel: reset, TLS handshake, key exchange.
//!
//! ```text
//!  ResetSent ──peer's reset──▶ Tls ──handshake done──▶ KeySent ──server's key message──▶ Ready
//! ```

use std::{sync::Arc, time::Instant};

use adit_tunnel::Secret;
use bytes::Bytes;
use rustls::ClientConfig;
use zeroize::Zeroizing;

use super::{Derivation, keys::KeyMaterial};
use crate::{
    config::ControlWrap,
    control::{
        packet::{EarlyNegotiation, KeyId, Opcode},
        reliable::Reliable,
    },
    error::{PeerMisbehaved, SessionError},
    key_exchange::{ClientMessage, EXPORTER_DATA_KEYS, EXPORTER_DYNAMIC_TLS_CRYPT, ServerMessage, derive_prf},
    keys::StaticKey,
    tls::{TlsFailure, TlsSession},
};

/// The newest key id's control channel.
pub(super) struct KeySlot {
    pub(super) key_id: KeyId,
    pub(super) reliable: Reliable,
    pub(super) started: Instant,
    state: State,
    /// Ciphertext that has no packet yet, because the send window is full.
    unsent: Vec<Bytes>,
    /// The next packet carries our wrapped key (tls-crypt-v2).
    resend_wrapped_key: bool,
}

enum State {
    ResetSent { tls_config: Arc<ClientConfig> },
    Tls(Box<TlsSession>),
    KeySent { tls: Box<TlsSession>, ours: Box<ClientMessage> },
    Ready { tls: Box<TlsSession>, material: Box<Material> },
    Failed,
}

/// Everything data keys can be made of.
struct Material {
    ours: ClientMessage,
    theirs: ServerMessage,
}

/// What happened in a slot, in order.
pub(super) enum SlotEvent {
    /// The peer's reset has come: it lives.
    Answered,
    /// The TLS handshake is done: our key message is wanted.
    WantsKeyMessage,
    /// The server's key message has come, with its options string.
    Ready { options: String },
    /// One record of the control channel.
    Record(Zeroizing<Vec<u8>>),
}

impl KeySlot {
    pub(super) fn new(
        key_id: KeyId,
        reset: Opcode,
        tls_config: Arc<ClientConfig>,
        tls_timeout: std::time::Duration,
        now: Instant,
    ) -> Self {
        let mut reliable = Reliable::new(tls_timeout, 0);
        reliable.queue(reset, Bytes::new());
        Self {
            key_id,
            reliable,
            started: now,
            state: State::ResetSent { tls_config },
            unsent: Vec::new(),
            resend_wrapped_key: false,
        }
    }

    /// Takes in what the reliable layer has delivered.
    pub(super) fn advance(&mut self, events: &mut Vec<SlotEvent>) -> Result<(), SessionError> {
        while let Some(payload) = self.reliable.poll_deliver() {
            self.on_payload(&payload, events)?;
        }
        Ok(())
    }

    fn on_payload(&mut self, payload: &[u8], events: &mut Vec<SlotEvent>) -> Result<(), SessionError> {
        self.state = match std::mem::replace(&mut self.state, State::Failed) {
            State::ResetSent { tls_config } => {
                let early = EarlyNegotiation::decode(payload).map_err(|_| PeerMisbehaved::ResetMalformed)?;
                self.resend_wrapped_key = early.resend_wrapped_key;
                events.push(SlotEvent::Answered);
                State::Tls(Box::new(TlsSession::new(&tls_config)?))
            }
            State::Tls(mut tls) => {
                tls.feed(payload);
                // No plaintext can come before our key message, but alerts and the handshake do.
                let received = tls.next_message();
                self.collect(&mut tls);
                if received?.is_some() {
                    return Err(PeerMisbehaved::KeyExchangeMalformed.into());
                }
                if !tls.is_handshaking() {
                    events.push(SlotEvent::WantsKeyMessage);
                }
                State::Tls(tls)
            }
            State::KeySent { mut tls, ours } => {
                tls.feed(payload);
                let received = tls.next_message();
                self.collect(&mut tls);
                match received? {
                    None => State::KeySent { tls, ours },
                    Some(record) => self.on_key_message(tls, *ours, &record, events)?,
                }
            }
            State::Ready { mut tls, material } => {
                tls.feed(payload);
                let result = drain(&mut tls, events);
                self.collect(&mut tls);
                result?;
                State::Ready { tls, material }
            }
            State::Failed => State::Failed,
        };
        if let State::Tls(tls) = &mut self.state {
            let ciphertext = tls.take_ciphertext();
            self.push_unsent(ciphertext);
        }
        Ok(())
    }

    fn on_key_message(
        &mut self,
        mut tls: Box<TlsSession>,
        ours: ClientMessage,
        record: &[u8],
        events: &mut Vec<SlotEvent>,
    ) -> Result<State, SessionError> {
        let theirs = ServerMessage::decode(record).map_err(|_| PeerMisbehaved::KeyExchangeMalformed)?;
        events.push(SlotEvent::Ready { options: theirs.options.clone() });
        let drained = drain(&mut tls, events);
        self.collect(&mut tls);
        drained?;
        Ok(State::Ready { tls, material: Box::new(Material { ours, theirs }) })
    }

    /// Sends our key message; only after [`SlotEvent::WantsKeyMessage`], else nothing happens.
    pub(super) fn send_key_message(&mut self, mut ours: ClientMessage) -> Result<(), SessionError> {
        let State::Tls(_) = &self.state else { return Ok(()) };
        let State::Tls(mut tls) = std::mem::replace(&mut self.state, State::Failed) else { return Ok(()) };
        let bytes = ours.encode().map_err(|e| SessionError::KeyExchange(e.to_string()))?;
        tls.write(&bytes)?;
        self.collect(&mut tls);
        // Keys are made of the random numbers alone; the password need not lie here as long as the key lives.
        ours.password = Secret::default();
        self.state = State::KeySent { tls, ours: Box::new(ours) };
        Ok(())
    }

    /// Sends a control message; lost if the slot is not ready.
    pub(super) fn send_message(&mut self, text: &[u8]) -> Result<(), TlsFailure> {
        if let State::Ready { tls, .. } = &mut self.state {
            tls.write(text)?;
            let ciphertext = tls.take_ciphertext();
            self.push_unsent(ciphertext);
        }
        Ok(())
    }

    /// Key material for the data channel, once ready.
    pub(super) fn key_material(&self, derivation: Derivation, sids: KeyMaterial<'_>) -> Option<StaticKey> {
        let State::Ready { tls, material } = &self.state else { return None };
        match derivation {
            Derivation::Exporter => tls.export(EXPORTER_DATA_KEYS).ok().map(|key| StaticKey::new(*key)),
            Derivation::Prf => {
                Some(derive_prf(&material.ours, &material.theirs, sids.client, sids.server, sids.crypto))
            }
        }
    }

    /// The key of dynamic tls-crypt, once ready.
    pub(super) fn export_dynamic_tls_crypt(&self) -> Option<Zeroizing<[u8; 256]>> {
        let State::Ready { tls, .. } = &self.state else { return None };
        tls.export(EXPORTER_DYNAMIC_TLS_CRYPT).ok()
    }

    pub(super) fn tls(&self) -> Option<&TlsSession> {
        match &self.state {
            State::Tls(tls) | State::KeySent { tls, .. } | State::Ready { tls, .. } => Some(tls),
            State::ResetSent { .. } | State::Failed => None,
        }
    }

    /// Whether something waits for the send window.
    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// For tables of what becomes of it.
    #[cfg(test)]
    pub(super) const fn state_name(&self) -> &'static str {
        match self.state {
            State::ResetSent { .. } => "ResetSent",
            State::Tls(_) => "Tls",
            State::KeySent { .. } => "KeySent",
            State::Ready { .. } => "Ready",
            State::Failed => "Failed",
        }
    }

    /// What is being waited for, for error texts.
    pub(super) fn stage(&self) -> &'static str {
        match self.state {
            State::ResetSent { .. } => "waiting for the server's first answer",
            State::Tls(_) => "TLS was shaking hands",
            State::KeySent { .. } => "waiting for the server's key message (it may have refused our certificate)",
            State::Ready { .. } => "waiting for the server's options",
            State::Failed => "failing",
        }
    }

    /// Moves ciphertext into packets of at most `payload_limit` bytes, as far as the send window allows. The packet that
    /// carries our wrapped key is shorter by `wrapped_key_len`.
    pub(super) fn fill_window(&mut self, payload_limit: usize, wrapped_key_len: usize) {
        while self.reliable.can_queue() {
            let Some(first) = self.unsent.first_mut() else { return };
            let (opcode, limit) = if std::mem::take(&mut self.resend_wrapped_key) {
                (Opcode::CONTROL_WKC_V1, payload_limit.saturating_sub(wrapped_key_len).max(1))
            } else {
                (Opcode::CONTROL_V1, payload_limit.max(1))
            };
            let chunk = first.split_to(limit.min(first.len()));
            if first.is_empty() {
                self.unsent.remove(0);
            }
            self.reliable.queue(opcode, chunk);
        }
    }

    fn collect(&mut self, tls: &mut TlsSession) {
        let ciphertext = tls.take_ciphertext();
        self.push_unsent(ciphertext);
    }

    fn push_unsent(&mut self, ciphertext: Bytes) {
        if !ciphertext.is_empty() {
            self.unsent.push(ciphertext);
        }
    }
}

fn drain(tls: &mut TlsSession, events: &mut Vec<SlotEvent>) -> Result<(), TlsFailure> {
    while let Some(record) = tls.next_message()? {
        events.push(SlotEvent::Record(record));
    }
    Ok(())
}

/// The opcode of the first packet of a session.
pub(super) const fn hard_reset(wrap: &ControlWrap) -> Opcode {
    match wrap {
        ControlWrap::TlsCryptV2 { .. } => Opcode::HARD_RESET_CLIENT_V3,
        ControlWrap::None | ControlWrap::TlsAuth { .. } | ControlWrap::TlsCrypt(_) => Opcode::HARD_RESET_CLIENT_V2,
    }
}
