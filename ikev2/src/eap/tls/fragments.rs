//! TLS messages in EAP packets: flags, a length in the first fragment, acknowledgements (RFC 5216 §2.1.5 and §3, RFC 5281 §9.1).

use std::mem;

use zeroize::Zeroizing;

use super::super::{EapError, packet::EapType};

/// Takes TLS messages of the other end together, and ours apart.
#[derive(Debug)]
pub(in super::super) struct Fragments {
    kind: EapType,
    started: bool,
    inbound: Vec<u8>,
    /// The length that fragments of the current message tell.
    told: Option<usize>,
    /// What of our message is not sent yet; the other end must acknowledge before each part of it.
    outbound: Vec<u8>,
    /// Most bytes of a message of the other end.
    max_bytes: usize,
}

/// What a packet was.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Received {
    /// The handshake may begin.
    Start,
    /// A part of something; this is the answer.
    Answer(Vec<u8>),
    /// A whole message, which may be empty.
    Message(Vec<u8>),
}

impl Fragments {
    pub(in super::super) fn new(kind: EapType) -> Self {
        let max_bytes = SERVER_MESSAGE_MAX_BYTES;
        Self { kind, started: false, inbound: Vec::new(), told: None, outbound: Vec::new(), max_bytes }
    }

    /// The end that sends the Start bit, and never receives it.
    pub(in super::super) fn starting(kind: EapType) -> Self {
        Self { started: true, max_bytes: CLIENT_MESSAGE_MAX_BYTES, ..Self::new(kind) }
    }

    /// Takes the data of a packet, flags first.
    pub(in super::super) fn receive(&mut self, data: &[u8]) -> Result<Received, EapError> {
        let (&flags, mut data) = data.split_first().ok_or(EapError::TlsPacket)?;
        let length = if flags & LENGTH_INCLUDED == 0 {
            None
        } else {
            let (length, rest) = data.split_first_chunk().ok_or(EapError::TlsPacket)?;
            data = rest;
            Some(usize::try_from(u32::from_be_bytes(*length)).map_err(|_| EapError::TlsMessageTooLong)?)
        };
        if flags & START != 0 || !self.started {
            return self.start(flags, data);
        }
        self.check_version(flags)?;
        if !self.outbound.is_empty() {
            let acknowledged = flags & MORE == 0 && data.is_empty();
            return if acknowledged { Ok(Received::Answer(self.next())) } else { Err(EapError::NotAnAcknowledgement) };
        }
        self.append(length, data, flags & MORE != 0)
    }

    /// The first packet for a message of ours; for an empty one an acknowledgement.
    pub(in super::super) fn send(&mut self, message: Vec<u8>) -> Zeroizing<Vec<u8>> {
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
        let fragmented = message.len() > FRAGMENT_BYTES;
        self.outbound = message;
        let mut first = self.next();
        if fragmented && let Some(flags) = first.first_mut() {
            *flags |= LENGTH_INCLUDED;
            drop(first.splice(1..1, length));
        }
        Zeroizing::new(first)
    }

    /// Whether nothing of ours waits for an acknowledgement.
    pub(in super::super) fn all_sent(&self) -> bool {
        self.outbound.is_empty()
    }

    fn start(&mut self, flags: u8, data: &[u8]) -> Result<Received, EapError> {
        if self.started || flags & START == 0 {
            return Err(EapError::TlsStart);
        }
        // A higher version of EAP-TTLS is an offer; our answer, version 0, is what counts (RFC 5281 §9.2).
        if flags & MORE != 0 || !data.is_empty() {
            return Err(EapError::TlsPacket);
        }
        self.started = true;
        Ok(Received::Start)
    }

    /// The low bits are the version in EAP-TTLS and reserved in EAP-TLS.
    fn check_version(&self, flags: u8) -> Result<(), EapError> {
        match flags & VERSION {
            version if self.kind == EapType::TTLS && version != 0 => Err(EapError::TtlsVersion(version)),
            _ => Ok(()),
        }
    }

