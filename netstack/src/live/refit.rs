//! Other buffers for a connection that lives.
//!
//! A smoltcp socket keeps the buffers it was made with. So another one takes its place, at a moment when nothing of ours is in
//! flight: then all there is to a connection are two sequence numbers, what both ends said of themselves in their SYNs, which of
//! them has sent its FIN, and what is unread. The new socket is led through a handshake, some data and the FIN in private, on a
//! wire that ends in this file, such that it arrives exactly there. The remote sees a window that has grown, or shrunk.

use std::time::Instant;

use smoltcp::{
    iface::{Interface, SocketHandle, SocketSet},
    socket::tcp::{self, State},
    wire::{IpAddress, IpListenEndpoint},
};

use super::{Live, Sizes, interface, socket};
use crate::{
    PacketSink,
    clock::Clock,
    device::{Device, Track, is_before, shift_for},
    outbox::Outbox,
    packet::{V4_HEADER, V6_HEADER},
    segment::{self, Segment, Syn},
};

/// What both ends have said and received so far, beyond what [`Track`] knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote {
    syn: Syn,
    /// What it sends next, as far as everything before has come.
    pub(super) next: u32,
    /// The end of what has come at all.
    highest: u32,
    /// Its latest window, in bytes.
    window: usize,
}

impl Remote {
    pub(super) fn new(syn: Syn) -> Self {
        let next = syn.sequence.wrapping_add(1);
        Self { syn, next, highest: next, window: usize::from(syn.window) }
    }

    pub(super) const fn scales(&self) -> bool {
        self.syn.window_scale.is_some()
    }

    /// A segment was accepted. `window_end`: beyond that nothing was kept.
    pub(super) fn on_accepted(&mut self, segment: &Segment, window_end: u32) {
        self.window = usize::from(segment.window) << self.scale();
        let end = segment.sequence.wrapping_add(u32::try_from(segment.data).unwrap_or(0));
        let end = if is_before(window_end, end) { window_end } else { end };
        if segment.data > 0 && is_before(self.highest, end) {
            self.highest = end;
        }
    }

    fn scale(&self) -> u8 {
        self.syn.window_scale.unwrap_or(0)
    }

    /// Its window as a header says it; not zero if it is not.
    fn scaled_window(&self) -> u16 {
        let window = u16::try_from(self.window >> self.scale()).unwrap_or(u16::MAX);
        if self.window > 0 { window.max(1) } else { 0 }
    }

    pub(super) fn on_received(&mut self, bytes: usize) {
        self.next = self.next.wrapping_add(u32::try_from(bytes).unwrap_or(0));
        if is_before(self.highest, self.next) {
            self.highest = self.next;
        }
    }

    fn has_hole(&self) -> bool {
        self.highest != self.next
    }
}

impl Live {
    /// Other sizes of the buffers, if they are wanted and this is a moment to change them.
    pub(crate) fn wanted(&self, now: Instant) -> Option<Sizes> {
        let mut wanted = self.fitting.wanted(now).filter(|_| self.is_at_rest())?;
        let sizes = self.sizes();
        if self.has_unread() {
            wanted = Sizes { receive: wanted.receive.max(sizes.receive), send: wanted.send.max(sizes.send) };
        }
        if !self.may_receive_more() {
            wanted.receive = wanted.receive.min(sizes.receive);
        }
        if self.is_fin_sent() {
            wanted.send = wanted.send.min(sizes.send);
        }
        // What lies behind a hole is lost, and has to be sent again (RFC 2018 §8): only silence is worth that.
        let grows = wanted.receive > sizes.receive || wanted.send > sizes.send;
        let is_worthwhile = wanted != sizes && !(grows && self.has_hole());
        is_worthwhile.then_some(wanted)
    }

    /// Nothing is on its way from us, and nothing waits to be sent: a moment to exchange the socket.
    fn is_at_rest(&self) -> bool {
        let socket = self.socket();
        self.released_at.is_none()
            && matches!(socket.state(), State::Established | State::CloseWait | State::FinWait2)
            && socket.send_queue() == 0
            && self.remote.is_some()
            && self.track.next == Some(self.track.unacknowledged)
    }

    /// Whether what is more than the least may go, once there was silence for long enough.
    pub(super) fn may_give_back(&self) -> bool {
        self.is_at_rest() && !self.has_unread()
    }

