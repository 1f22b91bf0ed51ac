//! An IKEv2 client as a state machine without I/O, with ESP in user space.
#![forbid(unsafe_code)]
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::redundant_pub_crate,
    reason = "parts come before what uses them"
)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unreachable)]

mod auth;
mod child;
mod config;
mod crypto;
mod eap;
mod error;
mod esp;
mod established;
mod exchange;
mod identity;
mod message;
mod negotiate;
mod network;
mod sa;
mod selectors;
mod session;

#[cfg(test)]
mod tests;

#[doc(hidden)]
pub mod fuzzing;

pub use adit_pki::{ClientIdentity, TrustError};
pub use auth::PeerNotAuthenticated;
pub use config::{
    CertificateVerifier, Complete, Config, ConfigBuilder, ConfigError, Credentials, EapCredentials, EapMethod,
    EapTlsServer, ExpectedIdentity, MsChapV2Secret, PeerVerifier, Remote, Retransmission, Settings, SignatureChoice,
    TlsVersion, TtlsInner, WantsCredentials, WantsPeer,
};
pub use eap::{EapError, EapServerRefused, EapType, EapUnusable};
pub use error::{PeerMisbehaved, Refusal, SessionError};
pub use esp::{EspOpener, EspSealer};
pub use identity::{Identity, IdentityError};
pub use negotiate::{EspProposals, IkeProposals, ProposalError};
pub use session::{Carry, Session};
