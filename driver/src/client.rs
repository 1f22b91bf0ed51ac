//! The handle of a tunnel.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use adit_tunnel::{IpNet, NetworkConfig, Prompt, Random, TunnelDetails};
use tokio::sync::{Semaphore, broadcast};
use tracing::Instrument;

use crate::{
    active::Env,
    connection::Connection,
    error::Failure,
    inside::Tie,
    listening::{Listener, UdpListener},
    options::{NoPrompts, Options, Prompter},
    ping,
    protocol::Protocol,
    random::OsRandom,
    resolve,
    shared::{Live, OuterSocket, Shared, State, Stats},
    staggered, supervisor, tunnel_dns,
    udp_socket::UdpSocket,
    way::is_lost,
};

/// Chooses options before connecting.
pub struct Builder<P> {
    protocol: P,
    options: Options,
    prompter: Arc<dyn Prompter>,
    handshakes: Option<Arc<Semaphore>>,
    shuns_strangers: bool,
}

impl<P: Protocol> Builder<P> {
    /// With default options, and nobody to answer prompts.
    #[must_use]
    pub fn new(protocol: P) -> Self {
        Self {
            protocol,
            options: Options::default(),
            prompter: Arc::new(NoPrompts),
            handshakes: None,
            shuns_strangers: false,
        }
    }

    /// Replaces the options.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Who answers the gateway's questions.
    #[must_use]
    pub fn prompter(self, prompter: impl Prompter) -> Self {
        self.shared_prompter(Arc::new(prompter))
    }

    pub(crate) fn shared_prompter(mut self, prompter: Arc<dyn Prompter>) -> Self {
        self.prompter = prompter;
        self
    }

    /// A cap on simultaneous handshakes, over all clients that share it. Held from the first packet until the tunnel is up or has
    /// failed, but not while a person is asked, nor from the third second on without an answer until one comes.
    #[must_use]
    pub fn handshakes(mut self, handshakes: Option<Arc<Semaphore>>) -> Self {
        self.handshakes = handshakes;
        self
    }

    /// Ends once every remote in turn is not who it should be, rather than trying for ever.
    pub(crate) fn shun_strangers(mut self) -> Self {
        self.shuns_strangers = true;
        self
    }

    /// Starts to connect and returns at once. Must be called within a tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use = "dropping the client closes the tunnel"]
    pub fn start(self) -> Client {
        self.start_observed().0
    }

    /// With all events from the first on.
    pub(crate) fn start_observed(self) -> (Client, Events) {
        let shared = Arc::new(Shared::new(self.options, OsRandom.next_u64()));
        let events = Events { receiver: shared.events.subscribe() };
        let env = Env { shuns_strangers: self.shuns_strangers, ..Env::new(Arc::clone(&shared), self.prompter) };
        let env = env.with_handshakes(self.handshakes);
        // Whoever starts it says in a span which tunnel speaks.
        tokio::spawn(supervisor::run(self.protocol, env).in_current_span());
        (Client { handle: Arc::new(Handle { shared }) }, events)
    }

    /// Connects, and waits until the tunnel is up.
    ///
    /// # Errors
    /// [`Failure`] when no gateway could be reached, or trying again would be no use.
    pub async fn connect(self) -> Result<Client, Failure> {
        let client = self.start();
        client.up().await?;
        Ok(client)
    }
}

impl<P> fmt::Debug for Builder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A tunnel that is kept up. Cheap to clone; when the last clone is dropped, the tunnel is closed.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.request_close();
    }
}

impl Client {
    /// Waits until the tunnel is up.
    ///
    /// # Errors
    /// The [`Failure`] that made the driver give up.
    pub async fn up(&self) -> Result<Arc<NetworkConfig>, Failure> {
        let mut state = self.shared().state.subscribe();
        loop {
            match &*state.borrow_and_update() {
                State::Up(network) => return Ok(Arc::clone(network)),
                State::Closed(failure) => return Err(failure.clone()),
                State::Down => {}
            }
            // The sender lives in what we hold: waiting cannot fail.
            drop(state.changed().await);
        }
    }

    /// Waits until the tunnel has ended for good, and says why.
    pub async fn closed(&self) -> Failure {
        let mut state = self.shared().state.subscribe();
        loop {
            if let State::Closed(failure) = &*state.borrow_and_update() {
                return failure.clone();
            }
            drop(state.changed().await);
        }
    }

