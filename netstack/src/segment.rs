//! TCP headers: the few fields the stack itself looks at, and the segments it writes without a connection.

use std::net::IpAddr;

use smoltcp::wire::checksum;

use crate::{
    demux::Tuple,
    packet::{self, Packet, Parsed, TCP},
};

/// The header of a segment (RFC 9293 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: Option<u32>,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    pub(crate) window: u16,
    /// Bytes of data.
    pub(crate) data: usize,
}

impl Segment {
    /// Reads a header at the start of `bytes`, the payload of an IP packet.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        let header_len = usize::from(header[12] >> 4) * 4;
        if header_len < HEADER {
            return None;
        }
        let flags = header[13];
        let acknowledgment = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        Some(Self {
            source_port: u16::from_be_bytes([header[0], header[1]]),
            destination_port: u16::from_be_bytes([header[2], header[3]]),
            sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            acknowledgment: (flags & ACK != 0).then_some(acknowledgment),
            syn: flags & SYN != 0,
            fin: flags & FIN != 0,
            rst: flags & RST != 0,
            window: u16::from_be_bytes([header[14], header[15]]),
            data: bytes.len().checked_sub(header_len)?,
        })
    }

    /// Whether nothing but its acknowledgment and window is of interest.
    pub(crate) const fn is_pure_acknowledgment(&self) -> bool {
        self.data == 0 && !(self.syn || self.fin || self.rst)
    }

    /// The sequence number after this segment; SYN and FIN take one each.
    pub(crate) fn end(&self) -> u32 {
        let data = u32::try_from(self.data).unwrap_or(0);
        self.sequence.wrapping_add(data).wrapping_add(u32::from(self.syn)).wrapping_add(u32::from(self.fin))
    }
}

/// What a SYN asks for: all that is kept of it until it is accepted or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syn {
    pub(crate) sequence: u32,
    pub(crate) window: u16,
    pub(crate) max_segment_size: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack_permitted: bool,
}

impl Syn {
    /// Reads the options of a segment that was read before; those that make no sense are as good as absent.
    pub(crate) fn parse(packet: &Packet<'_>, segment: &Segment) -> Self {
        let Segment { sequence, window, .. } = *segment;
        let mut syn = Self { sequence, window, max_segment_size: None, window_scale: None, sack_permitted: false };
        let header_len = packet.payload.len().saturating_sub(segment.data);
        for (_, option) in options_of(packet.payload.get(HEADER..header_len).unwrap_or_default()) {
            match *option {
                // None at all is no size (as in Linux, and in smoltcp).
                [MAX_SEGMENT_SIZE, _, 0, 0] => syn.max_segment_size = None,
                [MAX_SEGMENT_SIZE, _, high, low] => syn.max_segment_size = Some(u16::from_be_bytes([high, low])),
                [WINDOW_SCALE, _, shift] => syn.window_scale = Some(shift.min(LARGEST_SHIFT)),
                [SACK_PERMITTED, _] => syn.sack_permitted = true,
                _ => {}
            }
        }
        syn
    }

