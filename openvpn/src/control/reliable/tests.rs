use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[expect(clippy::disallowed_methods, reason = "any instant will do as the start of virtual time")]
fn start() -> Instant {
    Instant::now()
}

fn reliable() -> Reliable {
    Reliable::new(2 * SECOND, 0)
}

fn with_queued(count: u8) -> Reliable {
    let mut reliable = reliable();
    (0..count).for_each(|n| reliable.queue(Opcode::CONTROL_V1, Bytes::copy_from_slice(&[n])));
    reliable
}

/// Ids of everything that goes out now.
fn sent(reliable: &mut Reliable, now: Instant) -> Vec<u32> {
    std::iter::from_fn(|| reliable.poll_send(now)).map(|outgoing| outgoing.packet_id).collect()
}

#[test]
fn six_packets_go_out_and_the_next_waits_for_the_lowest() {
    let (now, mut reliable) = (start(), with_queued(5));
    assert!(reliable.can_queue());
    (0..3).for_each(|_| reliable.queue(Opcode::CONTROL_V1, Bytes::new()));
    assert!(!reliable.can_queue());
    assert_eq!(sent(&mut reliable, now), [0, 1, 2, 3, 4, 5]);
    reliable.on_acks(now, &[1, 2]);
    assert_eq!(sent(&mut reliable, now), [0; 0], "0 is missing: the window has not moved");
    reliable.on_acks(now, &[0]);
    assert_eq!(sent(&mut reliable, now), [6, 7]);
    assert_eq!(reliable.in_flight(), 5);
}

#[test]
fn retransmissions_are_the_same_packet_at_doubling_intervals() {
    let (now, mut reliable) = (start(), with_queued(1));
    let first = reliable.poll_send(now).unwrap();
    assert!(first.first);
    let mut waits = Vec::new();
    let mut last = now;
    for _ in 0..6 {
        let due = reliable.poll_timeout().unwrap();
        assert_eq!(reliable.poll_send(due - Duration::from_nanos(1)), None);
        let again = reliable.poll_send(due).unwrap();
        assert_eq!(again, Outgoing { first: false, ..first.clone() });
        waits.push((due - last).as_secs());
        last = due;
    }
    assert_eq!(waits, [2, 4, 8, 16, 16, 16]);
}

#[test]
fn three_packets_overtaking_one_send_it_again_at_once() {
    let (now, mut reliable) = (start(), with_queued(6));
    sent(&mut reliable, now);
    reliable.on_acks(now, &[1, 1, 1, 2]);
    assert_eq!(sent(&mut reliable, now), [0; 0], "two packets overtook it, one acknowledged thrice");
    reliable.on_acks(now, &[3]);
    assert_eq!(reliable.poll_timeout(), Some(now));
    assert_eq!(sent(&mut reliable, now), [0]);
    reliable.on_acks(now, &[4, 5]);
    assert_eq!(reliable.poll_timeout(), Some(now + 2 * SECOND), "and does not slow down");
}

#[test]
fn acknowledgements_of_what_was_never_sent_change_nothing() {
    let (now, mut reliable) = (start(), with_queued(8));
    reliable.on_acks(now, &[0, 7, 99, u32::MAX]);
    assert_eq!(sent(&mut reliable, now), [0, 1, 2, 3, 4, 5]);
    reliable.on_acks(now, &[7]);
    assert_eq!(reliable.in_flight(), 8);
}

#[test]
fn nothing_is_due_once_all_is_acknowledged() {
    let (now, mut reliable) = (start(), with_queued(2));
    sent(&mut reliable, now);
    assert!(!reliable.all_acked());
    reliable.on_acks(now, &[0, 1]);
    assert!(reliable.all_acked());
    assert_eq!(reliable.poll_timeout(), None);
}

#[test]
fn packets_are_delivered_in_order_and_once() {
    let mut reliable = reliable();
    let payload = |text: &'static str| Bytes::from_static(text.as_bytes());
    assert_eq!(reliable.on_packet(1, payload("b")), Received::Accepted);
    assert_eq!(reliable.poll_deliver(), None);
    assert_eq!(reliable.on_packet(1, payload("x")), Received::Duplicate);
    assert_eq!(reliable.on_packet(0, payload("a")), Received::Accepted);
    assert_eq!(reliable.poll_deliver(), Some(payload("a")));
    assert_eq!(reliable.poll_deliver(), Some(payload("b")));
    assert_eq!(reliable.on_packet(0, payload("a")), Received::Duplicate);
    assert_eq!(reliable.poll_deliver(), None);
}

#[test]
fn a_packet_beyond_the_window_is_not_acknowledged() {
    let mut reliable = reliable();
    assert_eq!(reliable.on_packet(12, Bytes::new()), Received::OutOfWindow);
    assert_eq!(reliable.on_packet(u32::MAX, Bytes::new()), Received::OutOfWindow);
    assert!(!reliable.has_pending_acks());
    assert_eq!(reliable.on_packet(11, Bytes::new()), Received::Accepted);
    assert_eq!(reliable.take_acks(8).as_slice(), [11]);
}

