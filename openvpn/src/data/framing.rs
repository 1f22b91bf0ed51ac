//! What surrounds a packet where compression was configured once: the packet goes out uncompressed in it, LZ4 is
//! undone, anything else is refused.
//!
//! OpenVPN 2.6 `comp.h`, `comp.c`, `lzo.c`, `lz4.c`.

use std::ops::Range;

use adit_tunnel::OpenError;

use crate::config::Framing;

impl Framing {
    /// Bytes before the packet.
    pub(super) const fn prefix_len(self) -> usize {
        match self {
            Self::V1 => 1,
            Self::None | Self::V1Swap | Self::V2 => 0,
        }
    }

    /// Bytes before and after the packet.
    pub(super) const fn overhead(self) -> usize {
        match self {
            Self::V1 | Self::V1Swap => 1,
            Self::None | Self::V2 => 0,
        }
    }

    /// Puts the marks around a packet; `payload` is the packet with the room of [`Self::overhead`] around it.
    ///
    /// `None`, with nothing changed, if the packet cannot be framed in constant room: in V2 one whose first byte is
    /// the escape, 0x50. That would be version 5 of IP, which is neither a packet nor a message of ours.
    pub(super) fn mark(self, payload: &mut [u8]) -> Option<()> {
        match self {
            Self::None => {}
            Self::V1 => *payload.first_mut()? = UNCOMPRESSED,
            Self::V1Swap => {
                let first = *payload.first()?;
                *payload.last_mut()? = first;
                *payload.first_mut()? = UNCOMPRESSED_SWAP;
            }
            Self::V2 if payload.first() == Some(&ESCAPE_V2) => return None,
            Self::V2 => {}
        }
        Some(())
    }

    /// Bytes of scratch space that a packet may need when it is unpacked.
    pub(super) fn scratch_len(self, mtu: u16) -> usize {
        match self {
            Self::None => 0,
            Self::V1 | Self::V1Swap | Self::V2 => usize::from(mtu.max(DEFAULT_MTU)) + UNPACKED_SLACK,
        }
    }

    /// Finds the packet inside a payload. What the peer may send does not depend on which V1 marks we send: servers
    /// answer `comp-lzo no` with the marks of `compress` and the reverse.
    pub(super) fn unmark(
        self,
        datagram: &mut [u8],
        payload: Range<usize>,
        scratch: &mut [u8],
    ) -> Result<Unmarked, OpenError> {
        let bytes = datagram.get_mut(payload.clone()).ok_or(OpenError::Malformed)?;
        let Some(&mark) = bytes.first() else { return Ok(Unmarked::InPlace(payload)) };
        match (self, mark) {
            (Self::None, _) => Ok(Unmarked::InPlace(payload)),
            (Self::V1 | Self::V1Swap, UNCOMPRESSED) => Ok(Unmarked::InPlace(payload.start + 1..payload.end)),
            (Self::V1 | Self::V1Swap, UNCOMPRESSED_SWAP) => {
                swap_back(bytes);
                Ok(Unmarked::InPlace(payload.start..payload.end - 1))
            }
            (Self::V1 | Self::V1Swap, LZ4_SWAP) => unpack(swap_back(bytes), scratch),
            (Self::V1 | Self::V1Swap, _) => Err(OpenError::Malformed),
            (Self::V2, ESCAPE_V2) => match bytes.get(1) {
                Some(&UNCOMPRESSED_V2) => Ok(Unmarked::InPlace(payload.start + 2..payload.end)),
                Some(&LZ4_V2) => unpack(bytes.get(2..).unwrap_or_default(), scratch),
                _ => Err(OpenError::Malformed),
            },
            (Self::V2, _) => Ok(Unmarked::InPlace(payload)),
        }
    }
}

/// Where the packet lies once its marks are known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unmarked {
    /// In the datagram.
    InPlace(Range<usize>),
    /// At the beginning of the scratch space, this many bytes.
    Unpacked(usize),
}

/// The last byte goes back to where the mark was; returns what the mark and the swap surrounded.
fn swap_back(bytes: &mut [u8]) -> &[u8] {
    let Some((&mut last, rest)) = bytes.split_last_mut() else { return &[] };
    if let Some(first) = rest.first_mut() {
        *first = last;
    }
    rest
}

/// Undoes LZ4; never writes more than the scratch space, whatever the input claims.
fn unpack(packed: &[u8], scratch: &mut [u8]) -> Result<Unmarked, OpenError> {
    let len = lz4_flex::block::decompress_into(packed, scratch).map_err(|_| OpenError::Malformed)?;
    Ok(Unmarked::Unpacked(len))
}

