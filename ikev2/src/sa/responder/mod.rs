//! The answering handshake, step by step: each struct is one thing we wait for, and holds exactly what is known then
//! (RFC 7296 §1.2, §2.16).
//!
//! ```text
//!  Secured ──────────────────────────────▶ Applied ──▶ Established
//!     └──▶ EapRunning ──▶ … ──▶ EapDone ─────▲  the owner decides
//! ```
//!
//! IKE_SA_INIT was answered before (see [`init`]): nothing of it is remembered before there are keys.

pub(crate) mod init;

use std::{
    collections::VecDeque,
    ops::{Deref, DerefMut},
    slice,
    sync::Arc,
};

use adit_tunnel::{Applicant, Event, FlowId, NetworkConfig, Path, Secret, Verdict};
use bytes::Bytes;
use zeroize::Zeroizing;

use super::{Context, IkeSa, Received, nat};
use crate::{
    auth::{self, Authenticated, PeerNotAuthenticated},
    child::{Agreed, ChildSa},
    crypto::Prf,
    eap::server::{EapServer, EapServerStep},
    error::{PeerMisbehaved, SessionError},
    established::Established,
    identity::{ANYBODY, Identity},
    message::{
        Authentication, Configuration, Delete, Header, Identification, Message, Payload, Proposal, SecurityAssociation,
        TrafficSelector, Undecodable,
        numbers::{AuthMethod, CfgType, ExchangeType, HashAlgorithm, NotifyType},
    },
    network,
    responder::{ResponderConfig, ServerError},
    sa::keys::ChildKeys,
    selectors,
};

/// What the steps of a gateway's handshake may use beside the rest.
pub(crate) struct GatewayContext<'a> {
    pub(crate) base: Context<'a>,
    pub(crate) config: &'a ResponderConfig,
    pub(crate) applicants: &'a mut VecDeque<Applicant>,
}

impl<'a> Deref for GatewayContext<'a> {
    type Target = Context<'a>;

    fn deref(&self) -> &Context<'a> {
        &self.base
    }
}

impl<'a> DerefMut for GatewayContext<'a> {
    fn deref_mut(&mut self) -> &mut Context<'a> {
        &mut self.base
    }
}

/// An answering handshake under way.
pub(crate) enum Answering {
    /// IKE_SA_INIT was answered.
    Secured(Box<Secured>),
    /// We have proved who we are; EAP goes back and forth.
    Eap(Box<EapRunning>),
    /// EAP has succeeded; the client's AUTH is to show that it has the key.
    Proving(Box<EapDone>),
    /// The client has proved who it is; the owner decides whether it is welcome.
    Applied(Box<Applied>),
}

/// What came of a step.
pub(crate) enum Step {
    /// Something more is waited for.
    Wait(Answering),
    /// The association stands.
    Done(Box<Established>),
    /// It is over. The client was told, and may ask again if it has not heard.
    Refused(Box<IkeSa>, ServerError),
}

impl Answering {
    pub(crate) const fn sa(&self) -> &IkeSa {
        match self {
            Self::Secured(secured) => &secured.sa,
            Self::Eap(eap) => &eap.secured.sa,
            Self::Proving(proving) => &proving.secured.sa,
            Self::Applied(applied) => &applied.secured.sa,
        }
    }

    #[cfg(test)]
    pub(crate) const fn sa_mut(&mut self) -> &mut IkeSa {
        match self {
            Self::Secured(secured) => &mut secured.sa,
            Self::Eap(eap) => &mut eap.secured.sa,
            Self::Proving(proving) => &mut proving.secured.sa,
            Self::Applied(applied) => &mut applied.secured.sa,
        }
    }

