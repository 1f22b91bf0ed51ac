//! Phase 2 of EAP-TTLS, asking: PAP, MS-CHAPv2 or EAP inside of TLS (RFC 5281 §11.2). The client chooses by what it sends.

use std::{mem, sync::Arc};

use mschapv2::{Challenging, packet::Response};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    EapClientError, EapServer, EapServerStep, EapServers, TtlsInnerMethod, method::Context, mschapv2::refusal,
    users::Users,
};
use crate::eap::{
    EapError, EapUnusable,
    mschapv2::random,
    ttls::avp::{self, Attribute, Avp, MICROSOFT, check_mandatory, eap_message},
};

/// What may prove a client inside.
pub(super) struct InnerMethods {
    pap: bool,
    ms_chap: bool,
    eap: Option<Arc<EapServers>>,
}

/// Where phase 2 is.
pub(in super::super) enum Phase2 {
    /// The client has not said anything. With this challenge and identifier it must answer, if it chooses MS-CHAPv2.
    Waiting(Zeroizing<[u8; 17]>),
    /// This user has proved itself, and has not said yet whether it believes us.
    Accepted(String),
    Eap(Box<EapServer>),
    Over,
}

/// What follows from what the client says inside.
pub(super) enum Inside {
    Ask(Zeroizing<Vec<u8>>),
    Refuse(Zeroizing<Vec<u8>>, EapClientError),
    Done(String),
}

impl InnerMethods {
    /// # Errors
    /// [`EapUnusable`] says what cannot run inside.
    pub(super) fn new(methods: &[TtlsInnerMethod], users: &Arc<Users>) -> Result<Self, EapUnusable> {
        if methods.is_empty() {
            return Err(EapUnusable::NoMethod);
        }
        let mut inner = Self { pap: false, ms_chap: false, eap: None };
        for method in methods {
            match method {
                TtlsInnerMethod::Pap => inner.pap = true,
                TtlsInnerMethod::MsChapV2 => inner.ms_chap = true,
                TtlsInnerMethod::Eap(methods) => inner.eap = Some(Arc::new(EapServers::inside(methods, users)?)),
            }
        }
        Ok(inner)
    }
}

impl Phase2 {
    /// `challenge` is what both ends know without a packet: neither can choose it (RFC 5281 §11.1).
    pub(in super::super) fn new(challenge: Zeroizing<[u8; 17]>) -> Self {
        Self::Waiting(challenge)
    }

    /// Takes decrypted data of the client.
    pub(super) fn handle(
        &mut self,
        cx: &mut Context<'_>,
        methods: &InnerMethods,
        plaintext: &[u8],
    ) -> Result<Inside, EapClientError> {
        let avps = avp::parse(plaintext)?;
        check_mandatory(&avps, known)?;
        match mem::replace(self, Self::Over) {
            Self::Waiting(challenge) => self.begin(cx, methods, &challenge, &avps),
            // An empty response is the acknowledgement (RFC 5281 §11.2.4).
            Self::Accepted(identity) if avps.is_empty() => Ok(Inside::Done(identity)),
            Self::Eap(server) => self.eap(cx, server, &avps),
            Self::Accepted(_) | Self::Over => Err(EapError::AttributeOutOfOrder.into()),
        }
    }

    fn begin(
        &mut self,
        cx: &mut Context<'_>,
        methods: &InnerMethods,
        challenge: &[u8; 17],
        avps: &[Avp<'_>],
    ) -> Result<Inside, EapClientError> {
        if let Some(packet) = eap_message(avps) {
            let servers = methods.eap.as_ref().ok_or(EapClientError::NotOffered("EAP"))?;
            return self.eap(cx, Box::new(EapServer::unasked(Arc::clone(servers), &packet)), avps);
        }
        let find = |attribute| avps.iter().find(|avp| avp.attribute == attribute).map(|avp| avp.value);
        let name = find(Attribute::USER_NAME).ok_or(EapError::AttributeOutOfOrder)?;
        if let Some(response) = find(Attribute::MS_CHAP2_RESPONSE) {
            if !methods.ms_chap {
                return Err(EapClientError::NotOffered("MS-CHAPv2"));
            }
            let response = Response::from_attribute(response, name).map_err(EapError::MsChapV2)?;
            let theirs = find(Attribute::MS_CHAP_CHALLENGE).ok_or(EapError::AttributeOutOfOrder)?;
            return self.ms_chap(cx, challenge, theirs, &response);
        }
        let password = find(Attribute::USER_PASSWORD).ok_or(EapError::AttributeOutOfOrder)?;
        if !methods.pap {
            return Err(EapClientError::NotOffered("PAP"));
        }
        // Filled up with zeros (RFC 5281 §11.2.5).
        let length = password.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let password = password.get(..length).unwrap_or_default();
        cx.users.claimed(name).password(password).map(Inside::Done)
    }

    fn ms_chap(
        &mut self,
        cx: &mut Context<'_>,
        challenge: &[u8; 17],
        theirs: &[u8],
        response: &Response,
    ) -> Result<Inside, EapClientError> {
        let [challenge @ .., id] = *challenge;
        if !bool::from(challenge.ct_eq(theirs)) {
            return Err(EapClientError::OtherChallenge);
        }
        match cx.users.claimed(&response.name).ms_chap(Challenging::new(id, challenge, b""), response) {
            Ok((accepted, identity)) => {
                let success = accepted.success().attribute();
                *self = Self::Accepted(identity);
                Ok(Inside::Ask(avp::encode(Attribute::MS_CHAP2_SUCCESS, &success)))
            }
            Err(error @ EapClientError::OtherChallenge) => Err(error),
            Err(error) => {
                let refusal = refusal(id, random(cx.random)).attribute();
                Ok(Inside::Refuse(avp::encode(Attribute::MS_CHAP_ERROR, &refusal), error))
            }
        }
    }

    /// The end of the inner run is told outside, by the end of the outer one.
    fn eap(
        &mut self,
        cx: &mut Context<'_>,
        mut server: Box<EapServer>,
        avps: &[Avp<'_>],
    ) -> Result<Inside, EapClientError> {
        let Some(packet) = eap_message(avps) else {
            return Err(server.into_refusal().unwrap_or_else(|| EapError::AttributeOutOfOrder.into()));
        };
        match server.handle(cx.random, cx.unix_time, &packet) {
            EapServerStep::Request(request) => {
                *self = Self::Eap(server);
                Ok(Inside::Ask(avp::encode(Attribute::EAP_MESSAGE, &request)))
            }
            // The key of an inner method is not used: that of TLS is (RFC 5281 §8).
            EapServerStep::Success { identity, .. } => Ok(Inside::Done(identity)),
            EapServerStep::Failure { error, .. } => Err(error),
        }
    }
}

/// Clients may add attributes of Microsoft to MS-CHAPv2.
fn known(attribute: Attribute) -> bool {
    use Attribute as A;
    [A::USER_NAME, A::USER_PASSWORD, A::EAP_MESSAGE].contains(&attribute) || attribute.vendor == MICROSOFT
}
