//! Goodput by round trip, loss and buffer, with bursts and reordering: what a change of the stack costs or gives on real paths.
//!
//! Virtual time and seeds make the figures the same on every machine, so the tables are snapshots. A cell that changes fails
//! its test and shows old and new; a table with cells that got worse is not to be accepted.

use std::{fmt::Write as _, time::Duration};

use adit_netstack::StackConfig;

use crate::{
    client::pattern,
    incoming::exchange,
    link::{Bursts, Late, Quality},
    pair::{Pair, answering},
    world::{HOST_V4, config, seed},
};

/// A path of 1 Gbit/s whose queue holds 10 ms.
fn path(millis: u64) -> Quality {
    let latency = Duration::from_millis(millis) / 2;
    Quality { latency, service: SERVICE, queue: Some(QUEUE), ..Quality::PERFECT }
}

/// Mbit/s from the first byte sent to the last one received, with buffers of one size at both ends.
///
/// # Panics
/// If anything but the bytes sent arrives.
fn goodput(quality: Quality, buffer: usize, data: &[u8], seed: u64) -> f64 {
    let sized = |config| StackConfig { memory: usize::MAX, buffer, small_buffer: buffer, ..config };
    let mut pair = Pair::with(sized(config()), sized(answering()), quality, seed);
    let (mut ours, mut theirs) = pair.connected((HOST_V4, 80).into());
    let start = pair.now;
    theirs.received.reserve(data.len());
    ours.send(data);
    let (mut ours, mut theirs) = ([&mut ours], [&mut theirs]);
    pair.settle(&mut ours, &mut theirs);
    while theirs[0].received.len() < data.len() && pair.advance(&mut ours, &mut theirs, Some(start + LONGEST)) {}
    let received = &theirs[0].received;
    assert!(data.starts_with(received), "what arrived is not what was sent");
    let bits = f64::from(u32::try_from(received.len()).unwrap()) * 8.0;
    bits / 1e6 / (pair.now - start).as_secs_f64()
}

/// The mean of several seeds.
fn mean_goodput(quality: Quality, buffer: usize, data: &[u8]) -> f64 {
    let sum: f64 = SEEDS.iter().map(|seed| goodput(quality, buffer, data, *seed)).sum();
    sum / f64::from(u8::try_from(SEEDS.len()).unwrap())
}

/// The three columns of a row, each for a round trip, at 100 Mbit/s.
fn by_round_trip(table: &mut String, quality: Quality, data: &[u8]) {
    for millis in [5, 20, 80] {
        let quality = Quality { latency: path(millis).latency, service: SERVICE * 10, ..quality };
        write!(table, "{:>8.1}", mean_goodput(quality, BUFFER, data)).unwrap();
    }
    table.push('\n');
}

