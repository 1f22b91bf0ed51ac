//! The task of a gateway: all sockets, all peers.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use adit_tunnel::{Accept, Listener, Path, PeerId, Routing, Transport};

use super::{
    Limits,
    env::{Env, Out, Shared},
    outer::{Line, Outer, Receivers, StreamIn, local_end},
    peer::Peer,
    ready::{StreamId, Who},
};
use crate::{
    active::{DATAGRAMS_A_TURN, RECEIVES_A_TURN, now},
    error::{Failure, FailureKind, Stage},
    options::after,
    plane::destination,
    timer::Timer,
    tun,
};

/// The task of a gateway.
pub(super) struct Task<L: Listener> {
    receivers: Receivers,
    /// Packets for peers, if they come by a device.
    device: Option<tun::Reader>,
    streams: HashMap<StreamId, StreamIn>,
    front: Front<L>,
    timer: Timer,
    /// After a failure: when streams are accepted again.
    accept_again: Option<Instant>,
    _end: EndGuard,
}

/// Everything but the receiving halves, so that datagrams can be handled where they lie.
struct Front<L: Listener> {
    listener: L,
    peers: HashMap<PeerId, Box<Peer<L::Tunnel>>>,
    env: Env,
    /// Until when closing may take.
    closing: Option<Instant>,
}

/// Turns of the loop before other tasks have theirs.
const MAX_TURNS: usize = 8;
/// Peers and streams looked at before sockets are read again.
const CALLS_A_TURN: usize = 64;
/// Packets of the device before sockets are read again: a few segmented sends.
const PACKETS_A_TURN: u64 = 64;
/// Streams accepted before anything else is done.
const STREAMS_A_TURN: usize = 16;
/// How long a machine out of descriptors is given.
const OUT_OF_RESOURCES_WAIT: Duration = Duration::from_millis(500);

/// What one turn of the loop came to.
enum Turn {
    /// There may be more to do at once.
    Again,
    /// Nothing to do until then, or until something wakes us.
    Idle(Option<Instant>),
    Ended,
}

impl<L: Listener> Task<L> {
    pub(super) fn new(listener: L, receivers: Receivers, device: Option<tun::Reader>, env: Env) -> Self {
        let end = EndGuard(Arc::clone(&env.shared));
        let front = Front { listener, peers: HashMap::new(), env, closing: None };
        Self { receivers, device, streams: HashMap::new(), front, timer: Timer::new(), accept_again: None, _end: end }
    }

    /// Runs until the gateway is closed.
    pub(super) async fn run(mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
        tracing::debug!("gateway closed");
    }