    /// What is waited for, for people.
    pub(crate) const fn stage(&self) -> &'static str {
        match self {
            Self::Secured(_) => "waiting for its IKE_AUTH",
            Self::Eap(_) => "proving itself (EAP)",
            Self::Proving(_) => "waiting for its last IKE_AUTH",
            Self::Applied(_) => "waiting to be let in",
        }
    }

    /// IKE_SA_INIT again: the same bytes get the same answer; any others are somebody else's.
    pub(crate) fn repeat_init(&mut self, cx: &mut Context<'_>, path: &Path, datagram: &[u8]) {
        if let Self::Secured(secured) = self
            && secured.request == datagram
            && secured.sa.responder.may_repeat(cx.now)
        {
            cx.send(*path, slice::from_ref(&secured.response));
        }
    }

    /// A datagram of this IKE SA.
    pub(crate) fn handle_datagram(
        mut self,
        cx: &mut GatewayContext<'_>,
        path: &Path,
        header: &Header,
        datagram: &mut [u8],
    ) -> Step {
        let sa = match &mut self {
            Self::Secured(secured) => &mut secured.sa,
            Self::Eap(eap) => &mut eap.secured.sa,
            Self::Proving(proving) => &mut proving.secured.sa,
            Self::Applied(applied) => {
                // The request that is to be answered is there already; what can follow is that the client goes.
                if !applied.secured.sa.gives_up(header, datagram) {
                    return Step::Wait(self);
                }
                cx.applicants.clear();
                &mut applied.secured.sa
            }
        };
        // Nothing else has a place here, however well it is protected (CVE-2014-2338, CVE-2019-12312).
        let allowed = [ExchangeType::IKE_AUTH, ExchangeType::INFORMATIONAL].contains(&header.exchange);
        if header.response || !allowed {
            return Step::Wait(self);
        }
        let received = match sa.receive(cx, path, header, datagram) {
            Ok(Some(received)) => received,
            Ok(None) | Err(Undecodable::Unauthenticated(_)) => return Step::Wait(self),
            Err(Undecodable::Authenticated { header, notify, data }) => {
                sa.refuse(cx, *path, &header, Payload::notify(notify, data));
                return Step::Refused(Box::new(self.into_sa()), PeerMisbehaved::Malformed.into());
            }
        };
        // Authentic, and new: the client is there (it floats from port 500 to 4500 with its first IKE_AUTH).
        if *cx.path != *path {
            *cx.path = *path;
            cx.out.events.push_back(Event::Path(*path));
        }
        if header.exchange == ExchangeType::INFORMATIONAL {
            return self.on_informational(cx, &received);
        }
        match self {
            Self::Secured(secured) => secured.handle_request(cx, received),
            Self::Eap(eap) => eap.handle_request(cx, received),
            Self::Proving(proving) => proving.handle_request(cx, received),
            Self::Applied(_) => Step::Wait(self),
        }
    }

    /// What the owner has decided.
    pub(crate) fn handle_verdict(self, cx: &mut GatewayContext<'_>, verdict: Verdict) -> Step {
        match self {
            Self::Applied(applied) => applied.handle_verdict(cx, verdict),
            Self::Secured(_) | Self::Eap(_) | Self::Proving(_) => Step::Wait(self),
        }
    }

    /// Before the end of the handshake a client has nothing to say but that it goes.
    fn on_informational(self, cx: &mut Context<'_>, received: &Received) -> Step {
        let message = &received.message;
        let why = match message.error() {
            Some(error) => error.notify_type.to_string(),
            None if message.payloads.contains(&Payload::Delete(Delete::Ike)) => "it deletes the IKE SA".to_owned(),
            None => "it says something else in the middle of the handshake".to_owned(),
        };
        let (mut sa, refused) = match self {
            // It goes because the method has told it that it is refused.
            Self::Eap(eap) => {
                let EapRunning { secured, server, .. } = *eap;
                (secured.sa, server.into_refusal())
            }
            Self::Secured(_) | Self::Proving(_) | Self::Applied(_) => (self.into_sa(), None),
        };
        let path = *cx.path;
        sa.respond(cx, path, received, Vec::new());
        Step::Refused(Box::new(sa), refused.map_or(ServerError::RefusedUs(why), ServerError::from))
    }

    fn into_sa(self) -> IkeSa {
        match self {
            Self::Secured(secured) => secured.sa,
            Self::Eap(eap) => eap.secured.sa,
            Self::Proving(proving) => proving.secured.sa,
            Self::Applied(applied) => applied.secured.sa,
        }
    }
}

/// The IKE SA has keys, but nobody has proved anything yet.
pub(crate) struct Secured {
    sa: IkeSa,
    /// Their IKE_SA_INIT and ours, which AUTH covers.
    request: Bytes,
    response: Bytes,
    /// Nonces.
    theirs: Bytes,
    ours: Bytes,
    /// Hashes the peer verifies signatures with (RFC 7427 §4); empty without RFC 7427.
    hashes: Vec<HashAlgorithm>,
}

