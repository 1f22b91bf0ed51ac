//! What others see of a connection.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use adit_driver::{
    Failure, FailureKind, Target,
    redundancy::{self, Policy, RedundancyLevel, RedundancyStatus, Redundant},
};

use super::{forwards::Forwards, machine::Machine};
use crate::{
    error::{Error, code, described},
    forward::ForwardCounters,
    plan::{ConnectionPlan, ForwardKind, ForwardPlan, GatewayLabel},
    status::{
        ConnectionStatus, DeviceStatus, ForwardStatus, GatewayState, GatewayStatus, LastError, ProbeState, ProbeStatus,
        Redundancy, Rekeys, State, Timestamp, UdpSocket,
    },
};

pub(super) struct View {
    name: String,
    description: String,
    autostart: bool,
    policy: Policy,
    labels: Vec<GatewayLabel>,
    machine: Machine,
    redundant: Option<Redundant>,
    forwards: Vec<ForwardView>,
    device: Option<DeviceStatus>,
    last_error: Option<LastError>,
    /// By gateway.
    errors: HashMap<String, LastError>,
    /// Gateways that have refused our credentials, and were not up since.
    refused: HashSet<String>,
}

struct ForwardView {
    plan: ForwardPlan,
    counters: Arc<ForwardCounters>,
    listening: Option<Option<String>>,
    error: Option<String>,
}

impl View {
    pub(super) fn new(plan: &ConnectionPlan) -> Self {
        Self {
            name: plan.name.clone(),
            description: plan.description.clone(),
            autostart: plan.autostart,
            policy: plan.redundancy.policy,
            labels: plan.gateway_labels.clone(),
            machine: Machine::new(),
            redundant: None,
            forwards: Vec::new(),
            device: None,
            last_error: None,
            errors: HashMap::new(),
            refused: HashSet::new(),
        }
    }

    pub(super) fn show(
        &mut self,
        plan: &ConnectionPlan,
        machine: &Machine,
        redundant: Option<Redundant>,
        forwards: &Forwards,
        device: Option<DeviceStatus>,
    ) {
        self.description.clone_from(&plan.description);
        self.autostart = plan.autostart;
        self.policy = plan.redundancy.policy;
        let before = std::mem::replace(&mut self.labels, plan.gateway_labels.clone());
        self.machine = *machine;
        self.redundant = redundant;
        // Those that were taken out and still carry connections.
        let found = self.redundant.as_ref().map(Redundant::status);
        let lives = |name: &str| found.iter().flat_map(|found| &found.gateways).any(|gateway| gateway.name == name);
        let is_known = |name: &str| plan.gateway_labels.iter().any(|label| label.name == name);
        self.labels.extend(before.into_iter().filter(|label| !is_known(&label.name) && lives(&label.name)));
        self.device = device;
        self.forwards.clear();
        self.forwards.extend(forwards.list.iter().map(|forward| ForwardView {
            plan: forward.plan.clone(),
            counters: Arc::clone(&forward.counters),
            listening: forward.listening(),
            error: forward.error.clone(),
        }));
        self.errors.retain(|name, _| plan.gateways.iter().any(|gateway| gateway.name == *name));
    }

    pub(super) fn on_failed(&mut self, gateway: &str, cause: &Failure) {
        if cause.kind() == FailureKind::AuthFailed {
            self.refused.insert(gateway.to_owned());
        }
        let error = last_error(cause);
        self.errors.insert(gateway.to_owned(), error.clone());
        self.last_error = Some(error);
    }

    /// The gateway is up, or another one.
    pub(super) fn on_news(&mut self, gateway: &str) {
        self.refused.remove(gateway);
    }

    /// Whom the questions are for whose answers were refused, if they were answered by a person.
    pub(super) fn refused(&self) -> Vec<String> {
        let refused = self.labels.iter().filter(|label| self.refused.contains(&label.name));
        refused.map(|label| label.subject.clone()).collect()
    }

