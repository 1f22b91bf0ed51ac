//! Forwards over the toy protocol of the driver's own tests.

#[path = "../../../driver/src/tests/far.rs"]
#[expect(dead_code, reason = "made for other tests, which use all of it")]
mod far;
#[path = "../../../driver/src/tests/toy.rs"]
mod toy;

use std::{
    future::Future,
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use adit_driver::{Builder, Client, Remote};
use adit_tunnel::{CloseKind, IpNet, Transport};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

use self::{
    far::{ECHO, Far, HOST, Manner, RESETS},
    toy::{END, EXPIRE, KINDS, Toy},
};
use super::{Bound, ForwardCounters, Stopper, Terms, proxy_protocol, udp};
use crate::{
    error::{Error, Exit},
    plan::{ForwardKind, ForwardPlan, LocalTarget},
    spec::{LocalSpec, TransportKind},
    tests::Log,
};

pub(super) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("in time")
}

/// A gateway of this manner, and a tunnel to it.
async fn connect(manner: Manner) -> (Far, Client) {
    let (far, client) = start(manner).await;
    soon(client.up()).await.unwrap();
    (far, client)
}

/// A gateway of this manner, and a tunnel to it that may come up.
async fn start(manner: Manner) -> (Far, Client) {
    let far = Far::with_manner(Transport::Udp, manner).await;
    let client = Builder::new(Toy::new([remote(&far)])).start();
    (far, client)
}

fn remote(far: &Far) -> Remote {
    Remote {
        host: far.address.ip().to_string(),
        port: far.address.port(),
        transport: far.transport,
        family: None,
        timeout: Duration::from_secs(5),
    }
}

/// The host behind the gateway, and ports of it: one returns what it gets, one resets, one is closed.
pub(super) const HOST_ECHO: SocketAddr = SocketAddr::new(IpAddr::V4(HOST), ECHO);
pub(super) const HOST_RESETS: SocketAddr = SocketAddr::new(IpAddr::V4(HOST), RESETS);
pub(super) const HOST_CLOSED: SocketAddr = SocketAddr::new(IpAddr::V4(HOST), 1);

/// A gateway, for tests elsewhere.
pub(super) struct Gateway(Far);

impl Gateway {
    /// Datagrams with data so far.
    pub(super) fn data(&self) -> usize {
        self.0.seen.borrow().data
    }

    /// Waits until there are more.
    pub(super) async fn saw_more_data_than(&self, count: usize) {
        self.0.saw(|seen| seen.data > count).await;
    }
}

/// A gateway that lives as long as the first value, and a tunnel to it.
pub(super) async fn tunnel() -> (Gateway, Client) {
    let (far, client) = connect(Manner::Welcome).await;
    (Gateway(far), client)
}

/// The same, of a gateway that carries nothing but this network.
pub(super) async fn tunnel_to(network: IpNet) -> (Gateway, Client) {
    let far = Far::with_manner(Transport::Udp, Manner::Welcome).await;
    let mut toy = Toy::new([remote(&far)]);
    toy.selectors = vec![network];
    let client = Builder::new(toy).start();
    soon(client.up()).await.unwrap();
    (Gateway(far), client)
}

/// A forward that serves.
pub(super) struct Serving {
    pub(super) address: SocketAddr,
    pub(super) counters: Arc<ForwardCounters>,
    pub(super) stopper: Stopper,
    ended: tokio::task::JoinHandle<Result<(), Error>>,
}

/// The plan of a `-L`.
fn local(spec: &str) -> ForwardPlan {
    let LocalSpec { listen, to } = spec.parse().unwrap();
    ForwardPlan::new(ForwardKind::Local { listen, to })
}

pub(super) fn serve(plan: &ForwardPlan, client: &Client) -> Serving {
    let bound = Bound::bind_all(std::slice::from_ref(plan)).unwrap().remove(0);
    let address = bound.address().unwrap_or_else(|| SocketAddr::from(([0; 4], 0)));
    let (stopper, stop) = Stopper::new();
    let counters = Arc::new(ForwardCounters::default());
    let ended = tokio::spawn(bound.serve(client.clone().into(), Arc::clone(&counters), stop));
    Serving { address, counters, stopper, ended }
}

