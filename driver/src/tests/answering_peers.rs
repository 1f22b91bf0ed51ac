//! Peers of the toy gateway come and go.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use adit_tunnel::{Applicant, Content, Opener, PeerId, Sealer, Transport};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::watch,
};

use super::{
    answering::{connect, gateway_options, net, start, toy, until},
    options, soon,
    toy::*,
    toy_gateway::{PATIENCE, ToyListener},
};
use crate::{
    Builder, FailureKind,
    gateway::{Authenticator, BoxFuture, Event, Gateway, Judgement, Options, Passwords, Pool},
};

/// A peer without a driver.
struct Raw {
    socket: UdpSocket,
    sealer: ToySealer,
    opener: ToyOpener,
    address: [u8; 4],
    key: u8,
}

impl Raw {
    async fn say(gateway: SocketAddr, bytes: &[u8]) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(gateway).await.unwrap();
        socket.send(bytes).await.unwrap();
        socket
    }

    async fn connect(gateway: SocketAddr, hello: &str) -> Self {
        Self::welcomed(Self::say(gateway, &[&[HELLO], hello.as_bytes()].concat()).await).await
    }

    async fn welcomed(socket: UdpSocket) -> Self {
        let welcome = receive(&socket).await;
        let [WELCOME, key, a, b, c, d] = welcome[..] else { panic!("{welcome:?}") };
        let (sealer, opener) = (ToySealer::with_key(key), ToyOpener::new());
        Self { socket, sealer, opener, address: [a, b, c, d], key }
    }

    fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; self.sealer.sealed_len(content.len())];
        let start = self.sealer.header_len();
        buffer[start..start + content.len()].copy_from_slice(content);
        self.sealer.seal(&mut buffer, start..start + content.len()).unwrap();
        buffer
    }

    async fn send(&mut self, content: &[u8]) {
        let datagram = self.seal(content);
        self.socket.send(&datagram).await.unwrap();
    }

    async fn receive(&mut self) -> Vec<u8> {
        let mut datagram = receive(&self.socket).await;
        match self.opener.open(&mut datagram).unwrap().content {
            Content::Packet(range) | Content::Message(range) => datagram[range].to_vec(),
            Content::Unpacked | Content::Filler => Vec::new(),
        }
    }
}

async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2000];
    let length = soon(socket.recv(&mut buffer)).await.unwrap();
    buffer[..length].to_vec()
}

