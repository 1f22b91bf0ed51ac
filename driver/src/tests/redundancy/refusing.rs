//! Gateways that refuse us, and ends.

use std::io::ErrorKind;

use super::*;
use crate::{
    FailureKind,
    redundancy::{ConnectionState, GatewayState},
    tests::{
        far::Manner,
        toy::{END, REJECT, STRANGER},
    },
};

fn rejects() -> Manner {
    Manner::Say(vec![REJECT])
}

#[tokio::test]
async fn refused_credentials_are_never_tried_again_and_the_others_go_on() {
    let [a, b] = gateways().await;
    a.set(rejects());
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    let mut events = redundant.events();
    connection(&redundant.way(None, PATIENT)).await;
    let refused = |event: &RedundancyEvent| matches!(event, RedundancyEvent::Failed { gateway, retry_in: None, cause } if gateway == "a" && cause.kind() == FailureKind::AuthFailed);
    event(&mut events, refused).await;
    // Not even when the other one is lost.
    b.set(Manner::Silent);
    event(&mut events, |event| matches!(event, RedundancyEvent::Down)).await;
    let hellos = b.seen.borrow().hellos;
    b.saw(|seen| seen.hellos > hellos + 3).await;
    let status = redundant.status();
    assert_eq!((status.gateways[0].state, status.state), (GatewayState::Refused, ConnectionState::Reconnecting));
    assert_eq!((a.seen.borrow().hellos, status.gateways[0].attempts), (1, 1));
    assert_eq!(status.gateways[0].failures_by_kind, [(FailureKind::AuthFailed, 1)]);
    let pinned = redundant.way(Some("a"), PATIENT).dial(echo()).await.unwrap_err();
    assert_eq!((pinned.kind(), pinned.to_string().contains("wrong password")), (ErrorKind::NotConnected, true));
    // Somebody has seen to it.
    a.set(Manner::Welcome);
    let mut mended = spec("a", &a);
    mended.fingerprint = 1;
    redundant.update_specs(vec![mended, spec("b", &b)], redundancy_options());
    up(&redundant, "a").await;
}

