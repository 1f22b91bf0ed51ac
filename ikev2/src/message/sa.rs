//! SA payload: proposals and their transforms (RFC 7296 §3.3).

use adit_tunnel::wire::Writer;
use bytes::Bytes;
use nom::{
    bytes::complete::take,
    number::complete::{be_u8, be_u16},
};

use super::{
    numbers::{ProtocolId, TransformType},
    wire::{Parsed, finish, invalid, require},
};

/// SA payload (§3.3): proposals, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecurityAssociation {
    pub(crate) proposals: Vec<Proposal>,
}

/// One proposal (§3.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proposal {
    /// Counts from 1.
    pub(crate) number: u8,
    pub(crate) protocol: ProtocolId,
    /// Empty in IKE_SA_INIT, 8 bytes for a rekeyed IKE SA, 4 for ESP.
    pub(crate) spi: Bytes,
    pub(crate) transforms: Vec<Transform>,
}

/// One transform (§3.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transform {
    pub(crate) transform_type: TransformType,
    pub(crate) id: u16,
    /// The key length attribute, in bits.
    pub(crate) key_bits: Option<u16>,
    /// An attribute other than one key length stands here: such a transform is never chosen. Never written.
    pub(crate) unknown_attribute: bool,
}

impl SecurityAssociation {
    /// Our own judgement: real peers send fewer than ten.
    const MAX_PROPOSALS: usize = 64;

    pub(super) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, proposals) = substructures(input, Proposal::MORE, Self::MAX_PROPOSALS, Proposal::parse)?;
        Ok((input, Self { proposals }))
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        write_substructures(w, &self.proposals, Proposal::MORE, Proposal::encode);
    }
}

impl Proposal {
    /// "Last Substruc" where another proposal follows.
    const MORE: u8 = 2;

    /// Reads what follows the substructure's length.
    fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, number) = be_u8(input)?;
        let (input, protocol) = be_u8(input)?;
        let (input, spi_size) = be_u8(input)?;
        let (input, count) = be_u8(input)?;
        let (input, spi) = take(spi_size)(input)?;
        let protocol = ProtocolId(protocol);
        require(Self::is_spi_size(protocol, spi.len()), "SPI size")?;
        let (input, transforms) = substructures(input, Transform::MORE, count.into(), Transform::parse)?;
        require(transforms.len() == usize::from(count), "number of transforms")?;
        Ok((input, Self { number, protocol, spi: Bytes::copy_from_slice(spi), transforms }))
    }

    fn is_spi_size(protocol: ProtocolId, size: usize) -> bool {
        match protocol {
            ProtocolId::IKE => matches!(size, 0 | 8),
            ProtocolId::ESP | ProtocolId::AH => size == 4,
            _ => true,
        }
    }

    fn encode(&self, w: &mut Writer) {
        w.u8(self.number);
        w.u8(self.protocol.0);
        w.u8(self.spi.len() as u8);
        w.u8(self.transforms.len() as u8);
        w.bytes(&self.spi);
        write_substructures(w, &self.transforms, Transform::MORE, |transform, w| transform.encode(w));
    }
}

impl Transform {
    /// "Last Substruc" where another transform follows.
    const MORE: u8 = 3;
    /// The key length attribute in TV format, the only attribute there is (§3.3.5).
    const KEY_LENGTH: u16 = Self::TV | 14;
    /// The bit of the attribute type that says: a value of two bytes instead of a length follows.
    const TV: u16 = 0x8000;

    /// A transform without attributes.
    pub(crate) const fn new(transform_type: TransformType, id: u16) -> Self {
        Self { transform_type, id, key_bits: None, unknown_attribute: false }
    }

