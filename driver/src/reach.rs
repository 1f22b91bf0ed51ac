//! What the gateway has agreed to carry.

use std::{io, net::IpAddr, sync::Arc};

use adit_tunnel::IpNet;

/// The destinations a tunnel carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All, as far as is known.
    #[default]
    Everything,
    /// These, and no other.
    Networks(Arc<[IpNet]>),
}

impl Reach {
    /// Of what the flows of a tunnel carry; one without selectors carries everything.
    pub(crate) fn of<'a>(flows: impl Iterator<Item = &'a [IpNet]>) -> Self {
        let mut networks = Vec::new();
        for selectors in flows {
            if selectors.is_empty() {
                return Self::Everything;
            }
            networks.extend_from_slice(selectors);
        }
        // Between two keys nothing is carried, but nothing has been agreed anew either.
        if networks.is_empty() { Self::Everything } else { Self::Networks(networks.into()) }
    }

    /// Those networks, where there is a bound.
    pub(crate) fn networks(&self) -> Option<Arc<[IpNet]>> {
        match self {
            Self::Everything => None,
            Self::Networks(networks) => Some(Arc::clone(networks)),
        }
    }

    /// A packet that is not carried is dropped without a word: whoever would wait for its answer is told at once.
    pub(crate) fn check(&self, destination: IpAddr) -> io::Result<()> {
        let Self::Networks(networks) = self else { return Ok(()) };
        let destination = destination.to_canonical();
        if networks.iter().any(|network| network.contains(destination)) {
            return Ok(());
        }
        let mut names: Vec<String> = networks.iter().take(NAMED).map(ToString::to_string).collect();
        if networks.len() > NAMED {
            names.push(format!("and {} more", networks.len() - NAMED));
        }
        let text = format!("{destination} is not behind the gateway, which agreed to carry {}", names.join(", "));
        Err(io::Error::new(io::ErrorKind::NetworkUnreachable, text))
    }
}

/// So many networks are named.
const NAMED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_outside_of_what_was_agreed_is_refused_by_name() {
        let nets = [IpNet::new([10, 0, 0, 0], 8).unwrap(), IpNet::new([192, 168, 7, 0], 24).unwrap()];
        let reach = Reach::of([&nets[..1], &nets[1..]].into_iter());
        assert!(reach.check([10, 200, 3, 4].into()).is_ok());
        let error = reach.check([192, 168, 8, 1].into()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NetworkUnreachable);
        let text = error.to_string();
        assert!(["192.168.8.1", "10.0.0.0/8", "192.168.7.0/24"].iter().all(|part| text.contains(part)), "{text}");
        assert!(reach.check("::1".parse().unwrap()).is_err());
        assert!(reach.check("::ffff:10.1.1.1".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_flow_without_selectors_carries_everything() {
        let nets = [IpNet::new([10, 0, 0, 0], 8).unwrap()];
        assert_eq!(Reach::of([&nets[..], &[]].into_iter()), Reach::Everything);
        assert_eq!(Reach::of(std::iter::empty()), Reach::Everything);
    }
}
