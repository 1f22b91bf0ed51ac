//! Packets to the kernel: neighbouring segments of a connection as one.

use std::io::{self, IoSlice};

use tun_rs::AsyncDevice;

use super::{
    join::Joiner,
    split::{Split, VirtioHeader},
};

/// Packets on their way to the kernel.
#[derive(Debug)]
pub(super) struct Deliveries {
    joiner: Joiner,
    /// With a header before each packet.
    offload: bool,
    dropped: u64,
}

impl Deliveries {
    pub(super) fn new(offload: bool) -> Self {
        let mut joiner = Joiner::new();
        if !offload {
            joiner.refuse();
        }
        Self { joiner, offload, dropped: 0 }
    }

    /// Takes a packet. It may wait for others until [`Self::flush`].
    pub(super) fn push(&mut self, device: &AsyncDevice, packet: &[u8]) {
        let Self { joiner, offload, dropped } = self;
        let mut refused = false;
        joiner.push(packet, &mut |header, bytes| refused |= write(device, *offload, header, bytes, dropped));
        self.after_write(refused);
    }

    /// Hands over what waits.
    pub(super) fn flush(&mut self, device: &AsyncDevice) {
        let Self { joiner, offload, dropped } = self;
        let mut refused = false;
        joiner.flush(&mut |header, bytes| refused |= write(device, *offload, header, bytes, dropped));
        self.after_write(refused);
    }

    /// Some kernels take no trains: those that were refused are written again one by one, and no more are made.
    fn after_write(&mut self, refused: bool) {
        if refused && !self.joiner.is_refused() {
            tracing::info!("the kernel takes no joined segments from the TUN device: each is written alone");
            self.joiner.refuse();
        }
    }

    /// Packets that were lost on the way, since the last call.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

/// Says whether the kernel has refused a train for what it is; then its packets were written one by one.
fn write(device: &AsyncDevice, offload: bool, header: VirtioHeader, bytes: &[u8], dropped: &mut u64) -> bool {
    let encoded = header.encode();
    let head = IoSlice::new(if offload { &encoded } else { &[] });
    let Err(error) = device.try_send_vectored(&[head, IoSlice::new(bytes)]) else { return false };
    let split = Split::new(header, bytes);
    if header == VirtioHeader::default() || error.kind() != io::ErrorKind::InvalidInput {
        tracing::trace!("the kernel took a packet not: {error}");
        *dropped += split.map_or(1, |split| split.left(bytes));
        return false;
    }
    let Some(mut split) = split else { return true };
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
