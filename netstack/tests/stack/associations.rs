//! UDP associations that begin at the other end: one for each source and destination, closed when idle, bounded.

use std::{net::SocketAddr, time::Duration};

use adit_netstack::{Endpoints, StackConfig, StackEvent, UdpError, UdpId, Unreachable};
use smoltcp::wire::Icmpv4DstUnreachable;

use crate::{
    client::pattern,
    craft::{udp, unreachable_v4},
    link::Quality,
    pair::{Pair, answering},
    world::{HOST_V4, HOST_V6, OURS_V4, OURS_V6, config, seed},
};

const SECOND: Duration = Duration::from_secs(1);

fn client(port: u16) -> SocketAddr {
    SocketAddr::new(OURS_V4, port)
}

fn dns() -> SocketAddr {
    SocketAddr::new(HOST_V4, 53)
}

/// One datagram from the client's address, and the association it belongs to.
fn incoming(pair: &mut Pair, port: u16) -> UdpId {
    pair.gateway.handle_packet(pair.now, &udp(client(port), dns(), b"question"));
    pair.settle(&mut [], &mut []);
    pair.associations.pop().expect("a new association")
}

#[test]
fn datagrams_reach_any_destination_and_are_answered_in_its_name() {
    let mut pair = Pair::new();
    let ours = pair.client.bind_udp().unwrap();
    let port = pair.client.udp_port(ours).unwrap();
    for (source, host) in [(OURS_V4, HOST_V4), (OURS_V6, HOST_V6)] {
        let (source, host) = (SocketAddr::new(source, port), SocketAddr::new(host, 53));
        for payload in [&b"one"[..], b"two", b""] {
            pair.client.send_udp(pair.now, ours, host, payload).unwrap();
        }
        pair.run_for(&mut [], &mut [], SECOND);
        let id = pair.associations.pop().unwrap();
        assert!(pair.associations.is_empty(), "one association");
        assert_eq!(pair.events, [StackEvent::UdpReadable(id)]);
        pair.events.clear();
        assert_eq!(pair.gateway.udp_endpoints(id), Some(Endpoints { local: host, remote: source }));
        let mut buf = [0; 100];
        for payload in [&b"one"[..], b"two", b""] {
            assert_eq!(pair.gateway.receive_udp(id, &mut buf), Some((source, payload.len())));
            assert_eq!(&buf[..payload.len()], payload);
        }
        assert_eq!(pair.gateway.receive_udp(id, &mut buf), None);
        pair.gateway.send_udp(pair.now, id, source, b"answer").unwrap();
        pair.run_for(&mut [], &mut [], SECOND);
        assert_eq!(pair.client.receive_udp(ours, &mut buf), Some((host, 6)));
        assert_eq!(&buf[..6], b"answer");
        pair.gateway.close_udp(id);
        assert_eq!((pair.gateway.udp_endpoints(id), pair.gateway.memory_used()), (None, 0));
    }
}

#[test]
fn every_pair_of_source_and_destination_is_an_association() {
    let mut pair = Pair::new();
    let other = SocketAddr::new(HOST_V4, 123);
    for (from, to) in [(client(5), dns()), (client(6), dns()), (client(5), other), (client(5), dns())] {
        pair.gateway.handle_packet(pair.now, &udp(from, to, b"x"));
    }
    pair.settle(&mut [], &mut []);
    assert_eq!((pair.associations.len(), pair.gateway.counters().associations), (3, 3));
}

#[test]
fn association_answers_its_peer_alone_and_within_the_mtu() {
    let mut pair = Pair::new();
    let id = incoming(&mut pair, 5);
    let send = |pair: &mut Pair, to, len| pair.gateway.send_udp(pair.now, id, to, &vec![0; len]);
    assert_eq!(send(&mut pair, client(6), 1), Err(UdpError::Unaddressable));
    assert_eq!(send(&mut pair, client(5), 1400 - 27), Err(UdpError::TooLarge { limit: 1400 - 28 }));
    assert_eq!(send(&mut pair, client(5), 1400 - 28), Ok(()));
    assert_eq!(pair.answers()[0].len(), 1400);
}

#[test]
fn idle_association_is_closed_and_a_used_one_is_not() {
    let mut pair = Pair::with(config(), StackConfig { udp_idle: 30 * SECOND, ..answering() }, Quality::PERFECT, seed());
    let id = incoming(&mut pair, 5);
    pair.events.clear();
    pair.run_for(&mut [], &mut [], 29 * SECOND);
    pair.gateway.send_udp(pair.now, id, client(5), b"from here").unwrap();
    pair.run_for(&mut [], &mut [], 29 * SECOND);
    pair.gateway.handle_packet(pair.now, &udp(client(5), dns(), b"from there"));
    pair.run_for(&mut [], &mut [], 29 * SECOND);
    assert!(pair.gateway.udp_endpoints(id).is_some());
    pair.run_for(&mut [], &mut [], SECOND);
    // Nobody listens at the client, which says so.
    assert_eq!(pair.events, [StackEvent::UdpError(id, client(5)), StackEvent::UdpClosed(id)]);
    assert_eq!((pair.gateway.memory_used(), pair.gateway.poll_timeout()), (0, None));
    assert_eq!(pair.gateway.send_udp(pair.now, id, client(5), b"late"), Err(UdpError::Closed));
    let again = incoming(&mut pair, 5);
    assert_ne!(again, id);
}

