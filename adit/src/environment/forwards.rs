//! The forwards of a connection: bound, serving, or waiting for their place to become free.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use adit_driver::Way;
use tokio::{
    sync::watch,
    task::{Id, JoinSet},
    time::Instant,
};
use tracing::{Instrument, Span};

use crate::{
    error::Error,
    forward::{self, Bound, ForwardCounters, ForwardSnapshot, Held, Places, Stopper, Terms, overlap},
    plan::{ForwardPlan, Listen},
};

/// How long after a forward could not listen it is tried again.
const RETRY: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(5) };
/// Letting go of a port takes a turn of the event loop; something is wrong if it takes longer.
const RELEASE: Duration = Duration::from_secs(2);

/// One of them.
pub(super) struct Forward {
    pub(super) plan: ForwardPlan,
    /// As long as the connection has a forward of this name, or one that does the same under another.
    pub(super) counters: Arc<ForwardCounters>,
    state: State,
    /// Why it does not listen.
    pub(super) error: Option<String>,
}

enum State {
    Closed,
    /// Who connects waits.
    Bound(Bound),
    Serving {
        /// Dropped, it cuts what lives.
        stopper: Stopper,
        terms: watch::Sender<Terms>,
        listen: Option<String>,
        task: Id,
        span: Span,
    },
}

/// All of them.
pub(super) struct Forwards {
    pub(super) list: Vec<Forward>,
    places: Places,
    tasks: JoinSet<Result<(), Error>>,
    /// Those that are no longer configured, and when their last connections are cut.
    leaving: Vec<(Instant, Stopper)>,
    /// Whether they are to listen.
    open: bool,
    retry_at: Option<Instant>,
}

impl Forward {
    fn new(plan: ForwardPlan) -> Self {
        Self { plan, counters: Arc::default(), state: State::Closed, error: None }
    }

    /// Whether what this one does is what the other is to do: under another name, perhaps, and on other terms.
    fn does_the_same_as(&self, plan: &ForwardPlan) -> bool {
        self.plan.kind == plan.kind && self.plan.gateway == plan.gateway
    }

    /// Whether it has the place that the other is to have, or a part of it: a port that was any is known by now.
    fn has_place_of(&self, plan: &ForwardPlan) -> bool {
        let found = || self.listening()??.parse::<SocketAddr>().ok();
        let wanted = match plan.kind.listen() {
            Some(Listen::Tcp(address) | Listen::Udp(address)) => Some(address.port()),
            Some(Listen::Unix(..)) | None => None,
        };
        let is_alike = self.plan.kind.takes_datagrams() == plan.kind.takes_datagrams();
        overlap(&self.plan, plan) || is_alike && wanted.is_some() && found().map(|address| address.port()) == wanted
    }

    /// Goes on as this one. What lives is not touched; new terms hold for what comes.
    fn go_on_as(&mut self, plan: ForwardPlan, way: Option<Way>) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Bound(bound) => self.state = State::Bound(bound.with_plan(plan.clone())),
            State::Serving { stopper, terms, listen, task, span } => {
                if let Some(way) = way {
                    terms.send_replace(Terms::new(way, &plan));
                }
                if plan.name != self.plan.name {
                    span.record("now", &plan.name);
                }
                self.state = State::Serving { stopper, terms, listen, task, span };
            }
            State::Closed => {}
        }
        self.plan = plan;
    }

    /// Where it listens, if it does: a port that was any is known then.
    pub(super) fn listening(&self) -> Option<Option<String>> {
        match &self.state {
            State::Closed => None,
            State::Bound(bound) => Some(address(bound)),
            State::Serving { listen, .. } => Some(listen.clone()),
        }
    }
}

/// Says in the log where one listens from now on: as `adit forward` says it on standard output.
fn say_listens(plan: &ForwardPlan, how: &str, bound: &Bound) {
    forward::span(plan).in_scope(|| tracing::info!("{how}: {bound}"));
}

fn address(bound: &Bound) -> Option<String> {
    bound.address().map(|address| address.to_string())
}