/// An echo request, with its checksums.
fn ping(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0];
    packet.extend_from_slice(&source);
    packet.extend_from_slice(&destination);
    packet.extend_from_slice(&[8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
    let sum: u32 = packet[..20].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !((sum & 0xffff) as u16 + (sum >> 16) as u16);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn address(gateway: &Gateway) -> SocketAddr {
    gateway.local_addresses()[0].1
}

fn address_of(client: &crate::Client) -> IpAddr {
    client.network().unwrap().addresses[0].address()
}

async fn failure(gateway: &Gateway, hello: &str) -> FailureKind {
    soon(Builder::new(toy(gateway, hello)).options(options()).connect()).await.unwrap_err().kind()
}

fn start_with(change: impl FnOnce(&mut Options)) -> Gateway {
    let mut options = gateway_options(Transport::Udp);
    change(&mut options);
    Gateway::start(ToyListener::default(), options).unwrap()
}

#[tokio::test]
async fn a_stranger_may_be_answered_without_being_remembered() {
    let gateway = start(Transport::Udp);
    let socket = Raw::say(address(&gateway), &[&[HELLO], &b"echo"[..]].concat()).await;
    assert_eq!(receive(&socket).await[1..], *b"echo");
    socket.send(b"\xff nothing").await.unwrap();
    until(&gateway, |stats| stats.dropped_foreign == 1).await;
    assert_eq!(gateway.stats().peers, 0);
}

#[tokio::test]
async fn a_packet_with_anothers_source_goes_nowhere() {
    let gateway = start(Transport::Udp);
    let mut ann = Raw::connect(address(&gateway), "name=ann").await;
    let bob = Raw::connect(address(&gateway), "name=bob").await;
    ann.send(&ping(bob.address, [10, 9, 0, 1])).await;
    ann.send(&ping([10, 9, 0, 1], [10, 9, 0, 1])).await;
    ann.send(&[0x45, 0, 0]).await;
    ann.send(&[0x60; 44]).await;
    until(&gateway, |stats| stats.dropped_spoofed == 4).await;
    // With its own it is answered: by the gateway itself.
    ann.send(&ping(ann.address, [10, 9, 0, 1])).await;
    let answer = ann.receive().await;
    assert_eq!((&answer[12..16], &answer[16..20], answer[20]), (&[10, 9, 0, 1][..], &ann.address[..], 0));
    assert_eq!(gateway.stats().dropped_spoofed, 4);
}

#[tokio::test]
async fn a_peer_may_go_on_from_another_address() {
    let gateway = start(Transport::Udp);
    let mut events = gateway.events();
    let mut ann = Raw::connect(address(&gateway), "name=ann").await;
    let elsewhere = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    elsewhere.connect(address(&gateway)).await.unwrap();
    let datagram = ann.seal(&[PING]);
    // Forged, it moves nothing.
    let mut forged = datagram.clone();
    *forged.last_mut().unwrap() ^= 1;
    elsewhere.send(&forged).await.unwrap();
    until(&gateway, |stats| stats.dropped_refused == 1).await;
    elsewhere.send(&datagram).await.unwrap();
    let _old = std::mem::replace(&mut ann.socket, elsewhere);
    assert_eq!(ann.receive().await, [PING], "the answer comes to the new address");
    assert!(matches!(soon(events.next()).await, Some(Event::Up(_))));
    let Some(Event::Moved(peer)) = soon(events.next()).await else { panic!("it moved") };
    assert_eq!(peer.remote, ann.socket.local_addr().unwrap());
    assert_eq!(gateway.peers()[0].remote, peer.remote);
}

#[tokio::test]
async fn without_an_address_left_a_peer_is_told_so() {
    let gateway = start_with(|options| options.pool = Pool::new([net("10.9.0.0/30")]).unwrap());
    let ann = connect(&gateway, "name=ann").await;
    assert_eq!(failure(&gateway, "name=bob").await, FailureKind::PeerClosed);
    ann.close().await;
    until(&gateway, |stats| stats.addresses == 0).await;
    let bob = connect(&gateway, "name=bob").await;
    assert_eq!(address_of(&bob), IpAddr::from([10, 9, 0, 2]));
}

#[tokio::test]
async fn an_identity_gets_its_address_again() {
    let gateway = start(Transport::Udp);
    let ann = connect(&gateway, "name=ann").await;
    let _bob = connect(&gateway, "name=bob").await;
    let had = address_of(&ann);
    ann.close().await;
    until(&gateway, |stats| stats.peers == 1).await;
    let _carl = connect(&gateway, "name=carl").await;
    assert_eq!(address_of(&connect(&gateway, "name=ann").await), had);
}

#[tokio::test]
async fn one_that_is_alone_takes_the_place_of_older_tunnels() {
    let gateway = start(Transport::Udp);
    let mut events = gateway.events();
    let (ann, bob) = (connect(&gateway, "name=ann").await, connect(&gateway, "name=bob").await);
    let had = address_of(&ann);
    let new = connect(&gateway, "name=ann;alone").await;
    assert_eq!(address_of(&new), had);
    let failure = soon(ann.closed()).await;
    assert_eq!(failure.kind(), FailureKind::Unreachable, "the toy's word for a session that is over");
    until(&gateway, |stats| stats.peers == 2 && stats.addresses == 2).await;
    assert!(bob.network().is_some() && new.network().is_some());
    let mut names = Vec::new();
    while let Some(event) = soon(events.next()).await {
        match event {
            Event::Up(peer) => names.push(format!("+{}", peer.identity.unwrap())),
            Event::Down(peer, failure) => {
                assert!(failure.was_up() && failure.kind() == FailureKind::Closed, "{failure:?}");
                names.push(format!("-{}", peer.identity.unwrap()));
                break;
            }
            Event::Moved(peer) => panic!("{peer:?}"),
        }
    }
    names.sort();
    assert_eq!(names, ["+ann", "+ann", "+bob", "-ann"]);
}

#[tokio::test]
async fn two_devices_of_one_identity_live_side_by_side_unless_one_is_all() {
    let gateway = start(Transport::Udp);
    let (one, two) = (connect(&gateway, "name=ann").await, connect(&gateway, "name=ann").await);
    assert_ne!(address_of(&one), address_of(&two));
    assert_eq!(gateway.stats().peers_up, 2);
    let gateway = start_with(|options| options.single = true);
    let (one, two) = (connect(&gateway, "name=ann").await, connect(&gateway, "name=ann").await);
    soon(one.closed()).await;
    assert!(two.network().is_some());
}

#[tokio::test]
async fn one_that_asks_for_its_own_address_replaces_the_tunnel_that_has_it() {
    let gateway = start(Transport::Udp);
    let mut events = gateway.events();
    let mut ann = Raw::connect(address(&gateway), "name=ann;ask=10.9.0.77").await;
    let device = Raw::connect(address(&gateway), "name=ann;ask=10.9.0.77").await;
    let bob = Raw::connect(address(&gateway), "name=bob;ask=10.9.0.77").await;
    assert_eq!(ann.address, [10, 9, 0, 77]);
    assert!(device.address != ann.address && bob.address != ann.address, "it is in use");
    // Who comes from where the tunnel is by now.
    let elsewhere = Raw::say(address(&gateway), &ann.seal(b"here I am")).await;
    while !matches!(soon(events.next()).await, Some(Event::Moved(_))) {}
    elsewhere.send(&[&[HELLO], b"name=ann;ask=10.9.0.77".as_slice()].concat()).await.unwrap();
    let next = Raw::welcomed(elsewhere).await;
    assert_eq!(next.address, ann.address);
    ann.socket.send(&[BYE]).await.unwrap();
    until(&gateway, |stats| stats.peers == 3).await;
    assert_eq!(gateway.stats().addresses, 3, "the lease lives on");
}

#[tokio::test]
async fn passwords_are_judged() {
    let gateway = start_with(|options| {
        options.authenticator = Arc::new(Passwords::new([("ann".to_owned(), "secret".into())]));
    });
    assert_eq!(failure(&gateway, "user=ann;password=wrong").await, FailureKind::AuthFailed);
    assert_eq!(failure(&gateway, "name=ann").await, FailureKind::AuthFailed);
    let _ann = connect(&gateway, "user=ann;password=secret").await;
    assert_eq!(gateway.peers()[0].identity.as_deref(), Some("ann"));
    assert_eq!((gateway.stats().refused, gateway.stats().peers), (2, 1));
}

/// Answers when it is told to.
struct Patient {
    go: watch::Receiver<bool>,
    waiting: Arc<AtomicUsize>,
}

struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Authenticator for Patient {
    fn judge(&self, _: Applicant) -> BoxFuture<'_, Judgement> {
        let mut go = self.go.clone();
        self.waiting.fetch_add(1, Relaxed);
        let waiting = Waiting(Arc::clone(&self.waiting));
        Box::pin(async move {
            let _waiting = waiting;
            go.wait_for(|go| *go).await.expect("told");
            Judgement::admit()
        })
    }
}

fn patient(go: &watch::Sender<bool>) -> (Gateway, Arc<AtomicUsize>) {
    let waiting = Arc::new(AtomicUsize::new(0));
    let patient = Patient { go: go.subscribe(), waiting: Arc::clone(&waiting) };
    (start_with(|options| options.authenticator = Arc::new(patient)), waiting)
}

#[tokio::test]
async fn an_answer_may_come_late() {
    let go = watch::Sender::new(false);
    let (gateway, waiting) = patient(&go);
    let connecting = tokio::spawn(Builder::new(toy(&gateway, "name=ann")).options(options()).connect());
    until(&gateway, |stats| stats.peers == 1 && waiting.load(Relaxed) == 1).await;
    assert!(!connecting.is_finished() && gateway.stats().peers_up == 0);
    go.send(true).unwrap();
    let client = soon(connecting).await.unwrap().unwrap();
    assert!(client.network().is_some());
    assert_eq!(waiting.load(Relaxed), 0);
}

/// Looked at, but never woken: it answers when the peer has another reason for a turn.
struct Unwoken(Arc<AtomicBool>);

impl Authenticator for Unwoken {
    fn judge(&self, _: Applicant) -> BoxFuture<'_, Judgement> {
        let ready = Arc::clone(&self.0);
        Box::pin(std::future::poll_fn(move |_| match ready.load(Relaxed) {
            true => Poll::Ready(Judgement::admit()),
            false => Poll::Pending,
        }))
    }
}

