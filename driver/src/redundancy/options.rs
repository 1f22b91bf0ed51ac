//! What a connection of several gateways is made of.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{any::Any, client::Target, options::Options};

/// One gateway of a connection. Its own remotes (addresses, `remote` lines) are tried in turn inside of it.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Its name, unlike that of any other gateway of the connection.
    pub name: String,
    /// What makes its tunnels.
    pub protocol: Any,
    /// Stands for its configuration: [`super::Redundant::update`] keeps the tunnel of a gateway whose name and fingerprint are the
    /// same as before.
    pub fingerprint: u64,
    /// A probe of its own instead of the connection's.
    pub probe: Option<Probe>,
}

/// Which gateway new connections take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The first in order that is up.
    #[default]
    Priority,
    /// All that are up, in turn. All are kept up.
    RoundRobin,
    /// The one with the shortest round trip, by its probe, or else by how long its handshake took. All are kept up.
    LowestLatency,
}

/// What is asked through a tunnel, to see that it carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ProbeTarget {
    /// A TCP connection is opened, and closed again. One that is refused is an answer, too: it came through the tunnel.
    Tcp(Target),
    /// An ICMP echo request.
    Icmp(IpAddr),
    /// An ICMP echo request to the gateway's own address inside the tunnel. A gateway need not tell that, nor answer: judged only once it
    /// was answered before.
    Gateway,
}

impl ProbeTarget {
    /// What may be wrong where it never answers.
    pub(super) const fn hint(&self) -> &'static str {
        match self {
            Self::Tcp(_) => {
                "check that host and port are right, that a firewall there lets them answer, and that the gateway carries that network"
            }
            Self::Icmp(_) => {
                "check that the address is right, that the host and the firewalls before it let pings pass, and that the gateway \
                 carries that network"
            }
            Self::Gateway => {
                "a gateway need not answer pings: until it does, only the protocol's own liveness notices its death; a probe of a host \
                 behind it notices more"
            }
        }
    }
}

impl fmt::Display for ProbeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(target) => target.fmt(f),
            Self::Icmp(address) => address.fmt(f),
            Self::Gateway => f.write_str("the gateway's own address"),
        }
    }
}

/// A probe through the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Probe {
    /// What is asked.
    pub target: ProbeTarget,
    /// From one question to the next; after one without an answer, the next follows at once.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// So many questions in a row without an answer, and the tunnel counts as dead.
    pub failures: u32,
}

/// Options of a [`super::Redundant`].
#[derive(Clone)]
pub struct RedundancyOptions {
    /// Which gateway new connections take.
    pub policy: Policy,
    /// Whether a second tunnel is kept up, to take over at once. Otherwise it is dialled when it is needed.
    pub hot_standby: bool,
    /// How long a gateway is waited for before the next one is dialled besides it.
    pub stagger: Duration,
    /// What shows that a tunnel carries, besides the protocol's own liveness.
    pub probe: Option<Probe>,
    /// After so long without trouble a better gateway is gone back to; `None` stays with the one in use for as long as it is up. With
    /// [`Policy::LowestLatency`] the other one has to be clearly quicker for so long, too: by more than a fifth, and by more than 3 ms.
    pub fail_back_after: Option<Duration>,
    /// How long connections may stay on a gateway that is left in good order, before they are reset.
    pub drain: Duration,
    /// A cap on simultaneous handshakes, over all connections that share it. Held from the first packet until the tunnel is up
    /// or has failed, but not while a person is asked, nor from the third second on without an answer until one comes.
    pub handshakes: Option<Arc<Semaphore>>,
    /// Options of each tunnel.
    pub tunnel: Options,
}

impl Default for RedundancyOptions {
    fn default() -> Self {
        Self {
            policy: Policy::Priority,
            hot_standby: true,
            stagger: Duration::from_secs(3),
            probe: None,
            fail_back_after: Some(Duration::from_secs(60)),
            drain: Duration::from_secs(30),
            handshakes: None,
            tunnel: Options::default(),
        }
    }
}

impl fmt::Debug for RedundancyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedundancyOptions")
            .field("policy", &self.policy)
            .field("hot_standby", &self.hot_standby)
            .field("stagger", &self.stagger)
            .field("probe", &self.probe)
            .field("fail_back_after", &self.fail_back_after)
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}

impl Probe {
    /// Once a second, three failures.
    #[must_use]
    pub const fn new(target: ProbeTarget) -> Self {
        Self { target, interval: Duration::from_secs(1), timeout: Duration::from_secs(1), failures: 3 }
    }
}
