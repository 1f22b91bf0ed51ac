//! Reliable delivery of control packets, per key: windows, acknowledgements, retransmission (OpenVPN 2.6 `reliable.c`).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::packet::{AckList, Opcode};

/// Sends packets until they are acknowledged, and hands received ones over in order, once.
#[derive(Debug)]
pub(crate) struct Reliable {
    first_timeout: Duration,
    next_id: u32,
    /// Not acknowledged yet, by ascending id.
    sending: VecDeque<Sending>,
    /// The id of `received`'s first place.
    expected: u32,
    /// Places for [`RECEIVE_WINDOW`] packets from `expected` on.
    received: VecDeque<Option<Bytes>>,
    /// Received and not acknowledged at all yet, the oldest first.
    fresh_acks: VecDeque<u32>,
    /// Acknowledged before, the latest first: repeated while there is room, in case the first time got lost.
    sent_acks: VecDeque<u32>,
}

#[derive(Debug)]
struct Sending {
    id: u32,
    opcode: Opcode,
    payload: Bytes,
    schedule: Option<Schedule>,
}

/// When a packet that went out once goes out again.
#[derive(Debug)]
struct Schedule {
    due: Instant,
    timeout: Duration,
    /// Packets with higher ids that were acknowledged meanwhile.
    overtaken: u32,
}

/// A packet to put into a datagram, together with acknowledgements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) opcode: Opcode,
    pub(crate) packet_id: u32,
    pub(crate) payload: Bytes,
    /// Not a retransmission.
    pub(crate) first: bool,
}

/// What became of a received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// New: it will be acknowledged, and delivered in its turn.
    Accepted,
    /// Known already: it will be acknowledged once more.
    Duplicate,
    /// No room for it, or for its acknowledgement: dropped in silence, the peer will send it again.
    OutOfWindow,
}

impl Reliable {
    /// `tls_timeout` passes before the first retransmission; packets are numbered from `first_send_id`, which is 0
    /// except on a server that answered a reset without keeping state.
    pub(crate) fn new(tls_timeout: Duration, first_send_id: u32) -> Self {
        Self {
            // Bounded so that no sum with a time overflows.
            first_timeout: tls_timeout.clamp(MIN_TIMEOUT, LONGEST_FIRST_TIMEOUT),
            next_id: first_send_id,
            sending: VecDeque::new(),
            expected: 0,
            received: VecDeque::new(),
            fresh_acks: VecDeque::new(),
            sent_acks: VecDeque::new(),
        }
    }

    /// Whether a packet queued now would go out at once. More can be queued; they wait.
    pub(crate) fn can_queue(&self) -> bool {
        self.in_window(self.next_id)
    }

    /// Takes a packet to send under the next id.
    pub(crate) fn queue(&mut self, opcode: Opcode, payload: Bytes) {
        self.sending.push_back(Sending { id: self.next_id, opcode, payload, schedule: None });
        // Ids of one key cannot run out: at 12 packets per round trip, 2^32 take longer than any key lives.
        self.next_id = self.next_id.wrapping_add(1);
    }

    /// The next packet to put on the wire: a new one, or a retransmission that is due.
    pub(crate) fn poll_send(&mut self, now: Instant) -> Option<Outgoing> {
        let lowest = self.sending.front()?.id;
        let window = self.sending.iter_mut().take_while(|sending| in_send_window(lowest, sending.id));
        window.filter(|sending| sending.is_due(now)).map(|sending| sending.send(now, self.first_timeout)).next()
    }

    /// Notes acknowledgements of the peer; ids we know nothing of are ignored.
    pub(crate) fn on_acks(&mut self, now: Instant, acks: &[u32]) {
        for &acked in acks {
            let Some(at) = self.sending.iter().position(|s| s.id == acked && s.schedule.is_some()) else { continue };
            self.sending.remove(at);
            self.sending.iter_mut().take(at).for_each(|sending| sending.overtake(now));
        }
    }

    /// Takes a packet of the peer.
    pub(crate) fn on_packet(&mut self, packet_id: u32, payload: Bytes) -> Received {
        let place = packet_id.checked_sub(self.expected).map(|place| place as usize);
        if place.is_some_and(|place| place >= RECEIVE_WINDOW) || !self.note_ack(packet_id) {
            return Received::OutOfWindow;
        }
        let Some(place) = place else { return Received::Duplicate };
        if self.received.len() <= place {
            self.received.resize(place + 1, None);
        }
        match self.received.get_mut(place) {
            Some(slot @ None) => {
                *slot = Some(payload);
                Received::Accepted
            }
            Some(Some(_)) | None => Received::Duplicate,
        }
    }

    /// The next payload in order.
    pub(crate) fn poll_deliver(&mut self) -> Option<Bytes> {
        let payload = self.received.front_mut()?.take()?;
        self.received.pop_front();
        self.expected = self.expected.wrapping_add(1);
        Some(payload)
    }

