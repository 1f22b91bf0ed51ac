//! Why a client does not get through EAP, one name per offence.

use crate::{
    auth::PeerNotAuthenticated,
    eap::{EapError, EapType},
};

/// The client has not proved who it is. It learns nothing of this but EAP-Failure, and what its method has a word for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EapClientError {
    /// No such user.
    #[error("there is no EAP user `{0}`")]
    UnknownUser(String),
    /// The user is there, the proof is not.
    #[error("the password for the EAP user `{0}` is wrong")]
    WrongPassword(String),
    /// A method that needs the password, and a user of whom only a hash is known.
    #[error("of the EAP user `{0}` only the NT hash is known, which does not serve this method")]
    OnlyHash(String),
    /// All methods that the client would use are not configured.
    #[error("the client refused {0} and wants no other EAP method that is configured")]
    NoCommonMethod(EapType),

    /// A way to prove itself inside of EAP-TTLS.
    #[error("the client wants {0} inside EAP-TTLS, which is not configured")]
    NotOffered(&'static str),
    /// The client's certificate in EAP-TLS.
    #[error("{0}")]
    Certificate(#[from] PeerNotAuthenticated),
    /// A certificate without a name in it.
    #[error("the client's certificate names nobody")]
    Nameless,
    /// A TLS alert about our certificate.
    #[error("the client refused our certificate (TLS alert {0})")]
    OurCertificate(String),
    /// No common version, suite or group.
    #[error("no TLS version, suite or group in common with the client: {0}")]
    NoTlsAgreement(String),

    /// Nothing a peer may send, or not so.
    #[error("{0}")]
    Packet(#[from] EapError),
    /// Another method, or none.
    #[error("the client answered {running} with {answered}")]
    OutOfTurn {
        /// What was asked.
        running: EapType,
        /// What came.
        answered: EapType,
    },
    /// A response of MS-CHAPv2 with another identifier, or inside EAP-TTLS another challenge.
    #[error("the client's MS-CHAPv2 response answers another challenge")]
    OtherChallenge,
    /// More than an acknowledgement.
    #[error("the client sent data after the EAP-TLS handshake")]
    DataAfterHandshake,
    /// An identity that no user could have.
    #[error("the client's EAP identity is longer than 253 bytes")]
    IdentityTooLong,
    /// A packet that should have been fragmented.
    #[error("an EAP packet of the client is longer than 4 kB")]
    PacketTooLong,
    /// More than a hundred responses.
    #[error("the client does not come to an end in EAP")]
    TooManyRounds,
    /// A packet before the beginning or after the end.
    #[error("an EAP packet came while EAP was not running")]
    AfterTheEnd,
}