#[tokio::test]
async fn refused_credentials_are_not_tried_again_because_something_else_was_edited() {
    let [a, b, c] = gateways().await;
    a.set(rejects());
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    up(&redundant, "b").await;
    soon(async {
        while states(&redundant)[0] != GatewayState::Refused {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // Options of the connection, those of each tunnel, and another gateway.
    let other = RedundancyOptions { stagger: Duration::from_millis(1), ..redundancy_options() };
    redundant.update_specs(vec![spec("a", &a), spec("b", &b)], other.clone());
    let tunnel = crate::Options { connect_timeout: PATIENT, ..other.tunnel.clone() };
    let other = RedundancyOptions { tunnel, ..other };
    redundant.update_specs(vec![spec("a", &a), spec("b", &b)], other.clone());
    redundant.update_specs(vec![spec("a", &a), spec("c", &c)], other);
    up(&redundant, "c").await;
    assert_eq!((states(&redundant)[0], a.seen.borrow().hellos), (GatewayState::Refused, 1));
    assert!(redundant.status().gateways[0].last_error.is_some(), "why is still known");
}

#[tokio::test]
async fn a_gateway_that_is_not_who_it_should_be_is_not_tried_again() {
    let [a, b] = gateways().await;
    a.set(Manner::Say(vec![END, 3]));
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    soon(redundant.up()).await.unwrap();
    let status = redundant.status();
    assert_eq!(status.gateways[0].state, GatewayState::Refused);
    assert_eq!(status.gateways[0].last_error.as_ref().unwrap().kind(), FailureKind::PeerNotAuthenticated);
}

#[tokio::test]
async fn nothing_is_said_of_another_try_where_there_is_none_nor_of_the_end_of_what_never_was() {
    let [a, b] = gateways().await;
    // Its tunnel itself would try again.
    a.set(Manner::Say(vec![STRANGER]));
    let (log, _guard) = Log::start();
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    let mut events = redundant.events();
    let refused = |event: &RedundancyEvent| matches!(event, RedundancyEvent::Failed { gateway, retry_in: None, .. } if gateway == "a");
    event(&mut events, refused).await;
    soon(redundant.up()).await.unwrap();
    assert_eq!((states(&redundant)[0], a.seen.borrow().hellos), (GatewayState::Refused, 1));
    assert_eq!(redundant.status().gateways[0].failures, 1);
    let said = log.lines("another name");
    assert!(said.len() == 1 && said[0].contains("not tried again by itself"), "{said:?}");
    assert_eq!((log.lines("retry_in_ms").len(), log.lines("tunnel closed").len()), (0, 0));
    soon(redundant.close()).await;
    assert_eq!(log.lines("tunnel closed").len(), 1, "that of b, which was up");
}

#[tokio::test]
async fn a_gateway_of_several_remotes_is_refused_once_each_in_turn_is_a_stranger() {
    let [one, two] = gateways().await;
    one.set(Manner::Say(vec![STRANGER]));
    two.set(Manner::Say(vec![STRANGER]));
    let remotes = [remote(&one), remote(&two)];
    let spec = Spec::new("a", move || Toy::new(remotes.clone()));
    let (log, _guard) = Log::start();
    let redundant = start(vec![spec], redundancy_options());
    assert_eq!(soon(redundant.up()).await.unwrap_err().kind(), FailureKind::PeerNotAuthenticated);
    assert_eq!((one.seen.borrow().hellos, two.seen.borrow().hellos), (1, 1));
    assert_eq!(log.lines("retry_in_ms").len(), 1, "the second one was tried after the first");
}

#[tokio::test]
async fn when_all_gateways_refuse_us_it_is_over() {
    let [a, b] = gateways().await;
    a.set(rejects());
    b.set(rejects());
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    let failure = soon(redundant.up()).await.unwrap_err();
    assert_eq!(
        (failure.kind(), soon(redundant.closed()).await.kind()),
        (FailureKind::AuthFailed, FailureKind::AuthFailed)
    );
    assert_eq!(redundant.status().state, ConnectionState::Failed);
    assert_eq!((a.seen.borrow().hellos, b.seen.borrow().hellos), (1, 1));
    let error = redundant.way(None, PATIENT).dial(echo()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
}

#[tokio::test]
async fn a_first_connect_gives_up_when_every_gateway_had_its_rounds() {
    let [a, b] = gateways().await;
    a.set(Manner::Silent);
    b.set(Manner::Silent);
    let options = RedundancyOptions { stagger: Duration::ZERO, tunnel: options(), ..redundancy_options() };
    let redundant = start(vec![spec("a", &a), spec("b", &b)], options);
    assert_eq!(soon(redundant.up()).await.unwrap_err().kind(), FailureKind::Unreachable);
    assert_eq!(redundant.status().state, ConnectionState::Failed);
}

#[tokio::test]
async fn a_gateway_that_gave_up_at_first_is_tried_again_once_another_is_up() {
    let [a, b] = gateways().await;
    a.set(Manner::Silent);
    let options = RedundancyOptions { stagger: Duration::ZERO, tunnel: options(), ..redundancy_options() };
    let redundant = start(vec![spec("a", &a), spec("b", &b)], options);
    soon(redundant.up()).await.unwrap();
    soon(async {
        while redundant.status().gateways[0].failures == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    a.set(Manner::Welcome);
    up(&redundant, "a").await;
}

#[tokio::test]
async fn dropping_the_last_handle_closes() {
    let [a] = gateways().await;
    let redundant = start(vec![spec("a", &a)], redundancy_options());
    let way = redundant.way(None, PATIENT);
    let mut connection = connection(&way).await;
    drop(redundant);
    super::connection(&way).await;
    drop(way);
    a.saw(|seen| seen.byes == 1).await;
    assert!(soon(connection.read_u8()).await.is_err());
}

#[tokio::test]
async fn nothing_to_connect_to_is_said() {
    let redundant = start(Vec::new(), redundancy_options());
    assert_eq!(soon(redundant.up()).await.unwrap_err().kind(), FailureKind::Configuration);
}

#[tokio::test]
async fn rounds_a_profile_allows_end_a_first_connect_and_no_later_one() {
    let [a] = gateways().await;
    let remote = remote(&a);
    let spec = || {
        let remote = remote.clone();
        Spec::new("a", move || {
            let mut toy = Toy::new([remote.clone()]);
            toy.policy.rounds = Some(1);
            toy
        })
    };
    a.set(Manner::Silent);
    let redundant = start(vec![spec()], redundancy_options());
    assert_eq!(soon(redundant.up()).await.unwrap_err().kind(), FailureKind::Unreachable);
    assert_eq!(redundant.status().state, ConnectionState::Failed);

    a.set(Manner::Welcome);
    let redundant = start(vec![spec()], redundancy_options());
    soon(redundant.up()).await.unwrap();
    let mut events = redundant.events();
    a.set(Manner::Silent);
    event(&mut events, |event| matches!(event, RedundancyEvent::Failed { retry_in: Some(_), .. })).await;
    a.set(Manner::Welcome);
    up(&redundant, "a").await;
}
