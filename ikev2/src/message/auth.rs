//! AUTH payload (RFC 7296 §3.8).

use std::fmt;

use adit_tunnel::wire::Writer;
use bytes::Bytes;
use nom::number::complete::be_u8;

use super::{
    numbers::AuthMethod,
    wire::{Parsed, array, rest},
};

/// AUTH payload (§3.8). Debug does not show the data: of a weak shared key they are enough to guess it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Authentication {
    pub(crate) method: AuthMethod,
    pub(crate) data: Bytes,
}

impl Authentication {
    pub(super) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, method) = be_u8(input)?;
        let (input, _reserved) = array::<3>(input)?;
        let (input, data) = rest(input)?;
        Ok((input, Self { method: AuthMethod(method), data }))
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.u8(self.method.0);
        w.bytes(&[0; 3]);
        w.bytes(&self.data);
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authentication({:?}, {} bytes)", self.method, self.data.len())
    }
}
