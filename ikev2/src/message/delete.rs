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

#[cfg(test)]
mod tests {
    use adit_tunnel::wire::DecodeError;
    use proptest::prelude::*;

    use super::*;
    use crate::message::tests::{any, each};

    proptest! {
        #[test]
        fn any_value_survives_and_no_cut_does(delete in any::delete()) {
            each::survives(&delete, Delete::parse, Delete::encode, None);
        }
    }

    #[test]
    fn sizes_and_counts_must_be_those_of_the_protocol() {
        let (size, number) = (Err(DecodeError::Invalid("SPI size")), Err(DecodeError::Invalid("number of SPIs")));
        let cases = [
            ("01000000", Ok(Delete::Ike)),
            ("03040001 01020304", Ok(Delete::Esp(vec![0x0102_0304]))),
            ("03040000", Ok(Delete::Esp(vec![]))),
            ("02040001 01020304", Ok(Delete::Other(ProtocolId::AH))),
            ("00000000", Ok(Delete::Other(ProtocolId::NONE))),
            ("01080001 0102030405060708", size.clone()),
            ("01000001", size.clone()),
            ("01040000", size.clone()),
            ("01000000 00", Err(DecodeError::TrailingBytes)),
            ("03000001", size.clone()),
            ("03000000", size.clone()),
            ("0300ffff", size.clone()),
            ("03080001 0102030405060708", size.clone()),
            ("03030001 010203", size),
            ("03040002 01020304", number.clone()),
            ("0304ffff 01020304", number.clone()),
            ("03040000 01020304", number.clone()),
            ("03040001 0102030405", number),
            ("0204ffff 01020304", Err(DecodeError::Truncated)),
            ("02040001 0102030405", Err(DecodeError::TrailingBytes)),
            ("ffffffff", Err(DecodeError::Truncated)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(each::read(bytes, Delete::parse), expected, "{bytes}");
        }
    }
}