    pub(super) fn on_gave_up(&mut self, failure: &Failure) {
        self.last_error = Some(last_error(failure));
    }

    pub(super) fn on_device_failed(&mut self, error: &Error) {
        self.last_error = Some(LastError {
            at: Timestamp::now(),
            text: error.message(),
            hint: error.hint_text().map(str::to_owned),
            code: "device".to_owned(),
        });
    }

    pub(super) fn status(&self) -> ConnectionStatus {
        let found = self.redundant.as_ref().map(Redundant::status);
        let of = |label: &GatewayLabel| {
            let found = found.as_ref()?.gateways.iter().find(|gateway| gateway.name == label.name)?;
            Some(gateway_status(label, found))
        };
        let gateways: Vec<_> = self
            .labels
            .iter()
            .map(|label| {
                let gateway = of(label).unwrap_or_else(|| idle(label, self.machine.since()));
                GatewayStatus { last_error: self.errors.get(&label.name).cloned(), ..gateway }
            })
            .collect();
        let standby = gateways.iter().filter(|gateway| gateway.state == GatewayState::Standby);
        let up = matches!(self.machine.state(), State::Connected | State::Draining);
        let wanted = !matches!(self.machine.state(), State::Idle | State::Disconnecting);
        let (redundancy, redundancy_reason) = found.as_ref().filter(|_| wanted).map(redundancy).unwrap_or_default();
        ConnectionStatus {
            name: self.name.clone(),
            description: self.description.clone(),
            autostart: self.autostart,
            state: self.machine.state(),
            since: self.machine.since(),
            latest_update: self.machine.latest_update(),
            policy: policy_name(self.policy).to_owned(),
            active: found.as_ref().and_then(|found| found.active.clone()).filter(|_| up),
            standby: standby.map(|gateway| gateway.name.clone()).collect(),
            redundancy,
            redundancy_reason,
            failovers: found.as_ref().map_or(0, |found| found.failovers),
            forwards: self.forwards.iter().map(forward_status).collect(),
            device: self.device.clone(),
            last_error: self.last_error.clone(),
            gateways,
        }
    }
}

fn last_error(failure: &Failure) -> LastError {
    LastError {
        at: Timestamp::now(),
        text: described(failure),
        hint: failure.hint().map(str::to_owned),
        code: code(failure.kind()).to_owned(),
    }
}

pub(super) const fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::Priority => "priority",
        Policy::RoundRobin => "round-robin",
        Policy::LowestLatency => "lowest-latency",
    }
}

fn idle(label: &GatewayLabel, since: Timestamp) -> GatewayStatus {
    GatewayStatus {
        name: label.name.clone(),
        protocol: label.protocol.to_owned(),
        server: label.servers.join(", "),
        state: GatewayState::Idle,
        since,
        remote: None,
        addresses: Vec::new(),
        dns: Vec::new(),
        mtu: None,
        suite: None,
        peer_identity: None,
        rekey_due: None,
        rekeys: Rekeys::default(),
        failed_rekeys: Rekeys::default(),
        received_bytes: 0,
        sent_bytes: 0,
        received_packets: 0,
        sent_packets: 0,
        drops: BTreeMap::new(),
        retransmits: 0,
        udp_socket: None,
        probe_rtt_ms: None,
        probe: None,
        carries: None,
        handshake_ms: None,
        retry_at: None,
        attempts: 0,
        failures: 0,
        failures_by_code: BTreeMap::new(),
        connections: 0,
        last_error: None,
    }
}

const fn rekeys(found: adit_driver::Rekeys) -> Rekeys {
    Rekeys { data: found.data, control: found.control }
}

