//! TUN on Linux, with segmentation offload: the kernel hands over trains of TCP segments as one.

use std::{
    fs, io,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
};

use adit_tunnel::IpNet;
use tun_rs::{AsyncDevice, DeviceBuilder};

use super::{deliveries::Deliveries, trains::Trains};

/// Packets from the kernel, a train at a time.
pub(crate) struct Reader {
    device: Arc<AsyncDevice>,
    trains: Trains,
}

/// Packets to the kernel.
pub(crate) struct Writer {
    device: Arc<AsyncDevice>,
    name: String,
    deliveries: Deliveries,
}

/// Makes a device with these addresses; the kernel routes their networks to it.
pub(crate) fn open(name: Option<&str>, mtu: u16, addresses: &[IpNet]) -> io::Result<(Reader, Writer)> {
    let mut builder = DeviceBuilder::new().mtu(mtu).with(|options| {
        options.offload(true);
    });
    if let Some(name) = name {
        builder = builder.name(name);
    }
    let mut families = (0, 0);
    for net in addresses {
        builder = match net.address() {
            IpAddr::V4(address) => {
                families.0 += 1;
                builder.ipv4(address, net.prefix(), None)
            }
            IpAddr::V6(address) => {
                families.1 += 1;
                builder.ipv6(address, net.prefix())
            }
        };
    }
    let device = Arc::new(builder.build_async().map_err(|error| {
        io::Error::new(error.kind(), format!("no TUN device (it needs CAP_NET_ADMIN and /dev/net/tun): {error}"))
    })?);
    let name = device.name()?;
    if families.0 > 0 {
        warn_unless_forwarding("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward");
    }
    if families.1 > 0 {
        warn_unless_forwarding("net.ipv6.conf.all.forwarding", "/proc/sys/net/ipv6/conf/all/forwarding");
    }
    tracing::info!(device = name, mtu, ?addresses, "TUN device open");
    let offload = device.tcp_gso();
    let reader = Reader { device: Arc::clone(&device), trains: Trains::new(offload) };
    Ok((reader, Writer { device, name, deliveries: Deliveries::new(offload) }))
}

/// Whether the machine forwards is for its administrator to say.
fn warn_unless_forwarding(name: &str, path: &str) {
    if fs::read_to_string(path).is_ok_and(|text| text.trim() == "0") {
        tracing::warn!("{name} is 0: the kernel does not forward packets of peers beyond this machine");
    }
}

impl Reader {
    /// One system call, unless there is something left of what an earlier one has brought: a packet, or a train of them.
    ///
    /// # Errors
    /// The device is gone: nothing comes any more.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.trains.next_len().is_some() {
            return Poll::Ready(Ok(()));
        }
        self.trains.poll_fill(&self.device, cx, |_| true)
    }

    /// The packet or the train. All of its packets have its addresses.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.trains.bytes()
    }

    /// Bytes of the next packet; `None` when there is none any more.
    pub(crate) fn next_len(&self) -> Option<usize> {
        self.trains.next_len()
    }

    /// Writes the next packet; `packet` is as long as [`Self::next_len`] says.
    pub(crate) fn write(&mut self, packet: &mut [u8]) {
        self.trains.write(packet);
    }

    /// What is left is not wanted; so many packets.
    pub(crate) fn discard(&mut self) -> u64 {
        self.trains.discard()
    }
}

impl Writer {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Takes a packet. It may wait for others until [`Self::flush`].
    pub(crate) fn deliver(&mut self, packet: &[u8]) {
        self.deliveries.push(&self.device, packet);
    }

    /// Hands over what waits. How many packets the kernel has not taken since the last call.
    pub(crate) fn flush(&mut self) -> u64 {
        self.deliveries.flush(&self.device);
        self.deliveries.take_dropped()
    }
}