    /// Does what there is to do, for a bounded time.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..MAX_TURNS {
            match self.turn(cx) {
                Turn::Again => {}
                Turn::Idle(deadline) => {
                    if self.timer.poll(cx, deadline).is_pending() {
                        self.front.publish_stats();
                        return Poll::Pending;
                    }
                }
                Turn::Ended => {
                    self.front.publish_stats();
                    return Poll::Ready(());
                }
            }
        }
        self.front.publish_stats();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let now = now();
        self.front.env.shared.ready.set_task(cx.waker());
        self.front.begin_close(cx, now);
        self.expire(now);
        let received = self.receive(cx, now);
        let accepted = self.accept(cx, now);
        let routed = self.read_device(cx);
        let called = self.work(cx, now);
        let sent = self.front.env.outer.flush_sockets(cx);
        if self.front.is_over(now, sent) {
            self.front.let_go(now);
            return Turn::Ended;
        }
        // Whoever waited for a socket was called by the flush.
        if received || accepted || routed || called || !self.front.env.shared.ready.is_empty() {
            return Turn::Again;
        }
        let env = &self.front.env;
        let peers = env.deadlines.first().map(|(at, _)| *at);
        let deadlines = [peers, env.outer.deadline(), self.front.closing, self.accept_again];
        Turn::Idle(deadlines.into_iter().flatten().min())
    }

    /// Deadlines of peers and streams.
    fn expire(&mut self, now: Instant) {
        let Front { peers, env, .. } = &mut self.front;
        while let Some((_, id)) = env.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            env.deadlines.pop_first();
            if let Some(peer) = peers.get(&id) {
                peer.caller.call();
            }
        }
        while let Some(id) = env.outer.expired(now) {
            tracing::debug!("a stream without a peer is dropped");
            env.outer.drop_stream(id);
            self.streams.remove(&id);
        }
    }

    /// A batch of datagrams of each UDP socket, of as many system calls as it takes where the system hands over few at a time.
    /// Whether there were any.
    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut any = false;
        for (index, (local, receiver)) in self.receivers.udp.iter_mut().enumerate() {
            let mut datagrams = 0;
            for _ in 0..RECEIVES_A_TURN {
                if datagrams >= DATAGRAMS_A_TURN || receiver.poll_fill(cx).is_pending() {
                    break;
                }
                any = true;
                receiver.for_each(|remote, destination, datagram| {
                    datagrams += 1;
                    let local = Some(local_end(*local, destination));
                    let path = Path { transport: Transport::Udp, local, remote };
                    self.front.on_datagram(now, Line::Udp(index), &path, datagram);
                });
            }
        }
        if any {
            self.front.flush_device();
        }
        any
    }

    /// Takes in new streams. Whether there may be more.
    fn accept(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.accept_again.is_some_and(|at| at > now) {
            return false;
        }
        self.accept_again = None;
        let mut more = false;
        for (local, listener) in &self.receivers.tcp {
            let mut count = 0;
            while let Poll::Ready(accepted) = listener.poll_accept(cx) {
                let env = &mut self.front.env;
                match accepted {
                    Ok((stream, remote)) => {
                        let limits = &env.options.limits;
                        if self.front.closing.is_some() {
                            tracing::debug!(%remote, "stream refused: the gateway is closing");
                        } else {
                            if let Some(id) = one_too_many(&env.outer, limits, remote.ip()) {
                                tracing::debug!(%remote, "a stream without a peer gives way");
                                env.outer.drop_stream(id);
                                self.streams.remove(&id);
                            }
                            // The address this stream has come to, also where all are listened to.
                            let local = Some(stream.local_addr().unwrap_or(*local));
                            let path = Path { transport: Transport::Tcp, local, remote };
                            let until = after(now, limits.silence);
                            match env.outer.open_stream(stream, path, until) {
                                Ok((id, stream)) => drop(self.streams.insert(id, stream)),
                                Err(error) => tracing::debug!(%remote, "stream dropped: {error}"),
                            }
                        }
                    }
                    Err(error) if is_about_the_stream(&error) => tracing::debug!("accept: {error}"),
                    Err(error) => {
                        tracing::warn!("cannot accept streams: {error}");
                        self.accept_again = Some(now + OUT_OF_RESOURCES_WAIT);
                        return more;
                    }
                }
                count += 1;
                if count == STREAMS_A_TURN {
                    more = true;
                    break;
                }
            }
        }
        more
    }

    /// Packets that the kernel has routed to peers. Whether there were any.
    fn read_device(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(device) = &mut self.device else { return false };
        let Front { peers, env, .. } = &mut self.front;
        let mut packets = 0;
        while packets < PACKETS_A_TURN {
            match device.poll_fill(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.device = None;
                    // Without it, nothing of a peer goes anywhere.
                    let failure = Failure::new(FailureKind::LocalSocket, format!("the TUN device is gone: {error}"));
                    tracing::error!("{failure}: the gateway ends");
                    env.shared.fail(failure.in_stage(Stage::Up));
                    return true;
                }
            }
            let owner = destination(device.bytes()).and_then(|address| env.owners.newest(address));
            let handled = match owner.and_then(|owner| peers.get_mut(&owner)) {
                Some(peer) => peer.send_train(cx, env, device),
                None => {
                    let count = device.discard();
                    env.stats.dropped_unsealed += count;
                    count
                }
            };
            packets += handled;
            if device.next_len().is_some() {
                // The socket is full, and wakes us: what is left waits, and the kernel behind it.
                break;
            }
        }
        packets > 0
    }

    /// Peers and streams that want to be looked at. Whether there was any.
    fn work(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        for count in 0..CALLS_A_TURN {
            match self.front.env.shared.ready.pop() {
                Some(Who::Peer(id)) => {
                    if let Some(Line::Stream(stream)) = self.front.work(cx, now, id) {
                        self.streams.remove(&stream);
                    }
                }
                Some(Who::Stream(id)) => self.work_stream(now, id),
                None => return count > 0,
            }
        }
        true
    }

    /// What a stream has brought, and what waits for it.
    fn work_stream(&mut self, now: Instant, id: StreamId) {
        if !self.front.env.outer.work_stream(id) {
            self.end_stream(id, "the connection to the peer broke");
            return;
        }
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let StreamIn { receiver, path, peer, caller, waker } = stream;
        let filled = match receiver.poll_fill(&mut Context::from_waker(waker)) {
            Poll::Pending => return,
            Poll::Ready(filled) => filled,
        };
        let front = &mut self.front;
        let handled = filled
            .and_then(|()| receiver.for_each(|_, datagram| front.on_stream_datagram(now, id, peer, path, datagram)));
        front.flush_device();
        match handled {
            Ok(()) => caller.call(),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.end_stream(id, "the peer closed the connection");
            }
            Err(error) => self.end_stream(id, error),
        }
    }

    fn end_stream(&mut self, id: StreamId, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) {
        let peer = self.streams.remove(&id).and_then(|stream| stream.peer);
        self.front.env.outer.drop_stream(id);
        if let Some(peer) = peer.and_then(|peer| self.front.peers.get_mut(&peer)) {
            peer.on_stream_ended(Failure::new(FailureKind::Disconnected, why));
        }
    }
}

