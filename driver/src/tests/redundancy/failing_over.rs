//! A gateway is lost, and what becomes of the connections through it.

use std::io::ErrorKind;

use super::*;
use crate::{
    redundancy::{ConnectionState, GatewayState, GatewayStatus, RedundancyLevel, RedundancyStatus, SwitchReason},
    tests::{far::Manner, toy::WELCOME},
};

/// Welcomes us as another host.
fn elsewhere() -> Manner {
    Manner::Say(vec![WELCOME, 1, 10, 9, 0, 3])
}

fn to_b(event: &RedundancyEvent) -> bool {
    matches!(event, RedundancyEvent::Switched { from: Some(from), to, reason: SwitchReason::Lost } if from == "a" && to == "b")
}

#[tokio::test]
async fn connections_through_a_lost_gateway_are_reset_at_once_and_new_ones_take_the_other() {
    let [a] = gateways().await;
    let b = Far::with_manner(Transport::Udp, elsewhere()).await;
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    let mut events = redundant.events();
    let mut connection = connection(&redundant.way(None, PATIENT)).await;
    let socket = redundant.way(None, PATIENT).bind_udp().await.unwrap();
    up(&redundant, "b").await;
    a.set(Manner::Silent);
    event(&mut events, to_b).await;
    assert_eq!(soon(connection.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(connection.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(soon(socket.recv_from(&mut [0; 9])).await.unwrap_err().kind(), ErrorKind::NotConnected);
    assert_eq!(socket.send_to(b"x", echo()).unwrap_err().kind(), ErrorKind::NotConnected);
    super::connection(&redundant.way(None, AT_ONCE)).await;
    let status = redundant.status();
    assert_eq!((status.failovers, status.state, status.active.as_deref()), (1, ConnectionState::Connected, Some("b")));
    assert_eq!(status.gateways[1].state, GatewayState::Active);
    assert!(status.gateways[0].failures > 0);
}

#[tokio::test]
async fn the_log_says_each_time_why_another_gateway_takes_over_and_the_status_that_none_stands_by() {
    let [a] = gateways().await;
    let b = Far::with_manner(Transport::Udp, elsewhere()).await;
    let (log, _guard) = Log::start();
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    let mut events = redundant.events();
    let level = async |level| {
        soon(async {
            while redundant.status().redundancy() != Some(level) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    };
    let _connection = connection(&redundant.way(None, PATIENT)).await;
    level(RedundancyLevel::Full).await;
    a.set(Manner::Silent);
    // It has not begun when the gateway is lost, and is dialled anew.
    let dialled = tokio::spawn({
        let way = redundant.way(None, PATIENT);
        async move { connection(&way).await }
    });
    event(&mut events, to_b).await;
    soon(dialled).await.unwrap();
    level(RedundancyLevel::None).await;
    assert_eq!(redundant.status().tunnels_wanted, 2);
    a.set(Manner::Welcome);
    level(RedundancyLevel::Full).await;
    b.set(Manner::Silent);
    event(&mut events, |event| matches!(event, RedundancyEvent::Switched { to, .. } if to == "a")).await;
    for (line, remote) in [
        ("gateway b takes over from a: it was lost: ", a.address),
        ("gateway a takes over from b: it was lost: ", b.address),
    ] {
        let said = log.lines(line);
        assert!(said.len() == 1 && said[0].ends_with(&format!("{remote}: the gateway does not answer")), "{said:?}");
    }
    assert_eq!(log.lines("1 connection was lost with gateway a").len(), 1);
    // Both of them, and why.
    a.set(Manner::Silent);
    event(&mut events, |event| matches!(event, RedundancyEvent::Down)).await;
    let said = log.lines("no gateway is up: ");
    assert!(said.len() == 1 && said[0].contains("the gateway does not answer"), "{said:?}");
}

#[tokio::test]
async fn a_connection_that_has_not_begun_is_not_counted_among_those_that_go_on() {
    // Both give us the same address.
    let [a, b] = gateways().await;
    let (log, _guard) = Log::start();
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    let mut events = redundant.events();
    let live = connection(&redundant.way(None, PATIENT)).await;
    up(&redundant, "b").await;
    a.set(Manner::Silent);
    let dialled = tokio::spawn({
        let way = redundant.way(None, PATIENT);
        async move { connection(&way).await }
    });
    let counts = || redundant.status().gateways.first().map(|a| (a.stats.connections, a.stats.connecting));
    soon(async {
        while counts() != Some((2, 1)) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    event(&mut events, to_b).await;
    soon(dialled).await.unwrap();
    assert_eq!(log.lines(" through gateway b"), ["INFO 1 connection goes on through gateway b"]);
    drop(live);
}

#[test]
fn how_many_tunnels_are_wanted_decides_whether_redundancy_is_lost() {
    let status = |wanted: usize, well: &[bool]| RedundancyStatus {
        state: ConnectionState::Connected,
        since: std::time::SystemTime::UNIX_EPOCH,
        active: None,
        gateways: well.iter().map(|well| gateway_status(*well)).collect(),
        failovers: 0,
        tunnels_wanted: wanted,
        last_error: None,
    };
    assert_eq!(status(1, &[true, true]).redundancy(), None, "nobody wants it");
    assert_eq!(status(2, &[true, false, true]).redundancy(), Some(RedundancyLevel::Full));
    assert_eq!(status(2, &[true, false]).redundancy(), Some(RedundancyLevel::None));
    assert_eq!(status(3, &[true, false, true]).redundancy(), Some(RedundancyLevel::Degraded));
    assert_eq!(status(3, &[false, false, false]).redundancy(), Some(RedundancyLevel::None));
}

fn gateway_status(well: bool) -> GatewayStatus {
    GatewayStatus {
        name: String::new(),
        state: GatewayState::Standby,
        since: std::time::SystemTime::UNIX_EPOCH,
        remote: None,
        network: Some(Arc::default()),
        details: None,
        stats: crate::Stats::default(),
        stack: adit_netstack::Counters::default(),
        probe: None,
        ailing: !well,
        carries: None,
        last_error: None,
        retry_at: None,
        attempts: 0,
        failures: 0,
        failures_by_kind: Vec::new(),
        outer: None,
        handshake: None,
        rekeys: crate::Rekeys::default(),
        failed_rekeys: crate::Rekeys::default(),
        connections: 0,
    }
}

#[tokio::test]
async fn the_other_end_of_a_connection_that_was_lost_gets_a_reset_when_the_gateway_hears_again() {
    let [a] = gateways().await;
    let b = Far::with_manner(Transport::Udp, elsewhere()).await;
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    let mut events = redundant.events();
    let _connection = connection(&redundant.way(None, PATIENT)).await;
    up(&redundant, "b").await;
    a.set(Manner::Silent);
    event(&mut events, to_b).await;
    a.set(Manner::Welcome);
    a.saw(|seen| seen.resets == 1).await;
}

#[tokio::test]
async fn connections_go_on_through_another_gateway_that_gave_the_same_address() {
    let [a] = gateways().await;
    let b = Far::beside(&a, Manner::Welcome).await;
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    let mut events = redundant.events();
    let mut one = connection(&redundant.way(None, PATIENT)).await;
    let socket = redundant.way(None, PATIENT).bind_udp().await.unwrap();
    up(&redundant, "b").await;
    a.set(Manner::Silent);
    one.write_all(b"while nobody hears").await.unwrap();
    event(&mut events, to_b).await;
    let mut answer = [0; 18];
    soon(one.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"while nobody hears");
    socket.send_to(b"still here", echo()).unwrap();
    let (length, _) = soon(socket.recv_from(&mut [0; 99])).await.unwrap();
    assert_eq!(length, 10);
    // A second one besides, through the same stack.
    connection(&redundant.way(None, AT_ONCE)).await;
    // And back again, should the other be lost, too: whoever takes over has no connections of its own.
    a.set(Manner::Welcome);
    up(&redundant, "a").await;
    b.set(Manner::Silent);
    event(&mut events, |event| matches!(event, RedundancyEvent::Switched { to, .. } if to == "a")).await;
    says(&mut one, b"and back").await;
}

#[tokio::test]
async fn connections_survive_a_gateway_that_returns_before_another_is_there() {
    let [a, b] = gateways().await;
    b.set(Manner::Silent);
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    let mut events = redundant.events();
    let mut connection = connection(&redundant.way(None, PATIENT)).await;
    a.set(Manner::Silent);
    event(&mut events, |event| matches!(event, RedundancyEvent::Down)).await;
    assert_eq!(redundant.status().state, ConnectionState::Reconnecting);
    let way = redundant.way(None, AT_ONCE);
    assert_eq!(way.dial(echo()).await.unwrap_err().kind(), ErrorKind::NotConnected);
    a.set(Manner::Welcome);
    event(&mut events, |event| matches!(event, RedundancyEvent::Restored)).await;
    says(&mut connection, b"again").await;
    assert_eq!(redundant.status().failovers, 0);
}

#[tokio::test]
async fn a_dial_under_way_when_its_gateway_is_lost_goes_through_the_other() {
    let [a] = gateways().await;
    let b = Far::with_manner(Transport::Udp, elsewhere()).await;
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    soon(redundant.up()).await.unwrap();
    up(&redundant, "b").await;
    a.set(Manner::Silent);
    // The gateway is not known to be lost yet.
    connection(&redundant.way(None, AT_ONCE)).await;
    assert_eq!(redundant.status().active.as_deref(), Some("b"));
}
