//! Strangers, damage, and a server that means no good.

use adit_tunnel::{CloseKind, Tunnel};
use bytes::Bytes;
use proptest::prelude::*;

use super::{
    handshake::wraps,
    millis,
    pair::{Pair, Setup},
    secs,
};
use crate::{
    control::{
        packet::{AckList, ControlPacket, KeyId, Opcode, SessionId},
        wrap::Wrapper,
    },
    data::Role,
    error::{PeerMisbehaved, SessionError},
    tls::TlsFailure,
};

/// A session in each state that lasts, with each wrapping; by number.
fn some_pair(number: usize) -> Pair {
    let (_, ours, theirs) = wraps().swap_remove(number / STAGES % 5);
    let stage = number % STAGES;
    let mut pair = Setup::new(|setup| {
        setup.settings.control_wrap = ours;
        setup.script.wrap = theirs;
        if stage == 3 {
            setup.script.says = Some(Vec::new());
        }
    })
    .start();
    match stage {
        0 => pair.settle(),
        1 => pair.run(millis(15)),
        2 => pair.run(millis(35)),
        3 | 4 => pair.run(secs(1)),
        5 => {
            pair.run(secs(1));
            pair.server.renegotiate(pair.now);
            pair.run(millis(25));
        }
        _ => {
            pair.run(secs(1));
            pair.to_server.cut = true;
            pair.close();
        }
    }
    assert!(pair.log.closed.is_none(), "stage {stage}");
    pair
}

const STAGES: usize = 7;

/// The session is as good as before.
fn assert_unharmed(pair: &mut Pair, number: usize) {
    assert!(pair.log.closed.is_none(), "{:?}", pair.log.closed);
    match number % STAGES {
        0..=2 => pair.come_up(),
        3 => pair.run(secs(1)),
        4 | 5 => {
            pair.run(secs(1));
            pair.assert_traffic_flows();
            assert!(pair.server.is_ready());
        }
        _ => {}
    }
    assert!(pair.log.closed.is_none(), "{:?}", pair.log.closed);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn garbage_never_panics_and_never_ends_a_session(
        number in 0..5 * STAGES,
        datagrams in prop::collection::vec((3u8..12, 0u8..8, prop::collection::vec(any::<u8>(), 0..200)), 1..40),
    ) {
        let mut pair = some_pair(number);
        for (opcode, key_id, bytes) in &datagrams {
            pair.inject(&[&[opcode << 3 | key_id], &bytes[..]].concat());
            pair.inject(bytes);
        }
        assert_unharmed(&mut pair, number);
    }

    #[test]
    fn damaged_and_repeated_packets_of_wrapped_sessions_never_count(
        number in STAGES..5 * STAGES,
        damage in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..20),
    ) {
        let mut pair = some_pair(number);
        let key_id = KeyId::new(if number % STAGES == 5 { 1 } else { 0 }).unwrap();
        pair.server.send_packet(&packet(&pair, Opcode::CONTROL_V1, key_id, 3, b"\x16\x03\x03\xff\xff"));
        let datagram = pair.server.poll_transmit().unwrap();
        for (at, bits) in damage {
            let mut damaged = datagram.to_vec();
            *at.get_mut(&mut damaged) ^= bits;
            pair.inject(&damaged);
        }
        assert_unharmed(&mut pair, number);
    }

    #[test]
    fn the_fuzz_target_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        crate::fuzzing::session(&bytes);
    }

    #[test]
    fn any_record_of_the_server_is_borne(
        up in any::<bool>(),
        records in prop::collection::vec((0usize..12, "[ -~]{0,40}", prop::collection::vec(any::<u8>(), 0..40)), 1..10),
    ) {
        let verbs = [
            "PUSH_REPLY,", "AUTH_FAILED,", "AUTH_FAILED,CRV1:", "AUTH_FAILED,TEMP[", "AUTH_PENDING,", "INFO_PRE,CR_TEXT:",
            "INFO,", "RESTART,", "HALT,", "PUSH_UPDATE,", "EXIT", "",
        ];
        let mut pair = Setup::new(|setup| setup.script.says = (!up).then(Vec::new)).start();
        pair.run(secs(1));
        for (verb, text, bytes) in records {
            pair.server_says(&[verbs[verb].as_bytes(), text.as_bytes(), b"\0", &bytes].concat());
            pair.answer("x");
        }
        pair.run(secs(400));
    }
}

fn packet(pair: &Pair, opcode: Opcode, key_id: KeyId, id: u32, payload: &'static [u8]) -> ControlPacket {
    ControlPacket {
        opcode,
        key_id,
        session_id: pair.server.session_id(),
        acks: AckList::default(),
        peer_session_id: None,
        packet_id: (opcode != Opcode::ACK_V1).then_some(id),
        payload: Bytes::from_static(payload),
    }
}

