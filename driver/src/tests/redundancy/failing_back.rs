//! A better gateway is back.

use std::{io::ErrorKind, time::Instant};

use super::*;
use crate::{
    redundancy::{GatewayState, SwitchReason},
    tests::far::Manner,
};

const PATIENCE: Duration = Duration::from_millis(400);

/// The first of two is lost, the second has taken over, and the first is there again.
async fn back(options: RedundancyOptions) -> ([Far; 2], Redundant, RedundancyEvents) {
    let [a, b] = gateways().await;
    let redundant = start(vec![spec("a", &a), spec("b", &b)], options);
    up(&redundant, "a").await;
    up(&redundant, "b").await;
    let mut events = redundant.events();
    a.set(Manner::Silent);
    event(&mut events, |event| matches!(event, RedundancyEvent::Switched { to, .. } if to == "b")).await;
    a.set(Manner::Welcome);
    ([a, b], redundant, events)
}

fn failed_back(event: &RedundancyEvent) -> bool {
    matches!(event, RedundancyEvent::Switched { to, reason: SwitchReason::FailBack, .. } if to == "a")
}

#[tokio::test]
async fn a_better_gateway_is_gone_back_to_once_it_was_up_for_long_enough_and_live_connections_stay() {
    let options = RedundancyOptions { fail_back_after: Some(PATIENCE), ..redundancy_options() };
    let (fars, redundant, mut events) = back(options).await;
    let mut old = connection(&redundant.way(None, AT_ONCE)).await;
    assert_eq!(redundant.status().active.as_deref(), Some("b"));
    up(&redundant, "a").await;
    let before = Instant::now();
    event(&mut events, failed_back).await;
    assert!(before.elapsed() >= PATIENCE / 2, "not at once: {:?}", before.elapsed());
    assert_eq!(states(&redundant), [GatewayState::Active, GatewayState::Draining]);
    says(&mut old, b"where it was").await;
    let new = connection(&redundant.way(None, AT_ONCE)).await;
    let each: Vec<_> = redundant.status().gateways.iter().map(|gateway| gateway.connections).collect();
    assert_eq!((each, redundant.status().failovers), (vec![1, 1], 1));
    drop((old, new));
    soon(async {
        while states(&redundant)[1] != GatewayState::Standby {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    drop(fars);
}

#[tokio::test]
async fn connections_that_stay_for_too_long_are_reset() {
    let (log, _guard) = Log::start();
    let drain = Duration::from_millis(300);
    let options = RedundancyOptions { fail_back_after: Some(PATIENCE), drain, ..redundancy_options() };
    let (_fars, redundant, mut events) = back(options).await;
    let mut old = connection(&redundant.way(None, AT_ONCE)).await;
    event(&mut events, failed_back).await;
    let before = Instant::now();
    assert_eq!(soon(old.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(before.elapsed() >= drain / 2, "{:?}", before.elapsed());
    let said = log.lines("after drain_seconds");
    assert!(said.len() == 1 && said[0].contains("1 connection is reset: still through gateway b"), "{said:?}");
}

#[tokio::test]
async fn trouble_starts_the_wait_anew() {
    let patience = Duration::from_secs(3);
    let options = RedundancyOptions { fail_back_after: Some(patience), ..redundancy_options() };
    let ([a, _b], redundant, mut events) = back(options).await;
    up(&redundant, "a").await;
    // Lost again, before its time.
    a.set(Manner::Silent);
    event(&mut events, |event| matches!(event, RedundancyEvent::Failed { gateway, .. } if gateway == "a")).await;
    a.set(Manner::Welcome);
    up(&redundant, "a").await;
    let before = Instant::now();
    event(&mut events, failed_back).await;
    assert!(before.elapsed() > patience * 3 / 4, "{:?}", before.elapsed());
}

#[tokio::test]
async fn who_never_goes_back_stays_with_the_gateway_in_use() {
    let options = RedundancyOptions { fail_back_after: None, ..redundancy_options() };
    let ([_a, b], redundant, mut events) = back(options).await;
    up(&redundant, "a").await;
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(redundant.status().active.as_deref(), Some("b"));
    assert_eq!(states(&redundant), [GatewayState::Standby, GatewayState::Active]);
    b.set(Manner::Silent);
    event(&mut events, |event| matches!(event, RedundancyEvent::Switched { to, .. } if to == "a")).await;
}
