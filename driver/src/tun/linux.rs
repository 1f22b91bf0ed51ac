//! TUN on Linux, with segmentation offload: the kernel hands over trains of TCP segments as one.

use std::{
    fs,
    io::{self, IoSlice},
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
};

use adit_tunnel::{IpNet, PeerId};
use tun_rs::{AsyncDevice, DeviceBuilder, IDEAL_BATCH_SIZE, VIRTIO_NET_HDR_LEN};

/// Packets from the kernel, a batch at a time.
pub(crate) struct Reader {
    device: Arc<AsyncDevice>,
    /// What the kernel hands over at once, before it is taken apart.
    train: Box<[u8]>,
    packets: Vec<Box<[u8]>>,
    lengths: Vec<usize>,
    /// The packets of the last batch, in the order they are looked at.
    order: Vec<(Option<PeerId>, usize)>,
    filled: usize,
}

/// Packets to the kernel.
pub(crate) struct Writer {
    device: Arc<AsyncDevice>,
    name: String,
}

/// The largest train: an IP packet.
const TRAIN_BYTES: usize = 65535;
/// Before each packet: that it is one packet, with its checksums in place.
const ALONE: [u8; VIRTIO_NET_HDR_LEN] = [0; VIRTIO_NET_HDR_LEN];
/// Reads that fail in a row before others have their turn.
const MAX_ERRORS: usize = 16;

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
    let packet_bytes = usize::from(mtu).max(1500);
    let reader = Reader {
        device: Arc::clone(&device),
        train: vec![0; VIRTIO_NET_HDR_LEN + TRAIN_BYTES].into_boxed_slice(),
        packets: (0..IDEAL_BATCH_SIZE).map(|_| vec![0; packet_bytes].into_boxed_slice()).collect(),
        lengths: vec![0; IDEAL_BATCH_SIZE],
        order: Vec::with_capacity(IDEAL_BATCH_SIZE),
        filled: 0,
    };
    Ok((reader, Writer { device, name }))
}

/// Whether the machine forwards is for its administrator to say.
fn warn_unless_forwarding(name: &str, path: &str) {
    if fs::read_to_string(path).is_ok_and(|text| text.trim() == "0") {
        tracing::warn!("{name} is 0: the kernel does not forward packets of peers beyond this machine");
    }
}

impl Reader {
    /// One system call: a packet, or a train of them. [`Self::group`] and [`Self::grouped`] then give what it brought.
    ///
    /// # Errors
    /// The device is gone: nothing comes any more.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.filled = 0;
        for _ in 0..MAX_ERRORS {
            match self.device.poll_readable(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
            let Self { device, train, packets, lengths, .. } = self;
            match device.try_recv_multiple(train, packets, lengths, 0) {
                Ok(count) => {
                    self.filled = count;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // EBADFD, ENODEV or EIO: the device was deleted.
                Err(error) if error.raw_os_error().is_some() => return Poll::Ready(Err(error)),
                Err(error) => tracing::debug!("packets from the TUN device dropped: {error}"),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Puts the packets of the last [`Self::poll_fill`] with the same owner side by side.
    pub(crate) fn group(&mut self, owner: impl Fn(&[u8]) -> Option<PeerId>) {
        self.order.clear();
        for index in 0..self.filled {
            let of = self.packet(index).and_then(&owner);
            self.order.push((of, index));
        }
        // The index keeps them in the order they came.
        self.order.sort_unstable();
    }

    /// The packets in that order, each with its owner.
    pub(crate) fn grouped(&self) -> impl Iterator<Item = (Option<PeerId>, &[u8])> {
        self.order.iter().filter_map(|(owner, index)| Some((*owner, self.packet(*index)?)))
    }

    fn packet(&self, index: usize) -> Option<&[u8]> {
        self.packets.get(index)?.get(..*self.lengths.get(index)?)
    }
}

impl Writer {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Gives a packet to the kernel. `false` if it took it not.
    pub(crate) fn send(&self, packet: &[u8]) -> bool {
        match self.device.try_send_vectored(&[IoSlice::new(&ALONE), IoSlice::new(packet)]) {
            Ok(_) => true,
            Err(error) => {
                tracing::trace!("the kernel took a packet not: {error}");
                false
            }
        }
    }
}