    fn append(&mut self, length: Option<usize>, data: &[u8], more: bool) -> Result<Received, EapError> {
        // FreeRADIUS and strongSwan tell the length in unfragmented messages too, others in every fragment.
        if length.is_some()
            && (self.told.is_some() && self.told != length || self.told.is_none() && !self.inbound.is_empty())
        {
            return Err(EapError::FragmentLength);
        }
        self.told = self.told.or(length);
        let total = self.inbound.len() + data.len();
        if self.told.unwrap_or(total) > self.max_bytes || total > self.max_bytes {
            return Err(EapError::TlsMessageTooLong);
        }
        self.inbound.extend_from_slice(data);
        let too_long = self.told.is_some_and(|told| total > told);
        let too_short = !more && self.told.is_some_and(|told| total < told);
        if too_long || too_short || more && data.is_empty() {
            return Err(EapError::FragmentLength);
        }
        if more {
            return Ok(Received::Answer(vec![0]));
        }
        self.told = None;
        Ok(Received::Message(mem::take(&mut self.inbound)))
    }

    /// The next part of our message, its flags first.
    fn next(&mut self) -> Vec<u8> {
        let rest = self.outbound.split_off(self.outbound.len().min(FRAGMENT_BYTES));
        let part = mem::replace(&mut self.outbound, rest);
        [&[if self.outbound.is_empty() { 0 } else { MORE }], &part[..]].concat()
    }
}

