//! What is inside one tunnel: the stack, behind a lock held for a batch of packets at most, and who waits for what.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::{Duration, Instant},
};

use adit_netstack::{CloseReason, ConnectionId, PingId, Stack, StackEvent, UdpId};

use crate::{error::Failure, reach::Reach, shared::Stats, tun::Port};

/// Shared by the task of a tunnel and the handles of its connections and sockets.
#[derive(Debug)]
pub(crate) struct Inside {
    inner: Mutex<Inner>,
}

/// Behind the lock.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) stack: Stack,
    pub(crate) connections: HashMap<ConnectionId, Waiting>,
    pub(crate) sockets: HashMap<UdpId, UdpWaiting>,
    /// What began at the other end, and is to be taken in.
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) stats: Stats,
    /// What is not the stack's goes to the kernel.
    pub(crate) device: Option<Port>,
    /// Echo requests, and what is known of their answers.
    pub(crate) pings: HashMap<PingId, Ping>,
    /// What the gateway has agreed to carry.
    pub(crate) reach: Reach,
    /// The tunnel ended for good.
    pub(crate) ended: Option<Failure>,
    /// The client whose task serves it, where that may change.
    pub(crate) owner: u64,
    /// It has a new owner, who is to give it its addresses.
    pub(crate) moved: bool,
    driver: Option<Waker>,
}

/// An echo request.
#[derive(Debug, Default)]
pub(crate) struct Ping {
    pub(crate) rtt: Option<Duration>,
    pub(crate) waiter: Option<Waker>,
}

/// What began at the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arrival {
    Connection(ConnectionId),
    Association(UdpId),
}

/// How a connection or a socket belongs to its tunnel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tie {
    /// It goes with whichever tunnel has its address.
    #[default]
    Free,
    /// It is to go through this tunnel and no other, and to wait for it.
    Pinned,
    /// It asks whether the tunnel carries.
    Probe,
    /// It takes what comes from anybody through this tunnel.
    Port,
}

/// Who waits for a connection.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) connected: bool,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) tie: Tie,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
}

/// Who waits for a UDP socket.
#[derive(Debug, Default)]
pub(crate) struct UdpWaiting {
    pub(crate) unreachable: Option<SocketAddr>,
    /// The stack has closed it, or its tunnel is lost.
    pub(crate) closed: bool,
    pub(crate) tie: Tie,
    pub(crate) reader: Option<Waker>,
}

/// Wakers to be woken once the lock is released.
#[derive(Debug, Default)]
#[must_use = "whoever waits is to be woken"]
pub(crate) struct Wakers(Vec<Waker>);

impl Inside {
    pub(crate) fn new(stack: Stack) -> Self {
        let inner = Inner {
            stack,
            connections: HashMap::new(),
            sockets: HashMap::new(),
            arrivals: Vec::new(),
            stats: Stats::default(),
            device: None,
            pings: HashMap::new(),
            reach: Reach::default(),
            ended: None,
            owner: 0,
            moved: false,
            driver: None,
        };
        Self { inner: Mutex::new(inner) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing is left half done by a panic under the lock that later calls could trip over.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tunnel is lost, or left: whoever reads or writes is told, and the other ends get resets if the tunnel still takes them. So it
    /// is with those that have such a tie.
    pub(crate) fn sever(&self, tie: Tie) {
        let mut inner = self.lock();
        let Inner { stack, connections, sockets, .. } = &mut *inner;
        let lost = connections.iter().filter(|(_, c)| c.closed.is_none() && c.tie == tie);
        lost.for_each(|(id, _)| stack.sever(*id));
        let mut readers = Vec::new();
        for socket in sockets.values_mut().filter(|s| s.tie == tie) {
            socket.closed = true;
            readers.extend(socket.reader.take());
        }
        let mut wakers = inner.take_events();
        wakers.0.extend(readers);
        inner.wake_driver();
        drop(inner);
        wakers.wake();
    }

    /// How many connections and sockets with this tie are open.
    pub(crate) fn count(&self, tie: Tie) -> usize {
        let inner = self.lock();
        let connections = inner.connections.values().filter(|c| c.closed.is_none() && c.tie == tie).count();
        connections + inner.sockets.values().filter(|s| !s.closed && s.tie == tie).count()
    }

    /// How many of them have begun: without connections that the other end has not answered yet.
    pub(crate) fn established(&self, tie: Tie) -> usize {
        let inner = self.lock();
        let begun = |c: &&Waiting| c.connected && c.closed.is_none() && c.tie == tie;
        let connections = inner.connections.values().filter(begun).count();
        connections + inner.sockets.values().filter(|s| !s.closed && s.tie == tie).count()
    }

    /// Whether packets of no connection are left alone: they may be of another tunnel's that has the same addresses.
    pub(crate) fn set_quiet(&self, quiet: bool) {
        self.lock().stack.set_quiet(quiet);
    }

    /// The end, for good; why it ended before, if it did.
    pub(crate) fn end(&self, failure: &Failure) -> bool {
        let mut inner = self.lock();
        if inner.ended.is_some() {
            return false;
        }
        inner.ended = Some(failure.clone());
        let wakers = inner.take_all_wakers();
        drop(inner);
        wakers.wake();
        true
    }
}

/// The lock, while a batch is handled: taken when first needed, and released in between where something takes long.
pub(crate) struct Held<'a> {
    inside: &'a Inside,
    guard: Option<MutexGuard<'a, Inner>>,
}

impl<'a> Held<'a> {
    pub(crate) const fn new(inside: &'a Inside) -> Self {
        Self { inside, guard: None }
    }