#[test]
fn forged_resets_do_not_disturb_an_established_session() {
    for (name, ours, theirs) in wraps() {
        let mut pair = Setup::new(|setup| {
            setup.settings.control_wrap = ours;
            setup.script.wrap = theirs.clone();
            setup.script.dyn_tls_crypt = false;
        })
        .up();
        // Whoever has the shared key can wrap, but does not know the session ids.
        let mut forger = Wrapper::new(&theirs, Role::Server, &pair.config.settings.crypto);
        let foreign = SessionId::new([9; 8]).unwrap();
        let sent = pair.log.sent.len();
        let mut count = 0;
        for opcode in [Opcode::HARD_RESET_SERVER_V2, Opcode::SOFT_RESET_V1, Opcode::CONTROL_V1, Opcode::ACK_V1] {
            for key_id in [0, 1, 2] {
                let key_id = KeyId::new(key_id).unwrap();
                let honest = packet(&pair, opcode, key_id, 0, b"");
                let (acks, client) = (AckList::from_iter([0]), pair.server.client_id());
                for forged in [
                    ControlPacket { session_id: foreign, ..honest.clone() },
                    ControlPacket { session_id: foreign, acks, peer_session_id: Some(client), ..honest.clone() },
                    ControlPacket { acks, peer_session_id: Some(foreign), ..honest },
                ] {
                    pair.inject(&forger.wrap(&forged, 4_000_000_000).unwrap());
                    count += 1;
                }
            }
        }
        assert_eq!(pair.client.dropped_datagrams(), count, "{name}");
        assert_eq!(pair.log.sent.len(), sent, "{name}: nothing was answered");
        assert!(pair.log.closed.is_none(), "{name}");
        // Their time is far ahead: had it counted, the genuine server's packets would be too old now.
        pair.server.renegotiate(pair.now);
        pair.run(secs(2));
        assert_eq!(pair.server.client_messages.len(), 2, "{name}: renegotiated");
        pair.assert_traffic_flows();
    }
}

#[test]
fn an_authentic_answer_to_another_client_does_not_shut_the_server_out() {
    for (name, ours, theirs) in wraps() {
        let mut pair = Setup::new(|setup| {
            setup.settings.control_wrap = ours;
            setup.script.wrap = theirs.clone();
        })
        .start();
        let mut recorded = Wrapper::new(&theirs, Role::Server, &pair.config.settings.crypto);
        let (other_client, server) = (SessionId::new([7; 8]).unwrap(), SessionId::new([8; 8]).unwrap());
        let answer = ControlPacket {
            opcode: Opcode::HARD_RESET_SERVER_V2,
            key_id: KeyId::FIRST,
            session_id: server,
            acks: AckList::from_iter([0]),
            peer_session_id: Some(other_client),
            packet_id: Some(0),
            payload: Bytes::new(),
        };
        pair.inject(&recorded.wrap(&answer, 4_000_000_000).unwrap());
        assert_eq!(pair.client.dropped_datagrams(), 1, "{name}");
        pair.come_up();
    }
}

#[test]
fn a_server_cannot_ask_without_end() {
    let mut pair = Setup::default().up();
    for _ in 0..100 {
        pair.server_says(b"INFO,OPEN_URL:https://vpn.example/\0INFO,CR_TEXT:R:Code?\0");
    }
    pair.run(secs(5));
    assert_eq!(pair.log.prompts.len(), 16);
    pair.assert_traffic_flows();
}

#[test]
fn packets_out_of_place_are_dropped() {
    let mut pair = Setup::new(|setup| setup.script.dyn_tls_crypt = false).up();
    let key = |id| KeyId::new(id).unwrap();
    let wrong = [
        packet(&pair, Opcode::HARD_RESET_SERVER_V2, key(0), 9, b"x"),
        packet(&pair, Opcode::HARD_RESET_SERVER_V2, key(1), 0, b""),
        packet(&pair, Opcode::HARD_RESET_CLIENT_V2, key(0), 9, b""),
        packet(&pair, Opcode::CONTROL_WKC_V1, key(0), 9, b"x"),
        packet(&pair, Opcode::SOFT_RESET_V1, key(0), 0, b""),
        packet(&pair, Opcode::SOFT_RESET_V1, key(1), 1, b""),
        packet(&pair, Opcode::SOFT_RESET_V1, key(2), 0, b""),
        packet(&pair, Opcode::SOFT_RESET_V1, key(7), 0, b""),
        packet(&pair, Opcode::CONTROL_V1, key(0), 0, b"x"),
        packet(&pair, Opcode::CONTROL_V1, key(1), 1, b"x"),
    ];
    for (at, packet) in (1..).zip(&wrong) {
        pair.server.send_packet(packet);
        pair.run(millis(50));
        assert_eq!(pair.client.dropped_datagrams(), at, "{packet:?}");
    }
    pair.assert_traffic_flows();
    assert_eq!(pair.server.key_id(), 0);
}

