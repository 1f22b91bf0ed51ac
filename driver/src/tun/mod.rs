//! A TUN device: inner packets go to and come from the kernel, which routes them.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{Reader, Writer, open};
#[cfg(target_os = "linux")]
pub(crate) use linux::{Reader, Writer, open};
