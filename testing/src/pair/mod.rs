//! Both ends of a tunnel in one world: clients and a [`Listener`] with its tunnels, as drivers would run them, joined by links on one
//! virtual clock.
//!
//! ```text
//!  Client 0 ── NAT ── Link ──▶ ┐                ┌─ PeerId(1)
//!           ◀───────── Link ── ┤ Listener::route┼─ PeerId(2)
//!  Client 1 ── NAT ── Link ──▶ ┤                └─ …
//!           ◀───────── Link ── ┘   accept, policy
//! ```
//!
//! Every breach of the contract of [`Tunnel`], [`adit_tunnel::Answering`] and [`Listener`] is a panic that begins with `contract:`.

mod agreement;
mod by_hand;
mod driven;
mod ends;
mod faults;
mod judge;
mod nat;
mod packet;
mod plane;
mod traffic;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    net::SocketAddr,
    time::{Duration, Instant},
};

use adit_tunnel::{Epoch, Listener, NetworkConfig, Path, PeerId, Random, Randoms, Transport, Tunnel};

use crate::{Clock, Conditions, SeededRandom};
use by_hand::Held;
use traffic::Traffic;

pub use driven::{Driven, Log};
pub use ends::{ClientEnd, ListenerEnd, PeerEnd};
pub use faults::Port;
pub use judge::{Judgement, Policy};
pub use nat::Mapping;
pub use plane::KeyNote;
pub use traffic::TrafficReport;

/// All that a test may choose before the world begins; what it leaves is one client behind a NAT, and a good network.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Everything random is drawn from it.
    pub seed: u64,
    /// How many clients there are.
    pub clients: usize,
    /// Where the listener listens. Clients begin at the first.
    pub listening: Vec<SocketAddr>,
    /// The transport of every path.
    pub transport: Transport,
    /// Whether a NAT stands before each client.
    pub nat: bool,
    /// Of all links.
    pub conditions: Conditions,
    /// What those who are let in are told about the network, but for their addresses.
    pub network: NetworkConfig,
    /// Whether they get an IPv6 address as well.
    pub ipv6: bool,
    /// The share of steps in which every tunnel is told that its time has come although it has not: that does no harm.
    pub early_timeouts: f64,
    /// What is a breach of the contract.
    pub rules: Rules,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 0,
            clients: 1,
            listening: vec![SocketAddr::from(([192, 0, 2, 1], 1194))],
            transport: Transport::Udp,
            nat: true,
            conditions: Conditions::GOOD,
            network: NetworkConfig::default(),
            ipv6: true,
            early_timeouts: 0.02,
            rules: Rules::default(),
        }
    }
}

/// What is a breach of the contract, where that is a matter of judgement.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Events that one input may lead to.
    pub events_at_once: usize,
    /// Datagrams of the control plane that one input may lead to.
    pub datagrams_at_once: usize,
    /// An opener may be added in place of one with the same tag.
    pub openers_may_be_replaced: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { events_at_once: 64, datagrams_at_once: 128, openers_may_be_replaced: false }
    }
}

/// What a client is made of.
pub struct Birth {
    /// Which of the clients it is.
    pub client: usize,
    /// How many there have been before it in its place.
    pub incarnation: u32,
    /// Where it begins.
    pub path: Path,
    /// Its own randomness.
    pub random: Box<dyn Random>,
    /// The calendar.
    pub epoch: Epoch,
    /// The present.
    pub now: Instant,
}

/// What a listener is made of.
pub struct ListenerBirth {
    /// How many there have been before it.
    pub incarnation: u32,
    /// Randomness for it and its peers.
    pub randoms: Randoms,
    /// The calendar.
    pub epoch: Epoch,
    /// The present.
    pub now: Instant,
}

/// One end of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// This client.
    Client(usize),
    /// The listener, with all its tunnels.
    Listener,
}

/// An outer datagram on its way.
#[derive(Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Where it comes from, as its receiver sees it.
    pub source: SocketAddr,
    /// Where it goes, as its sender sees it.
    pub destination: SocketAddr,
    /// The datagram.
    pub bytes: Vec<u8>,
}

impl AsMut<[u8]> for Datagram {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl fmt::Debug for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = &self.bytes[..self.bytes.len().min(16)];
        write!(f, "{} bytes {} → {}: {}…", self.bytes.len(), self.source, self.destination, hex::encode(start))
    }
}

/// A control datagram that left an end.
#[derive(Debug, Clone)]
pub struct Sent {
    /// When.
    pub at: Instant,
    /// Who sent it.
    pub from: End,
    /// The datagram.
    pub datagram: Datagram,
}

