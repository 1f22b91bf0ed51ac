//! What a protocol tells the driver: which gateways there are, and how to start a tunnel to one of them.

use std::{
    error::Error,
    net::IpAddr,
    time::{Duration, Instant},
};

use adit_tunnel::{Epoch, Family, Path, Random, Transport, Tunnel};

use crate::error::Failure;

/// Makes tunnels of one protocol and one configuration.
pub trait Protocol: Send + 'static {
    /// The state machine of one attempt.
    type Tunnel: Tunnel + Send + 'static;

    /// The gateways, in the order to try them; at least one.
    fn remotes(&self) -> Vec<Remote>;

    /// When to try again.
    fn retry_policy(&self) -> RetryPolicy;

    /// What the outer sockets are bound to, and their buffers.
    fn socket_options(&self) -> SocketOptions {
        SocketOptions::default()
    }

    /// Starts a tunnel to one address of the gateway with this index of [`Self::remotes`]. Several may be started for one
    /// attempt, of which at most one is ever allowed to authenticate.
    ///
    /// # Errors
    /// When the configuration cannot work; the driver gives up.
    fn start(
        &mut self,
        remote: usize,
        path: Path,
        random: Box<dyn Random>,
        epoch: Epoch,
        now: Instant,
    ) -> Result<Self::Tunnel, Box<dyn Error + Send + Sync>>;

    /// What a person can do about a failure, in the words of this protocol's configuration.
    fn hint(&self, failure: &Failure) -> Option<&'static str> {
        let _ = failure;
        None
    }

    /// The tunnel has ended; what outlives it is taken from it. Not called for tunnels that lost a race.
    fn finished(&mut self, tunnel: Self::Tunnel);
}

/// One gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// UDP or TCP.
    pub transport: Transport,
    /// `None` tries IPv6 and IPv4.
    pub family: Option<Family>,
    /// Longest time until the gateway answers at all; also bounds name resolution and the TCP handshake.
    pub timeout: Duration,
}

/// When to try again, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Wait between attempts during the first rounds over all gateways.
    pub first_wait: Duration,
    /// Longest wait between attempts.
    pub longest_wait: Duration,
    /// Waits begin to double with this round.
    pub doubling_from_round: u32,
    /// Rounds over all gateways before giving up; `None` leaves the first connect to [`crate::Options::first_rounds`] and
    /// never gives up afterwards.
    pub rounds: Option<u32>,
    /// Shuffle the gateways once.
    pub shuffle: bool,
}

/// Outer sockets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Local address; it also decides the family.
    pub address: Option<IpAddr>,
    /// Local port; any if `None`.
    pub port: Option<u16>,
    /// Receive buffer in bytes; `None` asks for enough for fast UDP.
    pub receive_buffer: Option<u32>,
    /// Send buffer in bytes.
    pub send_buffer: Option<u32>,
    /// The driver's own: [`crate::Options::mark`].
    pub mark: Option<u32>,
}
