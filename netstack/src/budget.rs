//! One number of bytes for everything that grows, in one stack and in all of them together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Bytes that several stacks share: over it, each of them refuses what is new, however little it has itself. Clones are the same pool.
#[derive(Debug, Clone)]
pub struct MemoryPool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: AtomicUsize,
    used: AtomicUsize,
}

impl MemoryPool {
    /// Of so many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { limit: limit.into(), used: AtomicUsize::new(0) }))
    }

    /// Another number of bytes. What is taken already stays taken, even beyond it.
    pub fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Relaxed);
    }

    /// How many bytes there are in all.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit.load(Relaxed)
    }

    /// How many of them are taken.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used.load(Relaxed)
    }

    /// Takes `bytes` if no more than `limit` are taken then.
    fn take(&self, bytes: usize, limit: usize) -> bool {
        let taken = |used: usize| used.checked_add(bytes).filter(|used| *used <= limit);
        self.0.used.fetch_update(Relaxed, Relaxed, taken).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.used.fetch_sub(bytes, Relaxed);
    }
}

/// The same pool, not one that is as large.
impl PartialEq for MemoryPool {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for MemoryPool {}

/// How many bytes are promised to buffers. Charges are made before memory is taken and returned when it is dropped.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: usize,
    pool: Option<MemoryPool>,
    /// The pool was what the latest charge failed for.
    pool_was_empty: bool,
}

impl Budget {
    pub(crate) const fn new(limit: usize, pool: Option<MemoryPool>) -> Self {
        Self { limit, used: 0, pool, pool_was_empty: false }
    }

    /// A new limit; what is charged already stays charged, even beyond it.
    pub(crate) const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Another pool, to which everything charged is moved.
    pub(crate) fn set_pool(&mut self, pool: Option<&MemoryPool>) {
        if self.pool.as_ref() == pool {
            return;
        }
        if let Some(pool) = pool {
            pool.0.used.fetch_add(self.used, Relaxed);
        }
        if let Some(old) = std::mem::replace(&mut self.pool, pool.cloned()) {
            old.give_back(self.used);
        }
    }

    pub(crate) const fn used(&self) -> usize {
        self.used
    }

    /// Whether the latest charge that failed would have fitted, had others not taken what all share.
    pub(crate) const fn pool_was_empty(&self) -> bool {
        self.pool_was_empty
    }

    /// Charges `bytes` if they fit.
    pub(crate) fn charge(&mut self, bytes: usize) -> bool {
        self.charge_below(bytes, 1)
    }

    /// Charges `bytes` if less than half of the budget is taken afterwards: the other half is for small buffers.
    pub(crate) fn charge_generously(&mut self, bytes: usize) -> bool {
        self.charge_below(bytes, 2)
    }

    fn charge_below(&mut self, bytes: usize, part: usize) -> bool {
        let used = self.used.checked_add(bytes).filter(|used| *used <= self.limit / part);
        let Some(used) = used else {
            self.pool_was_empty = false;
            return false;
        };
        self.pool_was_empty = self.pool.as_ref().is_some_and(|pool| !pool.take(bytes, pool.limit() / part));
        if !self.pool_was_empty {
            self.used = used;
        }
        !self.pool_was_empty
    }

    /// Exchanges a charge for a smaller one.
    pub(crate) fn shrink(&mut self, from: usize, to: usize) {
        debug_assert!(to <= from, "a charge only shrinks");
        self.give_back(from.saturating_sub(to));
    }

    pub(crate) fn give_back(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.used, "more is given back than was charged");
        let bytes = bytes.min(self.used);
        self.used -= bytes;
        if let Some(pool) = &self.pool {
            pool.give_back(bytes);
        }
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.give_back(self.used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_has_taken_from_the_pool_the_other_has_not() {
        let pool = MemoryPool::new(100);
        let (mut one, mut other) = (Budget::new(80, Some(pool.clone())), Budget::new(80, Some(pool.clone())));
        assert!(!one.charge(90) && !one.pool_was_empty(), "its own limit");
        assert!(one.charge(70));
        assert!(!other.charge(31) && other.pool_was_empty());
        assert!(!other.charge_generously(1) && other.pool_was_empty(), "more than half is taken");
        assert!(other.charge(30));
        one.give_back(20);
        assert_eq!((pool.used(), one.used(), other.used()), (80, 50, 30));
        drop(one);
        assert_eq!(pool.used(), 30);
        other.set_pool(None);
        assert_eq!((pool.used(), other.used()), (0, 30));
        other.set_pool(Some(&pool));
        assert_eq!(pool.used(), 30);
        pool.set_limit(10);
        assert!(!other.charge(1), "it has less than it holds");
        drop(other);
        assert_eq!(pool.used(), 0);
    }
}
