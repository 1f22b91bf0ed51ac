//! A TCP connection inside the tunnel.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use adit_netstack::{CloseReason, ConnectError, ConnectionId, Endpoints, Refusal, Unreachable};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    active::now,
    inside::{Inner, Inside, Tie, Waiting},
};

/// A TCP connection inside the tunnel.
///
/// Reading and writing also work on `&Connection`, so both directions can be used at the same time without splitting.
/// `shutdown` ends our direction and leaves the other open. Dropped, it behaves as a socket of the operating system: what
/// was written is still delivered, but if something was received and not read, the other side gets a reset.
pub struct Connection {
    inside: Arc<Inside>,
    id: ConnectionId,
    remote: SocketAddr,
}

impl Connection {
    pub(crate) async fn open(inside: Arc<Inside>, remote: SocketAddr, tie: Tie) -> io::Result<Self> {
        let id = {
            let mut inner = inside.lock();
            inner.check()?;
            inner.reach.check(remote.ip())?;
            let id = inner.stack.connect(now(), remote).map_err(connect_error)?;
            inner.connections.insert(id, Waiting { tie, ..Waiting::default() });
            inner.wake_driver();
            id
        };
        // Dropped if this future is: nothing is left behind.
        let connection = Self { inside, id, remote };
        poll_fn(|cx| connection.poll_connected(cx)).await?;
        Ok(connection)
    }

    /// What began at the other end, and waits for [`Self::accept`]; `None` if it is gone.
    pub(crate) fn incoming(inside: Arc<Inside>, id: ConnectionId) -> Option<(Self, Endpoints)> {
        let ends = {
            let mut inner = inside.lock();
            let ends = inner.stack.endpoints(id);
            if ends.is_none() {
                inner.connections.remove(&id);
            }
            ends?
        };
        Some((Self { inside, id, remote: ends.remote }, ends))
    }

    /// How it belongs to its tunnel.
    pub(crate) fn tie(&self, tie: Tie) {
        if let Some(waiting) = self.inside.lock().connections.get_mut(&self.id) {
            waiting.tie = tie;
        }
    }

    /// Accepts what began at the other end, and waits for the handshake.
    pub(crate) async fn accept(&self) -> io::Result<()> {
        {
            let mut inner = self.inside.lock();
            inner.stack.accept(now(), self.id);
            inner.wake_driver();
        }
        poll_fn(|cx| self.poll_connected(cx)).await
    }

    /// Refuses what began at the other end.
    pub(crate) fn refuse(self, refusal: Refusal) {
        // The rest is done when it is dropped.
        self.inside.lock().stack.refuse(now(), self.id, refusal);
    }

