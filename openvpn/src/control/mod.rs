//! The control channel: packets, their wrapping, their reliable delivery, the messages they carry.
#![allow(dead_code, reason = "the session is being written against this")]

pub(crate) mod message;
pub(crate) mod packet;
pub(crate) mod reliable;
pub(crate) mod wrap;
