//! What strangers and peers can make the server hold.

use std::net::SocketAddr;

use bytes::Bytes;

use super::net::{Net, Owner, Setup};
use crate::{
    control::packet::{AckList, ControlPacket, KeyId, Opcode, SessionId},
    error::PeerMisbehaved,
    server::ServerSessionError,
    tests::secs,
};

fn bytes(packet: &ControlPacket) -> Bytes {
    let mut w = adit_tunnel::wire::Writer::default();
    packet.encode(&mut w);
    w.finish()
}

fn address(number: u32) -> SocketAddr {
    (std::net::Ipv4Addr::from(0xcb00_7100 + number), 1000).into()
}

fn of(number: u32, opcode: Opcode, packet_id: Option<u32>, cookie: Option<SessionId>, payload: &[u8]) -> ControlPacket {
    ControlPacket {
        opcode,
        key_id: KeyId::FIRST,
        session_id: SessionId::new((u64::from(number) + 1).to_be_bytes()).unwrap(),
        acks: if cookie.is_some() { AckList::from_iter([0]) } else { AckList::default() },
        peer_session_id: cookie,
        packet_id,
        payload: Bytes::copy_from_slice(payload),
    }
}

fn knock(net: &mut Net, number: u32) -> Option<SessionId> {
    let reset = of(number, Opcode::HARD_RESET_CLIENT_V2, Some(0), None, &[]);
    let answers = net.inject_from(address(number), &bytes(&reset));
    answers.first().map(|answer| ControlPacket::decode(answer).unwrap().session_id)
}

/// A stranger that is a half-open peer now.
fn half_open(net: &mut Net, number: u32) -> SessionId {
    let cookie = knock(net, number).unwrap();
    net.inject_from(address(number), &bytes(&of(number, Opcode::ACK_V1, None, Some(cookie), &[])));
    cookie
}

#[test]
fn strangers_are_answered_so_often_and_no_more() {
    let mut net = Setup::new(|setup| setup.limits.initial_packets = 20).empty();
    let answered = (0..100).filter(|number| knock(&mut net, *number).is_some()).count();
    assert_eq!(answered, 20);
    net.run(secs(9));
    assert!(knock(&mut net, 100).is_none());
    net.run(secs(1));
    assert!(knock(&mut net, 101).is_some());
}

#[test]
fn who_comes_back_with_its_cookie_does_not_count() {
    let mut net = Setup::new(|setup| setup.limits.initial_packets = 2).empty();
    (0..50).for_each(|number| {
        half_open(&mut net, number);
    });
    assert_eq!(net.server.half_open_peers(), 50);
}

/// Nor does one cookie, returned again and again by who is not let in, buy answers for others.
#[test]
fn who_comes_back_and_is_turned_away_still_counts() {
    let mut net = Setup::new(|setup| (setup.limits.half_open, setup.limits.initial_packets) = (1, 10)).empty();
    half_open(&mut net, 0);
    let cookie = knock(&mut net, 1).unwrap();
    for _ in 0..20 {
        net.inject_from(address(1), &bytes(&of(1, Opcode::ACK_V1, None, Some(cookie), &[])));
    }
    assert_eq!(net.server.peers(), 1);
    let answered = (2..100).filter(|number| knock(&mut net, *number).is_some()).count();
    assert_eq!(answered, 9);
}

#[test]
fn half_open_peers_are_bounded_and_go_with_the_hand_window() {
    let mut net = Setup::new(|setup| setup.limits.half_open = 5).empty();
    (0..20).for_each(|number| {
        half_open(&mut net, number);
    });
    assert_eq!((net.server.half_open_peers(), net.peers.len()), (5, 5));
    net.run(secs(61));
    assert_eq!((net.server.half_open_peers(), net.server.peers(), net.gone.len()), (0, 0, 5));
    net.add_client();
    net.come_up();
}

