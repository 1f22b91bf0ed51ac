//! TUN mode, `adit up`: the hosts behind the gateway for every program of this machine (Linux).

mod arguments;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod life;
mod options;
#[cfg(target_os = "linux")]
mod rights;
#[cfg(target_os = "linux")]
mod surroundings;

pub(crate) use arguments::{Down, UP, UP_EXAMPLES, Up};
#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{down, life};
#[cfg(target_os = "linux")]
pub(crate) use life::{down, life};
pub(crate) use options::{DnsWay, Routing, TunOptions};
#[cfg(target_os = "linux")]
pub(crate) use surroundings::{Followed, Surroundings};
