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
    /// How long a round trip takes.
    pub(super) rtt: Option<Duration>,
    /// Somebody wants this one and no other.
    pub(super) pinned: bool,
}

impl View {
    const fn is_up(&self) -> bool {
        self.steady_since.is_some()
    }

    const fn is_well(&self) -> bool {
        self.is_up() && !self.ailing
    }
}

/// What was decided, and when to look again if nothing happens before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decided<T> {
    pub(super) what: T,
    pub(super) again: Option<Instant>,
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
    let mut missing = if rules.hot_standby { 2 } else { 1 };
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
    if at(active).ailing {
        return best(View::is_well).map_or_else(|| stay(None), |index| go(index, SwitchReason::Probe));
    }
    let Some(patience) = rules.fail_back_after else { return stay(None) };
    let better = |view: &View, index: usize| match rules.policy {
        Policy::Priority => index < active,
        // Any will do: all of them take connections.
        Policy::RoundRobin => false,
        Policy::LowestLatency => match (view.rtt, at(active).rtt) {
            (Some(rtt), Some(now)) => is_clearly_shorter(rtt, now),
            _ => false,
        },
    };
    let candidates = views.iter().enumerate().filter(|(index, view)| view.is_well() && better(view, *index));
    let mut again: Option<Instant> = None;
    let mut ready = Vec::new();
    for (index, view) in candidates {
        let Some(since) = view.steady_since else { continue };
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

/// By more than a fifth, and by more than noise.
fn is_clearly_shorter(rtt: Duration, than: Duration) -> bool {
    rtt.saturating_mul(5) < than.saturating_mul(4) && rtt + NOISE < than
}

/// Round trips within a few milliseconds of each other are the same to whoever uses them.
const NOISE: Duration = Duration::from_millis(3);
