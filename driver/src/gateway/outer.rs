//! The outer sockets of a gateway: several for UDP, and streams that come and go.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use adit_tunnel::{Path, PeerId, Transmit, Transport};
use tokio::net::{TcpListener, TcpStream};

use super::{
    Listen,
    ready::{Caller, Ready, StreamId, Who},
};
use crate::{
    batch::Batch,
    outer::{
        tcp::{self, TcpReceiver, TcpSender},
        udp::{self, UdpReceiver, UdpSender},
    },
    protocol::SocketOptions,
};

/// By which socket a peer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// The UDP socket with this index.
    Udp(usize),
    Stream(StreamId),
}

/// What is sent through.
#[derive(Debug)]
pub(super) struct Outer {
    sockets: Vec<Socket>,
    streams: HashMap<StreamId, StreamOut>,
    next_stream: u64,
    ready: Arc<Ready>,
    /// Streams that must have become a peer's by then, or that have to say their last words.
    deadlines: BTreeSet<(Instant, StreamId)>,
    /// Datagrams dropped because their socket took no more.
    pub(super) dropped: u64,
}

#[derive(Debug)]
struct Socket {
    local: SocketAddr,
    sender: UdpSender,
    /// Where the batch goes, if there is anything in it.
    to: Option<Path>,
    /// Peers that want to be told when the socket takes datagrams again.
    waiting: Vec<Arc<Caller>>,
}

#[derive(Debug)]
struct StreamOut {
    sender: TcpSender,
    /// The stream's own.
    waker: Waker,
    /// Where it comes from.
    origin: IpAddr,
    /// When it is over, if it has no peer yet or any more.
    until: Option<Instant>,
    /// The peer has gone: what waits is still sent.
    ends: bool,
    waiting: Option<Arc<Caller>>,
    broken: bool,
}

/// The receiving half of a stream.
#[derive(Debug)]
pub(super) struct StreamIn {
    pub(super) receiver: TcpReceiver,
    pub(super) path: Path,
    pub(super) peer: Option<PeerId>,
    pub(super) caller: Arc<Caller>,
    pub(super) waker: Waker,
}

/// What is received from.
#[derive(Debug)]
pub(super) struct Receivers {
    pub(super) udp: Vec<(SocketAddr, UdpReceiver)>,
    pub(super) tcp: Vec<(SocketAddr, TcpListener)>,
}

/// Control datagrams that may wait for one socket.
const MAX_WAITING: usize = 4096;
/// Bytes that may wait for one stream: a peer that takes nothing while it asks on is given up.
const MAX_STREAM_BYTES: usize = 1 << 20;
/// How long the last words on a stream may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Binds all there is to listen to.
pub(super) fn bind(listen: &[Listen], ready: &Arc<Ready>) -> io::Result<(Receivers, Outer)> {
    if listen.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "nothing to listen to"));
    }
    let mut receivers = Receivers { udp: Vec::new(), tcp: Vec::new() };
    let mut sockets = Vec::new();
    for Listen { transport, address } in listen {
        let at = |error: io::Error| io::Error::new(error.kind(), format!("{transport} {address}: {error}"));
        match transport {
            Transport::Udp => {
                let (receiver, mut sender) = udp::bind(*address, &SocketOptions::default()).map_err(at)?;
                let local = receiver.local_addr()?;
                if local.ip().is_unspecified() {
                    sender.answer_as_asked();
                }
                receivers.udp.push((local, receiver));
                sockets.push(Socket { local, sender, to: None, waiting: Vec::new() });
            }
            Transport::Tcp => {
                let listener = listen_tcp(*address).map_err(at)?;
                receivers.tcp.push((listener.local_addr()?, listener));
            }
        }
    }
    let ready = Arc::clone(ready);
    let outer =
        Outer { sockets, streams: HashMap::new(), next_stream: 0, ready, deadlines: BTreeSet::new(), dropped: 0 };
    Ok((receivers, outer))
}

fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // On Windows it would let two programs have one port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

