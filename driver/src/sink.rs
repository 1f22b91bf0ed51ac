//! From the stack's packets to sealed datagrams, in the buffer of the next system call.

use adit_netstack::{PacketSink, Unreachable};
use adit_tunnel::{SealError, Sealer};

use crate::{batch::Batch, capture::Capture, plane::Sealers};

/// Seals what the stack writes, in the send buffer.
pub(crate) struct SealingSink<'a, S> {
    sealers: &'a mut Sealers<S>,
    batch: &'a mut Batch,
    largest: usize,
    sealed: &'a mut Sealed,
    capture: Option<&'a Capture>,
    full: bool,
    /// Answers to packets that no flow carries, where they are wanted.
    refusals: Option<Vec<Vec<u8>>>,
}

/// So many packets that no flow carries are answered at a time: all that a few connections need, and no flood.
const MAX_REFUSALS: usize = 16;

/// What became of packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) packets: u64,
    /// Bytes of the datagrams.
    pub(crate) bytes: u64,
    /// Packets that no key took.
    pub(crate) dropped: u64,
}

impl<'a, S: Sealer> SealingSink<'a, S> {
    /// For packets of up to `mtu` bytes.
    pub(crate) fn new(sealers: &'a mut Sealers<S>, batch: &'a mut Batch, mtu: u16, sealed: &'a mut Sealed) -> Self {
        let largest = sealers.room(mtu.into());
        Self { sealers, batch, largest, sealed, capture: None, full: false, refusals: None }
    }

    /// Gives copies of the packets there, too.
    pub(crate) fn captured(self, capture: Option<&'a Capture>) -> Self {
        Self { capture, ..self }
    }

    /// From now on, packets that no flow carries are answered: whoever sent them would wait for ever.
    pub(crate) fn answer(&mut self) {
        self.refusals = Some(Vec::new());
    }

    /// The answers; from now on there are none.
    pub(crate) fn take_answers(&mut self) -> Vec<Vec<u8>> {
        self.refusals.take().unwrap_or_default()
    }

    /// Whether something may have been left for want of room.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }
}

impl<S: Sealer> PacketSink for SealingSink<'_, S> {
    fn has_room(&mut self) -> bool {
        self.full |= !self.batch.has_room(self.largest);
        !self.full
    }

    fn packet(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) {
        let sealers = &mut *self.sealers;
        let (header_len, room) = (sealers.header_len(), sealers.room(len));
        let (capture, refusals) = (self.capture, &mut self.refusals);
        let sealed = self.batch.seal(header_len, len, room, fill, |buffer, range| {
            let packet = buffer.get(range.clone()).unwrap_or_default();
            if let Some(capture) = capture {
                capture.packet(packet);
            }
            match sealers.of_packet(packet) {
                Some(sealer) => sealer.seal(buffer, range),
                None => {
                    if let Some(refusals) = refusals.as_mut().filter(|refusals| refusals.len() < MAX_REFUSALS) {
                        refusals.extend(adit_netstack::refusal(packet, Unreachable::Network));
                    }
                    Err(SealError::NoRoom)
                }
            }
        });
        self.sealed.note(sealed);
    }
}

impl Sealed {
    pub(crate) fn note(&mut self, sealed: Result<usize, SealError>) {
        match sealed {
            Ok(bytes) => {
                self.packets += 1;
                self.bytes += bytes as u64;
            }
            Err(_) => self.dropped += 1,
        }
    }
}
