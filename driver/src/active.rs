//! The loop of one tunnel: sockets, state machine, keys and stack, driven by one task.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use adit_tunnel::{Class, CloseKind, Closed, Event, FlowId, NetworkConfig, Path, Retry, Sealer, Tunnel};

use tokio::sync::Semaphore;

use crate::{
    client::ClientEvent,
    error::StreamEnded,
    handshakes::Handshakes,
    inside::{Held, Inner},
    options::{Prompter, after},
    outer::{self, Receiver, Sender},
    plane::{self, Plane, Unopened},
    prompts::{Prompts, is_challenge},
    roaming::{Roaming, SourceAddress},
    shared::{Shared, State},
    sink::{Sealed, SealingSink},
    timer::Timer,
    tun::Port,
};

/// What every tunnel of a client needs.
#[derive(Clone)]
pub(crate) struct Env {
    pub(crate) shared: Arc<Shared>,
    pub(crate) prompter: Arc<dyn Prompter>,
    /// Asked for our address towards a gateway.
    pub(crate) source: SourceAddress,
    pub(crate) handshakes: Handshakes,
    /// The end has come once every remote in turn is not who it should be; otherwise they are tried for ever.
    pub(crate) shuns_strangers: bool,
}

impl Env {
    pub(crate) fn new(shared: Arc<Shared>, prompter: Arc<dyn Prompter>) -> Self {
        let mark = shared.options.mark;
        let source: SourceAddress = Arc::new(move |remote| outer::source_address(remote, mark));
        Self { shared, prompter, source, handshakes: Handshakes::default(), shuns_strangers: false }
    }

    /// With a cap on simultaneous handshakes.
    pub(crate) fn with_handshakes(mut self, cap: Option<Arc<Semaphore>>) -> Self {
        self.handshakes = Handshakes::new(cap);
        self
    }

    /// What notices a change of our address.
    pub(crate) fn roaming(&self, path: &Path, now: Instant) -> Option<Roaming> {
        let interval = self.shared.options.address_check?;
        Some(Roaming::new(Arc::clone(&self.source), interval, path.local.map(|local| local.ip()), now))
    }
}

/// One tunnel with its socket.
pub(crate) struct Active<T: Tunnel> {
    /// The address it was started for.
    address: SocketAddr,
    receiver: Receiver,
    core: Core<T>,
    timer: Timer,
}

/// Everything but the receiving half, so that datagrams can be handled where they lie.
struct Core<T: Tunnel> {
    tunnel: T,
    plane: Plane<T::Sealer, T::Opener>,
    sender: Sender,
    path: Path,
    /// Whether the packets of the device are sealed before those of the stack, this time.
    device_first: bool,
    roaming: Option<Roaming>,
    network: Option<Arc<NetworkConfig>>,
    /// When its first datagram was made.
    since: Instant,
    up_since: Option<Instant>,
    started: bool,
    /// The gateway said something that matters, or wants a person to be asked: no other address needs to be tried.
    answered: bool,
    prompts: Prompts,
    stream_error: Option<io::Error>,
    closed: Option<Closed>,
    /// Until when closing may take.
    closing: Option<Instant>,
    /// While connections are reset, before the farewell.
    resets: Option<Resets>,
    /// Why nothing can be written any more, and until when what was sent before that is read.
    broken: Option<(io::Error, Instant)>,
}

/// When connections are reset at the end.
struct Resets {
    /// The next of them.
    next: Instant,
    /// All of them by then.
    until: Instant,
}

/// What one turn of the loop came to.
enum Turn {
    /// There may be more to do at once.
    Again,
    /// Nothing to do until then, or until something wakes us.
    Idle(Option<Instant>),
    /// In a race: this one has won.
    Answered,
    Ended(Closed),
}