/// It takes all the places it gets, with cookies it can return; the others have theirs.
#[test]
fn one_host_cannot_take_every_place() {
    let mut net = Setup::default().empty();
    let mut next = 0;
    let mut flood = |net: &mut Net, from: fn(u32) -> String| {
        for _ in 0..50 {
            next += 1;
            let from: SocketAddr = from(next).parse().unwrap();
            let reset = of(next, Opcode::HARD_RESET_CLIENT_V2, Some(0), None, &[]);
            let answers = net.inject_from(from, &bytes(&reset));
            let cookie = ControlPacket::decode(&answers[0]).unwrap().session_id;
            net.inject_from(from, &bytes(&of(next, Opcode::ACK_V1, None, Some(cookie), &[])));
        }
        net.server.half_open_peers()
    };
    assert_eq!(flood(&mut net, |n| format!("203.0.113.1:{n}")), 16);
    net.run(secs(10));
    assert_eq!(flood(&mut net, |n| format!("[2001:db8::{n:x}:1]:1194")), 32);
    net.add_client();
    assert!(net.run_until(secs(5), |net| !net.clients[0].end.ups.is_empty()), "{:?}", net.states());
}

#[test]
fn peers_that_are_in_are_not_half_open() {
    let mut net = Setup::new(|setup| setup.limits.half_open = 1).empty();
    for _ in 0..4 {
        net.add_client();
        net.come_up();
    }
    assert_eq!((net.server.peers(), net.server.half_open_peers()), (4, 0));
}

#[test]
fn peers_are_bounded() {
    let mut net = Setup::new(|setup| setup.limits.peers = 2).empty();
    (0..3).for_each(|_| net.add_client());
    net.run(secs(20));
    assert_eq!(net.server.peers(), 2);
    assert_eq!(net.clients.iter().filter(|client| !client.end.ups.is_empty()).count(), 2);
}

type Packet = (u32, Vec<u8>);

/// Packets out of order, records that never end, handshakes that go on for ever.
#[test]
fn no_flood_makes_a_peer_hold_more_than_it_may() {
    let record = |length: usize| [&[22, 3, 1], (length as u16).to_be_bytes().as_slice(), &vec![1; length]].concat();
    let floods: [(&str, Vec<Packet>); 4] = [
        ("out of order", (2..2000).map(|id| (id, vec![1; 1400])).collect()),
        ("large packets", (2..2000).map(|id| (id, vec![1; 65_000])).collect()),
        ("one endless record", (1..200).map(|id| (id, [&[22, 3, 1, 0x40, 0][..], &[0; 1000]].concat())).collect()),
        ("a long handshake", (1..400).map(|id| (id, record(1000))).collect()),
    ];
    for (name, packets) in floods {
        let mut net = Setup::new(|setup| setup.limits.peer_bytes = 40_000).empty();
        let cookie = half_open(&mut net, 1);
        for (id, payload) in packets {
            net.inject_from(address(1), &bytes(&of(1, Opcode::CONTROL_V1, Some(id), Some(cookie), &payload)));
            let held = net.peers.values().map(|peer| peer.end.tunnel.held_bytes()).max().unwrap_or_default();
            assert!(held <= 40_000, "{name}: {held}");
        }
        assert!(net.server.peers() <= 1);
    }
}

#[test]
fn a_peer_that_holds_too_much_is_dropped() {
    let mut net = Setup::new(|setup| setup.limits.peer_bytes = 40_000).empty();
    let cookie = half_open(&mut net, 1);
    for id in 2..12 {
        net.inject_from(address(1), &bytes(&of(1, Opcode::CONTROL_V1, Some(id), Some(cookie), &[1; 8000])));
    }
    assert_eq!(*net.server_error().1, ServerSessionError::Protocol(PeerMisbehaved::HoldsTooMuch));
}

#[test]
fn half_open_peers_whose_owner_is_slow_count_until_they_are_in() {
    let mut net = Setup::new(|setup| setup.owner = Owner::ChecksAfter(secs(10))).start();
    net.run(secs(9));
    assert_eq!(net.server.half_open_peers(), 1);
    net.run(secs(3));
    assert_eq!(net.server.half_open_peers(), 0);
}
