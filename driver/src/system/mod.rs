//! What a TUN device needs of the machine: addresses, routes, DNS. Applied, followed and undone (Linux).
//!
//! ```text
//!  NetworkConfig ──▶ plan ──▶ changes ──▶ System::apply ──▶ journal, then netlink, D-Bus, files
//!                                              ▲                │
//!             what is applied already ─────────┘                └──▶ undo, at the end or after a crash (recover)
//! ```
//!
//! [`plan`] is a pure function: what the machine should look like for a network. [`System::apply`] compares that with what it has
//! done before, does what is new and undoes what is not wanted any more. Each change is written to a journal before it is made,
//! so that [`recover`] can undo it when the process did not get to it.

mod applier;
mod dbus;
mod dns;
mod journal;
mod leftover;
mod namespace;
mod netlink;
mod plan;
mod resolv_conf;
mod rivals;
mod whose;

pub use applier::{System, SystemOptions};
pub use dns::{DnsMethod, DnsSettings};
pub use leftover::{NotUndone, Recovered, blocked, recover};
pub use namespace::Namespace;
pub use plan::{Change, Mode, Net, Target, Wanted, plan};

/// The mark of datagrams that go past the tunnel, to its gateway: see [`crate::Options::mark`]. "adit" in ASCII.
pub const MARK: u32 = 0x6164_6974;
