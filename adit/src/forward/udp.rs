//! UDP: each local sender has a socket inside the tunnel, for as long as it is in use.

use std::{
    collections::HashMap,
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

use adit_driver::{Target, UdpSocket as InsideSocket, Way};
use tokio::{
    net::UdpSocket,
    task::{AbortHandle, JoinSet},
    time::Instant,
};
use tracing::Instrument;

use super::{
    OUT_OF_RESOURCES_WAIT,
    counters::{ForwardCounters, Open},
    is_out_of_resources,
    name::{Name, Resolver, Waiting},
    parked::{Datagram, Parked},
    stop::Stop,
    terms::{InForce, Terms},
};

/// How long after the last datagram of a sender its association ends. Answers do not count, here and in the stack of the
/// tunnel: RFC 4787 §4.3 asks for at least 2 minutes, recommends 5, and leaves it open whether inbound datagrams refresh.
pub(super) const IDLE: Duration = Duration::from_secs(300);
/// Senders at the same time, for each forward. A stub resolver is a new one with each query.
pub(super) const MAX_ASSOCIATIONS: usize = 1024;
/// The largest UDP datagram.
const DATAGRAM_BYTES: usize = 65535;
/// Datagrams that are taken at once, before anything else is looked at.
const BATCH: usize = 32;
/// Silence of an association, in either direction, after which it is taken to have ended when the forward is to end.
pub(super) const DRAINED: Duration = Duration::from_secs(3);

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
    _open: Open,
}

