//! Tests of whole messages; those of one payload stand beside it.

pub(super) mod any;
pub(super) mod each;
mod recorded;
mod sealed;
mod toy;
mod unprotected;
