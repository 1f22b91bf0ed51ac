//! Other buffers for a connection that lives.
//!
//! A smoltcp socket keeps the buffers it was made with. So another one takes its place, at a moment when nothing is in flight
//! and nothing unread: then all there is to a connection are two sequence numbers and what both ends said of themselves in
//! their SYNs. The new socket is led through a handshake and some data in private, on a wire that ends in this file, such that it
//! arrives exactly there. The remote sees a window that has grown, or shrunk.

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

    /// `capacity`: of the receive buffer, beyond which nothing is kept.
    pub(super) fn on_segment(&mut self, segment: &Segment, capacity: usize) {
        if !segment.syn {
            self.window = usize::from(segment.window) << self.syn.window_scale.unwrap_or(0);
        }
        let end = segment.sequence.wrapping_add(u32::try_from(segment.data).unwrap_or(0));
        let is_kept = usize::try_from(end.wrapping_sub(self.next)).is_ok_and(|ahead| ahead <= capacity);
        if segment.data > 0 && is_kept && is_before(self.highest, end) {
            self.highest = end;
        }
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
        self.fitting.wanted(now).filter(|_| self.is_at_rest())
    }

    /// Nothing is on its way from us, and nothing waits to be read or sent.
    pub(super) fn is_at_rest(&self) -> bool {
        let (socket, lasts) = (self.socket(), !self.shutdown_wanted && self.released_at.is_none());
        let is_empty = socket.send_queue() == 0 && socket.recv_queue() == 0;
        let is_whole = |remote: &Remote| !remote.has_hole() && remote.window > 0;
        lasts
            && is_empty
            && socket.state() == State::Established
            && self.track.next == Some(self.track.unacknowledged)
            && self.remote.as_ref().is_some_and(is_whole)
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

    /// Exchanges the socket for one with other buffers; says whether it did. The remote learns of its window.
    pub(crate) fn refit(&mut self, clock: &Clock, now: Instant, sizes: Sizes, outbox: &mut Outbox) -> bool {
        // One look is enough as long as smoltcp draws its numbers as it does now.
        let fresh = SEEDS.iter().find_map(|(draws, low)| self.fresh(clock, now, sizes, (*draws, *low)));
        let Some(Fresh { interface, sockets, handle, .. }) = fresh else { return false };
        (self.interface, self.sockets, self.handle) = (interface, sockets, handle);
        self.fitting.fitted(now, sizes);
        self.track.shift = self.shift_with(sizes);
        self.announce_window(outbox);
        true
    }

    /// By how many bits smoltcp shifts its window with these buffers.
    fn shift_with(&self, sizes: Sizes) -> u8 {
        if self.remote.is_some_and(|remote| remote.scales()) { shift_for(sizes.receive) } else { 0 }
    }

    fn announce_window(&mut self, outbox: &mut Outbox) {
        let (Some(sequence), Some(remote)) = (self.track.next, &self.remote) else { return };
        let window = u16::try_from(self.fitting.sizes().receive >> self.track.shift).unwrap_or(u16::MAX);
        let packet = segment::acknowledgment(self.tuple.local, self.tuple.remote, sequence, remote.next, window);
        if let Some(mut packet) = packet {
            self.track.on_sent(&mut packet);
            outbox.push(packet);
        }
    }

    /// A socket in the very state of the one there is; `None` if it is not, in spite of everything.
    fn fresh(&self, clock: &Clock, now: Instant, sizes: Sizes, seed: (u32, u64)) -> Option<Fresh> {
        let (remote, next) = (self.remote?, self.track.next?);
        let syn = Syn { sequence: remote.next.wrapping_sub(1), ..remote.syn };
        let window = u16::try_from(remote.window >> syn.window_scale.unwrap_or(0)).unwrap_or(u16::MAX);
        // What has gone through the path in a round trip lately it takes again: smoltcp's window of congestion begins small.
        let chunk =
            CHUNK.min(usize::from(syn.max_segment_size.unwrap_or(DEFAULT_SEGMENT))).min(sizes.send).min(remote.window);
        if chunk == 0 {
            return None;
        }
        let chunks = (self.flight.bytes() / 2 / chunk).clamp(1, MOST_CHUNKS);
        let first = next.wrapping_sub(u32::try_from(chunks * chunk).ok()?).wrapping_sub(1);
        let (arrives, round_trip) = (self.time(clock, now), self.flight.shortest_round_trip());
        let departs = arrives - smoltcp::time::Duration::from_micros(u64::try_from(round_trip.as_micros()).ok()?);

        let mut fresh = Fresh::new(self, departs, sizes, seed_for(first, seed));
        let acknowledge = |track: &Track| {
            segment::acknowledgment(self.tuple.remote, self.tuple.local, remote.next, track.next?, window)
        };
        let local = IpListenEndpoint { addr: Some(IpAddress::from(self.tuple.local.0)), port: self.tuple.local.1 };
        fresh.sockets.get_mut::<tcp::Socket<'_>>(fresh.handle).listen(local).ok()?;
        fresh.feed(departs, &syn.packet(&self.tuple)?);
        fresh.transmit(departs);
        if fresh.track.next != Some(first.wrapping_add(1)) {
            return None;
        }
        fresh.feed(departs, &acknowledge(&fresh.track)?);
        for chunks in 0..chunks {
            fresh.sockets.get_mut::<tcp::Socket<'_>>(fresh.handle).send(|space| (chunk.min(space.len()), ())).ok()?;
            fresh.transmit(if chunks == 0 { departs } else { arrives });
            fresh.feed(arrives, &acknowledge(&fresh.track)?);
        }
        let socket = fresh.sockets.get::<tcp::Socket<'_>>(fresh.handle);
        // Until it spoke, smoltcp takes the window of its SYN-ACK for a scaled one, see `is_beyond_first_window`.
        let promised = u16::try_from(sizes.receive >> self.shift_with(sizes)).unwrap_or(u16::MAX);
        let is_sound = fresh.track.spoke && fresh.track.window == promised;
        let is_same = socket.state() == State::Established
            && socket.send_queue() == 0
            && fresh.track.next == Some(next)
            && fresh.track.acknowledged == Some(remote.next);
        (is_sound && is_same).then_some(fresh)
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
    let state = u64::from(first) << 29 | low;
    (0..=draws).fold(state, |state, _| state.wrapping_sub(INCREMENT).wrapping_mul(INVERSE))
}

/// With IPv4, smoltcp draws one number before, again if it is zero; with other link layers two or three.
const SEEDS: [(u32, u64); 5] = [(1, 0), (1, 1), (0, 0), (2, 0), (3, 0)];
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
/// What smoltcp sends at once to a remote that named no size (RFC 9293 §3.7.1, MUST-15; also over IPv6).
const DEFAULT_SEGMENT: u16 = 536;
