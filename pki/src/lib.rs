//! Keys, certificates and revocation lists as customers hold them.
//!
//! ```text
//!  files   ── certificates, private_key, pkcs12, revocation_lists ──▶  ClientIdentity, trust anchors, lists
//!  anchors, lists  ──▶  ChainVerifier::verify(leaf, others, now)       any protocol
//!  ClientIdentity, a Judge  ──▶  OnlyKey, Judged, ToldClock              rustls
//! ```
//!
//! Everything is bytes: nothing here opens a file or reads a clock. Parsers of what customers hold are lenient where old
//! tools were (text around PEM, PBES1, `DEK-Info`, PKCS#12 with RC2-40), verifiers never are.
//!
//! # Features
//!
//! | feature | by default | what it adds |
//! | --- | --- | --- |
//! | `pkcs12` | yes | client keys from PKCS#12 files |
//!
//! Rust 1.91 or newer (`rust-version`).
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unreachable)]

mod algorithms;
mod cbc;
mod chain;
mod client;
mod clock;
pub mod der;
mod error;
mod facts;
mod files;
mod identity;
mod key_log;
mod legacy;
pub mod pem;
mod pkcs12;
mod pkcs8;
mod revocation;
mod seen;
#[cfg(test)]
mod tests;
mod tls;

pub use algorithms::{ALGORITHMS, Curve, verify_ecdsa};
pub use chain::{ChainVerifier, TrustError, Unlisted};
pub use client::OnlyKey;
pub use clock::ToldClock;
pub use error::KeyError;
pub use facts::CertificateFacts;
pub use files::{certificates, pkcs12, private_key, revocation_lists};
pub use identity::{ClientIdentity, IdentityError};
pub use key_log::TlsKeyLog;
pub use pkcs12::Pkcs12;
pub use seen::SeenChain;
pub use tls::{Judge, Judged, JudgedClients, TlsTrouble};
