//! Bytes between a connection inside the tunnel and one outside.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::connection::Connection;

/// Bytes read at once in one direction: few at first and after silence, as most connections are silent most of the time; in
/// the end as many as a segmented send of the tunnel holds.
const FIRST_BYTES: usize = 4 * 1024;
const MOST_BYTES: usize = 64 * 1024;
/// Each full read makes the buffer larger by this factor.
const GROWTH: usize = 4;
/// Silence after which a direction has no buffer any more.
const SILENCE: Duration = Duration::from_secs(1);
/// How often somebody outside who has said all and waits is looked after. A reset of such a connection makes nothing readable.
const LOOK_AFTER: Duration = Duration::from_secs(15);

thread_local! {
    /// Where those who have no buffer look whether there is something to read.
    static LOOK: RefCell<[u8; FIRST_BYTES]> = const { RefCell::new([0; FIRST_BYTES]) };
}

/// Carries both directions until both have ended; says how many bytes went in, and how many came out. The end of one direction is
/// passed on and leaves the other open. How fast one side reads is how fast the other may write.
///
/// Who is gone outside after what it had to say has arrived inside (a reset, to a TCP keepalive for example, or the end of the process at
/// the other end of a unix socket) is noticed within 15 s: no bytes are written then, which says how the connection is.
///
/// # Errors
/// What ended either connection early. Both are then to be ended as abruptly: [`Connection::abort`], and a reset outside.
pub async fn carry(outside: impl AsyncRead + AsyncWrite + Unpin, inside: &Connection) -> io::Result<(u64, u64)> {
    let (reader, writer) = tokio::io::split(outside);
    let buffer = || Buffer::new(SILENCE, Some(inside as &dyn Payer));
    let all_said = AtomicBool::new(false);
    let inwards = async {
        let total = copy(reader, inside, buffer(), None).await?;
        all_said.store(true, Ordering::Relaxed);
        // The other direction, of the same task, looks at that.
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Ready(())
        })
        .await;
        Ok(total)
    };
    // Who has left after the last word has still said it: nothing ends before that has arrived.
    let is_heard = || inside.is_delivered();
    let waits = Waits { all_said: &all_said, is_heard: &is_heard, look_after: LOOK_AFTER };
    tokio::try_join!(inwards, copy(inside, writer, buffer(), Some(waits)))
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut buffer: Buffer<'_>,
    waits: Option<Waits<'_>>,
) -> io::Result<u64> {
    let mut total = 0;
    loop {
        match &waits {
            Some(waits) => waits.fill(&mut buffer, &mut from, &mut to).await?,
            None => buffer.fill(&mut from).await?,
        }
        let bytes = buffer.filled();
        if bytes.is_empty() {
            to.shutdown().await?;
            return Ok(total);
        }
        to.write_all(bytes).await?;
        total += bytes.len() as u64;
    }
}

/// Somebody who may have said all, and waits for an answer.
struct Waits<'a> {
    all_said: &'a AtomicBool,
    /// What it has said has arrived.
    is_heard: &'a (dyn Fn() -> bool + Sync),
    look_after: Duration,
}

impl Waits<'_> {
    /// As [`Buffer::fill`]; fails also when `to` is gone meanwhile.
    async fn fill(
        &self,
        buffer: &mut Buffer<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let all_said = poll_fn(|_| if self.all_said.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending });
        tokio::select! {
            biased;
            filled = buffer.fill(&mut *from) => return filled,
            () = all_said => {}
        }
        loop {
            match tokio::time::timeout(self.look_after, buffer.fill(&mut *from)).await {
                Ok(filled) => return filled,
                Err(_) if (self.is_heard)() => drop(to.write(&[]).await?),
                Err(_) => {}
            }
        }
    }
}

/// Whose budget a buffer is of.
trait Payer: Sync {
    fn reserve(&self, bytes: usize) -> bool;
    fn unreserve(&self, bytes: usize);
}

impl Payer for Connection {
    fn reserve(&self, bytes: usize) -> bool {
        Self::reserve(self, bytes)
    }

    fn unreserve(&self, bytes: usize) {
        Self::unreserve(self, bytes);
    }
}

/// As large as what is read needs, and as the memory for connections allows; nothing while nothing comes.
struct Buffer<'a> {
    bytes: Vec<u8>,
    /// As many are in use.
    filled: usize,
    silence: Duration,
    /// Whose budget pays for what is more than the least.
    payer: Option<&'a dyn Payer>,
    /// Was read after what was returned before it.
    failure: Option<io::Error>,
}

