//! The handshake, step by step: each struct is one thing we wait for, and holds exactly what is known then (RFC 7296 §1.2,
//! §2.16).
//!
//! ```text
//!  InitSent ──▶ AuthSent ─────────────────────────────────────▶ Completed
//!    ▲  │         └──▶ EapRunning ──▶ … ──▶ EapProved ───────────▲
//!    └──┘ COOKIE, INVALID_KE_PAYLOAD
//! ```

mod init;

use std::{
    net::IpAddr,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use adit_tunnel::{FlowId, NetworkConfig, Path, Secret};
use bytes::Bytes;
use zeroize::Zeroizing;

use self::init::{InitSent, Start};
use super::{Context, IkeSa, Received, Timer, nat};
use crate::{
    auth::{self, Authenticated, Scheme, Signer},
    child::{Agreed, ChildSa},
    config::{Config, OurProof, PeerProof, Remote, Settings},
    crypto::Prf,
    eap::{EapPeer, EapStep},
    error::{Outcome, PeerMisbehaved, Refusal, SessionError},
    identity::Identity,
    message::{
        Authentication, Configuration, Delete, Header, Identification, IkeSpi, Message, Notify, Payload,
        TrafficSelector, Undecodable,
        numbers::{CfgType, DhGroup, ExchangeType, HashAlgorithm, NotifyType},
    },
    network,
    probe::{self, Detour, Probing},
    sa::keys::ChildKeys,
    selectors,
};

/// What the steps of a client's handshake may use beside the rest.
pub(crate) struct ClientContext<'a> {
    pub(crate) base: Context<'a>,
    pub(crate) config: &'a Config,
    pub(crate) remote: &'a Remote,
    /// The session only wants to know.
    pub(crate) probing: Option<&'a mut Probing>,
}

impl ClientContext<'_> {
    /// Tells a probe; nobody else listens.
    pub(crate) fn note(&mut self, note: impl FnOnce(&mut Probing)) {
        if let Some(probing) = &mut self.probing {
            note(probing);
        }
    }
}

impl<'a> Deref for ClientContext<'a> {
    type Target = Context<'a>;

    fn deref(&self) -> &Context<'a> {
        &self.base
    }
}

impl<'a> DerefMut for ClientContext<'a> {
    fn deref_mut(&mut self) -> &mut Context<'a> {
        &mut self.base
    }
}

/// A handshake under way.
pub(crate) enum Handshake {
    /// IKE_SA_INIT was sent.
    Init(Box<InitSent>),
    /// The first IKE_AUTH was sent.
    Auth(Box<AuthSent>),
    /// EAP goes back and forth; the gateway has proved who it is.
    Eap(Box<EapRunning>),
    /// EAP has succeeded, and our AUTH was sent.
    Proved(Box<EapProved>),
}

/// What came of a step.
pub(crate) enum Step {
    /// Something more is waited for.
    Wait(Handshake),
    /// The tunnel stands.
    Done(Box<Completed>),
    /// A probe has found out all it wanted to: the IKE SA is to be deleted.
    Probed(Box<IkeSa>),
    /// Our signature was refused: once more from the start, with the next kind of signature.
    NextSignature(Purpose),
    /// It is over.
    Failed(SessionError),
}

/// What a handshake is for, and what it brings from the one before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Purpose {
    /// A session exists and is to be replaced: it must not be ended by INITIAL_CONTACT.
    pub(crate) reauthentication: bool,
    /// No other IKE SA is to be spared: INITIAL_CONTACT may be sent (RFC 7296 §2.4).
    pub(crate) initial_contact: bool,
    /// Addresses inside that we had, and want again.
    pub(crate) addresses: Vec<IpAddr>,
    /// How often our signature was refused, ever since, which is the place in the list of kinds to try; after the last comes
    /// the first.
    pub(crate) signatures_refused: usize,
    /// How many kinds were refused in a row.
    pub(crate) kinds_refused: usize,
}

