//! UDP from inside the tunnel: each sender there has a socket of this machine, for as long as it is in use.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use adit_driver::UdpListener;
use tokio::{
    net::UdpSocket,
    task::{AbortHandle, JoinSet},
    time::Instant,
};
use tracing::Instrument;

use super::{
    super::{
        OUT_OF_RESOURCES_WAIT,
        counters::{ForwardCounters, Open},
        name::{Name, Resolver, Waiting},
        stop::Stop,
        terms::{InForce, Terms},
        udp::{DRAINED, IDLE, MAX_ASSOCIATIONS},
    },
    cannot_listen,
};
use crate::{
    error::{Error, Exit},
    plan::LocalTarget,
    spec::TransportKind,
};

/// More than any packet of a tunnel.
const DATAGRAM_BYTES: usize = 10 * 1024;

/// What one sender uses.
struct Association {
    socket: UdpSocket,
    /// Nanoseconds from the start of the forward to the last datagram in either direction.
    used: AtomicU64,
    _open: Open,
}

struct Entry {
    association: Arc<Association>,
    /// Carries the answers.
    task: AbortHandle,
}

/// What the tasks of a forward share.
struct Shared {
    listener: UdpListener,
    associations: Mutex<HashMap<SocketAddr, Entry>>,
    counters: Arc<ForwardCounters>,
    start: Instant,
}

struct Forward {
    shared: Arc<Shared>,
    name: Name,
    /// What came before the first lookup of the name was done.
    waiting: Waiting,
    tasks: JoinSet<()>,
    most: usize,
    is_draining: bool,
}

pub(in super::super) async fn serve(
    port: u16,
    to: LocalTarget,
    mut terms: InForce,
    counters: &Arc<ForwardCounters>,
    mut stop: Stop,
) -> Result<(), Error> {
    let name = match to {
        LocalTarget::Address(host, to_port) => match host.parse::<IpAddr>() {
            Ok(address) => Name::new(SocketAddr::new(address, to_port).into()),
            Err(_) => Name::new((host.as_str(), to_port).into()),
        },
        // Refused where it is read; said again rather than to serve nothing.
        LocalTarget::Unix(_) => return Err(no_datagrams(&to)),
    };
    let way = terms.borrow_and_update().way.clone();
    let listener = way.bind_udp_port(port).await;
    let listener = listener.map_err(|error| cannot_listen(port, TransportKind::Udp, &error))?;
    let counters = Arc::clone(counters);
    let shared = Arc::new(Shared { listener, associations: Mutex::default(), counters, start: Instant::now() });
    let mut forward = Forward {
        shared: Arc::clone(&shared),
        name,
        waiting: Waiting::default(),
        tasks: JoinSet::new(),
        most: most(&terms.borrow()),
        is_draining: false,
    };
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let mut aborted = stop.clone();
    loop {
        tokio::select! {
            received = shared.listener.recv_from(&mut buffer) => match received {
                Ok((length, peer)) => forward.on_datagram(peer, &buffer[..length]).await,
                // The tunnel has ended for good, which others have to say.
                Err(error) => {
                    tracing::debug!("receive: {error}");
                    tokio::time::sleep(OUT_OF_RESOURCES_WAIT).await;
                }
            },
            Some(found) = forward.name.next_found() => {
                if let Err(error) = &found {
                    shared.counters.on_failed(error);
                }
                forward.name.on_found(found);
                forward.send_waiting().await;
            }
            // Reaps those that are done.
            Some(_) = forward.tasks.join_next() => {}
            Ok(()) = terms.changed() => forward.most = most(&terms.borrow_and_update()),
            () = stop.draining(), if !forward.is_draining => forward.is_draining = true,
            () = shared.silence(), if forward.is_draining => return Ok(()),
            () = aborted.aborted() => return Ok(()),
        }
    }
}

/// What is said of a service that takes none.
pub(crate) fn no_datagrams(to: &LocalTarget) -> Error {
    Error::new(Exit::Usage, format!("{to} takes no datagrams")).hint("name a host and a port, or leave UDP away")
}

fn most(terms: &Terms) -> usize {
    terms.most.min(MAX_ASSOCIATIONS)
}

