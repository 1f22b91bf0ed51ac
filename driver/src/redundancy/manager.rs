//! The task of a connection: makes and ends the clients of its gateways, and says which of them take new connections.

mod updating;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{sync::mpsc, task::JoinSet};

use super::{
    ConnectionState, Core, Policy, RedundancyEvent, RedundancyOptions, Spec, SwitchReason,
    member::{Bequest, Judged, Member, Note, What},
    plan::{self, Rules, View},
    probe,
    table::{Row, Table},
};
use crate::{
    active::now,
    client::{Client, ClientEvent},
    error::{Failure, FailureKind},
    options::{Prompter, after},
    prompts::is_challenge,
    race::closed_by_us,
    supervisor::STATE_CHANGES,
};

/// What the handles ask for.
pub(super) enum Command {
    /// Other gateways are pinned.
    Look,
    /// Other ports are open.
    Ports,
    Update(Vec<Spec>, Box<RedundancyOptions>),
    Drain,
    Close,
}

pub(super) struct Manager {
    core: Arc<Core>,
    options: RedundancyOptions,
    prompter: Arc<dyn Prompter>,
    members: Vec<Member>,
    sender: mpsc::UnboundedSender<Note>,
    notes: mpsc::UnboundedReceiver<Note>,
    next_run: u64,
    /// Who takes new connections.
    active: Option<Arc<str>>,
    /// Who did before.
    last_active: Option<Arc<str>>,
    was_up: bool,
    draining: bool,
    failovers: u64,
    last_error: Option<Failure>,
    state: (ConnectionState, SystemTime),
    ended: Option<Failure>,
    /// What happened: told when the table shows it, so that whoever hears of it can look there.
    told: Vec<RedundancyEvent>,
    /// Clients that say goodbye.
    leaving: JoinSet<()>,
}

impl Drop for Manager {
    /// Whoever waits is told, also when the runtime drops the task or it panics.
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.ended = Some(Failure::new(FailureKind::Internal, "the task of the connection ended"));
            self.publish();
        }
    }
}

