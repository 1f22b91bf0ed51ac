//! What of a packet is read, and mended, on its way through a device: lengths and checksums.

use std::ops::Range;

/// Offset of a field in a TCP header.
pub(super) const TCP_SEQUENCE: Range<usize> = 4..8;
pub(super) const TCP_OFFSET: usize = 12;
pub(super) const TCP_FLAGS: usize = 13;
pub(super) const TCP_CHECKSUM: usize = 16;
pub(super) const UDP_LENGTH: Range<usize> = 4..6;
pub(super) const UDP_CHECKSUM: usize = 6;

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const CWR: u8 = 0x80;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// Where the headers of a packet lie that is whole: no fragment, no IPv6 extension header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Headers {
    /// Of IPv4 or IPv6; the transport header begins here.
    pub(super) ip_len: usize,
    pub(super) protocol: u8,
}

impl Headers {
    /// Reads the IP header. `None` for what is fragmented, extended, or no packet.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => {
                let header: &[u8; 20] = packet.first_chunk()?;
                let fragmented = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
                let ip_len = usize::from(header[0] & 0x0f) * 4;
                (!fragmented && ip_len >= 20).then_some(Self { ip_len, protocol: header[9] })
            }
            6 => Some(Self { ip_len: 40, protocol: *packet.first_chunk::<40>()?.get(6)? }),
            _ => None,
        }
    }
}

/// Writes the length of a packet into its IP header, and the header's checksum.
pub(super) fn set_length(packet: &mut [u8]) {
    let total = packet.len();
    if is_v4(packet) {
        let length = u16::try_from(total).unwrap_or(u16::MAX);
        put(packet, 2, length);
        mend_v4_checksum(packet);
    } else {
        put(packet, 4, u16::try_from(total.saturating_sub(40)).unwrap_or(u16::MAX));
    }
}

/// Computes the checksum of an IPv4 header anew.
fn mend_v4_checksum(packet: &mut [u8]) {
    let ip_len = usize::from(packet.first().copied().unwrap_or(0) & 0x0f) * 4;
    put(packet, 10, 0);
    let sum = !fold(sum(packet.get(..ip_len).unwrap_or_default()));
    put(packet, 10, sum);
}

/// The sum over the pseudo-header of a transport header and its payload, so many bytes together.
pub(super) fn pseudo_sum(packet: &[u8], protocol: u8, len: usize) -> u64 {
    let addresses = if is_v4(packet) { 12..20 } else { 8..40 };
    sum(packet.get(addresses).unwrap_or_default()) + u64::from(protocol) + len as u64
}

/// Computes the checksum of a transport header anew; its field is so many bytes behind the beginning of the header.
pub(super) fn set_checksum(packet: &mut [u8], headers: Headers, field: usize) {
    let at = headers.ip_len + field;
    put(packet, at, 0);
    let body = packet.get(headers.ip_len..).unwrap_or_default();
    let computed = !fold(pseudo_sum(packet, headers.protocol, body.len()) + sum(body));
    // Zero says of a datagram that it has none.
    put(packet, at, if computed == 0 && headers.protocol == UDP { !0 } else { computed });
}

/// Whether the checksum of the transport header is right.
pub(super) fn checksum_holds(packet: &[u8], headers: Headers) -> bool {
    let body = packet.get(headers.ip_len..).unwrap_or_default();
    fold(pseudo_sum(packet, headers.protocol, body.len()) + sum(body)) == !0
}

/// The sum of the 16-bit words, not folded yet. No packet is long enough for an overflow.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    // The order of the bytes does not matter for the sum, as long as it is the same for all and that of the result is put right
    // (RFC 1071 §2 B). In the machine's own, with several sums side by side, the compiler makes vector instructions of it.
    let mut lanes = [0_u64; 4];
    let mut wide = bytes.chunks_exact(16);
    for chunk in wide.by_ref() {
        for (lane, word) in lanes.iter_mut().zip(chunk.as_chunks().0) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let mut rest = [0; 16];
    if let Some(to) = rest.get_mut(..wide.remainder().len()) {
        to.copy_from_slice(wide.remainder());
    }
    for (lane, word) in lanes.iter_mut().zip(rest.as_chunks().0) {
        *lane += u64::from(u32::from_ne_bytes(*word));
    }
    u16::from_be(fold(lanes.iter().sum())).into()
}