#[tokio::test]
async fn who_has_left_before_the_answer_takes_nobodys_place() {
    let ready = Arc::new(AtomicBool::new(true));
    let gateway = start_with(|options| options.authenticator = Arc::new(Unwoken(Arc::clone(&ready))));
    let mut events = gateway.events();
    let ann = Raw::connect(address(&gateway), "name=ann").await;
    ready.store(false, Relaxed);
    let next = Raw::say(address(&gateway), &[&[HELLO], &b"name=ann;alone"[..]].concat()).await;
    until(&gateway, |stats| stats.peers == 2).await;
    ready.store(true, Relaxed);
    next.send(&[BYE]).await.unwrap();
    until(&gateway, |stats| stats.peers == 1).await;
    assert!(matches!(soon(events.next()).await, Some(Event::Up(_))));
    let Some(Event::Down(peer, failure)) = soon(events.next()).await else { panic!("the new one has gone") };
    assert!(peer.addresses.is_empty() && !failure.was_up(), "{failure:?}");
    assert_eq!(gateway.peers()[0].remote, ann.socket.local_addr().unwrap());
}

#[tokio::test]
async fn a_login_does_not_change_a_name_that_was_proved() {
    let gateway = start_with(|options| {
        options.authenticator = Arc::new(Passwords::new([("bob".to_owned(), "secret".into())]));
    });
    let _ann = connect(&gateway, "name=ann;user=bob;password=secret").await;
    assert_eq!(gateway.peers()[0].identity.as_deref(), Some("ann"));
}

