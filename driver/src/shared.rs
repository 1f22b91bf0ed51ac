//! What the handles and the task of a tunnel share: the stack, behind a lock held for a batch of packets at most, and who waits for what.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Instant,
};

use adit_netstack::{CloseReason, ConnectionId, Stack, StackEvent, UdpId};
use adit_tunnel::NetworkConfig;
use tokio::sync::{broadcast, watch};

use crate::{client::ClientEvent, error::Failure, options::Options};

/// One per client.
#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    pub(crate) options: Options,
    pub(crate) state: watch::Sender<State>,
    pub(crate) events: broadcast::Sender<ClientEvent>,
    pub(crate) close: watch::Sender<bool>,
}

/// Whether packets can travel.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// Not now.
    Down,
    /// Yes.
    Up(Arc<NetworkConfig>),
    /// Never again.
    Closed(Failure),
}

/// Behind the lock.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) stack: Stack,
    pub(crate) connections: HashMap<ConnectionId, Waiting>,
    pub(crate) sockets: HashMap<UdpId, UdpWaiting>,
    pub(crate) stats: Stats,
    /// The tunnel ended for good.
    pub(crate) ended: Option<Failure>,
    driver: Option<Waker>,
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
    pub(crate) reader: Option<Waker>,
}

/// Numbers since the client was made. Those of keys and packets inside are the protocol's and the stack's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams received, of whatever kind.
    pub received_datagrams: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Packets opened and given to the stack.
    pub opened_packets: u64,
    /// Packets sealed and sent.
    pub sealed_packets: u64,
    /// Bytes of the datagrams they became.
    pub sealed_bytes: u64,
    /// Datagrams dropped that are not of the protocol.
    pub dropped_foreign: u64,
    /// Datagrams dropped for want of their key.
    pub dropped_unknown_key: u64,
    /// Datagrams dropped as malformed, forged or replayed.
    pub dropped_refused: u64,
    /// Packets dropped because no key took them.
    pub dropped_unsealed: u64,
    /// How often the tunnel came up.
    pub times_up: u64,
    /// TCP connections open now.
    pub connections: usize,
    /// UDP sockets open now.
    pub udp_sockets: usize,
}

/// Wakers to be woken once the lock is released.
#[derive(Debug, Default)]
#[must_use = "whoever waits is to be woken"]
pub(crate) struct Wakers(Vec<Waker>);

impl Shared {
    pub(crate) fn new(options: Options, seed: u64) -> Self {
        let stack = Stack::new(options.stack(&NetworkConfig::default()), seed);
        let inner = Inner {
            stack,
            connections: HashMap::new(),
            sockets: HashMap::new(),
            stats: Stats::default(),
            ended: None,
            driver: None,
        };
        Self {
            inner: Mutex::new(inner),
            options,
            state: watch::Sender::new(State::Down),
            events: broadcast::Sender::new(64),
            close: watch::Sender::new(false),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing is left half done by a panic under the lock that later calls could trip over.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever listens.
    pub(crate) fn publish(&self, event: ClientEvent) {
        // An error says that nobody listens.
        drop(self.events.send(event));
    }

    pub(crate) fn request_close(&self) {
        self.close.send_replace(true);
        self.lock().wake_driver();
    }

    /// Resolves once the client is to be closed.
    pub(crate) async fn close_requested(&self) {
        // The sender lives as long as this future's borrow: it cannot be gone.
        drop(self.close.subscribe().wait_for(|close| *close).await);
    }

    /// While there is no tunnel: expires what waits for too long.
    pub(crate) fn tick(&self, now: Instant) {
        let mut inner = self.lock();
        inner.stack.handle_timeout(now);
        let wakers = inner.take_events();
        drop(inner);
        wakers.wake();
    }

    /// The end, for good.
    pub(crate) fn end(&self, failure: Failure) {
        let mut inner = self.lock();
        if inner.ended.is_some() {
            return;
        }
        inner.ended = Some(failure.clone());
        let wakers = inner.take_all_wakers();
        drop(inner);
        self.state.send_replace(State::Closed(failure.clone()));
        self.publish(ClientEvent::Closed(failure));
        wakers.wake();
    }
}

/// The lock, while a batch is handled: taken when first needed, and released in between where something takes long.
pub(crate) struct Held<'a> {
    shared: &'a Shared,
    guard: Option<MutexGuard<'a, Inner>>,
}

impl<'a> Held<'a> {
    pub(crate) const fn new(shared: &'a Shared) -> Self {
        Self { shared, guard: None }
    }

    pub(crate) fn inner(&mut self) -> &mut Inner {
        self.guard.get_or_insert_with(|| self.shared.lock())
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
