//! The stack.

use std::{net::SocketAddr, time::Instant};

use crate::{CloseReason, ConnectError, ConnectionError, Counters, StackConfig, UdpError};

/// Names a connection; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    slot: u32,
    serial: u64,
}

/// Names a UDP socket; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UdpId {
    slot: u32,
    serial: u64,
}

/// Where packets go.
pub trait PacketSink {
    /// Whether one more packet of the tunnel's MTU fits.
    fn has_room(&mut self) -> bool;

    /// Takes a packet of `len` bytes: calls `fill` once with exactly that much space, whose content does not matter.
    fn packet(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8]));
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StackEvent {
    /// The three-way handshake is done.
    Connected(ConnectionId),
    /// There is something to receive, or the remote ended its direction.
    Readable(ConnectionId),
    /// After [`Stack::send`] took less than it was given: there is room again.
    Writable(ConnectionId),
    /// The connection ended. What was received before can still be read. Follow with [`Stack::release`].
    Closed(ConnectionId, CloseReason),
    /// A datagram waits.
    UdpReadable(UdpId),
    /// An ICMP error said that this remote cannot be reached.
    UdpError(UdpId, SocketAddr),
}

/// TCP and UDP endpoints.
#[derive(Debug)]
pub struct Stack {
    config: StackConfig,
    counters: Counters,
}

#[expect(missing_docs, clippy::missing_errors_doc, reason = "the shape only, so that the driver can be written")]
impl Stack {
    #[must_use]
    pub fn new(config: StackConfig, _seed: u64) -> Self {
        Self { config: config.corrected(), counters: Counters::default() }
    }
    pub fn reconfigure(&mut self, _now: Instant, config: StackConfig) {
        self.config = config.corrected();
    }
    pub fn connect(&mut self, _now: Instant, _remote: SocketAddr) -> Result<ConnectionId, ConnectError> {
        Err(ConnectError::NoAddressOfFamily)
    }
    pub fn send(&mut self, _id: ConnectionId, _data: &[u8]) -> Result<usize, ConnectionError> {
        Err(CloseReason::Finished)
    }
    pub fn receive(&mut self, _id: ConnectionId, _buf: &mut [u8]) -> Result<Option<usize>, ConnectionError> {
        Err(CloseReason::Finished)
    }
    pub fn shutdown(&mut self, _id: ConnectionId) {}
    pub fn abort(&mut self, _id: ConnectionId) {}
    pub fn release(&mut self, _id: ConnectionId) {}
    pub fn bind_udp(&mut self) -> Result<UdpId, ConnectError> {
        Err(ConnectError::NoAddressOfFamily)
    }
    pub fn send_udp(
        &mut self,
        _now: Instant,
        _id: UdpId,
        _remote: SocketAddr,
        _payload: &[u8],
    ) -> Result<(), UdpError> {
        Err(UdpError::Closed)
    }
    pub fn receive_udp(&mut self, _id: UdpId, _buf: &mut [u8]) -> Option<(SocketAddr, usize)> {
        None
    }
    pub fn close_udp(&mut self, _id: UdpId) {}
    pub fn handle_packet(&mut self, _now: Instant, _packet: &[u8]) {}
    pub fn handle_timeout(&mut self, _now: Instant) {}
    pub fn poll_packets(&mut self, _now: Instant, _sink: &mut dyn PacketSink) {}
    pub fn poll_event(&mut self) -> Option<StackEvent> {
        None
    }
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}
