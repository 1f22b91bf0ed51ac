//! A session and a [`ScriptedPeer`], joined by a network on a virtual clock. Packets travel too.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_testing::SeededRandom;
use adit_tunnel::{
    Class, Closed, Content, Epoch, Event, FlowId, KeyChange, KeyTag, NetworkConfig, Opener, Path, Random, Sealer,
    Secret, Transport, Tunnel,
};
use bytes::Bytes;

use super::{
    START, UNIX_START, millis,
    peer::{CLIENT, Incoming, Outgoing, SERVER, Script, ScriptedPeer, status},
    secs,
};
use crate::{
    Carry, Config, ConfigError, Credentials, EspOpener, EspSealer, PeerVerifier, Remote, Session, SessionError,
    Settings,
    established::Role,
    exchange::Wanted,
    message::{Delete, Message, numbers::NotifyType},
    sa::Timer,
};

/// Everything a test may choose; what it leaves is a working tunnel.
pub(super) struct Setup {
    pub(super) settings: Settings,
    pub(super) peer: PeerVerifier,
    pub(super) credentials: Credentials,
    pub(super) remotes: Vec<Remote>,
    pub(super) carry: Carry,
    pub(super) script: Script,
    pub(super) seed: u64,
}

impl Default for Setup {
    fn default() -> Self {
        let script = Script::default();
        let key = Secret::new(script.psk.clone());
        Self {
            settings: Settings { mobike: false, ..Settings::default() },
            peer: PeerVerifier::Psk { key: key.clone(), identity: Some(script.id.clone()) },
            credentials: Credentials::Psk(key),
            remotes: vec![Remote::new("vpn.example", 500)],
            carry: Carry::default(),
            script,
            seed: 1,
        }
    }
}

impl Setup {
    pub(super) fn new(change: impl FnOnce(&mut Self)) -> Self {
        let mut setup = Self::default();
        change(&mut setup);
        setup
    }

    pub(super) fn config(&self) -> Result<Config, ConfigError> {
        Config::builder(self.remotes.clone())
            .peer(self.peer.clone())
            .credentials(self.credentials.clone())
            .settings(|settings| *settings = self.settings.clone())
            .build()
    }

    /// Starts both ends; nothing has travelled yet.
    pub(super) fn start(self) -> Pair {
        let (config, epoch) = (Arc::new(self.config().unwrap()), Epoch::new(*START, UNIX_START));
        let remote = SocketAddr::new(GATEWAY.parse().unwrap(), self.remotes[0].port);
        let path = Path { transport: Transport::Udp, local: None, remote };
        let random = Box::new(SeededRandom::new(self.seed));
        let client = Session::new(Arc::clone(&config), 0, self.carry, path, random, epoch, *START).unwrap();
        Pair {
            now: *START,
            client,
            peer: ScriptedPeer::new(self.script, self.seed),
            config,
            seen_as: SEEN_AS.parse().unwrap(),
            network: Network::default(),
            by_hand: false,
            client_sent: VecDeque::new(),
            plane: Plane::default(),
            traffic: None,
            log: Log::default(),
        }
    }

    /// Starts both ends, and runs until the tunnel is up.
    pub(super) fn up(self) -> Pair {
        let mut pair = self.start();
        pair.come_up();
        pair
    }

    /// Starts both ends, and runs until the session has ended.
    pub(super) fn fails(self) -> Pair {
        let mut pair = self.start();
        pair.ends();
        pair
    }
}

/// The gateway's address.
pub(super) const GATEWAY: &str = "192.0.2.1";
/// What a NAT makes of the client's address.
pub(super) const SEEN_AS: &str = "198.51.100.7:40000";

pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) client: Session,
    pub(super) peer: ScriptedPeer,
    pub(super) config: Arc<Config>,
    /// Where the peer sees the client.
    pub(super) seen_as: SocketAddr,
    pub(super) network: Network,
    /// Nothing travels by itself; the test carries each datagram.
    pub(super) by_hand: bool,
    /// Waits to be carried.
    pub(super) client_sent: VecDeque<Travelling>,
    pub(super) plane: Plane,
    traffic: Option<Traffic>,
    pub(super) log: Log,
}

