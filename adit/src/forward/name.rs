//! Where datagrams go: a name is asked for now and then, while they go on to the address known before.

use std::{io, net::IpAddr, net::SocketAddr, time::Duration};

use adit_driver::{Target, Way};
use adit_tunnel::NetworkConfig;
use tokio::{task::JoinSet, time::Instant};

/// How long the addresses of a name are used before it is asked for again, and how long a failure is not repeated.
pub(super) const FRESH: Duration = Duration::from_secs(60);
pub(super) const FAILURE_FRESH: Duration = Duration::from_secs(5);

type Found = io::Result<Vec<IpAddr>>;

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
    pub(super) fn address(&mut self, way: &Way) -> Option<SocketAddr> {
        let (host, port) = match &self.target {
            Target::Address(address) => return Some(*address),
            Target::Name(host, port) => (host, *port),
        };
        if self.lookups.is_empty() && self.fresh_until.is_none_or(|until| until <= Instant::now()) {
            let (way, host) = (way.clone(), host.clone());
            self.lookups.spawn(async move { way.resolve(&host).await });
        }
        let ip = choose(&self.known, way.network().as_deref())?;
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
        let client = Way::from(client);
        let mut name = Name::new(Target::from(("db.corp.example", 7)));
        assert_eq!(name.address(&client), None);
        name.lookups.shutdown().await;
        name.on_found(Ok(vec![[10, 9, 0, 1].into()]));
        name.fresh_until = Some(Instant::now());
        assert_eq!(name.address(&client), Some(([10, 9, 0, 1], 7).into()));
        assert!(name.is_looked_up());
        let found = soon(name.next_found()).await.unwrap();
        name.on_found(found);
        assert_eq!(name.address(&client), Some((ANSWER_ADDRESS, 7).into()));
        assert!(!name.is_looked_up(), "fresh");
        name.on_found(Err(io::ErrorKind::TimedOut.into()));
        assert_eq!(name.address(&client), Some((ANSWER_ADDRESS, 7).into()));
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
