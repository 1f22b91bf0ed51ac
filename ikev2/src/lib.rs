//! IKEv2 as state machines without I/O, with ESP in user space: the client, and the gateway it talks to.
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
//! # The answering end
//!
//! A [`Responder`] stands in front and decides before anything is remembered of a stranger: cookies when many are half open,
//! limits for all and for each address. What it lets through becomes a [`ServerSession`], one for each client, which asks its
//! owner whether the client is welcome, and which addresses it gets.
//!
//! ```
//! use std::{sync::Arc, time::{Instant, SystemTime, UNIX_EPOCH}};
//! use adit_tunnel::{Accept, Answering, Epoch, IpNet, Listener, NetworkConfig, Path, Random, Routing, Secret, Transport, Tunnel, Verdict};
//! use ikev2::{AcceptedPeers, Identity, Responder, ResponderConfig, SharedKey};
//! # use ikev2::{Carry, Config, Credentials, PeerVerifier, Remote, Session};
//! # struct Urandom;
//! # impl Random for Urandom {
//! #     fn fill(&mut self, bytes: &mut [u8]) {
//! #         use std::io::Read;
//! #         std::fs::File::open("/dev/urandom").unwrap().read_exact(bytes).unwrap();
//! #     }
//! # }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = Secret::from("a long pre-shared key");
//! let accepted = AcceptedPeers { shared_keys: vec![SharedKey { key: key.clone(), identity: None }], ..AcceptedPeers::default() };
//! let config = ResponderConfig::builder(accepted).identity(Identity::of_host("vpn.example")).build()?;
//!
//! let now = Instant::now();
//! let epoch = Epoch::new(now, SystemTime::now().duration_since(UNIX_EPOCH)?);
//! let mut responder = Responder::new(Arc::new(config), Box::new(|| Box::new(Urandom)), epoch, now);
//!
//! # let config = Config::builder(vec![Remote::new("vpn.example", 4500)])
//! #     .peer(PeerVerifier::Psk { key: key.clone(), identity: None }).credentials(Credentials::Psk(key)).build()?;
//! # let there = Path { transport: Transport::Udp, local: None, remote: "192.0.2.1:4500".parse()? };
//! # let mut client = Session::new(Arc::new(config), 0, Carry::default(), there, Box::new(Urandom), epoch, now)?;
//! # let mut arrived = client.poll_transmit().unwrap().datagram.to_vec();
//! // A datagram has arrived at our port 4500 from there.
//! let path = Path { transport: Transport::Udp, local: Some("192.0.2.1:4500".parse()?), remote: "198.51.100.7:40000".parse()? };
//! assert_eq!(responder.route(&path, &arrived), Routing::New);
//! let Accept::Peer(id, mut session) = responder.accept(now, &path, &mut arrived) else { panic!("a new client") };
//! let answer = session.poll_transmit().expect("IKE_SA_INIT");
//! assert_eq!(responder.route(&path, &arrived), Routing::Peer(id), "the same again is the same client's");
//! # client.handle_datagram(now, &there, &mut answer.datagram.to_vec());
//! # let mut arrived = client.poll_transmit().unwrap().datagram.to_vec();
//! // Later, after the client has proved who it is:
//! session.handle_datagram(now, &path, &mut arrived);
//! let applicant = session.poll_applicant().expect("it asks to be let in");
//! let addresses = vec![IpNet::new([10, 99, 0, 2], 32).expect("a prefix of an address")];
//! session.handle_verdict(now, Verdict::Admitted(Box::new(NetworkConfig { addresses, ..NetworkConfig::default() })));
//! # assert!(applicant.identity.is_some() && session.poll_transmit().is_some());
//! # Ok(())
//! # }
//! ```
//!
//! # Supported
//!
//! Both ends, except where one is named:
//!
//! * IKE_SA_INIT with COOKIE and INVALID_KE_PAYLOAD; forced UDP encapsulation, from an ephemeral port to 500 and 4500, or to
//!   another port from the start; fragmentation (RFC 7383);
//! * proof by pre-shared key, by certificate (RSA, ECDSA, Ed25519; RFC 7427), by EAP: MSCHAPv2, TLS, TTLS, GTC, MD5; the gateway
//!   proves itself first;
//! * addresses, name servers, networks and domains from the gateway, which its owner chooses; narrowed traffic selectors;
//! * rekeying of the child and of the IKE SA by either side and both at once, without losing a packet; reauthentication
//!   (RFC 4478) beside the association that stands; liveness, NAT keepalives, MOBIKE (RFC 4555);
//! * ESP with AES-GCM, AES-CCM, ChaCha20-Poly1305, AES-CBC and AES-CTR with HMAC; extended sequence numbers.
//!
//! # Not supported
//!
//! * transport mode, AH, IPComp, several children, resumption, redirects, post-quantum keys, TCP;
//! * EAP without proof of the gateway (RFC 5998): not announced;
//! * at a gateway, return routability (RFC 4555 §3.7): a client is followed to where it says it is, before it has answered there.
//!
//! Key exchanges are computed where a message is handled. That is 0.1 ms for X25519 and some 10 ms for MODP-8192: the data
//! plane of the same task waits for so long at a rekeying.
//!
//! # Features
//!
//! There are none to choose. Rust 1.91 or newer (`rust-version`).
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
mod key_log;
mod message;
mod negotiate;
mod network;
mod probe;
mod responder;
mod sa;
mod selectors;
mod session;

#[cfg(test)]
mod tests;

#[doc(hidden)]
pub mod fuzzing;

pub use adit_pki::{CertificateFacts, ClientIdentity, TrustError};
pub use auth::PeerNotAuthenticated;
pub use config::{
    CertificateVerifier, Complete, Config, ConfigBuilder, ConfigError, Credentials, EapCredentials, EapMethod,
    EapTlsServer, ExpectedIdentity, MsChapV2Secret, PeerVerifier, Remote, Retransmission, Settings, SignatureChoice,
    TlsVersion, TtlsInner, WantsCredentials, WantsPeer,
};
pub use eap::{
    EapClientError, EapError, EapServerConfig, EapServerMethod, EapServerRefused, EapTlsIdentity, EapType, EapUnusable,
    EapUser, TtlsInnerMethod,
};
pub use error::{PeerMisbehaved, Refusal, SessionError};
pub use esp::{EspOpener, EspSealer};
pub use identity::{Identity, IdentityError};
pub use negotiate::{EspProposals, IkeProposals, ProposalError};
pub use probe::{Detour, Probe, ProbeChild, ProbeReport};
pub use responder::{
    AcceptedPeers, ClientAnchors, Limits, Responder, ResponderBuilder, ResponderConfig, ServerError, ServerSession,
    SharedKey,
};
pub use session::{Carry, Session};
