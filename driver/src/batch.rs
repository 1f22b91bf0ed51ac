//! The send buffer: packets are written and sealed where the system call takes them from.

use std::ops::Range;

use adit_tunnel::{SealError, stream::LENGTH_BYTES};

/// Datagrams in the order they were sealed. Neighbours of equal size lie back to back and make one [`Run`].
#[derive(Debug)]
pub(crate) struct Batch {
    buffer: Vec<u8>,
    end: usize,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    /// Each datagram stands alone.
    Datagrams { runs: Vec<Run>, sent_runs: usize, limit: RunLimit },
    /// Datagrams follow each other, each behind its length; so many bytes are sent.
    Stream { sent: usize },
}

/// Datagrams of one segmented send: all have `segment` bytes, the last may have fewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) range: Range<usize>,
    pub(crate) segment: usize,
    segments: usize,
}

/// How much one segmented send may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunLimit {
    /// Segments; 1 where the system does not segment.
    pub(crate) segments: usize,
    /// Bytes of one segment: larger ones would be fragmented, which segmentation does not do.
    pub(crate) segment_bytes: usize,
}

/// Payload of the largest UDP datagram over IPv4: 65535 - 20 - 8.
const MAX_RUN_BYTES: usize = 65507;
/// A burst: larger ones overrun receivers, smaller ones cost more system calls (44 datagrams of 1450 bytes).
const BUFFER_BYTES: usize = 64 * 1024;

impl Batch {
    pub(crate) fn datagrams(limit: RunLimit) -> Self {
        Self::new(Shape::Datagrams { runs: Vec::with_capacity(64), sent_runs: 0, limit })
    }

    pub(crate) fn stream() -> Self {
        Self::new(Shape::Stream { sent: 0 })
    }

    fn new(shape: Shape) -> Self {
        Self { buffer: vec![0; BUFFER_BYTES], end: 0, shape }
    }

    /// Whether everything was sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Whether a datagram of this length fits without growing the buffer.
    pub(crate) fn has_room(&self, datagram_len: usize) -> bool {
        self.buffer.len() - self.end >= self.prefix() + datagram_len
    }

    /// Bytes that wait to be sent.
    pub(crate) fn waiting(&self) -> usize {
        self.end
    }

    /// From now on, system calls may hold this much.
    pub(crate) fn set_limit(&mut self, new: RunLimit) {
        if let Shape::Datagrams { limit, .. } = &mut self.shape {
            *limit = new;
        }
    }

    /// Appends a datagram of at most `room` bytes: `write` puts a packet of `packet_len` bytes `header_len` bytes into it, and
    /// `seal` makes a datagram of it, given exactly this room.
    pub(crate) fn seal(
        &mut self,
        header_len: usize,
        packet_len: usize,
        room: usize,
        write: &mut dyn FnMut(&mut [u8]),
        seal: impl FnOnce(&mut [u8], Range<usize>) -> Result<Range<usize>, SealError>,
    ) -> Result<usize, SealError> {
        let start = self.end + self.prefix();
        if self.buffer.len() < start + room {
            self.buffer.resize(start + room, 0);
        }
        let slot = &mut self.buffer[start..start + room];
        let packet = header_len..header_len + packet_len;
        write(&mut slot[packet.clone()]);
        let datagram = seal(slot, packet)?;
        if datagram.start > 0 {
            slot.copy_within(datagram.clone(), 0);
        }
        self.appended(start, datagram.len());
        Ok(datagram.len())
    }

    /// Appends a datagram that is sealed already.
    pub(crate) fn copy(&mut self, datagram: &[u8]) {
        let start = self.end + self.prefix();
        if self.buffer.len() < start + datagram.len() {
            self.buffer.resize(start + datagram.len(), 0);
        }
        self.buffer[start..start + datagram.len()].copy_from_slice(datagram);
        self.appended(start, datagram.len());
    }

    fn appended(&mut self, start: usize, len: usize) {
        self.end = start + len;
        match &mut self.shape {
            Shape::Stream { .. } => {
                let length = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
                self.buffer[start - LENGTH_BYTES..start].copy_from_slice(&length);
            }
            Shape::Datagrams { runs, limit, .. } => match runs.last_mut() {
                Some(run) if run.takes(len, *limit) => {
                    run.range.end += len;
                    run.segments += 1;
                }
                _ => runs.push(Run { range: start..start + len, segment: len, segments: 1 }),
            },
        }
    }

    /// The next bytes to send; on a stream, all of them.
    pub(crate) fn next_run(&self) -> Option<(Run, &[u8])> {
        let run = match &self.shape {
            Shape::Datagrams { runs, sent_runs, .. } => runs.get(*sent_runs)?.clone(),
            Shape::Stream { sent } if *sent < self.end => {
                Run { range: *sent..self.end, segment: self.end - sent, segments: 1 }
            }
            Shape::Stream { .. } => return None,
        };
        let bytes = &self.buffer[run.range.clone()];
        Some((run, bytes))
    }

