//! Whatever arrives, nothing panics, nothing grows without bound, and no more is answered than asked.

use std::{net::SocketAddr, time::Duration};

use adit_netstack::CloseReason;
use proptest::prelude::*;
use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};

use crate::{
    client::{Client, pattern},
    craft::{SEGMENT, icmp_v4, ip, read_tcp, tcp, udp, unreachable_v4},
    world::{HOST_V4, HOST_V6, OURS_V4, OURS_V6, World, config},
};

proptest! {
    #[test]
    fn any_bytes_are_taken_without_a_panic(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
        let mut world = World::new();
        for mut packet in packets {
            world.stack.handle_packet(world.now, &packet);
            for version in [0x45, 0x60] {
                if let Some(first) = packet.first_mut() {
                    *first = version;
                }
                world.stack.handle_packet(world.now, &packet);
            }
        }
        world.take_packets();
        prop_assert_eq!(world.stack.memory_used(), 0);
    }

    #[test]
    fn any_payload_of_any_protocol_is_taken_without_a_panic(
        protocol: u8, payload in prop::collection::vec(any::<u8>(), 0..200), v6: bool,
    ) {
        let mut world = World::new();
        let id = world.stack.bind_udp().unwrap();
        let (from, to) = if v6 { (HOST_V6, OURS_V6) } else { (HOST_V4, OURS_V4) };
        for protocol in [protocol, 1, 6, 17, 58, 0, 43, 44, 60] {
            let packet = ip(from, to, protocol.into(), payload.len(), |space| space.copy_from_slice(&payload));
            world.stack.handle_packet(world.now, &packet);
        }
        world.take_packets();
        prop_assert_eq!(world.stack.receive_udp(id, &mut [0; 10]), None);
    }
}

/// A segment with right addresses and checksum, and otherwise anything near what the connection expects.
pub(crate) fn odd_segment() -> impl Strategy<Value = (u8, i32, Option<i32>, u16, Option<u8>, Option<u16>, usize)> {
    let near = prop_oneof![
        -3i32..4,
        -70_000i32..70_000,
        500_000i32..1_100_000,
        any::<i32>(),
        Just(65_535 << 4),
        Just((512 << 10) - 1),
    ];
    let window_scale = prop::option::of(any::<u8>());
    let mss = prop::option::of(any::<u16>());
    let len = prop_oneof![0usize..3, 0usize..1400];
    (0u8..5, near.clone(), prop::option::of(near), any::<u16>(), window_scale, mss, len)
}

/// What the remote of a connection could send: `base` and `acknowledged` are where it is.
pub(crate) fn make<'a>(
    odd: &(u8, i32, Option<i32>, u16, Option<u8>, Option<u16>, usize),
    base: TcpSeqNumber,
    acknowledged: TcpSeqNumber,
    payload: &'a [u8],
) -> TcpRepr<'a> {
    let (control, sequence, acknowledgment, window_len, window_scale, max_seg_size, len) = *odd;
    let control =
        [TcpControl::None, TcpControl::Psh, TcpControl::Syn, TcpControl::Fin, TcpControl::Rst][usize::from(control)];
    TcpRepr {
        control,
        seq_number: TcpSeqNumber(base.0.wrapping_add(sequence)),
        ack_number: acknowledgment.map(|add| TcpSeqNumber(acknowledged.0.wrapping_add(add))),
        window_len,
        window_scale,
        max_seg_size,
        payload: &payload[..len],
        ..SEGMENT
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn hostile_remote_cannot_make_a_connection_panic(
        segments in prop::collection::vec((odd_segment(), 0u64..3000, 0u8..8), 1..60),
        handshake: bool,
    ) {
        let mut world = World::new();
        let remote = SocketAddr::new(HOST_V4, 80);
        let mut client = Client::new(world.connect(remote));
        client.to_send = pattern(30_000, 1);
        let payload = pattern(1400, 2);
        let packets = world.take_packets();
        let syn = read_tcp(&packets[0]).unwrap();
        let base = TcpSeqNumber(7_000);
        if handshake {
            let answer = TcpRepr {
                control: TcpControl::Syn,
                seq_number: base - 1,
                ack_number: Some(syn.tcp.seq_number + 1),
                window_scale: Some(7),
                ..SEGMENT
            };
            world.stack.handle_packet(world.now, &tcp(remote, syn.from, answer));
        }
        for (odd, delay, action) in &segments {
            let repr = make(odd, base, syn.tcp.seq_number + 1, &payload);
            world.stack.handle_packet(world.now, &tcp(remote, syn.from, repr));
            match action {
                0 => world.stack.shutdown(client.id),
                1 => client.lazy = !client.lazy,
                2 => {}
                _ => {
                    world.now += Duration::from_millis(*delay);
                    world.stack.handle_timeout(world.now);
                    while let Some(event) = world.stack.poll_event() {
                        client.on_event(event);
                    }
                    client.run(&mut world.stack);
                    for packet in world.take_packets() {
                        read_tcp(&packet).expect("only segments leave");
                    }
                }
            }
        }
        world.stack.release(client.id);
        let mut last = world.now;
        while let Some(at) = world.stack.poll_timeout() {
            prop_assert!(at < world.now + Duration::from_secs(3600));
            world.now = world.now.max(at);
            world.stack.handle_timeout(world.now);
            world.take_packets();
            last = last.max(world.now);
        }
        prop_assert_eq!((world.stack.memory_used(), world.stack.connection_count()), (0, 0));
    }
}