/// What a finished handshake leaves.
pub(crate) struct Completed {
    pub(crate) sa: IkeSa,
    pub(crate) child: ChildSa,
    pub(crate) network: NetworkConfig,
    /// What the gateway gave us.
    pub(crate) reply: Option<Configuration>,
    pub(crate) mobike: bool,
    /// Other addresses of the gateway (RFC 4555 §3.4).
    pub(crate) additional_addresses: Vec<IpAddr>,
    /// Until when we have to prove ourselves again (RFC 4478).
    pub(crate) auth_lifetime: Option<Duration>,
    pub(crate) purpose: Purpose,
    /// Who the gateway has proved to be.
    pub(crate) peer: Option<String>,
}

impl Handshake {
    /// Sends the first IKE_SA_INIT.
    pub(crate) fn start(cx: &mut ClientContext<'_>, purpose: Purpose) -> Outcome<Self> {
        let settings = cx.settings;
        let group = settings.ike_proposals.groups().first().copied().unwrap_or(DhGroup::NONE);
        cx.set(Timer::Handshake, settings.handshake_timeout);
        if !purpose.reauthentication {
            // From the start again, though an attempt with another signature has moved to 4500. Beside an association
            // that stands the port in use will do (RFC 7296 §2.23).
            let port = cx.remote.port;
            cx.path.remote.set_port(port);
        }
        let nowhere = nat::nowhere(&mut *cx.random);
        let start = Start { purpose, spi: cx.ike_spi(), nonce: cx.nonce(), nowhere, retries: 0 };
        Ok(Self::Init(Box::new(InitSent::send(cx, start, group, None)?)))
    }

    /// Our SPI: datagrams with it are for this handshake.
    pub(crate) fn spi(&self) -> IkeSpi {
        match self {
            Self::Init(init) => init.start.spi,
            Self::Auth(auth) => auth.secured.sa.initiator_spi,
            Self::Eap(eap) => eap.secured.sa.initiator_spi,
            Self::Proved(proved) => proved.secured.sa.initiator_spi,
        }
    }

    /// A datagram with our SPI.
    pub(crate) fn handle_datagram(
        self,
        cx: &mut ClientContext<'_>,
        path: &Path,
        header: &Header,
        datagram: &mut [u8],
    ) -> Step {
        match self {
            Self::Init(init) => init.handle_datagram(cx, path, header, datagram),
            Self::Auth(mut auth) => match receive(&mut auth.secured, cx, path, header, datagram) {
                Ok(Some(response)) => auth.handle_response(cx, response),
                Ok(None) => Step::Wait(Self::Auth(auth)),
                Err(error) => Step::Failed(error),
            },
            Self::Eap(mut eap) => match receive(&mut eap.secured, cx, path, header, datagram) {
                Ok(Some(response)) => eap.handle_response(cx, &response),
                Ok(None) => Step::Wait(Self::Eap(eap)),
                Err(error) => Step::Failed(error),
            },
            Self::Proved(mut proved) => match receive(&mut proved.secured, cx, path, header, datagram) {
                Ok(Some(response)) => proved.handle_response(cx, &response),
                Ok(None) => Step::Wait(Self::Proved(proved)),
                Err(error) => Step::Failed(error),
            },
        }
    }

    /// Time to send the request again, or to give up.
    pub(crate) fn retransmit(mut self, cx: &mut ClientContext<'_>) -> Step {
        let again = match &mut self {
            Self::Init(init) => init.retransmit(cx),
            Self::Auth(auth) => auth.secured.sa.retransmit(cx),
            // Somebody may have to touch a telephone before the gateway answers: the time for all of it is the limit.
            Self::Eap(eap) => patiently(&mut eap.secured.sa, cx),
            Self::Proved(proved) => patiently(&mut proved.secured.sa, cx),
        };
        let (stage, port) = (self.stage(), cx.path.remote.port());
        match self {
            _ if again => Step::Wait(self),
            Self::Init(init) => Step::Failed(
                init.suspected
                    .unwrap_or_else(|| SessionError::NoAnswer { tries: cx.settings.retransmission.tries, port }),
            ),
            Self::Auth(_) | Self::Eap(_) | Self::Proved(_) => {
                Step::Failed(SessionError::HandshakeStalled { stage, port })
            }
        }
    }