/// The way between both ends.
#[derive(Default)]
pub(super) struct Network {
    under_way: Vec<(Instant, u64, bool, Travelling)>,
    count: u64,
    /// Loses everything to the peer, or from it.
    pub(super) cut_up: bool,
    pub(super) cut_down: bool,
    /// An address of the gateway that cannot be reached.
    pub(super) lost_gateway: Option<std::net::IpAddr>,
    /// Of 100 datagrams, and how much later some arrive.
    pub(super) loss: Option<(u32, Duration, SeededRandom)>,
}

#[derive(Clone)]
pub(super) struct Travelling {
    pub(super) client: SocketAddr,
    pub(super) gateway: SocketAddr,
    pub(super) datagram: Bytes,
}

const DELAY: Duration = millis(10);

/// What the driver holds of the data plane.
#[derive(Default)]
pub(super) struct Plane {
    pub(super) openers: BTreeMap<KeyTag, Box<EspOpener>>,
    pub(super) sealers: BTreeMap<FlowId, Box<EspSealer>>,
}

struct Traffic {
    every: Duration,
    next: Instant,
    number: u64,
}

/// What happened at the client.
#[derive(Default)]
pub(super) struct Log {
    pub(super) ups: Vec<NetworkConfig>,
    /// `+ 01234567`, `seal`, `- 01234567`, `remove flow`.
    pub(super) keys: Vec<(Instant, String)>,
    pub(super) paths: Vec<Path>,
    pub(super) closed: Option<(Instant, Closed)>,
    /// IKE datagrams and keepalives, as they left.
    pub(super) sent: Vec<(Instant, Path, Bytes)>,
    /// Inner packets.
    pub(super) opened: Vec<Vec<u8>>,
    pub(super) unopened: usize,
    pub(super) traffic_sent: u64,
}

impl Pair {
    pub(super) fn come_up(&mut self) {
        self.run_until(secs(60), |pair| !pair.log.ups.is_empty() || pair.log.closed.is_some());
        assert!(self.log.closed.is_none(), "{:?}", self.log.closed);
        assert_eq!(self.log.ups.len(), 1, "{:?} after {:?}", self.client, self.now.duration_since(*START));
        self.run(millis(100));
    }