/// What a client wants, of its first IKE_AUTH.
struct Wish {
    id: Identification,
    request: Option<Configuration>,
    offer: SecurityAssociation,
    ts_i: Vec<TrafficSelector>,
    ts_r: Vec<TrafficSelector>,
    mobike: bool,
    alone: bool,
}

/// Who a client has proved to be in its first IKE_AUTH.
enum Proven {
    Certified(Identity),
    /// By a key of its own.
    Named(Identity, Secret),
    /// By a key for anybody: this is what it calls itself.
    Anybody(Identity, Secret),
}

impl Proven {
    /// The key that it shares with us.
    const fn key(&self) -> Option<&Secret> {
        match self {
            Self::Certified(_) => None,
            Self::Named(_, key) | Self::Anybody(_, key) => Some(key),
        }
    }

    /// For the owner: what is only said cannot be taken for what is proved.
    fn name(&self) -> String {
        match self {
            Self::Certified(identity) | Self::Named(identity, _) => identity.to_string(),
            Self::Anybody(claim, _) => format!("{ANYBODY}{claim}"),
        }
    }
}

impl Secured {
    fn prf(&self) -> Prf {
        self.sa.suite.prf
    }

    /// What our AUTH covers (RFC 7296 §2.15).
    fn our_octets(&self, id: &Identification) -> Zeroizing<Vec<u8>> {
        auth::octets(self.prf(), &self.response, &self.theirs, self.sa.keys.pr.expose(), &id.body())
    }

    fn their_octets(&self, id: &Identification) -> Zeroizing<Vec<u8>> {
        auth::octets(self.prf(), &self.request, &self.ours, self.sa.keys.pi.expose(), &id.body())
    }

    // IKE_AUTH { IDi, [CERT+], [N(INITIAL_CONTACT)], [CERTREQ], [IDr], [AUTH], [CP], SA, TSi, TSr, N… } -->
    fn handle_request(self: Box<Self>, cx: &mut GatewayContext<'_>, received: Received) -> Step {
        let wish = match Wish::of(&received.message) {
            Ok(wish) => wish,
            Err(offence) => {
                return self.refuse(cx, &received, NotifyType::INVALID_SYNTAX, Vec::new(), offence.into());
            }
        };
        let nats = received.message.notify(NotifyType::NO_NATS_ALLOWED).filter(|_| wish.mobike && cx.settings.mobike);
        if nats.is_some_and(|ends| !nat::is_untranslated(&ends.data, cx.path)) {
            let error = ServerError::RefusedUs("it allows no NAT, and there is one on the way".to_owned());
            return self.refuse(cx, &received, NotifyType::UNEXPECTED_NAT_DETECTED, Vec::new(), error);
        }
        let Some(proof) = received.message.auth() else { return self.start_eap(cx, &received, wish) };
        match self.verify(cx, &received.message, &wish.id, proof) {
            Ok((_, proven)) => match self.prove(cx, proven.key()) {
                Some(ours) => {
                    // Whoever has a key for anybody speaks for nobody else who has it.
                    let alone = wish.alone && !matches!(proven, Proven::Anybody(..));
                    self.apply(cx, received, Wish { alone, ..wish }, proven.name(), ours)
                }
                None => self.refuse_signature(cx, &received),
            },
            Err(error) => {
                let error = error.claimed(&wish.id);
                self.refuse(cx, &received, NotifyType::AUTHENTICATION_FAILED, Vec::new(), error)
            }
        }
    }

    /// Who the client has proved to be, as that is configured or certified: it may spell it otherwise.
    fn verify(
        &self,
        cx: &GatewayContext<'_>,
        request: &Message,
        id: &Identification,
        proof: &Authentication,
    ) -> Result<(Authenticated, Proven), ServerError> {
        let octets = self.their_octets(id);
        if proof.method != AuthMethod::PSK {
            let clients = cx.config.clients().ok_or(ServerError::MethodNotAccepted("a certificate"))?;
            let certificates: Vec<_> = request.certs().collect();
            let (time, legacy) = (cx.unix_time(), cx.settings.legacy);
            let (authenticated, identity) = clients.verify(&certificates, id, proof, &octets, time, legacy)?;
            return Ok((authenticated, Proven::Certified(identity)));
        }
        let claim = Identity::from_payload(id).map_err(|_| PeerNotAuthenticated::MalformedIdentity)?;
        let shared = cx.config.shared_keys();
        if shared.is_empty() {
            return Err(ServerError::MethodNotAccepted("a pre-shared key"));
        }
        // Who has a key of its own is nobody without it: those of anybody are for the others.
        let is_named = shared.iter().any(|shared| shared.is_of(&claim));
        let candidates =
            shared.iter().filter(|shared| if is_named { shared.is_of(&claim) } else { shared.is_anybodys() });
        let mut error = PeerNotAuthenticated::WrongSharedKey;
        for candidate in candidates {
            match auth::verify_shared_key(self.prf(), candidate.key.expose(), &octets, proof) {
                Ok(authenticated) => {
                    let key = candidate.key.clone();
                    let proven = match &candidate.identity {
                        Some(identity) => Proven::Named(identity.clone(), key),
                        None => Proven::Anybody(claim, key),
                    };
                    return Ok((authenticated, proven));
                }
                Err(reason) => error = reason,
            }
        }
        Err(error.into())
    }

