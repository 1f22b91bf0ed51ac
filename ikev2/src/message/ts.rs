//! TSi and TSr payloads (RFC 7296 §3.13).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_tunnel::wire::{DecodeError, Writer};
use nom::{
    Parser,
    bytes::complete::take,
    combinator::map,
    number::complete::{be_u8, be_u16, be_u32, be_u128},
};

use super::{
    numbers::TsType,
    wire::{Parsed, array, finish, invalid, require},
};

/// One traffic selector of IPv4 or IPv6 addresses (§3.13.1), both ends inclusive. Selectors of other types are dropped when
/// decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TrafficSelector {
    /// IP protocol; 0 is any.
    pub(crate) protocol: u8,
    /// The first is not above the second, except in (65535, 0), which means "OPAQUE": no port at all.
    pub(crate) ports: (u16, u16),
    /// Both of one family, the first not above the second.
    pub(crate) addresses: (IpAddr, IpAddr),
}

/// Reads the body of a payload: what is of a type we know, at most 255.
pub(super) fn parse(input: &[u8]) -> Parsed<'_, Vec<TrafficSelector>> {
    let (input, number) = be_u8(input)?;
    let (mut input, _reserved) = array::<3>(input)?;
    require(number > 0, "number of traffic selectors")?;
    let mut selectors = Vec::new();
    for _ in 0..number {
        let (after, selector) = TrafficSelector::parse(input)?;
        selectors.extend(selector);
        input = after;
    }
    Ok((input, selectors))
}

/// Writes the body of a payload.
pub(super) fn encode(selectors: &[TrafficSelector], w: &mut Writer) {
    w.u8(selectors.len() as u8);
    w.bytes(&[0; 3]);
    selectors.iter().for_each(|selector| selector.encode(w));
}

impl TrafficSelector {
    const OPAQUE: (u16, u16) = (u16::MAX, 0);

    /// `None` if it is of a type we do not know.
    fn parse(input: &[u8]) -> Parsed<'_, Option<Self>> {
        let (input, ts_type) = be_u8(input)?;
        let (input, protocol) = be_u8(input)?;
        let (input, length) = be_u16(input)?;
        let content = length.checked_sub(4).ok_or_else(|| invalid("selector length"))?;
        let (input, content) = take(content)(input)?;
        let selector = match TsType(ts_type) {
            TsType::IPV4_RANGE => Self::parse_content(protocol, content, map(be_u32, |a| Ipv4Addr::from(a).into())),
            TsType::IPV6_RANGE => Self::parse_content(protocol, content, map(be_u128, |a| Ipv6Addr::from(a).into())),
            _ => return Ok((input, None)),
        };
        Ok((input, Some(finish(selector).map_err(nom::Err::Failure)?)))
    }

    fn parse_content<'a>(
        protocol: u8,
        input: &'a [u8],
        mut address: impl Parser<&'a [u8], Output = IpAddr, Error = DecodeError>,
    ) -> Parsed<'a, Self> {
        let (input, first_port) = be_u16(input)?;
        let (input, last_port) = be_u16(input)?;
        let (input, first) = address.parse(input)?;
        let (input, last) = address.parse(input)?;
        let ports = (first_port, last_port);
        require(first_port <= last_port || ports == Self::OPAQUE, "port range")?;
        require(first <= last, "address range")?;
        Ok((input, Self { protocol, ports, addresses: (first, last) }))
    }

    fn encode(&self, w: &mut Writer) {
        let ts_type = if self.addresses.0.is_ipv4() { TsType::IPV4_RANGE } else { TsType::IPV6_RANGE };
        w.u8(ts_type.0);
        w.u8(self.protocol);
        w.length_u16(4, |w| {
            w.u16(self.ports.0);
            w.u16(self.ports.1);
            for address in [self.addresses.0, self.addresses.1] {
                match address {
                    IpAddr::V4(address) => w.bytes(&address.octets()),
                    IpAddr::V6(address) => w.bytes(&address.octets()),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::tests::{any, each};

    fn read(bytes: &str) -> Result<Vec<TrafficSelector>, DecodeError> {
        each::read(bytes, parse)
    }

    proptest! {
        #[test]
        fn any_value_survives_and_no_cut_does(selectors in any::traffic_selectors()) {
            each::survives(&selectors, parse, |selectors, w| encode(selectors, w), None);
        }
    }

    /// The first selector of the example of RFC 7296 §3.13, and all of IPv6.
    #[test]
    fn selectors_of_both_families_are_read_and_written() {
        let host = TrafficSelector {
            protocol: 17,
            ports: (100, 100),
            addresses: ([198, 51, 100, 66].into(), [198, 51, 100, 66].into()),
        };
        let any = TrafficSelector { protocol: 0, ports: (0, 65535), addresses: ([0u8; 16].into(), [255u8; 16].into()) };
        let bytes = format!(
            "02000000 07110010 00640064 c6336442 c6336442 08000028 0000ffff {} {}",
            "00".repeat(16),
            "ff".repeat(16)
        );
        each::is(&bytes, &vec![host, any], parse, |selectors, w| encode(selectors, w));
        assert_eq!(read(&bytes.replacen("02000000", "02ffffff", 1)), Ok(vec![host, any]), "reserved");
    }

    #[test]
    fn selectors_of_other_types_are_skipped() {
        let known = "07000010 0000ffff 0a000000 0affffff";
        let label = "0a000006 4142";
        assert_eq!(read(&format!("02000000 {label} {known}")).map(|selectors| selectors.len()), Ok(1));
        assert_eq!(read(&format!("01000000 {label}")), Ok(vec![]));
        assert_eq!(read("02000000 ff000004 ff000004"), Ok(vec![]));
    }

    #[test]
    fn counts_lengths_and_ranges_that_lie_are_refused() {
        let cases = [
            ("", DecodeError::Truncated),
            ("00000000", DecodeError::Invalid("number of traffic selectors")),
            ("01000000", DecodeError::Truncated),
            ("02000000 07000010 0000ffff 0a000000 0affffff", DecodeError::Truncated),
            ("ff000000 07000010 0000ffff 0a000000 0affffff", DecodeError::Truncated),
            ("01000000 07000010 0000ffff 0a000000 0affffff 00", DecodeError::TrailingBytes),
            ("01000000 07000000 0000ffff 0a000000 0affffff", DecodeError::Invalid("selector length")),
            ("01000000 07000003 0000ffff 0a000000 0affffff", DecodeError::Invalid("selector length")),
            ("01000000 07000004 0000ffff 0a000000 0affffff", DecodeError::Truncated),
            ("01000000 0700000f 0000ffff 0a000000 0affffff", DecodeError::Truncated),
            ("01000000 07000011 0000ffff 0a000000 0affffff 00", DecodeError::TrailingBytes),
            ("01000000 08000010 0000ffff 0a000000 0affffff", DecodeError::Truncated),
            ("01000000 ff000000", DecodeError::Invalid("selector length")),
            ("01000000 07000010 0000ffff 0affffff 0a000000", DecodeError::Invalid("address range")),
            ("01000000 07000010 ffff0001 0a000000 0affffff", DecodeError::Invalid("port range")),
        ];
        for (bytes, error) in cases {
            assert_eq!(read(bytes), Err(error), "{bytes}");
        }
        assert_eq!(
            read("01000000 07060010 ffff0000 0a000000 0affffff").map(|all| all[0].ports),
            Ok((65535, 0)),
            "OPAQUE"
        );
    }
}
