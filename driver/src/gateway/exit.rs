//! The way out: connections and datagrams of peers leave through these traits.

use std::{
    io,
    net::SocketAddr,
    task::{Context, Poll},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::BoxFuture;

/// Where the inner connections and datagrams of peers go: the hosts "behind" the gateway.
///
/// The kind of an error is what the peer is told: `ConnectionRefused` resets its connection, any other says that the host
/// cannot be reached.
pub trait Exit: Send + Sync + 'static {
    /// Connects for a peer that wants to reach this address. The peer's own connection is answered afterwards.
    fn connect(&self, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;

    /// Makes a socket for the datagrams between a peer and this address.
    fn bind_udp(&self, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Datagrams>>>;
}

/// A connection to a host. Shutting it down ends one direction and leaves the other open.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Whether dropping it is to be a reset for the other side, rather than an orderly end. Without effect where the system
    /// has no resets.
    fn reset_on_drop(&self, reset: bool) {
        let _ = reset;
    }
}

/// Datagrams to and from one host.
pub trait Datagrams: Send {
    /// Sends one datagram.
    ///
    /// # Errors
    /// Why it could not be sent; others may still be.
    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<usize>>;

    /// Receives one datagram.
    ///
    /// # Errors
    /// `ConnectionRefused` when nobody is there; others may still come.
    fn poll_receive(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>>;
}

impl Stream for TcpStream {
    fn reset_on_drop(&self, reset: bool) {
        if let Err(error) = SockRef::from(self).set_linger(reset.then_some(Duration::ZERO)) {
            tracing::debug!("the end of a connection is not as it was meant to be: {error}");
        }
    }
}

impl Stream for tokio::io::DuplexStream {}
