//! What VPN tunnel protocols without I/O share, and what drivers of them are generic over.
//!
//! ```text
//!                 control plane (rare, careful)                    data plane (per packet, in place)
//!
//!  datagrams ──▶ Tunnel::handle_datagram ──┐                 datagram ──▶ Opener::open ──▶ packet
//!  time      ──▶ Tunnel::handle_timeout  ──┤                   packet ──▶ Sealer::seal ──▶ datagram
//!  answers   ──▶ Tunnel::handle_answer   ──┤                               ▲
//!                                          ▼                               │ KeyChange
//!                 poll_event ──▶ Up, Keys, Inject, Prompt, Path, Closed ───┘
//!                 poll_transmit ──▶ datagrams to send
//!                 poll_timeout ──▶ when to call again
//! ```
//!
//! The canonical loop, without its input and output:
//!
//! ```
//! use std::time::Instant;
//! use adit_tunnel::{Event, KeyChange, Tunnel};
//!
//! /// What a driver does after each input.
//! fn drain<T: Tunnel>(tunnel: &mut T, mut send: impl FnMut(&[u8])) -> Option<Instant> {
//!     while let Some(event) = tunnel.poll_event() {
//!         match event {
//!             Event::Keys(KeyChange::AddOpener { .. }) => { /* keep it under its tag */ }
//!             Event::Closed(closed) => println!("the tunnel ended: {closed}"),
//!             _ => {}
//!         }
//!     }
//!     while let Some(transmit) = tunnel.poll_transmit() {
//!         send(&transmit.datagram);
//!     }
//!     tunnel.poll_timeout()
//! }
//! ```
//!
//! # Features
//!
//! There are none to choose. Rust 1.91 or newer (`rust-version`).
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unreachable)]

mod backoff;
mod closed;
mod data;
mod details;
mod epoch;
mod key_log;
mod listener;
mod network;
mod random;
mod replay;
mod secret;
mod timers;
mod tunnel;

pub mod stream;
pub mod wire;

pub use backoff::Backoff;
pub use closed::{CloseKind, Closed, Retry};
pub use data::{Content, FlowId, KeyTag, OpenError, Opened, Opener, SealError, Sealer, Usage};
pub use details::{Rekeys, TunnelDetails};
pub use epoch::Epoch;
pub use key_log::{KeyLog, KeySink};
pub use listener::{Accept, Answering, Applicant, Listener, Login, PeerId, Routing, Verdict};
pub use network::{Dns, IpNet, NetworkConfig, Route, RouteVia};
pub use random::{Random, Randoms};
pub use replay::ReplayWindow;
pub use secret::Secret;
pub use timers::Timers;
pub use tunnel::{Answer, Class, Event, Family, KeyChange, Path, Prompt, Transmit, Transport, Tunnel};
