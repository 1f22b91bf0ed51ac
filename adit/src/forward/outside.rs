//! Connections of this machine: what listens, and what is accepted.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
};

use super::accept::Source;
#[cfg(unix)]
use super::unix;

/// How long, and for how many bytes, a client that is said goodbye to may go on.
const FAREWELL: Duration = Duration::from_secs(2);
const UNREAD_BYTES: u64 = 256 * 1024;

/// A peer that is gone without a word must not keep its place for ever: after so long a silence it is asked, so often, whether
/// it is still there.
const SILENCE: Duration = Duration::from_secs(60);
const QUESTION_INTERVAL: Duration = Duration::from_secs(15);
const QUESTIONS: u32 = 4;

/// What accepts connections.
#[derive(Debug)]
pub(super) enum Acceptor {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(unix::Listener),
}

/// A connection on this side.
#[derive(Debug)]
pub(super) struct Outside {
    stream: Stream,
    peer: Peer,
    /// The address it was accepted at, where it has one.
    local: Option<SocketAddr>,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

impl Source for Arc<Acceptor> {
    type Accepted = Outside;

    async fn accept(&mut self) -> io::Result<Outside> {
        match &**self {
            Acceptor::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Outside::tcp(stream, peer))
            }
            #[cfg(unix)]
            Acceptor::Unix(listener) => Ok(Outside::unix(listener.accept().await?)),
        }
    }
}

impl Outside {
    /// Whatever ends it early, also the end of the program, must not look like an orderly end of the data.
    pub(super) fn tcp(stream: TcpStream, peer: SocketAddr) -> Self {
        if let Err(error) = stream.set_zero_linger() {
            tracing::debug!(%peer, "no reset in case of failure: {error}");
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, "small writes may be late: {error}");
        }
        let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(QUESTION_INTERVAL).with_retries(QUESTIONS);
        if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&keepalive) {
            tracing::debug!(%peer, "its silent end will not be noticed: {error}");
        }
        let local = stream.local_addr().ok();
        Self { stream: Stream::Tcp(stream), peer: Peer::Tcp(peer), local }
    }

    /// A unix socket knows no reset: its early end looks as any other, unless something was left unread.
    #[cfg(unix)]
    pub(super) fn unix(stream: tokio::net::UnixStream) -> Self {
        Self { stream: Stream::Unix(stream), peer: Peer::Unix, local: None }
    }

    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Waits until the client has left without having said anything that is not read yet: who has, may have ended only its own
    /// direction, and wait for an answer.
    pub(super) async fn left(&self) {
        let mut byte = [0];
        let said = match &self.stream {
            Stream::Tcp(stream) => stream.peek(&mut byte).await,
            #[cfg(unix)]
            Stream::Unix(stream) => {
                let peek = || Ok(rustix::net::recv(stream, &mut byte, rustix::net::RecvFlags::PEEK)?.0);
                stream.async_io(tokio::io::Interest::READABLE, peek).await
            }
        };
        if said.is_ok_and(|length| length > 0) {
            std::future::pending::<()>().await;
        }
    }

    /// What was written is still to be delivered when this is dropped: no reset any more.
    pub(super) fn keep_the_last_bytes(&self) {
        match &self.stream {
            Stream::Tcp(stream) => {
                if let Err(error) = SockRef::from(stream).set_linger(None) {
                    tracing::warn!(peer = %self.peer, "the last bytes may be lost: {error}");
                }
            }
            #[cfg(unix)]
            Stream::Unix(_) => {}
        }
    }

    /// Ends it so that an answer is read: what the client still sends meanwhile, which would end it with a reset, is thrown
    /// away for a while.
    pub(super) async fn farewell(mut self) {
        self.keep_the_last_bytes();
        let leave = async {
            self.shutdown().await?;
            let mut unread = (&mut self).take(UNREAD_BYTES);
            tokio::io::copy(&mut unread, &mut tokio::io::sink()).await
        };
        drop(tokio::time::timeout(FAREWELL, leave).await);
    }
}

impl Peer {
    /// Its address, where it has one.
    pub(super) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(address),
            #[cfg(unix)]
            Self::Unix => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            #[cfg(unix)]
            Self::Unix => f.write_str("a local process"),
        }
    }
}

impl AsyncRead for Outside {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Outside {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Neither kind has a buffer of its own.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_is_connected_is_asked_whether_it_is_still_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let acceptor = Arc::new(Acceptor::Tcp(listener));
        let accepted = Arc::clone(&acceptor).accept().await.unwrap();
        let address = client.peer_addr().unwrap();
        // As of `-R`.
        for outside in [accepted, Outside::tcp(client, address)] {
            let Stream::Tcp(stream) = &outside.stream else { panic!("{outside:?}") };
            let socket = SockRef::from(stream);
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), SILENCE);
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), QUESTION_INTERVAL);
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), QUESTIONS);
        }
    }
}
