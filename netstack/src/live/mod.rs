//! A connection with a socket: a smoltcp interface of its own, and what smoltcp leaves to its user.

mod refit;
mod sizes;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    socket::tcp::{self, CongestionControl, State},
    wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpListenEndpoint},
};

use crate::{
    CloseReason, PacketSink,
    clock::Clock,
    connection::{Turn, Unread, Verdict},
    counters::Counters,
    demux::{TimeWait, Tuple},
    device::{Device, Sent, Track, shift_for},
    flight::FlightLimit,
    outbox::Outbox,
    packet::Packet,
    recovery::{Advice, DUPLICATES, Recovery},
    rto::Rto,
    segment::{self, Segment, Syn},
};

use self::{refit::Remote, sizes::Fitting};
pub(crate) use self::{
    refit::seed_to_begin_with,
    sizes::{Bounds, Sizes},
};

/// A connection with a socket.
pub(crate) struct Live {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    track: Track,
    flight: FlightLimit,
    rto: Rto,
    recovery: Recovery,
    fitting: Fitting,
    /// Once it has said so itself.
    remote: Option<Remote>,
    /// The window in the latest segment received.
    remote_window: Option<u16>,
    /// How far the clock that smoltcp sees was put forward, so that its retransmission timer expires when ours does.
    ahead: smoltcp::time::Duration,
    tuple: Tuple,
    seed: u64,
    mtu: usize,
    keepalive: Option<Duration>,
    connected: bool,
    pub(crate) newly_connected: bool,
    pub(crate) newly_received: bool,
    /// `shutdown` was called before the connection was made.
    shutdown_wanted: bool,
    /// When to give up, apart from silence: the SYN's time, or the time to finish after a release.
    limit: Option<Instant>,
    /// When the owner dropped its handle.
    released_at: Option<Instant>,
    /// Something was begun without knowing the time.
    waits_for_time: bool,
    /// Of a connection that we accepted: where the remote's data begins, and how much of it the SYN-ACK asks for.
    first_window: Option<FirstWindow>,
    /// The state before the latest segment, see `is_nearly_done`.
    nearly_done: bool,
    /// When the remote was last heard of, or we began to expect to hear of it.
    heard: Instant,
    /// When it last acknowledged something new, or we began to wait for that.
    progressed: Instant,
    /// The SYN was sent again because the remote remembered another connection.
    begun_again: bool,
}

/// The window of a SYN-ACK, which is never scaled (RFC 7323 §2.2).
#[derive(Debug, Clone, Copy)]
struct FirstWindow {
    start: u32,
    bytes: u32,
}

/// What a new connection needs to know.
pub(crate) struct Opening {
    pub(crate) tuple: Tuple,
    pub(crate) mtu: usize,
    pub(crate) bounds: Bounds,
    pub(crate) seed: u64,
    pub(crate) connect_timeout: Duration,
    pub(crate) keepalive: Option<Duration>,
}

impl Live {
    /// Prepares the SYN. `None` for addresses that cannot be connected to, which the caller has excluded.
    pub(crate) fn open(clock: &Clock, now: Instant, opening: Opening) -> Option<Self> {
        let tuple = opening.tuple;
        let mut live = Self::new(clock, now, opening);
        let local = IpListenEndpoint { addr: Some(IpAddress::from(tuple.local.0)), port: tuple.local.1 };
        let remote = IpEndpoint::new(IpAddress::from(tuple.remote.0), tuple.remote.1);
        let Self { interface, sockets, handle, .. } = &mut live;
        sockets.get_mut::<tcp::Socket<'_>>(*handle).connect(interface.context(), remote, local).ok()?;
        Some(live)
    }

    /// Prepares the answer to a SYN. `None` for addresses and ports that cannot be connected to, which the caller has
    /// excluded.
    pub(crate) fn accept(clock: &Clock, now: Instant, opening: Opening, syn: &Syn) -> Option<Self> {
        let (tuple, buffer) = (opening.tuple, opening.bounds.least.receive);
        let mut live = Self::new(clock, now, opening);
        let local = IpListenEndpoint { addr: Some(IpAddress::from(tuple.local.0)), port: tuple.local.1 };
        live.socket_mut().listen(local).ok()?;
        live.meet(*syn);
        live.feed(clock, now, &syn.packet(&tuple)?, &mut Outbox::default());
        let bytes = u32::from(u16::try_from(buffer).unwrap_or(u16::MAX));
        live.first_window = Some(FirstWindow { start: syn.sequence.wrapping_add(1), bytes });
        (live.socket().state() == State::SynReceived).then_some(live)
    }