    /// The error that nobody has contradicted is taken for the gateway's.
    pub(crate) fn believe_suspicion(self) -> Step {
        match self {
            Self::Init(init) => match init.suspected {
                Some(error) => Step::Failed(error),
                None => Step::Wait(Self::Init(init)),
            },
            other @ (Self::Auth(_) | Self::Eap(_) | Self::Proved(_)) => Step::Wait(other),
        }
    }

    /// What is waited for, for people.
    pub(crate) const fn stage(&self) -> &'static str {
        match self {
            Self::Init(_) => "waiting for its IKE_SA_INIT",
            Self::Auth(_) => "waiting for its proof (IKE_AUTH)",
            Self::Eap(_) => "proving ourselves (EAP)",
            Self::Proved(_) => "waiting for its last IKE_AUTH",
        }
    }

    /// Whether the answer to what we sent last can be that the tunnel stands.
    pub(crate) const fn may_succeed(&self, config: &Config) -> bool {
        match self {
            Self::Init(_) | Self::Eap(_) => false,
            Self::Auth(_) => !matches!(config.our_proof(), OurProof::Eap(_)),
            Self::Proved(_) => true,
        }
    }

    /// Sends the request in flight as if for the first time: the way there has changed.
    pub(crate) fn start_again(&mut self, cx: &mut ClientContext<'_>) {
        let sa = match self {
            Self::Init(init) => {
                init.requester.start_again();
                init.retransmit(cx);
                return;
            }
            Self::Auth(auth) => &mut auth.secured.sa,
            Self::Eap(eap) => &mut eap.secured.sa,
            Self::Proved(proved) => &mut proved.secured.sa,
        };
        sa.start_again(cx);
    }
}

/// The IKE SA has keys, but nobody has proved anything yet.
struct Secured {
    purpose: Purpose,
    sa: IkeSa,
    /// Our IKE_SA_INIT and theirs, which AUTH covers.
    request: Bytes,
    response: Bytes,
    /// Nonces.
    ours: Bytes,
    theirs: Bytes,
    /// Hashes the peer verifies signatures with (RFC 7427 §4); empty without RFC 7427.
    hashes: Vec<HashAlgorithm>,
    id: Identification,
    /// SPI of the child.
    spi_in: u32,
    /// The gateway does without a child (RFC 6023).
    childless: bool,
    /// Who the gateway has proved to be.
    peer: Option<String>,
}

impl Secured {
    fn prf(&self) -> Prf {
        self.sa.suite.prf
    }

    /// What our AUTH covers (RFC 7296 §2.15).
    fn our_octets(&self) -> Zeroizing<Vec<u8>> {
        auth::octets(self.prf(), &self.request, &self.theirs, self.sa.keys.pi.expose(), &self.id.body())
    }

    fn their_octets(&self, id: &Identification) -> Zeroizing<Vec<u8>> {
        auth::octets(self.prf(), &self.response, &self.ours, self.sa.keys.pr.expose(), &id.body())
    }

    /// The first response with a proof: IDr, CERT, AUTH (RFC 7296 §1.2).
    fn verify_peer(&self, cx: &ClientContext<'_>, response: &Message) -> Outcome<(Authenticated, Identification)> {
        let id = response.id_r().ok_or(PeerMisbehaved::IdMissing)?;
        let proof = response.auth().ok_or(SessionError::NoProof)?;
        let octets = self.their_octets(id);
        let authenticated = match cx.config.peer_proof() {
            PeerProof::Psk { key, identity } => {
                auth::verify_identity(identity.as_ref(), id)?;
                auth::verify_shared_key(self.prf(), key.expose(), &octets, proof)?
            }
            PeerProof::Certificate(verification) => {
                let certificates: Vec<_> = response.certs().collect();
                let (host, time, legacy) = (&cx.remote.host, cx.unix_time(), cx.settings.legacy);
                verification.verify(host, &certificates, id, proof, &octets, time, legacy)?
            }
        };
        if let Ok(identity) = Identity::from_payload(id) {
            tracing::info!("the gateway has proved to be {identity}");
        }
        Ok((authenticated, id.clone()))
    }

