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

    /// Bytes of packets in either direction that wait.
    pub(crate) fn held_bytes(&self) -> usize {
        let received = self.received.iter().flatten().map(Bytes::len);
        self.sending.iter().map(|sending| sending.payload.len()).chain(received).sum()
    }

    /// The peer's packets up to here were taken in without us, and ours up to here acknowledged (a server that answered a
    /// reset without keeping state).
    pub(crate) fn after_cookie(tls_timeout: Duration) -> Self {
        Self { expected: 1, sent_acks: [0].into(), ..Self::new(tls_timeout, 1) }
    }

    /// The id of the next packet to deliver.
    #[cfg(test)]
    pub(crate) const fn expected(&self) -> u32 {
        self.expected
    }

    /// Packets sent or waiting that the peer has not acknowledged.
    #[cfg(test)]
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
        // A deliberate fault, which tests must notice: what was sent once is forgotten (and see `overtake`).
        let timeout = if cfg!(adit_sabotage = "retransmission") { LONGEST_FIRST_TIMEOUT } else { timeout };
        self.schedule = Some(Schedule { due: now + timeout, timeout, overtaken: 0 });
        Outgoing { opcode: self.opcode, packet_id: self.id, payload: self.payload.clone(), first }
    }

    fn overtake(&mut self, now: Instant) {
        if let Some(schedule) = &mut self.schedule {
            schedule.overtaken += 1;
            if schedule.overtaken >= FAST_RETRANSMIT && !cfg!(adit_sabotage = "retransmission") {
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
mod tests;