    /// So many bytes from the front of the next run were sent, or are given up.
    pub(crate) fn sent(&mut self, bytes: usize) {
        let done = match &mut self.shape {
            Shape::Datagrams { runs, sent_runs, .. } => {
                if let Some(run) = runs.get_mut(*sent_runs) {
                    run.range.start += bytes;
                    if run.range.is_empty() {
                        *sent_runs += 1;
                    }
                }
                *sent_runs == runs.len()
            }
            Shape::Stream { sent } => {
                *sent += bytes;
                *sent == self.end
            }
        };
        if done {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.end = 0;
        // Grown by a rare large datagram: the memory is not kept.
        self.buffer.truncate(BUFFER_BYTES);
        match &mut self.shape {
            Shape::Datagrams { runs, sent_runs, .. } => {
                runs.clear();
                *sent_runs = 0;
            }
            Shape::Stream { sent } => *sent = 0,
        }
    }

    fn prefix(&self) -> usize {
        match self.shape {
            Shape::Datagrams { .. } => 0,
            Shape::Stream { .. } => LENGTH_BYTES,
        }
    }
}

impl Run {
    /// Whether one more datagram may follow in the same send: none may follow a smaller one.
    fn takes(&self, len: usize, limit: RunLimit) -> bool {
        let uniform = self.range.len() == self.segments * self.segment;
        uniform
            && len <= self.segment
            && self.segments < limit.segments
            && self.segment <= limit.segment_bytes
            && self.range.len() + len <= MAX_RUN_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RunLimit = RunLimit { segments: 3, segment_bytes: 1472 };

    /// A sealer that writes 4 bytes before and 2 bytes after.
    fn seal(batch: &mut Batch, byte: u8, len: usize) {
        let sealed = batch.seal(4, len, len + 6, &mut |p| p.fill(byte), |buf, packet| {
            buf[..4].fill(b'h');
            buf[packet.end..].fill(b't');
            Ok(0..buf.len())
        });
        assert_eq!(sealed, Ok(len + 6));
    }

    fn runs(batch: &mut Batch) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        while let Some((run, bytes)) = batch.next_run() {
            all.push((bytes.len(), run.segment));
            let len = bytes.len();
            batch.sent(len);
        }
        assert!(batch.is_empty());
        all
    }

    #[test]
    fn equal_datagrams_make_one_run_and_a_smaller_one_ends_it() {
        let mut batch = Batch::datagrams(LIMIT);
        for len in [94, 94, 54, 54, 94] {
            seal(&mut batch, b'x', len);
        }
        assert_eq!(runs(&mut batch), [(260, 100), (60, 60), (100, 100)]);
    }

    #[test]
    fn a_run_holds_as_many_segments_as_the_system_takes() {
        let mut batch = Batch::datagrams(LIMIT);
        (0..7).for_each(|_| seal(&mut batch, b'x', 94));
        assert_eq!(runs(&mut batch), [(300, 100), (300, 100), (100, 100)]);
    }

    #[test]
    fn datagrams_that_would_be_fragmented_stand_alone() {
        let mut batch = Batch::datagrams(LIMIT);
        (0..2).for_each(|_| seal(&mut batch, b'x', 1494));
        assert_eq!(runs(&mut batch), [(1500, 1500), (1500, 1500)]);
    }

    #[test]
    fn a_run_never_exceeds_the_largest_udp_datagram() {
        let mut batch = Batch::datagrams(RunLimit { segments: 64, segment_bytes: 1472 });
        (0..45).for_each(|_| seal(&mut batch, b'x', 1466));
        assert_eq!(runs(&mut batch), [(44 * 1472, 1472), (1472, 1472)]);
    }

    #[test]
    fn a_failed_run_can_be_sent_again_piece_by_piece() {
        let mut batch = Batch::datagrams(LIMIT);
        (b'a'..=b'c').for_each(|byte| seal(&mut batch, byte, 4));
        for byte in b'a'..=b'c' {
            let (run, bytes) = batch.next_run().unwrap();
            assert_eq!(&bytes[4..8], &[byte; 4]);
            batch.sent(run.segment);
        }
        assert!(batch.is_empty());
    }

    #[test]
    fn a_failed_seal_leaves_nothing_behind() {
        let mut batch = Batch::datagrams(LIMIT);
        assert_eq!(batch.seal(4, 10, 20, &mut |_| (), |_, _| Err(SealError::Exhausted)), Err(SealError::Exhausted));
        assert!(batch.is_empty());
        assert!(batch.next_run().is_none());
    }

    #[test]
    fn a_stream_has_the_length_before_each_datagram() {
        let mut batch = Batch::stream();
        seal(&mut batch, b'x', 2);
        batch.copy(b"control");
        assert_eq!(batch.next_run().unwrap().1, b"\x00\x08hhhhxxtt\x00\x07control");
        batch.sent(11);
        assert_eq!(batch.next_run().unwrap().1, b"\x07control");
        batch.sent(8);
        assert!(batch.is_empty());
    }
}