#[test]
fn oldest_associations_give_way_when_there_are_too_many() {
    let mut pair = Pair::with(config(), StackConfig { max_connections: 100, ..answering() }, Quality::PERFECT, seed());
    let first = incoming(&mut pair, 1);
    let second = incoming(&mut pair, 2);
    for port in 3..=100 {
        pair.now += SECOND / 100;
        incoming(&mut pair, port);
    }
    pair.gateway.send_udp(pair.now, first, client(1), b"still in use").unwrap();
    pair.now += SECOND / 100;
    pair.events.clear();
    incoming(&mut pair, 101);
    assert!(pair.events.contains(&StackEvent::UdpClosed(second)), "{:?}", pair.events);
    assert!(pair.gateway.udp_endpoints(first).is_some());
    assert_eq!(pair.gateway.counters().associations_evicted, 1);
}

#[test]
fn flood_of_associations_is_bounded_in_memory_and_events_whether_or_not_anybody_looks() {
    for look in [true, false] {
        let gateway = StackConfig { memory: 4 << 20, ..answering() };
        let mut pair = Pair::with(config(), gateway, Quality::PERFECT, seed());
        let payload = pattern(1000, 1);
        for round in 0..100_000u32 {
            let from = client(u16::try_from(round % 50_000).unwrap() + 1);
            let to = SocketAddr::new(HOST_V4, u16::try_from(round / 50_000).unwrap() + 1);
            pair.gateway.handle_packet(pair.now, &udp(from, to, &payload));
            assert!(pair.gateway.memory_used() <= 4 << 20);
            while look && pair.gateway.poll_event().is_some() {}
        }
        let events = std::iter::from_fn(|| pair.gateway.poll_event()).count();
        assert!(events <= 3 * 1024, "{events} events");
        pair.now += 180 * SECOND;
        pair.gateway.handle_timeout(pair.now);
        assert_eq!(pair.gateway.memory_used(), 0);
    }
}

#[test]
fn queue_of_an_association_is_bounded() {
    let mut pair = Pair::new();
    let id = incoming(&mut pair, 5);
    for _ in 0..10_000 {
        pair.gateway.handle_packet(pair.now, &udp(client(5), dns(), b"more"));
    }
    assert!(pair.gateway.memory_used() <= (256 << 10) + 1024);
    assert!(pair.gateway.counters().udp_dropped > 0);
    pair.gateway.close_udp(id);
    assert_eq!(pair.gateway.memory_used(), 0);
}

#[test]
fn refused_association_tells_its_peer_whether_or_not_the_datagram_was_read() {
    for read in [false, true] {
        for host in [HOST_V4, HOST_V6] {
            let mut pair = Pair::new();
            let ours = pair.client.bind_udp().unwrap();
            let host = SocketAddr::new(host, 53);
            pair.client.send_udp(pair.now, ours, host, b"question").unwrap();
            pair.run_for(&mut [], &mut [], SECOND);
            let id = pair.associations.remove(0);
            if read {
                pair.gateway.receive_udp(id, &mut [0; 100]).unwrap();
            }
            pair.gateway.refuse_udp(pair.now, id, Unreachable::Port);
            assert_eq!((pair.gateway.memory_used(), pair.gateway.udp_endpoints(id)), (0, None));
            for packet in pair.answers() {
                pair.client.handle_packet(pair.now, &packet);
            }
            assert_eq!(pair.client.poll_event(), Some(StackEvent::UdpError(ours, host)));
        }
    }
}

#[test]
fn refusals_keep_to_the_rate_of_answers_to_strangers() {
    let mut pair = Pair::new();
    for port in 1..=1000 {
        let id = incoming(&mut pair, port);
        pair.gateway.refuse_udp(pair.now, id, Unreachable::Prohibited);
    }
    let counters = pair.gateway.counters();
    assert_eq!((counters.unreachables_sent, counters.answers_suppressed), (50, 950));
    assert_eq!(pair.gateway.memory_used(), 0);
}

#[test]
fn peer_that_does_not_listen_any_more_is_told_about() {
    let mut pair = Pair::new();
    let id = incoming(&mut pair, 5);
    pair.events.clear();
    pair.gateway.send_udp(pair.now, id, client(5), b"answer").unwrap();
    let answer = pair.answers().remove(0);
    let error = unreachable_v4(OURS_V4, &answer, Icmpv4DstUnreachable::PortUnreachable);
    pair.gateway.handle_packet(pair.now, &error);
    assert_eq!(pair.gateway.poll_event(), Some(StackEvent::UdpError(id, client(5))));
}

#[test]
fn associations_of_a_peer_that_is_gone_are_closed() {
    let mut pair = Pair::new();
    let id = incoming(&mut pair, 5);
    pair.events.clear();
    pair.gateway.reconfigure(pair.now, answering());
    assert!(pair.gateway.udp_endpoints(id).is_some());
    pair.gateway.reconfigure(pair.now, StackConfig { peers: Vec::new(), ..answering() });
    pair.settle(&mut [], &mut []);
    assert_eq!(pair.events, [StackEvent::UdpClosed(id)]);
    assert_eq!(pair.gateway.memory_used(), 0);
}

#[test]
fn socket_of_the_gateway_itself_gets_its_answers_and_no_association_is_made() {
    let mut pair = Pair::new();
    let socket = pair.gateway.bind_udp().unwrap();
    let ours = SocketAddr::new(crate::pair::GATEWAY_V4, pair.gateway.udp_port(socket).unwrap());
    pair.gateway.send_udp(pair.now, socket, client(5), b"question").unwrap();
    pair.gateway.handle_packet(pair.now, &udp(client(5), ours, b"answer"));
    assert_eq!(pair.gateway.poll_event(), Some(StackEvent::UdpReadable(socket)));
    assert_eq!(pair.gateway.receive_udp(socket, &mut [0; 10]), Some((client(5), 6)));
    pair.gateway.handle_packet(pair.now, &udp(client(6), ours, b"a stranger"));
    assert!(matches!(pair.gateway.poll_event(), Some(StackEvent::UdpIncoming(_))));
    pair.gateway.close_udp(socket);
}
