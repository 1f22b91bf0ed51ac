//! The cases, by name.

mod auth;
mod control;
mod data;
mod faults;
mod forwards;
mod ikev2;
mod looking;
mod matrix;
mod metrics;
mod probe;
mod probed;
mod redundancy;
mod renegotiation;
mod serve;
mod servers;
mod speed;
mod times;
mod tun;

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;

use crate::{needs::Need, rig::Rig};

/// What a case does.
type Script = dyn Fn(&Rig) -> Result<()> + Send + Sync;

/// A case: one behaviour with a real peer.
pub(crate) struct Case {
    pub(crate) name: String,
    /// About how long it takes.
    pub(crate) seconds: u64,
    /// It waits most of its time, so that others may well run beside it.
    pub(crate) paced: bool,
    /// Rows of `docs/states.md` that it shows.
    pub(crate) rows: &'static str,
    needs: Vec<Need>,
    pub(crate) run: Box<Script>,
}

impl Case {
    fn new(name: impl Into<String>, run: impl Fn(&Rig) -> Result<()> + Send + Sync + 'static) -> Self {
        Self { name: name.into(), seconds: 2, paced: false, rows: "", needs: vec![Need::Rig], run: Box::new(run) }
    }

    /// Takes about so long.
    fn takes(mut self, seconds: u64) -> Self {
        self.seconds = seconds;
        self
    }

    /// Waits most of its time.
    fn paced(mut self) -> Self {
        self.paced = true;
        self
    }

    /// Shows these rows of `docs/states.md`.
    fn rows(mut self, rows: &'static str) -> Self {
        self.rows = rows;
        self
    }

    fn needs(mut self, need: Need) -> Self {
        self.needs.push(need);
        self
    }

    pub(crate) fn has_need(&self, need: Need) -> bool {
        self.needs.contains(&need)
    }

    /// Why the case cannot run here, if it cannot.
    pub(crate) fn blocked(&self) -> Option<String> {
        self.needs.iter().find_map(|need| need.missing())
    }

    /// The time after which it has failed: generous, because other cases and builds share the machine.
    pub(crate) fn limit(&self) -> Duration {
        Duration::from_secs(60 + 3 * self.seconds)
    }
}

/// What the peers of this rig cannot do, and how it is shown instead.
pub(crate) const NOT_WITH_THESE_PEERS: [(&str, &str); 1] = [(
    "ikev2 extended sequence numbers",
    "strongSwan with kernel-libipsec refuses them (see ikev2_esn_refused); shown by the known answers of `ikev2`",
)];

/// Every case of `.ci/run`.
pub(crate) fn all() -> Vec<Case> {
    let groups = [
        renegotiation::cases(),
        servers::cases(),
        matrix::cases(),
        data::cases(),
        control::cases(),
        auth::cases(),
        faults::cases(),
        forwards::cases(),
        times::cases(),
        probe::cases(),
        looking::cases(),
        ikev2::cases(),
        serve::cases(),
        metrics::cases(),
        redundancy::cases(),
        tun::cases(),
    ];
    let cases: Vec<Case> = groups.into_iter().flatten().collect();
    debug_assert_eq!(cases.iter().map(|case| &case.name).collect::<BTreeSet<_>>().len(), cases.len());
    cases
}

/// The long suites, which run on request only.
pub(crate) fn soak() -> Vec<Case> {
    [renegotiation::soak(), times::soak(), faults::soak(), ikev2::soak(), redundancy::soak()]
        .into_iter()
        .flatten()
        .collect()
}

/// What measures speed. Each has the machine to itself, with the program as it is released.
pub(crate) fn speed() -> Vec<Case> {
    speed::cases()
}
