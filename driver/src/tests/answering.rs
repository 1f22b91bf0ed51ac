//! Bytes through the toy gateway, and out by host sockets.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use adit_testing::SeededRandom;
use adit_tunnel::{IpNet, Random, Transport};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

use super::{options, soon, toy::Toy, toy_gateway::ToyListener};
use crate::{
    Builder, Client, Remote,
    gateway::{AdmitProved, BoxFuture, Datagrams, Exit, Gateway, HostSockets, Limits, Listen, Options, Pool, Stream},
};

pub(super) fn net(text: &str) -> IpNet {
    let (address, prefix) = text.split_once('/').unwrap();
    IpNet::new(address.parse::<std::net::IpAddr>().unwrap(), prefix.parse().unwrap()).unwrap()
}

/// A gateway on the loopback interface, whose peers reach what else is there.
pub(super) fn gateway_options(transport: Transport) -> Options {
    let listen = Listen { transport, address: "127.0.0.1:0".parse().unwrap() };
    let pool = Pool::new([net("10.9.0.0/24")]).unwrap();
    let mut options = Options::new([listen], pool, AdmitProved, HostSockets::new([net("127.0.0.0/8")]));
    options.limits = Limits { buffer: 64 << 10, close_timeout: Duration::from_secs(2), ..Limits::default() };
    options
}

pub(super) fn start(transport: Transport) -> Gateway {
    Gateway::start(ToyListener::default(), gateway_options(transport)).unwrap()
}

pub(super) fn toy(gateway: &Gateway, hello: &str) -> Toy {
    let (transport, address) = gateway.local_addresses()[0];
    let remote = Remote {
        host: address.ip().to_string(),
        port: address.port(),
        transport,
        family: None,
        timeout: Duration::from_secs(5),
    };
    let mut toy = Toy::new([remote]);
    hello.clone_into(&mut toy.hello);
    toy
}

pub(super) async fn connect(gateway: &Gateway, hello: &str) -> Client {
    soon(Builder::new(toy(gateway, hello)).options(options()).connect()).await.expect("connected")
}

/// A host behind the gateway, which does this with each connection.
async fn host<F, W>(work: W) -> SocketAddr
where
    F: Future<Output = io::Result<()>> + Send,
    W: Fn(TcpStream) -> F + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            work(stream).await.expect("the host is content");
        }
    });
    address
}

fn random_bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    SeededRandom::new(seed).fill(&mut bytes);
    bytes
}

async fn echo() -> SocketAddr {
    host(|mut stream| async move {
        let (mut reader, mut writer) = stream.split();
        tokio::io::copy(&mut reader, &mut writer).await?;
        writer.shutdown().await
    })
    .await
}

