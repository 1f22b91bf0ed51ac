//! The stack: routes packets to connections and sockets, gives turns to those with something to send, keeps the time.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    fmt,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use crate::{
    Accept, CloseReason, ConnectError, ConnectionError, ConnectionId, Counters, PacketSink, StackConfig, UdpId,
    associations::Associations,
    budget::Budget,
    clock::Clock,
    connection::{Connection, Phase, Turn, Verdict},
    demux::{Demux, Endpoints, TimeWait, Tuple},
    live::{Bounds, CONNECTION_COST, Live, Opening, seed_to_begin_with},
    outbox::{self, Outbox, RateLimit},
    ping::{PingId, Pings},
    random::Random,
    reassembly::Reassembly,
    slots::{Key, Slots},
    udp::UdpSocket,
};

/// TCP and UDP endpoints over inner packets. See the [crate] for the loop around it.
pub struct Stack {
    pub(crate) config: StackConfig,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) budget: Budget,
    pub(crate) demux: Demux,
    pub(crate) connections: Slots<Connection>,
    pub(crate) sockets: Slots<UdpSocket>,
    /// Local UDP ports.
    pub(crate) ports: HashMap<u16, Key>,
    pub(crate) associations: Associations,
    /// Our own TCP ports that connections from the other end are taken at.
    pub(crate) listening: HashSet<u16>,
    /// Echo requests that are not answered yet.
    pub(crate) pings: Pings,
    /// How many connections wait to be accepted.
    pub(crate) incoming: usize,
    /// Of the last IPv4 packet that may be fragmented.
    pub(crate) identification: u16,
    /// Who may have something to send, in turn.
    ready: VecDeque<Ready>,
    deadlines: BTreeSet<(Instant, Key)>,
    /// Released connections, oldest first: the first to go when memory is short. May name some that are gone.
    orphans: VecDeque<Key>,
    pub(crate) events: VecDeque<StackEvent>,
    /// How many of the events are [`StackEvent::UdpError`]: only they could pile up.
    pub(crate) udp_errors: usize,
    pub(crate) outbox: Outbox,
    pub(crate) rate_limit: RateLimit,
    /// What is of no connection or socket is not answered.
    pub(crate) quiet: bool,
    pub(crate) reassembly: Reassembly,
    pub(crate) counters: Counters,
}

/// What happened. Events are edge-triggered and never lost; some may be about nothing new, or about what was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StackEvent {
    /// Somebody at the other end wants to connect to [`Stack::endpoints`]`.local`. Nothing was answered yet and almost no
    /// memory is held: call [`Stack::accept`] or [`Stack::refuse`], within [`StackConfig::connect_timeout`]. It may end before
    /// ([`Closed`](Self::Closed)) as any connection.
    Incoming(ConnectionId),
    /// The three-way handshake is done.
    Connected(ConnectionId),
    /// There is something to receive, or the remote ended its direction: call [`Stack::receive`] until it returns
    /// `Ok(None)`, the end, or an error. Only then is the next such event sure to come.
    Readable(ConnectionId),
    /// After [`Stack::send`] took less than it was given: 16 KiB, or a quarter of a small buffer, are free again.
    Writable(ConnectionId),
    /// The connection ended, with [`CloseReason::Finished`] if both directions did so in order. What was received before
    /// can still be read. It is kept until [`Stack::release`].
    Closed(ConnectionId, CloseReason),
    /// Datagrams wait: call [`Stack::receive_udp`] until it returns `None`.
    UdpReadable(UdpId),
    /// An ICMP error said that this remote cannot be reached.
    UdpError(UdpId, SocketAddr),
    /// The first datagram of an association that began at the other end, see [`Stack::udp_endpoints`]: answer by
    /// [`Stack::send_udp`], or end it by [`Stack::close_udp`] or [`Stack::refuse_udp`]. [`UdpReadable`](Self::UdpReadable) follows.
    UdpIncoming(UdpId),
    /// An echo request was answered, so long after it was made.
    Pong(PingId, Duration),
    /// Such an association was idle for [`StackConfig::udp_idle`], had to give way to others, or its peer is gone. It is closed.
    UdpClosed(UdpId),
}

#[derive(Debug, Clone, Copy)]
enum Ready {
    Connection(Key),
    Udp(Key),
}

