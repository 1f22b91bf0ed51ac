//! One peer: its tunnel, its keys, its addresses, and where its packets go.

use std::{
    mem,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use adit_tunnel::{
    Answering, Applicant, Class, Closed, Event as TunnelEvent, FlowId, IpNet, KeyTag, NetworkConfig, Path, PeerId,
    Random, Sealer, Transmit, Tunnel, Verdict,
};
use bytes::Bytes;

use super::{
    BoxFuture, Event, Judgement,
    env::{Env, Out},
    leases::Wish,
    outer::Line,
    ready::{Caller, Who},
    relay::{Means, Relay, stack_config},
};
use crate::{
    error::{Failure, FailureKind, Stage},
    options::after,
    plane::{self, Inner, Plane, Unopened},
    random::OsRandom,
    sink::Sealed,
    tun,
};

/// One peer.
pub(super) struct Peer<T: Tunnel> {
    id: PeerId,
    tunnel: Box<T>,
    plane: Plane<T::Sealer, T::Opener>,
    pub(super) line: Line,
    /// Where packets for it go.
    path: Path,
    pub(super) caller: Arc<Caller>,
    waker: Waker,
    /// Who it is, once it has been let in or asked to be.
    name: Option<String>,
    judging: Option<Judging>,
    /// Its addresses, once it was let in.
    lease: Option<Vec<IpNet>>,
    up: Option<Up>,
    /// The deadline kept for it.
    armed: Option<Instant>,
    /// Until when closing may take.
    closing: Option<Instant>,
    closed: Option<Failure>,
    /// Whether it was told that there will be no tunnel any more.
    told_down: bool,
}

/// Of a tunnel that is up.
struct Up {
    since: Instant,
    addresses: Vec<IpNet>,
    mtu: u16,
    /// Without one, packets go to the device.
    relay: Option<Relay>,
}

/// An application that is not decided yet.
struct Judging {
    name: Option<String>,
    applicant: Asked,
    judgement: BoxFuture<'static, Judgement>,
}

/// What of an application is needed when it is decided.
struct Asked {
    addresses: Vec<std::net::IpAddr>,
    alone: bool,
    again: bool,
}

impl<T: Answering> Peer<T> {
    pub(super) fn new(id: PeerId, tunnel: Box<T>, line: Line, path: Path, env: &Env) -> Self {
        let caller = Caller::new(Who::Peer(id), &env.shared.ready);
        let waker = Waker::from(Arc::clone(&caller));
        Self {
            id,
            tunnel,
            plane: Plane::new(),
            line,
            path,
            caller,
            waker,
            name: None,
            judging: None,
            lease: None,
            up: None,
            armed: None,
            closing: None,
            closed: None,
            told_down: false,
        }
    }

    /// A datagram of this peer, or of somebody who says so.
    pub(super) fn on_datagram(&mut self, now: Instant, env: &mut Env, path: &Path, datagram: &mut [u8]) {
        match self.tunnel.classify(path, datagram) {
            Class::Control => {
                self.tunnel.handle_datagram(now, path, datagram);
                // At once: the next datagram of the batch may need the key this one brought.
                self.drain(now, env);
            }
            Class::Data(tag) => self.on_data(now, env, path, tag, datagram),
            Class::Ignore => env.stats.dropped_foreign += 1,
        }
        self.caller.call();
    }

    fn on_data(&mut self, now: Instant, env: &mut Env, path: &Path, tag: KeyTag, datagram: &mut [u8]) {
        let opened = match self.plane.open(tag, datagram) {
            Ok(opened) => opened,
            Err(Unopened::UnknownKey) => {
                env.stats.dropped_unknown_key += 1;
                return;
            }
            Err(Unopened::Refused) => {
                env.stats.dropped_refused += 1;
                return;
            }
        };
        // Before what is answered at once.
        let moved = opened.newest && matches!(self.line, Line::Udp(_)) && *path != self.path;
        if moved {
            self.tunnel.handle_peer_path(now, path);
        }
        let mut drain = moved;
        match opened.content {
            Inner::Packet(packet) => {
                env.stats.opened_packets += 1;
                match &mut self.up {
                    // Whoever has proved to be one peer must not speak as another.
                    Some(up) if up.owns(packet) => up.on_packet(now, env, packet),
                    _ => env.stats.dropped_spoofed += 1,
                }
            }
            Inner::Message(message) => {
                self.tunnel.handle_message(now, message);
                drain = true;
            }
            Inner::Filler => {}
        }
        if drain {
            self.drain(now, env);
        }
    }

    /// What must follow every input of the tunnel.
    pub(super) fn drain(&mut self, now: Instant, env: &mut Env) {
        while let Some(event) = self.tunnel.poll_event() {
            match event {
                TunnelEvent::Up(network) => self.on_up(now, env, network),
                TunnelEvent::Keys(change) => self.plane.apply(change),
                TunnelEvent::Inject { flow, packet } => self.inject(env, flow, &packet),
                TunnelEvent::Path(path) => self.on_path(env, path),
                TunnelEvent::Closed(closed) => self.on_closed(closed),
                // Nobody sits at this end.
                TunnelEvent::Prompt(_) => {}
            }
        }
        while let Some(applicant) = self.tunnel.poll_applicant() {
            self.on_applicant(env, applicant);
        }
        if let Some(closed) = self.tunnel.poll_refusal() {
            // Its tunnel may go on for a while, to say so again.
            self.tell_down(env, Failure::from_closed(closed).in_stage(Stage::Connecting));
        }
        while let Some(transmit) = self.tunnel.poll_transmit() {
            env.stats.on_sent(transmit.datagram.len());
            env.outer.control(self.line, transmit);
        }
    }

    fn on_up(&mut self, now: Instant, env: &mut Env, network: NetworkConfig) {
        // Whatever the tunnel says: nobody has an address that was not leased to it.
        let lease = self.lease.as_deref().unwrap_or_default();
        let leased = |net: &&IpNet| lease.iter().any(|own| own.address() == net.address());
        let addresses: Vec<IpNet> = network.addresses.iter().filter(leased).copied().collect();
        let own = env.options.pool.own_addresses().collect();
        let config = stack_config(&env.options.limits, &env.memory, own, &network, &addresses);
        let old = self.up.as_ref().map(|up| up.addresses.as_slice()).unwrap_or_default();
        env.owners.change(self.id, old, &addresses);
        if let Some(up) = &mut self.up {
            (up.addresses, up.mtu) = (addresses, network.mtu);
            if let Some(relay) = &mut up.relay {
                relay.reconfigure(now, config, network.mtu);
            }
            return;
        }
        let relay = match &env.out {
            Out::Sockets(_) => Some(Relay::new(config, network.mtu, OsRandom.next_u64())),
            Out::Tun(_) => None,
        };
        self.up = Some(Up { since: now, addresses, mtu: network.mtu, relay });
        env.stats.times_up += 1;
        env.stats.peers_up += 1;
        let peer = self.describe();
        tracing::debug!(
            peer = peer.identity.as_deref().unwrap_or("unknown"), remote = %self.path.remote, addresses = ?peer.addresses, "up"
        );
        env.shared.publish(Event::Up(peer));
    }

    fn on_path(&mut self, env: &mut Env, path: Path) {
        if let Line::Udp(index) = &mut self.line {
            *index = env.outer.socket_of(path.local).unwrap_or(*index);
        }
        let moved = self.path.remote != path.remote;
        self.path = path;
        if let Some(lease) = self.lease.as_deref().filter(|_| moved) {
            env.leases.moved(lease, path.remote);
        }
        if moved && self.up.is_some() {
            tracing::debug!(peer = ?self.id, "sending to {} from now on", path.remote);
            env.shared.publish(Event::Moved(self.describe()));
        }
    }

    fn on_closed(&mut self, closed: Closed) {
        let stage = if self.up.is_some() { Stage::Up } else { Stage::Connecting };
        self.closed.get_or_insert_with(|| Failure::from_closed(closed).in_stage(stage));
    }

    /// Seals what is not a packet, and sends it before any packet that waits.
    fn inject(&mut self, env: &mut Env, flow: FlowId, packet: &[u8]) {
        let datagram = self.plane.sealers.of_flow(flow).and_then(|sealer| {
            let start = sealer.header_len();
            let mut buffer = vec![0; sealer.sealed_len(packet.len())];
            buffer.get_mut(start..start + packet.len())?.copy_from_slice(packet);
            let range = sealer.seal(&mut buffer, start..start + packet.len()).ok()?;
            Some(Bytes::from(buffer).slice(range))
        });
        match datagram {
            Some(datagram) => {
                env.stats.sealed_packets += 1;
                env.stats.sealed_bytes += datagram.len() as u64;
                env.stats.on_sent(datagram.len());
                env.outer.control(self.line, Transmit { path: self.path, datagram });
            }
            None => env.stats.dropped_unsealed += 1,
        }
    }

    fn on_applicant(&mut self, env: &Env, applicant: Applicant) {
        // What was proved, not what was typed: whoever has a certificate cannot take another's name by a login.
        let login = applicant.login.as_ref().map(|login| login.user.clone());
        let name = applicant.identity.clone().or(login);
        let asked = Asked { addresses: applicant.addresses.clone(), alone: applicant.alone, again: applicant.again };
        let authenticator = Arc::clone(&env.options.authenticator);
        let judgement = Box::pin(async move { authenticator.judge(applicant).await });
        self.judging = Some(Judging { name, applicant: asked, judgement });
        self.caller.call();
    }

    fn poll_judgement(&mut self, now: Instant, env: &mut Env) {
        // Who has gone must not take an address, nor the place of an older tunnel.
        if self.closed.is_some() || self.closing.is_some() {
            self.judging = None;
        }
        let Some(judging) = &mut self.judging else { return };
        let Poll::Ready(judgement) = judging.judgement.as_mut().poll(&mut Context::from_waker(&self.waker)) else {
            return;
        };
        let Some(Judging { name, applicant, .. }) = self.judging.take() else { return };
        let verdict = self.verdict(env, name, &applicant, judgement);
        if !matches!(verdict, Verdict::Admitted(_)) {
            env.stats.refused += 1;
            tracing::info!(peer = self.name.as_deref().unwrap_or("unknown"), remote = %self.path.remote, "not let in: {}", reason(&verdict));
        }
        self.tunnel.handle_verdict(now, verdict);
        self.drain(now, env);
    }

    fn verdict(&mut self, env: &mut Env, name: Option<String>, asked: &Asked, judgement: Judgement) -> Verdict {
        // Who has an address must not become another.
        let changed = self.lease.is_some() && self.name != name;
        self.name = self.name.take().filter(|_| self.lease.is_some()).or(name);
        let fixed = match judgement {
            Judgement::Admit { .. } if changed => return Verdict::Refused,
            Judgement::Admit { addresses } => addresses,
            Judgement::Refuse => return Verdict::Refused,
            Judgement::Later(time) => return Verdict::Later(time),
        };
        if let Some(lease) = &self.lease {
            return Verdict::Admitted(Box::new(env.network(lease.clone())));
        }
        if asked.again {
            return Verdict::Refused;
        }
        let wish = Wish {
            identity: self.name.as_deref(),
            asked: &asked.addresses,
            fixed: &fixed,
            // Two tunnels cannot both be reached at an address they must have.
            inherits: asked.alone || env.options.single || !fixed.is_empty(),
            remote: self.path.remote,
        };
        match env.admit(wish, self.id) {
            Ok(network) => {
                self.lease = Some(network.addresses.clone());
                Verdict::Admitted(Box::new(network))
            }
            Err(_) => Verdict::NoAddress,
        }
    }

    /// Does what there is to do, for a bounded time.
    pub(super) fn work(&mut self, cx: &mut Context<'_>, now: Instant, env: &mut Env) {
        if self.armed.is_some_and(|armed| armed <= now) {
            self.disarm(env);
        }
        if self.tunnel.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.tunnel.handle_timeout(now);
            self.drain(now, env);
        }
        self.poll_judgement(now, env);
        let (more, stack_deadline) = self.transmit(cx, now, env);
        if more {
            self.caller.call();
        }
        if self.closing.is_some_and(|until| until <= now) {
            self.closed.get_or_insert_with(|| {
                Failure::new(FailureKind::Closed, "closed without a complete farewell").in_stage(Stage::Up)
            });
        }
        let deadlines = [self.tunnel.poll_timeout(), stack_deadline, self.closing];
        self.arm(env, deadlines.into_iter().flatten().min());
    }

    /// Fetches packets of its stack, seals and sends them, one batch. Whether there may be more, and when the stack's next
    /// deadline is.
    fn transmit(&mut self, cx: &mut Context<'_>, now: Instant, env: &mut Env) -> (bool, Option<Instant>) {
        let Self { up: Some(Up { relay: Some(relay), mtu, .. }), plane, line, path, caller, waker, .. } = self else {
            return (false, None);
        };
        let Out::Sockets(exit) = &env.out else { return (false, None) };
        let sealers = &mut plane.sealers;
        let batch = if sealers.is_empty() {
            None
        } else {
            env.outer.batch(cx, *line, path, sealers.room((*mtu).into()), caller)
        };
        let means = Means { exit, counts: &env.counts, limits: &env.options.limits, pool: &env.options.pool };
        let mut sealed = Sealed::default();
        let (full, deadline) = relay.work(now, waker, &means, batch.map(|batch| (sealers, batch)), &mut sealed);
        env.stats.add(sealed);
        if sealed.packets > 0 {
            env.outer.flush(cx, *line);
        }
        (full, deadline)
    }

    /// Resets its inner connections, and says goodbye.
    pub(super) fn close(&mut self, cx: &mut Context<'_>, now: Instant, env: &mut Env) {
        if self.closing.is_some() || self.closed.is_some() {
            return;
        }
        self.closing = Some(after(now, env.options.limits.close_timeout));
        // Nobody waits for the decision any more.
        self.judging = None;
        if let Some(relay) = self.up.as_mut().and_then(|up| up.relay.as_mut()) {
            relay.reset();
        }
        while self.transmit(cx, now, env).0 {}
        self.tunnel.close(now);
        self.drain(now, env);
        self.caller.call();
    }

    /// Its stream has ended, without a farewell.
    pub(super) fn on_stream_ended(&mut self, failure: Failure) {
        let stage = if self.up.is_some() { Stage::Up } else { Stage::Connecting };
        self.closed.get_or_insert_with(|| failure.in_stage(stage));
        self.caller.call();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.closed.is_some()
    }

    /// Nothing of it remains.
    pub(super) fn leave(mut self, now: Instant, env: &mut Env) {
        self.disarm(env);
        let failure = self.closed.take().unwrap_or_else(|| Failure::new(FailureKind::Closed, "closed"));
        if let Some(up) = &self.up {
            env.stats.peers_up -= 1;
            env.owners.change(self.id, &up.addresses, &[]);
            if let Some(relay) = &up.relay {
                relay.end(&failure);
            }
        }
        if let Some(lease) = &self.lease {
            env.dismiss(self.name.as_deref(), lease, self.id);
        }
        if let Line::Stream(stream) = self.line {
            env.outer.end_stream(now, stream);
        }
        let name = self.name.as_deref().unwrap_or("unknown");
        tracing::debug!(peer = name, remote = %self.path.remote, "gone: {failure}");
        self.tell_down(env, failure);
    }

    fn tell_down(&mut self, env: &Env, failure: Failure) {
        if !mem::replace(&mut self.told_down, true) {
            env.shared.publish(Event::Down(self.describe(), failure));
        }
    }

    /// Seals the packets that came in by the device, until there are no more of them or its socket takes no more. How many it has
    /// dealt with; what is left waits, unless it is for a stream, whose peer alone is slow.
    pub(super) fn send_train(&mut self, cx: &mut Context<'_>, env: &mut Env, device: &mut tun::Reader) -> u64 {
        // The first packet speaks for all.
        let Some(sealer) = self.plane.sealers.of_packet(device.bytes()) else {
            let dropped = device.discard();
            env.stats.dropped_unsealed += dropped;
            return dropped;
        };
        let header_len = sealer.header_len();
        let mut sealed = Sealed::default();
        while let Some(len) = device.next_len() {
            let room = sealer.sealed_len(len);
            let Some(batch) = env.outer.batch(cx, self.line, &self.path, room, &self.caller) else { break };
            let write = &mut |space: &mut [u8]| device.write(space);
            sealed.note(batch.seal(header_len, len, room, write, |buffer, range| sealer.seal(buffer, range)));
        }
        let mut handled = sealed.packets + sealed.dropped;
        env.stats.add(sealed);
        if let Line::Stream(_) = self.line {
            let dropped = device.discard();
            env.stats.dropped_unsealed += dropped;
            handled += dropped;
        }
        env.outer.remind(self.line);
        handled
    }

    fn describe(&self) -> super::Peer {
        super::Peer {
            id: self.id,
            identity: self.name.clone(),
            addresses: self.up.as_ref().map(|up| up.addresses.clone()).unwrap_or_default(),
            transport: self.path.transport,
            remote: self.remote(),
            since: self.up.as_ref().map(|up| up.since),
        }
    }

    fn remote(&self) -> SocketAddr {
        self.path.remote
    }

    /// An earlier deadline stays: it is cheaper to wake once in vain than to move it with every packet.
    fn arm(&mut self, env: &mut Env, at: Option<Instant>) {
        let Some(at) = at else { return };
        if self.armed.is_none_or(|armed| armed > at) {
            self.disarm(env);
            env.deadlines.insert((at, self.id));
            self.armed = Some(at);
        }
    }

    pub(super) fn disarm(&mut self, env: &mut Env) {
        if let Some(armed) = self.armed.take() {
            env.deadlines.remove(&(armed, self.id));
        }
    }
}

impl Up {
    /// Whether the packet comes from the peer's own address.
    fn owns(&self, packet: &[u8]) -> bool {
        plane::source(packet).is_some_and(|source| self.addresses.iter().any(|net| net.address() == source))
    }

    fn on_packet(&mut self, now: Instant, env: &mut Env, packet: &[u8]) {
        match (&mut self.relay, &mut env.out) {
            (Some(relay), _) => relay.handle_packet(now, packet),
            (None, Out::Tun(device)) => device.deliver(packet),
            (None, Out::Sockets(_)) => {}
        }
    }
}

fn reason(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Admitted(_) => "welcome",
        Verdict::Refused => "refused",
        Verdict::NoAddress => "no address is left",
        Verdict::Later(_) => "not now",
    }
}
