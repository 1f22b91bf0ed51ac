//! Datagrams over a byte stream, each behind its length as two bytes in network byte order
//! (OpenVPN wire protocol, "TCP": the length counts what follows it).

/// The length field's own length.
pub const LENGTH_BYTES: usize = 2;

/// The stream is not a sequence of datagrams; it cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a datagram on the stream claims {length} bytes, not 1 to {limit}")]
pub struct BadLength {
    /// What the length field says.
    pub length: usize,
    /// The largest length allowed.
    pub limit: usize,
}

/// Splits received bytes into datagrams, in place.
#[derive(Debug)]
pub struct StreamDecoder {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    limit: usize,
}

impl StreamDecoder {
    /// Datagrams of up to `limit` bytes are accepted. The buffer is made once, and holds at least two of them.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let size = (2 * (limit + LENGTH_BYTES)).max(64 * 1024);
        Self { buffer: vec![0; size], start: 0, end: 0, limit }
    }

    /// Room for the next read from the stream: never empty once [`Self::next_datagram`] has returned `None`.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.end < self.limit + LENGTH_BYTES {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// `count` bytes were read into [`Self::room`].
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
    }

    /// The next whole datagram; `None` when more must be read first.
    ///
    /// # Errors
    /// [`BadLength`] when the length is 0 or above the limit: the stream must be dropped.
    pub fn next_datagram(&mut self) -> Result<Option<&mut [u8]>, BadLength> {
        let Some(&[high, low]) = self.buffer.get(self.start..self.end).and_then(|b| b.first_chunk()) else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > self.limit {
            return Err(BadLength { length, limit: self.limit });
        }
        let body = self.start + LENGTH_BYTES;
        if body + length > self.end {
            return Ok(None);
        }
        self.start = body + length;
        Ok(self.buffer.get_mut(body..body + length))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_length_of_zero_or_above_the_limit_ends_the_stream() {
        for length in [0u16, 101] {
            let mut decoder = StreamDecoder::new(100);
            decoder.room()[..2].copy_from_slice(&length.to_be_bytes());
            decoder.filled(2);
            assert_eq!(decoder.next_datagram().unwrap_err().length, usize::from(length));
        }
    }

    proptest! {
        #[test]
        fn datagrams_survive_any_cut_of_the_stream(
            datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..2000), 0..200),
            cuts in prop::collection::vec(1usize..5000, 1..50),
        ) {
            let mut stream = Vec::new();
            for datagram in &datagrams {
                stream.extend_from_slice(&(datagram.len() as u16).to_be_bytes());
                stream.extend_from_slice(datagram);
            }
            let mut decoder = StreamDecoder::new(2000);
            let mut received = Vec::new();
            let (mut rest, mut cuts) = (&stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let room = decoder.room();
                let count = rest.len().min(*cuts.next().unwrap()).min(room.len());
                prop_assert!(count > 0);
                room[..count].copy_from_slice(&rest[..count]);
                rest = &rest[count..];
                decoder.filled(count);
                while let Some(datagram) = decoder.next_datagram().unwrap() {
                    received.push(datagram.to_vec());
                }
            }
            prop_assert_eq!(received, datagrams);
        }
    }
}
