//! Forwards: local sockets on one side, the tunnel on the other.

mod name;
mod tcp;
mod trouble;
mod udp;

#[cfg(test)]
mod tests;

use std::{fmt, io, net::SocketAddr, time::Duration};

use adit_driver::{Client, Options, Target};
use tokio::net::{TcpListener, UdpSocket};

use crate::{
    error::{Error, Exit},
    spec::{ForwardSpec, TransportKind},
};

/// Waiting when the system has no file descriptors left: there is no event for their return.
const OUT_OF_RESOURCES_WAIT: Duration = Duration::from_millis(100);

/// What forwards need of the tunnel they go through.
pub(crate) fn options() -> Options {
    Options { udp_idle: udp::IDLE, ..Options::default() }
}

/// A bound local port.
#[derive(Debug)]
pub(crate) struct Listener {
    address: SocketAddr,
    target: Target,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Listener {
    /// Binds all local ports.
    pub(crate) fn bind_all(specs: &[ForwardSpec]) -> Result<Vec<Self>, Error> {
        let mut listeners = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            let ours = specs.iter().take(index).any(|earlier| earlier.overlaps(spec));
            listeners.push(Self::bind(spec, ours)?);
        }
        Ok(listeners)
    }

    /// Binds the first of these local ports that no other program uses.
    pub(crate) fn bind_first(specs: impl IntoIterator<Item = ForwardSpec>) -> Result<Self, Error> {
        let mut taken = Error::new(Exit::LocalSocket, "there is no port to choose from");
        for spec in specs {
            match bind(&spec) {
                Ok((address, socket)) => return Ok(Self { address, target: spec.target, socket }),
                Err(error) => {
                    let stop = error.kind() != io::ErrorKind::AddrInUse;
                    taken = Error::new(Exit::LocalSocket, format!("cannot listen on {}: {error}", spec.bind));
                    if stop {
                        break;
                    }
                }
            }
        }
        Err(taken)
    }

    /// The local address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Binds the local port. What connects to it before [`Self::serve`] waits. `ours` says whether an earlier forward takes
    /// that port.
    fn bind(spec: &ForwardSpec, ours: bool) -> Result<Self, Error> {
        let failed = |error: io::Error| {
            let bound =
                Error::new(Exit::LocalSocket, format!("cannot listen on {}/{}: {error}", spec.bind, spec.transport));
            let user = if ours {
                "another -L of this command takes that port; give each its own"
            } else {
                "another program uses that port; choose another one"
            };
            let hints = [
                (io::ErrorKind::AddrInUse, user),
                (io::ErrorKind::PermissionDenied, "ports below 1024 need rights; choose a higher one"),
                (io::ErrorKind::AddrNotAvailable, "this machine does not have that address"),
            ];
            match hints.iter().find(|(kind, _)| *kind == error.kind()) {
                Some((_, hint)) => bound.hint(*hint),
                None => bound,
            }
        };
        let (address, socket) = bind(spec).map_err(failed)?;
        Ok(Self { address, target: spec.target.clone(), socket })
    }

    /// Forwards until the program ends.
    pub(crate) async fn serve(self, client: Client) {
        match self.socket {
            Socket::Tcp(listener) => tcp::serve(listener, self.target, client).await,
            Socket::Udp(socket) => udp::serve(socket, self.target, client, udp::MAX_ASSOCIATIONS).await,
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.socket {
            Socket::Tcp(_) => TransportKind::Tcp,
            Socket::Udp(_) => TransportKind::Udp,
        };
        write!(f, "{} -> {}/{transport}", self.address, self.target)
    }
}

fn bind(spec: &ForwardSpec) -> io::Result<(SocketAddr, Socket)> {
    match spec.transport {
        TransportKind::Tcp => {
            let listener = std::net::TcpListener::bind(spec.bind)?;
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, Socket::Tcp(TcpListener::from_std(listener)?)))
        }
        TransportKind::Udp => {
            let socket = std::net::UdpSocket::bind(spec.bind)?;
            socket.set_nonblocking(true)?;
            Ok((socket.local_addr()?, Socket::Udp(UdpSocket::from_std(socket)?)))
        }
    }
}

/// Whether the system is short of something that others may give back: then trying again at once would spin.
fn is_out_of_resources(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
