//! The answering end: many peers on one socket, an address for each, and a way out for what they send.
//!
//! ```text
//!            one task for all peers                                                       the way out
//!  ┌──────────────────────────────────────────────────────────────────┐
//!  │ sockets ─▶ Listener::route ─┬─ the peer's tunnel ─ control       │     ┌─ Stack ⇄ host sockets   (no root)
//!  │   ▲                         └─ the peer's opener ─ packet ───────┼──▶──┤
//!  │   └── batch ◀── the peer's sealer ◀───────────────── packet ─────┼──◀──┴─ one TUN device ⇄ kernel routing
//!  └──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! It is made for labs, tests and small sites: one task serves all peers, so one core does all cryptography. What a peer may
//! reach is for the [`Exit`], or for the kernel's rules, to say.
//!
//! * A packet whose source is not the peer's own address is dropped and counted.
//! * An identity gets the same address again while it is free. Two tunnels of one identity hold the same address while one
//!   replaces the other: the newest gets the packets.
//! * An [`Authenticator`] may take its time.

mod authenticator;
mod env;
mod exit;
mod handle;
mod host_sockets;
mod leases;
mod options;
mod outer;
mod owners;
mod peer;
mod pool;
mod ready;
mod relay;
mod task;

use std::{future::Future, pin::Pin};

pub use authenticator::{AdmitProved, Authenticator, Judgement, Passwords};
pub use exit::{Datagrams, Exit, Stream};
pub use handle::{Event, Events, Gateway, Peer, Stats};
pub use host_sockets::HostSockets;
pub use options::{Limits, Listen, Options, TunOptions, WayOut};
pub use pool::{BadPool, Pool};

/// What a trait's method promises for later.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
