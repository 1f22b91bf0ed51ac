//! IKE_SA_INIT: keys with somebody, without any proof of who that is (RFC 7296 §1.2, §2.6, §2.7, §2.23).

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use adit_tunnel::{Event, Path};
use bytes::Bytes;

use super::{AuthSent, ClientContext, Handshake, Purpose, Secured, Step};
use crate::{
    auth,
    crypto::DhKey,
    error::{Outcome, PeerMisbehaved, Refusal, SessionError},
    identity::Identity,
    message::{
        Header, IkeSpi, KeyExchange, Message, MessageId, Notify, Payload,
        numbers::{DhGroup, ExchangeType, NotifyType},
    },
    negotiate::IkeSuite,
    sa::{Context, IkeSa, NAT_T_PORT, Timer, keys::IkeKeys, nat, window::Requester},
};

/// What all IKE_SA_INIT requests of one handshake have in common.
pub(super) struct Start {
    pub(super) purpose: Purpose,
    pub(super) spi: IkeSpi,
    pub(super) nonce: Bytes,
    /// For NAT_DETECTION_SOURCE_IP: with a cookie all other payloads stay as they are (RFC 7296 §2.6).
    pub(super) nowhere: [u8; 20],
    /// How often we were asked for another IKE_SA_INIT.
    pub(super) retries: u32,
}

/// A gateway may ask for a cookie, for another group, and for another cookie because of that; three rounds are plenty.
const MAX_RETRIES: u32 = 5;

/// IKE_SA_INIT was sent.
pub(crate) struct InitSent {
    pub(super) start: Start,
    key: DhKey,
    cookie: Option<Bytes>,
    /// The request without marker, which AUTH covers.
    request: Bytes,
    pub(super) requester: Requester,
    /// What anybody on the way could have told us: believed only if nothing better comes (RFC 7296 §2.21.1).
    pub(super) suspected: Option<SessionError>,
}

impl InitSent {
    pub(super) fn send(
        cx: &mut ClientContext<'_>,
        start: Start,
        group: DhGroup,
        cookie: Option<Bytes>,
    ) -> Outcome<Self> {
        let key = DhKey::generate(group, &mut *cx.random).ok_or(SessionError::Keys("the key exchange"))?;
        Ok(Self::send_with(cx, start, key, cookie))
    }

    // IKE_SA_INIT { [N(COOKIE)], SA, KE, Ni, N(NAT_DETECTION_*), N(FRAGMENTATION), N(SIGNATURE_HASH) } -->
    fn send_with(cx: &mut ClientContext<'_>, start: Start, key: DhKey, cookie: Option<Bytes>) -> Self {
        let settings = cx.settings;
        let mut payloads = Vec::new();
        payloads.extend(cookie.clone().map(|cookie| Payload::notify(NotifyType::COOKIE, cookie)));
        // The group of KE has to be among the proposals; that the peer learns all of them prevents a downgrade.
        payloads.push(Payload::Sa(settings.ike_proposals.sa_payload(None)));
        payloads.push(Payload::Ke(KeyExchange { group: key.group(), public: key.public().clone() }));
        payloads.push(Payload::Nonce(start.nonce.clone()));
        payloads.extend(nat::payloads_from(start.nowhere, (start.spi, IkeSpi(0)), cx.path.remote));
        if settings.fragmentation {
            let notify_type = NotifyType::IKEV2_FRAGMENTATION_SUPPORTED;
            payloads.push(Payload::notify(notify_type, Bytes::new()));
        }
        let hashes = Notify::status(NotifyType::SIGNATURE_HASH_ALGORITHMS, auth::announced_hashes());
        payloads.push(Payload::Notify(hashes));
        let spis = (start.spi, IkeSpi(0));
        let message = Message::request(spis, ExchangeType::IKE_SA_INIT, true, MessageId(0), payloads);
        tracing::trace!("sent: {message}");
        let request = message.encode();
        let datagrams = vec![request.clone()];
        let (path, now) = (*cx.path, cx.now);
        cx.send(path, &datagrams);
        cx.note(|probing| probing.on_init_sent(now));
        let mut requester = Requester::starting_at(0);
        let wait = requester.start(datagrams, &settings.retransmission);
        cx.set(Timer::Retransmit(start.spi), wait);
        Self { start, key, cookie, request, requester, suspected: None }
    }

