//! Bytes through the tunnel.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use adit_testing::SeededRandom;
use adit_tunnel::{Random, Transport};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UdpSocket,
};

use super::{
    LIMIT, connect,
    far::{ANSWER_ADDRESS, DEAF, ECHO, HOST, Manner, RESETS},
    soon,
    toy::{DATA, WELCOME},
};
use crate::Target;

fn at(port: u16) -> SocketAddr {
    (HOST, port).into()
}

fn random_bytes(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    SeededRandom::new(1).fill(&mut bytes);
    bytes
}

async fn echo(transport: Transport, count: usize) {
    let (far, client) = connect(transport).await;
    let connection = soon(client.dial(at(ECHO))).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(connection);
    let sent = random_bytes(count);
    let mut received = Vec::new();
    let sending = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let (done, ()) = soon(async { tokio::join!(reader.read_to_end(&mut received), sending) }).await;
    done.unwrap();
    assert!(received == sent, "{} of {} bytes came back", received.len(), sent.len());
    assert!(far.seen.borrow().data >= count / 1400);
    let stats = client.stats();
    assert!(
        stats.sealed_packets as usize >= count / 1400 && stats.opened_packets as usize >= count / 1400,
        "{stats:?}"
    );
    assert_eq!((stats.dropped_refused, stats.dropped_unsealed), (0, 0), "{stats:?}");
}

#[tokio::test]
async fn bytes_of_both_directions_are_those_of_all_datagrams() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (far, client) = connect(transport).await;
        let mut connection = soon(client.dial(at(ECHO))).await.unwrap();
        connection.write_all(&[7; 5000]).await.unwrap();
        soon(connection.read_exact(&mut [0; 5000])).await.unwrap();
        // Hellos and acknowledgements of them are no packets; pings are sealed, and are none either.
        let found = || {
            let stats = client.stats();
            ((stats.sent_bytes, stats.received_bytes), stats)
        };
        let agree = async {
            while found().0 != far.seen.borrow().bytes {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let in_time = tokio::time::timeout(LIMIT, agree).await;
        assert!(in_time.is_ok(), "{:?}, and the gateway has seen {:?}", found(), far.seen.borrow().bytes);
        let stats = client.stats();
        assert!(stats.sent_bytes > stats.sealed_bytes && stats.sent_datagrams > stats.sealed_packets, "{stats:?}");
    }
}

#[tokio::test]
async fn every_byte_comes_back_over_udp() {
    echo(Transport::Udp, 3_000_000).await;
}