    // IKE_AUTH { IDi, [CERT+], [N(INITIAL_CONTACT)], [CERTREQ], [IDr], [AUTH], CP, SA, TSi, TSr, N… } -->
    fn first_request(&self, cx: &mut ClientContext<'_>) -> Outcome<Vec<Payload>> {
        let config = cx.config;
        let settings = config.settings();
        let mut payloads = vec![Payload::IdI(self.id.clone())];
        if let OurProof::Certificate(signer) = config.our_proof() {
            payloads.extend(signer.cert_payloads().into_iter().map(Payload::Cert));
        }
        if settings.initial_contact && self.purpose.initial_contact {
            payloads.push(status(NotifyType::INITIAL_CONTACT));
        }
        if let PeerProof::Certificate(verification) = config.peer_proof() {
            payloads.push(Payload::CertReq(verification.cert_request()));
        }
        payloads.extend(config.requested_identity(cx.remote).map(|id| Payload::IdR(id.to_payload())));
        payloads.extend(self.first_proof(cx)?.map(Payload::Auth));
        let (local, remote) = wanted_selectors(settings);
        let selectors = [Payload::TsI(local), Payload::TsR(remote)];
        if let Some(probing) = &mut cx.probing {
            let (child, instead) = probe::child(self.childless, self.spi_in, selectors);
            probing.report.child = Some(child);
            payloads.extend(instead);
        } else {
            payloads.push(Payload::Cp(network::request(&self.purpose.addresses)));
            payloads.push(Payload::Sa(settings.esp_proposals.sa_payload(self.spi_in, &[])));
            payloads.extend(selectors);
        }
        if settings.mobike {
            payloads.push(status(NotifyType::MOBIKE_SUPPORTED));
        }
        Ok(payloads)
    }

    /// AUTH of the first request; none when EAP proves us.
    fn first_proof(&self, cx: &ClientContext<'_>) -> Outcome<Option<Authentication>> {
        let octets = self.our_octets();
        match cx.config.our_proof() {
            OurProof::Psk(key) => Ok(Some(auth::shared_key(self.prf(), key.expose(), &octets))),
            OurProof::Certificate(signer) => {
                let schemes = self.schemes(cx, signer);
                let place = self.purpose.signatures_refused.checked_rem(schemes.len()).unwrap_or_default();
                let scheme = schemes.get(place).ok_or(SessionError::NoCommonSignature)?;
                signer.sign(*scheme, &octets).map(Some).ok_or(SessionError::Keys("our signature"))
            }
            OurProof::Eap(_) => Ok(None),
        }
    }

    fn schemes(&self, cx: &ClientContext<'_>, signer: &Signer) -> Vec<Scheme> {
        let settings = cx.settings;
        signer.schemes(settings.signature, &self.hashes, settings.legacy)
    }

    /// Whether there is another kind of signature to try: what an earlier gateway refused may be all that this one knows.
    fn has_next_signature(&self, cx: &ClientContext<'_>) -> bool {
        match cx.config.our_proof() {
            OurProof::Certificate(signer) => self.schemes(cx, signer).len() > self.purpose.kinds_refused + 1,
            OurProof::Psk(_) | OurProof::Eap(_) => false,
        }
    }

    /// What AUTHENTICATION_FAILED and its kin mean before the last response.
    fn refused(self, cx: &mut ClientContext<'_>, error: &Notify) -> Step {
        let proof = match cx.config.our_proof() {
            OurProof::Psk(_) => "pre-shared key, or the identity we gave",
            OurProof::Certificate(_) => "certificate or signature, or the identity we gave",
            OurProof::Eap(_) => "credentials, or the identity we gave",
        };
        match error.notify_type {
            NotifyType::AUTHENTICATION_FAILED if self.has_next_signature(cx) => {
                let Purpose { signatures_refused, kinds_refused, .. } = self.purpose;
                cx.note(|probing| probing.detour(Detour::Signature));
                Step::NextSignature(Purpose {
                    signatures_refused: signatures_refused.wrapping_add(1),
                    kinds_refused: kinds_refused + 1,
                    ..self.purpose
                })
            }
            NotifyType::AUTHENTICATION_FAILED | NotifyType::AUTHORIZATION_FAILED => {
                Step::Failed(SessionError::AuthFailed(proof))
            }
            _ if cx.probing.is_some() && probe::refuses_child(error) => {
                Step::Failed(SessionError::NoProofWithoutChild(Refusal::of(error)))
            }
            NotifyType::INVALID_SYNTAX => Step::Failed(PeerMisbehaved::CannotReadUs.into()),
            _ => Step::Failed(SessionError::Refused(Refusal::of(error))),
        }
    }