impl Forwards {
    pub(super) fn new(plans: Vec<ForwardPlan>, places: Places) -> Self {
        Self {
            list: plans.into_iter().map(Forward::new).collect(),
            places,
            tasks: JoinSet::new(),
            leaving: Vec::new(),
            open: false,
            retry_at: None,
        }
    }

    /// Whether they are to listen.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Binds all, or none.
    pub(super) fn bind_all(&mut self) -> Result<(), Error> {
        let plans: Vec<_> = self.list.iter().map(|forward| forward.plan.clone()).collect();
        for (forward, bound) in self.list.iter_mut().zip(Bound::bind_all(&plans)?) {
            forward.state = State::Bound(bound);
        }
        self.open = true;
        Ok(())
    }

    /// Tells standard output of those that are bound and not yet served.
    pub(super) fn announce(&mut self) -> Result<(), Error> {
        let (mut places, mut bound) = (Vec::new(), Vec::new());
        for (index, forward) in self.list.iter_mut().enumerate() {
            match std::mem::replace(&mut forward.state, State::Closed) {
                State::Bound(one) => {
                    places.push(index);
                    bound.push(one);
                }
                other @ (State::Closed | State::Serving { .. }) => forward.state = other,
            }
        }
        let announced = Bound::announce(&bound);
        for (index, one) in places.into_iter().zip(bound) {
            self.list[index].state = State::Bound(one);
        }
        announced
    }

    /// Binds what can be bound, to be served with the next [`Self::serve`]; what cannot is tried again, and returned by name.
    pub(super) fn bind(&mut self) -> Vec<(String, Error)> {
        self.open = true;
        self.retry_at = None;
        let mut failed = Vec::new();
        for index in 0..self.list.len() {
            if matches!(self.list[index].state, State::Closed)
                && let Err(error) = self.bind_one(index)
            {
                failed.push((self.list[index].plan.name.clone(), error));
            }
        }
        failed
    }

    fn bind_one(&mut self, index: usize) -> Result<(), Error> {
        let forward = &mut self.list[index];
        match Bound::bind(&forward.plan, &self.places) {
            Ok(bound) => {
                say_listens(
                    &forward.plan,
                    if forward.error.take().is_some() { "listens again" } else { "listens" },
                    &bound,
                );
                forward.state = State::Bound(bound);
                Ok(())
            }
            Err(error) => {
                let text = error.message();
                if forward.error.as_ref() != Some(&text) {
                    tracing::error!(hint = error.hint_text(), "{text}; trying again every {} s", RETRY.as_secs());
                }
                forward.error = Some(text);
                self.retry_at = Some(Instant::now() + RETRY);
                Err(error)
            }
        }
    }

    /// Takes the new places of these before the old ones are let go; by name. One whose new place cannot be had stays as it is,
    /// unless another is to have its place.
    fn bind_ahead(&self, plans: &mut [ForwardPlan], failed: &mut Vec<Error>) -> HashMap<String, Bound> {
        let mut ahead = HashMap::new();
        for index in 0..plans.len() {
            let plan = &plans[index];
            // What one of ours has now is taken over, or free once that one has ended.
            let is_ours = |old: &Forward| old.does_the_same_as(plan) || old.has_place_of(plan);
            if plan.kind.listen().is_none() || self.list.iter().any(is_ours) {
                continue;
            }
            let error = match Bound::bind(plan, &self.places) {
                Ok(bound) => {
                    ahead.insert(plan.name.clone(), bound);
                    continue;
                }
                Err(error) => error,
            };
            let old = self.list.iter().find(|old| old.plan.name == plan.name && !matches!(old.state, State::Closed));
            let is_free = |old: &&Forward| {
                let mut others = plans.iter().enumerate().filter(|(other, _)| *other != index);
                others.all(|(_, other)| !old.has_place_of(other))
            };
            if let Some(old) = old.filter(is_free) {
                let text = format!("{}; it stays as it was", error.message());
                tracing::error!(hint = error.hint_text(), "{text}");
                let stays = Error::new(error.exit(), text);
                failed.push(match error.hint_text() {
                    Some(hint) => stays.hint(hint),
                    None => stays,
                });
                plans[index] = old.plan.clone();
            }
        }
        ahead
    }

