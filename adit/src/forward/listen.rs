//! Binding what a forward listens to; and what is said when that fails.

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::net::{TcpListener, UdpSocket};

use super::outside::Acceptor;
use crate::{
    error::{Error, Exit},
    plan::{ForwardKind, ForwardPlan, Listen, LocalTarget},
    spec::TransportKind,
};

/// What is bound on this side; shared with who listens there next.
#[derive(Debug, Clone)]
pub(super) enum Socket {
    Stream(Arc<Acceptor>, At),
    Datagram(Arc<UdpSocket>, SocketAddr),
    /// Nothing: it listens inside the tunnel, or not at all.
    None,
}

/// Where it is.
#[derive(Debug, Clone)]
pub(super) enum At {
    Address(SocketAddr),
    Path(PathBuf),
}

impl Socket {
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Stream(_, At::Address(address)) | Self::Datagram(_, address) => Some(*address),
            Self::Stream(_, At::Path(_)) | Self::None => None,
        }
    }

    /// Whether both are the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Stream(one, _), Self::Stream(two, _)) => Arc::ptr_eq(one, two),
            (Self::Datagram(one, _), Self::Datagram(two, _)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }

    pub(super) fn transport(&self) -> TransportKind {
        match self {
            Self::Datagram(..) => TransportKind::Udp,
            Self::Stream(..) | Self::None => TransportKind::Tcp,
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(_, At::Address(address)) | Self::Datagram(_, address) => address.fmt(f),
            Self::Stream(_, At::Path(path)) => write!(f, "unix:{}", path.display()),
            Self::None => f.write_str("nothing"),
        }
    }
}

pub(super) fn bind(kind: &ForwardKind) -> io::Result<Socket> {
    match kind.listen() {
        Some(Listen::Tcp(address)) => {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Socket::Stream(Arc::new(Acceptor::Tcp(TcpListener::from_std(listener)?)), At::Address(address)))
        }
        Some(Listen::Udp(address)) => {
            let socket = std::net::UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok(Socket::Datagram(Arc::new(UdpSocket::from_std(socket)?), address))
        }
        Some(Listen::Unix(path, mode)) => bind_unix(path, *mode),
        None => Ok(Socket::None),
    }
}

#[cfg(unix)]
fn bind_unix(path: &Path, mode: Option<u32>) -> io::Result<Socket> {
    let listener = super::unix::Listener::bind(path, mode)?;
    Ok(Socket::Stream(Arc::new(Acceptor::Unix(listener)), At::Path(path.to_owned())))
}

#[cfg(not(unix))]
fn bind_unix(_: &Path, _: Option<u32>) -> io::Result<Socket> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no unix sockets"))
}

/// Whether both want the same port inside of the same tunnel.
fn same_port_inside(a: &ForwardPlan, b: &ForwardPlan) -> bool {
    let shared = a.gateway.is_none() || b.gateway.is_none() || a.gateway == b.gateway;
    match (&a.kind, &b.kind) {
        (
            ForwardKind::Reverse { transport: one, port: a, .. },
            ForwardKind::Reverse { transport: two, port: b, .. },
        ) => shared && (one, a) == (two, b),
        _ => false,
    }
}

/// Whether both want the same port, on an address they share.
pub(crate) fn overlap(a: &ForwardPlan, b: &ForwardPlan) -> bool {
    if same_port_inside(a, b) {
        return true;
    }
    match (a.kind.listen(), b.kind.listen()) {
        (Some(Listen::Tcp(a)), Some(Listen::Tcp(b))) | (Some(Listen::Udp(a)), Some(Listen::Udp(b))) => {
            let same = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
            same && a.port() == b.port() && a.port() != 0
        }
        (Some(Listen::Unix(a, _)), Some(Listen::Unix(b, _))) => a == b,
        _ => false,
    }
}

/// Which forward cannot listen, why, and what helps. `earlier` is the one of ours that takes the same place.
pub(super) fn error(plan: &ForwardPlan, earlier: Option<&ForwardPlan>, error: &io::Error) -> Error {
    let Some(listen) = plan.kind.listen() else { return Error::new(Exit::LocalSocket, error) };
    let name = if plan.name == default_name(&plan.kind) { String::new() } else { format!("forward `{}`: ", plan.name) };
    let place = match listen {
        Listen::Tcp(address) => format!("{address}/{}", TransportKind::Tcp),
        Listen::Udp(address) => format!("{address}/{}", TransportKind::Udp),
        Listen::Unix(path, _) => path.display().to_string(),
    };
    let bound = Error::new(Exit::LocalSocket, format!("{name}cannot listen on {place}: {error}"));
    let is_path = matches!(listen, Listen::Unix(..));
    let taken = match (earlier, is_path) {
        (Some(earlier), _) => format!("the forward `{}` takes that place; give each its own", earlier.name),
        (None, false) => "another program uses that port; choose another one".to_owned(),
        (None, true) => "another program listens there; choose another path".to_owned(),
    };
    let (denied, invalid) = if is_path {
        let invalid = "the path of a socket has at most 107 bytes (103 on macOS); choose a shorter one";
        ("its folder has to be writable for this user", invalid)
    } else {
        ("ports below 1024 need rights; choose a higher one", "choose another address")
    };
    let hints = [
        (io::ErrorKind::AddrInUse, taken.as_str()),
        (io::ErrorKind::AlreadyExists, "choose another path, or remove what is there"),
        (io::ErrorKind::NotFound, "its folder has to be there"),
        (io::ErrorKind::PermissionDenied, denied),
        (io::ErrorKind::AddrNotAvailable, "this machine does not have that address"),
        (io::ErrorKind::InvalidInput, invalid),
    ];
    match hints.iter().find(|(kind, _)| *kind == error.kind()) {
        Some((_, hint)) => bound.hint(*hint),
        None => bound,
    }
}

/// What a forward is called unless somebody chose a name: where it listens.
pub(crate) fn default_name(kind: &ForwardKind) -> String {
    match kind {
        ForwardKind::Local { listen, .. }
        | ForwardKind::Socks { listen, .. }
        | ForwardKind::HttpProxy { listen, .. } => listen.to_string(),
        ForwardKind::Reverse { transport: TransportKind::Tcp, port, .. } => format!("reverse:{port}"),
        ForwardKind::Reverse { transport: TransportKind::Udp, port, .. } => format!("reverse:{port}/udp"),
        ForwardKind::Stdio { .. } => "stdio".to_owned(),
    }
}

impl ForwardPlan {
    /// With nothing chosen but what it does.
    pub(crate) fn new(kind: ForwardKind) -> Self {
        let name = default_name(&kind);
        Self { name, kind, gateway: None, max_connections: None, wait: None, proxy_protocol: false }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Udp(address) => write!(f, "{address}/{}", TransportKind::Udp),
            Self::Unix(path, _) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for LocalTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Address(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
