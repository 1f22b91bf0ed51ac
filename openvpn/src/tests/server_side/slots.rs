//! Every state of a server's key slot against every opcode with every key id, and what strangers may say, as a table that is
//! committed.
//!
//! A table that differs fails the test. `INSTA_UPDATE=always cargo test -p openvpn slots` writes what the code does now over what
//! is committed; look at the difference line by line before committing it: it is what has become of the protocol.

use adit_tunnel::{Class, Event, Tunnel};
use bytes::Bytes;

use super::net::{Net, Owner, Setup};
use crate::{
    control::packet::{AckList, ControlPacket, KeyId, Opcode, SessionId},
    server::{ServerSession, ServerSessionError},
    session::iv_proto,
    tests::{millis, secs, server::header},
};

/// A session in this state; what is on its way to it has not arrived.
struct State {
    name: &'static str,
    /// The newest key id, its slot, the session.
    called: (u8, &'static str, &'static str),
    owner: Owner,
}

const STATES: [State; 8] = [
    State { name: "the first key, TLS is shaking hands", called: (0, "Tls", "Handshaking"), owner: Owner::Checks },
    State { name: "the first key, the owner decides", called: (0, "Ready", "Judging"), owner: Owner::NeverAnswers },
    State {
        name: "the first key is ready, options were not asked for",
        called: (0, "Ready", "Admitted"),
        owner: Owner::Checks,
    },
    State { name: "the first key is ready, traffic flows", called: (0, "Ready", "Up"), owner: Owner::Checks },
    State { name: "a second key, our reset was sent", called: (1, "AwaitingReset", "Up"), owner: Owner::Checks },
    State { name: "a second key, TLS is shaking hands", called: (1, "Tls", "Up"), owner: Owner::Checks },
    State {
        name: "a second key, the owner decides",
        called: (1, "Judging", "Up"),
        owner: Owner::ChecksAfter(millis(200)),
    },
    State { name: "a second key is ready", called: (1, "Ready", "Up"), owner: Owner::Checks },
];

impl State {
    fn net(&self) -> Net {
        let mut net = Setup::new(|setup| {
            // One wrapping for all keys; and the client asks for its options.
            setup.withheld = iv_proto::DYN_TLS_CRYPT | iv_proto::REQUEST_PUSH;
            setup.settings.reneg_sec = secs(0);
            setup.owner = self.owner;
        })
        .start();
        if self.called.0 == 1 {
            net.come_up();
            net.with_peer(ServerSession::renegotiate_now);
        }
        let is_there = |net: &Net| net.peers.values().any(|peer| peer.end.tunnel.state_names() == self.called);
        assert!(net.run_until(secs(50), is_there), "{}: {:?}", self.name, net.states());
        if self.called.1 == "Ready" && self.called.2 == "Up" {
            net.run(secs(1));
        }
        net
    }
}

