//! Who is wanted and who is active: pure functions of how the gateways are.

use std::time::{Duration, Instant};

use super::{Policy, SwitchReason};
use crate::options::after;

/// What decides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) policy: Policy,
    pub(super) hot_standby: bool,
    pub(super) stagger: Duration,
    pub(super) fail_back_after: Option<Duration>,
}

/// One gateway, as far as decisions go.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct View {
    /// Not to be tried.
    pub(super) refused: bool,
    /// When it was dialled, until it is up or has failed: then it is waited for no more.
    pub(super) dialled: Option<Instant>,
    /// A person is being asked.
    pub(super) asking: bool,
    /// Tried in vain, and not up since.
    pub(super) failed: bool,
    /// Up, and since when without trouble.
    pub(super) steady_since: Option<Instant>,
    /// Its probe is not answered.
    pub(super) ailing: bool,
    /// Its tunnel is of a configuration of before.
    pub(super) outdated: bool,
    /// How long a round trip takes.
    pub(super) rtt: Option<Duration>,
    /// Since when it is clearly quicker than the one in use.
    pub(super) quicker_since: Option<Instant>,
    /// Somebody wants this one and no other.
    pub(super) pinned: bool,
}

impl View {
    const fn is_up(&self) -> bool {
        self.steady_since.is_some()
    }

    const fn is_well(&self) -> bool {
        self.is_up() && !self.ailing && !self.outdated
    }

    /// Whether its round trips are so much shorter that it is worth to move: by more than a fifth, and by more than noise.
    pub(super) fn is_clearly_quicker(&self, than: &Self) -> bool {
        let (Some(rtt), Some(than)) = (self.rtt, than.rtt) else { return false };
        rtt.saturating_mul(5) < than.saturating_mul(4) && rtt + NOISE < than
    }
}

/// What was decided, and when to look again if nothing happens before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decided<T> {
    pub(super) what: T,
    pub(super) again: Option<Instant>,
}

/// How many tunnels are to be up at the same time, apart from those that somebody is pinned to.
pub(super) fn tunnels(gateways: usize, rules: Rules) -> usize {
    match rules.policy {
        Policy::Priority if rules.hot_standby => gateways.min(2),
        Policy::Priority => gateways.min(1),
        Policy::RoundRobin | Policy::LowestLatency => gateways,
    }
}

/// The gateways that are to be up, or on their way.
pub(super) fn wanted(views: &[View], active: Option<usize>, rules: Rules, now: Instant) -> Decided<Vec<bool>> {
    let mut wanted: Vec<bool> = views.iter().map(|view| view.pinned && !view.refused).collect();
    let mut want = |index: usize| {
        if let Some(wanted) = wanted.get_mut(index) {
            *wanted = true;
        }
    };
    active.into_iter().for_each(&mut want);
    if rules.policy != Policy::Priority {
        (0..views.len()).filter(|index| views.get(*index).is_some_and(|view| !view.refused)).for_each(want);
        return Decided { what: wanted, again: None };
    }
    // Whoever does not go back counts the one in use as the best.
    let first = active.filter(|_| rules.fail_back_after.is_none());
    let rest = (0..views.len()).filter(|index| Some(*index) != first);
    let mut missing = tunnels(views.len(), rules);
    for index in first.into_iter().chain(rest) {
        let Some(view) = views.get(index).filter(|view| !view.refused) else { continue };
        if missing == 0 {
            break;
        }
        want(index);
        if view.is_well() {
            missing -= 1;
            continue;
        }
        if view.failed || view.is_up() {
            continue;
        }
        // It has its time before the next one is dialled; one that was not dialled yet is so now.
        let until = after(view.dialled.unwrap_or(now), rules.stagger);
        if view.asking {
            return Decided { what: wanted, again: None };
        }
        if now < until {
            return Decided { what: wanted, again: Some(until) };
        }
    }
    Decided { what: wanted, again: None }
}

