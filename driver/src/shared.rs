//! What the handles and the task of a client share.

use std::{
    sync::{Arc, MutexGuard},
    time::Instant,
};

use adit_netstack::Stack;
use adit_tunnel::NetworkConfig;
use tokio::sync::{broadcast, watch};

use crate::{
    client::ClientEvent,
    error::Failure,
    inside::{Inner, Inside},
    options::Options,
    sink::Sealed,
};

/// One per client.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) inside: Arc<Inside>,
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

/// Numbers since the client was made. Those of keys and packets inside are the protocol's and the stack's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams received, of whatever kind.
    pub received_datagrams: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Packets opened and given to the stack, or to the device.
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
    /// Packets for the device that the kernel took not.
    pub dropped_device: u64,
    /// How often the tunnel came up.
    pub times_up: u64,
    /// TCP connections open now.
    pub connections: usize,
    /// UDP sockets open now.
    pub udp_sockets: usize,
}

impl Stats {
    pub(crate) fn add(&mut self, sealed: Sealed) {
        self.sealed_packets += sealed.packets;
        self.sealed_bytes += sealed.bytes;
        self.dropped_unsealed += sealed.dropped;
    }
}

impl Shared {
    pub(crate) fn new(options: Options, seed: u64) -> Self {
        let stack = Stack::new(options.stack(&NetworkConfig::default()), seed);
        Self {
            inside: Arc::new(Inside::new(stack)),
            options,
            state: watch::Sender::new(State::Down),
            events: broadcast::Sender::new(64),
            close: watch::Sender::new(false),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inside.lock()
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
        if !self.inside.end(&failure) {
            return;
        }
        self.state.send_replace(State::Closed(failure.clone()));
        self.publish(ClientEvent::Closed(failure));
    }
}