    /// Our own proof: IDr, CERT, AUTH. `None` if our key signs in no way the client knows.
    fn prove(&self, cx: &GatewayContext<'_>, key: Option<&Secret>) -> Option<Vec<Payload>> {
        let id = cx.config.identity().to_payload();
        let octets = self.our_octets(&id);
        let mut payloads = vec![Payload::IdR(id)];
        if let Some(key) = key {
            payloads.push(Payload::Auth(auth::shared_key(self.prf(), key.expose(), &octets)));
            return Some(payloads);
        }
        let signer = cx.config.signer()?;
        // Only the client can try another kind, in another handshake.
        let scheme = signer.schemes(cx.settings.signature, &self.hashes, cx.settings.legacy).first().copied()?;
        payloads.extend(signer.cert_payloads().into_iter().map(Payload::Cert));
        payloads.push(Payload::Auth(signer.sign(scheme, &octets)?));
        Some(payloads)
    }

    // <-- IKE_AUTH { IDr, CERT+, AUTH, EAP }
    fn start_eap(mut self: Box<Self>, cx: &mut GatewayContext<'_>, received: &Received, wish: Wish) -> Step {
        let Some(servers) = cx.config.eap() else {
            let error = ServerError::MethodNotAccepted("EAP");
            return self.refuse(cx, received, NotifyType::AUTHENTICATION_FAILED, Vec::new(), error);
        };
        let Some(mut payloads) = self.prove(cx, None) else { return self.refuse_signature(cx, received) };
        let mut server = EapServer::new(Arc::clone(servers));
        payloads.push(Payload::Eap(server.start(&mut *cx.random)));
        self.respond(cx, received, payloads);
        Step::Wait(Answering::Eap(Box::new(EapRunning { secured: *self, wish, server })))
    }

    /// The client has proved who it is: the owner is asked, with the request unanswered.
    fn apply(
        self,
        cx: &mut GatewayContext<'_>,
        received: Received,
        wish: Wish,
        identity: String,
        proof: Vec<Payload>,
    ) -> Step {
        tracing::debug!("the client has proved to be {identity}");
        let addresses = wish.request.as_ref().map(network::requested).unwrap_or_default();
        let alone = wish.alone;
        cx.applicants.push_back(Applicant { identity: Some(identity), login: None, addresses, alone, again: false });
        Step::Wait(Answering::Applied(Box::new(Applied { secured: self, wish, received, proof })))
    }

    fn respond(&mut self, cx: &mut Context<'_>, received: &Received, payloads: Vec<Payload>) {
        let path = *cx.path;
        self.sa.respond(cx, path, received, payloads);
    }

    fn refuse(
        mut self: Box<Self>,
        cx: &mut Context<'_>,
        received: &Received,
        notify: NotifyType,
        data: Vec<u8>,
        error: ServerError,
    ) -> Step {
        self.respond(cx, received, vec![Payload::notify(notify, data)]);
        Step::Refused(Box::new(self.sa), error)
    }

    fn refuse_signature(self: Box<Self>, cx: &mut Context<'_>, received: &Received) -> Step {
        let error = ServerError::Other(SessionError::NoCommonSignature);
        self.refuse(cx, received, NotifyType::AUTHENTICATION_FAILED, Vec::new(), error)
    }
}