#[tokio::test]
async fn an_answer_that_never_comes_is_forgotten_with_the_peer() {
    let go = watch::Sender::new(false);
    let (gateway, waiting) = patient(&go);
    let mut events = gateway.events();
    let _socket = Raw::say(address(&gateway), &[&[HELLO], &b"name=ann"[..]].concat()).await;
    until(&gateway, |stats| stats.peers == 1).await;
    assert_eq!(waiting.load(Relaxed), 1);
    let Some(Event::Down(_, failure)) = soon(events.next()).await else { panic!("the peer has gone") };
    assert!(!failure.was_up() && failure.kind() == FailureKind::Unreachable, "{failure:?}");
    assert_eq!(waiting.load(Relaxed), 0);
    assert_eq!((gateway.stats().peers, gateway.stats().addresses, gateway.stats().timers), (0, 0, 0));
}

#[tokio::test]
async fn whoever_has_an_address_cannot_become_another() {
    let gateway = start(Transport::Udp);
    let ann = Raw::connect(address(&gateway), "name=ann").await;
    ann.socket.send(&[&[HELLO], &b"name=ann;again"[..]].concat()).await.unwrap();
    ann.socket.send(&[HELLO]).await.unwrap();
    assert_eq!(receive(&ann.socket).await[..2], [WELCOME, ann.key], "still welcome");
    ann.socket.send(&[&[HELLO], &b"name=bob;again"[..]].concat()).await.unwrap();
    assert_eq!(receive(&ann.socket).await, [REJECT]);
    until(&gateway, |stats| stats.peers == 0 && stats.addresses == 0).await;
}

#[tokio::test]
async fn more_peers_than_there_may_be_are_not_answered() {
    let gateway = start_with(|options| options.limits.peers = 2);
    let _one = Raw::connect(address(&gateway), "name=1").await;
    let two = Raw::connect(address(&gateway), "name=2").await;
    let _three = Raw::say(address(&gateway), &[HELLO]).await;
    until(&gateway, |stats| stats.dropped_foreign == 1).await;
    assert_eq!(gateway.stats().peers, 2);
    two.socket.send(&[BYE]).await.unwrap();
    until(&gateway, |stats| stats.peers == 1).await;
    Raw::connect(address(&gateway), "name=3").await;
}

