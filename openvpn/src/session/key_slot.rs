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

use crate::{
    config::ControlWrap,
    control::{
        channel::Channel,
        packet::{EarlyNegotiation, KeyId, Opcode},
        reliable::Reliable,
    },
    error::{PeerMisbehaved, SessionError},
    exchanged::Exchanged,
    key_exchange::{ClientMessage, ServerMessage},
    tls::{TlsError, TlsSession},
};

/// The newest key id's control channel.
pub(super) struct KeySlot {
    pub(super) channel: Channel,
    state: State,
}

enum State {
    ResetSent { tls_config: Arc<ClientConfig> },
    Tls(Box<TlsSession>),
    KeySent { tls: Box<TlsSession>, ours: Box<ClientMessage> },
    Ready(Box<Exchanged>),
    Failed,
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
        Self { channel: Channel::new(key_id, reliable, now), state: State::ResetSent { tls_config } }
    }

    /// Takes in what the reliable layer has delivered.
    pub(super) fn advance(&mut self, events: &mut Vec<SlotEvent>) -> Result<(), SessionError> {
        while let Some(payload) = self.channel.reliable.poll_deliver() {
            self.on_payload(&payload, events)?;
        }
        Ok(())
    }

    fn on_payload(&mut self, payload: &[u8], events: &mut Vec<SlotEvent>) -> Result<(), SessionError> {
        self.state = match std::mem::replace(&mut self.state, State::Failed) {
            State::ResetSent { tls_config } => {
                let early = EarlyNegotiation::decode(payload).map_err(|_| PeerMisbehaved::ResetMalformed)?;
                self.channel.resend_wrapped_key(early.resend_wrapped_key);
                events.push(SlotEvent::Answered);
                State::Tls(Box::new(TlsSession::connect(&tls_config)?))
            }
            State::Tls(mut tls) => {
                tls.feed(payload);
                // No plaintext can come before our key message, but alerts and the handshake do.
                let received = tls.next_message();
                self.channel.collect(&mut tls);
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
                self.channel.collect(&mut tls);
                match received? {
                    None => State::KeySent { tls, ours },
                    Some(record) => self.on_key_message(tls, *ours, &record, events)?,
                }
            }
            State::Ready(mut exchanged) => {
                let tls = &mut exchanged.tls;
                tls.feed(payload);
                let result = drain(tls, events);
                self.channel.collect(tls);
                result?;
                State::Ready(exchanged)
            }
            State::Failed => State::Failed,
        };
        if let State::Tls(tls) = &mut self.state {
            self.channel.collect(tls);
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
        self.channel.collect(&mut tls);
        drained?;
        Ok(State::Ready(Box::new(Exchanged { tls, client: ours, server: theirs })))
    }

    /// Sends our key message; only after [`SlotEvent::WantsKeyMessage`], else nothing happens.
    pub(super) fn send_key_message(&mut self, mut ours: ClientMessage) -> Result<(), SessionError> {
        let State::Tls(_) = &self.state else { return Ok(()) };
        let State::Tls(mut tls) = std::mem::replace(&mut self.state, State::Failed) else { return Ok(()) };
        let bytes = ours.encode().map_err(|e| SessionError::KeyExchange(e.to_string()))?;
        tls.write(&bytes)?;
        self.channel.collect(&mut tls);
        // Keys are made of the random numbers alone; the password need not lie here as long as the key lives.
        ours.password = Secret::default();
        self.state = State::KeySent { tls, ours: Box::new(ours) };
        Ok(())
    }

    /// Ends TLS in good order, if it is through.
    pub(super) fn say_goodbye(&mut self) {
        if let State::Tls(tls) = &mut self.state {
            tls.say_goodbye();
            self.channel.collect(tls);
        }
    }

    /// Sends a control message; lost if the slot is not ready.
    pub(super) fn send_message(&mut self, text: &[u8]) -> Result<(), TlsError> {
        match &mut self.state {
            State::Ready(exchanged) => exchanged.say(&mut self.channel, text),
            State::ResetSent { .. } | State::Tls(_) | State::KeySent { .. } | State::Failed => Ok(()),
        }
    }

    /// What data keys are made of, once ready.
    pub(super) fn exchanged(&self) -> Option<&Exchanged> {
        match &self.state {
            State::Ready(exchanged) => Some(exchanged),
            State::ResetSent { .. } | State::Tls(_) | State::KeySent { .. } | State::Failed => None,
        }
    }

    pub(super) fn tls(&self) -> Option<&TlsSession> {
        match &self.state {
            State::Tls(tls) | State::KeySent { tls, .. } => Some(tls),
            State::Ready(exchanged) => Some(&exchanged.tls),
            State::ResetSent { .. } | State::Failed => None,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// Says something as soon as TLS is through, also in place of our key message.
    #[cfg(test)]
    pub(super) fn say(&mut self, record: &[u8]) {
        let tls = match &mut self.state {
            State::Tls(tls) | State::KeySent { tls, .. } => tls,
            State::Ready(exchanged) => &mut exchanged.tls,
            State::ResetSent { .. } | State::Failed => return,
        };
        assert!(!tls.is_handshaking() && tls.write(record).is_ok());
        self.channel.collect(tls);
    }

    /// For tables of what becomes of it.
    #[cfg(test)]
    pub(super) const fn state_name(&self) -> &'static str {
        match self.state {
            State::ResetSent { .. } => "ResetSent",
            State::Tls(_) => "Tls",
            State::KeySent { .. } => "KeySent",
            State::Ready(_) => "Ready",
            State::Failed => "Failed",
        }
    }

    /// What is being waited for, for error texts.
    pub(super) fn stage(&self) -> &'static str {
        match self.state {
            State::ResetSent { .. } => "waiting for the server's first answer",
            State::Tls(_) => "TLS was shaking hands",
            State::KeySent { .. } => "waiting for the server's key message (it may have refused our certificate)",
            State::Ready(_) => "waiting for the server's options",
            State::Failed => "failing",
        }
    }
}

fn drain(tls: &mut TlsSession, events: &mut Vec<SlotEvent>) -> Result<(), TlsError> {
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