    pub(super) fn ends(&mut self) {
        self.run_until(secs(1000), |pair| pair.log.closed.is_some());
        self.closed();
    }

    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// Runs until the condition holds; returns whether it came to that.
    pub(super) fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let until = self.now + limit;
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            if !self.step(until) {
                return done(self);
            }
        }
    }

    pub(super) fn closed(&self) -> &Closed {
        let (_, closed) = self.log.closed.as_ref().unwrap_or_else(|| panic!("not closed: {:?}", self.client));
        closed
    }

    /// Why the session ended.
    pub(super) fn error(&self) -> &SessionError {
        self.closed().source.downcast_ref().unwrap()
    }

    /// When the session ended, since the start.
    pub(super) fn closed_after(&self) -> Duration {
        self.closed();
        self.log.closed.as_ref().map_or(Duration::ZERO, |(at, _)| at.duration_since(*START))
    }

    pub(super) fn close(&mut self) {
        self.client.close(self.now);
        self.settle();
    }

    /// Drains both ends. Called after each input, as the contract wants it.
    pub(super) fn settle(&mut self) {
        while let Some(event) = self.client.poll_event() {
            self.on_event(event);
        }
        while let Some(transmit) = self.client.poll_transmit() {
            self.log.sent.push((self.now, transmit.path, transmit.datagram.clone()));
            let travelling =
                Travelling { client: self.seen_as, gateway: transmit.path.remote, datagram: transmit.datagram };
            if self.by_hand {
                self.client_sent.push_back(travelling);
            } else {
                self.network.send(self.now, true, travelling);
            }
        }
        if self.log.closed.is_some() {
            assert_eq!(self.client.poll_timeout(), None, "a closed session waits for nothing");
        }
        while !self.by_hand
            && let Some(Outgoing { from, to, datagram }) = self.peer.out.pop_front()
        {
            self.network.send(self.now, false, Travelling { client: to, gateway: from, datagram });
        }
    }

    /// Jumps to the next thing that happens; `false` once that lies after `until`.
    fn step(&mut self, until: Instant) -> bool {
        self.settle();
        let deadlines = [
            self.network.next_arrival(),
            self.client.poll_timeout(),
            self.traffic.as_ref().map(|traffic| traffic.next),
        ];
        let Some(next) = deadlines.into_iter().flatten().min().filter(|at| *at <= until) else {
            self.now = until;
            return false;
        };
        let before = (self.now, self.log.sent.len(), self.client.poll_timeout());
        self.now = self.now.max(next);
        let acted = self.act();
        let after = (self.now, self.log.sent.len(), self.client.poll_timeout());
        assert!(acted || before != after, "a deadline that does not go away: {:?}", self.client);
        true
    }

    /// Whether something arrived.
    fn act(&mut self) -> bool {
        let mut acted = false;
        if self.traffic.as_ref().is_some_and(|traffic| traffic.next <= self.now) {
            self.send_numbered();
            acted = true;
        }
        while let Some((up, travelling)) = self.network.arrived(self.now) {
            if up {
                self.peer.handle(travelling.client, travelling.gateway, &travelling.datagram);
            } else if travelling.client == self.seen_as {
                self.deliver_to_client(&travelling);
            }
            self.settle();
            acted = true;
        }
        if self.client.poll_timeout().is_some_and(|at| at <= self.now) {
            self.client.handle_timeout(self.now);
            self.settle();
        }
        acted
    }

    /// Gives the client a datagram from the gateway at once.
    pub(super) fn inject(&mut self, gateway: SocketAddr, datagram: &[u8]) {
        let datagram = Bytes::copy_from_slice(datagram);
        self.deliver_to_client(&Travelling { client: self.seen_as, gateway, datagram });
        self.settle();
    }

    fn deliver_to_client(&mut self, travelling: &Travelling) {
        let path = Path { transport: Transport::Udp, local: None, remote: travelling.gateway };
        let mut datagram = travelling.datagram.to_vec();
        match self.client.classify(&path, &datagram) {
            Class::Control => self.client.handle_datagram(self.now, &path, &mut datagram),
            Class::Data(tag) => {
                let opened = self.plane.openers.get_mut(&tag).and_then(|opener| opener.open(&mut datagram).ok());
                match opened.map(|opened| opened.content) {
                    Some(Content::Packet(range)) => self.log.opened.push(datagram[range].to_vec()),
                    Some(Content::Unpacked | Content::Filler | Content::Message(_)) => {}
                    None => self.log.unopened += 1,
                }
            }
            Class::Ignore => {}
        }
    }

    fn on_event(&mut self, event: Event<EspSealer, EspOpener>) {
        assert!(self.log.closed.is_none(), "after Closed: {event:?}");
        match event {
            Event::Up(network) => self.log.ups.push(network),
            Event::Keys(change) => self.on_key_change(change),
            Event::Path(path) => self.log.paths.push(path),
            Event::Closed(closed) => self.log.closed = Some((self.now, closed)),
            Event::Inject { .. } | Event::Prompt(_) => panic!("{event:?}"),
        }
    }

    fn on_key_change(&mut self, change: KeyChange<EspSealer, EspOpener>) {
        let text = match change {
            KeyChange::AddOpener { tag, opener, .. } => {
                assert!(self.plane.openers.insert(tag, opener).is_none(), "added twice: {tag:?}");
                format!("+ {:08x}", tag.0)
            }
            KeyChange::SetSealer { flow, sealer, .. } => {
                let text = format!("seal {:08x}", spi_of(&sealer));
                self.plane.sealers.insert(flow, sealer);
                text
            }
            KeyChange::RemoveOpener { tag } => {
                assert!(self.plane.openers.remove(&tag).is_some(), "removed twice: {tag:?}");
                format!("- {:08x}", tag.0)
            }
            KeyChange::RemoveFlow { flow } => {
                self.plane.sealers.remove(&flow);
                "remove flow".to_owned()
            }
        };
        self.log.keys.push((self.now, text));
    }
}

/// Traffic.
impl Pair {
    pub(super) fn client_seals(&mut self, packet: &[u8]) -> Bytes {
        seal(self.plane.sealers.get_mut(&FlowId(0)).expect("a sealer"), packet)
    }

    /// Whether the client has the key of a datagram with ESP.
    fn client_opens(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let before = self.log.opened.len();
        self.deliver_to_client(&Travelling {
            client: self.seen_as,
            gateway: SocketAddr::new(GATEWAY.parse().unwrap(), 4500),
            datagram: Bytes::copy_from_slice(datagram),
        });
        (self.log.opened.len() > before).then(|| self.log.opened.pop()).flatten()
    }

