//! UDP: many datagrams per system call where the operating system can, one by one where it cannot.

use std::{
    collections::VecDeque,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr, UdpSocket as StdUdpSocket},
    sync::Arc,
    task::{Context, Poll, ready},
};

use adit_tunnel::{Path, Transmit};
use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

use super::local_address;
use crate::{
    batch::{Batch, RunLimit},
    protocol::SocketOptions,
    shared::OuterSocket,
};

/// Receives up to [`SLOTS`] datagrams, or trains of datagrams, at a time.
#[derive(Debug)]
pub(crate) struct UdpReceiver {
    io: Arc<Io>,
    buffer: Box<[u8]>,
    metas: [RecvMeta; SLOTS],
    filled: usize,
    /// An ICMP error has come, and nobody has asked since.
    hinted: bool,
}

/// Sends control datagrams and the batch.
#[derive(Debug)]
pub(crate) struct UdpSender {
    io: Arc<Io>,
    control: VecDeque<Transmit>,
    pub(crate) batch: Batch,
    segment_bytes: usize,
    receive_buffer: Option<usize>,
    /// The system has taken segmentation back, and nobody has asked since.
    changed: bool,
    full: u32,
    /// Why the last datagram could not be sent.
    trouble: Option<io::Error>,
    /// How many in a row could not because this machine knows no way there.
    unroutable: u32,
    /// What an ICMP error said last.
    unreachable: Option<io::Error>,
    /// How often one said that nothing listens there.
    refusals: u32,
    /// It is new.
    pub(super) hinted: bool,
    /// Whether datagrams are sent from the very address their path says.
    answers: bool,
}

#[derive(Debug)]
struct Io {
    socket: UdpSocket,
    state: UdpSocketState,
}

/// Where a datagram goes, and the address it is sent from; the system's choice if `None`.
type Ends = (SocketAddr, Option<IpAddr>);

/// Buffers per system call. A train of datagrams fills one of them, so few are enough.
const SLOTS: usize = 8;
/// Takes the longest train, and the longest datagram.
const SLOT_BYTES: usize = 65535;
/// Segments per send: receivers are overrun from 46 on (measured on loopback), and 32 is hardly slower.
const MAX_SEGMENTS: usize = 32;
/// Enough for 1 Gbit/s while this task is held up for 32 ms, or for some 50 trains of datagrams, which the kernel counts with its own
/// overhead; the system may grant less.
const DEFAULT_BUFFER: u32 = 4 << 20;
/// Errors in a row before other tasks have their turn: whoever sends ICMP errors must not hold up the rest.
const MAX_RECEIVE_ERRORS: usize = 16;
/// How often a full send buffer of the network card is tried again before the datagrams are given up.
const MAX_FULL: u32 = 32;
/// How often a datagram is tried again because an error was of an earlier one.
const MAX_EARLIER_ERRORS: u32 = 8;

/// A socket that sends to this gateway.
pub(super) fn open(remote: SocketAddr, options: &SocketOptions) -> io::Result<(UdpReceiver, UdpSender)> {
    bind(local_address(remote, options), options)
}

