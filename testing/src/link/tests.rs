use super::*;
use crate::Clock;

const MILLI: Duration = Duration::from_millis(1);

/// Sends so many datagrams, one a millisecond, and returns the numbers that arrive, in the order they do.
fn carried(conditions: Conditions, seed: u64, count: u32) -> (Vec<(Duration, Vec<u8>)>, LinkCounts) {
    let (mut clock, mut link) = (Clock::new(), Link::new(conditions, seed));
    for number in 0..count {
        link.send(clock.now(), number.to_be_bytes().to_vec());
        clock.pass(MILLI);
    }
    let mut arrivals = Vec::new();
    let mut early = Clock::clone(&clock);
    while let Some(at) = link.next_arrival() {
        early.jump_to(at);
        let datagram = link.arrived(early.now()).expect("it has arrived");
        arrivals.push((early.elapsed(), datagram));
    }
    assert_eq!(link.under_way(), 0);
    (arrivals, link.counts())
}

fn numbers(arrivals: &[(Duration, Vec<u8>)]) -> Vec<u32> {
    arrivals.iter().map(|(_, bytes)| u32::from_be_bytes(bytes[..].try_into().expect("four bytes"))).collect()
}

#[test]
fn a_good_link_keeps_everything_in_order() {
    let (arrivals, counts) = carried(Conditions::GOOD, 1, 100);
    assert_eq!(numbers(&arrivals), (0..100).collect::<Vec<_>>());
    assert_eq!(counts, LinkCounts { sent: 100, arrived: 100, ..LinkCounts::default() });
}

#[test]
fn every_datagram_takes_at_least_the_latency_and_at_most_the_jitter_more() {
    let (latency, jitter) = (20 * MILLI, 30 * MILLI);
    let mut link = Link::new(Conditions { latency, jitter, ..Conditions::GOOD }, 7);
    let clock = Clock::new();
    (0..1000_u32).for_each(|n| link.send(clock.now(), n.to_be_bytes().to_vec()));
    let first = link.next_arrival().expect("something is under way") - clock.now();
    assert!(first >= latency && first < latency + MILLI, "{first:?}");
    assert!(link.arrived(clock.now() + latency - MILLI).is_none());
    let late = clock.now() + latency + jitter - MILLI;
    while link.arrived(late).is_some() {}
    assert!((1..200).contains(&link.under_way()), "{} in the last millisecond", link.under_way());
    while link.arrived(clock.now() + latency + jitter).is_some() {}
    assert_eq!(link.under_way(), 0);
}

#[test]
fn loss_duplication_reordering_and_corruption_have_the_share_they_are_given() {
    let near = |count: u64, share: f64| (count as f64 - 20_000.0 * share).abs() < 400.0;
    let (_, lost) = carried(Conditions { loss: 0.3, ..Conditions::GOOD }, 1, 20_000);
    assert!(near(lost.lost, 0.3) && lost.arrived == 20_000 - lost.lost, "{lost:?}");
    let (_, twice) = carried(Conditions { duplication: 0.1, ..Conditions::GOOD }, 2, 20_000);
    assert!(near(twice.duplicated, 0.1) && twice.arrived == 20_000 + twice.duplicated, "{twice:?}");
    let late = Conditions { reordering: 0.2, held_back: 5 * MILLI, ..Conditions::GOOD };
    let (arrivals, held) = carried(late, 3, 20_000);
    let overtaken = numbers(&arrivals).windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(near(held.held_back, 0.2) && overtaken > 1000, "{held:?}, {overtaken} overtaken");
    let (arrivals, turned) = carried(Conditions { corruption: 0.5, ..Conditions::GOOD }, 4, 20_000);
    let changed = numbers(&arrivals).iter().zip(0..).filter(|(arrived, sent)| *arrived != sent).count();
    assert!(near(turned.corrupted, 0.5) && changed as u64 == turned.corrupted, "{turned:?}, {changed} changed");
}

#[test]
fn a_burst_loses_neighbours() {
    let (arrivals, counts) = carried(Conditions { loss: 0.02, burst: 10, ..Conditions::GOOD }, 5, 5000);
    let gaps: Vec<_> = numbers(&arrivals).windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|gap| *gap > 0).collect();
    assert!(gaps.len() > 20 && gaps.iter().all(|gap| gap.is_multiple_of(10)), "{gaps:?}");
    assert!(counts.lost >= 10 * gaps.len() as u64);
}

#[test]
fn larger_datagrams_than_the_mtu_vanish() {
    let (clock, mut link) = (Clock::new(), Link::new(Conditions { mtu: Some(100), ..Conditions::GOOD }, 1));
    link.send(clock.now(), vec![0; 101]);
    link.send(clock.now(), vec![0; 100]);
    assert_eq!((link.under_way(), link.counts().too_large), (1, 1));
}

#[test]
fn a_blackout_lasts_from_until() {
    let (mut clock, mut link) = (Clock::new(), Link::new(Conditions::GOOD, 1));
    link.blackout(clock.now() + 10 * MILLI, clock.now() + 20 * MILLI);
    for number in 0..30_u32 {
        link.send(clock.now(), number.to_be_bytes().to_vec());
        clock.pass(MILLI);
    }
    clock.pass(100 * MILLI);
    let arrived: Vec<_> = std::iter::from_fn(|| link.arrived(clock.now())).map(|bytes| bytes[3]).collect();
    assert_eq!(arrived, (0..10).chain(20..30).collect::<Vec<u8>>());
    link.blackout(clock.now(), clock.now() + 1000 * MILLI);
    link.end_blackouts();
    link.send(clock.now(), vec![1]);
    assert_eq!((link.counts().blacked_out, link.under_way()), (10, 1));
    link.lose_all();
    assert_eq!((link.counts().lost, link.next_arrival()), (1, None));
}

#[test]
fn the_same_seed_does_the_same_and_another_something_else() {
    let everything = Conditions { corruption: 0.1, burst: 2, ..Conditions::BAD };
    let run = |seed| numbers(&carried(everything, seed, 500).0);
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_change_of_one_condition_leaves_the_draws_of_the_others() {
    let (with, _) = carried(Conditions { duplication: 1.0, ..Conditions::BAD }, 9, 500);
    let (without, _) = carried(Conditions { duplication: 0.0, ..Conditions::BAD }, 9, 500);
    let (mut with, mut without) = (numbers(&with), numbers(&without));
    with.sort_unstable();
    with.dedup();
    without.sort_unstable();
    assert_eq!(with, without);
}