#[tokio::test]
async fn every_byte_comes_back_over_tcp() {
    echo(Transport::Tcp, 3_000_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_comes_back_with_several_threads() {
    echo(Transport::Udp, 3_000_000).await;
}

#[tokio::test]
async fn many_connections_share_a_tunnel() {
    let (_far, client) = connect(Transport::Udp).await;
    let one = |n: u8| {
        let client = client.clone();
        async move {
            let mut connection = client.dial(at(ECHO)).await.unwrap();
            connection.write_all(&[n; 10_000]).await.unwrap();
            connection.shutdown().await.unwrap();
            let mut received = Vec::new();
            connection.read_to_end(&mut received).await.unwrap();
            assert_eq!(received, [n; 10_000]);
        }
    };
    soon(async { tokio::join!(one(1), one(2), one(3), one(4), one(5)) }).await;
    assert_eq!(client.stats().connections, 0);
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let (_far, client) = connect(Transport::Udp).await;
    let error = soon(client.dial(at(1))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(client.stats().connections, 0);
}

#[tokio::test]
async fn a_reset_inside_is_a_reset_to_the_reader() {
    let (_far, client) = connect(Transport::Udp).await;
    let mut connection = soon(client.dial(at(RESETS))).await.unwrap();
    let error = soon(connection.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn dropping_with_something_unread_resets_and_without_does_not() {
    let (far, client) = connect(Transport::Udp).await;
    let mut read = soon(client.dial(at(ECHO))).await.unwrap();
    read.write_all(b"x").await.unwrap();
    assert_eq!(soon(read.read_u8()).await.unwrap(), b'x');
    drop(read);

    let mut unread = soon(client.dial(at(ECHO))).await.unwrap();
    unread.write_all(b"xy").await.unwrap();
    assert_eq!(soon(unread.read_u8()).await.unwrap(), b'x');
    drop(unread);
    let seen = far.saw(|seen| seen.resets > 0).await;
    assert_eq!(seen.resets, 1);
}

#[tokio::test]
async fn aborting_resets() {
    let (far, client) = connect(Transport::Udp).await;
    soon(client.dial(at(ECHO))).await.unwrap().abort();
    assert_eq!(far.saw(|seen| seen.resets > 0).await.resets, 1);
}

#[tokio::test]
async fn a_host_that_does_not_read_stops_the_writer() {
    let (_far, client) = connect(Transport::Udp).await;
    let mut connection = soon(client.dial(at(DEAF))).await.unwrap();
    let bytes = random_bytes(64 * 1024);
    let mut written = 0;
    let endless = async {
        loop {
            written += connection.write(&bytes).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(2), endless).await.unwrap_err();
    // Its buffer, and ours.
    assert!(written <= 256 * 1024 + client_buffer(), "{written}");
    drop(connection);
    assert_eq!(client.stats().connections, 0);
}

fn client_buffer() -> usize {
    super::options().buffer
}

#[tokio::test]
async fn datagrams_come_back_to_the_socket_that_sent_them() {
    let (_far, client) = connect(Transport::Udp).await;
    let (one, two) = (client.bind_udp().await.unwrap(), client.bind_udp().await.unwrap());
    one.send_to(b"one", at(ECHO)).unwrap();
    two.send_to(b"two", at(ECHO)).unwrap();
    let mut buffer = [0; 100];
    let (length, source) = soon(two.recv_from(&mut buffer)).await.unwrap();
    assert_eq!((&buffer[..length], source), (&b"two"[..], at(ECHO)));
    let (length, _) = soon(one.recv_from(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[..length], b"one");
    assert_eq!(one.send_to(&[0; 1400], at(ECHO)).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn garbage_is_counted_and_does_no_harm() {
    let (far, client) = connect(Transport::Udp).await;
    let target = far.saw(|seen| seen.client.is_some()).await.client.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut random = SeededRandom::new(2);
    for length in 0..300 {
        let mut datagram = vec![0; length];
        random.fill(&mut datagram);
        // The toy authenticates nothing: what would be a valid message of control is no garbage.
        if let Some(first) = datagram.first_mut() {
            *first |= 0x80;
        }
        stranger.send_to(&datagram, target).await.unwrap();
        // Classes as data and as control, but is neither.
        datagram.splice(..0, [DATA, 1]);
        stranger.send_to(&datagram, target).await.unwrap();
        datagram.splice(..2, [WELCOME, 0]);
        stranger.send_to(&datagram, target).await.unwrap();
        tokio::task::yield_now().await;
    }
    stranger.send_to(&[DATA, 9, 9, 9], target).await.unwrap();
    let mut connection = soon(client.dial(at(ECHO))).await.unwrap();
    connection.write_all(b"still here").await.unwrap();
    let mut answer = [0; 10];
    soon(connection.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"still here");
    let stats = client.stats();
    assert!(stats.dropped_foreign > 0 && stats.dropped_refused > 0 && stats.dropped_unknown_key > 0, "{stats:?}");
    assert_eq!(stats.times_up, 1);
    assert_eq!(far.seen.borrow().client, Some(target));
    assert_ne!(*far.manner.lock().unwrap(), Manner::Silent);
}

#[tokio::test]
async fn names_need_a_dns_server_that_answers() {
    let (_far, client) = connect(Transport::Udp).await;
    let error = soon(client.dial(("no such name", 80))).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::ConnectionRefused), "{error}");
}

#[tokio::test]
async fn a_name_whose_answer_is_too_long_for_udp_is_asked_for_over_tcp() {
    let (_far, client) = connect(Transport::Udp).await;
    let found = soon(client.resolve("db.corp.example")).await.unwrap();
    assert_eq!(found, [std::net::IpAddr::from(ANSWER_ADDRESS)]);
}

#[test]
fn an_address_in_text_form_is_no_name() {
    let of = |host| Target::from((host, 80));
    let address = |text: &str| Target::Address(text.parse().unwrap());
    assert_eq!(of("10.0.0.1"), address("10.0.0.1:80"));
    assert_eq!(of("fd00::1"), address("[fd00::1]:80"));
    assert_eq!(of("[fd00::1]"), address("[fd00::1]:80"), "as a URL has it");
    for name in ["wiki.corp", "[10.0.0.1]", "[wiki.corp]", "[fd00::1"] {
        assert_eq!(of(name), Target::Name(name.to_owned(), 80));
    }
}
