//! EAP-TTLS version 0 (RFC 5281; with TLS 1.3 RFC 9427), asking: we prove ourselves by TLS, and the client inside of it.
//!
//! The client speaks first in phase 2. With TLS 1.3 our answer to its Finished is empty, unless it has begun already.

use std::{mem, sync::Arc};

use zeroize::Zeroizing;

use super::{
    EapClientError,
    inner::{InnerMethods, Inside, Phase2},
    method::{Context, Next, ServerMethod},
    template::ServerTemplate,
    tls::{alert, hear},
};
use crate::eap::{
    EapError, EapType,
    tls::{Fragments, Received, START, TlsSession, key},
};

pub(super) struct Ttls {
    template: Arc<ServerTemplate>,
    inner: Arc<InnerMethods>,
    fragments: Fragments,
    state: State,
}

enum State {
    Waiting,
    Handshaking(TlsSession),
    Phase2(TlsSession, Phase2),
}

impl Ttls {
    pub(super) fn new(template: Arc<ServerTemplate>, inner: Arc<InnerMethods>) -> Self {
        Self { template, inner, fragments: Fragments::starting(EapType::TTLS), state: State::Waiting }
    }

    /// Takes a whole message of the client.
    fn on_message(&mut self, cx: &mut Context<'_>, message: &[u8]) -> Result<Next, EapClientError> {
        match mem::replace(&mut self.state, State::Waiting) {
            State::Waiting => Err(EapError::TlsStart.into()),
            State::Handshaking(mut session) => {
                let plaintext = match hear(&mut session, cx, message) {
                    Ok(plaintext) => plaintext,
                    Err(failure) => return alert(&mut self.fragments, session, failure),
                };
                let output = session.take_output();
                if session.is_handshaking() {
                    self.state = State::Handshaking(session);
                    return Ok(Next::Ask(self.fragments.send(output)));
                }
                let phase2 = Phase2::new(session.export("ttls challenge", None)?);
                match (&plaintext[..], &output[..]) {
                    ([], _) => {
                        self.state = State::Phase2(session, phase2);
                        Ok(Next::Ask(self.fragments.send(output)))
                    }
                    (_, []) => self.inside(cx, session, phase2, &plaintext),
                    // It has not seen our Finished yet, so it does not know whom it tells that.
                    (..) => Err(EapError::DataTooEarly.into()),
                }
            }
            State::Phase2(mut session, phase2) => match session.feed(cx.unix_time, message) {
                Ok(plaintext) => self.inside(cx, session, phase2, &plaintext),
                Err(failure) => alert(&mut self.fragments, session, failure.into()),
            },
        }
    }

    fn inside(
        &mut self,
        cx: &mut Context<'_>,
        mut session: TlsSession,
        mut phase2: Phase2,
        plaintext: &[u8],
    ) -> Result<Next, EapClientError> {
        match phase2.handle(cx, &self.inner, plaintext)? {
            Inside::Ask(attributes) => {
                session.write(&attributes)?;
                let output = session.take_output();
                self.state = State::Phase2(session, phase2);
                Ok(Next::Ask(self.fragments.send(output)))
            }
            Inside::Refuse(attributes, error) => {
                session.write(&attributes)?;
                Ok(Next::Refuse(self.fragments.send(session.take_output()), error))
            }
            Inside::Done(identity) => {
                let key = Some(key(&session, "ttls keying material", EapType::TTLS)?);
                Ok(Next::Done { key, identity })
            }
        }
    }
}

impl ServerMethod for Ttls {
    fn begin(&mut self, _: &mut Context<'_>) -> Result<Zeroizing<Vec<u8>>, EapClientError> {
        self.state = State::Handshaking(self.template.start()?);
        Ok(Zeroizing::new(vec![START]))
    }

    fn handle(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<Next, EapClientError> {
        match self.fragments.receive(data)? {
            Received::Answer(answer) => Ok(Next::Ask(Zeroizing::new(answer))),
            Received::Start => Err(EapError::TlsStart.into()),
            Received::Message(message) => self.on_message(cx, &message),
        }
    }
}
