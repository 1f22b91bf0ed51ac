//! Pings both ways, and `inactive`: the data channel's counters are looked at now and then.

use std::time::{Duration, Instant};

use crate::data_keys::Totals;

/// When the data channel was last seen to be alive, and how long it may be silent.
pub(crate) struct Keepalive {
    limits: Limits,
    seen: Totals,
    looked_at: Instant,
    last_sent: Instant,
    last_received: Instant,
    /// Since when `inactive` counts, and the bytes carried until then.
    inactive_since: Instant,
    inactive_bytes: u64,
}

/// How long the data channel may be silent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// Send a ping after so long without sending.
    pub(crate) ping: Option<Duration>,
    /// Start over after so long without receiving.
    pub(crate) ping_restart: Option<Duration>,
    /// End after so long without receiving.
    pub(crate) ping_exit: Option<Duration>,
    /// End after so long with less than so many bytes of traffic.
    pub(crate) inactive: Option<(Duration, u64)>,
}

/// What a look at the counters has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The peer is alive.
    Alive {
        /// A ping is due.
        ping: bool,
    },
    /// `ping-restart` is over.
    Restart(Duration),
    /// `ping-exit` is over.
    Exit(Duration),
    /// `inactive` is over.
    Inactive,
}

impl Keepalive {
    pub(crate) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            seen: Totals::default(),
            looked_at: now,
            last_sent: now,
            last_received: now,
            inactive_since: now,
            inactive_bytes: 0,
        }
    }

    /// An authentic control packet has come.
    pub(crate) fn on_received(&mut self, now: Instant) {
        self.last_received = now;
    }

    /// How often to look.
    pub(crate) fn interval(&self) -> Duration {
        let Limits { ping, ping_restart, ping_exit, inactive } = self.limits;
        let shortest = [ping, ping_restart, ping_exit, inactive.map(|(time, _)| time)].into_iter().flatten().min();
        (shortest.unwrap_or(MAX_INTERVAL) / 4).clamp(MIN_INTERVAL, MAX_INTERVAL)
    }

    /// Looks at what all keys together have carried so far.
    pub(crate) fn look(&mut self, now: Instant, totals: Totals) -> Finding {
        if totals.sealed_packets != self.seen.sealed_packets {
            // Perhaps right after the last look: taken so, a ping is never late.
            self.last_sent = self.looked_at;
        }
        if totals.opened_packets != self.seen.opened_packets {
            self.last_received = now;
        }
        (self.seen, self.looked_at) = (totals, now);
        let silence = now.duration_since(self.last_received);
        let is_over = |limit: Option<Duration>| limit.is_some_and(|limit| silence >= limit);
        if is_over(self.limits.ping_exit) {
            Finding::Exit(silence)
        } else if is_over(self.limits.ping_restart) {
            Finding::Restart(silence)
        } else if self.is_inactive(now, totals) {
            Finding::Inactive
        } else {
            Finding::Alive { ping: self.takes_ping(now) }
        }
    }

    fn is_inactive(&mut self, now: Instant, totals: Totals) -> bool {
        let Some((limit, bytes)) = self.limits.inactive else { return false };
        let carried = totals.sealed_bytes + totals.opened_bytes;
        if carried - self.inactive_bytes >= bytes.max(1) {
            (self.inactive_since, self.inactive_bytes) = (now, carried);
        }
        now.duration_since(self.inactive_since) >= limit
    }

    fn takes_ping(&mut self, now: Instant) -> bool {
        // Not a quarter too late: the next look would come after the limit.
        let late = |limit| now.duration_since(self.last_sent) + self.interval() > limit;
        let due = self.limits.ping.is_some_and(late);
        if due {
            self.last_sent = now;
        }
        due
    }
}

/// A short `ping` must not make us busy.
const MIN_INTERVAL: Duration = Duration::from_millis(250);
/// At a million packets a second, packet ids last 16 s from where we renegotiate.
const MAX_INTERVAL: Duration = Duration::from_secs(5);
