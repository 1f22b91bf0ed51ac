//! The loop of one tunnel: sockets, state machine, keys and stack, driven by one task.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use adit_netstack::PacketSink;
use adit_tunnel::{
    Class, CloseKind, Closed, Content, Event, FlowId, NetworkConfig, Opener, Path, Retry, SealError, Sealer, Tunnel,
};
use tokio::time::Sleep;

use crate::{
    batch::Batch,
    client::ClientEvent,
    error::StreamEnded,
    options::Prompter,
    outer::{Receiver, Sender},
    plane::{Plane, Sealers},
    prompts::{Prompts, is_challenge},
    shared::{Inner, Shared, State, Stats},
};

/// What every tunnel of a client needs.
#[derive(Clone)]
pub(crate) struct Env {
    pub(crate) shared: Arc<Shared>,
    pub(crate) prompter: Arc<dyn Prompter>,
}

/// One tunnel with its socket.
pub(crate) struct Active<T: Tunnel> {
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
    network: Option<Arc<NetworkConfig>>,
    up_since: Option<Instant>,
    started: bool,
    /// The gateway said something that matters, or wants a person to be asked: no other address needs to be tried.
    answered: bool,
    prompts: Prompts,
    stream_error: Option<io::Error>,
    closed: Option<Closed>,
    closing: Option<Instant>,
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

/// Turns of the loop before other tasks have theirs. Each handles at most one system call's worth of datagrams in each
/// direction, and the tunnel's own timers.
const MAX_TURNS: usize = 8;
/// How often the stack's timers are looked at while its packets cannot leave.
const STALLED_TICK: Duration = Duration::from_millis(500);
/// How long last datagrams may wait for a blocked socket.
const LAST_FLUSH: Duration = Duration::from_secs(1);

/// The clock of the driver: tokio's, so that tests may stop it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<T: Tunnel> Active<T> {
    pub(crate) fn new(tunnel: T, path: Path, receiver: Receiver, sender: Sender) -> Self {
        let core = Core {
            tunnel,
            plane: Plane::new(),
            sender,
            path,
            network: None,
            up_since: None,
            started: false,
            answered: false,
            prompts: Prompts::default(),
            stream_error: None,
            closed: None,
            closing: None,
        };
        Self { receiver, core, timer: Timer::new() }
    }

    /// The address the tunnel was started for, or has moved to.
    pub(crate) fn remote(&self) -> SocketAddr {
        self.core.path.remote
    }

    /// Why nothing can be sent, if so.
    pub(crate) fn trouble(&self) -> Option<&io::Error> {
        self.core.sender.trouble()
    }

    /// What an ICMP error said about the gateway, if there was one: no more than a hint.
    pub(crate) fn icmp_error(&self) -> Option<&io::Error> {
        self.core.sender.icmp_error()
    }

    /// Since when the tunnel is up.
    pub(crate) fn up_since(&self) -> Option<Instant> {
        self.core.up_since
    }

    pub(crate) fn into_tunnel(self) -> T {
        self.core.tunnel
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
        let now = now();
        self.core.expire(cx, now, env);
        let received = self.receive(cx, now, env);
        if racing && self.core.answered {
            return Turn::Answered;
        }
        self.core.answer_prompts(cx, now, env);
        if let Some(closed) = self.core.ended(cx, now) {
            return Turn::Ended(closed);
        }
        let (more, stack_deadline) = self.core.transmit(cx, now, env);
        if received || more {
            return Turn::Again;
        }
        let deadlines = [self.core.tunnel.poll_timeout(), stack_deadline, self.core.closing];
        Turn::Idle(deadlines.into_iter().flatten().min())
    }

    /// One batch of datagrams. Whether there was one.
    fn receive(&mut self, cx: &mut Context<'_>, now: Instant, env: &Env) -> bool {
        if self.core.stream_error.is_some() || self.core.closed.is_some() {
            return false;
        }
        let filled = match self.receiver.poll_fill(cx) {
            Poll::Pending => return false,
            Poll::Ready(filled) => filled,
        };
        let handled = filled.and_then(|()| {
            let mut inner = env.shared.lock();
            let core = &mut self.core;
            self.receiver.for_each(|source, datagram| core.on_datagram(now, &mut inner, env, source, datagram))
        });
        self.core.stream_error = handled.err();
        true
    }
}

