//! The snapshot; its JSON is what `adit status --json` prints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// A process, with all its connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProcessStatus {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) since: Timestamp,
    /// Told to end: it takes no new connections any more.
    pub(crate) stopping: bool,
    /// Tasks of the runtime that have not ended.
    pub(crate) tasks: usize,
    pub(crate) memory: Memory,
    /// Why what its files say now is not in force: it was refused, and what they said before is.
    pub(crate) configuration_error: Option<LastError>,
    /// When what is in force was read: at the start, or at the latest reload that was done.
    pub(crate) configuration_since: Timestamp,
    /// By name.
    pub(crate) connections: Vec<ConnectionStatus>,
}

/// What the buffers of the connections through all tunnels take, and may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) used_bytes: u64,
    /// The most; what comes then is refused.
    pub(crate) limit_bytes: u64,
}

/// States of a connection; what moves it from one to another is in `docs/states.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Nobody has told it to connect, or somebody has told it to disconnect.
    Idle,
    Connecting,
    Connected,
    /// It was connected, and is being brought back.
    Reconnecting,
    /// No new connections are taken; those that live may go on for a while.
    Draining,
    /// The farewells are being sent.
    Disconnecting,
    /// It is not tried again by itself.
    Failed,
}

impl State {
    pub(crate) const ALL: [Self; 7] = [
        Self::Idle,
        Self::Connecting,
        Self::Connected,
        Self::Reconnecting,
        Self::Draining,
        Self::Disconnecting,
        Self::Failed,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Draining => "draining",
            Self::Disconnecting => "disconnecting",
            Self::Failed => "failed",
        }
    }
}

/// States of one gateway of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GatewayState {
    Idle,
    Connecting,
    /// Its tunnel is up, and not in use.
    Standby,
    Active,
    /// It is left: live connections go on, new ones go elsewhere.
    Draining,
    /// It failed, and is tried again at `retry_at`.
    Waiting,
    /// It refused our credentials, or could not prove who it is: never tried again by itself.
    Refused,
}

impl GatewayState {
    pub(crate) const ALL: [Self; 7] =
        [Self::Idle, Self::Connecting, Self::Standby, Self::Active, Self::Draining, Self::Waiting, Self::Refused];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Standby => "standby",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
        }
    }

    /// Whether packets can travel through its tunnel.
    pub(crate) const fn is_up(self) -> bool {
        matches!(self, Self::Standby | Self::Active | Self::Draining)
    }
}

/// States of the device of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DeviceState {
    /// It is being made.
    Opening,
    /// It is there, and nothing is routed through it.
    Down,
    /// Addresses, routes and DNS are those of the gateway in use.
    Up,
    /// There is no tunnel, and what belongs in one goes nowhere (`fail_closed`).
    Blocked,
}

impl DeviceState {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Down => "down",
            Self::Up => "up",
            Self::Blocked => "blocked",
        }
    }
}

/// The TUN device of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceStatus {
    /// What the kernel calls it.
    pub(crate) name: String,
    pub(crate) state: DeviceState,
    pub(crate) since: Timestamp,
    pub(crate) addresses: Vec<String>,
}

/// What went wrong last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastError {
    pub(crate) at: Timestamp,
    pub(crate) text: String,
    pub(crate) hint: Option<String>,
    /// In one word, such as `unreachable`.
    pub(crate) code: String,
}

/// A connection: an environment of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ConnectionStatus {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) autostart: bool,
    pub(crate) state: State,
    pub(crate) since: Timestamp,
    /// When anything was last changed or told to it.
    pub(crate) latest_update: Timestamp,
    pub(crate) policy: String,
    /// The gateway in use.
    pub(crate) active: Option<String>,
    /// Gateways that could take over at once.
    pub(crate) standby: Vec<String>,
    pub(crate) gateways: Vec<GatewayStatus>,
    pub(crate) forwards: Vec<ForwardStatus>,
    /// Its TUN device, from the wish for one until nothing is left of it.
    #[serde(default)]
    pub(crate) device: Option<DeviceStatus>,
    /// What is left when the gateway in use is lost now; none where the configuration wants no second tunnel, or nobody is connected.
    #[serde(default)]
    pub(crate) redundancy: Option<Redundancy>,
    /// Why it is not full.
    #[serde(default)]
    pub(crate) redundancy_reason: Option<String>,
    pub(crate) failovers: u64,
    pub(crate) last_error: Option<LastError>,
}