/// Turns of the loop before other tasks have theirs. Each handles a batch of datagrams in each direction, and the tunnel's own
/// timers.
const MAX_TURNS: usize = 8;
/// After so many received datagrams it is time to send: about as many segments as the kernel takes as one.
pub(crate) const DATAGRAMS_A_TURN: usize = 64;
/// And after so many system calls, whatever they bring.
pub(crate) const RECEIVES_A_TURN: usize = 8;
/// How often the stack's timers are looked at while its packets cannot leave.
pub(crate) const STALLED_TICK: Duration = Duration::from_millis(500);
/// How long last datagrams may wait for a blocked socket.
const LAST_FLUSH: Duration = Duration::from_secs(1);
/// How long a stream that takes nothing any more is still read: its last words may say why.
const LAST_READ: Duration = Duration::from_secs(1);
/// At least so many connections are reset at a time. A reset is not repeated, and gateways drop from bursts of hundreds.
const RESETS_AT_ONCE: usize = 32;
/// The time between them.
const RESET_INTERVAL: Duration = Duration::from_millis(5);

/// The clock of the driver: tokio's, so that tests may stop it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<T: Tunnel> Active<T> {
    pub(crate) fn new(tunnel: T, path: Path, receiver: Receiver, sender: Sender, roaming: Option<Roaming>) -> Self {
        let core = Core {
            tunnel,
            plane: Plane::new(),
            sender,
            path,
            device_first: false,
            roaming,
            network: None,
            since: now(),
            up_since: None,
            started: false,
            answered: false,
            prompts: Prompts::default(),
            stream_error: None,
            closed: None,
            closing: None,
            resets: None,
            broken: None,
        };
        Self { address: path.remote, receiver, core, timer: Timer::new() }
    }

    /// The address the tunnel was started for: of those there are to try, whatever it has moved to since.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Why nothing can be sent, if so.
    pub(crate) fn trouble(&self) -> Option<&io::Error> {
        self.core.sender.trouble()
    }

    /// How many datagrams in a row could not be sent because this machine knows no way to the gateway.
    pub(crate) fn unroutable(&self) -> u32 {
        self.core.sender.unroutable()
    }

    /// What an ICMP error said about the gateway, if there was one: no more than a hint.
    pub(crate) fn icmp_error(&self) -> Option<&io::Error> {
        self.core.sender.icmp_error()
    }

    /// How many ICMP errors have said that nothing listens at the gateway's address and port.
    pub(crate) fn refusals(&mut self) -> u32 {
        self.core.sender.refusals()
    }

    /// Since when the tunnel is up.
    pub(crate) fn up_since(&self) -> Option<Instant> {
        self.core.up_since
    }

    pub(crate) fn tunnel(&self) -> &T {
        &self.core.tunnel
    }

    pub(crate) fn into_tunnel(self) -> T {
        self.core.tunnel
    }

    /// Runs the tunnel until the gateway has said anything that matters, or a person is to be asked: `None`; or until it has ended
    /// without either.
    pub(crate) async fn answered(&mut self, env: &Env) -> Option<Closed> {
        std::future::poll_fn(|cx| self.poll_answered(cx, env)).await
    }

    /// Runs the tunnel until it ends.
    pub(crate) async fn run(&mut self, env: &Env) -> Closed {
        loop {
            if let Some(closed) = std::future::poll_fn(|cx| self.poll(cx, env, false)).await {
                return closed;
            }
        }
    }

    /// In a race with others: ready with `None` as soon as the gateway has said anything that matters, be it a refusal, or a
    /// person is to be asked, which is not done yet. Ready with `Some` when the tunnel has ended without either.
    pub(crate) fn poll_answered(&mut self, cx: &mut Context<'_>, env: &Env) -> Poll<Option<Closed>> {
        self.poll(cx, env, true)
    }

    /// Does what there is to do, for a bounded time.
    fn poll(&mut self, cx: &mut Context<'_>, env: &Env, racing: bool) -> Poll<Option<Closed>> {
        for _ in 0..MAX_TURNS {
            match self.turn(cx, env, racing) {
                Turn::Again => {}
                Turn::Idle(deadline) => {
                    if self.timer.poll(cx, deadline).is_pending() {
                        return Poll::Pending;
                    }
                }
                Turn::Answered => return Poll::Ready(None),
                Turn::Ended(closed) => return Poll::Ready(Some(closed)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn turn(&mut self, cx: &mut Context<'_>, env: &Env, racing: bool) -> Turn {
        if racing && self.core.answered {
            return Turn::Answered;
        }
        let now = now();
        self.core.expire(cx, now, env);
        let received = self.receive(cx, now, env);
        if racing && self.core.answered {
            return Turn::Answered;
        }
        // Both are asked: the system tells whichever call comes first.
        if self.receiver.take_icmp_hint() | self.core.sender.take_icmp_hint() {
            self.core.on_unreachable(now, env);
        }
        self.core.answer_prompts(cx, now, env);
        if let Some(closed) = self.core.ended(cx, now) {
            return Turn::Ended(closed);
        }
        let (more, stack_deadline) = self.core.transmit(cx, now, env);
        if received || more || self.core.sender.has_icmp_hint() {
            return Turn::Again;
        }
        let core = &self.core;
        let next_resets = core.resets.as_ref().map(|resets| resets.next);
        let last_read = core.broken.as_ref().map(|(_, until)| *until);
        let next_look = core.roaming.as_ref().map(|roaming| roaming.deadline(core.sender.trouble().is_some()));
        let deadlines = [core.tunnel.poll_timeout(), stack_deadline, core.closing, next_resets, last_read, next_look];
        Turn::Idle(deadlines.into_iter().flatten().min())
    }

    /// A batch of datagrams, of as many system calls as it takes where the system hands over few at a time. Whether there were any.
    fn receive(&mut self, cx: &mut Context<'_>, now: Instant, env: &Env) -> bool {
        let inside = env.shared.inside();
        let mut held = Held::new(&inside);
        let core = &mut self.core;
        let (mut any, mut datagrams) = (false, 0);
        for _ in 0..RECEIVES_A_TURN {
            if datagrams >= DATAGRAMS_A_TURN || core.stream_error.is_some() || core.closed.is_some() {
                break;
            }
            let filled = match self.receiver.poll_fill(cx) {
                Poll::Pending => break,
                Poll::Ready(filled) => filled,
            };
            any = true;
            let handled = filled.and_then(|()| {
                self.receiver.for_each(|source, datagram| {
                    datagrams += 1;
                    core.on_datagram(now, &mut held, env, source, datagram);
                })
            });
            core.stream_error = handled.err();
        }
        if any && let Inner { device: Some(device), stats, .. } = held.inner() {
            device.flush();
            stats.dropped_device += device.take_dropped();
        }
        any
    }
}

impl<T: Tunnel> Core<T> {
    fn on_datagram(&mut self, now: Instant, held: &mut Held<'_>, env: &Env, source: SocketAddr, datagram: &mut [u8]) {
        let inner = held.inner();
        inner.stats.received_datagrams += 1;
        inner.stats.received_bytes += datagram.len() as u64;
        let path = Path { remote: source, ..self.path };
        match self.tunnel.classify(&path, datagram) {
            Class::Control => {
                // Handshakes take milliseconds of arithmetic: nobody is to wait for that.
                held.release();
                self.tunnel.handle_datagram(now, &path, datagram);
                // At once: the next datagram of the batch may need the key this one brought.
                self.answered |= self.drain(now, held.inner(), env) > 0;
            }
            Class::Data(tag) => {
                let opened = match self.plane.open(tag, datagram) {
                    Ok(opened) => opened,
                    Err(Unopened::UnknownKey) => {
                        inner.stats.dropped_unknown_key += 1;
                        return;
                    }
                    Err(Unopened::Refused) => {
                        inner.stats.dropped_refused += 1;
                        return;
                    }
                };
                let mut message = false;
                match opened.content {
                    plane::Inner::Packet(packet) => {
                        inner.stats.opened_packets += 1;
                        if let Some(capture) = &env.shared.options.capture {
                            capture.packet(packet);
                        }
                        inner.handle_packet(now, packet);
                    }
                    plane::Inner::Message(bytes) => {
                        self.tunnel.handle_message(now, bytes);
                        message = true;
                    }
                    plane::Inner::Filler => {}
                }
                let moved = opened.newest && source != self.path.remote;
                if moved {
                    self.tunnel.handle_peer_path(now, &path);
                }
                if moved || message {
                    self.drain(now, inner, env);
                }
            }
            Class::Ignore => inner.stats.dropped_foreign += 1,
        }
    }

    /// What must follow every input of the tunnel. Returns how many events and datagrams it led to.
    fn drain(&mut self, now: Instant, inner: &mut Inner, env: &Env) -> usize {
        let mut count = 0;
        while let Some(event) = self.tunnel.poll_event() {
            count += 1;
            match event {
                Event::Up(network) => self.on_up(now, inner, env, network),
                Event::Keys(change) => {
                    self.plane.apply(change);
                    if !self.plane.sealers.is_empty() && inner.owner == env.shared.id() {
                        inner.reach = self.plane.sealers.reach();
                    }
                }
                Event::Inject { flow, packet } => self.inject(inner, flow, &packet),
                Event::Prompt(prompt) => {
                    self.answered |= is_challenge(&prompt);
                    self.prompts.raise(prompt);
                }
                Event::Path(path) => {
                    self.on_path(path, env);
                }
                Event::Closed(closed) => self.closed = Some(closed),
            }
        }
        while let Some(transmit) = self.tunnel.poll_transmit() {
            inner.stats.sent(transmit.datagram.len());
            self.sender.control(transmit);
            count += 1;
        }
        // Rekeyings that fail change no keys: whatever the tunnel does may be one. That is rare.
        if count > 0 && self.up_since.is_some() {
            env.shared.note_details(self.tunnel.details());
        }
        count
    }

    fn on_up(&mut self, now: Instant, inner: &mut Inner, env: &Env, network: NetworkConfig) {
        let network = Arc::new(network);
        if inner.owner == env.shared.id() {
            inner.stack.reconfigure(now, env.shared.options.stack(&network));
            if let Some(device) = &mut inner.device {
                device.set_tcp_mtu(network.tcp_mtu);
            }
        }
        let addresses: Vec<String> = network.addresses.iter().map(ToString::to_string).collect();
        let address = addresses.join(",");
        if self.up_since.is_none() {
            self.up_since = Some(now);
            inner.stats.times_up += 1;
            env.handshakes.release();
            let mut live = env.shared.live();
            live.handshake = Some(now.saturating_duration_since(self.since));
            live.remote = Some(self.path.remote);
            live.outer = self.sender.socket();
            drop(live);
            tracing::info!(gateway = %self.path.remote, address, mtu = network.mtu, "tunnel up");
        } else if self.network.as_ref() != Some(&network) {
            tracing::info!(address, mtu = network.mtu, "the network behind the gateway changed");
        }
        self.network = Some(Arc::clone(&network));
        env.shared.state.send_replace(State::Up(Arc::clone(&network)));
        env.shared.publish(ClientEvent::Up(network));
    }

    fn on_path(&mut self, path: Path, env: &Env) {
        let (old, new) = (self.path.remote, path.remote);
        // Perhaps only to try it: nothing has to have come from there yet.
        if old.ip() != new.ip() {
            tracing::info!("sending to {new} from now on");
        } else if old != new {
            tracing::debug!("sending to {new} from now on");
        }
        self.path = path;
        if self.up_since.is_some() {
            env.shared.live().remote = Some(path.remote);
        }
    }

    /// Tells the tunnel when the system would now send from another address.
    fn look_around(&mut self, now: Instant, env: &Env) {
        let troubled = self.sender.trouble().is_some();
        let Some(roaming) = &mut self.roaming else { return };
        let Some(address) = roaming.look(now, troubled, self.path.remote) else { return };
        let Some(local) = self.path.local.map(|local| SocketAddr::new(address, local.port())) else { return };
        tracing::info!("our address towards the gateway is now {address}");
        self.path.local = Some(local);
        self.tunnel.handle_path(now, &self.path);
        self.drain(now, &mut env.shared.inside().lock(), env);
    }

    /// The network says that the gateway is not there. That may be forged: the tunnel may ask, and goes on.
    fn on_unreachable(&mut self, now: Instant, env: &Env) {
        if self.up_since.is_some() && self.closed.is_none() && self.closing.is_none() {
            self.tunnel.handle_unreachable(now);
            self.drain(now, &mut env.shared.inside().lock(), env);
        }
    }

    fn inject(&mut self, inner: &mut Inner, flow: FlowId, packet: &[u8]) {
        let Some(sealer) = self.plane.sealers.of_flow(flow) else {
            inner.stats.dropped_unsealed += 1;
            return;
        };
        let (header_len, room) = (sealer.header_len(), sealer.sealed_len(packet.len()));
        let write = &mut |space: &mut [u8]| space.copy_from_slice(packet);
        let batch = self.sender.batch();
        match batch.seal(header_len, packet.len(), room, write, |buffer, range| sealer.seal(buffer, range)) {
            Ok(bytes) => inner.stats.sent(bytes),
            Err(_) => inner.stats.dropped_unsealed += 1,
        }
    }

    fn answer_prompts(&mut self, cx: &mut Context<'_>, now: Instant, env: &Env) {
        if self.closed.is_some() {
            self.prompts.withdraw();
        }
        if self.prompts.is_asking() {
            // People take their time.
            env.handshakes.release();
        }
        while let Some(answer) = self.prompts.poll(cx, env) {
            self.tunnel.handle_answer(now, answer);
            self.drain(now, &mut env.shared.inside().lock(), env);
        }
    }

    /// Deadlines and the wish to close, judged by the clock.
    fn expire(&mut self, cx: &mut Context<'_>, now: Instant, env: &Env) {
        if self.closing.is_none() && *env.shared.close.borrow() {
            self.begin_close(now, env);
        }
        self.go_on_closing(cx, now, env);
        if let Some(why) = env.shared.take_lost() {
            self.lose(now, env, &why);
        }
        self.look_around(now, env);
        let due = self.tunnel.poll_timeout().is_some_and(|deadline| deadline <= now);
        if due {
            self.tunnel.handle_timeout(now);
        }
        // A new tunnel has its first datagram ready.
        if due || !std::mem::replace(&mut self.started, true) {
            self.drain(now, &mut env.shared.inside().lock(), env);
        }
    }

    /// Gives up a tunnel that does not carry, whatever the gateway says: a farewell, in case it hears it.
    fn lose(&mut self, now: Instant, env: &Env, why: &str) {
        if self.closed.is_some() || self.closing.is_some() {
            return;
        }
        self.tunnel.close(now);
        self.drain(now, &mut env.shared.inside().lock(), env);
        self.closed =
            Some(Closed { kind: CloseKind::TimedOut, source: why.into(), retry: Retry::After(Duration::ZERO) });
    }

    /// First every connection inside is reset, so that no host behind the tunnel keeps one half open; then the tunnel says
    /// goodbye. That has half of the time for itself.
    fn begin_close(&mut self, now: Instant, env: &Env) {
        let timeout = env.shared.options.close_timeout;
        self.closing = Some(after(now, timeout));
        self.resets = Some(Resets { next: now, until: after(now, timeout / 2) });
    }

    /// Resets some connections, or says goodbye after the last.
    fn go_on_closing(&mut self, cx: &mut Context<'_>, now: Instant, env: &Env) {
        let Some(resets) = self.resets.as_mut().filter(|resets| resets.next <= now) else { return };
        resets.next = now + RESET_INTERVAL;
        let left = resets.until.saturating_duration_since(now);
        let audible = self.broken.is_none() && self.stream_error.is_none() && !self.plane.sealers.is_empty();
        // What cannot leave yet would pile up, and be dropped.
        if audible && !left.is_zero() && self.flush(cx, now) {
            return;
        }
        let more = {
            let inside = env.shared.inside();
            let mut inner = inside.lock();
            let open: Vec<_> =
                inner.connections.iter().filter(|(_, c)| c.closed.is_none()).map(|(id, _)| *id).collect();
            let count = if audible { resets_at_once(open.len(), left) } else { open.len() };
            open.iter().take(count).for_each(|id| inner.stack.abort(*id));
            open.len() > count
        };
        while self.transmit(cx, now, env).0 {}
        if !more {
            self.resets = None;
            self.tunnel.close(now);
            self.drain(now, &mut env.shared.inside().lock(), env);
        }
    }

    /// Whether the tunnel has ended and its last datagrams are sent.
    fn ended(&mut self, cx: &mut Context<'_>, now: Instant) -> Option<Closed> {
        let overdue = self.closing.is_some_and(|deadline| deadline <= now);
        if let Some((error, _)) = self.broken.take_if(|(_, until)| self.stream_error.is_some() || *until <= now) {
            // Why writing failed tells more than that reading came to an end.
            if self.stream_error.as_ref().is_none_or(|read| read.kind() == io::ErrorKind::UnexpectedEof) {
                self.stream_error = Some(error);
            }
        }
        if self.closed.is_none() && self.stream_error.is_none() && !overdue {
            return None;
        }
        // A gateway may ask, and close the stream: the answer goes with the next attempt. How long a question stays open is
        // for the tunnel to say.
        if self.closed.is_none() && !overdue && self.closing.is_none() && self.prompts.is_asking() {
            return None;
        }
        if let Some(error) = self.stream_error.take() {
            self.closed.get_or_insert_with(|| stream_ended(error, self.up_since.is_some(), self.closing.is_some()));
        } else if !overdue && self.broken.is_none() && self.sender.poll_flush(cx, &self.path).is_pending() {
            self.closing.get_or_insert(now + LAST_FLUSH);
            return None;
        }
        Some(self.closed.take().unwrap_or_else(|| Closed {
            kind: CloseKind::Local,
            source: "closed without a complete farewell".into(),
            retry: Retry::Never,
        }))
    }

    /// Fetches packets from the stack, seals and sends them, one batch. Whether there may be more, and when the stack's next
    /// deadline is.
    fn transmit(&mut self, cx: &mut Context<'_>, now: Instant, env: &Env) -> (bool, Option<Instant>) {
        let blocked = self.flush(cx, now);
        if let Some(socket) = self.sender.changed_socket()
            && self.up_since.is_some()
        {
            env.shared.live().outer = Some(socket);
        }
        let inside = env.shared.inside();
        let mut inner = inside.lock();
        if !inner.set_owned_driver(env.shared.id(), cx.waker()) {
            // It went to another tunnel at this very moment: ours is looked at in the next turn.
            return (true, None);
        }
        if std::mem::take(&mut inner.moved)
            && let Some(network) = &self.network
        {
            inner.stack.reconfigure(now, env.shared.options.stack(network));
            if let Some(device) = &mut inner.device {
                device.set_tcp_mtu(network.tcp_mtu);
            }
        }
        if inner.stack.poll_timeout().is_some_and(|deadline| deadline <= now) {
            inner.stack.handle_timeout(now);
        }
        let stalled = blocked || self.plane.sealers.is_empty();
        let full = !stalled && self.fill(cx, now, &mut inner, env);
        let deadline = inner.stack.poll_timeout();
        let wakers = inner.take_events();
        let arrivals = std::mem::take(&mut inner.arrivals);
        // Whoever asked to close before the waker was there could not wake us: the next turn sees to it.
        let close = self.closing.is_none() && *env.shared.close.borrow();
        drop(inner);
        wakers.wake();
        env.shared.take_in(&inside, arrivals);
        if close {
            return (true, deadline);
        }
        if stalled || self.flush(cx, now) {
            // Deadlines that ask for packets to be fetched cannot be met now, and must not be asked for in a circle.
            return (false, deadline.map(|deadline| deadline.max(now + STALLED_TICK)));
        }
        (full, deadline)
    }

    /// Whether the socket takes no more.
    fn flush(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.stream_error.is_some() || self.broken.is_some() {
            return true;
        }
        match self.sender.poll_flush(cx, &self.path) {
            Poll::Pending => true,
            Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(error)) => {
                // What the gateway said before it hung up is still to be read, such as that it rejects the password.
                self.broken = Some((error, now + LAST_READ));
                // The next turn reads.
                cx.waker().wake_by_ref();
                true
            }
        }
    }

    /// Seals packets of the stack and the device until there are no more, or the batch is full: then true.
    fn fill(&mut self, cx: &mut Context<'_>, now: Instant, inner: &mut Inner, env: &Env) -> bool {
        let mtu = self.network.as_ref().map_or(0, |network| network.mtu);
        let Inner { stack, stats, device, .. } = inner;
        let mut sealed = Sealed::default();
        let sink = SealingSink::new(&mut self.plane.sealers, self.sender.batch(), mtu, &mut sealed);
        let mut sink = sink.captured(env.shared.options.capture.as_ref());
        // Neither keeps the other waiting for longer than one batch.
        self.device_first = !self.device_first;
        let mut lost = None;
        if !self.device_first {
            stack.poll_packets(now, &mut sink);
        }
        if let Some(device) = device {
            sink.answer();
            lost = device.poll_packets(cx, &mut sink).err();
            let answers = sink.take_answers();
            answers.iter().for_each(|answer| device.deliver(answer));
            if !answers.is_empty() {
                device.flush();
            }
        }
        if self.device_first {
            stack.poll_packets(now, &mut sink);
        }
        let full = sink.is_full();
        stats.note(sealed);
        if let Some(error) = lost {
            lose_device(device, env, &error);
        }
        full
    }
}

/// Somebody has removed it: the tunnel itself is as good as before.
fn lose_device(device: &mut Option<Port>, env: &Env, error: &io::Error) {
    let Some(lost) = device.take() else { return };
    tracing::warn!(device = lost.name(), "the TUN device is gone: {error}");
    env.shared.publish(ClientEvent::DeviceLost);
}

/// How many of the open connections are reset now, if the last is to be in this time.
fn resets_at_once(open: usize, left: Duration) -> usize {
    let turns = left.as_millis() / RESET_INTERVAL.as_millis() + 1;
    open.div_ceil(usize::try_from(turns).unwrap_or(usize::MAX)).max(RESETS_AT_ONCE)
}

/// The gateway's stream ended, or is no sequence of datagrams.
fn stream_ended(error: io::Error, was_up: bool, closing: bool) -> Closed {
    let (kind, retry) = if closing {
        (CloseKind::Local, Retry::Never)
    } else if error.kind() == io::ErrorKind::InvalidData {
        (CloseKind::PeerMisbehaved, Retry::NextAddress)
    } else if was_up {
        (CloseKind::PeerClosed, Retry::After(Duration::ZERO))
    } else {
        (CloseKind::PeerClosed, Retry::NextAddress)
    };
    let source = if kind == CloseKind::PeerClosed { StreamEnded(error).into() } else { error.into() };
    Closed { kind, source, retry }
}
