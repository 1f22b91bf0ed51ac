//! Packets put together from fragments, within bounds.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::packet::{self, Fragment, FragmentOf};

/// The packets that are not complete yet, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    partial: VecDeque<Partial>,
    bytes: usize,
    pub(crate) dropped: u64,
}

#[derive(Debug)]
struct Partial {
    of: FragmentOf,
    since: Instant,
    /// Sorted by offset, without overlap.
    parts: Vec<(usize, Vec<u8>)>,
    /// The length of the payload, once the last fragment was seen.
    total: Option<usize>,
}

impl Reassembly {
    /// Takes a fragment; the whole packet if it was the last one missing, built anew with a plain header.
    pub(crate) fn add(&mut self, now: Instant, fragment: &Fragment<'_>) -> Option<Vec<u8>> {
        self.expire(now);
        if !is_sound(fragment) {
            self.dropped += 1;
            return None;
        }
        let index = self.find_or_start(now, fragment.of);
        let partial = self.partial.get_mut(index)?;
        match partial.insert(fragment) {
            Inserted::Overlaps => {
                // A honest sender never overlaps; the whole packet is given up (RFC 5722 §4, RFC 8200 §4.5).
                self.drop_at(index);
                return None;
            }
            Inserted::Added => self.bytes += fragment.data.len(),
            Inserted::Known => {}
        }
        if partial.is_complete() {
            let partial = self.take(index)?;
            return partial.assemble();
        }
        while self.bytes > MAX_BYTES {
            self.drop_at(0);
        }
        None
    }

    fn find_or_start(&mut self, now: Instant, of: FragmentOf) -> usize {
        if let Some(index) = self.partial.iter().position(|partial| partial.of == of) {
            return index;
        }
        if self.partial.len() >= MAX_PACKETS {
            self.drop_at(0);
        }
        self.partial.push_back(Partial { of, since: now, parts: Vec::new(), total: None });
        self.partial.len() - 1
    }

    fn expire(&mut self, now: Instant) {
        while self.partial.front().is_some_and(|partial| now.saturating_duration_since(partial.since) >= TIMEOUT) {
            self.drop_at(0);
        }
    }

    fn drop_at(&mut self, index: usize) {
        if let Some(partial) = self.take(index) {
            self.dropped += u64::try_from(partial.parts.len()).unwrap_or(u64::MAX).max(1);
        }
    }

    fn take(&mut self, index: usize) -> Option<Partial> {
        let partial = self.partial.remove(index)?;
        self.bytes -= partial.parts.iter().map(|(_, data)| data.len()).sum::<usize>();
        Some(partial)
    }
}

enum Inserted {
    Added,
    /// The very same fragment was there: the network duplicates.
    Known,
    Overlaps,
}

impl Partial {
    fn insert(&mut self, fragment: &Fragment<'_>) -> Inserted {
        let (start, end) = (fragment.offset, fragment.offset + fragment.data.len());
        let total = if fragment.more { self.total } else { Some(end) };
        let beyond =
            total.is_some_and(|total| end > total || self.parts.iter().any(|(at, part)| at + part.len() > total));
        if beyond || self.total.is_some_and(|known| Some(known) != total) {
            return Inserted::Overlaps;
        }
        let index = self.parts.partition_point(|(at, _)| *at < start);
        if let Some((at, part)) = self.parts.get(index) {
            if *at == start && part.as_slice() == fragment.data {
                return Inserted::Known;
            }
            if *at < end {
                return Inserted::Overlaps;
            }
        }
        let before = index.checked_sub(1).and_then(|index| self.parts.get(index));
        if before.is_some_and(|(at, part)| at + part.len() > start) {
            return Inserted::Overlaps;
        }
        self.total = total;
        self.parts.insert(index, (start, fragment.data.to_vec()));
        Inserted::Added
    }

    fn is_complete(&self) -> bool {
        // Without overlap the parts fill the packet exactly when their lengths add up.
        self.total == Some(self.parts.iter().map(|(_, part)| part.len()).sum())
    }

    fn assemble(self) -> Option<Vec<u8>> {
        let FragmentOf { source, destination, protocol, .. } = self.of;
        packet::build((source, destination), None, protocol, self.total?, |payload| {
            for (at, part) in &self.parts {
                if let Some(space) = payload.get_mut(*at..at + part.len()) {
                    space.copy_from_slice(part);
                }
            }
        })
    }
}

/// Every fragment but the last is a multiple of eight bytes, none is empty, and none reaches beyond a packet's size.
fn is_sound(fragment: &Fragment<'_>) -> bool {
    let len = fragment.data.len();
    len > 0 && fragment.offset + len <= 65515 && (!fragment.more || len.is_multiple_of(8))
}

/// Bounds of our own judgement: DNS and media come in two or three fragments, eight of the largest packets at once.
const MAX_PACKETS: usize = 32;
const MAX_BYTES: usize = 512 << 10;
/// As Linux (`net.ipv4.ipfrag_time`).
const TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn now() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
        Instant::now()
    }

    fn of(identification: u32) -> FragmentOf {
        let (source, destination) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        FragmentOf { source, destination, protocol: 17, identification }
    }

    fn fragment(identification: u32, offset: usize, more: bool, data: &[u8]) -> Fragment<'_> {
        Fragment { of: of(identification), offset, more, data }
    }

    #[test]
    fn fragments_out_of_order_and_repeated_become_the_packet() {
        let mut reassembly = Reassembly::default();
        let now = now();
        assert_eq!(reassembly.add(now, &fragment(1, 16, false, b"end")), None);
        assert_eq!(reassembly.add(now, &fragment(1, 0, true, b"01234567")), None);
        assert_eq!(reassembly.add(now, &fragment(1, 0, true, b"01234567")), None);
        let packet = reassembly.add(now, &fragment(1, 8, true, b"89abcdef")).expect("complete");
        assert_eq!(&packet[20..], b"0123456789abcdefend");
        assert_eq!((reassembly.bytes, reassembly.partial.len(), reassembly.dropped), (0, 0, 0));
    }

    #[test]
    fn overlapping_fragments_give_the_packet_up() {
        for overlapping in [fragment(1, 8, true, b"xxxxxxxx"), fragment(1, 8, false, b"0123456789")] {
            let mut reassembly = Reassembly::default();
            assert_eq!(reassembly.add(now(), &fragment(1, 0, true, b"0123456789abcdef")), None);
            assert_eq!(reassembly.add(now(), &overlapping), None);
            assert_eq!((reassembly.bytes, reassembly.partial.len()), (0, 0));
            assert!(reassembly.dropped > 0);
        }
    }

    #[test]
    fn incomplete_packets_are_bounded_in_number_bytes_and_time() {
        let mut reassembly = Reassembly::default();
        let now = now();
        for identification in 0..1000 {
            reassembly.add(now, &fragment(identification, 0, true, &[0; 32 << 10]));
            assert!(reassembly.bytes <= MAX_BYTES && reassembly.partial.len() <= MAX_PACKETS);
        }
        reassembly.add(now + TIMEOUT, &fragment(2000, 0, true, b"01234567"));
        assert_eq!((reassembly.bytes, reassembly.partial.len()), (8, 1));
    }
}