    /// At this very moment no packet would be lost: what the client seals the peer opens, and the client opens what the peer may
    /// seal with any child it has.
    pub(super) fn assert_traffic_flows(&mut self) {
        let number = self.now.duration_since(*START).as_micros() as u64;
        let upwards = numbered(CLIENT.octets(), SERVER.octets(), number);
        let before = self.peer.opened.len();
        let datagram = self.client_seals(&upwards);
        self.peer.handle(self.seen_as, SocketAddr::new(GATEWAY.parse().unwrap(), 4500), &datagram);
        assert_eq!(self.peer.opened.len(), before + 1, "the peer has no key for {}", hex::encode(&datagram[..4]));
        let downwards = numbered(SERVER.octets(), CLIENT.octets(), number);
        for child in self.peer.live_children() {
            // While our answer is under way nobody can know its keys; a peer that does not wait loses its own packets (§2.8).
            let added = format!("+ {:08x}", self.peer.children[child].spi_out);
            if !self.log.keys.iter().any(|(_, text)| *text == added) {
                continue;
            }
            let datagram = self.peer.seal(child, &downwards);
            let opened = self.client_opens(&datagram);
            assert_eq!(opened.as_ref(), Some(&downwards), "the client has no key for {}", hex::encode(&datagram[..4]));
        }
    }

    /// Both ends send a numbered packet now and then.
    pub(super) fn start_traffic(&mut self, every: Duration) {
        self.traffic = Some(Traffic { every, next: self.now, number: 0 });
    }

    /// Stops it, and waits for what is under way.
    pub(super) fn stop_traffic(&mut self) {
        self.log.traffic_sent = self.traffic.take().map_or(0, |traffic| traffic.number);
        self.run(secs(1));
    }

    pub(super) fn assert_nothing_lost(&self) {
        assert!(self.log.traffic_sent > 0);
        assert_eq!(missing(&self.peer.opened, self.log.traffic_sent), [0; 0], "at the peer");
        assert_eq!(missing(&self.log.opened, self.log.traffic_sent), [0; 0], "at the client");
    }

    fn send_numbered(&mut self) {
        let Some(traffic) = &mut self.traffic else { return };
        let number = traffic.number;
        traffic.number += 1;
        traffic.next = self.now + traffic.every;
        let datagram = self.client_seals(&numbered(CLIENT.octets(), SERVER.octets(), number));
        let gateway = SocketAddr::new(GATEWAY.parse().unwrap(), 4500);
        let travelling = Travelling { client: self.seen_as, gateway, datagram };
        self.network.send(self.now, true, travelling);
        self.peer.send_packet(&numbered(SERVER.octets(), CLIENT.octets(), number));
    }
}

/// By hand.
impl Pair {
    /// From now on nothing travels by itself.
    pub(super) fn take_over(&mut self) {
        self.by_hand = true;
        self.settle();
    }

    /// As [`Self::take_over`], and the peer answers nothing by itself.
    pub(super) fn all_by_hand(mut self) -> Self {
        self.take_over();
        self.peer.script.auto = false;
        self
    }

    /// The client's request arrives, and the peer answers it as a gateway does.
    pub(super) fn peer_answers(&mut self) {
        let incoming = self.peer.inbox.pop_front().expect("a request");
        self.peer.answer(incoming);
    }

    /// The peer answers with an error.
    pub(super) fn peer_refuses(&mut self, why: NotifyType) {
        let incoming = self.peer.inbox.pop_front().expect("a request");
        self.peer.respond(&incoming, vec![status(why, "")]);
    }

    /// A whole exchange that the client starts.
    pub(super) fn client_exchange(&mut self) {
        self.up();
        self.peer_answers();
        self.down();
        self.assert_traffic_flows();
    }

    /// The response of the client to the peer's request.
    pub(super) fn response(&mut self) -> Message {
        self.peer.responses.pop_front().expect("a response").1
    }

    /// The peer deletes one of its children; whether the client names its own half, too.
    pub(super) fn peer_deletes(&mut self, child: usize) -> bool {
        self.peer.delete_child(child);
        self.down();
        self.delete_answered(child)
    }

