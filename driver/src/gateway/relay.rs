//! The way out without root: the inner connections of one peer end here, and go on through an [`Exit`].

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use adit_netstack::{Accept, MemoryPool, Refusal, Stack, StackConfig, Unreachable};
use adit_tunnel::{IpNet, NetworkConfig, Sealer};
use tokio::{io::ReadBuf, task::JoinSet};

use super::{
    Datagrams, Exit, Limits, Pool,
    env::{Counted, Counts},
};
use crate::{
    active::STALLED_TICK,
    batch::Batch,
    carry::carry,
    connection::Connection,
    error::Failure,
    inside::{Arrival, Inner, Inside},
    plane::Sealers,
    sink::{Sealed, SealingSink},
    udp_socket::UdpSocket,
};

/// The stack of one peer, and the tasks of its connections.
#[derive(Debug)]
pub(super) struct Relay {
    inside: Arc<Inside>,
    tasks: JoinSet<()>,
    /// Where datagrams are put on their way, one at a time.
    scratch: Arc<Mutex<Vec<u8>>>,
    mtu: u16,
    /// Nothing begins any more.
    closing: bool,
}

/// What tasks need.
pub(super) struct Means<'a> {
    pub(super) exit: &'a Arc<dyn Exit>,
    pub(super) counts: &'a Arc<Counts>,
    pub(super) limits: &'a Limits,
    pub(super) pool: &'a Pool,
}

impl Means<'_> {
    /// Why the way out is not even asked.
    fn objection(&self, to: SocketAddr) -> Option<Unreachable> {
        if self.pool.contains(to.ip()) {
            return Some(Unreachable::Prohibited);
        }
        let full = self.counts.all() >= self.limits.all_connections;
        if full {
            tracing::debug!(%to, "refused: peers have as many connections as there may be");
        }
        // Not for ever: whoever tries again may find room.
        full.then_some(Unreachable::Host)
    }
}

/// The largest UDP datagram.
const DATAGRAM_BYTES: usize = 65535;
/// Datagrams in one direction before others have their turn.
const DATAGRAMS_A_TURN: usize = 32;

impl Relay {
    pub(super) fn new(config: StackConfig, mtu: u16, seed: u64) -> Self {
        let inside = Arc::new(Inside::new(Stack::new(config, seed)));
        Self { inside, tasks: JoinSet::new(), scratch: Arc::default(), mtu, closing: false }
    }

    /// The peer has other addresses or sizes now.
    pub(super) fn reconfigure(&mut self, now: Instant, config: StackConfig, mtu: u16) {
        self.mtu = mtu;
        self.inside.lock().stack.reconfigure(now, config);
    }

    pub(super) fn handle_packet(&self, now: Instant, packet: &[u8]) {
        self.inside.lock().stack.handle_packet(now, packet);
    }

    /// Fills the batch, if there is one to be filled, and sees to what has happened. Whether there may be more packets, and
    /// when the stack's next deadline is.
    pub(super) fn work<S: Sealer>(
        &mut self,
        now: Instant,
        waker: &Waker,
        means: &Means<'_>,
        batch: Option<(&mut Sealers<S>, &mut Batch)>,
        sealed: &mut Sealed,
    ) -> (bool, Option<Instant>) {
        let mut inner = self.inside.lock();
        inner.set_driver(waker);
        if inner.stack.poll_timeout().is_some_and(|deadline| deadline <= now) {
            inner.stack.handle_timeout(now);
        }
        let stalled = batch.is_none();
        let full = batch.is_some_and(|(sealers, batch)| {
            let mut sink = SealingSink::new(sealers, batch, self.mtu, sealed);
            inner.stack.poll_packets(now, &mut sink);
            sink.is_full()
        });
        let deadline = inner.stack.poll_timeout();
        let wakers = inner.take_events();
        let arrivals = std::mem::take(&mut inner.arrivals);
        drop(inner);
        wakers.wake();
        for arrival in arrivals {
            self.take_in(arrival, means);
        }
        while let Poll::Ready(Some(_)) = self.tasks.poll_join_next(&mut Context::from_waker(waker)) {}
        // Deadlines that ask for packets to be fetched cannot be met now, and must not be asked for in a circle.
        (full, deadline.map(|deadline| if stalled { deadline.max(now + STALLED_TICK) } else { deadline }))
    }

