//! Keys and certificates as customers hold them.

mod static_key;

pub use static_key::StaticKey;
