//! From packets to trains: neighbouring segments of a TCP connection go to the kernel as one.

use super::{
    packet::{
        self, ACK, Headers, PSH, TCP, TCP_CHECKSUM, TCP_FLAGS, TCP_OFFSET, TCP_SEQUENCE, checksum_holds, fold,
        pseudo_sum, put,
    },
    split::VirtioHeader,
};

/// What is written to the device: a packet, or a train, with the header that says which.
pub(super) type Write<'a> = &'a mut dyn FnMut(VirtioHeader, &[u8]);

/// Trains in the making. The order within a connection is kept, that between connections is not: nobody relies on it.
#[derive(Debug)]
pub(super) struct Joiner {
    trains: [Train; TRAINS],
    /// Which train gives way to the next new one.
    oldest: usize,
    /// The kernel takes no trains.
    refused: bool,
}

#[derive(Debug, Default)]
struct Train {
    /// The headers of the first segment, the payload of all; empty while there is none.
    bytes: Vec<u8>,
    headers_len: usize,
    ip_len: usize,
    /// Payload of each segment but the last.
    segment: usize,
    count: usize,
    next_sequence: u32,
}

/// A segment with data that may stand in a train.
struct Candidate {
    headers: Headers,
    headers_len: usize,
    sequence: u32,
    /// Nothing may follow it: the sender wants it delivered.
    pushed: bool,
}

/// Connections whose segments may come interleaved.
const TRAINS: usize = 8;
/// The largest packet.
const TRAIN_BYTES: usize = 65535;

impl Joiner {
    pub(super) fn new() -> Self {
        let train = || Train { bytes: Vec::with_capacity(TRAIN_BYTES), ..Train::default() };
        Self { trains: std::array::from_fn(|_| train()), oldest: 0, refused: false }
    }

    /// From now on each packet stands alone.
    pub(super) fn refuse(&mut self) {
        self.refused = true;
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Takes a packet: it is written now, or with those that follow it, at the next [`Self::flush`] at the latest.
    pub(super) fn push(&mut self, packet: &[u8], write: Write<'_>) {
        let Some(headers) = Headers::parse(packet).filter(|headers| headers.protocol == TCP && !self.refused) else {
            write(VirtioHeader::default(), packet);
            return;
        };
        let candidate = Candidate::of(packet, headers);
        if let Some(train) = self.trains.iter_mut().find(|train| train.is_of_connection(packet, headers)) {
            match &candidate {
                Some(candidate) if train.takes(packet, candidate) => {
                    train.append(packet, candidate);
                    if candidate.pushed || packet.len() - candidate.headers_len < train.segment {
                        train.flush(write);
                    }
                    return;
                }
                _ => train.flush(write),
            }
        }
        match candidate.filter(|candidate| !candidate.pushed) {
            Some(candidate) => self.begin(packet, &candidate, write),
            None => write(VirtioHeader::default(), packet),
        }
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self, write: Write<'_>) {
        self.trains.iter_mut().for_each(|train| train.flush(write));
    }

    fn begin(&mut self, packet: &[u8], candidate: &Candidate, write: Write<'_>) {
        let free = self.trains.iter().position(|train| train.bytes.is_empty());
        let index = free.unwrap_or(self.oldest);
        self.oldest = (index + 1) % TRAINS;
        let Some(train) = self.trains.get_mut(index) else { return };
        train.flush(write);
        train.bytes.extend_from_slice(packet);
        train.headers_len = candidate.headers_len;
        train.ip_len = candidate.headers.ip_len;
        train.segment = packet.len() - candidate.headers_len;
        train.count = 1;
        train.next_sequence = candidate.sequence.wrapping_add(train.segment as u32);
    }
}

impl Candidate {
    /// `None` for what must stand alone: without data, with other flags than ACK and PSH, or with a checksum that is wrong and
    /// would be made right by joining.
    fn of(packet: &[u8], headers: Headers) -> Option<Self> {
        let plain = headers.ip_len == if packet::is_v4(packet) { 20 } else { 40 };
        let length = if packet::is_v4(packet) {
            packet::get(packet, 2).into()
        } else {
            40 + usize::from(packet::get(packet, 4))
        };
        let tcp = packet.get(headers.ip_len..).filter(|tcp| tcp.len() > 20 && plain && length == packet.len())?;
        let headers_len = headers.ip_len + usize::from(tcp[TCP_OFFSET] >> 4) * 4;
        let flags = tcp[TCP_FLAGS];
        if flags & !PSH != ACK || headers_len < headers.ip_len + 20 || packet.len() <= headers_len {
            return None;
        }
        checksum_holds(packet, headers).then(|| Self {
            headers,
            headers_len,
            sequence: packet::get_long(tcp, TCP_SEQUENCE.start),
            pushed: flags & PSH != 0,
        })
    }
}

impl Train {
    /// Whether the packet has the same addresses and ports.
    fn is_of_connection(&self, packet: &[u8], headers: Headers) -> bool {
        let addresses = if packet::is_v4(packet) { 12..20 } else { 8..40 };
        let ports = headers.ip_len..headers.ip_len + 4;
        !self.bytes.is_empty()
            && packet::is_v4(&self.bytes) == packet::is_v4(packet)
            && self.bytes.get(addresses.clone()) == packet.get(addresses)
            && self.bytes.get(self.ip_len..self.ip_len + 4) == packet.get(ports)
    }

