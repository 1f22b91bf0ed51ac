//! What is inside one tunnel: the stack, behind a lock held for a batch of packets at most, and who waits for what.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Instant,
};

use adit_netstack::{CloseReason, ConnectionId, Stack, StackEvent, UdpId};

use crate::{error::Failure, shared::Stats, tun::Port};

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
    /// The tunnel ended for good.
    pub(crate) ended: Option<Failure>,
    driver: Option<Waker>,
}

/// What began at the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arrival {
    Connection(ConnectionId),
    Association(UdpId),
}

/// Who waits for a connection.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) connected: bool,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
}

/// Who waits for a UDP socket.
#[derive(Debug, Default)]
pub(crate) struct UdpWaiting {
    pub(crate) unreachable: Option<SocketAddr>,
    /// The stack has closed it.
    pub(crate) closed: bool,
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
            ended: None,
            driver: None,
        };
        Self { inner: Mutex::new(inner) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing is left half done by a panic under the lock that later calls could trip over.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
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
        Stats { connections: self.connections.len(), udp_sockets: self.sockets.len(), ..self.stats }
    }

    fn with(&mut self, id: ConnectionId, f: impl FnOnce(&mut Waiting)) {
        if let Some(waiting) = self.connections.get_mut(&id) {
            f(waiting);
        }
    }

    fn take_all_wakers(&mut self) -> Wakers {
        let connections = self.connections.values_mut().flat_map(|c| [c.reader.take(), c.writer.take()]);
        let sockets = self.sockets.values_mut().map(|s| s.reader.take());
        Wakers(connections.chain(sockets).flatten().collect())
    }
}

impl Wakers {
    pub(crate) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}
