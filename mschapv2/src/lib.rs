//! MS-CHAPv2 (RFC 2759) and the keys made of it (RFC 3079), for both ends.
//!
//! ```text
//!   peer                                            authenticator
//!                                                   Challenging::new
//!   Challenged  <-------- Challenge(16 bytes) -------
//!      respond
//!   Responded   --------- Response(NT response) ---->  verify
//!                                                   Accepted
//!               <-------- Success(S=...) ------------
//!      handle_success
//!   Proven      --------- acknowledgement ---------->  acknowledged
//!                                                   Proven
//! ```
//!
//! Each end proves to the other that it knows the NT hash of the password, and both have 64 bytes of keying material
//! afterwards. The proof is as weak as DES and MD4: whoever sees challenge and response recovers the NT hash with the
//! work of one DES key, whatever the password. So the exchange belongs inside a channel whose far end has proved itself, such
//! as IKEv2 or a TLS tunnel. Changing a password is not supported.
//!
//! [`packet`] has the packets as they are on the wire, which PPP and EAP (`draft-kamath-pppext-eap-mschapv2`) share.
//! Nothing here does I/O, keeps time or draws random numbers.
//!
//! ```
//! use mschapv2::{Challenged, Challenging, NtHash};
//!
//! let hash = NtHash::of_password("clientPass");
//! // Challenges must be random.
//! let authenticator = Challenging::new(7, [0x5b; 16], b"gateway");
//! let (peer, response) = Challenged::new(authenticator.challenge()).respond(b"DOMAIN\\User", &hash, [0x21; 16]);
//! let authenticator = authenticator.verify(&response, &hash)?;
//! let peer = peer.handle_success(authenticator.success())?;
//! assert_eq!(peer.msk(), authenticator.acknowledged().msk());
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # Features
//!
//! There are none to choose: never `std`, always `alloc`. Rust 1.91 or newer (`rust-version`).
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unreachable)]

extern crate alloc;

mod authenticator;
pub mod crypto;
pub mod packet;
mod peer;

pub use authenticator::{Accepted, Challenging, PeerNotAuthenticated};
pub use crypto::{Msk, NtHash};
pub use peer::{AuthenticatorNotAuthenticated, Challenged, Proven, Responded};

#[cfg(test)]
mod tests;