/// What is left when the gateway in use is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Redundancy {
    /// Every tunnel that is wanted.
    Full,
    /// Some of them.
    Degraded,
    /// Nothing could take over at once.
    None,
}

impl Redundancy {
    pub(crate) const ALL: [Self; 3] = [Self::Full, Self::Degraded, Self::None];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Degraded => "degraded",
            Self::None => "none",
        }
    }
}

/// What is known by the probe through a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProbeStatus {
    pub(crate) state: ProbeState,
    /// Questions answered since the tunnel is up.
    pub(crate) answered: u64,
    /// Those that were not.
    pub(crate) failed: u64,
    /// Why the latest of them was not.
    pub(crate) last_failure: Option<String>,
}

/// How a probe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProbeState {
    /// Nothing was answered yet, or found to be unanswered.
    Pending,
    /// The latest question was.
    Answered,
    /// The latest question was not, others before were.
    Unanswered,
    /// No question was, since the tunnel is up.
    NeverAnswered,
}

/// One gateway of a connection. Numbers are since its tunnel was first started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct GatewayStatus {
    pub(crate) name: String,
    pub(crate) protocol: String,
    /// `host:port` as configured.
    pub(crate) server: String,
    pub(crate) state: GatewayState,
    pub(crate) since: Timestamp,
    /// The address it has now.
    pub(crate) remote: Option<String>,
    /// Ours, inside.
    pub(crate) addresses: Vec<String>,
    pub(crate) dns: Vec<String>,
    pub(crate) mtu: Option<u16>,
    pub(crate) suite: Option<String>,
    pub(crate) peer_identity: Option<String>,
    pub(crate) rekey_due: Option<Timestamp>,
    pub(crate) rekeys: Rekeys,
    pub(crate) failed_rekeys: Rekeys,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_packets: u64,
    pub(crate) sent_packets: u64,
    /// By reason.
    pub(crate) drops: BTreeMap<String, u64>,
    /// TCP segments inside that were sent again.
    pub(crate) retransmits: u64,
    /// The UDP socket its tunnel goes through; none where it goes over TCP.
    pub(crate) udp_socket: Option<UdpSocket>,
    pub(crate) probe_rtt_ms: Option<f64>,
    /// While the tunnel is up and has a probe.
    #[serde(default)]
    pub(crate) probe: Option<ProbeStatus>,
    /// The only destinations the gateway has agreed to carry, if it has named them.
    #[serde(default)]
    pub(crate) carries: Option<Vec<String>>,
    /// From the first packet to a tunnel that is up.
    pub(crate) handshake_ms: Option<f64>,
    pub(crate) retry_at: Option<Timestamp>,
    pub(crate) attempts: u64,
    pub(crate) failures: u64,
    /// The failures by their code.
    pub(crate) failures_by_code: BTreeMap<String, u64>,
    /// Connections inside that are open.
    pub(crate) connections: usize,
    pub(crate) last_error: Option<LastError>,
}

/// A UDP socket to a gateway, as the system has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UdpSocket {
    /// Whether the system parts what is sent into datagrams (GSO).
    pub(crate) gso: bool,
    /// Bytes that may wait to be received.
    pub(crate) receive_buffer: Option<usize>,
}

/// How often keys were renewed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rekeys {
    pub(crate) data: u64,
    pub(crate) control: u64,
}

/// One way in or out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ForwardStatus {
    pub(crate) name: String,
    /// `local`, `reverse`, `socks`, `http_proxy`, `stdio`.
    pub(crate) kind: String,
    /// Whether it listens now.
    pub(crate) listening: bool,
    pub(crate) listen: String,
    pub(crate) to: Option<String>,
    /// The only gateway it uses.
    pub(crate) gateway: Option<String>,
    pub(crate) open: u64,
    pub(crate) total: u64,
    /// Over the limit, or while there was no tunnel.
    pub(crate) refused: u64,
    /// The target did not answer, or refused.
    pub(crate) failed: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) last_error: Option<String>,
}

