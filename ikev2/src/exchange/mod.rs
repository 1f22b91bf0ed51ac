//! Exchanges of an established IKE SA, both those we start and those the peer starts. One file each; all are parts of
//! [`crate::established::Established`].

pub(crate) mod collision;
pub(crate) mod create_child;
pub(crate) mod delete;
pub(crate) mod informational;
pub(crate) mod rekey_ike;

use self::{create_child::CreateChild, informational::Informational, rekey_ike::RekeyIke};

/// A request of ours in flight.
pub(crate) enum Exchange {
    /// CREATE_CHILD_SA for a child, new or in place of another.
    CreateChild(Box<CreateChild>),
    /// CREATE_CHILD_SA for the IKE SA itself.
    RekeyIke(Box<RekeyIke>),
    /// INFORMATIONAL with a Delete payload for the child with this SPI of ours.
    DeleteChild(u32),
    /// INFORMATIONAL with a Delete payload for the IKE SA it is sent on.
    DeleteIke,
    /// INFORMATIONAL with anything else, or nothing.
    Informational(Informational),
}

/// What is to be done, in the order of urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wanted {
    /// Delete the child with this SPI of ours.
    DeleteChild(u32),
    /// Tell the peer where we are (RFC 4555 §3.5).
    UpdateAddresses,
    /// Rekey the child with this SPI of ours.
    RekeyChild(u32),
    /// Make a child, if none is in use.
    CreateChild,
    /// Rekey the IKE SA.
    RekeyIke,
    /// See whether the peer is there, and where it sees us.
    Liveness,
}