const LENGTH_INCLUDED: u8 = 0x80;
const MORE: u8 = 0x40;
pub(in super::super) const START: u8 = 0x20;
const VERSION: u8 = 0x07;
/// What strongSwan uses; an IKE message with it stays below the least MTU of IPv6.
pub(in super::super) const FRAGMENT_BYTES: usize = 1024;
/// Our own judgement: TLS certificate messages of real chains have a few kB.
const SERVER_MESSAGE_MAX_BYTES: usize = 1 << 16;
/// Less of clients, who are many and may be anybody.
const CLIENT_MESSAGE_MAX_BYTES: usize = 1 << 15;

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Fragments {
        let mut fragments = Fragments::new(EapType::TLS);
        assert_eq!(fragments.receive(&[0x20]), Ok(Received::Start));
        fragments
    }

    fn receive(packets: &[&[u8]]) -> Result<Received, EapError> {
        let mut fragments = started();
        let (last, first) = packets.split_last().unwrap();
        for packet in first {
            assert_eq!(fragments.receive(packet)?, Received::Answer(vec![0]));
        }
        fragments.receive(last)
    }

    #[test]
    fn messages_are_put_together() {
        let message = |text: &[u8]| Ok(Received::Message(text.to_vec()));
        assert_eq!(receive(&[b"\x00abc"]), message(b"abc"));
        assert_eq!(receive(&[b"\x80\0\0\0\x03abc"]), message(b"abc"));
        assert_eq!(receive(&[b"\xc0\0\0\0\x05abc", b"\x00de"]), message(b"abcde"));
        assert_eq!(receive(&[b"\xc0\0\0\0\x05abc", b"\xc0\0\0\0\x05d", b"\x80\0\0\0\x05e"]), message(b"abcde"));
        assert_eq!(receive(&[b"\x40abc", b"\x00de"]), message(b"abcde"));
        // FreeRADIUS 3.2.1 before phase 2 of EAP-TTLS with TLS 1.3.
        assert_eq!(receive(&[b"\x80\0\0\0\0"]), message(b""));
        assert_eq!(receive(&[b"\x00"]), message(b""));
        // Reserved bits.
        assert_eq!(receive(&[b"\x1fabc"]), message(b"abc"));
    }

    #[test]
    fn fragments_that_lie_about_their_length_are_refused() {
        for packets in [
            &[&b"\x80\0\0\0\x02abc"[..]][..],
            &[b"\x80\0\0\0\x04abc"],
            &[b"\xc0\0\0\0\x05abc", b"\x00d"],
            &[b"\xc0\0\0\0\x05abc", b"\x00def"],
            &[b"\xc0\0\0\0\x05abc", b"\x40def"],
            &[b"\xc0\0\0\0\x05abc", b"\x80\0\0\0\x06de"],
            &[b"\x40abc", b"\x80\0\0\0\x05de"],
            &[b"\x40abc", b"\x40"],
            &[b"\xc0\0\0\0\x05"],
        ] {
            assert_eq!(receive(packets), Err(EapError::FragmentLength), "{packets:?}");
        }
    }

    #[test]
    fn messages_are_limited() {
        assert_eq!(receive(&[b"\xc0\x00\x01\x00\x01abc"]), Err(EapError::TlsMessageTooLong));
        assert_eq!(receive(&[b"\xc0\xff\xff\xff\xffabc"]), Err(EapError::TlsMessageTooLong));
        let mut fragments = started();
        let kilobyte = [&[0x40], &[7; 1024][..]].concat();
        for _ in 0..64 {
            assert_eq!(fragments.receive(&kilobyte), Ok(Received::Answer(vec![0])));
        }
        assert_eq!(fragments.receive(b"\x00x"), Err(EapError::TlsMessageTooLong));
    }

    /// The server's end.
    #[test]
    fn messages_of_clients_are_shorter_and_have_no_start() {
        let server = || Fragments::starting(EapType::TLS);
        assert_eq!(server().receive(b"\x00abc"), Ok(Received::Message(b"abc".to_vec())));
        assert_eq!(server().receive(b"\xc0\x00\x00\x80\x01abc"), Err(EapError::TlsMessageTooLong));
        let mut fragments = server();
        let kilobyte = [&[0x40], &[7; 1024][..]].concat();
        for _ in 0..32 {
            assert_eq!(fragments.receive(&kilobyte), Ok(Received::Answer(vec![0])));
        }
        assert_eq!(fragments.receive(b"\x00x"), Err(EapError::TlsMessageTooLong));
        for packet in [&b"\x20"[..], b"\x20abc", b"\xa0\0\0\0\0", b"\x60"] {
            assert_eq!(server().receive(packet), Err(EapError::TlsStart), "{packet:?}");
        }
    }

    #[test]
    fn headers_cut_short_are_refused() {
        for packet in [&b""[..], b"\x80", b"\x80\0", b"\x80\0\0", b"\x80\0\0\0", b"\xc0\0\0\0"] {
            assert_eq!(started().receive(packet), Err(EapError::TlsPacket), "{packet:?}");
        }
    }

    #[test]
    fn the_start_comes_once_and_first_and_alone() {
        for packet in [&b"\x00"[..], b"\x00abc", b"\x80\0\0\0\0", b"\x40abc"] {
            assert_eq!(Fragments::new(EapType::TLS).receive(packet), Err(EapError::TlsStart), "{packet:?}");
        }
        assert_eq!(started().receive(b"\x20"), Err(EapError::TlsStart));
        assert_eq!(Fragments::new(EapType::TLS).receive(b"\x20abc"), Err(EapError::TlsPacket));
        assert_eq!(Fragments::new(EapType::TLS).receive(b"\xa0\0\0\0\0"), Ok(Received::Start));
    }

    #[test]
    fn versions_of_ttls_count_after_the_start() {
        let mut ttls = Fragments::new(EapType::TTLS);
        assert_eq!(ttls.receive(&[0x21]), Ok(Received::Start));
        assert_eq!(ttls.receive(&[0x01]), Err(EapError::TtlsVersion(1)));
    }

    #[test]
    fn our_messages_wait_for_acknowledgements() {
        let message: Vec<u8> = (0..2500_u32).map(|at| at as u8).collect();
        let mut fragments = started();
        let first = fragments.send(message.clone());
        assert_eq!((first[..5].to_vec(), &first[5..]), (vec![0xc0, 0, 0, 0x09, 0xc4], &message[..1024]));
        assert!(!fragments.all_sent());
        let Ok(Received::Answer(second)) = fragments.receive(&[0]) else { panic!() };
        assert_eq!((second[0], &second[1..]), (0x40, &message[1024..2048]));
        let Ok(Received::Answer(third)) = fragments.receive(&[0x80, 0, 0, 0, 0]) else { panic!() };
        assert_eq!((third[0], &third[1..]), (0, &message[2048..]));
        assert!(fragments.all_sent());
        assert_eq!(fragments.send(message[..1024].to_vec()).len(), 1025);
        assert_eq!(fragments.send(vec![])[..], [0]);
    }

    #[test]
    fn data_instead_of_an_acknowledgement_is_refused() {
        for packet in [&b"\x00x"[..], b"\x40", b"\x80\0\0\0\x01x"] {
            let mut fragments = started();
            drop(fragments.send(vec![1; 2000]));
            assert_eq!(fragments.receive(packet), Err(EapError::NotAnAcknowledgement));
        }
    }
}
