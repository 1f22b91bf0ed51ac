//! Why a session ended, in the protocol's own words, one name per offence.

use std::time::Duration;

use adit_tunnel::{CloseKind, Closed, Retry};

use crate::{
    auth::PeerNotAuthenticated,
    eap::EapError,
    message::{Notify, numbers::NotifyType},
};

/// The `source` of every [`Closed`] of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// [`adit_tunnel::Tunnel::close`] was called.
    #[error("closed by us")]
    ClosedLocally,
    /// Nothing came back for IKE_SA_INIT.
    #[error("no answer from the gateway to {tries} datagrams; is it running, and UDP port {port} open?")]
    NoAnswer {
        /// How often it was asked.
        tries: u32,
        /// At this port.
        port: u16,
    },
    /// The gateway stopped answering in the middle of the handshake.
    #[error(
        "the gateway answered, but no longer while {stage}; large datagrams may be lost on the way (try a smaller \
         fragment size), or UDP port {port} be closed"
    )]
    HandshakeStalled {
        /// What was being waited for.
        stage: &'static str,
        /// The port in use.
        port: u16,
    },
    /// The handshake took too long.
    #[error("the handshake did not finish within {} s, it stopped while {stage}", .window.as_secs())]
    HandshakeTimeout {
        /// The time allowed.
        window: Duration,
        /// What was being waited for.
        stage: &'static str,
    },
    /// The gateway stopped answering later on.
    #[error("the gateway no longer answers ({0} tries)")]
    PeerGone(u32),
    /// It could not prove who it is.
    #[error("the gateway could not prove who it is: {0}")]
    PeerNotAuthenticated(#[from] PeerNotAuthenticated),
    /// Its first IKE_AUTH response, or its last, lacks AUTH (CVE-2015-4171 is of this kind).
    #[error("the gateway did not prove who it is: its AUTH payload is missing")]
    NoProof,
    /// EAP failed.
    #[error(transparent)]
    Eap(#[from] EapError),
    /// AUTHENTICATION_FAILED for our proof.
    #[error("the gateway refused our {0}")]
    AuthFailed(&'static str),
    /// NO_PROPOSAL_CHOSEN for the IKE SA.
    #[error("the gateway accepts none of our algorithms for IKE ({0})")]
    NoIkeProposal(String),
    /// Our key signs in no way that the gateway announces.
    #[error("the gateway announces no signature algorithm that our key can make")]
    NoCommonSignature,
    /// NO_PROPOSAL_CHOSEN for ESP.
    #[error("the gateway accepts none of our algorithms for ESP ({0})")]
    NoEspProposal(String),
    /// INVALID_KE_PAYLOAD with a group that we did not offer.
    #[error("the gateway wants the key exchange group {0}, which our proposals do not have")]
    GroupNotOffered(u16),
    /// TS_UNACCEPTABLE.
    #[error("the gateway carries none of the networks we asked for (TS_UNACCEPTABLE)")]
    TrafficSelectors,
    /// INTERNAL_ADDRESS_FAILURE.
    #[error("the gateway has no address left for us (INTERNAL_ADDRESS_FAILURE)")]
    NoAddress,
    /// Neither its CP payload nor its traffic selectors name an address of ours.
    #[error("the gateway gives us no address inside the tunnel")]
    NoInnerAddress,
    /// FAILED_CP_REQUIRED.
    #[error(
        "the gateway insists on giving us an address, and does not give the kind we asked for (FAILED_CP_REQUIRED)"
    )]
    AddressRequired,
    /// The gateway has no NAT traversal.
    #[error("the gateway does not support UDP encapsulation of ESP, which a client without root needs")]
    NoEncapsulation,
    /// A probe offers no child, and the gateway does not prove itself then.
    #[error("the gateway refuses whoever brings no child ({0}), before it proves who it is: a probe cannot go on")]
    NoProofWithoutChild(Refusal),
    /// Another error notification.
    #[error("the gateway refused: {0}")]
    Refused(Refusal),
    /// A rekeying that the gateway does not take part in.
    #[error("the gateway refuses to rekey: {0}")]
    RekeyRefused(Refusal),
    /// DELETE of the IKE SA.
    #[error("the gateway ended the session")]
    Deleted,
    /// The gateway took our child away, and gives us no other.
    #[error("the gateway closed the tunnel's ESP SA and gives no other")]
    ChildDeleted,
    /// The peer broke the protocol.
    #[error("the gateway broke the protocol: {0}")]
    Protocol(#[from] PeerMisbehaved),
    /// The keys could not be made.
    #[error("the keys of {0} could not be made")]
    Keys(&'static str),
}

/// The number of an error notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub(crate) notify: NotifyType,
    /// Windows says more in a number of its own (MS-IKEE §2.2.4).
    pub(crate) windows_error: Option<u32>,
}

impl Refusal {
    pub(crate) fn of(notify: &Notify) -> Self {
        let windows_error = (notify.notify_type == NotifyType::MS_NOTIFY_STATUS)
            .then(|| notify.data.first_chunk().map(|code| u32::from_be_bytes(*code)))
            .flatten();
        Self { notify: notify.notify_type, windows_error }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.windows_error {
            Some(code) => write!(f, "{} (Windows error {code})", self.notify),
            None => self.notify.fmt(f),
        }
    }
}

/// What the peer must not do, one name per offence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// A verified message that makes no sense.
    #[error("a protected message is malformed")]
    Malformed,
    /// The SA payload is missing.
    #[error("its SA payload is missing")]
    SaMissing,
    /// The KE payload is missing.
    #[error("its KE payload is missing")]
    KeMissing,
    /// The KE payload is of another group than the one chosen.
    #[error("its KE payload is of another group than its proposal")]
    KeOfOtherGroup,
    /// The public value is not one.
    #[error("its key exchange value is not valid")]
    KeInvalid,
    /// The nonce is missing.
    #[error("its nonce is missing")]
    NonceMissing,
    /// The responder's SPI is zero.
    #[error("its SPI is zero")]
    SpiZero,
    /// The proposal it chose is none of ours.
    #[error("it chose a proposal that we did not make")]
    ProposalNotOffered,
    /// IDr of a gateway or IDi of a client is missing.
    #[error("the payload with its identity is missing")]
    IdMissing,
    /// Traffic selectors are missing.
    #[error("its traffic selectors are missing")]
    SelectorsMissing,
    /// The traffic selectors are wider than what we asked for.
    #[error("its traffic selectors are wider than ours")]
    SelectorsWider,
    /// An EAP payload is missing where EAP goes on.
    #[error("its EAP payload is missing")]
    EapMissing,
    /// It asks for a cookie, or for another group, again and again.
    #[error("it asks for another IKE_SA_INIT again and again")]
    TooManyRetries,
    /// The answer to COOKIE2 is another (RFC 4555 §3.7).
    #[error("it returned another COOKIE2 than ours")]
    Cookie2,
    /// INVALID_SYNTAX for one of our messages.
    #[error("it cannot read our messages (INVALID_SYNTAX)")]
    CannotReadUs,
    /// TEMPORARY_FAILURE for minutes.
    #[error("it has been failing temporarily for minutes")]
    TemporaryForever,
    /// It closes children as fast as we make them.
    #[error("it closes ESP SAs as fast as we make them")]
    ChildrenClosed,
}

