//! skeleton
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unreachable)]

mod algorithms;
mod config;
mod control;
mod data;
mod key_exchange;
mod keys;
mod options;
mod profile;
mod session;

pub mod crypto;

pub use algorithms::{Cipher, Digest};
pub use config::{
    ClientIdentity, Complete, Config, ConfigBuilder, ConfigError, ControlWrap, Credentials, Dangerous, Family, Framing,
    KeyDirection, Mssfix, NameCheck, PullAction, PullFilter, Remote, ServerCheck, Settings, StaticChallenge,
    TlsSettings, TlsVersion, WantsIdentity, WantsServerCheck,
};
pub use keys::{KeyError, StaticKey, StaticKeyError};
pub use profile::{
    CredentialsWanted, DirectiveOutcome, IntoConfigError, Load, Outcome, Profile, ProfileError, Refusal, Secrets,
    directives,
};
