//! The shape every VPN tunnel of this project has: datagrams, time and answers in; datagrams, events and a deadline out.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use bytes::Bytes;

use crate::{
    closed::Closed,
    data::{FlowId, KeyTag, Opener, Sealer},
    details::TunnelDetails,
    network::{IpNet, NetworkConfig},
    secret::Secret,
};

/// How datagrams travel between the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram of the tunnel is one UDP datagram.
    Udp,
    /// Datagrams follow each other on a byte stream, each behind its length (see [`crate::stream`]).
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// Which family of outer addresses a gateway is reached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Family {
    /// Whether the address is of this family.
    #[must_use]
    pub const fn matches(self, address: IpAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// Where a datagram came from, or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// The outer transport.
    pub transport: Transport,
    /// Our own address, if the driver knows it.
    pub local: Option<SocketAddr>,
    /// The peer's address.
    pub remote: SocketAddr,
}

/// What kind of datagram this is, judged by its path and first bytes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// For [`Tunnel::handle_datagram`].
    Control,
    /// For the opener with this tag.
    Data(KeyTag),
    /// Not of this protocol; to be counted and dropped.
    Ignore,
}

/// An outer datagram to send. On a stream the driver writes its length before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where it goes.
    pub path: Path,
    /// The bytes of one datagram.
    pub datagram: Bytes,
}

/// A change of the keys of the data plane. Changes are applied in order.
#[derive(Debug)]
pub enum KeyChange<S, O> {
    /// From now on, datagrams classified [`Class::Data`] with this tag go to this opener.
    AddOpener {
        /// The tag; an opener that already has it is replaced.
        tag: KeyTag,
        /// The flow its packets belong to.
        flow: FlowId,
        /// The opener, boxed because it is large and moves through queues.
        opener: Box<O>,
    },
    /// From now on, packets of this flow are sealed by this sealer.
    SetSealer {
        /// The flow.
        flow: FlowId,
        /// Destinations the flow carries; empty means everything.
        selectors: Vec<IpNet>,
        /// The sealer.
        sealer: Box<S>,
    },
    /// The opener with this tag is to be dropped.
    RemoveOpener {
        /// The tag.
        tag: KeyTag,
    },
    /// The flow has no sealer any more; packets for it are dropped.
    RemoveFlow {
        /// The flow.
        flow: FlowId,
    },
}

/// What a tunnel tells its owner.
#[derive(Debug)]
pub enum Event<S, O> {
    /// The tunnel carries traffic; again whenever the peer changed the configuration.
    Up(NetworkConfig),
    /// The data plane's keys change.
    Keys(KeyChange<S, O>),
    /// Seal this with the current sealer of the flow and send it at once, also while closing. Not an IP packet.
    Inject {
        /// The flow.
        flow: FlowId,
        /// The content, such as a keepalive.
        packet: Bytes,
    },
    /// A person is asked something; the reply goes to [`Tunnel::handle_answer`].
    Prompt(Prompt),
    /// Datagrams of the data plane go here from now on.
    Path(Path),
    /// The tunnel has ended. Nothing follows.
    Closed(Closed),
}

/// A question, or a request to act, from the peer to the person using the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// A text is to be shown and one line read back, such as a one-time code.
    Challenge {
        /// The text, free of control characters.
        text: String,
        /// Whether the typed answer may be visible.
        echo: bool,
    },
    /// A web page is to be opened to go on; no answer is expected.
    OpenUrl {
        /// The address, free of control characters.
        url: String,
    },
    /// A text is to be shown; no answer is expected.
    Message {
        /// The text, free of control characters.
        text: String,
    },
}

/// The reply to a [`Prompt`].
#[derive(Debug, Clone)]
pub enum Answer {
    /// What the person typed, without the end of the line.
    Response(Secret),
    /// Nobody answers; the tunnel ends.
    Cancelled,
}

/// One end of one VPN tunnel as a state machine without I/O.
///
/// Time never runs backwards. After one or more inputs (`handle_*`, `close`), drain [`Tunnel::poll_event`], then
/// [`Tunnel::poll_transmit`], then read [`Tunnel::poll_timeout`]. Inputs return no error: bad datagrams are counted, traced
/// and dropped; a tunnel ends exactly once, with [`Event::Closed`], and is inert afterwards.
pub trait Tunnel {
    /// Seals packets into datagrams.
    type Sealer: Sealer;
    /// Opens datagrams into packets.
    type Opener: Opener;

    /// Sorts a datagram by the protocol, its path and first bytes; nothing that changes, no crypto.
    fn classify(&self, path: &Path, datagram: &[u8]) -> Class;

    /// A datagram of class [`Class::Control`]. It may be changed in place.
    fn handle_datagram(&mut self, now: Instant, path: &Path, datagram: &mut [u8]);

    /// A [`crate::Content::Message`] of an opener, such as OpenVPN's ping or exit notice.
    fn handle_message(&mut self, now: Instant, message: &[u8]);

    /// An authenticated, newest data packet came from elsewhere than before.
    fn handle_peer_path(&mut self, now: Instant, path: &Path);

    /// Our side of the path changed, or is back after having been gone, or the stream was rebuilt.
    fn handle_path(&mut self, now: Instant, path: &Path);

    /// The network says that datagrams do not reach the peer: an ICMP error. Anybody can send those, so this ends nothing; a protocol
    /// with a question that the peer must answer may ask it now (RFC 7296 §2.4). Nothing by default.
    fn handle_unreachable(&mut self, _now: Instant) {}

    /// The reply to an [`Event::Prompt`].
    fn handle_answer(&mut self, now: Instant, answer: Answer);

    /// The deadline of [`Tunnel::poll_timeout`] has passed; early calls do no harm.
    fn handle_timeout(&mut self, now: Instant);

    /// Ends the tunnel politely. [`Event::Closed`] follows, perhaps after farewells that must still be sent.
    fn close(&mut self, now: Instant);

    /// The next event, in order.
    fn poll_event(&mut self) -> Option<Event<Self::Sealer, Self::Opener>>;

    /// The next datagram to send.
    fn poll_transmit(&mut self) -> Option<Transmit>;

    /// When [`Tunnel::handle_timeout`] wants to be called next.
    fn poll_timeout(&self) -> Option<Instant>;

    /// What was negotiated. Worth asking for again after key changes.
    fn details(&self) -> TunnelDetails {
        TunnelDetails::default()
    }
}