#[test]
fn the_first_answer_must_know_our_session_id() {
    let mut pair = Setup::default().start();
    pair.settle();
    for acks in [AckList::default(), AckList::from_iter([0])] {
        let mut reset = packet(&pair, Opcode::HARD_RESET_SERVER_V2, KeyId::FIRST, 0, b"");
        reset.session_id = SessionId::new([9; 8]).unwrap();
        (reset.acks, reset.peer_session_id) = (acks, (!acks.is_empty()).then_some(SessionId::new([8; 8]).unwrap()));
        pair.server.send_packet(&reset);
    }
    pair.run(millis(5));
    pair.come_up();
    assert_eq!(pair.client.dropped_datagrams(), 2);
    pair.assert_traffic_flows();
}

#[test]
fn a_server_that_ends_tls_ends_the_session() {
    for (up, goes_on) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut pair = Setup::new(|setup| setup.script.says = (!up).then(Vec::new)).start();
        pair.run(secs(1));
        pair.server.close_tls(pair.now);
        if goes_on {
            // Nothing is read after a close_notify, and this must not be waited for.
            pair.server.say_raw(pair.now, &[0x17, 3, 3, 0, 4, 1, 2, 3, 4]);
        }
        pair.run(secs(1));
        assert!(matches!(pair.error(), SessionError::Tls(TlsFailure::Protocol(_))), "{:?}", pair.error());
    }
}

#[test]
fn records_that_are_no_tls_end_the_session_with_an_alert() {
    for bytes in [&[0x17, 3, 3, 0xff, 0xff, 0][..], &[0x16, 3, 3, 0, 4, 1, 2, 3, 4], &[0; 100]] {
        let mut pair = Setup::default().up();
        pair.server.say_raw(pair.now, bytes);
        pair.run(secs(1));
        assert!(matches!(pair.error(), SessionError::Tls(TlsFailure::Protocol(_))), "{:?}", pair.error());
        assert_eq!(pair.closed().kind, CloseKind::PeerMisbehaved);
    }
}

#[test]
fn a_malformed_first_answer_ends_the_session() {
    let mut pair = Setup::default().start();
    pair.run(millis(15));
    let mut reset = packet(&pair, Opcode::HARD_RESET_SERVER_V2, KeyId::FIRST, 0, b"\x00\x01\x00");
    (reset.acks, reset.peer_session_id) = (AckList::from_iter([0]), Some(pair.server.client_id()));
    while pair.server.poll_transmit().is_some() {}
    let mut fresh = Setup::default().start();
    fresh.settle();
    fresh.inject(&{
        let mut w = adit_tunnel::wire::Writer::default();
        reset.encode(&mut w);
        w.finish()
    });
    // Both were made from the same seed, so the session id is the same.
    assert_eq!(*fresh.error(), SessionError::Protocol(PeerMisbehaved::ResetMalformed));
}

#[test]
fn key_updates_without_end_do_not_fill_our_memory() {
    let mut pair = Setup::default().up();
    for _ in 0..30 {
        pair.server.flood_key_updates(pair.now, 100);
        pair.run(millis(20));
    }
    // rustls answers any number of requests with one record, in front of the next one that is written.
    let sent = pair.log.sent.len();
    pair.close();
    assert_eq!(pair.log.sent.len() - sent, 1);
    pair.run(secs(1));
    assert_eq!(
        (pair.error(), pair.server.control_messages.last().unwrap().as_str()),
        (&SessionError::ClosedLocally, "EXIT")
    );
}

#[test]
fn repeated_packets_are_acknowledged_a_few_at_a_time() {
    let mut pair = Setup::new(|setup| setup.script.dyn_tls_crypt = false).up();
    let repeated = packet(&pair, Opcode::HARD_RESET_SERVER_V2, KeyId::FIRST, 0, b"");
    let sent = pair.log.sent.len();
    for _ in 0..100 {
        pair.server.send_packet(&repeated);
    }
    pair.run(secs(1));
    assert_eq!(pair.log.sent.len() - sent, 100, "one short acknowledgement each");
    assert!(pair.log.sent[sent..].iter().all(|(_, datagram)| datagram.len() < 60));
    assert_eq!(pair.client.poll_timeout().is_some(), pair.log.closed.is_none());
}
