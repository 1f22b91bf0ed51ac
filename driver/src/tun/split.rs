//! From a train, as the kernel hands it over, to packets: segmentation that is left to us.

use super::packet::{
    self, CWR, FIN, Headers, PSH, TCP, TCP_CHECKSUM, TCP_FLAGS, TCP_OFFSET, TCP_SEQUENCE, UDP, UDP_CHECKSUM, UDP_LENGTH,
};

/// `struct virtio_net_hdr` (linux/virtio_net.h), which stands before each packet of a device with offload. Native byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct VirtioHeader {
    pub(super) flags: u8,
    pub(super) gso_type: u8,
    pub(super) header_len: u16,
    pub(super) gso_size: u16,
    pub(super) checksum_start: u16,
    pub(super) checksum_offset: u16,
}

impl VirtioHeader {
    pub(super) const LEN: usize = 10;
    pub(super) const NEEDS_CHECKSUM: u8 = 1;
    pub(super) const TCP_V4: u8 = 1;
    pub(super) const TCP_V6: u8 = 4;
    const UDP_L4: u8 = 5;
    /// Of TCP: the first segment alone has CWR.
    const ECN: u8 = 0x80;

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let b: &[u8; Self::LEN] = bytes.first_chunk()?;
        let word = |at: usize| u16::from_ne_bytes([b[at], b[at + 1]]);
        let (header_len, gso_size, checksum_start, checksum_offset) = (word(2), word(4), word(6), word(8));
        Some(Self { flags: b[0], gso_type: b[1], header_len, gso_size, checksum_start, checksum_offset })
    }

    pub(super) fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [self.flags, self.gso_type, 0, 0, 0, 0, 0, 0, 0, 0];
        let words = [self.header_len, self.gso_size, self.checksum_start, self.checksum_offset];
        for (to, word) in bytes[2..].chunks_exact_mut(2).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

/// How far a train is taken apart. The bytes of the train are given to each call.
#[derive(Debug)]
pub(super) struct Split {
    kind: Kind,
    /// Where the payload of the next packet begins, or how long the train is.
    next: usize,
    index: u16,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// One packet, whose checksum may be left to us: where it begins, and where it is written behind that.
    Alone {
        checksum: Option<(usize, usize)>,
    },
    Train {
        headers: Headers,
        header_len: usize,
        segment: usize,
    },
}

impl Split {
    /// `train` is a packet, with this header before it. `None` if they do not fit each other.
    pub(super) fn new(virtio: VirtioHeader, train: &[u8]) -> Option<Self> {
        let gso = virtio.gso_type & !VirtioHeader::ECN;
        if gso == 0 {
            let wanted = virtio.flags & VirtioHeader::NEEDS_CHECKSUM != 0;
            let checksum = wanted.then_some((virtio.checksum_start.into(), virtio.checksum_offset.into()));
            return (!train.is_empty()).then_some(Self { kind: Kind::Alone { checksum }, next: 0, index: 0 });
        }
        // What it says about lengths is not trusted: the kernel may leave it to be read from the headers.
        let headers = Headers::parse(train)?;
        let transport = train.get(headers.ip_len..)?;
        let transport_len = match (gso, headers.protocol) {
            (VirtioHeader::TCP_V4 | VirtioHeader::TCP_V6, TCP) => usize::from(*transport.get(TCP_OFFSET)? >> 4) * 4,
            (VirtioHeader::UDP_L4, UDP) => 8,
            _ => return None,
        };
        let least = if headers.protocol == TCP { 20 } else { 8 };
        let header_len = headers.ip_len + transport_len;
        let segment = usize::from(virtio.gso_size);
        if transport_len < least || segment == 0 || train.len() <= header_len {
            return None;
        }
        Some(Self { kind: Kind::Train { headers, header_len, segment }, next: header_len, index: 0 })
    }

    /// Bytes of the next packet; `None` after the last.
    pub(super) fn next_len(&self, train: &[u8]) -> Option<usize> {
        let left = train.len().saturating_sub(self.next);
        match self.kind {
            _ if left == 0 => None,
            Kind::Alone { .. } => Some(train.len()),
            Kind::Train { header_len, segment, .. } => Some(header_len + left.min(segment)),
        }
    }

    /// How many packets are left.
    pub(super) fn left(&self, train: &[u8]) -> u64 {
        let left = train.len().saturating_sub(self.next);
        match self.kind {
            Kind::Alone { .. } => u64::from(left > 0),
            Kind::Train { segment, .. } => left.div_ceil(segment) as u64,
        }
    }

    /// Writes the next packet; `packet` is as long as [`Self::next_len`] says.
    pub(super) fn write(&mut self, train: &[u8], packet: &mut [u8]) {
        match self.kind {
            Kind::Alone { checksum } => {
                packet.copy_from_slice(train);
                if let Some((start, offset)) = checksum {
                    finish_checksum(packet, start, offset);
                }
                self.next = train.len();
            }
            Kind::Train { headers, header_len, .. } => {
                let (header, payload) = packet.split_at_mut(header_len);
                header.copy_from_slice(&train[..header_len]);
                let end = self.next + payload.len();
                payload.copy_from_slice(&train[self.next..end]);
                self.number(packet, headers, header_len, end == train.len());
                self.next = end;
                self.index = self.index.wrapping_add(1);
            }
        }
    }