/// A socket at this address, whatever the options say about it.
pub(crate) fn bind(local: SocketAddr, options: &SocketOptions) -> io::Result<(UdpReceiver, UdpSender)> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    super::set_mark(&socket2::SockRef::from(&socket), options.mark)?;
    let receive = options.receive_buffer.unwrap_or(DEFAULT_BUFFER);
    let send = options.send_buffer.unwrap_or(DEFAULT_BUFFER);
    // A smaller buffer only costs speed.
    if let Err(error) = set_buffers(&socket, receive as usize, send as usize) {
        tracing::debug!("socket buffers not set: {error}");
    }
    socket.set_nonblocking(true)?;
    socket.bind(&local.into())?;
    let socket = StdUdpSocket::from(socket);
    let state = UdpSocketState::new((&socket).into())?;
    allow_fragmentation(&socket, local);
    #[cfg(unix)]
    if let Err(error) = state.enable_transport_errors((&socket).into()) {
        tracing::debug!("ICMP errors stay unseen: {error}");
    }
    let receive_buffer = state.recv_buffer_size((&socket).into()).ok();
    tracing::debug!(
        local = %socket.local_addr()?,
        segments = state.max_gso_segments(),
        trains = state.gro_segments() > 1,
        receive_buffer = receive_buffer.unwrap_or(0),
        "UDP socket open"
    );
    let io = Arc::new(Io { socket: UdpSocket::from_std(socket)?, state });
    // An IP header of 20 or 40 bytes and a UDP header of 8 on a link of 1500.
    let segment_bytes = if local.is_ipv4() { 1472 } else { 1452 };
    let limit = RunLimit { segments: MAX_SEGMENTS.min(io.state.max_gso_segments()), segment_bytes };
    Ok((
        UdpReceiver {
            io: Arc::clone(&io),
            buffer: vec![0; SLOTS * SLOT_BYTES].into_boxed_slice(),
            metas: [RecvMeta::default(); SLOTS],
            filled: 0,
            hinted: false,
        },
        UdpSender {
            io,
            control: VecDeque::new(),
            batch: Batch::datagrams(limit),
            segment_bytes,
            receive_buffer,
            changed: false,
            full: 0,
            trouble: None,
            unroutable: 0,
            unreachable: None,
            refusals: 0,
            hinted: false,
            answers: false,
        },
    ))
}

/// Whoever has CAP_NET_ADMIN, as TUN mode has, is given what it asks for; others no more than `net.core.rmem_max` and
/// `net.core.wmem_max`, by default a few trains of datagrams.
#[cfg(target_os = "linux")]
fn set_buffers(socket: &Socket, receive: usize, send: usize) -> io::Result<()> {
    use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force};
    if set_socket_recv_buffer_size_force(socket, receive).is_ok()
        && set_socket_send_buffer_size_force(socket, send).is_ok()
    {
        return Ok(());
    }
    set_capped_buffers(socket, receive, send)
}

#[cfg(not(target_os = "linux"))]
use set_capped_buffers as set_buffers;

/// The system caps both at its own maximum.
fn set_capped_buffers(socket: &Socket, receive: usize, send: usize) -> io::Result<()> {
    socket.set_recv_buffer_size(receive)?;
    socket.set_send_buffer_size(send)
}

