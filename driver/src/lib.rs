//! Working VPN tunnels on tokio: connect to a gateway, then dial hosts behind it, without root, TUN device or routes unless asked for.
//!
//! ```text
//!  Connection, UdpSocket                            one task per tunnel
//!  (AsyncRead, AsyncWrite)          ┌──────────────────────────────────────────────┐
//!        │  copies in and out       │  sockets ──▶ classify ─┬─ control ──▶ Tunnel │
//!        ▼  under a short lock      │                        └─ data ──▶ Opener ─┐ │
//!  ┌───────────────┐  packets, in place  ◀───────────────────────────────────────┘ │
//!  │ Stack (TCP/IP)│ ───────────────┼──▶ Sealer ──▶ batch ──▶ segmented send       │
//!  └───────────────┘                └──────────────────────────────────────────────┘
//! ```
//!
//! A packet is never handed from one task to another, copied into a channel or allocated for: the handles copy bytes into
//! the buffers of the stack and wake the task, which seals straight into the buffer of the next system call.
//!
//! The loop is written once, generic over [`adit_tunnel::Tunnel`]; what makes tunnels of one protocol is a [`Protocol`].
//! [`ikev2`] and [`openvpn`] have one each, and [`Any`] is
//! either.
//!
//! ```no_run
//! # async fn example(config: ::ikev2::Config) -> Result<(), Box<dyn std::error::Error>> {
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! let client = adit_driver::connect(config).await?;
//! let mut connection = client.dial("192.168.100.30:8080".parse::<std::net::SocketAddr>()?).await?;
//! connection.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
//! let mut answer = String::new();
//! connection.read_to_string(&mut answer).await?;
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! Supported: UDP with segmentation offload where the system has it, and TCP; names resolved anew at every attempt, IPv6 and
//! IPv4 tried with a stagger; a gateway that goes on at another port, and a change of our own address; reconnects over all
//! gateways with jittered waits; names behind the tunnel, asked of the DNS servers the gateway named; ports of our own addresses inside
//! ([`Client::listen`], [`Client::bind_udp_port`]) and echo requests ([`Client::ping`]). Several gateways of one connection, one taking over
//! when another is lost, are in [`redundancy`]; forwards dial through a [`Way`], which is either. How soon silence counts as death is a
//! [`Liveness`]. A TUN device beside all that (Linux) is
//! attached by `Client::attach`, and `system` sees to what it needs of the machine. The answering end is in [`gateway`].
//!
//! # Features
//!
//! There are none to choose. Rust 1.91 or newer (`rust-version`).
#![forbid(unsafe_code)]

mod active;
mod any;
mod batch;
mod capture;
mod carry;
mod client;
mod connection;
mod error;
mod handshakes;
mod inside;
mod listening;
mod liveness;
mod options;
mod outer;
mod ping;
mod plane;
mod probe;
mod prompts;
mod protocol;
mod race;
mod random;
mod reach;
mod resolve;
mod retry;
mod roaming;
mod shared;
mod sink;
mod staggered;
mod supervisor;
mod timer;
mod tun;
mod tunnel_dns;
mod udp_socket;
mod way;

pub mod gateway;
pub mod ikev2;
pub mod openvpn;
pub mod redundancy;
#[cfg(target_os = "linux")]
pub mod system;

// The toy protocol of the tests names this crate as others do, for those use it, too.
#[cfg(test)]
extern crate self as adit_driver;

#[cfg(test)]
mod tests;

pub use adit_netstack::MemoryPool;
pub use adit_tunnel::Family;
pub use adit_tunnel::{Rekeys, TunnelDetails};
pub use any::{Any, AnyOpener, AnySealer, AnyTunnel, connect};
pub use capture::Capture;
pub use carry::carry;
pub use client::{Builder, Client, ClientEvent, Events, Target};
pub use connection::Connection;
pub use error::{Failure, FailureKind, Stage};
pub use listening::{Listener, UdpListener};
pub use liveness::Liveness;
pub use options::{NoPrompts, Options, PromptFuture, Prompter};
pub use probe::{AddressProbe, ProbeOptions, ProbeReport, RemoteProbe, probe};
pub use protocol::{Protocol, Remote, RetryPolicy, SocketOptions};
pub use random::OsRandom;
pub use resolve::Names;
pub use shared::{OuterSocket, Stats};
pub use supervisor::STATE_CHANGES;
#[cfg(target_os = "linux")]
pub use tun::Device;
pub use udp_socket::UdpSocket;
pub use way::Way;
