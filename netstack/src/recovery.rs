//! Recovery from several losses at once, which smoltcp does not know: NewReno (RFC 6582) for a few, all again for many.
//!
//! smoltcp 0.14 leaves fast recovery with the first new acknowledgment, even a partial one that only reaches the next hole, and
//! waits for three more duplicates or for its timer before it fills that. Here a hole is known to be one at once: nothing but a
//! loss stops an acknowledgment short of what had been sent when recovery began. Each takes a round trip; if there
//! are more than a few, everything is sent again as after a time-out: acknowledgments jump over what has arrived. An
//! acknowledgment that comes sooner than a round trip after a segment was sent again is not for that one: nothing was lost, only
//! overtaken, and the next hole will close by itself too.

use std::time::{Duration, Instant};

use crate::device::is_before;

/// Where a connection is in recovering.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    state: State,
    /// Acknowledgments of nothing new since the last one of something new.
    duplicates: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    None,
    /// Holes are filled, so many until now, the latest at `since`. `until` is the sequence number after all that was sent before recovery began.
    Fast { until: u32, holes: u32, since: Instant },
    /// Everything before `until` is sent again.
    Rewound { until: u32 },
}

/// What to do after an acknowledgment of something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    GoOn,
    /// What follows is missing: it is to be sent again.
    FillHole,
    /// Too much is missing: all of it is to be sent again.
    Rewind,
}

impl Recovery {
    /// Nothing new was acknowledged; `unacknowledged` is still the oldest. Says whether smoltcp must not hear of it: what
    /// is sent again makes duplicates where it had arrived, and they mean no new loss (RFC 6582 §4.1).
    pub(crate) fn on_duplicate(&mut self, unacknowledged: u32) -> bool {
        self.duplicates = self.duplicates.saturating_add(1);
        matches!(self.state, State::Rewound { until } if !is_before(until, unacknowledged))
    }

    /// Everything before `unacknowledged` is acknowledged, something of it for the first time. `shortest` is the least that a
    /// round trip takes.
    pub(crate) fn on_acknowledged(&mut self, now: Instant, unacknowledged: u32, shortest: Duration) -> Advice {
        self.duplicates = 0;
        match self.state {
            State::Rewound { until } if is_before(until, unacknowledged) => self.state = State::None,
            State::Fast { until, .. } if !is_before(unacknowledged, until) => self.state = State::None,
            State::Fast { since, .. } if now < since + shortest * 3 / 4 => self.state = State::None,
            State::Fast { holes: MOST_HOLES.., .. } => return Advice::Rewind,
            State::Fast { until, holes, since } => {
                self.state = State::Fast { until, holes: holes + 1, since };
                self.duplicates = DUPLICATES;
                return Advice::FillHole;
            }
            State::None | State::Rewound { .. } => {}
        }
        Advice::GoOn
    }

    /// A segment was sent again; `next` is the sequence number after all that was sent.
    pub(crate) fn on_sent_again(&mut self, now: Instant, next: u32, timed_out: bool) {
        let is_fast = !timed_out && self.duplicates >= DUPLICATES;
        self.state = match self.state {
            State::None if is_fast => State::Fast { until: next, holes: 1, since: now },
            State::Fast { until, holes, .. } if is_fast => State::Fast { until, holes, since: now },
            State::Rewound { .. } if !timed_out => self.state,
            State::None | State::Fast { .. } | State::Rewound { .. } => State::Rewound { until: next },
        };
    }
}

/// After so many duplicates smoltcp sends the oldest segment again (RFC 5681 §3.2).
pub(crate) const DUPLICATES: u32 = 3;
/// So many are filled one by one; our own judgement, by the tables of `tests/stack/matrix.rs`.
const MOST_HOLES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(20);

    fn now() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
        Instant::now()
    }

    /// A connection that has sent 100 numbers and, after three duplicates, the first of them again.
    fn recovering(now: Instant) -> Recovery {
        let mut recovery = Recovery::default();
        for _ in 0..3 {
            assert!(!recovery.on_duplicate(0));
        }
        recovery.on_sent_again(now, 100, false);
        recovery
    }

    #[test]
    fn few_holes_are_filled_one_by_one_and_many_all_at_once() {
        let mut now = now();
        let mut recovery = recovering(now);
        for hole in 1..MOST_HOLES {
            now += ROUND_TRIP;
            assert_eq!(recovery.on_acknowledged(now, hole, ROUND_TRIP), Advice::FillHole);
            recovery.on_sent_again(now, 100 + hole, false);
        }
        now += ROUND_TRIP;
        assert_eq!(recovery.on_acknowledged(now, MOST_HOLES, ROUND_TRIP), Advice::Rewind);
    }

    #[test]
    fn acknowledgment_of_everything_ends_recovery() {
        let now = now() + ROUND_TRIP;
        let mut recovery = recovering(now - ROUND_TRIP);
        assert_eq!(recovery.on_acknowledged(now, 100, ROUND_TRIP), Advice::GoOn);
        assert_eq!(recovery.on_acknowledged(now, 101, ROUND_TRIP), Advice::GoOn);
    }

    #[test]
    fn acknowledgment_that_comes_too_soon_shows_that_nothing_was_lost() {
        let now = now();
        let mut recovery = recovering(now);
        assert_eq!(recovery.on_acknowledged(now + ROUND_TRIP / 2, 10, ROUND_TRIP), Advice::GoOn);
        assert_eq!(recovery.on_acknowledged(now + ROUND_TRIP, 20, ROUND_TRIP), Advice::GoOn);
    }

    #[test]
    fn duplicates_of_what_was_sent_again_after_a_time_out_mean_nothing() {
        let now = now();
        let mut recovery = Recovery::default();
        recovery.on_sent_again(now, 100, true);
        assert_eq!(recovery.on_acknowledged(now + ROUND_TRIP, 50, ROUND_TRIP), Advice::GoOn);
        assert!(recovery.on_duplicate(50) && recovery.on_duplicate(100));
        assert_eq!(recovery.on_acknowledged(now + ROUND_TRIP, 101, ROUND_TRIP), Advice::GoOn);
        assert!(!recovery.on_duplicate(101));
    }
}
