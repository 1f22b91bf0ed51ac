//! The control channel: packets, their wrapping, their reliable delivery, the messages they carry.

pub(crate) mod channel;
pub(crate) mod link;
pub(crate) mod message;
pub(crate) mod packet;
pub(crate) mod reliable;
pub(crate) mod wrap;