impl<'a> Buffer<'a> {
    const fn new(silence: Duration, payer: Option<&'a dyn Payer>) -> Self {
        Self { bytes: Vec::new(), filled: 0, silence, payer, failure: None }
    }

    /// What the last [`Self::fill`] has brought; nothing at the end.
    fn filled(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    /// Reads what comes next. Dropped before it is done, it has read nothing.
    async fn fill(&mut self, mut from: impl AsyncRead + Unpin) -> io::Result<()> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        self.filled = 0;
        if !self.bytes.is_empty() {
            let silence = self.silence;
            let read = poll_fn(|cx| self.poll_more(cx, &mut from));
            match tokio::time::timeout(silence, read).await {
                Ok(read) => read?,
                Err(_) => self.clear(),
            }
        }
        if self.bytes.is_empty() {
            poll_fn(|cx| self.poll_first(cx, &mut from)).await?;
        }
        // What is there is taken at once: whoever sends it can then do so in one go.
        while self.filled > 0 && self.filled == self.bytes.len() && self.grow() {
            let more = poll_fn(|cx| Poll::Ready(self.poll_more(cx, &mut from))).await;
            if let Poll::Ready(Err(failure)) = more {
                self.failure = Some(failure);
            }
        }
        Ok(())
    }

    /// Takes memory only when there is something to be put into it.
    fn poll_first(&mut self, cx: &mut Context<'_>, from: &mut (impl AsyncRead + Unpin)) -> Poll<io::Result<()>> {
        LOOK.with_borrow_mut(|look| {
            let mut buf = ReadBuf::new(look);
            ready!(Pin::new(from).poll_read(cx, &mut buf))?;
            let read = buf.filled();
            if let Some(filled) = self.resized(FIRST_BYTES).get_mut(..read.len()) {
                filled.copy_from_slice(read);
            }
            self.filled = read.len();
            Poll::Ready(Ok(()))
        })
    }

    fn poll_more(&mut self, cx: &mut Context<'_>, from: &mut (impl AsyncRead + Unpin)) -> Poll<io::Result<()>> {
        let mut buf = ReadBuf::new(self.bytes.get_mut(self.filled..).unwrap_or_default());
        ready!(Pin::new(from).poll_read(cx, &mut buf))?;
        self.filled += buf.filled().len();
        Poll::Ready(Ok(()))
    }

    fn grow(&mut self) -> bool {
        let (now, wanted) = (self.bytes.len(), self.bytes.len() * GROWTH);
        let grows = wanted <= MOST_BYTES && self.payer.is_none_or(|payer| payer.reserve(wanted - now));
        if grows {
            self.resized(wanted);
        }
        grows
    }

    fn resized(&mut self, len: usize) -> &mut [u8] {
        self.bytes.reserve_exact(len.saturating_sub(self.bytes.len()));
        self.bytes.resize(len, 0);
        &mut self.bytes
    }

    fn clear(&mut self) {
        let reserved = self.bytes.len().saturating_sub(FIRST_BYTES);
        if let Some(payer) = self.payer.filter(|_| reserved > 0) {
            payer.unreserve(reserved);
        }
        self.bytes = Vec::new();
    }
}