    /// The peer could not prove itself: it is told, and nothing more (RFC 7296 §2.21.2).
    fn reject(mut self, cx: &mut ClientContext<'_>, error: SessionError) -> Step {
        farewell(&mut self.sa, cx, status(NotifyType::AUTHENTICATION_FAILED));
        Step::Failed(error)
    }

    /// Both ends are authenticated; what is left is the child.
    // <-- IKE_AUTH { … AUTH, [CP], SA, TSi, TSr, N… }
    fn complete(mut self, cx: &mut ClientContext<'_>, _: Authenticated, response: &Message) -> Step {
        if let Some(probing) = &mut cx.probing {
            probing.on_notifies(response);
            probing.report.accepted_us = Some(true);
            return Step::Probed(Box::new(self.sa));
        }
        match self.first_child(cx, response) {
            Ok((child, network)) => {
                let lifetime = response.notify(NotifyType::AUTH_LIFETIME).and_then(|n| n.data.first_chunk().copied());
                cx.timers.stop(Timer::Handshake);
                Step::Done(Box::new(Completed {
                    mobike: cx.settings.mobike && response.notify(NotifyType::MOBIKE_SUPPORTED).is_some(),
                    additional_addresses: network::additional_addresses(response),
                    reply: reply(response).cloned(),
                    auth_lifetime: lifetime.map(|seconds| Duration::from_secs(u32::from_be_bytes(seconds).into())),
                    sa: self.sa,
                    child,
                    network,
                    purpose: self.purpose,
                    peer: self.peer,
                }))
            }
            Err(error) => {
                // The gateway keeps an IKE SA without child (RFC 7296 §2.21.2); we have no use for it.
                farewell(&mut self.sa, cx, Payload::Delete(Delete::Ike));
                Step::Failed(error)
            }
        }
    }

    fn first_child(&self, cx: &mut ClientContext<'_>, response: &Message) -> Outcome<(ChildSa, NetworkConfig)> {
        let settings = cx.settings;
        if let Some(error) = response.error() {
            return Err(refused_child(cx, error));
        }
        let answer = response.sa().ok_or(PeerMisbehaved::SaMissing)?;
        let accepted = settings.esp_proposals.accept(answer, &[]);
        let (suite, spi_out) = accepted.map_err(|_| PeerMisbehaved::ProposalNotOffered)?;
        let (Some(local), Some(remote)) = (response.ts_i(), response.ts_r()) else {
            return Err(PeerMisbehaved::SelectorsMissing.into());
        };
        if local.is_empty() || remote.is_empty() {
            return Err(PeerMisbehaved::SelectorsMissing.into());
        }
        let (wanted_local, wanted_remote) = wanted_selectors(settings);
        if !selectors::is_subset(local, &wanted_local) || !selectors::is_subset(remote, &wanted_remote) {
            return Err(PeerMisbehaved::SelectorsWider.into());
        }
        let reply = reply(response);
        let addresses = network::addresses(reply, local);
        if addresses.is_empty() {
            return Err(SessionError::NoInnerAddress);
        }
        let keys = ChildKeys::derive(self.prf(), &self.sa.keys.d, None, &self.ours, &self.theirs, &suite);
        let agreed = Agreed {
            spi_in: self.spi_in,
            spi_out,
            flow: FlowId(0),
            suite,
            local: local.to_vec(),
            remote: remote.to_vec(),
        };
        let child = ChildSa::initiated(cx, agreed, &keys)?;
        let network = network::config(cx, addresses, reply, &child);
        Ok((child, network))
    }
}

