//! One number of bytes for everything that grows.

/// How many bytes are promised to buffers. Charges are made before memory is taken and returned when it is dropped.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: usize,
}

impl Budget {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, used: 0 }
    }

    /// A new limit; what is charged already stays charged, even beyond it.
    pub(crate) const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(crate) const fn used(&self) -> usize {
        self.used
    }

    /// Charges `bytes` if they fit.
    pub(crate) fn charge(&mut self, bytes: usize) -> bool {
        self.charge_below(bytes, self.limit)
    }

    /// Charges `bytes` if less than half of the budget is taken afterwards: the other half is for small buffers.
    pub(crate) fn charge_generously(&mut self, bytes: usize) -> bool {
        self.charge_below(bytes, self.limit / 2)
    }

    fn charge_below(&mut self, bytes: usize, limit: usize) -> bool {
        match self.used.checked_add(bytes) {
            Some(used) if used <= limit => {
                self.used = used;
                true
            }
            _ => false,
        }
    }

    /// Exchanges a charge for a smaller one.
    pub(crate) fn shrink(&mut self, from: usize, to: usize) {
        debug_assert!(to <= from, "a charge only shrinks");
        self.give_back(from.saturating_sub(to));
    }

    pub(crate) fn give_back(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.used, "more is given back than was charged");
        self.used = self.used.saturating_sub(bytes);
    }
}
