//! Ports of our own addresses inside the tunnel: what they take, and from which tunnels.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use adit_netstack::Refusal;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    connection::{Connection, store},
    inside::{Arrival, Inside, Tie},
    udp_socket::UdpSocket,
};

/// Takes TCP connections to one port of our own addresses inside the tunnel. Dropped, the port is closed; connections live on.
pub struct Listener {
    port: u16,
    arrivals: mpsc::Receiver<Arrived>,
    handshakes: JoinSet<io::Result<Arrived>>,
    _open: Open,
}

/// Takes datagrams to one UDP port of our own addresses inside the tunnel, and answers them.
pub struct UdpListener {
    group: Arc<UdpGroup>,
    _open: Open,
}

/// A connection that is not accepted yet, and where it comes from.
type Arrived = (Connection, SocketAddr);

/// The ports of one client, or of a connection of several gateways.
#[derive(Default)]
pub(crate) struct Ports {
    tcp: BTreeMap<Key, mpsc::Sender<Arrived>>,
    udp: BTreeMap<Key, Arc<UdpGroup>>,
    /// There will be no more.
    ended: bool,
}

/// A port, of the gateway of that name alone or of all: there are no two that one gateway would have.
type Key = (u16, Option<Arc<str>>);

/// One TCP port of one gateway.
#[derive(Clone)]
struct TcpPort {
    sender: mpsc::Sender<Arrived>,
    /// Whether it is of this gateway alone.
    is_pinned: bool,
}

/// Closes its port in the end.
struct Open(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(close) = self.0.take() {
            close();
        }
    }
}

impl Ports {
    /// Opens a port; `close` is called when it is not wanted any more.
    pub(crate) fn listen(
        &mut self,
        port: u16,
        pin: Option<Arc<str>>,
        close: impl FnOnce() + Send + Sync + 'static,
    ) -> io::Result<Listener> {
        self.check(port, is_taken(self.tcp.keys(), port, pin.as_deref()))?;
        let (sender, arrivals) = mpsc::channel(BACKLOG);
        self.tcp.insert((port, pin), sender);
        Ok(Listener { port, arrivals, handshakes: JoinSet::new(), _open: Open(Some(Box::new(close))) })
    }

    /// Opens a UDP port.
    pub(crate) fn bind(
        &mut self,
        port: u16,
        pin: Option<Arc<str>>,
        close: impl FnOnce() + Send + Sync + 'static,
    ) -> io::Result<UdpListener> {
        self.check(port, is_taken(self.udp.keys(), port, pin.as_deref()))?;
        let group = Arc::new(UdpGroup { port, state: Mutex::default() });
        self.udp.insert((port, pin), Arc::clone(&group));
        Ok(UdpListener { group, _open: Open(Some(Box::new(close))) })
    }

    fn check(&self, port: u16, taken: bool) -> io::Result<()> {
        if self.ended {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the tunnel has ended"));
        }
        if port == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "port 0 inside the tunnel: name a port"));
        }
        if taken {
            let text = format!("port {port} inside the tunnel is listened on already");
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        Ok(())
    }

    pub(crate) fn close_tcp(&mut self, port: u16, pin: Option<Arc<str>>) {
        self.tcp.remove(&(port, pin));
    }

    pub(crate) fn close_udp(&mut self, port: u16, pin: Option<Arc<str>>) {
        if let Some(group) = self.udp.remove(&(port, pin)) {
            group.end();
        }
    }

    /// There will be no more: whoever waits is told.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.tcp.clear();
        std::mem::take(&mut self.udp).into_values().for_each(|group| group.end());
    }

    /// The TCP ports that are open at the gateway of that name.
    pub(crate) fn tcp_of(&self, gateway: Option<&str>) -> TcpPorts {
        let of = |pin: &Option<Arc<str>>| pin.is_none() || pin.as_deref() == gateway;
        let open = self.tcp.iter().filter(|((_, pin), _)| of(pin));
        let made = |((port, pin), sender): (&Key, &mpsc::Sender<Arrived>)| {
            (*port, TcpPort { sender: sender.clone(), is_pinned: pin.is_some() })
        };
        TcpPorts(open.map(made).collect())
    }

    /// Opens the UDP ports inside of all these tunnels, each by the name of its gateway, and of no others.
    pub(crate) fn bind_inside(&self, insides: &[(Option<Arc<str>>, Arc<Inside>)]) {
        for ((_, pin), group) in &self.udp {
            let wanted = insides.iter().filter(|(gateway, _)| pin.is_none() || pin == gateway);
            group.bind_inside(&wanted.map(|(_, inside)| Arc::clone(inside)).collect::<Vec<_>>());
        }
    }
}

/// Whether a gateway that this port is to be of has it already.
fn is_taken<'a>(mut open: impl Iterator<Item = &'a Key>, port: u16, pin: Option<&str>) -> bool {
    open.any(|(taken, of)| *taken == port && (of.is_none() || pin.is_none() || of.as_deref() == pin))
}

/// TCP ports open in one tunnel.
#[derive(Default)]
pub(crate) struct TcpPorts(BTreeMap<u16, TcpPort>);

impl TcpPorts {
    pub(crate) fn numbers(&self) -> Vec<u16> {
        self.0.keys().copied().collect()
    }