/// `NO_COMPRESS_BYTE`. LZO's mark, 0x66, is refused with everything unknown.
const UNCOMPRESSED: u8 = 0xfa;
/// `NO_COMPRESS_BYTE_SWAP`.
const UNCOMPRESSED_SWAP: u8 = 0xfb;
/// `LZ4_COMPRESS_BYTE`; swapped like [`UNCOMPRESSED_SWAP`].
const LZ4_SWAP: u8 = 0x69;
/// `COMP_ALGV2_INDICATOR_BYTE`: the byte after it says how the rest is compressed.
const ESCAPE_V2: u8 = 0x50;
/// `COMP_ALGV2_UNCOMPRESSED_BYTE`.
const UNCOMPRESSED_V2: u8 = 0;
/// `COMP_ALGV2_LZ4_BYTE`.
const LZ4_V2: u8 = 1;
/// A server's packets are not smaller because our MTU is.
const DEFAULT_MTU: u16 = 1500;
/// Our own judgement: room for a server whose MTU is a little larger than ours.
const UNPACKED_SLACK: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn unmark(framing: Framing, payload: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (mut datagram, mut scratch) = (payload.to_vec(), vec![0; framing.scratch_len(1500)]);
        Ok(match framing.unmark(&mut datagram, 0..payload.len(), &mut scratch)? {
            Unmarked::InPlace(range) => datagram[range].to_vec(),
            Unmarked::Unpacked(len) => scratch[..len].to_vec(),
        })
    }

    #[test]
    fn the_first_byte_moves_to_the_end_in_v1_swap() {
        let mut payload = [0x45, 1, 2, 3, 0];
        Framing::V1Swap.mark(&mut payload).unwrap();
        assert_eq!(payload, [0xfb, 1, 2, 3, 0x45]);
        assert_eq!(unmark(Framing::V1Swap, &payload).unwrap(), [0x45, 1, 2, 3]);
    }

    #[test]
    fn an_empty_packet_is_its_marks_alone() {
        for (framing, marks) in [(Framing::V1, 0xfa), (Framing::V1Swap, 0xfb)] {
            let mut payload = [0x33];
            framing.mark(&mut payload).unwrap();
            assert_eq!(payload, [marks]);
            assert_eq!(unmark(framing, &payload).unwrap(), [0; 0]);
        }
        assert_eq!(unmark(Framing::V2, &[]).unwrap(), [0; 0]);
    }

    #[test]
    fn either_v1_accepts_the_marks_of_the_other() {
        assert_eq!(unmark(Framing::V1, &[0xfb, 2, 1]).unwrap(), [1, 2]);
        assert_eq!(unmark(Framing::V1Swap, &[0xfa, 1, 2]).unwrap(), [1, 2]);
    }

    #[test]
    fn lzo_and_unknown_marks_are_refused() {
        for framing in [Framing::V1, Framing::V1Swap] {
            for mark in (0..=255).filter(|mark| ![0xfa, 0xfb, 0x69].contains(mark)) {
                assert_eq!(unmark(framing, &[mark, 1, 2, 3]), Err(OpenError::Malformed), "{mark:#x}");
            }
        }
        for mark in 2..=255 {
            assert_eq!(unmark(Framing::V2, &[0x50, mark, 1, 2, 3]), Err(OpenError::Malformed), "{mark:#x}");
        }
        assert_eq!(unmark(Framing::V2, &[0x50]), Err(OpenError::Malformed));
    }

    #[test]
    fn v2_writes_nothing_but_understands_the_escape() {
        let mut payload = [0x45, 1];
        Framing::V2.mark(&mut payload).unwrap();
        assert_eq!(payload, [0x45, 1]);
        assert_eq!(unmark(Framing::V2, &[0x50, 0, 0x50, 1]).unwrap(), [0x50, 1]);
        assert_eq!(Framing::V2.mark(&mut [0x50, 1]), None);
    }

    #[test]
    fn lz4_that_would_grow_beyond_the_mtu_is_refused() {
        let bomb = lz4_flex::block::compress(&vec![0x45; 60_000]);
        assert!(bomb.len() < 300);
        let v2 = [&[0x50, 1], bomb.as_slice()].concat();
        assert_eq!(unmark(Framing::V2, &v2), Err(OpenError::Malformed));
        let v1 = [&[0x69], &bomb[1..], &bomb[..1]].concat();
        assert_eq!(unmark(Framing::V1Swap, &v1), Err(OpenError::Malformed));
    }

    #[test]
    fn truncated_lz4_is_an_error_and_not_a_packet() {
        let packet: Vec<u8> = (0..400u32).map(|i| (i / 7) as u8).collect();
        let packed = lz4_flex::block::compress(&packet);
        for len in 0..packed.len() {
            let v2 = [&[0x50, 1], &packed[..len]].concat();
            assert_ne!(unmark(Framing::V2, &v2).as_deref(), Ok(packet.as_slice()));
        }
        assert_eq!(unmark(Framing::V2, &[&[0x50, 1], packed.as_slice()].concat()).unwrap(), packet);
    }
}
