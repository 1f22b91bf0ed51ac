//! Fragments of inner packets, as routers and hosts make them.

use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::{IpProtocol, Ipv4Packet};

use crate::{
    client::pattern,
    craft::{ip, udp},
    world::{HOST_V4, HOST_V6, OURS_V4, OURS_V6, World},
};

/// An IPv4 packet cut into fragments of `step` bytes of payload.
fn cut_v4(packet: &[u8], step: usize) -> Vec<Vec<u8>> {
    let (header, payload) = packet.split_at(20);
    let cut = |(index, part): (usize, &[u8])| {
        let mut fragment = [header, part].concat();
        let total = u16::try_from(fragment.len()).unwrap();
        let mut header = Ipv4Packet::new_unchecked(&mut fragment);
        header.set_total_len(total);
        header.set_ident(77);
        header.set_dont_frag(false);
        header.set_frag_offset(u16::try_from(index * step).unwrap());
        header.set_more_frags((index + 1) * step < payload.len());
        header.fill_checksum();
        fragment
    };
    payload.chunks(step).enumerate().map(cut).collect()
}

/// The same for IPv6, with the fragment header of RFC 8200 §4.5.
fn cut_v6(packet: &[u8], step: usize, from: IpAddr, to: IpAddr) -> Vec<Vec<u8>> {
    let payload = &packet[40..];
    let cut = |(index, part): (usize, &[u8])| {
        let more = (index + 1) * step < payload.len();
        let offset = u16::try_from(index * step).unwrap() | u16::from(more);
        ip(from, to, IpProtocol::Unknown(44), 8 + part.len(), |bytes| {
            bytes[..2].copy_from_slice(&[packet[6], 0]);
            bytes[2..4].copy_from_slice(&offset.to_be_bytes());
            bytes[4..8].copy_from_slice(&[0, 1, 2, 3]);
            bytes[8..].copy_from_slice(part);
        })
    };
    payload.chunks(step).enumerate().map(cut).collect()
}

#[test]
fn datagrams_in_fragments_arrive_whole_in_any_order() {
    let mut world = World::new();
    let id = world.stack.bind_udp().unwrap();
    let port = world.stack.udp_port(id).unwrap();
    let payload = pattern(5000, 1);
    for (ours, host) in [(OURS_V4, HOST_V4), (OURS_V6, HOST_V6)] {
        let (to, from) = (SocketAddr::new(ours, port), SocketAddr::new(host, 53));
        world.stack.send_udp(world.now, id, from, b"x").unwrap();
        let packet = udp(from, to, &payload);
        let mut fragments = if ours.is_ipv4() { cut_v4(&packet, 1200) } else { cut_v6(&packet, 1200, host, ours) };
        fragments.reverse();
        for fragment in &fragments {
            assert_eq!(world.stack.receive_udp(id, &mut [0; 8]), None);
            world.stack.handle_packet(world.now, fragment);
        }
        let mut buf = vec![0; 6000];
        assert_eq!(world.stack.receive_udp(id, &mut buf), Some((from, 5000)));
        assert!(buf[..5000] == payload);
    }
    let counters = world.stack.counters();
    assert_eq!((counters.fragments, counters.fragments_dropped, counters.reassembled), (10, 0, 2));
}

#[test]
fn tcp_segments_in_fragments_reach_their_connection() {
    let mut world = World::new();
    let (mut client, handle) = world.connected(80, 64 << 10);
    world.host.socket(handle).send_slice(&pattern(1000, 2)).unwrap();
    for packet in world.host.poll(world.now) {
        for fragment in cut_v4(&packet, 400) {
            world.stack.handle_packet(world.now, &fragment);
        }
    }
    world.settle(&mut [&mut client]);
    assert!(client.received == pattern(1000, 2));
}
