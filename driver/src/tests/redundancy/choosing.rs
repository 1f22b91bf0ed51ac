//! Which gateway is dialled, and when.

use super::*;
use crate::redundancy::{ConnectionState, GatewayState, SwitchReason};

#[tokio::test]
async fn the_first_gateway_that_is_up_takes_connections() {
    let [a, b] = gateways().await;
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    let mut events = redundant.events();
    let way = redundant.way(None, PATIENT);
    connection(&way).await;
    event(
        &mut events,
        |event| matches!(event, RedundancyEvent::Switched { from: None, to, reason: SwitchReason::Up } if to == "a"),
    )
    .await;
    let status = redundant.status();
    assert_eq!((status.state, status.active.as_deref()), (ConnectionState::Connected, Some("a")));
    assert_eq!(status.gateways[0].state, GatewayState::Active);
    soon(redundant.close()).await;
    assert_eq!(redundant.status().state, ConnectionState::Closed);
    assert_eq!(way.dial(echo()).await.unwrap_err().kind(), std::io::ErrorKind::NotConnected);
    a.saw(|seen| seen.byes == 1).await;
}

#[tokio::test]
async fn another_gateway_takes_over_when_the_first_is_lost() {
    let [a, b] = gateways().await;
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    let mut events = redundant.events();
    connection(&redundant.way(None, PATIENT)).await;
    b.saw(|seen| seen.hellos == 1).await;
    a.set(crate::tests::far::Manner::Silent);
    event(&mut events, |event| matches!(event, RedundancyEvent::Switched { reason: SwitchReason::Lost, .. })).await;
    connection(&redundant.way(None, AT_ONCE)).await;
    assert_eq!(redundant.status().failovers, 1);
}
