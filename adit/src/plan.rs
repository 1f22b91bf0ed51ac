//! What a configuration says, as plain values: nothing is left in it to be read, asked for or looked up.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use adit_driver::{
    Target,
    redundancy::{Gateway, RedundancyOptions},
};
use adit_tunnel::Secret;

use crate::{config::Seen, spec::TransportKind};

/// Everything one process is to do.
#[derive(Debug)]
pub(crate) struct Plan {
    /// By name, each name once.
    pub(crate) connections: Vec<ConnectionPlan>,
    /// Where `/livez`, `/readyz` and `/metrics` are served.
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) control: ControlPlan,
    pub(crate) activity: Option<ActivityPlan>,
    /// Handshakes at the same time, over all connections.
    pub(crate) handshakes: usize,
    /// Bytes for the buffers of the connections through all tunnels.
    pub(crate) memory: usize,
    /// How long live connections may go on after SIGTERM.
    pub(crate) drain: Duration,
    /// Every file this was read from: secrets, certificates and profiles, too. A change of one is a reason to read it again.
    pub(crate) files: Vec<Seen>,
}

/// Where the control socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ControlPlan {
    /// In the user's runtime directory, or `/run/adit`.
    Default,
    Off,
    At(PathBuf),
}

/// The activity log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ActivityPlan {
    pub(crate) file: PathBuf,
    /// Bytes after which a new file is begun.
    pub(crate) max_bytes: u64,
    /// Files kept besides the current one.
    pub(crate) keep: usize,
}

/// One connection: an environment of its own.
#[derive(Debug)]
pub(crate) struct ConnectionPlan {
    pub(crate) name: String,
    pub(crate) description: String,
    /// Whether it is connected at start, without being told to.
    pub(crate) autostart: bool,
    /// The gateways, the preferred one first; at least one. Fingerprints cover everything they are made from, secrets included.
    pub(crate) gateways: Vec<Gateway>,
    /// What `status` says of each gateway, in the same order.
    pub(crate) gateway_labels: Vec<GatewayLabel>,
    pub(crate) redundancy: RedundancyOptions,
    /// Whether forwards wait for a tunnel that is down, and how long; zero refuses at once.
    pub(crate) wait: Duration,
    pub(crate) forwards: Vec<ForwardPlan>,
    /// TUN mode.
    pub(crate) tun: Option<crate::up::TunOptions>,
}

/// How a gateway is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GatewayLabel {
    pub(crate) name: String,
    /// `ikev2` or `openvpn`.
    pub(crate) protocol: &'static str,
    /// `host:port` of each remote.
    pub(crate) servers: Vec<String>,
    /// Whom questions for its secrets are for.
    pub(crate) subject: String,
}

/// One way in or out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForwardPlan {
    /// Unique within the connection; the listening address unless chosen.
    pub(crate) name: String,
    pub(crate) kind: ForwardKind,
    /// The only gateway it uses.
    pub(crate) gateway: Option<String>,
    /// Connections at the same time; more are refused.
    pub(crate) max_connections: Option<usize>,
    /// In place of the connection's own.
    pub(crate) wait: Option<Duration>,
    /// PROXY protocol version 2 towards the target (TCP).
    pub(crate) proxy_protocol: bool,
}

/// What a forward does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ForwardKind {
    /// A local listener; what connects there reaches `to` behind the gateway.
    Local { listen: Listen, to: Target },
    /// A port of our own inner address; what connects there reaches `to` on this side.
    Reverse { transport: TransportKind, port: u16, to: LocalTarget },
    /// SOCKS5 on this side, the world behind the gateway on the other.
    Socks { listen: Listen, login: Option<Login>, udp: bool },
    /// HTTP CONNECT.
    HttpProxy { listen: Listen, login: Option<Login> },
    /// Standard input and output.
    Stdio { to: Target },
}

impl ForwardKind {
    /// Where it listens on this side, if it does.
    pub(crate) const fn listen(&self) -> Option<&Listen> {
        match self {
            Self::Local { listen, .. } | Self::Socks { listen, .. } | Self::HttpProxy { listen, .. } => Some(listen),
            Self::Reverse { .. } | Self::Stdio { .. } => None,
        }
    }

    /// Whether it carries datagrams alone.
    pub(crate) const fn takes_datagrams(&self) -> bool {
        matches!(self, Self::Local { listen: Listen::Udp(_), .. } | Self::Reverse { transport: TransportKind::Udp, .. })
    }
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Listen {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    /// A path, and permission bits of the socket.
    Unix(PathBuf, Option<u32>),
}

impl Listen {
    /// Whether another port is taken each time.
    pub(crate) const fn is_any(&self) -> bool {
        match self {
            Self::Tcp(address) | Self::Udp(address) => address.port() == 0,
            Self::Unix(..) => false,
        }
    }
}

/// A service on this side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LocalTarget {
    /// `host:port`, resolved by this machine.
    Address(String, u16),
    Unix(PathBuf),
}

/// Who may use a proxy.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Secret,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}
