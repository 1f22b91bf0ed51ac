//! What a stack is made of: addresses, sizes and bounds.

use std::{net::IpAddr, time::Duration};

use adit_tunnel::IpNet;

use crate::{MemoryPool, packet::is_unicast};

/// The configuration of a [`Stack`](crate::Stack). [`Default`] has no address: fill in what the tunnel's peer assigned.
///
/// Values that cannot work are corrected rather than refused: an MTU below the minimum of its family is raised to it
/// (68 bytes would be legal for IPv4, but 576 is what every host must accept, RFC 791 §3.1; 1280 for IPv6, RFC 8200
/// §5), buffers are at least 4 KiB and at most 1 GiB, keep-alive intervals at least a second; addresses that are not unicast
/// are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackConfig {
    /// Our addresses inside the tunnel. The first of each family is the source of new connections.
    pub addresses: Vec<IpAddr>,
    /// The largest inner packet in bytes, IP header included. UDP datagrams that need more are refused.
    pub mtu: usize,
    /// The largest inner packet that carries TCP, in bytes, IP header included: what `mssfix` asks for. At most `mtu`.
    pub tcp_mtu: usize,
    /// How many bytes all buffers together may take.
    pub memory: usize,
    /// What this stack shares with others, whose bound holds besides `memory`. `None`: nothing.
    pub pool: Option<MemoryPool>,
    /// To how many bytes each of the two buffers of a connection grows when its traffic asks for it, while less than half of
    /// `memory` is taken.
    pub buffer: usize,
    /// How many bytes the receive buffer of a connection has at first, and after ten seconds of silence; the send buffer has half
    /// as many. Where it is as large as `buffer`, neither grows, and both have that size.
    pub small_buffer: usize,
    /// How long a SYN may stay unanswered: ours by the remote, the remote's by [`Stack::accept`](crate::Stack::accept).
    pub connect_timeout: Duration,
    /// After how much silence a keep-alive probe is sent; the connection ends with
    /// [`CloseReason::TimedOut`](crate::CloseReason) after four such intervals without an answer. `None`: no probes.
    pub keepalive: Option<Duration>,
    /// How many TCP connections, and as many UDP sockets and associations, may exist. With the default sizes `memory` is enough for
    /// twice as many as long as they are small.
    pub max_connections: usize,
    /// How long after the last datagram sent to a remote its answers (and ICMP errors about it) are still taken.
    /// An association that began at the other end is over after so long without a datagram in either direction.
    pub udp_idle: Duration,
    /// Whether connections and associations that begin at the other end are taken.
    pub accept: Accept,
    /// With [`Accept::Any`]: the addresses behind the other end of the tunnel. Packets from any other address are dropped,
    /// and connections to any other refused. Mind that the networks of a peer's addresses are those it was given with
    /// them: [`IpNet::host`] is what one peer may send from.
    pub peers: Vec<IpNet>,
    /// How many connections may wait for [`Stack::accept`](crate::Stack::accept) at a time; SYNs beyond are dropped, to be
    /// repeated. As many associations may wait for their [`StackEvent::UdpIncoming`](crate::StackEvent) to be fetched.
    pub max_incoming: usize,
}

/// What to make of connections and associations that begin at the other end.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Accept {
    /// They are strangers, and refused.
    #[default]
    Nothing,
    /// Any address and port is ours to answer for, as a gateway does that relays them: each connection is announced by
    /// [`StackEvent::Incoming`](crate::StackEvent), each association by [`StackEvent::UdpIncoming`](crate::StackEvent). Echo
    /// requests are answered for [`StackConfig::addresses`] alone: nobody knows whether the other hosts live.
    Any,
}

impl Default for StackConfig {
    /// 512 KiB a direction give about 200 Mbit/s at 20 ms; 128 MiB are 128 such connections, the other half 5,000 small ones.
    /// 16 KiB are what a server sends before it hears of us again (RFC 6928).
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            mtu: 1500,
            tcp_mtu: 1500,
            memory: 256 << 20,
            pool: None,
            buffer: 512 << 10,
            small_buffer: 16 << 10,
            connect_timeout: Duration::from_secs(30),
            keepalive: Some(Duration::from_secs(60)),
            max_connections: 4096,
            udp_idle: Duration::from_secs(180),
            accept: Accept::Nothing,
            peers: Vec::new(),
            max_incoming: 1024,
        }
    }
}

impl StackConfig {
    /// The same with every value inside the bounds the stack relies on.
    pub(crate) fn corrected(mut self) -> Self {
        // A connection cannot come from any other address, whatever the tunnel's peer assigned.
        self.addresses.retain(|address| is_unicast(*address));
        self.mtu = self.mtu.clamp(MIN_MTU_V4, MAX_MTU);
        self.tcp_mtu = self.tcp_mtu.clamp(MIN_MTU_V4, self.mtu);
        self.keepalive = self.keepalive.map(|interval| interval.max(MIN_KEEPALIVE));
        self.buffer = self.buffer.clamp(MIN_BUFFER, MAX_BUFFER);
        self.small_buffer = self.small_buffer.clamp(MIN_BUFFER, self.buffer);
        self
    }

    /// Whether a host with this address may lie behind the other end.
    pub(crate) fn is_peer(&self, address: IpAddr) -> bool {
        match self.accept {
            Accept::Nothing => is_unicast(address),
            Accept::Any => is_answerable(address) && self.peers.iter().any(|net| net.contains(address)),
        }
    }

    /// Whether packets to this address are for us.
    pub(crate) fn is_ours(&self, address: IpAddr) -> bool {
        match self.accept {
            Accept::Nothing => self.addresses.contains(&address),
            Accept::Any => is_answerable(address),
        }
    }

    /// The largest packet towards an address of that family.
    pub(crate) fn mtu_for(&self, address: IpAddr) -> usize {
        self.mtu.max(min_mtu(address))
    }

    /// The largest packet with TCP towards an address of that family.
    pub(crate) fn tcp_mtu_for(&self, address: IpAddr) -> usize {
        self.tcp_mtu.max(min_mtu(address))
    }
}

/// IPv4 addresses in IPv6 packets (`::ffff:127.0.0.1`) belong on no wire (RFC 4942 §2.2): whoever guards the way out by its IPv4
/// networks would not see them.
fn is_answerable(address: IpAddr) -> bool {
    is_unicast(address) && address == address.to_canonical()
}

const fn min_mtu(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => MIN_MTU_V4,
        IpAddr::V6(_) => MIN_MTU_V6,
    }
}

/// What every IPv4 host accepts (RFC 791 §3.1).
pub(crate) const MIN_MTU_V4: usize = 576;
/// The smallest link IPv6 runs on (RFC 8200 §5).
pub(crate) const MIN_MTU_V6: usize = 1280;
/// The largest value of IPv4's total length.
pub(crate) const MAX_MTU: usize = 65535;
/// A probe needs time to be answered; our own judgement.
const MIN_KEEPALIVE: Duration = Duration::from_secs(1);
/// Below this a window is smaller than a few segments and TCP crawls; our own judgement.
const MIN_BUFFER: usize = 4 << 10;
/// The largest window of RFC 7323 §2.3.
const MAX_BUFFER: usize = 1 << 30;