impl Shared {
    fn associations(&self) -> MutexGuard<'_, HashMap<SocketAddr, Entry>> {
        self.associations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Waits until every association has been silent for a while.
    async fn silence(&self) {
        loop {
            let last = self.associations().values().map(|entry| entry.association.used.load(Relaxed)).max();
            let Some(last) = last else { return };
            let end = self.start + Duration::from_nanos(last) + DRAINED;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

impl Forward {
    async fn on_datagram(&mut self, peer: SocketAddr, datagram: &[u8]) {
        let known = self.shared.associations().get(&peer).map(|entry| Arc::clone(&entry.association));
        match known {
            Some(association) => self.send(peer, &association, datagram).await,
            None if self.is_draining => self.shared.counters.on_refused(&"the forward is ending"),
            None => match self.name.address(Resolver::Here) {
                Some(to) => self.begin(peer, to, datagram).await,
                None if self.name.is_looked_up() => self.waiting.push(peer, datagram),
                None => tracing::debug!(%peer, "datagram dropped: no address"),
            },
        }
    }

    async fn send_waiting(&mut self) {
        for (peer, datagram) in self.waiting.take() {
            self.on_datagram(peer, &datagram).await;
        }
    }

    /// The first datagram of a sender.
    async fn begin(&mut self, peer: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        match self.open(peer, to).await {
            Ok(association) => self.send(peer, &association, datagram).await,
            Err(error) => {
                tracing::debug!(%peer, "datagram dropped: {error}");
                self.shared.counters.on_failed(&error);
            }
        }
    }

    async fn send(&self, peer: SocketAddr, association: &Association, datagram: &[u8]) {
        association.used.store(self.shared.now(), Relaxed);
        match association.socket.send(datagram).await {
            Ok(_) => self.shared.counters.on_received(datagram.len()),
            Err(error) => tracing::debug!(%peer, "datagram dropped: {error}"),
        }
    }

    async fn open(&mut self, peer: SocketAddr, to: SocketAddr) -> io::Result<Arc<Association>> {
        let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
        socket.connect(to).await?;
        self.make_room();
        tracing::debug!(%peer, %to, "new association");
        let open = Open::new(&self.shared.counters);
        let association = Arc::new(Association { socket, used: AtomicU64::new(self.shared.now()), _open: open });
        let task = self.tasks.spawn(answer(Arc::clone(&self.shared), peer, Arc::clone(&association)).in_current_span());
        self.shared.associations().insert(peer, Entry { association: Arc::clone(&association), task });
        Ok(association)
    }

    /// Ends the association that was idle longest when there are too many.
    fn make_room(&self) {
        let mut associations = self.shared.associations();
        while associations.len() >= self.most {
            let longest = associations.iter().min_by_key(|(_, entry)| entry.association.used.load(Relaxed));
            let Some(peer) = longest.map(|(peer, _)| *peer) else { return };
            if let Some(entry) = associations.remove(&peer) {
                entry.task.abort();
            }
        }
    }
}

/// Answers go back to the sender, until both are silent.
async fn answer(shared: Arc<Shared>, peer: SocketAddr, association: Arc<Association>) {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        let end = shared.start + Duration::from_nanos(association.used.load(Relaxed)) + IDLE;
        match tokio::time::timeout_at(end, association.socket.recv(&mut buffer)).await {
            Ok(Ok(length)) => {
                association.used.store(shared.now(), Relaxed);
                match shared.listener.send_to(&buffer[..length], peer) {
                    Ok(()) => shared.counters.on_sent(length),
                    Err(error) => tracing::debug!(%peer, "answer dropped: {error}"),
                }
            }
            // Nobody is there: the next datagram may find somebody.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => tracing::debug!(%peer, "{error}"),
            Ok(Err(error)) => {
                tracing::debug!(%peer, "association ended: {error}");
                break;
            }
            Err(_) if association.used.load(Relaxed) + (IDLE.as_nanos() as u64) > shared.now() => {}
            Err(_) => break,
        }
    }
    let mut associations = shared.associations();
    if associations.get(&peer).is_some_and(|entry| Arc::ptr_eq(&entry.association, &association)) {
        associations.remove(&peer);
    }
}