#[test]
fn acknowledgements_are_repeated_the_latest_first_while_there_is_room() {
    let mut reliable = reliable();
    (0..6).for_each(|id| assert_eq!(reliable.on_packet(id, Bytes::new()), Received::Accepted));
    assert!(reliable.has_pending_acks());
    assert_eq!(reliable.take_acks(4).as_slice(), [0, 1, 2, 3]);
    assert!(reliable.has_pending_acks());
    assert_eq!(reliable.take_acks(4).as_slice(), [4, 5, 3, 2]);
    assert!(!reliable.has_pending_acks());
    assert_eq!(reliable.take_acks(4).as_slice(), [5, 4, 3, 2]);
    assert_eq!(reliable.take_acks(100).len(), 6);
}

#[test]
fn a_duplicate_is_acknowledged_again_first() {
    let mut reliable = reliable();
    (0..3).for_each(|id| assert_eq!(reliable.on_packet(id, Bytes::new()), Received::Accepted));
    reliable.take_acks(4);
    assert_eq!(reliable.on_packet(0, Bytes::new()), Received::Duplicate);
    assert!(reliable.has_pending_acks());
    assert_eq!(reliable.take_acks(1).as_slice(), [0]);
}

#[test]
fn a_flood_of_duplicates_does_not_grow_anything() {
    let mut reliable = reliable();
    for id in 0..1000 {
        reliable.on_packet(id, Bytes::new());
        reliable.poll_deliver();
        reliable.take_acks(4);
    }
    let answers: Vec<_> = (0..1000).map(|id| reliable.on_packet(id, Bytes::new())).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == Received::Duplicate).count(), MAX_FRESH_ACKS);
    assert_eq!(reliable.fresh_acks.len(), MAX_FRESH_ACKS);
}

/// What the link does with the next datagram.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrives,
    Lost,
    Twice,
}

#[derive(Debug, Clone)]
struct Datagram {
    to: usize,
    packet: Option<(u32, Bytes)>,
    acks: AckList,
}

/// Everything an end has to send now.
fn outbox(ends: &mut [Reliable; 2], now: Instant) -> Vec<Datagram> {
    let mut datagrams = Vec::new();
    for (at, end) in ends.iter_mut().enumerate() {
        while let Some(outgoing) = end.poll_send(now) {
            let packet = Some((outgoing.packet_id, outgoing.payload));
            datagrams.push(Datagram { to: 1 - at, packet, acks: end.take_acks(ACKS_PER_PACKET) });
        }
        while end.has_pending_acks() {
            datagrams.push(Datagram { to: 1 - at, packet: None, acks: end.take_acks(ACKS_PER_PACKET) });
        }
    }
    datagrams
}

proptest! {
    #[test]
    fn everything_arrives_in_order_and_once_over_a_bad_link(
        counts in (0u8..40, 0u8..40),
        fates in prop::collection::vec((0u8..10, any::<prop::sample::Index>()), 0..400),
    ) {
        let (mut now, mut ends) = (start(), [with_queued(counts.0), with_queued(counts.1)]);
        let (mut link, mut delivered) = (Vec::new(), [Vec::new(), Vec::new()]);
        let mut fates = fates.into_iter();
        for step in 0.. {
            prop_assert!(step < 100_000, "no end");
            link.extend(outbox(&mut ends, now));
            if link.is_empty() {
                let Some(due) = ends.iter().filter_map(Reliable::poll_timeout).min() else { break };
                now = now.max(due);
                continue;
            }
            // Once the random fates are used up the link is a good one.
            let (fate, at) = match fates.next() {
                Some((0..4, at)) => (Fate::Lost, at.index(link.len())),
                Some((4..6, at)) => (Fate::Twice, at.index(link.len())),
                Some((_, at)) => (Fate::Arrives, at.index(link.len())),
                None => (Fate::Arrives, 0),
            };
            let datagram = match fate {
                Fate::Twice => link[at].clone(),
                Fate::Arrives | Fate::Lost => link.remove(at),
            };
            if matches!(fate, Fate::Lost) {
                continue;
            }
            let end = &mut ends[datagram.to];
            end.on_acks(now, datagram.acks.as_slice());
            if let Some((id, payload)) = datagram.packet {
                end.on_packet(id, payload);
            }
            delivered[datagram.to].extend(std::iter::from_fn(|| end.poll_deliver()).map(|payload| payload[0]));
            for end in &ends {
                prop_assert!(end.received.len() <= RECEIVE_WINDOW && end.fresh_acks.len() <= MAX_FRESH_ACKS);
            }
        }
        prop_assert_eq!(&delivered[1], &(0..counts.0).collect::<Vec<_>>());
        prop_assert_eq!(&delivered[0], &(0..counts.1).collect::<Vec<_>>());
        prop_assert!(ends.iter().all(Reliable::all_acked));
    }
}
