//! Which gateway is dialled, and when, and which takes new connections.

use std::io::ErrorKind;

use super::*;
use crate::{
    redundancy::{ConnectionState, GatewayState, Policy, SwitchReason},
    tests::far::Manner,
};

fn cold() -> RedundancyOptions {
    RedundancyOptions { hot_standby: false, ..redundancy_options() }
}

#[tokio::test]
async fn the_first_gateway_that_is_up_takes_connections() {
    let [a, b] = gateways().await;
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    let mut events = redundant.events();
    let way = redundant.way(None, PATIENT);
    connection(&way).await;
    let first = |event: &RedundancyEvent| matches!(event, RedundancyEvent::Switched { from: None, to, reason: SwitchReason::Up } if to == "a");
    event(&mut events, first).await;
    let status = redundant.status();
    assert_eq!((status.state, status.active.as_deref()), (ConnectionState::Connected, Some("a")));
    let gateway = &status.gateways[0];
    assert_eq!((gateway.state, gateway.remote, gateway.attempts), (GatewayState::Active, Some(a.address), 1));
    assert!(gateway.handshake.is_some() && gateway.network.is_some() && gateway.stats.sealed_packets > 0);
    soon(redundant.close()).await;
    assert_eq!(redundant.status().state, ConnectionState::Closed);
    assert_eq!(way.dial(echo()).await.unwrap_err().kind(), ErrorKind::NotConnected);
    a.saw(|seen| seen.byes == 1).await;
}

#[tokio::test]
async fn a_hot_standby_is_up_before_it_is_needed_and_there_is_one() {
    let [a, b, c] = gateways().await;
    let redundant = start(vec![spec("a", &a), spec("b", &b), spec("c", &c)], redundancy_options());
    up(&redundant, "b").await;
    assert_eq!(states(&redundant), [GatewayState::Active, GatewayState::Standby, GatewayState::Idle]);
    let mut events = redundant.events();
    a.set(Manner::Silent);
    event(&mut events, |event| matches!(event, RedundancyEvent::Switched { to, .. } if to == "b")).await;
    // The next one stands by for the one that does.
    up(&redundant, "c").await;
    assert_eq!(c.seen.borrow().hellos, 1);
    // And is let go when the first is back.
    a.set(Manner::Welcome);
    c.saw(|seen| seen.byes == 1).await;
}

#[tokio::test]
async fn a_cold_standby_is_dialled_when_it_is_needed() {
    let [a, b] = gateways().await;
    let redundant = start(vec![spec("a", &a), spec("b", &b)], cold());
    connection(&redundant.way(None, PATIENT)).await;
    assert_eq!((states(&redundant)[1], b.seen.borrow().hellos), (GatewayState::Idle, 0));
    a.set(Manner::Silent);
    b.saw(|seen| seen.hellos == 1).await;
    connection(&redundant.way(None, PATIENT)).await;
    assert_eq!(redundant.status().active.as_deref(), Some("b"));
}

#[tokio::test]
async fn the_next_gateway_joins_when_the_first_is_not_up_after_the_stagger() {
    let [a, b] = gateways().await;
    a.set(Manner::Silent);
    let stagger = Duration::from_millis(300);
    let before = std::time::Instant::now();
    let redundant = start(vec![spec("a", &a), spec("b", &b)], RedundancyOptions { stagger, ..cold() });
    soon(redundant.up()).await.unwrap();
    assert!(before.elapsed() >= stagger, "the first had its time");
    assert_eq!(redundant.status().active.as_deref(), Some("b"));
    assert!(a.seen.borrow().hellos > 1, "it goes on being tried");
}

#[tokio::test]
async fn the_next_gateway_joins_at_once_when_the_first_has_failed() {
    let [a, b] = gateways().await;
    a.set(Manner::Say(vec![crate::tests::toy::BUSY]));
    let stagger = Duration::from_secs(3600);
    let redundant = start(vec![spec("a", &a), spec("b", &b)], RedundancyOptions { stagger, ..cold() });
    soon(redundant.up()).await.unwrap();
    assert_eq!(redundant.status().active.as_deref(), Some("b"));
}

