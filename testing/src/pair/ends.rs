//! The clients, the listener and its tunnels: what runs them, and what carries their datagrams.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use adit_tunnel::{Accept, Answering, Applicant, Closed, Listener, Path, PeerId, Routing, Tunnel, Verdict};

use super::{
    Birth, Datagram, End, Pair, Sent, Setup,
    driven::{Driven, Outgoing},
    judge::{Judgement, Policy, Pool},
    nat::Nat,
    seed,
};
use crate::{Clock, Link, SeededRandom};

/// A client in its place.
pub struct ClientEnd<C: Tunnel> {
    /// The tunnel.
    pub driven: Driven<C>,
    /// From the client to the listener.
    pub up: Link<Datagram>,
    /// From the listener to the client.
    pub down: Link<Datagram>,
    /// Those before it that have ended by themselves: when, and why.
    pub former: Vec<(Instant, Closed)>,
    /// How many there have been before it.
    pub incarnation: u32,
    pub(super) address: SocketAddr,
    pub(super) nat: Nat,
    /// Drawn upon for every new address.
    pub(super) addresses: u32,
    pub(super) frozen_until: Option<Instant>,
    pub(super) restart_at: Option<Instant>,
}

/// The answering end.
pub struct ListenerEnd<L: Listener> {
    /// The front door.
    pub listener: L,
    /// Its tunnels.
    pub peers: BTreeMap<PeerId, PeerEnd<L::Tunnel>>,
    /// Decides who is let in. At first, everybody is.
    pub policy: Policy,
    /// The tunnels that have ended: when, which, and why.
    pub departed: Vec<(Instant, PeerId, Closed)>,
    /// Datagrams that were answered before any state of a peer existed.
    pub replies: u64,
    /// Datagrams of strangers, and others, that were dropped.
    pub dropped: u64,
    /// Datagrams to tunnels that are gone.
    pub to_gone: u64,
    /// Where it listens.
    pub listening: Vec<SocketAddr>,
    pub(super) pool: Pool,
    pub(super) incarnation: u32,
    born: u64,
}

/// One tunnel of the listener.
pub struct PeerEnd<T: Answering> {
    /// The tunnel.
    pub driven: Driven<T>,
    /// Who it said it was, last.
    pub applicant: Option<Applicant>,
    /// Counts all peers of the world, in the order in which they were accepted.
    pub number: u64,
    pub(super) pending: Option<(Option<Instant>, Judgement)>,
    lease: Option<u16>,
    admitted: bool,
}

impl<C: Tunnel> ClientEnd<C> {
    pub(super) fn new(index: usize, setup: &Setup, clock: &Clock, make: &mut dyn FnMut(Birth) -> C) -> Self {
        let link = |of| Link::new(setup.conditions, seed(setup, of, index, 0));
        let (inside, outside) = addresses(index, 0, setup.nat);
        Self {
            driven: make_driven(index, 0, inside, setup, clock, make),
            up: link("up"),
            down: link("down"),
            former: Vec::new(),
            incarnation: 0,
            address: inside,
            nat: Nat::new(outside),
            addresses: 0,
            frozen_until: None,
            restart_at: None,
        }
    }

    /// Where the listener sees it.
    #[must_use]
    pub fn seen_as(&self) -> SocketAddr {
        self.nat.outside()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let own = [self.driven.tunnel.poll_timeout(), self.restart_at].into_iter().flatten().min();
        let own = own.map(|at| at.max(self.frozen_until.unwrap_or(at)));
        [own, self.up.next_arrival(), self.down.next_arrival()].into_iter().flatten().min()
    }

    pub(super) fn is_frozen(&self, now: Instant) -> bool {
        self.frozen_until.is_some_and(|until| until > now)
    }
}

impl<L: Listener> ListenerEnd<L> {
    pub(super) fn new(setup: &Setup, listener: L) -> Self {
        Self {
            listener,
            peers: BTreeMap::new(),
            policy: Box::new(|_, _| Judgement::Admit),
            departed: Vec::new(),
            replies: 0,
            dropped: 0,
            to_gone: 0,
            listening: setup.listening.clone(),
            pool: Pool::new(setup),
            incarnation: 0,
            born: 0,
        }
    }
}

