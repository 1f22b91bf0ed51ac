//! Which gateway is tried next, and when: pure functions of what happened.

use std::time::Duration;

use adit_tunnel::{Backoff, Random, Retry};

use crate::protocol::RetryPolicy;

/// The way over all gateways, round after round.
#[derive(Debug)]
pub(crate) struct Itinerary {
    order: Vec<usize>,
    position: usize,
    round: u32,
    /// Attempts at the same gateway without the tunnel having come up.
    repeats: u32,
    redirect: Option<String>,
    redirects: u32,
    backoff: Backoff,
    policy: RetryPolicy,
    /// Rounds until giving up, while the tunnel was never up.
    first_rounds: Option<u32>,
    was_up: bool,
}

/// A gateway may send us on so many times before it counts as failed: two gateways must not play ball with us.
const MAX_REDIRECTS: u32 = 5;
/// A gateway may ask so many times to be tried again at once.
const MAX_REPEATS: u32 = 4;

impl Itinerary {
    /// `remotes` is the number of gateways, at least one.
    pub(crate) fn new(remotes: usize, policy: RetryPolicy, first_rounds: Option<u32>, random: &mut dyn Random) -> Self {
        let mut order: Vec<usize> = (0..remotes.max(1)).collect();
        if policy.shuffle {
            for i in (1..order.len()).rev() {
                order.swap(i, random.next_u32() as usize % (i + 1));
            }
        }
        Self {
            order,
            position: 0,
            round: 0,
            repeats: 0,
            redirect: None,
            redirects: 0,
            backoff: Backoff::new(policy.first_wait.saturating_mul(2), policy.longest_wait),
            policy,
            first_rounds,
            was_up: false,
        }
    }

    /// Index of the gateway to try, and the host to try instead of its own.
    pub(crate) fn current(&self) -> (usize, Option<&str>) {
        (self.order[self.position], self.redirect.as_deref())
    }

    /// Whether the tunnel was ever up.
    pub(crate) fn was_up(&self) -> bool {
        self.was_up
    }

    /// The tunnel was up. If it was for long enough, everything starts over.
    pub(crate) fn on_up(&mut self, steady: bool) {
        self.was_up = true;
        if !steady {
            return;
        }
        self.round = 0;
        self.repeats = 0;
        self.redirects = 0;
        self.backoff.reset();
    }

    /// An attempt failed, or the tunnel was lost. How long to wait for the next; `None` gives up.
    pub(crate) fn on_failure(&mut self, retry: &Retry, random: &mut dyn Random) -> Option<Duration> {
        match retry {
            Retry::Never | Retry::FreshCredentials => None,
            Retry::After(wait) => self.repeat(*wait, random),
            Retry::Redirect(host) if self.redirects < MAX_REDIRECTS => {
                self.redirects += 1;
                self.redirect = Some(host.clone());
                Some(Duration::ZERO)
            }
            Retry::NextAddress | Retry::NextRemote | Retry::Redirect(_) => self.advance(random),
        }
    }

    fn repeat(&mut self, wait: Duration, random: &mut dyn Random) -> Option<Duration> {
        self.repeats += 1;
        if self.repeats > MAX_REPEATS {
            return self.advance(random).map(|step| step.max(wait));
        }
        let step = if self.repeats > 1 { self.step(random) } else { Duration::ZERO };
        Some(wait.max(step))
    }

    fn advance(&mut self, random: &mut dyn Random) -> Option<Duration> {
        self.repeats = 0;
        self.redirect = None;
        self.position += 1;
        if self.position == self.order.len() {
            self.position = 0;
            self.round += 1;
        }
        let limit = self.policy.rounds.or(if self.was_up { None } else { self.first_rounds });
        if limit.is_some_and(|limit| self.round >= limit) {
            return None;
        }
        Some(self.step(random))
    }

