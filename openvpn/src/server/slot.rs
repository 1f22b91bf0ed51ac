//! One key id's control channel on the answering side: reset, TLS handshake, key exchange.
//!
//! ```text
//!  AwaitingReset ──client's reset──▶ Tls ──client's key message──▶ Judging ──our key message──▶ Ready
//!        (a client that returned our cookie begins with Tls)
//! ```

use std::{sync::Arc, time::Instant};

use adit_tunnel::Secret;
use bytes::Bytes;
use rustls::ServerConfig;
use zeroize::Zeroizing;

use super::error::ServerSessionError;
use crate::{
    control::{
        channel::Channel,
        packet::{KeyId, Opcode},
        reliable::Reliable,
    },
    error::PeerMisbehaved,
    exchanged::Exchanged,
    key_exchange::{ClientMessage, ServerMessage},
    tls::{TlsError, TlsSession},
};

/// The newest key id's control channel.
pub(super) struct ServerSlot {
    pub(super) channel: Channel,
    state: State,
    /// Bytes of the TLS handshake so far.
    handshake_bytes: usize,
}

enum State {
    AwaitingReset { tls_config: Arc<ServerConfig> },
    Tls(Box<TlsSession>),
    Judging { tls: Box<TlsSession>, theirs: Box<ClientMessage> },
    Ready(Box<Exchanged>),
    Failed,
}

/// What a client says about itself in its key message.
pub(super) struct Introduction {
    pub(super) username: String,
    pub(super) password: Secret,
    pub(super) peer_info: String,
    pub(super) options: String,
}

/// What happened in a slot, in order.
pub(super) enum SlotEvent {
    /// The client's key message has come: ours is wanted, by [`ServerSlot::answer`].
    Introduced(Introduction),
    /// One record of the control channel.
    Record(Zeroizing<Vec<u8>>),
}

impl ServerSlot {
    /// Sends a reset, and expects the client's.
    pub(super) fn new(channel: Channel, reset: Opcode, tls_config: Arc<ServerConfig>) -> Self {
        let mut slot = Self { channel, state: State::AwaitingReset { tls_config }, handshake_bytes: 0 };
        slot.channel.reliable.queue(reset, Bytes::new());
        slot
    }

    /// The slot of a client that has returned our cookie: both resets have been exchanged without us.
    pub(super) fn after_cookie(
        tls_timeout: std::time::Duration,
        tls_config: &Arc<ServerConfig>,
        now: Instant,
    ) -> Result<Self, TlsError> {
        let channel = Channel::new(KeyId::FIRST, Reliable::after_cookie(tls_timeout), now);
        Ok(Self { channel, state: State::Tls(Box::new(TlsSession::accept(tls_config)?)), handshake_bytes: 0 })
    }

    /// Takes in what the reliable layer has delivered. A handshake may have at most `max_handshake` bytes.
    pub(super) fn advance(
        &mut self,
        max_handshake: usize,
        events: &mut Vec<SlotEvent>,
    ) -> Result<(), ServerSessionError> {
        while let Some(payload) = self.channel.reliable.poll_deliver() {
            self.on_payload(&payload, max_handshake, events)?;
        }
        Ok(())
    }

    fn on_payload(
        &mut self,
        payload: &[u8],
        max_handshake: usize,
        events: &mut Vec<SlotEvent>,
    ) -> Result<(), ServerSessionError> {
        self.state = match std::mem::replace(&mut self.state, State::Failed) {
            // What a client's reset carries is not for servers of our age.
            State::AwaitingReset { tls_config } => State::Tls(Box::new(TlsSession::accept(&tls_config)?)),
            State::Tls(mut tls) => {
                self.handshake_bytes += payload.len();
                if self.handshake_bytes > max_handshake {
                    return Err(PeerMisbehaved::HoldsTooMuch.into());
                }
                tls.feed(payload);
                let received = tls.next_message();
                self.channel.collect(&mut tls);
                match received? {
                    None => State::Tls(tls),
                    Some(record) => self.on_key_message(tls, &record, events)?,
                }
            }
            State::Judging { mut tls, theirs } => {
                self.drain(&mut tls, payload, events)?;
                State::Judging { tls, theirs }
            }
            State::Ready(mut exchanged) => {
                self.drain(&mut exchanged.tls, payload, events)?;
                State::Ready(exchanged)
            }
            State::Failed => State::Failed,
        };
        Ok(())
    }

