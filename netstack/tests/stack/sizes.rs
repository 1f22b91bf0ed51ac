//! Buffers that grow with the traffic and shrink in silence, on sockets that are exchanged under their connections.

use std::time::Duration;

use adit_netstack::{ConnectError, MemoryPool, StackConfig};
use proptest::{
    prelude::{ProptestConfig, any},
    proptest,
};

use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};

use crate::{
    client::{Client, pattern},
    craft::{SEGMENT, read_tcp, tcp},
    incoming::exchange,
    link::Quality,
    pair::{Pair, answering},
    world::{HOST_V4, HOST_V6, OURS_V4, config, seed},
};

pub(crate) const KIB: usize = 1024;
/// 16 KiB to receive, 8 to send, 2 for the rest.
pub(crate) const LEAST: usize = 26 * KIB;

pub(crate) fn fixed(config: StackConfig) -> StackConfig {
    StackConfig { small_buffer: config.buffer, ..config }
}

/// 200 Mbit/s, and so long a round trip.
pub(crate) fn path(millis: u64) -> Quality {
    let (latency, service) = (Duration::from_millis(millis) / 2, Duration::from_micros(56));
    Quality { latency, service, queue: Some(Duration::from_millis(10)), ..Quality::PERFECT }
}

/// Seconds until so many bytes have gone up and so many down; in both directions nothing else than was sent.
fn time(quality: Quality, client: StackConfig, gateway: StackConfig, up: usize, down: usize) -> f64 {
    let mut pair = Pair::with(client, gateway, quality, seed());
    let (mut ours, mut theirs) = pair.connected((HOST_V4, 80).into());
    let start = pair.now;
    let (up, down) = (pattern(up, 1), pattern(down, 2));
    ours.send(&up);
    theirs.send(&down);
    pair.run(&mut [&mut ours], &mut [&mut theirs], |_, ours, theirs| {
        ours[0].received.len() == down.len() && theirs[0].received.len() == up.len()
    });
    assert!(ours.received == down && theirs.received == up);
    (pair.now - start).as_secs_f64()
}

#[test]
fn transfers_take_about_as_long_as_with_large_buffers_from_the_start() {
    for millis in [1, 20, 80] {
        for (up, down) in [(20_000_000, 0), (0, 20_000_000), (20_000_000, 20_000_000)] {
            let growing = time(path(millis), config(), answering(), up, down);
            let large = time(path(millis), fixed(config()), fixed(answering()), up, down);
            // A few round trips more at the beginning.
            let most = large * 1.05 + 4.0 * Duration::from_millis(millis).as_secs_f64();
            assert!(
                growing < most,
                "{growing:.3} s, with large buffers {large:.3} s, at {millis} ms, {up} up, {down} down"
            );
        }
    }
}

#[test]
fn requests_and_answers_of_some_kilobytes_cost_little_and_silence_nothing() {
    let mut pair = Pair::with(config(), answering(), path(20), seed());
    let (mut ours, mut theirs) = pair.connected((HOST_V4, 80).into());
    assert_eq!((pair.client.memory_used(), pair.gateway.memory_used()), (LEAST, LEAST));
    ours.send(&pattern(1000, 1));
    theirs.send(&pattern(10_000, 2));
    let (mut ours, mut theirs) = ([&mut ours], [&mut theirs]);
    pair.run(&mut ours, &mut theirs, |_, ours, theirs| {
        ours[0].received.len() == 10_000 && theirs[0].received.len() == 1000
    });
    for used in [pair.client.memory_used(), pair.gateway.memory_used()] {
        assert!((LEAST..=LEAST + 56 * KIB).contains(&used), "{used}");
    }
    pair.run_for(&mut ours, &mut theirs, Duration::from_secs(12));
    assert_eq!((pair.client.memory_used(), pair.gateway.memory_used()), (LEAST, LEAST));
}

#[test]
fn a_bulk_transfer_has_large_buffers_gives_them_back_and_gets_them_again() {
    // Whatever is lost is our own doing.
    let quality = Quality { queue: None, ..path(40) };
    let mut pair = Pair::with(config(), answering(), quality, seed());
    let (mut ours, mut theirs) = pair.connected((HOST_V4, 80).into());
    for round in 1..=3 {
        for up in [true, false] {
            if up {
                ours.send(&pattern(4_000_000, round))
            } else {
                theirs.send(&pattern(4_000_000, !round))
            };
            let mut most = 0;
            pair.run(&mut [&mut ours], &mut [&mut theirs], |pair, ours, theirs| {
                most = most.max(pair.client.memory_used());
                ours[0].to_send.len() == theirs[0].received.len() && theirs[0].to_send.len() == ours[0].received.len()
            });
            assert!(most > 512 * KIB, "{most} in round {round}, up: {up}");
            pair.run_for(&mut [&mut ours], &mut [&mut theirs], Duration::from_secs(12));
            assert_eq!((pair.client.memory_used(), pair.gateway.memory_used()), (LEAST, LEAST));
        }
    }
    assert!(ours.received == theirs.to_send && theirs.received == ours.to_send);
    let retransmits = (pair.client.counters().retransmits, pair.gateway.counters().retransmits);
    assert_eq!(retransmits, (0, 0), "nothing was dropped when the buffers were exchanged");
}