#[tokio::test]
async fn two_hundred_peers_have_an_address_each() {
    let gateway = start(Transport::Udp);
    let mut clients = Vec::new();
    for n in 0..200 {
        clients.push(connect(&gateway, &format!("name={n}")).await);
    }
    let mut addresses: Vec<IpAddr> = clients.iter().map(address_of).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 200);
    let host = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = host.local_addr().unwrap();
    let mut buffer = [0; 100];
    for (n, client) in clients.iter().enumerate() {
        let socket = soon(client.bind_udp()).await.unwrap();
        socket.send_to(&n.to_be_bytes(), at).unwrap();
        let (length, source) = soon(host.recv_from(&mut buffer)).await.unwrap();
        host.send_to(&buffer[..length], source).await.unwrap();
        let (length, _) = soon(socket.recv_from(&mut buffer)).await.unwrap();
        assert_eq!(buffer[..length], n.to_be_bytes());
    }
    let stats = gateway.stats();
    assert!(stats.peers_up == 200 && stats.addresses == 200 && stats.timers <= 200, "{stats:?}");
    soon(gateway.close()).await;
    for client in &clients {
        assert_eq!(soon(client.closed()).await.kind(), FailureKind::Unreachable, "it was told");
    }
}

#[tokio::test]
async fn ten_thousand_peers_in_turn_leave_nothing_behind() {
    let listener = ToyListener::default();
    let alive = Arc::clone(&listener.alive);
    let gateway = Gateway::start(listener, gateway_options(Transport::Udp)).unwrap();
    let at = address(&gateway);
    for round in 0..100 {
        let mut peers = Vec::new();
        for n in 0..100 {
            peers.push(Raw::say(at, &[&[HELLO], format!("name={round}.{n}").as_bytes()].concat()).await);
        }
        for peer in &peers {
            assert_eq!(receive(peer).await[0], WELCOME);
            peer.send(&[BYE]).await.unwrap();
        }
        until(&gateway, |stats| stats.peers == 0).await;
    }
    let stats = gateway.stats();
    assert_eq!(stats.times_up, 10_000);
    let left = [stats.peers_up, stats.addresses, stats.connections, stats.associations, stats.streams, stats.timers];
    assert_eq!(left, [0; 6], "{stats:?}");
    assert_eq!((alive.load(Relaxed), gateway.peers().len()), (0, 0));
}

#[tokio::test]
async fn closing_tells_every_peer_and_resets_what_is_open() {
    let gateway = start(Transport::Udp);
    let client = connect(&gateway, "name=ann").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut inside = soon(client.dial(listener.local_addr().unwrap())).await.unwrap();
    let (mut outside, _) = soon(listener.accept()).await.unwrap();
    inside.write_all(b"x").await.unwrap();
    soon(outside.read_exact(&mut [0])).await.unwrap();
    let mut events = gateway.events();
    soon(gateway.close()).await;
    assert!(soon(outside.read(&mut [0])).await.is_err(), "the host is told");
    assert!(soon(inside.read(&mut [0])).await.is_err(), "the peer is told");
    assert_eq!(soon(client.closed()).await.kind(), FailureKind::Unreachable);
    assert!(matches!(soon(events.next()).await, Some(Event::Down(..))));
    assert!(soon(events.next()).await.is_none());
    assert!(gateway.events().next().await.is_none());
    let stats = gateway.stats();
    assert_eq!((stats.peers, stats.addresses, stats.peers_up, stats.timers), (0, 0, 0, 0));
}