    /// What began at the other end goes to who listens.
    pub(crate) fn take_in(&self, inside: &Arc<Inside>, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            let Arrival::Connection(id) = arrival else { continue };
            let Some((connection, ends)) = Connection::incoming(Arc::clone(inside), id) else { continue };
            let Some(port) = self.0.get(&ends.local.port()) else {
                connection.refuse(Refusal::Reset);
                continue;
            };
            if port.is_pinned {
                connection.tie(Tie::Pinned);
            }
            // Who does not come to accept them has them reset.
            if let Err(full) = port.sender.try_send((connection, ends.remote)) {
                full.into_inner().0.refuse(Refusal::Reset);
            }
        }
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").field("tcp", &self.tcp.keys()).field("udp", &self.udp.keys()).finish_non_exhaustive()
    }
}

impl fmt::Debug for TcpPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TcpPorts").field(&self.0.keys()).finish()
    }
}

impl Listener {
    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next connection, and where it comes from. May be cancelled without losing one.
    ///
    /// # Errors
    /// `NotConnected` when there will be none: the tunnel has ended for good.
    pub async fn accept(&mut self) -> io::Result<(Connection, SocketAddr)> {
        loop {
            tokio::select! {
                biased;
                // Those that fail have ended before anybody knew of them.
                Some(done) = self.handshakes.join_next() => if let Ok(Ok(accepted)) = done {
                    return Ok(accepted);
                },
                arrived = self.arrivals.recv(), if self.handshakes.len() < BACKLOG => {
                    let Some((connection, remote)) = arrived else {
                        return Err(io::Error::new(io::ErrorKind::NotConnected, "the tunnel has ended"));
                    };
                    self.handshakes.spawn(async move {
                        connection.accept().await?;
                        Ok((connection, remote))
                    });
                }
            }
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("port", &self.port).finish_non_exhaustive()
    }
}

impl UdpListener {
    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.group.port
    }

    /// The next datagram: its length, and where it comes from. What does not fit is lost. Of several tasks that wait, only the last is
    /// woken.
    ///
    /// # Errors
    /// `NotConnected` when there will be none: the tunnel has ended for good.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        poll_fn(|cx| self.group.poll_recv_from(cx, buffer)).await
    }

    /// Sends one datagram, through the tunnel the last one from there came through.
    ///
    /// # Errors
    /// As [`crate::UdpSocket::send_to`]; `NotConnected` also when nothing has come from there, or that tunnel is gone.
    pub fn send_to(&self, payload: &[u8], remote: SocketAddr) -> io::Result<()> {
        let socket = self.group.state().socket_for(remote);
        let unknown =
            || io::Error::new(io::ErrorKind::NotConnected, format!("no tunnel to {remote}: it has not sent anything"));
        socket.ok_or_else(unknown)?.send_to(payload, remote)
    }
}

impl fmt::Debug for UdpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpListener").field("port", &self.group.port).finish_non_exhaustive()
    }
}

/// The sockets of one UDP port, one in each tunnel.
struct UdpGroup {
    port: u16,
    state: Mutex<UdpState>,
}

#[derive(Default)]
struct UdpState {
    sockets: Vec<Arc<UdpSocket>>,
    /// Through which tunnel somebody has sent last.
    senders: HashMap<SocketAddr, Arc<UdpSocket>>,
    reader: Option<Waker>,
    ended: bool,
}

impl UdpState {
    fn socket_for(&self, remote: SocketAddr) -> Option<Arc<UdpSocket>> {
        let only = || self.sockets.first().filter(|_| self.sockets.len() == 1);
        self.senders.get(&remote).or_else(only).cloned()
    }
}

impl UdpGroup {
    fn state(&self) -> MutexGuard<'_, UdpState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let mut state = self.state();
        let gone = (std::mem::take(&mut state.sockets), std::mem::take(&mut state.senders));
        state.ended = true;
        let reader = state.reader.take();
        drop(state);
        drop(gone);
        reader.into_iter().for_each(Waker::wake);
    }

    fn bind_inside(&self, insides: &[Arc<Inside>]) {
        let mut state = self.state();
        let stays = |socket: &UdpSocket| insides.iter().any(|inside| socket.is_inside(inside));
        state.sockets.retain(|socket| stays(socket));
        state.senders.retain(|_, socket| stays(socket));
        let mut reader = None;
        for inside in insides {
            if state.sockets.iter().any(|socket| socket.is_inside(inside)) {
                continue;
            }
            match UdpSocket::bind_port(Arc::clone(inside), self.port) {
                Ok(socket) => {
                    state.sockets.push(Arc::new(socket));
                    reader = state.reader.take();
                }
                Err(error) => tracing::debug!("UDP port {} inside a tunnel: {error}", self.port),
            }
        }
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    fn poll_recv_from(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut state = self.state();
        if state.ended {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::NotConnected, "the tunnel has ended")));
        }
        for index in 0..state.sockets.len() {
            let Some(socket) = state.sockets.get(index).map(Arc::clone) else { continue };
            loop {
                match socket.poll_recv_from(cx, buffer) {
                    Poll::Ready(Ok((length, remote))) => {
                        // The next one begins with another.
                        state.sockets.rotate_left(index + 1);
                        if state.senders.len() >= MAX_SENDERS && !state.senders.contains_key(&remote) {
                            state.senders.clear();
                        }
                        state.senders.insert(remote, socket);
                        return Poll::Ready(Ok((length, remote)));
                    }
                    // Somebody who was answered is not there any more: that is not the others' concern.
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                    Poll::Ready(Err(_)) | Poll::Pending => break,
                }
            }
        }
        store(&mut state.reader, cx.waker());
        Poll::Pending
    }
}

/// Connections that may wait to be accepted, and as many handshakes.
const BACKLOG: usize = 128;
/// So many remotes are remembered with the tunnel they came through.
const MAX_SENDERS: usize = 4096;
