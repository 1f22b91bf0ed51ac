//! What comes to our own addresses inside the tunnel, and echo requests.

use std::{io::ErrorKind, net::Ipv4Addr, time::Duration};

use adit_tunnel::{IpNet, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    connect,
    far::{CALLER, ECHO, Far, HOST, Manner},
    options, remote, soon,
    toy::Toy,
};
use crate::{Builder, ClientEvent, Connection, Listener};

/// Our own address.
const OURS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

async fn accepted(listener: &mut Listener) -> Connection {
    let (mut connection, from) = soon(listener.accept()).await.unwrap();
    assert_eq!(from.ip(), HOST);
    connection.write_all(b"welcome").await.unwrap();
    let mut answer = [0; 7];
    soon(connection.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"welcome");
    connection
}

#[tokio::test]
async fn a_port_inside_the_tunnel_takes_connections() {
    let (far, client) = connect(Transport::Udp).await;
    let mut listener = client.listen(2222).await.unwrap();
    assert_eq!(client.listen(2222).await.unwrap_err().kind(), ErrorKind::AddrInUse);
    assert_eq!(client.listen(0).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    far.call(OURS, 2222);
    far.call(OURS, 2222);
    let mut one = accepted(&mut listener).await;
    accepted(&mut listener).await;
    // The port is closed, what came through it is not.
    drop(listener);
    one.write_all(b"still").await.unwrap();
    let mut answer = [0; 5];
    soon(one.read_exact(&mut answer)).await.unwrap();
    let resets = client.stack_counters().resets_sent;
    far.call(OURS, 2222);
    while client.stack_counters().resets_sent == resets {
        soon(tokio::time::sleep(Duration::from_millis(5))).await;
    }
    client.listen(2222).await.unwrap();
}

#[tokio::test]
async fn a_port_stays_open_when_the_tunnel_comes_back() {
    let far = Far::start(Transport::Udp).await;
    let client = Builder::new(Toy::new([remote(&far)])).options(options()).start();
    // Before the tunnel is there.
    let mut listener = client.listen(2222).await.unwrap();
    soon(client.up()).await.unwrap();
    let mut events = client.events();
    far.set(Manner::Silent);
    while !matches!(soon(events.next()).await, Some(ClientEvent::Down { .. })) {}
    far.set(Manner::Welcome);
    soon(client.up()).await.unwrap();
    far.call(OURS, 2222);
    accepted(&mut listener).await;
    soon(client.close()).await;
    assert_eq!(soon(listener.accept()).await.unwrap_err().kind(), ErrorKind::NotConnected);
    assert_eq!(client.listen(1).await.unwrap_err().kind(), ErrorKind::NotConnected);
}

#[tokio::test]
async fn a_udp_port_inside_the_tunnel_takes_datagrams_and_answers_them() {
    let (far, client) = connect(Transport::Udp).await;
    let listener = client.bind_udp_port(5353).await.unwrap();
    assert_eq!(client.bind_udp_port(5353).await.unwrap_err().kind(), ErrorKind::AddrInUse);
    far.send(OURS, 5353, b"who is there?");
    let mut buffer = [0; 99];
    let (length, from) = soon(listener.recv_from(&mut buffer)).await.unwrap();
    assert_eq!((&buffer[..length], from), (&b"who is there?"[..], (HOST, CALLER).into()));
    listener.send_to(b"we are", from).unwrap();
    soon(async {
        while far.heard() != [b"we are"] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    drop(listener);
    // Nobody is at that port any more.
    let unreachable = client.stack_counters().unreachables_sent;
    far.send(OURS, 5353, b"still there?");
    while client.stack_counters().unreachables_sent == unreachable {
        soon(tokio::time::sleep(Duration::from_millis(5))).await;
    }
    let listener = client.bind_udp_port(5353).await.unwrap();
    soon(client.close()).await;
    assert_eq!(soon(listener.recv_from(&mut buffer)).await.unwrap_err().kind(), ErrorKind::NotConnected);
}

#[tokio::test]
async fn what_the_gateway_did_not_agree_to_carry_is_refused_at_once() {
    let far = Far::start(Transport::Udp).await;
    let mut toy = Toy::new([remote(&far)]);
    toy.selectors = vec![IpNet::new([10, 9, 0, 0], 24).unwrap()];
    let client = soon(Builder::new(toy).options(options()).connect()).await.unwrap();
    let outside: std::net::SocketAddr = "192.168.7.1:80".parse().unwrap();
    let error = client.dial(outside).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
    let text = error.to_string();
    assert!(text.contains("192.168.7.1") && text.contains("10.9.0.0/24"), "{text}");
    let socket = client.bind_udp().await.unwrap();
    assert_eq!(socket.send_to(b"x", outside).unwrap_err().kind(), ErrorKind::NetworkUnreachable);
    assert_eq!(client.stats().dropped_not_carried, 1);
    let ping = client.ping(outside.ip(), b"", Duration::from_secs(1)).await;
    assert_eq!(ping.unwrap_err().kind(), ErrorKind::NetworkUnreachable);
    soon(client.dial(std::net::SocketAddr::from((HOST, ECHO)))).await.unwrap();
}

#[tokio::test]
async fn a_host_that_lives_answers_an_echo_request_and_no_other_does() {
    let (_far, client) = connect(Transport::Udp).await;
    soon(client.ping(HOST.into(), b"there?", Duration::from_secs(10))).await.unwrap();
    let short = Duration::from_millis(200);
    let error = soon(client.ping([10, 9, 0, 99].into(), b"there?", short)).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("10.9.0.99")), (ErrorKind::TimedOut, true));
    let error = client.ping(HOST.into(), &[0; 1400], short).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = client.ping("fd00::1".parse().unwrap(), b"", short).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
}
