//! What can be chosen, with defaults; and who answers the gateway's questions.

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

use adit_netstack::{MemoryPool, StackConfig};
use adit_tunnel::{Answer, NetworkConfig, Prompt};

use crate::{capture::Capture, resolve::Names};

/// Longer than any wait lasts: what is asked to be longer is cut to this, with which clocks can still be added up.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 86400);

/// The end of a wait that somebody chose, however long.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(FOR_EVER)
}

/// Options of a [`crate::Client`] that do not depend on the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Bytes that the buffers of all connections may take together.
    pub memory: usize,
    /// What this client shares with others, whose bound holds besides `memory`. `None`: nothing.
    pub pool: Option<MemoryPool>,
    /// Bytes to which each of the two buffers of a connection grows when its traffic asks for it, while less than half of `memory`
    /// is taken.
    pub buffer: usize,
    /// Bytes of the receive buffer of a connection at first, and after ten seconds of silence; the send buffer has half as many.
    pub small_buffer: usize,
    /// Longest time until a host behind the tunnel answers a connect.
    pub connect_timeout: Duration,
    /// Silence after which a connection inside the tunnel is probed; `None` never probes.
    pub keepalive: Option<Duration>,
    /// Most connections, and most UDP sockets, at the same time.
    pub max_connections: usize,
    /// How long after the last datagram to a host its answers are still taken.
    pub udp_idle: Duration,
    /// How long [`crate::Client::dial`] waits for a tunnel that is down.
    pub wait_for_tunnel: Duration,
    /// Rounds over all gateways before the first connect gives up, where the profile sets no number; `None` never does.
    pub first_rounds: Option<u32>,
    /// How long an address of a gateway, or of a host behind it that is dialled by name, is tried before the next one joins in
    /// (RFC 8305 §5: 250 ms).
    pub stagger: Duration,
    /// How long a gateway is asked on over UDP when ICMP errors say of all its addresses that nobody is there: long enough
    /// for one that restarts, short enough for a person who mistyped its port. The gateway's own
    /// [`crate::Remote::timeout`] may end it sooner.
    pub refused_patience: Duration,
    /// How often our own address towards the gateway is looked at, so that the tunnel follows when it changes; `None` never
    /// does. UDP only, and not where the configuration binds the socket to an address.
    pub address_check: Option<Duration>,
    /// Marks the tunnel's own datagrams for the kernel's routing rules (`SO_MARK`, Linux), so that they do not go into a device that
    /// takes everything; it needs CAP_NET_ADMIN. See [`crate::system`].
    pub mark: Option<u32>,
    /// How long [`crate::Client::close`] waits for the farewells to be sent.
    pub close_timeout: Duration,
    /// Takes copies of the packets inside of the tunnel.
    pub capture: Option<Capture>,
    /// Where it is remembered what the names of gateways meant, for when nobody can be asked about them; `None` remembers for as long as
    /// a client lives. Those who share one need it to be asked about once only, and may keep it for the next process.
    pub names: Option<Names>,
}

impl Default for Options {
    fn default() -> Self {
        let stack = StackConfig::default();
        Self {
            memory: stack.memory,
            pool: stack.pool,
            buffer: stack.buffer,
            small_buffer: stack.small_buffer,
            connect_timeout: stack.connect_timeout,
            keepalive: stack.keepalive,
            max_connections: stack.max_connections,
            udp_idle: stack.udp_idle,
            wait_for_tunnel: Duration::from_secs(30),
            first_rounds: Some(1),
            stagger: Duration::from_millis(250),
            refused_patience: Duration::from_secs(10),
            address_check: Some(Duration::from_secs(3)),
            mark: None,
            close_timeout: Duration::from_secs(5),
            capture: None,
            names: None,
        }
    }
}

impl Options {
    /// The stack of a tunnel whose gateway gave us this network.
    pub(crate) fn stack(&self, network: &NetworkConfig) -> StackConfig {
        StackConfig {
            addresses: network.addresses.iter().map(adit_tunnel::IpNet::address).collect(),
            mtu: network.mtu.into(),
            tcp_mtu: network.tcp_mtu.into(),
            memory: self.memory,
            pool: self.pool.clone(),
            buffer: self.buffer,
            small_buffer: self.small_buffer,
            connect_timeout: self.connect_timeout.min(FOR_EVER),
            keepalive: self.keepalive.map(|interval| interval.min(FOR_EVER)),
            max_connections: self.max_connections,
            udp_idle: self.udp_idle.min(FOR_EVER),
            ..StackConfig::default()
        }
    }
}

/// The answer to a prompt, some time later.
pub type PromptFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Shows the gateway's questions to a person.
pub trait Prompter: Send + Sync + 'static {
    /// Shows the prompt, and asks where it is a [`Prompt::Challenge`]; the result of other prompts is not looked at.
    /// The future is dropped when the question needs no answer any more: because a newer one has come, or the tunnel has ended.
    fn prompt(&self, prompt: Prompt) -> PromptFuture;
}

/// Nobody is there to be asked: challenges are cancelled, messages go to the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPrompts;

impl Prompter for NoPrompts {
    fn prompt(&self, prompt: Prompt) -> PromptFuture {
        match &prompt {
            Prompt::Challenge { text, .. } => tracing::warn!("the gateway asks, and nobody is there to answer: {text}"),
            Prompt::OpenUrl { url } => tracing::warn!("the gateway wants this page to be opened: {url}"),
            Prompt::Message { text } => tracing::info!("the gateway says: {text}"),
        }
        Box::pin(std::future::ready(Answer::Cancelled))
    }
}
