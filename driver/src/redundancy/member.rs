//! One gateway as the manager sees it: its client while it has one, and what is remembered between clients.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use adit_tunnel::{Backoff, IpNet, NetworkConfig};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    GatewayState, Probe, ProbeStatus, Spec,
    plan::View,
    probe::{self, Answered},
    table::{Row, Tally},
};
use crate::{
    client::{Client, ClientEvent, Events},
    inside::Tie,
    random::OsRandom,
};

/// One gateway.
pub(super) struct Member {
    pub(super) spec: Spec,
    pub(super) run: Option<Run>,
    /// Not to be tried again.
    pub(super) refused: bool,
    /// Given up for now: when its client may be made again.
    pub(super) again: Option<Instant>,
    backoff: Backoff,
    /// What the gateway told last about its network.
    pub(super) network: Option<Arc<NetworkConfig>>,
    /// Its tunnel is lost, and its connections are still there.
    pub(super) orphaned: bool,
    pub(super) tally: Tally,
    pub(super) retry_at: Option<SystemTime>,
    /// Since when its round trips are clearly shorter than those of the gateway in use.
    pub(super) quicker_since: Option<Instant>,
    /// Until when connections may stay, once new ones go elsewhere.
    pub(super) draining: Option<Instant>,
    /// It is to have a client. Of one that is not, connections that may not go elsewhere end with the others.
    pub(super) wanted: bool,
    /// Its tunnel is of a configuration of before, and goes on until another one can take over.
    pub(super) successor: Option<Successor>,
    state: (GatewayState, SystemTime),
}

/// What comes after a tunnel whose configuration is of before.
pub(super) enum Successor {
    /// The same gateway, changed.
    Changed(Spec),
    /// Nothing: the gateway was taken out.
    Removed,
}

/// The client of a gateway.
pub(super) struct Run {
    pub(super) id: u64,
    pub(super) client: Client,
    _watcher: Task,
    prober: Option<Task>,
    /// Until it is up or has failed.
    dialled: Option<Instant>,
    failed: bool,
    asking: bool,
    pub(super) up: Option<Up>,
}

/// What is known of a tunnel that is up.
#[derive(Debug, Default)]
pub(super) struct Up {
    /// Since when nothing was wrong.
    steady_since: Option<Instant>,
    probe: ProbeStatus,
    ailing: bool,
}

/// Ends with its handle.
pub(super) struct Task(pub(super) JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What happened to a client.
pub(super) struct Note {
    /// Of which run.
    pub(super) run: u64,
    pub(super) what: What,
}

pub(super) enum What {
    Client(ClientEvent),
    /// What was asked, and what became of it.
    Probe(Probe, Answered),
}

/// What a probe's result means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Fine,
    /// Answered, after it was said that it never is.
    AtLast,
    /// Never answered by this tunnel, so many times that it is to be said; once.
    Never(u32),
    /// Not answered, so many times in a row.
    Silent(u32),
    /// So many times that the tunnel is dead.
    Dead,
}

impl Member {
    pub(super) fn new(spec: Spec) -> Self {
        Self {
            spec,
            run: None,
            refused: false,
            again: None,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            network: None,
            orphaned: false,
            tally: Tally::default(),
            retry_at: None,
            quicker_since: None,
            draining: None,
            wanted: false,
            successor: None,
            state: (GatewayState::Idle, SystemTime::now()),
        }
    }

    /// The same gateway with another configuration: what was counted stays.
    pub(super) fn renewed(self, spec: Spec) -> Self {
        let tally = Tally { last_error: None, ..self.tally };
        Self { tally, ..Self::new(spec) }
    }

    pub(super) const fn is_removed(&self) -> bool {
        matches!(self.successor, Some(Successor::Removed))
    }

    /// Whether it has been tried as it is configured now, and does not carry anything.
    pub(super) fn has_had_its_chance(&self) -> bool {
        let view = self.view(false);
        self.successor.is_none() && (view.refused || view.failed || view.ailing)
    }

    pub(super) fn begin(
        &mut self,
        id: u64,
        (client, events): (Client, Events),
        notes: &mpsc::UnboundedSender<Note>,
        now: Instant,
    ) {
        let watcher = Task(tokio::spawn(watch(id, events, notes.clone())));
        self.again = None;
        self.retry_at = None;
        self.run = Some(Run {
            id,
            client,
            _watcher: watcher,
            prober: None,
            dialled: Some(now),
            failed: false,
            asking: false,
            up: None,
        });
    }

    /// Its client is gone, or is to go: what it counted stays.
    pub(super) fn end(&mut self) -> Option<Client> {
        let run = self.run.take()?;
        self.tally.keep(&run.client);
        self.draining = None;
        self.retry_at = None;
        Some(run.client)
    }

    /// Given up for now.
    pub(super) fn give_up(&mut self, now: Instant) -> Duration {
        let wait = self.backoff.next_wait(&mut OsRandom);
        self.again = Some(now + wait);
        wait
    }

