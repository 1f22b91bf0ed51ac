//! Datagrams to packets.

use std::{fmt, ops::Range, sync::Arc};

use adit_tunnel::{Content, OpenError, Opened, Opener, ReplayWindow, Usage};

use super::{
    packet::{HEADER_LEN, Inner, inner},
    protection::Protection,
};
use crate::{negotiate::EspSuite, sa::keys::EspKeys, selectors::SelectorCheck};

/// Opens the datagrams of the inbound half of one child SA (RFC 4303 §3.4), in tunnel mode.
///
/// A datagram is an ESP packet, without a marker; the caller has chosen the opener by its SPI. It must be authentic and no
/// replay; then it holds one whole IPv4 or IPv6 packet whose addresses, protocol and ports are within the traffic selectors
/// agreed upon, or it is [`OpenError::Malformed`]. Padding against traffic analysis is cut off; dummy packets are
/// [`Content::Filler`]. With ESN the upper half of the sequence number, which is not sent, is found as RFC 4303
/// appendix A2.2 says.
///
/// Nothing is allocated per packet. The expanded key of `ring`'s AEADs is not wiped on drop: `ring` has no way to.
pub struct EspOpener {
    protection: Protection,
    replay: ReplayWindow,
    /// At least 1.
    window: u32,
    check: SelectorCheck,
    usage: Arc<Usage>,
}

impl EspOpener {
    /// Accepts sequence numbers up to `window` older than the newest. `None` if the suite is none we have, or a key has not
    /// its length.
    pub(crate) fn new(
        suite: &EspSuite,
        keys: &EspKeys,
        window: u32,
        check: SelectorCheck,
        usage: Arc<Usage>,
    ) -> Option<Self> {
        let window = window.max(1);
        let protection = Protection::new(suite, keys)?;
        Some(Self { protection, replay: ReplayWindow::new(window), window, check, usage })
    }

    #[cfg(test)]
    pub(super) fn set_newest(&mut self, sequence: u64) {
        self.replay.mark(sequence);
    }

    fn open_uncounted(&mut self, datagram: &mut [u8]) -> Result<(Opened, usize), OpenError> {
        let (sequence, content) = self.authenticate(datagram)?;
        // An authentic datagram is spent, whatever its content turns out to be.
        let newest = self.replay.mark(sequence);
        let (content, bytes) = self.judge(datagram, content).ok_or(OpenError::Malformed)?;
        Ok((Opened { content, newest }, bytes))
    }

    /// Returns the sequence number and where the content lies, decrypted.
    pub(super) fn authenticate(&self, datagram: &mut [u8]) -> Result<(u64, Range<usize>), OpenError> {
        let &[_, _, _, _, a, b, c, d] = datagram.first_chunk::<HEADER_LEN>().ok_or(OpenError::Malformed)?;
        let sequence = self.whole_sequence(u32::from_be_bytes([a, b, c, d])).ok_or(OpenError::Replayed)?;
        if !self.replay.check(sequence) {
            return Err(OpenError::Replayed);
        }
        Ok((sequence, self.protection.open(sequence, datagram)?))
    }

    fn whole_sequence(&self, low_half: u32) -> Option<u64> {
        if self.protection.esn { extend(self.replay.newest(), self.window, low_half) } else { Some(low_half.into()) }
    }

    /// Returns also the bytes to count.
    fn judge(&self, datagram: &[u8], content: Range<usize>) -> Option<(Content, usize)> {
        let decrypted = datagram.get(content.clone())?;
        match inner(decrypted)? {
            Inner::Dummy => Some((Content::Filler, 0)),
            Inner::Packet(range) if self.check.allows(decrypted.get(range.clone())?) => {
                Some((Content::Packet(content.start + range.start..content.start + range.end), range.len()))
            }
            Inner::Packet(_) => None,
        }
    }
}

impl Opener for EspOpener {
    fn open(&mut self, datagram: &mut [u8]) -> Result<Opened, OpenError> {
        match self.open_uncounted(datagram) {
            Ok((opened, bytes)) => {
                self.usage.on_opened(bytes);
                Ok(opened)
            }
            Err(error) => {
                self.usage.on_refused();
                Err(error)
            }
        }
    }

    /// Always empty: nothing is compressed.
    fn unpacked(&self) -> &[u8] {
        &[]
    }
}

impl fmt::Debug for EspOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EspOpener")
            .field("esn", &self.protection.esn)
            .field("newest", &self.replay.newest())
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

/// The one number with this lower half among the 2^32 that begin at the lower end of the window. That is what the two
/// cases of RFC 4303 appendix A2.2 come to. `None` for a number before 0 or beyond 2^64 − 1.
fn extend(newest: u64, window: u32, low_half: u32) -> Option<u64> {
    let bottom = i128::from(newest) - i128::from(window) + 1;
    let distance = low_half.wrapping_sub(bottom as u32);
    u64::try_from(bottom + i128::from(distance)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HIGH: u64 = 1 << 32;

    #[test]
    fn the_upper_half_moves_on_where_the_lower_starts_over() {
        assert_eq!(extend(0, 64, 1), Some(1));
        assert_eq!(extend(0, 64, 0xffff_ff00), Some(0xffff_ff00));
        assert_eq!(extend(HIGH - 2, 64, 0), Some(HIGH));
        assert_eq!(extend(HIGH - 2, 64, 5), Some(HIGH + 5));
        assert_eq!(extend(HIGH + 5, 64, 0xffff_ffff), Some(HIGH - 1));
        assert_eq!(extend(HIGH + 5, 64, 0xffff_ffc6), Some(HIGH - 58), "the oldest of the window");
        assert_eq!(extend(HIGH + 5, 64, 0xffff_ffc5), Some(2 * HIGH - 59), "the one before");
    }

    #[test]
    fn numbers_before_the_first_and_beyond_the_last_do_not_exist() {
        assert_eq!(extend(0, 64, 0xffff_ffff), None);
        assert_eq!(extend(10, 64, 0xffff_ffff), None);
        assert_eq!(extend(u64::MAX, 64, 0), None);
        assert_eq!(extend(u64::MAX, 64, 0xffff_ffff), Some(u64::MAX));
    }

    /// RFC 4303 appendix A2.2, word for word.
    fn by_the_rfc(newest: u64, window: u32, low: u32) -> (i128, u32) {
        let (high, newest_low) = (i128::from(newest >> 32), newest as u32);
        let bottom_low = newest_low.wrapping_sub(window).wrapping_add(1);
        let high = match (newest_low >= window - 1, low >= bottom_low) {
            (true, true) => high,
            (true, false) => high + 1,
            (false, true) => high - 1,
            (false, false) => high,
        };
        (high, low)
    }

    proptest! {
        #[test]
        fn the_upper_half_is_that_of_the_rfc(
            high in prop_oneof![Just(0), Just(1), Just(u32::MAX), any::<u32>()],
            newest_low in prop_oneof![0u32..3000, (u32::MAX - 3000)..=u32::MAX, any::<u32>()],
            low in prop_oneof![0u32..3000, (u32::MAX - 3000)..=u32::MAX, any::<u32>()],
            window in 1u32..2000,
        ) {
            let newest = u64::from(high) << 32 | u64::from(newest_low);
            let (high, low) = by_the_rfc(newest, window, low);
            let expected = u32::try_from(high).ok().map(|high| u64::from(high) << 32 | u64::from(low));
            prop_assert_eq!(extend(newest, window, low), expected);
        }
    }
}
