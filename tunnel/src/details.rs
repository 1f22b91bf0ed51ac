//! What people want to know about a tunnel that is up.

use std::{ops::Add, time::Instant};

/// What was negotiated, and what became of it: for people, and for numbers about operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TunnelDetails {
    /// `ikev2` or `openvpn`; empty where a protocol tells nothing.
    pub protocol: &'static str,
    /// The algorithms in use, as text.
    pub suite: String,
    /// Who the peer has proved to be, as text.
    pub peer_identity: Option<String>,
    /// When the next keys are due, if they are.
    pub rekey_at: Option<Instant>,
    /// How often keys were exchanged for new ones.
    pub rekeys: Rekeys,
    /// How often that came to nothing: refused for good by the peer, or cut short by the end of the tunnel. What is only put off
    /// is not among them.
    pub failed_rekeys: Rekeys,
}

/// How often keys were exchanged for new ones while the tunnel was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rekeys {
    /// Of packets.
    pub data: u64,
    /// Of the protocol's own messages.
    pub control: u64,
}

impl Rekeys {
    /// What has been added since this was all there was.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self { data: self.data.saturating_sub(before.data), control: self.control.saturating_sub(before.control) }
    }
}

impl Add for Rekeys {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { data: self.data + other.data, control: self.control + other.control }
    }
}