impl Manager {
    pub(super) fn new(
        core: Arc<Core>,
        specs: Vec<Spec>,
        options: RedundancyOptions,
        prompter: Arc<dyn Prompter>,
    ) -> Self {
        let (sender, notes) = mpsc::unbounded_channel();
        Self {
            core,
            options,
            prompter,
            members: specs.into_iter().map(Member::new).collect(),
            sender,
            notes,
            next_run: 0,
            active: None,
            last_active: None,
            was_up: false,
            draining: false,
            failovers: 0,
            last_error: None,
            state: (ConnectionState::Connecting, SystemTime::now()),
            ended: None,
            told: Vec::new(),
            leaving: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            let again = self.step(now());
            self.seat();
            self.publish();
            if self.ended.is_some() {
                break;
            }
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Look) => {}
                    Some(Command::Ports) => self.open_ports(),
                    Some(Command::Update(specs, options)) => self.update(specs, *options, now()),
                    Some(Command::Drain) => self.draining = true,
                    Some(Command::Close) | None => {
                        self.close().await;
                        break;
                    }
                },
                Some(note) = self.notes.recv() => self.on_note(note, now()),
                Some(_) = self.leaving.join_next() => {}
                () = tokio::time::sleep_until(again.unwrap_or_else(now).into()), if again.is_some() => {}
            }
        }
        if let Some(failure) = self.ended.clone() {
            self.emit(RedundancyEvent::Closed(failure));
            self.tell();
        }
    }

    /// The device goes to the gateway that is active.
    fn seat(&self) {
        let active = self.active_index().and_then(|index| self.members.get(index)).filter(|member| member.is_up());
        let shared = active.and_then(|member| member.run.as_ref()).map(|run| run.client.shared());
        self.core.seat().follow(shared, active.and_then(|member| member.network.as_deref()));
    }

    /// Does what follows from how things are. When to look again if nothing happens.
    fn step(&mut self, now: Instant) -> Option<Instant> {
        let mut again = self.switch(now);
        let mut sooner = |at: Option<Instant>| again = [again, at].into_iter().flatten().min();
        sooner(self.adjust(now));
        self.settle();
        self.keep_apart();
        sooner(self.drain(now));
        sooner(self.renew().then_some(now));
        self.give_up();
        again
    }

    /// Makes clients that are wanted, and ends those that are not.
    fn adjust(&mut self, now: Instant) -> Option<Instant> {
        let views = self.views();
        let wanted = plan::wanted(&views, self.active_index(), self.rules(), now);
        let mut again = wanted.again;
        let mut dialled = false;
        for (index, wanted) in wanted.what.into_iter().enumerate() {
            let Some(member) = self.members.get_mut(index) else { continue };
            member.wanted = wanted;
            match (&member.run, wanted) {
                (None, true) => {
                    if !self.was_up && member.again.is_some() {
                        // It has had its chance; the others have theirs.
                        continue;
                    }
                    match member.again.filter(|again| *again > now) {
                        Some(at) => again = Some(again.map_or(at, |again| again.min(at))),
                        None => {
                            self.dial(index, now);
                            dialled = true;
                        }
                    }
                }
                (Some(_), false) if member.draining.is_none() && member.connections() > 0 => {
                    member.draining = Some(after(now, self.options.drain));
                    again = Some(now);
                }
                (Some(_), false) if member.draining.is_none() => self.dismiss(index),
                _ => {}
            }
        }
        // Whoever was dialled now is waited for from now on.
        if dialled { self.adjust(now) } else { again }
    }

    fn dial(&mut self, index: usize, now: Instant) {
        let mut options = self.options.tunnel.clone();
        if self.was_up {
            options.first_rounds = None;
        }
        let several = self.members.len() > 1;
        let Some(member) = self.members.get_mut(index) else { return };
        let span =
            if several { tracing::info_span!("gateway", gateway = %member.spec.name) } else { tracing::Span::none() };
        let launch = Arc::clone(&member.spec.launch);
        let begun = span.in_scope(|| launch(options, Arc::clone(&self.prompter), self.options.handshakes.clone()));
        self.next_run += 1;
        member.begin(self.next_run, begun, &self.sender, now);
        self.open_ports();
    }

    /// Opens the ports of the connection inside of all tunnels.
    fn open_ports(&self) {
        let ports = self.core.ports();
        let mut insides = Vec::new();
        for member in &self.members {
            let (Some(run), name) = (&member.run, &member.spec.name) else { continue };
            let shared = run.client.shared();
            shared.open_ports(ports.tcp_of(Some(name)));
            insides.push((Some(Arc::clone(name)), shared.inside()));
        }
        ports.bind_inside(&insides);
    }

    /// Ends a client in good order.
    fn dismiss(&mut self, index: usize) {
        if let Some(client) = self.members.get_mut(index).and_then(Member::end) {
            self.leave(client);
        }
    }

    fn leave(&mut self, client: Client) {
        self.leaving.spawn(async move { client.close().await });
    }

    /// Lets another gateway take new connections, if it should.
    fn switch(&mut self, now: Instant) -> Option<Instant> {
        let before = self.active_index();
        self.compare(before, now);
        let picked = plan::pick(&self.views(), before, self.rules(), now);
        if let Some((index, reason)) = picked.what {
            self.activate(index, reason, now);
        } else if before.is_some_and(|index| self.members.get(index).is_some_and(|member| !member.is_up())) {
            let why = self.last_error.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
            tracing::warn!(target: STATE_CHANGES, "no gateway is up{why}");
            self.last_active = self.active.take();
            self.emit(RedundancyEvent::Down);
        }
        picked.again
    }

    /// Notes since when gateways are clearly quicker than the one in use.
    fn compare(&mut self, active: Option<usize>, now: Instant) {
        let views = self.views();
        let in_use = active.and_then(|index| views.get(index));
        for (member, view) in self.members.iter_mut().zip(&views) {
            let is_quicker = in_use.is_some_and(|in_use| view.is_clearly_quicker(in_use));
            member.quicker_since = is_quicker.then(|| member.quicker_since.unwrap_or(now));
        }
    }

    fn activate(&mut self, index: usize, reason: SwitchReason, now: Instant) {
        let Some(to) = self.members.get(index).map(|member| Arc::clone(&member.spec.name)) else { return };
        let from = self.active.take();
        let was_down = from.is_none() && self.was_up;
        let before = from.or_else(|| self.last_active.take());
        self.was_up = true;
        self.active = Some(Arc::clone(&to));
        // They are compared with another one from now on.
        self.members.iter_mut().for_each(|member| member.quicker_since = None);
        if let Some(member) = self.members.get_mut(index) {
            member.draining = None;
        }
        if was_down {
            self.emit(RedundancyEvent::Restored);
        }
        if before.as_ref() == Some(&to) {
            return;
        }
        let reason = if before.is_some() && reason == SwitchReason::Up { SwitchReason::Lost } else { reason };
        if let Some(before) = &before {
            tracing::info!("gateway {to} takes over from {before}: {}", self.why_left(before, reason));
            self.failovers += u64::from(matches!(reason, SwitchReason::Lost | SwitchReason::Probe));
            self.part_with(before, now);
        }
        let from = before.map(|name| name.to_string());
        self.emit(RedundancyEvent::Switched { from, to: to.to_string(), reason });
    }

    /// Why new connections leave this gateway.
    fn why_left(&self, before: &str, reason: SwitchReason) -> String {
        let Some(left) = self.members.iter().find(|member| *member.spec.name == *before) else {
            return "it is not configured any more".to_owned();
        };
        match reason {
            SwitchReason::Up | SwitchReason::Lost => match &left.tally.last_error {
                Some(failure) => format!("it was lost: {failure}"),
                None => "it is not up any more".to_owned(),
            },
            SwitchReason::Probe => match left.probe_failure() {
                Some(error) => format!("its probe is not answered: {error}"),
                None => "its probe is not answered".to_owned(),
            },
            SwitchReason::FailBack => "the better one is up again, without trouble for long enough".to_owned(),
            SwitchReason::LowerLatency => "the other one is clearly quicker, for long enough".to_owned(),
            SwitchReason::Updated => "the configuration changed".to_owned(),
        }
    }

    /// Connections through lost tunnels, once there is another one.
    fn settle(&mut self) {
        let Some(heir) = self.active_index() else { return };
        for index in 0..self.members.len() {
            if index == heir || !self.members.get(index).is_some_and(|member| member.orphaned) {
                continue;
            }
            let Ok([lost, heir]) = self.members.get_disjoint_mut([index, heir]) else { continue };
            match lost.bequeath(heir) {
                Bequest::Nothing => {}
                Bequest::Kept(count) => {
                    if count > 0 {
                        let go_on = if count == 1 {
                            "1 connection goes on".into()
                        } else {
                            format!("{count} connections go on")
                        };
                        tracing::info!("{go_on} through gateway {}", heir.spec.name);
                    }
                    self.open_ports();
                }
                Bequest::Reset(count) => {
                    let were = if count == 1 { "1 connection was".into() } else { format!("{count} connections were") };
                    tracing::info!("{were} lost with gateway {}", lost.spec.name);
                }
            }
        }
    }

    /// Of tunnels with the same addresses only one answers for them.
    fn keep_apart(&self) {
        let active = self.active_index();
        let network = active.and_then(|index| self.members.get(index)?.network.clone());
        for (index, member) in self.members.iter().enumerate() {
            member.be_quiet_beside(network.as_ref().filter(|_| active != Some(index)));
        }
    }

    /// What becomes of the connections through a gateway that is up and takes no new ones any more.
    fn part_with(&mut self, name: &Arc<str>, now: Instant) {
        let drain = self.options.drain;
        if let Some(member) = self.members.iter_mut().find(|member| member.spec.name == *name && member.is_up()) {
            member.draining = Some(after(now, drain));
        }
    }

    /// Looks whether gateways that are left have no connections any more.
    fn drain(&mut self, now: Instant) -> Option<Instant> {
        let mut again = None;
        for member in &mut self.members {
            let Some(until) = member.draining else { continue };
            let left = member.connections();
            if left == 0 || until <= now {
                if left > 0 {
                    let were = if left == 1 { "1 connection is".into() } else { format!("{left} connections are") };
                    let (gateway, seconds) = (&member.spec.name, self.options.drain.as_secs());
                    tracing::info!("{were} reset: still through gateway {gateway} after drain_seconds ({seconds} s)");
                }
                member.sever();
                member.draining = None;
                again = Some(now);
            } else {
                let next = until.min(now + DRAIN_TICK);
                again = Some(again.map_or(next, |again: Instant| again.min(next)));
            }
        }
        again
    }

    /// The end, if no gateway may be tried again.
    fn give_up(&mut self) {
        let hopeless =
            |member: &Member| member.refused || member.run.is_none() && member.again.is_some() && !self.was_up;
        if self.members.is_empty() {
            self.ended = Some(Failure::new(FailureKind::Configuration, "no gateway to connect to"));
        } else if self.members.iter().all(hopeless) {
            let refused = self.members.iter().find(|member| member.refused);
            let failure = refused.or_else(|| self.members.first()).and_then(|member| member.tally.last_error.clone());
            self.ended = failure.or_else(|| self.last_error.clone());
        }
    }

    fn on_note(&mut self, note: Note, now: Instant) {
        let of_run = |member: &Member| member.run.as_ref().is_some_and(|run| run.id == note.run);
        let Some(index) = self.members.iter().position(of_run) else { return };
        match note.what {
            What::Client(event) => self.on_client(index, event, now),
            What::Probe(asked, result) if self.probe_of(index).as_ref() == Some(&asked) => {
                self.on_probe(index, result, now);
            }
            // A question from before an update.
            What::Probe(..) => {}
        }
    }

    fn on_client(&mut self, index: usize, event: ClientEvent, now: Instant) {
        let probe = self.probe_of(index);
        let sender = self.sender.clone();
        let Some(member) = self.members.get_mut(index) else { return };
        let gateway = member.spec.name.to_string();
        match event {
            ClientEvent::Connecting { remote } => {
                member.on_connecting();
                self.emit(RedundancyEvent::Connecting { gateway, remote });
            }
            ClientEvent::Up(network) => {
                if member.on_up(now, network) {
                    member.ask(now, probe, &sender);
                }
                self.emit(RedundancyEvent::Up { gateway });
            }
            ClientEvent::Down { cause, retry_in } => {
                member.on_down();
                member.tally.fail(&cause);
                self.last_error = Some(cause.clone());
                member.retry_at = Some(SystemTime::now() + retry_in.min(A_YEAR));
                self.emit(RedundancyEvent::Failed { gateway, cause, retry_in: Some(retry_in) });
            }
            ClientEvent::DeviceLost => self.emit(RedundancyEvent::DeviceLost),
            ClientEvent::Prompt(prompt) => {
                if is_challenge(&prompt) {
                    member.on_prompt();
                }
                self.emit(RedundancyEvent::Prompt { gateway, prompt });
            }
            ClientEvent::Closed(cause) => {
                member.on_down();
                member.tally.fail(&cause);
                self.last_error = Some(cause.clone());
                if self.may_return(&cause) {
                    self.rest(index, cause, now);
                } else {
                    self.refuse(index, cause);
                }
            }
        }
    }

    /// Whether a gateway whose client has ended may be tried again. One that fell silent may, even where its own configuration says
    /// that silence is the end: unless there is no other, for then it is the end of the connection.
    fn may_return(&self, cause: &Failure) -> bool {
        let is_stranger = cause.kind() == FailureKind::PeerNotAuthenticated;
        !is_stranger && (cause.is_for_now() || self.members.len() > 1 && cause.kind() == FailureKind::Unreachable)
    }

    /// The client has given up for now.
    fn rest(&mut self, index: usize, cause: Failure, now: Instant) {
        let Some(member) = self.members.get_mut(index) else { return };
        member.end();
        let wait = member.give_up(now);
        let retry_in = self.was_up.then_some(wait);
        member.retry_at = retry_in.map(|wait| SystemTime::now() + wait);
        let gateway = member.spec.name.to_string();
        let hint = cause.hint();
        match retry_in {
            Some(wait) => {
                let retry_in_ms = wait.as_millis() as u64;
                tracing::warn!(retry_in_ms, hint, "gateway {gateway} is given up for now: {cause}");
            }
            // With no other, it is the end of the connection, which is told as such.
            None if self.members.len() > 1 => {
                tracing::warn!(hint, "gateway {gateway} is given up until another one is up: {cause}");
            }
            None => {}
        }
        self.emit(RedundancyEvent::Failed { gateway, cause, retry_in });
    }

    /// The gateway is not tried again by itself.
    fn refuse(&mut self, index: usize, cause: Failure) {
        let Some(member) = self.members.get_mut(index) else { return };
        member.refused = true;
        let gateway = member.spec.name.to_string();
        if self.members.len() > 1 {
            tracing::warn!(hint = cause.hint(), "gateway {gateway} is not tried again by itself: {cause}");
        }
        self.dismiss(index);
        self.keep_what_works();
        self.emit(RedundancyEvent::Failed { gateway, cause, retry_in: None });
    }

    fn on_probe(&mut self, index: usize, result: probe::Answered, now: Instant) {
        let Some(probe) = self.probe_of(index) else { return };
        let error = result.as_ref().err().cloned().unwrap_or_default();
        let Some(member) = self.members.get_mut(index) else { return };
        let gateway = member.spec.name.to_string();
        match member.on_probe(now, result, &probe) {
            Judged::Fine => {}
            Judged::AtLast => tracing::info!("the probe through gateway {gateway} is answered now"),
            Judged::Silent(failures) => {
                tracing::debug!("the probe through gateway {gateway} is not answered: {error}");
                self.emit(RedundancyEvent::ProbeFailed { gateway, error, failures });
            }
            Judged::Never(failures) => {
                let (target, hint) = (&probe.target, probe.target.hint());
                tracing::warn!(
                    hint,
                    "the probe of {target} through gateway {gateway} was never answered since the tunnel is up: {error}"
                );
                self.emit(RedundancyEvent::ProbeFailed { gateway, error, failures });
            }
            Judged::Dead => {
                let text = format!("the tunnel does not carry: {error}, {} times", probe.failures.max(1));
                if let Some(run) = &member.run {
                    run.client.shared().lose(&text);
                }
                self.emit(RedundancyEvent::ProbeFailed { gateway, error, failures: probe.failures.max(1) });
            }
        }
    }

    fn name_of(&self, index: usize) -> Option<Arc<str>> {
        Some(Arc::clone(&self.members.get(index)?.spec.name))
    }

    async fn close(&mut self) {
        for index in 0..self.members.len() {
            self.dismiss(index);
        }
        while self.leaving.join_next().await.is_some() {}
        self.active = None;
        self.seat();
        self.ended = Some(closed_by_us().failure);
        self.publish();
    }

    fn probe_of(&self, index: usize) -> Option<super::Probe> {
        self.members.get(index)?.spec.probe.clone().or_else(|| self.options.probe.clone())
    }

    fn rules(&self) -> Rules {
        let RedundancyOptions { policy, hot_standby, stagger, fail_back_after, .. } = self.options;
        Rules { policy, hot_standby, stagger, fail_back_after }
    }

    fn views(&self) -> Vec<View> {
        let pins = self.core.pins();
        self.members.iter().map(|member| member.view(pins.contains_key(&member.spec.name))).collect()
    }

    fn active_index(&self) -> Option<usize> {
        let active = self.active.as_ref()?;
        self.members.iter().position(|member| member.spec.name == *active)
    }

    fn emit(&mut self, event: RedundancyEvent) {
        self.told.push(event);
    }

    fn tell(&mut self) {
        for event in self.told.drain(..) {
            // An error says that nobody listens.
            drop(self.core.events.send(event));
        }
    }

    /// Shows how things are to those who dial and those who look.
    pub(super) fn publish(&mut self) {
        let state = match &self.ended {
            Some(failure) if failure.kind() == FailureKind::Closed => ConnectionState::Closed,
            Some(_) => ConnectionState::Failed,
            None if self.draining => ConnectionState::Draining,
            None if self.active.is_some() => ConnectionState::Connected,
            None if self.was_up => ConnectionState::Reconnecting,
            None => ConnectionState::Connecting,
        };
        if self.state.0 != state {
            self.state = (state, SystemTime::now());
        }
        if self.ended.is_some() {
            self.core.ports().end();
        }
        let active = self.active_index();
        let all = self.options.policy == Policy::RoundRobin;
        let probes: Vec<bool> = (0..self.members.len()).map(|index| self.probe_of(index).is_some()).collect();
        let configured = self.members.iter().filter(|member| !member.is_removed()).count();
        let rows: Vec<Row> = self
            .members
            .iter_mut()
            .zip(probes)
            .enumerate()
            .map(|(index, (member, has_probe))| member.row(all || Some(index) == active, has_probe))
            .collect();
        let table = Table {
            state,
            since: self.state.1,
            policy: self.options.policy,
            active,
            rows,
            failovers: self.failovers,
            tunnels_wanted: plan::tunnels(configured, self.rules()),
            last_error: self.last_error.clone(),
            ended: self.ended.clone(),
        };
        self.core.table.send_replace(table);
        self.tell();
    }
}

/// How often the connections of a gateway that is left are counted.
const DRAIN_TICK: Duration = Duration::from_millis(200);
/// What clocks can still add.
const A_YEAR: Duration = Duration::from_secs(365 * 86400);
