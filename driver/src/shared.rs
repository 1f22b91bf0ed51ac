//! What the handles and the task of a client share.

use std::{
    net::SocketAddr,
    ops::Add,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use adit_netstack::Stack;
use adit_tunnel::{NetworkConfig, Rekeys, TunnelDetails};
use tokio::sync::{broadcast, watch};

use crate::{
    client::ClientEvent,
    error::Failure,
    inside::{Arrival, Inside},
    listening::{Ports, TcpPorts},
    options::Options,
    sink::Sealed,
};

/// One per client.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Its own number.
    id: u64,
    /// Moves from one client to another when one takes over the connections of the other.
    inside: Mutex<Arc<Inside>>,
    pub(crate) options: Options,
    pub(crate) state: watch::Sender<State>,
    pub(crate) events: broadcast::Sender<ClientEvent>,
    pub(crate) close: watch::Sender<bool>,
    live: Mutex<Live>,
    /// The TCP ports open inside.
    ports: Mutex<TcpPorts>,
    own_ports: Mutex<Ports>,
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
    /// The socket it goes through, while it is up and goes over UDP.
    pub(crate) outer: Option<OuterSocket>,
    /// Over all tunnels.
    pub(crate) rekeys: Rekeys,
    /// Likewise.
    pub(crate) failed_rekeys: Rekeys,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

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

/// The UDP socket that a tunnel goes through, as the system has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OuterSocket {
    /// Whether the system takes many datagrams of the same length as one and parts them itself (GSO).
    pub segmentation: bool,
    /// Bytes that may wait to be received, if the system tells. Linux says twice what it was asked for: its own books are
    /// kept there, too.
    pub receive_buffer: Option<usize>,
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
    /// Datagrams sent, of whatever kind: with packets, of the control channel, keepalives.
    pub sent_datagrams: u64,
    /// Their bytes.
    pub sent_bytes: u64,
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
    /// Datagrams of UDP sockets that were not sent because the gateway has not agreed to carry them.
    pub dropped_not_carried: u64,
    /// Packets for the device that the kernel took not.
    pub dropped_device: u64,
    /// TCP segments inside that were sent again.
    pub retransmits: u64,
    /// How often the tunnel came up.
    pub times_up: u64,
    /// TCP connections open now; those that only ask whether the tunnel carries are not counted.
    pub connections: usize,
    /// Those of them whose other end has not answered yet.
    pub connecting: usize,
    /// UDP sockets open now.
    pub udp_sockets: usize,
}

impl Stats {
    pub(crate) fn note(&mut self, sealed: Sealed) {
        self.sealed_packets += sealed.packets;
        self.sealed_bytes += sealed.bytes;
        self.sent_datagrams += sealed.packets;
        self.sent_bytes += sealed.bytes;
        self.dropped_unsealed += sealed.dropped;
    }

    /// A datagram without a packet in it.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent_datagrams += 1;
        self.sent_bytes += bytes as u64;
    }
}

impl Add for Stats {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            received_datagrams: self.received_datagrams + other.received_datagrams,
            received_bytes: self.received_bytes + other.received_bytes,
            opened_packets: self.opened_packets + other.opened_packets,
            sent_datagrams: self.sent_datagrams + other.sent_datagrams,
            sent_bytes: self.sent_bytes + other.sent_bytes,
            sealed_packets: self.sealed_packets + other.sealed_packets,
            sealed_bytes: self.sealed_bytes + other.sealed_bytes,
            dropped_foreign: self.dropped_foreign + other.dropped_foreign,
            dropped_unknown_key: self.dropped_unknown_key + other.dropped_unknown_key,
            dropped_refused: self.dropped_refused + other.dropped_refused,
            dropped_unsealed: self.dropped_unsealed + other.dropped_unsealed,
            dropped_not_carried: self.dropped_not_carried + other.dropped_not_carried,
            dropped_device: self.dropped_device + other.dropped_device,
            retransmits: self.retransmits + other.retransmits,
            times_up: self.times_up + other.times_up,
            connections: self.connections + other.connections,
            connecting: self.connecting + other.connecting,
            udp_sockets: self.udp_sockets + other.udp_sockets,
        }
    }
}