impl Wish {
    fn of(request: &Message) -> Result<Self, PeerMisbehaved> {
        let id = request.id_i().ok_or(PeerMisbehaved::IdMissing)?.clone();
        let offer = request.sa().ok_or(PeerMisbehaved::SaMissing)?.clone();
        let (Some(ts_i), Some(ts_r)) = (request.ts_i(), request.ts_r()) else {
            return Err(PeerMisbehaved::SelectorsMissing);
        };
        Ok(Self {
            id,
            request: request.cp().filter(|cp| cp.cfg_type == CfgType::REQUEST).cloned(),
            offer,
            ts_i: ts_i.to_vec(),
            ts_r: ts_r.to_vec(),
            mobike: request.notify(NotifyType::MOBIKE_SUPPORTED).is_some(),
            alone: request.notify(NotifyType::INITIAL_CONTACT).is_some(),
        })
    }
}

/// EAP goes back and forth.
pub(crate) struct EapRunning {
    secured: Secured,
    wish: Wish,
    server: EapServer,
}

impl EapRunning {
    // IKE_AUTH { EAP } -->      <-- IKE_AUTH { EAP }
    fn handle_request(mut self: Box<Self>, cx: &mut GatewayContext<'_>, received: Received) -> Step {
        let time = cx.unix_time();
        let Some(packet) = received.message.eap() else {
            let error = PeerMisbehaved::EapMissing.into();
            let Self { secured, .. } = *self;
            return Box::new(secured).refuse(cx, &received, NotifyType::AUTHENTICATION_FAILED, Vec::new(), error);
        };
        match self.server.handle(&mut *cx.random, time, packet) {
            EapServerStep::Request(packet) => {
                self.secured.respond(cx, &received, vec![Payload::Eap(packet)]);
                Step::Wait(Answering::Eap(self))
            }
            EapServerStep::Success { packet, key, identity } => {
                let Self { mut secured, wish, .. } = *self;
                secured.respond(cx, &received, vec![Payload::Eap(packet)]);
                Step::Wait(Answering::Proving(Box::new(EapDone { secured, wish, key, identity })))
            }
            EapServerStep::Failure { packet, error } => {
                let Self { mut secured, .. } = *self;
                secured.respond(cx, &received, vec![Payload::Eap(packet)]);
                Step::Refused(Box::new(secured.sa), error.into())
            }
        }
    }
}

/// EAP has succeeded.
pub(crate) struct EapDone {
    secured: Secured,
    wish: Wish,
    /// None of a method that makes none.
    key: Option<Secret>,
    identity: String,
}

impl EapDone {
    // IKE_AUTH { AUTH } -->
    fn handle_request(self: Box<Self>, cx: &mut GatewayContext<'_>, received: Received) -> Step {
        let Self { secured, wish, key, identity } = *self;
        // A method without a key leaves that to the IKE SA (RFC 7296 §2.16).
        let (theirs, ours) = match key {
            Some(key) => (key.clone(), key),
            None => (secured.sa.keys.pi.clone(), secured.sa.keys.pr.clone()),
        };
        let prf = secured.prf();
        let verified = match received.message.auth() {
            Some(proof) => auth::verify_shared_key(prf, theirs.expose(), &secured.their_octets(&wish.id), proof),
            None => Err(PeerNotAuthenticated::WrongSharedKey),
        };
        if let Err(error) = verified {
            let notify = NotifyType::AUTHENTICATION_FAILED;
            return Box::new(secured).refuse(cx, &received, notify, Vec::new(), error.into());
        }
        let octets = secured.our_octets(&cx.config.identity().to_payload());
        let proof = vec![Payload::Auth(auth::shared_key(prf, ours.expose(), &octets))];
        secured.apply(cx, received, wish, identity, proof)
    }
}

/// The client has proved who it is.
pub(crate) struct Applied {
    secured: Secured,
    wish: Wish,
    /// The request that waits for its answer.
    received: Received,
    /// What of our answer is known: IDr, CERT, AUTH; after EAP, AUTH alone.
    proof: Vec<Payload>,
}

impl Applied {
    // <-- IKE_AUTH { [IDr, CERT+], AUTH, CP, SA, TSi, TSr, N… }
    fn handle_verdict(self: Box<Self>, cx: &mut GatewayContext<'_>, verdict: Verdict) -> Step {
        let refused = match verdict {
            Verdict::Admitted(network) => return self.admit(cx, *network),
            Verdict::NoAddress => return self.without_address(cx, NotifyType::INTERNAL_ADDRESS_FAILURE),
            Verdict::Refused => NotifyType::AUTHENTICATION_FAILED,
            Verdict::Later(_) => NotifyType::TEMPORARY_FAILURE,
        };
        let Self { secured, received, .. } = *self;
        Box::new(secured).refuse(cx, &received, refused, Vec::new(), ServerError::NotAdmitted)
    }

