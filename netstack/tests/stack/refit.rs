//! Sockets exchanged under their connections where the remote, the path or the budget is not as it should be.

use std::time::Duration;

use adit_netstack::StackConfig;
use proptest::{
    prelude::{Just, ProptestConfig, any},
    prop_oneof, proptest,
};
use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};

use crate::{
    client::{Client, pattern},
    craft::{SEGMENT, read_tcp, tcp},
    link::Quality,
    pair::{Pair, answering},
    sizes::{KIB, LEAST, fixed, path},
    world::{HOST_V4, OURS_V4, config, seed},
};

#[test]
fn idle_connections_give_back_also_when_more_than_half_of_the_memory_is_taken() {
    let quality = Quality { queue: None, ..path(40) };
    let mut pair = Pair::with(StackConfig { memory: 2 << 20, ..config() }, answering(), quality, seed());
    let (mut ours, mut theirs) = pair.connected((HOST_V4, 80).into());
    theirs.send(&pattern(4_000_000, 1));
    pair.run(&mut [&mut ours], &mut [&mut theirs], |_, ours, _| ours[0].received.len() == 4_000_000);
    let grown = pair.client.memory_used();
    assert!(grown > 512 * KIB, "{grown}");
    let others: Vec<_> = (0..25).map(|_| pair.connect((HOST_V4, 81).into())).collect();
    assert!(pair.client.memory_used() > 1 << 20, "more than half");
    pair.run_for(&mut [&mut ours], &mut [&mut theirs], Duration::from_secs(15));
    assert_eq!(pair.client.memory_used(), (1 + others.len()) * LEAST);
}

/// A connection to the gateway, made segment by segment.
struct Crafted {
    pair: Pair,
    client: Client,
    /// The sequence number of the first byte, and what of it comes next.
    first: usize,
    at: usize,
    next: TcpSeqNumber,
}

impl Crafted {
    fn new(syn: TcpRepr<'_>) -> Self {
        let mut pair = Pair::new();
        let syn = TcpRepr { control: TcpControl::Syn, seq_number: TcpSeqNumber(6), ..syn };
        pair.gateway.handle_packet(pair.now, &tcp((OURS_V4, 5000).into(), (HOST_V4, 80).into(), syn));
        pair.settle(&mut [], &mut []);
        let client = Client::new(pair.incoming[0]);
        pair.gateway.accept(pair.now, client.id);
        let next = read_tcp(&pair.answers()[0]).unwrap().tcp.seq_number + 1;
        Self { pair, client, first: 7, at: 0, next }
    }

    /// Hands the gateway these bytes of the data.
    fn give(&mut self, data: &[u8], from: usize, len: usize) {
        let seq_number = TcpSeqNumber(0) + self.first + from;
        let payload = &data[from..from + len];
        let segment = TcpRepr { seq_number, ack_number: Some(self.next), payload, ..SEGMENT };
        self.pair.gateway.handle_packet(self.pair.now, &tcp((OURS_V4, 5000).into(), (HOST_V4, 80).into(), segment));
    }

    /// Its owner reads all there is.
    fn read(&mut self) {
        while let Some(event) = self.pair.gateway.poll_event() {
            self.client.on_event(event);
        }
        self.client.run(&mut self.pair.gateway);
    }

    fn used(&self) -> usize {
        self.pair.gateway.memory_used()
    }

    /// Sends in order until the gateway's buffers have grown, or for 200 KB; at once after that, a segment across the end of the
    /// receive buffer, then all before it, read by nobody.
    fn overrun(&mut self, data: &[u8]) {
        for _ in 0..200 {
            self.give(data, self.at, 1000);
            self.at += 1000;
            self.read();
            if self.used() > LEAST {
                break;
            }
            self.pair.answers();
        }
        self.client.lazy = true;
        let end = self.at + self.used() - (LEAST - 16 * KIB);
        self.give(data, end - 300, 1000);
        let mut from = self.at;
        while from < end - 300 {
            let len = 1000.min(end - 300 - from);
            self.give(data, from, len);
            from += len;
        }
        self.client.lazy = false;
        self.read();
        // What came before the end was taken, nothing beyond.
        let received = &self.client.received;
        assert!(received.len() <= end && data.starts_with(received), "{} of {end}", received.len());
        assert!(received.len() >= self.at, "{} of {}", received.len(), self.at);
    }
}