impl Shared {
    pub(crate) fn new(options: Options, seed: u64) -> Self {
        let stack = Stack::new(options.stack(&NetworkConfig::default()), seed);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let inside = Inside::new(stack);
        inside.lock().owner = id;
        Self {
            id,
            inside: Mutex::new(Arc::new(inside)),
            options,
            state: watch::Sender::new(State::Down),
            events: broadcast::Sender::new(64),
            close: watch::Sender::new(false),
            live: Mutex::default(),
            ports: Mutex::default(),
            own_ports: Mutex::default(),
            lost: Mutex::default(),
        }
    }

    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tunnel is up, has done something, or has ended.
    pub(crate) fn note_details(&self, details: TunnelDetails) {
        let mut live = self.live();
        let (done, failed) =
            live.details.as_ref().map(|before| (before.rekeys, before.failed_rekeys)).unwrap_or_default();
        live.rekeys = live.rekeys + details.rekeys.since(done);
        live.failed_rekeys = live.failed_rekeys + details.failed_rekeys.since(failed);
        live.details = Some(details);
    }

    /// There is no tunnel any more.
    pub(crate) fn note_down(&self) {
        let mut live = self.live();
        live.remote = None;
        live.details = None;
        live.outer = None;
        drop(live);
        self.take_lost();
    }

    /// The tunnel of now is to be given up, because it does not carry; the next one is tried.
    pub(crate) fn lose(&self, why: &str) {
        if matches!(*self.state.borrow(), State::Up(_)) {
            *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.into());
            self.inside().lock().wake_driver();
        }
    }

    /// Why the tunnel is to be given up, if it is.
    pub(crate) fn take_lost(&self) -> Option<Arc<str>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What is inside the tunnel now: to be asked for again in each turn.
    pub(crate) fn inside(&self) -> Arc<Inside> {
        Arc::clone(&self.slot())
    }

    fn slot(&self) -> MutexGuard<'_, Arc<Inside>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens these TCP ports, and no others.
    pub(crate) fn open_ports(&self, ports: TcpPorts) {
        let mut open = self.ports();
        {
            // Held, so that nobody trades places meanwhile.
            let slot = self.slot();
            let mut inner = slot.lock();
            open.numbers().into_iter().for_each(|port| inner.stack.unlisten(port));
            ports.numbers().into_iter().for_each(|port| {
                inner.stack.listen(port);
            });
        }
        *open = ports;
    }

    fn ports(&self) -> MutexGuard<'_, TcpPorts> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What began at the other end goes to who listens.
    pub(crate) fn take_in(&self, inside: &Arc<Inside>, arrivals: Vec<Arrival>) {
        if !arrivals.is_empty() {
            self.ports().take_in(inside, arrivals);
        }
    }

    /// The ports of a client that is alone.
    pub(crate) fn own_ports(&self) -> MutexGuard<'_, Ports> {
        self.own_ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens what is asked of a client that is alone.
    pub(crate) fn open_own_ports(&self) {
        let ports = self.own_ports();
        ports.bind_inside(&[(None, self.inside())]);
        self.open_ports(ports.tcp_of(None));
    }

    /// Tells a client from others.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Takes over the connections inside of the other tunnel, and leaves it ours, which are to be none.
    pub(crate) fn trade_places(&self, other: &Self) {
        // Always in the same order, so that two who trade cannot wait for each other.
        let (first, second) = if self.id < other.id { (self, other) } else { (other, self) };
        if first.id == second.id {
            return;
        }
        let (mut one, mut two) = (first.slot(), second.slot());
        std::mem::swap(&mut *one, &mut *two);
        let drivers = {
            let mut inner = one.lock();
            inner.trade_places(&mut two.lock())
        };
        drop(one);
        drop(two);
        drivers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Tells whoever listens.
    pub(crate) fn publish(&self, event: ClientEvent) {
        // An error says that nobody listens.
        drop(self.events.send(event));
    }

    pub(crate) fn request_close(&self) {
        self.close.send_replace(true);
        self.inside().lock().wake_driver();
    }

    /// Resolves once the client is to be closed.
    pub(crate) async fn close_requested(&self) {
        // The sender lives as long as this future's borrow: it cannot be gone.
        drop(self.close.subscribe().wait_for(|close| *close).await);
    }

    /// While there is no tunnel: expires what waits for too long.
    pub(crate) fn tick(&self, now: Instant) {
        let inside = self.inside();
        let mut inner = inside.lock();
        inner.stack.handle_timeout(now);
        let wakers = inner.take_events();
        drop(inner);
        wakers.wake();
    }

    /// The end, for good.
    pub(crate) fn end(&self, failure: Failure) {
        if !self.inside().end(&failure) {
            return;
        }
        self.own_ports().end();
        drop(std::mem::take(&mut *self.ports()));
        self.state.send_replace(State::Closed(failure.clone()));
        self.publish(ClientEvent::Closed(failure));
    }
}
