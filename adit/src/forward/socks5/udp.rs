//! UDP ASSOCIATE (RFC 1928 §7): datagrams of one client, for as long as its connection is open.

use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
};

use adit_driver::{Target, UdpSocket as InsideSocket};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::UdpSocket,
    task::JoinSet,
    time::Instant,
};

use super::{
    super::{
        OUT_OF_RESOURCES_WAIT, is_out_of_resources, name,
        outside::Outside,
        parked::{Datagram, Parked},
        through::Through,
    },
    wire,
};

/// More than any packet of a tunnel: what fills a buffer of this size is too large to be sent on.
const DATAGRAM_BYTES: usize = 10 * 1024;
/// What stands before an answer: three bytes, the kind of its address, 16 of it, a port.
const MOST_HEAD_BYTES: usize = 3 + 1 + 16 + 2;
/// Names a client may use at the same time, and so lookups; the one looked up longest ago goes.
const MOST_NAMES: usize = 64;
/// Datagrams that wait for a lookup, and their bytes: later ones are dropped.
const MOST_WAITING: usize = 64;
const MOST_WAITING_BYTES: usize = 64 * 1024;
/// Datagrams that are taken at once, before anything else is looked at.
const BATCH: usize = 32;

type Found = (String, io::Result<Vec<IpAddr>>);

pub(super) struct Association<'a> {
    through: &'a Through,
    /// Where the client sends to.
    outside: UdpSocket,
    /// Only who has opened the association may use it (RFC 1928 §7).
    client: IpAddr,
    /// Known from the start, or with the first datagram.
    client_port: Option<u16>,
    /// Of the tunnel that is in use; made anew when that has ended.
    inside: Option<InsideSocket>,
    names: HashMap<String, Name>,
    lookups: JoinSet<Found>,
    waiting: Vec<(String, u16, Vec<u8>)>,
    /// What came while the tunnel was down.
    parked: Parked<SocketAddr>,
}

/// A name that datagrams go to.
struct Name {
    known: Vec<IpAddr>,
    /// `None` while it is looked up for the first time.
    fresh_until: Option<Instant>,
    is_looked_up: bool,
}

impl<'a> Association<'a> {
    /// `from` is where the client says it will send from: its port counts, its address does not, as clients behind a NAT do not
    /// know it.
    pub(super) async fn open(through: &'a Through, control: &Outside, from: &Target) -> io::Result<Self> {
        let addresses = (control.local(), control.peer().address());
        let (Some(local), Some(peer)) = addresses else { return Err(io::ErrorKind::Unsupported.into()) };
        let outside = UdpSocket::bind((local.ip().to_canonical(), 0)).await?;
        let port = match from {
            Target::Address(address) => address.port(),
            Target::Name(_, port) => *port,
        };
        Ok(Self {
            through,
            outside,
            client: peer.ip().to_canonical(),
            client_port: Some(port).filter(|port| *port != 0),
            inside: Some(through.way.bind_udp().await?),
            names: HashMap::new(),
            lookups: JoinSet::new(),
            waiting: Vec::new(),
            parked: Parked::default(),
        })
    }

