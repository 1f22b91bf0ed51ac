//! How many peers have not been let in yet, in all and by where they come from.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use super::config::ServerLimits;

/// Counts one half-open peer as long as it exists.
#[derive(Debug)]
#[expect(dead_code, reason = "its existence is what counts")]
pub(super) struct HalfOpen {
    all: Arc<()>,
    of_origin: Arc<()>,
}

/// Counts half-open peers.
#[derive(Debug, Default)]
pub(super) struct HalfOpens {
    all: Arc<()>,
    by_origin: BTreeMap<IpAddr, Arc<()>>,
}

impl HalfOpens {
    /// One more, unless there are as many already as there may be, in all or from there.
    pub(super) fn open(&mut self, from: IpAddr, limits: &ServerLimits) -> Option<HalfOpen> {
        if self.count() >= limits.half_open as usize {
            return None;
        }
        if self.by_origin.len() > 2 * self.count() + SPARE {
            self.by_origin.retain(|_, origin| held(origin) > 0);
        }
        let origin = self.by_origin.entry(origin(from)).or_default();
        (held(origin) < limits.half_open_per_address as usize)
            .then(|| HalfOpen { all: Arc::clone(&self.all), of_origin: Arc::clone(origin) })
    }

    pub(super) fn count(&self) -> usize {
        held(&self.all)
    }
}

fn held(count: &Arc<()>) -> usize {
    Arc::strong_count(count) - 1
}

/// What one host can have: an address of IPv4, or a whole /64 of IPv6 (RFC 4291 §2.5.1: the other half is the host's to choose).
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// So many origins without half-open peers are remembered before they are swept out.
const SPARE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(half_open: u32, half_open_per_address: u32) -> ServerLimits {
        ServerLimits { half_open, half_open_per_address, ..ServerLimits::default() }
    }

    #[test]
    fn one_origin_is_one_ipv4_address_or_one_network_of_ipv6() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:0:0:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            let mut half_opens = HalfOpens::default();
            let first = half_opens.open(one.parse().unwrap(), &limits(9, 1));
            assert!(first.is_some());
            let second = half_opens.open(other.parse().unwrap(), &limits(9, 1));
            assert_eq!(second.is_none(), same, "{one} {other}");
        }
    }

    #[test]
    fn what_has_gone_is_not_counted_and_not_remembered_for_ever() {
        let mut half_opens = HalfOpens::default();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        let peers: Vec<_> = (0..4).filter_map(|_| half_opens.open(address(1), &limits(9, 3))).collect();
        assert_eq!((peers.len(), half_opens.count()), (3, 3));
        drop(peers);
        assert_eq!(half_opens.count(), 0);
        assert!(half_opens.open(address(1), &limits(9, 3)).is_some());
        for n in 0..10_000 {
            drop(half_opens.open(address(n), &limits(9, 3)));
        }
        assert!(half_opens.by_origin.len() <= SPARE + 2, "{}", half_opens.by_origin.len());
    }
}
