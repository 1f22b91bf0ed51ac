//! KE payload (RFC 7296 §3.4).

use adit_tunnel::wire::Writer;
use bytes::Bytes;
use nom::number::complete::be_u16;

use super::{
    numbers::DhGroup,
    wire::{Parsed, rest},
};

/// KE payload (§3.4). Whether the length fits the group is for the group to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyExchange {
    pub(crate) group: DhGroup,
    pub(crate) public: Bytes,
}

impl KeyExchange {
    pub(super) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, group) = be_u16(input)?;
        let (input, _reserved) = be_u16(input)?;
        let (input, public) = rest(input)?;
        Ok((input, Self { group: DhGroup(group), public }))
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.u16(self.group.0);
        w.u16(0);
        w.bytes(&self.public);
    }
}