    /// Serves those that are bound.
    pub(super) fn serve(&mut self, way: impl Fn(&ForwardPlan) -> Way) {
        for forward in &mut self.list {
            let bound = match std::mem::replace(&mut forward.state, State::Closed) {
                State::Bound(bound) => bound,
                other @ (State::Closed | State::Serving { .. }) => {
                    forward.state = other;
                    continue;
                }
            };
            let (stopper, stop) = Stopper::new();
            let listen = address(&bound);
            let (terms, in_force) = watch::channel(Terms::new(way(&forward.plan), &forward.plan));
            let serving = bound.serve_on(in_force, Arc::clone(&forward.counters), stop);
            let span = forward::span(&forward.plan);
            let task = self.tasks.spawn(serving.instrument(span.clone())).id();
            forward.state = State::Serving { stopper, terms, listen, task, span };
        }
    }

    /// Nothing new from now on; what lives goes on until [`Self::close`].
    pub(super) fn drain(&mut self) {
        self.open = false;
        self.retry_at = None;
        for forward in &mut self.list {
            match &forward.state {
                State::Serving { stopper, .. } => stopper.drain(),
                State::Bound(_) => forward.state = State::Closed,
                State::Closed => {}
            }
        }
    }

    /// Says in the log what each has done so far.
    pub(super) fn sum_up(&self) {
        for forward in &self.list {
            let ForwardSnapshot { total, refused, failed, .. } = forward.counters.snapshot();
            let name = &forward.plan.name;
            let connections = if total == 1 { "connection" } else { "connections" };
            tracing::info!("{name}: {total} {connections}, {failed} failed, {refused} refused");
        }
    }

    /// Cuts everything.
    pub(super) fn close(&mut self) {
        self.drain();
        self.leaving.clear();
        for forward in &mut self.list {
            forward.state = State::Closed;
            forward.error = None;
        }
    }

    /// Goes on with these; what is the same is not touched, and what does the same on other terms goes on. Connections of what is no
    /// longer there may go on for a while. `way` says where one dials, while that is known; `rewired` which others dial otherwise
    /// now.
    pub(super) async fn apply(
        &mut self,
        mut plans: Vec<ForwardPlan>,
        way: impl Fn(&ForwardPlan) -> Option<Way>,
        rewired: impl Fn(&ForwardPlan) -> bool,
        drain: Duration,
    ) -> Changes {
        let mut changes = Changes::default();
        let mut ahead = if self.open { self.bind_ahead(&mut plans, &mut changes.failed) } else { HashMap::new() };
        // Who connects to a place that is listened to before and afterwards finds it open all the time.
        let held = self.places.hold(&plans);
        let mut old = std::mem::take(&mut self.list);
        // Those whose name goes on to be one are no others under a new name.
        let stays: Vec<bool> = old.iter().map(|old| plans.iter().any(|plan| plan.name == old.plan.name)).collect();
        let mut gone: Vec<Forward> = Vec::new();
        for (index, stays) in stays.into_iter().enumerate().rev() {
            if !stays {
                gone.push(old.remove(index));
            }
        }
        for plan in plans {
            let known = old.iter().position(|forward| forward.plan.name == plan.name);
            let is_any = plan.kind.listen().is_some_and(Listen::is_any);
            let renamed = gone.iter().position(|forward| forward.does_the_same_as(&plan)).filter(|_| !is_any);
            let forward = match (known.map(|at| old.swap_remove(at)), renamed) {
                (Some(forward), _) if forward.plan == plan && !rewired(&plan) => forward,
                (Some(mut forward), _) if forward.does_the_same_as(&plan) => {
                    changes.changed.push(plan.name.clone());
                    let way = way(&plan);
                    forward.go_on_as(plan, way);
                    forward
                }
                (Some(forward), _) => {
                    changes.changed.push(plan.name.clone());
                    let counters = Arc::clone(&forward.counters);
                    gone.push(forward);
                    Forward { counters, ..Forward::new(plan) }
                }
                (None, Some(at)) => {
                    let mut forward = gone.swap_remove(at);
                    changes.renamed.push(format!("{} is now {}", forward.plan.name, plan.name));
                    let way = way(&plan);
                    forward.go_on_as(plan, way);
                    forward
                }
                (None, None) => {
                    changes.added.push(plan.name.clone());
                    Forward::new(plan)
                }
            };
            self.list.push(forward);
        }
        let removed = gone.iter().map(|forward| forward.plan.name.clone());
        let is_gone = |name: &String| self.list.iter().all(|forward| forward.plan.name != *name);
        changes.removed = removed.filter(is_gone).collect();
        for forward in gone {
            self.leave(forward, &held, drain).await;
        }
        for forward in &mut self.list {
            if matches!(forward.state, State::Closed)
                && let Some(bound) = ahead.remove(&forward.plan.name)
            {
                say_listens(&forward.plan, "listens", &bound);
                forward.state = State::Bound(bound);
            }
        }
        if self.open {
            let is_new = |name: &String| changes.added.contains(name) || changes.changed.contains(name);
            let failed: Vec<_> = self.bind().into_iter().filter(|(name, _)| is_new(name)).collect();
            changes.failed.extend(failed.into_iter().map(|(_, error)| error));
        }
        changes
    }

