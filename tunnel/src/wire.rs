//! Helpers for wire formats: a writer that cannot fail, the error of every parser.

use bytes::{BufMut, Bytes, BytesMut};
use nom::error::{ErrorKind, ParseError};

/// Why bytes are not the structure they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ends inside this structure.
    #[error("the input ends too early")]
    Truncated,
    /// Bytes remain after the structure.
    #[error("bytes remain after the end")]
    TrailingBytes,
    /// A field has a value it must not have; names the field.
    #[error("{0} has a value it must not have")]
    Invalid(&'static str),
}

impl<'a> ParseError<&'a [u8]> for DecodeError {
    fn from_error_kind(_: &'a [u8], kind: ErrorKind) -> Self {
        if kind == ErrorKind::Eof { Self::Truncated } else { Self::Invalid("field") }
    }

    fn append(_: &'a [u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// Writes fields in network byte order.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
}

impl Writer {
    /// An empty writer with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { buffer: BytesMut::with_capacity(capacity) }
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) {
        self.buffer.put_u8(value);
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) {
        self.buffer.put_u16(value);
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) {
        self.buffer.put_u32(value);
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.buffer.put_u64(value);
    }

    /// Appends bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.buffer.put_slice(value);
    }

    /// Appends what `write` appends, behind its length as two bytes, saturating.
    pub fn length_prefixed_u16(&mut self, write: impl FnOnce(&mut Self)) {
        self.length_u16(0, write);
    }

    /// As [`length_prefixed_u16`](Self::length_prefixed_u16), but the length also counts `header` bytes: those of itself and of
    /// what stands before it.
    pub fn length_u16(&mut self, header: usize, write: impl FnOnce(&mut Self)) {
        let start = self.buffer.len();
        self.u16(0);
        write(self);
        let length = u16::try_from(header + self.buffer.len() - start - 2).unwrap_or(u16::MAX);
        if let Some(field) = self.buffer.get_mut(start..start + 2) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The bytes written so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.buffer
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.buffer.freeze()
    }

    /// The bytes, to be changed further.
    #[must_use]
    pub fn into_inner(self) -> BytesMut {
        self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_filled_in_afterwards() {
        let mut w = Writer::default();
        w.u8(7);
        w.length_prefixed_u16(|w| w.bytes(b"abc"));
        w.length_u16(4, |w| w.bytes(b"d"));
        assert_eq!(w.as_slice(), b"\x07\x00\x03abc\x00\x05d");
    }
}