    /// Ends all connections: the peer gets resets, the hosts, too.
    pub(super) fn reset(&mut self) {
        self.closing = true;
        {
            let mut inner = self.inside.lock();
            let Inner { stack, connections, arrivals, .. } = &mut *inner;
            connections.keys().for_each(|id| stack.abort(*id));
            arrivals.clear();
        }
        self.tasks.abort_all();
    }

    /// The tunnel has ended.
    pub(super) fn end(&self, failure: &Failure) {
        self.inside.end(failure);
    }

    fn take_in(&mut self, arrival: Arrival, means: &Means<'_>) {
        let (inside, exit, timeout) = (Arc::clone(&self.inside), Arc::clone(means.exit), means.limits.connect_timeout);
        match arrival {
            Arrival::Connection(id) => {
                let Some((connection, ends)) = Connection::incoming(inside, id) else { return };
                // Dropped, it is refused.
                if self.closing {
                    return;
                }
                if let Some(reason) = means.objection(ends.local) {
                    connection.refuse(Refusal::Unreachable(reason));
                    return;
                }
                let counted = Counted::connection(means.counts);
                self.tasks.spawn(async move {
                    relay_connection(connection, ends.local, exit, timeout).await;
                    drop(counted);
                });
            }
            Arrival::Association(id) => {
                let Some(association) = Association::new(inside, id, &self.scratch) else { return };
                if self.closing {
                    return;
                }
                if let Some(reason) = means.objection(association.to) {
                    association.inside.refuse(reason);
                    return;
                }
                let counted = Counted::association(means.counts);
                self.tasks.spawn(async move {
                    relay_datagrams(association, exit, timeout).await;
                    drop(counted);
                });
            }
        }
    }
}

/// The stack of a peer.
pub(super) fn stack_config(
    limits: &Limits,
    memory: &MemoryPool,
    own: Vec<IpNet>,
    network: &NetworkConfig,
    peers: &[IpNet],
) -> StackConfig {
    StackConfig {
        addresses: own.iter().map(IpNet::address).collect(),
        mtu: network.mtu.into(),
        tcp_mtu: network.tcp_mtu.into(),
        memory: limits.memory,
        pool: Some(memory.clone()),
        buffer: limits.buffer,
        small_buffer: limits.small_buffer,
        // What waits for a host must not be given up before the host is.
        connect_timeout: limits.connect_timeout.saturating_mul(2),
        keepalive: limits.keepalive,
        max_connections: limits.connections,
        udp_idle: limits.udp_idle,
        accept: Accept::Any,
        peers: peers.iter().map(|net| IpNet::host(net.address())).collect(),
        ..StackConfig::default()
    }
}

/// The host is asked first: the peer is told how that went.
async fn relay_connection(connection: Connection, to: SocketAddr, exit: Arc<dyn Exit>, timeout: Duration) {
    let connecting = async {
        let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
        tokio::time::timeout(timeout, exit.connect(to)).await.unwrap_or_else(|_| Err(timed_out()))
    };
    let connected = tokio::select! {
        connected = connecting => connected,
        // The peer does not want it any more.
        () = connection.gone() => return,
    };
    let mut outside = match connected {
        Ok(outside) => outside,
        Err(error) => {
            tracing::debug!(peer = %connection.remote(), %to, "refused: {error}");
            connection.refuse(refusal(&error));
            return;
        }
    };
    // Whatever ends this early must not look like an orderly end of the data.
    outside.reset_on_drop(true);
    let carried = match connection.accept().await {
        Ok(()) => carry(&mut outside, &connection).await,
        Err(error) => Err(error),
    };
    match carried {
        Ok((up, down)) => {
            tracing::debug!(peer = %connection.remote(), %to, up, down, "finished");
            outside.reset_on_drop(false);
        }
        Err(error) => {
            tracing::debug!(peer = %connection.remote(), %to, "ended by {error}");
            connection.abort();
        }
    }
}

/// What the peer is told: that nobody listens is said by the host, all else by the network between.
fn refusal(error: &io::Error) -> Refusal {
    let reason = unreachable(error);
    if reason == Unreachable::Port { Refusal::Reset } else { Refusal::Unreachable(reason) }
}

