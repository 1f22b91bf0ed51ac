//! What the handles and the task of a client share.

use std::{
    net::SocketAddr,
    ops::Add,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use adit_netstack::Stack;
use adit_tunnel::{NetworkConfig, Rekeys, TunnelDetails};
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
    live: Mutex<Live>,
    /// Why the tunnel is to be given up, from outside of it.
    lost: Mutex<Option<Arc<str>>>,
}

/// What is to be seen of the tunnel of now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Live {
    /// Where it goes, while it is up.
    pub(crate) remote: Option<SocketAddr>,
    /// What was negotiated, while it is up.
    pub(crate) details: Option<TunnelDetails>,
    /// From the first packet until it was up, of the latest one that was.
    pub(crate) handshake: Option<Duration>,
    /// Over all tunnels.
    pub(crate) rekeys: Rekeys,
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
    pub(crate) fn note(&mut self, sealed: Sealed) {
        self.sealed_packets += sealed.packets;
        self.sealed_bytes += sealed.bytes;
        self.dropped_unsealed += sealed.dropped;
    }
}

impl Add for Stats {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            received_datagrams: self.received_datagrams + other.received_datagrams,
            received_bytes: self.received_bytes + other.received_bytes,
            opened_packets: self.opened_packets + other.opened_packets,
            sealed_packets: self.sealed_packets + other.sealed_packets,
            sealed_bytes: self.sealed_bytes + other.sealed_bytes,
            dropped_foreign: self.dropped_foreign + other.dropped_foreign,
            dropped_unknown_key: self.dropped_unknown_key + other.dropped_unknown_key,
            dropped_refused: self.dropped_refused + other.dropped_refused,
            dropped_unsealed: self.dropped_unsealed + other.dropped_unsealed,
            dropped_device: self.dropped_device + other.dropped_device,
            times_up: self.times_up + other.times_up,
            connections: self.connections + other.connections,
            udp_sockets: self.udp_sockets + other.udp_sockets,
        }
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
            live: Mutex::default(),
            lost: Mutex::default(),
        }
    }

    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tunnel is up, or its keys have changed.
    pub(crate) fn note_details(&self, details: TunnelDetails) {
        let mut live = self.live();
        let before = live.details.as_ref().map(|details| details.rekeys).unwrap_or_default();
        live.rekeys.data += details.rekeys.data.saturating_sub(before.data);
        live.rekeys.control += details.rekeys.control.saturating_sub(before.control);
        live.details = Some(details);
    }

    /// There is no tunnel any more.
    pub(crate) fn note_down(&self) {
        let mut live = self.live();
        live.remote = None;
        live.details = None;
        drop(live);
        self.take_lost();
    }

    /// The tunnel of now is to be given up, because it does not carry; the next one is tried.
    pub(crate) fn lose(&self, why: &str) {
        if matches!(*self.state.borrow(), State::Up(_)) {
            *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.into());
            self.lock().wake_driver();
        }
    }

    /// Why the tunnel is to be given up, if it is.
    pub(crate) fn take_lost(&self) -> Option<Arc<str>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).take()
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
