//! Every state of a key slot against every opcode with every key id, as a table that is committed.
//!
//! A table that differs fails the test. `INSTA_UPDATE=always cargo test -p openvpn key_slots` writes what the code does now over
//! what is committed; look at the difference line by line before committing it: it is what has become of the protocol.

use bytes::Bytes;

use super::{
    pair::{Pair, Setup},
    secs,
    server::header,
};
use crate::control::packet::{AckList, ControlPacket, KeyId, Opcode, SessionId};

/// A slot in this state, and what is on its way to it has not arrived.
struct State {
    name: &'static str,
    slot: (u8, &'static str),
    setup: fn(&mut Setup),
}

const STATES: [State; 9] = [
    State { name: "the first key, our reset was sent", slot: (0, "ResetSent"), setup: |_| {} },
    State { name: "the first key, TLS is shaking hands", slot: (0, "Tls"), setup: |_| {} },
    State { name: "the first key, our key message was sent", slot: (0, "KeySent"), setup: |_| {} },
    State {
        name: "the first key is ready, options are asked for",
        slot: (0, "Ready"),
        setup: |setup| setup.script.says = Some(Vec::new()),
    },
    State { name: "the first key is ready, traffic flows", slot: (0, "Ready"), setup: |_| {} },
    State { name: "a second key, our reset was sent", slot: (1, "ResetSent"), setup: |_| {} },
    State { name: "a second key, TLS is shaking hands", slot: (1, "Tls"), setup: |_| {} },
    State { name: "a second key, our key message was sent", slot: (1, "KeySent"), setup: |_| {} },
    State { name: "a second key is ready", slot: (1, "Ready"), setup: |_| {} },
];

impl State {
    fn pair(&self) -> Pair {
        let mut pair = Setup::new(|setup| {
            setup.settings.reneg_sec = secs(100);
            // One wrapping for all keys.
            setup.script.dyn_tls_crypt = false;
            (self.setup)(setup);
        })
        .start();
        let (key_id, state) = self.slot;
        let reached = pair.run_until(secs(200), |pair| pair.client.slot_name() == (key_id, state));
        assert!(reached && pair.log.closed.is_none(), "{}: {:?}", self.name, pair.client);
        if state == "Ready" {
            pair.run(secs(1));
        }
        pair
    }
}

/// A packet of the server, as it should be but for this.
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
    ("DATA_V1 that nobody sealed", |packet| packet.opcode = Opcode::DATA_V1),
    ("HARD_RESET_CLIENT_V2", |packet| packet.opcode = Opcode::HARD_RESET_CLIENT_V2),
    ("HARD_RESET_SERVER_V2", |packet| {
        (packet.opcode, packet.packet_id) = (Opcode::HARD_RESET_SERVER_V2, Some(0));
    }),
    ("HARD_RESET_SERVER_V2 for another", |packet| {
        (packet.opcode, packet.packet_id, packet.peer_session_id) =
            (Opcode::HARD_RESET_SERVER_V2, Some(0), Some(another()));
    }),
    ("DATA_V2 that nobody sealed", |packet| packet.opcode = Opcode::DATA_V2),
    ("HARD_RESET_CLIENT_V3", |packet| packet.opcode = Opcode::HARD_RESET_CLIENT_V3),
    ("CONTROL_WKC_V1", |packet| packet.opcode = Opcode::CONTROL_WKC_V1),
    ("opcode 31", |packet| packet.opcode = Opcode(31)),
];

/// A session nobody has heard of.
fn another() -> SessionId {
    SessionId::new([7; 8]).expect("not zero")
}

fn outcome(state: &State, change: fn(&mut ControlPacket), key_id: u8) -> String {
    let mut pair = state.pair();
    let mut packet = ControlPacket {
        opcode: Opcode::CONTROL_V1,
        key_id: KeyId::FIRST,
        session_id: pair.server.session_id(),
        acks: AckList::from_iter([0]),
        peer_session_id: Some(header(&pair.log.sent[0].1).session_id),
        packet_id: Some(pair.client.expected_packet_id()),
        payload: Bytes::new(),
    };
    change(&mut packet);
    while pair.server.poll_transmit().is_some() {}
    pair.server.send_packet(&packet);
    let mut datagram = pair.server.poll_transmit().expect("a datagram").to_vec();
    datagram[0] = packet.opcode.0 << 3 | key_id;
    let before = (pair.client.slot_name(), pair.client.dropped_datagrams(), pair.log.sent.len(), pair.log.unopened);
    pair.inject(&datagram);
    described(&pair, before)
}

fn described(pair: &Pair, before: ((u8, &'static str), u64, usize, usize)) -> String {
    let (slot, dropped, sent, unopened) = before;
    let mut parts: Vec<String> = pair.log.sent[sent..].iter().map(|(_, datagram)| said(datagram)).collect();
    let (key_id, state) = pair.client.slot_name();
    if pair.log.closed.is_some() {
        parts.push(format!("closed: {:?}", pair.error()));
    } else if slot != (key_id, state) {
        parts.push(format!("-> {state} of key {key_id}"));
    } else if pair.client.dropped_datagrams() > dropped || pair.log.unopened > unopened {
        parts.push("dropped".to_owned());
    }
    if parts.is_empty() { "ignored".to_owned() } else { parts.join("; ") }
}

fn said(datagram: &[u8]) -> String {
    let (opcode, key_id) = Opcode::split(datagram[0]);
    format!("says {opcode:?} of key {}", key_id.value())
}

/// Key ids that come to the same share a line.
fn lines(state: &State, name: &str, change: fn(&mut ControlPacket)) -> String {
    let mut outcomes: Vec<(String, Vec<String>)> = Vec::new();
    for key_id in 0..8 {
        let outcome = outcome(state, change, key_id);
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

#[test]
fn every_opcode_with_every_key_id_in_every_state_of_a_slot() {
    let mut table = String::new();
    for state in &STATES {
        table += &format!("{} ({} of key {})\n", state.name, state.slot.1, state.slot.0);
        for (name, change) in PACKETS {
            table += &lines(state, name, change);
        }
        table.push('\n');
    }
    insta::assert_snapshot!(table);
}
