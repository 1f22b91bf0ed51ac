//! Something that fails again and again is said once, and once more when it is over.

use std::{fmt, time::Duration};

use tokio::time::Instant;

/// Time without a failure after which it is over: connections that end one by one under load give back one descriptor each,
/// which is taken at once.
const QUIET: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Trouble {
    last: Option<Instant>,
}

impl Trouble {
    /// Whether this failure is the first, and must be said.
    pub(super) fn begins(&mut self, now: Instant) -> bool {
        self.last.replace(now).is_none()
    }

    /// Says the first failure, and what helps.
    pub(super) fn on_failure(&mut self, failure: &dyn fmt::Display, hint: Option<&str>) {
        if self.begins(Instant::now()) {
            tracing::warn!(hint, "{failure}");
        } else {
            tracing::debug!("{failure}");
        }
    }

    /// When it is over, unless it fails again.
    fn ends_at(&self) -> Option<Instant> {
        self.last.map(|last| last + QUIET)
    }

    /// Waits until it is over; for ever while there is none.
    pub(super) async fn over(&mut self) {
        match self.ends_at() {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_of_many_failures_is_said() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        assert_eq!(trouble.ends_at(), None);
        assert!(trouble.begins(start));
        for step in 1..100 {
            let now = start + step * Duration::from_millis(100);
            assert!(!trouble.begins(now));
            assert_eq!(trouble.ends_at(), Some(now + QUIET));
        }
    }

    #[tokio::test]
    async fn a_failure_after_the_end_of_the_trouble_is_said_again() {
        let mut trouble = Trouble::default();
        let long_ago = Instant::now().checked_sub(2 * QUIET).unwrap();
        assert!(trouble.begins(long_ago));
        trouble.over().await;
        assert!(trouble.begins(Instant::now()));
    }
}
