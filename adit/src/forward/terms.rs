//! What may be another while a forward serves.

use adit_driver::Way;
use tokio::sync::watch;

use crate::plan::ForwardPlan;

/// What holds for whatever comes from now on: a change of it cuts nothing.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(super) way: Way,
    /// Connections and senders of datagrams at the same time.
    pub(super) most: usize,
    /// A PROXY header goes first.
    pub(super) proxy_protocol: bool,
}

/// The newest terms.
pub(crate) type InForce = watch::Receiver<Terms>;

impl Terms {
    pub(crate) fn new(way: Way, plan: &ForwardPlan) -> Self {
        let most = plan.max_connections.unwrap_or(usize::MAX);
        Self { way, most, proxy_protocol: plan.proxy_protocol }
    }

    /// They stay as they are.
    pub(super) fn for_ever(self) -> InForce {
        watch::channel(self).1
    }
}