    /// Nothing is added to what is in flight: as soon as nothing is, there will be a larger buffer.
    pub(super) fn holds(&self, now: Instant) -> bool {
        let socket = self.socket();
        let may_send = matches!(socket.state(), State::Established | State::CloseWait);
        may_send && socket.send_queue() > 0 && !self.has_hole() && self.fitting.holds(now, self.may_receive_more())
    }

    /// Whether more room to receive is of use: its owner reads, which shows as what came lately is not all there yet.
    fn may_receive_more(&self) -> bool {
        !self.is_fin_received() && self.socket().recv_queue() < self.sizes().receive / 2
    }

    fn has_hole(&self) -> bool {
        self.remote.is_some_and(|remote| remote.has_hole())
    }

    /// Our FIN is out and acknowledged.
    fn is_fin_sent(&self) -> bool {
        self.socket().state() == State::FinWait2
    }

    /// The window that was told to the remote: smoltcp takes what lies in it at least in part.
    fn told_window(&self) -> Option<(u32, u32)> {
        let start = self.remote?.next.wrapping_add(u32::from(self.is_fin_received()));
        let end = self.track.acknowledged?.wrapping_add(u32::from(self.track.window) << self.track.announced);
        Some((start, if is_before(end, start) { start } else { end }))
    }

    /// Whether smoltcp takes a segment's word (RFC 9293 §3.10.7.4); the end of the window then.
    pub(super) fn accepts(&self, segment: &Segment) -> Option<u32> {
        let (acknowledgment, next) = (segment.acknowledgment?, self.track.next?);
        let is_current = !is_before(acknowledgment, self.track.unacknowledged) && !is_before(next, acknowledgment);
        let (start, end) = self.told_window()?;
        let begins = segment.sequence;
        let ends = begins.wrapping_add(u32::try_from(segment.data).ok()?);
        let is_inside = |sequence: u32| !is_before(sequence, start) && is_before(sequence, end);
        let is_in_window = is_inside(begins)
            || begins == ends && begins == start && start == end
            || begins != ends && is_before(start, ends) && !is_before(end, ends);
        (is_current && is_in_window && !segment.syn && !segment.rst).then_some(end)
    }

    /// Whether the remote sends what it was promised room for, and the buffer has none, because it gave some back.
    pub(crate) fn on_squeezed(&mut self, now: Instant, segment: &Segment) {
        let Some(remote) = &self.remote else { return };
        let end = segment.sequence.wrapping_add(u32::try_from(segment.data).unwrap_or(0));
        let room = u32::try_from(self.fitting.sizes().receive - self.socket().recv_queue()).unwrap_or(u32::MAX);
        let is_promised = self.track.edge.is_some_and(|edge| !is_before(edge, end));
        if segment.data > 0 && is_promised && is_before(remote.next.wrapping_add(room), end) {
            self.fitting.want_receive(now);
        }
    }

    /// Exchanges the socket for one with other buffers; says whether it did. The remote learns of its window, so there has to be room in
    /// the outbox.
    pub(crate) fn refit(&mut self, clock: &Clock, now: Instant, sizes: Sizes, outbox: &mut Outbox) -> bool {
        let mut unread = vec![0; self.socket().recv_queue()];
        if self.socket_mut().peek_slice(&mut unread) != Ok(unread.len()) {
            return false;
        }
        // One look is enough as long as smoltcp draws its numbers as it does now.
        let fresh = SEEDS.iter().find_map(|(draws, low)| self.fresh(clock, now, sizes, &unread, (*draws, *low)));
        let Some(Fresh { interface, sockets, handle, track, .. }) = fresh else { return false };
        (self.interface, self.sockets, self.handle) = (interface, sockets, handle);
        self.fitting.fitted(now, sizes);
        self.track.shift = self.shift_with(sizes);
        if let Some(remote) = &mut self.remote {
            remote.highest = remote.next;
        }
        self.announce_window(track.acknowledged, track.window, outbox);
        true
    }

    /// By how many bits smoltcp shifts its window with these buffers.
    fn shift_with(&self, sizes: Sizes) -> u8 {
        if self.remote.is_some_and(|remote| remote.scales()) { shift_for(sizes.receive) } else { 0 }
    }

    /// `window`: as smoltcp shifts it.
    fn announce_window(&mut self, acknowledgment: Option<u32>, window: u16, outbox: &mut Outbox) {
        let (Some(sequence), Some(acknowledgment)) = (self.track.next, acknowledgment) else { return };
        let packet = segment::acknowledgment(self.tuple.local, self.tuple.remote, sequence, acknowledgment, window);
        if let Some(mut packet) = packet {
            self.track.on_sent(&mut packet);
            outbox.push(packet);
        }
    }