/// Adds the carries.
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

pub(super) fn is_v4(packet: &[u8]) -> bool {
    packet.first().is_some_and(|byte| byte >> 4 == 4)
}

/// A number of two bytes; what lies outside is left alone.
pub(super) fn put(packet: &mut [u8], at: usize, value: u16) {
    if let Some(field) = packet.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// A number of two bytes.
pub(super) fn get(packet: &[u8], at: usize) -> u16 {
    packet.get(at..at + 2).map_or(0, |field| u16::from_be_bytes([field[0], field[1]]))
}

/// A number of four bytes.
pub(super) fn get_long(packet: &[u8], at: usize) -> u32 {
    packet.get(at..at + 4).map_or(0, |f| u32::from_be_bytes([f[0], f[1], f[2], f[3]]))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A TCP segment with right lengths and checksums.
    pub(in crate::tun) fn segment(v6: bool, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        with_options(v6, sequence, flags, &[], payload)
    }

    /// The same with options, which fill whole words.
    pub(in crate::tun) fn with_options(v6: bool, sequence: u32, flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut packet = if v6 {
            let mut header = vec![0x60, 0, 0, 0, 0, 0, TCP, 64];
            header.extend([0xfd, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
            header.extend([0xfd, 0x64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x30]);
            header
        } else {
            vec![0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, TCP, 0, 0, 10, 8, 0, 2, 192, 168, 100, 30]
        };
        let headers = Headers { ip_len: packet.len(), protocol: TCP };
        packet.extend([0x9c, 0x40, 0x1f, 0x90]);
        packet.extend(sequence.to_be_bytes());
        packet.extend([0, 0, 0, 9, ((20 + options.len()) as u8 / 4) << 4, flags, 1, 0xf5, 0, 0, 0, 0]);
        packet.extend(options);
        packet.extend(payload);
        set_length(&mut packet);
        set_checksum(&mut packet, headers, TCP_CHECKSUM);
        packet
    }

    #[test]
    fn checksums_are_those_of_the_rfc_and_of_real_packets() {
        // RFC 1071 §3.
        assert_eq!(fold(sum(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
        assert_eq!(fold(sum(&[0xff, 0xff, 1])), 0x0100);
        // The words of a header of 60 bytes from 192.0.2.2 to 192.0.2.1, added up by hand.
        let mut header = [0x45, 0, 0, 0x3c, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1];
        mend_v4_checksum(&mut header);
        assert_eq!(get(&header, 10), 0xb6b8);
        assert_eq!(fold(sum(&header)), 0xffff);
    }

    #[test]
    fn a_sum_is_that_of_its_words_whatever_their_number() {
        let bytes: Vec<u8> = (0..400_u32).map(|number| (number * number * 7 / 3) as u8 | 0xc0).collect();
        for from in 0..3 {
            for to in from..bytes.len() {
                let words = bytes[from..to].chunks(2).map(|word| match word {
                    [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
                    [high] => u64::from(*high) << 8,
                    _ => 0,
                });
                assert_eq!(fold(sum(&bytes[from..to])), fold(words.sum()), "{from}..{to}");
            }
        }
        assert_eq!(fold(sum(&[0xff; 65535])), 0xff00);
    }

    #[test]
    fn a_broken_packet_does_not_pass_and_a_mended_one_does() {
        for v6 in [false, true] {
            let mut packet = segment(v6, 1, ACK, b"some data");
            let headers = Headers::parse(&packet).unwrap();
            assert!(checksum_holds(&packet, headers));
            *packet.last_mut().unwrap() ^= 1;
            assert!(!checksum_holds(&packet, headers));
            set_checksum(&mut packet, headers, TCP_CHECKSUM);
            assert!(checksum_holds(&packet, headers));
        }
    }

    #[test]
    fn fragments_and_stumps_have_no_headers() {
        let mut fragment = segment(false, 1, ACK, b"x");
        fragment[6] = 0x20;
        assert_eq!(Headers::parse(&fragment), None);
        assert_eq!(Headers::parse(&[0x45; 19]), None);
        assert_eq!(Headers::parse(&[0x60; 39]), None);
        assert_eq!(Headers::parse(&[]), None);
    }
}