    pub(crate) fn inner(&mut self) -> &mut Inner {
        self.guard.get_or_insert_with(|| self.inside.lock())
    }

    pub(crate) fn release(&mut self) {
        self.guard = None;
    }
}

impl Inner {
    /// The task has something to do: packets to fetch, or a request to close.
    pub(crate) fn wake_driver(&mut self) {
        if let Some(waker) = self.driver.take() {
            waker.wake();
        }
    }

    /// A packet out of the tunnel: to the stack what is its own, all else to the device, if there is one.
    pub(crate) fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        match &mut self.device {
            Some(device) if !self.stack.owns(now, packet) => device.deliver(packet),
            _ => self.stack.handle_packet(now, packet),
        }
    }

    /// Whom to wake with [`Self::wake_driver`].
    pub(crate) fn set_driver(&mut self, waker: &Waker) {
        if !self.driver.as_ref().is_some_and(|old| old.will_wake(waker)) {
            self.driver = Some(waker.clone());
        }
    }

    /// As [`Self::set_driver`], for the task of this client; `false` if the stack has gone to another one meanwhile.
    pub(crate) fn set_owned_driver(&mut self, owner: u64, waker: &Waker) -> bool {
        let is_ours = self.owner == owner;
        if is_ours {
            self.set_driver(waker);
        }
        is_ours
    }

    /// What belongs to the tunnel rather than to the connections changes its place; both tasks are woken.
    pub(crate) fn trade_places(&mut self, other: &mut Self) -> [Option<Waker>; 2] {
        self.stack.trade_places(&mut other.stack);
        std::mem::swap(&mut self.stats, &mut other.stats);
        std::mem::swap(&mut self.reach, &mut other.reach);
        std::mem::swap(&mut self.device, &mut other.device);
        std::mem::swap(&mut self.owner, &mut other.owner);
        self.moved = true;
        other.moved = true;
        [self.driver.take(), other.driver.take()]
    }

    /// Takes the stack's events to those who wait for them.
    pub(crate) fn take_events(&mut self) -> Wakers {
        let mut wakers = Wakers::default();
        while let Some(event) = self.stack.poll_event() {
            match event {
                StackEvent::Connected(id) => self.with(id, |c| {
                    c.connected = true;
                    wakers.0.extend(c.writer.take());
                }),
                StackEvent::Readable(id) => self.with(id, |c| wakers.0.extend(c.reader.take())),
                StackEvent::Writable(id) => self.with(id, |c| wakers.0.extend(c.writer.take())),
                StackEvent::Closed(id, reason) => self.with(id, |c| {
                    c.closed = Some(reason);
                    wakers.0.extend(c.reader.take());
                    wakers.0.extend(c.writer.take());
                }),
                StackEvent::UdpReadable(id) => {
                    wakers.0.extend(self.sockets.get_mut(&id).and_then(|s| s.reader.take()));
                }
                StackEvent::UdpError(id, remote) => {
                    if let Some(socket) = self.sockets.get_mut(&id) {
                        socket.unreachable = Some(remote);
                        wakers.0.extend(socket.reader.take());
                    }
                }
                StackEvent::Incoming(id) => {
                    self.connections.insert(id, Waiting::default());
                    self.arrivals.push(Arrival::Connection(id));
                }
                StackEvent::UdpIncoming(id) => {
                    self.sockets.insert(id, UdpWaiting::default());
                    self.arrivals.push(Arrival::Association(id));
                }
                StackEvent::Pong(id, rtt) => {
                    if let Some(ping) = self.pings.get_mut(&id) {
                        ping.rtt = Some(rtt);
                        wakers.0.extend(ping.waiter.take());
                    }
                }
                StackEvent::UdpClosed(id) => {
                    if let Some(socket) = self.sockets.get_mut(&id) {
                        socket.closed = true;
                        wakers.0.extend(socket.reader.take());
                    }
                }
                _ => {}
            }
        }
        wakers
    }

    pub(crate) fn stats(&self) -> Stats {
        let connections = || self.connections.values().filter(|c| c.tie != Tie::Probe);
        Stats {
            retransmits: self.stack.counters().retransmits,
            connections: connections().count(),
            connecting: connections().filter(|c| !c.connected && c.closed.is_none()).count(),
            udp_sockets: self.sockets.len(),
            ..self.stats
        }
    }

    fn with(&mut self, id: ConnectionId, f: impl FnOnce(&mut Waiting)) {
        if let Some(waiting) = self.connections.get_mut(&id) {
            f(waiting);
        }
    }

    fn take_all_wakers(&mut self) -> Wakers {
        let connections = self.connections.values_mut().flat_map(|c| [c.reader.take(), c.writer.take()]);
        let sockets = self.sockets.values_mut().map(|s| s.reader.take());
        let pings = self.pings.values_mut().map(|ping| ping.waiter.take());
        Wakers(connections.chain(sockets).chain(pings).flatten().collect())
    }
}

impl Wakers {
    pub(crate) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}
