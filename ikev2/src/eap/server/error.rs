//! Why a client does not get through EAP, one name per offence.

use crate::eap::{EapError, EapType};

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
    /// A packet of MS-CHAPv2 that answers another challenge.
    #[error("the client's MS-CHAPv2 response has another identifier than the challenge")]
    OtherIdentifier,
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
