//! Inner packets: what is read out of them before anybody else sees them, and the few we write ourselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{IpProtocol, checksum};

/// What [`parse`] found: a packet, or a part of one.
#[derive(Debug)]
pub(crate) enum Parsed<'a> {
    Whole(Packet<'a>),
    Fragment(Fragment<'a>),
}

/// A packet whose headers are consistent. The checksum of its transport header is not verified yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// Of the payload, after any IPv6 extension headers.
    pub(crate) protocol: u8,
    /// From the transport header on.
    pub(crate) payload: &'a [u8],
    /// The whole packet without anything after its end.
    pub(crate) bytes: &'a [u8],
    /// Whether IPv6 extension headers lie between header and payload.
    pub(crate) extended: bool,
}

/// A part of a packet.
#[derive(Debug)]
pub(crate) struct Fragment<'a> {
    pub(crate) of: FragmentOf,
    /// Where `data` lies in the payload, in bytes.
    pub(crate) offset: usize,
    pub(crate) more: bool,
    pub(crate) data: &'a [u8],
}

/// Which packet a fragment belongs to (RFC 791 §3.2, RFC 8200 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FragmentOf {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) identification: u32,
}

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    Malformed,
    BadChecksum,
}

/// Reads the IP header.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed<'_>, Flaw> {
    match bytes.first().map(|byte| byte >> 4) {
        Some(4) => parse_v4(bytes),
        Some(6) => parse_v6(bytes),
        _ => Err(Flaw::Malformed),
    }
}

fn parse_v4(bytes: &[u8]) -> Result<Parsed<'_>, Flaw> {
    let fixed: &[u8; V4_HEADER] = bytes.first_chunk().ok_or(Flaw::Malformed)?;
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if header_len < V4_HEADER || total < header_len {
        return Err(Flaw::Malformed);
    }
    let bytes = bytes.get(..total).ok_or(Flaw::Malformed)?;
    let (header, payload) = bytes.split_at_checked(header_len).ok_or(Flaw::Malformed)?;
    if checksum::data(header) != !0 {
        return Err(Flaw::BadChecksum);
    }
    let source = IpAddr::V4(Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]));
    let destination = IpAddr::V4(Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]));
    let protocol = fixed[9];
    let flags_and_offset = u16::from_be_bytes([fixed[6], fixed[7]]);
    let (more, offset) = (flags_and_offset & 0x2000 != 0, usize::from(flags_and_offset & 0x1fff) * 8);
    if more || offset != 0 {
        let identification = u32::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        let of = FragmentOf { source, destination, protocol, identification };
        return Ok(Parsed::Fragment(Fragment { of, offset, more, data: payload }));
    }
    Ok(Parsed::Whole(Packet { source, destination, protocol, payload, bytes, extended: false }))
}

fn parse_v6(bytes: &[u8]) -> Result<Parsed<'_>, Flaw> {
    let fixed: &[u8; V6_HEADER] = bytes.first_chunk().ok_or(Flaw::Malformed)?;
    let payload_len = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    let bytes = bytes.get(..V6_HEADER + payload_len).ok_or(Flaw::Malformed)?;
    let (source, destination) = v6_addresses(fixed);
    let mut rest = bytes.get(V6_HEADER..).unwrap_or_default();
    let mut next = fixed[6];
    let mut extended = false;
    // Every turn takes at least eight bytes away, so the walk ends.
    loop {
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let [following, units, ..] = *rest else { return Err(Flaw::Malformed) };
                rest = rest.get((usize::from(units) + 1) * 8..).ok_or(Flaw::Malformed)?;
                next = following;
                extended = true;
            }
            FRAGMENT => {
                let (header, data) = rest.split_first_chunk::<8>().ok_or(Flaw::Malformed)?;
                let offset_and_more = u16::from_be_bytes([header[2], header[3]]);
                let identification = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                let of = FragmentOf { source, destination, protocol: header[0], identification };
                let offset = usize::from(offset_and_more & 0xfff8);
                return Ok(Parsed::Fragment(Fragment { of, offset, more: offset_and_more & 1 != 0, data }));
            }
            protocol => {
                return Ok(Parsed::Whole(Packet { source, destination, protocol, payload: rest, bytes, extended }));
            }
        }
    }
}

fn v6_addresses(fixed: &[u8; V6_HEADER]) -> (IpAddr, IpAddr) {
    let (mut source, mut destination) = ([0; 16], [0; 16]);
    for (from, to) in fixed.iter().skip(8).zip(source.iter_mut().chain(&mut destination)) {
        *to = *from;
    }
    (Ipv6Addr::from(source).into(), Ipv6Addr::from(destination).into())
}

