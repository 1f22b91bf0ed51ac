//! IDi and IDr payloads (RFC 7296 §3.5).

use adit_tunnel::wire::Writer;
use bytes::Bytes;
use nom::number::complete::be_u8;

use super::{
    numbers::IdType,
    wire::{Parsed, array, rest},
};

/// ID payload (§3.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identification {
    pub(crate) id_type: IdType,
    /// Zero when we send, ignored when received; yet AUTH covers them as received (§2.15).
    pub(crate) reserved: [u8; 3],
    pub(crate) data: Bytes,
}

impl Identification {
    /// An identification to send.
    pub(crate) fn new(id_type: IdType, data: impl Into<Bytes>) -> Self {
        Self { id_type, reserved: [0; 3], data: data.into() }
    }

    /// What AUTH covers: the payload without its generic header (`RestOfIDPayload` of §2.15).
    pub(crate) fn body(&self) -> Bytes {
        let mut w = Writer::with_capacity(4 + self.data.len());
        self.encode(&mut w);
        w.finish()
    }

    pub(super) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, id_type) = be_u8(input)?;
        let (input, reserved) = array(input)?;
        let (input, data) = rest(input)?;
        Ok((input, Self { id_type: IdType(id_type), reserved, data }))
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.u8(self.id_type.0);
        w.bytes(&self.reserved);
        w.bytes(&self.data);
    }
}
