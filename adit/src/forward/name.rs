//! Where datagrams go: a name is asked for now and then, while they go on to the address known before.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use adit_driver::{Target, Way};
use adit_tunnel::NetworkConfig;
use tokio::{
    net::lookup_host,
    task::JoinSet,
    time::{Instant, timeout},
};

/// How long the addresses of a name are used before it is asked for again, and how long a failure is not repeated.
pub(super) const FRESH: Duration = Duration::from_secs(60);
pub(super) const FAILURE_FRESH: Duration = Duration::from_secs(5);

/// How long this machine may take to find an address.
const LOOKUP: Duration = Duration::from_secs(5);
/// Datagrams that wait for the first lookup of a name, and their bytes: the older ones go.
const MOST_WAITING: usize = 64;
const MOST_WAITING_BYTES: usize = 128 * 1024;

type Found = io::Result<Vec<IpAddr>>;

/// Who is asked for the addresses of a name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Resolver<'a> {
    /// The name servers behind the gateway.
    Inside(&'a Way),
    /// This machine.
    Here,
}

#[derive(Debug)]
pub(super) struct Name {
    target: Target,
    known: Vec<IpAddr>,
    /// `None` until the first lookup has ended.
    fresh_until: Option<Instant>,
    /// One at most.
    lookups: JoinSet<Found>,
}

impl Name {
    pub(super) fn new(target: Target) -> Self {
        Self { target, known: Vec::new(), fresh_until: None, lookups: JoinSet::new() }
    }

    /// Where to send now; starts a lookup where one is due.
    pub(super) fn address(&mut self, resolver: Resolver<'_>) -> Option<SocketAddr> {
        let (host, port) = match &self.target {
            Target::Address(address) => return Some(*address),
            Target::Name(host, port) => (host, *port),
        };
        if self.lookups.is_empty() && self.fresh_until.is_none_or(|until| until <= Instant::now()) {
            let host = host.clone();
            match resolver {
                Resolver::Inside(way) => {
                    let way = way.clone();
                    self.lookups.spawn(async move { way.resolve(&host).await })
                }
                Resolver::Here => self.lookups.spawn(async move { look_up(&host, port).await }),
            };
        }
        let network = match resolver {
            Resolver::Inside(way) => way.network(),
            Resolver::Here => None,
        };
        let ip = choose(&self.known, network.as_deref())?;
        Some(SocketAddr::new(ip, port))
    }

    /// Whether a lookup is under way.
    pub(super) fn is_looked_up(&self) -> bool {
        !self.lookups.is_empty()
    }

    /// The end of the lookup; `None` at once when there is none. May be dropped and called again.
    pub(super) async fn next_found(&mut self) -> Option<Found> {
        Some(self.lookups.join_next().await?.unwrap_or_else(|error| Err(io::Error::other(error))))
    }

    /// Takes what was found. A failure leaves what was known.
    pub(super) fn on_found(&mut self, found: Found) {
        let fresh = match found {
            Ok(found) => {
                self.known = found;
                FRESH
            }
            Err(error) => {
                tracing::warn!("no address for {}: {error}", self.target);
                FAILURE_FRESH
            }
        };
        self.fresh_until = Some(Instant::now() + fresh);
    }
}

/// Asks this machine.
async fn look_up(host: &str, port: u16) -> Found {
    match timeout(LOOKUP, lookup_host((host, port))).await {
        Ok(found) => Ok(found?.map(|address| address.ip()).collect()),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    }
}

/// Datagrams that came before an address was known, each with its sender.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    datagrams: VecDeque<(SocketAddr, Vec<u8>)>,
    bytes: usize,
}

impl Waiting {
    pub(super) fn push(&mut self, peer: SocketAddr, datagram: &[u8]) {
        self.datagrams.push_back((peer, datagram.to_vec()));
        self.bytes += datagram.len();
        while self.datagrams.len() > MOST_WAITING || self.bytes > MOST_WAITING_BYTES {
            let Some((_, oldest)) = self.datagrams.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }

    /// All of them, the oldest first.
    pub(super) fn take(&mut self) -> VecDeque<(SocketAddr, Vec<u8>)> {
        std::mem::take(self).datagrams
    }
}

/// The first address of a family that the tunnel has an address of: since the lookup, it may have come back with others.
pub(super) fn choose(known: &[IpAddr], network: Option<&NetworkConfig>) -> Option<IpAddr> {
    let addresses = network.map(|network| network.addresses.as_slice()).unwrap_or_default();
    let has = |ip: &&IpAddr| addresses.iter().any(|ours| ours.address().is_ipv4() == ip.is_ipv4());
    known.iter().find(has).or_else(|| known.first()).copied()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::{
        super::tests::{soon, tunnel},
        *,
    };

    /// What the name server of the toy gateway answers.
    const ANSWER_ADDRESS: [u8; 4] = [10, 9, 0, 77];

    #[tokio::test]
    async fn the_old_address_is_used_until_the_new_one_is_found() {
        let (_far, client) = tunnel().await;
        let way = Way::from(client);
        let client = Resolver::Inside(&way);
        let mut name = Name::new(Target::from(("db.corp.example", 7)));
        assert_eq!(name.address(client), None);
        name.lookups.shutdown().await;
        name.on_found(Ok(vec![[10, 9, 0, 1].into()]));
        name.fresh_until = Some(Instant::now());
        assert_eq!(name.address(client), Some(([10, 9, 0, 1], 7).into()));
        assert!(name.is_looked_up());
        let found = soon(name.next_found()).await.unwrap();
        name.on_found(found);
        assert_eq!(name.address(client), Some((ANSWER_ADDRESS, 7).into()));
        assert!(!name.is_looked_up(), "fresh");
        name.on_found(Err(io::ErrorKind::TimedOut.into()));
        assert_eq!(name.address(client), Some((ANSWER_ADDRESS, 7).into()));
    }

    #[test]
    fn what_waits_for_a_name_is_bounded() {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut waiting = Waiting::default();
        for _ in 0..2 * MOST_WAITING {
            waiting.push(peer, b"x");
        }
        assert_eq!((waiting.datagrams.len(), waiting.bytes), (MOST_WAITING, MOST_WAITING));
        let large = [0; u16::MAX as usize];
        for _ in 0..3 {
            waiting.push(peer, &large);
        }
        assert_eq!(waiting.take().len(), MOST_WAITING_BYTES / large.len());
        assert_eq!((waiting.datagrams.len(), waiting.bytes), (0, 0));
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_looked_up_beside_what_is_sent() {
        let mut name = Name::new(Target::from(("localhost", 7)));
        assert_eq!(name.address(Resolver::Here), None);
        let found = soon(name.next_found()).await.unwrap();
        name.on_found(found);
        let found = name.address(Resolver::Here).unwrap();
        assert!(found.ip().is_loopback() && found.port() == 7, "{found}");
    }

    #[tokio::test]
    async fn an_address_is_of_a_family_the_tunnel_has() {
        let (_far, client) = tunnel().await;
        let network = client.network().unwrap();
        let (v6, v4) = (IpAddr::from(Ipv6Addr::LOCALHOST), IpAddr::from(Ipv4Addr::LOCALHOST));
        assert_eq!(choose(&[v6, v4], Some(&network)), Some(v4));
        assert_eq!(choose(&[v6], Some(&network)), Some(v6));
        assert_eq!(choose(&[v6, v4], None), Some(v6));
        assert_eq!(choose(&[], Some(&network)), None);
    }
}
