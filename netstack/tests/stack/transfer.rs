//! Data arrives whole, in both directions, over any link, and never faster than it is read.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use adit_netstack::{CloseReason, StackConfig, StackEvent};
use proptest::prelude::*;

use crate::{
    client::{Client, pattern},
    link::Quality,
    world::{HOST_V4, HOST_V6, OURS_V4, World, config, seed},
};

/// Sends `up` and `down` at the same time, closes both directions, and compares.
fn exchange(mut world: World, host: IpAddr, up: &[u8], down: &[u8]) -> World {
    let handle = world.host.listen(8080, 64 << 10);
    let mut client = Client::new(world.connect(SocketAddr::new(host, 8080)));
    client.to_send = up.to_vec();
    client.shutdown = true;
    let (mut received, mut sent) = (Vec::new(), 0);
    world.run(&mut [&mut client], |world, clients| {
        let socket = world.host.socket(handle);
        let mut buf = [0; 4096];
        while socket.can_recv() {
            let len = socket.recv_slice(&mut buf).unwrap();
            received.extend_from_slice(&buf[..len]);
        }
        if socket.can_send() && sent < down.len() {
            sent += socket.send_slice(&down[sent..]).unwrap();
        }
        if sent == down.len() && socket.may_send() {
            socket.close();
        }
        clients[0].closed.is_some() && received.len() == up.len()
    });
    assert!(client.end);
    // The host forgets the connection ten seconds after its end. If its last acknowledgment and our repeated FINs are lost
    // for that long, all it has left for us is a RST.
    let forgotten = world.up.is_lossy() && client.closed == Some(CloseReason::Reset);
    assert!(
        forgotten || (client.closed == Some(CloseReason::Finished) && client.error.is_none()),
        "{:?}",
        client.closed
    );
    assert!(received == up, "what the host received differs");
    assert!(client.received == down, "what the client received differs");
    world.stack.release(client.id);
    assert_eq!((world.stack.memory_used(), world.stack.connection_count()), (0, 0));
    world
}

#[test]
fn both_directions_arrive_whole_over_ipv4() {
    let world = exchange(World::new(), HOST_V4, &pattern(3_000_000, 1), &pattern(2_000_000, 2));
    assert_eq!((world.stack.counters().bad_checksum, world.stack.counters().retransmits), (0, 0));
}

#[test]
fn both_directions_arrive_whole_over_ipv6() {
    exchange(World::new(), HOST_V6, &pattern(300_000, 1), &pattern(300_000, 2));
}

#[test]
fn loss_reordering_and_duplication_do_not_change_the_data() {
    let quality = Quality {
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(8),
        loss: 30,
        duplication: 10,
        ..Quality::PERFECT
    };
    let world = exchange(World::with(config(), quality, seed()), HOST_V4, &pattern(400_000, 1), &pattern(400_000, 2));
    let counters = world.stack.counters();
    // About three in a hundred are lost, and most of what the stack has sent was none of it.
    assert!((1..counters.packets_out / 2).contains(&counters.retransmits), "{counters:?}");
}

