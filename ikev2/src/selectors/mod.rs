//! Traffic selectors: narrowing, comparing, and checking inner packets (RFC 7296 §2.9, §3.13; RFC 4301 §4.4.1, §5.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_tunnel::IpNet;

use crate::message::TrafficSelector;

/// All of IPv4.
pub(crate) const fn any_v4() -> TrafficSelector {
    unrestricted(IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::BROADCAST))
}

/// All of IPv6.
pub(crate) const fn any_v6() -> TrafficSelector {
    unrestricted(IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)))
}

/// One address.
pub(crate) const fn host(address: IpAddr) -> TrafficSelector {
    unrestricted(address, address)
}

/// All addresses of a network.
pub(crate) fn from_net(net: &IpNet) -> TrafficSelector {
    let family = Family::of(net.address());
    let hosts = low_bits(family.width().saturating_sub(net.prefix().into()));
    let bits = to_bits(net.address());
    unrestricted(family.address(bits & !hosts), family.address(bits | hosts))
}

/// What both sides allow, in the order of theirs, so that it includes their first choice if it may (RFC 7296 §2.9). Empty if
/// nothing is left. At most 64 selectors; what is beyond is left out, which only narrows further.
pub(crate) fn narrow(ours: &[TrafficSelector], theirs: &[TrafficSelector]) -> Vec<TrafficSelector> {
    let mut narrowed: Vec<TrafficSelector> = Vec::new();
    for common in theirs.iter().flat_map(|theirs| ours.iter().filter_map(|ours| ours.intersection(theirs))) {
        if narrowed.len() == MAX_NARROWED {
            break;
        }
        if !narrowed.iter().any(|other| other.includes(&common)) {
            narrowed.push(common);
        }
    }
    narrowed
}

/// Whether `whole` allows everything that `part` does; true for an empty `part`, which a caller refuses by itself.
///
/// Addresses may be spread over several selectors of `whole`, but not ports or protocols: what could only be pieced together
/// out of those counts as outside.
pub(crate) fn is_subset(part: &[TrafficSelector], whole: &[TrafficSelector]) -> bool {
    part.iter().all(|part| is_covered(part, whole))
}

/// The networks that cover exactly the addresses of the selectors, IPv4 first, without overlaps. At most 1024; what is
/// beyond is left out.
pub(crate) fn to_nets(selectors: &[TrafficSelector]) -> Vec<IpNet> {
    let mut nets = Vec::new();
    for family in [Family::V4, Family::V6] {
        for (start, end) in merged_ranges(selectors.iter(), family) {
            split(start, end, family, &mut nets);
        }
    }
    nets
}

/// Whether inner packets from the peer are what was agreed: source in the peer's selectors, destination in ours
/// (RFC 4301 §5.2 step 4).
#[derive(Debug, Clone)]
pub(crate) struct SelectorCheck {
    remote: Box<[TrafficSelector]>,
    local: Box<[TrafficSelector]>,
    /// Any packet of either family will do.
    everything: bool,
    /// Some selector restricts protocol or ports.
    looks_deeper: bool,
}

impl SelectorCheck {
    /// A check of packets from `remote` to `local`.
    pub(crate) fn new(remote: &[TrafficSelector], local: &[TrafficSelector]) -> Self {
        let all = [any_v4(), any_v6()];
        Self {
            remote: remote.into(),
            local: local.into(),
            everything: is_subset(&all, remote) && is_subset(&all, local),
            looks_deeper: remote
                .iter()
                .chain(local)
                .any(|selector| selector.protocol != 0 || selector.ports != ANY_PORTS),
        }
    }

    /// A check of packets of ours from `local` to `remote`; `None` where it would find nothing: packets are sent by their
    /// destination anyway, and an address of ours may send to anywhere.
    pub(crate) fn outbound(local: &[TrafficSelector], remote: &[TrafficSelector]) -> Option<Self> {
        let check = Self::new(local, remote);
        let of_family =
            |any: &TrafficSelector| local.iter().any(|ts| any.addresses.0.is_ipv4() == ts.addresses.0.is_ipv4());
        let families: Vec<_> = [any_v4(), any_v6()].into_iter().filter(of_family).collect();
        (check.looks_deeper || !is_subset(&families, remote)).then_some(check)
    }

    /// Judges a whole IPv4 or IPv6 packet. One whose protocol or ports cannot be found is refused if they matter.
    pub(crate) fn allows(&self, packet: &[u8]) -> bool {
        self.everything || self.finds(packet).unwrap_or(false)
    }