    fn admit(mut self: Box<Self>, cx: &mut GatewayContext<'_>, mut network: NetworkConfig) -> Step {
        let Some(request) = self.wish.request.clone() else {
            return self.without_address(cx, NotifyType::FAILED_CP_REQUIRED);
        };
        // Of a family that was not asked for, nothing is given.
        let asked = network::requested(&request);
        network.addresses.retain(|net| asked.iter().any(|address| address.is_ipv4() == net.address().is_ipv4()));
        if network.addresses.is_empty() {
            return self.without_address(cx, NotifyType::INTERNAL_ADDRESS_FAILURE);
        }
        match self.first_child(cx, &network) {
            Ok((child, mut payloads)) => {
                let network = network::sized(cx, network, &child);
                payloads.insert(0, Payload::Cp(network::reply(&request, &network)));
                cx.out.events.push_back(Event::Up(network.clone()));
                self.complete(cx, network, Some(child), payloads)
            }
            Err(notify) => {
                // What it was given is kept for a child that it asks for next.
                let reply = Payload::Cp(network::reply(&request, &network));
                self.without_child(cx, network, vec![reply], notify)
            }
        }
    }

    fn without_address(self: Box<Self>, cx: &mut GatewayContext<'_>, notify: NotifyType) -> Step {
        self.without_child(cx, NetworkConfig::default(), Vec::new(), notify)
    }

    /// The child failed; the IKE SA stands all the same, and the client decides (RFC 7296 §2.21.2).
    fn without_child(
        self: Box<Self>,
        cx: &mut GatewayContext<'_>,
        network: NetworkConfig,
        mut more: Vec<Payload>,
        notify: NotifyType,
    ) -> Step {
        tracing::info!("no ESP SA for the client: {notify}");
        more.push(Payload::notify(notify, Bytes::new()));
        self.complete(cx, network, None, more)
    }

    fn complete(
        self: Box<Self>,
        cx: &mut GatewayContext<'_>,
        network: NetworkConfig,
        child: Option<ChildSa>,
        more: Vec<Payload>,
    ) -> Step {
        let Self { mut secured, wish, received, mut proof } = *self;
        let mobike = cx.settings.mobike && wish.mobike;
        proof.extend(more);
        if mobike {
            proof.push(Payload::notify(NotifyType::MOBIKE_SUPPORTED, Bytes::new()));
        }
        secured.respond(cx, &received, proof);
        Step::Done(Box::new(Established::with(cx, secured.sa, child, network, mobike)))
    }

    /// The child, and what is said of it: SA, TSi, TSr. The error is what to say instead.
    fn first_child(
        &mut self,
        cx: &mut Context<'_>,
        network: &NetworkConfig,
    ) -> Result<(ChildSa, Vec<Payload>), NotifyType> {
        let (Self { secured, wish, .. }, flow) = (self, FlowId(0));
        let (local, remote) = network::selectors(network);
        let (local, remote) = (selectors::narrow(&local, &wish.ts_r), selectors::narrow(&remote, &wish.ts_i));
        if local.is_empty() || remote.is_empty() {
            return Err(NotifyType::TS_UNACCEPTABLE);
        }
        let chosen = cx.settings.esp_proposals.choose(&wish.offer, &[], None);
        let (suite, spi_out, proposal) = chosen.ok_or(NotifyType::NO_PROPOSAL_CHOSEN)?;
        let spi_in = cx.esp_spi(|_| false).ok_or(NotifyType::TEMPORARY_FAILURE)?;
        let keys = ChildKeys::derive(secured.prf(), &secured.sa.keys.d, None, &secured.theirs, &secured.ours, &suite);
        let agreed = Agreed { spi_in, spi_out, flow, suite, local: local.clone(), remote: remote.clone() };
        let child = ChildSa::first_answered(cx, agreed, &keys).map_err(|_| NotifyType::NO_PROPOSAL_CHOSEN)?;
        let proposals = vec![Proposal { spi: Bytes::copy_from_slice(&spi_in.to_be_bytes()), ..proposal }];
        let payloads = vec![Payload::Sa(SecurityAssociation { proposals }), Payload::TsI(remote), Payload::TsR(local)];
        Ok((child, payloads))
    }
}
