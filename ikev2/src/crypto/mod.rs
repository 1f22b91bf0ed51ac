//! The primitives, one trait per kind.
