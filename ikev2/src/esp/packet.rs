//! Where things lie in an ESP packet (RFC 4303 §2), and what lies in it.

use std::ops::Range;

/// SPI and sequence number.
pub(super) const HEADER_LEN: usize = 8;
/// Pad length and next header.
pub(super) const TRAILER_LEN: usize = 2;

/// The next header of a dummy packet (RFC 4303 §2.6).
pub(super) const NO_NEXT_HEADER: u8 = 59;
/// The next header of an inner IPv4 packet.
pub(super) const IPV4: u8 = 4;
/// The next header of an inner IPv6 packet.
pub(super) const IPV6: u8 = 41;

/// The next header of a packet, by its version.
pub(super) fn next_header_of(packet: &[u8]) -> Option<u8> {
    match packet.first()? >> 4 {
        4 => Some(IPV4),
        6 => Some(IPV6),
        _ => None,
    }
}

/// Fills everything behind the packet: padding, its length, the next header.
pub(super) fn write_trailer(trailer: &mut [u8], next_header: u8) -> Option<()> {
    let (padding, end) = trailer.split_last_chunk_mut()?;
    *end = [u8::try_from(padding.len()).ok()?, next_header];
    padding.iter_mut().zip(1..=u8::MAX).for_each(|(to, number)| *to = number);
    Some(())
}

/// What was in an authentic packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Inner {
    /// A packet, at this range of what was given.
    Packet(Range<usize>),
    Dummy,
}

/// Takes the trailer off and cuts the packet to the length that its own header tells: what remains is padding against
/// traffic analysis (RFC 4303 §2.7). `None` if anything contradicts something else.
pub(super) fn inner(decrypted: &[u8]) -> Option<Inner> {
    let (rest, &[pad_len, next_header]) = decrypted.split_last_chunk()?;
    let (payload, padding) = rest.split_at_checked(rest.len().checked_sub(pad_len.into())?)?;
    if !padding.iter().zip(1..=u8::MAX).all(|(byte, number)| *byte == number) {
        return None;
    }
    let len = match next_header {
        NO_NEXT_HEADER => return Some(Inner::Dummy),
        IPV4 => ipv4_len(payload)?,
        IPV6 => ipv6_len(payload)?,
        _ => return None,
    };
    (len <= payload.len()).then_some(Inner::Packet(0..len))
}

/// Total length, if the header is whole (RFC 791 §3.1).
fn ipv4_len(packet: &[u8]) -> Option<usize> {
    let &[version_and_header_len, _, high, low, ..] = packet.first_chunk::<20>()?;
    let header_len = usize::from(version_and_header_len & 0xf) * 4;
    let len = u16::from_be_bytes([high, low]).into();
    (version_and_header_len >> 4 == 4 && header_len >= 20 && header_len <= len).then_some(len)
}

/// Header and payload length, if the header is whole (RFC 8200 §3). Jumbograms do not fit a datagram.
fn ipv6_len(packet: &[u8]) -> Option<usize> {
    let &[version, _, _, _, high, low, ..] = packet.first_chunk::<40>()?;
    (version >> 4 == 6).then(|| 40 + usize::from(u16::from_be_bytes([high, low])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_counts_from_one() {
        let mut trailer = [0xff; 7];
        write_trailer(&mut trailer, IPV6).unwrap();
        assert_eq!(trailer, [1, 2, 3, 4, 5, 5, 41]);
        let mut bare = [0xff; 2];
        write_trailer(&mut bare, IPV4).unwrap();
        assert_eq!(bare, [0, 4]);
        assert_eq!(write_trailer(&mut [0], IPV4), None);
        assert_eq!(write_trailer(&mut [0; 258], IPV4), None);
    }

    #[test]
    fn the_longest_padding_is_accepted() {
        let mut decrypted = vec![0x45, 0, 0, 20];
        decrypted.resize(20, 0);
        decrypted.extend((1..=255).chain([255, IPV4]));
        assert_eq!(inner(&decrypted), Some(Inner::Packet(0..20)));
        decrypted.remove(19);
        assert_eq!(inner(&decrypted), None);
    }
}
