//! An IKEv2 client as a state machine without I/O, with ESP in user space.
//!
//! ```text
//!  Config ──▶ Session ◀──▶ datagrams of IKE        IKE_SA_INIT ─▶ IKE_AUTH (─▶ EAP …) ─▶ up ⇄ rekeying, liveness, MOBIKE
//!                │
//!                │ Event::Keys(AddOpener, SetSealer, …)
//!                ▼
//!      EspSealer / EspOpener ◀──▶ datagrams of ESP (RFC 3948)
//! ```
//!
//! A [`Session`] is one attempt at one gateway, and whatever follows until it is lost. It reads no clock, opens no socket and
//! spawns nothing: time and randomness are arguments (only `ring`'s key exchanges and signatures, and TLS inside of EAP, draw
//! their randomness from `ring`). Sealer and opener are values of their own: in place, without lock, clock or allocation for
//! a packet. The contract of all three is [`adit_tunnel::Tunnel`]'s.
//!
//! ```
//! use std::{sync::Arc, time::{Instant, SystemTime, UNIX_EPOCH}};
//! use adit_tunnel::{Class, Epoch, Path, Random, Secret, Transport, Tunnel};
//! use ikev2::{Carry, Config, Credentials, PeerVerifier, Remote, Session};
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
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = Secret::from("a long pre-shared key");
//! let config = Config::builder(vec![Remote::new("vpn.example", 500)])
//!     .peer(PeerVerifier::Psk { key: key.clone(), identity: None })
//!     .credentials(Credentials::Psk(key))
//!     .settings(|settings| settings.esp_proposals = "aes256gcm16,aes128-sha256".parse().unwrap())
//!     .build()?;
//!
//! let now = Instant::now();
//! let epoch = Epoch::new(now, SystemTime::now().duration_since(UNIX_EPOCH)?);
//! let path = Path { transport: Transport::Udp, local: None, remote: "192.0.2.1:500".parse()? };
//! let mut session = Session::new(Arc::new(config), 0, Carry::default(), path, Box::new(Urandom), epoch, now)?;
//!
//! // The loop: after each input drain events, then datagrams, then read the deadline.
//! assert!(session.poll_event().is_none());
//! let first = session.poll_transmit().expect("IKE_SA_INIT");
//! assert_eq!(first.datagram[18], 34, "the exchange type of IKE_SA_INIT");
//! assert_eq!(session.classify(&path, &first.datagram), Class::Control);
//! let deadline = session.poll_timeout().expect("it will be sent again");
//! session.handle_timeout(deadline);
//! assert_eq!(session.poll_transmit().expect("the same bytes").datagram, first.datagram);
//! # Ok(())
//! # }
//! ```
//!
//! # Supported
//!
//! * IKE_SA_INIT with COOKIE and INVALID_KE_PAYLOAD; forced UDP encapsulation, from an ephemeral port to 500 and 4500, or to
//!   another port from the start; fragmentation (RFC 7383);
//! * proof by pre-shared key, by certificate (RSA, ECDSA, Ed25519; RFC 7427), by EAP: MSCHAPv2, TLS, TTLS, GTC, MD5; the gateway
//!   proves itself first;
//! * addresses, name servers, networks and domains from the gateway; narrowed traffic selectors;
//! * rekeying of the child and of the IKE SA by either side and both at once, without losing a packet; reauthentication
//!   (RFC 4478) beside the association that stands; liveness, NAT keepalives, MOBIKE (RFC 4555);
//! * ESP with AES-GCM, AES-CCM, ChaCha20-Poly1305, AES-CBC and AES-CTR with HMAC; extended sequence numbers.
//!
//! # Not supported
//!
//! * the answering side, transport mode, AH, IPComp, several children, resumption, redirects, post-quantum keys, TCP;
//! * EAP without proof of the gateway (RFC 5998): not announced.
//!
//! Key exchanges are computed where a message is handled. That is 0.1 ms for X25519 and some 10 ms for MODP-8192: the data
//! plane of the same task waits for so long at a rekeying.
#![forbid(unsafe_code)]
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
mod responder;
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
pub use eap::{
    EapClientError, EapError, EapServerConfig, EapServerMethod, EapServerRefused, EapType, EapUnusable, EapUser,
};
pub use error::{PeerMisbehaved, Refusal, SessionError};
pub use esp::{EspOpener, EspSealer};
pub use identity::{Identity, IdentityError};
pub use negotiate::{EspProposals, IkeProposals, ProposalError};
pub use responder::{
    AcceptedPeers, ClientAnchors, Limits, Responder, ResponderBuilder, ResponderConfig, ServerError, ServerSession,
    SharedKey,
};
pub use session::{Carry, Session};