    /// Waits until the other end has given up what was not accepted yet.
    pub(crate) async fn gone(&self) {
        poll_fn(|cx| {
            let mut inner = self.inside.lock();
            match inner.connections.get_mut(&self.id) {
                Some(waiting) if waiting.closed.is_none() => {
                    store(&mut waiting.reader, cx.waker());
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        })
        .await;
    }

    /// Waits until it has ended: when both directions were shut down, once the other end has everything that was written.
    pub async fn ended(&self) {
        poll_fn(|cx| {
            let mut inner = self.inside.lock();
            let is_over = inner.check().is_err();
            match inner.connections.get_mut(&self.id) {
                Some(waiting) if waiting.closed.is_none() && !is_over => {
                    store(&mut waiting.reader, cx.waker());
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        })
        .await;
    }

    /// The address at the other end of the connection.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Takes so many bytes of the memory for connections, for buffers beside ours; `false` if they cannot be had.
    pub(crate) fn reserve(&self, bytes: usize) -> bool {
        self.inside.lock().stack.reserve(self.id, bytes)
    }

    /// Gives them back. The end of the connection does so, too.
    pub(crate) fn unreserve(&self, bytes: usize) {
        self.inside.lock().stack.unreserve(self.id, bytes);
    }

    /// Whether the other side has acknowledged all that was written.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        self.inside.lock().stack.is_delivered(self.id)
    }

    /// Ends the connection at once: the other side gets a reset.
    pub fn abort(self) {
        self.inside.lock().stack.abort(self.id);
    }

    fn poll_connected(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.inside.lock();
        let check = inner.check();
        match inner.connections.get_mut(&self.id) {
            Some(Waiting { connected: true, .. }) => Poll::Ready(Ok(())),
            Some(Waiting { closed: Some(reason), .. }) => Poll::Ready(Err(close_error(*reason))),
            Some(waiting) => {
                check?;
                store(&mut waiting.writer, cx.waker());
                Poll::Pending
            }
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_shutdown(cx)
    }
}

impl AsyncRead for &Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut inner = self.inside.lock();
        match inner.stack.receive(self.id, buf.initialize_unfilled()) {
            Ok(Some(count)) => {
                buf.advance(count);
                // The window may be announced anew.
                inner.wake_driver();
                Poll::Ready(Ok(()))
            }
            Err(CloseReason::Finished) => Poll::Ready(Ok(())),
            Err(reason) => Poll::Ready(Err(close_error(reason))),
            Ok(None) => {
                inner.check()?;
                if let Some(waiting) = inner.connections.get_mut(&self.id) {
                    store(&mut waiting.reader, cx.waker());
                }
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for &Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut inner = self.inside.lock();
        // The buffer may have room, but nothing leaves it any more.
        inner.check()?;
        match inner.stack.send(self.id, buf) {
            Ok(0) => {
                if let Some(waiting) = inner.connections.get_mut(&self.id) {
                    store(&mut waiting.writer, cx.waker());
                }
                Poll::Pending
            }
            Ok(count) => {
                inner.wake_driver();
                Poll::Ready(Ok(count))
            }
            Err(CloseReason::Finished) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Err(reason) => Poll::Ready(Err(close_error(reason))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.inside.lock();
        inner.check()?;
        match inner.connections.get(&self.id).and_then(|waiting| waiting.closed) {
            None | Some(CloseReason::Finished) => {}
            Some(reason) => return Poll::Ready(Err(close_error(reason))),
        }
        inner.stack.shutdown(self.id);
        inner.wake_driver();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut inner = self.inside.lock();
        inner.stack.release(self.id);
        inner.connections.remove(&self.id);
        inner.wake_driver();
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl Inner {
    /// Whether anything can still happen.
    pub(crate) fn check(&self) -> io::Result<()> {
        match &self.ended {
            Some(failure) => Err(io::Error::new(io::ErrorKind::NotConnected, failure.clone())),
            None => Ok(()),
        }
    }
}

pub(crate) fn store(slot: &mut Option<Waker>, waker: &Waker) {
    if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
        *slot = Some(waker.clone());
    }
}

pub(crate) fn connect_error(error: ConnectError) -> io::Error {
    let kind = match error {
        ConnectError::NoAddressOfFamily => io::ErrorKind::AddrNotAvailable,
        ConnectError::Unaddressable => io::ErrorKind::InvalidInput,
        ConnectError::NoMemory | ConnectError::PoolEmpty => io::ErrorKind::OutOfMemory,
        ConnectError::TooManyConnections => io::ErrorKind::QuotaExceeded,
        ConnectError::NoPort | ConnectError::PortInUse => io::ErrorKind::AddrInUse,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

fn close_error(reason: CloseReason) -> io::Error {
    let kind = match reason {
        CloseReason::Refused | CloseReason::Unreachable(Unreachable::Port) => io::ErrorKind::ConnectionRefused,
        CloseReason::Reset | CloseReason::TunnelLost => io::ErrorKind::ConnectionReset,
        CloseReason::TimedOut => io::ErrorKind::TimedOut,
        CloseReason::Unreachable(Unreachable::Network) => io::ErrorKind::NetworkUnreachable,
        CloseReason::Unreachable(_) => io::ErrorKind::HostUnreachable,
        CloseReason::LocalAddressGone | CloseReason::Aborted => io::ErrorKind::ConnectionAborted,
        CloseReason::Finished => io::ErrorKind::NotConnected,
        CloseReason::NoMemory => io::ErrorKind::OutOfMemory,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, reason)
}