impl<T: Answering> PeerEnd<T> {
    /// Whether this is one of the peer's inner addresses.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        let network = self.driven.network.as_ref();
        network.is_some_and(|network| network.addresses.iter().any(|net| net.address() == address))
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let verdict = self.pending.as_ref().and_then(|(at, _)| *at);
        [self.driven.tunnel.poll_timeout(), verdict].into_iter().flatten().min()
    }
}

/// Running them.
impl<C: Tunnel, L: Listener> Pair<C, L> {
    pub(super) fn settle_client(&mut self, client: usize) {
        let Self { clock, setup, clients, .. } = self;
        let driven = &mut clients[client].driven;
        let was_closed = driven.log.closed.is_some();
        let mut out = driven.drain_events(clock, &setup.rules);
        driven.drain_transmits(clock, &setup.rules, was_closed, &mut out);
        if driven.log.closed.is_some() && !was_closed {
            driven.plane.clear();
            driven.assert_inert(clock);
            clients[client].restart_at = self.reconnect.map(|time| clock.now() + time);
        }
        out.into_iter().for_each(|outgoing| self.send_from_client(client, outgoing));
    }

    pub(super) fn settle_peer(&mut self, peer: PeerId) {
        let Some(end) = self.listener.peers.get_mut(&peer) else { return };
        let (clock, rules) = (&self.clock, &self.setup.rules);
        let mut out = end.driven.drain_events(clock, rules);
        end.assert_no_keys_before_verdict(clock);
        let applicant = end.driven.tunnel.poll_applicant();
        end.driven.drain_transmits(clock, rules, false, &mut out);
        out.into_iter().for_each(|outgoing| self.send_from_listener(outgoing));
        if let Some(applicant) = applicant {
            self.judge(peer, applicant);
        }
        self.bury(peer);
    }

    pub(super) fn expire_client(&mut self, client: usize) {
        let now = self.clock.now();
        let end = &mut self.clients[client];
        if end.is_frozen(now) {
            return;
        }
        end.frozen_until = None;
        if end.driven.expire(&self.clock) {
            self.settle_client(client);
        }
        if self.clients[client].restart_at.is_some_and(|at| at <= now) {
            self.replace_client(client);
        }
    }

    pub(super) fn expire_peer(&mut self, peer: PeerId) {
        let now = self.clock.now();
        let Some(end) = self.listener.peers.get_mut(&peer) else { return };
        if let Some((_, judgement)) = end.pending.take_if(|(at, _)| at.is_some_and(|at| at <= now)) {
            self.pronounce(peer, judgement);
        }
        let Some(end) = self.listener.peers.get_mut(&peer) else { return };
        if end.driven.expire(&self.clock) {
            self.settle_peer(peer);
        }
    }

    /// Asked once per application; the answer may take its time.
    fn judge(&mut self, peer: PeerId, applicant: Applicant) {
        let judgement = (self.listener.policy)(peer, &applicant);
        let others: Vec<_> = if applicant.alone { self.same_identity(peer, &applicant) } else { Vec::new() };
        for other in others {
            self.with_peer(other, |tunnel, now| tunnel.close(now));
        }
        let Some(end) = self.listener.peers.get_mut(&peer) else { return };
        let pending = end.pending.is_some();
        end.driven.insist(&self.clock, !pending, || "an application while another waits".to_owned());
        end.driven.insist(&self.clock, applicant.again == end.admitted, || {
            format!(
                "`again` is {} of a peer that was {}let in",
                applicant.again,
                if end.admitted { "" } else { "not " }
            )
        });
        end.applicant = Some(applicant);
        self.pronounce(peer, judgement);
    }

    fn same_identity(&self, peer: PeerId, applicant: &Applicant) -> Vec<PeerId> {
        let same = |end: &PeerEnd<L::Tunnel>| {
            let identity = end.applicant.as_ref().and_then(|other| other.identity.as_ref());
            identity.is_some() && identity == applicant.identity.as_ref()
        };
        self.listener.peers.iter().filter(|(id, end)| **id != peer && same(end)).map(|(id, _)| *id).collect()
    }

