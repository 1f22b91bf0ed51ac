//! `-R`: a port of our own addresses inside the VPN reaches a service of this side.

pub(super) mod udp;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use adit_driver::Listener;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{error::Elapsed, timeout},
};

use super::{
    accept::{self, Source},
    counters::ForwardCounters,
    outside::Outside,
    proxy_protocol,
    stop::Stop,
    terms::{InForce, Terms},
    through::{Inside, Through},
};
use crate::{
    error::{Error, Exit},
    plan::LocalTarget,
    spec::TransportKind,
};

/// How long a service of this side may take to answer.
const CONNECT: Duration = Duration::from_secs(10);

/// TCP from inside the tunnel.
#[derive(Debug)]
struct Reverse {
    through: Through,
    port: u16,
    to: LocalTarget,
    /// A PROXY header goes first.
    proxy_protocol: bool,
}

pub(super) async fn serve(
    port: u16,
    to: &LocalTarget,
    terms: InForce,
    counters: &Arc<ForwardCounters>,
    stop: Stop,
) -> Result<(), Error> {
    let way = terms.borrow().way.clone();
    let listener = way.listen(port).await.map_err(|error| cannot_listen(port, TransportKind::Tcp, &error))?;
    let session = |(inside, peer), terms: &Terms| {
        let through = Through { way: terms.way.clone(), counters: Arc::clone(counters) };
        Reverse { through, port, to: to.clone(), proxy_protocol: terms.proxy_protocol }.session(inside, peer)
    };
    accept::serve(Gate(listener), terms, counters, stop, session).await;
    Ok(())
}

impl Reverse {
    async fn session(self, inside: Inside, peer: SocketAddr) {
        let mut outside = match self.connect().await {
            Ok(outside) => outside,
            Err(error) => {
                tracing::warn!(%peer, "cannot connect to {}: {error}", self.to);
                return self.through.counters.on_failed(&format_args!("cannot connect to {}: {error}", self.to));
            }
        };
        if self.proxy_protocol
            && let Err(error) = outside.write_all(&proxy_protocol::header(Some(peer), self.local_address(peer))).await
        {
            tracing::debug!(%peer, "ended by {error}");
            return;
        }
        if self.through.carry(peer, &mut outside, inside).await.is_ok() {
            outside.keep_the_last_bytes();
        }
    }

    async fn connect(&self) -> io::Result<Outside> {
        match &self.to {
            LocalTarget::Address(host, port) => {
                let connected = timeout(CONNECT, TcpStream::connect((host.as_str(), *port))).await;
                let stream = connected.unwrap_or_else(|late| Err(too_late(late)))?;
                let address = stream.peer_addr()?;
                Ok(Outside::tcp(stream, address))
            }
            #[cfg(unix)]
            LocalTarget::Unix(path) => {
                let connected = timeout(CONNECT, tokio::net::UnixStream::connect(path)).await;
                Ok(Outside::unix(connected.unwrap_or_else(|late| Err(too_late(late)))?))
            }
            #[cfg(not(unix))]
            LocalTarget::Unix(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no unix sockets")),
        }
    }

    /// Where the peer has connected to.
    fn local_address(&self, peer: SocketAddr) -> Option<SocketAddr> {
        let network = self.through.way.network()?;
        let mut ours = network.addresses.iter().map(adit_tunnel::IpNet::address);
        Some(SocketAddr::new(ours.find(|ip| ip.is_ipv4() == peer.is_ipv4())?, self.port))
    }
}

fn too_late(_: Elapsed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

/// What is said of a port inside the tunnel that cannot be had.
pub(super) fn cannot_listen(port: u16, transport: TransportKind, error: &io::Error) -> Error {
    let failed =
        Error::new(Exit::LocalSocket, format!("cannot listen on port {port}/{transport} inside the tunnel: {error}"));
    if error.kind() == io::ErrorKind::AddrInUse {
        return failed.hint("another -R takes that port; give each its own");
    }
    failed
}

/// What comes from inside.
struct Gate(Listener);

impl Source for Gate {
    /// What is not served, or not to its end, is reset.
    type Accepted = (Inside, SocketAddr);

    async fn accept(&mut self) -> io::Result<Self::Accepted> {
        match self.0.accept().await {
            // The tunnel has ended for good, which others have to say.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => std::future::pending().await,
            accepted => accepted.map(|(connection, peer)| (Inside::new(connection), peer)),
        }
    }
}