#[test]
fn memory_that_all_stacks_share_bounds_each_and_existing_connections_go_on() {
    let pool = MemoryPool::new(10 * LEAST);
    let shared = || StackConfig { pool: Some(pool.clone()), ..config() };
    let mut other = Pair::with(shared(), answering(), path(1), seed());
    let (mut ours, mut theirs) = other.connected((HOST_V4, 80).into());
    let mut pair = Pair::with(shared(), answering(), path(1), seed());
    let mut clients: Vec<_> = (0..9).map(|_| pair.connect((HOST_V4, 80).into())).collect();
    assert_eq!((pool.used(), pool.limit()), (10 * LEAST, 10 * LEAST));
    for stack in [&mut pair.client, &mut other.client] {
        assert_eq!(stack.connect(pair.now, (HOST_V4, 80).into()), Err(ConnectError::PoolEmpty));
        assert_eq!(stack.bind_udp(), Err(ConnectError::PoolEmpty));
        assert_eq!(stack.counters().refused, 2);
    }
    // It cannot grow, and carries all the same.
    ours.send(&pattern(300_000, 1));
    theirs.send(&pattern(300_000, 2));
    other.run(&mut [&mut ours], &mut [&mut theirs], |_, ours, theirs| {
        ours[0].received.len() == 300_000 && theirs[0].received.len() == 300_000
    });
    assert!(ours.received == theirs.to_send && theirs.received == ours.to_send);
    assert_eq!(pool.used(), 10 * LEAST);
    assert!(other.client.counters().degraded > 0);

    pair.client.abort(clients[0].id);
    pair.client.release(clients.remove(0).id);
    assert_eq!(pool.used(), 9 * LEAST);
    other.connect((HOST_V4, 80).into());
    drop(pair);
    drop(other);
    assert_eq!(pool.used(), 0);
}

#[test]
fn a_remote_that_fills_what_is_not_read_takes_no_more_than_the_first_buffer() {
    let mut pair = Pair::with(config(), answering(), path(20), seed());
    let mut clients: Vec<_> = (0..50).map(|_| pair.connected((HOST_V4, 80).into())).collect();
    for (ours, theirs) in &mut clients {
        ours.lazy = true;
        theirs.send(&pattern(1_000_000, 3));
    }
    let (mut ours, mut theirs): (Vec<_>, Vec<_>) = clients.iter_mut().map(|(ours, theirs)| (ours, theirs)).unzip();
    pair.run_for(&mut ours, &mut theirs, Duration::from_secs(20));
    assert_eq!(pair.client.memory_used(), 50 * LEAST);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Pauses long enough to shrink, on links that lose, reorder and double, in both directions at once.
    #[test]
    fn data_arrives_whole_however_often_buffers_are_exchanged(
        loss in 0u32..30,
        duplication in 0u32..20,
        latency in 0u64..40,
        jitter in 0u64..10,
        pieces in proptest::collection::vec((0usize..300_000, 0usize..300_000, any::<bool>()), 1..6),
        seed in any::<u64>(),
    ) {
        let (latency, jitter) = (Duration::from_millis(latency), Duration::from_millis(jitter));
        let quality = Quality { latency, jitter, loss, duplication, ..Quality::PERFECT };
        let mut pair = Pair::with(config(), answering(), quality, seed);
        let (mut ours, mut theirs) = pair.connected((HOST_V4, 80).into());
        for (index, (up, down, pause)) in pieces.into_iter().enumerate() {
            ours.send(&pattern(up, index as u64));
            theirs.send(&pattern(down, !(index as u64)));
            pair.run(&mut [&mut ours], &mut [&mut theirs], |_, ours, theirs| {
                theirs[0].received.len() == ours[0].to_send.len() && ours[0].received.len() == theirs[0].to_send.len()
            });
            if pause {
                pair.run_for(&mut [&mut ours], &mut [&mut theirs], Duration::from_secs(15));
            }
        }
        assert!(ours.received == theirs.to_send && theirs.received == ours.to_send);
        assert!(ours.error.is_none() && theirs.error.is_none());
    }

    #[test]
    fn exchanges_over_ipv6_arrive_whole_with_any_bounds(
        up in 0usize..400_000,
        down in 0usize..400_000,
        least in 12u32..17,
        most in 12u32..20,
    ) {
        let gateway = StackConfig { small_buffer: 1 << least, buffer: 1 << most, ..answering() };
        exchange(Pair::with(config(), gateway, path(20), seed()), (HOST_V6, 80).into(), &pattern(up, 1), &pattern(down, 2));
    }
}

#[test]
fn a_remote_without_scaled_windows_fills_what_its_header_can_say() {
    let mut pair = Pair::new();
    let (remote, web) = ((OURS_V4, 5000).into(), (HOST_V4, 80).into());
    let syn = TcpRepr { control: TcpControl::Syn, seq_number: TcpSeqNumber(6), max_seg_size: Some(1360), ..SEGMENT };
    pair.gateway.handle_packet(pair.now, &tcp(remote, web, syn));
    pair.settle(&mut [], &mut []);
    let mut client = Client::new(pair.incoming[0]);
    pair.gateway.accept(pair.now, client.id);
    let next = read_tcp(&pair.answers()[0]).unwrap().tcp.seq_number + 1;
    let (data, mut widest) = (pattern(300_000, 1), 0);
    for (index, payload) in data.chunks(1000).enumerate() {
        let seq_number = TcpSeqNumber(7) + index * 1000;
        let segment = TcpRepr { seq_number, ack_number: Some(next), payload, ..SEGMENT };
        pair.gateway.handle_packet(pair.now, &tcp(remote, web, segment));
        while let Some(event) = pair.gateway.poll_event() {
            assert!(client.on_event(event));
        }
        client.run(&mut pair.gateway);
        widest =
            pair.answers().iter().map(|answer| read_tcp(answer).unwrap().tcp.window_len).max().unwrap_or(0).max(widest);
    }
    assert!(client.received == data);
    assert_eq!(widest, u16::MAX);
    assert!(
        (LEAST + 48 * KIB - 1..=LEAST + 48 * KIB).contains(&pair.gateway.memory_used()),
        "{}",
        pair.gateway.memory_used()
    );
}
