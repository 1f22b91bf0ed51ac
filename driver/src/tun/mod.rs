//! A TUN device: inner packets go to and come from the kernel, which routes them.
//!
//! A gateway has all its peers on one ([`Reader`], [`Writer`]); a client has one beside its stack ([`Port`]).

#[cfg(target_os = "linux")]
mod deliveries;
#[cfg(target_os = "linux")]
mod device;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod join;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod mss;
#[cfg(target_os = "linux")]
mod packet;
#[cfg(target_os = "linux")]
mod port;
#[cfg(target_os = "linux")]
mod split;
#[cfg(target_os = "linux")]
mod trains;

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{Port, Reader, Writer, open};
#[cfg(target_os = "linux")]
pub(crate) use linux::{Reader, Writer, open};
#[cfg(target_os = "linux")]
pub(crate) use port::Port;

#[cfg(target_os = "linux")]
pub use device::Device;
