//! TCP and UDP endpoints over inner IP packets.
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unreachable)]

mod budget;
mod clock;
mod config;
mod connection;
mod counters;
mod datagrams;
mod demux;
mod device;
mod error;
mod icmp;
mod ingress;
mod outbox;
mod packet;
mod random;
mod reassembly;
mod segment;
mod slots;
mod stack;
mod udp;

pub use config::StackConfig;
pub use connection::ConnectionId;
pub use counters::Counters;
pub use device::PacketSink;
pub use error::{CloseReason, ConnectError, ConnectionError, UdpError, Unreachable};
pub use stack::{Stack, StackEvent};
pub use udp::UdpId;
