//! Several gateways, several addresses.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use adit_tunnel::{CloseKind, Prompt, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    far::{Far, Manner},
    options, remote, soon,
    toy::{BUSY, CHALLENGE, REDIRECT, REJECT, Toy},
};
use crate::{
    Builder, Failure, FailureKind, Family, NoPrompts, PromptFuture, Prompter, Remote, Stage,
    active::Env,
    race::{Gateway, race},
    shared::Shared,
    supervisor::attempt_addresses,
};

/// An address nobody listens on.
async fn nobody(transport: Transport) -> SocketAddr {
    Far::start(transport).await.address
}

fn env() -> Env {
    Env::new(Arc::new(Shared::new(options(), 1)), Arc::new(NoPrompts))
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
    (active.address(), before.elapsed(), started.load(Relaxed))
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
async fn a_gateway_that_refuses_for_good_is_given_up_after_a_while() {
    let far = Far::start(Transport::Udp).await;
    let dead = Remote { port: nobody(Transport::Udp).await.port(), ..remote(&far) };
    let mut toy = Toy::new([dead]);
    toy.patience = Duration::from_secs(60);
    let options = crate::Options { refused_patience: Duration::from_millis(500), ..options() };
    let before = std::time::Instant::now();
    let failure = soon(Builder::new(toy).options(options).connect()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unreachable);
    assert!(failure.to_string().ends_with(": connection refused (ICMP)"), "{failure}");
    assert!(before.elapsed() >= Duration::from_millis(500), "it may be restarting");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_gateway_that_times_out_sooner_is_still_said_to_refuse() {
    let far = Far::start(Transport::Udp).await;
    let dead = Remote { port: nobody(Transport::Udp).await.port(), ..remote(&far) };
    let failure = soon(Builder::new(Toy::new([dead])).options(options()).connect()).await.unwrap_err();
    assert!(failure.to_string().ends_with(": connection refused (ICMP)"), "{failure}");
}

#[tokio::test]
async fn a_gateway_that_refuses_for_a_moment_is_not_left() {
    let far = Far::start(Transport::Udp).await;
    let address = nobody(Transport::Udp).await;
    let mut toy = Toy::new([Remote { port: address.port(), ..remote(&far) }]);
    toy.patience = Duration::from_secs(20);
    let started = Arc::clone(&toy.started);
    let client = Builder::new(toy).options(options()).start();
    // Several datagrams long: the refusal is known from the second on.
    tokio::time::timeout(Duration::from_millis(400), client.up()).await.expect_err("it waits");
    let _back = Far::on(address, Transport::Udp, Manner::Welcome).await;
    soon(client.up()).await.unwrap();
    assert_eq!(started.load(Relaxed), 1);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_address_that_refuses_is_joined_by_the_next_at_once() {
    let far = Far::start(Transport::Udp).await;
    let mut toy = Toy::new([remote(&far)]);
    toy.patience = Duration::from_secs(20);
    let gateway = Gateway { index: 0, remote: remote(&far) };
    let mut env = env();
    env.shared = Arc::new(Shared::new(crate::Options { stagger: Duration::from_secs(20), ..options() }, 1));
    let addresses = [nobody(Transport::Udp).await, far.address];
    let before = std::time::Instant::now();
    let active = soon(race(&mut toy, &gateway, &addresses, &env)).await.unwrap();
    assert_eq!(active.address(), far.address);
    assert!(before.elapsed() < Duration::from_secs(10), "it did not wait for the stagger");
}

/// Notes what it is asked, and never answers.
#[derive(Clone, Default)]
struct Mute(Arc<AtomicUsize>);

impl Prompter for Mute {
    fn prompt(&self, _: Prompt) -> PromptFuture {
        self.0.fetch_add(1, Relaxed);
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_gateway_with_a_question_wins_before_it_is_asked_and_no_other_is_started() {
    let asks = Far::with_manner(Transport::Udp, Manner::Say(vec![CHALLENGE])).await;
    let other = Far::start(Transport::Udp).await;
    let mute = Mute::default();
    let env = Env { prompter: Arc::new(mute.clone()), ..env() };
    let gateway = Gateway { index: 0, remote: remote(&asks) };
    let mut toy = Toy::new([remote(&asks)]);
    let mut active = soon(race(&mut toy, &gateway, &[asks.address, other.address], &env)).await.unwrap();
    assert_eq!((active.address(), mute.0.load(Relaxed)), (asks.address, 0));
    tokio::time::timeout(options().stagger * 2, active.run(&env)).await.expect_err("it waits for the person");
    assert!(mute.0.load(Relaxed) > 0);
    assert_eq!((toy.started.load(Relaxed), other.seen.borrow().hellos), (1, 0));
}

#[tokio::test]
async fn a_rejection_by_one_address_is_not_tried_at_the_next() {
    let rejects = Far::with_manner(Transport::Udp, Manner::Say(vec![REJECT])).await;
    let other = Far::start(Transport::Udp).await;
    let gateway = Gateway { index: 0, remote: remote(&rejects) };
    let mut toy = Toy::new([remote(&rejects)]);
    let env = env();
    let mut active = soon(race(&mut toy, &gateway, &[rejects.address, other.address], &env)).await.unwrap();
    assert_eq!(soon(active.run(&env)).await.kind, CloseKind::AuthFailed);
    assert_eq!(other.seen.borrow().hellos, 0);
}

/// What becomes of a gateway that accepts a connection, says this and hangs up.
async fn hangs_up_after(said: &'static [u8]) -> Failure {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // The hello, so that closing is no reset.
        stream.read_exact(&mut [0; 3]).await.unwrap();
        stream.write_all(said).await.unwrap();
    });
    let remote = Remote {
        host: address.ip().to_string(),
        port: address.port(),
        transport: Transport::Tcp,
        family: None,
        timeout: Duration::from_secs(5),
    };
    soon(Builder::new(Toy::new([remote])).options(options()).connect()).await.unwrap_err()
}

#[tokio::test]
async fn a_gateway_that_hangs_up_or_talks_nonsense_is_said_to() {
    let failure = hangs_up_after(b"").await;
    assert_eq!((failure.kind(), failure.stage()), (FailureKind::Disconnected, Stage::Connecting));
    assert!(failure.to_string().ends_with(": the gateway closed the connection"), "{failure}");
    assert_eq!(failure.hint(), Some("the protocol's own"));

    let failure = hangs_up_after(&[0, 0, 7]).await;
    assert_eq!(failure.kind(), FailureKind::PeerMisbehaved, "{failure}");
}

#[tokio::test]
async fn an_address_that_refuses_is_not_waited_for() {
    let far = Far::start(Transport::Tcp).await;
    let dead = nobody(Transport::Tcp).await;
    let (address, took, started) = winner(Transport::Tcp, &[dead, far.address], &far).await;
    assert_eq!((address, started), (far.address, 1));
    assert!(took < options().stagger, "{took:?}");
}

#[tokio::test]
async fn the_next_address_has_its_turn_although_one_handshake_may_run_at_a_time() {
    let broken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs_up = broken.local_addr().unwrap();
    tokio::spawn(async move { while broken.accept().await.is_ok() {} });
    let far = Far::start(Transport::Tcp).await;
    let gateway = Gateway { index: 0, remote: remote(&far) };
    let env = env().with_handshakes(Some(Arc::new(tokio::sync::Semaphore::new(1))));
    let (mut toy, mut up_for) = (Toy::new([remote(&far)]), None);
    let addresses = [hangs_up, far.address];
    soon(async {
        tokio::select! {
            ended = attempt_addresses(&mut toy, &gateway, &addresses, &env, &mut up_for) => panic!("{}", ended.failure),
            _ = far.saw(|seen| seen.hellos > 0) => {}
        }
    })
    .await;
}
