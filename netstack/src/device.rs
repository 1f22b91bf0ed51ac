//! Between smoltcp and our packets: one packet in, any number out, and a look at what goes by.

use smoltcp::{
    phy::{self, Checksum, ChecksumCapabilities, DeviceCapabilities, Medium},
    time::Instant,
};

use crate::{
    packet::{V4_HEADER, V6_HEADER},
    segment::{self, Segment},
};

/// Where packets go. The driver hands out space inside its send batch, with room for the tunnel's header in front, so
/// that a packet is written where it will be sealed.
pub trait PacketSink {
    /// Whether one more packet of the tunnel's MTU fits.
    fn has_room(&mut self) -> bool;

    /// Takes a packet of `len` bytes: calls `fill` once with exactly that much space, whose content does not matter.
    /// Is called only after [`has_room`](Self::has_room) said yes, once for each yes. A sink that does not call `fill`
    /// loses the packet.
    fn packet(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8]));
}

/// A smoltcp device that exists for one call.
pub(crate) struct Device<'a> {
    /// The packet to receive.
    pub(crate) arriving: Option<&'a [u8]>,
    pub(crate) sink: &'a mut dyn PacketSink,
    pub(crate) mtu: usize,
    pub(crate) track: &'a mut Track,
    /// How many packets were sent.
    pub(crate) sent: u64,
}

impl phy::Device for Device<'_> {
    type RxToken<'t>
        = RxToken<'t>
    where
        Self: 't;
    type TxToken<'t>
        = TxToken<'t>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let packet = self.arriving.take()?;
        let tx = TxToken { sink: &mut *self.sink, track: &mut *self.track, sent: &mut self.sent };
        Some((RxToken { packet }, tx))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        Some(TxToken { sink: &mut *self.sink, track: &mut *self.track, sent: &mut self.sent })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.mtu)
    }
}

/// What is arriving was checked by us already, so smoltcp need not sum it up a second time.
fn capabilities(mtu: usize) -> DeviceCapabilities {
    let mut checksum = ChecksumCapabilities::default();
    checksum.ipv4 = Checksum::Tx;
    checksum.tcp = Checksum::Tx;
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = mtu;
    capabilities.max_burst_size = None;
    capabilities.checksum = checksum;
    capabilities
}

pub(crate) struct RxToken<'a> {
    packet: &'a [u8],
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.packet)
    }
}

pub(crate) struct TxToken<'a> {
    sink: &'a mut dyn PacketSink,
    track: &'a mut Track,
    sent: &'a mut u64,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        *self.sent += 1;
        let Self { sink, track, .. } = self;
        let mut todo = Some(f);
        let mut done = None;
        sink.packet(len, &mut |space| {
            if let Some(space) = space.get_mut(..len)
                && let Some(f) = todo.take()
            {
                done = Some(f(space));
                track.on_sent(space);
            }
        });
        match (done, todo) {
            (Some(result), _) => result,
            // The sink broke its contract: the packet is lost, as on any wire, and smoltcp must not notice.
            (None, Some(f)) => f(&mut vec![0; len]),
            (None, None) => f_was_taken(),
        }
    }
}

/// `todo` is emptied only where `done` is filled.
#[expect(clippy::unreachable, reason = "the closure is taken and its result stored in one breath")]
fn f_was_taken<R>() -> R {
    unreachable!("the packet was filled without a result")
}

/// What a segment that was sent takes of the sequence space.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Nothing: an acknowledgment, or a probe of what is known.
    #[default]
    Nothing,
    New,
    Again,
}

/// What a connection's segments said, as seen from outside: smoltcp does not show its sequence numbers.
#[derive(Debug, Default)]
pub(crate) struct Track {
    /// The first sequence number we have sent and that is not acknowledged (SND.UNA).
    pub(crate) unacknowledged: u32,
    /// The sequence number after the last we have sent (SND.NXT); `None` before the SYN.
    pub(crate) next: Option<u32>,
    /// The last acknowledgment number we have sent.
    pub(crate) acknowledged: Option<u32>,
    /// The last window we have sent, as in the header.
    pub(crate) window: u16,
    /// What the latest packet sent was; taken by who looks at it.
    pub(crate) sent: Sent,
    /// Something but a SYN was sent. Only then does smoltcp 0.14 know its own window: see `Live::is_implausible`.
    pub(crate) spoke: bool,
    /// By how many bits the window is shifted in our SYN, and by how many smoltcp shifts it, which goes by the buffer it has.
    pub(crate) announced: u8,
    pub(crate) shift: u8,
    /// The end of what the remote was ever told it may send.
    pub(crate) edge: Option<u32>,
    /// The sequence number after the remote's FIN, once one was received. It may be a lie or ahead of missing data.
    pub(crate) fin: Option<u32>,
}