    /// Makes a packet of its own of a copy of the train's headers and a part of its payload.
    fn number(&self, packet: &mut [u8], headers: Headers, header_len: usize, last: bool) {
        let ip_len = headers.ip_len;
        if packet::is_v4(packet) {
            let identification = packet::get(packet, 4).wrapping_add(self.index);
            packet::put(packet, 4, identification);
        }
        packet::set_length(packet);
        if headers.protocol == UDP {
            let length = (packet.len() - ip_len) as u16;
            packet::put(packet, ip_len + UDP_LENGTH.start, length);
            packet::set_checksum(packet, headers, UDP_CHECKSUM);
            return;
        }
        let before = (self.next - header_len) as u32;
        let sequence = packet::get_long(packet, ip_len + TCP_SEQUENCE.start).wrapping_add(before);
        packet[ip_len + TCP_SEQUENCE.start..ip_len + TCP_SEQUENCE.end].copy_from_slice(&sequence.to_be_bytes());
        let flags = &mut packet[ip_len + TCP_FLAGS];
        if !last {
            *flags &= !(FIN | PSH);
        }
        if self.index > 0 {
            *flags &= !CWR;
        }
        packet::set_checksum(packet, headers, TCP_CHECKSUM);
    }
}

/// The kernel has put the sum of the pseudo-header in the field: the rest is added.
fn finish_checksum(packet: &mut [u8], start: usize, offset: usize) {
    let Some(body) = packet.get(start..) else { return };
    let computed = !packet::fold(packet::sum(body));
    packet::put(packet, start + offset, if computed == 0 { !0 } else { computed });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tun::packet::{ACK, checksum_holds, tests::segment};

    pub(super) fn all(virtio: VirtioHeader, train: &[u8]) -> Vec<Vec<u8>> {
        let mut split = Split::new(virtio, train).unwrap();
        let mut packets = Vec::new();
        while let Some(len) = split.next_len(train) {
            let mut packet = vec![0; len];
            split.write(train, &mut packet);
            packets.push(packet);
        }
        packets
    }

    #[test]
    fn a_train_becomes_the_segments_that_would_have_been_sent_without_offload() {
        let payload: Vec<u8> = (0..2500u32).map(|number| number as u8).collect();
        for v6 in [false, true] {
            let train = segment(v6, u32::MAX - 500, ACK | PSH | CWR, &payload);
            let gso_type = if v6 { VirtioHeader::TCP_V6 } else { VirtioHeader::TCP_V4 } | VirtioHeader::ECN;
            let virtio = VirtioHeader { gso_type, gso_size: 1000, ..VirtioHeader::default() };
            let packets = all(virtio, &train);
            let mut expected = [
                segment(v6, u32::MAX - 500, ACK | CWR, &payload[..1000]),
                segment(v6, 499, ACK, &payload[1000..2000]),
                segment(v6, 1499, ACK | PSH, &payload[2000..]),
            ];
            if !v6 {
                // Each has its own identification.
                for (index, packet) in expected.iter_mut().enumerate() {
                    packet::put(packet, 4, 7 + index as u16);
                    packet::set_length(packet);
                }
            }
            assert_eq!(packets, expected);
            assert!(packets.iter().all(|packet| checksum_holds(packet, Headers::parse(packet).unwrap())));
        }
    }

    #[test]
    fn a_train_of_datagrams_becomes_datagrams() {
        let mut train = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, UDP, 0, 0, 10, 8, 0, 2, 192, 168, 100, 30];
        train.extend([0x9c, 0x40, 0, 53, 0, 0, 0, 0]);
        train.extend([5; 250]);
        packet::set_length(&mut train);
        let virtio = VirtioHeader { gso_type: VirtioHeader::UDP_L4, gso_size: 100, ..VirtioHeader::default() };
        let packets = all(virtio, &train);
        let lengths: Vec<_> = packets.iter().map(|packet| (packet.len(), packet::get(packet, 24))).collect();
        assert_eq!(lengths, [(128, 108), (128, 108), (78, 58)]);
        assert!(packets.iter().all(|packet| checksum_holds(packet, Headers::parse(packet).unwrap())));
    }

    #[test]
    fn the_checksum_of_a_packet_alone_is_finished_when_the_kernel_says_so() {
        let whole = segment(false, 1, ACK, b"hello");
        let mut partial = whole.clone();
        let pseudo = packet::fold(packet::pseudo_sum(&whole, TCP, whole.len() - 20));
        packet::put(&mut partial, 36, pseudo);
        let virtio = VirtioHeader {
            flags: VirtioHeader::NEEDS_CHECKSUM,
            checksum_start: 20,
            checksum_offset: 16,
            ..VirtioHeader::default()
        };
        assert_eq!(all(virtio, &partial), std::slice::from_ref(&whole));
        assert_eq!(all(VirtioHeader::default(), &whole), [whole]);
    }

    #[test]
    fn what_does_not_fit_together_is_no_train() {
        let train = segment(false, 1, ACK, b"hello");
        let tcp = VirtioHeader { gso_type: VirtioHeader::TCP_V4, gso_size: 2, ..VirtioHeader::default() };
        assert!(Split::new(tcp, &train).is_some());
        assert!(Split::new(VirtioHeader { gso_size: 0, ..tcp }, &train).is_none());
        assert!(Split::new(VirtioHeader { gso_type: 3, ..tcp }, &train).is_none());
        assert!(Split::new(VirtioHeader { gso_type: VirtioHeader::UDP_L4, ..tcp }, &train).is_none());
        assert!(Split::new(tcp, &train[..40]).is_none());
        assert!(Split::new(VirtioHeader::default(), &[]).is_none());
        let mut short = train;
        short[32] = 0x10;
        assert!(Split::new(tcp, &short).is_none());
    }

    #[test]
    fn the_header_of_the_kernel_survives_encoding() {
        let header = VirtioHeader {
            flags: 1,
            gso_type: 4,
            header_len: 60,
            gso_size: 1340,
            checksum_start: 40,
            checksum_offset: 16,
        };
        assert_eq!(VirtioHeader::parse(&header.encode()), Some(header));
        assert_eq!(VirtioHeader::parse(&[0; 9]), None);
    }
}
