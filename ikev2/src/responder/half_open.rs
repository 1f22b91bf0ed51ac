//! How many peers have not proved who they are, in all and by address.

use std::{
    collections::BTreeMap,
    net::IpAddr,
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
        self.by_address.get(&address).map_or(0, |count| count.load(Relaxed))
    }

    pub(super) fn enter(&mut self, address: IpAddr) -> Guard {
        if self.by_address.len() > 2 * self.total() + SPARE {
            self.by_address.retain(|_, count| count.load(Relaxed) > 0);
        }
        let of_address = self.by_address.entry(address).or_default();
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
}