    /// False when the gateway has been asked often enough.
    pub(super) fn retransmit(&mut self, cx: &mut ClientContext<'_>) -> bool {
        let Some((datagrams, wait)) = self.requester.retransmit(&cx.settings.retransmission) else {
            return false;
        };
        let (path, now) = (*cx.path, cx.now);
        cx.send(path, datagrams);
        cx.note(|probing| probing.on_init_sent(now));
        cx.set(Timer::Retransmit(self.start.spi), wait);
        true
    }

    pub(super) fn handle_datagram(
        self: Box<Self>,
        cx: &mut ClientContext<'_>,
        _: &Path,
        header: &Header,
        datagram: &[u8],
    ) -> Step {
        let is_answer = header.response
            && !header.from_initiator
            && header.exchange == ExchangeType::IKE_SA_INIT
            && header.message_id == MessageId(0);
        let Ok(message) = Message::decode(datagram) else {
            tracing::debug!("an IKE_SA_INIT response that cannot be decoded was dropped");
            return Step::Wait(Handshake::Init(self));
        };
        if !is_answer {
            return Step::Wait(Handshake::Init(self));
        }
        tracing::trace!("received: {message}");
        let now = cx.now;
        cx.note(|probing| probing.on_init_answer(now, &message));
        if let Some(cookie) = message.notify(NotifyType::COOKIE) {
            let cookie = cookie.data.clone();
            return self.retry(cx, None, Some(cookie));
        }
        if let Some(notify) = message.notify(NotifyType::INVALID_KE_PAYLOAD) {
            let group = notify.data.first_chunk::<2>().map(|group| DhGroup(u16::from_be_bytes(*group)));
            return self.retry(cx, group, None);
        }
        if let Some(error) = message.error() {
            let error = refused_init(cx, error);
            return self.suspect(cx, error);
        }
        match self.check(cx, &message) {
            Ok(answer) => self.accept(cx, answer, &message, datagram),
            // Nobody has vouched for this message.
            Err(error) => self.suspect(cx, error),
        }
    }

    fn suspect(mut self: Box<Self>, cx: &mut ClientContext<'_>, error: SessionError) -> Step {
        tracing::debug!("IKE_SA_INIT: {error}; it is not protected, so it is believed only if nothing better comes");
        self.suspected = Some(error);
        let believed = cx.now + SUSPICION;
        cx.timers.set_if_unset(Timer::Suspicion, believed);
        Step::Wait(Handshake::Init(self))
    }

    /// Once more, with a cookie or of another group (RFC 7296 §2.6, §1.3). The SPI of the responder stays zero, whatever it
    /// was in the answer.
    fn retry(mut self: Box<Self>, cx: &mut ClientContext<'_>, group: Option<DhGroup>, cookie: Option<Bytes>) -> Step {
        if cookie.is_some() && cookie == self.cookie {
            tracing::debug!("a cookie that was returned already: this answer is older than our last request");
            return Step::Wait(Handshake::Init(self));
        }
        self.start.retries += 1;
        let cookie_fits = cookie.as_ref().is_none_or(|cookie| (1..=64).contains(&cookie.len()));
        if self.start.retries > MAX_RETRIES || !cookie_fits {
            return self.suspect(cx, PeerMisbehaved::TooManyRetries.into());
        }
        if let Some(group) = group.filter(|group| !cx.settings.ike_proposals.groups().contains(group)) {
            // Anybody could ask for a weak group: only what we offered will do.
            return self.suspect(cx, SessionError::GroupNotOffered(group.0));
        }
        cx.timers.stop(Timer::Suspicion);
        let Self { start, key, cookie: old_cookie, .. } = *self;
        let cookie = cookie.or(old_cookie);
        let Some(group) = group.filter(|group| *group != key.group()) else {
            return Step::Wait(Handshake::Init(Box::new(Self::send_with(cx, start, key, cookie))));
        };
        match Self::send(cx, start, group, cookie) {
            Ok(init) => Step::Wait(Handshake::Init(Box::new(init))),
            Err(error) => Step::Failed(error),
        }
    }

