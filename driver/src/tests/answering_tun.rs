//! The toy gateway with a TUN device, in a network namespace of its own.

use std::{net::SocketAddr, process::Command, time::Duration};

use adit_tunnel::Transport;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

use super::{
    answering::{connect, gateway_options, until},
    answering_openvpn,
    namespace::in_namespace,
    soon,
    toy_gateway::ToyListener,
};
use crate::{
    Client, FailureKind,
    gateway::{Event, Gateway, TunOptions, WayOut},
};

#[test]
fn all_peers_are_on_one_device() {
    in_namespace("tests::answering_tun::all_peers_are_on_one_device", inside());
}

async fn inside() {
    let mut options = gateway_options(Transport::Udp);
    options.exit = WayOut::Tun(TunOptions { name: Some("adit-test".to_owned()), mtu: 1400 });
    let gateway = Gateway::start(ToyListener::default(), options).unwrap();
    assert_eq!(gateway.device().as_deref(), Some("adit-test"));
    let (ann, bob) = (connect(&gateway, "name=ann").await, connect(&gateway, "name=bob").await);

    // The kernel answers at the gateway's own address; what it sends comes in trains.
    let listener = TcpListener::bind("10.9.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let host = tokio::spawn(async move {
        let mut sources = Vec::new();
        for _ in 0..2 {
            let (mut stream, source) = listener.accept().await.unwrap();
            sources.push(source.ip());
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                writer.shutdown().await.unwrap();
            });
        }
        sources
    });
    soon(async { tokio::join!(echo(&ann, at, b'a'), echo(&bob, at, b'b')) }).await;
    let sources = soon(host).await.unwrap();
    let addresses = [&ann, &bob].map(|client| client.network().unwrap().addresses[0].address());
    assert!(addresses.iter().all(|address| sources.contains(address)), "{sources:?}");

    segments_go_to_the_kernel_in_trains(&gateway, &ann).await;

    // Datagrams begin at either end; those for nobody are dropped.
    let socket = UdpSocket::bind("10.9.0.1:0").await.unwrap();
    let inside = soon(ann.bind_udp()).await.unwrap();
    inside.send_to(b"hello", socket.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 100];
    let (length, source) = soon(socket.recv_from(&mut buffer)).await.unwrap();
    assert_eq!((&buffer[..length], source.ip()), (&b"hello"[..], addresses[0]));
    socket.send_to(b"and back", source).await.unwrap();
    let (length, _) = soon(inside.recv_from(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[..length], b"and back");
    let before = gateway.stats().dropped_unsealed;
    socket.send_to(b"nobody", "10.9.0.200:9").await.unwrap();
    until(&gateway, |stats| stats.dropped_unsealed > before).await;

    let stats = gateway.stats();
    assert_eq!((stats.peers_up, stats.dropped_spoofed, stats.dropped_unsent), (2, 0, 0), "{stats:?}");
    // The newest tunnel of an identity has its address and gets its packets, also once the older has gone.
    let newer = connect(&gateway, "name=ann;alone").await;
    assert_eq!(newer.network().unwrap().addresses[0].address(), addresses[0]);
    until(&gateway, |stats| stats.peers == 2).await;
    let inside = soon(newer.bind_udp()).await.unwrap();
    inside.send_to(b"newer", socket.local_addr().unwrap()).unwrap();
    let (_, source) = soon(socket.recv_from(&mut buffer)).await.unwrap();
    socket.send_to(b"newest", source).await.unwrap();
    let (length, _) = soon(inside.recv_from(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[..length], b"newest");
    soon(gateway.close()).await;
    // The device goes with the gateway.
    let gone = async {
        while std::path::Path::new("/proc/net/dev").exists()
            && std::fs::read_to_string("/proc/net/dev").unwrap().contains("adit-test")
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(gone).await;
    a_packet_of_the_device_waits_for_nothing_on_a_stream().await;
    without_its_device_a_gateway_ends().await;
}

async fn segments_go_to_the_kernel_in_trains(gateway: &Gateway, client: &Client) {
    let listener = TcpListener::bind("10.9.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let sink = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap().0;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.unwrap()
    });
    let (opened, written) = (gateway.stats().opened_packets, packets_taken_by_the_kernel());
    let mut connection = soon(client.dial(at)).await.unwrap();
    soon(connection.write_all(&vec![7; 1_000_000])).await.unwrap();
    soon(connection.shutdown()).await.unwrap();
    assert_eq!(soon(sink).await.unwrap(), 1_000_000);
    // At least as many as there are segments of 1400 bytes; each was one write before they were joined.
    let opened = gateway.stats().opened_packets - opened;
    let written = packets_taken_by_the_kernel() - written;
    assert!(opened > 700 && written * 2 < opened, "{opened} packets in {written} writes");
}

/// What the device has received, as the kernel sees it: a train counts as one.
fn packets_taken_by_the_kernel() -> u64 {
    let devices = std::fs::read_to_string("/proc/net/dev").unwrap();
    let line = devices.lines().find_map(|line| line.trim().strip_prefix("adit-test:")).expect("the device");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn without_its_device_a_gateway_ends() {
    let mut options = gateway_options(Transport::Udp);
    options.exit = WayOut::Tun(TunOptions { name: Some("adit-test".to_owned()), mtu: 1400 });
    let gateway = Gateway::start(ToyListener::default(), options).unwrap();
    let ann = connect(&gateway, "name=ann").await;
    let mut events = gateway.events();
    assert!(gateway.failure().is_none());
    assert!(Command::new("ip").args(["link", "del", "adit-test"]).status().unwrap().success());
    soon(ann.closed()).await;
    assert!(matches!(soon(events.next()).await, Some(Event::Down(..))));
    assert!(soon(events.next()).await.is_none());
    let failure = gateway.failure().unwrap();
    assert_eq!(failure.kind(), FailureKind::LocalSocket);
    assert!(failure.to_string().contains("the TUN device is gone"), "{failure}");
}

/// Nothing else is on its way that would have the stream send it: OpenVPN's first ping comes after 10 s.
async fn a_packet_of_the_device_waits_for_nothing_on_a_stream() {
    let mut options = gateway_options(Transport::Tcp);
    options.exit = WayOut::Tun(TunOptions { name: Some("adit-test".to_owned()), mtu: 1400 });
    let (gateway, ca) = answering_openvpn::start(options);
    let ann = answering_openvpn::connect(&gateway, &ca, "secret").await.unwrap();
    let socket = UdpSocket::bind("10.9.0.1:0").await.unwrap();
    let inside = soon(ann.bind_udp()).await.unwrap();
    inside.send_to(b"hello", socket.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 100];
    let (_, source) = soon(socket.recv_from(&mut buffer)).await.unwrap();
    for _ in 0..3 {
        socket.send_to(b"and back", source).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(5), inside.recv_from(&mut buffer)).await;
        let (length, _) = answer.expect("before the next ping").unwrap();
        assert_eq!(&buffer[..length], b"and back");
    }
    soon(gateway.close()).await;
}

async fn echo(client: &Client, at: SocketAddr, byte: u8) {
    let connection = client.dial(at).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(connection);
    let sending = async {
        writer.write_all(&vec![byte; 1_000_000]).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (done, ()) = tokio::join!(reader.read_to_end(&mut received), sending);
    done.unwrap();
    assert!(received == vec![byte; 1_000_000], "{} bytes", received.len());
}