    /// Reads what follows the substructure's length.
    fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, transform_type) = be_u8(input)?;
        let (input, _reserved) = be_u8(input)?;
        let (mut input, id) = be_u16(input)?;
        let mut transform = Self::new(TransformType(transform_type), id);
        while !input.is_empty() {
            input = transform.parse_attribute(input)?.0;
        }
        Ok((input, transform))
    }

    fn parse_attribute<'a>(&mut self, input: &'a [u8]) -> Parsed<'a, ()> {
        let (input, kind) = be_u16(input)?;
        let (input, value) = be_u16(input)?;
        if kind == Self::KEY_LENGTH && self.key_bits.is_none() {
            self.key_bits = Some(value);
            return Ok((input, ()));
        }
        self.unknown_attribute = true;
        let following = if kind & Self::TV == 0 { value } else { 0 };
        take(following)(input).map(|(input, _)| (input, ()))
    }

    fn encode(self, w: &mut Writer) {
        w.u8(self.transform_type.0);
        w.u8(0);
        w.u16(self.id);
        if let Some(bits) = self.key_bits {
            w.u16(Self::KEY_LENGTH);
            w.u16(bits);
        }
    }
}

/// Reads a list of substructures up to the end of the input: last or more, reserved, length, content. One at least.
fn substructures<'a, T>(
    mut input: &'a [u8],
    more: u8,
    max: usize,
    parse: impl Fn(&'a [u8]) -> Parsed<'a, T>,
) -> Parsed<'a, Vec<T>> {
    let mut list = Vec::new();
    loop {
        require(list.len() < max, "number of substructures")?;
        let (after, last) = be_u8(input)?;
        let (after, _reserved) = be_u8(after)?;
        let (after, length) = be_u16(after)?;
        let content = length.checked_sub(4).ok_or_else(|| invalid("substructure length"))?;
        let (after, content) = take(content)(after)?;
        list.push(finish(parse(content)).map_err(nom::Err::Failure)?);
        // The mark is redundant (§3.3.1), so a list that contradicts it was made to be read in two ways.
        require(last == if after.is_empty() { 0 } else { more }, "last substructure")?;
        if after.is_empty() {
            return Ok((after, list));
        }
        input = after;
    }
}

fn write_substructures<T>(w: &mut Writer, list: &[T], more: u8, encode: impl Fn(&T, &mut Writer)) {
    for (index, item) in list.iter().enumerate() {
        w.u8(if index + 1 == list.len() { 0 } else { more });
        w.u8(0);
        w.length_u16(4, |w| encode(item, w));
    }
}

#[cfg(test)]
mod tests {
    use adit_tunnel::wire::DecodeError;
    use proptest::prelude::*;

    use super::*;
    use crate::message::tests::{any, each};

    /// The example of RFC 7296 §3.3: two proposals for ESP.
    const ESP: &str = "02000050 01030407 052357bb \
                       0300000c 0100000c 800e0080  0300000c 0100000c 800e00c0  0300000c 0100000c 800e0100 \
                       03000008 03000002  03000008 03000005  03000008 05000001  00000008 05000000 \
                       00000034 02030404 35a1d6f2 \
                       0300000c 01000012 800e0080  0300000c 01000012 800e0100  03000008 05000001  00000008 05000000";

    fn read(bytes: &str) -> Result<SecurityAssociation, DecodeError> {
        each::read(bytes, SecurityAssociation::parse)
    }

    /// A proposal for IKE of one transform with these attributes.
    fn with_attributes(attributes: &str) -> Result<Transform, DecodeError> {
        let length = attributes.replace(' ', "").len() / 2;
        let bytes = format!("0000 {:04x} 01010001 0000 {:04x} 0100000c {attributes}", 16 + length, 8 + length);
        read(&bytes).map(|sa| sa.proposals[0].transforms[0])
    }

