//! What a session finds out that only wants to know: the same handshake, with a report kept, and without a child.
//!
//! ```text
//!  IKE_SA_INIT ──▶ IKE_AUTH { no child (RFC 6023), else one that nobody can accept } ──▶ DELETE
//!                     └─ EAP: only with `login` beyond the gateway's own proof
//! ```

use std::{
    fmt,
    time::{Duration, Instant},
};

use adit_pki::CertificateFacts;
use adit_tunnel::Path;
use bytes::Bytes;

use crate::{
    eap::EapType,
    error::Refusal,
    identity::{Identity, short},
    message::{
        Authentication, IkeSpi, Message, Notify, Payload, Proposal, SecurityAssociation, Transform,
        numbers::{AuthMethod, CertEncoding, DhGroup, EncryptionId, EsnId, NotifyType, ProtocolId, TransformType},
    },
    negotiate::IkeSuite,
    sa::nat,
};

/// How far a probe goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Probe {
    /// EAP is gone through, so that the gateway judges our credentials; without, it ends where the gateway has proved itself.
    /// A pre-shared key or a certificate of ours is shown in any case: a gateway proves itself only in answer to that.
    pub login: bool,
}

/// What a probe has found out, as far as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeReport {
    /// From the last IKE_SA_INIT sent to the first answer of any kind.
    pub first_answer: Option<Duration>,
    /// What the gateway wanted before it agreed, in order.
    pub detours: Vec<Detour>,
    /// Algorithms we offered for the IKE SA, in strongSwan's notation.
    pub offered: String,
    /// Those the gateway chose.
    pub suite: Option<String>,
    /// Whether our address is translated on the way: it differs from what the gateway sees. `None`: not known.
    pub nat_at_our_end: Option<bool>,
    /// Whether the gateway's is.
    pub nat_at_their_end: Option<bool>,
    /// Names of what the gateway announced by notifications.
    pub announced: Vec<String>,
    /// What it verifies signatures with (RFC 7427).
    pub signature_hashes: Vec<String>,
    /// Who it says it is, proved or not.
    pub identity: Option<String>,
    /// What it proves itself with, such as `certificate (digital signature)`.
    pub proof: Option<String>,
    /// What it sent of its chain, its own certificate first.
    pub certificates: Vec<CertificateFacts>,
    /// Certificates it sent that cannot be read.
    pub unreadable_certificates: usize,
    /// Whether it has proved to be whom we expect.
    pub authenticated: bool,
    /// EAP types it asked for, in order.
    pub eap: Vec<String>,
    /// Whether it has accepted our own proof; `None`: not tried, or not heard.
    pub accepted_us: Option<bool>,
    /// What was offered in place of a child.
    pub child: Option<ProbeChild>,
    /// Until when a client has to prove itself again (RFC 4478).
    pub auth_lifetime: Option<Duration>,
    /// The IKE SA was deleted, and the gateway has confirmed that.
    pub deleted: bool,
}

/// What a gateway wanted before it agreed to an IKE SA.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detour {
    /// A cookie: it is under load, or careful.
    Cookie,
    /// Another key exchange group, by its name.
    Group(String),
    /// Another kind of signature of ours.
    Signature,
    /// It refused, by the name of its notification; anybody could have sent that.
    Refused(String),
}

/// Why no child comes of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeChild {
    /// None was offered (RFC 6023).
    Childless,
    /// One of an algorithm that does not exist was offered: the gateway refuses it, and keeps the IKE SA (RFC 7296 §1.2).
    Unacceptable,
}

/// A probe under way.
#[derive(Debug)]
pub(crate) struct Probing {
    pub(crate) probe: Probe,
    pub(crate) report: ProbeReport,
    /// When IKE_SA_INIT was sent last.
    sent: Option<Instant>,
}

impl Probing {
    pub(crate) fn new(probe: Probe, offered: String) -> Self {
        Self { probe, report: ProbeReport { offered, ..ProbeReport::default() }, sent: None }
    }

    pub(crate) fn on_init_sent(&mut self, now: Instant) {
        if self.report.first_answer.is_none() {
            self.sent = Some(now);
        }
    }

    /// An answer to IKE_SA_INIT, of whomever.
    pub(crate) fn on_init_answer(&mut self, now: Instant, message: &Message) {
        if let Some(sent) = self.sent.take() {
            self.report.first_answer = Some(now.saturating_duration_since(sent));
        }
        let detour = if message.notify(NotifyType::COOKIE).is_some() {
            Detour::Cookie
        } else if let Some(notify) = message.notify(NotifyType::INVALID_KE_PAYLOAD) {
            let group = notify.data.first_chunk::<2>().map(|group| DhGroup(u16::from_be_bytes(*group)));
            Detour::Group(group.map_or_else(|| "?".to_owned(), |group| group.to_string()))
        } else if let Some(error) = message.error() {
            Detour::Refused(Refusal::of(error).to_string())
        } else {
            return;
        };
        self.detour(detour);
    }

    pub(crate) fn detour(&mut self, detour: Detour) {
        // The same again is the answer to a repetition.
        if self.report.detours.len() < MAX_NOTED && self.report.detours.last() != Some(&detour) {
            self.report.detours.push(detour);
        }
    }