#[test]
fn goodput_by_buffer_round_trip_and_loss() {
    let data = pattern(24_000_000, 1);
    let mut table = String::from("buffer      RTT   Mbit/s at a loss of 0, 0.01 %, 0.1 %, 1 %\n");
    for buffer in [64 << 10, 512 << 10, 1 << 20, 4 << 20] {
        for millis in [5, 20, 80] {
            write!(table, "{:>4} KiB  {millis:>2} ms ", buffer >> 10).unwrap();
            for rare_loss in [0, 100, 1000, 10_000] {
                let quality = Quality { rare_loss, ..path(millis) };
                // Without loss nothing is left to chance.
                let rate = if rare_loss == 0 { goodput } else { |q, b, d: &[u8], _| mean_goodput(q, b, d) };
                write!(table, "{:>8.1}", rate(quality, buffer, &data, SEEDS[0])).unwrap();
            }
            table.push('\n');
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn goodput_under_bursts_of_loss() {
    let data = pattern(20_000_000, 2);
    let mut table = String::from("packets lost in a row, every second, of 100 Mbit/s: Mbit/s at 5 ms, 20 ms, 80 ms\n");
    for packets in [1, 3, 20, 100] {
        write!(table, "{packets:>4} ").unwrap();
        let bursts = Some(Bursts { every: Duration::from_secs(1), packets });
        by_round_trip(&mut table, Quality { bursts, ..path(0) }, &data);
    }
    insta::assert_snapshot!(table);
}

#[test]
fn goodput_under_reordering() {
    let data = pattern(20_000_000, 3);
    let mut table = String::from(
        "packets overtaken of a thousand, by those of how long, of 100 Mbit/s: Mbit/s at 5 ms, 20 ms, 80 ms\n",
    );
    for chance in [10, 100] {
        for micros in [200, 500, 2000, 10_000] {
            write!(table, "{chance:>4} {micros:>5} us ").unwrap();
            let late = Some(Late { chance, by: Duration::from_micros(micros) });
            by_round_trip(&mut table, Quality { late, ..path(0) }, &data);
        }
    }
    insta::assert_snapshot!(table);
}

/// Both directions at once; byte for byte the same in the end, and the connection ends in order.
fn arrives_whole(quality: Quality, bytes: usize) -> Pair {
    let pair = Pair::with(config(), answering(), quality, seed());
    exchange(pair, (HOST_V4, 80).into(), &pattern(bytes, 4), &pattern(bytes, 5))
}

#[test]
fn twenty_packets_lost_in_a_row_every_second_change_no_byte() {
    let bursts = Some(Bursts { every: Duration::from_secs(1), packets: 20 });
    let pair = arrives_whole(Quality { bursts, ..path(80) }, 12_000_000);
    assert!(pair.up.lost >= 40 && pair.down.lost >= 40, "{} and {}", pair.up.lost, pair.down.lost);
}

#[test]
fn two_hundred_packets_lost_in_a_row_every_three_seconds_change_no_byte() {
    let bursts = Some(Bursts { every: Duration::from_secs(3), packets: 200 });
    let pair = arrives_whole(Quality { bursts, ..path(80) }, 24_000_000);
    assert!(pair.up.lost + pair.down.lost >= 200, "{} and {}", pair.up.lost, pair.down.lost);
}

#[test]
fn bursts_on_top_of_loss_and_reordering_change_no_byte() {
    let quality = Quality {
        bursts: Some(Bursts { every: Duration::from_secs(1), packets: 20 }),
        late: Some(Late { chance: 50, by: Duration::from_millis(3) }),
        rare_loss: 5000,
        duplication: 5,
        ..path(20)
    };
    arrives_whole(quality, 3_000_000);
}

#[test]
fn one_packet_of_a_hundred_overtaken_by_a_few_changes_no_byte() {
    let late = Some(Late { chance: 10, by: Duration::from_micros(50) });
    arrives_whole(Quality { late, ..path(20) }, 8_000_000);
}

#[test]
fn every_tenth_packet_overtaken_by_hundreds_changes_no_byte() {
    let late = Some(Late { chance: 100, by: Duration::from_millis(5) });
    arrives_whole(Quality { late, ..path(20) }, 4_000_000);
}

#[test]
fn every_other_packet_overtaken_changes_no_byte() {
    let late = Some(Late { chance: 500, by: Duration::from_millis(2) });
    arrives_whole(Quality { late, ..path(20) }, 4_000_000);
}

#[test]
fn packets_in_random_order_change_no_byte() {
    arrives_whole(Quality { jitter: Duration::from_millis(20), ..path(20) }, 2_000_000);
}

/// A slow path does not get to the end of the data.
const LONGEST: Duration = Duration::from_secs(15);
/// 1400 bytes at 1 Gbit/s.
const SERVICE: Duration = Duration::from_nanos(11_200);
const QUEUE: Duration = Duration::from_millis(10);
/// The stack's default.
const BUFFER: usize = 512 << 10;
const SEEDS: [u64; 3] = [1, 2, 3];
