//! How many peers have not proved who they are, in all and by address.
//!
//! A host of IPv6 has a whole /64 to itself (RFC 4291 §2.5.1), and so that counts as one address.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Counts them. Each holds a [`Guard`] for as long as it is one.
#[derive(Debug, Default)]
pub(super) struct HalfOpen {
    total: Arc<AtomicUsize>,
    by_address: BTreeMap<IpAddr, Arc<AtomicUsize>>,
}

/// One of them; when it is dropped, there is one less.
#[derive(Debug)]
pub(super) struct Guard {
    total: Arc<AtomicUsize>,
    of_address: Arc<AtomicUsize>,
}

impl HalfOpen {
    pub(super) fn total(&self) -> usize {
        self.total.load(Relaxed)
    }

    pub(super) fn of(&self, address: IpAddr) -> usize {
        self.by_address.get(&host(address)).map_or(0, |count| count.load(Relaxed))
    }

    pub(super) fn enter(&mut self, address: IpAddr) -> Guard {
        if self.by_address.len() > 2 * self.total() + SPARE {
            self.by_address.retain(|_, count| count.load(Relaxed) > 0);
        }
        let of_address = self.by_address.entry(host(address)).or_default();
        self.total.fetch_add(1, Relaxed);
        of_address.fetch_add(1, Relaxed);
        Guard { total: Arc::clone(&self.total), of_address: Arc::clone(of_address) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.total.fetch_sub(1, Relaxed);
        self.of_address.fetch_sub(1, Relaxed);
    }
}

/// What all addresses of one host have in common.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & INTERFACE_PREFIX).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// The first 64 bits.
const INTERFACE_PREFIX: u128 = u128::MAX << 64;
/// So many addresses without half-open peers are remembered before they are swept out.
const SPARE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_gone_is_not_counted_and_not_remembered_for_ever() {
        let mut half_open = HalfOpen::default();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        let guards: Vec<_> = (0..3).map(|_| half_open.enter(address(1))).collect();
        assert_eq!((half_open.total(), half_open.of(address(1)), half_open.of(address(2))), (3, 3, 0));
        drop(guards);
        assert_eq!((half_open.total(), half_open.of(address(1))), (0, 0));
        for n in 0..10_000 {
            drop(half_open.enter(address(n)));
        }
        assert!(half_open.by_address.len() <= SPARE + 2, "{}", half_open.by_address.len());
    }

    #[test]
    fn all_addresses_of_a_host_are_one() {
        let mut half_open = HalfOpen::default();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let _guards = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::", "192.0.2.1", "::ffff:192.0.2.1"]
            .map(|text| half_open.enter(address(text)));
        for (text, count) in [
            ("2001:db8:0:1::2", 2),
            ("2001:db8:0:2::1", 0),
            ("2001:db8::1", 0),
            ("192.0.2.1", 2),
            ("192.0.2.2", 0),
            ("::ffff:192.0.2.1", 2),
        ] {
            assert_eq!(half_open.of(address(text)), count, "{text}");
        }
    }
}