    fn pronounce(&mut self, peer: PeerId, judgement: Judgement) {
        let now = self.clock.now();
        let ListenerEnd { peers, pool, .. } = &mut self.listener;
        let Some(end) = peers.get_mut(&peer) else { return };
        let verdict = match judgement {
            Judgement::After(time, then) => {
                end.pending = Some((Some(now + time), *then));
                return;
            }
            Judgement::Silence => {
                end.pending = Some((None, Judgement::Silence));
                return;
            }
            Judgement::Admit => {
                let lease = *end.lease.get_or_insert_with(|| pool.lease());
                Verdict::Admitted(Box::new(pool.network(lease)))
            }
            Judgement::Say(verdict) => verdict,
        };
        end.pending = None;
        end.admitted |= matches!(verdict, Verdict::Admitted(_));
        end.driven.tunnel.handle_verdict(now, verdict);
        self.settle_peer(peer);
    }

    /// A tunnel that has ended is dropped, and forgotten by the listener.
    fn bury(&mut self, peer: PeerId) {
        let ended = |end: &PeerEnd<L::Tunnel>| end.driven.log.closed.is_some();
        if !self.listener.peers.get(&peer).is_some_and(ended) {
            return;
        }
        let Some(mut end) = self.listener.peers.remove(&peer) else { return };
        end.driven.assert_inert(&self.clock);
        end.lease.into_iter().for_each(|lease| self.listener.pool.give_back(lease));
        if let Some((at, closed)) = end.driven.log.closed.take() {
            self.listener.departed.push((at, peer, closed));
        }
        self.listener.listener.forget(peer);
    }

    /// A new client in the place of the old one, which is dropped as it is.
    pub(super) fn replace_client(&mut self, client: usize) {
        let end = &mut self.clients[client];
        end.incarnation += 1;
        end.restart_at = None;
        let (incarnation, address) = (end.incarnation, end.address);
        let new = make_driven(client, incarnation, address, &self.setup, &self.clock, self.make_client.as_mut());
        let old = std::mem::replace(&mut end.driven, new);
        end.former.extend(old.log.closed);
        self.settle_client(client);
    }
}

/// Carrying their datagrams.
impl<C: Tunnel, L: Listener> Pair<C, L> {
    pub(super) fn send_from_client(&mut self, client: usize, outgoing: Outgoing) {
        let end = &self.clients[client];
        let datagram = Datagram { source: end.seen_as(), destination: outgoing.path.remote, bytes: outgoing.bytes };
        if self.takes_by_hand(End::Client(client), outgoing.control, &datagram) {
            return;
        }
        self.clients[client].up.send(self.clock.now(), datagram);
    }

    pub(super) fn send_from_listener(&mut self, outgoing: Outgoing) {
        let source = outgoing.path.local.unwrap_or(self.listener.listening[0]);
        let datagram = Datagram { source, destination: outgoing.path.remote, bytes: outgoing.bytes };
        if self.takes_by_hand(End::Listener, outgoing.control, &datagram) {
            return;
        }
        self.send_down(datagram);
    }

    pub(super) fn send_down(&mut self, datagram: Datagram) {
        let now = self.clock.now();
        match self.clients.iter_mut().find(|end| end.nat.knows(datagram.destination)) {
            Some(end) => end.down.send(now, datagram),
            None => self.lost_in_the_world += 1,
        }
    }

    fn takes_by_hand(&mut self, from: End, control: bool, datagram: &Datagram) -> bool {
        if control && self.record {
            self.sent.push(Sent { at: self.clock.now(), from, datagram: datagram.clone() });
        }
        control && self.hold_back(from, datagram)
    }

    /// What has come over the links of a client, in either direction.
    pub(super) fn arrive(&mut self, client: usize) {
        let now = self.clock.now();
        while let Some(datagram) = self.clients[client].up.arrived(now) {
            self.listener_hears(datagram);
        }
        while let Some(datagram) = self.clients[client].down.arrived(now) {
            self.client_hears(client, datagram);
        }
    }