impl Stack {
    /// A stack without connections. `seed` is the root of initial sequence numbers and ports: take it from a good source
    /// of randomness, and a new one each time.
    #[must_use]
    pub fn new(config: StackConfig, seed: u64) -> Self {
        let config = config.corrected();
        Self {
            clock: Clock::default(),
            random: Random::new(seed),
            budget: Budget::new(config.memory, config.pool.clone()),
            demux: Demux::default(),
            connections: Slots::new(),
            sockets: Slots::new(),
            ports: HashMap::new(),
            associations: Associations::default(),
            listening: HashSet::new(),
            pings: Pings::default(),
            incoming: 0,
            identification: 0,
            ready: VecDeque::new(),
            deadlines: BTreeSet::new(),
            orphans: VecDeque::new(),
            events: VecDeque::new(),
            udp_errors: 0,
            outbox: Outbox::default(),
            rate_limit: RateLimit::default(),
            quiet: false,
            reassembly: Reassembly::default(),
            counters: Counters::default(),
            config,
        }
    }

    /// The tunnel came back, perhaps with other addresses. Connections whose local address is gone end with
    /// [`CloseReason::LocalAddressGone`]; the others live on, with the new `tcp_mtu`, and repeat what was lost when
    /// their retransmission timers fire. UDP sockets live on too; what they had queued from an old address is dropped.
    pub fn reconfigure(&mut self, now: Instant, config: StackConfig) {
        let now = self.clock.advance(now);
        self.config = config.corrected();
        self.budget.set_limit(self.config.memory);
        self.budget.set_pool(self.config.pool.as_ref());
        for key in self.connections.keys() {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            let Tuple { local: (local, _), remote: (remote, _) } = connection.tuple;
            let is_ours = self.config.addresses.contains(&local) || connection.answering && self.config.is_ours(local);
            if !is_ours || !self.config.is_peer(remote) {
                self.end(key, CloseReason::LocalAddressGone, Farewell::Silent);
                continue;
            }
            let mtu = self.config.tcp_mtu_for(local);
            let Some(live) = connection.live() else { continue };
            if live.mtu() != mtu {
                live.set_mtu(&self.clock, now, mtu);
            }
            self.make_ready(key);
        }
        for key in self.sockets.keys() {
            let Some(socket) = self.sockets.get_mut(key) else { continue };
            match socket.association() {
                Some(Tuple { remote: (remote, _), .. }) => {
                    if self.config.accept == Accept::Nothing || !self.config.is_peer(remote) {
                        self.lose_association(key);
                    }
                }
                None => self.budget.give_back(socket.clear_outbox()),
            }
        }
    }

    /// Begins to connect; the SYN leaves with the next [`poll_packets`](Self::poll_packets).
    ///
    /// # Errors
    /// See [`ConnectError`]. Nothing was sent then.
    pub fn connect(&mut self, now: Instant, remote: SocketAddr) -> Result<ConnectionId, ConnectError> {
        let now = self.clock.advance(now);
        let result = self.try_connect(now, remote);
        if let Err(error) = result {
            self.count_refusal(error);
        }
        result
    }

    pub(crate) fn count_refusal(&mut self, error: ConnectError) {
        self.counters.refused += 1;
        match error {
            ConnectError::NoMemory | ConnectError::PoolEmpty => self.counters.refused_memory += 1,
            ConnectError::TooManyConnections => self.counters.refused_full += 1,
            ConnectError::NoAddressOfFamily
            | ConnectError::Unaddressable
            | ConnectError::PortInUse
            | ConnectError::NoPort => {}
        }
    }

    fn try_connect(&mut self, now: Instant, remote: SocketAddr) -> Result<ConnectionId, ConnectError> {
        let remote = (remote.ip().to_canonical(), remote.port());
        if !self.config.is_peer(remote.0) || remote.1 == 0 {
            return Err(ConnectError::Unaddressable);
        }
        let local = self.source_for(remote.0).ok_or(ConnectError::NoAddressOfFamily)?;
        if self.connections.len() >= self.config.max_connections && !self.drop_orphan(now) {
            return Err(ConnectError::TooManyConnections);
        }
        self.demux.expire(now);
        let port = self.demux.free_port(&mut self.random, local, remote).ok_or(ConnectError::NoPort)?;
        let (bounds, charge) = self.charge_buffers(now).ok_or_else(|| self.no_memory())?;
        let tuple = Tuple { local: (local, port), remote };
        let opening = Opening {
            tuple,
            mtu: self.config.tcp_mtu_for(local),
            bounds,
            seed: self.seed_for(now, &tuple),
            connect_timeout: self.config.connect_timeout,
            keepalive: self.config.keepalive,
        };
        let Some(live) = Live::open(&self.clock, now, opening) else {
            self.budget.give_back(charge);
            return Err(ConnectError::Unaddressable);
        };
        let key = self.connections.insert(Connection::new(tuple, live, charge));
        self.demux.insert(tuple, key);
        self.make_ready(key);
        self.arm_give_up(key);
        Ok(ConnectionId(key))
    }

