//! Nothing is remembered of a client before it has shown that it receives what is sent to its address.

use std::net::SocketAddr;

use bytes::Bytes;

use super::net::{Net, Setup};
use crate::{
    control::packet::{AckList, ControlPacket, KeyId, Opcode, SessionId},
    tests::secs,
};

const STRANGER: &str = "203.0.113.9:7777";

fn stranger() -> SocketAddr {
    STRANGER.parse().unwrap()
}

fn session() -> SessionId {
    SessionId::new([7; 8]).unwrap()
}

fn packet(opcode: Opcode, packet_id: Option<u32>, acks: &[u32], cookie: Option<SessionId>) -> ControlPacket {
    ControlPacket {
        opcode,
        key_id: KeyId::FIRST,
        session_id: session(),
        acks: acks.iter().copied().collect(),
        peer_session_id: cookie,
        packet_id,
        payload: Bytes::new(),
    }
}

fn bytes(packet: &ControlPacket) -> Bytes {
    let mut w = adit_tunnel::wire::Writer::default();
    packet.encode(&mut w);
    w.finish()
}

fn send(net: &mut Net, from: SocketAddr, packet: &ControlPacket) -> Vec<Bytes> {
    net.inject_from(from, &bytes(packet))
}

/// The cookie the server gives a stranger for its reset.
fn cookie(net: &mut Net) -> SessionId {
    let reset = packet(Opcode::HARD_RESET_CLIENT_V2, Some(0), &[], None);
    let answers = send(net, stranger(), &reset);
    let [answer] = answers.as_slice() else { panic!("{answers:?}") };
    let answer = ControlPacket::decode(answer).unwrap();
    assert_eq!((answer.opcode, answer.packet_id), (Opcode::HARD_RESET_SERVER_V2, Some(0)));
    assert_eq!((answer.acks, answer.peer_session_id), (AckList::from_iter([0]), Some(session())));
    answer.session_id
}

#[test]
fn a_reset_is_answered_once_and_forgotten() {
    let mut net = Setup::default().empty();
    let first = cookie(&mut net);
    assert_eq!(cookie(&mut net), first, "the same question, the same answer");
    assert_eq!((net.server.peers(), net.server.half_open_peers(), net.peers.len()), (0, 0, 0));
    net.run(secs(60));
    assert!(net.stray.is_empty(), "nothing is sent again");
}

/// The answer acknowledges, which takes 12 bytes; a reset with a wrapped key is longer than the answer.
#[test]
fn the_answer_is_one_packet_and_hardly_longer_than_the_question() {
    for (name, client, server) in super::wraps::wraps() {
        let mut net = Setup::new(|setup| {
            setup.settings.control_wrap = client;
            setup.server.control_wrap = server;
        })
        .start();
        let reset = adit_tunnel::Tunnel::poll_transmit(&mut net.client().tunnel).unwrap().datagram;
        let answers = net.inject_from(stranger(), &reset);
        assert_eq!(answers.len(), 1, "{name}");
        assert!(answers[0].len() <= reset.len() + 12, "{name}: {} for {}", answers[0].len(), reset.len());
    }
}

#[test]
fn a_returned_cookie_makes_a_peer() {
    for opcode in [Opcode::CONTROL_V1, Opcode::ACK_V1] {
        let mut net = Setup::default().empty();
        let cookie = cookie(&mut net);
        let id = (opcode == Opcode::CONTROL_V1).then_some(1);
        send(&mut net, stranger(), &packet(opcode, id, &[0], Some(cookie)));
        assert_eq!((net.server.peers(), net.server.half_open_peers()), (1, 1), "{opcode:?}");
    }
}

#[test]
fn cookies_that_are_old_foreign_or_of_another_address_make_none() {
    let mut net = Setup::default().empty();
    let good = cookie(&mut net);
    let third = |cookie| packet(Opcode::CONTROL_V1, Some(1), &[0], Some(cookie));
    for bit in 0..64 {
        let mut changed = *good.bytes();
        changed[bit / 8] ^= 1 << (bit % 8);
        send(&mut net, stranger(), &third(SessionId::new(changed).unwrap()));
    }
    for other in ["203.0.113.9:7778", "203.0.113.10:7777", "[2001:db8::1]:7777"] {
        send(&mut net, other.parse().unwrap(), &third(good));
    }
    let mut other_server = Setup::new(|setup| setup.seed = 9).empty();
    let foreign = cookie(&mut other_server);
    send(&mut net, stranger(), &third(foreign));
    let of_another_session = ControlPacket { session_id: SessionId::new([8; 8]).unwrap(), ..third(good) };
    send(&mut net, stranger(), &of_another_session);
    assert_eq!(net.server.peers(), 0);
    net.run(secs(91));
    send(&mut net, stranger(), &third(good));
    assert_eq!(net.server.peers(), 0, "too old");
    let fresh = cookie(&mut net);
    net.run(secs(59));
    send(&mut net, stranger(), &third(fresh));
    assert_eq!(net.server.peers(), 1, "still good within the hand-window");
}

#[test]
fn a_good_cookie_in_the_wrong_packet_makes_no_peer() {
    let mut net = Setup::default().empty();
    let cookie = cookie(&mut net);
    let third = |opcode, id, acks: &[u32]| packet(opcode, id, acks, Some(cookie));
    for wrong in [
        third(Opcode::CONTROL_V1, Some(2), &[0]),
        third(Opcode::CONTROL_V1, Some(0), &[0]),
        third(Opcode::CONTROL_V1, Some(1), &[1]),
        third(Opcode::CONTROL_V1, Some(1), &[0, 2]),
        third(Opcode::CONTROL_WKC_V1, Some(1), &[0]),
        third(Opcode::SOFT_RESET_V1, Some(1), &[0]),
        third(Opcode::HARD_RESET_SERVER_V2, Some(1), &[0]),
        third(Opcode::HARD_RESET_CLIENT_V2, Some(0), &[0]),
        packet(Opcode::CONTROL_V1, Some(1), &[], None),
        ControlPacket { key_id: KeyId::new(1).unwrap(), ..third(Opcode::CONTROL_V1, Some(1), &[0]) },
    ] {
        let answers = send(&mut net, stranger(), &wrong);
        assert_eq!((net.server.peers(), answers.len()), (0, 0), "{wrong:?}");
    }
}

#[test]
fn over_tcp_the_stream_has_proved_the_address_and_cookies_mean_nothing() {
    let mut net = Setup::new(|setup| setup.transport = adit_tunnel::Transport::Tcp).empty();
    let cookie = {
        let mut udp = Setup::default().empty();
        cookie(&mut udp)
    };
    send(&mut net, stranger(), &packet(Opcode::CONTROL_V1, Some(1), &[0], Some(cookie)));
    assert_eq!(net.server.peers(), 0);
    send(&mut net, stranger(), &packet(Opcode::HARD_RESET_CLIENT_V2, Some(0), &[], None));
    assert_eq!(net.server.peers(), 1);
}