    fn new(clock: &Clock, now: Instant, opening: Opening) -> Self {
        let Opening { tuple, mtu, bounds, seed, connect_timeout, keepalive } = opening;
        let mut track = Track { announced: shift_for(bounds.most.receive), ..Track::default() };
        track.shift = shift_for(bounds.least.receive);
        let interface = interface(clock.to_smoltcp(now), tuple.local.0, mtu, seed, &mut track);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket(bounds.least, keepalive));
        Self {
            interface,
            sockets,
            handle,
            track,
            flight: FlightLimit::new(),
            rto: Rto::default(),
            recovery: Recovery::default(),
            fitting: Fitting::new(now, bounds),
            remote: None,
            remote_window: None,
            ahead: smoltcp::time::Duration::ZERO,
            tuple,
            seed,
            mtu,
            keepalive,
            connected: false,
            newly_connected: false,
            newly_received: false,
            shutdown_wanted: false,
            limit: now.checked_add(connect_timeout),
            released_at: None,
            waits_for_time: false,
            first_window: None,
            nearly_done: false,
            heard: now,
            progressed: now,
            begun_again: false,
        }
    }

    pub(crate) const fn mtu(&self) -> usize {
        self.mtu
    }

    pub(crate) const fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether the remote has heard of us: it is connected, or may believe to be.
    pub(crate) const fn is_known_to_remote(&self) -> bool {
        self.connected || self.first_window.is_some()
    }

    pub(crate) const fn track(&self) -> &Track {
        &self.track
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.socket().can_recv()
    }

    /// Whether there is nothing any more that was sent and is not acknowledged.
    pub(crate) fn is_delivered(&self) -> bool {
        self.socket().send_queue() == 0
    }

    fn socket(&self) -> &tcp::Socket<'static> {
        self.sockets.get(self.handle)
    }

    fn socket_mut(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    pub(crate) fn send(&mut self, now: Instant, data: &[u8]) -> Result<usize, CloseReason> {
        if self.shutdown_wanted {
            return Err(CloseReason::Finished);
        }
        if !self.connected || self.holds(now) {
            return Ok(0);
        }
        let fitting = data.get(..self.room().min(data.len())).unwrap_or_default();
        self.plan_to_send(now, data.len(), fitting.len());
        if fitting.is_empty() {
            return Ok(0);
        }
        self.begin_to_expect();
        self.fitting.on_sent(now);
        self.socket_mut().send_slice(fitting).map_err(|_| CloseReason::Finished)
    }

    /// The owner is about to send so much, of which so much fits.
    pub(crate) fn plan_to_send(&mut self, now: Instant, wanted: usize, fitting: usize) {
        if fitting < wanted && self.fitting.sizes().send < self.flight.bytes() {
            self.fitting.want_send(now);
        }
    }

    /// What the remote has said of itself.
    fn meet(&mut self, syn: Syn) {
        let remote = self.remote.insert(Remote::new(syn));
        if !remote.scales() {
            self.fitting.without_scaling();
            (self.track.announced, self.track.shift) = (0, 0);
        }
    }

    pub(crate) const fn sizes(&self) -> Sizes {
        self.fitting.sizes()
    }

    /// There are no other buffers for it now.
    pub(crate) fn put_off(&mut self, now: Instant) {
        self.fitting.put_off(now);
    }

    pub(crate) fn receive(&mut self, buf: &mut [u8]) -> Option<usize> {
        if self.has_unread() {
            return self.socket_mut().recv_slice(buf).ok();
        }
        self.is_fin_received().then_some(0)
    }

    /// Sends a FIN after what waits to be sent.
    pub(crate) fn shutdown(&mut self) {
        self.begin_to_expect();
        self.shutdown_wanted = true;
        if self.connected {
            self.socket_mut().close();
        }
    }

    /// The same, and gives what is left to do a limited time.
    pub(crate) fn release(&mut self, now: Instant) {
        self.shutdown();
        self.waits_for_time = true;
        self.released_at = Some(now);
        self.extend_linger(now);
    }

    /// The owner's calls bring no time along, and the latest one known may be long ago: what they began begins with the
    /// next call that knows the time.
    pub(crate) fn on_time(&mut self, now: Instant) {
        if std::mem::take(&mut self.waits_for_time) {
            self.heard = self.heard.max(now);
            self.progressed = self.progressed.max(now);
            if self.released_at.is_some() {
                self.released_at = Some(now);
                self.extend_linger(now);
            }
        }
    }

    fn begin_to_expect(&mut self) {
        self.waits_for_time |= !self.is_expecting();
    }

    fn extend_linger(&mut self, now: Instant) {
        if let Some(released_at) = self.released_at {
            self.limit = Some((now + LINGER).min(released_at + LONGEST_LINGER));
        }
    }

    /// Whether a segment would break what smoltcp takes for granted.
    ///
    /// A SYN without an acknowledgment would mean simultaneous open, which we leave out (against RFC 9293 MUST-10): in that
    /// state smoltcp 0.14 misjudges its own window. Or it is the one we have answered, and our answer is repeated anyway.
    pub(crate) fn is_implausible(&self, segment: &Segment) -> bool {
        let opens = segment.syn && segment.acknowledgment.is_none();
        (opens && !self.connected) || self.track.next.is_none() || self.is_beyond_first_window(segment)
    }

    /// Until its first acknowledgment smoltcp 0.14 takes the window of its SYN-ACK, which is not scaled, for a scaled one:
    /// data beyond the buffer would pass its check and end in a failed assertion.
    fn is_beyond_first_window(&self, segment: &Segment) -> bool {
        self.first_window.filter(|_| !self.track.spoke && segment.data > 0).is_some_and(|window| {
            let start = segment.sequence.wrapping_sub(window.start);
            let end = u32::try_from(segment.data).ok().and_then(|data| start.checked_add(data));
            end.is_none_or(|end| end > window.bytes)
        })
    }

    /// Takes a segment; what has to be answered at once goes to the outbox.
    pub(crate) fn handle(
        &mut self,
        clock: &Clock,
        now: Instant,
        packet: &Packet<'_>,
        segment: &Segment,
        outbox: &mut Outbox,
    ) {
        self.on_time(now);
        self.nearly_done = self.is_nearly_done();
        self.heard = self.heard.max(now);
        let accepted = self.accepts(segment);
        if self.remote.is_none() && segment.syn && segment.acknowledgment == self.track.next {
            self.meet(Syn::parse(packet, segment));
        }
        let is_update = self.remote_window.replace(segment.window) != Some(segment.window);
        let is_new = self.track.on_received(segment);
        let is_of_another = self.is_of_another(segment);
        let mut advice = Advice::GoOn;
        if is_new {
            let unacknowledged = self.track.unacknowledged;
            self.flight.on_acknowledged(now, unacknowledged);
            self.rto.on_acknowledged(now, unacknowledged, self.track.next == Some(unacknowledged));
            advice = self.recovery.on_acknowledged(now, unacknowledged, self.flight.shortest_round_trip());
            if advice == Advice::Rewind {
                self.rto.expire(now);
            }
            self.progressed = now;
            self.extend_linger(now);
        }
        if self.is_late_fin(segment) {
            // smoltcp 0.14 does not count a FIN as part of its segment: behind data that it has already, it is dropped as
            // outside of the window. The data is left out here.
            if let Some(fin) = segment::fin_alone(packet, segment) {
                self.feed(clock, now, &fin, outbox);
            }
        } else if packet.extended {
            // Nor does it step over IPv6 extension headers.
            if let Some(plain) = packet.rebuilt() {
                self.feed(clock, now, &plain, outbox);
            }
        } else if is_new || !self.is_futile(segment, is_update) {
            self.feed(clock, now, packet.bytes, outbox);
            if advice == Advice::FillHole && segment.is_pure_acknowledgment() && self.socket().send_queue() > 0 {
                // So many of the same make smoltcp fill the hole at once; not with a FIN alone, see `is_futile`.
                for _ in 0..DUPLICATES {
                    self.feed(clock, now, packet.bytes, outbox);
                }
            }
        }
        if let (Some(window_end), Some(remote)) = (accepted, &mut self.remote) {
            remote.on_accepted(segment, window_end);
        }
        if is_of_another && !std::mem::replace(&mut self.begun_again, true) {
            // smoltcp has answered by a RST, and would send the next SYN after a second. The RST has ended what was remembered.
            self.rto.expire_now(now);
        }
    }

    /// Whether the remote answers our SYN with what belongs to an earlier connection between the same ports, which it has not
    /// forgotten (RFC 9293 §3.5.2, figure 9).
    fn is_of_another(&self, segment: &Segment) -> bool {
        let acknowledges_other = segment.acknowledgment.is_some_and(|number| Some(number) != self.track.next);
        self.socket().state() == State::SynSent && acknowledges_other && !segment.rst && !segment.syn
    }

    /// Whether only the remote's acknowledgment of our FIN is missing, or nothing at all.
    fn is_nearly_done(&self) -> bool {
        let socket = self.socket();
        socket.send_queue() == 0 && matches!(socket.state(), State::Closing | State::LastAck | State::TimeWait)
    }

    /// A FIN whose data was acknowledged before.
    fn is_late_fin(&self, segment: &Segment) -> bool {
        segment.fin && segment.data > 0 && self.track.acknowledged == Some(segment.end().wrapping_sub(1))
    }

    /// An acknowledgment that is not new while only our FIN is unacknowledged. The third of them would make smoltcp 0.14 stop its
    /// retransmission timer for a fast retransmit of data that is not there, and the FIN would never be repeated.
    ///
    /// Nor one that what was sent again brought about.
    fn is_futile(&mut self, segment: &Segment, is_update: bool) -> bool {
        let is_duplicate = segment.acknowledgment == Some(self.track.unacknowledged)
            && Some(segment.sequence) == self.track.acknowledged;
        if !segment.is_pure_acknowledgment() || !is_duplicate || !self.is_expecting() {
            return false;
        }
        let is_echo = !is_update && self.recovery.on_duplicate(self.track.unacknowledged);
        is_echo || self.socket().send_queue() == 0
    }

    /// Hands a packet to smoltcp.
    fn feed(&mut self, clock: &Clock, now: Instant, packet: &[u8], outbox: &mut Outbox) {
        let (unread_before, time) = (self.socket().recv_queue(), self.time(clock, now));
        let mut device =
            Device { arriving: Some(packet), sink: &mut *outbox, mtu: self.mtu, track: &mut self.track, sent: 0 };
        self.interface.poll_ingress_single(time, &mut device, &mut self.sockets);
        let received = self.socket().recv_queue().saturating_sub(unread_before);
        if received > 0 {
            self.newly_received = true;
            self.fitting.on_received(now, received, self.flight.shortest_round_trip());
            if let Some(remote) = &mut self.remote {
                remote.on_received(received);
            }
        }
        if !self.connected && self.socket().may_send() {
            self.on_connected(clock, now, outbox);
        }
    }

    fn on_connected(&mut self, clock: &Clock, now: Instant, outbox: &mut Outbox) {
        self.connected = true;
        self.newly_connected = true;
        self.limit = None;
        // The acknowledgment has to be out before the next segment comes in. Until then smoltcp 0.14 takes the window
        // of our SYN, which is not scaled, for a scaled one: data beyond the buffer would pass its check and end in a
        // failed assertion.
        self.transmit(clock, now, outbox);
        if self.shutdown_wanted {
            self.socket_mut().close();
        }
    }

    /// Sends at most one packet; says whether it did.
    fn transmit(&mut self, clock: &Clock, now: Instant, sink: &mut dyn PacketSink) -> bool {
        let time = self.time(clock, now);
        let mut device = Device { arriving: None, sink, mtu: self.mtu, track: &mut self.track, sent: 0 };
        self.interface.poll_egress(time, &mut device, &mut self.sockets);
        device.sent > 0
    }

    /// Sends as many packets as one turn allows; counts them.
    pub(crate) fn take_turn(
        &mut self,
        clock: &Clock,
        now: Instant,
        sink: &mut dyn PacketSink,
        counters: &mut Counters,
    ) -> Turn {
        self.on_time(now);
        for packets in 0..PACKETS_A_TURN {
            // smoltcp forgets that a fast retransmit is due when its device refuses the packet, so it never sees one
            // that does.
            if !sink.has_room() {
                return if packets == 0 { Turn::NoRoom } else { Turn::More };
            }
            let hastened = self.rto.is_due(now);
            if hastened {
                self.hasten(clock, now);
            }
            if !self.transmit(clock, now, sink) {
                if self.rto.is_due(now) {
                    self.rto.stop(); // nothing may be sent, the window is closed: that is for smoltcp's probes
                }
                return Turn::Done;
            }
            if let Some(next) = self.track.next {
                self.flight.on_sent(now, self.track.unacknowledged, next);
                match std::mem::take(&mut self.track.sent) {
                    Sent::New => self.rto.on_sent(now, next),
                    Sent::Again => {
                        counters.retransmits += 1;
                        self.recovery.on_sent_again(now, next, self.rto.is_due(now));
                        self.rto.on_sent_again(now);
                    }
                    Sent::Nothing => {}
                }
            }
            if hastened && self.rto.is_due(now) {
                // A probe or an acknowledgment went instead. Its deadlines come one after the other when time is put forward, so
                // that without an end there would be no end to them.
                self.rto.on_sent_again(now);
            }
            counters.packets_out += 1;
        }
        Turn::More
    }

    /// Puts smoltcp's clock forward to its next deadline. It measures no round trip across that: whatever expires there ends
    /// the measurement, or takes no part in it.
    fn hasten(&mut self, clock: &Clock, now: Instant) {
        let time = self.time(clock, now);
        if let Some(at) = self.interface.poll_at(time, &self.sockets).filter(|at| *at > time) {
            self.ahead += at - time;
        }
    }

    /// The time that smoltcp sees.
    fn time(&self, clock: &Clock, now: Instant) -> smoltcp::time::Instant {
        clock.to_smoltcp(now) + self.ahead
    }

    /// Tells the remote that the connection is over.
    pub(crate) fn reset(&mut self, clock: &Clock, now: Instant, outbox: &mut Outbox) {
        // Without a SYN on the wire there is nobody to tell.
        if self.track.next.is_some() && outbox.has_room() {
            self.socket_mut().abort();
            self.transmit(clock, now, outbox);
        }
    }

    pub(crate) fn verdict(&self, reset: bool, released: bool) -> Verdict {
        let socket = self.socket();
        match socket.state() {
            // What was accepted goes back there when the remote answers our SYN-ACK by a RST.
            State::Listen => Verdict::Ended(CloseReason::Reset),
            State::Closed if !self.connected => Verdict::Ended(CloseReason::Refused),
            // The remote has forgotten a connection that was over for it: no error (RFC 9293 §3.10.7.4).
            State::Closed if reset && !self.nearly_done => Verdict::Ended(CloseReason::Reset),
            State::Closed => Verdict::Ended(CloseReason::Finished),
            _ if released && socket.can_recv() => Verdict::Unwanted,
            State::TimeWait => self.time_wait().map_or(Verdict::Lives, Verdict::Waits),
            State::SynSent
            | State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck => Verdict::Lives,
        }
    }

    /// Once the remote's FIN has been acknowledged, five numbers are enough to wait with: the buffers can go.
    fn time_wait(&self) -> Option<TimeWait> {
        let (sequence, acknowledgment) = (self.track.next?, self.track.acknowledged?);
        let is_acknowledged = self.track.fin == Some(acknowledgment);
        is_acknowledged.then_some(TimeWait { sequence, acknowledgment, window: self.track.window })
    }

    pub(crate) fn is_fin_received(&self) -> bool {
        matches!(self.socket().state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait)
    }

    /// Whether the remote owes us an acknowledgment.
    fn is_expecting(&self) -> bool {
        let socket = self.socket();
        let owes_fin = matches!(socket.state(), State::FinWait1 | State::LastAck | State::Closing);
        self.connected && (socket.send_queue() > 0 || owes_fin)
    }

    /// Enough that owners are not woken for every segment that is acknowledged, little enough that the buffer, which is
    /// also the window, stays full.
    pub(crate) fn has_ample_room(&self, now: Instant) -> bool {
        if self.holds(now) {
            return false;
        }
        let capacity = self.socket().send_capacity().min(self.flight.bytes());
        self.socket().may_send() && self.room() >= AMPLE_ROOM.min(capacity / 4)
    }

    /// Bytes the owner may add. What waits in the buffer is in flight soon, or already.
    fn room(&self) -> usize {
        let socket = self.socket();
        socket.send_capacity().min(self.flight.bytes()).saturating_sub(socket.send_queue())
    }

    pub(crate) fn unread(&mut self) -> Unread {
        let mut bytes = vec![0; self.socket().recv_queue()];
        let read = self.socket_mut().recv_slice(&mut bytes).unwrap_or(0);
        bytes.truncate(read);
        Unread::new(bytes)
    }

    /// Takes smaller (or larger) packets from now on. What is on its way already is sent again in the new size when it
    /// is found missing. An interface holds nothing but addresses, so it is made anew.
    pub(crate) fn set_mtu(&mut self, clock: &Clock, now: Instant, mtu: usize) {
        self.mtu = mtu;
        self.interface = interface(self.time(clock, now), self.tuple.local.0, mtu, self.seed, &mut self.track);
    }

    /// When the connection is given up unless something happens.
    pub(crate) fn gives_up_at(&self) -> Option<Instant> {
        let patient_until = self.is_expecting().then(|| {
            // A remote with a full buffer is alive as long as it says so. Nothing excuses it from taking our FIN.
            let since = if self.socket().send_queue() > 0 { self.heard } else { self.progressed };
            since + USER_TIMEOUT
        });
        let keepalive = self.keepalive.filter(|_| self.connected);
        let silent_until =
            keepalive.and_then(|interval| self.heard.checked_add(interval.saturating_mul(KEEPALIVE_INTERVALS)));
        [patient_until, silent_until, self.limit].into_iter().flatten().min()
    }

    /// When to look at the connection again; it has just had its turn.
    pub(crate) fn wakes_at(&mut self, clock: &Clock, now: Instant) -> Option<Instant> {
        let poll_at = self.interface.poll_at(self.time(clock, now), &self.sockets);
        let poll_at = poll_at.and_then(|at| clock.read_smoltcp(at - self.ahead));
        // It had its turn and had nothing to send: "now" would make the caller spin.
        let poll_at = poll_at.map(|at| at.max(now + SHORTEST_SLEEP));
        // While something is unread or unacknowledged, that comes first.
        let gives_back_at = self.fitting.gives_back_at().filter(|_| self.may_give_back());
        [poll_at, self.rto.at(), self.gives_up_at(), gives_back_at.map(|at| at.max(now + SHORTEST_SLEEP))]
            .into_iter()
            .flatten()
            .min()
    }
}

