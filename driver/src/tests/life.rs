//! From connecting to closing, and everything that interrupts it.

use std::{
    future::Future,
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use adit_tunnel::{Answer, Prompt, Secret, Transport};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

use super::{
    connect,
    far::{ECHO, Far, HOST, Manner},
    options, remote, soon,
    toy::{BUSY, CHALLENGE, EXPIRE, REJECT, RETRY, Toy, WELCOME},
};
use crate::{Builder, Client, ClientEvent, FailureKind, Options, PromptFuture, Prompter, Remote, Stage};

fn echo() -> SocketAddr {
    (HOST, ECHO).into()
}

/// A gateway reached over TCP.
fn remote_at(address: SocketAddr) -> Remote {
    Remote {
        host: address.ip().to_string(),
        port: address.port(),
        transport: Transport::Tcp,
        family: None,
        timeout: Duration::from_secs(5),
    }
}

async fn echoes(client: &Client) {
    let mut connection = soon(client.dial(echo())).await.unwrap();
    connection.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    soon(connection.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"hello");
}

#[tokio::test]
async fn closing_resets_connections_and_says_goodbye_before_it_returns() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (far, client) = connect(transport).await;
        let mut connection = soon(client.dial(echo())).await.unwrap();
        soon(client.close()).await;
        assert_eq!(soon(client.closed()).await.kind(), FailureKind::Closed);
        let seen = far.saw(|seen| seen.byes > 0 && seen.resets > 0).await;
        assert_eq!((seen.byes, seen.resets), (1, 1));
        assert!(soon(connection.read_u8()).await.is_err());
        assert_eq!(soon(client.dial(echo())).await.unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(client.bind_udp().await.unwrap_err().kind(), ErrorKind::NotConnected);
    }
}

#[tokio::test]
async fn the_outer_socket_is_known_while_the_tunnel_is_up_over_udp() {
    let (_far, client) = connect(Transport::Udp).await;
    let socket = client.outer_socket().expect("a socket");
    assert!(socket.receive_buffer.is_some_and(|bytes| bytes > 0), "{socket:?}");
    soon(client.close()).await;
    assert_eq!(client.outer_socket(), None);

    let (_far, client) = connect(Transport::Tcp).await;
    assert_eq!(client.outer_socket(), None);
}

#[tokio::test]
async fn a_wish_to_close_that_comes_amid_a_turn_is_not_forgotten() {
    let far = Far::start(Transport::Udp).await;
    let mut toy = Toy::new([remote(&far)]);
    let held = Arc::new(Mutex::new(None::<Client>));
    let holder = Arc::clone(&held);
    // The first deadline asked for in a turn is asked for after the wish to close was looked for. No timer wakes the task.
    toy.deadlines = Arc::new(move |_| {
        drop(holder.lock().unwrap().take());
        None
    });
    let client = soon(Builder::new(toy).options(options()).connect()).await.unwrap();
    let socket = client.bind_udp().await.unwrap();
    *held.lock().unwrap() = Some(client);
    // Wakes the task, for which the waker is used up. Nobody answers there.
    socket.send_to(b"?", ([10, 9, 0, 99], 1).into()).unwrap();
    far.saw(|seen| seen.byes == 1).await;
}

