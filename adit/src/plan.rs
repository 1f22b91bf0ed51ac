//! What a configuration says, as plain values: nothing is left in it to be read, asked for or looked up.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use adit_driver::Target;
use adit_tunnel::Secret;

use crate::spec::TransportKind;

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

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    /// A path, and permission bits of the socket.
    Unix(PathBuf, Option<u32>),
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
