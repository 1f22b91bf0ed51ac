//! ICMP: what ends a connection attempt, what must not end anything, and what we answer.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use adit_netstack::{CloseReason, Unreachable, refusal};
use smoltcp::wire::{Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, Icmpv6DstUnreachable, Icmpv6Packet, Icmpv6Repr};

use crate::{
    client::{Client, pattern},
    craft::{icmp_v4, icmp_v6, read_tcp, time_exceeded_v4, too_big_v4, too_big_v6, unreachable_v4, unreachable_v6},
    world::{HOST_V4, HOST_V6, OURS_V4, OURS_V6, World},
};

const ROUTER_V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 8, 0, 1));
const ROUTER_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));

/// A connection whose SYN was sent.
fn connecting(world: &mut World, host: IpAddr) -> (Client, Vec<u8>) {
    let client = Client::new(world.connect(SocketAddr::new(host, 80)));
    let syn = world.take_packets().remove(0);
    (client, syn)
}

#[test]
fn unreachable_answer_to_a_syn_ends_the_attempt_at_once() {
    for (reason, expected) in [
        (Icmpv4DstUnreachable::NetUnreachable, Unreachable::Network),
        (Icmpv4DstUnreachable::HostUnreachable, Unreachable::Host),
        (Icmpv4DstUnreachable::ProtoUnreachable, Unreachable::Protocol),
        (Icmpv4DstUnreachable::PortUnreachable, Unreachable::Port),
        (Icmpv4DstUnreachable::CommProhibited, Unreachable::Prohibited),
    ] {
        let mut world = World::new();
        let (mut client, syn) = connecting(&mut world, HOST_V4);
        world.stack.handle_packet(world.now, &unreachable_v4(ROUTER_V4, &syn, reason));
        world.settle(&mut [&mut client]);
        assert_eq!(client.closed, Some(CloseReason::Unreachable(expected)));
        assert_eq!((client.error, world.stack.memory_used()), (client.closed, 0));
        assert_eq!(world.stack.counters().icmp_accepted, 1);
    }
}

#[test]
fn a_refusal_ends_the_attempt_it_is_about_and_none_is_about_an_error() {
    for host in [HOST_V4, HOST_V6] {
        let mut world = World::new();
        let (mut client, syn) = connecting(&mut world, host);
        let error = refusal(&syn, Unreachable::Network).unwrap();
        world.stack.handle_packet(world.now, &error);
        world.settle(&mut [&mut client]);
        assert_eq!(client.closed, Some(CloseReason::Unreachable(Unreachable::Network)));
        assert_eq!(refusal(&error, Unreachable::Network), None, "it would never end");
        world.stack.ping(world.now, host, b"payload").unwrap();
        let echo = world.take_packets().remove(0);
        assert!(refusal(&echo, Unreachable::Network).is_some());
    }
    assert_eq!(refusal(&[], Unreachable::Network), None);
}

#[test]
fn unreachable_answer_to_a_syn_ends_the_attempt_over_ipv6() {
    for (reason, expected) in [
        (Icmpv6DstUnreachable::NoRoute, Unreachable::Network),
        (Icmpv6DstUnreachable::AdminProhibit, Unreachable::Prohibited),
        (Icmpv6DstUnreachable::AddrUnreachable, Unreachable::Host),
        (Icmpv6DstUnreachable::PortUnreachable, Unreachable::Port),
    ] {
        let mut world = World::new();
        let (mut client, syn) = connecting(&mut world, HOST_V6);
        world.stack.handle_packet(world.now, &unreachable_v6(ROUTER_V6, &syn, reason));
        world.settle(&mut [&mut client]);
        assert_eq!(client.closed, Some(CloseReason::Unreachable(expected)));
    }
}

#[test]
fn routing_loop_ends_the_attempt() {
    let mut world = World::new();
    let (mut client, syn) = connecting(&mut world, HOST_V4);
    world.stack.handle_packet(world.now, &time_exceeded_v4(ROUTER_V4, &syn));
    world.settle(&mut [&mut client]);
    assert_eq!(client.closed, Some(CloseReason::Unreachable(Unreachable::HopLimit)));
}

#[test]
fn icmp_with_a_guessed_sequence_number_is_ignored() {
    let mut world = World::new();
    let (mut client, syn) = connecting(&mut world, HOST_V4);
    for wrong in [1u32, 2, 1 << 31, u32::MAX] {
        let mut quoted = syn.clone();
        let sequence = u32::from_be_bytes(quoted[24..28].try_into().unwrap()).wrapping_add(wrong);
        quoted[24..28].copy_from_slice(&sequence.to_be_bytes());
        let blind = unreachable_v4(ROUTER_V4, &quoted, Icmpv4DstUnreachable::PortUnreachable);
        world.stack.handle_packet(world.now, &blind);
    }
    world.settle(&mut [&mut client]);
    assert_eq!((client.closed, world.stack.counters().icmp_ignored), (None, 4));
}

