//! Forwards: sockets of this machine on one side, the tunnel on the other.
//!
//! [`Bound::bind_all`] binds every socket before anything is connected, [`Bound::serve`] serves until its [`Stop`] says
//! otherwise. Beside it, [`ForwardCounters`] count.

mod accept;
mod counters;
pub(crate) mod flags;
mod http_proxy;
mod listen;
mod login;
mod name;
mod outside;
mod parked;
mod places;
mod proxy_protocol;
mod reverse;
mod socks5;
mod stdio;
mod stop;
mod tcp;
mod terms;
mod through;
mod trouble;
mod udp;
#[cfg(unix)]
mod unix;

#[cfg(test)]
mod tests;

use std::{fmt, io, io::Write, net::SocketAddr, sync::Arc, time::Duration};

use adit_driver::{Options, Way};
use tracing::{Instrument, Span};

#[cfg(unix)]
pub(crate) use self::unix::Listener as UnixListener;
pub(crate) use self::{
    counters::{ForwardCounters, ForwardSnapshot},
    listen::{default_name, overlap},
    places::{Held, Places},
    stop::{Stop, Stopper},
    terms::{InForce, Terms},
};
use self::{listen::Socket, through::Through};
use crate::{
    error::{Error, Exit},
    plan::{ForwardKind, ForwardPlan},
    spec::TransportKind,
};

/// Waiting when the system has no file descriptors left: there is no event for their return.
const OUT_OF_RESOURCES_WAIT: Duration = Duration::from_millis(100);

/// What forwards need of the tunnel they go through.
pub(crate) fn options() -> Options {
    Options { udp_idle: udp::IDLE, ..Options::default() }
}

/// A forward with its local socket bound, where it has one. What connects there before [`Self::serve`] waits.
#[derive(Debug)]
pub(crate) struct Bound {
    plan: ForwardPlan,
    socket: Socket,
}

impl Bound {
    /// Binds all local sockets, or none.
    pub(crate) fn bind_all(plans: &[ForwardPlan]) -> Result<Vec<Self>, Error> {
        let bind = |(index, plan): (usize, &ForwardPlan)| {
            let earlier = || plans.iter().take(index).find(|earlier| overlap(earlier, plan));
            if let ForwardKind::Reverse { transport, port, .. } = &plan.kind
                && earlier().is_some()
            {
                // It would show with the first tunnel only.
                return Err(reverse::cannot_listen(*port, *transport, &io::ErrorKind::AddrInUse.into()));
            }
            let socket = listen::bind(&plan.kind).map_err(|error| listen::error(plan, earlier(), &error))?;
            Ok(Self { plan: plan.clone(), socket })
        };
        plans.iter().enumerate().map(bind).collect()
    }

    /// Binds the socket of one, or takes over the one that is at its place.
    pub(crate) fn bind(plan: &ForwardPlan, places: &Places) -> Result<Self, Error> {
        let socket = places.bind(&plan.kind).map_err(|error| listen::error(plan, None, &error))?;
        Ok(Self { plan: plan.clone(), socket })
    }

    /// Binds the first of these whose local port no other program uses.
    pub(crate) fn bind_first(plans: impl IntoIterator<Item = ForwardPlan>) -> Result<Self, Error> {
        let mut taken = Error::new(Exit::LocalSocket, "there is no port to choose from");
        for plan in plans {
            match listen::bind(&plan.kind) {
                Ok(socket) => return Ok(Self { plan, socket }),
                Err(error) => {
                    taken = listen::error(&plan, None, &error);
                    if error.kind() != io::ErrorKind::AddrInUse {
                        break;
                    }
                }
            }
        }
        Err(taken)
    }

    /// What it was made from.
    pub(crate) fn plan(&self) -> &ForwardPlan {
        &self.plan
    }

    /// The same with other terms, or another name.
    pub(crate) fn with_plan(self, plan: ForwardPlan) -> Self {
        Self { plan, ..self }
    }

