//! The task of a connection: does what it is told, and follows what happens to it.

use std::{
    collections::HashMap,
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use adit_driver::{
    Failure, Names, Stage, Way,
    redundancy::{ConnectionState, GatewayState, RedundancyEvent, RedundancyEvents, Redundant, SwitchReason},
};
use tokio::sync::{mpsc, watch};

use super::{
    Command, Context, Ended, Manner, Order, Reply, Stop,
    device::{Held, told},
    forwards::{Forwards, Happened},
    lock,
    machine::{Machine, Trigger},
    outside::Outside,
    view::View,
};
use crate::{
    activity::{By, Entry, Kind},
    error::{Error, described},
    plan::{ConnectionPlan, ForwardPlan},
    status::State,
};

pub(super) struct Task {
    pub(super) plan: ConnectionPlan,
    pub(super) context: Context,
    pub(super) view: Arc<Mutex<View>>,
    ends: watch::Sender<Option<Ended>>,
    pub(super) machine: Machine,
    pub(super) forwards: Forwards,
    pub(super) running: Option<Running>,
    pub(super) device: Option<Held>,
    /// What the names of gateways meant, over all attempts.
    pub(super) names: Names,
    /// What the tunnels of now mark their datagrams with.
    pub(super) marked: Option<u32>,
    /// It has failed for the want of a device.
    pub(super) lacked_device: bool,
    /// What has to pass before the next step of the end.
    ending: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Those that wait for the end.
    waiting: Vec<Reply>,
    /// No further order is taken.
    stopped: bool,
    /// Attempts of each gateway whose handshake was counted.
    counted: HashMap<String, u64>,
    pub(super) outside: Outside,
}

/// The gateways while somebody wants them.
pub(super) struct Running {
    pub(super) redundant: Redundant,
    events: RedundancyEvents,
}

impl Task {
    pub(super) fn new(
        plan: ConnectionPlan,
        context: Context,
        view: Arc<Mutex<View>>,
        ends: watch::Sender<Option<Ended>>,
        by: By,
    ) -> Self {
        let forwards = Forwards::new(plan.forwards.clone(), context.places.clone());
        let task = Self {
            plan,
            context,
            view,
            ends,
            machine: Machine::new(),
            forwards,
            running: None,
            device: None,
            names: Names::default(),
            marked: None,
            lacked_device: false,
            ending: None,
            waiting: Vec::new(),
            stopped: false,
            counted: HashMap::new(),
            outside: Outside::default(),
        };
        task.note(Entry::new(Kind::Created, by));
        task
    }

    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        self.show();
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command).await,
                    // Nobody is left who could want anything: what it holds ends with it.
                    None => return,
                },
                event = next(&mut self.running) => self.on_event(event),
                told = told(&mut self.device) => self.on_told(told),
                () = next_step(&mut self.ending) => self.on_step(),
                happened = self.forwards.next() => match happened {
                    Happened::Ended(task, ended) => self.on_forward_ended(task, ended),
                    Happened::Due => {
                        if self.forwards.on_due() {
                            self.serve();
                        }
                    }
                },
            }
            self.show();
        }
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Order(order, by, reply) => self.on_order(order, by, reply),
            Command::Begin(by, reply) => answer(reply, self.begin(by)),
            Command::Apply(plan, by, reply) => {
                let applied = self.apply(*plan, by).await;
                answer(reply, Ok(applied));
            }
            Command::Stop(stop, by, reply) => self.on_stop(stop, &by, reply),
        }
    }

    fn on_order(&mut self, order: Order, by: By, reply: Reply) {
        let (trigger, kind) = match order {
            Order::Connect => {
                // What cannot listen tries again; log and status say why it fails.
                let begun = self.begin(by).map(|_| format!("`{}`: connecting", self.plan.name));
                return answer(reply, begun);
            }
            Order::Disconnect => (Trigger::Disconnect, Kind::Disconnected),
            Order::Cancel => (Trigger::Cancel, Kind::Cancelled),
        };
        if self.machine.on(trigger).is_none() {
            return answer(reply, Err(self.machine.refusal(&self.plan.name, trigger)));
        }
        tracing::info!("{}, by {by}", kind.name());
        self.note(Entry::new(kind, by));
        self.close();
        self.waiting.push(reply);
    }

    /// Connects, unless it is not to be. Why some of the forwards do not listen.
    fn begin(&mut self, by: By) -> Result<Vec<Error>, Error> {
        if self.stopped {
            return Err(Error::new(crate::error::Exit::Other, "the process is stopping"));
        }
        if self.context.manner == Manner::Strict {
            // Before connecting: a port in use is said at once.
            self.forwards.bind_all()?;
        }
        match self.machine.on(Trigger::Connect) {
            Some(_) => Ok(self.connect(by)),
            None => Err(self.machine.refusal(&self.plan.name, Trigger::Connect)),
        }
    }

    /// The state is [`State::Connecting`]. Why some of the forwards do not listen.
    pub(super) fn connect(&mut self, by: By) -> Vec<Error> {
        self.note(Entry::new(Kind::Connecting, by));
        // What is left of an earlier life.
        self.running = None;
        self.marked = None;
        self.lacked_device = false;
        self.counted.clear();
        self.outside = Outside::default();
        let failed = match self.context.manner {
            Manner::Patient => self.forwards.bind(),
            Manner::Strict => Vec::new(),
        };
        if self.wanted_device().is_some() {
            self.prepare_device();
        } else {
            self.start_gateways();
        }
        failed.into_iter().map(|(_, error)| error).collect()
    }

    /// With a device, once that is there: who lacks the rights for one bothers no gateway.
    pub(super) fn start_gateways(&mut self) {
        let desk = &self.context.desk;
        let prompter = match self.context.manner {
            Manner::Patient => desk.of(&self.plan.name),
            Manner::Strict => desk.person(),
        };
        let redundant = Redundant::start(self.plan.gateways.clone(), self.options(), prompter);
        let events = redundant.events();
        self.running = Some(Running { redundant, events });
        if self.context.manner == Manner::Patient {
            self.serve();
        }
    }

    /// Those of the plan, with what all connections share.
    pub(super) fn options(&mut self) -> adit_driver::redundancy::RedundancyOptions {
        let mut options = self.plan.redundancy.clone();
        options.handshakes = Some(Arc::clone(&self.context.limit));
        options.tunnel.pool = Some(self.context.memory.clone());
        if self.context.manner == Manner::Patient {
            // Nobody waits at a terminal: a gateway that is down at the start is as good as one that is lost later.
            options.tunnel.first_rounds = None;
        }
        options.tunnel.mark = self.mark();
        options.tunnel.names = Some(self.names.clone());
        options
    }

    /// Serves the forwards that are bound.
    pub(super) fn serve(&mut self) {
        let Some(running) = &self.running else { return };
        let wait = self.plan.wait;
        self.forwards.serve(|forward| way(&running.redundant, forward, wait));
    }

    fn on_event(&mut self, event: RedundancyEvent) {
        self.machine.touch();
        match event {
            RedundancyEvent::Up { gateway } => {
                self.on_up(&gateway);
                self.look_outside();
            }
            RedundancyEvent::Failed { gateway, cause, retry_in } => self.on_failed(&gateway, &cause, retry_in),
            RedundancyEvent::Parted { gateway } => {
                let entry = Entry::new(Kind::Disconnected, By::Program).gateway(gateway);
                self.note(entry.reason("its configuration changed"));
            }
            RedundancyEvent::Switched { from: Some(from), to, reason } => {
                let why = format!("from {from}: {}", reason_text(reason));
                self.note(Entry::new(Kind::Switched, By::Program).gateway(to).reason(why));
            }
            RedundancyEvent::Closed(failure) => return self.on_closed(&failure),
            RedundancyEvent::DeviceLost => self.lose_device(),
            // What matters of them is in the snapshot.
            RedundancyEvent::Down
            | RedundancyEvent::Restored
            | RedundancyEvent::Connecting { .. }
            | RedundancyEvent::Switched { from: None, .. }
            | RedundancyEvent::ProbeFailed { .. }
            | RedundancyEvent::Prompt { .. } => {}
        }
        self.follow();
        self.follow_device();
    }

    /// Goes where the gateways have gone: events may be missed, the snapshot is never wrong.
    fn follow(&mut self) {
        let Some(running) = &self.running else { return };
        let status = running.redundant.status();
        match status.state {
            ConnectionState::Connected => {
                let before = self.machine.state();
                if self.machine.on(Trigger::Up).is_some() {
                    let kind = if before == State::Reconnecting { Kind::Restored } else { Kind::Connected };
                    self.on_connected(kind, status.active);
                }
            }
            ConnectionState::Reconnecting => {
                self.machine.on(Trigger::Lost);
            }
            // Their ends are told by an event that comes last.
            ConnectionState::Connecting
            | ConnectionState::Draining
            | ConnectionState::Failed
            | ConnectionState::Closed => {}
        }
    }

    fn on_connected(&mut self, kind: Kind, gateway: Option<String>) {
        self.note(Entry::new(kind, By::Gateway).gateway(gateway));
        if self.context.manner == Manner::Strict {
            if let Err(error) = self.forwards.announce() {
                return self.end(Ended::Failed(Arc::new(error)));
            }
            self.serve();
        }
    }

    fn on_up(&mut self, gateway: &str) {
        lock(&self.view).on_news(gateway);
        let Some(running) = &self.running else { return };
        let status = running.redundant.status();
        let Some(found) = status.gateways.iter().find(|known| known.name == gateway) else { return };
        // It is told again when the gateway changes its network.
        if self.counted.insert(gateway.to_owned(), found.attempts) == Some(found.attempts) {
            return;
        }
        if let Some(time) = found.handshake {
            self.context.handshakes.took(&self.plan.name, gateway, time);
        }
        // The one that is in use is told of with the connection.
        if self.machine.state() == State::Connected {
            let entry = Entry::new(Kind::Connected, By::Gateway).gateway(gateway.to_owned());
            // With `round-robin` it is in use at once, too.
            self.note(if found.state == GatewayState::Standby { entry.reason("stands by") } else { entry });
        }
    }

    fn on_failed(&self, gateway: &str, cause: &Failure, retry_in: Option<Duration>) {
        lock(&self.view).on_failed(gateway, cause);
        let next = match retry_in {
            Some(wait) => format!("tried again in {:.1} s", wait.as_secs_f32()),
            None => "not tried again by itself".to_owned(),
        };
        let kind = if cause.stage() == Stage::Up { Kind::Disconnected } else { Kind::Failed };
        let why = format!("{}; {next}", described(cause));
        self.note(Entry::new(kind, By::Gateway).gateway(gateway.to_owned()).reason(why));
    }

    fn on_closed(&mut self, failure: &Failure) {
        // Otherwise it was us.
        if self.machine.on(Trigger::GaveUp).is_none() {
            return;
        }
        self.rest_device();
        lock(&self.view).on_gave_up(failure);
        self.note(Entry::new(Kind::Failed, By::Gateway).reason(format!("{}; gave up", described(failure))));
        if self.context.manner == Manner::Patient {
            let hint = failure.hint();
            tracing::error!(hint, "not tried again by itself: {failure}; `adit connect {}` does", self.plan.name);
        }
        self.end(Ended::Failed(Arc::new(failure.clone().into())));
    }

    /// Whoever is connected gets a reset; those waiting for a tunnel, too.
    pub(super) fn end(&mut self, ended: Ended) {
        self.forwards.close();
        self.ends.send_replace(Some(ended));
    }

    fn on_forward_ended(&mut self, task: tokio::task::Id, ended: Result<(), Error>) {
        // Those that listen end when they are told to. Standard input and output are all there is to theirs.
        let stdio = self.plan.forwards.iter().any(|plan| matches!(plan.kind, crate::plan::ForwardKind::Stdio { .. }));
        match ended {
            Err(error) if stdio => self.end(Ended::Failed(Arc::new(error))),
            Ok(()) if stdio => self.end(Ended::Done),
            Err(error) => self.forwards.on_failed(task, &error),
            Ok(()) => {}
        }
    }

    fn on_stop(&mut self, stop: Stop, by: &By, reply: Reply) {
        self.stopped = true;
        if stop.deleted {
            self.note(Entry::new(Kind::Deleted, by.clone()));
        }
        let before = self.machine.state();
        if self.machine.on(Trigger::Stop).is_some() {
            self.note(Entry::new(Kind::Disconnected, by.clone()));
        }
        match self.machine.state() {
            State::Draining if before != State::Draining => self.drain(stop.drain),
            State::Disconnecting if before != State::Disconnecting => self.close(),
            State::Idle | State::Failed => {
                self.forwards.close();
                self.end_device();
                self.running = None;
                if self.device.is_none() {
                    return answer(reply, Ok(String::new()));
                }
            }
            // The end is on its way.
            State::Draining | State::Disconnecting | State::Connecting | State::Connected | State::Reconnecting => {}
        }
        self.waiting.push(reply);
    }

    fn drain(&mut self, longest: Duration) {
        self.forwards.drain();
        let Some(running) = &self.running else { return };
        let gateways = running.redundant.status().gateways;
        let connecting = gateways.iter().map(|gateway| gateway.stats.connecting).sum::<usize>();
        let connections = gateways.iter().map(|gateway| gateway.connections).sum::<usize>();
        if let Some(whom) = waited_for(connections.saturating_sub(connecting), connecting) {
            tracing::info!("waiting up to {} s for {whom}", longest.as_secs());
        }
        let redundant = running.redundant.clone();
        self.ending = Some(Box::pin(async move { redundant.drain(longest).await }));
    }

    /// The state is [`State::Disconnecting`], or idle after a failure.
    fn close(&mut self) {
        self.forwards.close();
        if self.machine.state() == State::Idle {
            self.end_device();
            self.running = None;
            return self.after_device();
        }
        let redundant = self.running.as_ref().map(|running| running.redundant.clone());
        self.ending = Some(Box::pin(async move {
            if let Some(redundant) = redundant {
                redundant.close().await;
            }
        }));
    }

    /// The current step of the end is over.
    fn on_step(&mut self) {
        self.ending = None;
        if self.machine.on(Trigger::Drained).is_some() {
            self.close();
        } else {
            // Goodbye came first: what fails closed is closed until the end.
            self.end_device();
            self.after_device();
        }
    }

    /// Goes on with the end, once there is no device any more.
    pub(super) fn after_device(&mut self) {
        if self.device.is_some() || self.ending.is_some() {
            return;
        }
        if self.machine.on(Trigger::Closed).is_some() {
            self.running = None;
            self.forwards.sum_up();
        }
        if matches!(self.machine.state(), State::Idle | State::Failed) {
            self.done();
        }
    }

    /// Tells those that wait for the end.
    fn done(&mut self) {
        for reply in self.waiting.drain(..) {
            answer(reply, Ok(format!("`{}` is disconnected", self.plan.name)));
        }
    }

    pub(super) fn note(&self, entry: Entry) {
        self.context.activity.add(entry.connection(&self.plan.name));
    }

    /// Lets others see what is.
    fn show(&mut self) {
        // Replies that came while there was nothing to wait for.
        if self.machine.state() == State::Idle && self.device.is_none() {
            self.done();
        }
        let redundant = self.running.as_ref().map(|running| running.redundant.clone());
        lock(&self.view).show(
            &self.plan,
            &self.machine,
            redundant,
            &self.forwards,
            self.device.as_ref().map(Held::status),
        );
        self.context.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Where a forward dials.
pub(crate) fn way(redundant: &Redundant, forward: &ForwardPlan, wait: Duration) -> Way {
    redundant.way(forward.gateway.as_deref(), forward.wait.unwrap_or(wait))
}

fn answer<T>(reply: Reply<T>, result: Result<T, Error>) {
    // Whoever asked may have gone.
    drop(reply.send(result));
}

async fn next(running: &mut Option<Running>) -> RedundancyEvent {
    match running {
        Some(running) => match running.events.next().await {
            Some(event) => event,
            None => pending().await,
        },
        None => pending().await,
    }
}

async fn next_step(ending: &mut Option<Pin<Box<dyn Future<Output = ()> + Send>>>) {
    match ending {
        Some(step) => step.await,
        None => pending().await,
    }
}

fn reason_text(reason: SwitchReason) -> &'static str {
    match reason {
        SwitchReason::Up => "it is up",
        SwitchReason::Lost => "lost",
        SwitchReason::Probe => "its probe was not answered",
        SwitchReason::FailBack => "the better one is back",
        SwitchReason::LowerLatency => "the other one is quicker",
        SwitchReason::Updated => "the configuration changed",
    }
}

/// Whom the end waits for, in words: connections inside of the tunnels, and those that the other end has not answered yet.
fn waited_for(live: usize, connecting: usize) -> Option<String> {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    match (live, connecting) {
        (0, 0) => None,
        (live, 0) => Some(format!("{live} live connection{}", plural(live))),
        (0, connecting) => Some(format!("{connecting} connection{} not answered yet", plural(connecting))),
        (live, connecting) => {
            Some(format!("{live} live connection{}, and {connecting} not answered yet", plural(live)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_whom_the_end_waits_for() {
        let texts =
            [(0, 0), (1, 0), (2, 0), (0, 1), (0, 2), (1, 2)].map(|(live, connecting)| waited_for(live, connecting));
        assert_eq!(
            texts.map(Option::unwrap_or_default),
            [
                "",
                "1 live connection",
                "2 live connections",
                "1 connection not answered yet",
                "2 connections not answered yet",
                "1 live connection, and 2 not answered yet",
            ]
        );
    }
}