    pub(super) fn on_connecting(&mut self) {
        self.tally.attempts += 1;
        self.retry_at = None;
    }

    pub(super) fn on_prompt(&mut self) {
        if let Some(run) = &mut self.run {
            run.asking = true;
        }
    }

    /// Whether it is another tunnel than before.
    pub(super) fn on_up(&mut self, now: Instant, network: Arc<NetworkConfig>) -> bool {
        self.network = Some(network);
        self.orphaned = false;
        self.backoff.reset();
        self.retry_at = None;
        let Some(run) = &mut self.run else { return false };
        run.dialled = None;
        run.failed = false;
        run.asking = false;
        let is_new = run.up.is_none();
        run.up.get_or_insert_with(|| Up { steady_since: Some(now), ..Up::default() });
        is_new
    }

    /// From now on this is what its tunnel is asked, if it is up. What another probe found is forgotten.
    pub(super) fn ask(&mut self, now: Instant, probe: Option<Probe>, notes: &mpsc::UnboundedSender<Note>) {
        let Some(run) = &mut self.run else { return };
        let Some(up) = &mut run.up else { return };
        // What ailed by an old probe has been without trouble only from now on.
        let steady_since = if up.probe.unanswered > 0 || up.ailing { Some(now) } else { up.steady_since };
        *up = Up { steady_since, ..Up::default() };
        let ask = |probe| Task(tokio::spawn(probe::run(run.id, run.client.clone(), probe, notes.clone())));
        run.prober = probe.map(ask);
    }

    pub(super) fn on_down(&mut self) {
        let Some(run) = &mut self.run else { return };
        run.dialled = None;
        run.failed = true;
        run.asking = false;
        self.orphaned |= run.up.take().is_some();
        run.prober = None;
        self.draining = None;
    }

    /// The connections through a tunnel that is lost go on through another one, if that gave the same addresses and has no connections of
    /// its own that would have to give way. Otherwise they are reset.
    pub(super) fn bequeath(&mut self, heir: &Self) -> Bequest {
        self.orphaned = false;
        let (Some(run), Some(other)) = (&self.run, &heir.run) else { return Bequest::Nothing };
        let (from, to) = (run.client.shared(), other.client.shared());
        let inside = from.inside();
        let count = inside.count(Tie::Free);
        if count == 0 {
            return Bequest::Nothing;
        }
        let is_vacant = [Tie::Free, Tie::Pinned].iter().all(|tie| to.inside().count(*tie) == 0);
        if is_vacant && same_addresses(self.network.as_deref(), heir.network.as_deref()) {
            // These were to go through the lost tunnel alone.
            inside.sever(Tie::Pinned);
            // What has not begun goes along, and is nobody's yet.
            let established = inside.established(Tie::Free);
            from.trade_places(to);
            return Bequest::Kept(established);
        }
        // Those that have not begun are dialled anew through the next gateway.
        let established = inside.established(Tie::Free);
        inside.sever(Tie::Free);
        if established == 0 { Bequest::Nothing } else { Bequest::Reset(established) }
    }

    /// Leaves packets of no connection alone while another gateway, whose connections they may be of, has given us the same addresses: a
    /// network whose routes change sooner than we notice sends here what is still that one's, and a RST would end it.
    pub(super) fn be_quiet_beside(&self, active: Option<&Arc<NetworkConfig>>) {
        if let Some(run) = &self.run {
            let quiet = same_addresses(self.network.as_deref(), active.map(Arc::as_ref));
            run.client.shared().inside().set_quiet(quiet);
        }
    }

    /// Resets the connections that must not stay.
    pub(super) fn sever(&self) {
        if let Some(run) = &self.run {
            self.leaving().iter().for_each(|tie| run.client.shared().inside().sever(*tie));
        }
    }

