//! Making a device for a client.

use std::{fmt, io};

use tun_rs::{DeviceBuilder, SyncDevice};

/// A TUN device for a client, see [`crate::Client::attach`]. The kernel removes it when it is dropped, with every address and
/// route on it.
pub struct Device {
    pub(super) device: SyncDevice,
    pub(super) name: String,
    pub(super) max_segment: Option<u16>,
}

impl Device {
    /// Makes a device, with segmentation offload, in the network namespace of this thread; it is down and has no address. Without
    /// a name the kernel chooses one.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, without `/dev/net/tun`, when there is a device of that name.
    pub fn open(name: Option<&str>, mtu: u16) -> io::Result<Self> {
        let mut builder = DeviceBuilder::new().mtu(mtu).enable(false).with(|options| {
            options.offload(true);
        });
        if let Some(name) = name {
            builder = builder.name(name);
        }
        let device = builder.build_sync()?;
        device.set_nonblocking(true)?;
        Self::adopt(device)
    }

    /// Takes a device that was made elsewhere, by `tun_rs` or from a descriptor: [`SyncDevice::from_fd`] needs a promise that only
    /// its caller can give. It is made non-blocking.
    ///
    /// # Errors
    /// Those of the system.
    pub fn adopt(device: SyncDevice) -> io::Result<Self> {
        device.set_nonblocking(true)?;
        let name = device.name()?;
        Ok(Self { device, name, max_segment: None })
    }

    /// Has no TCP connection through the device send segments with more payload than this, in bytes, also where more would fit.
    #[must_use]
    pub fn max_segment(mut self, bytes: u16) -> Self {
        self.max_segment = Some(bytes);
        self
    }

    /// What the kernel calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kernel's number for it.
    ///
    /// # Errors
    /// It was removed.
    pub fn index(&self) -> io::Result<u32> {
        self.device.if_index()
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("name", &self.name).finish_non_exhaustive()
    }
}
