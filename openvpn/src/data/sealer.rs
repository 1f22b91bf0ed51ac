//! Packets to datagrams.

use std::{fmt, ops::Range, sync::Arc};

use adit_tunnel::{SealError, Sealer, Usage};

use super::{SealKey, aead, header::Header, message::is_message};
use crate::config::Framing;

/// Seals packets with one data channel key.
///
/// Numbers packets from 1 and refuses with [`SealError::Exhausted`] once 2^32 − 1 are sealed; the control plane
/// renegotiates long before, by [`Usage::sealed_packets`].
pub struct DataSealer {
    header: Header,
    key: SealKey,
    framing: Framing,
    last_id: u32,
    usage: Arc<Usage>,
}

impl DataSealer {
    pub(super) fn new(header: Header, key: SealKey, framing: Framing, usage: Arc<Usage>) -> Self {
        Self { header, key, framing, last_id: 0, usage }
    }

    #[cfg(test)]
    pub(super) fn set_last_id(&mut self, id: u32) {
        self.last_id = id;
    }

    /// Where the payload, that is the packet in its framing, begins in a datagram.
    fn payload_start(&self) -> usize {
        let overhead = match &self.key {
            SealKey::Aead(_) => aead::OVERHEAD,
            SealKey::Cbc(key, _) => key.overhead(),
        };
        self.header.len() + overhead
    }

    /// Where the datagram lies that surrounds this packet.
    fn surround(&self, packet: &Range<usize>) -> Option<Range<usize>> {
        let packet_len = packet.end.checked_sub(packet.start)?;
        let start = packet.start.checked_sub(self.header_len())?;
        Some(start..start.checked_add(self.sealed_len(packet_len))?)
    }

    fn protect(&self, id: u32, datagram: &mut [u8], payload_len: usize) -> Option<()> {
        let version = self.header.version;
        self.header.write(datagram);
        match &self.key {
            SealKey::Aead(key) => key.seal(version, id, datagram),
            SealKey::Cbc(key, ivs) => key.seal(ivs, version, id, datagram, payload_len),
        }
    }
}

impl Sealer for DataSealer {
    fn header_len(&self) -> usize {
        self.payload_start() + self.framing.prefix_len()
    }

    fn sealed_len(&self, packet_len: usize) -> usize {
        let payload_len = packet_len.saturating_add(self.framing.overhead());
        match &self.key {
            SealKey::Aead(_) => payload_len.saturating_add(self.payload_start()),
            SealKey::Cbc(key, _) => key.protected_len(payload_len).saturating_add(self.header.len()),
        }
    }

    /// With [`Framing::V2`], "packets" that begin with 0x50 are refused with [`SealError::NoRoom`]: they would need
    /// two bytes more than all others, and no packet of IP begins so.
    fn seal(&mut self, buf: &mut [u8], packet: Range<usize>) -> Result<Range<usize>, SealError> {
        let id = self.last_id.checked_add(1).ok_or(SealError::Exhausted)?;
        let range = self.surround(&packet).ok_or(SealError::NoRoom)?;
        let counted = match buf.get(packet.clone()).ok_or(SealError::NoRoom)? {
            message if is_message(message) => 0,
            packet => packet.len(),
        };
        let datagram = buf.get_mut(range.clone()).ok_or(SealError::NoRoom)?;
        let (start, len) = (self.payload_start(), packet.len() + self.framing.overhead());
        let payload = datagram.get_mut(start..start + len).ok_or(SealError::NoRoom)?;
        self.framing.mark(payload).ok_or(SealError::NoRoom)?;
        // The id is spent before anything is encrypted with it: a nonce is never used twice.
        if !cfg!(adit_sabotage = "nonce_openvpn") {
            self.last_id = id; // Without this all packets have one nonce: a deliberate fault, which tests must notice.
        }
        self.protect(id, datagram, len).ok_or(SealError::NoRoom)?;
        self.usage.on_sealed(counted);
        Ok(range)
    }
}

impl fmt::Debug for DataSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataSealer")
            .field("header", &self.header)
            .field("framing", &self.framing)
            .field("last_id", &self.last_id)
            .finish_non_exhaustive()
    }
}