    /// What smoltcp draws the first sequence number of a connection from.
    pub(crate) fn seed_for(&mut self, now: Instant, tuple: &Tuple) -> u64 {
        let first = self.random.first_sequence(tuple, self.clock.since_first(now));
        seed_to_begin_with(first, self.random.next_u64())
    }

    /// What a connection begins with, at the cost of those nobody owns any more.
    pub(crate) fn charge_buffers(&mut self, now: Instant) -> Option<(Bounds, usize)> {
        let bounds = Bounds::new(self.config.small_buffer, self.config.buffer);
        let cost = bounds.least.bytes().saturating_add(CONNECTION_COST);
        while !self.budget.charge(cost) {
            if !self.drop_orphan(now) {
                return None;
            }
        }
        Some((bounds, cost))
    }

    /// Why the latest charge failed.
    pub(crate) const fn no_memory(&self) -> ConnectError {
        if self.budget.pool_was_empty() { ConnectError::PoolEmpty } else { ConnectError::NoMemory }
    }

    /// Gives a connection larger buffers when its traffic asks for them and less than half of the budget is taken, and the least again
    /// when it is silent.
    pub(crate) fn fit(&mut self, now: Instant, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Phase::Live(live) = &mut connection.phase else { return };
        let Some(wanted) = live.wanted(now) else { return };
        // The remote has to hear of it.
        if !self.outbox.has_room() {
            return;
        }
        let (before, after) = (live.sizes().bytes(), wanted.bytes());
        let more = after.saturating_sub(before);
        // What gives something back needs nobody's leave.
        if more > 0 && !self.budget.charge_generously(more) {
            self.counters.degraded += 1;
            live.put_off(now);
            return;
        }
        if live.refit(&self.clock, now, wanted, &mut self.outbox) {
            self.budget.give_back(before.saturating_sub(after));
            connection.charge = connection.charge + after - before;
        } else {
            self.budget.give_back(more);
            self.counters.degraded += u64::from(more > 0);
            live.put_off(now);
        }
    }

    /// Ends the oldest released connection by a RST; `false` if there is none.
    pub(crate) fn drop_orphan(&mut self, now: Instant) -> bool {
        while let Some(key) = self.orphans.pop_front() {
            if self.connections.get(key).is_some() {
                self.clock.advance(now);
                self.end(key, CloseReason::Aborted, Farewell::Reset);
                return true;
            }
        }
        false
    }

    /// Takes so much of the budget for the owner's own buffers of this connection, as if they were ours; `false` if half of it is
    /// taken already. The end of the connection gives it back, or [`unreserve`](Self::unreserve).
    pub fn reserve(&mut self, id: ConnectionId, bytes: usize) -> bool {
        let Some(connection) = self.connections.get_mut(id.0).and_then(|c| c.live().is_some().then_some(c)) else {
            return false;
        };
        let reserved = self.budget.charge_generously(bytes);
        if reserved {
            connection.charge += bytes;
            connection.reserved += bytes;
        }
        reserved
    }

    /// Gives back what was [reserved](Self::reserve), at most.
    pub fn unreserve(&mut self, id: ConnectionId, bytes: usize) {
        let Some(connection) = self.connections.get_mut(id.0) else { return };
        let bytes = bytes.min(connection.reserved);
        connection.reserved -= bytes;
        connection.charge -= bytes;
        self.budget.give_back(bytes);
    }

    /// Takes data to send; says how many bytes. `Ok(0)` means that the buffer is full or the connection not made yet:
    /// wait for [`StackEvent::Writable`] (or [`StackEvent::Connected`]).
    ///
    /// # Errors
    /// Why the connection ended; [`CloseReason::Finished`] also after [`shutdown`](Self::shutdown).
    pub fn send(&mut self, id: ConnectionId, data: &[u8]) -> Result<usize, ConnectionError> {
        let now = self.clock.latest().ok_or(CloseReason::Finished)?;
        let connection = self.connections.get_mut(id.0).ok_or(CloseReason::Finished)?;
        if let Some(live) = connection.live() {
            live.plan_to_send(now, data.len(), live.sizes().send);
            self.fit(now, id.0);
        }
        let connection = self.connections.get_mut(id.0).ok_or(CloseReason::Finished)?;
        let sent = connection.send(now, data)?;
        if sent > 0 {
            self.make_ready(id.0);
            self.arm_give_up(id.0);
        }
        Ok(sent)
    }

