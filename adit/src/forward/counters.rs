//! Numbers of one forward.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::SystemTime,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Numbers of one forward, for as long as its connection is configured.
#[derive(Debug, Default)]
pub(crate) struct ForwardCounters {
    open: AtomicU64,
    total: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    last_error: Mutex<Option<(SystemTime, String)>>,
}

/// What [`ForwardCounters`] were at some moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ForwardSnapshot {
    /// Connections and UDP associations now.
    pub(crate) open: u64,
    /// Those there ever were.
    pub(crate) total: u64,
    /// Those beyond the limit, and those that came while the forward was ending.
    pub(crate) refused: u64,
    /// Those that could not be connected, be it that the other end, the tunnel or the client itself was to blame; and datagrams
    /// for which there was no tunnel in time.
    pub(crate) failed: u64,
    /// Bytes out of the tunnel.
    pub(crate) received_bytes: u64,
    /// Bytes into the tunnel.
    pub(crate) sent_bytes: u64,
    /// Why something failed or was refused last, and when.
    pub(crate) last_error: Option<(SystemTime, String)>,
}

impl ForwardCounters {
    pub(crate) fn snapshot(&self) -> ForwardSnapshot {
        ForwardSnapshot {
            open: self.open.load(Relaxed),
            total: self.total.load(Relaxed),
            refused: self.refused.load(Relaxed),
            failed: self.failed.load(Relaxed),
            received_bytes: self.received.load(Relaxed),
            sent_bytes: self.sent.load(Relaxed),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Connections and UDP associations now.
    pub(super) fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    pub(super) fn on_refused(&self, why: &dyn fmt::Display) {
        self.refused.fetch_add(1, Relaxed);
        self.set_last_error(why);
    }

    pub(super) fn on_failed(&self, why: &dyn fmt::Display) {
        self.failed.fetch_add(1, Relaxed);
        self.set_last_error(why);
    }

    /// So many datagrams were not sent.
    pub(super) fn on_dropped(&self, count: usize, why: &dyn fmt::Display) {
        if count > 0 {
            tracing::debug!("{count} datagrams dropped: {why}");
            self.failed.fetch_add(count as u64, Relaxed);
            self.set_last_error(why);
        }
    }

    fn set_last_error(&self, why: &dyn fmt::Display) {
        let error = Some((SystemTime::now(), why.to_string()));
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    pub(super) fn on_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn on_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }
}

/// A connection or association while it lives.
#[derive(Debug)]
pub(super) struct Open(Arc<ForwardCounters>);

impl Open {
    pub(super) fn new(counters: &Arc<ForwardCounters>) -> Self {
        counters.open.fetch_add(1, Relaxed);
        counters.total.fetch_add(1, Relaxed);
        Self(Arc::clone(counters))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// The side of a connection that is not in the tunnel, with its bytes counted.
pub(super) struct Counted<'a, S> {
    pub(super) stream: S,
    pub(super) counters: &'a ForwardCounters,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<'_, S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.counters.on_sent(buf.filled().len().saturating_sub(before));
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = written {
            self.counters.on_received(count);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn every_event_has_its_number() {
        let counters = Arc::new(ForwardCounters::default());
        assert_eq!(counters.snapshot(), ForwardSnapshot::default());
        let first = Open::new(&counters);
        drop(Open::new(&counters));
        counters.on_refused(&"there are too many");
        assert_eq!(counters.snapshot().last_error.unwrap().1, "there are too many");
        counters.on_failed(&"host unreachable");
        let (near, mut far) = tokio::io::duplex(100);
        let mut near = Counted { stream: near, counters: &counters };
        near.write_all(b"four").await.unwrap();
        far.write_all(b"sixsix").await.unwrap();
        near.read_exact(&mut [0; 6]).await.unwrap();
        let now = counters.snapshot();
        assert_eq!((now.open, now.total, now.refused, now.failed), (1, 2, 1, 1));
        assert_eq!((now.received_bytes, now.sent_bytes), (4, 6));
        assert_eq!(now.last_error.unwrap().1, "host unreachable");
        drop(first);
        assert_eq!(counters.snapshot().open, 0);
    }
}
