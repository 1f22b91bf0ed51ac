//! What is to be seen of a connection of several gateways.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use adit_tunnel::{IpNet, NetworkConfig, Prompt, Rekeys, TunnelDetails};
use tokio::sync::broadcast;

use crate::{
    error::{Failure, FailureKind},
    shared::{OuterSocket, Stats},
};

/// How a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionState {
    /// No gateway was up yet.
    Connecting,
    /// There is a gateway to send through.
    Connected,
    /// There was, and there is to be one again.
    Reconnecting,
    /// New connections are refused, live ones may finish.
    Draining,
    /// Ended: no gateway may be tried again.
    Failed,
    /// Ended: we closed it.
    Closed,
}

/// How a gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GatewayState {
    /// Not needed, so not dialled.
    Idle,
    /// Being dialled.
    Connecting,
    /// Up, for when it is needed.
    Standby,
    /// Up, and taking new connections.
    Active,
    /// Up, with connections from before: new ones go elsewhere.
    Draining,
    /// Down, to be tried again at [`GatewayStatus::retry_at`].
    Waiting,
    /// It refused our credentials, or is not who it should be: not tried again by itself.
    Refused,
}

/// A snapshot of a connection.
#[derive(Debug, Clone)]
pub struct RedundancyStatus {
    /// How it is.
    pub state: ConnectionState,
    /// Since when.
    pub since: SystemTime,
    /// The gateway new connections take; one of them if they take several in turn.
    pub active: Option<String>,
    /// All gateways, in the order of the configuration.
    pub gateways: Vec<GatewayStatus>,
    /// How often another gateway had to take over.
    pub failovers: u64,
    /// Tunnels that are to be up at the same time: 2 with [`Policy::Priority`](super::Policy::Priority) and a hot standby, all with other policies, else 1; never
    /// more than there are gateways.
    pub tunnels_wanted: usize,
    /// The latest failure of any gateway.
    pub last_error: Option<Failure>,
}

/// What is left when the gateway in use is lost now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RedundancyLevel {
    /// As many tunnels as are wanted are up, and carry as far as is known.
    Full,
    /// Fewer, but another one could take over at once.
    Degraded,
    /// No other tunnel could take over.
    None,
}

impl RedundancyStatus {
    /// What is left when the gateway in use is lost now; `None` where no more than one tunnel is wanted.
    #[must_use]
    pub fn redundancy(&self) -> Option<RedundancyLevel> {
        let well = self.gateways.iter().filter(|gateway| gateway.network.is_some() && !gateway.ailing).count();
        (self.tunnels_wanted > 1).then_some(match well {
            0 | 1 => RedundancyLevel::None,
            _ if well < self.tunnels_wanted => RedundancyLevel::Degraded,
            _ => RedundancyLevel::Full,
        })
    }
}

/// A snapshot of one gateway.
#[derive(Debug, Clone)]
pub struct GatewayStatus {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: GatewayState,
    /// Since when.
    pub since: SystemTime,
    /// The address its tunnel goes to, while it is up.
    pub remote: Option<SocketAddr>,
    /// What it told about the network behind it, while it is up.
    pub network: Option<Arc<NetworkConfig>>,
    /// What was negotiated, while it is up.
    pub details: Option<TunnelDetails>,
    /// Numbers of the tunnel, over all its lives.
    pub stats: Stats,
    /// Numbers of the TCP/IP stack inside, since it was last dialled from nothing.
    pub stack: adit_netstack::Counters,
    /// What its probe says, if there is one and it is up.
    pub probe: Option<ProbeStatus>,
    /// It is up, but its probe is not answered: any other that is up is preferred to it.
    pub ailing: bool,
    /// The destinations it has agreed to carry, while it is up: those of the traffic selectors of IKEv2. `None` where it has named none
    /// and so nothing is known to be outside.
    pub carries: Option<Arc<[IpNet]>>,
    /// Its latest failure.
    pub last_error: Option<Failure>,
    /// When it is tried again.
    pub retry_at: Option<SystemTime>,
    /// How often it was tried.
    pub attempts: u64,
    /// How often an attempt failed, or a tunnel was lost.
    pub failures: u64,
    /// The same by kind; kinds that did not occur are left out.
    pub failures_by_kind: Vec<(FailureKind, u64)>,
    /// The UDP socket its tunnel goes through, while it is up; none where it goes over TCP.
    pub outer: Option<OuterSocket>,
    /// From the first packet until it was up, of the latest tunnel.
    pub handshake: Option<Duration>,
    /// How often keys were exchanged for new ones, over all tunnels.
    pub rekeys: Rekeys,
    /// How often that came to nothing, over all tunnels.
    pub failed_rekeys: Rekeys,
    /// TCP connections through it now.
    pub connections: usize,
}