impl<T: Tunnel> Core<T> {
    fn on_datagram(&mut self, now: Instant, inner: &mut Inner, env: &Env, source: SocketAddr, datagram: &mut [u8]) {
        inner.stats.received_datagrams += 1;
        inner.stats.received_bytes += datagram.len() as u64;
        let path = Path { remote: source, ..self.path };
        match T::classify(&path, datagram) {
            Class::Control => {
                self.tunnel.handle_datagram(now, &path, datagram);
                // At once: the next datagram of the batch may need the key this one brought.
                self.answered |= self.drain(now, inner, env) > 0;
            }
            Class::Data(tag) => {
                let Some(opener) = self.plane.opener(tag) else {
                    inner.stats.dropped_unknown_key += 1;
                    return;
                };
                let Ok(opened) = opener.open(datagram) else {
                    inner.stats.dropped_refused += 1;
                    return;
                };
                let mut message = false;
                match opened.content {
                    Content::Packet(range) => {
                        inner.stats.opened_packets += 1;
                        inner.stack.handle_packet(now, datagram.get(range).unwrap_or_default());
                    }
                    Content::Unpacked => {
                        inner.stats.opened_packets += 1;
                        inner.stack.handle_packet(now, opener.unpacked());
                    }
                    Content::Message(range) => {
                        self.tunnel.handle_message(now, datagram.get(range).unwrap_or_default());
                        message = true;
                    }
                    Content::Filler => {}
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
                Event::Keys(change) => self.plane.apply(change),
                Event::Inject { flow, packet } => self.inject(inner, flow, &packet),
                Event::Prompt(prompt) => {
                    self.answered |= is_challenge(&prompt);
                    self.prompts.raise(prompt);
                }
                Event::Path(path) => {
                    tracing::info!("the gateway moved from {} to {}", self.path.remote, path.remote);
                    self.path = path;
                }
                Event::Closed(closed) => self.closed = Some(closed),
            }
        }
        while let Some(transmit) = self.tunnel.poll_transmit() {
            self.sender.control(transmit);
            count += 1;
        }
        count
    }

    fn on_up(&mut self, now: Instant, inner: &mut Inner, env: &Env, network: NetworkConfig) {
        let network = Arc::new(network);
        inner.stack.reconfigure(now, env.shared.options.stack(&network));
        if self.up_since.is_none() {
            self.up_since = Some(now);
            inner.stats.times_up += 1;
        }
        let addresses: Vec<String> = network.addresses.iter().map(ToString::to_string).collect();
        tracing::debug!(gateway = %self.path.remote, addresses = addresses.join(" "), mtu = network.mtu, "packets can travel");
        self.network = Some(Arc::clone(&network));
        env.shared.state.send_replace(State::Up(Arc::clone(&network)));
        env.shared.publish(ClientEvent::Up(network));
    }

    fn inject(&mut self, inner: &mut Inner, flow: FlowId, packet: &[u8]) {
        let Some(sealer) = self.plane.sealers.of_flow(flow) else {
            inner.stats.dropped_unsealed += 1;
            return;
        };
        let (header_len, room) = (sealer.header_len(), sealer.sealed_len(packet.len()));
        let write = &mut |space: &mut [u8]| space.copy_from_slice(packet);
        let sealed =
            self.sender.batch().seal(header_len, packet.len(), room, write, |buffer, range| sealer.seal(buffer, range));
        inner.stats.on_sealed(sealed);
    }

    fn answer_prompts(&mut self, cx: &mut Context<'_>, now: Instant, env: &Env) {
        if self.closed.is_some() {
            self.prompts.withdraw();
        }
        while let Some(answer) = self.prompts.poll(cx, env) {
            self.tunnel.handle_answer(now, answer);
            self.drain(now, &mut env.shared.lock(), env);
        }
    }

    /// Deadlines and the wish to close, judged by the clock.
    fn expire(&mut self, cx: &mut Context<'_>, now: Instant, env: &Env) {
        if self.closing.is_none() && *env.shared.close.borrow() {
            self.begin_close(cx, now, env);
        }
        let due = self.tunnel.poll_timeout().is_some_and(|deadline| deadline <= now);
        if due {
            self.tunnel.handle_timeout(now);
        }
        // A new tunnel has its first datagram ready.
        if due || !std::mem::replace(&mut self.started, true) {
            self.drain(now, &mut env.shared.lock(), env);
        }
    }

    /// First every connection inside is reset, so that no host behind the tunnel keeps one half open; then the tunnel says
    /// goodbye.
    fn begin_close(&mut self, cx: &mut Context<'_>, now: Instant, env: &Env) {
        self.closing = Some(now + env.shared.options.close_timeout);
        {
            let mut inner = env.shared.lock();
            let ids: Vec<_> = inner.connections.keys().copied().collect();
            ids.into_iter().for_each(|id| inner.stack.abort(id));
        }
        while self.transmit(cx, now, env).0 {}
        self.tunnel.close(now);
        self.drain(now, &mut env.shared.lock(), env);
    }

    /// Whether the tunnel has ended and its last datagrams are sent.
    fn ended(&mut self, cx: &mut Context<'_>, now: Instant) -> Option<Closed> {
        let overdue = self.closing.is_some_and(|deadline| deadline <= now);
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
        } else if !overdue && self.sender.poll_flush(cx, self.path.remote).is_pending() {
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
        let blocked = self.flush(cx);
        let mut inner = env.shared.lock();
        inner.set_driver(cx.waker());
        if inner.stack.poll_timeout().is_some_and(|deadline| deadline <= now) {
            inner.stack.handle_timeout(now);
        }
        let stalled = blocked || self.plane.sealers.is_empty();
        let full = !stalled && self.fill(now, &mut inner);
        let deadline = inner.stack.poll_timeout();
        let wakers = inner.take_events();
        drop(inner);
        wakers.wake();
        if stalled || self.flush(cx) {
            // Deadlines that ask for packets to be fetched cannot be met now, and must not be asked for in a circle.
            return (false, deadline.map(|deadline| deadline.max(now + STALLED_TICK)));
        }
        (full, deadline)
    }

    /// Whether the socket takes no more.
    fn flush(&mut self, cx: &mut Context<'_>) -> bool {
        if self.stream_error.is_some() {
            return true;
        }
        match self.sender.poll_flush(cx, self.path.remote) {
            Poll::Pending => true,
            Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(error)) => {
                self.stream_error.get_or_insert(error);
                // The next turn ends the tunnel.
                cx.waker().wake_by_ref();
                true
            }
        }
    }