    /// Lets one end by and by. Waits until its place is free, unless it is held for another.
    async fn leave(&mut self, forward: Forward, held: &Held, drain: Duration) {
        let State::Serving { stopper, .. } = forward.state else { return };
        if forward.plan.kind.takes_datagrams() {
            // Its associations answer from the port: only without them it is free.
            stopper.abort();
        } else {
            stopper.drain();
        }
        if !held.has(&forward.plan.kind, &self.places) {
            // Without it, binding fails and is tried again.
            drop(tokio::time::timeout(RELEASE, stopper.released()).await);
        }
        self.leaving.push((Instant::now() + drain, stopper));
    }

    /// The next that happens: one has ended, or something is due for [`Self::on_due`].
    pub(super) async fn next(&mut self) -> Happened {
        let times = self.leaving.iter().map(|(at, _)| *at).chain(self.retry_at.filter(|_| self.open));
        let due = times.min();
        tokio::select! {
            (task, ended) = next_ended(&mut self.tasks) => Happened::Ended(task, ended),
            () = sleep_until(due) => Happened::Due,
        }
    }

    /// One has ended that was to go on: it is said, and it is tried again.
    pub(super) fn on_failed(&mut self, task: Id, error: &Error) {
        self.leaving.retain(|(_, stopper)| !stopper.is_done());
        let serves = |forward: &&mut Forward| matches!(&forward.state, State::Serving { task: of, .. } if *of == task);
        let Some(forward) = self.list.iter_mut().find(serves).filter(|_| self.open) else {
            return tracing::debug!("a forward that was to end has: {error}");
        };
        let text = error.message();
        tracing::warn!("forward {} has ended: {text}; trying again in {} s", forward.plan.name, RETRY.as_secs());
        forward.state = State::Closed;
        forward.error = Some(text);
        self.retry_at = Some(Instant::now() + RETRY);
    }

    /// Does what is due; whether anything is to be served now.
    pub(super) fn on_due(&mut self) -> bool {
        let now = Instant::now();
        self.leaving.retain(|(at, stopper)| *at > now && !stopper.is_done());
        if self.retry_at.is_none_or(|at| at > now) || !self.open {
            return false;
        }
        self.bind();
        self.list.iter().any(|forward| matches!(forward.state, State::Bound(_)))
    }
}

/// What happens to them.
pub(super) enum Happened {
    Ended(Id, Result<(), Error>),
    Due,
}

/// Never, while none ends.
async fn next_ended(tasks: &mut JoinSet<Result<(), Error>>) -> (Id, Result<(), Error>) {
    loop {
        match tasks.join_next_with_id().await {
            Some(Ok(ended)) => return ended,
            Some(Err(error)) if error.is_panic() => tracing::error!("a forward has ended: {error}"),
            Some(Err(_)) => {}
            None => return std::future::pending().await,
        }
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Names of forwards.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) added: Vec<String>,
    pub(super) changed: Vec<String>,
    /// Both names.
    pub(super) renamed: Vec<String>,
    pub(super) removed: Vec<String>,
    /// Why some do not listen where they are to.
    pub(super) failed: Vec<Error>,
}
