//! A UDP socket inside the tunnel.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use adit_netstack::{Endpoints, UdpError, UdpId, Unreachable};

use crate::{
    active::now,
    connection::{connect_error, store},
    inside::{Inside, Tie, UdpWaiting},
};

/// A UDP socket inside the tunnel. It receives from those it has sent to.
pub struct UdpSocket {
    inside: Arc<Inside>,
    id: UdpId,
}

impl UdpSocket {
    pub(crate) fn bind(inside: Arc<Inside>, tie: Tie) -> io::Result<Self> {
        let mut inner = inside.lock();
        inner.check()?;
        let id = inner.stack.bind_udp().map_err(connect_error)?;
        inner.sockets.insert(id, UdpWaiting { tie, ..UdpWaiting::default() });
        drop(inner);
        Ok(Self { inside, id })
    }

    /// On a port that anybody may send to.
    pub(crate) fn bind_port(inside: Arc<Inside>, port: u16) -> io::Result<Self> {
        let mut inner = inside.lock();
        inner.check()?;
        let id = inner.stack.bind_udp_port(port).map_err(connect_error)?;
        inner.sockets.insert(id, UdpWaiting { tie: Tie::Port, ..UdpWaiting::default() });
        drop(inner);
        Ok(Self { inside, id })
    }

    pub(crate) fn is_inside(&self, inside: &Arc<Inside>) -> bool {
        Arc::ptr_eq(&self.inside, inside)
    }

    /// An association that began at the other end; `None` if it is gone.
    pub(crate) fn incoming(inside: Arc<Inside>, id: UdpId) -> Option<(Self, Endpoints)> {
        let ends = {
            let mut inner = inside.lock();
            let ends = inner.stack.udp_endpoints(id);
            if ends.is_none() {
                inner.sockets.remove(&id);
            }
            ends?
        };
        Some((Self { inside, id }, ends))
    }

    /// Ends an association that began at the other end, and says why.
    pub(crate) fn refuse(self, reason: Unreachable) {
        // The rest is done when it is dropped.
        let mut inner = self.inside.lock();
        inner.stack.refuse_udp(now(), self.id, reason);
        inner.wake_driver();
    }

    /// Sends one datagram. As with any UDP, it may be lost, also when a queue of ours is full.
    ///
    /// # Errors
    /// `InvalidInput` when it is larger than the tunnel's packets or the address cannot be sent to, `NetworkUnreachable` when the
    /// gateway did not agree to carry it, `NotConnected` when the tunnel has ended, or another one has taken over.
    pub fn send_to(&self, payload: &[u8], remote: SocketAddr) -> io::Result<()> {
        let mut inner = self.inside.lock();
        inner.check()?;
        if inner.sockets.get(&self.id).is_some_and(|socket| socket.closed) {
            return Err(lost());
        }
        if let Err(error) = inner.reach.check(remote.ip()) {
            inner.stats.dropped_not_carried += 1;
            return Err(error);
        }
        match inner.stack.send_udp(now(), self.id, remote, payload) {
            Ok(()) => inner.wake_driver(),
            Err(UdpError::QueueFull | UdpError::NoMemory) => {}
            Err(error) => return Err(udp_error(error)),
        }
        Ok(())
    }

    /// Receives one datagram: its length, and who sent it. What does not fit into `buffer` is cut off.
    ///
    /// # Errors
    /// `ConnectionRefused` when a host sent to cannot be reached; later datagrams may still come. `NotConnected` when the
    /// tunnel has ended.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        poll_fn(|cx| self.poll_recv_from(cx, buffer)).await
    }

    /// As [`Self::recv_from`]; of several tasks that wait, only the last is woken.
    pub fn poll_recv_from(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut inner = self.inside.lock();
        if let Some((remote, length)) = inner.stack.receive_udp(self.id, buffer) {
            return Poll::Ready(Ok((length, remote)));
        }
        inner.check()?;
        let Some(socket) = inner.sockets.get_mut(&self.id) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if socket.closed {
            return Poll::Ready(Err(lost()));
        }
        if let Some(remote) = socket.unreachable.take() {
            let text = format!("{remote} cannot be reached");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionRefused, text)));
        }
        store(&mut socket.reader, cx.waker());
        Poll::Pending
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        let mut inner = self.inside.lock();
        inner.stack.close_udp(self.id);
        inner.sockets.remove(&self.id);
    }
}

impl std::fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UdpSocket").finish_non_exhaustive()
    }
}

/// The tunnel of the socket is lost, or its association has ended.
fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket was closed with its tunnel")
}

pub(crate) fn udp_error(error: UdpError) -> io::Error {
    let kind = match error {
        UdpError::TooLarge { .. } | UdpError::Unaddressable => io::ErrorKind::InvalidInput,
        UdpError::NoAddressOfFamily => io::ErrorKind::AddrNotAvailable,
        UdpError::Closed => io::ErrorKind::NotConnected,
        UdpError::QueueFull | UdpError::NoMemory | _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
