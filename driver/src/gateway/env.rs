//! What the task of a gateway has for all peers.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use adit_netstack::MemoryPool;
use adit_tunnel::{IpNet, NetworkConfig, PeerId, Transport};
use tokio::sync::{broadcast, watch};

use super::{
    Event, Exit, Options, Peer, Stats,
    leases::{Leases, NoAddress, Wish},
    outer::Outer,
    owners::Owners,
    ready::Ready,
};
use crate::{error::Failure, tun};

/// What the handles and the task share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) addresses: Vec<(Transport, SocketAddr)>,
    pub(super) device: Option<String>,
    pub(super) ready: Arc<Ready>,
    pub(super) close: watch::Sender<bool>,
    pub(super) ended: watch::Sender<bool>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    stats: Stats,
    peers: HashMap<PeerId, Peer>,
    /// `None` at the end.
    events: Option<broadcast::Sender<Event>>,
    /// Why it ends by itself.
    failure: Option<Failure>,
}

impl Shared {
    pub(super) fn new(addresses: Vec<(Transport, SocketAddr)>, device: Option<String>, ready: Arc<Ready>) -> Self {
        let events = Some(broadcast::Sender::new(256));
        let inner = Mutex::new(Inner { stats: Stats::default(), peers: HashMap::new(), events, failure: None });
        Self { addresses, device, ready, close: watch::Sender::new(false), ended: watch::Sender::new(false), inner }
    }

    pub(super) fn request_close(&self) {
        self.close.send_replace(true);
        self.ready.wake();
    }

    /// Ends it, as nothing can go on.
    pub(super) fn fail(&self, failure: Failure) {
        self.lock().failure.get_or_insert(failure);
        self.request_close();
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.lock().failure.clone()
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Event> {
        match &self.lock().events {
            Some(events) => events.subscribe(),
            // Its sender is gone: it ends at once.
            None => broadcast::channel(1).1,
        }
    }

    pub(super) fn stats(&self) -> Stats {
        self.lock().stats
    }

    pub(super) fn peers(&self) -> Vec<Peer> {
        self.lock().peers.values().cloned().collect()
    }

    pub(super) fn set_stats(&self, stats: Stats) {
        self.lock().stats = stats;
    }

    /// Keeps the list of those who are up, and tells whoever listens.
    pub(super) fn publish(&self, event: Event) {
        let mut inner = self.lock();
        match &event {
            Event::Up(peer) | Event::Moved(peer) => drop(inner.peers.insert(peer.id, peer.clone())),
            Event::Down(peer, _) => drop(inner.peers.remove(&peer.id)),
        }
        if let Some(events) = &inner.events {
            // An error says that nobody listens.
            drop(events.send(event));
        }
    }

    /// Nothing happens any more.
    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.peers.clear();
        inner.events = None;
        drop(inner);
        self.ended.send_replace(true);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is open inside all tunnels.
#[derive(Debug, Default)]
pub(super) struct Counts {
    connections: AtomicUsize,
    associations: AtomicUsize,
}

impl Counts {
    /// Of either kind.
    pub(super) fn all(&self) -> usize {
        self.connections.load(Relaxed) + self.associations.load(Relaxed)
    }
}

/// Counts while it lives.
#[derive(Debug)]
pub(super) struct Counted {
    counts: Arc<Counts>,
    of: fn(&Counts) -> &AtomicUsize,
}

impl Counted {
    pub(super) fn connection(counts: &Arc<Counts>) -> Self {
        Self::new(counts, |counts| &counts.connections)
    }

    pub(super) fn association(counts: &Arc<Counts>) -> Self {
        Self::new(counts, |counts| &counts.associations)
    }

    fn new(counts: &Arc<Counts>, of: fn(&Counts) -> &AtomicUsize) -> Self {
        of(counts).fetch_add(1, Relaxed);
        Self { counts: Arc::clone(counts), of }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.of)(&self.counts).fetch_sub(1, Relaxed);
    }
}

/// Where packets of peers go.
pub(super) enum Out {
    Sockets(Arc<dyn Exit>),
    Tun(Box<tun::Writer>),
}

/// What the task has for all peers.
pub(super) struct Env {
    pub(super) options: Options,
    pub(super) out: Out,
    pub(super) outer: Outer,
    pub(super) leases: Leases,
    /// At most one deadline for each peer.
    pub(super) deadlines: BTreeSet<(Instant, PeerId)>,
    /// Those who were let in, by identity.
    pub(super) names: HashMap<String, Vec<PeerId>>,
    pub(super) owners: Owners,
    /// To be closed: another tunnel of theirs has come.
    pub(super) to_close: Vec<PeerId>,
    pub(super) stats: Stats,
    pub(super) counts: Arc<Counts>,
    /// For the connections inside all tunnels.
    pub(super) memory: MemoryPool,
    pub(super) shared: Arc<Shared>,
}

impl Env {
    pub(super) fn new(options: Options, out: Out, outer: Outer, shared: Arc<Shared>) -> Self {
        let leases = Leases::new(options.pool.clone());
        Self {
            memory: MemoryPool::new(options.limits.all_memory),
            options,
            out,
            outer,
            leases,
            deadlines: BTreeSet::new(),
            names: HashMap::new(),
            owners: Owners::default(),
            to_close: Vec::new(),
            stats: Stats::default(),
            counts: Arc::default(),
            shared,
        }
    }

    /// Lets a peer in: its addresses, and what it is told about the network.
    pub(super) fn admit(&mut self, wish: Wish<'_>, id: PeerId) -> Result<NetworkConfig, NoAddress> {
        let addresses = self.leases.take(wish)?;
        if let Some(name) = wish.identity {
            let same = self.names.entry(name.to_owned()).or_default();
            if wish.inherits {
                self.to_close.extend(same.iter().copied().filter(|other| *other != id));
            }
            same.push(id);
        }
        Ok(self.network(addresses))
    }

    /// What a peer with these addresses is told.
    pub(super) fn network(&self, addresses: Vec<IpNet>) -> NetworkConfig {
        let mut network = NetworkConfig { addresses, ..self.options.network.clone() };
        for own in self.options.pool.own_addresses() {
            let beside = network.addresses.iter().any(|net| own.contains(net.address()));
            match own.address() {
                IpAddr::V4(own) if beside => drop(network.gateway4.get_or_insert(own)),
                IpAddr::V6(own) if beside => drop(network.gateway6.get_or_insert(own)),
                IpAddr::V4(_) | IpAddr::V6(_) => {}
            }
        }
        network
    }

    /// A peer that was let in has gone.
    pub(super) fn dismiss(&mut self, name: Option<&str>, lease: &[IpNet], id: PeerId) {
        self.leases.release(lease);
        if let Some(name) = name
            && let Some(same) = self.names.get_mut(name)
        {
            same.retain(|other| *other != id);
            if same.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// All numbers as they are now.
    pub(super) fn all_stats(&self, peers: usize) -> Stats {
        Stats {
            peers,
            addresses: self.leases.len(),
            connections: self.counts.connections.load(Relaxed),
            associations: self.counts.associations.load(Relaxed),
            streams: self.outer.streams(),
            timers: self.deadlines.len(),
            dropped_unsent: self.stats.dropped_unsent + self.outer.dropped,
            ..self.stats
        }
    }
}
