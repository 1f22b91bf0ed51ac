//! EAP-MSCHAPv2 (type 26, `draft-kamath-pppext-eap-mschapv2`), asking.
//!
//! ```text
//!   Challenging ── right Response / Success ──▶ Accepted ── acknowledgement ──▶ EAP-Success
//!        ╰──────── wrong Response / Failure ──▶ (anything) ──▶ EAP-Failure
//! ```

use std::mem;

use adit_tunnel::Secret;
use mschapv2::{
    Accepted, Challenging,
    packet::{Failure, Packet, SUCCESS_ACKNOWLEDGEMENT},
};
use zeroize::Zeroizing;

use super::{
    EapClientError, byte,
    method::{Context, Next, ServerMethod},
};
use crate::eap::{EapError, mschapv2::random};

pub(super) struct MsChapV2(State);

enum State {
    New,
    Challenging(Challenging),
    /// It knows the password of this user, and has not said yet whether it believes us.
    Accepted(Box<Accepted>, String),
}

impl MsChapV2 {
    pub(super) fn new() -> Self {
        Self(State::New)
    }
}

impl ServerMethod for MsChapV2 {
    /// The identifier of MS-CHAPv2 is one of its own.
    fn begin(&mut self, cx: &mut Context<'_>) -> Result<Zeroizing<Vec<u8>>, EapClientError> {
        let challenging = Challenging::new(byte(cx.random), random(cx.random), NAME);
        let challenge = challenging.challenge().encode();
        self.0 = State::Challenging(challenging);
        Ok(Zeroizing::new(challenge))
    }

    fn handle(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<Next, EapClientError> {
        match mem::replace(&mut self.0, State::New) {
            State::Accepted(accepted, identity) if data == SUCCESS_ACKNOWLEDGEMENT => {
                let key = Secret::new(*accepted.acknowledged().msk().expose());
                Ok(Next::Done { key: Some(key), identity })
            }
            State::Challenging(challenging) if data != SUCCESS_ACKNOWLEDGEMENT => {
                let Packet::Response(response) = Packet::parse(data).map_err(EapError::MsChapV2)? else {
                    return Err(EapError::MsChapV2OutOfOrder.into());
                };
                match cx.users.claimed(&response.name).ms_chap(challenging, &response) {
                    Ok((accepted, identity)) => {
                        let success = accepted.success().encode();
                        self.0 = State::Accepted(Box::new(accepted), identity);
                        Ok(Next::Ask(Zeroizing::new(success)))
                    }
                    Err(error @ EapClientError::OtherChallenge) => Err(error),
                    Err(error) => {
                        Ok(Next::Refuse(Zeroizing::new(refusal(response.id, random(cx.random)).encode()), error))
                    }
                }
            }
            State::New | State::Challenging(_) | State::Accepted(..) => Err(EapError::MsChapV2OutOfOrder.into()),
        }
    }
}

/// Another attempt is not welcome: it would be another guess. The challenge is there because the text must have one (RFC 2759 §6).
pub(super) fn refusal(id: u8, challenge: [u8; 16]) -> Failure {
    let message = "wrong user or password".to_owned();
    Failure { id, error: AUTHENTICATION_FAILURE, retry: false, challenge: Some(challenge), version: Some(3), message }
}

/// RFC 2759 §6.
const AUTHENTICATION_FAILURE: u32 = 691;
/// What we call ourselves in a challenge; no proof depends on it.
const NAME: &[u8] = b"adit";
