//! What the kernel hands over: packets, and trains of segments, taken apart where they lie.

use std::{
    io,
    task::{Context, Poll},
};

use tun_rs::AsyncDevice;

use super::split::{Split, VirtioHeader};

/// The last train that was read, and how far it is taken apart.
#[derive(Debug)]
pub(super) struct Trains {
    train: Box<[u8]>,
    /// How much of it there is.
    filled: usize,
    split: Option<Split>,
    /// With a header before each packet.
    offload: bool,
}

/// The largest train: an IP packet with the kernel's header.
const TRAIN_BYTES: usize = VirtioHeader::LEN + 65535;
/// Reads in a row that bring nothing to be carried before others have their turn.
const MAX_FRUITLESS: usize = 16;

impl Trains {
    pub(super) fn new(offload: bool) -> Self {
        Self { train: vec![0; TRAIN_BYTES].into_boxed_slice(), filled: 0, split: None, offload }
    }

    /// Ready once there is a packet of which `is_carried` says so, or a train of which it says so for its headers; at most one
    /// system call for each that it does not.
    ///
    /// # Errors
    /// The device is gone: nothing comes any more.
    pub(super) fn poll_fill(
        &mut self,
        device: &AsyncDevice,
        cx: &mut Context<'_>,
        is_carried: impl Fn(&[u8]) -> bool,
    ) -> Poll<io::Result<()>> {
        self.split = None;
        for _ in 0..MAX_FRUITLESS {
            match device.poll_readable(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
            match device.try_recv(&mut self.train) {
                Ok(filled) => {
                    self.filled = filled;
                    let header =
                        if self.offload { VirtioHeader::parse(&self.train) } else { Some(VirtioHeader::default()) };
                    let train = self.bytes();
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

    /// The packet or the train. All of its packets have its addresses.
    pub(super) fn bytes(&self) -> &[u8] {
        self.train.get(self.offset()..self.filled).unwrap_or_default()
    }

    /// Bytes of the next packet; `None` when there is none any more.
    pub(super) fn next_len(&self) -> Option<usize> {
        self.split.as_ref()?.next_len(self.bytes())
    }

    /// Writes the next packet; `packet` is as long as [`Self::next_len`] says.
    pub(super) fn write(&mut self, packet: &mut [u8]) {
        let bytes = self.train.get(self.offset()..self.filled).unwrap_or_default();
        if let Some(split) = &mut self.split {
            split.write(bytes, packet);
        }
    }

    /// What is left of it is not wanted; so many packets.
    pub(super) fn discard(&mut self) -> u64 {
        let split = self.split.take();
        split.map_or(0, |split| split.left(self.bytes()))
    }

    fn offset(&self) -> usize {
        if self.offload { VirtioHeader::LEN } else { 0 }
    }
}
