//! TUN mode: the hosts behind the gateway for every program of this machine.

mod options;

pub(crate) use options::{DnsWay, Routing, TunOptions};