impl Track {
    /// Looks at a packet on its way out, and corrects its sequence number and its window.
    ///
    /// smoltcp 0.14 rewinds its SND.NXT when it retransmits, and then gives acknowledgments and RSTs that old number. The
    /// remote drops them as outside of its window; two ends that both do so wait for each other for ever. RFC 9293
    /// §3.10.7.4 wants `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`.
    pub(crate) fn on_sent(&mut self, packet: &mut [u8]) {
        let header_len = if packet.first().is_some_and(|byte| byte >> 4 == 4) { V4_HEADER } else { V6_HEADER };
        let Some(payload) = packet.get_mut(header_len..) else { return };
        let Some(mut segment) = Segment::parse(payload) else { return };
        let less = self.announced.saturating_sub(self.shift);
        if segment.syn {
            segment::set_window_scale(payload, segment.data, self.announced);
        } else if less > 0 {
            segment.window >>= less;
            segment::set_window(payload, segment.window);
        }
        if let Some(next) = self.next
            && segment.acknowledgment.is_some()
            && segment.end() == segment.sequence
            && is_before(segment.sequence, next)
        {
            segment::set_sequence(payload, next);
        }
        if segment.rst {
            return;
        }
        match self.next {
            None => {
                self.unacknowledged = segment.sequence;
                self.next = Some(segment.end());
                self.sent = Sent::New;
            }
            Some(next) if is_before(next, segment.end()) => {
                self.next = Some(segment.end());
                self.sent = Sent::New;
            }
            // A keep-alive probe repeats a byte that was acknowledged.
            Some(_) if is_before(self.unacknowledged, segment.end()) && segment.end() != segment.sequence => {
                self.sent = Sent::Again;
            }
            Some(_) => {}
        }
        self.spoke |= !segment.syn;
        if let Some(acknowledgment) = segment.acknowledgment {
            self.acknowledged = Some(acknowledgment);
            self.window = segment.window;
            let window = u32::from(segment.window) << if segment.syn { 0 } else { self.announced };
            let edge = acknowledgment.wrapping_add(window);
            if self.edge.is_none_or(|before| is_before(before, edge)) {
                self.edge = Some(edge);
            }
        }
    }

    /// Says whether it acknowledged something new.
    pub(crate) fn on_received(&mut self, segment: &Segment) -> bool {
        if segment.fin {
            self.fin = Some(segment.end());
        }
        let (Some(acknowledgment), Some(next)) = (segment.acknowledgment, self.next) else { return false };
        let is_new = is_before(self.unacknowledged, acknowledgment) && !is_before(next, acknowledgment);
        if is_new {
            self.unacknowledged = acknowledgment;
        }
        is_new
    }

    /// Whether a segment with this sequence number may be on its way: the check of RFC 5927 §4.1 on quoted segments.
    pub(crate) fn is_in_flight(&self, sequence: u32) -> bool {
        self.next.is_some_and(|next| !is_before(sequence, self.unacknowledged) && is_before(sequence, next))
    }
}

/// By how many bits a window of so many bytes is shifted to fit into a header (RFC 7323 §2.3), in smoltcp's reckoning.
pub(crate) fn shift_for(bytes: usize) -> u8 {
    u8::try_from((usize::BITS - bytes.leading_zeros()).saturating_sub(u16::BITS)).unwrap_or(0)
}

/// Whether `a` comes before `b` in the circle of sequence numbers (RFC 9293 §3.4).
pub(crate) const fn is_before(a: u32, b: u32) -> bool {
    b.wrapping_sub(a).wrapping_sub(1) < 1 << 31
}
