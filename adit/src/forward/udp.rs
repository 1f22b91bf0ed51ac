//! UDP: each local sender has a socket inside the tunnel, for as long as it is in use.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use adit_driver::{Client, Target, UdpSocket as InsideSocket};
use tokio::{net::UdpSocket, task::JoinSet, time::Instant};

use super::{OUT_OF_RESOURCES_WAIT, is_out_of_resources};

/// Silence after which an association ends: RFC 4787 §4.3 asks for at least 2 minutes, and recommends 5.
const IDLE: Duration = Duration::from_secs(300);
/// Senders at the same time, for each forward.
const MAX_ASSOCIATIONS: usize = 1024;
/// How long the address of a name is used before it is asked for again, and how long a failure is not repeated.
const NAME_FRESH: Duration = Duration::from_secs(60);
const FAILURE_FRESH: Duration = Duration::from_secs(5);

type Associations = Mutex<HashMap<SocketAddr, Arc<Association>>>;

/// What one local sender uses.
#[derive(Debug)]
struct Association {
    inside: InsideSocket,
    start: Instant,
    /// Milliseconds from `start` to the last datagram in either direction.
    last: AtomicU64,
}

impl Association {
    fn touch(&self) {
        self.last.store(self.start.elapsed().as_millis() as u64, Relaxed);
    }

    fn idle_at(&self) -> Instant {
        self.start + Duration::from_millis(self.last.load(Relaxed)) + IDLE
    }
}

pub(super) async fn serve(socket: UdpSocket, target: Target, client: Client) {
    let socket = Arc::new(socket);
    let associations = Arc::new(Associations::default());
    let mut name = Name { target, known: None };
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; 65535];
    loop {
        let (length, peer) = tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                Err(error) => {
                    // Such as an ICMP error about an answer that nobody waited for.
                    tracing::debug!("receive: {error}");
                    if is_out_of_resources(&error) {
                        tokio::time::sleep(OUT_OF_RESOURCES_WAIT).await;
                    }
                    continue;
                }
            },
            // Reaps those that are done.
            Some(_) = tasks.join_next() => continue,
        };
        let Some(remote) = name.address(&client).await else { continue };
        let association = match find(&associations, peer) {
            Some(association) => association,
            None => match open(&associations, peer, &client).await {
                Ok(association) => {
                    tracing::debug!(%peer, %remote, "new association");
                    tasks.spawn(answer(Arc::clone(&socket), peer, Arc::clone(&association), Arc::clone(&associations)));
                    association
                }
                Err(error) => {
                    tracing::debug!(%peer, "datagram dropped: {error}");
                    continue;
                }
            },
        };
        association.touch();
        if let Err(error) = association.inside.send_to(&buffer[..length], remote) {
            tracing::debug!(%peer, %remote, length, "datagram dropped: {error}");
        }
    }
}

fn find(associations: &Associations, peer: SocketAddr) -> Option<Arc<Association>> {
    associations.lock().unwrap_or_else(PoisonError::into_inner).get(&peer).cloned()
}

async fn open(associations: &Associations, peer: SocketAddr, client: &Client) -> io::Result<Arc<Association>> {
    if client.network().is_none() {
        return Err(io::Error::new(io::ErrorKind::NotConnected, "the tunnel is down"));
    }
    if associations.lock().unwrap_or_else(PoisonError::into_inner).len() >= MAX_ASSOCIATIONS {
        return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many senders"));
    }
    let inside = client.bind_udp().await?;
    let association = Arc::new(Association { inside, start: Instant::now(), last: AtomicU64::new(0) });
    let mut map = associations.lock().unwrap_or_else(PoisonError::into_inner);
    map.insert(peer, Arc::clone(&association));
    Ok(association)
}

/// Answers go back to the sender, until there is silence.
async fn answer(
    socket: Arc<UdpSocket>,
    peer: SocketAddr,
    association: Arc<Association>,
    associations: Arc<Associations>,
) {
    let mut buffer = vec![0; 65535];
    loop {
        let deadline = association.idle_at();
        tokio::select! {
            received = association.inside.recv_from(&mut buffer) => match received {
                Ok((length, _)) => {
                    association.touch();
                    if let Err(error) = socket.send_to(&buffer[..length], peer).await {
                        tracing::debug!(%peer, "answer dropped: {error}");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => tracing::debug!(%peer, "{error}"),
                Err(_) => break,
            },
            () = tokio::time::sleep_until(deadline) => {
                if association.idle_at() <= Instant::now() {
                    break;
                }
            }
        }
    }
    associations.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
}

/// Where datagrams go: a name is asked for now and then.
struct Name {
    target: Target,
    known: Option<(Option<SocketAddr>, Instant)>,
}

impl Name {
    async fn address(&mut self, client: &Client) -> Option<SocketAddr> {
        let (host, port) = match &self.target {
            Target::Address(address) => return Some(*address),
            Target::Name(host, port) => (host, *port),
        };
        if let Some((address, until)) = self.known
            && Instant::now() < until
        {
            return address;
        }
        let old = self.known.and_then(|(address, _)| address);
        let (address, fresh) = match client.resolve(host).await {
            Ok(found) => (found.first().map(|ip| SocketAddr::new(*ip, port)), NAME_FRESH),
            Err(error) => {
                tracing::warn!("cannot resolve {host}: {error}");
                (old, FAILURE_FRESH)
            }
        };
        self.known = Some((address, Instant::now() + fresh));
        address
    }
}
