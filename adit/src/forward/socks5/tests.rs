//! A client of its own at the proxy, and the toy gateway behind it.

use std::{io::ErrorKind, net::SocketAddr, sync::Arc};

use adit_tunnel::IpNet;
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

use super::{
    super::tests::{Gateway, HOST_CLOSED, HOST_ECHO, HOST_RESETS, Serving, ended, serve, soon, tunnel, tunnel_to},
    wire::{self, Reply},
};
use crate::{
    plan::{ForwardKind, ForwardPlan, Listen, Login},
    tests::Log,
};

fn plan(login: Option<(&str, &str)>, udp: bool) -> ForwardPlan {
    let login = login.map(|(user, password)| Login { user: user.to_owned(), password: password.into() });
    ForwardPlan::new(ForwardKind::Socks { listen: Listen::Tcp(([127, 0, 0, 1], 0).into()), login, udp })
}

async fn proxy(login: Option<(&str, &str)>) -> (Gateway, Serving) {
    let (far, client) = tunnel().await;
    let serving = serve(&plan(login, true), &client);
    (far, serving)
}

fn address(ip: [u8; 4], port: u16) -> Vec<u8> {
    [&[1][..], &ip, &port.to_be_bytes()].concat()
}

fn address_of(address: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode_address(address, &mut bytes);
    bytes
}

fn echo() -> Vec<u8> {
    address_of(HOST_ECHO)
}

fn name(name: &str, port: u16) -> Vec<u8> {
    [&[3, name.len() as u8][..], name.as_bytes(), &port.to_be_bytes()].concat()
}

/// Asks without a login for this command and address; returns the connection and the code of the reply.
async fn ask(proxy: SocketAddr, command: u8, address: &[u8]) -> (TcpStream, u8) {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    // All at once, as clients in a hurry do.
    let request = [&[5, 1, 0, 5, command, 0][..], address].concat();
    stream.write_all(&request).await.unwrap();
    let mut chosen = [0; 2];
    soon(stream.read_exact(&mut chosen)).await.unwrap();
    assert_eq!(chosen, [5, 0]);
    let code = reply(&mut stream).await.0;
    (stream, code)
}

/// The code of a reply, and the address in it.
async fn reply(stream: &mut TcpStream) -> (u8, SocketAddr) {
    let mut reply = [0; 10];
    soon(stream.read_exact(&mut reply)).await.unwrap();
    assert_eq!((reply[0], reply[2], reply[3]), (5, 0, 1));
    let ip = <[u8; 4]>::try_from(&reply[4..8]).unwrap();
    (reply[1], SocketAddr::from((ip, u16::from_be_bytes([reply[8], reply[9]]))))
}

/// Everything up to the end of the stream, which must be no reset.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.unwrap();
    rest
}

#[tokio::test]
async fn a_host_is_reached_by_address_and_both_ends_may_end_on_their_own() {
    let (_far, serving) = proxy(None).await;
    let (mut stream, code) = ask(serving.address, wire::CONNECT, &echo()).await;
    assert_eq!(code, 0);
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, b"hello");
    let now = serving.counters.snapshot();
    assert_eq!((now.sent_bytes, now.received_bytes, now.failed), (5, 5, 0), "what is not the client's is not counted");
}

#[tokio::test]
async fn an_address_sent_as_a_name_is_an_address() {
    let (_far, serving) = proxy(None).await;
    let (mut stream, code) = ask(serving.address, wire::CONNECT, &name("10.9.0.1", 7)).await;
    stream.write_all(b"x").await.unwrap();
    assert_eq!((code, soon(stream.read_u8()).await.unwrap()), (0, b'x'));
}

#[tokio::test]
async fn a_name_is_resolved_behind_the_gateway() {
    let (far, serving) = proxy(None).await;
    // The name server there has an address for it at which nobody answers: the attempt is what can be seen.
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    let request = [&[5, 1, 0, 5, wire::CONNECT, 0][..], &name("db.corp.example", 7)].concat();
    let before = far.data();
    stream.write_all(&request).await.unwrap();
    far.saw_more_data_than(before + 3).await;
}