    /// Whether the segment is the next one, and differs from those before in nothing that would be lost.
    fn takes(&self, packet: &[u8], candidate: &Candidate) -> bool {
        let payload = packet.len() - candidate.headers_len;
        let same = |range: std::ops::Range<usize>| self.bytes.get(range.clone()) == packet.get(range);
        // Traffic class, hop limit; of IPv4 the flags, too.
        let ip = if packet::is_v4(packet) { same(1..2) && same(6..7) && same(8..9) } else { same(0..4) && same(7..8) };
        let tcp = self.ip_len;
        // PSH may come with the last.
        let flags = |bytes: &[u8]| bytes.get(tcp + TCP_FLAGS).map(|flags| flags & !PSH);
        ip && candidate.headers_len == self.headers_len
            && candidate.sequence == self.next_sequence
            && payload <= self.segment
            && self.bytes.len() + payload <= TRAIN_BYTES
            // Acknowledgment, header length, window and options.
            && same(tcp + 8..tcp + TCP_FLAGS)
            && flags(&self.bytes) == flags(packet)
            && same(tcp + 14..tcp + TCP_CHECKSUM)
            && same(tcp + 20..self.headers_len)
    }

    fn append(&mut self, packet: &[u8], candidate: &Candidate) {
        let payload = packet.get(candidate.headers_len..).unwrap_or_default();
        self.bytes.extend_from_slice(payload);
        self.count += 1;
        self.next_sequence = self.next_sequence.wrapping_add(payload.len() as u32);
        if candidate.pushed
            && let Some(flags) = self.bytes.get_mut(self.ip_len + TCP_FLAGS)
        {
            *flags |= PSH;
        }
    }

