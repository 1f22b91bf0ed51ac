//! The admin port: probes for whoever runs us, and metrics. Plain HTTP, meant for loopback or the network of a cluster.
//!
//! - `/livez`: the process does its work. Never about gateways: being started again helps none of them.
//! - `/readyz`: what is to be connected is; `?connection=NAME` and `?forward=NAME` ask about one.
//! - `/startupz`: `/readyz` was true once.
//! - `/metrics`: OpenMetrics text.

mod family;
mod http;
mod metrics;
mod query;

#[cfg(test)]
mod tests;

pub(crate) use self::{http::Server, metrics::Handshakes};
