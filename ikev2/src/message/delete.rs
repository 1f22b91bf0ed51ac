//! Delete payload (RFC 7296 §3.11).

use adit_tunnel::wire::Writer;
use nom::{
    Parser,
    bytes::complete::take,
    combinator::all_consuming,
    multi::count,
    number::complete::{be_u8, be_u16, be_u32},
};

use super::{
    numbers::ProtocolId,
    wire::{Parsed, require},
};

/// Delete payload (§3.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Delete {
    /// The IKE SA itself.
    Ike,
    /// ESP SAs by the SPIs the sender receives on.
    Esp(Vec<u32>),
    /// SAs of a protocol that is not ours; ignored. Never written with SPIs.
    Other(ProtocolId),
}

impl Delete {
    pub(super) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, protocol) = be_u8(input)?;
        let (input, spi_size) = be_u8(input)?;
        let (input, number) = be_u16(input)?;
        match ProtocolId(protocol) {
            ProtocolId::IKE => {
                require(spi_size == 0 && number == 0, "SPI size")?;
                Ok((input, Self::Ike))
            }
            ProtocolId::ESP => {
                require(spi_size == 4, "SPI size")?;
                // Checked first: `count` makes room for all of them.
                require(input.len() == usize::from(number) * 4, "number of SPIs")?;
                let (input, spis) = all_consuming(count(be_u32, number.into())).parse(input)?;
                Ok((input, Self::Esp(spis)))
            }
            other => {
                let (input, _) = take(usize::from(number) * usize::from(spi_size))(input)?;
                Ok((input, Self::Other(other)))
            }
        }
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        let (protocol, spi_size, spis) = match self {
            Self::Ike => (ProtocolId::IKE, 0, &[][..]),
            Self::Esp(spis) => (ProtocolId::ESP, 4, &spis[..]),
            Self::Other(protocol) => (*protocol, 0, &[][..]),
        };
        w.u8(protocol.0);
        w.u8(spi_size);
        w.u16(spis.len() as u16);
        spis.iter().for_each(|spi| w.u32(*spi));
    }
}