/// Whether what was asked about can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    /// What is missing; a line each.
    pub(crate) reasons: Vec<String>,
}

impl ConnectionStatus {
    /// What keeps it from being connected. Of one that ends in good order, what went wrong before is no reason; nor is it of one that
    /// was told to connect since then.
    pub(super) fn trouble(&self) -> Option<&LastError> {
        self.last_error.as_ref().filter(|error| match self.state {
            State::Connecting => error.at >= self.since,
            // These states begin with the error, which is thus a moment older.
            State::Reconnecting | State::Failed => true,
            State::Idle | State::Connected | State::Draining | State::Disconnecting => false,
        })
    }

    /// Why it cannot be used now.
    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.state != State::Connected {
            let why = self.trouble().map_or(String::new(), |error| format!(": {}", error.text));
            missing.push(format!("connection `{}` is {} since {}{why}", self.name, self.state.name(), self.since));
        }
        if let Some(device) = self.device.as_ref().filter(|device| device.state != DeviceState::Up)
            && self.state == State::Connected
        {
            missing.push(format!("device `{}` of `{}` is {}", device.name, self.name, device.state.name()));
        }
        missing.extend(self.forwards.iter().filter_map(|forward| self.missing_of(forward)));
        missing
    }

    /// Why this forward cannot be used now, apart from the connection's own state.
    fn missing_of(&self, forward: &ForwardStatus) -> Option<String> {
        if self.state == State::Connected && !forward.listening {
            let why = forward.last_error.as_deref().unwrap_or("it does not listen");
            return Some(format!("forward `{}` of `{}`: {why}", forward.name, self.name));
        }
        let pinned = forward.gateway.as_ref()?;
        let up = self.gateways.iter().any(|gateway| gateway.name == *pinned && gateway.state.is_up());
        let lacks = || format!("forward `{}` of `{}`: its gateway `{pinned}` is down", forward.name, self.name);
        (self.state == State::Connected && !up).then(lacks)
    }
}

impl ProcessStatus {
    /// Whether everything that is to be connected is, or the connection or the forward that was asked about. A forward is
    /// named alone, or as `connection/forward`.
    pub(crate) fn readiness(&self, connection: Option<&str>, forward: Option<&str>) -> Readiness {
        let mut reasons = Vec::new();
        if self.stopping {
            reasons.push("the process is stopping".to_owned());
        }
        let (connection, forward) = match (connection, forward.and_then(|name| name.split_once('/'))) {
            // Names of forwards may be addresses or paths: only what names a connection is taken as one.
            (None, Some((left, right))) if self.connections.iter().any(|known| known.name == left) => {
                (Some(left), Some(right))
            }
            (Some(name), Some((left, right))) if name == left => (Some(left), Some(right)),
            (connection, _) => (connection, forward),
        };
        let asked = self.connections.iter().filter(|known| connection.is_none_or(|name| known.name == name));
        match forward {
            Some(name) => {
                let mut found = false;
                for known in asked {
                    for forward in known.forwards.iter().filter(|forward| forward.name == name) {
                        found = true;
                        if known.state == State::Connected {
                            reasons.extend(known.missing_of(forward));
                        } else {
                            reasons.extend(known.missing().into_iter().take(1));
                        }
                    }
                }
                if !found {
                    reasons.push(format!("there is no forward `{name}`"));
                }
            }
            None => {
                let mut found = connection.is_none();
                for known in asked {
                    found = true;
                    if known.autostart || connection.is_some() {
                        reasons.extend(known.missing());
                    }
                }
                if let (false, Some(name)) = (found, connection) {
                    reasons.push(format!("there is no connection `{name}`"));
                }
            }
        }
        Readiness { ready: reasons.is_empty(), reasons }
    }
}
