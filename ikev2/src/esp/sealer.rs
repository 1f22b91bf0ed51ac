//! Packets to datagrams.

use std::{fmt, ops::Range, sync::Arc};

use adit_tunnel::{Random, SealError, Sealer, Usage};

use super::{
    packet::{HEADER_LEN, TRAILER_LEN, next_header_of, write_trailer},
    protection::{IvSource, Protection},
};
use crate::{negotiate::EspSuite, sa::keys::EspKeys, selectors::SelectorCheck};

/// Seals IPv4 and IPv6 packets with the outbound half of one child SA (RFC 4303 §3.3), in tunnel mode.
///
/// The datagram is the ESP packet itself: for UDP encapsulation it is sent as it is, without a marker (RFC 3948 §2.1).
/// Sequence numbers count from 1 to 2^32 − 1, with ESN to 2^64 − 1, and never wrap: then nothing is sealed any more
/// ([`SealError::Exhausted`]). The control plane rekeys long before, by [`Usage::sealed_packets`].
///
/// The key does not change between packets, so none is prepared per packet, and nothing is allocated. The expanded key
/// of `ring`'s AEADs is not wiped on drop: `ring` has no way to.
pub struct EspSealer {
    spi: u32,
    protection: Protection,
    ivs: IvSource,
    last_sequence: u64,
    usage: Arc<Usage>,
    /// What may be sealed, where that depends on more than the destination.
    check: Option<SelectorCheck>,
}

impl EspSealer {
    /// Seals for the peer's inbound `spi`. `None` if the suite is none we have, or a key has not its length.
    pub(crate) fn new(
        suite: &EspSuite,
        keys: &EspKeys,
        spi: u32,
        random: &mut dyn Random,
        usage: Arc<Usage>,
    ) -> Option<Self> {
        let protection = Protection::new(suite, keys)?;
        let ivs = IvSource::new(suite.encryption, random)?;
        Some(Self { spi, protection, ivs, last_sequence: 0, usage, check: None })
    }

    /// Refuses what the check does not allow (RFC 4301 §5.1).
    pub(crate) fn restricted(self, check: Option<SelectorCheck>) -> Self {
        Self { check, ..self }
    }

    /// The longest packet whose datagram is no longer than this; 0 if there is none.
    pub(crate) fn packet_room(&self, datagram_len: usize) -> usize {
        let content = datagram_len.saturating_sub(self.header_len() + self.protection.icv_len());
        (content - content % self.protection.pad_to()).saturating_sub(TRAILER_LEN)
    }

    #[cfg(test)]
    pub(super) fn set_last_sequence(&mut self, sequence: u64) {
        self.last_sequence = sequence;
    }

    fn next_sequence(&self) -> Option<u64> {
        let last = if self.protection.esn { u64::MAX } else { u32::MAX.into() };
        self.last_sequence.checked_add(1).filter(|next| *next <= last)
    }

    /// Where the datagram lies that surrounds this packet.
    fn surround(&self, packet: &Range<usize>) -> Option<Range<usize>> {
        let packet_len = packet.end.checked_sub(packet.start)?;
        let start = packet.start.checked_sub(self.header_len())?;
        Some(start..start.checked_add(self.sealed_len(packet_len))?)
    }

    /// Writes everything around the packet, then encrypts.
    fn protect(&self, sequence: u64, datagram: &mut [u8], packet_len: usize, next_header: u8) -> Option<()> {
        let icv_start = datagram.len().checked_sub(self.protection.icv_len())?;
        let (spi, rest) = datagram.get_mut(..icv_start)?.split_first_chunk_mut()?;
        let (low_half, rest) = rest.split_first_chunk_mut()?;
        let (iv, content) = rest.split_at_mut_checked(self.protection.iv_len())?;
        *spi = self.spi.to_be_bytes();
        *low_half = (sequence as u32).to_be_bytes();
        // A deliberate fault, which tests must notice: one nonce for all packets.
        self.ivs.write(if cfg!(adit_sabotage = "nonce_esp") { 1 } else { sequence }, iv);
        write_trailer(content.get_mut(packet_len..)?, next_header)?;
        self.protection.seal(sequence, datagram)
    }
}

impl Sealer for EspSealer {
    fn header_len(&self) -> usize {
        HEADER_LEN + self.protection.iv_len()
    }

    fn sealed_len(&self, packet_len: usize) -> usize {
        let content =
            packet_len.checked_add(TRAILER_LEN).and_then(|len| len.checked_next_multiple_of(self.protection.pad_to()));
        content.unwrap_or(usize::MAX).saturating_add(self.header_len() + self.protection.icv_len())
    }

    /// What is no packet of IP is refused with [`SealError::NoRoom`]: there is no next header for it. What the selectors of
    /// the child do not allow is refused with [`SealError::NotAgreed`].
    fn seal(&mut self, buf: &mut [u8], packet: Range<usize>) -> Result<Range<usize>, SealError> {
        let sequence = self.next_sequence().ok_or(SealError::Exhausted)?;
        let range = self.surround(&packet).ok_or(SealError::NoRoom)?;
        let next_header = buf.get(packet.clone()).and_then(next_header_of).ok_or(SealError::NoRoom)?;
        if let Some(check) = &self.check
            && !buf.get(packet.clone()).is_some_and(|packet| check.allows(packet))
        {
            return Err(SealError::NotAgreed);
        }
        let datagram = buf.get_mut(range.clone()).ok_or(SealError::NoRoom)?;
        // The number is spent before anything is encrypted with it: a nonce is never used twice.
        self.last_sequence = sequence;
        self.protect(sequence, datagram, packet.len(), next_header).ok_or(SealError::NoRoom)?;
        self.usage.on_sealed(packet.len());
        Ok(range)
    }
}

impl fmt::Debug for EspSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EspSealer")
            .field("spi", &format_args!("{:08x}", self.spi))
            .field("esn", &self.protection.esn)
            .field("last_sequence", &self.last_sequence)
            .finish_non_exhaustive()
    }
}