    /// Seals packets of the stack until there are no more, or the batch is full: then true.
    fn fill(&mut self, now: Instant, inner: &mut Inner) -> bool {
        let mtu = self.network.as_ref().map_or(0, |network| usize::from(network.mtu));
        let largest = self.plane.sealers.room(mtu);
        let Inner { stack, stats, .. } = inner;
        let mut sink =
            SealingSink { sealers: &mut self.plane.sealers, batch: self.sender.batch(), largest, stats, full: false };
        stack.poll_packets(now, &mut sink);
        sink.full
    }
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

/// Seals what the stack writes, in the send buffer.
struct SealingSink<'a, S> {
    sealers: &'a mut Sealers<S>,
    batch: &'a mut Batch,
    largest: usize,
    stats: &'a mut Stats,
    full: bool,
}

impl<S: Sealer> PacketSink for SealingSink<'_, S> {
    fn has_room(&mut self) -> bool {
        self.full |= !self.batch.has_room(self.largest);
        !self.full
    }

    fn packet(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) {
        let sealers = &mut *self.sealers;
        let (header_len, room) = (sealers.header_len(), sealers.room(len));
        let sealed = self.batch.seal(header_len, len, room, fill, |buffer, range| {
            match sealers.of_packet(buffer.get(range.clone()).unwrap_or_default()) {
                Some(sealer) => sealer.seal(buffer, range),
                None => Err(SealError::NoRoom),
            }
        });
        self.stats.on_sealed(sealed);
    }
}

impl Stats {
    fn on_sealed(&mut self, sealed: Result<usize, SealError>) {
        match sealed {
            Ok(bytes) => {
                self.sealed_packets += 1;
                self.sealed_bytes += bytes as u64;
            }
            Err(_) => self.dropped_unsealed += 1,
        }
    }
}

/// One timer, moved only when it would fire too late: firing early costs one turn.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
}

impl Timer {
    fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), armed: None }
    }

    /// Ready when an armed deadline has passed, which may be earlier than the one asked for now.
    fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else {
            self.armed = None;
            return Poll::Pending;
        };
        if self.armed.is_none_or(|armed| armed > deadline) {
            self.sleep.as_mut().reset(deadline.into());
            self.armed = Some(deadline);
        }
        let fired = self.sleep.as_mut().poll(cx);
        if fired.is_ready() {
            self.armed = None;
        }
        fired
    }
}