impl Association {
    /// `start` is the same for all: they are compared.
    fn new(inside: InsideSocket, start: Instant, open: Open) -> Self {
        let (sent, used, warned) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let association = Self { inside, start, sent, used, warned, _open: open };
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
    socket: Arc<UdpSocket>,
    associations: Mutex<HashMap<SocketAddr, Entry>>,
    /// Where answers are put, one at a time.
    scratch: Mutex<Vec<u8>>,
    counters: Arc<ForwardCounters>,
}

impl Shared {
    fn associations(&self) -> MutexGuard<'_, HashMap<SocketAddr, Entry>> {
        self.associations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another forward listens on the socket, too: what comes is for that one.
    fn is_handed_over(&self) -> bool {
        Arc::strong_count(&self.socket) > 1
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
        self.counters.on_received(length);
        match self.socket.try_send_to(&scratch[..length], peer) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Poll::Ready(Ok(Some(scratch[..length].to_vec())));
            }
            Err(error) => tracing::debug!(%peer, "answer dropped: {error}"),
        }
        Poll::Ready(Ok(None))
    }

    /// Waits until every association has been silent for a while. `start` is theirs.
    async fn silence(&self, start: Instant) {
        loop {
            let last = self.associations().values().map(|entry| entry.association.used.load(Relaxed)).max();
            let Some(last) = last else { return };
            let end = start + Duration::from_nanos(last) + DRAINED;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
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

pub(super) async fn serve(
    socket: Arc<UdpSocket>,
    target: Target,
    mut terms: InForce,
    counters: &Arc<ForwardCounters>,
    mut stop: Stop,
) {
    let mut forward = Forward::new(socket, target, &terms.borrow_and_update(), counters);
    let shared = Arc::clone(&forward.shared);
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let mut aborted = stop.clone();
    loop {
        if forward.is_draining && shared.is_handed_over() {
            return;
        }
        tokio::select! {
            received = shared.socket.recv_from(&mut buffer) => match received {
                Ok((length, peer)) => forward.on_datagrams(length, peer, &mut buffer).await,
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
            ready = forward.parked.ready(&forward.shared.counters) => {
                for Datagram { of, bytes, until } in ready {
                    forward.on_datagram(of, &bytes, until).await;
                }
            }
            // Reaps those that are done.
            Some(_) = forward.tasks.join_next() => {}
            Ok(()) = terms.changed() => forward.take(&terms.borrow_and_update()),
            () = stop.draining(), if !forward.is_draining => forward.is_draining = true,
            () = shared.silence(forward.start), if forward.is_draining => return,
            () = aborted.aborted() => return,
        }
    }
}

struct Forward {
    shared: Arc<Shared>,
    way: Way,
    name: Name,
    /// What came before the first lookup of the name was done.
    waiting: Waiting,
    /// What came while the tunnel was down.
    parked: Parked<SocketAddr>,
    tasks: JoinSet<()>,
    start: Instant,
    max_associations: usize,
    was_full: bool,
    /// New senders are not heard any more.
    is_draining: bool,
}

impl Forward {
    fn new(socket: Arc<UdpSocket>, target: Target, terms: &Terms, counters: &Arc<ForwardCounters>) -> Self {
        let scratch = Mutex::new(vec![0; DATAGRAM_BYTES]);
        let shared = Shared { socket, associations: Mutex::default(), scratch, counters: Arc::clone(counters) };
        Self {
            shared: Arc::new(shared),
            way: terms.way.clone(),
            name: Name::new(target),
            waiting: Waiting::default(),
            parked: Parked::default(),
            tasks: JoinSet::new(),
            start: Instant::now(),
            max_associations: terms.most.min(MAX_ASSOCIATIONS),
            was_full: false,
            is_draining: false,
        }
    }

    /// Goes on with these; those that are too many go when there is a new one.
    fn take(&mut self, terms: &Terms) {
        self.way = terms.way.clone();
        self.max_associations = terms.most.min(MAX_ASSOCIATIONS);
        self.was_full = false;
    }

    /// Takes the datagram at the start of the buffer, and those that have come behind it.
    async fn on_datagrams(&mut self, length: usize, peer: SocketAddr, buffer: &mut [u8]) {
        let until = self.until();
        self.on_datagram(peer, &buffer[..length], until).await;
        for _ in 1..BATCH {
            let Ok((length, peer)) = self.shared.socket.try_recv_from(buffer) else { return };
            self.on_datagram(peer, &buffer[..length], until).await;
        }
    }

    /// Until when a datagram of now may wait for a tunnel.
    fn until(&self) -> Instant {
        Instant::now() + self.way.wait()
    }

    async fn on_datagram(&mut self, peer: SocketAddr, datagram: &[u8], until: Instant) {
        match self.name.address(Resolver::Inside(&self.way)) {
            Some(remote) => self.send(peer, remote, datagram, until).await,
            None if self.name.is_looked_up() => self.waiting.push(peer, datagram),
            None => tracing::debug!(%peer, "datagram dropped: no address"),
        }
    }

    async fn send_waiting(&mut self) {
        let waiting = self.waiting.take();
        let Some(remote) = self.name.address(Resolver::Inside(&self.way)) else {
            return tracing::debug!("{} datagrams dropped: no address", waiting.len());
        };
        let until = self.until();
        for (peer, datagram) in waiting {
            self.send(peer, remote, &datagram, until).await;
        }
    }

    /// While there is no tunnel: the datagram waits for one, where the forward does.
    fn park(&mut self, peer: SocketAddr, datagram: &[u8], until: Instant) {
        let datagram = Datagram { of: peer, bytes: datagram.to_vec(), until };
        self.parked.park(&self.way, &self.shared.counters, datagram);
    }

    async fn send(&mut self, peer: SocketAddr, remote: SocketAddr, datagram: &[u8], until: Instant) {
        // The stack would take it, and a tunnel that comes back with other addresses would not.
        if self.way.network().is_none() {
            return self.park(peer, datagram, until);
        }
        let known = self.find(peer);
        if let Some(association) = &known {
            match self.send_by(association, peer, remote, datagram) {
                // Its tunnel has ended: there may be another one.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                    tracing::debug!(%peer, "association moves: {error}");
                    self.forget(peer);
                }
                _ => return,
            }
        }
        match self.open(peer, known.is_some()).await {
            Ok(association) => drop(self.send_by(&association, peer, remote, datagram)),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => self.park(peer, datagram, until),
            Err(error) => tracing::debug!(%peer, "datagram dropped: {error}"),
        }
    }

    fn send_by(&self, by: &Association, peer: SocketAddr, remote: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        let sent = by.inside.send_to(datagram, remote);
        match &sent {
            Ok(()) => {
                by.on_sent();
                self.shared.counters.on_sent(datagram.len());
            }
            // Too large, or to where the gateway carries nothing, and so will be others: the sender is to know once, and cannot be told.
            Err(error) if is_lasting(error) && !by.warned.swap(true, Relaxed) => {
                if error.kind() == io::ErrorKind::NetworkUnreachable {
                    self.shared.counters.on_failed(error);
                }
                tracing::warn!(%peer, %remote, length = datagram.len(), "datagram dropped: {error}");
            }
            Err(error) => {
                tracing::debug!(%peer, %remote, length = datagram.len(), "datagram dropped: {error}");
            }
        }
        sent
    }

    fn forget(&self, peer: SocketAddr) {
        if let Some(entry) = self.shared.associations().remove(&peer) {
            entry.task.abort();
        }
    }

    fn find(&self, peer: SocketAddr) -> Option<Arc<Association>> {
        let associations = self.shared.associations();
        let entry = associations.get(&peer).filter(|entry| !entry.task.is_finished())?;
        Some(Arc::clone(&entry.association))
    }

    /// `again`: it takes the place of one that was there.
    async fn open(&mut self, peer: SocketAddr, again: bool) -> io::Result<Arc<Association>> {
        if self.is_draining && !again {
            let error = io::Error::new(io::ErrorKind::ConnectionRefused, "the forward is ending");
            self.shared.counters.on_refused(&error);
            return Err(error);
        }
        self.make_room();
        let inside = self.way.bind_udp().await.inspect_err(|error| {
            // Of a tunnel that was lost this moment, the datagram waits.
            if error.kind() != io::ErrorKind::NotConnected {
                self.shared.counters.on_failed(error);
            }
        })?;
        tracing::debug!(%peer, "new association");
        let association = Arc::new(Association::new(inside, self.start, Open::new(&self.shared.counters)));
        let task = self.tasks.spawn(answer(Arc::clone(&self.shared), peer, Arc::clone(&association)).in_current_span());
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

/// Whether what was refused once will be refused each time.
fn is_lasting(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NetworkUnreachable)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::tunnel, *};

    /// For two senders at most.
    async fn forward(client: adit_driver::Client) -> Forward {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let terms = Terms { way: client.into(), most: 2, proxy_protocol: false };
        Forward::new(Arc::new(socket), SocketAddr::from(([10, 9, 0, 1], 7)).into(), &terms, &Arc::default())
    }

    #[tokio::test]
    async fn answers_do_not_keep_an_association_as_the_stack_would_drop_them() {
        let (_far, client) = tunnel().await;
        let start = Instant::now().checked_sub(2 * IDLE).unwrap();
        let association = Association::new(client.bind_udp().await.unwrap(), start, Open::new(&Arc::default()));
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
        let [one, two, three] = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut forward = forward(client).await;
        for peer in [one, two, one, three] {
            let until = forward.until();
            forward.on_datagram(peer, b"x", until).await;
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
        let mut forward = forward(client).await;
        let until = forward.until();
        forward.on_datagram(peer, b"x", until).await;
        let association = forward.find(peer).unwrap();
        assert!(!association.warned.load(Relaxed));
        let error = association.inside.send_to(&[0; DATAGRAM_BYTES], remote).unwrap_err();
        assert!(error.to_string().contains("at most") && error.kind() == io::ErrorKind::InvalidInput, "{error}");
        forward.on_datagram(peer, &[0; DATAGRAM_BYTES], until).await;
        assert!(association.warned.load(Relaxed));
    }
}