#[tokio::test]
async fn every_failure_has_its_code() {
    let (far, client) = tunnel().await;
    let serving = serve(&plan(None, false), &client);
    let at = serving.address;
    let known = echo();
    for (command, address, expected) in [
        (wire::CONNECT, address_of(HOST_CLOSED), Reply::Refused),
        (wire::CONNECT, name("no host", 1), Reply::HostUnreachable),
        (wire::CONNECT, name("\u{fffd}", 1), Reply::HostUnreachable),
        (wire::CONNECT, name("", 1), Reply::HostUnreachable),
        (wire::CONNECT, [&[4][..], &[0xfd; 16], &[0, 80]].concat(), Reply::NetworkUnreachable),
        (wire::CONNECT, vec![9], Reply::AddressNotSupported),
        (wire::BIND, known.clone(), Reply::CommandNotSupported),
        (wire::UDP_ASSOCIATE, known.clone(), Reply::CommandNotSupported),
        (7, known.clone(), Reply::CommandNotSupported),
    ] {
        let (mut stream, code) = ask(at, command, &address).await;
        assert_eq!(code, expected as u8, "{command} {address:?}");
        assert!(rest(&mut stream).await.is_empty());
    }
    assert_eq!(serving.counters.snapshot().failed, 9);
    soon(client.close()).await;
    let (_, code) = ask(at, wire::CONNECT, &known).await;
    assert_eq!(code, Reply::NetworkUnreachable as u8, "no tunnel");
    drop(far);
}

