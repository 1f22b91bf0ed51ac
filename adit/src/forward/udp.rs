//! UDP: each local sender has a socket inside the tunnel, for as long as it is in use.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use adit_driver::{Client, Target, UdpSocket as InsideSocket};
use tokio::{
    net::UdpSocket,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use super::{OUT_OF_RESOURCES_WAIT, is_out_of_resources, name::Name};

/// How long after the last datagram of a sender its association ends. Answers do not count, here and in the stack of the
/// tunnel: RFC 4787 §4.3 asks for at least 2 minutes, recommends 5, and leaves it open whether inbound datagrams refresh.
pub(super) const IDLE: Duration = Duration::from_secs(300);
/// Senders at the same time, for each forward. A stub resolver is a new one with each query.
pub(super) const MAX_ASSOCIATIONS: usize = 1024;
/// The largest UDP datagram.
const DATAGRAM_BYTES: usize = 65535;
/// Datagrams that wait for the first lookup of a name, and their bytes: the older ones go.
const MAX_WAITING: usize = 64;
const MAX_WAITING_BYTES: usize = 128 * 1024;

/// What one local sender uses.
#[derive(Debug)]
struct Association {
    inside: InsideSocket,
    start: Instant,
    /// Nanoseconds from `start` to the last datagram of the sender.
    sent: AtomicU64,
    /// Nanoseconds from `start` to the last datagram in either direction.
    used: AtomicU64,
    /// Whether a datagram that the tunnel cannot carry was warned about.
    warned: AtomicBool,
}

impl Association {
    /// `start` is the same for all: they are compared.
    fn new(inside: InsideSocket, start: Instant) -> Self {
        let (sent, used, warned) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let association = Self { inside, start, sent, used, warned };
        association.on_sent();
        association
    }

    fn on_sent(&self) {
        self.on_received();
        self.sent.store(self.used.load(Relaxed), Relaxed);
    }

    fn on_received(&self) {
        self.used.store(self.start.elapsed().as_nanos() as u64, Relaxed);
    }

    fn ends_at(&self) -> Instant {
        self.start + Duration::from_nanos(self.sent.load(Relaxed)) + IDLE
    }
}

#[derive(Debug)]
struct Entry {
    association: Arc<Association>,
    /// Carries the answers.
    task: AbortHandle,
}

/// What the tasks of a forward share.
#[derive(Debug)]
struct Shared {
    socket: UdpSocket,
    associations: Mutex<HashMap<SocketAddr, Entry>>,
    /// Where answers are put, one at a time.
    scratch: Mutex<Vec<u8>>,
}

impl Shared {
    fn associations(&self) -> MutexGuard<'_, HashMap<SocketAddr, Entry>> {
        self.associations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches an answer and passes it on, if that is possible at once; else it is returned.
    fn poll_answer(
        &self,
        cx: &mut Context<'_>,
        peer: SocketAddr,
        association: &Association,
    ) -> Poll<io::Result<Option<Vec<u8>>>> {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let (length, _) = ready!(association.inside.poll_recv_from(cx, &mut scratch))?;
        association.on_received();
        match self.socket.try_send_to(&scratch[..length], peer) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Poll::Ready(Ok(Some(scratch[..length].to_vec())));
            }
            Err(error) => tracing::debug!(%peer, "answer dropped: {error}"),
        }
        Poll::Ready(Ok(None))
    }

    /// Forgets the association, unless something was sent meanwhile.
    fn end(&self, peer: SocketAddr, association: &Arc<Association>, only_if_idle: bool) -> bool {
        let mut associations = self.associations();
        if only_if_idle && Instant::now() < association.ends_at() {
            return false;
        }
        // The sender may have got another one.
        if associations.get(&peer).is_some_and(|entry| Arc::ptr_eq(&entry.association, association)) {
            associations.remove(&peer);
        }
        true
    }
}