    /// Where the client sends to.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.outside.local_addr().ok()
    }

    /// Carries datagrams until the client's connection ends.
    pub(super) async fn run(mut self, control: &mut (impl AsyncRead + Unpin)) {
        let (mut from_client, mut answers) = (vec![0; DATAGRAM_BYTES], vec![0; MOST_HEAD_BYTES + DATAGRAM_BYTES]);
        let mut rest = [0; 64];
        loop {
            let answer = poll_fn(|cx| match &self.inside {
                Some(inside) => inside.poll_recv_from(cx, &mut answers[MOST_HEAD_BYTES..]),
                None => std::task::Poll::Pending,
            });
            tokio::select! {
                read = control.read(&mut rest) => match read {
                    // Nothing is to come here.
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return,
                },
                received = self.outside.recv_from(&mut from_client) => match received {
                    Ok((length, from)) => self.on_datagrams(length, from, &mut from_client).await,
                    Err(error) => {
                        tracing::debug!("receive: {error}");
                        if is_out_of_resources(&error) {
                            tokio::time::sleep(OUT_OF_RESOURCES_WAIT).await;
                        }
                    }
                },
                ready = self.parked.ready(&self.through.counters) => {
                    for Datagram { of, bytes, until } in ready {
                        self.send_until(of, &bytes, until).await;
                    }
                }
                answer = answer => self.on_answer(answer, &mut answers).await,
                Some(found) = self.lookups.join_next() => {
                    if let Ok((name, found)) = found {
                        self.on_found(name, found).await;
                    }
                }
            }
        }
    }

    /// Takes the datagram at the start of the buffer, and those that have come behind it.
    async fn on_datagrams(&mut self, length: usize, from: SocketAddr, buffer: &mut [u8]) {
        self.on_datagram(from, &buffer[..length]).await;
        for _ in 1..BATCH {
            let Ok((length, from)) = self.outside.try_recv_from(buffer) else { return };
            self.on_datagram(from, &buffer[..length]).await;
        }
    }

    async fn on_datagram(&mut self, from: SocketAddr, datagram: &[u8]) {
        if datagram.len() == DATAGRAM_BYTES {
            tracing::debug!(%from, "datagram dropped: too large");
            return;
        }
        let known = from.ip().to_canonical() == self.client && self.client_port.is_none_or(|port| port == from.port());
        if !known {
            tracing::debug!(%from, "datagram dropped: another client's association");
            return;
        }
        match wire::parse_datagram(datagram) {
            Ok(Some((target, payload))) => {
                self.client_port = Some(from.port());
                match target {
                    Target::Address(address) => self.send(address, payload).await,
                    Target::Name(name, port) => self.send_to_name(name, port, payload).await,
                }
            }
            Ok(None) => tracing::debug!(%from, "datagram dropped: a fragment"),
            Err(error) => tracing::debug!(%from, "datagram dropped: {error}"),
        }
    }

    /// While there is no tunnel: the datagram waits for one, where the forward does.
    fn park(&mut self, to: SocketAddr, payload: &[u8], until: Instant) {
        let datagram = Datagram { of: to, bytes: payload.to_vec(), until };
        self.parked.park(&self.through.way, &self.through.counters, datagram);
    }

    async fn send(&mut self, to: SocketAddr, payload: &[u8]) {
        self.send_until(to, payload, Instant::now() + self.through.way.wait()).await;
    }

    /// `until` it may wait for a tunnel.
    async fn send_until(&mut self, to: SocketAddr, payload: &[u8], until: Instant) {
        // What else the association does goes on.
        if self.through.way.network().is_none() {
            return self.park(to, payload, until);
        }
        // The second attempt is for another tunnel.
        for _ in 0..2 {
            let inside = match &self.inside {
                Some(inside) => inside,
                None => match self.through.way.bind_udp().await {
                    Ok(inside) => self.inside.insert(inside),
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => return self.park(to, payload, until),
                    Err(error) => {
                        tracing::debug!(%to, "datagram dropped: {error}");
                        return;
                    }
                },
            };
            match inside.send_to(payload, to) {
                Ok(()) => {
                    self.through.counters.on_sent(payload.len());
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::NotConnected => self.inside = None,
                Err(error) => {
                    // Too large, or to where the gateway carries nothing: the client cannot be told.
                    tracing::warn!(%to, length = payload.len(), "datagram dropped: {error}");
                    return self.through.counters.on_failed(&error);
                }
            }
        }
    }

    async fn send_to_name(&mut self, name: String, port: u16, payload: &[u8]) {
        let now = Instant::now();
        if !self.names.contains_key(&name) && !make_room(&mut self.names) {
            tracing::debug!("datagram dropped: {MOST_NAMES} names are being looked up");
            return;
        }
        let entry = self.names.entry(name.clone()).or_insert_with(Name::new);
        if !entry.is_looked_up && entry.fresh_until.is_none_or(|until| until <= now) {
            entry.is_looked_up = true;
            let (way, name) = (self.through.way.clone(), name.clone());
            self.lookups.spawn(async move {
                let found = way.resolve(&name).await;
                (name, found)
            });
        }
        if let Some(ip) = name::choose(&entry.known, self.through.way.network().as_deref()) {
            self.send(SocketAddr::new(ip, port), payload).await;
        } else if entry.is_looked_up {
            let bytes: usize = self.waiting.iter().map(|(_, _, payload)| payload.len()).sum();
            if self.waiting.len() < MOST_WAITING && bytes + payload.len() <= MOST_WAITING_BYTES {
                self.waiting.push((name, port, payload.to_vec()));
            }
        }
    }

    async fn on_found(&mut self, name: String, found: io::Result<Vec<IpAddr>>) {
        let (waiting, others) = std::mem::take(&mut self.waiting).into_iter().partition(|(of, _, _)| *of == name);
        self.waiting = others;
        // Forgotten, to make room for others.
        let Some(entry) = self.names.get_mut(&name) else { return };
        entry.is_looked_up = false;
        let fresh = match found {
            Ok(found) => {
                entry.known = found;
                name::FRESH
            }
            Err(error) => {
                tracing::debug!("no address for {name}: {error}");
                name::FAILURE_FRESH
            }
        };
        entry.fresh_until = Some(Instant::now() + fresh);
        let ip = name::choose(&entry.known, self.through.way.network().as_deref());
        let waiting: Vec<(String, u16, Vec<u8>)> = waiting;
        for (_, port, payload) in waiting {
            if let Some(ip) = ip {
                self.send(SocketAddr::new(ip, port), &payload).await;
            }
        }
    }

    /// Answers stand in `buffer` with room for their head before them.
    async fn on_answer(&mut self, answer: io::Result<(usize, SocketAddr)>, buffer: &mut [u8]) {
        let (length, from) = match answer {
            Ok(answer) => answer,
            // There is no way to say so.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return tracing::debug!("{error}"),
            Err(error) => {
                tracing::debug!("the association inside has ended: {error}");
                self.inside = None;
                return;
            }
        };
        let Some(port) = self.client_port else { return };
        let head = wire::datagram_head(from);
        let begin = MOST_HEAD_BYTES - head.len();
        buffer[begin..MOST_HEAD_BYTES].copy_from_slice(&head);
        let datagram = &buffer[begin..MOST_HEAD_BYTES + length];
        match self.outside.send_to(datagram, (self.client, port)).await {
            Ok(_) => self.through.counters.on_received(length),
            Err(error) => tracing::debug!("answer dropped: {error}"),
        }
    }
}

impl Name {
    fn new() -> Self {
        Self { known: Vec::new(), fresh_until: None, is_looked_up: false }
    }
}

/// Forgets a name where there are too many. Not one that is being looked up: its lookup would go on, and nobody count it.
/// Whether there is room.
fn make_room(names: &mut HashMap<String, Name>) -> bool {
    while names.len() >= MOST_NAMES {
        let known = names.iter().filter(|(_, name)| !name.is_looked_up);
        let Some(oldest) = known.min_by_key(|(_, name)| name.fresh_until).map(|(name, _)| name.clone()) else {
            return false;
        };
        names.remove(&oldest);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_looked_up_makes_no_room_for_another() {
        let name = |index: usize, is_looked_up| (index.to_string(), Name { is_looked_up, ..Name::new() });
        let mut names: HashMap<_, _> = (0..MOST_NAMES).map(|index| name(index, true)).collect();
        assert!(!make_room(&mut names));
        assert_eq!(names.len(), MOST_NAMES);
        names.extend([name(7, false)]);
        assert!(make_room(&mut names));
        assert!(names.len() == MOST_NAMES - 1 && !names.contains_key("7"));
    }
}