#[tokio::test]
async fn many_connections_are_reset_in_small_numbers_and_all_before_the_farewell() {
    let (far, client) = connect(Transport::Udp).await;
    // Nobody answers there: each stays a connection that has yet to be.
    let nowhere = SocketAddr::from(([10, 9, 0, 99], 1));
    let mut dials: Vec<_> = (0..200).map(|_| Box::pin(client.dial(nowhere))).collect();
    std::future::poll_fn(|cx| {
        assert!(dials.iter_mut().all(|dial| dial.as_mut().poll(cx).is_pending()));
        Poll::Ready(())
    })
    .await;
    let before = std::time::Instant::now();
    soon(client.close()).await;
    assert!(before.elapsed() >= Duration::from_millis(30), "200 are seven times 32, five milliseconds apart");
    assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
    far.saw(|seen| seen.byes == 1).await;
    for dial in dials {
        assert_eq!(soon(dial).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    }
}

#[tokio::test]
async fn nothing_can_be_written_once_the_tunnel_has_ended() {
    let (far, client) = connect(Transport::Udp).await;
    let mut connection = soon(client.dial(echo())).await.unwrap();
    far.set(Manner::Interrupt(vec![EXPIRE]));
    soon(client.closed()).await;
    assert_eq!(soon(connection.write(b"hello")).await.unwrap_err().kind(), ErrorKind::NotConnected);
    assert_eq!(soon(connection.shutdown()).await.unwrap_err().kind(), ErrorKind::NotConnected);
}

#[tokio::test]
async fn a_rejection_is_read_even_if_the_stream_takes_nothing_any_more() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let welcomed = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[0, 1, WELCOME]).await.unwrap();
        stream
    });
    let toy = Toy::new([remote_at(address)]);
    let client = soon(Builder::new(toy).options(options()).connect()).await.unwrap();
    let stream = soon(welcomed).await.unwrap();
    let socket = client.bind_udp().await.unwrap();
    // Both before the task of the tunnel runs: it has something to write, and has not heard yet that there is something to
    // read.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    assert_eq!(stream.try_write(&[0, 1, REJECT]).unwrap(), 3);
    drop(stream);
    socket.send_to(b"?", echo()).unwrap();
    assert_eq!(soon(client.closed()).await.kind(), FailureKind::AuthFailed);
}

#[tokio::test]
async fn waits_may_be_for_ever() {
    let for_ever = Duration::MAX;
    let options = Options {
        connect_timeout: for_ever,
        keepalive: Some(for_ever),
        udp_idle: for_ever,
        wait_for_tunnel: for_ever,
        stagger: for_ever,
        refused_patience: for_ever,
        close_timeout: for_ever,
        address_check: Some(for_ever),
        ..options()
    };
    for transport in [Transport::Udp, Transport::Tcp] {
        let far = Far::start(transport).await;
        let gateway = Remote { timeout: for_ever, ..remote(&far) };
        let client = soon(Builder::new(Toy::new([gateway])).options(options.clone()).connect()).await.unwrap();
        echoes(&client).await;
        let socket = client.bind_udp().await.unwrap();
        socket.send_to(b"hello", echo()).unwrap();
        soon(socket.recv_from(&mut [0; 9])).await.unwrap();
        soon(client.close()).await;
        assert_eq!(soon(client.closed()).await.kind(), FailureKind::Closed);
    }
}

#[tokio::test]
async fn dropping_the_last_client_closes() {
    let (far, client) = connect(Transport::Udp).await;
    let mut connection = soon(client.dial(echo())).await.unwrap();
    let clone = client.clone();
    drop(client);
    echoes(&clone).await;
    drop(clone);
    far.saw(|seen| seen.byes == 1).await;
    assert!(soon(connection.read_u8()).await.is_err());
}

#[tokio::test]
async fn a_gateway_that_falls_silent_is_left_and_connections_survive_its_return() {
    let (far, client) = connect(Transport::Udp).await;
    let mut events = client.events();
    let mut connection = soon(client.dial(echo())).await.unwrap();
    far.set(Manner::Silent);
    loop {
        if let Some(ClientEvent::Down { cause, .. }) = soon(events.next()).await {
            assert_eq!(cause.kind(), FailureKind::Unreachable);
            break;
        }
    }
    assert!(client.network().is_none());
    far.set(Manner::Welcome);
    soon(client.up()).await.unwrap();
    assert_eq!(client.stats().times_up, 2);
    // The gateway gave us the same address: the connection goes on.
    connection.write_all(b"again").await.unwrap();
    let mut answer = [0; 5];
    soon(connection.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"again");
}

#[tokio::test]
async fn a_stream_that_breaks_is_connected_anew() {
    let (far, client) = connect(Transport::Tcp).await;
    let mut events = client.events();
    let address = far.address;
    drop(far);
    loop {
        if let Some(ClientEvent::Down { cause, .. }) = soon(events.next()).await {
            assert_eq!((cause.kind(), cause.stage()), (FailureKind::Disconnected, Stage::Up), "{cause}");
            break;
        }
    }
    let far = Far::on(address, Transport::Tcp, Manner::Welcome).await;
    echoes(&client).await;
    assert_eq!(far.seen.borrow().hellos, 1);
}

