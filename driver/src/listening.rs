//! Ports of our own addresses inside the tunnel.

use std::{io, net::SocketAddr};

use crate::connection::Connection;

/// Takes TCP connections to one port of our own addresses inside the tunnel.
#[derive(Debug)]
pub struct Listener {
    pub(crate) port: u16,
}

/// Takes datagrams to one UDP port of our own addresses inside the tunnel, and answers them.
#[derive(Debug)]
pub struct UdpListener {
    pub(crate) port: u16,
}

impl Listener {
    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next connection, and where it comes from.
    ///
    /// # Errors
    /// `NotConnected` when there will be none: the tunnel has ended for good.
    pub async fn accept(&mut self) -> io::Result<(Connection, SocketAddr)> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl UdpListener {
    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next datagram: its length, and where it comes from. What does not fit is lost.
    ///
    /// # Errors
    /// `NotConnected` when there will be none: the tunnel has ended for good.
    pub async fn recv_from(&self, _buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Answers through the tunnel the last datagram from there came through.
    ///
    /// # Errors
    /// As [`crate::UdpSocket::send_to`].
    pub fn send_to(&self, _payload: &[u8], _remote: SocketAddr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