    /// The client's answer to a deletion arrives.
    pub(super) fn delete_answered(&mut self, child: usize) -> bool {
        self.up_one();
        let response = self.response();
        let spi = self.peer.children[child].spi_out;
        self.peer.children[child].alive = false;
        let deletes: Vec<_> = response.deletes().cloned().collect();
        assert!(deletes.is_empty() || deletes == [Delete::Esp(vec![spi])], "{deletes:?}");
        !deletes.is_empty()
    }

    /// The first datagram of the client arrives at the peer.
    pub(super) fn up_one(&mut self) {
        self.settle();
        let said = self.client_sent.pop_front().expect("the client says something");
        self.peer_hears(&said);
    }

    /// A packet of every child of the peer, not yet arrived.
    pub(super) fn packets_under_way(&mut self) -> Vec<Bytes> {
        let packet = numbered(SERVER.octets(), CLIENT.octets(), 1);
        self.peer.live_children().into_iter().map(|child| self.peer.seal(child, &packet)).collect()
    }

    pub(super) fn assert_opens(&mut self, datagrams: &[Bytes]) {
        for datagram in datagrams {
            assert!(self.client_opens(datagram).is_some(), "no key for {}", hex::encode(&datagram[..4]));
        }
    }

    /// What the client has sent, which must be one datagram.
    pub(super) fn client_says(&mut self) -> Travelling {
        self.settle();
        let said = self.client_sent.pop_front().expect("the client says something");
        assert!(self.client_sent.is_empty(), "the client says one thing");
        said
    }

    pub(super) fn assert_client_is_silent(&mut self) {
        self.settle();
        assert_eq!(self.client_sent.len(), 0, "the client has nothing to say");
    }

    /// What the peer has sent, which must be one datagram.
    pub(super) fn peer_says(&mut self) -> Travelling {
        let Outgoing { from, to, datagram } = self.peer.out.pop_front().expect("the peer says something");
        assert!(self.peer.out.is_empty(), "the peer says one thing");
        Travelling { client: to, gateway: from, datagram }
    }

    pub(super) fn peer_hears(&mut self, said: &Travelling) {
        self.peer.handle(said.client, said.gateway, &said.datagram);
    }

    pub(super) fn client_hears(&mut self, said: &Travelling) {
        self.deliver_to_client(said);
        self.settle();
    }

    /// The client's datagram arrives at the peer.
    pub(super) fn up(&mut self) {
        let said = self.client_says();
        self.peer_hears(&said);
    }

    /// The peer's datagram arrives at the client.
    pub(super) fn down(&mut self) {
        let said = self.peer_says();
        self.client_hears(&said);
    }

    /// Time passes for the client alone.
    pub(super) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.client.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.client.handle_timeout(self.now);
            self.settle();
        }
        self.now = until;
    }

    /// The client begins something at once.
    pub(super) fn client_wants(&mut self, wanted: Wanted) {
        self.client.want(self.now, wanted);
        self.settle();
    }

    /// The client rekeys the child in use.
    pub(super) fn client_rekeys_child(&mut self) {
        let child = self.client_child();
        self.client_wants(Wanted::RekeyChild(child));
    }

    /// Our SPI of the child in use.
    pub(super) fn client_child(&mut self) -> u32 {
        let established = self.client.established().expect("established");
        established.children.iter().find(|child| child.is_in_use()).expect("a child in use").spi_in
    }

    /// Long after: one IKE SA, one child, one sealer, and no timer without a cause.
    pub(super) fn assert_settled(&mut self) {
        self.by_hand = false;
        self.peer.script.auto = true;
        while let Some(travelling) = self.client_sent.pop_front() {
            self.network.send(self.now, true, travelling);
        }
        while let Some(Incoming { .. }) = self.peer.inbox.front() {
            self.peer_answers();
        }
        // Longer than anything lingers.
        self.run(secs(40));
        // Perhaps the gateway is just being asked whether it lives.
        self.run_until(secs(1), |pair| !pair.client.timers().iter().any(|timer| matches!(timer, Timer::Retransmit(_))));
        assert!(self.log.closed.is_none(), "{:?}", self.log.closed);
        self.assert_traffic_flows();
        let live = self.peer.live_children();
        assert_eq!(live.len(), 1, "children of the peer");
        assert_eq!(self.peer.sas.iter().filter(|sa| sa.alive).count(), 1, "IKE SAs of the peer");
        let (spi_in, spi_out) = (self.peer.children[live[0]].spi_in, self.peer.children[live[0]].spi_out);
        let tags: Vec<_> = self.plane.openers.keys().copied().collect();
        assert_eq!(tags, [KeyTag(spi_out)], "openers");
        let sealers: Vec<_> = self.plane.sealers.values().map(|sealer| spi_of(sealer)).collect();
        assert_eq!(sealers, [spi_in], "sealers");
        let newest = self.peer.sa();
        let spis = (self.peer.sas[newest].spi_i, self.peer.sas[newest].spi_r);
        let established = self.client.established().expect("established");
        let ours: Vec<_> = established.sas.iter().map(|sa| (sa.ike.spis(), sa.role)).collect();
        assert_eq!(ours, [(spis, Role::InUse)], "IKE SAs");
        let children: Vec<_> = established.children.iter().map(|c| (c.spi_in, c.is_in_use())).collect();
        assert_eq!(children, [(spi_out, true)], "children");
        let settings = self.config.settings();
        let mut causes = vec![Timer::Sample];
        causes.extend((!settings.child_rekey.is_zero()).then_some(Timer::RekeyChild(spi_out)));
        causes.extend((!settings.ike_rekey.is_zero()).then_some(Timer::RekeyIke));
        let mut running: Vec<_> = self.client.timers();
        running.sort_by_key(|timer| causes.iter().position(|cause| cause == timer));
        assert_eq!(running, causes, "timers");
    }
}