    fn flush(&mut self, write: Write<'_>) {
        if self.bytes.is_empty() {
            return;
        }
        let mut header = VirtioHeader::default();
        if self.count > 1 {
            packet::set_length(&mut self.bytes);
            // The kernel finishes the checksum, or leaves it out where nobody looks at it.
            let pseudo = fold(pseudo_sum(&self.bytes, TCP, self.bytes.len() - self.ip_len));
            put(&mut self.bytes, self.ip_len + TCP_CHECKSUM, pseudo);
            header = VirtioHeader {
                flags: VirtioHeader::NEEDS_CHECKSUM,
                gso_type: if packet::is_v4(&self.bytes) { VirtioHeader::TCP_V4 } else { VirtioHeader::TCP_V6 },
                header_len: self.headers_len as u16,
                gso_size: self.segment as u16,
                checksum_start: self.ip_len as u16,
                checksum_offset: TCP_CHECKSUM as u16,
            };
        }
        write(header, &self.bytes);
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tun::{
        packet::{
            SYN,
            tests::{segment, with_options},
        },
        split::Split,
    };

    /// What is written for these packets: for each write, the packets it stands for.
    fn written(packets: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
        let mut joiner = Joiner::new();
        let mut writes = Vec::new();
        let mut write = |header: VirtioHeader, bytes: &[u8]| {
            let mut split = Split::new(header, bytes).unwrap();
            let mut of_write = Vec::new();
            while let Some(len) = split.next_len(bytes) {
                let mut packet = vec![0; len];
                split.write(bytes, &mut packet);
                of_write.push(packet);
            }
            writes.push(of_write);
        };
        packets.iter().for_each(|packet| joiner.push(packet, &mut write));
        joiner.flush(&mut write);
        writes
    }

    fn counts(packets: &[Vec<u8>]) -> Vec<usize> {
        written(packets).iter().map(Vec::len).collect()
    }

    #[test]
    fn a_train_taken_apart_again_is_what_was_joined() {
        let payload = [7; 1000];
        for v6 in [false, true] {
            let mut packets: Vec<_> = (0..5).map(|index| segment(v6, index * 1000, ACK, &payload)).collect();
            packets.push(segment(v6, 5000, ACK | PSH, &payload[..400]));
            if !v6 {
                for (index, packet) in packets.iter_mut().enumerate() {
                    put(packet, 4, 7 + index as u16);
                    packet::set_length(packet);
                }
            }
            assert_eq!(written(&packets), [packets]);
        }
    }

    #[test]
    fn what_does_not_continue_the_train_ends_it() {
        let data = |sequence, len| segment(false, sequence, ACK, &vec![1; len]);
        assert_eq!(counts(&[data(0, 100), data(100, 100), data(300, 100), data(400, 100)]), [2, 2]);
        // After a smaller one nothing follows, and a larger one does not fit.
        assert_eq!(counts(&[data(0, 100), data(100, 50), data(150, 50)]), [2, 1]);
        assert_eq!(counts(&[data(0, 50), data(50, 100)]), [1, 1]);
        // A pure acknowledgment stays in its place.
        assert_eq!(counts(&[data(0, 9), data(9, 9), segment(false, 18, ACK, b""), data(18, 9)]), [2, 1, 1]);
        assert_eq!(
            counts(&[data(0, 9), segment(false, 9, ACK | packet::FIN, b"x"), segment(false, 5, SYN, b"")]),
            [1, 1, 1]
        );
        let pushed = segment(false, 0, ACK | PSH, b"now");
        assert_eq!(counts(&[pushed, data(3, 3), data(6, 3)]), [1, 2]);
    }

    #[test]
    fn segments_that_differ_in_more_than_their_place_are_not_joined() {
        let first = with_options(false, 0, ACK, &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], &[1; 9]);
        let other_time = with_options(false, 9, ACK, &[1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 2], &[1; 9]);
        assert_eq!(counts(&[first.clone(), other_time]), [1, 1]);
        let mut other_class = with_options(false, 9, ACK, &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], &[1; 9]);
        assert_eq!(counts(&[first.clone(), other_class.clone()]), [2]);
        other_class[1] = 3;
        packet::set_length(&mut other_class);
        assert_eq!(counts(&[first, other_class]), [1, 1]);
    }

    #[test]
    fn a_segment_that_was_damaged_is_not_made_right() {
        let mut damaged = segment(true, 100, ACK, &[1; 100]);
        *damaged.last_mut().unwrap() ^= 1;
        let packets = [segment(true, 0, ACK, &[1; 100]), damaged, segment(true, 200, ACK, &[1; 100])];
        assert_eq!(written(&packets), packets.map(|packet| vec![packet]));
    }

    #[test]
    fn connections_side_by_side_have_trains_of_their_own() {
        let of = |port: u8, sequence| {
            let mut packet = segment(false, sequence, ACK, &[port; 100]);
            packet[21] = port;
            let headers = Headers::parse(&packet).unwrap();
            packet::set_checksum(&mut packet, headers, TCP_CHECKSUM);
            packet
        };
        let ports = TRAINS as u8 + 1;
        let interleaved: Vec<_> = (0..3).flat_map(|turn| (1..ports).map(move |port| of(port, turn * 100))).collect();
        assert_eq!(counts(&interleaved), [3; TRAINS]);
        // One more, and the oldest gives way.
        let more: Vec<_> = (0..2).flat_map(|turn| (0..ports).map(move |port| of(port, turn * 100))).collect();
        assert_eq!(counts(&more).iter().sum::<usize>(), more.len());
    }

    #[test]
    fn a_train_is_no_longer_than_a_packet_may_be() {
        let packets: Vec<_> = (0..60).map(|index| segment(false, index * 1400, ACK, &[1; 1400])).collect();
        assert_eq!(counts(&packets), [46, 14]);
    }
}
