//! Refuses datagrams whose sequence number was seen before (RFC 4303 §3.4.3, RFC 6479).

/// A sliding window over 64-bit sequence numbers; sequence numbers start at 1.
///
/// The caller checks first, authenticates, and marks only what was authentic.
#[derive(Debug, Clone)]
pub struct ReplayWindow {
    /// One bit per number, in blocks that are reused cyclically, as RFC 6479 does it: no shifting.
    blocks: Box<[u64]>,
    newest: u64,
    size: u64,
}

const BLOCK_BITS: u64 = 64;

impl ReplayWindow {
    /// A window that accepts numbers up to `size` older than the newest; at least 1.
    #[must_use]
    pub fn new(size: u32) -> Self {
        let size = u64::from(size.max(1));
        // One block more than the window holds, because the newest block is only partly in use.
        let count = (size.div_ceil(BLOCK_BITS) + 1).next_power_of_two();
        Self { blocks: vec![0; count as usize].into_boxed_slice(), newest: 0, size }
    }

    /// Whether a datagram with this number may still be accepted.
    #[must_use]
    pub fn check(&self, sequence: u64) -> bool {
        if cfg!(adit_sabotage = "replay") {
            return true; // A deliberate fault: tests must notice it.
        }
        if sequence > self.newest {
            return true;
        }
        sequence != 0 && self.newest - sequence < self.size && !self.is_marked(sequence)
    }

    /// Notes the number of an authentic datagram; returns whether it is the newest so far.
    pub fn mark(&mut self, sequence: u64) -> bool {
        let newest = sequence > self.newest;
        if newest {
            let (old, new) = (self.newest / BLOCK_BITS, sequence / BLOCK_BITS);
            let count = self.blocks.len() as u64;
            for block in (old + 1)..=new.min(old + count) {
                if let Some(bits) = self.block_mut(block) {
                    *bits = 0;
                }
            }
            self.newest = sequence;
        }
        if let Some(bits) = self.block_mut(sequence / BLOCK_BITS) {
            *bits |= 1 << (sequence % BLOCK_BITS);
        }
        newest
    }

    /// The highest number marked, 0 before the first.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest
    }

    fn is_marked(&self, sequence: u64) -> bool {
        let at = (sequence / BLOCK_BITS) as usize & (self.blocks.len() - 1);
        self.blocks.get(at).is_some_and(|bits| bits & (1 << (sequence % BLOCK_BITS)) != 0)
    }

    fn block_mut(&mut self, block: u64) -> Option<&mut u64> {
        let at = block as usize & (self.blocks.len() - 1);
        self.blocks.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zero_is_never_accepted() {
        assert!(!ReplayWindow::new(64).check(0));
    }

    #[test]
    fn the_oldest_number_of_the_window_is_accepted_and_the_one_before_is_not() {
        let mut window = ReplayWindow::new(64);
        window.mark(100);
        assert!(window.check(37));
        assert!(!window.check(36));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_all_numbers_seen(
            size in 1u32..300,
            steps in prop::collection::vec((any::<bool>(), 0u64..400), 1..400),
        ) {
            let mut window = ReplayWindow::new(size);
            let (mut seen, mut newest) = (HashSet::new(), 0u64);
            for (forward, distance) in steps {
                let sequence = if forward { newest + distance } else { newest.saturating_sub(distance) };
                let fresh = sequence != 0 && !seen.contains(&sequence) && sequence + u64::from(size) > newest;
                prop_assert_eq!(window.check(sequence), fresh);
                if fresh {
                    prop_assert_eq!(window.mark(sequence), sequence > newest);
                    seen.insert(sequence);
                    newest = newest.max(sequence);
                }
            }
        }
    }
}