    /// Whether everything needed is there, and what we offered.
    fn check(&self, cx: &ClientContext<'_>, message: &Message) -> Outcome<Answer> {
        if message.header.responder_spi == IkeSpi(0) {
            return Err(PeerMisbehaved::SpiZero.into());
        }
        let sa = message.sa().ok_or(PeerMisbehaved::SaMissing)?;
        let accepted = cx.settings.ike_proposals.accept(sa);
        let (suite, _) = accepted.map_err(|_| PeerMisbehaved::ProposalNotOffered)?;
        let ke = message.ke().ok_or(PeerMisbehaved::KeMissing)?;
        if ke.group != suite.group || ke.group != self.key.group() {
            return Err(PeerMisbehaved::KeOfOtherGroup.into());
        }
        if !self.key.fits(&ke.public) {
            return Err(PeerMisbehaved::KeInvalid.into());
        }
        let nonce = message.nonce().ok_or(PeerMisbehaved::NonceMissing)?;
        // Only who speaks NAT detection encapsulates ESP; at other ports than 500 that goes without saying.
        let detects = message.notify(NotifyType::NAT_DETECTION_DESTINATION_IP).is_some();
        if !detects && !cx.end.has_marker(cx.path) {
            return Err(SessionError::NoEncapsulation);
        }
        Ok(Answer { suite, public: ke.public.clone(), nonce: nonce.clone() })
    }

    /// Makes the keys, and goes on to prove who we are.
    fn accept(self: Box<Self>, cx: &mut ClientContext<'_>, answer: Answer, message: &Message, datagram: &[u8]) -> Step {
        let Self { start, key, request, .. } = *self;
        let Answer { suite, public, nonce } = answer;
        let spis = (start.spi, message.header.responder_spi);
        // Checked before: the key is used up.
        let Ok(shared) = key.agree(&public) else { return Step::Failed(PeerMisbehaved::KeInvalid.into()) };
        let Some(keys) = IkeKeys::first(&suite, &shared, &start.nonce, &nonce, spis.0, spis.1, &cx.settings.key_log)
        else {
            return Step::Failed(SessionError::Keys("the IKE SA"));
        };
        let Some(spi_in) = cx.esp_spi(|_| false) else { return Step::Failed(SessionError::Keys("ESP")) };
        cx.timers.stop(Timer::Retransmit(start.spi));
        cx.timers.stop(Timer::Suspicion);
        tracing::debug!("IKE SA {:?} / {:?}: {suite}", spis.0, spis.1);
        let path = *cx.path;
        cx.note(|probing| probing.on_suite(&suite, &path, spis, message));
        let fragmentation =
            cx.settings.fragmentation && message.notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED).is_some();
        let hashes = message.notify(NotifyType::SIGNATURE_HASH_ALGORITHMS).map(|notify| auth::hashes_of(&notify.data));
        let secured = Secured {
            purpose: start.purpose,
            sa: IkeSa::new(spis, true, suite, keys, 1, fragmentation),
            request,
            response: Bytes::copy_from_slice(datagram),
            ours: start.nonce,
            theirs: nonce,
            hashes: hashes.unwrap_or_default(),
            id: local_identity(cx).to_payload(),
            spi_in,
            childless: message.notify(NotifyType::CHILDLESS_IKEV2_SUPPORTED).is_some(),
            peer: None,
        };
        float(cx);
        AuthSent::send(cx, secured)
    }
}

/// What an acceptable IKE_SA_INIT response holds.
struct Answer {
    suite: IkeSuite,
    public: Bytes,
    nonce: Bytes,
}

/// From port 500 on to 4500, where ESP can be encapsulated (RFC 7296 §2.23).
fn float(cx: &mut Context<'_>) {
    if !cx.end.has_marker(cx.path) {
        cx.path.remote.set_port(NAT_T_PORT);
        let path = *cx.path;
        cx.out.events.push_back(Event::Path(path));
    }
}

/// Who we say we are (RFC 7296 §3.5): as configured, else as our certificate, our user name or our address say.
fn local_identity(cx: &ClientContext<'_>) -> Identity {
    let address = || Identity::Address(cx.path.local.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |local| local.ip()));
    cx.config.local_identity().unwrap_or_else(address)
}

fn refused_init(cx: &Context<'_>, error: &Notify) -> SessionError {
    match error.notify_type {
        NotifyType::NO_PROPOSAL_CHOSEN => SessionError::NoIkeProposal(cx.settings.ike_proposals.to_string()),
        NotifyType::INVALID_SYNTAX => PeerMisbehaved::CannotReadUs.into(),
        _ => SessionError::Refused(Refusal::of(error)),
    }
}

/// How long an unprotected error waits for something better.
const SUSPICION: Duration = Duration::from_millis(500);
