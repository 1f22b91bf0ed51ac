//! Nonce payload (RFC 7296 §3.9).

use bytes::Bytes;

use super::wire::{Parsed, require, rest};

/// Reads a nonce of 16 to 256 bytes.
pub(super) fn parse(input: &[u8]) -> Parsed<'_, Bytes> {
    require((16..=256).contains(&input.len()), "nonce length")?;
    rest(input)
}