/// The first IKE_AUTH was sent.
pub(crate) struct AuthSent {
    secured: Secured,
}

impl AuthSent {
    fn send(cx: &mut ClientContext<'_>, mut secured: Secured) -> Step {
        match secured.first_request(cx) {
            Ok(payloads) => secured.sa.request(cx, ExchangeType::IKE_AUTH, payloads),
            Err(error) => return Step::Failed(error),
        }
        Step::Wait(Handshake::Auth(Box::new(Self { secured })))
    }

    fn handle_response(self: Box<Self>, cx: &mut ClientContext<'_>, response: Message) -> Step {
        let mut secured = self.secured;
        // A child that failed comes with the gateway's proof; without one, the error is about us.
        if let (None, Some(error)) = (response.auth(), response.error()) {
            return secured.refused(cx, error);
        }
        cx.note(|probing| probing.on_proof(&response));
        let (authenticated, id) = match secured.verify_peer(cx, &response) {
            Ok(verified) => verified,
            Err(error) => return secured.reject(cx, error),
        };
        cx.note(|probing| probing.report.authenticated = true);
        secured.peer = Identity::from_payload(&id).ok().map(|identity| identity.to_string());
        match cx.config.our_proof() {
            OurProof::Psk(_) | OurProof::Certificate(_) => secured.complete(cx, authenticated, &response),
            OurProof::Eap(_) if cx.probing.as_ref().is_some_and(|probing| !probing.probe.login) => {
                let packet = response.eap().cloned().unwrap_or_default();
                cx.note(|probing| probing.on_eap(&packet));
                Step::Probed(Box::new(secured.sa))
            }
            OurProof::Eap(methods) => {
                let peer = EapPeer::new(Arc::clone(methods));
                Box::new(EapRunning { secured, id, peer }).handle_response(cx, &response)
            }
        }
    }
}

/// EAP goes back and forth. The gateway has proved who it is: nothing of ours was shown to anybody else.
pub(crate) struct EapRunning {
    secured: Secured,
    /// The gateway's identity, which its last AUTH covers, too.
    id: Identification,
    peer: EapPeer,
}

impl EapRunning {
    // <-- IKE_AUTH { EAP }      IKE_AUTH { EAP } -->
    fn handle_response(mut self: Box<Self>, cx: &mut ClientContext<'_>, response: &Message) -> Step {
        if let Some(error) = response.error() {
            return self.secured.refused(cx, error);
        }
        let Some(packet) = response.eap() else {
            return self.secured.reject(cx, PeerMisbehaved::EapMissing.into());
        };
        cx.note(|probing| probing.on_eap(packet));
        let time = cx.unix_time();
        match self.peer.handle(&mut *cx.random, time, packet) {
            Ok(EapStep::Respond(packet)) => {
                self.secured.sa.request(cx, ExchangeType::IKE_AUTH, vec![Payload::Eap(packet)]);
                Step::Wait(Handshake::Eap(self))
            }
            Ok(EapStep::Done(key)) => self.prove(cx, key),
            Err(error) => self.secured.reject(cx, error.into()),
        }
    }

    // IKE_AUTH { AUTH } -->
    fn prove(self: Box<Self>, cx: &mut ClientContext<'_>, key: Option<Secret>) -> Step {
        let Self { mut secured, id, .. } = *self;
        // A method without a key leaves that to the IKE SA (RFC 7296 §2.16).
        let (ours, theirs) = match key {
            Some(key) => (key.clone(), key),
            None => (secured.sa.keys.pi.clone(), secured.sa.keys.pr.clone()),
        };
        let proof = auth::shared_key(secured.prf(), ours.expose(), &secured.our_octets());
        secured.sa.request(cx, ExchangeType::IKE_AUTH, vec![Payload::Auth(proof)]);
        Step::Wait(Handshake::Proved(Box::new(EapProved { secured, id, key: theirs })))
    }
}

/// EAP has succeeded, and our AUTH was sent.
pub(crate) struct EapProved {
    secured: Secured,
    id: Identification,
    /// What the gateway's last AUTH is made with.
    key: Secret,
}