    /// The SYN again, as a packet with what was kept of it.
    pub(crate) fn packet(&self, tuple: &Tuple) -> Option<Vec<u8>> {
        let mut segment = vec![0; HEADER];
        if let Some(size) = self.max_segment_size {
            let [high, low] = size.to_be_bytes();
            segment.extend([MAX_SEGMENT_SIZE, 4, high, low]);
        }
        if let Some(shift) = self.window_scale {
            segment.extend([NO_OPERATION, WINDOW_SCALE, 3, shift]);
        }
        if self.sack_permitted {
            segment.extend([NO_OPERATION, NO_OPERATION, SACK_PERMITTED, 2]);
        }
        // Each of the above is four bytes: the length is a number of words, and at most eight.
        let words = u8::try_from(segment.len() / 4).ok()?;
        let ((source, source_port), (destination, destination_port)) = (tuple.remote, tuple.local);
        let header: &mut [u8; HEADER] = segment.first_chunk_mut()?;
        header[0..2].copy_from_slice(&source_port.to_be_bytes());
        header[2..4].copy_from_slice(&destination_port.to_be_bytes());
        header[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        (header[12], header[13]) = (words << 4, SYN);
        header[14..16].copy_from_slice(&self.window.to_be_bytes());
        let [high, low] = packet::transport_checksum(source, destination, TCP, &segment);
        let header: &mut [u8; HEADER] = segment.first_chunk_mut()?;
        (header[16], header[17]) = (high, low);
        packet::build((source, destination), None, TCP, segment.len(), |payload| payload.copy_from_slice(&segment))
    }

    /// The RST that refuses it.
    pub(crate) fn reset(&self, tuple: &Tuple) -> Option<Vec<u8>> {
        let syn = self.packet(tuple)?;
        let Ok(Parsed::Whole(packet)) = packet::parse(&syn) else { return None };
        reset_for(&packet, &Segment::parse(packet.payload)?)
    }
}

/// Writes another sequence number into a segment, and what that changes into its checksum (RFC 1624).
pub(crate) fn set_sequence(segment: &mut [u8], sequence: u32) {
    replace(segment, 4, sequence.to_be_bytes());
}

/// The same with the window.
pub(crate) fn set_window(segment: &mut [u8], window: u16) {
    replace(segment, 14, window.to_be_bytes());
}

/// The same with the shift in the options of a SYN with so much data, if it has that option.
pub(crate) fn set_window_scale(segment: &mut [u8], data: usize, shift: u8) {
    let header_len = segment.len().saturating_sub(data);
    let Some(options) = segment.get(HEADER..header_len) else { return };
    let Some(at) = options_of(options).find(|(_, option)| matches!(option, [WINDOW_SCALE, _, _])).map(|(at, _)| at)
    else {
        return;
    };
    let at = HEADER + at + 2;
    // Sums are of pairs of bytes.
    let even = at & !1;
    let Some(&[high, low]) = segment.get(even..even + 2) else { return };
    replace(segment, even, if at == even { [shift, low] } else { [high, shift] });
}

/// Writes other bytes at an even place.
fn replace<const LEN: usize>(segment: &mut [u8], at: usize, new: [u8; LEN]) {
    let Some(old) = segment.get_mut(at..at + LEN) else { return };
    let old_sum = checksum::data(old);
    old.copy_from_slice(&new);
    let Some(header) = segment.first_chunk_mut::<HEADER>() else { return };
    let checksum = u16::from_be_bytes([header[16], header[17]]);
    let sum = checksum::combine(&[!checksum, !old_sum, checksum::data(&new)]);
    header[16..18].copy_from_slice(&(!sum).to_be_bytes());
}

/// Options with their places; those after what makes no sense are as good as absent.
fn options_of(options: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    // Every turn takes at least one byte away, so the walk ends.
    std::iter::from_fn(move || {
        let rest = options.get(at..)?;
        let len = match *rest {
            [] | [END_OF_OPTIONS, ..] => return None,
            [NO_OPERATION, ..] => 1,
            [_, len, ..] if len >= 2 => usize::from(len),
            _ => return None,
        };
        let option = (at, rest.get(..len)?);
        at += len;
        Some(option)
    })
}

/// The FIN at the end of a segment, without the data in front of it. Its checksum is not right: it stays in the house.
pub(crate) fn fin_alone(packet: &Packet<'_>, segment: &Segment) -> Option<Vec<u8>> {
    let header_len = packet.payload.len().checked_sub(segment.data)?;
    let header = packet.payload.get(..header_len)?;
    packet::build((packet.source, packet.destination), None, TCP, header_len, |payload| {
        payload.copy_from_slice(header);
        set_sequence(payload, segment.end().wrapping_sub(1));
    })
}

/// The RST that answers a segment of no connection (RFC 9293 §3.10.7.1).
pub(crate) fn reset_for(packet: &Packet<'_>, segment: &Segment) -> Option<Vec<u8>> {
    let (sequence, acknowledgment) = match segment.acknowledgment {
        Some(acknowledgment) => (acknowledgment, None),
        None => (0, Some(segment.end())),
    };
    bare(Way::back(packet, segment), sequence, acknowledgment, RST, 0)
}

/// An acknowledgment without a connection, in answer to `segment`.
pub(crate) fn acknowledgment_for(
    packet: &Packet<'_>,
    segment: &Segment,
    sequence: u32,
    acknowledgment: u32,
    window: u16,
) -> Option<Vec<u8>> {
    bare(Way::back(packet, segment), sequence, Some(acknowledgment), 0, window)
}

/// An acknowledgment in answer to nothing.
pub(crate) fn acknowledgment(
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    sequence: u32,
    acknowledgment: u32,
    window: u16,
) -> Option<Vec<u8>> {
    bare(Way { from, to }, sequence, Some(acknowledgment), 0, window)
}

/// A segment of a connection, with its sequence number and what it acknowledges.
pub(crate) fn data(
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    (sequence, acknowledgment): (u32, u32),
    window: u16,
    data: &[u8],
    fin: bool,
) -> Option<Vec<u8>> {
    whole(Way { from, to }, sequence, Some(acknowledgment), if fin { FIN } else { 0 }, window, data)
}

/// From where to where.
#[derive(Debug, Clone, Copy)]
struct Way {
    from: (IpAddr, u16),
    to: (IpAddr, u16),
}

impl Way {
    /// To where a segment came from.
    const fn back(packet: &Packet<'_>, segment: &Segment) -> Self {
        Self { from: (packet.destination, segment.destination_port), to: (packet.source, segment.source_port) }
    }
}

/// A segment without data.
fn bare(way: Way, sequence: u32, acknowledgment: Option<u32>, flags: u8, window: u16) -> Option<Vec<u8>> {
    whole(way, sequence, acknowledgment, flags, window, &[])
}

fn whole(way: Way, sequence: u32, acknowledgment: Option<u32>, flags: u8, window: u16, data: &[u8]) -> Option<Vec<u8>> {
    let ((source, source_port), (destination, destination_port)) = (way.from, way.to);
    let mut segment = vec![0; HEADER];
    segment.extend_from_slice(data);
    let header: &mut [u8; HEADER] = segment.first_chunk_mut()?;
    header[0..2].copy_from_slice(&source_port.to_be_bytes());
    header[2..4].copy_from_slice(&destination_port.to_be_bytes());
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    header[8..12].copy_from_slice(&acknowledgment.unwrap_or(0).to_be_bytes());
    header[12] = 5 << 4;
    header[13] = flags | if acknowledgment.is_some() { ACK } else { 0 };
    header[14..16].copy_from_slice(&window.to_be_bytes());
    let [high, low] = packet::transport_checksum(source, destination, TCP, &segment);
    let header: &mut [u8; HEADER] = segment.first_chunk_mut()?;
    (header[16], header[17]) = (high, low);
    packet::build((source, destination), None, TCP, segment.len(), |payload| payload.copy_from_slice(&segment))
}

pub(crate) const HEADER: usize = 20;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

// Kinds of options (RFC 9293 §3.2, RFC 7323 §2.2, RFC 2018 §2).
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAX_SEGMENT_SIZE: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
/// RFC 7323 §2.3.
const LARGEST_SHIFT: u8 = 14;