#[tokio::test]
async fn dialling_waits_for_a_tunnel_that_is_down_but_not_for_ever() {
    let far = Far::with_manner(Transport::Udp, Manner::Silent).await;
    let options = Options { wait_for_tunnel: Duration::from_millis(300), first_rounds: None, ..options() };
    let client = Builder::new(Toy::new([remote(&far)])).options(options).start();
    assert_eq!(soon(client.dial(echo())).await.unwrap_err().kind(), ErrorKind::NotConnected);
    far.set(Manner::Welcome);
    soon(client.up()).await.unwrap();
    echoes(&client).await;
}

#[tokio::test]
async fn rejected_credentials_are_tried_once() {
    let far = Far::with_manner(Transport::Udp, Manner::Say(vec![REJECT])).await;
    let other = Far::start(Transport::Udp).await;
    let toy = Toy::new([remote(&far), remote(&other)]);
    let (started, finished) = (Arc::clone(&toy.started), Arc::clone(&toy.finished));
    let failure = soon(Builder::new(toy).options(options()).connect()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::AuthFailed);
    assert_eq!(failure.remote(), Some(far.address.to_string().as_str()));
    assert!(!failure.was_up());
    assert_eq!((started.load(Relaxed), other.seen.borrow().hellos), (1, 0));
    assert!(finished.load(Relaxed) <= 1);
}

#[tokio::test]
async fn closing_while_connecting_is_prompt() {
    let far = Far::with_manner(Transport::Udp, Manner::Silent).await;
    let client = Builder::new(Toy::new([remote(&far)])).options(options()).start();
    far.saw(|seen| seen.hellos > 0).await;
    let before = std::time::Instant::now();
    soon(client.close()).await;
    assert!(before.elapsed() < Duration::from_millis(1400), "it did not wait for the gateway");
    assert_eq!(soon(client.closed()).await.kind(), FailureKind::Closed);
}

#[tokio::test]
async fn closing_over_a_stream_nobody_reads_takes_no_longer_than_it_may() {
    // A gateway that welcomes, and then reads no more.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let welcomed = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[0, 1, WELCOME]).await.unwrap();
        stream
    });
    let options = Options { close_timeout: Duration::from_millis(200), ..options() };
    let client = soon(Builder::new(Toy::new([remote_at(address)])).options(options).connect()).await.unwrap();
    let stream = soon(welcomed).await.unwrap();
    let socket = client.bind_udp().await.unwrap();
    // Until what the system buffers is full, the tunnel seals; then it seals no more.
    let (mut sealed, mut unchanged) = (0, 0);
    while sealed < 1000 || unchanged < 100 {
        socket.send_to(&[0; 1300], echo()).unwrap();
        tokio::task::yield_now().await;
        let now = client.stats().sealed_packets;
        unchanged = if now == sealed { unchanged + 1 } else { 0 };
        sealed = now;
    }
    soon(client.close()).await;
    drop(stream);
}

#[tokio::test]
async fn a_lost_tunnel_that_does_not_come_back_within_its_rounds_is_said_to_be_lost() {
    let far = Far::start(Transport::Udp).await;
    let mut toy = Toy::new([remote(&far)]);
    toy.policy.rounds = Some(2);
    let client = soon(Builder::new(toy).options(options()).connect()).await.unwrap();
    far.set(Manner::Say(vec![BUSY]));
    drop(far);
    let failure = soon(client.closed()).await;
    assert_eq!((failure.kind(), failure.stage()), (FailureKind::Unreachable, Stage::Reconnecting));
}

