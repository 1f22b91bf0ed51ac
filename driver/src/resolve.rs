//! Names of gateways to addresses, in the order to try them.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use adit_tunnel::Family;

use crate::error::{Failure, FailureKind};

/// All addresses of `host`, IPv6 and IPv4 taking turns, IPv6 first (RFC 8305 §4).
pub(crate) async fn resolve(
    host: &str,
    port: u16,
    family: Option<Family>,
    timeout: Duration,
) -> Result<Vec<SocketAddr>, Failure> {
    let failed = |source: io::Error| Failure::io(FailureKind::Resolve, source).at(host);
    let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => match tokio::time::timeout(timeout, tokio::net::lookup_host((host, port))).await {
            Ok(found) => found.map_err(failed)?.collect(),
            Err(_) => return Err(failed(io::Error::new(io::ErrorKind::TimedOut, "name resolution timed out"))),
        },
    };
    let usable = interleave(found.into_iter().filter(|a| family.is_none_or(|family| family.matches(a.ip()))));
    if usable.is_empty() {
        let text = match family {
            Some(Family::V4) => "the name has no IPv4 address",
            Some(Family::V6) => "the name has no IPv6 address",
            None => "the name has no address",
        };
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, text)));
    }
    Ok(usable)
}

/// What names of gateways meant the last time they could be asked about. Cheap to clone; all clones are one.
///
/// See [`Options::names`](crate::Options::names).
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<Mutex<Known>>);

/// By name and port.
type Known = HashMap<(String, u16), Vec<SocketAddr>>;

impl Names {
    /// Takes what a process before us knew of a name with this port; what is known already stays.
    pub fn recall(&self, host: &str, port: u16, addresses: Vec<SocketAddr>) {
        self.lock().entry((host.to_owned(), port)).or_insert(addresses);
    }

    /// Every name with its port and its addresses, in the order of names.
    #[must_use]
    pub fn all(&self) -> Vec<(String, u16, Vec<SocketAddr>)> {
        let known = self.lock();
        let mut all: Vec<_> =
            known.iter().map(|((host, port), addresses)| (host.clone(), *port, addresses.clone())).collect();
        all.sort();
        all
    }

    /// Remembers what was found; where nothing could be found out, what was found before. A tunnel that carries everything, or lets
    /// nothing past while it is down, takes the name servers along that would tell where to rebuild it.
    pub(crate) fn settle(
        &self,
        host: &str,
        port: u16,
        found: Result<Vec<SocketAddr>, Failure>,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let key = (host.to_owned(), port);
        match found {
            Ok(addresses) => {
                // An address is its own name.
                if host.parse::<IpAddr>().is_err() {
                    self.lock().insert(key, addresses.clone());
                }
                Ok(addresses)
            }
            Err(failure) => {
                let known = self.lock().get(&key).cloned().ok_or_else(|| failure.clone())?;
                tracing::info!("{failure}; trying the addresses it had before");
                Ok(known)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether they are one.
impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Names {}

/// IPv6 and IPv4 in turns, IPv6 first, each address once.
pub(crate) fn interleave(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut unique = Vec::new();
    for address in addresses {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    let (v6, v4): (Vec<_>, Vec<_>) = unique.into_iter().partition(SocketAddr::is_ipv6);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut ordered = Vec::new();
    loop {
        match (v6.next(), v4.next()) {
            (None, None) => return ordered,
            (first, second) => ordered.extend(first.into_iter().chain(second)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_duplicates_vanish() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let found = ["1.1.1.1:1", "2.2.2.2:1", "1.1.1.1:1", "3.3.3.3:1", "[::1]:1", "[::2]:1"].map(parse);
        let expected = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "3.3.3.3:1"].map(parse);
        assert_eq!(interleave(found.into_iter()), expected);
    }

    #[test]
    fn a_name_that_cannot_be_asked_about_means_what_it_meant_before() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let failed = || Err(Failure::new(FailureKind::Resolve, "no name server answers"));
        let known = Names::default();
        assert_eq!(known.settle("vpn.example", 500, failed()).unwrap_err().kind(), FailureKind::Resolve);
        for address in ["192.0.2.1:500", "192.0.2.2:500"] {
            assert_eq!(known.settle("vpn.example", 500, Ok(vec![parse(address)])).unwrap(), [parse(address)]);
            assert_eq!(known.settle("vpn.example", 500, failed()).unwrap(), [parse(address)]);
        }
        assert!(known.settle("vpn.example", 4500, failed()).is_err());
        assert!(known.settle("other.example", 500, failed()).is_err());
        known.recall("vpn.example", 500, vec![parse("192.0.2.3:500")]);
        known.recall("other.example", 500, vec![parse("192.0.2.3:500")]);
        assert_eq!(known.settle("vpn.example", 500, failed()).unwrap(), [parse("192.0.2.2:500")], "it is newer");
        assert_eq!(known.settle("other.example", 500, failed()).unwrap(), [parse("192.0.2.3:500")]);
        known.settle("192.0.2.4", 500, Ok(vec![parse("192.0.2.4:500")])).unwrap();
        let names: Vec<String> = known.all().into_iter().map(|(host, ..)| host).collect();
        assert_eq!(names, ["other.example", "vpn.example"]);
    }

    #[tokio::test]
    async fn an_address_of_the_wrong_family_is_an_error_that_says_so() {
        let failure = resolve("127.0.0.1", 1, Some(Family::V6), Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Resolve);
        assert!(failure.to_string().contains("no IPv6 address"), "{failure}");
    }
}
