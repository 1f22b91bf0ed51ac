//! Another configuration while tunnels are up.

use std::io::ErrorKind;

use super::*;
use crate::{
    redundancy::{ConnectionState, GatewayState, Policy, SwitchReason},
    tests::{
        far::Manner,
        toy::{REJECT, WELCOME},
    },
};

/// The same gateway, with other settings.
fn changed(name: &str, far: &Far, fingerprint: u64) -> Spec {
    let mut spec = spec(name, far);
    spec.fingerprint = fingerprint;
    spec
}

/// Welcomes us as another host.
fn elsewhere() -> Manner {
    Manner::Say(vec![WELCOME, 1, 10, 9, 0, 3])
}

fn parted(from: &str) -> impl FnMut(&RedundancyEvent) -> bool + '_ {
    move |event| matches!(event, RedundancyEvent::Parted { gateway } if gateway == from)
}

fn switched(from: &str, to: &str) -> impl FnMut(&RedundancyEvent) -> bool {
    move |event| {
        matches!(event, RedundancyEvent::Switched { from: Some(left), to: taken, reason: SwitchReason::Updated }
            if left == from && taken == to)
    }
}

/// What is drained has this long.
fn draining(drain: Duration) -> RedundancyOptions {
    RedundancyOptions { drain, ..redundancy_options() }
}

#[tokio::test]
async fn an_update_keeps_what_did_not_change_and_draining_refuses_what_is_new() {
    let [a, b, c] = gateways().await;
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    up(&redundant, "b").await;
    let mut kept = connection(&redundant.way(None, PATIENT)).await;
    redundant.update_specs(vec![spec("a", &a), spec("c", &c)], redundancy_options());
    up(&redundant, "c").await;
    b.saw(|seen| seen.byes == 1).await;
    says(&mut kept, b"as before").await;
    assert_eq!((a.seen.borrow().hellos, redundant.status().gateways.len()), (1, 2));

    let held = connection(&redundant.way(None, PATIENT)).await;
    let drain = redundant.drain(PATIENT);
    tokio::pin!(drain);
    tokio::time::timeout(Duration::from_millis(300), &mut drain).await.expect_err("there is a connection");
    let error = redundant.way(None, PATIENT).dial(echo()).await.unwrap_err();
    assert_eq!((error.kind(), redundant.status().state), (ErrorKind::NotConnected, ConnectionState::Draining));
    drop((held, kept));
    soon(drain).await;
}

#[tokio::test]
async fn a_change_of_all_gateways_goes_on_with_the_one_in_use_until_another_is_up() {
    let [a] = gateways().await;
    let b = Far::with_manner(Transport::Udp, elsewhere()).await;
    let redundant = start(vec![spec("a", &a), spec("b", &b)], draining(PATIENT));
    up(&redundant, "b").await;
    let mut kept = connection(&redundant.way(None, PATIENT)).await;
    let mut events = redundant.events();
    redundant.update_specs(vec![changed("a", &a, 1), changed("b", &b, 1)], draining(PATIENT));
    event(&mut events, switched("a", "b")).await;
    b.saw(|seen| (seen.byes, seen.hellos) == (1, 2)).await;
    // Through the tunnel of before, as long as it lasts; new ones go through the one of now.
    says(&mut kept, b"as before").await;
    connection(&redundant.way(None, AT_ONCE)).await;
    assert_eq!(states(&redundant), [GatewayState::Draining, GatewayState::Active]);
    assert_eq!((a.seen.borrow().byes, redundant.status().failovers), (0, 0));
    drop(kept);
    event(&mut events, parted("a")).await;
    a.saw(|seen| (seen.byes, seen.hellos) == (1, 2)).await;
    up(&redundant, "a").await;
    let status = redundant.status();
    assert_eq!((status.gateways[0].attempts, status.state), (2, ConnectionState::Connected), "what was counted stays");
}

