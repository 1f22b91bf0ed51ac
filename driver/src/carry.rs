//! Bytes between a connection inside the tunnel and one outside.

use std::{io, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::connection::Connection;

/// Bytes read at once in one direction: few at first and after silence, as most connections are silent most of the time; in
/// the end as many as a segmented send of the tunnel holds.
const FIRST_BYTES: usize = 4 * 1024;
const MOST_BYTES: usize = 64 * 1024;
/// Each full read makes the buffer larger by this factor.
const GROWTH: usize = 4;
/// Silence after which a direction has a small buffer again.
const SILENCE: Duration = Duration::from_secs(1);

/// Carries both directions until both have ended; says how many bytes went in, and how many came out. The end of one direction is
/// passed on and leaves the other open. How fast one side reads is how fast the other may write.
///
/// # Errors
/// What ended either connection early. Both are then to be ended as abruptly: [`Connection::abort`], and a reset outside.
pub async fn carry(outside: impl AsyncRead + AsyncWrite + Unpin, inside: &Connection) -> io::Result<(u64, u64)> {
    let (reader, writer) = tokio::io::split(outside);
    tokio::try_join!(copy(reader, inside), copy(inside, writer))
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<u64> {
    let mut buffer = Buffer::new(SILENCE);
    let mut total = 0;
    loop {
        let bytes = buffer.read(&mut from).await?;
        if bytes.is_empty() {
            to.shutdown().await?;
            return Ok(total);
        }
        to.write_all(bytes).await?;
        total += bytes.len() as u64;
    }
}

/// As large as what is read needs.
struct Buffer {
    bytes: Vec<u8>,
    silence: Duration,
}

impl Buffer {
    fn new(silence: Duration) -> Self {
        Self { bytes: Vec::with_capacity(FIRST_BYTES), silence }
    }

    /// What comes next; nothing at the end.
    async fn read(&mut self, mut from: impl AsyncRead + Unpin) -> io::Result<&[u8]> {
        let capacity = self.bytes.capacity();
        if self.bytes.len() == capacity && capacity < MOST_BYTES {
            self.bytes = Vec::with_capacity(capacity * GROWTH);
        }
        self.bytes.clear();
        if self.bytes.capacity() > FIRST_BYTES {
            match tokio::time::timeout(self.silence, from.read_buf(&mut self.bytes)).await {
                Ok(read) => return read.map(|_| &*self.bytes),
                Err(_) => self.bytes = Vec::with_capacity(FIRST_BYTES),
            }
        }
        from.read_buf(&mut self.bytes).await?;
        Ok(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_buffer_grows_with_full_reads_and_shrinks_in_silence() {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let mut buffer = Buffer::new(Duration::from_millis(10));
        assert!(buffer.bytes.capacity() < 2 * FIRST_BYTES);
        far.write_all(&[7; 300_000]).await.unwrap();
        let mut lengths = Vec::new();
        while lengths.iter().sum::<usize>() < 300_000 {
            lengths.push(buffer.read(&mut near).await.unwrap().len());
        }
        assert_eq!(lengths.first(), Some(&FIRST_BYTES));
        assert_eq!(lengths.iter().max(), Some(&MOST_BYTES));

        let end = async {
            // Longer than the buffer waits.
            tokio::time::sleep(Duration::from_millis(200)).await;
            drop(far);
        };
        let (read, ()) = tokio::join!(buffer.read(&mut near), end);
        assert_eq!(read.unwrap(), b"");
        assert!(buffer.bytes.capacity() < 2 * FIRST_BYTES);
    }
}