/// The gateway that is to take new connections, and why it is another than before.
pub(super) fn pick(
    views: &[View],
    active: Option<usize>,
    rules: Rules,
    now: Instant,
) -> Decided<Option<(usize, SwitchReason)>> {
    let stay = |again| Decided { what: None, again };
    let go = |index, reason| Decided { what: Some((index, reason)), again: None };
    let at = |index: usize| views.get(index).copied().unwrap_or_default();
    let best = |fit: fn(&View) -> bool| {
        let fitting = views.iter().enumerate().filter(|(_, view)| fit(view));
        match rules.policy {
            Policy::LowestLatency => fitting.min_by_key(|(_, view)| view.rtt.unwrap_or(Duration::MAX)),
            Policy::Priority | Policy::RoundRobin => fitting.min_by_key(|(index, _)| *index),
        }
        .map(|(index, _)| index)
    };
    let Some(active) = active.filter(|active| at(*active).is_up()) else {
        return best(View::is_well).or_else(|| best(View::is_up)).map_or_else(
            || stay(None),
            |index| go(index, if active.is_some() { SwitchReason::Lost } else { SwitchReason::Up }),
        );
    };
    let View { ailing, outdated, .. } = at(active);
    if ailing || outdated {
        let reason = if outdated { SwitchReason::Updated } else { SwitchReason::Probe };
        return best(View::is_well).map_or_else(|| stay(None), |index| go(index, reason));
    }
    let Some(patience) = rules.fail_back_after else { return stay(None) };
    // Since when it is up without trouble, and better than the one in use.
    let better_since = |view: &View, index: usize| match rules.policy {
        Policy::Priority => view.steady_since.filter(|_| index < active),
        // Any will do: all of them take connections.
        Policy::RoundRobin => None,
        Policy::LowestLatency => view.steady_since.zip(view.quicker_since).map(|(steady, quicker)| steady.max(quicker)),
    };
    let mut again: Option<Instant> = None;
    let mut ready = Vec::new();
    for (index, view) in views.iter().enumerate().filter(|(_, view)| view.is_well()) {
        let Some(since) = better_since(view, index) else { continue };
        let due = after(since, patience);
        if due <= now {
            ready.push(index);
        } else {
            again = Some(again.map_or(due, |again| again.min(due)));
        }
    }
    match rules.policy {
        Policy::LowestLatency => {
            let best = ready.into_iter().min_by_key(|index| at(*index).rtt.unwrap_or(Duration::MAX));
            best.map_or_else(|| stay(again), |index| go(index, SwitchReason::LowerLatency))
        }
        Policy::Priority | Policy::RoundRobin => {
            ready.into_iter().min().map_or_else(|| stay(again), |index| go(index, SwitchReason::FailBack))
        }
    }
}

/// Round trips within a few milliseconds of each other are the same to whoever uses them.
const NOISE: Duration = Duration::from_millis(3);

#[cfg(test)]
mod tests {
    use super::*;

    const STAGGER: Duration = Duration::from_secs(3);
    const PATIENCE: Duration = Duration::from_secs(60);

    fn rules(policy: Policy) -> Rules {
        Rules { policy, hot_standby: true, stagger: STAGGER, fail_back_after: Some(PATIENCE) }
    }

    fn up(since: Instant) -> View {
        View { steady_since: Some(since), ..View::default() }
    }

    fn with_rtt(since: Instant, ms: u64) -> View {
        View { rtt: Some(Duration::from_millis(ms)), ..up(since) }
    }

    const DOWN: View = View {
        refused: false,
        dialled: None,
        asking: false,
        failed: true,
        steady_since: None,
        ailing: false,
        outdated: false,
        rtt: None,
        quicker_since: None,
        pinned: false,
    };

    #[test]
    fn gateways_are_wanted_one_after_the_other() {
        let now = Instant::now();
        let idle = View::default();
        let rules = rules(Policy::Priority);
        let wanted = |views: &[View], at| wanted(views, None, rules, at);
        assert_eq!(wanted(&[idle; 3], now), Decided { what: vec![true, false, false], again: Some(now + STAGGER) });
        let dialled = View { dialled: Some(now), ..idle };
        assert_eq!(wanted(&[dialled, idle, idle], now + STAGGER).what, [true, true, false]);
        assert_eq!(wanted(&[DOWN, idle, idle], now).what, [true, true, false]);
        let asking = View { asking: true, ..dialled };
        assert_eq!(
            wanted(&[asking, idle, idle], now + STAGGER),
            Decided { what: vec![true, false, false], again: None }
        );
        let refused = View { refused: true, ..idle };
        assert_eq!(wanted(&[refused, idle, idle], now).what, [false, true, false]);
        assert_eq!(wanted(&[up(now), up(now), idle], now).what, [true, true, false]);
        let ailing = View { ailing: true, ..up(now) };
        assert_eq!(wanted(&[ailing, up(now), idle], now).what, [true, true, true], "it is no one to rely on");
        let pinned = View { pinned: true, ..idle };
        assert_eq!(wanted(&[up(now), up(now), pinned], now).what, [true, true, true]);
    }

