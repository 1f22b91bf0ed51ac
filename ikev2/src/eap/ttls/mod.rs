//! EAP-TTLS version 0 (RFC 5281; with TLS 1.3 RFC 9427): the server proves itself by TLS, and we inside of it.
//!
//! With TLS 1.2 the server's Finished is the last of the handshake, and our response to it begins phase 2. With TLS 1.3 ours is the
//! last; phase 2 begins with our response to whatever comes next: FreeRADIUS 3.2.1 sends an empty request whose L bit is set.

pub(super) mod avp;
mod inner;

use std::sync::Arc;

use adit_tunnel::Secret;
use zeroize::Zeroizing;

pub(super) use self::inner::{Inner, Phase2};
use super::{
    EapError,
    method::{Context, Method},
    packet::EapType,
    tls::{Fragments, Received, TlsSession, TlsTemplate, key},
};

pub(super) struct Ttls {
    template: Arc<TlsTemplate>,
    inner: Arc<Inner>,
    fragments: Fragments,
    state: State,
}

enum State {
    Waiting,
    Handshaking(TlsSession),
    /// Our Finished of TLS 1.3 is on its way.
    Finished(TlsSession),
    Phase2(TlsSession, Phase2),
}

impl Ttls {
    pub(super) fn new(template: Arc<TlsTemplate>, inner: Arc<Inner>) -> Self {
        Self { template, inner, fragments: Fragments::new(EapType::TTLS), state: State::Waiting }
    }

    /// Takes a whole message of the server, and returns ours.
    fn on_message(&mut self, cx: &mut Context<'_>, message: &[u8]) -> Result<Vec<u8>, EapError> {
        match std::mem::replace(&mut self.state, State::Waiting) {
            State::Waiting => Err(EapError::TlsStart),
            State::Handshaking(mut session) => {
                no_data(&session.feed(cx.unix_time, message)?)?;
                let output = session.take_output();
                if session.is_handshaking() {
                    self.state = State::Handshaking(session);
                } else if output.is_empty() {
                    return self.begin_phase2(cx, session);
                } else {
                    self.state = State::Finished(session);
                }
                Ok(output)
            }
            State::Finished(mut session) => {
                no_data(&session.feed(cx.unix_time, message)?)?;
                self.begin_phase2(cx, session)
            }
            State::Phase2(mut session, mut phase2) => {
                let plaintext = session.feed(cx.unix_time, message)?;
                let answer = phase2.handle(cx, &plaintext)?;
                if !answer.is_empty() {
                    session.write(&answer)?;
                }
                let output = session.take_output();
                self.state = State::Phase2(session, phase2);
                Ok(output)
            }
        }
    }

    fn begin_phase2(&mut self, cx: &mut Context<'_>, mut session: TlsSession) -> Result<Vec<u8>, EapError> {
        let (phase2, attributes) = self.inner.begin(cx, &session)?;
        session.write(&attributes)?;
        let output = session.take_output();
        self.state = State::Phase2(session, phase2);
        Ok(output)
    }
}

/// The server must not speak first in phase 2 (RFC 5281 §7.3).
fn no_data(plaintext: &[u8]) -> Result<(), EapError> {
    if plaintext.is_empty() { Ok(()) } else { Err(EapError::DataTooEarly) }
}

impl Method for Ttls {
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
        match &mut self.state {
            State::Phase2(session, phase2) if self.fragments.all_sent() => {
                phase2.finish()?;
                key(session, "ttls keying material", EapType::TTLS).map(Some)
            }
            State::Waiting | State::Handshaking(_) | State::Finished(_) | State::Phase2(..) => {
                Err(EapError::SuccessTooEarly(Some(EapType::TTLS)))
            }
        }
    }
}