fn gateway_status(label: &GatewayLabel, found: &redundancy::GatewayStatus) -> GatewayStatus {
    let network = found.network.as_deref();
    let texts = |list: Option<Vec<String>>| list.unwrap_or_default();
    let (stats, stack) = (&found.stats, &found.stack);
    let details = found.details.as_ref();
    let drops = [
        ("foreign", stats.dropped_foreign),
        ("unknown_key", stats.dropped_unknown_key),
        ("refused", stats.dropped_refused),
        ("unsealed", stats.dropped_unsealed),
        ("not_carried", stats.dropped_not_carried),
        ("device", stats.dropped_device),
        ("inside_malformed", stack.malformed),
        ("inside_bad_checksum", stack.bad_checksum),
        ("inside_misaddressed", stack.misaddressed),
        ("inside_not_from_peer", stack.not_from_peer),
        ("inside_fragments", stack.fragments_dropped),
        ("inside_unknown_protocol", stack.unknown_protocol),
        ("inside_unknown_tcp", stack.unknown_tcp),
        ("inside_unknown_udp", stack.unknown_udp),
        ("inside_implausible", stack.implausible),
        ("inside_udp", stack.udp_dropped),
        ("inside_incoming", stack.incoming_dropped),
        ("no_memory", stack.refused_memory),
        ("too_many_connections", stack.refused_full),
    ];
    let milliseconds = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    GatewayStatus {
        state: gateway_state(found.state),
        since: found.since.into(),
        remote: found.remote.map(|remote| remote.to_string()),
        addresses: texts(network.map(|network| network.addresses.iter().map(ToString::to_string).collect())),
        dns: texts(network.map(|network| network.dns.servers.iter().map(ToString::to_string).collect())),
        mtu: network.map(|network| network.mtu),
        suite: details.map(|details| details.suite.clone()).filter(|suite| !suite.is_empty()),
        peer_identity: details.and_then(|details| details.peer_identity.clone()),
        rekey_due: details.and_then(|details| details.rekey_at).map(point_in_time),
        rekeys: rekeys(found.rekeys),
        failed_rekeys: rekeys(found.failed_rekeys),
        received_bytes: stats.received_bytes,
        sent_bytes: stats.sent_bytes,
        received_packets: stats.opened_packets,
        sent_packets: stats.sealed_packets,
        drops: drops.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect(),
        retransmits: stats.retransmits,
        udp_socket: found
            .outer
            .map(|socket| UdpSocket { gso: socket.segmentation, receive_buffer: socket.receive_buffer }),
        probe_rtt_ms: found.probe.as_ref().and_then(|probe| probe.rtt).map(milliseconds),
        probe: found.probe.as_ref().map(probe_status),
        carries: found.carries.as_ref().map(|networks| networks.iter().map(ToString::to_string).collect()),
        handshake_ms: found.handshake.map(milliseconds),
        retry_at: found.retry_at.map(Timestamp::from),
        attempts: found.attempts,
        failures: found.failures,
        failures_by_code: by_code(&found.failures_by_kind),
        connections: found.connections,
        ..idle(label, found.since.into())
    }
}

fn probe_status(probe: &redundancy::ProbeStatus) -> ProbeStatus {
    ProbeStatus {
        state: match probe {
            _ if probe.was_never_answered() => ProbeState::NeverAnswered,
            _ if probe.unanswered > 0 => ProbeState::Unanswered,
            _ if probe.answered > 0 => ProbeState::Answered,
            _ => ProbeState::Pending,
        },
        answered: probe.answered,
        failed: probe.failed,
        last_failure: probe.last_failure.clone(),
    }
}