/// A gateway, a tunnel to it, and a forward to this port of its host, which ends with the test.
async fn forward(spec: &str) -> (Far, Client, SocketAddr) {
    let (far, client) = connect(Manner::Welcome).await;
    let serving = serve(&local(spec), &client);
    // Its end is the end of the forward.
    std::mem::forget(serving.stopper);
    (far, client, serving.address)
}

fn to(port: u16) -> String {
    format!("0:{HOST}:{port}")
}

/// Waits until the forward has ended, in good order.
pub(super) async fn ended(serving: Serving) {
    soon(serving.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_forward_that_drains_takes_nothing_new_and_ends_with_its_last_connection() {
    let (_far, client) = connect(Manner::Welcome).await;
    let serving = serve(&local(&to(ECHO)), &client);
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(soon(stream.read_u8()).await.unwrap(), b'x');
    serving.stopper.drain();
    soon(serving.stopper.released()).await;
    assert_eq!(TcpStream::connect(serving.address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    stream.write_all(b"y").await.unwrap();
    assert_eq!(soon(stream.read_u8()).await.unwrap(), b'y');
    assert!(!serving.ended.is_finished());
    drop(stream);
    let counters = Arc::clone(&serving.counters);
    ended(serving).await;
    let now = counters.snapshot();
    assert_eq!((now.open, now.total, now.sent_bytes, now.received_bytes), (0, 1, 2, 2));
}

#[tokio::test]
async fn a_forward_that_is_aborted_resets_both_sides() {
    let (far, client) = connect(Manner::Welcome).await;
    let serving = serve(&local(&to(ECHO)), &client);
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(soon(stream.read_u8()).await.unwrap(), b'x');
    serving.stopper.abort();
    assert_eq!(soon(stream.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    far.saw(|seen| seen.resets == 1).await;
    ended(serving).await;
}

#[tokio::test]
async fn datagrams_of_old_senders_go_on_while_a_forward_drains_until_they_are_silent() {
    let (_far, client) = connect(Manner::Welcome).await;
    let serving = serve(&local(&format!("{}/udp", to(ECHO))), &client);
    let old = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    old.connect(serving.address).await.unwrap();
    let mut buffer = [0; 10];
    old.send(b"one").await.unwrap();
    soon(old.recv(&mut buffer)).await.unwrap();
    serving.stopper.drain();
    let new = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    while serving.counters.snapshot().refused == 0 {
        // It is told some time after this.
        new.send_to(b"two", serving.address).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    old.send(b"three").await.unwrap();
    soon(old.recv(&mut buffer)).await.unwrap();
    let counters = Arc::clone(&serving.counters);
    ended(serving).await;
    assert_eq!(counters.snapshot().open, 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_reset_and_counted() {
    let (_far, client) = connect(Manner::Welcome).await;
    let serving = serve(&ForwardPlan { max_connections: Some(1), ..local(&to(ECHO)) }, &client);
    let mut first = TcpStream::connect(serving.address).await.unwrap();
    first.write_all(b"x").await.unwrap();
    assert_eq!(soon(first.read_u8()).await.unwrap(), b'x');
    let mut second = TcpStream::connect(serving.address).await.unwrap();
    assert_eq!(soon(second.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    drop(first);
    // Its place is free some time after this.
    soon(async {
        loop {
            let mut third = TcpStream::connect(serving.address).await.unwrap();
            if third.write_all(b"z").await.is_ok() && third.read_u8().await.is_ok() {
                return;
            }
        }
    })
    .await;
    assert!(serving.counters.snapshot().refused >= 1);
}

#[tokio::test]
async fn what_cannot_be_connected_is_counted_with_its_reason() {
    let (_far, client) = connect(Manner::Welcome).await;
    let (log, _guard) = Log::start();
    let serving = serve(&ForwardPlan { name: "closed".to_owned(), ..local(&to(1)) }, &client);
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    soon(stream.read_u8()).await.unwrap_err();
    let now = serving.counters.snapshot();
    assert_eq!((now.failed, now.total), (1, 1));
    let warning = ["WARN", "forward{forward=\"closed\"}: cannot connect to 10.9.0.1:1: "];
    assert_eq!(log.lines(&warning).len(), 1, "it says whose client it was");
    assert!(now.last_error.unwrap().1.contains("cannot connect to 10.9.0.1:1: "));
}

#[tokio::test]
async fn the_proxy_header_goes_first() {
    let (_far, client) = connect(Manner::Welcome).await;
    let serving = serve(&ForwardPlan { proxy_protocol: true, ..local(&to(ECHO)) }, &client);
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    let mut received = [0; 29];
    soon(stream.read_exact(&mut received)).await.unwrap();
    let header = proxy_protocol::header(Some(stream.local_addr().unwrap()), Some(serving.address));
    assert_eq!((&received[..28], received[28]), (&header[..], b'x'));
}

#[tokio::test]
async fn what_two_forwards_want_is_said_before_anything_is_tried() {
    let reverse = |port, transport| {
        let to = LocalTarget::Address("localhost".to_owned(), 80);
        ForwardPlan::new(ForwardKind::Reverse { transport, port, to })
    };
    let both = [reverse(80, TransportKind::Tcp), reverse(80, TransportKind::Udp)];
    assert_eq!(Bound::bind_all(&both).unwrap()[0].to_string(), "inside:80 -> localhost:80/tcp");
    let error = Bound::bind_all(&[both[0].clone(), both[0].clone()]).unwrap_err();
    assert_eq!(error.exit(), Exit::LocalSocket);
    assert!(
        error.to_string().contains("port 80/tcp inside the tunnel") && error.to_string().contains("hint"),
        "{error}"
    );
    let taken = Bound::bind_all(&[local("0:10.9.0.1:7")]).unwrap();
    let port = taken[0].address().unwrap().port();
    let named = ForwardPlan { name: "crm".to_owned(), ..local(&format!("{port}:10.9.0.1:7")) };
    let error = Bound::bind_all(&[named]).unwrap_err().to_string();
    assert!(error.starts_with(&format!("forward `crm`: cannot listen on 127.0.0.1:{port}/tcp: ")), "{error}");
}

#[tokio::test]
async fn datagrams_go_on_through_the_tunnel_that_takes_over() {
    let (far, client) = connect(Manner::Welcome).await;
    let serving = serve(&local(&format!("{}/udp", to(ECHO))), &client);
    echo(b"one", serving.address).await;
    let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    sender.connect(serving.address).await.unwrap();
    let mut buffer = [0; 10];
    sender.send(b"one").await.unwrap();
    soon(sender.recv(&mut buffer)).await.unwrap();
    // A gateway that has forgotten us is replaced by another at its address.
    let address = far.address;
    far.gone().await;
    let _far = Far::on(address, Transport::Udp, Manner::Welcome).await;
    soon(async {
        loop {
            sender.send(b"two").await.unwrap();
            let again = tokio::time::timeout(Duration::from_millis(200), sender.recv(&mut buffer)).await;
            if again.is_ok_and(|received| received.is_ok_and(|length| buffer[..length] == *b"two")) {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_announcement_names_both_ends() {
    let bound = &Bound::bind_all(&[local("0:10.9.0.1:7/udp")]).unwrap()[0];
    let address = bound.address().unwrap();
    assert_eq!(bound.to_string(), format!("{address} -> 10.9.0.1:7/udp"));
    assert_ne!(address.port(), 0);
}

#[tokio::test]
async fn the_end_of_one_direction_leaves_the_other_open() {
    let (_far, _client, address) = forward(&to(ECHO)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let sent = vec![7; 1_000_000];
    let (mut reader, mut writer) = stream.split();
    let mut received = Vec::new();
    let sending = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let (read, ()) = soon(async { tokio::join!(reader.read_to_end(&mut received), sending) }).await;
    assert_eq!(read.unwrap(), sent.len());
    assert!(received == sent);
}

#[tokio::test]
async fn a_reset_inside_is_a_reset_outside() {
    let (_far, _client, address) = forward(&to(RESETS)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(soon(stream.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_reset_outside_is_a_reset_inside() {
    let (far, _client, address) = forward(&to(ECHO)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(soon(stream.read_u8()).await.unwrap(), b'x');
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    far.saw(|seen| seen.resets == 1).await;
}

#[tokio::test]
async fn a_host_that_refuses_resets() {
    let (_far, _client, address) = forward(&to(1)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(soon(stream.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_tunnel_that_closes_resets_and_does_not_pretend_the_data_ended() {
    let (_far, client, address) = forward(&to(ECHO)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(soon(stream.read_u8()).await.unwrap(), b'x');
    soon(client.close()).await;
    assert_eq!(soon(stream.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn each_sender_of_datagrams_gets_its_own_answers() {
    let (_far, client, address) = forward(&format!("{}/udp", to(ECHO))).await;
    let one = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let two = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    one.send_to(b"one", address).await.unwrap();
    two.send_to(b"two", address).await.unwrap();
    let mut buffer = [0; 10];
    assert_eq!(soon(two.recv_from(&mut buffer)).await.unwrap(), (3, address));
    assert_eq!(&buffer[..3], b"two");
    soon(one.recv_from(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[..3], b"one");
    one.send_to(b"again", address).await.unwrap();
    soon(one.recv_from(&mut buffer)).await.unwrap();
    assert_eq!(client.stats().udp_sockets, 2, "one association for each sender");
}

/// Sends this from a new socket, and waits until it is back.
async fn echo(text: &[u8], address: SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(text, address).await.unwrap();
    let mut buffer = [0; 10];
    let (length, _) = soon(socket.recv_from(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[..length], text);
}

#[tokio::test]
async fn new_senders_are_served_however_many_there_were() {
    let (_far, client) = connect(Manner::Welcome).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let target = SocketAddr::from((HOST, ECHO)).into();
    let plan = ForwardPlan { max_connections: Some(2), ..local("0:10.9.0.1:7/udp") };
    let terms = Terms::new(client.clone().into(), &plan).for_ever();
    let (_stopper, stop) = Stopper::new();
    tokio::spawn(async move { udp::serve(Arc::new(socket), target, terms, &Arc::default(), stop).await });
    for _ in 0..10 {
        echo(b"more", address).await;
    }
    assert_eq!(client.stats().udp_sockets, 2);
}

#[tokio::test]
async fn what_is_sent_before_a_name_is_resolved_waits_for_its_address() {
    let (_far, _client, address) = forward("0:db.corp.example:7/udp").await;
    tokio::join!(echo(b"one", address), echo(b"two", address));
}

#[tokio::test]
async fn a_tunnel_that_ends_for_good_is_said_to_have_ended() {
    let (far, client) = connect(Manner::Interrupt(vec![EXPIRE])).await;
    let error = Error::from(soon(client.closed()).await);
    assert_eq!(error.exit(), Exit::Lost);
    assert_eq!(error.to_string(), format!("the tunnel to {} ended: the session is over", far.address));
}

/// The exit code of every kind of end: before the tunnel is up, and afterwards.
const EXITS: [(CloseKind, Exit, Exit); 8] = [
    (CloseKind::Local, Exit::Ok, Exit::Ok),
    (CloseKind::PeerClosed, Exit::Unreachable, Exit::Lost),
    (CloseKind::TimedOut, Exit::Unreachable, Exit::Lost),
    (CloseKind::PeerNotAuthenticated, Exit::PeerNotAuthenticated, Exit::PeerNotAuthenticated),
    (CloseKind::AuthFailed, Exit::AuthFailed, Exit::AuthFailed),
    (CloseKind::NoAgreement, Exit::NoAgreement, Exit::Lost),
    (CloseKind::PeerMisbehaved, Exit::Unreachable, Exit::Lost),
    (CloseKind::Internal, Exit::Other, Exit::Lost),
];

#[tokio::test]
async fn every_kind_of_end_has_its_exit_code() {
    for (number, (kind, before, afterwards)) in EXITS.into_iter().enumerate() {
        assert_eq!(KINDS[number], kind);
        let end = vec![END, number as u8];
        let (_far, client) = start(Manner::Say(end.clone())).await;
        assert_eq!(Error::from(soon(client.closed()).await).exit(), before, "{kind:?}");
        let (_far, client) = connect(Manner::Interrupt(end)).await;
        assert_eq!(Error::from(soon(client.closed()).await).exit(), afterwards, "{kind:?}");
    }
}