/// A packet of the client, as it should be but for this.
type Packet = (&'static str, fn(&mut ControlPacket));

const PACKETS: [Packet; 20] = [
    ("opcode 0", |packet| packet.opcode = Opcode(0)),
    ("opcode 1, a reset of key method 1", |packet| packet.opcode = Opcode(1)),
    ("opcode 2, a reset of key method 1", |packet| packet.opcode = Opcode(2)),
    ("SOFT_RESET_V1, the first packet", |packet| {
        (packet.opcode, packet.packet_id) = (Opcode::SOFT_RESET_V1, Some(0));
    }),
    ("SOFT_RESET_V1, a later packet", |packet| {
        (packet.opcode, packet.packet_id) = (Opcode::SOFT_RESET_V1, packet.packet_id.max(Some(1)));
    }),
    ("CONTROL_V1 without content", |_| {}),
    ("CONTROL_V1 that is no TLS", |packet| packet.payload = Bytes::from_static(b"nothing of TLS begins so")),
    ("CONTROL_V1 of another session", |packet| packet.session_id = another()),
    ("CONTROL_V1 for another session", |packet| packet.peer_session_id = Some(another())),
    ("CONTROL_V1 of the packet after next", |packet| packet.packet_id = packet.packet_id.map(|id| id + 1)),
    ("CONTROL_V1 far ahead", |packet| packet.packet_id = packet.packet_id.map(|id| id + 1000)),
    ("ACK_V1 of what we never sent", |packet| {
        (packet.opcode, packet.packet_id, packet.acks) = (Opcode::ACK_V1, None, AckList::from_iter([1000]));
    }),
    ("DATA_V1", |packet| packet.opcode = Opcode::DATA_V1),
    ("HARD_RESET_CLIENT_V2", |packet| {
        (packet.opcode, packet.packet_id) = (Opcode::HARD_RESET_CLIENT_V2, Some(0));
    }),
    ("HARD_RESET_SERVER_V2", |packet| {
        (packet.opcode, packet.packet_id) = (Opcode::HARD_RESET_SERVER_V2, Some(0));
    }),
    ("DATA_V2", |packet| packet.opcode = Opcode::DATA_V2),
    ("HARD_RESET_CLIENT_V3", |packet| {
        (packet.opcode, packet.packet_id) = (Opcode::HARD_RESET_CLIENT_V3, Some(0));
    }),
    ("CONTROL_WKC_V1", |packet| packet.opcode = Opcode::CONTROL_WKC_V1),
    ("opcode 12", |packet| packet.opcode = Opcode(12)),
    ("opcode 31", |packet| packet.opcode = Opcode(31)),
];

/// A session nobody has heard of.
fn another() -> SessionId {
    SessionId::new([7; 8]).expect("not zero")
}

fn encoded(packet: &ControlPacket, key_id: u8) -> Vec<u8> {
    let mut w = adit_tunnel::wire::Writer::default();
    packet.encode(&mut w);
    let mut datagram = w.finish().to_vec();
    datagram[0] = packet.opcode.0 << 3 | key_id;
    datagram
}

fn in_state(state: &State, change: fn(&mut ControlPacket), key_id: u8) -> String {
    let mut net = state.net();
    let client = net.clients[0].end.tunnel.session_id();
    let path = net.peer().path;
    let mut outcome = String::new();
    net.with_peer(|peer, now| {
        let (session_id, expected) = peer.expects();
        let mut packet = ControlPacket {
            opcode: Opcode::CONTROL_V1,
            key_id: KeyId::FIRST,
            session_id: client,
            acks: AckList::from_iter([0]),
            peer_session_id: Some(session_id),
            packet_id: Some(expected),
            payload: Bytes::new(),
        };
        change(&mut packet);
        let mut datagram = encoded(&packet, key_id);
        outcome = match peer.classify(&path, &datagram) {
            Class::Control => {
                let before = (peer.state_names(), peer.dropped_datagrams());
                peer.handle_datagram(now, &path, &mut datagram);
                described(peer, before)
            }
            Class::Data(_) => "is for the data channel".to_owned(),
            Class::Ignore => "ignored".to_owned(),
        };
    });
    outcome
}

/// What the session does now.
pub(super) fn described(peer: &mut ServerSession, before: ((u8, &'static str, &'static str), u64)) -> String {
    let (names, dropped) = before;
    let mut parts = Vec::new();
    while let Some(transmit) = peer.poll_transmit() {
        parts.push(said(&transmit.datagram));
    }
    let (key_id, slot, phase) = peer.state_names();
    if names != (key_id, slot, phase) {
        parts.push(format!("-> {slot} of key {key_id}, {phase}"));
    }
    while let Some(event) = peer.poll_event() {
        if let Event::Closed(closed) = event {
            let error = closed.source.downcast_ref::<ServerSessionError>().expect("an error of a server");
            parts.push(format!("closed, {:?}: {error:?}", closed.kind));
        }
    }
    if peer.dropped_datagrams() > dropped {
        parts.push("dropped".to_owned());
    }
    if parts.is_empty() { "ignored".to_owned() } else { parts.join("; ") }
}

fn said(datagram: &[u8]) -> String {
    let (opcode, key_id) = Opcode::split(datagram[0]);
    format!("says {opcode:?} of key {}", key_id.value())
}

/// Key ids that come to the same share a line.
fn lines(name: &str, outcome: impl Fn(u8) -> String) -> String {
    let mut outcomes: Vec<(String, Vec<String>)> = Vec::new();
    for key_id in 0..8 {
        let outcome = outcome(key_id);
        match outcomes.iter_mut().find(|(known, _)| *known == outcome) {
            Some((_, ids)) => ids.push(key_id.to_string()),
            None => outcomes.push((outcome, vec![key_id.to_string()])),
        }
    }
    let line = |(outcome, ids): &(String, Vec<String>)| {
        let ids = if ids.len() == 8 { "any key".to_owned() } else { format!("key {}", ids.join(" ")) };
        format!("    {name:36} {ids:18} {outcome}\n")
    };
    outcomes.iter().map(line).collect()
}

/// What a stranger says, to whom our reset was sent; it may return the cookie.
fn of_stranger(change: fn(&mut ControlPacket), key_id: u8) -> String {
    let mut net = Setup::default().empty();
    let from = "203.0.113.9:7777".parse().expect("an address");
    let mut packet = ControlPacket {
        opcode: Opcode::HARD_RESET_CLIENT_V2,
        key_id: KeyId::FIRST,
        session_id: SessionId::new([9; 8]).expect("not zero"),
        acks: AckList::default(),
        peer_session_id: None,
        packet_id: Some(0),
        payload: Bytes::new(),
    };
    let answers = net.inject_from(from, &encoded(&packet, 0));
    let cookie = header(&answers[0]).session_id;
    (packet.opcode, packet.acks, packet.peer_session_id, packet.packet_id) =
        (Opcode::CONTROL_V1, AckList::from_iter([0]), Some(cookie), Some(1));
    change(&mut packet);
    let answers = net.inject_from(from, &encoded(&packet, key_id));
    let mut parts: Vec<String> = answers.iter().map(|datagram| said(datagram)).collect();
    if let Some(peer) = net.peers.values().next() {
        let (key_id, slot, phase) = peer.end.tunnel.state_names();
        parts.push(format!("-> {slot} of key {key_id}, {phase}"));
    }
    if !net.gone.is_empty() {
        let (kind, error) = net.server_error();
        parts.push(format!("closed, {kind:?}: {error:?}"));
    }
    if parts.is_empty() { "dropped".to_owned() } else { parts.join("; ") }
}

#[test]
fn every_opcode_with_every_key_id_in_every_state_of_a_servers_slot() {
    let mut table = "a stranger with a good cookie\n".to_owned();
    for (name, change) in PACKETS {
        table += &lines(name, |key_id| of_stranger(change, key_id));
    }
    for state in &STATES {
        let (key_id, slot, phase) = state.called;
        table += &format!("\n{} ({slot} of key {key_id}, {phase})\n", state.name);
        for (name, change) in PACKETS {
            table += &lines(name, |key_id| in_state(state, change, key_id));
        }
    }
    insta::assert_snapshot!(table);
}