    /// The local address, where it has one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.socket.address()
    }

    /// One line on standard output for each, for whoever waits for them; nothing where standard output is what is forwarded.
    pub(crate) fn announce(all: &[Self]) -> Result<(), Error> {
        if all.iter().any(|bound| matches!(bound.plan.kind, ForwardKind::Stdio { .. })) {
            all.iter().for_each(|bound| tracing::info!("{bound}"));
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let written = all.iter().try_for_each(|bound| writeln!(stdout, "{bound}"));
        written
            .and_then(|()| stdout.flush())
            .map_err(|error| Error::new(Exit::Other, format!("standard output: {error}")))
    }

    /// Serves on the terms of its plan, and speaks as [`span`] says: see [`Self::serve_on`].
    ///
    /// # Errors
    /// Why standard input and output could not be forwarded.
    pub(crate) async fn serve(self, way: Way, counters: Arc<ForwardCounters>, stop: Stop) -> Result<(), Error> {
        let terms = Terms::new(way, &self.plan).for_ever();
        let span = span(&self.plan);
        self.serve_on(terms, counters, stop).instrument(span).await
    }

    /// Serves until it is told to stop, and its last connection has ended or was cut. Only a forward of standard input and
    /// output ends by itself.
    ///
    /// # Errors
    /// Why standard input and output could not be forwarded.
    pub(crate) async fn serve_on(
        self,
        terms: InForce,
        counters: Arc<ForwardCounters>,
        stop: Stop,
    ) -> Result<(), Error> {
        let through = |terms: &Terms| Through { way: terms.way.clone(), counters: Arc::clone(&counters) };
        match (self.plan.kind, self.socket) {
            (ForwardKind::Local { to, .. }, Socket::Stream(acceptor, _)) => {
                let session = |outside, terms: &Terms| {
                    let local =
                        tcp::Local { through: through(terms), to: to.clone(), proxy_protocol: terms.proxy_protocol };
                    local.session(outside)
                };
                accept::serve(acceptor, terms, &counters, stop, session).await;
            }
            (ForwardKind::Local { to, .. }, Socket::Datagram(socket, _)) => {
                udp::serve(socket, to, terms, &counters, stop).await;
            }
            (ForwardKind::Socks { login, udp, .. }, Socket::Stream(acceptor, _)) => {
                let session = |outside, terms: &Terms| {
                    socks5::Socks { through: through(terms), login: login.clone(), udp }.session(outside)
                };
                accept::serve(acceptor, terms, &counters, stop, session).await;
            }
            (ForwardKind::HttpProxy { login, .. }, Socket::Stream(acceptor, _)) => {
                let session = |outside, terms: &Terms| {
                    http_proxy::HttpProxy { through: through(terms), login: login.clone() }.session(outside)
                };
                accept::serve(acceptor, terms, &counters, stop, session).await;
            }
            (ForwardKind::Reverse { transport: TransportKind::Tcp, port, to }, _) => {
                return reverse::serve(port, &to, terms, &counters, stop).await;
            }
            (ForwardKind::Reverse { transport: TransportKind::Udp, port, to }, _) => {
                return reverse::udp::serve(port, to, terms, &counters, stop).await;
            }
            (ForwardKind::Stdio { to }, _) => {
                let through = through(&terms.borrow());
                return stdio::serve(to, through, stop).await;
            }
            (kind, socket) => {
                return Err(Error::new(Exit::Other, format!("{kind:?} cannot be served by {socket:?}")));
            }
        }
        Ok(())
    }
}

/// In which a forward speaks: without a name it would not be known whose client was refused. `now` is for a new name.
pub(crate) fn span(plan: &ForwardPlan) -> Span {
    tracing::info_span!("forward", forward = plan.name, now = tracing::field::Empty)
}

/// `LOCAL -> TARGET/TRANSPORT`: what stands on standard output.
impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = &self.socket;
        match &self.plan.kind {
            ForwardKind::Local { to, .. } => write!(f, "{socket} -> {to}/{}", socket.transport()),
            ForwardKind::Reverse { transport, port, to } => write!(f, "inside:{port} -> {to}/{transport}"),
            ForwardKind::Socks { .. } => write!(f, "{socket} -> socks5/{}", TransportKind::Tcp),
            ForwardKind::HttpProxy { .. } => write!(f, "{socket} -> http-proxy/{}", TransportKind::Tcp),
            ForwardKind::Stdio { to } => write!(f, "stdio -> {to}/{}", TransportKind::Tcp),
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
