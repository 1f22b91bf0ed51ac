//! What stands after the handshake: the IKE SA in use, those before and after it, and the children they look after.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    ops::Add,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use adit_tunnel::{Event, FlowId, KeyChange, NetworkConfig, Path, Rekeys};
use bytes::Bytes;

use crate::{
    child::ChildSa,
    error::{Outcome, PeerMisbehaved, SessionError},
    exchange::{Exchange, Wanted, informational::Baseline},
    message::{
        self, Configuration, Delete, Header, IkeSpi, Message, Payload, Undecodable,
        numbers::{ExchangeType, NotifyType},
    },
    sa::{Context, IkeSa, Received, Timer, initiator::Completed},
};

/// An authenticated association with the gateway.
pub(crate) struct Established {
    /// The IKE SA in use first; then those that wait for their use, or for their end.
    pub(crate) sas: Vec<Sa>,
    pub(crate) children: Vec<ChildSa>,
    /// The child whose sealer the owner has, by its SPI of ours.
    sealing: Option<u32>,
    pub(crate) wanted: BTreeSet<Wanted>,
    /// What the owner was last told, or will be as soon as there is a child.
    pub(crate) network: NetworkConfig,
    /// Whether it was told.
    pub(crate) told: bool,
    /// What the gateway gave us in the handshake, for as long as the IKE SA and its successors live.
    pub(crate) reply: Option<Configuration>,
    /// The gateway supports MOBIKE, and so do we.
    pub(crate) mobike: bool,
    /// Other addresses of the gateway.
    pub(crate) additional_addresses: Vec<IpAddr>,
    /// Where it last answered.
    pub(crate) answered_at: IpAddr,
    /// How the gateway sees us.
    pub(crate) baseline: Baseline,
    traffic: Traffic,
    /// Since when the peer has answered nothing but TEMPORARY_FAILURE, and how often.
    failing: Option<(Instant, u32)>,
    /// When the gateway closed children of its own accord, of late.
    closed_children: Vec<Instant>,
    /// Another association carries the packets; this one is being deleted.
    superseded: bool,
    /// Only by a new handshake can the keys be renewed.
    pub(crate) needs_reauthentication: bool,
    /// How often the IKE SA was replaced.
    pub(crate) ike_rekeys: u64,
    /// How often a rekeying came to nothing.
    pub(crate) failed_rekeys: Rekeys,
}

/// An IKE SA with its place in life.
pub(crate) struct Sa {
    pub(crate) ike: IkeSa,
    pub(crate) role: Role,
    pub(crate) exchange: Option<Exchange>,
}

impl Sa {
    pub(crate) fn new(ike: IkeSa, role: Role) -> Self {
        Self { ike: ike.up(), role, exchange: None }
    }
}

/// What an IKE SA is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Requests of ours go through it.
    InUse,
    /// The peer made it by rekeying; it is used as soon as the peer does, or deletes the old one.
    Offered,
    /// Another is in use, or will be: whoever has to, deletes this one.
    Replaced,
    /// We are deleting it.
    Deleting,
}

/// When anything was last seen to travel, by the counters of the data plane.
#[derive(Debug)]
struct Traffic {
    opened: u64,
    sealed: u64,
    heard: Instant,
    sent: Instant,
    /// Of the last request of ours whose answer would show that the peer lives.
    probed: Instant,
}

impl Established {
    /// What the handshake of a client leaves.
    pub(crate) fn new(cx: &mut Context<'_>, completed: Completed) -> Self {
        let Completed { sa, child, network, reply, mobike, additional_addresses, .. } = completed;
        let mut established = Self::with(cx, sa, Some(child), network, mobike);
        established.reply = reply;
        established.additional_addresses = additional_addresses;
        if mobike {
            // Only a change against a known mapping can be seen: make it known before it changes (RFC 4555 §3.8).
            established.want(cx, Wanted::Liveness);
        }
        established
    }