#[tokio::test]
async fn a_gateway_that_asks_a_person_is_not_joined_by_the_next() {
    let [a, b] = gateways().await;
    a.set(Manner::Say(vec![crate::tests::toy::CHALLENGE]));
    let asked = Arc::new(tokio::sync::Notify::new());
    let options = RedundancyOptions { stagger: Duration::from_millis(50), ..cold() };
    let redundant = Redundant::of(vec![spec("a", &a), spec("b", &b)], options, Arc::new(Slow(Arc::clone(&asked))));
    soon(asked.notified()).await;
    tokio::time::timeout(Duration::from_millis(300), redundant.up()).await.expect_err("nobody has answered");
    assert_eq!(b.seen.borrow().hellos, 0);
}

/// Says that it is asked, and never answers.
struct Slow(Arc<tokio::sync::Notify>);

impl crate::Prompter for Slow {
    fn prompt(&self, _: adit_tunnel::Prompt) -> crate::PromptFuture {
        self.0.notify_one();
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn in_turn_all_gateways_that_are_up_take_connections() {
    let [a, b] = gateways().await;
    let options = RedundancyOptions { policy: Policy::RoundRobin, ..redundancy_options() };
    let redundant = start(vec![spec("a", &a), spec("b", &b)], options);
    up(&redundant, "a").await;
    up(&redundant, "b").await;
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(connection(&redundant.way(None, PATIENT)).await);
    }
    let each = |redundant: &Redundant| redundant.status().gateways.iter().map(|g| g.connections).collect::<Vec<_>>();
    assert_eq!((each(&redundant), states(&redundant)), (vec![2, 2], vec![GatewayState::Active; 2]));
    // One is lost: the others go on, and take all.
    b.set(Manner::Silent);
    let mut events = redundant.events();
    event(&mut events, |event| matches!(event, RedundancyEvent::Failed { gateway, .. } if gateway == "b")).await;
    let mut lost = 0;
    for connection in &mut connections {
        match tokio::time::timeout(Duration::from_millis(200), connection.read_u8()).await {
            Ok(error) => {
                assert_eq!(error.unwrap_err().kind(), ErrorKind::ConnectionReset);
                lost += 1;
            }
            Err(_) => says(connection, b"still here").await,
        }
    }
    assert_eq!(lost, 2);
    for _ in 0..3 {
        connection(&redundant.way(None, AT_ONCE)).await;
    }
}

#[tokio::test]
async fn a_pinned_way_starts_its_gateway_and_uses_no_other() {
    let [a, b] = gateways().await;
    let redundant = start(vec![spec("a", &a), spec("b", &b)], cold());
    soon(redundant.up()).await.unwrap();
    let way = redundant.way(Some("b"), PATIENT);
    let mut pinned = connection(&way).await;
    assert_eq!(redundant.status().active.as_deref(), Some("a"));
    assert_eq!(redundant.status().gateways[1].connections, 1);
    let unknown = redundant.way(Some("z"), PATIENT).dial(echo()).await.unwrap_err();
    assert_eq!((unknown.kind(), unknown.to_string().contains('z')), (ErrorKind::NotFound, true));
    // It waits for its gateway, and so do its connections, although another is up.
    let mut events = redundant.events();
    b.set(Manner::Silent);
    event(&mut events, |event| matches!(event, RedundancyEvent::Failed { gateway, .. } if gateway == "b")).await;
    let now = redundant.way(Some("b"), AT_ONCE).dial(echo()).await.unwrap_err();
    assert_eq!(now.kind(), ErrorKind::NotConnected);
    b.set(Manner::Welcome);
    up(&redundant, "b").await;
    says(&mut pinned, b"as before").await;
    // Nobody wants it any more.
    drop((pinned, way));
    b.saw(|seen| seen.byes == 1).await;
}

#[tokio::test]
async fn no_more_handshakes_run_at_a_time_than_may() {
    let [a, b] = gateways().await;
    a.set(Manner::Silent);
    let handshakes = Arc::new(tokio::sync::Semaphore::new(1));
    let cap = Some(Arc::clone(&handshakes));
    let options = RedundancyOptions { policy: Policy::RoundRobin, handshakes: cap, ..redundancy_options() };
    let redundant = start(vec![spec("a", &a), spec("b", &b)], options);
    a.saw(|seen| seen.hellos > 3).await;
    assert_eq!(b.seen.borrow().hellos, 0, "it is not its turn");
    a.set(Manner::Welcome);
    up(&redundant, "a").await;
    up(&redundant, "b").await;
    assert_eq!(handshakes.available_permits(), 1);
}

#[tokio::test]
async fn who_waits_for_a_person_is_no_handshake() {
    let [a, b] = gateways().await;
    a.set(Manner::Say(vec![crate::tests::toy::CHALLENGE]));
    let handshakes = Some(Arc::new(tokio::sync::Semaphore::new(1)));
    let options = RedundancyOptions { policy: Policy::RoundRobin, handshakes, ..redundancy_options() };
    let asked = Arc::new(tokio::sync::Notify::new());
    let redundant = Redundant::of(vec![spec("a", &a), spec("b", &b)], options, Arc::new(Slow(Arc::clone(&asked))));
    up(&redundant, "b").await;
    soon(asked.notified()).await;
}

#[tokio::test]
async fn a_silent_gateway_keeps_nobody_from_shaking_hands() {
    // One that never says a word, and one that accepts and then says nothing.
    for transport in [Transport::Udp, Transport::Tcp] {
        let silent = Far::with_manner(transport, Manner::Silent).await;
        let [b] = gateways().await;
        let handshakes = Arc::new(tokio::sync::Semaphore::new(1));
        let options = RedundancyOptions { handshakes: Some(Arc::clone(&handshakes)), ..redundancy_options() };
        let remote = remote(&silent);
        let patient = Spec::new("a", move || {
            let mut toy = Toy::new([remote.clone()]);
            toy.patience = Duration::from_secs(600);
            toy
        });
        let first = start(vec![patient], options.clone());
        silent.saw(|seen| seen.hellos > 0).await;
        assert_eq!(handshakes.available_permits(), 0);
        let second = start(vec![spec("b", &b)], options);
        soon(second.up()).await.unwrap();
        // When it answers, it takes its turn like all others.
        let ours = soon(handshakes.acquire()).await.unwrap();
        let hellos = silent.seen.borrow().hellos;
        let [high, low] = silent.address.port().to_be_bytes();
        silent.set(Manner::Say(vec![crate::tests::toy::MOVE, high, low]));
        silent.saw(|seen| seen.hellos > hellos).await;
        silent.set(Manner::Welcome);
        tokio::time::timeout(Duration::from_millis(300), first.up()).await.expect_err("it is not its turn");
        drop(ours);
        soon(first.up()).await.unwrap();
        assert_eq!(handshakes.available_permits(), 1);
    }
}

#[tokio::test]
async fn pinned_connections_of_a_gateway_nobody_wants_are_reset_when_their_time_is_over() {
    let [a, b] = gateways().await;
    let drain = Duration::from_millis(300);
    let redundant = start(vec![spec("a", &a), spec("b", &b)], RedundancyOptions { drain, ..cold() });
    soon(redundant.up()).await.unwrap();
    let way = redundant.way(Some("b"), PATIENT);
    let mut pinned = connection(&way).await;
    drop(way);
    let before = std::time::Instant::now();
    assert_eq!(soon(pinned.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(before.elapsed() >= drain / 2, "{:?}", before.elapsed());
    b.saw(|seen| seen.byes == 1).await;
}
