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
    #[cfg(test)]
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

#[cfg(test)]
mod tests {
    use adit_tunnel::wire::DecodeError;
    use proptest::prelude::*;

    use super::*;
    use crate::message::tests::{any, each};

    fn reply(attributes: &[(CfgAttribute, &[u8])]) -> Configuration {
        let attributes = attributes.iter().map(|(kind, value)| (*kind, Bytes::copy_from_slice(value))).collect();
        Configuration { cfg_type: CfgType::REPLY, attributes }
    }

    proptest! {
        #[test]
        fn any_value_survives_and_only_cuts_between_attributes_do(cp in any::configuration()) {
            each::survives(&cp, Configuration::parse, Configuration::encode, Some(4));
        }
    }

    #[test]
    fn a_request_has_empty_attributes() {
        let request = Configuration::request(&[CfgAttribute::INTERNAL_IP4_ADDRESS, CfgAttribute::INTERNAL_DNS_DOMAIN]);
        each::is("01000000 00010000 00190000", &request, Configuration::parse, Configuration::encode);
        assert_eq!(each::read("01ffffff 80010000 80190000", Configuration::parse), Ok(request), "reserved");
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bytes in ["0200", "02000000 0001", "02000000 00010004 0a0000", "02000000 0001ffff", "02000000 00010000 00"]
        {
            assert_eq!(each::read(bytes, Configuration::parse), Err(DecodeError::Truncated), "{bytes}");
        }
    }

    #[test]
    fn more_than_1024_attributes_are_refused() {
        let bytes = |number| format!("02000000 {}", "00010000".repeat(number));
        assert_eq!(each::read(&bytes(1024), Configuration::parse).map(|cp| cp.attributes.len()), Ok(1024));
        let error = DecodeError::Invalid("number of attributes");
        assert_eq!(each::read(&bytes(1025), Configuration::parse), Err(error));
    }

    #[test]
    fn a_reply_tells_addresses_servers_subnets_and_domains() {
        let mut ip6 = [0; 17];
        (ip6[0], ip6[15], ip6[16]) = (0xfd, 1, 64);
        let cp = reply(&[
            (CfgAttribute::INTERNAL_IP4_ADDRESS, &[10, 8, 0, 2]),
            (CfgAttribute::INTERNAL_IP6_ADDRESS, &ip6),
            (CfgAttribute::INTERNAL_IP6_ADDRESS, &ip6[..16]),
            (CfgAttribute::INTERNAL_IP6_DNS, &ip6[..16]),
            (CfgAttribute::INTERNAL_IP4_DNS, &[10, 8, 0, 1]),
            (CfgAttribute::INTERNAL_IP4_SUBNET, &[10, 0, 0, 0, 255, 0, 0, 0]),
            (CfgAttribute::INTERNAL_IP6_SUBNET, &ip6),
            (CfgAttribute::INTERNAL_DNS_DOMAIN, b"corp.example"),
        ]);
        let text = |items: Vec<String>| items.join(" ");
        assert_eq!(cp.ip4_addresses().collect::<Vec<_>>(), [Ipv4Addr::new(10, 8, 0, 2)]);
        assert_eq!(text(cp.ip6_addresses().map(|net| net.to_string()).collect()), "fd00::1/64 fd00::1/128");
        assert_eq!(text(cp.dns_servers().map(|server| server.to_string()).collect()), "fd00::1 10.8.0.1");
        assert_eq!(text(cp.subnets().map(|net| net.to_string()).collect()), "10.0.0.0/8 fd00::1/64");
        assert_eq!(cp.dns_domains().collect::<Vec<_>>(), ["corp.example"]);
    }

    #[test]
    fn values_of_a_length_or_content_they_must_not_have_tell_nothing() {
        let long = [b'a'; 255];
        let mut prefix_too_long = [0; 17];
        prefix_too_long[16] = 129;
        let cp = reply(&[
            (CfgAttribute::INTERNAL_IP4_ADDRESS, &[]),
            (CfgAttribute::INTERNAL_IP4_ADDRESS, &[1, 2, 3]),
            (CfgAttribute::INTERNAL_IP4_ADDRESS, &[1, 2, 3, 4, 5]),
            (CfgAttribute::INTERNAL_IP6_ADDRESS, &[]),
            (CfgAttribute::INTERNAL_IP6_ADDRESS, &prefix_too_long),
            (CfgAttribute::INTERNAL_IP4_DNS, &[]),
            (CfgAttribute::INTERNAL_IP6_DNS, &[0; 17]),
            (CfgAttribute::INTERNAL_IP4_SUBNET, &[10, 0, 0, 0, 255, 0, 255, 0]),
            (CfgAttribute::INTERNAL_IP4_SUBNET, &[10, 0, 0]),
            (CfgAttribute::INTERNAL_IP6_SUBNET, &[0; 16]),
            (CfgAttribute::INTERNAL_DNS_DOMAIN, b""),
            (CfgAttribute::INTERNAL_DNS_DOMAIN, b"corp.example\0"),
            (CfgAttribute::INTERNAL_DNS_DOMAIN, b"corp\nnameserver 192.0.2.1"),
            (CfgAttribute::INTERNAL_DNS_DOMAIN, "caf\u{e9}.example".as_bytes()),
            (CfgAttribute::INTERNAL_DNS_DOMAIN, &long),
        ]);
        assert_eq!(cp.ip4_addresses().count() + cp.ip6_addresses().count(), 0);
        assert_eq!(cp.dns_servers().count() + cp.subnets().count() + cp.dns_domains().count(), 0);
        assert_eq!(cp.values(CfgAttribute::INTERNAL_IP4_ADDRESS).count(), 3);
    }
}
