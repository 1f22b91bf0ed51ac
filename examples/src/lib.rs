//! Examples of use: see `examples/`.
//!
//! | example | what it shows |
//! | --- | --- |
//! | `connect_and_dial` | an HTTP request to a host behind an OpenVPN gateway, with everything that happens on the way |
//! | `ikev2_dial` | the same behind an IKEv2 gateway, from its address, its authority, a user and a password |
//! | `hyper_connector` | an HTTP client of hyper whose connections go through a tunnel: one `tower_service::Service` |
//! | `both_protocols` | one service with a tunnel of each protocol, and a local port into each |
//! | `userspace_ping` | echo requests to a host behind the gateway, without root |
//! | `print_profile` | what becomes of each line of an `.ovpn` file |
//! | `sans_io` | the state machines alone, with a socket of the standard library: no tokio, no driver |
//! | `office` | two gateways to try the others with, in one process: `cargo run -p adit-examples --example office` |
//!
//! The tests run each of them against an [`Office`].

mod office;

/// What the README shows is compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub use office::{Office, PASSWORD, PSK, USER, WEB};
