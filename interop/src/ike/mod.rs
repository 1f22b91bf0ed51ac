//! The rig's IKEv2 side: strongSwan and FreeRADIUS as peers, and what their cases have in their hands.

pub(crate) mod charon;
pub(crate) mod pki;
pub(crate) mod radius;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod setup;