fn unreachable(error: &io::Error) -> Unreachable {
    let is = |kind| error.kind() == kind;
    if is(io::ErrorKind::ConnectionRefused) || is(io::ErrorKind::ConnectionReset) {
        Unreachable::Port
    } else if is(io::ErrorKind::PermissionDenied) {
        Unreachable::Prohibited
    } else if is(io::ErrorKind::NetworkUnreachable) {
        Unreachable::Network
    } else {
        Unreachable::Host
    }
}

/// The peer's end of an association, and where datagrams are put on their way.
struct Association {
    inside: UdpSocket,
    /// The peer, and where it sends to.
    peer: SocketAddr,
    to: SocketAddr,
    scratch: Arc<Mutex<Vec<u8>>>,
    /// What the host's socket did not take at once.
    held: Option<Vec<u8>>,
}

impl Association {
    fn new(inside: Arc<Inside>, id: adit_netstack::UdpId, scratch: &Arc<Mutex<Vec<u8>>>) -> Option<Self> {
        let (inside, ends) = UdpSocket::incoming(inside, id)?;
        Some(Self { inside, peer: ends.remote, to: ends.local, scratch: Arc::clone(scratch), held: None })
    }

    /// Datagrams in both directions; ready when it is over.
    fn poll(&mut self, cx: &mut Context<'_>, outside: &mut dyn Datagrams) -> Poll<io::Error> {
        let scratch = Arc::clone(&self.scratch);
        let mut scratch = scratch.lock().unwrap_or_else(PoisonError::into_inner);
        scratch.resize(DATAGRAM_BYTES, 0);
        let mut more = false;
        for direction in [Self::poll_up, Self::poll_down] {
            for turn in 1.. {
                match direction(self, cx, outside, &mut scratch) {
                    Poll::Ready(Ok(())) if turn < DATAGRAMS_A_TURN => {}
                    Poll::Ready(Ok(())) => {
                        more = true;
                        break;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(error),
                    Poll::Pending => break,
                }
            }
        }
        if more {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn poll_up(
        &mut self,
        cx: &mut Context<'_>,
        outside: &mut dyn Datagrams,
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>> {
        if let Some(held) = &self.held {
            let sent = ready!(outside.poll_send(cx, held));
            self.held = None;
            return Poll::Ready(sent.map(drop).or_else(tolerate));
        }
        let (length, _) = ready!(self.inside.poll_recv_from(cx, scratch))?;
        let datagram = scratch.get(..length).unwrap_or_default();
        match outside.poll_send(cx, datagram) {
            Poll::Ready(sent) => Poll::Ready(sent.map(drop).or_else(tolerate)),
            Poll::Pending => {
                self.held = Some(datagram.to_vec());
                Poll::Pending
            }
        }
    }

    fn poll_down(
        &mut self,
        cx: &mut Context<'_>,
        outside: &mut dyn Datagrams,
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(scratch);
        ready!(outside.poll_receive(cx, &mut buffer))?;
        match self.inside.send_to(buffer.filled(), self.peer) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                tracing::debug!(peer = %self.peer, from = %self.to, length = buffer.filled().len(), "dropped: {error}");
                Poll::Ready(Ok(()))
            }
            done => Poll::Ready(done),
        }
    }
}

/// A datagram that is too large for the way is lost; that says nothing of others.
fn tolerate(error: io::Error) -> io::Result<()> {
    // EMSGSIZE has no kind of its own.
    let lost = !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::PermissionDenied);
    if lost { Ok(()) } else { Err(error) }
}

async fn relay_datagrams(mut association: Association, exit: Arc<dyn Exit>, timeout: Duration) {
    let (peer, to) = (association.peer, association.to);
    let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
    let bound = tokio::time::timeout(timeout, exit.bind_udp(to)).await.unwrap_or_else(|_| Err(timed_out()));
    let error = match bound {
        Ok(mut outside) => poll_fn(|cx| association.poll(cx, &mut *outside)).await,
        Err(error) => error,
    };
    tracing::debug!(%peer, %to, "association ended: {error}");
    // It is over anyway if it was the peer's end, or idle.
    association.inside.refuse(unreachable(&error));
}
