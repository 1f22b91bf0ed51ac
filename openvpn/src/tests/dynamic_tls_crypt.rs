//! Renegotiations wrapped by a key of the first TLS session.

use bytes::Bytes;

use super::{
    handshake::wraps,
    pair::{Pair, Setup},
    secs,
    server::header,
};
use crate::{
    config::ControlWrap,
    control::{
        packet::{AckList, ControlPacket, KeyId, Opcode},
        wrap::Wrapper,
    },
    data::Role,
};

fn renewed(ours: ControlWrap, theirs: ControlWrap, agreed: bool) -> Pair {
    let mut pair = Setup::new(|setup| {
        setup.settings.control_wrap = ours;
        setup.script.wrap = theirs;
        setup.script.dyn_tls_crypt = agreed;
    })
    .up();
    pair.run(secs(10));
    pair.server.renegotiate(pair.now);
    pair.run(secs(1));
    assert_eq!(pair.server.key_id(), 1);
    assert!(pair.server.is_ready());
    pair
}

/// How many of our datagrams the first wrapping reads, of key id 0 and of others.
fn readable(pair: &Pair, theirs: &ControlWrap) -> [(usize, usize); 2] {
    let mut wrapper = Wrapper::new(theirs, Role::Server, &pair.config.settings.crypto);
    let mut counts = [(0, 0); 2];
    for (_, datagram) in &pair.log.sent {
        let renewed = usize::from(header(datagram).key_id != KeyId::FIRST);
        counts[renewed].1 += 1;
        let reads =
            wrapper.unwrap(datagram).is_ok_and(|packet| packet.peer_session_id != Some(pair.server.client_id()));
        // Without wrapping, ciphertext may look like a packet, but acknowledges nothing of this session.
        let ours = reads && wrapper_reads_ours(theirs, datagram, pair);
        counts[renewed].0 += usize::from(ours);
    }
    counts
}

fn wrapper_reads_ours(theirs: &ControlWrap, datagram: &[u8], pair: &Pair) -> bool {
    if *theirs != ControlWrap::None {
        return true;
    }
    let packet = ControlPacket::decode(datagram).unwrap();
    packet.peer_session_id.is_none_or(|id| id == pair.server.session_id()) && packet.acks.len() <= 4
}

#[test]
fn all_key_ids_but_the_first_use_it_once_agreed_upon() {
    for (name, ours, theirs) in wraps() {
        let mut pair = renewed(ours, theirs.clone(), true);
        let [first, later] = readable(&pair, &theirs);
        assert_eq!(first.0, first.1, "{name}");
        assert!(later.1 > 3, "{name}");
        if theirs == ControlWrap::None {
            // Chance lets some ciphertext pass for a packet.
            assert!(later.0 < later.1, "{name}: {later:?}");
        } else {
            assert_eq!(later.0, 0, "{name}");
        }
        assert_eq!((pair.server.dropped, pair.client.dropped_datagrams()), (0, 0), "{name}");
        pair.assert_traffic_flows();
    }
}

#[test]
fn without_agreement_the_first_wrapping_stays() {
    for (name, ours, theirs) in wraps() {
        let pair = renewed(ours, theirs.clone(), false);
        let [first, later] = readable(&pair, &theirs);
        assert_eq!((first.0, later.0), (first.1, later.1), "{name}");
        assert_eq!((pair.server.dropped, pair.client.dropped_datagrams()), (0, 0), "{name}");
    }
}

#[test]
fn a_soft_reset_without_it_is_dropped() {
    for (name, ours, theirs) in wraps() {
        let mut pair = Setup::new(|setup| {
            setup.settings.control_wrap = ours;
            setup.script.wrap = theirs;
        })
        .up();
        let session_id = pair.server.session_id();
        pair.server.send_with_first_wrapping(&ControlPacket {
            opcode: Opcode::SOFT_RESET_V1,
            key_id: KeyId::new(1).unwrap(),
            session_id,
            acks: AckList::default(),
            peer_session_id: None,
            packet_id: Some(0),
            payload: Bytes::new(),
        });
        let sent = pair.log.sent.len();
        pair.run(secs(1));
        assert_eq!((pair.client.dropped_datagrams(), pair.log.sent.len()), (1, sent), "{name}");
        pair.assert_traffic_flows();
    }
}

#[test]
fn one_key_serves_all_renegotiations() {
    let (_, ours, theirs) = wraps().pop().unwrap();
    let mut pair = renewed(ours, theirs, true);
    for key_id in 2..=7 {
        pair.run(secs(5));
        pair.server.renegotiate(pair.now);
        pair.run(secs(1));
        assert_eq!((pair.server.key_id(), pair.server.is_ready()), (key_id, true));
    }
    assert_eq!((pair.server.dropped, pair.client.dropped_datagrams()), (0, 0));
}
