//! The session against a server written for these tests, over a link that loses and reorders, on a virtual clock. One
//! behaviour a file.

mod allocation;
mod certificates;
mod closing;
mod directives;
mod dynamic_tls_crypt;
mod endings;
mod handshake;
mod histories;
mod hostile;
mod keepalive;
mod key_lifetime;
mod key_slots;
mod link;
mod login;
mod lossy;
mod negotiation;
mod pair;
mod path;
mod pending;
mod pki;
mod pushed;
mod renegotiation;
mod revocation;
mod server;
mod server_side;
mod timing;
mod tls_settings;
mod transitions;
mod volume;

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
