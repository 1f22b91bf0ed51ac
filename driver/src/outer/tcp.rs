//! TCP: datagrams behind each other, each behind its length.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use adit_tunnel::stream::StreamDecoder;
use tokio::net::{TcpSocket, TcpStream};

use super::local_address;
use crate::{batch::Batch, protocol::SocketOptions};

/// Reads the stream and takes the datagrams apart.
#[derive(Debug)]
pub(crate) struct TcpReceiver {
    stream: Arc<TcpStream>,
    remote: SocketAddr,
    decoder: StreamDecoder,
}

/// Writes the batch.
#[derive(Debug)]
pub(crate) struct TcpSender {
    stream: Arc<TcpStream>,
    pub(crate) batch: Batch,
}

/// The length field has two bytes.
const MAX_DATAGRAM: usize = 65535;

pub(super) async fn open(
    remote: SocketAddr,
    options: &SocketOptions,
    timeout: Duration,
) -> io::Result<(TcpReceiver, TcpSender)> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    super::set_mark(&socket2::SockRef::from(&socket), options.mark)?;
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if options.address.is_some() || options.port.is_some() {
        socket.set_reuseaddr(true)?;
        socket.bind(local_address(remote, options))?;
    }
    let stream = tokio::time::timeout(timeout, socket.connect(remote))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the connection was not answered in time"))??;
    take(stream, remote)
}

/// Both halves of a stream that is connected.
pub(crate) fn take(stream: TcpStream, remote: SocketAddr) -> io::Result<(TcpReceiver, TcpSender)> {
    stream.set_nodelay(true)?;
    let stream = Arc::new(stream);
    let decoder = StreamDecoder::new(MAX_DATAGRAM);
    Ok((TcpReceiver { stream: Arc::clone(&stream), remote, decoder }, TcpSender { stream, batch: Batch::stream() }))
}

impl TcpReceiver {
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(self.decoder.room()) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => {
                    self.decoder.filled(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    pub(crate) fn for_each(&mut self, mut f: impl FnMut(SocketAddr, &mut [u8])) -> io::Result<()> {
        loop {
            match self.decoder.next_datagram() {
                Ok(Some(datagram)) => f(self.remote, datagram),
                Ok(None) => return Ok(()),
                Err(bad) => return Err(io::Error::new(io::ErrorKind::InvalidData, bad)),
            }
        }
    }
}

impl TcpSender {
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((_, bytes)) = self.batch.next_run() {
            match self.stream.try_write(bytes) {
                Ok(count) => self.batch.sent(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.stream.poll_write_ready(cx))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}
