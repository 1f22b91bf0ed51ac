//! New keys while traffic flows, started by either end or both.

use super::net::{Net, Setup};
use crate::tests::{
    link::{Link, LinkSettings},
    millis, secs,
};

fn await_key(net: &mut Net, key_id: u8) {
    let wanted = format!("+{key_id}");
    let has = |keys: &[String]| keys.contains(&wanted);
    let done = net
        .run_until(secs(60), |net| has(&net.clients[0].end.keys) && net.peers.values().all(|peer| has(&peer.end.keys)));
    assert!(done, "{:?}", net.states());
    net.run(millis(200));
}

#[test]
fn the_server_renegotiates_after_reneg_sec_or_up_to_a_tenth_earlier() {
    let mut net = Setup::new(|setup| {
        setup.settings.reneg_sec = secs(0);
        setup.server.reneg_sec = secs(1000);
    })
    .up();
    net.run(secs(895));
    assert_eq!(net.peer().end.tunnel.key_id(), 0);
    net.run(secs(110));
    assert_eq!(net.peer().end.tunnel.key_id(), 1);
    net.assert_traffic_flows();
}

#[test]
fn the_client_renegotiates_when_it_wants() {
    let mut net = Setup::new(|setup| {
        setup.settings.reneg_sec = secs(100);
        setup.server.reneg_sec = secs(0);
    })
    .up();
    net.run(secs(90));
    assert_eq!(net.peer().end.tunnel.key_id(), 0);
    net.run(secs(20));
    assert_eq!(net.peer().end.tunnel.key_id(), 1);
    net.assert_traffic_flows();
}

#[test]
fn both_ends_may_start_at_once() {
    let mut net = Setup::new(|setup| {
        setup.settings.reneg_sec = secs(100);
        setup.server.reneg_sec = secs(0);
    })
    .up();
    // The first packet of the client's reset is under way when ours starts.
    let key_at = |net: &Net| net.clients[0].end.tunnel.dropped_datagrams();
    let before = key_at(&net);
    assert!(net.run_until(secs(200), |net| net.clients[0].up.next_arrival().is_some()
        && net.now > *crate::tests::START + secs(50)));
    assert_eq!(net.peer().end.tunnel.key_id(), 0, "it has not arrived yet");
    net.with_peer(|peer, now| peer.renegotiate_now(now));
    await_key(&mut net, 1);
    net.run(secs(60));
    assert_eq!(net.client().keys, ["+0", "seal 0", "+1", "seal 1"]);
    assert_eq!(net.peer().end.keys, ["+0", "seal 0", "+1", "seal 1"]);
    assert_eq!(key_at(&net), before, "nothing was out of place");
    net.assert_traffic_flows();
}

#[test]
fn key_ids_go_from_7_to_1() {
    let mut net = Setup::default().up();
    for key_id in [1, 2, 3, 4, 5, 6, 7, 1, 2] {
        net.client().keys.clear();
        net.peer().end.keys.clear();
        net.with_peer(|peer, now| peer.renegotiate_now(now));
        await_key(&mut net, key_id);
        assert_eq!(net.peer().end.tunnel.key_id(), key_id);
        net.run(secs(70));
        net.assert_traffic_flows();
    }
    assert_eq!((net.client().unopened, net.peer().end.unopened), (0, 0));
}

#[test]
fn the_server_seals_with_the_old_key_until_the_client_surely_has_the_new_one() {
    let mut net = Setup::default().up();
    net.run(secs(200));
    net.with_peer(|peer, now| peer.renegotiate_now(now));
    await_key(&mut net, 1);
    assert_eq!(net.peer().end.keys, ["+0", "seal 0", "+1"]);
    net.run(secs(58));
    assert_eq!(net.peer().end.keys, ["+0", "seal 0", "+1"]);
    net.run(secs(3));
    assert_eq!(net.peer().end.keys, ["+0", "seal 0", "+1", "seal 1"]);
    net.run(secs(3600));
    assert!(net.peer().end.keys.contains(&"-0".to_owned()), "the lame duck goes with tran-window");
}

#[test]
fn the_server_seals_with_the_old_key_until_its_key_message_is_acknowledged() {
    let mut net = Setup::default().up();
    // At once: so short an interval would have the new key used in a moment.
    net.with_peer(|peer, now| peer.renegotiate_now(now));
    let has = |keys: &[String], change: &str| keys.iter().any(|key| key == change);
    assert!(net.run_until(secs(5), |net| net.peers.values().all(|peer| has(&peer.end.keys, "+1"))));
    // What is under way is lost, the key message with it.
    net.clients[0].down = Link::new(LinkSettings::GOOD, 5);
    net.run(secs(1));
    assert!(!has(&net.client().keys, "+1"));
    assert_eq!(net.peer().end.keys, ["+0", "seal 0", "+1"]);
    assert!(net.run_until(secs(20), |net| net.peers.values().all(|peer| has(&peer.end.keys, "seal 1"))));
    assert!(has(&net.client().keys, "+1"));
    net.assert_traffic_flows();
}

#[test]
fn volume_renews_keys() {
    let mut net = Setup::new(|setup| setup.server.reneg_packets = 1000).up();
    net.start_traffic(millis(10));
    net.run(secs(60));
    let made = net.peer().end.keys.iter().filter(|change| change.starts_with('+')).count();
    assert!(made > 2, "{made}");
    net.assert_nothing_lost();
}

/// Traffic all the time, renegotiations one after the other, by either side or both.
fn loses_nothing(seed: u64) {
    let mut net = Setup::new(|setup| {
        setup.link = LinkSettings::REORDERING;
        setup.seed = seed;
        setup.settings.reneg_sec = secs([0, 2, 3][seed as usize % 3]);
        setup.server.reneg_sec = secs([3, 0, 2][seed as usize % 3]);
    })
    .up();
    net.start_traffic(millis(7));
    for round in 0..12 {
        net.run(millis(2000 + 100 * (seed + round) % 900));
        if !(seed + round).is_multiple_of(3) {
            net.with_peer(|peer, now| peer.renegotiate_now(now));
        }
    }
    let renewed = net.client().keys.iter().filter(|change| change.starts_with('+')).count();
    assert!(renewed > 5, "seed {seed}: {:?}", net.client().keys);
    net.assert_nothing_lost();
}

#[test]
fn no_packet_is_lost_while_both_renegotiate_on_a_reordering_link() {
    match std::env::var("TUNNEL_TEST_SEED") {
        Ok(seed) => loses_nothing(seed.parse().unwrap()),
        Err(_) => (0..12).for_each(loses_nothing),
    }
}

#[test]
fn a_renegotiation_that_the_client_never_answers_ends_the_session() {
    let mut net = Setup::default().up();
    net.clients[0].up.cut = true;
    net.with_peer(|peer, now| peer.renegotiate_now(now));
    net.run(secs(61));
    assert!(net.peers.is_empty(), "{:?}", net.states());
}