/// Whose a stream is taken to be: an IPv6 host has the whole of its /64.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl Receivers {
    /// What is listened to.
    pub(super) fn local_addresses(&self) -> Vec<(Transport, SocketAddr)> {
        let udp = self.udp.iter().map(|(local, _)| (Transport::Udp, *local));
        udp.chain(self.tcp.iter().map(|(local, _)| (Transport::Tcp, *local))).collect()
    }
}

/// Our own end of the path of a datagram that came in on this socket: as exact as the system tells.
pub(super) fn local_end(bound: SocketAddr, destination: Option<IpAddr>) -> SocketAddr {
    match destination {
        Some(address) if bound.ip().is_unspecified() => SocketAddr::new(address, bound.port()),
        _ => bound,
    }
}

impl Outer {
    /// Takes a stream in, which must become a peer's by `until`; both halves have the same name.
    pub(super) fn open_stream(
        &mut self,
        stream: TcpStream,
        path: Path,
        until: Instant,
    ) -> io::Result<(StreamId, StreamIn)> {
        let (receiver, sender) = tcp::take(stream, path.remote)?;
        let id = StreamId(self.next_stream);
        self.next_stream += 1;
        let caller = Caller::new(Who::Stream(id), &self.ready);
        let waker = Waker::from(Arc::clone(&caller));
        let out = StreamOut {
            sender,
            waker: waker.clone(),
            origin: origin(path.remote.ip()),
            until: None,
            ends: false,
            waiting: None,
            broken: false,
        };
        self.streams.insert(id, out);
        self.set_deadline(id, Some(until));
        // Something may have come already.
        caller.call();
        Ok((id, StreamIn { receiver, path, peer: None, caller, waker }))
    }

    /// The stream has become a peer's.
    pub(super) fn adopt_stream(&mut self, id: StreamId) {
        self.set_deadline(id, None);
    }

    /// Streams that no peer has yet, the oldest first: all, or those that come from where this address does.
    pub(super) fn silent_streams(&self, from: Option<IpAddr>) -> impl Iterator<Item = StreamId> {
        let from = from.map(origin);
        let is_meant = move |stream: &StreamOut| !stream.ends && from.is_none_or(|from| stream.origin == from);
        let ids = self.deadlines.iter().map(|(_, id)| *id);
        ids.filter(move |id| self.streams.get(id).is_some_and(is_meant))
    }

    /// The next stream whose time is over.
    pub(super) fn expired(&self, now: Instant) -> Option<StreamId> {
        let (_, id) = self.deadlines.first().copied().filter(|(at, _)| *at <= now)?;
        Some(id)
    }

