//! Time for rustls, without a clock.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use pki_types::UnixTime;

/// A clock that shows what it was last told, for certificates.
#[derive(Debug, Default)]
pub struct ToldClock(AtomicU64);

impl ToldClock {
    /// Sets it, in time since 1970 UTC; parts of seconds are dropped.
    pub fn tell(&self, unix: Duration) {
        self.0.store(unix.as_secs(), Relaxed);
    }
}

impl rustls::time_provider::TimeProvider for ToldClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Relaxed))))
    }
}
