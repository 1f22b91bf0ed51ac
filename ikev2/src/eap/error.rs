//! What can go wrong in EAP, one name per offence.

use adit_pki::{IdentityError, TrustError};
use adit_tunnel::CloseKind;

use super::packet::EapType;

/// Why EAP ended without success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EapError {
    /// EAP-Failure, and no method had said why.
    #[error("the EAP server refused us{}", .0.map(|method| format!(" during {method}")).unwrap_or_default())]
    Refused(Option<EapType>),
    /// The failure packet of MS-CHAPv2.
    #[error("the EAP server refused user or password: {}", ms_chap_reason(*.error, .message))]
    RefusedByMsChapV2 {
        /// `E=`, such as 691.
        error: u32,
        /// `M=`, shortened, printable characters only.
        message: String,
    },
    /// A one-question method was asked again: the first answer was not taken, or another is wanted.
    #[error("the EAP server asks a second time in {0}: it did not take our answer, or wants another one too")]
    AskedAgain(EapType),
    /// A TLS alert about our certificate.
    #[error("the EAP server refused our certificate (TLS alert {0})")]
    OurCertificate(String),
    /// EAP-Failure after our Nak.
    #[error("the EAP server offered {0} and supports no method of ours")]
    NoCommonMethod(EapType),
    /// No common version, suite or group.
    #[error("no TLS version, suite or group in common with the EAP server: {0}")]
    NoTlsAgreement(String),

    /// EAP-Success, but the method is not over: the server has not authenticated us, or not proved itself (CVE-2021-45079).
    #[error("EAP-Success came before {} was over", .0.map_or("a method".to_owned(), |method| method.to_string()))]
    SuccessTooEarly(Option<EapType>),
    /// EAP-Success after a handshake of TLS 1.3 without the indication of RFC 9190 §2.5.
    #[error(
        "EAP-Success came without the protected success indication that EAP-TLS 1.3 demands (RFC 9190); \
         such a server can be reached with TLS 1.2"
    )]
    NoProtectedSuccess,
    /// The counter-proof of MS-CHAPv2 is wrong.
    #[error("the EAP server did not prove that it knows the password")]
    ServerDoesNotKnowPassword,
    /// Its certificate was refused by us.
    #[error("the EAP server's certificate was refused: {0}")]
    ServerCertificate(EapServerRefused),

    /// A packet that is no EAP packet.
    #[error("an EAP packet is malformed")]
    Malformed,
    /// A response, or an unknown code.
    #[error("an EAP packet with code {0} came, which is none for this end")]
    Code(u8),
    /// A type that no server may request, such as Nak.
    #[error("the EAP server sent a request of type {0}, which is for responses only")]
    NotARequest(EapType),
    /// Another method, or Identity, while one runs (RFC 3748 §2.1).
    #[error("the EAP server asked for {asked} in the midst of {running}")]
    OutOfTurn {
        /// What runs.
        running: EapType,
        /// What came.
        asked: EapType,
    },
    /// More than a hundred requests.
    #[error("the EAP server does not come to an end")]
    TooManyRounds,
    /// A packet after the end.
    #[error("an EAP packet came after the end of EAP")]
    AfterTheEnd,
    /// Content of EAP-MSCHAPv2, or of its attributes in EAP-TTLS.
    #[error("EAP-MSCHAPv2: {0}")]
    MsChapV2(#[from] mschapv2::packet::Malformed),
    /// A packet of MS-CHAPv2 that does not belong there (CVE-2015-8023).
    #[error("an MS-CHAPv2 packet came in the wrong order")]
    MsChapV2OutOfOrder,
    /// A challenge of EAP-MD5 without a value.
    #[error("an EAP-MD5 challenge is malformed")]
    Md5,
    /// Header of EAP-TLS or EAP-TTLS.
    #[error("an EAP-TLS or EAP-TTLS packet is malformed")]
    TlsPacket,
    /// The handshake must begin with the Start bit, and nothing else may have it.
    #[error("the Start bit of EAP-TLS or EAP-TTLS is missing, or set where it must not be")]
    TlsStart,
    /// A version of EAP-TTLS that we do not know.
    #[error("EAP-TTLS version {0} is not supported")]
    TtlsVersion(u8),
    /// Fragments of a TLS message disagree about its length, or exceed it.
    #[error("fragments of an EAP-TLS message contradict the length they tell")]
    FragmentLength,
    /// A TLS message of more than 64 kB of a server, 32 kB of a client.
    #[error("an EAP-TLS message is too long")]
    TlsMessageTooLong,
    /// Data where an acknowledgement of our fragment belongs.
    #[error("the other end did not wait for the end of our fragmented EAP-TLS message")]
    NotAnAcknowledgement,
    /// TLS itself.
    #[error("TLS inside of EAP failed: {0}")]
    Tls(String),
    /// Data before the handshake is over, or before we have begun phase 2 of EAP-TTLS.
    #[error("data came too early in EAP-TLS or EAP-TTLS")]
    DataTooEarly,
    /// Data after the handshake that is not the protected success indication.
    #[error("data came after the EAP-TLS handshake that is not the success indication")]
    NotProtectedSuccess,
    /// An attribute inside EAP-TTLS that answers nothing we have sent.
    #[error("an attribute inside EAP-TTLS came in the wrong order")]
    AttributeOutOfOrder,
    /// Attributes inside EAP-TTLS (CVE-2026-25075).
    #[error("the attributes inside EAP-TTLS are malformed")]
    Attributes,
    /// A mandatory attribute inside EAP-TTLS that we do not know (RFC 5281 §10.1).
    #[error("EAP-TTLS demands that we understand attribute {code} of vendor {vendor}")]
    MandatoryAttribute {
        /// 0 without a vendor.
        vendor: u32,
        /// The attribute's code.
        code: u32,
    },
}