#[tokio::test]
async fn connections_of_a_changed_gateway_have_the_time_to_drain_and_no_more() {
    let [a] = gateways().await;
    let b = Far::with_manner(Transport::Udp, elsewhere()).await;
    let cold = |drain| RedundancyOptions { hot_standby: false, ..draining(drain) };
    let redundant = start(vec![spec("a", &a), spec("b", &b)], cold(AT_ONCE));
    let mut cut = connection(&redundant.way(None, PATIENT)).await;
    let mut events = redundant.events();
    // Nothing stands by: the other one is dialled for it.
    redundant.update_specs(vec![changed("a", &a, 1), spec("b", &b)], cold(AT_ONCE));
    event(&mut events, switched("a", "b")).await;
    event(&mut events, parted("a")).await;
    assert_eq!(soon(cut.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    connection(&redundant.way(None, AT_ONCE)).await;
}

#[tokio::test]
async fn settings_that_all_others_refuse_do_not_end_the_tunnel_that_works() {
    let [a] = gateways().await;
    let b = Far::with_manner(Transport::Udp, elsewhere()).await;
    let (log, _guard) = Log::start();
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    up(&redundant, "b").await;
    let mut kept = connection(&redundant.way(None, PATIENT)).await;
    let mut events = redundant.events();
    // A mistyped password, say.
    a.set(Manner::Say(vec![REJECT]));
    b.set(Manner::Say(vec![REJECT]));
    redundant.update_specs(vec![changed("a", &a, 1), changed("b", &b, 1)], redundancy_options());
    event(
        &mut events,
        |event| matches!(event, RedundancyEvent::Failed { gateway, retry_in: None, .. } if gateway == "b"),
    )
    .await;
    says(&mut kept, b"as before").await;
    connection(&redundant.way(None, AT_ONCE)).await;
    assert_eq!(states(&redundant), [GatewayState::Active, GatewayState::Refused]);
    assert_eq!(log.lines("every other one refuses those of now").len(), 1);
    // Somebody has corrected it.
    b.set(elsewhere());
    redundant.update_specs(vec![changed("a", &a, 2), changed("b", &b, 2)], draining(AT_ONCE));
    event(&mut events, switched("a", "b")).await;
    event(&mut events, parted("a")).await;
    assert_eq!(soon(kept.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_changed_gateway_is_dialled_anew_where_no_other_can_be_reached() {
    let [a, b] = gateways().await;
    b.set(Manner::Silent);
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    let mut cut = connection(&redundant.way(None, PATIENT)).await;
    let mut events = redundant.events();
    redundant.update_specs(vec![changed("a", &a, 1), spec("b", &b)], redundancy_options());
    event(&mut events, parted("a")).await;
    event(&mut events, |event| matches!(event, RedundancyEvent::Down)).await;
    event(&mut events, |event| matches!(event, RedundancyEvent::Restored)).await;
    assert!(soon(cut.read_u8()).await.is_err(), "it went through another configuration");
    a.saw(|seen| (seen.byes, seen.hellos) == (1, 2)).await;
    // Alone it has nobody to wait for.
    redundant.update_specs(vec![changed("a", &a, 2)], redundancy_options());
    event(&mut events, parted("a")).await;
    event(&mut events, |event| matches!(event, RedundancyEvent::Restored)).await;
    assert_eq!(redundant.status().gateways.len(), 1);
}

#[tokio::test]
async fn a_gateway_that_was_taken_out_goes_once_another_is_in_use() {
    let [a] = gateways().await;
    let b = Far::with_manner(Transport::Udp, elsewhere()).await;
    let redundant = start(vec![spec("a", &a)], draining(PATIENT));
    let mut kept = connection(&redundant.way(None, PATIENT)).await;
    let mut events = redundant.events();
    redundant.update_specs(vec![spec("b", &b)], draining(PATIENT));
    event(&mut events, switched("a", "b")).await;
    says(&mut kept, b"as before").await;
    let status = redundant.status();
    assert_eq!(status.gateways.iter().map(|gateway| &*gateway.name).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!((status.gateways[1].state, status.tunnels_wanted), (GatewayState::Draining, 1));
    drop(kept);
    event(&mut events, parted("a")).await;
    a.saw(|seen| seen.byes == 1).await;
    assert_eq!(redundant.status().gateways.len(), 1);
    // Its loss is no reason to keep it either, and what comes back in time was never away.
    let mut kept = connection(&redundant.way(None, PATIENT)).await;
    a.set(Manner::Silent);
    redundant.update_specs(vec![spec("a", &a)], draining(PATIENT));
    redundant.update_specs(vec![spec("b", &b)], draining(PATIENT));
    says(&mut kept, b"as before").await;
    assert_eq!((b.seen.borrow().hellos, b.seen.borrow().byes), (1, 0));
}

#[tokio::test]
async fn gateways_in_turn_are_changed_one_after_the_other() {
    let [a] = gateways().await;
    let b = Far::with_manner(Transport::Udp, elsewhere()).await;
    let options = RedundancyOptions { policy: Policy::RoundRobin, ..draining(PATIENT) };
    let redundant = start(vec![spec("a", &a), spec("b", &b)], options.clone());
    up(&redundant, "a").await;
    up(&redundant, "b").await;
    let way = redundant.way(None, PATIENT);
    let mut kept = [connection(&way).await, connection(&way).await];
    let active = redundant.status().active;
    let mut events = redundant.events();
    redundant.update_specs(vec![changed("a", &a, 1), changed("b", &b, 1)], options);
    for connection in &mut kept {
        says(connection, b"as before").await;
    }
    drop(kept);
    // Whoever is not counted on goes first.
    let first = event(&mut events, |event| matches!(event, RedundancyEvent::Parted { .. })).await;
    let second = event(&mut events, |event| matches!(event, RedundancyEvent::Parted { .. })).await;
    let name = |event| {
        if let RedundancyEvent::Parted { gateway } = event { Some(gateway) } else { None }
    };
    assert_eq!((name(second), name(first).is_some()), (active, true));
    for far in [&a, &b] {
        far.saw(|seen| (seen.byes, seen.hellos) == (1, 2)).await;
    }
}