    /// What the gateway told about its network, while the tunnel is up.
    #[must_use]
    pub fn network(&self) -> Option<Arc<NetworkConfig>> {
        match &*self.shared().state.borrow() {
            State::Up(network) => Some(Arc::clone(network)),
            State::Down | State::Closed(_) => None,
        }
    }

    /// Opens a TCP connection to a host behind the gateway. While the tunnel is down, waits for it for as long as
    /// [`Options::wait_for_tunnel`] says. Names are resolved by the DNS servers the gateway pushed; of several addresses the first
    /// that answers is used, IPv6 and IPv4 taking turns, each [`Options::stagger`] after the one before (RFC 8305).
    ///
    /// # Errors
    /// The kind says what happened: `ConnectionRefused`, `TimedOut`, `HostUnreachable`, `NotConnected` when there is no
    /// tunnel (any more), `NetworkUnreachable` when the gateway did not agree to carry it, `NotFound` for an unknown name.
    pub async fn dial(&self, target: impl Into<Target>) -> io::Result<Connection> {
        let network = self.wait().await?;
        self.dial_on(target.into(), &network, Tie::Free).await
    }

    pub(crate) async fn dial_on(&self, target: Target, network: &NetworkConfig, tie: Tie) -> io::Result<Connection> {
        let addresses = self.addresses(target, network).await?;
        let open = |address| Connection::open(self.shared().inside(), address, tie);
        staggered::first(addresses, self.shared().options.stagger, is_lost, open).await
    }

    /// Makes a UDP socket inside the tunnel.
    ///
    /// # Errors
    /// As [`Self::dial`], or when there are too many.
    pub async fn bind_udp(&self) -> io::Result<UdpSocket> {
        self.wait().await?;
        self.bind_udp_on(Tie::Free)
    }

    pub(crate) fn bind_udp_on(&self, tie: Tie) -> io::Result<UdpSocket> {
        UdpSocket::bind(self.shared().inside(), tie)
    }