pub(super) async fn serve(socket: UdpSocket, target: Target, client: Client, max_associations: usize) {
    let mut forward = Forward::new(socket, target, client, max_associations);
    let shared = Arc::clone(&forward.shared);
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        tokio::select! {
            received = shared.socket.recv_from(&mut buffer) => match received {
                Ok((length, peer)) => forward.on_datagram(peer, &buffer[..length]).await,
                Err(error) => {
                    // Such as an ICMP error about an answer that nobody waited for.
                    tracing::debug!("receive: {error}");
                    if is_out_of_resources(&error) {
                        tokio::time::sleep(OUT_OF_RESOURCES_WAIT).await;
                    }
                }
            },
            Some(found) = forward.name.next_found() => {
                forward.name.on_found(found);
                forward.send_waiting().await;
            }
            // Reaps those that are done.
            Some(_) = forward.tasks.join_next() => {}
        }
    }
}

struct Forward {
    shared: Arc<Shared>,
    client: Client,
    name: Name,
    /// What came before the first lookup of the name was done.
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    tasks: JoinSet<()>,
    start: Instant,
    max_associations: usize,
    was_full: bool,
}

impl Forward {
    fn new(socket: UdpSocket, target: Target, client: Client, max_associations: usize) -> Self {
        let shared = Shared { socket, associations: Mutex::default(), scratch: Mutex::new(vec![0; DATAGRAM_BYTES]) };
        Self {
            shared: Arc::new(shared),
            client,
            name: Name::new(target),
            waiting: VecDeque::new(),
            tasks: JoinSet::new(),
            start: Instant::now(),
            max_associations,
            was_full: false,
        }
    }

    async fn on_datagram(&mut self, peer: SocketAddr, datagram: &[u8]) {
        match self.name.address(&self.client) {
            Some(remote) => self.send(peer, remote, datagram).await,
            None if self.name.is_looked_up() => self.wait(peer, datagram),
            None => tracing::debug!(%peer, "datagram dropped: no address"),
        }
    }

    fn wait(&mut self, peer: SocketAddr, datagram: &[u8]) {
        self.waiting.push_back((peer, datagram.to_vec()));
        let bytes =
            |waiting: &VecDeque<(_, Vec<u8>)>| waiting.iter().map(|(_, datagram)| datagram.len()).sum::<usize>();
        while self.waiting.len() > MAX_WAITING || bytes(&self.waiting) > MAX_WAITING_BYTES {
            self.waiting.pop_front();
        }
    }

    async fn send_waiting(&mut self) {
        let Some(remote) = self.name.address(&self.client) else {
            tracing::debug!("{} datagrams dropped: no address", self.waiting.len());
            self.waiting = VecDeque::new();
            return;
        };
        for (peer, datagram) in std::mem::take(&mut self.waiting) {
            self.send(peer, remote, &datagram).await;
        }
    }

    async fn send(&mut self, peer: SocketAddr, remote: SocketAddr, datagram: &[u8]) {
        let association = match self.find(peer) {
            Some(association) => association,
            None => match self.open(peer).await {
                Ok(association) => association,
                Err(error) => {
                    tracing::debug!(%peer, "datagram dropped: {error}");
                    return;
                }
            },
        };
        match association.inside.send_to(datagram, remote) {
            Ok(()) => association.on_sent(),
            // Too large, and so will be others: the sender is to know once, and cannot be told.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && !association.warned.swap(true, Relaxed) => {
                tracing::warn!(%peer, %remote, length = datagram.len(), "datagram dropped: {error}");
            }
            Err(error) => {
                tracing::debug!(%peer, %remote, length = datagram.len(), "datagram dropped: {error}");
            }
        }
    }

    fn find(&self, peer: SocketAddr) -> Option<Arc<Association>> {
        let associations = self.shared.associations();
        let entry = associations.get(&peer).filter(|entry| !entry.task.is_finished())?;
        Some(Arc::clone(&entry.association))
    }

    async fn open(&mut self, peer: SocketAddr) -> io::Result<Arc<Association>> {
        if self.client.network().is_none() {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the tunnel is down"));
        }
        self.make_room();
        let inside = self.client.bind_udp().await?;
        tracing::debug!(%peer, "new association");
        let association = Arc::new(Association::new(inside, self.start));
        let task = self.tasks.spawn(answer(Arc::clone(&self.shared), peer, Arc::clone(&association)));
        let entry = Entry { association: Arc::clone(&association), task };
        self.shared.associations().insert(peer, entry);
        Ok(association)
    }

    /// Ends the association that was idle longest when there are too many: refusing new senders would stop a resolver for
    /// [`IDLE`].
    fn make_room(&mut self) {
        let mut associations = self.shared.associations();
        while associations.len() >= self.max_associations {
            let longest = associations.iter().min_by_key(|(_, entry)| entry.association.used.load(Relaxed));
            let Some(peer) = longest.map(|(peer, _)| *peer) else { return };
            if !self.was_full {
                let max = self.max_associations;
                tracing::warn!("more than {max} senders of datagrams: those idle longest are forgotten from now on");
                self.was_full = true;
            }
            if let Some(entry) = associations.remove(&peer) {
                entry.task.abort();
            }
        }
    }
}

