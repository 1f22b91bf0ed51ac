//! IKE_SA_INIT, answered: keys with somebody, without any proof of who that is (RFC 7296 §1.2, §2.6, §2.7, §2.23).

use std::slice;

use adit_tunnel::Path;
use bytes::Bytes;

use super::{Answering, GatewayContext, Secured};
use crate::{
    auth,
    crypto::DhKey,
    message::{
        Header, IkeSpi, KeyExchange, Message, Notify, Payload, Proposal, SecurityAssociation,
        numbers::{DhGroup, NotifyType},
    },
    negotiate::IkeSuite,
    sa::{IkeSa, keys::IkeKeys, nat},
};

/// A request that can be answered.
pub(crate) struct Acceptable<'a> {
    pub(crate) message: &'a Message,
    /// Without the marker, as AUTH covers it.
    pub(crate) datagram: &'a [u8],
    suite: IkeSuite,
    proposal: Proposal,
    ke: &'a KeyExchange,
    pub(crate) nonce: &'a Bytes,
}

impl<'a> Acceptable<'a> {
    /// Whether everything needed is there, and something of it suits us; else what to answer. Nothing is computed yet.
    ///
    /// # Errors
    /// The notification to answer with, `None` for nothing at all.
    pub(crate) fn new(
        proposals: &crate::negotiate::IkeProposals,
        message: &'a Message,
        datagram: &'a [u8],
    ) -> Result<Self, Notify> {
        let refuse = |notify_type| Notify::status(notify_type, Bytes::new());
        let syntax = || refuse(NotifyType::INVALID_SYNTAX);
        let offer = message.sa().ok_or_else(syntax)?;
        let ke = message.ke().ok_or_else(syntax)?;
        let nonce = message.nonce().ok_or_else(syntax)?;
        let chosen = proposals.choose_for(offer, Some(ke.group));
        let (suite, _, proposal) = chosen.ok_or_else(|| refuse(NotifyType::NO_PROPOSAL_CHOSEN))?;
        if suite.group == DhGroup::NONE {
            return Err(refuse(NotifyType::NO_PROPOSAL_CHOSEN));
        }
        if suite.group != ke.group {
            let group = Bytes::copy_from_slice(&suite.group.0.to_be_bytes());
            return Err(Notify::status(NotifyType::INVALID_KE_PAYLOAD, group));
        }
        Ok(Self { message, datagram, suite, proposal, ke, nonce })
    }

    /// Makes the keys, and answers. `None` if the public value is none.
    // <-- IKE_SA_INIT { SA, KE, Nr, N(NAT_DETECTION_*), [CERTREQ], [N(FRAGMENTATION)], [N(SIGNATURE_HASH)] }
    pub(crate) fn answer(self, cx: &mut GatewayContext<'_>, path: &Path) -> Option<Answering> {
        let Self { message, datagram, suite, proposal, ke, nonce } = self;
        let key = DhKey::generate(suite.group, &mut *cx.random)?;
        let ours = KeyExchange { group: suite.group, public: key.public().clone() };
        let shared = key.agree(&ke.public).ok()?;
        let spis = (message.header.initiator_spi, cx.ike_spi());
        let nr = cx.nonce();
        let keys = IkeKeys::first(&suite, &shared, nonce, &nr, spis.0, spis.1, &cx.settings.key_log)?;
        tracing::debug!("IKE SA {:?} / {:?}: {suite}", spis.0, spis.1);
        let mut payloads = vec![
            Payload::Sa(SecurityAssociation { proposals: vec![proposal] }),
            Payload::Ke(ours),
            Payload::Nonce(nr.clone()),
        ];
        payloads.extend(nat::payloads(spis, path.remote, &mut *cx.random));
        payloads.extend(cx.config.clients().map(|clients| Payload::CertReq(clients.cert_request())));
        let announced = |notify_type| message.notify(notify_type).is_some();
        let fragmentation = cx.settings.fragmentation && announced(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED);
        if fragmentation {
            payloads.push(Payload::notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, Bytes::new()));
        }
        let hashes = message.notify(NotifyType::SIGNATURE_HASH_ALGORITHMS).map(|notify| auth::hashes_of(&notify.data));
        if hashes.is_some() {
            let hashes = Notify::status(NotifyType::SIGNATURE_HASH_ALGORITHMS, auth::announced_hashes());
            payloads.push(Payload::Notify(hashes));
        }
        let header = Header { responder_spi: spis.1, ..message.header };
        let response = Message::response(&header, payloads);
        tracing::trace!("sent: {response}");
        let response = response.encode();
        cx.send(*path, slice::from_ref(&response));
        let mut sa = IkeSa::new(spis, false, suite, keys, 0, fragmentation);
        // Id 0 is taken by IKE_SA_INIT; ours begin at 0 (RFC 7296 §2.2).
        sa.responder.answered(Bytes::new(), Vec::new());
        let request = Bytes::copy_from_slice(datagram);
        let secured =
            Secured { sa, request, response, theirs: nonce.clone(), ours: nr, hashes: hashes.unwrap_or_default() };
        Some(Answering::Secured(Box::new(secured)))
    }
}

/// The answer to a message of a stranger that is not worth remembering.
pub(crate) fn notification(request: &Header, notify: Notify) -> Bytes {
    // Without keys there is no SPI of ours (RFC 7296 §2.6).
    let header = Header { responder_spi: IkeSpi(0), ..*request };
    Message::response(&header, vec![Payload::Notify(notify)]).encode()
}
