//! CP payload (RFC 7296 §3.15, RFC 8598 §4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_tunnel::{IpNet, wire::Writer};
use bytes::Bytes;
use nom::{
    bytes::complete::take,
    number::complete::{be_u8, be_u16},
};

use super::{
    numbers::{CfgAttribute, CfgType},
    wire::{Parsed, array, require},
};

/// CP payload (§3.15): attributes as they came; the methods read those whose value has the length it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Configuration {
    pub(crate) cfg_type: CfgType,
    pub(crate) attributes: Vec<(CfgAttribute, Bytes)>,
}

impl Configuration {
    /// Our own judgement: split tunnels list hundreds of subnets, not thousands.
    const MAX_ATTRIBUTES: usize = 1024;
    /// The bit before an attribute's type is reserved.
    const TYPE_MASK: u16 = 0x7fff;

    /// A request for these attributes, whatever their values.
    pub(crate) fn request(attributes: &[CfgAttribute]) -> Self {
        let attributes = attributes.iter().map(|attribute| (*attribute, Bytes::new())).collect();
        Self { cfg_type: CfgType::REQUEST, attributes }
    }

    /// Every value of one attribute, in order; empty ones, too.
    pub(crate) fn values(&self, attribute: CfgAttribute) -> impl Iterator<Item = &Bytes> {
        self.attributes.iter().filter(move |(kind, _)| *kind == attribute).map(|(_, value)| value)
    }

    /// INTERNAL_IP4_ADDRESS.
    pub(crate) fn ip4_addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.values(CfgAttribute::INTERNAL_IP4_ADDRESS).filter_map(|value| ip4(value))
    }

    /// INTERNAL_IP6_ADDRESS, each with its prefix; some servers leave the prefix out.
    pub(crate) fn ip6_addresses(&self) -> impl Iterator<Item = IpNet> {
        self.values(CfgAttribute::INTERNAL_IP6_ADDRESS)
            .filter_map(|value| ip6_net(value).or_else(|| ip6(value).map(IpNet::host)))
    }

    /// INTERNAL_IP4_DNS and INTERNAL_IP6_DNS, in the order they came.
    pub(crate) fn dns_servers(&self) -> impl Iterator<Item = IpAddr> {
        self.attributes.iter().filter_map(|(kind, value)| match *kind {
            CfgAttribute::INTERNAL_IP4_DNS => ip4(value).map(IpAddr::V4),
            CfgAttribute::INTERNAL_IP6_DNS => ip6(value).map(IpAddr::V6),
            _ => None,
        })
    }

    /// INTERNAL_IP4_SUBNET and INTERNAL_IP6_SUBNET.
    pub(crate) fn subnets(&self) -> impl Iterator<Item = IpNet> {
        self.attributes.iter().filter_map(|(kind, value)| match *kind {
            CfgAttribute::INTERNAL_IP4_SUBNET => ip4_net(value),
            CfgAttribute::INTERNAL_IP6_SUBNET => ip6_net(value),
            _ => None,
        })
    }

    /// INTERNAL_DNS_DOMAIN (RFC 8598 §4.1): names of printable ASCII that may go into a resolver's configuration.
    pub(crate) fn dns_domains(&self) -> impl Iterator<Item = &str> {
        self.values(CfgAttribute::INTERNAL_DNS_DOMAIN).filter_map(|value| domain(value))
    }

    pub(super) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, cfg_type) = be_u8(input)?;
        let (mut input, _reserved) = array::<3>(input)?;
        let mut attributes = Vec::new();
        while !input.is_empty() {
            require(attributes.len() < Self::MAX_ATTRIBUTES, "number of attributes")?;
            let (after, attribute) = Self::parse_attribute(input)?;
            attributes.push(attribute);
            input = after;
        }
        Ok((input, Self { cfg_type: CfgType(cfg_type), attributes }))
    }

    fn parse_attribute(input: &[u8]) -> Parsed<'_, (CfgAttribute, Bytes)> {
        let (input, kind) = be_u16(input)?;
        let (input, length) = be_u16(input)?;
        let (input, value) = take(length)(input)?;
        Ok((input, (CfgAttribute(kind & Self::TYPE_MASK), Bytes::copy_from_slice(value))))
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.u8(self.cfg_type.0);
        w.bytes(&[0; 3]);
        for (kind, value) in &self.attributes {
            w.u16(kind.0 & Self::TYPE_MASK);
            w.length_prefixed_u16(|w| w.bytes(value));
        }
    }
}

fn ip4(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

fn ip6(value: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from)
}

/// An address and a netmask.
fn ip4_net(value: &[u8]) -> Option<IpNet> {
    let (address, mask) = value.split_at_checked(4)?;
    IpNet::from_netmask(ip4(address)?, ip4(mask)?)
}

/// An address and the length of a prefix.
fn ip6_net(value: &[u8]) -> Option<IpNet> {
    let (prefix, address) = value.split_last()?;
    IpNet::new(ip6(address)?, *prefix)
}

fn domain(value: &[u8]) -> Option<&str> {
    // 253 is the longest name in presentation format (RFC 1035 §2.3.4); the dot of the root may follow.
    let name = str::from_utf8(value).ok().filter(|name| (1..=254).contains(&name.len()))?;
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)).then_some(name)
}
