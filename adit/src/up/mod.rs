//! TUN mode, `adit up` and `tun` of a connection: the hosts behind the gateway for every program of this machine (Linux).

mod arguments;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
mod keeper;
#[cfg(target_os = "linux")]
mod life;
mod options;
#[cfg(target_os = "linux")]
mod rights;
#[cfg(target_os = "linux")]
mod surroundings;

pub(crate) use arguments::{Down, UP, UP_EXAMPLES, Up};
#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{down, life, mark, open};
#[cfg(test)]
pub(crate) use keeper::tests::{Done, Lacks, does, doubles, held_doubles, lacking_doubles};
pub(crate) use keeper::{Keeper, Open, Shape, Told};
#[cfg(target_os = "linux")]
pub(crate) use life::{down, life};
pub(crate) use options::{DNS_OF_NAMESPACE, DNS_OF_NAMESPACE_HINT, DnsWay, Routing, TunOptions};
#[cfg(target_os = "linux")]
pub(crate) use surroundings::{mark, open};

use crate::error::{Error, Exit};

/// Somebody has taken the device away.
pub(crate) fn lost(device: &str) -> Error {
    let error = Error::new(Exit::Lost, format!("the device {device} was taken away"));
    error.hint("somebody has removed it; start again")
}