impl SessionError {
    pub(crate) fn closed(self) -> Closed {
        let (kind, retry) = self.consequence();
        Closed { kind, source: Box::new(self), retry }
    }

    /// Whether the gateway refused our credentials.
    pub(crate) fn is_auth_failed(&self) -> bool {
        self.consequence().0 == CloseKind::AuthFailed
    }

    /// Whether the gateway still has an IKE SA with us to be told about.
    pub(crate) const fn is_worth_a_farewell(&self) -> bool {
        // INVALID_SYNTAX ends an IKE SA without a word more (RFC 7296 §2.21.3).
        !matches!(self, Self::Deleted | Self::PeerGone(_) | Self::Protocol(PeerMisbehaved::CannotReadUs))
    }

    fn consequence(&self) -> (CloseKind, Retry) {
        match self {
            Self::ClosedLocally => (CloseKind::Local, Retry::Never),
            Self::NoAnswer { .. } | Self::HandshakeStalled { .. } | Self::HandshakeTimeout { .. } => {
                (CloseKind::TimedOut, Retry::NextAddress)
            }
            Self::PeerGone(_) => (CloseKind::TimedOut, Retry::After(Duration::ZERO)),
            Self::PeerNotAuthenticated(_) | Self::NoProof => (CloseKind::PeerNotAuthenticated, Retry::NextRemote),
            Self::Eap(error) => eap_consequence(error),
            Self::AuthFailed(_) => (CloseKind::AuthFailed, Retry::FreshCredentials),
            Self::NoIkeProposal(_)
            | Self::NoEspProposal(_)
            | Self::NoProofWithoutChild(_)
            | Self::NoCommonSignature
            | Self::GroupNotOffered(_)
            | Self::TrafficSelectors
            | Self::NoInnerAddress
            | Self::AddressRequired
            | Self::NoEncapsulation => (CloseKind::NoAgreement, Retry::NextRemote),
            Self::NoAddress | Self::Refused(_) | Self::RekeyRefused(_) => (CloseKind::PeerClosed, Retry::NextRemote),
            Self::Deleted | Self::ChildDeleted => (CloseKind::PeerClosed, Retry::After(Duration::ZERO)),
            Self::Protocol(_) => (CloseKind::PeerMisbehaved, Retry::NextRemote),
            Self::Keys(_) => (CloseKind::Internal, Retry::NextRemote),
        }
    }
}

fn eap_consequence(error: &EapError) -> (CloseKind, Retry) {
    match error.close_kind() {
        CloseKind::AuthFailed => (CloseKind::AuthFailed, Retry::FreshCredentials),
        kind @ (CloseKind::Local
        | CloseKind::PeerClosed
        | CloseKind::TimedOut
        | CloseKind::PeerNotAuthenticated
        | CloseKind::NoAgreement
        | CloseKind::PeerMisbehaved
        | CloseKind::Internal) => (kind, Retry::NextRemote),
    }
}

/// Converts one of our own offences into the end of a session.
pub(crate) type Outcome<T> = Result<T, SessionError>;
