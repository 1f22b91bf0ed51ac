//! Exchanges of an established IKE SA.
