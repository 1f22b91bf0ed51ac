//! Why something was refused, and why a connection ended.

use thiserror::Error;

/// Why a connection or a UDP socket could not be made. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The tunnel has no address of the remote's family.
    #[error("the tunnel has no address of that family")]
    NoAddressOfFamily,
    /// The remote's address or port cannot be connected to: unspecified, multicast, broadcast, port 0, or (with
    /// [`Accept::Any`](crate::Accept)) not among the peers.
    #[error("that address and port cannot be connected to")]
    Unaddressable,
    /// The memory budget is used up, see [`StackConfig::memory`](crate::StackConfig::memory).
    #[error("the memory for connections is used up")]
    NoMemory,
    /// What all stacks share is used up, see [`StackConfig::pool`](crate::StackConfig::pool).
    #[error("the memory for the connections of all tunnels is used up")]
    PoolEmpty,
    /// [`StackConfig::max_connections`](crate::StackConfig::max_connections) exist.
    #[error("too many connections")]
    TooManyConnections,
    /// That port is taken.
    #[error("that port is in use")]
    PortInUse,
    /// Every ephemeral port towards that remote is taken.
    #[error("no free local port towards that remote")]
    NoPort,
}

/// Why a connection ended, and what its methods return once it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The remote answered our SYN with a RST: nobody listens there.
    #[error("connection refused")]
    Refused,
    /// The remote sent a RST.
    #[error("connection reset by the remote")]
    Reset,
    /// The SYN, data or keep-alive probes stayed unanswered. Also: an incoming connection was neither accepted nor refused
    /// in time.
    #[error("connection timed out")]
    TimedOut,
    /// An ICMP error answered our SYN.
    #[error("{0}")]
    Unreachable(Unreachable),
    /// The tunnel came back without the connection's local address.
    #[error("the tunnel lost the connection's local address")]
    LocalAddressGone,
    /// The tunnel it went through is lost: [`Stack::sever`](crate::Stack::sever).
    #[error("the tunnel of the connection is lost")]
    TunnelLost,
    /// We ended it with a RST: [`Stack::abort`](crate::Stack::abort).
    #[error("connection aborted")]
    Aborted,
    /// The memory budget was used up when the connection was to be accepted; the remote got a RST.
    #[error("the memory for connections is used up")]
    NoMemory,
    /// Both directions ended with a FIN; also: the connection is not known (any more), or was shut down for sending.
    #[error("connection finished")]
    Finished,
}

/// What [`Stack::send`](crate::Stack::send) and [`Stack::receive`](crate::Stack::receive) return when a connection has ended.
pub type ConnectionError = CloseReason;

/// What an ICMP or ICMPv6 error said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Unreachable {
    /// No route to the network: ICMP type 3 code 0, 5, 6, 8, 11; ICMPv6 type 1 code 0, 2, 5, 6.
    #[error("network unreachable")]
    Network,
    /// The host does not answer its router: ICMP type 3 code 1, 7, 12; ICMPv6 type 1 code 3.
    #[error("host unreachable")]
    Host,
    /// The host does not speak the protocol: ICMP type 3 code 2; ICMPv6 type 4 code 1.
    #[error("protocol unreachable")]
    Protocol,
    /// Nobody listens on the port: ICMP type 3 code 3; ICMPv6 type 1 code 4.
    #[error("port unreachable")]
    Port,
    /// A firewall forbids it: ICMP type 3 code 9, 10, 13; ICMPv6 type 1 code 1.
    #[error("administratively prohibited")]
    Prohibited,
    /// The packet went round in circles: ICMP type 11 code 0, ICMPv6 type 3 code 0.
    #[error("hop limit exceeded on the way")]
    HopLimit,
}

/// Why a datagram was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum UdpError {
    /// It does not fit into one packet of the tunnel's MTU; `limit` is the largest payload in bytes that does.
    #[error("the datagram is larger than the tunnel's packets: at most {limit} bytes")]
    TooLarge {
        /// The largest payload in bytes towards that remote.
        limit: usize,
    },
    /// The queue of the socket is full: this datagram was dropped. Later ones may pass; UDP is allowed to lose.
    #[error("the send queue is full, the datagram was dropped")]
    QueueFull,
    /// The memory budget is used up: this datagram was dropped.
    #[error("the memory budget is used up, the datagram was dropped")]
    NoMemory,
    /// The tunnel has no address of the remote's family.
    #[error("the tunnel has no address of that family")]
    NoAddressOfFamily,
    /// The remote's address or port cannot be sent to: unspecified, multicast, broadcast, port 0, or not that of the
    /// association.
    #[error("that address and port cannot be sent to")]
    Unaddressable,
    /// The socket or association is not known (any more).
    #[error("the socket is closed")]
    Closed,
}
