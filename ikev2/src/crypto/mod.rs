//! The primitives, one trait per kind.
pub(crate) mod sk;