impl Packet<'_> {
    /// Whether the checksum over payload and pseudo-header is right (RFC 9293 §3.1, RFC 768, RFC 4443 §2.3).
    pub(crate) fn checksum_holds(&self) -> bool {
        let sum = checksum::data(self.payload);
        checksum::combine(&[self.pseudo_header(self.payload.len()), sum]) == !0
    }

    fn pseudo_header(&self, payload_len: usize) -> u16 {
        pseudo_header(self.source, self.destination, self.protocol, payload_len)
    }

    /// The same packet without IPv6 extension headers, in a buffer of its own.
    pub(crate) fn rebuilt(&self) -> Option<Vec<u8>> {
        build((self.source, self.destination), None, self.protocol, self.payload.len(), |payload| {
            payload.copy_from_slice(self.payload);
        })
    }
}

/// A packet with that payload; `None` if it would be longer than a packet can be. Addresses: from, to.
///
/// An IPv4 packet with an identification may be fragmented on the way, one without may not (RFC 6864 §4).
pub(crate) fn build(
    (source, destination): (IpAddr, IpAddr),
    identification: Option<u16>,
    protocol: u8,
    payload_len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Option<Vec<u8>> {
    let mut packet = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = u16::try_from(V4_HEADER.checked_add(payload_len)?).ok()?;
            v4_header(source, destination, identification, protocol, total).to_vec()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let payload_len = u16::try_from(payload_len).ok()?;
            v6_header(source, destination, protocol, payload_len).to_vec()
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    let header_len = packet.len();
    packet.resize(header_len + payload_len, 0);
    fill(packet.get_mut(header_len..)?);
    Some(packet)
}

fn v4_header(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    identification: Option<u16>,
    protocol: u8,
    total: u16,
) -> [u8; V4_HEADER] {
    let [i0, i1] = identification.unwrap_or(0).to_be_bytes();
    let flags = if identification.is_some() { 0 } else { DONT_FRAGMENT };
    let ([t0, t1], [a, b, c, d], [e, f, g, h]) = (total.to_be_bytes(), source.octets(), destination.octets());
    let mut header = [0x45, 0, t0, t1, i0, i1, flags, 0, HOP_LIMIT, protocol, 0, 0, a, b, c, d, e, f, g, h];
    let [high, low] = (!checksum::data(&header)).to_be_bytes();
    (header[10], header[11]) = (high, low);
    header
}

fn v6_header(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, payload_len: u16) -> [u8; V6_HEADER] {
    let mut header = [0; V6_HEADER];
    let [l0, l1] = payload_len.to_be_bytes();
    let (fixed, addresses) = header.split_at_mut(8);
    fixed.copy_from_slice(&[0x60, 0, 0, 0, l0, l1, protocol, HOP_LIMIT]);
    let (from, to) = addresses.split_at_mut(16);
    from.copy_from_slice(&source.octets());
    to.copy_from_slice(&destination.octets());
    header
}

/// The sum over the pseudo-header; `0` (which fails every check) for addresses of different families.
pub(crate) fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, payload_len: usize) -> u16 {
    let protocol = IpProtocol::from(protocol);
    let length = u32::try_from(payload_len).unwrap_or(u32::MAX);
    match (source, destination) {
        (IpAddr::V4(_), IpAddr::V4(_)) if protocol == IpProtocol::Icmp => 0,
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            checksum::pseudo_header_v4(&source, &destination, protocol, length)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            checksum::pseudo_header_v6(&source, &destination, protocol, length)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
    }
}

/// The checksum to write into a transport header whose checksum field is zero.
pub(crate) fn transport_checksum(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> [u8; 2] {
    let pseudo = pseudo_header(source, destination, protocol, payload.len());
    (!checksum::combine(&[pseudo, checksum::data(payload)])).to_be_bytes()
}

/// Bytes of the IP header of that family, without options.
pub(crate) const fn header_len(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => V4_HEADER,
        IpAddr::V6(_) => V6_HEADER,
    }
}

/// Whether a packet may come from, or a connection go to, this address.
pub(crate) fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast()),
    }
}

pub(crate) const V4_HEADER: usize = 20;
pub(crate) const V6_HEADER: usize = 40;
const DONT_FRAGMENT: u8 = 0x40;
/// The default of RFC 1700, what every stack uses.
const HOP_LIMIT: u8 = 64;

// IANA protocol numbers.
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
