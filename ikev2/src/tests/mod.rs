//! A session against a [`peer::ScriptedPeer`], joined by a network on a virtual clock. One behaviour a file.
//!
//! The peer is made of codec, keys and negotiation alone: whatever the state machine gets wrong, the peer does not get wrong in
//! the same way. Packets travel too, sealed with the keys both ends made, so that keys are tested by traffic.

mod allocation;
mod answering;
mod authentication;
mod before_authentication;
mod child_rekey;
mod closing;
mod configuration;
mod conformance;
mod deletion;
mod fragmentation;
mod histories;
mod ike_rekey;
mod liveness;
mod missing_payloads;
mod mobike;
mod mutated;
mod mutators;
mod pair;
mod peer;
mod pki;
mod probing;
mod reauthentication;
mod recorded;
mod refusals;
mod retransmission;
mod settings;
mod simulation;
mod tables;

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

/// Where every virtual clock starts.
#[expect(clippy::disallowed_methods, reason = "tests need one instant to count from")]
pub(crate) static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The unix time at [`START`]: 2026-06-01.
const UNIX_START: Duration = Duration::from_secs(1_780_272_000);

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
