//! Ports of a host's own addresses, echo requests of its own, and a tunnel that is lost.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use adit_netstack::{CloseReason, ConnectError, PacketSink, Stack, StackConfig, StackEvent, UdpError};
use smoltcp::wire::TcpControl;

use crate::{
    craft::{SEGMENT, tcp, udp},
    world::{HOST_V4, HOST_V6, OURS_V4, World},
};

struct List(Vec<Vec<u8>>);

impl PacketSink for List {
    fn has_room(&mut self) -> bool {
        true
    }
    fn packet(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) {
        let mut packet = vec![0; len];
        fill(&mut packet);
        self.0.push(packet);
    }
}

fn syn(port: u16) -> Vec<u8> {
    let (from, to) = (SocketAddr::new(HOST_V4, 4000), SocketAddr::new(OURS_V4, port));
    tcp(from, to, smoltcp::wire::TcpRepr { control: TcpControl::Syn, max_seg_size: Some(1000), ..SEGMENT })
}

#[test]
fn only_ports_that_are_listened_on_take_connections() {
    let mut world = World::new();
    assert!(world.stack.listen(22));
    assert!(!world.stack.listen(22), "it was already");
    world.stack.handle_packet(world.now, &syn(23));
    assert_eq!((world.stack.poll_event(), world.stack.counters().resets_sent), (None, 1));
    world.stack.handle_packet(world.now, &syn(22));
    let Some(StackEvent::Incoming(id)) = world.stack.poll_event() else { panic!("it is announced") };
    assert_eq!(world.stack.endpoints(id).unwrap().local, SocketAddr::new(OURS_V4, 22));
    world.stack.accept(world.now, id);
    let answers = world.take_packets();
    // Behind the RST for the other port: SYN and ACK.
    assert_eq!(answers.last().unwrap()[33] & 0x12, 0x12);
    world.stack.unlisten(22);
    let (from, to) = (SocketAddr::new(HOST_V4, 4001), SocketAddr::new(OURS_V4, 22));
    world
        .stack
        .handle_packet(world.now, &tcp(from, to, smoltcp::wire::TcpRepr { control: TcpControl::Syn, ..SEGMENT }));
    assert_eq!((world.stack.poll_event(), world.stack.counters().resets_sent), (None, 2));
    assert!(world.stack.endpoints(id).is_some(), "what came through it lives on");
}

#[test]
fn a_quiet_stack_refuses_nothing_that_may_be_anothers() {
    let mut world = World::new();
    world.stack.set_quiet(true);
    world.stack.handle_packet(world.now, &syn(23));
    let counters = world.stack.counters();
    assert_eq!((counters.unknown_tcp, counters.answers_suppressed, counters.resets_sent), (1, 1, 0));
    assert!(world.take_packets().is_empty());
    world.stack.set_quiet(false);
    world.stack.handle_packet(world.now, &syn(23));
    assert_eq!(world.stack.counters().resets_sent, 1);
}

#[test]
fn anybody_may_send_to_a_port_that_was_asked_for() {
    let mut world = World::new();
    let id = world.stack.bind_udp_port(53).unwrap();
    assert_eq!(world.stack.bind_udp_port(53), Err(ConnectError::PortInUse));
    assert_eq!(world.stack.bind_udp_port(0), Err(ConnectError::PortInUse));
    let from = SocketAddr::new(HOST_V4, 4000);
    world.stack.handle_packet(world.now, &udp(from, SocketAddr::new(OURS_V4, 53), b"hello"));
    assert_eq!(world.stack.poll_event(), Some(StackEvent::UdpReadable(id)));
    let mut buffer = [0; 9];
    assert_eq!(world.stack.receive_udp(id, &mut buffer), Some((from, 5)));
    world.stack.send_udp(world.now, id, from, b"back").unwrap();
    let answer = world.take_packets().remove(0);
    assert_eq!(answer[20..24], [0, 53, 0x0f, 0xa0], "from that port, to theirs");
    world.stack.handle_packet(world.now, &udp(from, SocketAddr::new(OURS_V4, 54), b"hello"));
    assert_eq!(world.stack.counters().unreachables_sent, 1);
    world.stack.close_udp(id);
    world.stack.bind_udp_port(53).unwrap();
}

/// The host, as another stack: it answers echo requests.
fn host() -> Stack {
    let config = StackConfig { addresses: vec![HOST_V4, HOST_V6], ..StackConfig::default() };
    Stack::new(config, 2)
}

#[test]
fn an_echo_request_is_answered_and_the_answer_belongs_to_it() {
    for remote in [HOST_V4, HOST_V6] {
        let (mut world, mut host) = (World::new(), host());
        let ids: Vec<_> = (0..2).map(|_| world.stack.ping(world.now, remote, b"payload").unwrap()).collect();
        assert_ne!(ids[0], ids[1]);
        for packet in world.take_packets() {
            host.handle_packet(world.now, &packet);
        }
        let mut answers = List(Vec::new());
        host.poll_packets(world.now, &mut answers);
        assert_eq!((answers.0.len(), host.counters().bad_checksum), (2, 0));
        let later = world.now + Duration::from_millis(30);
        world.stack.forget_ping(ids[0]);
        for answer in answers.0.iter().chain(&answers.0) {
            world.stack.handle_packet(later, answer);
        }
        assert_eq!(world.stack.poll_event(), Some(StackEvent::Pong(ids[1], Duration::from_millis(30))));
        assert_eq!(
            (world.stack.poll_event(), world.stack.counters().icmp_ignored),
            (None, 3),
            "once, and if it is waited for"
        );
    }
}

#[test]
fn an_echo_request_that_cannot_be_sent_is_an_error() {
    let mut world = World::new();
    assert!(matches!(world.stack.ping(world.now, HOST_V4, &[0; 9000]), Err(UdpError::TooLarge { .. })));
    let nowhere: IpAddr = "224.0.0.1".parse().unwrap();
    assert_eq!(world.stack.ping(world.now, nowhere, b""), Err(UdpError::Unaddressable));
    let pings = (0..2000).map(|_| world.stack.ping(world.now, HOST_V4, b""));
    assert_eq!(pings.filter(Result::is_err).count(), 2000 - 1024, "so many may wait");
}

#[test]
fn a_connection_whose_tunnel_is_lost_says_so_and_is_reset() {
    let mut world = World::new();
    world.stack.listen(22);
    world.stack.handle_packet(world.now, &syn(22));
    let Some(StackEvent::Incoming(id)) = world.stack.poll_event() else { panic!("it is announced") };
    world.stack.accept(world.now, id);
    world.take_packets();
    world.stack.sever(id);
    assert_eq!(world.stack.poll_event(), Some(StackEvent::Closed(id, CloseReason::TunnelLost)));
    assert_eq!(world.stack.send(id, b"x"), Err(CloseReason::TunnelLost));
    assert_eq!(world.take_packets().remove(0)[33] & 0x04, 0x04, "RST");
}

#[test]
fn stacks_that_trade_places_keep_their_connections_and_give_away_ports_and_numbers() {
    let (mut world, mut other) = (World::new(), host());
    world.stack.listen(22);
    world.stack.handle_packet(world.now, &syn(22));
    let Some(StackEvent::Incoming(id)) = world.stack.poll_event() else { panic!("it is announced") };
    world.stack.trade_places(&mut other);
    assert!(world.stack.endpoints(id).is_some());
    assert_eq!((world.stack.counters().incoming, other.counters().incoming), (0, 1));
    assert!(world.stack.listen(22) && !other.listen(22));
}
