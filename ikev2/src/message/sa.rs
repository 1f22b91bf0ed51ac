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
