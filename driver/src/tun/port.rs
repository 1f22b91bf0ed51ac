//! A client's end of a device: packets out of the tunnel go to the kernel, the kernel's are sealed for the tunnel.

use std::{
    fmt, io,
    io::IoSlice,
    net::IpAddr,
    task::{Context, Poll},
};

use adit_netstack::PacketSink;
use tun_rs::AsyncDevice;

use super::{
    Device,
    join::Joiner,
    mss::MaxSegment,
    split::{Split, VirtioHeader},
};
use crate::plane::{destination, source};

/// Beside the stack of a client. See [`crate::inside::Inner`].
pub(crate) struct Port {
    device: AsyncDevice,
    name: String,
    /// What the kernel hands over at once.
    train: Box<[u8]>,
    /// How much of it there is, and how far it is taken apart.
    filled: usize,
    split: Option<Split>,
    joiner: Joiner,
    max_segment: Option<MaxSegment>,
    /// Where a packet is changed.
    scratch: Vec<u8>,
    /// A bound chosen by the user, below what the tunnel's own sizes give.
    limit: Option<u16>,
    /// With a header before each packet.
    offload: bool,
    dropped: u64,
}

/// The largest train: an IP packet with the kernel's header.
const TRAIN_BYTES: usize = VirtioHeader::LEN + 65535;
/// Reads that fail in a row before others have their turn.
const MAX_ERRORS: usize = 16;

impl Port {
    /// Must be called within a tokio runtime.
    pub(crate) fn new(device: Device) -> io::Result<Self> {
        let Device { device, name, max_segment } = device;
        let offload = device.tcp_gso();
        Ok(Self {
            device: AsyncDevice::new(device)?,
            name,
            train: vec![0; TRAIN_BYTES].into_boxed_slice(),
            filled: 0,
            split: None,
            joiner: Joiner::new(),
            max_segment: None,
            scratch: Vec::new(),
            limit: max_segment,
            offload,
            dropped: 0,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The tunnel takes TCP packets of this size, in bytes.
    pub(crate) fn set_tcp_mtu(&mut self, tcp_mtu: u16) {
        let fits = MaxSegment::of_mtu(tcp_mtu);
        self.max_segment = Some(self.limit.map_or(fits, |limit| fits.at_most(limit)));
    }

    /// A packet out of the tunnel. It may wait for others until [`Self::flush`].
    pub(crate) fn deliver(&mut self, packet: &[u8]) {
        let Self { joiner, device, offload, dropped, scratch, .. } = self;
        let packet = match self.max_segment {
            Some(max_segment) if MaxSegment::concerns(packet) => {
                scratch.clear();
                scratch.extend_from_slice(packet);
                max_segment.clamp(scratch);
                scratch
            }
            _ => packet,
        };
        let mut failed = false;
        joiner.push(packet, &mut |header, bytes| failed |= write(device, *offload, header, bytes, dropped));
        self.after_write(failed);
    }

    /// Hands over what waits.
    pub(crate) fn flush(&mut self) {
        let Self { joiner, device, offload, dropped, .. } = self;
        let mut failed = false;
        joiner.flush(&mut |header, bytes| failed |= write(device, *offload, header, bytes, dropped));
        self.after_write(failed);
    }

    /// Some kernels take no trains: those that were refused are written again one by one, and no more are made.
    fn after_write(&mut self, failed: bool) {
        if failed && !self.joiner.is_refused() {
            tracing::info!(device = self.name, "the kernel takes no joined segments: each is written alone");
            self.joiner.refuse();
        }
    }

    /// Packets for the kernel that were lost on the way, since the last call.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Hands the kernel's packets to the sink until there are no more, or it has no room.
    ///
    /// # Errors
    /// The device is gone: nothing comes any more.
    pub(crate) fn poll_packets(&mut self, cx: &mut Context<'_>, sink: &mut dyn PacketSink) -> io::Result<()> {
        loop {
            let bytes = self.train.get(self.offset()..self.filled).unwrap_or_default();
            if let Some(split) = &mut self.split {
                while let Some(len) = split.next_len(bytes) {
                    if !sink.has_room() {
                        return Ok(());
                    }
                    sink.packet(len, &mut |packet| {
                        split.write(bytes, packet);
                        if let Some(max_segment) = self.max_segment {
                            max_segment.clamp(packet);
                        }
                    });
                }
                self.split = None;
            }
            if !sink.has_room() {
                return Ok(());
            }
            match self.poll_fill(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(filled) => filled?,
            }
        }
    }

    fn offset(&self) -> usize {
        if self.offload { VirtioHeader::LEN } else { 0 }
    }

    /// One system call: a packet, or a train of them.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..MAX_ERRORS {
            match self.device.poll_readable(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
            match self.device.try_recv(&mut self.train) {
                Ok(filled) => {
                    self.filled = filled;
                    let train = self.train.get(self.offset()..filled).unwrap_or_default();
                    let header =
                        if self.offload { VirtioHeader::parse(&self.train) } else { Some(VirtioHeader::default()) };
                    self.split = header.filter(|_| is_carried(train)).and_then(|header| Split::new(header, train));
                    if self.split.is_some() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // EBADFD, ENODEV or EIO: the device was deleted.
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("name", &self.name).field("offload", &self.offload).finish_non_exhaustive()
    }
}

/// Whether a packet of the kernel is meant for the other end: what it says to neighbours on a link, such as router solicitations,
/// is not, as there is no link.
fn is_carried(packet: &[u8]) -> bool {
    let carried = |address: IpAddr| match address {
        IpAddr::V4(v4) => !(v4.is_multicast() || v4.is_broadcast() || v4.is_link_local()),
        IpAddr::V6(v6) => !(v6.is_multicast() || v6.is_unicast_link_local()),
    };
    source(packet).is_some_and(|source| carried(source) && !source.is_unspecified())
        && destination(packet).is_some_and(carried)
}

/// Says whether the kernel has refused a train for what it is; then its packets were written one by one.
fn write(device: &AsyncDevice, offload: bool, header: VirtioHeader, bytes: &[u8], dropped: &mut u64) -> bool {
    let encoded = header.encode();
    let head = IoSlice::new(if offload { &encoded } else { &[] });
    let Err(error) = device.try_send_vectored(&[head, IoSlice::new(bytes)]) else { return false };
    let is_train = header != VirtioHeader::default();
    if !is_train || error.kind() != io::ErrorKind::InvalidInput {
        tracing::trace!("the kernel took a packet not: {error}");
        *dropped += 1;
        return false;
    }
    let Some(mut split) = Split::new(header, bytes) else { return true };
    let mut packet = Vec::new();
    while let Some(len) = split.next_len(bytes) {
        packet.resize(len, 0);
        split.write(bytes, &mut packet);
        let alone = VirtioHeader::default().encode();
        if device.try_send_vectored(&[IoSlice::new(&alone), IoSlice::new(&packet)]).is_err() {
            *dropped += 1;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tun::packet::{ACK, tests::segment};

    #[test]
    fn what_is_said_to_neighbours_does_not_go_through_the_tunnel() {
        let mut packet = segment(false, 1, ACK, b"x");
        assert!(is_carried(&packet));
        packet[16..20].copy_from_slice(&[224, 0, 0, 251]);
        assert!(!is_carried(&packet));
        let mut packet = segment(true, 1, ACK, b"x");
        assert!(is_carried(&packet));
        packet[8] = 0xfe;
        packet[9] = 0x80;
        assert!(!is_carried(&packet));
        assert!(!is_carried(&[]));
    }
}
