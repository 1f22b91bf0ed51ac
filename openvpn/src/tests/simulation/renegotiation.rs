//! Renegotiations by either side and by both at once, while packets flow.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use adit_testing::{Conditions, KeyNote, SeededRandom, seeds};
use adit_tunnel::{CloseKind, KeyTag, Random};

use super::{
    World,
    variants::{Variant, Wrap},
};
use crate::{
    session::iv_proto,
    tests::{millis, secs},
};

/// Who begins a renegotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Client,
    Server,
    /// One as often as the other, and both at once.
    Either,
}

/// Begins renegotiations, as many as there are key ids and then some, and insists that no packet is lost.
fn through_all_key_ids(variant: &Variant, seed: u64, by: By) {
    let mut random = SeededRandom::new(seed);
    let mut world = variant.up(seed, |setup| setup.conditions = Conditions::REORDERING);
    world.start_traffic(millis(200), 120);
    for round in 1..=10_u8 {
        let wanted = KeyTag(u32::from((round - 1) % 7 + 1));
        // Not so soon after the last that the time for its keys to arrive, which is half of that between both, is too short.
        world.run(secs(10));
        let choice = random.next_u32() % 3;
        if by == By::Client || by == By::Either && choice != 0 {
            world.with_client(0, |client, now| client.renegotiate_soon(now));
        }
        // Their resets cross, or nearly.
        world.run(millis(u64::from(random.next_u32() % 8)));
        if by == By::Server || by == By::Either && choice != 1 {
            let peer = world.peer_of(0).unwrap();
            world.with_peer(peer, |server, now| server.renegotiate_soon(now));
        }
        let renewed = world.run_until(secs(30), |world| {
            let ends = keys_opened(world);
            ends.iter().all(|last| *last == Some(wanted))
        });
        assert!(renewed, "round {round}: {:?}, not {wanted:?}", keys_opened(&world));
        world.assert_agree();
        world.run(millis(u64::from(random.next_u32() % 90_000)));
        world.assert_agree();
    }
    let report = world.stop_traffic();
    assert!(report.lost.is_empty() && report.unsealed == 0, "{report:?}");
    assert!(world.clients[0].former.is_empty() && world.listener.departed.is_empty());
}

/// The newest key of the client, and of its server.
fn keys_opened(world: &World) -> [Option<KeyTag>; 2] {
    let newest = |notes: Vec<KeyNote>| {
        notes.into_iter().rev().find_map(|note| match note {
            KeyNote::Opens(tag) => Some(tag),
            KeyNote::Seals(_) | KeyNote::Removed(_) | KeyNote::FlowRemoved(_) => None,
        })
    };
    let peer = world.peer_of(0).map(|peer| world.listener.peers[&peer].driven.key_changes());
    [newest(world.clients[0].driven.key_changes()), newest(peer.unwrap_or_default())]
}

fn run(name: &str, variant: &Variant, by: By) {
    seeds(name, 1000, |seed| through_all_key_ids(variant, seed, by));
}

#[test]
fn the_client_goes_through_all_key_ids_and_back_to_1() {
    run("the_client_goes_through_all_key_ids_and_back_to_1", &quiet(Wrap::None, 0), By::Client);
}

#[test]
fn the_server_goes_through_all_key_ids_and_back_to_1() {
    run("the_server_goes_through_all_key_ids_and_back_to_1", &quiet(Wrap::TlsAuth, 0), By::Server);
}

#[test]
fn both_at_once_go_through_all_key_ids_and_back_to_1() {
    run("both_at_once_go_through_all_key_ids_and_back_to_1", &quiet(Wrap::TlsCryptV2, 0), By::Either);
}

#[test]
fn both_at_once_without_dynamic_tls_crypt() {
    let variant = quiet(Wrap::TlsCrypt, iv_proto::DYN_TLS_CRYPT | iv_proto::TLS_KEY_EXPORT);
    run("both_at_once_without_dynamic_tls_crypt", &variant, By::Either);
}

/// Nobody renegotiates unless told to.
fn quiet(wrap: Wrap, withheld: u32) -> Variant {
    Variant::new(|choice| {
        (choice.wrap, choice.withheld) = (wrap, withheld);
        (choice.client.reneg_sec, choice.server.reneg_sec) = (secs(0), secs(0));
        (choice.client.tran_window, choice.server.tran_window) = (secs(120), secs(120));
    })
}

/// Where a third is lost, renegotiations take their time, and none ends the tunnel that need not.
#[test]
fn renegotiations_survive_loss() {
    let variant = Variant::new(|choice| {
        choice.wrap = Wrap::TlsCrypt;
        (choice.client.reneg_sec, choice.server.reneg_sec) = (secs(150), secs(150));
    });
    let (renewed, ended) = (AtomicU64::new(0), AtomicU64::new(0));
    seeds("renegotiations_survive_loss", 1000, |seed| {
        let mut world = variant.up(seed, |setup| setup.conditions = Conditions::BAD);
        world.reconnect = Some(secs(1));
        let mut last = KeyTag(0);
        for _ in 0..60 {
            world.run(secs(20));
            if let [Some(client), Some(_)] = keys_opened(&world) {
                renewed.fetch_add(u64::from(client != last && client != KeyTag(0)), Relaxed);
                last = client;
            }
        }
        world.conditions(Conditions::GOOD);
        world.run(secs(70));
        world.assert_agree();
        let former = &world.clients[0].former;
        assert!(former.iter().all(|(_, closed)| closed.kind == CloseKind::TimedOut), "{former:?}");
        ended.fetch_add(former.len() as u64, Relaxed);
    });
    // A hand-window has room for six tries of each packet: more than one in fifty runs out of them on its way or back.
    let (renewed, ended) = (renewed.into_inner(), ended.into_inner());
    assert!(renewed > 40 * ended || renewed + ended < 100, "{renewed} were made, {ended} were not");
}