fn socket(sizes: Sizes, keepalive: Option<Duration>) -> tcp::Socket<'static> {
    let buffer = |bytes| tcp::SocketBuffer::new(vec![0; bytes]);
    let mut socket = tcp::Socket::new(buffer(sizes.receive), buffer(sizes.send));
    socket.set_congestion_control(CongestionControl::Cubic);
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(Some(smoltcp::time::Duration::from_micros(ACK_DELAY_MICROS)));
    // Time-outs are ours: smoltcp would also end connections that are merely idle.
    socket.set_timeout(None);
    if let Some(interval) = keepalive {
        let micros = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX / 2);
        socket.set_keep_alive(Some(smoltcp::time::Duration::from_micros(micros)));
    }
    socket
}

fn interface(at: smoltcp::time::Instant, local: IpAddr, mtu: usize, seed: u64, track: &mut Track) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut nowhere = Outbox::default();
    let mut device = Device { arriving: None, sink: &mut nowhere, mtu, track, sent: 0 };
    let mut interface = Interface::new(config, &mut device, at);
    let prefix_len = if local.is_ipv4() { 32 } else { 128 };
    interface.update_ip_addrs(|addresses| {
        // One of at least one place is taken.
        let _full = addresses.push(IpCidr::new(IpAddress::from(local), prefix_len));
    });
    interface
}

const AMPLE_ROOM: usize = 16 << 10;
/// What a live connection is charged with, besides its buffers: about its size in memory.
pub(crate) const CONNECTION_COST: usize = 2048;
/// How long a released connection may make no progress with what is left to do (as Linux' `tcp_fin_timeout`).
const LINGER: Duration = Duration::from_secs(60);
/// How long it may take in all: 512 KiB at 1 KiB/s.
const LONGEST_LINGER: Duration = Duration::from_secs(600);
/// How long data may stay unacknowledged (RFC 9293 §3.9.1: five minutes).
const USER_TIMEOUT: Duration = Duration::from_secs(300);
/// Three probes, each unanswered for an interval.
const KEEPALIVE_INTERVALS: u32 = 4;
/// smoltcp's own default; every second full segment is acknowledged at once (RFC 9293 SHLD-19).
const ACK_DELAY_MICROS: u64 = 10_000;
/// Enough for a full run of segmented sends (64 KiB), few enough that the others do not notice.
const PACKETS_A_TURN: usize = 48;
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);