/// How much could be lost now, and why it is not as it should be.
fn redundancy(found: &RedundancyStatus) -> (Option<Redundancy>, Option<String>) {
    let level = match found.redundancy() {
        None => return (None, None),
        Some(RedundancyLevel::Full) => return (Some(Redundancy::Full), None),
        Some(RedundancyLevel::Degraded) => Redundancy::Degraded,
        Some(RedundancyLevel::None) => Redundancy::None,
    };
    let is_well = |gateway: &redundancy::GatewayStatus| gateway.network.is_some() && !gateway.ailing;
    let well = found.gateways.iter().filter(|gateway| is_well(gateway)).count();
    let what = match (found.gateways.iter().any(|gateway| gateway.network.is_some()), level) {
        (false, _) => "no gateway is up".to_owned(),
        (true, Redundancy::Degraded) => format!("{well} of {} tunnels", found.tunnels_wanted),
        (true, Redundancy::Full | Redundancy::None) => "no standby".to_owned(),
    };
    // One that is not needed is no reason.
    let missing = found.gateways.iter().filter(|gateway| !is_well(gateway));
    let why: Vec<String> = missing.filter(|g| g.state != redundancy::GatewayState::Idle).map(trouble).collect();
    (Some(level), Some(if why.is_empty() { what } else { format!("{what}: {}", why.join("; ")) }))
}

/// Why nobody can rely on this gateway.
fn trouble(gateway: &redundancy::GatewayStatus) -> String {
    let name = &gateway.name;
    let because = |why: Option<String>| why.map(|why| format!(" ({why})")).unwrap_or_default();
    if gateway.network.is_some() {
        let why = gateway.probe.as_ref().and_then(|probe| probe.last_failure.clone());
        return format!("the probe through {name} is not answered{}", because(why));
    }
    let state = gateway_state(gateway.state).name();
    format!("{name} is {state}{}", because(gateway.last_error.as_ref().map(ToString::to_string)))
}

const fn gateway_state(state: redundancy::GatewayState) -> GatewayState {
    match state {
        redundancy::GatewayState::Idle => GatewayState::Idle,
        redundancy::GatewayState::Connecting => GatewayState::Connecting,
        redundancy::GatewayState::Standby => GatewayState::Standby,
        redundancy::GatewayState::Active => GatewayState::Active,
        redundancy::GatewayState::Draining => GatewayState::Draining,
        redundancy::GatewayState::Waiting => GatewayState::Waiting,
        redundancy::GatewayState::Refused => GatewayState::Refused,
    }
}

fn by_code(kinds: &[(FailureKind, u64)]) -> BTreeMap<String, u64> {
    let mut codes = BTreeMap::new();
    for (kind, count) in kinds {
        *codes.entry(code(*kind).to_owned()).or_default() += count;
    }
    codes
}

/// By the clock of people, to the second: two clocks are read, and the same time is to look the same.
fn point_in_time(instant: Instant) -> Timestamp {
    let ahead = instant.saturating_duration_since(Instant::now());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = (now.saturating_add(ahead).as_secs_f64()).round() as u64;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH).into()
}

fn forward_status(forward: &ForwardView) -> ForwardStatus {
    let (plan, counters) = (&forward.plan, forward.counters.snapshot());
    let target = |target: &Target| Some(target.to_string());
    let (kind, to) = match &plan.kind {
        ForwardKind::Local { to, .. } => ("local", target(to)),
        ForwardKind::Reverse { to, .. } => ("reverse", Some(to.to_string())),
        ForwardKind::Socks { .. } => ("socks", None),
        ForwardKind::HttpProxy { .. } => ("http_proxy", None),
        ForwardKind::Stdio { to } => ("stdio", target(to)),
    };
    let listen = forward.listening.clone().flatten();
    ForwardStatus {
        name: plan.name.clone(),
        kind: kind.to_owned(),
        listening: forward.listening.is_some(),
        listen: listen.unwrap_or_else(|| crate::forward::default_name(&plan.kind)),
        to,
        gateway: plan.gateway.clone(),
        open: counters.open,
        total: counters.total,
        refused: counters.refused,
        failed: counters.failed,
        received_bytes: counters.received_bytes,
        sent_bytes: counters.sent_bytes,
        last_error: forward.error.clone().or_else(|| counters.last_error.map(|(_, text)| text)),
    }
}
