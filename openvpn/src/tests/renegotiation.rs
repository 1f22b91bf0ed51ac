//! New keys while traffic flows.

use adit_tunnel::{CloseKind, Rekeys, Tunnel};

use super::{
    handshake::wraps,
    link::LinkSettings,
    millis,
    pair::{Pair, Setup},
    secs,
};

/// Lets the server start a renegotiation, and waits until both ends have the new keys.
fn by_server(pair: &mut Pair) {
    pair.server.renegotiate(pair.now);
    await_key(pair);
}

fn await_key(pair: &mut Pair) {
    let wanted = format!("+{}", pair.server.key_id());
    assert!(pair.run_until(secs(30), |pair| pair.server.is_ready() && pair.log.keys.iter().any(|(_, k)| *k == wanted)));
    pair.run(millis(200));
}

#[test]
fn a_renegotiation_by_the_server_makes_new_keys() {
    for (name, ours, theirs) in wraps() {
        let mut pair = Setup::new(|setup| {
            setup.settings.control_wrap = ours;
            setup.script.wrap = theirs;
        })
        .up();
        pair.run(secs(200));
        by_server(&mut pair);
        assert_eq!(pair.key_changes(), ["+0", "seal 0", "+1"], "{name}");
        pair.assert_traffic_flows();
        pair.run(secs(61));
        assert_eq!(pair.key_changes(), ["+0", "seal 0", "+1", "seal 1"], "{name}");
        pair.assert_traffic_flows();
        assert_eq!((pair.log.unopened, pair.server.unopened), (0, 0), "{name}");
    }
}

#[test]
fn we_renegotiate_after_reneg_sec() {
    let mut pair = Setup::new(|setup| setup.settings.reneg_sec = secs(100)).up();
    let first = pair.key_change_at("+0");
    pair.run(secs(101));
    assert_eq!(pair.server.key_id(), 1);
    let second = pair.key_change_at("+1").duration_since(first);
    assert!(second >= secs(100) && second < secs(101), "{second:?}");
    pair.assert_traffic_flows();
}

#[test]
fn reneg_sec_0_leaves_it_to_the_server() {
    let mut pair = Setup::new(|setup| setup.settings.reneg_sec = secs(0)).up();
    pair.run(secs(100_000));
    assert_eq!(pair.server.key_id(), 0);
    by_server(&mut pair);
    assert_eq!(pair.server.key_id(), 1);
}

#[test]
fn both_ends_may_start_at_once() {
    let mut pair = Setup::new(|setup| setup.settings.reneg_sec = secs(100)).up();
    let ours = pair.key_change_at("+0") + secs(100);
    // Their resets cross on the way.
    pair.run(ours.duration_since(pair.now) - millis(1));
    pair.server.renegotiate(pair.now);
    await_key(&mut pair);
    assert_eq!((pair.server.key_id(), pair.key_changes().len()), (1, 3), "{:?}", pair.key_changes());
    pair.assert_traffic_flows();
}

#[test]
fn key_ids_go_from_7_to_1() {
    let mut pair = Setup::default().up();
    for key_id in [1, 2, 3, 4, 5, 6, 7, 1, 2] {
        by_server(&mut pair);
        assert_eq!(pair.server.key_id(), key_id);
        pair.run(secs(70));
        pair.assert_traffic_flows();
    }
    assert_eq!((pair.log.unopened, pair.server.unopened), (0, 0));
}

/// Traffic all the time, renegotiations one after the other, by either side or both.
fn loses_nothing(seed: u64, ours: u64) {
    let mut pair = Setup::new(|setup| {
        setup.link = LinkSettings::REORDERING;
        setup.seed = seed;
        setup.settings.reneg_sec = secs(ours);
    })
    .up();
    pair.start_traffic(millis(7));
    for round in 0..12 {
        pair.run(millis(2000 + 100 * (seed + round) % 900));
        if !(seed + round).is_multiple_of(3) && pair.server.is_ready() {
            pair.server.renegotiate(pair.now);
        }
    }
    pair.stop_traffic();
    let renewed = pair.key_changes().iter().filter(|change| change.starts_with('+')).count();
    assert!(renewed > 5, "seed {seed}: {:?}", pair.key_changes());
    assert!(pair.log.closed.is_none(), "seed {seed}");
    pair.assert_nothing_lost();
}

#[test]
fn no_packet_is_lost_while_both_renegotiate_on_a_reordering_link() {
    match std::env::var("TUNNEL_TEST_SEED") {
        Ok(seed) => loses_nothing(seed.parse().unwrap(), 3),
        Err(_) => (0..16).for_each(|seed| loses_nothing(seed, [0, 2, 3][seed as usize % 3])),
    }
}

#[test]
fn what_was_negotiated_can_be_asked_for() {
    let mut pair = Setup::new(|setup| setup.settings.reneg_sec = secs(100)).up();
    let details = pair.client.details();
    assert_eq!((details.protocol, details.rekeys), ("openvpn", Rekeys::default()));
    assert!(details.suite.starts_with("TLSv1.") && details.suite.contains("data AES-256-GCM"), "{}", details.suite);
    assert!(details.peer_identity.as_ref().is_some_and(|subject| subject.contains("CN=")), "{details:?}");
    assert!(details.rekey_at.is_some_and(|at| at > pair.now && at <= pair.now + secs(100)), "{details:?}");
    pair.run(secs(101));
    assert_eq!(pair.client.details().rekeys, Rekeys { data: 1, control: 1 });
}

#[test]
fn a_renegotiation_that_the_session_ends_in_has_failed_and_one_we_leave_in_has_not() {
    let setup = || {
        Setup::new(|setup| {
            (setup.settings.reneg_sec, setup.settings.hand_window) = (secs(100), secs(20));
        })
    };
    let failed = |pair: &Pair| pair.client.details().failed_rekeys;
    let mut pair = setup().up();
    pair.run(secs(101));
    assert_eq!(failed(&pair), Rekeys::default());
    // It takes part in no other.
    pair.server.script.mute = true;
    pair.run(secs(130));
    assert_eq!(pair.closed().kind, CloseKind::TimedOut);
    assert_eq!((failed(&pair), pair.client.details().rekeys.data), (Rekeys { data: 1, control: 1 }, 1));

    let mut pair = setup().up();
    pair.server.script.mute = true;
    pair.run(secs(101));
    pair.close();
    pair.run(secs(5));
    assert_eq!((pair.closed().kind, failed(&pair)), (CloseKind::Local, Rekeys::default()));
}
