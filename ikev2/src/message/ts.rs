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