/// Answers go back to the sender, until it is silent.
async fn answer(shared: Arc<Shared>, peer: SocketAddr, association: Arc<Association>) {
    let mut end = pin!(tokio::time::sleep_until(association.ends_at()));
    loop {
        tokio::select! {
            answer = std::future::poll_fn(|cx| shared.poll_answer(cx, peer, &association)) => match answer {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    if let Err(error) = shared.socket.send_to(&answer, peer).await {
                        tracing::debug!(%peer, "answer dropped: {error}");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => tracing::debug!(%peer, "{error}"),
                Err(_) => {
                    shared.end(peer, &association, false);
                    return;
                }
            },
            () = &mut end => {
                if shared.end(peer, &association, true) {
                    return;
                }
                end.as_mut().reset(association.ends_at());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::tunnel, *};

    #[tokio::test]
    async fn answers_do_not_keep_an_association_as_the_stack_would_drop_them() {
        let (_far, client) = tunnel().await;
        let start = Instant::now().checked_sub(2 * IDLE).unwrap();
        let association = Association::new(client.bind_udp().await.unwrap(), start);
        association.sent.store(0, Relaxed);
        association.on_received();
        assert_eq!(association.ends_at(), start + IDLE);
        association.on_sent();
        assert!(association.ends_at() > Instant::now());
        assert_eq!(super::super::options().udp_idle, IDLE);
    }

    #[tokio::test]
    async fn a_new_sender_takes_the_place_of_the_one_idle_longest() {
        let (_far, client) = tunnel().await;
        let remote = SocketAddr::from(([10, 9, 0, 1], 7));
        let [one, two, three] = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut forward = Forward::new(socket, remote.into(), client, 2);
        for peer in [one, two, one, three] {
            forward.on_datagram(peer, b"x").await;
        }
        assert!(forward.find(two).is_none());
        assert!(forward.find(one).is_some() && forward.find(three).is_some());
        assert!(forward.tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
    }

    #[tokio::test]
    async fn a_datagram_that_is_too_large_is_warned_about_once() {
        let (_far, client) = tunnel().await;
        let remote = SocketAddr::from(([10, 9, 0, 1], 7));
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut forward = Forward::new(socket, remote.into(), client, 2);
        forward.on_datagram(peer, b"x").await;
        let association = forward.find(peer).unwrap();
        assert!(!association.warned.load(Relaxed));
        let error = association.inside.send_to(&[0; DATAGRAM_BYTES], remote).unwrap_err();
        assert!(error.to_string().contains("at most") && error.kind() == io::ErrorKind::InvalidInput, "{error}");
        forward.on_datagram(peer, &[0; DATAGRAM_BYTES]).await;
        assert!(association.warned.load(Relaxed));
    }

    #[tokio::test]
    async fn what_waits_for_a_name_is_bounded() {
        let (_far, client) = tunnel().await;
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut forward = Forward::new(socket, ("db.corp.example", 7).into(), client, 2);
        for _ in 0..2 * MAX_WAITING {
            forward.on_datagram(peer, b"x").await;
        }
        assert_eq!(forward.waiting.len(), MAX_WAITING);
        for _ in 0..3 {
            forward.on_datagram(peer, &[0; DATAGRAM_BYTES]).await;
        }
        assert_eq!(forward.waiting.len(), MAX_WAITING_BYTES / DATAGRAM_BYTES);
    }
}