async fn comes_back(client: &Client, at: SocketAddr, sent: &[u8]) {
    let connection = client.dial(at).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(connection);
    let mut received = Vec::new();
    let sending = async {
        writer.write_all(sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let (done, ()) = tokio::join!(reader.read_to_end(&mut received), sending);
    done.unwrap();
    assert!(received == sent, "{} of {} bytes came back", received.len(), sent.len());
}

async fn every_byte_comes_back(transport: Transport) {
    let gateway = start(transport);
    let client = connect(&gateway, "name=ann").await;
    let at = echo().await;
    soon(comes_back(&client, at, &random_bytes(1, 3_000_000))).await;
    let stats = gateway.stats();
    assert!(stats.opened_packets > 2000 && stats.sealed_packets > 2000, "{stats:?}");
    assert_eq!((stats.dropped_refused, stats.dropped_spoofed, stats.dropped_unsealed), (0, 0, 0), "{stats:?}");
    assert_eq!((stats.peers, stats.peers_up, stats.times_up, stats.addresses), (1, 1, 1, 1));
    assert_eq!(stats.streams, usize::from(transport == Transport::Tcp));
}

/// What one end has sent the other has received: the same bytes are counted, of control and data alike.
async fn both_ends_count_the_same(transport: Transport) {
    let gateway = start(transport);
    let client = connect(&gateway, "name=ann").await;
    let address = echo().await;
    soon(comes_back(&client, address, &random_bytes(1, 300_000))).await;
    let ends = |gateway: &crate::gateway::Stats| {
        let client = client.stats();
        [
            (client.sent_bytes, gateway.received_bytes),
            (client.sent_datagrams, gateway.received_datagrams),
            (gateway.sent_bytes, client.received_bytes),
            (gateway.sent_datagrams, client.received_datagrams),
        ]
    };
    until(&gateway, |gateway| ends(gateway).iter().all(|(sent, received)| sent == received)).await;
    let stats = gateway.stats();
    assert!(stats.sent_bytes > stats.sealed_bytes && stats.sealed_bytes > 300_000, "{stats:?}");
}

#[tokio::test]
async fn both_ends_count_the_same_over_udp() {
    both_ends_count_the_same(Transport::Udp).await;
}

#[tokio::test]
async fn both_ends_count_the_same_over_tcp() {
    both_ends_count_the_same(Transport::Tcp).await;
}

#[tokio::test]
async fn every_byte_comes_back_over_udp() {
    every_byte_comes_back(Transport::Udp).await;
}

#[tokio::test]
async fn every_byte_comes_back_over_tcp() {
    every_byte_comes_back(Transport::Tcp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_comes_back_with_several_threads() {
    every_byte_comes_back(Transport::Udp).await;
}

#[tokio::test]
async fn datagrams_find_their_way_there_and_back() {
    let gateway = start(Transport::Udp);
    let (ann, bob) = (connect(&gateway, "name=ann").await, connect(&gateway, "name=bob").await);
    let host = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = host.local_addr().unwrap();
    let mut buffer = [0; 2000];
    let mut sources = Vec::new();
    let (of_ann, of_bob) = (ann.bind_udp().await.unwrap(), bob.bind_udp().await.unwrap());
    for (socket, byte) in [(&of_ann, b'a'), (&of_bob, b'b'), (&of_ann, b'A')] {
        socket.send_to(&[byte; 1300], at).unwrap();
        let (length, source) = soon(host.recv_from(&mut buffer)).await.unwrap();
        assert_eq!(buffer[..length], [byte; 1300]);
        host.send_to(&buffer[..length], source).await.unwrap();
        sources.push(source);
        let (length, from) = soon(socket.recv_from(&mut buffer)).await.unwrap();
        assert_eq!((&buffer[..length], from), (&[byte; 1300][..], at));
    }
    assert!(sources[0] == sources[2] && sources[0] != sources[1], "one socket for each association");
    assert_eq!(gateway.stats().associations, 2);
    // Too large for the tunnel: lost, and nothing else is.
    host.send_to(&[b'x'; 1500], sources[0]).await.unwrap();
    host.send_to(b"small", sources[0]).await.unwrap();
    let (length, _) = soon(of_ann.recv_from(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[..length], b"small");
}

#[tokio::test]
async fn a_port_without_datagrams_is_unreachable() {
    let gateway = start(Transport::Udp);
    let client = connect(&gateway, "name=ann").await;
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for refused in ["169.254.169.254:53".parse().unwrap(), nobody] {
        let socket = client.bind_udp().await.unwrap();
        socket.send_to(b"anybody?", refused).unwrap();
        let error = soon(socket.recv_from(&mut [0; 100])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{refused}: {error}");
    }
    until(&gateway, |stats| stats.associations == 0).await;
}

#[tokio::test]
async fn idle_associations_end() {
    let mut options = gateway_options(Transport::Udp);
    options.limits.udp_idle = Duration::from_millis(100);
    let gateway = Gateway::start(ToyListener::default(), options).unwrap();
    let client = connect(&gateway, "name=ann").await;
    let host = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let socket = client.bind_udp().await.unwrap();
    socket.send_to(b"once", host.local_addr().unwrap()).unwrap();
    soon(host.recv_from(&mut [0; 10])).await.unwrap();
    until(&gateway, |stats| stats.associations == 0).await;
}

#[tokio::test]
async fn two_peers_reach_the_same_host_at_once() {
    let gateway = start(Transport::Udp);
    let (ann, bob) = (connect(&gateway, "name=ann").await, connect(&gateway, "name=bob").await);
    let at = host(|mut stream| async move {
        tokio::spawn(async move {
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        Ok(())
    })
    .await;
    let (of_ann, of_bob) = (random_bytes(2, 500_000), random_bytes(3, 500_000));
    soon(async { tokio::join!(comes_back(&ann, at, &of_ann), comes_back(&bob, at, &of_bob)) }).await;
    let identities = gateway.peers().into_iter().filter_map(|peer| peer.identity).collect::<Vec<_>>();
    assert!(identities.len() == 2 && identities.contains(&"ann".to_owned()), "{identities:?}");
}

#[tokio::test]
async fn a_refusal_says_what_the_host_or_the_way_out_said() {
    let gateway = start(Transport::Udp);
    let client = connect(&gateway, "name=ann").await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = soon(client.dial(nobody)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    for forbidden in ["169.254.169.254:80", "192.0.2.1:80"] {
        let error = soon(client.dial(forbidden.parse::<SocketAddr>().unwrap())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{forbidden}");
    }
    until(&gateway, |stats| stats.connections == 0).await;
}

#[tokio::test]
async fn the_pool_is_not_behind_the_way_out() {
    let mut options = gateway_options(Transport::Udp);
    let asked = Arc::new(AtomicUsize::new(0));
    options.exit = Counting(Arc::clone(&asked)).into();
    let gateway = Gateway::start(ToyListener::default(), options).unwrap();
    let client = connect(&gateway, "name=ann").await;
    for inside in ["10.9.0.1:80", "10.9.0.77:80", "10.9.0.255:80"] {
        let inside: SocketAddr = inside.parse().unwrap();
        let error = soon(client.dial(inside)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{inside}");
        let socket = client.bind_udp().await.unwrap();
        socket.send_to(b"anybody?", inside).unwrap();
        let error = soon(socket.recv_from(&mut [0; 100])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{inside}: {error}");
    }
    assert_eq!(asked.load(Relaxed), 0);
    soon(client.dial("10.8.255.255:80".parse::<SocketAddr>().unwrap())).await.unwrap_err();
    assert_eq!(asked.load(Relaxed), 1, "the rest is for the way out to say");
}

/// A way out that leads nowhere.
struct Counting(Arc<AtomicUsize>);

impl Exit for Counting {
    fn connect(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        self.0.fetch_add(1, Relaxed);
        Box::pin(async { Err(ErrorKind::ConnectionRefused.into()) })
    }

    fn bind_udp(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Datagrams>>> {
        self.0.fetch_add(1, Relaxed);
        Box::pin(async { Err(ErrorKind::ConnectionRefused.into()) })
    }
}

#[tokio::test]
async fn all_peers_together_have_so_many_connections() {
    let mut options = gateway_options(Transport::Udp);
    options.limits.all_connections = 2;
    let gateway = Gateway::start(ToyListener::default(), options).unwrap();
    let (ann, bob) = (connect(&gateway, "name=ann").await, connect(&gateway, "name=bob").await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (tcp, udp) = (listener.local_addr().unwrap(), host.local_addr().unwrap());
    let connection = soon(ann.dial(tcp)).await.unwrap();
    let of_ann = ann.bind_udp().await.unwrap();
    of_ann.send_to(b"one", udp).unwrap();
    soon(host.recv_from(&mut [0; 10])).await.unwrap();
    let error = soon(bob.dial(tcp)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostUnreachable);
    let of_bob = bob.bind_udp().await.unwrap();
    of_bob.send_to(b"two", udp).unwrap();
    soon(of_bob.recv_from(&mut [0; 10])).await.unwrap_err();
    assert_eq!((gateway.stats().connections, gateway.stats().associations), (1, 1));
    connection.abort();
    until(&gateway, |stats| stats.connections == 0).await;
    soon(bob.dial(tcp)).await.unwrap();
}

#[tokio::test]
async fn the_end_of_one_direction_leaves_the_other_open() {
    let gateway = start(Transport::Udp);
    let client = connect(&gateway, "name=ann").await;
    let at = host(|mut stream| async move {
        stream.write_all(b"first").await?;
        let mut request = Vec::new();
        stream.read_to_end(&mut request).await?;
        stream.write_all(&[request, b" after the end".to_vec()].concat()).await
    })
    .await;
    let mut connection = soon(client.dial(at)).await.unwrap();
    let mut first = [0; 5];
    soon(connection.read_exact(&mut first)).await.unwrap();
    connection.write_all(b"question").await.unwrap();
    connection.shutdown().await.unwrap();
    let mut answer = String::new();
    soon(connection.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "question after the end");
    until(&gateway, |stats| stats.connections == 0).await;
}

#[tokio::test]
async fn resets_are_carried_over_in_both_directions() {
    let gateway = start(Transport::Udp);
    let client = connect(&gateway, "name=ann").await;
    let (sender, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let at = host(move |mut stream| {
        let sender = sender.clone();
        async move {
            let mut order = [0];
            stream.read_exact(&mut order).await?;
            if order == *b"r" {
                stream.set_zero_linger()?;
            } else {
                stream.write_all(b"!").await?;
                sender.send(stream.read(&mut order).await.map_err(|error| error.kind())).expect("awaited");
            }
            Ok(())
        }
    })
    .await;
    let mut reset_by_host = soon(client.dial(at)).await.unwrap();
    reset_by_host.write_all(b"r").await.unwrap();
    let error = soon(reset_by_host.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let mut reset_by_peer = soon(client.dial(at)).await.unwrap();
    reset_by_peer.write_all(b"x").await.unwrap();
    soon(reset_by_peer.read_exact(&mut [0])).await.unwrap();
    reset_by_peer.abort();
    assert_eq!(soon(ends.recv()).await.unwrap(), Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_host_that_does_not_read_stops_the_peer() {
    let gateway = start(Transport::Udp);
    let client = connect(&gateway, "name=ann").await;
    let (sender, go) = tokio::sync::watch::channel(false);
    let at = host(move |mut stream| {
        let mut go = go.clone();
        async move {
            go.wait_for(|go| *go).await.expect("told");
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await?;
            stream.write_all(&all.len().to_be_bytes()).await
        }
    })
    .await;
    let mut connection = soon(client.dial(at)).await.unwrap();
    let mut sent = 0;
    // As long as somebody takes something within a second.
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), connection.write(&[0; 10_000])).await {
        sent += written.unwrap();
        assert!(sent < 40_000_000, "nobody stops it");
    }
    sender.send(true).unwrap();
    connection.shutdown().await.unwrap();
    let mut count = [0; 8];
    soon(connection.read_exact(&mut count)).await.unwrap();
    assert_eq!(usize::from_be_bytes(count), sent);
}

/// Waits until the numbers are so.
pub(super) async fn until(gateway: &Gateway, so: impl Fn(&crate::gateway::Stats) -> bool) {
    let wait = async {
        while !so(&gateway.stats()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(super::LIMIT, wait).await;
    assert!(waited.is_ok(), "{:?}", gateway.stats());
}