    fn on_key_message(
        &mut self,
        mut tls: Box<TlsSession>,
        record: &[u8],
        events: &mut Vec<SlotEvent>,
    ) -> Result<State, ServerSessionError> {
        let mut theirs = ClientMessage::decode(record).map_err(|_| PeerMisbehaved::KeyExchangeMalformed)?;
        events.push(SlotEvent::Introduced(Introduction {
            username: std::mem::take(&mut theirs.username),
            // Keys are made of the random numbers alone; the password need not lie here as long as the key lives.
            password: std::mem::take(&mut theirs.password),
            peer_info: std::mem::take(&mut theirs.peer_info),
            options: std::mem::take(&mut theirs.options),
        }));
        self.drain(&mut tls, &[], events)?;
        Ok(State::Judging { tls, theirs: Box::new(theirs) })
    }

    fn drain(
        &mut self,
        tls: &mut TlsSession,
        payload: &[u8],
        events: &mut Vec<SlotEvent>,
    ) -> Result<(), ServerSessionError> {
        tls.feed(payload);
        let drained = loop {
            match tls.next_message() {
                Ok(Some(record)) => events.push(SlotEvent::Record(record)),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.channel.collect(tls);
        Ok(drained?)
    }

    /// Sends our key message; only after [`SlotEvent::Introduced`], else nothing happens.
    pub(super) fn answer(&mut self, ours: ServerMessage) -> Result<(), ServerSessionError> {
        let State::Judging { .. } = &self.state else { return Ok(()) };
        let State::Judging { mut tls, theirs } = std::mem::replace(&mut self.state, State::Failed) else {
            return Ok(());
        };
        let bytes = ours.encode().map_err(|e| ServerSessionError::KeyExchange(e.to_string()))?;
        tls.write(&bytes)?;
        self.channel.collect(&mut tls);
        self.state = State::Ready(Box::new(Exchanged { tls, client: *theirs, server: ours }));
        Ok(())
    }

    /// Sends a control message; lost if the slot is not ready.
    pub(super) fn send_message(&mut self, text: &[u8]) -> Result<(), TlsError> {
        match &mut self.state {
            State::Ready(exchanged) => exchanged.say(&mut self.channel, text),
            State::AwaitingReset { .. } | State::Tls(_) | State::Judging { .. } | State::Failed => Ok(()),
        }
    }

    /// What data keys are made of, once ready.
    pub(super) fn exchanged(&self) -> Option<&Exchanged> {
        match &self.state {
            State::Ready(exchanged) => Some(exchanged),
            State::AwaitingReset { .. } | State::Tls(_) | State::Judging { .. } | State::Failed => None,
        }
    }

    pub(super) fn tls(&self) -> Option<&TlsSession> {
        match &self.state {
            State::Tls(tls) | State::Judging { tls, .. } => Some(tls),
            State::Ready(exchanged) => Some(&exchanged.tls),
            State::AwaitingReset { .. } | State::Failed => None,
        }
    }

    /// Bytes the client makes us hold.
    pub(super) fn held_bytes(&self) -> usize {
        self.channel.held_bytes() + self.tls().map_or(0, TlsSession::held_bytes)
    }

    /// The client's key message waits for ours.
    pub(super) fn is_judging(&self) -> bool {
        matches!(self.state, State::Judging { .. })
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// For tables of what becomes of it.
    #[cfg(test)]
    pub(super) const fn state_name(&self) -> &'static str {
        match self.state {
            State::AwaitingReset { .. } => "AwaitingReset",
            State::Tls(_) => "Tls",
            State::Judging { .. } => "Judging",
            State::Ready { .. } => "Ready",
            State::Failed => "Failed",
        }
    }

    /// What is being waited for, for error texts.
    pub(super) fn stage(&self) -> &'static str {
        match self.state {
            State::AwaitingReset { .. } => "waiting for the client's reset",
            State::Tls(_) => "TLS was shaking hands (the client may have refused our certificate)",
            State::Judging { .. } => "the client's login was being judged",
            State::Ready(_) => "the client was being let in",
            State::Failed => "failing",
        }
    }
}
