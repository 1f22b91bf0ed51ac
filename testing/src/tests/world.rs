//! What the world promises to a protocol that keeps its contract.

use adit_tunnel::{CloseKind, Tunnel, Verdict};

use super::{World, millis, secs, world};
use crate::{Conditions, Judgement, KeyNote, Mapping, Port, Setup, histories, seeds};

/// How a world of this seed ends, to be compared.
fn trace(seed: u64) -> String {
    let mut pair = world(|setup| {
        setup.seed = seed;
        setup.clients = 3;
        setup.conditions = Conditions { corruption: 0.05, ..Conditions::BAD };
    });
    pair.reconnect = Some(secs(1));
    pair.start_traffic(millis(30), 100);
    pair.run(secs(120));
    let links: Vec<_> = pair.clients.iter().map(|client| (client.up.counts(), client.down.counts())).collect();
    format!("{links:?} {:?} {:?}", pair.census(), pair.traffic_report())
}

#[test]
fn the_same_seed_makes_the_same_world() {
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

#[test]
fn clients_come_up_and_both_ends_agree() {
    let mut pair = world(|setup| setup.clients = 5);
    pair.come_up();
    pair.assert_agree();
    assert_eq!((pair.listener.peers.len(), pair.listener.replies), (5, 5));
    let census = pair.census();
    assert_eq!((census.openers, census.sealers, census.deadlines, census.leases), (10, 10, 10, 5));
    pair.start_traffic(millis(10), 200);
    pair.run(secs(150));
    let report = pair.stop_traffic();
    report.assert_nothing_lost();
    assert_eq!((report.sent, report.unopened), (10 * 15_001, 0));
    let notes = pair.clients[0].driven.key_changes();
    assert_eq!(notes.iter().filter(|note| matches!(note, KeyNote::Removed(_))).count(), 2, "{notes:?}");
    assert!(pair.clients[0].driven.log.injected > 10 && pair.clients[0].driven.log.messages > 10);
}

#[test]
fn what_the_links_lose_is_reported() {
    let mut pair = world(|_| {});
    pair.come_up();
    pair.start_traffic(millis(10), 100);
    pair.conditions(Conditions { loss: 0.5, duplication: 0.2, ..Conditions::GOOD });
    pair.run(secs(10));
    let report = pair.stop_traffic();
    let lost: usize = report.lost.iter().map(|(_, numbers)| numbers.len()).sum();
    assert_eq!(report.sent, report.arrived + lost as u64);
    // The window refuses what arrives twice.
    assert!(lost > 700 && report.unopened > 100 && report.duplicated == 0, "{lost}, {}", report.unopened);
}

#[test]
fn handshakes_come_up_or_end_on_every_bad_link() {
    seeds("handshakes_come_up_or_end_on_every_bad_link", 200, |seed| {
        let mut pair = world(|setup| (setup.seed, setup.conditions) = (seed, Conditions::BAD));
        let decided = pair
            .run_until(secs(31), |pair| pair.clients[0].driven.is_up() || pair.clients[0].driven.closed().is_some());
        assert!(decided);
    });
}

#[test]
fn the_judge_refuses_waits_and_stays_silent() {
    let mut pair = world(|setup| setup.clients = 4);
    let mut count = 0;
    // Names are given again.
    pair.listener.policy = Box::new(move |_, applicant| {
        assert!(applicant.identity.is_some());
        count += 1;
        match count {
            1 => Judgement::Say(Verdict::Refused),
            2 => Judgement::After(secs(3), Box::new(Judgement::After(secs(2), Box::new(Judgement::Admit)))),
            3 => Judgement::Silence,
            _ => Judgement::Admit,
        }
    });
    pair.run(secs(1));
    assert_eq!(pair.listener.departed.len(), 1);
    assert_eq!(pair.listener.departed[0].2.kind, CloseKind::AuthFailed);
    let up = |pair: &World| pair.clients.iter().map(|client| client.driven.is_up()).collect::<Vec<_>>();
    assert_eq!(up(&pair), [false, false, false, true]);
    assert_eq!(pair.census().verdicts, 2);
    pair.run(secs(5));
    assert_eq!(up(&pair), [false, true, false, true]);
    pair.run(secs(80));
    assert_eq!(pair.clients[2].driven.closed().map(|closed| closed.kind), Some(CloseKind::TimedOut));
    assert_eq!((pair.census().peers, pair.census().verdicts, pair.census().leases), (2, 0, 2));
}

#[test]
fn data_follows_a_client_whose_address_changes() {
    for old in [Mapping::Alive, Mapping::Dead] {
        let mut pair = world(|_| {});
        pair.come_up();
        let before = pair.clients[0].seen_as();
        pair.rebind(0, old);
        assert_ne!(pair.clients[0].seen_as(), before);
        pair.start_traffic(millis(100), 100);
        pair.run(secs(5));
        let report = pair.stop_traffic();
        let peer = &pair.listener.peers[&pair.newest_peer()];
        assert_eq!(peer.driven.path.remote, pair.clients[0].seen_as());
        // One was on its way when the first of the client arrived.
        let lost: u64 = report.lost.iter().map(|(_, numbers)| numbers.len() as u64).sum();
        assert_eq!(lost, u64::from(old == Mapping::Dead), "{report:?}");
        assert_eq!(pair.lost_in_the_world, lost);
    }
}

#[test]
fn a_client_that_roams_takes_its_tunnel_along() {
    let mut pair = world(|_| {});
    pair.come_up();
    pair.roam(0);
    pair.send_from(0, &[0x45; 40]);
    pair.run(secs(1));
    let peer = pair.newest_peer();
    assert_eq!(pair.listener.peers[&peer].driven.path.remote, pair.clients[0].seen_as());
    assert_eq!(pair.listener.peers[&peer].driven.log.packets, [vec![0x45; 40]]);
    pair.send_to(peer, &[0x45; 50]);
    pair.run(secs(1));
    assert_eq!(pair.clients[0].driven.log.packets, [vec![0x45; 50]]);
    pair.assert_agree();
}

#[test]
fn without_a_nat_a_client_is_seen_as_it_is() {
    let mut pair = world(|setup| setup.nat = false);
    pair.come_up();
    assert_eq!(pair.clients[0].driven.path.local, Some(pair.clients[0].seen_as()));
}

#[test]
fn a_new_client_takes_the_place_of_one_that_is_gone() {
    for port in [Port::Same, Port::New] {
        let mut pair = world(|_| {});
        pair.come_up();
        let (before, seen_as) = (pair.newest_peer(), pair.clients[0].seen_as());
        pair.restart_client(0, port);
        assert_eq!(pair.clients[0].seen_as() == seen_as, port == Port::Same);
        pair.come_up();
        assert_eq!((pair.clients[0].incarnation, pair.census().peers), (1, 2));
        assert_ne!(pair.newest_peer(), before);
        pair.assert_agree();
        pair.run(secs(60));
        // The tunnel of the first has died of silence.
        assert_eq!((pair.census().peers, pair.census().leases), (1, 1));
        pair.assert_agree();
    }
}

#[test]
fn a_listener_that_starts_again_knows_nobody_and_clients_come_back() {
    let mut pair = world(|setup| setup.clients = 2);
    pair.reconnect = Some(secs(2));
    pair.come_up();
    pair.restart_listener();
    assert!(pair.agree().is_err());
    assert_eq!(pair.census().peers, 0);
    pair.run(secs(60));
    pair.assert_agree();
    assert_eq!(pair.clients[0].former.len(), 1);
    assert!(pair.listener.to_gone > 0);
}

#[test]
fn time_may_pass_without_anybody_being_run() {
    let mut pair = world(|_| {});
    pair.reconnect = Some(secs(1));
    pair.come_up();
    pair.start_traffic(millis(100), 100);
    pair.run(secs(1));
    pair.suspend(secs(20));
    pair.run(secs(1));
    pair.assert_agree();
    pair.suspend(secs(3600));
    pair.run(secs(5));
    assert_eq!(pair.clients[0].former.len(), 1);
    pair.assert_agree();
}

#[test]
fn a_client_may_sleep_alone() {
    let mut pair = world(|_| {});
    pair.reconnect = Some(secs(1));
    pair.come_up();
    pair.suspend_client(0, secs(30));
    pair.run(secs(29));
    assert!(pair.lost_in_the_world > 0, "pings to the sleeper");
    assert_eq!(pair.census().peers, 1);
    pair.run(secs(10));
    pair.assert_agree();
    pair.suspend_client(0, secs(600));
    pair.run(secs(599));
    assert_eq!(pair.census().peers, 0);
    pair.run(secs(10));
    pair.assert_agree();
}

#[test]
fn a_blackout_ends_and_so_may_the_tunnel() {
    let mut pair = world(|_| {});
    pair.reconnect = Some(secs(1));
    pair.come_up();
    pair.blackout(0, secs(20));
    pair.run(secs(30));
    assert!(pair.clients[0].former.is_empty());
    pair.assert_agree();
    pair.blackout(0, secs(60));
    pair.run(secs(59));
    assert!(pair.agree().is_err());
    pair.run(secs(60));
    assert_eq!(pair.clients[0].former.len(), 1);
    pair.assert_agree();
}

#[test]
fn closing_is_said_to_the_other_end() {
    let mut pair = world(|setup| setup.clients = 2);
    pair.come_up();
    pair.with_client(0, |client, now| client.close(now));
    let peer = pair.peer_of(1).expect("a peer");
    pair.with_peer(peer, |tunnel, now| tunnel.close(now));
    pair.run(secs(1));
    let kinds: Vec<_> = pair.clients.iter().map(|client| client.driven.closed().map(|closed| closed.kind)).collect();
    assert_eq!(kinds, [Some(CloseKind::Local), Some(CloseKind::PeerClosed)]);
    assert_eq!((pair.census().peers, pair.census().openers, pair.census().deadlines), (0, 0, 0));
}

#[test]
fn a_week_of_idle_life_leaves_nothing_behind() {
    let mut pair = world(|_| {});
    pair.come_up();
    pair.run(secs(10));
    let before = pair.census();
    pair.run(secs(86_400 * 7));
    let after = pair.census();
    assert!(after.openers <= before.openers + 2 && after.under_way <= 2 && after.peers == 1, "{after:?}");
    pair.assert_agree();
}

#[test]
fn histories_of_everything() {
    histories("histories_of_everything", 2000, |seed| {
        use adit_tunnel::Random;
        let mut random = crate::SeededRandom::new(seed);
        let mut pair = world(|setup: &mut Setup| (setup.seed, setup.clients) = (seed, 2));
        pair.reconnect = Some(secs(1));
        for _ in 0..50 {
            let (client, time) = (random.next_u32() as usize % 2, millis(u64::from(random.next_u32() % 20_000)));
            match random.next_u32() % 10 {
                0 => pair.rebind(client, Mapping::Alive),
                1 => pair.rebind(client, Mapping::Dead),
                2 => pair.roam(client),
                3 => pair.restart_client(client, Port::New),
                4 => pair.restart_client(client, Port::Same),
                5 => pair.restart_listener(),
                6 => pair.suspend(time),
                7 => pair.suspend_client(client, time),
                8 => pair.blackout(client, time),
                _ => pair.with_client(client, |tunnel, now| tunnel.rekey(now)),
            }
            pair.run(time);
            let census = pair.census();
            assert!(census.peers <= 40 && census.openers <= 3 * (census.peers + 2), "{census:?}");
        }
        pair.run(secs(200));
        pair.assert_agree();
        assert_eq!(pair.census().peers, 2);
        50
    });
}