    /// Which connections must not stay for ever once new ones go elsewhere: what is pinned to this gateway does, as long as it is wanted
    /// as it is.
    fn leaving(&self) -> &'static [Tie] {
        if self.wanted && self.successor.is_none() { &[Tie::Free] } else { &[Tie::Free, Tie::Pinned] }
    }

    /// Whether it takes no new connections, whatever the policy: it is about to be made anew.
    const fn is_leaving(&self) -> bool {
        self.successor.is_some() && self.draining.is_some()
    }

    pub(super) fn is_up(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.up.is_some())
    }

    /// How many connections and sockets there are that must not stay for ever once new ones go elsewhere.
    pub(super) fn connections(&self) -> usize {
        let count = |run: &Run| self.leaving().iter().map(|tie| run.client.shared().inside().count(*tie)).sum();
        self.run.as_ref().map_or(0, count)
    }

    pub(super) fn on_probe(&mut self, now: Instant, result: Answered, probe: &Probe) -> Judged {
        let Some(up) = self.run.as_mut().and_then(|run| run.up.as_mut()) else { return Judged::Fine };
        match result {
            Ok(rtt) => {
                let was_told = up.probe.answered == 0 && up.probe.unanswered >= probe.failures.max(1);
                up.probe.answered += 1;
                up.probe.rtt = Some(smoothed(up.probe.rtt, rtt));
                if up.ailing {
                    up.steady_since = Some(now);
                }
                up.probe.unanswered = 0;
                up.ailing = false;
                if was_told { Judged::AtLast } else { Judged::Fine }
            }
            Err(error) => {
                up.probe.failed += 1;
                up.probe.last_failure = Some(error);
                up.probe.unanswered += 1;
                // Where the silence says nothing about the tunnel, it is no trouble either.
                if up.probe.answered > 0 || probe.is_told_apart() {
                    up.steady_since = Some(now);
                }
                let (silent, limit) = (up.probe.unanswered, probe.failures.max(1));
                if silent < limit {
                    return Judged::Silent(silent);
                }
                // What never answered through this tunnel may not be there at all: others are preferred, but the tunnel is
                // not torn down again and again.
                if up.probe.answered > 0 {
                    return Judged::Dead;
                }
                up.ailing = probe.is_told_apart();
                if silent == limit { Judged::Never(silent) } else { Judged::Silent(silent) }
            }
        }
    }

    /// Why the probe through its tunnel was not answered last.
    pub(super) fn probe_failure(&self) -> Option<&str> {
        self.run.as_ref()?.up.as_ref()?.probe.last_failure.as_deref()
    }

    pub(super) fn view(&self, pinned: bool) -> View {
        let run = self.run.as_ref();
        let up = run.and_then(|run| run.up.as_ref());
        View {
            refused: self.refused || self.is_removed(),
            outdated: self.successor.is_some(),
            dialled: run.and_then(|run| run.dialled),
            asking: run.is_some_and(|run| run.asking),
            failed: run.map_or_else(|| self.again.is_some(), |run| run.failed),
            steady_since: up.and_then(|up| up.steady_since),
            ailing: up.is_some_and(|up| up.ailing),
            rtt: up.and_then(|up| up.probe.rtt).or_else(|| run.filter(|_| up.is_some())?.client.handshake()),
            quicker_since: self.quicker_since,
            pinned,
        }
    }

    /// As others see it.
    pub(super) fn row(&mut self, active: bool, has_probe: bool) -> Row {
        let run = self.run.as_ref();
        let state = match run {
            _ if self.refused => GatewayState::Refused,
            None if self.again.is_some() => GatewayState::Waiting,
            None => GatewayState::Idle,
            Some(Run { up: Some(_), .. }) if active && !self.is_leaving() => GatewayState::Active,
            Some(Run { up: Some(_), .. }) if self.draining.is_some() => GatewayState::Draining,
            Some(Run { up: Some(_), .. }) => GatewayState::Standby,
            Some(_) if self.retry_at.is_some() => GatewayState::Waiting,
            Some(_) => GatewayState::Connecting,
        };
        if self.state.0 != state {
            self.state = (state, SystemTime::now());
        }
        let up = run.and_then(|run| run.up.as_ref());
        Row {
            name: Arc::clone(&self.spec.name),
            state,
            since: self.state.1,
            client: run.map(|run| run.client.clone()),
            probe: up.filter(|_| has_probe).map(|up| up.probe.clone()),
            ailing: up.is_some_and(|up| up.ailing),
            retry_at: self.retry_at,
            tally: self.tally.clone(),
        }
    }
}

/// What became of the connections through a lost tunnel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bequest {
    /// There were none.
    Nothing,
    /// So many go on through the other tunnel, beside those that have not begun.
    Kept(usize),
    /// So many were reset.
    Reset(usize),
}

/// Whether both gave us the same addresses, whatever their networks.
fn same_addresses(one: Option<&NetworkConfig>, other: Option<&NetworkConfig>) -> bool {
    let addresses = |network: &NetworkConfig| {
        let mut addresses: Vec<IpAddr> = network.addresses.iter().map(IpNet::address).collect();
        addresses.sort_unstable();
        addresses
    };
    one.zip(other).is_some_and(|(one, other)| addresses(one) == addresses(other))
}

/// An eighth of each new value, as TCP does (RFC 6298 §2).
fn smoothed(old: Option<Duration>, new: Duration) -> Duration {
    old.map_or(new, |old| (old * 7 + new) / 8)
}

/// Passes on what happens to a client.
async fn watch(run: u64, mut events: Events, notes: mpsc::UnboundedSender<Note>) {
    while let Some(event) = events.next().await {
        if notes.send(Note { run, what: What::Client(event) }).is_err() {
            return;
        }
    }
}

/// Waits between lives of a client that gave up; our own judgement, near what IKEv2 clients wait between attempts.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(120);
