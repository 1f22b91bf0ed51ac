//! EAP payload (RFC 7296 §3.16).

use bytes::Bytes;
use nom::number::complete::{be_u8, be_u16};

use super::wire::{Parsed, require, rest};

/// Reads a whole EAP packet, of which only the length is checked here.
pub(super) fn parse(input: &[u8]) -> Parsed<'_, Bytes> {
    let (after, _code) = be_u8(input)?;
    let (after, _identifier) = be_u8(after)?;
    let (_, length) = be_u16(after)?;
    require(usize::from(length) == input.len(), "EAP length")?;
    rest(input)
}