#[test]
fn a_syn_that_nobody_answers_is_counted_each_time_it_is_sent_again() {
    let mut world = World::new();
    let mut client = Client::new(world.connect("192.168.100.99:80".parse().unwrap()));
    world.run(&mut [&mut client], |_, clients| clients[0].closed.is_some());
    let counters = world.stack.counters();
    assert!(counters.retransmits > 0, "{counters:?}");
    assert_eq!(counters.retransmits, counters.packets_out - 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn data_arrives_whole_over_any_link(
        latency in 0u64..120, jitter in 0u64..30, loss in 0u32..60, duplication in 0u32..60, seed: u64,
        up in 0usize..60_000, down in 0usize..60_000,
    ) {
        let quality = Quality {
            latency: Duration::from_millis(latency),
            jitter: Duration::from_millis(jitter),
            loss,
            duplication,
            ..Quality::PERFECT
        };
        exchange(World::with(config(), quality, seed), HOST_V4, &pattern(up, seed), &pattern(down, !seed));
    }
}

#[test]
fn reader_that_stops_makes_send_return_zero_and_memory_stays() {
    let mut world = World::new();
    let (mut client, handle) = world.connected(80, 32 << 10);
    client.send(&pattern(2_000_000, 3));
    world.run_for(&mut [&mut client], Duration::from_secs(20));
    let filling = pattern(1 << 20, 9);
    let more = world.stack.send(client.id, &filling).unwrap();
    // What is in our buffer and the host's at most; less, because a path that carries nothing is not given much.
    assert!(client.sent + more <= (512 << 10) + (32 << 10), "{} + {more}", client.sent);
    assert_eq!(world.stack.send(client.id, b"more"), Ok(0));
    client.to_send.splice(client.sent..client.sent, filling[..more].to_vec());
    client.sent += more;
    assert!(world.stack.memory_used() <= (512 << 10) + (32 << 10), "{}", world.stack.memory_used());
    let mut received = Vec::new();
    world.run(&mut [&mut client], |world, _| {
        let socket = world.host.socket(handle);
        let _sum: usize = socket
            .recv(|bytes| {
                received.extend_from_slice(bytes);
                (bytes.len(), bytes.len())
            })
            .unwrap();
        received.len() == 2_000_000 + more
    });
    assert!(received == client.to_send);
}

#[test]
fn owner_that_does_not_read_stops_the_remote_and_can_go_on_later() {
    let mut world = World::new();
    let (mut client, handle) = world.connected(80, 64 << 10);
    client.lazy = true;
    let data = pattern(2_000_000, 4);
    let mut sent = 0;
    let feed = |world: &mut World, sent: &mut usize| {
        let socket = world.host.socket(handle);
        if socket.can_send() {
            *sent += socket.send_slice(&data[*sent..]).unwrap();
        }
    };
    let end = world.now + Duration::from_secs(20);
    while world.now < end {
        feed(&mut world, &mut sent);
        world.step(&mut [&mut client]);
    }
    assert!(sent <= (512 << 10) + (64 << 10), "{sent} bytes went out");
    assert!(client.received.is_empty());
    client.lazy = false;
    world.run(&mut [&mut client], |world, clients| {
        feed(world, &mut sent);
        clients[0].received.len() == data.len()
    });
    assert!(client.received == data);
}

#[test]
fn send_before_the_handshake_takes_nothing_and_announces_room_afterwards() {
    let mut world = World::new();
    world.host.listen(80, 4096);
    let id = world.connect(SocketAddr::new(HOST_V4, 80));
    assert_eq!(world.stack.send(id, b"early"), Ok(0));
    assert_eq!(world.stack.receive(id, &mut [0; 8]), Ok(None));
    world.run_for(&mut [], Duration::from_millis(100));
    assert_eq!(world.events, [StackEvent::Connected(id), StackEvent::Writable(id)]);
    assert_eq!(world.stack.send(id, b"early"), Ok(5));
}

#[test]
fn segments_keep_to_the_tcp_mtu_and_fill_it() {
    let config = StackConfig { addresses: vec![OURS_V4], mtu: 1400, tcp_mtu: 1300, ..StackConfig::default() };
    let mut world = World::with(config, Quality::PERFECT, seed());
    world.seen = Some(Vec::new());
    let (mut client, _) = world.connected(80, 64 << 10);
    client.send(&pattern(50_000, 5));
    world.run_for(&mut [&mut client], Duration::from_secs(1));
    let longest = world.seen.unwrap().iter().map(Vec::len).max();
    assert_eq!(longest, Some(1300));
}

/// Virtual time for 20 MB from us to the host, or back, at 20 ms round trip and 1 Gbit/s.
fn time_for_20_mb(up: bool) -> Duration {
    let (latency, service) = (Duration::from_millis(10), Duration::from_micros(11));
    let quality = Quality { latency, service, ..Quality::PERFECT };
    let mut world = World::with(config(), quality, seed());
    let (mut client, handle) = world.connected(80, 512 << 10);
    let data = vec![7; 20_000_000];
    let (start, mut sent, mut received) = (world.now, 0, 0);
    if up {
        client.send(&data);
    }
    world.run(&mut [&mut client], |world, clients| {
        let socket = world.host.socket(handle);
        if up {
            received += socket.recv(|bytes| (bytes.len(), bytes.len())).unwrap();
            return received == data.len();
        }
        if socket.can_send() {
            sent += socket.send_slice(&data[sent..]).unwrap();
        }
        clients[0].received.len() == data.len()
    });
    world.now - start
}

#[test]
fn default_buffers_are_used_whole_at_20_milliseconds() {
    // 512 KiB every 20 ms are 209 Mbit/s; slow start and delayed acknowledgments take their share.
    for up in [true, false] {
        let mbit = 160.0 / time_for_20_mb(up).as_secs_f64();
        assert!(mbit > 145.0, "{mbit:.0} Mbit/s, up: {up}");
    }
}

#[test]
fn ends_that_retransmit_to_each_other_come_apart_again() {
    // Found by the property above.
    let quality = Quality {
        latency: Duration::from_millis(21),
        jitter: Duration::from_millis(16),
        loss: 47,
        duplication: 23,
        ..Quality::PERFECT
    };
    let seed = 4_421_900_226_675_191_968;
    exchange(World::with(config(), quality, seed), HOST_V4, &pattern(11_585, seed), &pattern(52_388, !seed));
}

#[test]
fn what_is_lost_at_the_end_is_sent_again_within_a_quarter_of_a_second() {
    let mut world = World::new();
    let (mut client, handle) = world.connected(80, 64 << 10);
    client.send(b"first");
    world.run_for(&mut [&mut client], Duration::from_secs(1));
    world.up.cut = true;
    client.send(b", last");
    world.settle(&mut [&mut client]);
    world.up.cut = false;
    let start = world.now;
    world.run(&mut [&mut client], |world, _| world.host.socket(handle).recv_queue() == 11);
    let waited = world.now - start;
    assert!((Duration::from_millis(200)..Duration::from_millis(250)).contains(&waited), "{waited:?}");
}

#[test]
fn silence_is_met_with_longer_and_longer_waits() {
    let mut world = World::new();
    let (mut client, _) = world.connected(80, 64 << 10);
    client.send(b"first");
    world.run_for(&mut [&mut client], Duration::from_secs(1));
    world.up.cut = true;
    world.seen = Some(Vec::new());
    client.send(b", last");
    let mut sent = Vec::new();
    let start = world.now;
    while world.now < start + Duration::from_secs(100) {
        world.step(&mut [&mut client]);
        let new = world.seen.as_mut().unwrap().drain(..).filter(|packet| packet.ends_with(b", last")).count();
        sent.extend(std::iter::repeat_n(world.now - start, new));
    }
    // At 0, 0.2, 0.6, 1.4, 3, 6.2, 12.6, 25.4, 51.0 seconds.
    assert!((8..=10).contains(&sent.len()), "{sent:?}");
    let waits: Vec<_> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        waits.windows(2).all(|pair| pair[1] > pair[0] * 19 / 10 || pair[1] >= Duration::from_secs(60)),
        "{waits:?}"
    );
}