    /// The IKE SA was agreed on.
    pub(crate) fn on_suite(&mut self, suite: &IkeSuite, path: &Path, spis: (IkeSpi, IkeSpi), message: &Message) {
        let report = &mut self.report;
        report.suite = Some(suite.to_string());
        let detected = |notify_type| message.notifies(notify_type).map(|notify| &notify.data).collect::<Vec<_>>();
        let translated = |named: Vec<&Bytes>, real: &Bytes| (!named.is_empty()).then(|| !named.contains(&real));
        let local = path.local.filter(|local| !local.ip().is_unspecified());
        report.nat_at_our_end = local
            .and_then(|local| translated(detected(NotifyType::NAT_DETECTION_DESTINATION_IP), &nat::hash(spis, local)));
        let theirs = nat::hash(spis, path.remote);
        report.nat_at_their_end = translated(detected(NotifyType::NAT_DETECTION_SOURCE_IP), &theirs);
        if let Some(hashes) = message.notify(NotifyType::SIGNATURE_HASH_ALGORITHMS) {
            let hashes = crate::auth::hashes_of(&hashes.data);
            report.signature_hashes = hashes.iter().take(MAX_NOTED).map(ToString::to_string).collect();
        }
        self.on_notifies(message);
    }

    /// What a message announces.
    pub(crate) fn on_notifies(&mut self, message: &Message) {
        for notify in message.all_notifies().filter(|notify| is_announcement(notify)) {
            let name = notify.notify_type.to_string();
            let announced = &mut self.report.announced;
            if announced.len() < MAX_NOTED && !announced.contains(&name) {
                announced.push(name);
            }
        }
        let lifetime = message.notify(NotifyType::AUTH_LIFETIME).and_then(|notify| notify.data.first_chunk().copied());
        if let Some(seconds) = lifetime {
            self.report.auth_lifetime = Some(Duration::from_secs(u32::from_be_bytes(seconds).into()));
        }
    }

    /// What the gateway says of itself, before anything of it is verified.
    pub(crate) fn on_proof(&mut self, message: &Message) {
        self.on_notifies(message);
        let report = &mut self.report;
        report.identity =
            message.id_r().and_then(|id| Identity::from_payload(id).ok()).map(|id| short(&id.to_string()));
        report.proof = message.auth().map(proof);
        let x509 = message.certs().filter(|cert| cert.encoding == CertEncoding::X509_SIGNATURE);
        let read: Vec<_> = x509.take(MAX_NOTED).map(|cert| CertificateFacts::read(&cert.data)).collect();
        report.unreadable_certificates = read.iter().filter(|facts| facts.is_none()).count();
        report.certificates = read.into_iter().flatten().collect();
    }

    /// An EAP packet of the gateway.
    pub(crate) fn on_eap(&mut self, packet: &[u8]) {
        // A request (RFC 3748 §4.1).
        if let [1, _, _, _, kind, ..] = packet {
            let name = EapType(*kind).to_string();
            let eap = &mut self.report.eap;
            if eap.last() != Some(&name) && eap.len() < MAX_NOTED {
                eap.push(name);
            }
        }
    }
}

/// Instead of CP, SA and traffic selectors of a child: nothing where the gateway knows RFC 6023.
pub(crate) fn child(childless: bool, spi: u32, selectors: [Payload; 2]) -> (ProbeChild, Vec<Payload>) {
    if childless {
        return (ProbeChild::Childless, Vec::new());
    }
    let transforms = vec![
        // Of the range for private use (RFC 7296 §3.3.2): between strangers it means nothing.
        Transform::new(TransformType::ENCR, EncryptionId(u16::MAX).0),
        Transform::new(TransformType::ESN, EsnId::NONE.0),
    ];
    let spi = Bytes::copy_from_slice(&spi.to_be_bytes());
    let proposals = vec![Proposal { number: 1, protocol: ProtocolId::ESP, spi, transforms }];
    let mut payloads = vec![Payload::Sa(SecurityAssociation { proposals })];
    payloads.extend(selectors);
    (ProbeChild::Unacceptable, payloads)
}

/// Whether an answer of the gateway says no more than that there will be no child.
pub(crate) fn refuses_child(error: &Notify) -> bool {
    [
        NotifyType::NO_PROPOSAL_CHOSEN,
        NotifyType::TS_UNACCEPTABLE,
        NotifyType::SINGLE_PAIR_REQUIRED,
        NotifyType::INTERNAL_ADDRESS_FAILURE,
        NotifyType::FAILED_CP_REQUIRED,
        NotifyType::NO_ADDITIONAL_SAS,
    ]
    .contains(&error.notify_type)
}

/// What belongs to the exchange itself is told elsewhere.
fn is_announcement(notify: &Notify) -> bool {
    !notify.notify_type.is_error()
        && ![
            NotifyType::COOKIE,
            NotifyType::NAT_DETECTION_SOURCE_IP,
            NotifyType::NAT_DETECTION_DESTINATION_IP,
            NotifyType::AUTH_LIFETIME,
        ]
        .contains(&notify.notify_type)
}

fn proof(auth: &Authentication) -> String {
    match auth.method {
        AuthMethod::PSK => "pre-shared key".to_owned(),
        method => format!("certificate ({method})"),
    }
}

impl fmt::Display for Detour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cookie => f.write_str("asked for a cookie"),
            Self::Group(group) => write!(f, "asked for the key exchange group {group}"),
            Self::Signature => f.write_str("refused our signature; another kind was tried"),
            Self::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

/// Things of one kind that a report keeps; our own judgement.
const MAX_NOTED: usize = 32;