#[test]
fn a_remote_that_names_no_segment_size_cannot_write_beyond_the_buffer() {
    let data = pattern(800_000, 1);
    for max_seg_size in [Some(0), Some(1), Some(1360), None] {
        let mut crafted = Crafted::new(TcpRepr { max_seg_size, window_scale: Some(4), ..SEGMENT });
        crafted.overrun(&data);
        assert!(crafted.used() > LEAST, "{max_seg_size:?}: it has grown");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_options_of_a_syn_let_a_remote_write_beyond_the_buffer(
        size in prop_oneof![Just(Some(0)), any::<Option<u16>>()],
        scale in any::<Option<u8>>(),
        sack_permitted in any::<bool>(),
        window_len in any::<u16>(),
    ) {
        let data = pattern(800_000, 1);
        let syn = TcpRepr { max_seg_size: size, window_scale: scale, sack_permitted, window_len, ..SEGMENT };
        Crafted::new(syn).overrun(&data);
    }
}

/// Seconds that something takes with buffers that grow, and with large ones from the start; segments sent again with the former.
fn compare(millis: u64, tcp_mtu: usize, transfer: impl Fn(&mut Pair, &mut Client, &mut Client)) -> (f64, f64, u64) {
    let quality = Quality { queue: None, ..path(millis) };
    let run = |own: fn(StackConfig) -> StackConfig| {
        let ours = StackConfig { tcp_mtu, ..config() };
        let mut pair = Pair::with(own(ours), own(answering()), quality, seed());
        let (mut ours, mut theirs) = pair.connected((HOST_V4, 80).into());
        let start = pair.now;
        transfer(&mut pair, &mut ours, &mut theirs);
        let retransmits = pair.client.counters().retransmits + pair.gateway.counters().retransmits;
        ((pair.now - start).as_secs_f64(), retransmits)
    };
    let ((growing, retransmits), (large, _)) = (run(|config| config), run(fixed));
    (growing, large, retransmits)
}

const BYTES: usize = 4_000_000;

fn is_about_as_fast(growing: f64, large: f64, millis: u64, what: &str) {
    // A few round trips more at the beginning.
    let most = large * 1.1 + 6.0 * Duration::from_millis(millis).as_secs_f64();
    assert!(growing < most, "{what}: {growing:.3} s, with large buffers {large:.3} s");
}

#[test]
fn a_connection_with_one_direction_left_gets_large_buffers_too() {
    for up in [true, false] {
        let (growing, large, retransmits) = compare(80, 1400, |pair, ours, theirs| {
            let other = if up { &mut *theirs } else { &mut *ours };
            other.send(&pattern(100, 1));
            other.shutdown = true;
            pair.run(&mut [&mut *ours], &mut [&mut *theirs], |_, ours, theirs| ours[0].end || theirs[0].end);
            let (data, sender) = (pattern(BYTES, 2), if up { &mut *ours } else { &mut *theirs });
            sender.send(&data);
            sender.shutdown = true;
            pair.run(&mut [&mut *ours], &mut [&mut *theirs], |_, ours, theirs| {
                ours[0].closed.is_some() && theirs[0].closed.is_some()
            });
            assert!(if up { theirs.received == data } else { ours.received == data });
            assert!(ours.error.is_none() && theirs.error.is_none());
        });
        is_about_as_fast(growing, large, 80, if up { "up" } else { "down" });
        assert_eq!(retransmits, 0);
    }
}

#[test]
fn what_is_unread_stays_while_the_send_buffer_grows() {
    let unread = pattern(10_000, 1);
    let (growing, large, retransmits) = compare(80, 1400, |pair, ours, theirs| {
        ours.lazy = true;
        theirs.send(&unread);
        pair.run_for(&mut [&mut *ours], &mut [&mut *theirs], Duration::from_secs(1));
        ours.send(&pattern(BYTES, 2));
        pair.run(&mut [&mut *ours], &mut [&mut *theirs], |_, _, theirs| theirs[0].received.len() == BYTES);
        assert!(ours.received.is_empty() && theirs.received == ours.to_send);
        ours.lazy = false;
        pair.run_for(&mut [&mut *ours], &mut [&mut *theirs], Duration::from_millis(1));
        assert!(ours.received == unread);
        theirs.send(&pattern(100_000, 3));
        pair.run(&mut [&mut *ours], &mut [&mut *theirs], |_, ours, theirs| {
            ours[0].received.len() == theirs[0].to_send.len()
        });
        assert!(ours.received == theirs.to_send);
    });
    is_about_as_fast(growing, large, 80, "with something unread");
    assert_eq!(retransmits, 0);
}

#[test]
fn small_packets_leave_large_buffers_possible() {
    for tcp_mtu in [576, 1000, 1060, 1400] {
        let (growing, large, _) = compare(80, tcp_mtu, |pair, ours, theirs| {
            theirs.send(&pattern(BYTES, 2));
            pair.run(&mut [&mut *ours], &mut [&mut *theirs], |_, ours, _| ours[0].received.len() == BYTES);
            ours.send(&pattern(BYTES, 3));
            pair.run(&mut [&mut *ours], &mut [&mut *theirs], |_, _, theirs| theirs[0].received.len() == BYTES);
            assert_eq!((pair.client.counters().degraded, pair.gateway.counters().degraded), (0, 0));
        });
        is_about_as_fast(growing, large, 80, &format!("MTU {tcp_mtu}"));
    }
}

#[test]
fn a_round_trip_of_more_than_a_second_is_known_to_the_new_socket_too() {
    for millis in [900, 1500, 2500] {
        let (growing, large, retransmits) = compare(millis, 1400, |pair, ours, theirs| {
            ours.send(&pattern(BYTES, 2));
            pair.run(&mut [&mut *ours], &mut [&mut *theirs], |_, _, theirs| theirs[0].received.len() == BYTES);
        });
        is_about_as_fast(growing, large, millis, "long way");
        assert!(retransmits <= 2, "{retransmits} at {millis} ms");
    }
}

#[test]
fn what_a_remote_left_behind_a_hole_holds_no_buffers_in_silence() {
    let data = pattern(800_000, 1);
    let mut crafted = Crafted::new(TcpRepr { max_seg_size: Some(1360), window_scale: Some(4), ..SEGMENT });
    while crafted.used() < LEAST + 400 * KIB {
        crafted.give(&data, crafted.at, 1000);
        crafted.at += 1000;
        crafted.read();
        crafted.pair.answers();
    }
    crafted.give(&data, crafted.at + 1, 1);
    crafted.pair.down.cut = true;
    crafted.pair.run_for(&mut [], &mut [], Duration::from_secs(15));
    assert_eq!(crafted.used(), LEAST);
    // The byte is lost with its place, and comes again.
    let rest = &data[crafted.at..crafted.at + 3000];
    for from in [0, 1000, 2000] {
        crafted.give(&data, crafted.at + from, 1000);
    }
    crafted.read();
    assert!(crafted.client.received.ends_with(rest));
    assert_eq!(crafted.client.received, &data[..crafted.at + 3000]);
}

#[test]
fn a_segment_that_is_not_accepted_is_not_believed() {
    let data = pattern(800_000, 1);
    let mut crafted = Crafted::new(TcpRepr { max_seg_size: Some(1360), window_scale: Some(4), ..SEGMENT });
    // It acknowledges what was never sent, and lies behind a hole that there is not.
    let honest = crafted.next;
    crafted.next += 1_000_000;
    crafted.give(&data, 15_000, 1000);
    crafted.next = honest;
    for _ in 0..30 {
        crafted.give(&data, crafted.at, 400);
        crafted.at += 400;
        crafted.read();
        crafted.pair.answers();
    }
    assert!(crafted.used() > LEAST, "it has grown before the hole would have been filled");
}

#[test]
fn no_socket_is_exchanged_while_its_window_could_not_be_announced() {
    let data = pattern(800_000, 1);
    let mut crafted = Crafted::new(TcpRepr { max_seg_size: Some(1360), window_scale: Some(4), ..SEGMENT });
    crafted.give(&data, 0, 100);
    crafted.read();
    crafted.pair.answers();
    // What came before is acknowledged at once, and nobody fetches it.
    for _ in 0..1024 {
        crafted.give(&data, 0, 100);
    }
    for from in (100..12_100).step_by(1000) {
        crafted.give(&data, from, 1000);
        crafted.read();
    }
    assert_eq!(crafted.used(), LEAST);
    crafted.pair.answers();
    crafted.give(&data, 12_100, 1000);
    crafted.read();
    assert!(crafted.used() > LEAST);
    let widest = crafted.pair.answers().iter().map(|answer| read_tcp(answer).unwrap().tcp.window_len).max();
    assert!(widest > Some((16 * 1024) >> 4), "{widest:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Either end may stop reading for a while, and either may end its direction at any time.
    #[test]
    fn data_arrives_whole_with_what_is_unread_and_half_closed(
        loss in 0u32..30,
        latency in 0u64..60,
        up in proptest::collection::vec((0usize..200_000, any::<bool>(), any::<bool>()), 1..5),
        down in proptest::collection::vec((0usize..200_000, any::<bool>(), any::<bool>()), 1..5),
        seed in any::<u64>(),
    ) {
        let quality = Quality { latency: Duration::from_millis(latency), loss, ..Quality::PERFECT };
        let mut pair = Pair::with(config(), answering(), quality, seed);
        let (mut ours, mut theirs) = pair.connected((HOST_V4, 80).into());
        for index in 0..5 {
            for (client, pieces) in [(&mut ours, &up), (&mut theirs, &down)] {
                if let Some((bytes, lazy, _)) = pieces.get(index) {
                    client.send(&pattern(*bytes, index as u64));
                    client.lazy = *lazy;
                }
                client.shutdown |= pieces.len() == index + 1;
            }
            let pause = up.get(index).is_some_and(|(_, _, pause)| *pause);
            let time = Duration::from_secs(if pause { 15 } else { 1 });
            pair.run_for(&mut [&mut ours], &mut [&mut theirs], time);
        }
        (ours.lazy, theirs.lazy) = (false, false);
        pair.settle(&mut [&mut ours], &mut [&mut theirs]);
        pair.run(&mut [&mut ours], &mut [&mut theirs], |_, ours, theirs| {
            let (ours, theirs) = (&ours[0], &theirs[0]);
            ours.end && theirs.end && ours.closed.is_some() && theirs.closed.is_some()
        });
        assert!(ours.received == theirs.to_send && theirs.received == ours.to_send);
        assert!(ours.error.is_none() && theirs.error.is_none());
    }
}