/// How much there is of everything, to be compared with what there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Tunnels of the listener.
    pub peers: usize,
    /// Openers of all tunnels.
    pub openers: usize,
    /// Sealers of all tunnels.
    pub sealers: usize,
    /// Tunnels that have a deadline.
    pub deadlines: usize,
    /// Datagrams under way or held.
    pub under_way: usize,
    /// Inner addresses that are taken.
    pub leases: usize,
    /// Verdicts to come.
    pub verdicts: usize,
}

type MakeClient<C> = Box<dyn FnMut(Birth) -> C>;
type MakeListener<L> = Box<dyn FnMut(ListenerBirth) -> L>;

/// See the module.
pub struct Pair<C: Tunnel, L: Listener> {
    /// The clock of all.
    pub clock: Clock,
    /// The clients, by number.
    pub clients: Vec<ClientEnd<C>>,
    /// The answering end.
    pub listener: ListenerEnd<L>,
    /// After this time a client that has ended is replaced by a new one, as a driver does; `None`: it stays ended.
    pub reconnect: Option<Duration>,
    /// Whether [`Self::sent`] is written.
    pub record: bool,
    /// The control datagrams that left either end.
    pub sent: Vec<Sent>,
    /// Datagrams to addresses where nobody is.
    pub lost_in_the_world: u64,
    make_client: MakeClient<C>,
    make_listener: MakeListener<L>,
    setup: Setup,
    traffic: Option<Traffic>,
    held: VecDeque<Held>,
    named: BTreeMap<String, Datagram>,
    by_hand: bool,
    steps_at_once: u32,
    random: SeededRandom,
}

impl<C: Tunnel, L: Listener> Pair<C, L> {
    /// Makes both ends; nothing has travelled yet.
    ///
    /// # Panics
    /// If the setup makes no world.
    pub fn new(
        setup: Setup,
        mut make_client: impl FnMut(Birth) -> C + 'static,
        mut make_listener: impl FnMut(ListenerBirth) -> L + 'static,
    ) -> Self {
        assert!(!setup.listening.is_empty(), "a listener listens somewhere");
        let clock = Clock::new();
        let listener = ListenerEnd::new(&setup, make_listener(listener_birth(&setup, &clock, 0)));
        let clients = (0..setup.clients).map(|index| ClientEnd::new(index, &setup, &clock, &mut make_client)).collect();
        let random = SeededRandom::new(seed(&setup, "early", 0, 0));
        let mut pair = Self {
            clock,
            clients,
            listener,
            reconnect: None,
            record: false,
            sent: Vec::new(),
            lost_in_the_world: 0,
            make_client: Box::new(make_client),
            make_listener: Box::new(make_listener),
            setup,
            traffic: None,
            held: VecDeque::new(),
            named: BTreeMap::new(),
            by_hand: false,
            steps_at_once: 0,
            random,
        };
        pair.settle();
        pair
    }

    /// Lets time pass, and everything happen that is due in it.
    pub fn run(&mut self, time: Duration) {
        let until = self.clock.now() + time;
        while self.step_until(until) {}
    }

    /// Runs until the condition holds; returns whether it came to that.
    pub fn run_until(&mut self, limit: Duration, mut condition: impl FnMut(&Self) -> bool) -> bool {
        let until = self.clock.now() + limit;
        loop {
            if condition(self) {
                return true;
            }
            if !self.step_until(until) {
                return condition(self);
            }
        }
    }

    /// Jumps to the next thing that happens; `false` if nothing ever will.
    pub fn step(&mut self) -> bool {
        match self.next_deadline() {
            Some(next) => self.step_until(next),
            None => false,
        }
    }

    /// Jumps to the next thing that happens until then; `false` if there is none, and it is then.
    ///
    /// # Panics
    /// If time does not get on.
    pub fn step_until(&mut self, until: Instant) -> bool {
        let Some(next) = self.next_deadline().filter(|next| *next <= until) else {
            self.clock.jump_to(until);
            return false;
        };
        let before = self.clock.now();
        self.clock.jump_to(next);
        self.steps_at_once = if self.clock.now() == before { self.steps_at_once + 1 } else { 0 };
        assert!(self.steps_at_once < STEPS_AT_ONCE, "contract: time stands still after {:?}", self.clock.elapsed());
        self.act();
        true
    }

    /// Drains every tunnel, as the contract wants it after an input. Inputs of the pair itself are followed by this.
    pub fn settle(&mut self) {
        for client in 0..self.clients.len() {
            self.settle_client(client);
        }
        let peers: Vec<_> = self.listener.peers.keys().copied().collect();
        for peer in peers {
            self.settle_peer(peer);
        }
    }

    /// Gives a client an input, and drains it.
    pub fn with_client<R>(&mut self, client: usize, input: impl FnOnce(&mut C, Instant) -> R) -> R {
        let result = input(&mut self.clients[client].driven.tunnel, self.clock.now());
        self.settle_client(client);
        result
    }