/// What a probe says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbeStatus {
    /// How long the latest answer took.
    pub rtt: Option<Duration>,
    /// Questions answered, since the tunnel is up.
    pub answered: u64,
    /// Questions not answered, since the tunnel is up.
    pub failed: u64,
    /// Questions in a row that were not answered, up to now.
    pub unanswered: u32,
    /// Why the latest one was not.
    pub last_failure: Option<String>,
}

impl ProbeStatus {
    /// Questions were asked since the tunnel is up, and none was answered. The target may be wrong, or not let through: such a probe
    /// ends no tunnel.
    #[must_use]
    pub const fn was_never_answered(&self) -> bool {
        self.answered == 0 && self.failed > 0
    }
}

/// Why another gateway takes new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SwitchReason {
    /// None did.
    Up,
    /// The one before is lost.
    Lost,
    /// The probe through the one before is not answered.
    Probe,
    /// A better one has been up without trouble for long enough.
    FailBack,
    /// Another one has had a shorter round trip for long enough.
    LowerLatency,
    /// The configuration changed.
    Updated,
}

/// Something happened.
#[derive(Debug, Clone)]
pub enum RedundancyEvent {
    /// A gateway is tried.
    Connecting {
        /// Its name.
        gateway: String,
        /// `host:port`.
        remote: String,
    },
    /// A gateway's tunnel is up; also when it changed its network.
    Up {
        /// Its name.
        gateway: String,
    },
    /// An attempt failed, or a tunnel was lost.
    Failed {
        /// Its name.
        gateway: String,
        /// Why.
        cause: Failure,
        /// When it is tried again; `None`: not by itself.
        retry_in: Option<Duration>,
    },
    /// A tunnel that was up was ended: an update changed its gateway, or took it out.
    Parted {
        /// Its name.
        gateway: String,
    },
    /// New connections take another gateway from now on.
    Switched {
        /// The one before, if there was one.
        from: Option<String>,
        /// The one now.
        to: String,
        /// Why.
        reason: SwitchReason,
    },
    /// No gateway is up any more.
    Down,
    /// A gateway is up again.
    Restored,
    /// A probe was not answered.
    ProbeFailed {
        /// Through which gateway.
        gateway: String,
        /// Why.
        error: String,
        /// How many in a row.
        failures: u32,
    },
    /// Somebody has removed the device of [`Redundant::attach`](super::Redundant::attach). The tunnels go on without one.
    DeviceLost,
    /// A gateway asks, or says something. The [`crate::Prompter`] gets it, too.
    Prompt {
        /// Its name.
        gateway: String,
        /// What it asks or says.
        prompt: Prompt,
    },
    /// It has ended for good.
    Closed(Failure),
}

/// What happened, in order.
#[derive(Debug)]
pub struct RedundancyEvents {
    pub(super) receiver: broadcast::Receiver<RedundancyEvent>,
}

impl RedundancyEvents {
    /// The next event; `None` when the connection is gone. A reader that falls far behind misses the oldest.
    pub async fn next(&mut self) -> Option<RedundancyEvent> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