    /// The addresses of a name behind the gateway, asked of the DNS servers the gateway pushed.
    ///
    /// # Errors
    /// `NotFound` when there is no such name, or no DNS server was pushed; otherwise as [`Self::dial`].
    pub async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let network = self.wait().await?;
        tunnel_dns::lookup(self.shared(), &network, host).await
    }

    /// Listens on a TCP port of our own addresses inside the tunnel, now and after each reconnect.
    ///
    /// # Errors
    /// `AddrInUse` when somebody listens there already, `NotConnected` when the tunnel has ended, `InvalidInput` for port 0.
    pub async fn listen(&self, port: u16) -> io::Result<Listener> {
        let weak = Arc::downgrade(self.shared());
        let listener = self.shared().own_ports().listen(port, None, move || {
            if let Some(shared) = weak.upgrade() {
                shared.own_ports().close_tcp(port, None);
                shared.open_own_ports();
            }
        })?;
        self.shared().open_own_ports();
        Ok(listener)
    }

    /// Takes datagrams to a UDP port of our own addresses inside the tunnel, now and after each reconnect.
    ///
    /// # Errors
    /// `AddrInUse` when somebody has that port already, `NotConnected` when the tunnel has ended, `InvalidInput` for port 0.
    pub async fn bind_udp_port(&self, port: u16) -> io::Result<UdpListener> {
        let weak = Arc::downgrade(self.shared());
        let listener = self.shared().own_ports().bind(port, None, move || {
            if let Some(shared) = weak.upgrade() {
                shared.own_ports().close_udp(port, None);
            }
        })?;
        self.shared().open_own_ports();
        Ok(listener)
    }

    /// Sends an ICMP echo request to a host behind the gateway: how long the answer took.
    ///
    /// # Errors
    /// As [`Self::dial`]; `TimedOut` without an answer in time.
    pub async fn ping(&self, address: IpAddr, payload: &[u8], timeout: Duration) -> io::Result<Duration> {
        self.wait().await?;
        ping::ping(self.shared().inside(), address, payload, timeout).await
    }

    /// Changes of state from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        Events { receiver: self.shared().events.subscribe() }
    }

    /// Numbers since the client was made.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared().inside().lock().stats()
    }

    /// Numbers of the TCP/IP stack inside the tunnel.
    #[must_use]
    pub fn stack_counters(&self) -> adit_netstack::Counters {
        *self.shared().inside().lock().stack.counters()
    }

    /// Resets the connections inside, says goodbye to the gateway and waits until that is sent, no longer than
    /// [`Options::close_timeout`].
    pub async fn close(&self) {
        self.shared().request_close();
        self.closed().await;
    }

    /// Puts a TUN device beside the connections and sockets of this client: what the kernel sends through it goes through the
    /// tunnel, and what comes out of the tunnel and belongs to none of them goes to the kernel. It stays while the tunnel
    /// reconnects, and is removed with the client. Addresses and routes are not the client's business.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the runtime takes no more descriptors.
    #[cfg(target_os = "linux")]
    pub fn attach(&self, device: crate::tun::Device) -> io::Result<()> {
        let mut port = crate::tun::Port::new(device)?;
        let network = self.network();
        let inside = self.shared().inside();
        let mut inner = inside.lock();
        if let Some(network) = network {
            port.set_tcp_mtu(network.tcp_mtu);
        }
        inner.device = Some(port);
        inner.wake_driver();
        Ok(())
    }

    /// The gateway's address in use, while the tunnel is up.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        self.live().remote
    }

    /// What was negotiated, while the tunnel is up.
    #[must_use]
    pub fn details(&self) -> Option<TunnelDetails> {
        self.live().details
    }

    /// The UDP socket the tunnel goes through, while it is up; none where it goes over TCP.
    #[must_use]
    pub fn outer_socket(&self) -> Option<OuterSocket> {
        self.live().outer
    }

    /// From the first packet until the tunnel was up, of the latest one that was.
    #[must_use]
    pub fn handshake(&self) -> Option<Duration> {
        self.live().handshake
    }

    /// What the gateway has agreed to carry, if it has named it.
    pub(crate) fn carries(&self) -> Option<Arc<[IpNet]>> {
        self.shared().inside().lock().reach.networks()
    }

    pub(crate) fn live(&self) -> Live {
        self.shared().live().clone()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    async fn wait(&self) -> io::Result<Arc<NetworkConfig>> {
        match tokio::time::timeout(self.shared().options.wait_for_tunnel, self.up()).await {
            Ok(up) => Ok(up?),
            Err(_) => Err(io::Error::new(io::ErrorKind::NotConnected, "the tunnel is down")),
        }
    }

    async fn addresses(&self, target: Target, network: &NetworkConfig) -> io::Result<Vec<SocketAddr>> {
        Ok(match target {
            Target::Address(address) => vec![address],
            Target::Name(host, port) => {
                let found = tunnel_dns::lookup(self.shared(), network, &host).await?;
                resolve::interleave(found.into_iter().map(|address| SocketAddr::new(address, port)))
            }
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("state", &*self.shared().state.borrow()).finish_non_exhaustive()
    }
}

/// Where to connect to, behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// An address.
    Address(SocketAddr),
    /// A name, and a port.
    Name(String, u16),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl From<(IpAddr, u16)> for Target {
    fn from(address: (IpAddr, u16)) -> Self {
        Self::Address(address.into())
    }
}

impl From<(&str, u16)> for Target {
    /// An address in text form is taken as such; of IPv6 also in brackets, as URLs have it (RFC 3986 §3.2.2).
    fn from((host, port): (&str, u16)) -> Self {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = match bare {
            Some(bare) => bare.parse().map(IpAddr::V6),
            None => host.parse(),
        };
        match address {
            Ok(address) => Self::Address(SocketAddr::new(address, port)),
            Err(_) => Self::Name(host.to_owned(), port),
        }
    }
}

/// A change of state.
#[derive(Debug, Clone)]
pub enum ClientEvent {
    /// A gateway is tried.
    Connecting {
        /// `host:port`.
        remote: String,
    },
    /// Packets can travel; also when the gateway changed its network.
    Up(Arc<NetworkConfig>),
    /// An attempt failed, or the tunnel was lost; it is tried again.
    Down {
        /// Why.
        cause: Failure,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// Somebody has removed the device of [`Client::attach`]. The tunnel goes on without one.
    DeviceLost,
    /// The gateway asks, or says something. The [`Prompter`] gets it, too.
    Prompt(Prompt),
    /// The tunnel has ended for good.
    Closed(Failure),
}

/// Changes of state, in order.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<ClientEvent>,
}

impl Events {
    /// The next event; `None` when the client is gone. A reader that falls far behind misses the oldest.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