    /// At a gateway, the association may stand without a child (RFC 7296 §2.21.2).
    pub(crate) fn with(
        cx: &mut Context<'_>,
        sa: IkeSa,
        child: Option<ChildSa>,
        network: NetworkConfig,
        mobike: bool,
    ) -> Self {
        let traffic = Traffic { opened: 0, sealed: 0, heard: cx.now, sent: cx.now, probed: cx.now };
        let established = Self {
            sas: vec![Sa::new(sa, Role::InUse)],
            told: child.is_some(),
            sealing: child.as_ref().map(|child| child.spi_in),
            children: child.into_iter().collect(),
            wanted: BTreeSet::new(),
            network,
            reply: None,
            mobike,
            additional_addresses: Vec::new(),
            answered_at: cx.path.remote.ip(),
            baseline: Baseline::Unknown,
            traffic,
            failing: None,
            closed_children: Vec::new(),
            superseded: false,
            needs_reauthentication: false,
            ike_rekeys: 0,
            failed_rekeys: Rekeys::default(),
        };
        Self::schedule(cx);
        established
    }

    /// The timers of an IKE SA in use.
    pub(crate) fn schedule(cx: &mut Context<'_>) {
        cx.set(Timer::Sample, sample_interval(cx));
        let age = cx.settings.ike_rekey;
        if age.is_zero() {
            cx.timers.stop(Timer::RekeyIke);
        } else {
            let age = cx.jittered(age);
            cx.set(Timer::RekeyIke, age);
        }
    }