    #[test]
    fn without_a_hot_standby_one_is_enough_and_the_one_in_use_is_kept() {
        let now = Instant::now();
        let cold = Rules { hot_standby: false, ..rules(Policy::Priority) };
        assert_eq!(wanted(&[up(now), View::default()], Some(0), cold, now).what, [true, false]);
        assert_eq!(wanted(&[DOWN, up(now)], Some(1), cold, now).what, [true, true], "to be gone back to");
        let staying = Rules { fail_back_after: None, ..cold };
        assert_eq!(wanted(&[DOWN, up(now)], Some(1), staying, now).what, [false, true]);
    }

    #[test]
    fn with_other_policies_all_are_wanted_that_may_be_tried() {
        let now = Instant::now();
        let refused = View { refused: true, ..View::default() };
        for policy in [Policy::RoundRobin, Policy::LowestLatency] {
            let decided = wanted(&[View::default(), refused, DOWN], None, rules(policy), now);
            assert_eq!(decided, Decided { what: vec![true, false, true], again: None });
        }
    }

    #[test]
    fn a_better_gateway_is_picked_after_its_time_without_trouble() {
        let now = Instant::now();
        let rules = rules(Policy::Priority);
        let views = [up(now), up(now)];
        assert_eq!(pick(&views, Some(1), rules, now), Decided { what: None, again: Some(now + PATIENCE) });
        let later = now + PATIENCE;
        assert_eq!(pick(&views, Some(1), rules, later).what, Some((0, SwitchReason::FailBack)));
        let ailing = View { ailing: true, ..up(now) };
        assert_eq!(pick(&[ailing, up(now)], Some(1), rules, later).what, None);
        assert_eq!(pick(&[ailing, up(now)], Some(0), rules, now).what, Some((1, SwitchReason::Probe)));
        assert_eq!(pick(&[ailing, DOWN], Some(0), rules, now).what, None, "better than nothing");
        assert_eq!(pick(&[ailing, DOWN], None, rules, now).what, Some((0, SwitchReason::Up)));
        assert_eq!(pick(&[DOWN, up(now)], Some(0), rules, now).what, Some((1, SwitchReason::Lost)));
        let staying = Rules { fail_back_after: None, ..rules };
        assert_eq!(pick(&views, Some(1), staying, later), Decided { what: None, again: None });
    }

    #[test]
    fn a_tunnel_of_before_is_left_once_there_is_one_of_now() {
        let now = Instant::now();
        let outdated = View { outdated: true, ..up(now) };
        for policy in [Policy::Priority, Policy::RoundRobin, Policy::LowestLatency] {
            let rules = Rules { fail_back_after: None, ..rules(policy) };
            assert_eq!(pick(&[outdated, up(now)], Some(0), rules, now).what, Some((1, SwitchReason::Updated)));
            assert_eq!(pick(&[outdated, DOWN], Some(0), rules, now).what, None, "better than nothing");
            assert_eq!(pick(&[DOWN, outdated], Some(0), rules, now).what, Some((1, SwitchReason::Lost)));
        }
        let cold = Rules { hot_standby: false, ..rules(Policy::Priority) };
        assert_eq!(wanted(&[outdated, View::default()], Some(0), cold, now).what, [true, true], "to take over");
    }

    #[test]
    fn the_shortest_round_trip_is_picked_and_left_only_for_one_that_is_quicker_for_a_while() {
        let now = Instant::now();
        let (rules, later) = (rules(Policy::LowestLatency), now + PATIENCE);
        let views = |a, b| [with_rtt(now, a), with_rtt(now, b)];
        assert_eq!(pick(&views(30, 10), None, rules, now).what, Some((1, SwitchReason::Up)));
        let quicker = |since| [with_rtt(now, 30), View { quicker_since: Some(since), ..with_rtt(now, 10) }];
        assert_eq!(pick(&quicker(now), Some(0), rules, now), Decided { what: None, again: Some(later) });
        assert_eq!(pick(&quicker(now), Some(0), rules, later).what, Some((1, SwitchReason::LowerLatency)));
        let shortly = Decided { what: None, again: Some(later + PATIENCE) };
        assert_eq!(pick(&quicker(later), Some(0), rules, later), shortly, "it was no quicker before");
        assert_eq!(pick(&views(30, 10), Some(0), rules, later), Decided { what: None, again: None });
    }

    #[test]
    fn a_little_quicker_is_not_quicker() {
        let now = Instant::now();
        let quicker = |a, b| with_rtt(now, a).is_clearly_quicker(&with_rtt(now, b));
        assert!(quicker(10, 30));
        assert!(!quicker(26, 30), "a little");
        assert!(!quicker(1, 3), "noise");
        assert!(!up(now).is_clearly_quicker(&with_rtt(now, 30)), "nobody knows");
        assert!(!with_rtt(now, 30).is_clearly_quicker(&up(now)), "nobody knows");
    }
}