    /// Up to `max` acknowledgements to send now: those never sent, then the latest ones again.
    pub(crate) fn take_acks(&mut self, max: usize) -> AckList {
        let max = max.min(AckList::MAX);
        let fresh = self.fresh_acks.len().min(max);
        let mut acks: AckList = self.fresh_acks.drain(..fresh).collect();
        let again = self.sent_acks.iter().copied().filter(|id| !acks.contains(*id));
        let again: AckList = again.take(max - acks.len()).collect();
        for &id in acks.as_slice() {
            self.sent_acks.retain(|other| *other != id);
            self.sent_acks.push_front(id);
        }
        self.sent_acks.truncate(AckList::MAX);
        again.as_slice().iter().for_each(|id| {
            acks.push(*id);
        });
        acks
    }

    /// Whether something received has not been acknowledged at all: if nothing else goes out, an ACK_V1 must.
    pub(crate) fn has_pending_acks(&self) -> bool {
        !self.fresh_acks.is_empty()
    }

    /// When to call [`Self::poll_send`] again, if nothing happens before. New packets are not waited for.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.sending.iter().filter_map(|sending| Some(sending.schedule.as_ref()?.due)).min()
    }

    /// Whether the peer has everything.
    pub(crate) fn all_acked(&self) -> bool {
        self.sending.is_empty()
    }

    /// Packets sent or waiting that the peer has not acknowledged.
    pub(crate) fn in_flight(&self) -> usize {
        self.sending.len()
    }

    fn in_window(&self, id: u32) -> bool {
        self.sending.front().is_none_or(|lowest| in_send_window(lowest.id, id))
    }

    /// `false` if there is no room; a peer that floods us with duplicates must not fill our memory.
    fn note_ack(&mut self, id: u32) -> bool {
        if self.fresh_acks.contains(&id) {
            return true;
        }
        if self.fresh_acks.len() >= MAX_FRESH_ACKS {
            return false;
        }
        self.fresh_acks.push_back(id);
        true
    }
}

impl Sending {
    fn is_due(&self, now: Instant) -> bool {
        self.schedule.as_ref().is_none_or(|schedule| schedule.due <= now)
    }

    fn send(&mut self, now: Instant, first_timeout: Duration) -> Outgoing {
        let first = self.schedule.is_none();
        let timeout = match &self.schedule {
            None => first_timeout,
            // Sent again because others overtook it, not because the line was silent: no reason to slow down.
            Some(schedule) if schedule.overtaken >= FAST_RETRANSMIT => schedule.timeout,
            Some(schedule) => (schedule.timeout * 2).min(MAX_TIMEOUT.max(first_timeout)),
        };
        self.schedule = Some(Schedule { due: now + timeout, timeout, overtaken: 0 });
        Outgoing { opcode: self.opcode, packet_id: self.id, payload: self.payload.clone(), first }
    }

    fn overtake(&mut self, now: Instant) {
        if let Some(schedule) = &mut self.schedule {
            schedule.overtaken += 1;
            if schedule.overtaken >= FAST_RETRANSMIT {
                schedule.due = schedule.due.min(now);
            }
        }
    }
}

fn in_send_window(lowest: u32, id: u32) -> bool {
    id.wrapping_sub(lowest) < SEND_WINDOW
}

/// How far ids may run ahead of the lowest that is not acknowledged (2.6 `ssl_common.h`).
const SEND_WINDOW: u32 = 6;
/// How many packets from the next expected one on are kept (2.6 `ssl_common.h`).
const RECEIVE_WINDOW: usize = 12;
/// A full window, and as many duplicates again. Our own judgement: 2.x refuses packets beyond 8.
const MAX_FRESH_ACKS: usize = 2 * RECEIVE_WINDOW;
/// So many packets overtaking one mean that it is lost (2.6 `reliable.h`).
const FAST_RETRANSMIT: u32 = 3;
/// 2.x doubles without bound. With `tls-timeout 2` this gives five tries in a `hand-window` of 60 s: 0, 2, 6, 14, 30,
/// and one more at 46. Our own judgement.
const MAX_TIMEOUT: Duration = Duration::from_secs(16);

/// Keeps a `tls-timeout` of 0 from sending without pause. Our own judgement.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);
/// No handshake lasts longer. Our own judgement.
const LONGEST_FIRST_TIMEOUT: Duration = Duration::from_secs(3600);

/// Acknowledgements to put on a packet, of either kind. 2.x sends up to 4 on control packets and 8 on ACK_V1;
/// SoftEther drops packets with more than 4.
pub(crate) const ACKS_PER_PACKET: usize = 4;

#[cfg(test)]
mod tests {
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
}
