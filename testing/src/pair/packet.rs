//! Inner packets that carry a number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Tells ours from others.
const MAGIC: [u8; 4] = *b"adit";
/// UDP, to the port for discarding.
const PROTOCOL: u8 = 17;
const PORT: u16 = 9;
const NUMBERS: usize = 4 + 4 + 8;

/// What a numbered packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) stream: u32,
    pub(super) number: u64,
}

/// An IPv4 or IPv6 packet of UDP with numbers in it, `len` bytes long or as long as it must be.
///
/// # Panics
/// If the addresses are of different families.
pub(super) fn numbered(from: IpAddr, to: IpAddr, numbers: Numbers, len: usize) -> Vec<u8> {
    let header = match from {
        IpAddr::V4(_) => 20,
        IpAddr::V6(_) => 40,
    };
    let len = len.max(header + 8 + NUMBERS).min(usize::from(u16::MAX));
    let mut packet = vec![0; len];
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => write_ipv4(&mut packet, from, to),
        (IpAddr::V6(from), IpAddr::V6(to)) => write_ipv6(&mut packet, from, to),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => panic!("no packet goes from {from} to {to}"),
    }
    let udp = &mut packet[header..];
    let udp_len = udp.len() as u16;
    udp[0..2].copy_from_slice(&PORT.to_be_bytes());
    udp[2..4].copy_from_slice(&PORT.to_be_bytes());
    udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
    udp[8..12].copy_from_slice(&MAGIC);
    udp[12..16].copy_from_slice(&numbers.stream.to_be_bytes());
    udp[16..24].copy_from_slice(&numbers.number.to_be_bytes());
    packet
}

/// The numbers of a packet of [`numbered`].
pub(super) fn numbers(packet: &[u8]) -> Option<Numbers> {
    let header = if packet.first()? >> 4 == 4 { 20 } else { 40 };
    let body = packet.get(header + 8..)?.strip_prefix(&MAGIC)?;
    let (stream, rest) = body.split_first_chunk::<4>()?;
    let number = rest.first_chunk::<8>()?;
    Some(Numbers { stream: u32::from_be_bytes(*stream), number: u64::from_be_bytes(*number) })
}

/// Where an IP packet comes from.
pub(super) fn source(packet: &[u8]) -> Option<IpAddr> {
    address(packet, 12, 8)
}

/// Where an IP packet goes.
pub(super) fn destination(packet: &[u8]) -> Option<IpAddr> {
    address(packet, 16, 24)
}

fn address(packet: &[u8], in_ipv4: usize, in_ipv6: usize) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(IpAddr::from(*packet.get(in_ipv4..)?.first_chunk::<4>()?)),
        6 => Some(IpAddr::from(*packet.get(in_ipv6..)?.first_chunk::<16>()?)),
        _ => None,
    }
}

fn write_ipv4(packet: &mut [u8], from: Ipv4Addr, to: Ipv4Addr) {
    let len = packet.len() as u16;
    (packet[0], packet[8], packet[9]) = (0x45, 64, PROTOCOL);
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    let sum: u32 = packet[..20].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded + (folded >> 16)) as u16);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

fn write_ipv6(packet: &mut [u8], from: Ipv6Addr, to: Ipv6Addr) {
    let len = (packet.len() - 40) as u16;
    (packet[0], packet[6], packet[7]) = (0x60, PROTOCOL, 64);
    packet[4..6].copy_from_slice(&len.to_be_bytes());
    packet[8..24].copy_from_slice(&from.octets());
    packet[24..40].copy_from_slice(&to.octets());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_in_packets_of_both_families() {
        for (from, to) in [("10.8.0.2", "10.8.0.1"), ("fd00:8::2", "fd00:8::1")] {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            let said = Numbers { stream: 7, number: 1 << 40 };
            let packet = numbered(from, to, said, 100);
            assert_eq!((packet.len(), numbers(&packet)), (100, Some(said)));
            assert_eq!((source(&packet), destination(&packet)), (Some(from), Some(to)));
            assert_eq!(numbers(&packet[..packet.len() - 60]), None);
        }
        assert_eq!(numbers(b"E"), None);
    }

    #[test]
    fn the_header_of_ipv4_has_its_checksum() {
        let packet = numbered([10, 8, 0, 2].into(), [10, 8, 0, 1].into(), Numbers { stream: 0, number: 0 }, 0);
        let sum: u32 = packet[..20].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