#[tokio::test]
async fn closing_takes_a_bounded_time_whatever_peers_do() {
    let listener = ToyListener { mute: true, ..ToyListener::default() };
    let alive = Arc::clone(&listener.alive);
    let mut options = gateway_options(Transport::Udp);
    options.limits.close_timeout = PATIENCE / 5;
    let gateway = Gateway::start(listener, options).unwrap();
    let _ann = Raw::connect(address(&gateway), "name=ann").await;
    let start = tokio::time::Instant::now();
    gateway.close().await;
    assert!((PATIENCE / 5..PATIENCE).contains(&start.elapsed()), "{:?}", start.elapsed());
    until(&gateway, |stats| stats.peers == 0 && stats.addresses == 0).await;
    assert_eq!(alive.load(Relaxed), 0);
}

#[tokio::test]
async fn dropped_a_gateway_closes() {
    let gateway = start(Transport::Udp);
    let client = connect(&gateway, "name=ann").await;
    drop(gateway);
    soon(client.closed()).await;
}

#[tokio::test]
async fn streams_that_stay_silent_are_dropped_and_bounded() {
    let mut options = gateway_options(Transport::Tcp);
    options.limits.silent_streams = 2;
    options.limits.silence = Duration::from_millis(200);
    let gateway = Gateway::start(ToyListener::default(), options).unwrap();
    let _ann = connect(&gateway, "name=ann").await;
    let at = address(&gateway);
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(at).await.unwrap());
    }
    for stream in &mut silent {
        assert!(matches!(soon(stream.read(&mut [0])).await, Ok(0) | Err(_)));
    }
    until(&gateway, |stats| stats.streams == 1).await;
    assert_eq!(gateway.stats().peers_up, 1, "with a peer it may be silent");
}

#[cfg(target_os = "linux")]
async fn stream_from(source: [u8; 4], gateway: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    socket.connect(gateway).await.unwrap()
}

/// On loopback, all of 127.0.0.0/8 is there.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn whoever_opens_many_streams_shuts_nobody_out() {
    let mut options = gateway_options(Transport::Tcp);
    options.limits.silent_streams = 8;
    options.limits.silence = Duration::from_secs(600);
    let gateway = Gateway::start(ToyListener::default(), options).unwrap();
    let at = address(&gateway);
    let mut early = stream_from([127, 0, 0, 9], at).await;
    let mut many = Vec::new();
    for _ in 0..20 {
        many.push(stream_from([127, 0, 0, 2], at).await);
    }
    for stream in &mut many[..18] {
        assert!(matches!(soon(stream.read(&mut [0])).await, Ok(0) | Err(_)), "the oldest give way");
    }
    until(&gateway, |stats| stats.streams == 3).await;
    // Of many addresses, too, a new one finds room.
    for host in 10..20 {
        many.push(stream_from([127, 0, 0, host], at).await);
    }
    assert!(matches!(soon(early.read(&mut [0])).await, Ok(0) | Err(_)), "the oldest of all gives way");
    until(&gateway, |stats| stats.streams == 8).await;
    let _ann = connect(&gateway, "name=ann").await;
    assert_eq!((gateway.stats().peers_up, gateway.stats().streams), (1, 8));
}

#[tokio::test]
async fn the_peer_of_a_stream_ends_with_it() {
    let gateway = start(Transport::Tcp);
    let mut events = gateway.events();
    let mut stream = TcpStream::connect(address(&gateway)).await.unwrap();
    stream.write_all(b"\x00\x09\x01name=ann").await.unwrap();
    let mut welcome = [0; 8];
    soon(stream.read_exact(&mut welcome)).await.unwrap();
    assert_eq!(welcome[..3], [0, 6, WELCOME]);
    // Nobody joins it from elsewhere.
    let mut other = TcpStream::connect(address(&gateway)).await.unwrap();
    other.write_all(&[0, 3, DATA, welcome[3], 0]).await.unwrap();
    until(&gateway, |stats| stats.dropped_foreign == 1).await;
    drop(stream);
    assert!(matches!(soon(events.next()).await, Some(Event::Up(_))));
    let Some(Event::Down(peer, failure)) = soon(events.next()).await else { panic!("it has gone") };
    assert_eq!((peer.id, failure.kind()), (PeerId(welcome[3].into()), FailureKind::Disconnected));
    drop(other);
    until(&gateway, |stats| stats.streams == 0 && stats.peers == 0).await;
}
