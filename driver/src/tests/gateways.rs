//! Several gateways, several addresses.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use adit_tunnel::Transport;

use super::{
    far::{Far, Manner},
    options, remote, soon,
    toy::{BUSY, REDIRECT, Toy},
};
use crate::{
    Builder, FailureKind, Family, NoPrompts, Remote,
    active::Env,
    race::{Gateway, race},
    shared::Shared,
};

/// An address nobody listens on.
async fn nobody(transport: Transport) -> SocketAddr {
    Far::start(transport).await.address
}

fn env() -> Env {
    Env { shared: Arc::new(Shared::new(options(), 1)), prompter: Arc::new(NoPrompts) }
}

#[tokio::test]
async fn the_next_gateway_is_used_when_the_first_does_not_answer() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let far = Far::start(transport).await;
        let dead = Remote { port: nobody(transport).await.port(), ..remote(&far) };
        let client = soon(Builder::new(Toy::new([dead, remote(&far)])).options(options()).connect()).await.unwrap();
        assert_eq!(far.seen.borrow().hellos, 1);
        drop(client);
    }
}

#[tokio::test]
async fn a_full_gateway_is_left_at_once() {
    let full = Far::with_manner(Transport::Udp, Manner::Say(vec![BUSY])).await;
    let far = Far::start(Transport::Udp).await;
    let before = std::time::Instant::now();
    let client =
        soon(Builder::new(Toy::new([remote(&full), remote(&far)])).options(options()).connect()).await.unwrap();
    assert!(before.elapsed() < Duration::from_millis(1400), "it did not wait for a timeout");
    drop(client);
}

#[tokio::test]
async fn one_round_without_success_ends_the_first_connect() {
    let silent = Far::with_manner(Transport::Udp, Manner::Silent).await;
    let full = Far::with_manner(Transport::Udp, Manner::Say(vec![BUSY])).await;
    let toy = Toy::new([remote(&full), remote(&silent)]);
    let started = Arc::clone(&toy.started);
    let failure = soon(Builder::new(toy).options(options()).connect()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unreachable, "{failure}");
    assert_eq!(started.load(Relaxed), 2);
}

#[tokio::test]
async fn an_unknown_name_is_said_to_be_one() {
    let far = Far::start(Transport::Udp).await;
    let unknown = Remote { host: "no-such-host.invalid".into(), ..remote(&far) };
    let failure = soon(Builder::new(Toy::new([unknown])).options(options()).connect()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Resolve, "{failure}");
    assert!(failure.to_string().contains("no-such-host.invalid"), "{failure}");
}

#[tokio::test]
async fn a_family_without_address_is_said_to_have_none() {
    let far = Far::start(Transport::Udp).await;
    let v6_only = Remote { family: Some(Family::V6), ..remote(&far) };
    let failure = soon(Builder::new(Toy::new([v6_only])).options(options()).connect()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Resolve, "{failure}");
}

#[tokio::test]
async fn a_redirect_is_followed() {
    let address: SocketAddr = "127.0.0.2:0".parse().unwrap();
    let far = Far::on(address, Transport::Udp, Manner::Welcome).await;
    let first = SocketAddr::from(([127, 0, 0, 1], far.address.port()));
    let sender = Far::on(first, Transport::Udp, Manner::Say([&[REDIRECT], &b"127.0.0.2"[..]].concat())).await;
    let client = soon(Builder::new(Toy::new([remote(&sender)])).options(options()).connect()).await.unwrap();
    assert_eq!((sender.seen.borrow().hellos, far.seen.borrow().hellos), (1, 1));
    drop(client);
}

#[tokio::test]
async fn a_gateway_may_have_an_ipv6_address() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let far = Far::on("[::1]:0".parse().unwrap(), transport, Manner::Welcome).await;
        let client = soon(Builder::new(Toy::new([remote(&far)])).options(options()).connect()).await.unwrap();
        assert!(client.network().is_some());
    }
}

/// Which of these addresses wins, and after how long.
async fn winner(transport: Transport, addresses: &[SocketAddr], template: &Far) -> (SocketAddr, Duration, usize) {
    let mut toy = Toy::new([remote(template)]);
    let started = Arc::clone(&toy.started);
    let gateway = Gateway { index: 0, remote: remote(template) };
    let before = std::time::Instant::now();
    let active = soon(race(&mut toy, &gateway, addresses, &env())).await.unwrap();
    assert_eq!(template.transport, transport);
    (active.remote(), before.elapsed(), started.load(Relaxed))
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_joined_by_the_next_after_the_stagger() {
    let silent = Far::with_manner(Transport::Udp, Manner::Silent).await;
    let far = Far::start(Transport::Udp).await;
    let (address, took, started) = winner(Transport::Udp, &[silent.address, far.address], &far).await;
    assert_eq!((address, started), (far.address, 2));
    assert!(took >= options().stagger, "{took:?}");
}

#[tokio::test]
async fn an_address_that_answers_in_time_stays_alone() {
    let far = Far::start(Transport::Udp).await;
    let other = Far::start(Transport::Udp).await;
    let (address, _, started) = winner(Transport::Udp, &[far.address, other.address], &far).await;
    assert_eq!((address, started), (far.address, 1));
    assert_eq!(other.seen.borrow().hellos, 0);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_gateway_where_nobody_listens_is_not_waited_for() {
    let far = Far::start(Transport::Udp).await;
    let dead = Remote { port: nobody(Transport::Udp).await.port(), ..remote(&far) };
    let before = std::time::Instant::now();
    let failure = soon(Builder::new(Toy::new([dead])).options(options()).connect()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unreachable);
    assert!(failure.to_string().contains("refused"), "{failure}");
    assert!(before.elapsed() < Duration::from_millis(1400), "it did not wait for the timeout");
}

#[tokio::test]
async fn an_address_that_refuses_is_not_waited_for() {
    let far = Far::start(Transport::Tcp).await;
    let dead = nobody(Transport::Tcp).await;
    let (address, took, started) = winner(Transport::Tcp, &[dead, far.address], &far).await;
    assert_eq!((address, started), (far.address, 1));
    assert!(took < options().stagger, "{took:?}");
}