#[tokio::test]
async fn a_reset_inside_is_a_reset_outside() {
    let (_far, serving) = proxy(None).await;
    let (mut stream, code) = ask(serving.address, wire::CONNECT, &address_of(HOST_RESETS)).await;
    assert_eq!(code, 0);
    assert_eq!(soon(stream.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn who_is_not_known_gets_no_further() {
    let (_far, serving) = proxy(Some(("alice", "secret"))).await;
    for (sent, answer) in [
        (&b"\x05\x01\x00"[..], &b"\x05\xff"[..]),
        (b"\x05\x01\x02\x01\x05alice\x05wrong", b"\x05\x02\x01\x01"),
        (b"\x05\x02\x00\x02\x01\x03bob\x06secret", b"\x05\x02\x01\x01"),
        (b"\x05\x01\x02\x02\x05alice\x06secret", b"\x05\x02"),
    ] {
        let mut stream = TcpStream::connect(serving.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        assert_eq!(rest(&mut stream).await, answer);
    }
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    let request = [&b"\x05\x01\x02\x01\x05alice\x06secret\x05\x01\x00"[..], &echo(), b"x"];
    stream.write_all(&request.concat()).await.unwrap();
    let mut accepted = [0; 4];
    soon(stream.read_exact(&mut accepted)).await.unwrap();
    assert_eq!(accepted, [5, 2, 1, 0]);
    assert_eq!(reply(&mut stream).await.0, 0);
    assert_eq!(soon(stream.read_u8()).await.unwrap(), b'x', "sent ahead of the answer");
    let error = serving.counters.snapshot().last_error.unwrap().1;
    assert!(!error.contains("wrong\"") && !error.contains("secret"), "{error}");
}

#[tokio::test]
async fn clients_of_other_protocols_are_told() {
    let (_far, serving) = proxy(None).await;
    for (sent, answer, said) in [
        (&b"\x04\x01\x00\x50\x0a\x09\x00\x01\x00"[..], &b"\x00\x5b"[..], "SOCKS4"),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n", "HTTP"),
        (b"\x16\x03\x01", b"", "TLS"),
        (b"\xff", b"", "something else"),
    ] {
        let mut stream = TcpStream::connect(serving.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        assert!(rest(&mut stream).await.starts_with(answer), "{said}");
        let error = serving.counters.snapshot().last_error.unwrap().1;
        assert!(error.contains(said), "{error}");
    }
}

#[tokio::test]
async fn a_check_of_the_port_is_no_failure() {
    let (_far, serving) = proxy(None).await;
    drop(TcpStream::connect(serving.address).await.unwrap());
    serving.stopper.drain();
    let counters = Arc::clone(&serving.counters);
    ended(serving).await;
    assert_eq!(counters.snapshot().failed, 0);
}

/// Opens an association, and a socket that may use it.
async fn associate(proxy: SocketAddr) -> (TcpStream, UdpSocket, SocketAddr) {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(&[&[5, 1, 0, 5, wire::UDP_ASSOCIATE, 0][..], &address([0; 4], 0)].concat()).await.unwrap();
    let mut chosen = [0; 2];
    soon(stream.read_exact(&mut chosen)).await.unwrap();
    let (code, at) = reply(&mut stream).await;
    assert_eq!(code, 0);
    (stream, UdpSocket::bind("127.0.0.1:0").await.unwrap(), at)
}

/// One answer: whom it is from, and what it says.
async fn answer(socket: &UdpSocket) -> (String, Vec<u8>) {
    let mut buffer = [0; 1000];
    let length = soon(socket.recv(&mut buffer)).await.unwrap();
    let (from, payload) = wire::parse_datagram(&buffer[..length]).unwrap().unwrap();
    (from.to_string(), payload.to_vec())
}

fn datagram(address: &[u8], payload: &[u8]) -> Vec<u8> {
    [&[0, 0, 0][..], address, payload].concat()
}

#[tokio::test]
async fn datagrams_reach_hosts_and_their_answers_say_whom_they_are_from() {
    let (_far, serving) = proxy(None).await;
    let (_control, socket, at) = associate(serving.address).await;
    socket.send_to(&datagram(&echo(), b"one"), at).await.unwrap();
    assert_eq!(answer(&socket).await, ("10.9.0.1:7".to_owned(), b"one".to_vec()));
    let now = serving.counters.snapshot();
    assert_eq!((now.open, now.sent_bytes, now.received_bytes), (1, 3, 3));
}

#[tokio::test]
async fn datagrams_to_where_the_gateway_carries_nothing_are_said_and_counted() {
    let (log, _guard) = Log::start();
    let (_far, client) = tunnel_to(IpNet::new([10, 9, 0, 0], 24).unwrap()).await;
    let serving = serve(&plan(None, true), &client);
    let (_control, socket, at) = associate(serving.address).await;
    for payload in [b"one", b"two"] {
        socket.send_to(&datagram(&address([192, 168, 7, 1], 53), payload), at).await.unwrap();
    }
    socket.send_to(&datagram(&echo(), b"three"), at).await.unwrap();
    assert_eq!(answer(&socket).await.1, b"three");
    let now = serving.counters.snapshot();
    assert_eq!((now.failed, now.sent_bytes, client.stats().dropped_not_carried), (2, 5, 2));
    let why = "192.168.7.1 is not behind the gateway, which agreed to carry 10.9.0.0/24";
    assert_eq!(now.last_error.unwrap().1, why);
    assert_eq!(log.lines(&["WARN", "forward{", &format!("datagram dropped: {why}")]).len(), 2);
}

#[tokio::test]
async fn datagrams_to_a_name_wait_for_its_address() {
    let (_far, serving) = proxy(None).await;
    let (_control, socket, at) = associate(serving.address).await;
    for payload in [b"one", b"two"] {
        socket.send_to(&datagram(&name("db.corp.example", 7), payload), at).await.unwrap();
    }
    assert_eq!(answer(&socket).await, ("10.9.0.77:7".to_owned(), b"one".to_vec()));
    assert_eq!(answer(&socket).await.1, b"two");
}

#[tokio::test]
async fn an_association_hears_its_first_sender_alone_and_no_fragments() {
    let (_far, serving) = proxy(None).await;
    let (_control, socket, at) = associate(serving.address).await;
    let known = echo();
    // Neither nonsense nor a fragment makes a sender.
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    stranger.send_to(b"\0\0", at).await.unwrap();
    stranger.send_to(&[&[0, 0, 1][..], &known, b"part"].concat(), at).await.unwrap();
    socket.send_to(&datagram(&known, b"one"), at).await.unwrap();
    assert_eq!(answer(&socket).await.1, b"one");
    stranger.send_to(&datagram(&known, b"no"), at).await.unwrap();
    let other = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    other.send_to(&datagram(&known, b"no"), at).await.unwrap();
    socket.send_to(&datagram(&known, b"two"), at).await.unwrap();
    assert_eq!(answer(&socket).await.1, b"two", "in their order: the strangers' were dropped");
    assert_eq!(serving.counters.snapshot().sent_bytes, 6);
}

#[tokio::test]
async fn an_association_ends_with_its_connection() {
    let (_far, client) = tunnel().await;
    let serving = serve(&plan(None, true), &client);
    let (control, socket, at) = associate(serving.address).await;
    socket.send_to(&datagram(&echo(), b"one"), at).await.unwrap();
    answer(&socket).await;
    drop(control);
    serving.stopper.drain();
    ended(serving).await;
    assert_eq!(client.stats().udp_sockets, 0);
    assert!(UdpSocket::bind(at).await.is_ok(), "its port is free");
}

#[test]
fn addresses_survive_the_wire() {
    for text in ["10.1.2.3:4", "[fd00::1]:65535"] {
        let mut bytes = Vec::new();
        wire::encode_address(text.parse().unwrap(), &mut bytes);
        bytes.push(9);
        let (target, rest) = wire::parse_address(&bytes).unwrap();
        assert_eq!((target.to_string(), rest), (text.to_owned(), &[9][..]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn nothing_a_client_sends_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        begin in prop_oneof![Just(&b""[..]), Just(&b"\x05\x01\x00\x05\x01\x00"[..]), Just(&b"\x05\x01\x02\x01"[..])],
        with_login in any::<bool>(),
    ) {
        drop(wire::parse_datagram(&bytes));
        let login = with_login.then(|| Login { user: "alice".to_owned(), password: "secret".into() });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let input = [begin, &bytes].concat();
        let mut stream = tokio::io::join(&input[..], Vec::new());
        let asked = runtime.block_on(wire::handshake(&mut stream, login.as_ref()));
        if let Err(trouble) = asked {
            prop_assert!(trouble.answer().len() < 200 && !trouble.to_string().contains(['\n', '\r', '\0']));
        }
    }
}
