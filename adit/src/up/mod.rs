//! `adit up`: a TUN device with the tunnel's addresses, routes and DNS servers (Linux).

mod arguments;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod life;
mod options;
#[cfg(target_os = "linux")]
mod rights;

pub(crate) use arguments::{Down, UP, UP_EXAMPLES, Up};
#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{down, life};
#[cfg(target_os = "linux")]
pub(crate) use life::{down, life};