    pub(super) fn client_hears(&mut self, client: usize, mut datagram: Datagram) {
        let end = &mut self.clients[client];
        if end.is_frozen(self.clock.now()) || !end.nat.lets_in(datagram.destination) {
            self.lost_in_the_world += 1;
            return;
        }
        let path = Path { remote: datagram.source, local: Some(end.address), ..end.driven.path };
        let packet = end.driven.handle(&self.clock, &path, &mut datagram.bytes);
        packet.into_iter().for_each(|packet| self.on_packet_at_client(client, packet));
        self.settle_client(client);
    }

    pub(super) fn listener_hears(&mut self, mut datagram: Datagram) {
        let ListenerEnd { listener, listening, peers, .. } = &mut self.listener;
        if !listening.contains(&datagram.destination) {
            self.lost_in_the_world += 1;
            return;
        }
        let path = Path { transport: self.setup.transport, local: Some(datagram.destination), remote: datagram.source };
        match listener.route(&path, &datagram.bytes) {
            Routing::Peer(peer) => {
                let Some(end) = peers.get_mut(&peer) else {
                    self.listener.to_gone += 1;
                    return;
                };
                let packet = end.driven.handle(&self.clock, &path, &mut datagram.bytes);
                packet.into_iter().for_each(|packet| self.on_packet_at_peer(peer, packet));
                self.settle_peer(peer);
            }
            Routing::New => self.on_stranger(&path, &mut datagram.bytes),
            Routing::Drop => self.listener.dropped += 1,
        }
    }

    fn on_stranger(&mut self, path: &Path, datagram: &mut [u8]) {
        match self.listener.listener.accept(self.clock.now(), path, datagram) {
            Accept::Reply(transmit) => {
                self.listener.replies += 1;
                self.send_from_listener(Outgoing {
                    path: transmit.path,
                    bytes: transmit.datagram.to_vec(),
                    control: true,
                });
            }
            Accept::Peer(peer, tunnel) => {
                assert!((1..=PeerId::MAX.0).contains(&peer.0), "contract: {peer:?} is no name of a peer");
                assert!(!self.listener.peers.contains_key(&peer), "contract: {peer:?} is taken");
                self.listener.born += 1;
                let name = format!("{peer:?} of listener {}", self.listener.incarnation);
                let end = PeerEnd {
                    driven: Driven::new(name, *tunnel, *path),
                    applicant: None,
                    number: self.listener.born,
                    pending: None,
                    lease: None,
                    admitted: false,
                };
                self.listener.peers.insert(peer, end);
                self.settle_peer(peer);
            }
            Accept::Drop => self.listener.dropped += 1,
        }
    }
}

impl<T: Answering> PeerEnd<T> {
    fn assert_no_keys_before_verdict(&self, clock: &Clock) {
        let innocent = self.admitted || self.driven.log.keys.is_empty() && self.driven.log.ups.is_empty();
        self.driven.insist(clock, innocent, || "keys or Up before the verdict".to_owned());
    }
}

fn make_driven<C: Tunnel>(
    index: usize,
    incarnation: u32,
    address: SocketAddr,
    setup: &Setup,
    clock: &Clock,
    make: &mut dyn FnMut(Birth) -> C,
) -> Driven<C> {
    let path = Path { transport: setup.transport, local: Some(address), remote: setup.listening[0] };
    let random = Box::new(SeededRandom::new(seed(setup, "client", index, incarnation)));
    let tunnel = make(Birth { client: index, incarnation, path, random, epoch: clock.epoch(), now: clock.now() });
    Driven::new(format!("client {index}.{incarnation}"), tunnel, path)
}

/// The `number`th address of a client: its own, and that under which it is seen.
pub(super) fn addresses(index: usize, number: u32, nat: bool) -> (SocketAddr, SocketAddr) {
    let (host, port) = (7 + index as u8, 40_000 + (number % 20_000) as u16);
    let outside = SocketAddr::from(([198, 51, 100, host], port));
    let inside = SocketAddr::from(([10, 0, host, (2 + number % 250) as u8], 40_000));
    (if nat { inside } else { outside }, outside)
}