/// quinn-udp forbids fragmentation, as QUIC needs it. A tunnel must carry full inner packets also where header and tag make
/// them larger than the link, so the system's default comes back: fragment what exceeds the known path MTU.
/// For IPv6 `IPV6_DONTFRAG` remains set: there only datagrams that fit the link get through.
#[cfg(target_os = "linux")]
fn allow_fragmentation(socket: &StdUdpSocket, local: SocketAddr) {
    use rustix::net::sockopt::{
        Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    };
    let set = if local.is_ipv4() {
        set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::WANT)
    } else {
        set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::WANT)
    };
    if let Err(error) = set {
        tracing::debug!("large datagrams cannot be fragmented: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
fn allow_fragmentation(_: &StdUdpSocket, _: SocketAddr) {}

impl Io {
    /// What an ICMP message said of an earlier datagram, once.
    #[cfg(unix)]
    fn next_icmp_error(&self) -> Option<io::Error> {
        let error = self.state.recv_transport_error((&self.socket).into()).ok().flatten()?;
        Some(io::Error::from_raw_os_error(error.raw_errno))
    }

    /// Other systems tell at the next call, if at all.
    #[cfg(not(unix))]
    fn next_icmp_error(&self) -> Option<io::Error> {
        None
    }
}

impl UdpReceiver {
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket.local_addr()
    }

    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.filled = 0;
        for _ in 0..MAX_RECEIVE_ERRORS {
            // An error of readiness means that the runtime shuts down: nothing more will come.
            if ready!(self.io.socket.poll_recv_ready(cx)).is_err() {
                return Poll::Pending;
            }
            let Self { io, buffer, metas, .. } = self;
            let mut slots = buffer.chunks_exact_mut(SLOT_BYTES);
            let mut slices: [IoSliceMut<'_>; SLOTS] =
                std::array::from_fn(|_| IoSliceMut::new(slots.next().unwrap_or_default()));
            let received = io
                .socket
                .try_io(Interest::READABLE, || io.state.recv((&io.socket).into(), &mut slices, &mut metas[..]));
            match received {
                Ok(count) => {
                    self.filled = count;
                    return Poll::Ready(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Such as an ICMP error about an earlier datagram: anybody can send those, so none decides anything.
                Err(error) => {
                    tracing::debug!("receive: {error}");
                    self.hinted |= is_unreachable(&error);
                }
            }
        }
        // Others have their turn first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    pub(super) fn take_icmp_hint(&mut self) -> bool {
        std::mem::take(&mut self.hinted)
    }

    /// Every datagram of the last [`Self::poll_fill`], with its source, and the address it was sent to where the system tells.
    pub(crate) fn for_each(&mut self, mut f: impl FnMut(SocketAddr, Option<IpAddr>, &mut [u8])) {
        let filled = std::mem::take(&mut self.filled);
        for (slot, meta) in self.buffer.chunks_exact_mut(SLOT_BYTES).zip(&self.metas[..filled]) {
            let length = meta.len.min(slot.len());
            for datagram in slot[..length].chunks_mut(meta.stride.max(1)) {
                f(meta.addr, meta.dst_ip, datagram);
            }
        }
    }
}

impl UdpSender {
    /// From now on the system does not choose the address that datagrams are sent from: a peer takes answers only from where it
    /// has asked. For sockets bound to no address.
    pub(crate) fn answer_as_asked(&mut self) {
        self.answers = true;
    }

    pub(crate) fn control(&mut self, transmit: Transmit) {
        self.control.push_back(transmit);
    }

    /// How many datagrams of the control plane wait.
    pub(crate) fn waiting(&self) -> usize {
        self.control.len()
    }

    /// Sends what waits, the batch to the remote end of `path`.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>, path: &Path) -> Poll<()> {
        let mut failed = 0;
        while let Some(transmit) = self.control.front() {
            let (remote, source) = self.ends(&transmit.path);
            let bytes = transmit.datagram.clone();
            let sent = ready!(poll_send(&self.io, cx, (remote, source), &bytes, None));
            if self.is_of_an_earlier_one(&sent, &mut failed, false) {
                continue;
            }
            match sent {
                Err(error) if is_full(&error) && self.spin(cx) => return Poll::Pending,
                outcome => self.note(remote, outcome.err()),
            }
            failed = 0;
            self.control.pop_front();
        }
        let (remote, source) = self.ends(path);
        while let Some((run, bytes)) = self.batch.next_run() {
            let whole = self.io.state.max_gso_segments() > 1 && bytes.len() > run.segment;
            let length = if whole { bytes.len() } else { run.segment.min(bytes.len()) };
            let sent =
                ready!(poll_send(&self.io, cx, (remote, source), &bytes[..length], whole.then_some(run.segment)));
            if self.is_of_an_earlier_one(&sent, &mut failed, whole) {
                continue;
            }
            match sent {
                Ok(()) => self.note(remote, None),
                Err(error) if is_full(&error) && self.spin(cx) => return Poll::Pending,
                // The system took segmentation back. Nothing was sent: once more, one by one.
                Err(error) if whole => {
                    tracing::debug!("segmented send: {error}; sending one by one");
                    self.send_one_by_one((remote, source), run.segment, length);
                    self.limit_runs();
                    continue;
                }
                Err(error) => self.note(remote, Some(error)),
            }
            (self.full, failed) = (0, 0);
            self.batch.sent(length);
        }
        Poll::Ready(())
    }

    fn ends(&self, path: &Path) -> Ends {
        (path.remote, path.local.filter(|_| self.answers).map(|local| local.ip()))
    }

    /// The first `length` bytes of the next run, without segmentation. What the socket does not take is lost: this happens
    /// once, when the system turns out not to segment.
    fn send_one_by_one(&mut self, ends: Ends, segment: usize, length: usize) {
        let mut trouble = None;
        if let Some((_, bytes)) = self.batch.next_run() {
            for datagram in bytes[..length].chunks(segment) {
                trouble = try_send(&self.io, ends, datagram, None).err();
            }
        }
        self.note(ends.0, trouble);
        self.batch.sent(length);
    }

    /// The error of a send may be about an earlier one: an ICMP error, which anybody can forge, of any kind. The system reports
    /// each once, instead of sending the datagram at hand, which has its turn then. `failed` counts for that datagram.
    fn is_of_an_earlier_one(&mut self, sent: &io::Result<()>, failed: &mut u32, segmented: bool) -> bool {
        if sent.as_ref().map_or_else(is_full, |()| true) {
            return false;
        }
        *failed += 1;
        // Where the queue of such errors was full, there is none in it, though one was reported. Segmentation may have been taken
        // back, for which there is another answer.
        let any = self.take_icmp_errors() || (*failed == 1 && !segmented);
        any && *failed <= MAX_EARLIER_ERRORS
    }

    /// What ICMP errors say of earlier datagrams. Whether there were any.
    fn take_icmp_errors(&mut self) -> bool {
        let mut any = false;
        while let Some(error) = self.io.next_icmp_error() {
            any = true;
            if !is_unreachable(&error) {
                tracing::debug!("ICMP error: {error}");
                continue;
            }
            self.refusals += u32::from(error.kind() == io::ErrorKind::ConnectionRefused);
            if self.unreachable.as_ref().map(io::Error::kind) != Some(error.kind()) {
                tracing::debug!("ICMP error: {error}");
            }
            self.unreachable = Some(error);
            self.hinted = true;
        }
        any
    }

    /// What the system makes of the socket now.
    pub(crate) fn socket(&self) -> OuterSocket {
        OuterSocket { segmentation: self.io.state.max_gso_segments() > 1, receive_buffer: self.receive_buffer }
    }

    /// The same, once after it has changed: the system may take segmentation back.
    pub(crate) fn changed_socket(&mut self) -> Option<OuterSocket> {
        std::mem::take(&mut self.changed).then(|| self.socket())
    }

    /// Why the last datagram could not be sent, if so.
    pub(crate) fn trouble(&self) -> Option<&io::Error> {
        self.trouble.as_ref()
    }

    /// How many datagrams in a row could not be sent because this machine knows no way there.
    pub(crate) fn unroutable(&self) -> u32 {
        self.unroutable
    }

    /// What an ICMP error said last.
    pub(crate) fn icmp_error(&self) -> Option<&io::Error> {
        self.unreachable.as_ref()
    }

    /// How many ICMP errors have said that nothing listens there; those that have come since the last datagram was sent count, too.
    pub(crate) fn refusals(&mut self) -> u32 {
        self.take_icmp_errors();
        self.refusals
    }

    fn limit_runs(&mut self) {
        self.changed = true;
        let segments = MAX_SEGMENTS.min(self.io.state.max_gso_segments());
        self.batch.set_limit(RunLimit { segments, segment_bytes: self.segment_bytes });
    }

    /// The queue of the network card is full, of which no readiness tells: try again soon. False when that was tried enough.
    fn spin(&mut self, cx: &Context<'_>) -> bool {
        self.full += 1;
        if self.full > MAX_FULL {
            self.full = 0;
            return false;
        }
        cx.waker().wake_by_ref();
        true
    }

    fn note(&mut self, remote: SocketAddr, error: Option<io::Error>) {
        if let Some(error) = &error
            && self.trouble.as_ref().map(io::Error::kind) != Some(error.kind())
        {
            tracing::debug!("sending to {remote}: {error}");
        }
        let is_unroutable = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable)
        };
        self.unroutable = if error.as_ref().is_some_and(is_unroutable) { self.unroutable.saturating_add(1) } else { 0 };
        self.trouble = error;
    }
}