#[tokio::test]
async fn a_tunnel_that_ends_for_good_is_not_brought_back() {
    let far = Far::with_manner(Transport::Udp, Manner::Interrupt(vec![EXPIRE])).await;
    let client = soon(Builder::new(Toy::new([remote(&far)])).options(options()).connect()).await.unwrap();
    let failure = soon(client.closed()).await;
    assert_eq!((failure.kind(), failure.stage()), (FailureKind::Unreachable, Stage::Up));
    assert_eq!(failure.reason().to_string(), "the session is over");
    assert_eq!(far.seen.borrow().hellos, 1);
}

/// Answers with a fixed text.
struct Fixed(Arc<Mutex<Vec<Prompt>>>);

impl Prompter for Fixed {
    fn prompt(&self, prompt: Prompt) -> PromptFuture {
        self.0.lock().unwrap().push(prompt);
        Box::pin(async {
            tokio::task::yield_now().await;
            Answer::Response("123456".into())
        })
    }
}

#[tokio::test]
async fn a_challenge_is_answered_by_the_prompter() {
    let far = Far::with_manner(Transport::Udp, Manner::Say(vec![CHALLENGE])).await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let builder = Builder::new(Toy::new([remote(&far)])).options(options()).prompter(Fixed(Arc::clone(&asked)));
    let client = soon(builder.connect()).await.unwrap();
    assert_eq!(far.seen.borrow().answers[0], b"123456");
    assert_eq!(asked.lock().unwrap()[0], Prompt::Challenge { text: "code?".into(), echo: false });
    echoes(&client).await;
}

#[tokio::test]
async fn a_challenge_nobody_answers_ends_the_attempt() {
    let far = Far::with_manner(Transport::Udp, Manner::Say(vec![CHALLENGE])).await;
    let failure = soon(Builder::new(Toy::new([remote(&far)])).options(options()).connect()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::AuthFailed);
}

/// Answers once it is allowed to.
struct Patient(Arc<Notify>, Arc<Notify>);

impl Prompter for Patient {
    fn prompt(&self, _: Prompt) -> PromptFuture {
        let (asked, allowed) = (Arc::clone(&self.0), Arc::clone(&self.1));
        Box::pin(async move {
            asked.notify_one();
            allowed.notified().await;
            Answer::Response(Secret::new(RETRY))
        })
    }
}

#[tokio::test]
async fn a_question_outlives_the_stream_it_came_on() {
    let far = Far::with_manner(Transport::Tcp, Manner::Say(vec![CHALLENGE])).await;
    let (asked, allowed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let prompter = Patient(Arc::clone(&asked), Arc::clone(&allowed));
    let client = Builder::new(Toy::new([remote(&far)])).options(options()).prompter(prompter).start();
    soon(asked.notified()).await;
    let address = far.address;
    far.gone().await;
    let far = Far::on(address, Transport::Tcp, Manner::Welcome).await;
    // Long enough for the end of the stream to be noticed: a client that gives up then never answers.
    let unanswered = tokio::time::timeout(Duration::from_millis(200), client.up()).await;
    assert!(unanswered.is_err(), "{unanswered:?}");
    assert_eq!(far.seen.borrow().hellos, 0);
    allowed.notify_one();
    soon(client.up()).await.unwrap();
    echoes(&client).await;
}

/// Looks at the client while it is asked.
#[derive(Clone, Default)]
struct Curious(Arc<Mutex<Option<Client>>>, Arc<AtomicU64>);

impl Prompter for Curious {
    fn prompt(&self, _: Prompt) -> PromptFuture {
        let stats = self.0.lock().unwrap().as_ref().map(Client::stats);
        self.1.store(stats.map_or(0, |stats| stats.received_datagrams), Relaxed);
        Box::pin(std::future::ready(Answer::Response("1".into())))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_asked_may_use_the_client() {
    let far = Far::with_manner(Transport::Udp, Manner::Say(vec![CHALLENGE])).await;
    let curious = Curious::default();
    let client = {
        let mut holder = curious.0.lock().unwrap();
        let client = Builder::new(Toy::new([remote(&far)])).options(options()).prompter(curious.clone()).start();
        holder.insert(client).clone()
    };
    soon(client.up()).await.unwrap();
    assert!(curious.1.load(Relaxed) > 0);
    *curious.0.lock().unwrap() = None;
}
