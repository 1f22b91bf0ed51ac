//! EAP-TLS (RFC 5216; with TLS 1.3 RFC 9190).
//!
//! ```text
//!   TLS 1.2   ◀─ Start ─ ─ ClientHello ─▶ ◀─ …ServerHelloDone ─ ─ …Finished ─▶ ◀─ Finished ─ ─ (empty) ─▶ ◀─ EAP-Success
//!   TLS 1.3   ◀─ Start ─ ─ ClientHello ─▶ ◀─ …Finished ─ ─ …Finished ─▶ ◀─ [tickets] one zero byte ─ ─ (empty) ─▶ ◀─ EAP-Success
//! ```
//!
//! With TLS 1.3 the server finishes before it has seen our certificate. That zero byte, encrypted, is what tells us that it has
//! accepted us; EAP-Success alone, which anybody could write, does not.

mod fragments;
mod session;
mod verify;

use std::sync::Arc;

use adit_tunnel::Secret;
use zeroize::Zeroizing;

use super::{
    EapError,
    method::{Context, Method},
    packet::EapType,
};

#[cfg(test)]
pub(super) use fragments::FRAGMENT_BYTES;
pub(super) use fragments::{Fragments, Received, START};
pub(super) use session::{TlsFailure, TlsSession, TlsTemplate, versions};

pub(super) struct Tls {
    template: Arc<TlsTemplate>,
    fragments: Fragments,
    state: State,
}

enum State {
    Waiting,
    Handshaking(TlsSession),
    /// `accepted`: the server has said so under protection; it need not with TLS 1.2.
    Finished {
        session: TlsSession,
        accepted: bool,
    },
}

impl Tls {
    pub(super) fn new(template: Arc<TlsTemplate>) -> Self {
        Self { template, fragments: Fragments::new(EapType::TLS), state: State::Waiting }
    }

    /// Takes a whole message of the server, and returns ours.
    fn on_message(&mut self, cx: &Context<'_>, message: &[u8]) -> Result<Vec<u8>, EapError> {
        match std::mem::replace(&mut self.state, State::Waiting) {
            State::Waiting => Err(EapError::TlsStart),
            State::Handshaking(mut session) => {
                // Data in the server's first flight of TLS 1.3 would come before it has seen our certificate.
                if !session.feed(cx.unix_time, message)?.is_empty() {
                    return Err(EapError::DataTooEarly);
                }
                let output = session.take_output();
                let accepted = !session.is_1_3();
                self.state = match session.is_handshaking() {
                    true => State::Handshaking(session),
                    false => State::Finished { session, accepted },
                };
                Ok(output)
            }
            State::Finished { mut session, mut accepted } => {
                match session.feed(cx.unix_time, message)?[..] {
                    [] => {}
                    [0] if !accepted => accepted = true,
                    _ => return Err(EapError::NotProtectedSuccess),
                }
                let output = session.take_output();
                self.state = State::Finished { session, accepted };
                Ok(output)
            }
        }
    }
}

impl Method for Tls {
    fn handle(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<Zeroizing<Vec<u8>>, EapError> {
        let output = match self.fragments.receive(data)? {
            Received::Answer(answer) => return Ok(Zeroizing::new(answer)),
            Received::Start => {
                let mut session = self.template.start()?;
                let output = session.take_output();
                self.state = State::Handshaking(session);
                output
            }
            Received::Message(message) => self.on_message(cx, &message)?,
        };
        Ok(self.fragments.send(output))
    }

    fn finish(&mut self) -> Result<Option<Secret>, EapError> {
        match &self.state {
            State::Finished { session, accepted: true } if self.fragments.all_sent() => {
                key(session, "client EAP encryption", EapType::TLS).map(Some)
            }
            State::Finished { accepted: false, .. } if self.fragments.all_sent() => Err(EapError::NoProtectedSuccess),
            State::Waiting | State::Handshaking(_) | State::Finished { .. } => {
                Err(EapError::SuccessTooEarly(Some(EapType::TLS)))
            }
        }
    }
}

/// The MSK of a method made of TLS: with TLS 1.2 under a label of its own (RFC 5216 §2.3, RFC 5281 §8), with TLS 1.3 under a
/// common label with the type as context (RFC 9190 §2.3, RFC 9427 §2.1). There the length is part of the derivation: 64 bytes
/// asked for would not be the first 64 of these 128.
pub(super) fn key(session: &TlsSession, label_1_2: &str, kind: EapType) -> Result<Secret, EapError> {
    let material: Zeroizing<[u8; 128]> = if session.is_1_3() {
        session.export("EXPORTER_EAP_TLS_Key_Material", Some(&[kind.0]))?
    } else {
        session.export(label_1_2, None)?
    };
    Ok(Secret::new(material.get(..64).unwrap_or_default()))
}
