//! EAP-TLS (RFC 5216; with TLS 1.3 RFC 9190), asking.
//!
//! The exchange is drawn in [`crate::eap::tls`]. With TLS 1.3 the client's flight is answered by one zero byte under protection,
//! which tells it that it has been accepted (RFC 9190 §2.5). A failure of TLS is told by an alert, and EAP-Failure waits until
//! the client has had it (RFC 5216 §2.1.3).

use std::{mem, sync::Arc};

use x509_parser::{certificate::X509Certificate, prelude::FromDer};
use zeroize::Zeroizing;

use super::{
    EapClientError,
    method::{Context, Next, ServerMethod},
    template::ServerTemplate,
};
use crate::{
    auth::PeerNotAuthenticated,
    eap::{
        EapError, EapType,
        tls::{Fragments, Received, START, TlsSession, key},
    },
    identity::{CertifiedNames, Identity},
};

pub(super) struct Tls {
    template: Arc<ServerTemplate>,
    fragments: Fragments,
    state: State,
}

enum State {
    Waiting,
    Handshaking(TlsSession),
    /// We have told the client, whose certificate is that of this identity, that it is accepted.
    Accepted(TlsSession, String),
}

impl Tls {
    pub(super) fn new(template: Arc<ServerTemplate>) -> Self {
        Self { template, fragments: Fragments::starting(EapType::TLS), state: State::Waiting }
    }

    /// Takes a whole message of the client.
    fn on_message(&mut self, cx: &Context<'_>, message: &[u8]) -> Result<Next, EapClientError> {
        match mem::replace(&mut self.state, State::Waiting) {
            State::Waiting => Err(EapError::TlsStart.into()),
            State::Handshaking(mut session) => {
                match hear(&mut session, cx, message) {
                    Ok(plaintext) if plaintext.is_empty() => {}
                    Ok(_) => return Err(EapError::DataTooEarly.into()),
                    Err(failure) => return alert(&mut self.fragments, session, failure),
                }
                if session.is_handshaking() {
                    let output = session.take_output();
                    self.state = State::Handshaking(session);
                    return Ok(Next::Ask(self.fragments.send(output)));
                }
                let identity = certified(&session, cx.identity)?;
                if session.is_1_3() {
                    session.write(&[0])?;
                }
                let output = session.take_output();
                self.state = State::Accepted(session, identity);
                Ok(Next::Ask(self.fragments.send(output)))
            }
            State::Accepted(session, identity) if message.is_empty() => {
                let key = Some(key(&session, "client EAP encryption", EapType::TLS)?);
                Ok(Next::Done { key, identity })
            }
            State::Accepted(mut session, _) => {
                // Perhaps it has something against us.
                session.feed(cx.unix_time, message)?;
                Err(EapClientError::DataAfterHandshake)
            }
        }
    }
}

impl ServerMethod for Tls {
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

/// Feeds a session that waits for something: nothing at all would only keep it waiting.
pub(super) fn hear(
    session: &mut TlsSession,
    cx: &Context<'_>,
    message: &[u8],
) -> Result<Zeroizing<Vec<u8>>, EapClientError> {
    if message.is_empty() {
        return Err(EapError::TlsPacket.into());
    }
    Ok(session.feed(cx.unix_time, message)?)
}

/// Tells the client what is wrong, if TLS has a word for it.
pub(super) fn alert(
    fragments: &mut Fragments,
    mut session: TlsSession,
    failure: EapClientError,
) -> Result<Next, EapClientError> {
    let output = session.take_output();
    if output.is_empty() { Err(failure) } else { Ok(Next::Refuse(fragments.send(output), failure)) }
}

/// Who the client is: what it calls itself, if its certificate says so, else the first name there; spelled as there.
fn certified(session: &TlsSession, claimed: &[u8]) -> Result<String, EapClientError> {
    let unreadable = || EapClientError::Certificate(PeerNotAuthenticated::UnreadableCertificate);
    let leaf = session.peer_certificate().ok_or(PeerNotAuthenticated::NoCertificate)?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| unreadable())?;
    let names = CertifiedNames::new(&leaf).ok_or_else(unreadable)?;
    let claimed = str::from_utf8(claimed).unwrap_or_default();
    let claims = Identity::from_text(claimed).ok().into_iter().chain([Identity::of_user(claimed)]);
    let identity = claims.into_iter().find_map(|claim| names.find(&claim)).or_else(|| names.first());
    identity.map(Identity::to_string).ok_or(EapClientError::Nameless)
}
