//! What the manager decided, for those who dial and those who look.

use std::{io, sync::Arc, time::SystemTime};

use adit_tunnel::Rekeys;

use super::{ConnectionState, GatewayState, GatewayStatus, Policy, ProbeStatus, RedundancyStatus};
use crate::{
    client::Client,
    error::{Failure, FailureKind},
    shared::Stats,
};

/// All gateways, as of now.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(super) state: ConnectionState,
    pub(super) since: SystemTime,
    pub(super) policy: Policy,
    pub(super) active: Option<usize>,
    pub(super) rows: Vec<Row>,
    pub(super) failovers: u64,
    pub(super) tunnels_wanted: usize,
    pub(super) last_error: Option<Failure>,
    pub(super) ended: Option<Failure>,
}

/// One gateway.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) name: Arc<str>,
    pub(super) state: GatewayState,
    pub(super) since: SystemTime,
    pub(super) client: Option<Client>,
    pub(super) probe: Option<ProbeStatus>,
    pub(super) ailing: bool,
    pub(super) retry_at: Option<SystemTime>,
    pub(super) tally: Tally,
}

/// What is counted of one gateway over all lives of its client.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) attempts: u64,
    pub(super) failures: Vec<(FailureKind, u64)>,
    pub(super) last_error: Option<Failure>,
    /// Of clients before this one.
    pub(super) stats: Stats,
    pub(super) rekeys: Rekeys,
    pub(super) failed_rekeys: Rekeys,
}

/// Where a new connection goes.
#[derive(Debug)]
pub(crate) enum Choice {
    /// Through this client, which is up.
    Use(Client),
    /// Nowhere yet.
    Wait,
    /// Nowhere.
    Refuse(io::Error),
}

impl Table {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            state: ConnectionState::Connecting,
            since: SystemTime::now(),
            policy,
            active: None,
            rows: Vec::new(),
            failovers: 0,
            tunnels_wanted: 0,
            last_error: None,
            ended: None,
        }
    }

    pub(super) fn ended(&self) -> Option<&Failure> {
        self.ended.as_ref()
    }

    pub(super) fn is_up(&self) -> bool {
        self.active.is_some()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.state == ConnectionState::Draining
    }

    /// TCP connections through all tunnels.
    pub(super) fn connections(&self) -> usize {
        self.rows.iter().filter_map(|row| row.client.as_ref()).map(|client| client.stats().connections).sum()
    }

    /// Why there is no tunnel, if that is known.
    pub(crate) fn last_error(&self, pinned: Option<&str>) -> Option<&Failure> {
        match pinned {
            Some(name) => self.rows.iter().find(|row| *row.name == *name)?.tally.last_error.as_ref(),
            None => self.last_error.as_ref(),
        }
    }

    /// Where a new connection goes. `turn` says whose turn it is, where several take them.
    pub(crate) fn choose(&self, pinned: Option<&str>, turn: usize) -> Choice {
        let refuse = |kind, text: String| Choice::Refuse(io::Error::new(kind, text));
        if let Some(failure) = &self.ended {
            return Choice::Refuse(io::Error::new(io::ErrorKind::NotConnected, failure.clone()));
        }
        if self.is_draining() {
            return refuse(io::ErrorKind::NotConnected, "the connection is being closed".to_owned());
        }
        let Some(name) = pinned else {
            return self.of_policy(turn).map_or(Choice::Wait, Choice::Use);
        };
        // Before the manager has begun there are no rows yet.
        match self.rows.iter().find(|row| *row.name == *name) {
            None if self.rows.is_empty() => Choice::Wait,
            None => refuse(io::ErrorKind::NotFound, format!("there is no gateway named {name}")),
            Some(row) if row.state == GatewayState::Refused => {
                let why = row.tally.last_error.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
                refuse(io::ErrorKind::NotConnected, format!("gateway {name} is not tried again{why}"))
            }
            Some(row) => row.up().cloned().map_or(Choice::Wait, Choice::Use),
        }
    }

    fn of_policy(&self, turn: usize) -> Option<Client> {
        let row = match self.policy {
            Policy::Priority | Policy::LowestLatency => self.rows.get(self.active?)?,
            Policy::RoundRobin => {
                let taking: Vec<&Row> =
                    self.rows.iter().filter(|row| row.state == GatewayState::Active && row.up().is_some()).collect();
                *taking.get(turn.checked_rem(taking.len())?)?
            }
        };
        row.up().cloned()
    }

    pub(super) fn status(&self) -> RedundancyStatus {
        let active = self.active.and_then(|index| self.rows.get(index));
        RedundancyStatus {
            state: self.state,
            since: self.since,
            active: active.map(|row| row.name.to_string()),
            gateways: self.rows.iter().map(Row::status).collect(),
            failovers: self.failovers,
            tunnels_wanted: self.tunnels_wanted,
            last_error: self.last_error.clone(),
        }
    }
}

impl Row {
    /// The client, if it is up.
    fn up(&self) -> Option<&Client> {
        self.client.as_ref().filter(|client| client.network().is_some())
    }

    fn status(&self) -> GatewayStatus {
        let client = self.client.as_ref();
        let live = client.map(Client::live).unwrap_or_default();
        let stats = client.map(Client::stats).unwrap_or_default();
        let Tally { attempts, failures, last_error, stats: past, rekeys, failed_rekeys } = self.tally.clone();
        GatewayStatus {
            name: self.name.to_string(),
            state: self.state,
            since: self.since,
            remote: live.remote,
            network: client.and_then(Client::network),
            details: live.details,
            stats: past + stats,
            stack: client.map(Client::stack_counters).unwrap_or_default(),
            probe: self.probe.clone(),
            ailing: self.ailing,
            carries: client.filter(|client| client.network().is_some()).and_then(Client::carries),
            last_error,
            retry_at: self.retry_at,
            attempts,
            failures: failures.iter().map(|(_, count)| count).sum(),
            failures_by_kind: failures,
            outer: live.outer,
            handshake: live.handshake,
            rekeys: rekeys + live.rekeys,
            failed_rekeys: failed_rekeys + live.failed_rekeys,
            connections: stats.connections,
        }
    }
}

impl Tally {
    pub(super) fn fail(&mut self, failure: &Failure) {
        let kind = failure.kind();
        match self.failures.iter_mut().find(|(of, _)| *of == kind) {
            Some((_, count)) => *count += 1,
            None => self.failures.push((kind, 1)),
        }
        self.last_error = Some(failure.clone());
    }

    /// A client is gone: what it counted stays.
    pub(super) fn keep(&mut self, client: &Client) {
        let live = client.live();
        self.stats = self.stats + Stats { connections: 0, udp_sockets: 0, ..client.stats() };
        self.rekeys = self.rekeys + live.rekeys;
        self.failed_rekeys = self.failed_rekeys + live.failed_rekeys;
    }
}
