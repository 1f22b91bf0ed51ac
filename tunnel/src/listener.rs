//! The answering end: one [`Listener`] in front, which decides before any state of a peer exists, and one tunnel per peer.
//!
//! ```text
//!  datagram ──▶ Listener::route ─┬─ Peer(id) ──▶ the tunnel of this peer, as any other tunnel
//!                                ├─ New ──▶ Listener::accept ─┬─ Reply: sent, nothing is remembered
//!                                │                            ├─ Peer(id, tunnel): a new peer; drain its tunnel
//!                                └─ Drop                      └─ Drop
//!
//!  Answering::poll_applicant ──▶ the owner decides, now or later ──▶ Answering::handle_verdict
//! ```

use std::{
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    closed::Closed,
    network::NetworkConfig,
    secret::Secret,
    tunnel::{Path, Transmit, Tunnel},
};

/// Names one peer of a [`Listener`] for as long as its tunnel lives. From 1 to [`PeerId::MAX`].
///
/// What an answering end draws to be addressed by (SPIs, OpenVPN's peer-ids) contains it, so that routing a datagram is
/// one look into a table, and no two peers ever draw the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u32);

impl PeerId {
    /// The largest: 20 bits, which leave 12 of an ESP SPI.
    pub const MAX: Self = Self(0xf_ffff);
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({})", self.0)
    }
}

/// Where a datagram belongs, judged by its path and first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// To the tunnel of this peer: [`Tunnel::classify`] says what it is.
    Peer(PeerId),
    /// To [`Listener::accept`].
    New,
    /// Nowhere.
    Drop,
}

/// What a [`Listener`] makes of a datagram of a stranger.
#[derive(Debug)]
pub enum Accept<T> {
    /// This is sent, and nothing is remembered: a cookie to be returned, an error.
    Reply(Transmit),
    /// The first datagram of a new peer. It was handled; the tunnel is to be drained.
    Peer(PeerId, Box<T>),
    /// Not worth an answer.
    Drop,
}

/// The answering front door: decides before any state of a peer exists (cookies, limits), then makes one tunnel per peer.
pub trait Listener {
    /// The answering end of one tunnel.
    type Tunnel: Answering;

    /// Sorts a datagram by its path and first bytes; no crypto, nothing changes. The peer named may be gone: then the
    /// datagram is dropped.
    fn route(&self, path: &Path, datagram: &[u8]) -> Routing;

    /// A datagram of nobody known. It may be changed in place.
    fn accept(&mut self, now: Instant, path: &Path, datagram: &mut [u8]) -> Accept<Self::Tunnel>;

    /// The tunnel of this peer has ended and was dropped; its name may be given to another.
    fn forget(&mut self, peer: PeerId);
}

/// The answering end of one tunnel: a [`Tunnel`] that asks its owner whether the peer is welcome.
///
/// [`crate::Event::Up`] of an answering end describes the peer: [`NetworkConfig::addresses`] are the peer's addresses inside the
/// tunnel, which packets for it go to and packets from it come from.
///
/// Drain [`Tunnel::poll_event`], then [`Answering::poll_applicant`] and [`Answering::poll_refusal`], then [`Tunnel::poll_transmit`].
pub trait Answering: Tunnel {
    /// The peer asks to be let in. Until the verdict it gets no key of the data plane.
    ///
    /// At most one application waits at a time; after the first, others come only when the protocol has the peer prove itself again
    /// (OpenVPN renegotiation).
    fn poll_applicant(&mut self) -> Option<Applicant>;

    /// What the owner has decided; ignored when nothing was asked. May come at any time before the handshake's time is over.
    fn handle_verdict(&mut self, now: Instant, verdict: Verdict);

    /// Why the peer was turned away, or has turned away, once that is so: for whoever wants to know it before
    /// [`crate::Event::Closed`] says the same. Until then the tunnel may go on for a while, to give a peer that has not heard its last
    /// answer the same again. At most one; never of a tunnel that was up.
    fn poll_refusal(&mut self) -> Option<Closed> {
        None
    }
}

/// A peer that asks to be let in.
#[derive(Debug, Clone)]
pub struct Applicant {
    /// Who it has proved to be: the identity of IKE or EAP, the common name of a certificate. `None` if it has proved nothing yet.
    pub identity: Option<String>,
    /// A user name and password that are for the owner to judge (OpenVPN).
    pub login: Option<Login>,
    /// Addresses inside the tunnel that it asks for; unspecified ones (`0.0.0.0`, `::`) mean any of that family.
    pub addresses: Vec<IpAddr>,
    /// Whatever else is known of this identity is dead: INITIAL_CONTACT (RFC 7296 §2.4).
    pub alone: bool,
    /// It was let in before, in this tunnel; the verdict's [`NetworkConfig`] has no effect.
    pub again: bool,
}

/// A user name with its password.
#[derive(Debug, Clone)]
pub struct Login {
    /// The name, as typed.
    pub user: String,
    /// The password, or what stands for it.
    pub password: Secret,
}

/// What the owner of an answering end has decided about an [`Applicant`].
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It is welcome, and gets this: [`NetworkConfig::addresses`] are its own, the rest is what it is told about the network.
    Admitted(Box<NetworkConfig>),
    /// Its login is wrong, or it may not come in.
    Refused,
    /// There is no address left for it.
    NoAddress,
    /// Not now; the peer is asked to come back after this time, if its protocol can say so.
    Later(Duration),
}
