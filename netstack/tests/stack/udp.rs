//! UDP sockets: round trips, who may send to us, bounds, errors.

use std::{net::SocketAddr, time::Duration};

use adit_netstack::{StackConfig, StackEvent, UdpError, UdpId};
use smoltcp::wire::{Icmpv4DstUnreachable, Icmpv6DstUnreachable, Ipv4Packet, Ipv6Packet, UdpPacket};

use crate::{
    client::pattern,
    craft::{udp, unreachable_v4, unreachable_v6},
    link::Quality,
    world::{HOST_V4, HOST_V6, OURS_V4, OURS_V6, World, config, seed},
};

fn addresses(world: &World, id: UdpId) -> (SocketAddr, SocketAddr) {
    let port = world.stack.udp_port(id).unwrap();
    (SocketAddr::new(OURS_V4, port), SocketAddr::new(HOST_V4, 53))
}

#[test]
fn datagrams_go_there_and_come_back_in_both_families() {
    let mut world = World::new();
    let id = world.stack.bind_udp().unwrap();
    let port = world.stack.udp_port(id).unwrap();
    for (ours, host) in [(OURS_V4, HOST_V4), (OURS_V6, HOST_V6)] {
        let (ours, host) = (SocketAddr::new(ours, port), SocketAddr::new(host, 53));
        for payload in [&b"question"[..], b"odd", b""] {
            world.stack.send_udp(world.now, id, host, payload).unwrap();
            let packet = world.take_packets().remove(0);
            assert_eq!(&packet[packet.len() - payload.len()..], payload);
            // Ours is byte for byte what smoltcp would have sent, but that IPv4 may be fragmented.
            let mut expected = udp(ours, host, payload);
            if ours.is_ipv4() {
                let mut header = Ipv4Packet::new_unchecked(&mut expected);
                header.set_dont_frag(false);
                header.set_ident(Ipv4Packet::new_unchecked(&packet).ident());
                header.fill_checksum();
            }
            assert_eq!(packet, expected);
            world.stack.handle_packet(world.now, &udp(host, ours, b"answer"));
            assert_eq!(world.stack.poll_event(), Some(StackEvent::UdpReadable(id)));
            let mut buf = [0; 100];
            assert_eq!(world.stack.receive_udp(id, &mut buf), Some((host, 6)));
            assert_eq!(&buf[..6], b"answer");
            assert_eq!((world.stack.receive_udp(id, &mut buf), world.stack.poll_event()), (None, None));
        }
    }
    world.stack.close_udp(id);
    assert_eq!(world.stack.memory_used(), 0);
}

#[test]
fn only_remotes_sent_to_within_the_idle_time_may_send() {
    let config = StackConfig { udp_idle: Duration::from_secs(30), ..config() };
    let mut world = World::with(config, Quality::PERFECT, seed());
    let id = world.stack.bind_udp().unwrap();
    let (ours, host) = addresses(&world, id);
    let is_taken = |world: &mut World, from: SocketAddr| {
        world.stack.handle_packet(world.now, &udp(from, ours, b"hello"));
        let answers = world.take_packets();
        let taken = world.stack.receive_udp(id, &mut [0; 100]).is_some();
        assert_eq!(answers.len(), usize::from(!taken));
        if let Some(answer) = answers.first() {
            assert_eq!((answer[20], answer[21]), (3, 3), "port unreachable");
        }
        taken
    };
    assert!(!is_taken(&mut world, host));
    world.stack.send_udp(world.now, id, host, b"x").unwrap();
    world.take_packets();
    assert!(is_taken(&mut world, host));
    assert!(!is_taken(&mut world, SocketAddr::new(HOST_V4, 54)));
    world.now += Duration::from_secs(29);
    assert!(is_taken(&mut world, host));
    world.now += Duration::from_secs(1);
    assert!(!is_taken(&mut world, host));
}

#[test]
fn datagram_for_nobody_is_answered_by_port_unreachable_over_ipv6() {
    let mut world = World::new();
    let stray = udp(SocketAddr::new(HOST_V6, 53), SocketAddr::new(OURS_V6, 50_000), &[7; 3000]);
    world.stack.handle_packet(world.now, &stray);
    let answer = world.take_packets().remove(0);
    assert_eq!((answer.len(), answer[40], answer[41]), (1280, 1, 4));
    assert_eq!(answer[48..], stray[..1280 - 48]);
}

