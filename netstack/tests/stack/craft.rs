//! Packets as others would send them, made by smoltcp's own encoders.

use std::net::{IpAddr, SocketAddr};

use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, Icmpv4TimeExceeded, Icmpv6DstUnreachable, Icmpv6Packet,
        Icmpv6Repr, IpAddress, IpProtocol, IpRepr, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, TcpControl, TcpPacket,
        TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
    },
};

pub(crate) const SEGMENT: TcpRepr<'static> = TcpRepr {
    src_port: 80,
    dst_port: 80,
    control: TcpControl::None,
    seq_number: TcpSeqNumber(0),
    ack_number: None,
    window_len: 1000,
    window_scale: None,
    max_seg_size: None,
    sack_permitted: false,
    sack_ranges: [None; 3],
    timestamp: None,
    payload: &[],
};

/// An IP packet around what `fill` writes.
pub(crate) fn ip(from: IpAddr, to: IpAddr, protocol: IpProtocol, len: usize, fill: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let repr = IpRepr::new(from.into(), to.into(), protocol, len, 64);
    let mut packet = vec![0; repr.buffer_len()];
    repr.emit(&mut packet[..], &ChecksumCapabilities::default());
    fill(&mut packet[repr.header_len()..]);
    packet
}

pub(crate) fn tcp(from: SocketAddr, to: SocketAddr, mut repr: TcpRepr<'_>) -> Vec<u8> {
    (repr.src_port, repr.dst_port) = (from.port(), to.port());
    ip(from.ip(), to.ip(), IpProtocol::Tcp, repr.buffer_len(), |bytes| {
        let checksums = ChecksumCapabilities::default();
        repr.emit(&mut TcpPacket::new_unchecked(bytes), &from.ip().into(), &to.ip().into(), &checksums);
    })
}

pub(crate) fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let repr = UdpRepr { src_port: from.port(), dst_port: to.port() };
    ip(from.ip(), to.ip(), IpProtocol::Udp, repr.header_len() + payload.len(), |bytes| {
        repr.emit(
            &mut UdpPacket::new_unchecked(bytes),
            &from.ip().into(),
            &to.ip().into(),
            payload.len(),
            |space| space.copy_from_slice(payload),
            &ChecksumCapabilities::default(),
        );
    })
}

pub(crate) fn icmp_v4(from: IpAddr, to: IpAddr, repr: &Icmpv4Repr<'_>) -> Vec<u8> {
    ip(from, to, IpProtocol::Icmp, repr.buffer_len(), |bytes| {
        repr.emit(&mut Icmpv4Packet::new_unchecked(bytes), &ChecksumCapabilities::default());
    })
}

pub(crate) fn icmp_v6(from: IpAddr, to: IpAddr, repr: &Icmpv6Repr<'_>) -> Vec<u8> {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (from, to) else { panic!("ICMPv6 between IPv4 addresses") };
    ip(from, to, IpProtocol::Icmpv6, repr.buffer_len(), |bytes| {
        repr.emit(&source, &destination, &mut Icmpv6Packet::new_unchecked(bytes), &ChecksumCapabilities::default());
    })
}

/// "Unreachable" about an IPv4 packet of ours, quoting its header and eight bytes.
pub(crate) fn unreachable_v4(router: IpAddr, about: &[u8], reason: Icmpv4DstUnreachable) -> Vec<u8> {
    let packet = Ipv4Packet::new_checked(about).unwrap();
    let header = Ipv4Repr::parse(&packet, &ChecksumCapabilities::default()).unwrap();
    let repr = Icmpv4Repr::DstUnreachable { reason, header, data: &packet.payload()[..8] };
    icmp_v4(router, IpAddr::V4(header.src_addr), &repr)
}

pub(crate) fn time_exceeded_v4(router: IpAddr, about: &[u8]) -> Vec<u8> {
    let packet = Ipv4Packet::new_checked(about).unwrap();
    let header = Ipv4Repr::parse(&packet, &ChecksumCapabilities::default()).unwrap();
    let reason = Icmpv4TimeExceeded::TtlExpired;
    let repr = Icmpv4Repr::TimeExceeded { reason, header, data: &packet.payload()[..8] };
    icmp_v4(router, IpAddr::V4(header.src_addr), &repr)
}

/// "Fragmentation needed" with a next-hop MTU (RFC 1191 §4), which smoltcp does not encode.
pub(crate) fn too_big_v4(router: IpAddr, about: &[u8], mtu: u16) -> Vec<u8> {
    let mut packet = unreachable_v4(router, about, Icmpv4DstUnreachable::FragRequired);
    packet[26..28].copy_from_slice(&mtu.to_be_bytes());
    Icmpv4Packet::new_unchecked(&mut packet[20..]).fill_checksum();
    packet
}

pub(crate) fn unreachable_v6(router: IpAddr, about: &[u8], reason: Icmpv6DstUnreachable) -> Vec<u8> {
    let packet = Ipv6Packet::new_checked(about).unwrap();
    let header = Ipv6Repr::parse(&packet).unwrap();
    icmp_v6(router, IpAddr::V6(header.src_addr), &Icmpv6Repr::DstUnreachable { reason, header, data: packet.payload() })
}

pub(crate) fn too_big_v6(router: IpAddr, about: &[u8], mtu: u32) -> Vec<u8> {
    let packet = Ipv6Packet::new_checked(about).unwrap();
    let header = Ipv6Repr::parse(&packet).unwrap();
    let data = &packet.payload()[..packet.payload().len().min(500)];
    icmp_v6(router, IpAddr::V6(header.src_addr), &Icmpv6Repr::PktTooBig { mtu, header, data })
}

/// A TCP segment, its addresses and whether its checksums hold.
pub(crate) struct Seen<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) tcp: TcpRepr<'a>,
}

/// Reads a TCP segment; `None` if the packet holds none.
///
/// # Panics
/// If a checksum is wrong.
pub(crate) fn read_tcp(packet: &[u8]) -> Option<Seen<'_>> {
    let checksums = ChecksumCapabilities::default();
    let (from, to, payload): (IpAddr, IpAddr, _) = if packet[0] >> 4 == 4 {
        let packet = Ipv4Packet::new_checked(packet).unwrap();
        let repr = Ipv4Repr::parse(&packet, &checksums).unwrap();
        (repr.src_addr.into(), repr.dst_addr.into(), (repr.next_header == IpProtocol::Tcp).then(|| packet.payload())?)
    } else {
        let packet = Ipv6Packet::new_checked(packet).unwrap();
        let repr = Ipv6Repr::parse(&packet).unwrap();
        (repr.src_addr.into(), repr.dst_addr.into(), (repr.next_header == IpProtocol::Tcp).then(|| packet.payload())?)
    };
    let tcp = TcpPacket::new_checked(payload).unwrap();
    let tcp = TcpRepr::parse(&tcp, &IpAddress::from(from), &IpAddress::from(to), &checksums).expect("checksums hold");
    Some(Seen { from: (from, tcp.src_port).into(), to: (to, tcp.dst_port).into(), tcp })
}
