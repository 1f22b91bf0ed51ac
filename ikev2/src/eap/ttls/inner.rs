//! Phase 2 of EAP-TTLS: PAP, MS-CHAPv2 or EAP inside of TLS (RFC 5281 §11.2).

use std::{mem, sync::Arc};

use adit_tunnel::Secret;
use mschapv2::{
    Challenged, NtHash, Responded,
    packet::{Failure, Success},
};
use zeroize::Zeroizing;

use super::{
    super::{
        EapError, EapMethods, EapPeer, EapStep,
        method::Context,
        mschapv2::random,
        packet::{EapType, response},
        tls::TlsSession,
    },
    avp::{self, Attribute, MICROSOFT, attributes, check_mandatory, eap_message},
};

/// What proves us inside.
pub(in super::super) enum Inner {
    Pap { name: String, password: Secret },
    MsChapV2 { name: String, hash: NtHash },
    Eap(Arc<EapMethods>),
}

/// Where phase 2 is. It has begun: our first attributes are sent.
pub(in super::super) enum Phase2 {
    /// The answer of the server is EAP-Success or EAP-Failure, outside.
    Pap,
    MsChapV2(Responded),
    /// The server has proved that it knows the password.
    Proven,
    Eap(EapPeer),
    /// EAP-Success has come inside too, which few servers send.
    EapDone,
    Failed,
}

impl Inner {
    /// Begins phase 2, with these attributes.
    pub(super) fn begin(
        &self,
        cx: &mut Context<'_>,
        session: &TlsSession,
    ) -> Result<(Phase2, Zeroizing<Vec<u8>>), EapError> {
        match self {
            Self::Pap { name, password } => Ok((Phase2::Pap, pap(name, password))),
            Self::MsChapV2 { name, hash } => {
                // The challenge is known to both ends: the server must not choose it.
                let material: Zeroizing<[u8; 17]> = session.export("ttls challenge", None)?;
                let [challenge @ .., id] = *material;
                let challenged = Challenged::with(id, challenge);
                let (responded, answer) = challenged.respond(name.as_bytes(), hash, random(cx.random));
                let attributes = attributes(&[
                    avp::encode(Attribute::USER_NAME, name.as_bytes()),
                    avp::encode(Attribute::MS_CHAP_CHALLENGE, &challenge),
                    avp::encode(Attribute::MS_CHAP2_RESPONSE, &answer.attribute()),
                ]);
                Ok((Phase2::MsChapV2(responded), attributes))
            }
            Self::Eap(methods) => {
                let identity = response(0, EapType::IDENTITY, methods.identity().as_bytes());
                let peer = EapPeer::new(Arc::clone(methods));
                Ok((Phase2::Eap(peer), avp::encode(Attribute::EAP_MESSAGE, &identity)))
            }
        }
    }
}

impl Phase2 {
    /// Takes decrypted data of the server, and returns what is to be encrypted; nothing is a mere acknowledgement.
    pub(in super::super) fn handle(
        &mut self,
        cx: &mut Context<'_>,
        plaintext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, EapError> {
        let state = mem::replace(self, Self::Failed);
        let avps = avp::parse(plaintext)?;
        let nothing = Zeroizing::default();
        if avps.is_empty() {
            *self = state;
            return Ok(nothing);
        }
        check_mandatory(&avps, known)?;
        let find = |attribute| avps.iter().find(|avp| avp.attribute == attribute).map(|avp| avp.value);
        match state {
            Self::Pap => Err(EapError::AskedAgain(EapType::TTLS)),
            Self::MsChapV2(responded) => {
                *self = ms_chap(responded, find(Attribute::MS_CHAP2_SUCCESS), find(Attribute::MS_CHAP_ERROR))?;
                Ok(nothing)
            }
            Self::Eap(mut peer) => {
                let packet = eap_message(&avps).ok_or(EapError::AttributeOutOfOrder)?;
                match peer.handle(cx.random, cx.unix_time, &packet)? {
                    EapStep::Respond(answer) => {
                        *self = Self::Eap(peer);
                        Ok(avp::encode(Attribute::EAP_MESSAGE, &answer))
                    }
                    EapStep::Done(_) => {
                        *self = Self::EapDone;
                        Ok(nothing)
                    }
                }
            }
            Self::Proven | Self::EapDone | Self::Failed => Err(EapError::AttributeOutOfOrder),
        }
    }

    /// The server says outside that we have succeeded.
    pub(in super::super) fn finish(&mut self) -> Result<(), EapError> {
        match mem::replace(self, Self::Failed) {
            Self::Pap | Self::Proven | Self::EapDone => Ok(()),
            // The key of an inner method is not used: that of TLS is (RFC 5281 §8).
            Self::Eap(mut peer) => peer.finish().map(drop),
            Self::MsChapV2(_) | Self::Failed => Err(EapError::SuccessTooEarly(Some(EapType::TTLS))),
        }
    }
}

fn ms_chap(responded: Responded, success: Option<&[u8]>, error: Option<&[u8]>) -> Result<Phase2, EapError> {
    match (success, error) {
        (_, Some(error)) => {
            let failure = Failure::from_attribute(error)?;
            Err(EapError::RefusedByMsChapV2 { error: failure.error, message: failure.message })
        }
        (Some(success), None) => {
            let proof = responded.handle_success(&Success::from_attribute(success)?);
            proof.map(|_| Phase2::Proven).map_err(|_| EapError::ServerDoesNotKnowPassword)
        }
        (None, None) => Err(EapError::AttributeOutOfOrder),
    }
}

/// The password is filled up with zeros, so that its length does not show (RFC 5281 §11.2.5).
fn pap(name: &str, password: &Secret) -> Zeroizing<Vec<u8>> {
    let length = password.expose().len().max(1).next_multiple_of(16);
    let mut padded = Zeroizing::new(Vec::with_capacity(length));
    padded.extend_from_slice(password.expose());
    padded.resize(length, 0);
    attributes(&[avp::encode(Attribute::USER_NAME, name.as_bytes()), avp::encode(Attribute::USER_PASSWORD, &padded)])
}

/// Attributes of Microsoft may accompany MS-CHAPv2 (RFC 5281 §11.2.4), and a Reply-Message anything.
fn known(attribute: Attribute) -> bool {
    [Attribute::EAP_MESSAGE, Attribute::REPLY_MESSAGE].contains(&attribute) || attribute.vendor == MICROSOFT
}