#[test]
fn icmp_never_ends_an_established_connection() {
    let mut world = World::new();
    let (mut client, _) = world.connected(80, 64 << 10);
    client.send(b"on its way");
    world.seen = Some(Vec::new());
    world.settle(&mut [&mut client]);
    let segment = world.seen.take().unwrap().remove(0);
    assert_eq!(read_tcp(&segment).unwrap().tcp.payload, b"on its way");
    for reason in [Icmpv4DstUnreachable::PortUnreachable, Icmpv4DstUnreachable::HostUnreachable] {
        world.stack.handle_packet(world.now, &unreachable_v4(ROUTER_V4, &segment, reason));
    }
    world.run_for(&mut [&mut client], Duration::from_secs(1));
    assert_eq!((client.closed, world.stack.counters().icmp_accepted), (None, 0));
}

/// Sends until a full segment is under way, lets `too_big` answer it, and gives the longest segment afterwards.
fn longest_after(host: IpAddr, too_big: impl Fn(&[u8]) -> Vec<u8>) -> usize {
    let mut world = World::new();
    let handle = world.host.listen(80, 64 << 10);
    let mut client = Client::new(world.connect(SocketAddr::new(host, 80)));
    world.run(&mut [&mut client], |world, clients| clients[0].connected && world.host.socket(handle).may_send());
    world.seen = Some(Vec::new());
    // The link eats everything from here on, as one with a smaller MTU would.
    world.up.cut = true;
    client.send(&pattern(20_000, 1));
    world.run_for(&mut [&mut client], Duration::from_millis(1));
    let seen = world.seen.replace(Vec::new()).unwrap();
    let long = seen.iter().find(|packet| packet.len() == 1400).expect("a full segment");
    world.stack.handle_packet(world.now, &too_big(long));
    world.up.cut = false;
    let mut received = 0;
    world.run(&mut [&mut client], |world, _| {
        let socket = world.host.socket(handle);
        received += socket.recv(|bytes| (bytes.len(), bytes.len())).unwrap_or(0);
        received == 20_000
    });
    world.seen.unwrap().iter().map(Vec::len).max().unwrap()
}

#[test]
fn packet_too_big_makes_segments_smaller() {
    assert_eq!(longest_after(HOST_V4, |packet| too_big_v4(ROUTER_V4, packet, 900)), 900);
    assert_eq!(longest_after(HOST_V6, |packet| too_big_v6(ROUTER_V6, packet, 1300)), 1300);
}

#[test]
fn packet_too_big_cannot_push_segments_below_the_least_mtu() {
    assert_eq!(longest_after(HOST_V4, |packet| too_big_v4(ROUTER_V4, packet, 0)), 576);
    assert_eq!(longest_after(HOST_V6, |packet| too_big_v6(ROUTER_V6, packet, 100)), 1280);
}

#[test]
fn packet_too_big_about_a_segment_never_sent_is_ignored() {
    let forged = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        packet[24] ^= 0x80;
        too_big_v4(ROUTER_V4, &packet, 600)
    };
    assert_eq!(longest_after(HOST_V4, forged), 1400);
}

#[test]
fn echo_requests_are_answered_within_a_rate() {
    let mut world = World::new();
    let request = Icmpv4Repr::EchoRequest { ident: 7, seq_no: 3, data: b"ping data" };
    world.stack.handle_packet(world.now, &icmp_v4(HOST_V4, OURS_V4, &request));
    let reply = world.take_packets().remove(0);
    let reply = Icmpv4Packet::new_checked(&reply[20..]).unwrap();
    let reply = Icmpv4Repr::parse(&reply, &smoltcp::phy::ChecksumCapabilities::default()).unwrap();
    assert_eq!(reply, Icmpv4Repr::EchoReply { ident: 7, seq_no: 3, data: b"ping data" });
    for _ in 0..1000 {
        world.stack.handle_packet(world.now, &icmp_v4(HOST_V4, OURS_V4, &request));
    }
    assert_eq!(world.take_packets().len(), 49, "a burst of fifty in all");
    world.now += Duration::from_millis(100);
    for _ in 0..1000 {
        world.stack.handle_packet(world.now, &icmp_v4(HOST_V4, OURS_V4, &request));
    }
    assert_eq!(world.take_packets().len(), 10, "one hundred a second");
}

#[test]
fn echo_requests_are_answered_over_ipv6() {
    let mut world = World::new();
    let request = Icmpv6Repr::EchoRequest { ident: 7, seq_no: 3, data: b"ping data" };
    world.stack.handle_packet(world.now, &icmp_v6(HOST_V6, OURS_V6, &request));
    let reply = world.take_packets().remove(0);
    let reply = Icmpv6Packet::new_checked(&reply[40..]).unwrap();
    let (IpAddr::V6(ours), IpAddr::V6(host)) = (OURS_V6, HOST_V6) else { unreachable!() };
    let checksums = smoltcp::phy::ChecksumCapabilities::default();
    let reply = Icmpv6Repr::parse(&ours, &host, &reply, &checksums).unwrap();
    assert_eq!(reply, Icmpv6Repr::EchoReply { ident: 7, seq_no: 3, data: b"ping data" });
}