#[test]
fn data_beyond_the_window_right_after_the_handshake_is_harmless() {
    // smoltcp 0.14 alone fails an assertion here: it takes the window of its SYN for a scaled one.
    let mut world = World::new();
    let remote = SocketAddr::new(HOST_V4, 80);
    let mut client = Client::new(world.connect(remote));
    let packets = world.take_packets();
    let syn = read_tcp(&packets[0]).unwrap();
    let base = TcpSeqNumber(7_000);
    let answer = TcpRepr {
        control: TcpControl::Syn,
        seq_number: base - 1,
        ack_number: Some(syn.tcp.seq_number + 1),
        window_scale: Some(7),
        ..SEGMENT
    };
    world.stack.handle_packet(world.now, &tcp(remote, syn.from, answer));
    let payload = pattern(1000, 1);
    // From the far end to the near one, so that the hole is filled last.
    for start in (0..700).rev() {
        let data = TcpRepr {
            control: TcpControl::None,
            seq_number: base + start * 1000,
            ack_number: Some(syn.tcp.seq_number + 1),
            payload: &payload,
            ..SEGMENT
        };
        world.stack.handle_packet(world.now, &tcp(remote, syn.from, data));
    }
    world.settle(&mut [&mut client]);
    assert!(client.received.len() <= 512 << 10);
    assert_eq!(client.closed, None);
}

#[test]
fn bare_syn_to_a_connecting_socket_is_dropped() {
    let mut world = World::new();
    let remote = SocketAddr::new(HOST_V4, 80);
    world.connect(remote);
    let packets = world.take_packets();
    let syn = read_tcp(&packets[0]).unwrap();
    let simultaneous = TcpRepr { control: TcpControl::Syn, seq_number: TcpSeqNumber(1), ..SEGMENT };
    world.stack.handle_packet(world.now, &tcp(remote, syn.from, simultaneous));
    assert_eq!(world.stack.counters().implausible, 1);
    assert!(world.take_packets().is_empty());
}

#[test]
fn truncated_and_flipped_packets_are_counted_and_dropped() {
    let mut world = World::new();
    let id = world.stack.bind_udp().unwrap();
    let ours = SocketAddr::new(OURS_V4, world.stack.udp_port(id).unwrap());
    let host = SocketAddr::new(HOST_V4, 53);
    world.stack.send_udp(world.now, id, host, b"x").unwrap();
    world.take_packets();
    let datagram = udp(host, ours, b"some payload");
    for len in 0..datagram.len() {
        world.stack.handle_packet(world.now, &datagram[..len]);
    }
    let counters = *world.stack.counters();
    assert_eq!(counters.malformed, u64::try_from(datagram.len()).unwrap());
    for bit in 0..datagram.len() * 8 {
        let mut flipped = datagram.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        world.stack.handle_packet(world.now, &flipped);
    }
    assert_eq!(world.stack.receive_udp(id, &mut [0; 100]), None, "no flipped bit goes unseen");
    assert!(world.take_packets().is_empty());
    world.stack.handle_packet(world.now, &datagram);
    assert!(world.stack.receive_udp(id, &mut [0; 100]).is_some());
}

#[test]
fn packets_for_others_and_from_nowhere_are_dropped_without_an_answer() {
    let mut world = World::new();
    let stranger = "10.99.0.1".parse().unwrap();
    let syn = TcpRepr { control: TcpControl::Syn, ..SEGMENT };
    for (from, to) in [
        (HOST_V4, stranger),
        ("0.0.0.0".parse().unwrap(), OURS_V4),
        ("224.0.0.1".parse().unwrap(), OURS_V4),
        ("255.255.255.255".parse().unwrap(), OURS_V4),
        (HOST_V4, "10.8.0.255".parse().unwrap()),
        (HOST_V6, "ff02::1".parse().unwrap()),
    ] {
        world.stack.handle_packet(world.now, &tcp(SocketAddr::new(from, 80), SocketAddr::new(to, 80), syn));
    }
    assert_eq!(world.stack.counters().misaddressed, 6);
    assert!(world.take_packets().is_empty());
}

#[test]
fn icmp_errors_are_never_answered() {
    let mut world = World::new();
    let stray = udp(SocketAddr::new(OURS_V4, 5), SocketAddr::new(HOST_V4, 6), b"not ours");
    let reason = smoltcp::wire::Icmpv4DstUnreachable::PortUnreachable;
    world.stack.handle_packet(world.now, &unreachable_v4(HOST_V4, &stray, reason));
    let reply = smoltcp::wire::Icmpv4Repr::EchoReply { ident: 1, seq_no: 1, data: b"" };
    world.stack.handle_packet(world.now, &icmp_v4(HOST_V4, OURS_V4, &reply));
    assert!(world.take_packets().is_empty());
    assert_eq!(world.stack.counters().icmp_ignored, 2);
}

#[test]
fn sink_that_loses_packets_is_just_a_lossy_link() {
    struct Careless;
    impl adit_netstack::PacketSink for Careless {
        fn has_room(&mut self) -> bool {
            true
        }
        fn packet(&mut self, _: usize, fill: &mut dyn FnMut(&mut [u8])) {
            fill(&mut [0; 3]);
        }
    }
    let mut world = World::new();
    let id = world.connect(SocketAddr::new(HOST_V4, 80));
    world.stack.poll_packets(world.now, &mut Careless);
    world.now += config().connect_timeout;
    world.stack.handle_timeout(world.now);
    assert_eq!(world.stack.receive(id, &mut [0; 1]), Err(CloseReason::TimedOut));
}