    /// The algorithms in use, of the IKE SA and of the child that packets are sealed with.
    pub(crate) fn suite(&self) -> String {
        let ike = self.sas.iter().find(|sa| sa.role == Role::InUse).map(|sa| format!("IKE {}", sa.ike.suite));
        let sealing = self.children.iter().find(|child| Some(child.spi_in) == self.sealing);
        let esp = sealing.map(|child| format!("ESP {}", child.suite));
        [ike, esp].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// The IKE SA in use.
    pub(crate) fn current(&mut self) -> Option<&mut Sa> {
        self.sas.iter_mut().find(|sa| sa.role == Role::InUse)
    }

    pub(crate) fn sa(&mut self, spi: IkeSpi) -> Option<&mut Sa> {
        self.sas.iter_mut().find(|sa| sa.ike.our_spi() == spi)
    }

    pub(crate) fn child(&mut self, spi_in: u32) -> Option<&mut ChildSa> {
        self.children.iter_mut().find(|child| child.spi_in == spi_in)
    }

    /// Whether a datagram with this header is for one of these IKE SAs.
    pub(crate) fn owns(&self, header: &Header) -> bool {
        self.sas.iter().any(|sa| sa.ike.matches(header))
    }

    /// A datagram for one of these IKE SAs.
    pub(crate) fn handle_datagram(
        &mut self,
        cx: &mut Context<'_>,
        path: &Path,
        header: &Header,
        datagram: &mut [u8],
    ) -> Outcome<()> {
        let Some(sa) = self.sas.iter_mut().find(|sa| sa.ike.matches(header)) else { return Ok(()) };
        let spi = sa.ike.our_spi();
        if !message::is_protected(datagram) {
            self.on_hint(cx, "an unprotected message");
            return Ok(());
        }
        match sa.ike.receive(cx, path, header, datagram) {
            Ok(None) => {}
            Ok(Some(received)) => {
                self.traffic.heard = cx.now;
                if header.response {
                    sa.ike.response_taken(cx);
                    let exchange = sa.exchange.take();
                    self.on_answered_from(cx, path);
                    if let Some(exchange) = exchange {
                        self.on_response(cx, spi, exchange, &received.message)?;
                    }
                } else {
                    self.on_asked_from(cx, path);
                    self.on_request(cx, spi, path, &received)?;
                }
            }
            Err(Undecodable::Unauthenticated(reason)) => {
                tracing::debug!("a datagram for {spi:?} was dropped: {reason}");
            }
            Err(Undecodable::Authenticated { header, notify, data }) => {
                self.on_malformed(cx, spi, path, &header, notify, data)?;
            }
        }
        self.go_on(cx);
        Ok(())
    }

    /// Perhaps the gateway has forgotten us and says so, or the network says that it is gone, which nothing can protect; perhaps somebody
    /// else says so. Either way it is asked, and its silence alone decides (RFC 7296 §2.4, §2.21.4).
    pub(crate) fn on_hint(&mut self, cx: &mut Context<'_>, what: &str) {
        if cx.now.saturating_duration_since(self.traffic.probed) >= HINT_INTERVAL {
            tracing::debug!("{what}: asking the gateway whether it is there");
            self.want(cx, Wanted::Liveness);
        }
    }

    /// Something is to be done, now or as soon as the window allows.
    pub(crate) fn want(&mut self, cx: &mut Context<'_>, wanted: Wanted) {
        self.wanted.insert(wanted);
        self.go_on(cx);
    }

    /// Starts the most urgent exchange that may be started now.
    pub(crate) fn go_on(&mut self, cx: &mut Context<'_>) {
        loop {
            // While the peer's rekeyed IKE SA waits, the old one is no place for anything lasting.
            let held = self.sas.iter().any(|sa| sa.role == Role::Offered);
            let Some(sa) = self.current().filter(|sa| sa.exchange.is_none() && sa.ike.requester.is_idle()) else {
                return;
            };
            let spi = sa.ike.our_spi();
            let may = |wanted: &Wanted| match wanted {
                Wanted::DeleteChild(_) | Wanted::UpdateAddresses | Wanted::Liveness => true,
                Wanted::RekeyChild(_) | Wanted::CreateChild | Wanted::RekeyIke => {
                    !held && cx.timers.get(Timer::TryAgain).is_none()
                }
            };
            let Some(wanted) = self.wanted.iter().copied().find(may) else { return };
            self.wanted.remove(&wanted);
            match wanted {
                Wanted::DeleteChild(child) => self.delete_child(cx, spi, child),
                Wanted::UpdateAddresses => self.inform(cx, spi, true),
                Wanted::RekeyChild(child) => self.rekey_child(cx, spi, child),
                Wanted::CreateChild => self.create_child(cx, spi),
                Wanted::RekeyIke => self.rekey_ike(cx, spi),
                Wanted::Liveness => {
                    self.traffic.probed = cx.now;
                    let lost = self.baseline == Baseline::Lost && self.mobike;
                    self.inform(cx, spi, lost);
                }
            }
        }
    }

    /// Sends a request on the IKE SA with this SPI.
    pub(crate) fn request(
        &mut self,
        cx: &mut Context<'_>,
        spi: IkeSpi,
        exchange_type: ExchangeType,
        payloads: Vec<Payload>,
        exchange: Exchange,
    ) {
        self.traffic.sent = cx.now;
        if let Some(sa) = self.sa(spi) {
            sa.ike.request(cx, exchange_type, payloads);
            sa.exchange = Some(exchange);
        }
    }

    fn on_response(&mut self, cx: &mut Context<'_>, spi: IkeSpi, exchange: Exchange, message: &Message) -> Outcome<()> {
        if message.notify(NotifyType::INVALID_SYNTAX).is_some() {
            return Err(PeerMisbehaved::CannotReadUs.into());
        }
        if message.notify(NotifyType::TEMPORARY_FAILURE).is_none() {
            self.failing = None;
        }
        match exchange {
            Exchange::CreateChild(exchange) => self.on_child_created(cx, *exchange, message),
            Exchange::RekeyIke(exchange) => self.on_ike_rekeyed(cx, spi, *exchange, message),
            Exchange::DeleteChild(child) => {
                self.on_child_deleted(cx, child);
                Ok(())
            }
            Exchange::DeleteIke => {
                self.remove_sa(cx, spi);
                Ok(())
            }
            Exchange::Informational(exchange) => self.on_informed(cx, spi, exchange, message),
        }
    }

    fn on_request(&mut self, cx: &mut Context<'_>, spi: IkeSpi, path: &Path, received: &Received) -> Outcome<()> {
        let deletes_ike = received.message.payloads.contains(&Payload::Delete(Delete::Ike));
        // The peer uses what it made: so may we. One that it takes back has lost a collision (RFC 7296 §2.8.2).
        if !deletes_ike && self.sa(spi).is_some_and(|sa| sa.role == Role::Offered) {
            self.use_offered(cx, spi);
        }
        let exchange = received.message.header.exchange;
        let (answer, then) = match exchange {
            ExchangeType::INFORMATIONAL => self.answer_informational(cx, spi, path, &received.message),
            ExchangeType::CREATE_CHILD_SA => (self.answer_create_child(cx, spi, &received.message), Ok(())),
            other => {
                tracing::debug!("a request of type {other} has no place here");
                (vec![Payload::notify(NotifyType::INVALID_SYNTAX, Bytes::new())], Ok(()))
            }
        };
        self.traffic.sent = cx.now;
        if let Some(sa) = self.sa(spi) {
            sa.ike.respond(cx, *path, received, answer);
        }
        if deletes_ike && let Some(sa) = self.sa(spi) {
            // Kept for a while: the peer asks again if our answer is lost. What we asked for here is never answered now.
            sa.role = Role::Replaced;
            let unfinished = sa.exchange.take();
            sa.ike.response_taken(cx);
            cx.set(Timer::Abandon(spi), DELETED_LINGER);
            if let Some(unfinished) = unfinished {
                self.want_again(&unfinished);
            }
        }
        then
    }

    /// A verified message that makes no sense (RFC 7296 §2.21.3, §2.5).
    fn on_malformed(
        &mut self,
        cx: &mut Context<'_>,
        spi: IkeSpi,
        path: &Path,
        header: &Header,
        notify: NotifyType,
        data: Bytes,
    ) -> Outcome<()> {
        let critical = notify == NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD;
        if header.response {
            // Nothing may be sent back. One that we cannot understand is as good as none; it will be asked for again.
            tracing::debug!("a response was dropped: {notify}");
            return if critical { Ok(()) } else { Err(PeerMisbehaved::Malformed.into()) };
        }
        if let Some(sa) = self.sa(spi) {
            let payload = Payload::notify(notify, data);
            sa.ike.refuse(cx, *path, header, payload);
        }
        if critical { Ok(()) } else { Err(PeerMisbehaved::Malformed.into()) }
    }

    /// A request was not answered in time.
    pub(crate) fn on_retransmit(&mut self, cx: &mut Context<'_>, spi: IkeSpi) -> Outcome<()> {
        let Some(sa) = self.sa(spi) else { return Ok(()) };
        let (role, sent) = (sa.role, sa.ike.requester.sent());
        if sent >= TRIES_BEFORE_OTHERS && role == Role::InUse && self.mobike && cx.end.is_client() {
            self.try_other_address(cx);
        }
        let Some(sa) = self.sa(spi) else { return Ok(()) };
        if sa.ike.retransmit(cx) {
            return Ok(());
        }
        match role {
            Role::InUse => Err(SessionError::PeerGone(sent)),
            Role::Offered | Role::Replaced | Role::Deleting => {
                self.remove_sa(cx, spi);
                if role == Role::Deleting && !self.superseded {
                    // As long as the peer has seen neither this deletion nor anything on the successor, it keeps to the old one.
                    self.want(cx, Wanted::Liveness);
                }
                Ok(())
            }
        }
    }

    /// Looks at the counters of the data plane: who was heard, what was sent, which keys are worn.
    pub(crate) fn on_sample(&mut self, cx: &mut Context<'_>) {
        let sum = |counter: fn(&ChildSa) -> u64| self.children.iter().map(counter).sum::<u64>();
        let opened = sum(|child| child.usage.opened_packets.load(Relaxed));
        let sealed = sum(|child| child.usage.sealed_packets.load(Relaxed));
        // Children come and go, so the sums may fall, too.
        if std::mem::replace(&mut self.traffic.opened, opened) != opened {
            self.traffic.heard = cx.now;
        }
        if std::mem::replace(&mut self.traffic.sealed, sealed) != sealed {
            self.traffic.sent = cx.now;
        }
        let settings = cx.settings;
        let (now, interval) = (cx.now, sample_interval(cx));
        let due =
            |since: Instant, limit: Duration, early: Duration| now.saturating_duration_since(since) + early >= limit;
        // Half a sample early rather than half a sample late. Only the end behind a NAT has to.
        if cx.end.is_client() && due(self.traffic.sent, settings.nat_keepalive, interval / 2) {
            self.traffic.sent = cx.now;
            let path = *cx.path;
            cx.out.transmits.push_back(adit_tunnel::Transmit { path, datagram: Bytes::from_static(&NAT_KEEPALIVE) });
        }
        let listened: Vec<u32> =
            self.children.iter().filter(|c| c.waits_for().is_some() && c.was_received_on()).map(|c| c.spi_in).collect();
        for spi in listened {
            self.take_over(cx, spi);
        }
        let worn: Vec<u32> = self.children.iter().filter(|c| c.is_in_use() && c.is_worn()).map(|c| c.spi_in).collect();
        for spi in worn {
            self.want(cx, Wanted::RekeyChild(spi));
        }
        // What a sample finds may have happened right after the one before: never late, at least.
        if due(self.traffic.heard.max(self.traffic.probed), settings.liveness, interval) {
            self.want(cx, Wanted::Liveness);
        }
        cx.set(Timer::Sample, sample_interval(cx));
    }

    /// The peer surely listens on the child it made: it takes over from the one it replaces.
    pub(crate) fn take_over(&mut self, cx: &mut Context<'_>, spi_in: u32) {
        let superseded = self.superseded;
        let Some(child) = self.child(spi_in).filter(|_| !superseded) else { return };
        let replaced = child.waits_for();
        child.take_over(cx);
        if let Some(old) = replaced.and_then(|old| self.child(old)) {
            old.replaced(cx);
        }
        self.now_seals(cx, spi_in);
    }

    /// The sealer of this child was handed over.
    pub(crate) fn now_seals(&mut self, cx: &mut Context<'_>, spi_in: u32) {
        self.sealing = Some(spi_in);
        self.tell_network(cx, spi_in);
    }

    /// The child is gone for both ends, for whatever reason; whether packets have nowhere to go now.
    pub(crate) fn remove_child(&mut self, cx: &mut Context<'_>, spi_in: u32) -> bool {
        let Some(at) = self.children.iter().position(|child| child.spi_in == spi_in) else { return false };
        let child = self.children.remove(at);
        child.gone(cx);
        self.wanted.remove(&Wanted::DeleteChild(spi_in));
        self.wanted.remove(&Wanted::RekeyChild(spi_in));
        if let Some(next) = self.children.iter().find(|c| c.waits_for() == Some(spi_in)).map(|c| c.spi_in) {
            self.take_over(cx, next);
        }
        let lost = !self.superseded && self.sealing == Some(spi_in);
        if lost {
            self.sealing = None;
            cx.out.events.push_back(Event::Keys(KeyChange::RemoveFlow { flow: child.flow }));
        }
        lost
    }

    /// The peer closed a child of its own accord: a client makes another, unless that has become a habit.
    pub(crate) fn on_child_lost(&mut self, cx: &Context<'_>) -> Outcome<()> {
        if !cx.end.is_client() {
            return Ok(());
        }
        self.closed_children.retain(|at| cx.now.saturating_duration_since(*at) < HABIT);
        self.closed_children.push(cx.now);
        if self.closed_children.len() > MAX_CLOSED_CHILDREN {
            return Err(PeerMisbehaved::ChildrenClosed.into());
        }
        self.wanted.insert(Wanted::CreateChild);
        Ok(())
    }

    /// Rekeyings of ours without an answer yet.
    pub(crate) fn rekeys_in_flight(&self) -> Rekeys {
        let of = |sa: &Sa| match &sa.exchange {
            Some(Exchange::RekeyIke(_)) => Rekeys { data: 0, control: 1 },
            Some(Exchange::CreateChild(exchange)) => Rekeys { data: u64::from(exchange.is_rekey()), control: 0 },
            Some(Exchange::DeleteChild(_) | Exchange::DeleteIke | Exchange::Informational(_)) | None => {
                Rekeys::default()
            }
        };
        self.sas.iter().map(of).fold(Rekeys::default(), Rekeys::add)
    }

    /// TEMPORARY_FAILURE: the same again, a little later (RFC 7296 §2.25).
    pub(crate) fn try_again_later(&mut self, cx: &mut Context<'_>, wanted: Wanted) -> Outcome<()> {
        let (since, times) = self.failing.map_or((cx.now, 1), |(since, times)| (since, times.saturating_add(1)));
        self.failing = Some((since, times));
        // Who sleeps for hours between two of them has not been refused for hours.
        if cx.now.saturating_duration_since(since) > LONGEST_TEMPORARY_FAILURE && times > MANY_TEMPORARY_FAILURES {
            return Err(PeerMisbehaved::TemporaryForever.into());
        }
        self.put_off(cx, wanted);
        Ok(())
    }

    /// It cannot be done now.
    pub(crate) fn put_off(&mut self, cx: &mut Context<'_>, wanted: Wanted) {
        self.wanted.insert(wanted);
        let wait = cx.jittered(TEMPORARY_WAIT);
        cx.set(Timer::TryAgain, wait);
    }

    /// Forgets an IKE SA.
    pub(crate) fn remove_sa(&mut self, cx: &mut Context<'_>, spi: IkeSpi) {
        cx.timers.stop(Timer::Retransmit(spi));
        cx.timers.stop(Timer::Abandon(spi));
        if let Some(unfinished) = self.sa(spi).and_then(|sa| sa.exchange.take()) {
            self.want_again(&unfinished);
        }
        self.sas.retain(|sa| sa.ike.our_spi() != spi);
    }

    /// What was asked for on an IKE SA that is no more. A rekeying is forgotten (RFC 7296 §2.25.2), the rest is still wanted.
    pub(crate) fn want_again(&mut self, unfinished: &Exchange) {
        match unfinished {
            Exchange::DeleteChild(child) => self.wanted.insert(Wanted::DeleteChild(*child)),
            Exchange::Informational(exchange) if exchange.is_update() => self.wanted.insert(Wanted::UpdateAddresses),
            Exchange::CreateChild(_) | Exchange::RekeyIke(_) | Exchange::DeleteIke | Exchange::Informational(_) => {
                false
            }
        };
    }

    /// The peer neither used nor deleted a child it should have.
    pub(crate) fn abandon_child(&mut self, cx: &mut Context<'_>, spi_in: u32) {
        let Some(child) = self.child(spi_in) else { return };
        if child.waits_for().is_some() {
            // It has had all the time there is to take it back.
            self.take_over(cx, spi_in);
        } else if !child.is_in_use() {
            tracing::debug!("child {spi_in:08x} was never deleted by the gateway");
            self.remove_child(cx, spi_in);
        }
    }

    /// Says goodbye; false if nobody is left to say it to.
    pub(crate) fn close(&mut self, cx: &mut Context<'_>) -> bool {
        for timer in [Timer::Sample, Timer::RekeyIke, Timer::TryAgain] {
            cx.timers.stop(timer);
        }
        for child in &mut self.children {
            child.deleting(cx);
        }
        self.close_beside_another(cx);
        self.is_closing()
    }

    /// As [`Self::close`], while timers and flow already are another association's. Its openers stay until the gateway has
    /// said that it sends nothing more.
    pub(crate) fn close_beside_another(&mut self, cx: &mut Context<'_>) {
        self.superseded = true;
        self.wanted.clear();
        for sa in self.sas.iter_mut().filter(|sa| matches!(sa.role, Role::InUse | Role::Offered)) {
            sa.role = Role::Deleting;
        }
        self.go_on_closing(cx);
    }

    /// Whether the farewell still waits for something.
    pub(crate) fn is_closing(&self) -> bool {
        self.sas.iter().any(|sa| sa.role == Role::Deleting)
    }

    /// Deletes every IKE SA as soon as its window is free.
    pub(crate) fn go_on_closing(&mut self, cx: &mut Context<'_>) {
        let free = |sa: &&Sa| sa.role == Role::Deleting && sa.exchange.is_none() && sa.ike.requester.is_idle();
        while let Some(spi) = self.sas.iter().find(free).map(|sa| sa.ike.our_spi()) {
            self.delete_ike(cx, spi);
        }
    }

    /// Sends DELETE on the IKE SA with this SPI.
    pub(crate) fn delete_ike(&mut self, cx: &mut Context<'_>, spi: IkeSpi) {
        if let Some(sa) = self.sa(spi) {
            sa.role = Role::Deleting;
        }
        let payloads = vec![Payload::Delete(Delete::Ike)];
        self.request(cx, spi, ExchangeType::INFORMATIONAL, payloads, Exchange::DeleteIke);
    }

    /// The data plane's openers are no longer needed, and its sealers belong to somebody else.
    pub(crate) fn retire_children(&mut self, cx: &mut Context<'_>) {
        for child in std::mem::take(&mut self.children) {
            child.gone(cx);
        }
    }

    /// The SPI of a child that is to be made: of no other, and of no opener that still waits for stragglers. `None` while
    /// there are so many of these that the peer can only mean harm.
    pub(crate) fn new_spi(&self, cx: &mut Context<'_>) -> Option<u32> {
        let lingering =
            cx.timers.running().filter_map(|timer| if let Timer::RemoveOpener(spi) = timer { Some(spi) } else { None });
        let offered = self.sas.iter().filter_map(|sa| match &sa.exchange {
            Some(Exchange::CreateChild(exchange)) => Some(exchange.spi_in()),
            Some(_) | None => None,
        });
        let taken: BTreeSet<u32> =
            self.children.iter().map(|child| child.spi_in).chain(lingering).chain(offered).collect();
        if taken.len() >= MAX_SPIS {
            return None;
        }
        cx.esp_spi(|spi| taken.contains(&spi))
    }

    /// The flow of a new child.
    pub(crate) const fn flow() -> FlowId {
        FlowId(0)
    }
}

fn sample_interval(cx: &Context<'_>) -> Duration {
    let settings = cx.settings;
    (settings.liveness.min(settings.nat_keepalive) / 4).max(MIN_SAMPLE)
}

/// RFC 3948 §2.3.
const NAT_KEEPALIVE: [u8; 1] = [0xff];
/// However short the intervals, counters are not looked at more often.
const MIN_SAMPLE: Duration = Duration::from_millis(50);
/// Forged hints must not make us ask the gateway more often than this.
const HINT_INTERVAL: Duration = Duration::from_secs(5);
/// For so long the answer to the deletion of an IKE SA can be given again.
const DELETED_LINGER: Duration = Duration::from_secs(30);
/// A request is sent so often to one address of the gateway before others are tried, too (RFC 4555 §3.5).
const TRIES_BEFORE_OTHERS: u32 = 3;
/// Long enough for whatever is going on at the other end.
const TEMPORARY_WAIT: Duration = Duration::from_secs(2);
/// "Several minutes" (RFC 7296 §2.25).
const LONGEST_TEMPORARY_FAILURE: Duration = Duration::from_secs(180);
/// Far fewer than fit into that time.
const MANY_TEMPORARY_FAILURES: u32 = 20;
/// SPIs of ESP in use at once: of children, and of those deleted in the last seconds. A gateway has 4096 for each client.
const MAX_SPIS: usize = 256;
/// So many children may be closed by the peer…
const MAX_CLOSED_CHILDREN: usize = 3;
/// … within this time.
const HABIT: Duration = Duration::from_secs(10);