    /// A socket in the very state of the one there is; `None` if it is not, in spite of everything.
    fn fresh(&self, clock: &Clock, now: Instant, sizes: Sizes, unread: &[u8], seed: (u32, u64)) -> Option<Fresh> {
        let (remote, next) = (self.remote?, self.track.next?);
        let (fin_received, fin_sent) = (self.is_fin_received(), self.is_fin_sent());
        let begins = remote.next.wrapping_sub(u32::try_from(unread.len()).ok()?);
        let syn = Syn { sequence: begins.wrapping_sub(1), ..remote.syn };
        // What has gone through the path in a round trip lately it takes again: smoltcp's window of congestion begins small.
        let chunk = CHUNK.min(self.largest_segment(&syn)).min(sizes.send);
        if chunk == 0 {
            return None;
        }
        let chunks = (self.flight.bytes() / 2 / chunk).clamp(1, MOST_CHUNKS);
        let ours = u32::try_from(chunks * chunk).ok()?.wrapping_add(u32::from(fin_sent));
        let first = next.wrapping_sub(ours).wrapping_sub(1);
        // smoltcp measures what our own timer has: so it will not expire before that.
        let round_trip = self.rto.time_out().unwrap_or_else(|| self.flight.shortest_round_trip());
        let round_trip = smoltcp::time::Duration::from_micros(u64::try_from(round_trip.as_micros()).ok()?);
        let steps = u32::try_from(1 + chunks + usize::from(fin_sent)).ok()?;
        let mut at = self.time(clock, now) - round_trip * steps;

        let mut fresh = Fresh::new(self, at, sizes, seed_for(first, seed));
        let window = remote.scaled_window();
        let wide = window.max(u16::try_from(chunk >> remote.scale()).unwrap_or(u16::MAX).saturating_add(1));
        let local = IpListenEndpoint { addr: Some(IpAddress::from(self.tuple.local.0)), port: self.tuple.local.1 };
        fresh.socket().listen(local).ok()?;
        fresh.feed(at, &syn.packet(&self.tuple)?);
        fresh.transmit(at);
        if fresh.track.next != Some(first.wrapping_add(1)) {
            return None;
        }
        at += round_trip;
        let said = |track: &Track, sequence: u32, window: u16, data: &[u8], fin: bool| {
            segment::data(self.tuple.remote, self.tuple.local, (sequence, track.next?), window, data, fin)
        };
        let mut sequence = begins;
        fresh.feed(at, &said(&fresh.track, sequence, wide, &[], false)?);
        for piece in unread.chunks(PIECE) {
            fresh.feed(at, &said(&fresh.track, sequence, wide, piece, false)?);
            sequence = sequence.wrapping_add(u32::try_from(piece.len()).ok()?);
        }
        if fin_received {
            fresh.feed(at, &said(&fresh.track, sequence, wide, &[], true)?);
            sequence = sequence.wrapping_add(1);
        }
        for done in 1..=chunks {
            fresh.socket().send(|space| (chunk.min(space.len()), ())).ok()?;
            fresh.transmit(at);
            at += round_trip;
            let window = if done == chunks { window } else { wide };
            fresh.feed(at, &said(&fresh.track, sequence, window, &[], false)?);
        }
        if fin_sent {
            fresh.socket().close();
            fresh.transmit(at);
            at += round_trip;
            fresh.feed(at, &said(&fresh.track, sequence, window, &[], false)?);
        }
        // Until it spoke, smoltcp takes the window of its SYN-ACK for a scaled one, see `is_beyond_first_window`.
        let room = sizes.receive.checked_sub(unread.len())? >> self.shift_with(sizes);
        let is_sound = fresh.track.spoke && fresh.track.window == u16::try_from(room).unwrap_or(u16::MAX);
        let track = (fresh.track.next, fresh.track.acknowledged);
        let socket = fresh.socket();
        let is_same = socket.state() == self.socket().state()
            && socket.send_queue() == 0
            && socket.recv_queue() == unread.len()
            && track == (Some(next), Some(sequence));
        (is_sound && is_same).then_some(fresh)
    }

