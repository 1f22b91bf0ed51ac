//! Where to dial: a single client, or a connection of several gateways.

use std::{
    fmt, io,
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use adit_netstack::CloseReason;
use adit_tunnel::NetworkConfig;

use crate::{
    client::{Client, Target},
    connection::Connection,
    inside::Tie,
    listening::{Listener, UdpListener},
    redundancy::{Choice, Pin, Redundant},
    udp_socket::UdpSocket,
};

/// Where to dial: through a [`Client`], through whichever gateway of a [`Redundant`] is to be used, or through one of its gateways
/// alone. Keeps what it goes through alive. Cheap to clone.
#[derive(Clone)]
pub struct Way {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Client(Client),
    Redundant(Redundancy),
}

#[derive(Clone)]
struct Redundancy {
    redundant: Redundant,
    pin: Option<Arc<Pin>>,
    wait: Duration,
}

impl From<Client> for Way {
    fn from(client: Client) -> Self {
        Self { kind: Kind::Client(client) }
    }
}

impl Way {
    pub(crate) fn redundant(redundant: Redundant, pin: Option<Pin>, wait: Duration) -> Self {
        Self { kind: Kind::Redundant(Redundancy { redundant, pin: pin.map(Arc::new), wait }) }
    }

    /// Opens a TCP connection to a host behind the gateway. If the tunnel is lost meanwhile, through the one that takes over.
    ///
    /// # Errors
    /// As [`Client::dial`]; `NotConnected` when no tunnel is up, or came up in time.
    pub async fn dial(&self, target: impl Into<Target>) -> io::Result<Connection> {
        let target = target.into();
        let way = match &self.kind {
            Kind::Client(client) => return client.dial(target).await,
            Kind::Redundant(way) => way,
        };
        let mut losses = 0;
        loop {
            let client = way.client().await?;
            let Some(network) = client.network() else { continue };
            match client.dial_on(target.clone(), &network, way.tie()).await {
                Err(error) if is_lost(&error) && losses < MAX_LOSSES => losses += 1,
                dialled => return dialled,
            }
        }
    }

    /// Makes a UDP socket inside the tunnel. When another tunnel takes over it ends with `NotConnected`, and a new one is to be made.
    ///
    /// # Errors
    /// As [`Client::bind_udp`]; `NotConnected` when no tunnel is up, or came up in time.
    pub async fn bind_udp(&self) -> io::Result<UdpSocket> {
        match &self.kind {
            Kind::Client(client) => client.bind_udp().await,
            Kind::Redundant(way) => way.client().await?.bind_udp_on(way.tie()),
        }
    }

    /// The addresses of a name behind the gateway.
    ///
    /// # Errors
    /// As [`Client::resolve`]; `NotConnected` when no tunnel is up, or came up in time.
    pub async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.client().await?.resolve(host).await
    }

    /// Listens on a TCP port of our own addresses inside the tunnel: of every tunnel there is, and after each reconnect.
    ///
    /// # Errors
    /// `AddrInUse` when somebody listens there already, `NotConnected` when the connection has ended, `InvalidInput` for port 0.
    pub async fn listen(&self, port: u16) -> io::Result<Listener> {
        match &self.kind {
            Kind::Client(client) => client.listen(port).await,
            Kind::Redundant(way) => way.redundant.core().listen(port, way.pin_name()),
        }
    }

    /// Takes datagrams to a UDP port of our own addresses inside the tunnel: of every tunnel there is, and after each reconnect.
    ///
    /// # Errors
    /// As [`Self::listen`].
    pub async fn bind_udp_port(&self, port: u16) -> io::Result<UdpListener> {
        match &self.kind {
            Kind::Client(client) => client.bind_udp_port(port).await,
            Kind::Redundant(way) => way.redundant.core().bind_udp_port(port, way.pin_name()),
        }
    }

    /// Sends an ICMP echo request to a host behind the gateway: how long the answer took.
    ///
    /// # Errors
    /// As [`Client::ping`]; `NotConnected` when no tunnel is up, or came up in time.
    pub async fn ping(&self, address: IpAddr, payload: &[u8], timeout: Duration) -> io::Result<Duration> {
        self.client().await?.ping(address, payload, timeout).await
    }

    /// How long it waits for a tunnel while none is up; zero for a [`Client`], whose [`Options`](crate::Options) say so.
    #[must_use]
    pub fn wait(&self) -> Duration {
        match &self.kind {
            Kind::Client(_) => Duration::ZERO,
            Kind::Redundant(way) => way.wait,
        }
    }

    /// What the gateway in use told about its network, while it is up.
    #[must_use]
    pub fn network(&self) -> Option<Arc<NetworkConfig>> {
        match &self.kind {
            Kind::Client(client) => client.network(),
            Kind::Redundant(way) => match way.choose() {
                Choice::Use(client) => client.network(),
                Choice::Wait | Choice::Refuse(_) => None,
            },
        }
    }

    /// The client to go through, once there is one.
    async fn client(&self) -> io::Result<Client> {
        match &self.kind {
            Kind::Client(client) => Ok(client.clone()),
            Kind::Redundant(way) => way.client().await,
        }
    }
}

/// The connection was on its way through a tunnel that is lost.
pub(crate) fn is_lost(error: &io::Error) -> bool {
    error.get_ref().and_then(|reason| reason.downcast_ref()) == Some(&CloseReason::TunnelLost)
}

/// So many tunnels may be lost under one attempt.
const MAX_LOSSES: u32 = 8;

impl Redundancy {
    fn pin_name(&self) -> Option<Arc<str>> {
        self.pin.as_ref().map(|pin| Arc::clone(&pin.name))
    }

    fn tie(&self) -> Tie {
        if self.pin.is_some() { Tie::Pinned } else { Tie::Free }
    }

    fn choose(&self) -> Choice {
        let core = self.redundant.core();
        let turn = core.turn.load(Relaxed);
        core.table.borrow().choose(self.pin.as_ref().map(|pin| &*pin.name), turn)
    }

    async fn client(&self) -> io::Result<Client> {
        let core = self.redundant.core();
        let turn = core.turn.fetch_add(1, Relaxed);
        let mut table = core.table.subscribe();
        let pinned = self.pin.as_ref().map(|pin| &*pin.name);
        let chosen = async {
            loop {
                match table.borrow_and_update().choose(pinned, turn) {
                    Choice::Use(client) => return Ok(client),
                    Choice::Refuse(error) => return Err(error),
                    Choice::Wait => {}
                }
                // The sender lives in what we hold: waiting cannot fail.
                drop(table.changed().await);
            }
        };
        match tokio::time::timeout(self.wait, chosen).await {
            Ok(chosen) => chosen,
            Err(_) => Err(self.down()),
        }
    }

    /// What to say while there is no tunnel.
    fn down(&self) -> io::Error {
        let table = self.redundant.core().table.borrow();
        let what = match &self.pin {
            Some(pin) => format!("gateway {} is down", pin.name),
            None => "no gateway is up".to_owned(),
        };
        let text = match table.last_error(self.pin.as_ref().map(|pin| &*pin.name)) {
            Some(failure) => format!("{what}: {failure}"),
            None => what,
        };
        io::Error::new(io::ErrorKind::NotConnected, text)
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Client(client) => f.debug_tuple("Way").field(client).finish(),
            Kind::Redundant(way) => {
                f.debug_struct("Way").field("pinned", &way.pin.as_ref().map(|pin| &pin.name)).finish_non_exhaustive()
            }
        }
    }
}
