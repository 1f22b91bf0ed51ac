//! What a gateway is told.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use adit_tunnel::{NetworkConfig, Transport};

use super::{Authenticator, Exit, Pool};

/// What a [`super::Gateway`] is told.
#[derive(Clone)]
pub struct Options {
    /// Where peers are listened to; at least one.
    pub listen: Vec<Listen>,
    /// The peers' addresses inside their tunnels.
    pub pool: Pool,
    /// What peers are told about the network: routes, DNS. Addresses are filled in from the pool for each peer, as are
    /// [`NetworkConfig::gateway4`] and [`NetworkConfig::gateway6`] where they are not given; sizes are the protocol's to choose where they
    /// are 0.
    pub network: NetworkConfig,
    /// Who is let in.
    pub authenticator: Arc<dyn Authenticator>,
    /// Where packets of peers go.
    pub exit: WayOut,
    /// One tunnel for each identity: a new one closes the older ones, as if the peer had said that it is alone. OpenVPN's
    /// clients cannot say so, and its servers take it for granted unless they have `duplicate-cn`.
    pub single: bool,
    /// Bounds.
    pub limits: Limits,
}

impl Options {
    /// With nothing to tell about the network, and default bounds.
    #[must_use]
    pub fn new(
        listen: impl Into<Vec<Listen>>,
        pool: Pool,
        authenticator: impl Authenticator,
        exit: impl Into<WayOut>,
    ) -> Self {
        Self {
            listen: listen.into(),
            pool,
            network: NetworkConfig::default(),
            authenticator: Arc::new(authenticator),
            exit: exit.into(),
            single: false,
            limits: Limits::default(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("listen", &self.listen)
            .field("pool", &self.pool)
            .field("network", &self.network)
            .field("exit", &self.exit)
            .field("single", &self.single)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A socket that peers are listened to on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Listen {
    /// UDP, or TCP where each stream is one peer.
    pub transport: Transport,
    /// Address and port; port 0 takes any that is free, an unspecified address all of its family. IPv6 and IPv4 are listened to
    /// apart.
    pub address: SocketAddr,
}

impl Listen {
    /// Listens over UDP.
    #[must_use]
    pub fn udp(address: impl Into<SocketAddr>) -> Self {
        Self { transport: Transport::Udp, address: address.into() }
    }

    /// Listens over TCP.
    #[must_use]
    pub fn tcp(address: impl Into<SocketAddr>) -> Self {
        Self { transport: Transport::Tcp, address: address.into() }
    }
}

/// Where packets of peers go.
#[derive(Clone)]
pub enum WayOut {
    /// Inner TCP connections and UDP associations end here and leave through these sockets; no root is needed. Any
    /// other packet (ICMP echo is answered by the gateway itself) is dropped. Addresses of the pool are not reachable: what
    /// another network of this machine has there is not meant.
    Sockets(Arc<dyn Exit>),
    /// All peers are on one TUN device, and the kernel routes. Linux only; needs CAP_NET_ADMIN.
    Tun(TunOptions),
}

impl<E: Exit> From<E> for WayOut {
    fn from(exit: E) -> Self {
        Self::Sockets(Arc::new(exit))
    }
}

impl From<TunOptions> for WayOut {
    fn from(options: TunOptions) -> Self {
        Self::Tun(options)
    }
}

impl fmt::Debug for WayOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sockets(_) => f.write_str("Sockets"),
            Self::Tun(options) => f.debug_tuple("Tun").field(options).finish(),
        }
    }
}

/// The TUN device of a gateway. It gets the first address of each network of the pool, with the network's prefix, so that
/// the kernel routes the pool to it. Forwarding between it and the rest is the administrator's to switch on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunOptions {
    /// Its name; `None` leaves it to the kernel.
    pub name: Option<String>,
    /// Its MTU: the largest inner packet.
    pub mtu: u16,
}

impl Default for TunOptions {
    /// 1400 bytes leave room for every header and tag on a link of 1500.
    fn default() -> Self {
        Self { name: None, mtu: 1400 }
    }
}

/// Bounds of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Peers at the same time, whether they are up or not; strangers are not answered beyond.
    pub peers: usize,
    /// TCP streams at the same time on which no peer has made itself known; a quarter of them from one address (of IPv6, one
    /// /64). Beyond, a new one takes the place of the oldest.
    pub silent_streams: usize,
    /// How long a TCP stream may take until its first datagram makes a peer of it.
    pub silence: Duration,
    /// Bytes that the buffers of all inner connections of one peer may take together.
    pub memory: usize,
    /// Bytes that those of all peers may take together; whoever comes then is refused, and those there are go on.
    pub all_memory: usize,
    /// Bytes to which each of the two buffers of an inner connection grows when its traffic asks for it, while less than half of
    /// `memory` is taken.
    pub buffer: usize,
    /// Bytes of the receive buffer of an inner connection at first, and after ten seconds of silence; the send buffer has half as
    /// many.
    pub small_buffer: usize,
    /// Inner TCP connections, and as many UDP associations, of one peer.
    pub connections: usize,
    /// Inner TCP connections and UDP associations of all peers together, each of which takes a descriptor with
    /// [`super::HostSockets`]. Three quarters of the descriptors that the process may have are the bound where that is less.
    pub all_connections: usize,
    /// How long a host may take to answer a connect.
    pub connect_timeout: Duration,
    /// Silence after which a peer's end of an inner connection is probed; `None` never probes.
    pub keepalive: Option<Duration>,
    /// How long a UDP association lives after its last datagram.
    pub udp_idle: Duration,
    /// How long [`super::Gateway::close`] takes at most.
    pub close_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peers: 1000,
            silent_streams: 64,
            silence: Duration::from_secs(20),
            memory: 64 << 20,
            all_memory: 1 << 30,
            buffer: 512 << 10,
            small_buffer: 16 << 10,
            connections: 256,
            all_connections: 4096,
            connect_timeout: Duration::from_secs(20),
            keepalive: Some(Duration::from_secs(60)),
            udp_idle: Duration::from_secs(180),
            close_timeout: Duration::from_secs(5),
        }
    }
}