impl EapProved {
    fn handle_response(self: Box<Self>, cx: &mut ClientContext<'_>, response: &Message) -> Step {
        let Self { secured, id, key } = *self;
        let Some(proof) = response.auth() else {
            return match response.error() {
                Some(error) => secured.refused(cx, error),
                None => secured.reject(cx, SessionError::NoProof),
            };
        };
        match auth::verify_shared_key(secured.prf(), key.expose(), &secured.their_octets(&id), proof) {
            Ok(authenticated) => secured.complete(cx, authenticated, response),
            Err(error) => secured.reject(cx, error.into()),
        }
    }
}

/// A response to the IKE_AUTH in flight.
fn receive(
    secured: &mut Secured,
    cx: &mut ClientContext<'_>,
    path: &Path,
    header: &Header,
    datagram: &mut [u8],
) -> Outcome<Option<Message>> {
    // Before the end of the handshake the gateway has nothing to ask (RFC 7296 §2.2; CVE-2014-2338 is of this kind).
    if !header.response || header.exchange != ExchangeType::IKE_AUTH || !secured.sa.matches(header) {
        return Ok(None);
    }
    match secured.sa.receive(cx, path, header, datagram) {
        Ok(Some(Received { message, .. })) => {
            secured.sa.response_taken(cx);
            Ok(Some(message))
        }
        Ok(None) | Err(Undecodable::Unauthenticated(_)) => Ok(None),
        // It comes from whoever did the key exchange with us, and cannot be read: there will be no better one.
        Err(Undecodable::Authenticated { .. }) => Err(PeerMisbehaved::Malformed.into()),
    }
}

/// Sends again as long as that is worth anything, and waits on afterwards.
fn patiently(sa: &mut IkeSa, cx: &mut Context<'_>) -> bool {
    if !sa.retransmit(cx) {
        tracing::debug!("the gateway takes its time");
    }
    true
}

/// A last request whose answer nobody waits for.
fn farewell(sa: &mut IkeSa, cx: &mut Context<'_>, payload: Payload) {
    if sa.requester.is_idle() {
        sa.request(cx, ExchangeType::INFORMATIONAL, vec![payload]);
    }
    cx.timers.stop(Timer::Retransmit(sa.our_spi()));
}

/// A reply to what we asked for, and nothing else, configures us.
fn reply(response: &Message) -> Option<&Configuration> {
    response.cp().filter(|cp| cp.cfg_type == CfgType::REPLY)
}

fn status(notify_type: NotifyType) -> Payload {
    Payload::notify(notify_type, Bytes::new())
}

/// The selectors we ask for: everything we might be, and the networks wanted, of the families of these.
pub(crate) fn wanted_selectors(settings: &Settings) -> (Vec<TrafficSelector>, Vec<TrafficSelector>) {
    let any = [selectors::any_v4(), selectors::any_v6()];
    if settings.remote_networks.is_empty() {
        return (any.to_vec(), any.to_vec());
    }
    let remote: Vec<_> = settings.remote_networks.iter().map(selectors::from_net).collect();
    let of_family = |ts: &TrafficSelector| remote.iter().any(|r| r.addresses.0.is_ipv4() == ts.addresses.0.is_ipv4());
    (any.into_iter().filter(of_family).collect(), remote)
}

/// What an error about the child means.
pub(crate) fn refused_child(cx: &Context<'_>, error: &Notify) -> SessionError {
    match error.notify_type {
        NotifyType::NO_PROPOSAL_CHOSEN => SessionError::NoEspProposal(cx.settings.esp_proposals.to_string()),
        NotifyType::TS_UNACCEPTABLE | NotifyType::SINGLE_PAIR_REQUIRED => SessionError::TrafficSelectors,
        NotifyType::INTERNAL_ADDRESS_FAILURE => SessionError::NoAddress,
        NotifyType::FAILED_CP_REQUIRED => SessionError::AddressRequired,
        NotifyType::INVALID_SYNTAX => PeerMisbehaved::CannotReadUs.into(),
        NotifyType::AUTHENTICATION_FAILED => SessionError::AuthFailed("credentials"),
        _ => SessionError::Refused(Refusal::of(error)),
    }
}