    /// Gives the tunnel of a peer an input, and drains it. `None` if there is none.
    pub fn with_peer<R>(&mut self, peer: PeerId, input: impl FnOnce(&mut L::Tunnel, Instant) -> R) -> Option<R> {
        let end = self.listener.peers.get_mut(&peer)?;
        let result = input(&mut end.driven.tunnel, self.clock.now());
        self.settle_peer(peer);
        Some(result)
    }

    /// Runs until all clients are up.
    ///
    /// # Panics
    /// If one ends, or a minute is not enough.
    pub fn come_up(&mut self) {
        let is_done = |client: &ClientEnd<C>| client.driven.is_up() || client.driven.closed().is_some();
        self.run_until(Duration::from_secs(60), |pair| pair.clients.iter().all(is_done));
        for client in &self.clients {
            let (name, closed) = (client.driven.name(), client.driven.closed());
            assert!(client.driven.is_up(), "{name} is not up after {:?}: {closed:?}", self.clock.elapsed());
        }
        // Until the last acknowledgements have arrived.
        self.run(Duration::from_millis(100));
    }

    /// The only peer of the listener, or the newest.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn newest_peer(&self) -> PeerId {
        let newest = self.listener.peers.iter().max_by_key(|(_, peer)| peer.number);
        *newest.expect("the listener has a peer").0
    }

    /// The tunnel at the listener that holds the inner addresses of this client: the newest, if several do.
    #[must_use]
    pub fn peer_of(&self, client: usize) -> Option<PeerId> {
        let network = self.clients.get(client)?.driven.network.as_ref()?;
        let holds = |peer: &PeerEnd<L::Tunnel>| network.addresses.iter().any(|address| peer.holds(address.address()));
        let holders = self.listener.peers.iter().filter(|(_, peer)| holds(peer));
        holders.max_by_key(|(_, peer)| peer.number).map(|(id, _)| *id)
    }

    /// How much there is of everything.
    #[must_use]
    pub fn census(&self) -> Census {
        let mut census = Census { leases: self.listener.pool.taken(), under_way: self.held.len(), ..Census::default() };
        for client in &self.clients {
            census.under_way += client.up.under_way() + client.down.under_way();
            census.add(&client.driven);
        }
        for peer in self.listener.peers.values() {
            census.peers += 1;
            census.verdicts += usize::from(peer.pending.is_some());
            census.add(&peer.driven);
        }
        census
    }

    /// When something happens next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let clients = self.clients.iter().filter_map(ClientEnd::next_deadline);
        let peers = self.listener.peers.values().filter_map(PeerEnd::next_deadline);
        clients.chain(peers).chain(self.traffic.as_ref().and_then(Traffic::next_deadline)).min()
    }

    /// Whatever is due.
    fn act(&mut self) {
        self.send_numbered();
        for client in 0..self.clients.len() {
            self.arrive(client);
            self.expire_client(client);
        }
        let peers: Vec<_> = self.listener.peers.keys().copied().collect();
        for peer in peers {
            self.expire_peer(peer);
        }
        if f64::from(self.random.next_u32()) < self.setup.early_timeouts * f64::from(u32::MAX) {
            self.expire_early();
        }
    }

    fn expire_early(&mut self) {
        let now = self.clock.now();
        for client in self.clients.iter_mut().filter(|client| !client.is_frozen(now)) {
            client.driven.tunnel.handle_timeout(now);
        }
        self.listener.peers.values_mut().for_each(|peer| peer.driven.tunnel.handle_timeout(now));
        self.settle();
    }
}

impl Census {
    fn add<T: Tunnel>(&mut self, driven: &Driven<T>) {
        self.openers += driven.plane.tags().count();
        self.sealers += driven.plane.flows().count();
        self.deadlines += usize::from(driven.tunnel.poll_timeout().is_some());
    }
}

impl fmt::Debug for Birth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}.{} at {:?}", self.client, self.incarnation, self.path)
    }
}

impl fmt::Debug for ListenerBirth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listener {}", self.incarnation)
    }
}

/// Seeds of everything that is random, apart from each other.
fn seed(setup: &Setup, of: &str, index: usize, incarnation: u32) -> u64 {
    let text = format!("{} {of} {index} {incarnation}", setup.seed);
    // FNV-1a: near seeds make far ones.
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn listener_birth(setup: &Setup, clock: &Clock, incarnation: u32) -> ListenerBirth {
    let base = seed(setup, "listener", 0, incarnation);
    let mut next = 0;
    let randoms: Randoms = Box::new(move || {
        next += 1;
        Box::new(SeededRandom::new(base.wrapping_add(next)))
    });
    ListenerBirth { incarnation, randoms, epoch: clock.epoch(), now: clock.now() }
}

/// Far more than there can be to do at one instant.
const STEPS_AT_ONCE: u32 = 10_000;