    /// When the next stream's time is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn set_deadline(&mut self, id: StreamId, until: Option<Instant>) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if let Some(old) = std::mem::replace(&mut stream.until, until) {
            self.deadlines.remove(&(old, id));
        }
        if let Some(until) = until {
            self.deadlines.insert((until, id));
        }
    }

    /// Which socket our end of a path belongs to.
    pub(super) fn socket_of(&self, local: Option<SocketAddr>) -> Option<usize> {
        let local = local?;
        let exact = self.sockets.iter().position(|socket| socket.local == local);
        let any = |socket: &Socket| {
            socket.local.port() == local.port()
                && socket.local.ip().is_unspecified()
                && socket.local.is_ipv4() == local.is_ipv4()
        };
        exact.or_else(|| self.sockets.iter().position(any))
    }

    /// Sends a datagram of the control plane before any packet that waits.
    pub(super) fn control(&mut self, line: Line, transmit: Transmit) {
        match line {
            Line::Udp(index) => {
                let index = self.socket_of(transmit.path.local).unwrap_or(index);
                match self.sockets.get_mut(index) {
                    Some(socket) if socket.sender.waiting() < MAX_WAITING => socket.sender.control(transmit),
                    _ => self.dropped += 1,
                }
            }
            Line::Stream(id) => match self.streams.get_mut(&id) {
                Some(stream) if stream.sender.batch.waiting() < MAX_STREAM_BYTES => {
                    stream.sender.batch.copy(&transmit.datagram);
                    stream.waker.wake_by_ref();
                }
                Some(stream) => {
                    stream.broken = true;
                    stream.waker.wake_by_ref();
                }
                None => self.dropped += 1,
            },
        }
    }

    /// Where packets for this path are sealed; `None` while its socket is blocked, of which `caller` is told when it is over.
    pub(super) fn batch(
        &mut self,
        cx: &mut Context<'_>,
        line: Line,
        path: &Path,
        room: usize,
        caller: &Arc<Caller>,
    ) -> Option<&mut Batch> {
        match line {
            Line::Udp(index) => self.sockets.get_mut(index)?.batch(cx, path, room, caller),
            Line::Stream(id) => self.streams.get_mut(&id)?.batch(room, caller),
        }
    }

    /// Sends what waits for a line. Whether all of it was sent.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, line: Line) -> bool {
        match line {
            Line::Udp(index) => self.sockets.get_mut(index).is_none_or(|socket| socket.flush(cx)),
            Line::Stream(id) => self.streams.get_mut(&id).is_none_or(StreamOut::flush),
        }
    }

    /// Has a stream send what waits for it when its turn comes. All UDP sockets send at the end of every turn.
    pub(super) fn remind(&self, line: Line) {
        if let Line::Stream(id) = line
            && let Some(stream) = self.streams.get(&id)
        {
            stream.waker.wake_by_ref();
        }
    }

    /// Sends what waits for all UDP sockets. Whether all of it was sent.
    pub(super) fn flush_sockets(&mut self, cx: &mut Context<'_>) -> bool {
        let blocked = self.sockets.iter_mut().filter_map(|socket| (!socket.flush(cx)).then_some(())).count();
        blocked == 0
    }

    /// The peer of a stream has gone; what waits is still sent.
    pub(super) fn end_stream(&mut self, now: Instant, id: StreamId) {
        self.set_deadline(id, Some(now + LAST_WORDS));
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.ends = true;
            stream.waker.wake_by_ref();
        }
    }

    /// A stream's own turn: sends what waits. `false` when it is over.
    pub(super) fn work_stream(&mut self, id: StreamId) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        let sent = stream.flush();
        !(stream.broken || stream.ends && sent)
    }

    pub(super) fn drop_stream(&mut self, id: StreamId) {
        self.set_deadline(id, None);
        self.streams.remove(&id);
    }

    /// Whether no stream has last words to say.
    pub(super) fn has_spoken(&self) -> bool {
        !self.streams.values().any(|stream| stream.ends)
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }
}

impl Socket {
    fn batch(&mut self, cx: &mut Context<'_>, path: &Path, room: usize, caller: &Arc<Caller>) -> Option<&mut Batch> {
        let fits = self.sender.batch.is_empty() || self.to == Some(*path) && self.sender.batch.has_room(room);
        if !fits && !self.flush(cx) {
            if caller.park() {
                self.waiting.push(Arc::clone(caller));
            }
            return None;
        }
        self.to = Some(*path);
        Some(&mut self.sender.batch)
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> bool {
        // Without a batch the path does not matter.
        let remote = self.local;
        let to = self.to.unwrap_or(Path { transport: Transport::Udp, local: None, remote });
        let sent = self.sender.poll_flush(cx, &to).is_ready();
        if sent {
            self.to = None;
            self.waiting.drain(..).for_each(|caller| caller.unpark());
        }
        sent
    }
}

impl StreamOut {
    fn batch(&mut self, room: usize, caller: &Arc<Caller>) -> Option<&mut Batch> {
        if !self.sender.batch.is_empty() && !self.sender.batch.has_room(room) && !self.flush() {
            caller.park();
            self.waiting = Some(Arc::clone(caller));
            return None;
        }
        Some(&mut self.sender.batch)
    }

    fn flush(&mut self) -> bool {
        if self.broken {
            return true;
        }
        match self.sender.poll_flush(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                tracing::debug!("a stream broke: {error}");
                self.broken = true;
                self.waker.wake_by_ref();
            }
        }
        if let Some(caller) = self.waiting.take() {
            caller.unpark();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_a_whole_network_is_one() {
        let of = |address: &str| origin(address.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
