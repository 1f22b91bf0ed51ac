//! The program `adit`, as a library: everything but `main`.
//!
//! `adit forward --config office.ovpn -L 8080:192.168.100.30:80` listens on this machine, and what connects there reaches a
//! host behind the VPN gateway, be that an OpenVPN server or, as `--ikev2 HOST` or a TOML file has it, an IKEv2 one. It needs
//! no rights and no TUN device, and leaves the machine's routes alone; `adit up` (Linux, as root) is what puts all of the machine behind a gateway.
//!
//! `adit serve --config serve.toml` is the other end: a gateway for labs, tests and small sites. `adit demo` has both ends in one
//! process, on loopback, and shows what they do.
//!
//! Standard output has one line for each forward, once the tunnel is up, or for each address of a gateway, once it is listened
//! to; everything else goes to standard error. Only the demo shows its log itself.
//!
//! # Features
//!
//! There are none to choose. Rust 1.91 or newer (`rust-version`).
#![forbid(unsafe_code)]
#![cfg_attr(
    not(target_os = "linux"),
    allow(
        dead_code,
        reason = "TUN mode, and on Windows the control socket, are not there, and leave what only they use"
    )
)]

mod activity;
mod admin;
mod arguments;
mod commands;
mod config;
mod control;
mod debugging;
mod demo;
#[cfg(unix)]
mod descriptors;
mod engine;
mod environment;
mod error;
mod forward;
mod generate;
mod log;
mod plan;
mod probe;
mod prompt;
mod run;
mod serve;
mod signals;
mod spec;
mod status;
mod terminal;
#[cfg(test)]
mod tests;
mod up;

pub use config::Configuration;
pub use error::{Error, Exit};
pub use run::run;