    /// How much data smoltcp puts into one packet.
    fn largest_segment(&self, syn: &Syn) -> usize {
        let header_len = if self.tuple.local.0.is_ipv4() { V4_HEADER } else { V6_HEADER };
        let ours = self.mtu.saturating_sub(header_len + segment::HEADER);
        ours.min(usize::from(syn.max_segment_size.unwrap_or(DEFAULT_SEGMENT)))
    }
}

/// A socket that is not in use yet.
struct Fresh {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    track: Track,
    mtu: usize,
    sink: Nowhere,
}

impl Fresh {
    fn new(live: &Live, at: smoltcp::time::Instant, sizes: Sizes, seed: u64) -> Self {
        let mut track = Track::default();
        let interface = interface(at, live.tuple.local.0, live.mtu, seed, &mut track);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket(sizes, live.keepalive));
        Self { interface, sockets, handle, track, mtu: live.mtu, sink: Nowhere(vec![0; live.mtu]) }
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    fn feed(&mut self, at: smoltcp::time::Instant, packet: &[u8]) {
        let Self { interface, sockets, track, mtu, sink, .. } = self;
        let mut device = Device { arriving: Some(packet), sink, mtu: *mtu, track, sent: 0 };
        interface.poll_ingress_single(at, &mut device, sockets);
    }

    fn transmit(&mut self, at: smoltcp::time::Instant) {
        let Self { interface, sockets, track, mtu, sink, .. } = self;
        let mut device = Device { arriving: None, sink, mtu: *mtu, track, sent: 0 };
        interface.poll_egress(at, &mut device, sockets);
    }
}

/// The private wire.
struct Nowhere(Vec<u8>);

impl PacketSink for Nowhere {
    fn has_room(&mut self) -> bool {
        true
    }

    fn packet(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) {
        if let Some(space) = self.0.get_mut(..len) {
            fill(space);
        }
    }
}

/// The seed with which smoltcp 0.14 draws this number as the first of a connection, after `draws` others. `low` are bits that do
/// not matter.
///
/// Its generator multiplies and adds, modulo 2^64, and gives 32 of the bits: from the 29th on if the upper three are zero. Every step can
/// be taken back. Should that change, the handshake does not end where it has to, and the connection keeps its buffers.
fn seed_for(first: u32, (draws, low): (u32, u64)) -> u64 {
    let state = u64::from(first) << FIRST_BIT | low;
    (0..=draws).fold(state, |state, _| state.wrapping_sub(INCREMENT).wrapping_mul(INVERSE))
}

/// The seed of a connection that begins with this sequence number; `low` are bits that do not matter. Should smoltcp ever draw
/// its numbers in another way, the number is another, and nothing worse comes of it.
pub(crate) fn seed_to_begin_with(first: u32, low: u64) -> u64 {
    let low = low & ((1 << FIRST_BIT) - 1);
    let seed = seed_for(first, (1, low));
    // What it draws before is an identification, and another one if that is zero.
    if draws_nothing(seed) { seed_for(first, (1, low ^ 1)) } else { seed }
}

/// Whether smoltcp 0.14 draws an identification that is zero first.
const fn draws_nothing(seed: u64) -> bool {
    let state = seed.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
    let number = state >> (FIRST_BIT as u64 - (state >> 61)) & 0xffff_ffff;
    (number ^ number >> 16) & 0xffff == 0
}

/// With IPv4, smoltcp draws one number before, again if it is zero; with other link layers two or three.
const SEEDS: [(u32, u64); 5] = [(1, 0), (1, 1), (0, 0), (2, 0), (3, 0)];
/// Where the bits of a number begin if the upper three of the state are zero.
const FIRST_BIT: u32 = 29;
const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
const INCREMENT: u64 = 0x7590_ef39;
const INVERSE: u64 = inverse(MULTIPLIER);

/// Of an odd number modulo 2^64, by Newton's method: each step doubles the bits that are right, and three are to begin with.
const fn inverse(odd: u64) -> u64 {
    let (mut inverse, mut step) = (odd, 0);
    while step < 5 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

/// Less than the two kilobytes with which smoltcp's window of congestion begins.
const CHUNK: usize = 1024;
const MOST_CHUNKS: usize = 512;
/// What is unread is carried over in packets of about so many bytes: any that are fewer than an IP packet holds.
const PIECE: usize = 32 << 10;
/// What smoltcp sends at once to a remote that named no size (RFC 9293 §3.7.1, MUST-15; also over IPv6).
const DEFAULT_SEGMENT: u16 = 536;
