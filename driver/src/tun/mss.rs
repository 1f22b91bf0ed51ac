//! The largest segment that either end of a TCP connection is asked to send, bounded on the way (what others call MSS clamping).

use super::packet::{self, Headers, SYN, TCP, TCP_CHECKSUM, TCP_FLAGS, TCP_OFFSET};

/// Longest TCP payload to allow, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MaxSegment {
    pub(crate) v4: u16,
    pub(crate) v6: u16,
}

impl MaxSegment {
    /// What fits into inner packets of this size.
    pub(crate) fn of_mtu(mtu: u16) -> Self {
        Self { v4: mtu.saturating_sub(20 + 20), v6: mtu.saturating_sub(40 + 20) }
    }

    /// The same number for both families, but no more than fits.
    pub(crate) fn at_most(self, limit: u16) -> Self {
        Self { v4: self.v4.min(limit), v6: self.v6.min(limit) }
    }

    /// Whether [`Self::clamp`] might change anything.
    pub(crate) fn concerns(packet: &[u8]) -> bool {
        let headers = Headers::parse(packet).filter(|headers| headers.protocol == TCP);
        headers.and_then(|headers| packet.get(headers.ip_len + TCP_FLAGS)).is_some_and(|flags| flags & SYN != 0)
    }

    /// Lowers the option of a SYN where it asks for more, in place; the checksum follows (RFC 1624). A SYN without the option
    /// asks for 536 bytes (1220 over IPv6), and is left as it is.
    pub(crate) fn clamp(self, packet: &mut [u8]) {
        let Some(headers) = Headers::parse(packet).filter(|headers| headers.protocol == TCP) else { return };
        let Some(header) = packet.get(headers.ip_len..).filter(|header| header.len() >= 20) else { return };
        if header[TCP_FLAGS] & SYN == 0 {
            return;
        }
        let limit = if packet::is_v4(packet) { self.v4 } else { self.v6 };
        let Some(at) = option(header) else { return };
        let old = packet::get(header, at);
        if old <= limit {
            return;
        }
        let (field, checksum) = (headers.ip_len + at, headers.ip_len + TCP_CHECKSUM);
        let mended = if at % 2 == 0 {
            update(packet::get(packet, checksum), old, limit)
        } else {
            // Across two words of the sum, the bytes of each swapped.
            update(packet::get(packet, checksum), old.swap_bytes(), limit.swap_bytes())
        };
        packet::put(packet, field, limit);
        packet::put(packet, checksum, mended);
    }
}

/// Where in a TCP header the value of its option "maximum segment size" is.
fn option(header: &[u8]) -> Option<usize> {
    let end = usize::from(header.get(TCP_OFFSET)? >> 4) * 4;
    let mut at = 20;
    // Every turn takes at least one byte away, so the walk ends.
    while at < end {
        match *header.get(at)? {
            0 => return None,
            1 => at += 1,
            kind => {
                let len = usize::from(*header.get(at + 1)?);
                if kind == 2 {
                    return (len == 4 && at + 4 <= end && header.len() >= at + 4).then_some(at + 2);
                }
                if len < 2 {
                    return None;
                }
                at += len;
            }
        }
    }
    None
}

/// The checksum after a word of what it covers has changed (RFC 1624 §3, equation 3).
fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !packet::fold(u64::from(!checksum) + u64::from(!old) + u64::from(new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tun::packet::{
        ACK, checksum_holds,
        tests::{segment, with_options},
    };

    const OFFERED: [u8; 8] = [2, 4, 0x05, 0xb4, 1, 3, 3, 7];

    #[test]
    fn a_syn_asks_for_no_more_than_fits() {
        for (v6, fits) in [(false, 1360), (true, 1340)] {
            for flags in [SYN, SYN | ACK] {
                let mut packet = with_options(v6, 7, flags, &OFFERED, b"");
                let at = packet.len() - OFFERED.len() + 2;
                MaxSegment::of_mtu(1400).clamp(&mut packet);
                assert_eq!(packet::get(&packet, at), fits);
                assert!(checksum_holds(&packet, Headers::parse(&packet).unwrap()));
            }
        }
    }

    #[test]
    fn the_rest_of_the_packet_stays_as_it_is() {
        let before = with_options(false, 7, SYN, &OFFERED, b"");
        let mut packet = before.clone();
        MaxSegment::of_mtu(1400).clamp(&mut packet);
        let changed: Vec<usize> = (0..packet.len()).filter(|at| packet[*at] != before[*at]).collect();
        // The checksum of TCP and the value; 1460 is 0x05b4, 1360 is 0x0550.
        assert_eq!(changed, [37, 43]);
        assert_eq!((before[43], packet[43]), (0xb4, 0x50));
    }

    #[test]
    fn an_option_at_an_odd_place_is_found_and_its_checksum_right() {
        for options in [[1, 2, 4, 0x05, 0xb4, 1, 1, 1], [3, 3, 7, 2, 4, 0xff, 0xff, 0]] {
            let mut packet = with_options(false, 7, SYN, &options, b"");
            MaxSegment::of_mtu(1400).at_most(1200).clamp(&mut packet);
            let at = 40 + 2 + options.windows(2).position(|pair| pair == [2, 4]).unwrap();
            assert_eq!(packet::get(&packet, at), 1200);
            assert!(checksum_holds(&packet, Headers::parse(&packet).unwrap()), "{options:?}");
        }
    }

    #[test]
    fn what_asks_for_less_or_is_no_syn_or_is_broken_is_left_alone() {
        let small = with_options(false, 7, SYN, &[2, 4, 1, 0], b"");
        let established = with_options(false, 7, ACK, &OFFERED, b"data");
        let none = segment(true, 7, SYN, b"");
        let endless = with_options(false, 7, SYN, &[8, 0, 2, 4], b"");
        let short = with_options(false, 7, SYN, &[1, 1, 2, 4], b"");
        let ended = with_options(false, 7, SYN, &[0, 2, 4, 0xff], b"");
        for before in [small, established, none, endless, short, ended, vec![0x45; 30], Vec::new()] {
            let mut packet = before.clone();
            MaxSegment::of_mtu(1400).clamp(&mut packet);
            assert_eq!(packet, before);
        }
    }
}
