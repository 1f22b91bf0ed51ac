//! TCP and UDP endpoints over inner IP packets.
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unreachable)]

mod config;
mod counters;
mod error;
mod stack;

pub use config::StackConfig;
pub use counters::Counters;
pub use error::{CloseReason, ConnectError, ConnectionError, UdpError, Unreachable};
pub use stack::{ConnectionId, PacketSink, Stack, StackEvent, UdpId};