fn poll_send(io: &Io, cx: &mut Context<'_>, ends: Ends, bytes: &[u8], segment: Option<usize>) -> Poll<io::Result<()>> {
    loop {
        match try_send(io, ends, bytes, segment) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(io.socket.poll_send_ready(cx))?,
            done => return Poll::Ready(done),
        }
    }
}

fn try_send(io: &Io, (destination, src_ip): Ends, bytes: &[u8], segment: Option<usize>) -> io::Result<()> {
    let transmit = quinn_udp::Transmit { destination, ecn: None, contents: bytes, segment_size: segment, src_ip };
    io.socket.try_io(Interest::WRITABLE, || io.state.try_send((&io.socket).into(), &transmit))
}

fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
    )
}

/// ENOBUFS: 105 on Linux, 55 on the BSDs.
fn is_full(error: &io::Error) -> bool {
    let number = if cfg!(target_os = "linux") { 105 } else { 55 };
    cfg!(unix) && error.raw_os_error() == Some(number)
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    /// A socket on the loopback interface, and its address.
    fn endpoint(address: &str) -> (UdpReceiver, UdpSender, SocketAddr) {
        let address: SocketAddr = address.parse().unwrap();
        let options = SocketOptions { address: Some(address.ip()), ..SocketOptions::default() };
        let (receiver, sender) = open(address, &options).unwrap();
        let local = receiver.io.socket.local_addr().unwrap();
        (receiver, sender, local)
    }

    #[tokio::test]
    async fn a_socket_has_the_address_the_port_and_the_buffers_it_is_told() {
        let there: SocketAddr = "127.0.0.77:9".parse().unwrap();
        let address = Some(there.ip());
        let port = {
            let (receiver, ..) = open(there, &SocketOptions { address, ..SocketOptions::default() }).unwrap();
            receiver.io.socket.local_addr().unwrap().port()
        };
        let (receive_buffer, send_buffer) = (Some(20_000), Some(30_000));
        let options = SocketOptions { address, port: Some(port), receive_buffer, send_buffer, mark: None };
        let (receiver, sender) = open(there, &options).unwrap();
        let io = &receiver.io;
        assert_eq!(io.socket.local_addr().unwrap(), SocketAddr::new(there.ip(), port));
        let received = io.state.recv_buffer_size((&io.socket).into()).unwrap();
        let sent = io.state.send_buffer_size((&io.socket).into()).unwrap();
        assert_eq!(sender.socket().receive_buffer, Some(received));
        // Linux doubles both, for its own books.
        assert!((20_000..=40_000).contains(&received), "{received}");
        assert!((30_000..=60_000).contains(&sent), "{sent}");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn buffers_are_larger_than_the_system_grants_others_for_those_who_administer_it() {
        let read = |path: &str| std::fs::read_to_string(path).unwrap();
        let most: u32 = read("/proc/sys/net/core/rmem_max").trim().parse().unwrap();
        let options = SocketOptions { receive_buffer: Some(most + (1 << 20)), ..SocketOptions::default() };
        let (_, sender) = open("127.0.0.1:9".parse().unwrap(), &options).unwrap();
        // Linux doubles it.
        let granted = sender.socket().receive_buffer.unwrap() / 2;
        let status = read("/proc/self/status");
        let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        let net_admin = u64::from_str_radix(rights.trim(), 16).unwrap() & (1 << 12) != 0;
        // Rights of a user namespace do not count.
        let of_the_machine = read("/proc/self/uid_map").contains("4294967295");
        let wanted = if net_admin && of_the_machine { most + (1 << 20) } else { most };
        assert_eq!(granted, wanted as usize);
    }

    fn to(remote: SocketAddr) -> Path {
        Path { transport: adit_tunnel::Transport::Udp, local: None, remote }
    }

    async fn receive(receiver: &mut UdpReceiver, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut all = Vec::new();
        while all.len() < count {
            let filled = poll_fn(|cx| receiver.poll_fill(cx));
            tokio::time::timeout(Duration::from_secs(10), filled).await.expect("in time");
            receiver.for_each(|source, _, datagram| all.push((source, datagram.to_vec())));
        }
        all
    }

    /// Lengths that make runs, end them, and stand alone.
    const LENGTHS: [usize; 8] = [1400, 1400, 1400, 200, 1400, 90, 1400, 4000];

    fn fill(batch: &mut Batch) -> Vec<Vec<u8>> {
        let datagrams: Vec<_> = (0u8..40).map(|n| vec![n; LENGTHS[usize::from(n) % LENGTHS.len()]]).collect();
        datagrams.iter().for_each(|datagram| batch.copy(datagram));
        datagrams
    }

    async fn arrives_in_order(address: &str) {
        let (mut receiver, _, there) = endpoint(address);
        let (_, mut sender, here) = endpoint(address);
        let sent = fill(&mut sender.batch);
        poll_fn(|cx| sender.poll_flush(cx, &to(there))).await;
        let received = receive(&mut receiver, sent.len()).await;
        assert!(received.iter().all(|(source, _)| *source == here));
        assert!(received.into_iter().map(|(_, datagram)| datagram).eq(sent));
        assert!(sender.batch.next_run().is_none());
    }

    #[tokio::test]
    async fn a_batch_arrives_whole_and_in_order() {
        arrives_in_order("127.0.0.1:0").await;
        arrives_in_order("[::1]:0").await;
    }

    #[tokio::test]
    async fn a_run_the_system_does_not_segment_is_sent_one_by_one() {
        let (mut receiver, _, there) = endpoint("127.0.0.1:0");
        let (_, mut sender, _) = endpoint("127.0.0.1:0");
        sender.batch.set_limit(RunLimit { segments: 64, segment_bytes: 1472 });
        let sent: Vec<_> = (0u8..20).map(|n| vec![n; 1000]).collect();
        sent.iter().for_each(|datagram| sender.batch.copy(datagram));
        let (run, bytes) = sender.batch.next_run().unwrap();
        let length = bytes.len();
        assert_eq!(length, 20_000, "one run");
        poll_fn(|cx| sender.io.socket.poll_send_ready(cx)).await.unwrap();
        sender.send_one_by_one((there, None), run.segment, length);
        let received = receive(&mut receiver, sent.len()).await;
        assert!(received.into_iter().map(|(_, datagram)| datagram).eq(sent));
        assert!(sender.batch.next_run().is_none());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_port_nobody_listens_on_is_known_after_the_second_datagram_which_is_sent_nevertheless() {
        let (receiver, _, there) = endpoint("127.0.0.1:0");
        drop(receiver);
        let (_, mut sender, _) = endpoint("127.0.0.1:0");
        for _ in 0..2 {
            sender.batch.copy(b"anybody?");
            poll_fn(|cx| sender.poll_flush(cx, &to(there))).await;
        }
        assert_eq!(sender.icmp_error().map(io::Error::kind), Some(io::ErrorKind::ConnectionRefused));
        assert!(sender.trouble().is_none(), "the second was sent");
    }

    /// An ICMP error of the destination, as anybody can send one who knows the ports: RFC 792, the header of the datagram it is
    /// about behind its own eight bytes.
    #[cfg(target_os = "linux")]
    fn forge(code: u8, from: SocketAddr, to: SocketAddr) {
        use socket2::{Domain, Protocol, Type};
        let raw =
            Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).expect("CAP_NET_RAW is needed for this test");
        // The next hop's MTU stays out of the way.
        let mut message = vec![3, code, 0, 0, 0, 0, 0xff, 0xff];
        message.extend([0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        message.extend(from.port().to_be_bytes());
        message.extend(to.port().to_be_bytes());
        message.extend([0, 16, 0, 0]);
        let words = message.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum = words.sum::<u32>();
        let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        raw.send_to(&message, &SocketAddr::new(to.ip(), 0).into()).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn forged_errors_of_any_kind_cost_no_datagram() {
        for code in 0..16 {
            for control in [true, false] {
                let (mut receiver, _, there) = endpoint("127.0.0.1:0");
                let (_receiver, mut sender, here) = endpoint("127.0.0.1:0");
                forge(code, here, there);
                // The system may drop one; the others show it.
                let reported = sender.io.socket.ready(Interest::ERROR);
                drop(tokio::time::timeout(Duration::from_millis(500), reported).await);
                if control {
                    sender
                        .control(Transmit { path: to(there), datagram: bytes::Bytes::from_static(b"are you there?") });
                } else {
                    sender.batch.copy(b"a packet");
                }
                poll_fn(|cx| sender.poll_flush(cx, &to(there))).await;
                assert!(sender.trouble().is_none(), "code {code}: {:?}", sender.trouble());
                assert_eq!(receive(&mut receiver, 1).await.len(), 1, "code {code}");
            }
        }
    }
}
