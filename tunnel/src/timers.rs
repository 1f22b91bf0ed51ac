//! One deadline per named timer.

use std::time::Instant;

/// The timers of a state machine; `T` is a small enum of their names.
#[derive(Debug, Clone)]
pub struct Timers<T> {
    deadlines: Vec<(T, Instant)>,
}

impl<T: Copy + Eq> Timers<T> {
    /// No timer is set.
    #[must_use]
    pub const fn new() -> Self {
        Self { deadlines: Vec::new() }
    }

    /// Sets the timer, or moves it.
    pub fn set(&mut self, timer: T, deadline: Instant) {
        match self.deadlines.iter_mut().find(|(t, _)| *t == timer) {
            Some((_, at)) => *at = deadline,
            None => self.deadlines.push((timer, deadline)),
        }
    }

    /// Sets the timer if it is not set.
    pub fn set_if_unset(&mut self, timer: T, deadline: Instant) {
        if self.get(timer).is_none() {
            self.deadlines.push((timer, deadline));
        }
    }

    /// Sets the timer, or stops it.
    pub fn set_or_stop(&mut self, timer: T, deadline: Option<Instant>) {
        match deadline {
            Some(deadline) => self.set(timer, deadline),
            None => self.stop(timer),
        }
    }

    /// Stops the timer.
    pub fn stop(&mut self, timer: T) {
        self.deadlines.retain(|(t, _)| *t != timer);
    }

    /// Stops every timer.
    pub fn stop_all(&mut self) {
        self.deadlines.clear();
    }

    /// The timer's deadline.
    #[must_use]
    pub fn get(&self, timer: T) -> Option<Instant> {
        self.deadlines.iter().find(|(t, _)| *t == timer).map(|(_, at)| *at)
    }

    /// Every timer that runs, in no order.
    pub fn running(&self) -> impl Iterator<Item = T> {
        self.deadlines.iter().map(|(timer, _)| *timer)
    }

    /// Takes the earliest timer that is due; call it until it returns `None`.
    pub fn expired(&mut self, now: Instant) -> Option<T> {
        let (index, _) =
            self.deadlines.iter().enumerate().filter(|(_, (_, at))| *at <= now).min_by_key(|(_, (_, at))| *at)?;
        Some(self.deadlines.swap_remove(index).0)
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.deadlines.iter().map(|(_, at)| *at).min()
    }
}

impl<T: Copy + Eq> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn expire_in_order_of_their_deadlines() {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut timers = Timers::new();
        timers.set('b', at(20));
        timers.set('a', at(10));
        timers.set('c', at(30));
        timers.set('c', at(25));
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.running().count(), 3);
        assert_eq!(timers.expired(at(25)), Some('a'));
        assert_eq!(timers.expired(at(25)), Some('b'));
        assert_eq!(timers.expired(at(24)), None);
        assert_eq!(timers.expired(at(25)), Some('c'));
        assert_eq!(timers.next(), None);
    }
}
