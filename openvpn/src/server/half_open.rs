//! How many peers have not been let in yet.

use std::sync::Arc;

/// Counts one half-open peer as long as it exists.
#[derive(Debug)]
pub(super) struct HalfOpen(#[expect(dead_code, reason = "its existence is what counts")] Arc<()>);

/// Counts half-open peers.
#[derive(Debug, Default)]
pub(super) struct HalfOpens(Arc<()>);

impl HalfOpens {
    /// One more, unless there are `limit` already.
    pub(super) fn open(&self, limit: u32) -> Option<HalfOpen> {
        (self.count() < limit as usize).then(|| HalfOpen(Arc::clone(&self.0)))
    }

    pub(super) fn count(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}
