//! The IKE SA.

pub(crate) mod keys;