impl<L: Listener> Front<L> {
    fn on_datagram(&mut self, now: Instant, line: Line, path: &Path, datagram: &mut [u8]) {
        self.count(datagram);
        match self.listener.route(path, datagram) {
            Routing::Peer(id) => match self.peers.get_mut(&id) {
                // A stream is one peer, and a peer with a stream has no other line.
                Some(peer) if matches!(peer.line, Line::Udp(_)) => peer.on_datagram(now, &mut self.env, path, datagram),
                _ => self.env.stats.dropped_foreign += 1,
            },
            Routing::New => drop(self.on_stranger(now, line, path, datagram)),
            Routing::Drop => self.env.stats.dropped_foreign += 1,
        }
    }

    fn on_stream_datagram(
        &mut self,
        now: Instant,
        id: StreamId,
        peer: &mut Option<PeerId>,
        path: &Path,
        datagram: &mut [u8],
    ) {
        self.count(datagram);
        if let Some(peer) = peer {
            if let Some(peer) = self.peers.get_mut(peer) {
                peer.on_datagram(now, &mut self.env, path, datagram);
            }
            return;
        }
        // Nobody may join the peer of another stream, whatever the datagram says.
        if self.listener.route(path, datagram) != Routing::New {
            self.env.stats.dropped_foreign += 1;
            return;
        }
        *peer = self.on_stranger(now, Line::Stream(id), path, datagram);
        if peer.is_some() {
            self.env.outer.adopt_stream(id);
        }
    }

    /// Packets for the kernel wait no longer than for the rest of what one system call has brought.
    fn flush_device(&mut self) {
        if let Out::Tun(device) = &mut self.env.out {
            self.env.stats.dropped_unsent += device.flush();
        }
    }

    fn count(&mut self, datagram: &[u8]) {
        self.env.stats.received_datagrams += 1;
        self.env.stats.received_bytes += datagram.len() as u64;
    }

    fn on_stranger(&mut self, now: Instant, line: Line, path: &Path, datagram: &mut [u8]) -> Option<PeerId> {
        if self.closing.is_some() || self.peers.len() >= self.env.options.limits.peers {
            self.env.stats.dropped_foreign += 1;
            return None;
        }
        match self.listener.accept(now, path, datagram) {
            Accept::Reply(transmit) => {
                self.env.stats.on_sent(transmit.datagram.len());
                self.env.outer.control(line, transmit);
            }
            Accept::Peer(id, tunnel) => {
                if let Some(old) = self.peers.remove(&id) {
                    old.leave(now, &mut self.env);
                }
                let mut peer = Box::new(Peer::new(id, tunnel, line, *path, &self.env));
                peer.drain(now, &mut self.env);
                peer.caller.call();
                self.peers.insert(id, peer);
                return Some(id);
            }
            Accept::Drop => self.env.stats.dropped_foreign += 1,
        }
        None
    }

    /// A peer's turn. The line of one that has gone.
    fn work(&mut self, cx: &mut Context<'_>, now: Instant, id: PeerId) -> Option<Line> {
        let peer = self.peers.get_mut(&id)?;
        peer.work(cx, now, &mut self.env);
        let has_ended = peer.has_ended();
        while let Some(other) = self.env.to_close.pop() {
            if let Some(other) = self.peers.get_mut(&other) {
                tracing::info!("a newer tunnel takes the place of an older one");
                other.close(cx, now, &mut self.env);
            }
        }
        if !has_ended {
            return None;
        }
        let peer = self.peers.remove(&id)?;
        let line = peer.line;
        peer.leave(now, &mut self.env);
        self.listener.forget(id);
        Some(line)
    }

    fn begin_close(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.closing.is_some() || !*self.env.shared.close.borrow() {
            return;
        }
        self.closing = Some(after(now, self.env.options.limits.close_timeout));
        self.peers.values_mut().for_each(|peer| peer.close(cx, now, &mut self.env));
    }

    fn is_over(&self, now: Instant, sent: bool) -> bool {
        let done = sent && self.peers.is_empty() && self.env.outer.has_spoken();
        self.closing.is_some_and(|until| done || until <= now)
    }

    /// Whoever is still there.
    fn let_go(&mut self, now: Instant) {
        self.peers.drain().for_each(|(id, peer)| {
            peer.leave(now, &mut self.env);
            self.listener.forget(id);
        });
    }

    fn publish_stats(&self) {
        self.env.shared.set_stats(self.env.all_stats(self.peers.len()));
    }
}

/// The stream that gives way to a new one from there: whoever opens many has no others pushed aside.
fn one_too_many(outer: &Outer, limits: &Limits, from: IpAddr) -> Option<StreamId> {
    let oldest_of_too_many = |from: Option<IpAddr>, most: usize| {
        let mut streams = outer.silent_streams(from);
        let oldest = streams.next();
        oldest.filter(|_| 1 + streams.count() >= most)
    };
    let of_one = oldest_of_too_many(Some(from), limits.silent_streams.div_ceil(4));
    of_one.or_else(|| oldest_of_too_many(None, limits.silent_streams))
}

/// Whether accepting failed for this one stream alone.
fn is_about_the_stream(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// Whoever waits is told, also when the runtime drops the task or it panics.
struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end();
    }
}