    proptest! {
        #[test]
        fn any_value_survives_and_no_cut_does(sa in any::security_association()) {
            each::survives(&sa, SecurityAssociation::parse, SecurityAssociation::encode, None);
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_read_and_written() {
        let transform = |kind, id, key_bits| Transform { key_bits, ..Transform::new(TransformType(kind), id) };
        let spi = |spi: u32| Bytes::copy_from_slice(&spi.to_be_bytes());
        let first = [128, 192, 256].map(|bits| transform(1, 12, Some(bits)));
        let first =
            first.into_iter().chain([(3, 2), (3, 5), (5, 1), (5, 0)].map(|(kind, id)| transform(kind, id, None)));
        let second = [128, 256].map(|bits| transform(1, 18, Some(bits)));
        let second = second.into_iter().chain([(5, 1), (5, 0)].map(|(kind, id)| transform(kind, id, None)));
        let proposal = |number, spi, transforms| Proposal { number, protocol: ProtocolId::ESP, spi, transforms };
        let proposals =
            vec![proposal(1, spi(0x0523_57bb), first.collect()), proposal(2, spi(0x35a1_d6f2), second.collect())];
        each::is(ESP, &SecurityAssociation { proposals }, SecurityAssociation::parse, SecurityAssociation::encode);
    }

    #[test]
    fn counts_and_marks_that_lie_are_refused() {
        let cases = [
            ("", "", DecodeError::Truncated),
            ("02000050", "00000050", DecodeError::Invalid("last substructure")),
            ("02000050", "03000050", DecodeError::Invalid("last substructure")),
            ("00000034", "02000034", DecodeError::Invalid("last substructure")),
            ("01030407", "01030406", DecodeError::Invalid("number of substructures")),
            ("01030407", "01030408", DecodeError::Invalid("number of transforms")),
            ("01030407", "010304ff", DecodeError::Invalid("number of transforms")),
            ("01030407", "01030400", DecodeError::Invalid("number of substructures")),
            ("01030407", "01030307", DecodeError::Invalid("SPI size")),
            ("01030407", "01010407", DecodeError::Invalid("SPI size")),
            ("01030407", "01010007", DecodeError::Truncated),
            ("01030407", "0109ff07", DecodeError::Truncated),
            ("02000050", "02000000", DecodeError::Invalid("substructure length")),
            ("02000050", "02000003", DecodeError::Invalid("substructure length")),
            ("02000050", "02000004", DecodeError::Truncated),
            ("02000050", "0200ffff", DecodeError::Truncated),
            ("03000008 03000002", "03000000 03000002", DecodeError::Invalid("substructure length")),
            ("03000008 03000002", "03000007 03000002", DecodeError::Truncated),
        ];
        for (good, bad, error) in cases {
            let bytes = if good.is_empty() { String::new() } else { ESP.replacen(good, bad, 1) };
            assert_eq!(read(&bytes), Err(error), "{bad} for {good}");
        }
    }

    #[test]
    fn what_is_reserved_is_ignored() {
        let reserved = ESP.replacen("02000050", "02ff0050", 1).replacen("03000008 0300", "03ff0008 03ff", 1);
        assert_eq!(read(&reserved), read(ESP));
    }

    #[test]
    fn only_one_key_length_is_understood() {
        let key = |bits| Ok((Some(bits), false));
        let cases = [
            ("", Ok((None, false))),
            ("800e0080", key(128)),
            ("800e0080 800e0100", Ok((Some(128), true))),
            // In the format of values of any length.
            ("000e0002 0080", Ok((None, true))),
            ("800f0080", Ok((None, true))),
            ("800e0080 00110000", Ok((Some(128), true))),
            ("00000000 00000000 00000000", Ok((None, true))),
            ("00110005 00000000", Err(DecodeError::Truncated)),
            ("0011ffff", Err(DecodeError::Truncated)),
            ("800e00", Err(DecodeError::Truncated)),
        ];
        for (attributes, expected) in cases {
            let found = with_attributes(attributes).map(|transform| (transform.key_bits, transform.unknown_attribute));
            assert_eq!(found, expected, "{attributes}");
        }
    }

    #[test]
    fn more_than_64_proposals_are_refused() {
        let proposal = "02000010 01010001 00000008 0100000c";
        let last = "00000010 01010001 00000008 0100000c";
        assert_eq!(read(&(proposal.repeat(63) + last)).map(|sa| sa.proposals.len()), Ok(64));
        assert_eq!(read(&(proposal.repeat(64) + last)), Err(DecodeError::Invalid("number of substructures")));
    }
}
