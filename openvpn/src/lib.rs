//! Both ends of OpenVPN as state machines without I/O, with their own data channel.
//!
//! ```text
//!  Profile (.ovpn text) ──▶ Config ──▶ Session ◀──▶ datagrams of the control channel
//!                                        │
//!                                        │ Event::Keys(AddOpener, SetSealer, …)
//!                                        ▼
//!                              DataSealer / DataOpener ◀──▶ datagrams of the data channel
//! ```
//!
//! ```text
//!  ServerConfig ──▶ Server ◀──▶ datagrams of strangers
//!                     │ Accept::Peer
//!                     ▼
//!                  ServerSession ◀──▶ datagrams of one client's control channel; then as above
//! ```
//!
//! A [`Session`] is one attempt at one server, a [`ServerSession`] one client of ours. It reads no clock, opens no socket and spawns nothing: time and randomness
//! are arguments (TLS alone draws its randomness from `ring`). Sealer and opener are values of their own: in place,
//! without lock, clock or allocation for a packet. The contract of all three is [`adit_tunnel::Tunnel`]'s.
//!
//! ```
//! use std::{sync::Arc, time::{Duration, Instant, SystemTime, UNIX_EPOCH}};
//! use adit_tunnel::{Epoch, Event, Path, Random, Transport, Tunnel};
//! use openvpn::{Carry, Config, Credentials, Remote, ServerCheck, Session};
//!
//! struct Urandom;
//!
//! impl Random for Urandom {
//!     fn fill(&mut self, bytes: &mut [u8]) {
//!         use std::io::Read;
//!         std::fs::File::open("/dev/urandom").unwrap().read_exact(bytes).unwrap();
//!     }
//! }
//!
//! # fn main() -> Result<(), openvpn::ConfigError> {
//! let check = ServerCheck { fingerprints: vec![[0xab; 32]], ..ServerCheck::default() };
//! let credentials = Credentials { username: "myuser".to_owned(), password: "mypassword".into() };
//! let config = Config::builder(vec![Remote::new("vpn.example", 1194, Transport::Udp)])
//!     .server_check(check)
//!     .identity(None, Some(credentials))
//!     .settings(|settings| settings.hand_window = Duration::from_secs(30))
//!     .build()?;
//!
//! let now = Instant::now();
//! let epoch = Epoch::new(now, SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
//! let path = Path { transport: Transport::Udp, local: None, remote: "192.0.2.1:1194".parse().unwrap() };
//! let mut session = Session::new(Arc::new(config), 0, Carry::default(), path, Box::new(Urandom), epoch, now)?;
//!
//! // The loop: after each input drain events, then datagrams, then read the deadline.
//! assert!(session.poll_event().is_none());
//! let first = session.poll_transmit().expect("the first reset");
//! assert_eq!(first.datagram[0] >> 3, 7, "HARD_RESET_CLIENT_V2");
//! let deadline = session.poll_timeout().expect("it will be sent again");
//! session.handle_timeout(deadline);
//! assert!(session.poll_transmit().is_some());
//! # Ok(())
//! # }
//! ```
//!
//! # Supported
//!
//! * UDP and TCP; control packets plain, `tls-auth`, `tls-crypt`, `tls-crypt-v2`, dynamic tls-crypt;
//! * TLS 1.2 and 1.3 by rustls; keys from the TLS exporter or from the TLS 1.0 PRF; renegotiation by either side;
//! * AES-128/192/256-GCM, ChaCha20-Poly1305, AES-CBC with HMAC; DATA_V1 and DATA_V2; compression framing, LZ4 received;
//! * passwords, tokens, static and dynamic challenges, pending authentication; client certificates;
//! * the answering end, with stateless cookies, bounded memory, and the owner's verdict about each client.
//!
//! # Not supported
//!
//! * static-key mode, `cipher none`, ciphers with 64-bit blocks, LZO, `fragment`, `dev tap`: refused with the reason;
//! * the epoch format of OpenVPN 2.7, PUSH_UPDATE: not announced, so servers do not use them; as a server, not used;
//! * as a server: compression framing, auth-tokens, challenges.
//!
//! # Features
//!
//! | feature | by default | what it adds |
//! | --- | --- | --- |
//! | `pkcs12` | yes | client keys from PKCS#12 files: `pkcs12 FILE`, `<pkcs12>` |
//!
//! Rust 1.91 or newer (`rust-version`).
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unreachable)]

mod algorithms;
mod config;
mod control;
mod data;
mod data_keys;
mod error;
mod exchanged;
mod keepalive;
mod key_exchange;
mod keys;
mod options;
mod probe;
mod profile;
mod server;
mod session;
mod tls;

#[cfg(test)]
mod tests;

pub mod crypto;
#[doc(hidden)]
pub mod fuzzing;
#[doc(hidden)]
pub mod internals;

pub use adit_pki::CertificateFacts;
pub use algorithms::{Cipher, Digest};
pub use config::{
    ClientIdentity, Complete, Config, ConfigBuilder, ConfigError, ControlWrap, Credentials, Dangerous, Family, Framing,
    KeyDirection, Mssfix, NameCheck, PullAction, PullFilter, Remote, ServerCheck, Settings, StaticChallenge,
    TlsSettings, TlsVersion, WantsIdentity, WantsServerCheck,
};
pub use data::{DataOpener, DataSealer};
pub use error::{PeerMisbehaved, SessionError};
pub use keys::{ClientKeyMetadata, KeyError, StaticKey, StaticKeyError, TlsCryptV2ServerKey, WrappedKeyError};
#[doc(hidden)]
pub use probe::{Probe, ProbeReport};
pub use profile::directives;
pub use profile::{
    CredentialsWanted, DirectiveOutcome, IntoConfigError, Load, Outcome, Profile, ProfileError, Refusal, Secrets,
};
pub use server::{
    ClientAnchors, ClientCertificates, ClientCheck, ExitNotice, Server, ServerConfig, ServerConfigBuilder,
    ServerConfigError, ServerLimits, ServerSession, ServerSessionError, ServerSettings, ServerWrap,
};
pub use session::{Carry, Session, iv_proto};
pub use tls::{ClientCertificateError, ServerCertificateError, TlsFailure};
