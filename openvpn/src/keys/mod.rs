//! Keys and certificates as customers hold them.

mod static_key;

pub(crate) use static_key::Half;
pub use static_key::{StaticKey, StaticKeyError};