#[test]
fn datagram_larger_than_the_mtu_is_refused_with_the_limit() {
    let mut world = World::new();
    let id = world.stack.bind_udp().unwrap();
    for (host, limit) in [(HOST_V4, 1400 - 28), (HOST_V6, 1400 - 48)] {
        let host = SocketAddr::new(host, 53);
        assert_eq!(world.stack.send_udp(world.now, id, host, &vec![0; limit]), Ok(()));
        assert_eq!(world.take_packets()[0].len(), 1400);
        let too_large = Err(UdpError::TooLarge { limit });
        assert_eq!(world.stack.send_udp(world.now, id, host, &vec![0; limit + 1]), too_large);
    }
}

#[test]
fn queues_are_bounded_and_drop_the_newest() {
    let mut world = World::new();
    let id = world.stack.bind_udp().unwrap();
    let (ours, host) = addresses(&world, id);
    let sent =
        (0..10_000u32).take_while(|i| world.stack.send_udp(world.now, id, host, &i.to_be_bytes()).is_ok()).count();
    assert!((100..10_000).contains(&sent));
    assert_eq!(world.stack.send_udp(world.now, id, host, b"more"), Err(UdpError::QueueFull));
    let packets = world.take_packets();
    assert_eq!(packets.len(), sent);
    for (packet, i) in packets.iter().zip(0u32..) {
        assert_eq!(packet[28..], i.to_be_bytes());
    }
    for i in 0..10_000u32 {
        world.stack.handle_packet(world.now, &udp(host, ours, &i.to_be_bytes()));
    }
    assert!(world.stack.memory_used() <= (256 << 10) + 1024);
    let mut buf = [0; 4];
    let mut received = 0u32;
    while world.stack.receive_udp(id, &mut buf).is_some() {
        assert_eq!(buf, received.to_be_bytes());
        received += 1;
    }
    assert!((100..10_000).contains(&received));
    assert_eq!(world.stack.counters().udp_dropped, 2 + u64::from(10_000 - received));
    world.stack.close_udp(id);
    assert_eq!(world.stack.memory_used(), 0);
}

#[test]
fn icmp_error_about_a_datagram_names_the_remote() {
    let mut world = World::new();
    let id = world.stack.bind_udp().unwrap();
    for host in [SocketAddr::new(HOST_V4, 53), SocketAddr::new(HOST_V6, 53)] {
        world.stack.send_udp(world.now, id, host, b"question").unwrap();
        let packet = world.take_packets().remove(0);
        let (mut other, error) = if host.is_ipv4() {
            let make = |about: &[u8]| unreachable_v4(HOST_V4, about, Icmpv4DstUnreachable::PortUnreachable);
            (packet.clone(), Box::new(make) as Box<dyn Fn(&[u8]) -> Vec<u8>>)
        } else {
            let make = |about: &[u8]| unreachable_v6(HOST_V6, about, Icmpv6DstUnreachable::PortUnreachable);
            (packet.clone(), Box::new(make) as Box<dyn Fn(&[u8]) -> Vec<u8>>)
        };
        world.stack.handle_packet(world.now, &error(&packet));
        assert_eq!(world.stack.poll_event(), Some(StackEvent::UdpError(id, host)));
        // About a remote that nothing was sent to.
        let port = if host.is_ipv4() { 23 } else { 43 };
        other[port] ^= 1;
        world.stack.handle_packet(world.now, &error(&other));
        assert_eq!(world.stack.poll_event(), None);
        for _ in 0..10_000 {
            world.stack.handle_packet(world.now, &error(&packet));
        }
        let events = std::iter::from_fn(|| world.stack.poll_event()).count();
        assert_eq!(events, 256, "errors do not pile up");
    }
}