/// Why we refused the certificate of an EAP server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EapServerRefused {
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable,
    /// No trust anchor has signed it.
    #[error("no configured CA has signed it")]
    UnknownIssuer,
    /// Too old.
    #[error("it has expired")]
    Expired,
    /// Too young.
    #[error("it is not valid yet")]
    NotValidYet,
    /// On a revocation list.
    #[error("it is revoked")]
    Revoked,
    /// No list speaks about it, though some were given.
    #[error("no revocation list covers it")]
    NotCovered,
    /// A revocation list has expired.
    #[error("a revocation list has expired")]
    ExpiredRevocationList,
    /// Not for servers.
    #[error("it is not a server certificate (extended key usage)")]
    KeyUsage,
    /// For another name.
    #[error("it is not for `{0}`")]
    Name(String),
    /// Anything else about the chain.
    #[error("its chain is not valid: {0}")]
    Chain(String),
}

/// Why EAP credentials cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EapUnusable {
    /// No method.
    #[error("no EAP method is configured")]
    NoMethod,
    /// A method is there twice.
    #[error("{0} is configured twice")]
    Twice(EapType),
    /// An identity or password is too long.
    #[error("the EAP {0} is longer than 253 bytes")]
    TooLong(&'static str),
    /// MS-CHAPv2 hashes characters, not bytes.
    #[error("the password is not UTF-8, which MS-CHAPv2 needs")]
    PasswordNotUtf8,
    /// An NT hash has 16 bytes.
    #[error("an NT hash has 16 bytes, this one {0}")]
    NtHashLength(usize),
    /// TLS inside of TLS.
    #[error("{0} cannot run inside EAP-TTLS")]
    InnerMethod(EapType),
    /// No trust anchor for the other end's certificate.
    #[error("no CA is configured for EAP-TLS")]
    NoAnchor,
    /// A trust anchor or revocation list.
    #[error("for EAP-TLS: {0}")]
    Trust(#[from] TrustError),
    /// Not a name.
    #[error("`{0}` is neither a DNS name nor an address, so it cannot be the EAP server's name")]
    ServerName(String),
    /// Empty range.
    #[error("the lowest TLS version for EAP is above the highest")]
    TlsVersions,
    /// Our certificate or key.
    #[error("our certificate for EAP cannot be used: {0}")]
    ClientCertificate(#[from] IdentityError),
    /// TLS as configured does not work.
    #[error("TLS for EAP: {0}")]
    Tls(String),
    /// Nobody could prove to be anybody.
    #[error("no EAP user is configured")]
    NoUser,
    /// A user is there twice.
    #[error("the EAP user `{0}` is configured twice")]
    UserTwice(String),
    /// A hash where only methods are configured that need the password.
    #[error("the EAP user `{0}` has an NT hash, which serves MS-CHAPv2 alone, and that is not configured")]
    HashServesNothing(String),
}

impl EapError {
    /// What it means for the tunnel.
    #[must_use]
    pub const fn close_kind(&self) -> CloseKind {
        match self {
            Self::Refused(_) | Self::RefusedByMsChapV2 { .. } | Self::AskedAgain(_) | Self::OurCertificate(_) => {
                CloseKind::AuthFailed
            }
            Self::NoCommonMethod(_) | Self::NoTlsAgreement(_) => CloseKind::NoAgreement,
            Self::SuccessTooEarly(_)
            | Self::NoProtectedSuccess
            | Self::ServerDoesNotKnowPassword
            | Self::ServerCertificate(_) => CloseKind::PeerNotAuthenticated,
            Self::Malformed
            | Self::Code(_)
            | Self::NotARequest(_)
            | Self::OutOfTurn { .. }
            | Self::TooManyRounds
            | Self::AfterTheEnd
            | Self::MsChapV2(_)
            | Self::MsChapV2OutOfOrder
            | Self::Md5
            | Self::TlsPacket
            | Self::TlsStart
            | Self::TtlsVersion(_)
            | Self::FragmentLength
            | Self::TlsMessageTooLong
            | Self::NotAnAcknowledgement
            | Self::Tls(_)
            | Self::DataTooEarly
            | Self::NotProtectedSuccess
            | Self::AttributeOutOfOrder
            | Self::Attributes
            | Self::MandatoryAttribute { .. } => CloseKind::PeerMisbehaved,
        }
    }
}

/// The names of RFC 2759 §6.
fn ms_chap_reason(error: u32, message: &str) -> String {
    let name = match error {
        646 => "not at this hour",
        647 => "the account is disabled",
        648 => "the password has expired",
        649 => "no permission to dial in",
        691 => "wrong user or password",
        709 => "the password cannot be changed",
        _ => "no reason we know",
    };
    // A server that says the same says nothing more.
    let says_more = !message.is_empty() && !message.eq_ignore_ascii_case(name);
    let words = if says_more { format!(", `{message}`") } else { String::new() };
    format!("{name} (error {error}{words})")
}