    fn step(&mut self, random: &mut dyn Random) -> Duration {
        if self.round >= self.policy.doubling_from_round {
            return self.backoff.next_wait(random);
        }
        Backoff::new(self.policy.first_wait, self.policy.longest_wait).next_wait(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest value each time: no jitter.
    struct Largest;

    impl Random for Largest {
        fn fill(&mut self, bytes: &mut [u8]) {
            bytes.fill(0xff);
        }
    }

    fn policy(rounds: Option<u32>) -> RetryPolicy {
        RetryPolicy {
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(300),
            doubling_from_round: 5,
            rounds,
            shuffle: false,
        }
    }

    #[test]
    fn waits_double_from_the_fifth_round_over_all_gateways_only() {
        let mut itinerary = Itinerary::new(2, policy(None), None, &mut Largest);
        let waits: Vec<u64> =
            (0..32).map(|_| itinerary.on_failure(&Retry::NextRemote, &mut Largest).unwrap().as_secs()).collect();
        assert_eq!(&waits[..12], &[1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 8]);
        assert_eq!(waits[31], 300);
    }

    #[test]
    fn every_gateway_is_tried_before_the_first_again() {
        let mut itinerary = Itinerary::new(3, policy(None), None, &mut Largest);
        let mut tried = Vec::new();
        for _ in 0..6 {
            tried.push(itinerary.current().0);
            itinerary.on_failure(&Retry::NextRemote, &mut Largest).unwrap();
        }
        assert_eq!(tried, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_first_connect_gives_up_after_its_rounds_but_a_tunnel_that_was_up_never_does() {
        let mut itinerary = Itinerary::new(2, policy(None), Some(1), &mut Largest);
        assert!(itinerary.on_failure(&Retry::NextRemote, &mut Largest).is_some());
        assert_eq!(itinerary.on_failure(&Retry::NextRemote, &mut Largest), None);

        let mut itinerary = Itinerary::new(1, policy(None), Some(1), &mut Largest);
        itinerary.on_up(true);
        for _ in 0..100 {
            assert!(itinerary.on_failure(&Retry::NextRemote, &mut Largest).is_some());
        }
    }

    #[test]
    fn the_rounds_of_the_profile_count_from_the_last_time_the_tunnel_was_up() {
        let mut itinerary = Itinerary::new(1, policy(Some(2)), Some(1), &mut Largest);
        assert!(itinerary.on_failure(&Retry::NextRemote, &mut Largest).is_some());
        itinerary.on_up(true);
        assert!(itinerary.on_failure(&Retry::NextRemote, &mut Largest).is_some());
        assert_eq!(itinerary.on_failure(&Retry::NextRemote, &mut Largest), None);
    }

    #[test]
    fn rejected_credentials_are_never_tried_again() {
        let mut itinerary = Itinerary::new(3, policy(None), None, &mut Largest);
        assert_eq!(itinerary.on_failure(&Retry::FreshCredentials, &mut Largest), None);
        assert_eq!(itinerary.on_failure(&Retry::Never, &mut Largest), None);
    }

    #[test]
    fn a_gateway_that_says_again_at_once_is_left_after_a_few_times() {
        let mut itinerary = Itinerary::new(2, policy(None), None, &mut Largest);
        let again = Retry::After(Duration::ZERO);
        assert_eq!(itinerary.on_failure(&again, &mut Largest), Some(Duration::ZERO));
        for _ in 1..MAX_REPEATS {
            assert_eq!(itinerary.on_failure(&again, &mut Largest), Some(Duration::from_secs(1)));
            assert_eq!(itinerary.current().0, 0);
        }
        assert_eq!(itinerary.on_failure(&again, &mut Largest), Some(Duration::from_secs(1)));
        assert_eq!(itinerary.current().0, 1);
    }

    #[test]
    fn a_redirect_names_the_next_host_and_a_circle_of_them_ends() {
        let mut itinerary = Itinerary::new(2, policy(None), None, &mut Largest);
        let redirect = Retry::Redirect("b.example".into());
        for _ in 0..MAX_REDIRECTS {
            assert_eq!(itinerary.on_failure(&redirect, &mut Largest), Some(Duration::ZERO));
            assert_eq!(itinerary.current(), (0, Some("b.example")));
        }
        assert_eq!(itinerary.on_failure(&redirect, &mut Largest), Some(Duration::from_secs(1)));
        assert_eq!(itinerary.current(), (1, None));
    }

    #[test]
    fn shuffling_keeps_every_gateway() {
        let shuffled = RetryPolicy { shuffle: true, ..policy(None) };
        let mut random = adit_testing::SeededRandom::new(7);
        let itinerary = Itinerary::new(20, shuffled, None, &mut random);
        let mut sorted = itinerary.order;
        assert_ne!(sorted, (0..20).collect::<Vec<_>>());
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
    }
}