    /// Fetches received data; says how many bytes. `Ok(None)`: nothing yet, wait for [`StackEvent::Readable`].
    /// `Ok(Some(0))`: the remote ended its direction; ours may go on. `buf` must not be empty.
    ///
    /// # Errors
    /// Why the connection ended, once everything that arrived before is fetched.
    pub fn receive(&mut self, id: ConnectionId, buf: &mut [u8]) -> Result<Option<usize>, ConnectionError> {
        let connection = self.connections.get_mut(id.0).ok_or(CloseReason::Finished)?;
        let received = connection.receive(buf)?;
        // A wider window may have to be announced.
        if received.is_some_and(|received| received > 0) && connection.live().is_some() {
            if let Some(now) = self.clock.latest() {
                self.fit(now, id.0);
            }
            self.make_ready(id.0);
        }
        Ok(received)
    }

    /// Ends our direction: a FIN follows what was sent. Receiving goes on.
    pub fn shutdown(&mut self, id: ConnectionId) {
        if let Some(live) = self.connections.get_mut(id.0).and_then(Connection::live) {
            live.shutdown();
            self.make_ready(id.0);
            self.arm_give_up(id.0);
        }
    }

    /// Ends the connection by a RST, at once: what was not sent yet never will be. Data received can still be read, then
    /// [`CloseReason::Aborted`].
    pub fn abort(&mut self, id: ConnectionId) {
        self.end(id.0, CloseReason::Aborted, Farewell::Reset);
    }

    /// Ends the connection by a RST as [`abort`](Self::abort) does, because its tunnel is lost: [`CloseReason::TunnelLost`].
    pub fn sever(&mut self, id: ConnectionId) {
        self.end(id.0, CloseReason::TunnelLost, Farewell::Reset);
    }