/// One direction may end long before its connection.
impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use tokio::io::AsyncReadExt as _;

    use super::*;

    impl Buffer<'_> {
        async fn read(&mut self, from: impl AsyncRead + Unpin) -> io::Result<&[u8]> {
            self.fill(from).await?;
            Ok(self.filled())
        }
    }

    /// Long enough for a loaded machine.
    async fn soon<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(10), future).await.expect("in time")
    }

    /// Copies to this end, whose other end has said all.
    async fn waits(mut from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin) -> io::Result<u64> {
        let looks = AtomicUsize::new(0);
        let is_heard = || looks.fetch_add(1, Relaxed) > 2;
        let waits =
            Waits { all_said: &AtomicBool::new(true), is_heard: &is_heard, look_after: Duration::from_millis(2) };
        let copied = copy(&mut from, to, Buffer::new(SILENCE, None), Some(waits)).await;
        assert!(looks.into_inner() > 3, "nobody is missed before what he said has arrived");
        copied
    }

    #[tokio::test]
    async fn who_has_said_all_gets_its_answer_and_is_missed_when_it_is_gone() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(soon(accepted.read(&mut [0])).await.unwrap(), 0);
        let (near, mut far) = tokio::io::duplex(100);
        let copying = tokio::spawn(waits(near, accepted));
        // Often enough looked after.
        tokio::time::sleep(Duration::from_millis(50)).await;
        far.write_all(b"late").await.unwrap();
        let mut late = [0; 4];
        soon(client.read_exact(&mut late)).await.unwrap();
        assert_eq!(&late, b"late");
        client.set_zero_linger().unwrap();
        drop(client);
        let error = soon(copying).await.unwrap().unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{error}");
        assert!(far.write_all(b"too late").await.is_err(), "the other end is told");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_process_that_is_gone_is_missed_at_a_unix_socket_too() {
        let (client, accepted) = tokio::net::UnixStream::pair().unwrap();
        let (near, _far) = tokio::io::duplex(100);
        let copying = tokio::spawn(waits(near, accepted));
        drop(client);
        assert_eq!(soon(copying).await.unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_buffer_grows_with_full_reads_and_is_gone_in_silence() {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let mut buffer = Buffer::new(Duration::from_millis(10), None);
        assert_eq!(buffer.bytes.capacity(), 0);
        far.write_all(&[7; 5_000]).await.unwrap();
        assert_eq!(buffer.read(&mut near).await.unwrap().len(), 5_000, "all there is, at once");
        assert_eq!(buffer.bytes.capacity(), 16 * 1024);
        far.write_all(&[7; 300_000]).await.unwrap();
        let mut lengths = Vec::new();
        while lengths.iter().sum::<usize>() < 300_000 {
            lengths.push(buffer.read(&mut near).await.unwrap().len());
        }
        assert_eq!(lengths.iter().max(), Some(&MOST_BYTES));

        let (read, ()) = tokio::join!(buffer.read(&mut near), async {
            // Longer than the buffer waits.
            tokio::time::sleep(Duration::from_millis(200)).await;
            far.write_all(b"again").await.unwrap();
        });
        assert_eq!(read.unwrap(), b"again");
        assert_eq!(buffer.bytes.capacity(), FIRST_BYTES);
        drop(far);
        assert_eq!(buffer.read(&mut near).await.unwrap(), b"");
    }

    #[derive(Default)]
    struct Purse(AtomicUsize);

    impl Payer for Purse {
        fn reserve(&self, bytes: usize) -> bool {
            self.0.fetch_add(bytes, Relaxed);
            true
        }

        fn unreserve(&self, bytes: usize) {
            self.0.fetch_sub(bytes, Relaxed);
        }
    }

    #[tokio::test]
    async fn a_direction_that_has_ended_is_not_paid_for_any_more() {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let (purse, mut to) = (Purse::default(), Vec::new());
        far.write_all(&[7; 300_000]).await.unwrap();
        let mut buffer = Buffer::new(SILENCE, Some(&purse));
        assert!(!buffer.read(&mut near).await.unwrap().is_empty());
        assert_eq!(purse.0.load(Relaxed), MOST_BYTES - FIRST_BYTES);
        drop(far);
        copy(&mut near, &mut to, buffer, None).await.unwrap();
        assert_eq!(purse.0.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn a_failure_behind_what_was_read_is_not_lost() {
        struct FailsOnce(u32);
        impl AsyncRead for FailsOnce {
            fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                self.0 += 1;
                match self.0 {
                    1 => buf.put_slice(&[7; FIRST_BYTES]),
                    2 => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                    _ => {}
                }
                Poll::Ready(Ok(()))
            }
        }
        let (mut from, mut buffer) = (FailsOnce(0), Buffer::new(SILENCE, None));
        assert_eq!(buffer.read(&mut from).await.unwrap().len(), FIRST_BYTES);
        assert_eq!(buffer.read(&mut from).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(buffer.read(&mut from).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_copied_is_what_was_read() {
        let (mut near, mut far) = tokio::io::duplex(1000);
        let (sent, copied) = tokio::join!(
            async {
                far.write_all(&[3; 100_000]).await.unwrap();
                far.shutdown().await.unwrap();
                100_000
            },
            async {
                let mut to = Vec::new();
                let total = copy(&mut near, &mut to, Buffer::new(SILENCE, None), None).await.unwrap();
                assert!(to.iter().all(|byte| *byte == 3) && to.len() as u64 == total);
                total
            }
        );
        assert_eq!(copied, sent);
    }
}