    fn finds(&self, packet: &[u8]) -> Option<bool> {
        let (source, destination) = addresses(packet)?;
        let upper = if self.looks_deeper { Upper::of(packet)? } else { Upper::UNSEEN };
        let from_remote = self.remote.iter().any(|s| s.matches(source, upper.protocol, upper.source));
        Some(from_remote && self.local.iter().any(|s| s.matches(destination, upper.protocol, upper.destination)))
    }
}

impl TrafficSelector {
    fn intersection(&self, other: &Self) -> Option<Self> {
        let protocol = match (self.protocol, other.protocol) {
            (0, protocol) | (protocol, 0) => protocol,
            (a, b) if a == b => a,
            _ => return None,
        };
        let ports = common_ports(self.ports, other.ports)?;
        let start = self.addresses.0.max(other.addresses.0);
        let end = self.addresses.1.min(other.addresses.1);
        // Never so for different families: every IPv4 address is less than any of IPv6.
        (start <= end).then_some(Self { protocol, ports, addresses: (start, end) })
    }

    /// Whether everything that `other` allows is allowed here.
    fn includes(&self, other: &Self) -> bool {
        self.intersection(other) == Some(*other)
    }

    fn matches(&self, address: IpAddr, protocol: u8, port: Port) -> bool {
        let in_range = self.addresses.0 <= address && address <= self.addresses.1;
        in_range && (self.protocol == 0 || self.protocol == protocol) && port_matches(self.ports, port)
    }
}

const fn unrestricted(start: IpAddr, end: IpAddr) -> TrafficSelector {
    TrafficSelector { protocol: 0, ports: ANY_PORTS, addresses: (start, end) }
}

fn common_ports(a: (u16, u16), b: (u16, u16)) -> Option<(u16, u16)> {
    match (a, b) {
        (ANY_PORTS, ports) | (ports, ANY_PORTS) => Some(ports),
        (a, b) => Some((a.0.max(b.0), a.1.min(b.1))).filter(|(start, end)| start <= end || a == b),
    }
}

fn port_matches(ports: (u16, u16), port: Port) -> bool {
    match (ports, port) {
        (ANY_PORTS, _) | (_, Port::Irrelevant) => true,
        (ports, Port::Obscured) => ports == OPAQUE_PORTS,
        ((start, end), Port::Visible(port)) => (start..=end).contains(&port),
    }
}

/// Whether the addresses of the selectors that allow the protocol and ports of `part` cover its addresses together.
fn is_covered(part: &TrafficSelector, whole: &[TrafficSelector]) -> bool {
    let (start, end) = (to_bits(part.addresses.0), to_bits(part.addresses.1));
    let wide_enough = whole.iter().filter(|selector| {
        (selector.protocol == 0 || selector.protocol == part.protocol)
            && common_ports(selector.ports, part.ports) == Some(part.ports)
    });
    merged_ranges(wide_enough, Family::of(part.addresses.0)).iter().any(|range| range.0 <= start && end <= range.1)
}

/// The ranges of addresses of one family, sorted, those that overlap or touch made into one.
fn merged_ranges<'a>(selectors: impl Iterator<Item = &'a TrafficSelector>, family: Family) -> Vec<(u128, u128)> {
    let of_family = selectors.filter(|s| Family::of(s.addresses.0) == family && s.addresses.0 <= s.addresses.1);
    let mut ranges: Vec<_> = of_family.map(|s| (to_bits(s.addresses.0), to_bits(s.addresses.1))).collect();
    ranges.sort_unstable();
    ranges.dedup_by(|next, range| {
        let joined = next.0 <= range.1.saturating_add(1);
        if joined {
            range.1 = range.1.max(next.1);
        }
        joined
    });
    ranges
}

/// Adds the networks that make up a range.
fn split(mut start: u128, end: u128, family: Family, nets: &mut Vec<IpNet>) {
    while nets.len() < MAX_NETS {
        let aligned = start.trailing_zeros().min(family.width());
        // One more than the number of bits that are free, where the range has room for them.
        let room = (end - start).checked_add(1).map_or(128, u128::ilog2);
        let host_bits = aligned.min(room);
        let prefix = family.width() - host_bits;
        nets.extend(u8::try_from(prefix).ok().and_then(|prefix| IpNet::new(family.address(start), prefix)));
        let last = start | low_bits(host_bits);
        if last >= end {
            return;
        }
        start = last + 1;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    const fn width(self) -> u32 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The address with these bits, of which an IPv4 address has the low ones.
    const fn address(self, bits: u128) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
            Self::V6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        }
    }
}

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// A number of ones at the low end; at most 128.
const fn low_bits(count: u32) -> u128 {
    match u128::MAX.checked_shl(count) {
        Some(high) => !high,
        None => u128::MAX,
    }
}

fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match packet.first()? >> 4 {
        4 => Some((array::<4>(packet, 12)?.into(), array::<4>(packet, 16)?.into())),
        6 => Some((array::<16>(packet, 8)?.into(), array::<16>(packet, 24)?.into())),
        _ => None,
    }
}

/// What selectors may restrict beyond addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Upper {
    protocol: u8,
    source: Port,
    destination: Port,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    /// A port, or what stands for it (RFC 4301 §4.4.1.1).
    Visible(u16),
    /// None, or not in this fragment: only ANY and OPAQUE match (RFC 4301 §7).
    Obscured,
    /// The other end's selectors speak of it.
    Irrelevant,
}

impl Upper {
    /// For selectors that restrict nothing but addresses.
    const UNSEEN: Self = Self { protocol: 0, source: Port::Obscured, destination: Port::Obscured };

    /// `None` if the headers do not lead to it.
    fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::of_v4(packet),
            6 => Self::of_v6(packet),
            _ => None,
        }
    }

    fn of_v4(packet: &[u8]) -> Option<Self> {
        let header_len = usize::from(packet.first()? & 0xf) * 4;
        let protocol = *packet.get(9)?;
        let fragment_offset = u16::from_be_bytes(array(packet, 6)?) & 0x1fff;
        let payload = packet.get(header_len..)?;
        Some(Self::new(protocol, Some(payload).filter(|_| fragment_offset == 0)))
    }

    /// Walks over extension headers (RFC 8200 §4), which real packets have few of.
    fn of_v6(packet: &[u8]) -> Option<Self> {
        let (mut protocol, mut rest) = (*packet.get(6)?, packet.get(40..)?);
        for _ in 0..MAX_EXTENSION_HEADERS {
            let len = match protocol {
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => (usize::from(*rest.get(1)?) + 1) * 8,
                AUTHENTICATION_HEADER => (usize::from(*rest.get(1)?) + 2) * 4,
                FRAGMENT if u16::from_be_bytes(array(rest, 2)?) >> 3 != 0 => {
                    return Some(Self::new(*rest.first()?, None));
                }
                FRAGMENT => 8,
                _ => return Some(Self::new(protocol, Some(rest))),
            };
            (protocol, rest) = (*rest.first()?, rest.get(len..)?);
        }
        None
    }

    /// The type and code of ICMP, and the type of mobility headers, are compared with the sender's selectors alone: the
    /// receiver's say what may be sent in the other direction (RFC 4301 §4.4.1.3).
    fn new(protocol: u8, payload: Option<&[u8]>) -> Self {
        let word = |at| payload.and_then(|payload| array(payload, at)).map(u16::from_be_bytes);
        let port = |port: Option<u16>| port.map_or(Port::Obscured, Port::Visible);
        let (source, destination) = match protocol {
            TCP | UDP | DCCP | SCTP | UDP_LITE => (port(word(0)), port(word(2))),
            ICMP | ICMPV6 => (port(word(0)), Port::Irrelevant),
            MOBILITY_HEADER => (port(word(2).map(|word| word & 0xff00)), Port::Irrelevant),
            _ => (Port::Obscured, Port::Obscured),
        };
        Self { protocol, source, destination }
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Our own judgement: far more than a configuration has, far less than 255 × 255.
const MAX_NARROWED: usize = 64;
/// Our own judgement: 255 ranges could be cut into 64,770 networks.
const MAX_NETS: usize = 1024;
/// Our own judgement: RFC 8200 §4.1 recommends six at most.
const MAX_EXTENSION_HEADERS: usize = 8;

/// RFC 7296 §3.13.1, as the next one.
const ANY_PORTS: (u16, u16) = (0, u16::MAX);
const OPAQUE_PORTS: (u16, u16) = (u16::MAX, 0);

// IANA "Protocol Numbers".
const HOP_BY_HOP: u8 = 0;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION_HEADER: u8 = 51;
const ICMPV6: u8 = 58;
const DESTINATION_OPTIONS: u8 = 60;
const SCTP: u8 = 132;
const MOBILITY_HEADER: u8 = 135;
const UDP_LITE: u8 = 136;

#[cfg(test)]
mod tests;