    /// Exchanges with another stack what belongs to the tunnel rather than to the connections through it: what was counted, and the
    /// ports listened on. For a stack that goes on with another tunnel.
    pub fn trade_places(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.counters, &mut other.counters);
        std::mem::swap(&mut self.listening, &mut other.listening);
    }

    /// Whether segments and datagrams that are of no connection or socket are dropped without a RST or an ICMP error: they may be
    /// another stack's that has the same addresses. The count is [`Counters::answers_suppressed`].
    pub fn set_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// The owner dropped its handle. What was sent is delivered and the connection finished in the background, within 60
    /// seconds of the last progress. If something is unread, or arrives later, the remote gets a RST instead, so that it
    /// knows (RFC 2525 §2.17). No more events about the connection are made.
    pub fn release(&mut self, id: ConnectionId) {
        let (Some(now), Some(connection)) = (self.clock.latest(), self.connections.get_mut(id.0)) else { return };
        connection.released = true;
        let live = match &mut connection.phase {
            Phase::Live(live) => live,
            Phase::Incoming(_) => {
                self.end(id.0, CloseReason::Aborted, Farewell::Reset);
                return;
            }
            Phase::Ended { .. } => {
                self.forget(id.0);
                return;
            }
        };
        if !live.is_connected() || live.has_unread() {
            self.end(id.0, CloseReason::Aborted, Farewell::Reset);
            return;
        }
        live.release(now);
        self.orphans.push_back(id.0);
        if self.orphans.len() > 2 * self.connections.len() + SLACK {
            self.orphans.retain(|key| self.connections.get(*key).is_some());
        }
        self.make_ready(id.0);
        self.arm_give_up(id.0);
    }

    /// The local address and port of a connection; `None` once it is released.
    #[must_use]
    pub fn local_addr(&self, id: ConnectionId) -> Option<SocketAddr> {
        self.endpoints(id).map(|endpoints| endpoints.local)
    }

    /// Whether the other end has acknowledged all bytes that were sent; so it has, for all that is known, once the connection has ended.
    #[must_use]
    pub fn is_delivered(&self, id: ConnectionId) -> bool {
        self.connections.get(id.0).is_none_or(Connection::is_delivered)
    }

    /// Both ends of a connection; `None` once it is released.
    #[must_use]
    pub fn endpoints(&self, id: ConnectionId) -> Option<Endpoints> {
        Some(self.connections.get(id.0)?.tuple.into())
    }

    /// Time has come: call it when [`poll_timeout`](Self::poll_timeout) has passed, then
    /// [`poll_packets`](Self::poll_packets) and [`poll_event`](Self::poll_event).
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.clock.advance(now);
        self.demux.expire(now);
        while let Some(&(at, key)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            self.on_deadline(now, key);
        }
        self.expire_associations(now);
    }

    fn on_deadline(&mut self, now: Instant, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.armed = None;
        if let Some(live) = connection.live() {
            live.on_time(now);
        }
        if connection.gives_up_at().is_some_and(|at| at <= now) {
            // A remote that never answered our SYN does not know of a connection that could be reset; one that never got an
            // answer to its own will give up, or ask again.
            let is_known = connection.live().is_some_and(|live| live.is_known_to_remote());
            let farewell = if is_known { Farewell::Reset } else { Farewell::Silent };
            self.end(key, CloseReason::TimedOut, farewell);
            return;
        }
        self.fit(now, key);
        self.make_ready(key);
        self.arm_give_up(key);
    }

    /// Hands packets to the sink until nothing is left to send or the sink has no room. Only connections that something
    /// happened to are looked at, in turn, each for a bounded number of packets.
    pub fn poll_packets(&mut self, now: Instant, sink: &mut dyn PacketSink) {
        let now = self.clock.advance(now);
        self.counters.packets_out += self.outbox.flush(sink);
        while !self.ready.is_empty() && sink.has_room() {
            let Some(ready) = self.ready.pop_front() else { break };
            let turn = match ready {
                Ready::Connection(key) => self.give_turn(now, key, sink),
                Ready::Udp(key) => self.give_udp_turn(key, sink),
            };
            match turn {
                Turn::Done => {}
                Turn::More => self.ready.push_back(ready),
                Turn::NoRoom => self.ready.push_front(ready),
            }
        }
    }

    fn give_turn(&mut self, now: Instant, key: Key, sink: &mut dyn PacketSink) -> Turn {
        let Some(connection) = self.connections.get_mut(key) else { return Turn::Done };
        let Phase::Live(live) = &mut connection.phase else { return Turn::Done };
        self.counters.polls += 1;
        let turn = live.take_turn(&self.clock, now, sink, &mut self.counters);
        if turn == Turn::Done {
            connection.queued = false;
            let wakes_at = live.wakes_at(&self.clock, now);
            self.settle(key, false);
            self.arm(key, wakes_at);
        }
        turn
    }

    fn give_udp_turn(&mut self, key: Key, sink: &mut dyn PacketSink) -> Turn {
        let Some(socket) = self.sockets.get_mut(key) else { return Turn::Done };
        for packets in 0..DATAGRAMS_A_TURN {
            if !sink.has_room() {
                return if packets == 0 { Turn::NoRoom } else { Turn::More };
            }
            let Some((packet, cost)) = socket.next_to_send() else {
                socket.queued = false;
                return Turn::Done;
            };
            self.budget.give_back(cost);
            outbox::copy_into(sink, &packet);
            self.counters.packets_out += 1;
        }
        Turn::More
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<StackEvent> {
        let event = self.events.pop_front();
        match event {
            Some(StackEvent::UdpError(..)) => self.udp_errors -= 1,
            Some(StackEvent::UdpIncoming(_)) => self.associations.untold -= 1,
            _ => {}
        }
        event
    }

    /// When to call [`handle_timeout`](Self::handle_timeout): the earliest deadline of all connections, found without
    /// looking at each. It may be earlier than needed.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let connections = self.deadlines.first().map(|(at, _)| *at);
        [connections, self.associations.idle_at()].into_iter().flatten().min()
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many bytes of [`StackConfig::memory`] are taken.
    #[must_use]
    pub fn memory_used(&self) -> usize {
        self.budget.used()
    }

    /// How many connections exist, released ones that still finish included.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Our address of the remote's family.
    pub(crate) fn source_for(&self, remote: IpAddr) -> Option<IpAddr> {
        self.config.addresses.iter().copied().find(|address| address.is_ipv4() == remote.is_ipv4())
    }

    pub(crate) fn make_ready(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.queued
        {
            connection.queued = true;
            self.push_ready(Ready::Connection(key));
        }
    }

    pub(crate) fn make_udp_ready(&mut self, key: Key) {
        if let Some(socket) = self.sockets.get_mut(key)
            && !socket.queued
        {
            socket.queued = true;
            self.push_ready(Ready::Udp(key));
        }
    }

    /// What has ended meanwhile is left in the queue until its turn, but not without bound when no turn ever comes.
    fn push_ready(&mut self, ready: Ready) {
        if self.ready.len() > 2 * (self.connections.len() + self.sockets.len()) + SLACK {
            self.ready.retain(|ready| match ready {
                Ready::Connection(key) => self.connections.get(*key).is_some(),
                Ready::Udp(key) => self.sockets.get(*key).is_some(),
            });
        }
        self.ready.push_back(ready);
    }

    /// Looks at a connection after something happened to it.
    pub(crate) fn settle(&mut self, key: Key, reset: bool) {
        let (Some(connection), Some(now)) = (self.connections.get_mut(key), self.clock.latest()) else { return };
        match connection.settle(now, ConnectionId(key), reset, &mut self.events) {
            Verdict::Lives => {}
            Verdict::Ended(reason) => self.end(key, reason, Farewell::Silent),
            Verdict::Waits(time_wait) => self.end(key, CloseReason::Finished, Farewell::Wait(time_wait)),
            Verdict::Unwanted => self.end(key, CloseReason::Aborted, Farewell::Reset),
        }
    }

    /// Ends a connection that has not ended yet, and gives back its memory.
    pub(crate) fn end(&mut self, key: Key, reason: CloseReason, farewell: Farewell) {
        let (Some(connection), Some(now)) = (self.connections.get_mut(key), self.clock.latest()) else { return };
        let tuple = connection.tuple;
        let mut answer = None;
        match (&mut connection.phase, farewell) {
            (Phase::Ended { .. }, _) => return,
            (Phase::Live(live), Farewell::Reset) => live.reset(&self.clock, now, &mut self.outbox),
            (Phase::Incoming(incoming), Farewell::Reset) => answer = incoming.syn.reset(&tuple),
            (Phase::Live(_) | Phase::Incoming(_), Farewell::Silent | Farewell::Wait(_)) => {}
        }
        match farewell {
            Farewell::Wait(time_wait) => self.demux.wait(now, tuple, time_wait),
            Farewell::Silent | Farewell::Reset => self.demux.remove(&tuple),
        }
        self.incoming -= usize::from(matches!(connection.phase, Phase::Incoming(_)));
        let kept = connection.end(reason);
        self.budget.shrink(connection.charge, kept);
        (connection.charge, connection.reserved) = (kept, 0);
        if let Some(at) = connection.armed.take() {
            self.deadlines.remove(&(at, key));
        }
        if connection.released {
            self.forget(key);
        } else {
            self.events.push_back(StackEvent::Closed(ConnectionId(key), reason));
        }
        if answer.is_some() && self.may_answer(now) {
            self.counters.resets_sent += 1;
            self.answer(answer);
        }
    }

    /// The last trace of a connection that has ended.
    pub(crate) fn forget(&mut self, key: Key) {
        if let Some(connection) = self.connections.remove(key) {
            self.budget.give_back(connection.charge);
        }
    }

    /// Makes sure that the connection is looked at when it would be given up.
    pub(crate) fn arm_give_up(&mut self, key: Key) {
        let gives_up_at = self.connections.get(key).and_then(Connection::gives_up_at);
        self.arm(key, gives_up_at);
    }

    /// Makes sure that the connection is looked at no later than `at`. An earlier deadline stays: it is cheaper to wake
    /// once in vain than to move the deadline with every packet.
    fn arm(&mut self, key: Key, at: Option<Instant>) {
        let (Some(at), Some(connection)) = (at, self.connections.get_mut(key)) else { return };
        if matches!(connection.phase, Phase::Ended { .. }) || connection.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        if let Some(armed) = connection.armed.replace(at) {
            self.deadlines.remove(&(armed, key));
        }
        self.deadlines.insert((at, key));
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("addresses", &self.config.addresses)
            .field("connections", &self.connections.len())
            .field("sockets", &self.sockets.len())
            .field("memory_used", &self.budget.used())
            .finish_non_exhaustive()
    }
}

/// What the remote is told when a connection ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Farewell {
    /// Nothing: it knows, or it cannot be told.
    Silent,
    /// A RST.
    Reset,
    /// The acknowledgment of its FIN, again if need be.
    Wait(TimeWait),
}

/// How many entries about what is gone a queue may hold before they are looked for.
const SLACK: usize = 64;
/// About as many as a connection's packets.
const DATAGRAMS_A_TURN: usize = 48;