#[test]
fn wrong_or_missing_checksum_is_dropped_unless_ipv4_leaves_it_out() {
    let mut world = World::new();
    let id = world.stack.bind_udp().unwrap();
    let port = world.stack.udp_port(id).unwrap();
    for (ours, host, header) in [(OURS_V4, HOST_V4, 20), (OURS_V6, HOST_V6, 40)] {
        let (ours, host) = (SocketAddr::new(ours, port), SocketAddr::new(host, 53));
        world.stack.send_udp(world.now, id, host, b"x").unwrap();
        let mut packet = udp(host, ours, b"answer");
        let before = world.stack.counters().bad_checksum;
        UdpPacket::new_unchecked(&mut packet[header..]).set_checksum(0x1234);
        world.stack.handle_packet(world.now, &packet);
        assert_eq!(world.stack.receive_udp(id, &mut [0; 10]), None);
        UdpPacket::new_unchecked(&mut packet[header..]).set_checksum(0);
        world.stack.handle_packet(world.now, &packet);
        assert_eq!(world.stack.receive_udp(id, &mut [0; 10]).is_some(), ours.is_ipv4());
        assert_eq!(world.stack.counters().bad_checksum, before + if ours.is_ipv4() { 1 } else { 2 });
    }
}

#[test]
fn answer_longer_than_the_buffer_is_cut() {
    let mut world = World::new();
    let id = world.stack.bind_udp().unwrap();
    let (ours, host) = addresses(&world, id);
    world.stack.send_udp(world.now, id, host, b"x").unwrap();
    world.stack.handle_packet(world.now, &udp(host, ours, &pattern(100, 1)));
    let mut buf = [0; 10];
    assert_eq!(world.stack.receive_udp(id, &mut buf), Some((host, 10)));
    assert_eq!(buf[..], pattern(100, 1)[..10]);
    assert_eq!(world.stack.receive_udp(id, &mut buf), None);
}

#[test]
fn udp_over_ipv6_extension_headers_is_understood() {
    let mut world = World::new();
    let id = world.stack.bind_udp().unwrap();
    let (ours, host) = (SocketAddr::new(OURS_V6, world.stack.udp_port(id).unwrap()), SocketAddr::new(HOST_V6, 53));
    world.stack.send_udp(world.now, id, host, b"x").unwrap();
    let plain = udp(host, ours, b"answer");
    // Destination options of eight bytes: a PadN.
    let mut packet = [&plain[..40], &[17, 0, 1, 4, 0, 0, 0, 0], &plain[40..]].concat();
    let mut header = Ipv6Packet::new_unchecked(&mut packet);
    header.set_next_header(smoltcp::wire::IpProtocol::Unknown(60));
    header.set_payload_len(u16::try_from(plain.len() - 40 + 8).unwrap());
    world.stack.handle_packet(world.now, &packet);
    assert_eq!(world.stack.receive_udp(id, &mut [0; 10]), Some((host, 6)));
}

#[test]
fn identifications_of_datagrams_that_may_be_fragmented_differ() {
    let mut world = World::new();
    let id = world.stack.bind_udp().unwrap();
    let (_, host) = addresses(&world, id);
    for _ in 0..100 {
        world.stack.send_udp(world.now, id, host, b"x").unwrap();
    }
    let idents =
        world.take_packets().iter().map(|packet| Ipv4Packet::new_unchecked(packet).ident()).collect::<Vec<_>>();
    assert_eq!(idents.iter().collect::<std::collections::HashSet<_>>().len(), 100);
}

#[test]
fn socket_that_talks_to_too_many_remotes_forgets_the_first() {
    let mut world = World::new();
    let id = world.stack.bind_udp().unwrap();
    let (ours, _) = addresses(&world, id);
    let remote = |port| SocketAddr::new(HOST_V4, port);
    for port in 1..=1025 {
        world.now += Duration::from_millis(1);
        world.stack.send_udp(world.now, id, remote(port), b"x").unwrap();
        world.take_packets();
    }
    for (port, taken) in [(1, false), (2, true), (1025, true)] {
        world.stack.handle_packet(world.now, &udp(remote(port), ours, b"answer"));
        assert_eq!(world.stack.receive_udp(id, &mut [0; 10]).is_some(), taken, "port {port}");
    }
}