impl Network {
    fn send(&mut self, now: Instant, up: bool, travelling: Travelling) {
        let cut = if up { self.cut_up } else { self.cut_down };
        if cut || self.lost_gateway == Some(travelling.gateway.ip()) {
            return;
        }
        let mut at = now + DELAY;
        if let Some((percent, jitter, random)) = &mut self.loss {
            if random.next_u32() % 100 < *percent {
                return;
            }
            at += jitter.mul_f64(f64::from(random.next_u32()) / f64::from(u32::MAX));
        }
        self.count += 1;
        self.under_way.push((at, self.count, up, travelling));
    }

    fn next_arrival(&self) -> Option<Instant> {
        self.under_way.iter().map(|(at, ..)| *at).min()
    }

    fn arrived(&mut self, now: Instant) -> Option<(bool, Travelling)> {
        let due = self.under_way.iter().enumerate().filter(|(_, (at, ..))| *at <= now);
        let (index, _) = due.min_by_key(|(_, (at, order, ..))| (*at, *order))?;
        let (_, _, up, travelling) = self.under_way.swap_remove(index);
        Some((up, travelling))
    }
}

/// The SPI a sealer writes, read off a packet it seals.
pub(super) fn spi_of(sealer: &EspSealer) -> u32 {
    let text = format!("{sealer:?}");
    let digits = text.split("spi: ").nth(1).and_then(|rest| rest.get(..8)).unwrap();
    u32::from_str_radix(digits, 16).unwrap()
}

pub(super) fn seal(sealer: &mut EspSealer, packet: &[u8]) -> Bytes {
    let start = sealer.header_len();
    let mut buffer = vec![0; sealer.sealed_len(packet.len())];
    buffer[start..start + packet.len()].copy_from_slice(packet);
    let range = sealer.seal(&mut buffer, start..start + packet.len()).unwrap();
    Bytes::copy_from_slice(&buffer[range])
}

/// An IPv4 packet with a number in it.
pub(super) fn numbered(from: [u8; 4], to: [u8; 4], number: u64) -> Vec<u8> {
    let mut packet = vec![0; 60];
    (packet[0], packet[3], packet[8], packet[9]) = (0x45, 60, 64, 17);
    packet[12..16].copy_from_slice(&from);
    packet[16..20].copy_from_slice(&to);
    packet[28..36].copy_from_slice(&number.to_be_bytes());
    packet
}

/// Numbers that did not arrive.
fn missing(packets: &[Vec<u8>], count: u64) -> Vec<u64> {
    let number = |packet: &Vec<u8>| u64::from_be_bytes(packet[28..36].try_into().unwrap());
    let numbers: BTreeSet<u64> = packets.iter().map(number).collect();
    assert_eq!(numbers.len(), packets.len(), "a packet arrived twice");
    (0..count).filter(|number| !numbers.contains(number)).collect()
}
