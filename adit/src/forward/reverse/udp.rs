//! UDP from inside the tunnel: each sender there has a socket of this machine, for as long as it is in use.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use adit_driver::UdpListener;
use tokio::{
    net::{UdpSocket, lookup_host},
    task::{AbortHandle, JoinSet},
    time::{Instant, timeout},
};
use tracing::Instrument;

use super::{
    super::{
        OUT_OF_RESOURCES_WAIT,
        counters::{ForwardCounters, Open},
        stop::Stop,
        through::Through,
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
/// How long the address of the service is used before it is looked up again, and how long that may take.
const FRESH: Duration = Duration::from_secs(60);
const LOOKUP: Duration = Duration::from_secs(5);

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
    host: String,
    port: u16,
    known: Option<(SocketAddr, Instant)>,
    tasks: JoinSet<()>,
    most: usize,
    is_draining: bool,
}

pub(in super::super) async fn serve(
    port: u16,
    to: LocalTarget,
    through: Through,
    most: usize,
    mut stop: Stop,
) -> Result<(), Error> {
    let LocalTarget::Address(host, to_port) = to else {
        return Err(Error::new(Exit::Usage, format!("{to} takes no datagrams")).hint("name a host and a port"));
    };
    let listener = through.way.bind_udp_port(port).await;
    let listener = listener.map_err(|error| cannot_listen(port, TransportKind::Udp, &error))?;
    let Through { counters, .. } = through;
    let shared = Arc::new(Shared { listener, associations: Mutex::default(), counters, start: Instant::now() });
    let most = most.min(MAX_ASSOCIATIONS);
    let (known, tasks, is_draining) = (None, JoinSet::new(), false);
    let mut forward = Forward { shared: Arc::clone(&shared), host, port: to_port, known, tasks, most, is_draining };
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
            // Reaps those that are done.
            Some(_) = forward.tasks.join_next() => {}
            () = stop.draining(), if !forward.is_draining => forward.is_draining = true,
            () = shared.silence(), if forward.is_draining => return Ok(()),
            () = aborted.aborted() => return Ok(()),
        }
    }
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
        let association = match known {
            Some(association) => association,
            None if self.is_draining => return self.shared.counters.on_refused(),
            None => match self.open(peer).await {
                Ok(association) => association,
                Err(error) => {
                    tracing::debug!(%peer, "datagram dropped: {error}");
                    return self.shared.counters.on_failed(&error);
                }
            },
        };
        association.used.store(self.shared.now(), Relaxed);
        match association.socket.send(datagram).await {
            Ok(_) => self.shared.counters.on_received(datagram.len()),
            Err(error) => tracing::debug!(%peer, "datagram dropped: {error}"),
        }
    }

    async fn open(&mut self, peer: SocketAddr) -> io::Result<Arc<Association>> {
        let to = self.address().await?;
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

    async fn address(&mut self) -> io::Result<SocketAddr> {
        let now = Instant::now();
        if let Some((address, until)) = self.known
            && now < until
        {
            return Ok(address);
        }
        let found = timeout(LOOKUP, lookup_host((self.host.as_str(), self.port))).await;
        let mut found = found.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let address = found.next().ok_or(io::ErrorKind::NotFound)?;
        self.known = Some((address, now + FRESH));
        Ok(address)
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
