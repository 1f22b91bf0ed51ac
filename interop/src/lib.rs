//! Real peers in network namespaces, and the cases `adit` must pass with them.
//!
//! ```text
//!   interop run ──┬── case A (process) ── namespaces A-client, A-gateway, A-lan
//!                 ├── case B (process)      adit ──▶ openvpn ──▶ web server, echo
//!                 └── …                     (user 65534)
//! ```
//!
//! Every case is a process of its own with a network of its own; the runner limits its time and removes what it leaves
//! behind. Every case first proves that the target cannot be reached without the tunnel, and in the end that the
//! server's own counters for this client have grown.

mod cases;
mod cli;
mod client;
mod config;
mod gateway;
mod ike;
mod management;
mod needs;
mod net;
mod pki;
mod process;
mod resolv_conf;
mod rig;
mod runner;
mod running;
mod server;
mod story;
mod tools;
mod up;

pub use cli::main;
