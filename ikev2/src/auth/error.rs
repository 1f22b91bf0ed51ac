//! Why a peer is not believed to be who it says.

use crate::message::numbers::{AuthMethod, IdType};

/// The peer, a gateway or a client of ours, has not proved who it is. One name per offence; each is a line that names the cure, where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerNotAuthenticated {
    /// AUTH was made with another pre-shared key, or another MSK of EAP.
    #[error("the peer does not know the key we share; compare the pre-shared key on both ends")]
    WrongSharedKey,
    /// AUTH is not what the private key of the certificate would have made of this exchange.
    #[error(
        "the peer's signature is wrong: it does not have the private key of its certificate, or somebody is in between"
    )]
    WrongSignature,
    /// No CERT payload with an X.509 certificate.
    #[error("the peer sent no certificate; set it to send one always (strongSwan: `leftsendcert=always`)")]
    NoCertificate,
    /// The certificate cannot be read.
    #[error("the peer's certificate cannot be read")]
    UnreadableCertificate,
    /// No way from the certificate to a trust anchor.
    #[error(
        "no trusted CA has issued the peer's certificate; is the CA that of this peer, and does the peer send its intermediate certificates?"
    )]
    UnknownIssuer,
    /// The certificate or one above it has expired.
    #[error("the peer's certificate, or one above it, has expired")]
    Expired,
    /// The certificate or one above it is not valid yet.
    #[error("the peer's certificate, or one above it, is not valid yet; is this machine's clock right?")]
    NotValidYet,
    /// A revocation list names the certificate or one above it.
    #[error("the peer's certificate, or one above it, is revoked")]
    Revoked,
    /// A revocation list is out of date.
    #[error("a revocation list has expired; get a fresh one")]
    ExpiredRevocationList,
    /// No revocation list speaks about a certificate of the chain.
    #[error("no revocation list covers the peer's certificate, or one above it; add the list of every CA of the chain")]
    NotCoveredByRevocationList,
    /// The certificate is a CA's own.
    #[error("the peer's certificate is that of a CA; it needs one of its own, issued by the CA")]
    CaCertificate,
    /// An extended key usage without a purpose that the peer must have.
    #[error(
        "the peer's certificate is for other purposes: its extended key usage names neither IKE nor serverAuth (for a gateway) or clientAuth (for a client)"
    )]
    ExtendedKeyUsage,
    /// A key usage without signatures.
    #[error(
        "the peer's certificate is not for signatures: its key usage has neither digitalSignature nor nonRepudiation"
    )]
    KeyUsage,
    /// An RSA key too small or too large.
    #[error("the peer's RSA key has {bits} bits, and only 2048 to 8192 are accepted; it needs a new certificate")]
    RsaKeySize {
        /// Bits of the modulus.
        bits: usize,
    },
    /// A certificate is not signed by the CA that it names: there are two of one name.
    #[error("a CA of the same name has issued the peer's certificate, but with another key; is the CA an older one?")]
    IssuerOfSameName,
    /// A certificate is signed with SHA-1, or with an algorithm we do not have.
    #[error(
        "a certificate of the peer's chain is signed with an algorithm that is not accepted, such as SHA-1; it must be issued anew"
    )]
    CertificateAlgorithm,
    /// The chain is broken in another way.
    #[error("the chain of the peer's certificate is not acceptable: {0}")]
    Chain(webpki::Error),
    /// IDr is of a type we do not have.
    #[error("the peer calls itself by an identity of a kind that is not supported ({kind})")]
    IdentityType {
        /// The registry's name or the number of the type.
        kind: String,
    },
    /// IDr makes no sense.
    #[error("the peer calls itself by an identity that makes no sense")]
    MalformedIdentity,
    /// IDr is not in the certificate.
    #[error("the peer calls itself {found:?}, but its certificate is that of {certified:?}")]
    IdentityNotCertified {
        /// IDr.
        found: String,
        /// Subject and alternative names of the certificate.
        certified: String,
    },
    /// Neither IDr nor the certificate is what we want.
    #[error("the peer is {found:?}, not {wanted:?}; if that is right, configure it as the remote identity")]
    WrongIdentity {
        /// IDr, and what else the certificate says where that counts.
        found: String,
        /// Whom we wanted.
        wanted: String,
    },
    /// A pre-shared key where a certificate is wanted, or the other way round.
    #[error("the peer proves itself by {found}, and we want {wanted}; change the authentication on one end")]
    OtherMethod {
        /// What it did.
        found: &'static str,
        /// What we want.
        wanted: &'static str,
    },
    /// A method we do not have.
    #[error("the peer proves itself by a method that is not supported ({method})")]
    UnsupportedMethod {
        /// The registry's name or the number of the method.
        method: String,
    },
    /// An algorithm of method 14 we do not have.
    #[error("the peer signs with an algorithm that is not supported (AlgorithmIdentifier {algorithm})")]
    UnsupportedSignature {
        /// Its DER in hex digits.
        algorithm: String,
    },
    /// A method that does not go with the key of the certificate.
    #[error("the peer signs with an algorithm that does not go with the key of its certificate")]
    SignatureOfAnotherKind,
    /// Only allowed with `legacy`.
    #[error("the peer signs with SHA-1, which is not safe; change it, or allow it with `legacy = true`")]
    Sha1,
}

impl PeerNotAuthenticated {
    pub(super) fn unsupported(method: AuthMethod) -> Self {
        Self::UnsupportedMethod { method: method.to_string() }
    }

    pub(super) fn identity_type(kind: IdType) -> Self {
        Self::IdentityType { kind: kind.to_string() }
    }
}

/// What webpki has against a chain.
impl From<webpki::Error> for PeerNotAuthenticated {
    fn from(error: webpki::Error) -> Self {
        use webpki::Error;
        #[expect(clippy::wildcard_enum_match_arm, reason = "webpki's list is open; the rest is passed on whole")]
        match error {
            Error::UnknownIssuer => Self::UnknownIssuer,
            Error::CertExpired { .. } => Self::Expired,
            Error::CertNotValidYet { .. } => Self::NotValidYet,
            Error::CertRevoked => Self::Revoked,
            Error::CrlExpired { .. } => Self::ExpiredRevocationList,
            Error::UnknownRevocationStatus => Self::NotCoveredByRevocationList,
            Error::CaUsedAsEndEntity => Self::CaCertificate,
            Error::RequiredEkuNotFoundContext(_) => Self::ExtendedKeyUsage,
            Error::InvalidSignatureForPublicKey => Self::IssuerOfSameName,
            Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Self::CertificateAlgorithm,
            Error::BadDer | Error::BadDerTime | Error::TrailingData(_) => Self::UnreadableCertificate,
            other => Self::Chain(other),
        }
    }
}
