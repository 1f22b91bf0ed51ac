//! Protected messages, whole and in fragments.

use adit_testing::SeededRandom;
use proptest::prelude::*;

use super::{
    super::{numbers::PayloadType, reassembly::Fragment, *},
    any,
    toy::ToyCipher,
};

fn any_cipher() -> impl Strategy<Value = ToyCipher> {
    let pad_to = prop_oneof![Just(1usize), Just(4), Just(8), Just(16)];
    (0..17usize, pad_to, 8..33usize).prop_map(|(iv_len, pad_to, icv_len)| ToyCipher { iv_len, pad_to, icv_len })
}

fn header(message_id: u32) -> Header {
    Header::request((IkeSpi(1), IkeSpi(2)), ExchangeType::IKE_AUTH, false, MessageId(message_id))
}

fn refused<T>(reason: UnauthenticatedReason) -> Result<T, Undecodable> {
    Err(reason.into())
}

fn answered<T>(notify: NotifyType, data: &'static [u8]) -> Result<T, Undecodable> {
    Err(Undecodable::Authenticated { header: header(0), notify, data: Bytes::from_static(data) })
}

const FRAGMENT: UnauthenticatedReason = UnauthenticatedReason::Fragment;
const DUPLICATE: UnauthenticatedReason = UnauthenticatedReason::DuplicateFragment;

/// An SK with this content, a chain of payloads that begins with type `first`.
fn sk(first: u8, content: &[u8]) -> Vec<u8> {
    let mut random = SeededRandom::new(0);
    sk::seal_one(&header(0), PayloadType(first), None, content, &mut ToyCipher::aead(), &mut random).to_vec()
}

fn opened(datagram: &[u8]) -> Result<Option<Opened>, Undecodable> {
    open(&mut datagram.to_vec(), &ToyCipher::aead(), &mut Reassembly::new())
}

/// The receiver of fragments, of which each says as content what it is.
struct Receiver(Reassembly, fn(u32) -> Header);

impl Receiver {
    fn new() -> Self {
        Self(Reassembly::new(), header)
    }

    /// A fragment of the message with this id.
    fn take(&mut self, message_id: u32, number: u16, total: u16) -> Result<Option<Opened>, Undecodable> {
        self.take_content(message_id, number, total, &[number as u8; 4])
    }

    fn take_content(
        &mut self,
        message_id: u32,
        number: u16,
        total: u16,
        content: &[u8],
    ) -> Result<Option<Opened>, Undecodable> {
        // A Vendor ID of all that the fragments carry.
        let first = if number == 1 { PayloadType::VENDOR } else { PayloadType::NONE };
        let content = match number {
            1 => [&[0, 0], &(4 * total + 4).to_be_bytes()[..], content].concat(),
            _ => content.to_vec(),
        };
        let (fragment, mut random) = (Fragment { number, total }, SeededRandom::new(0));
        let header = (self.1)(message_id);
        let datagram = sk::seal_one(&header, first, Some(fragment), &content, &mut ToyCipher::cbc(), &mut random);
        open(&mut datagram.to_vec(), &ToyCipher::cbc(), &mut self.0)
    }
}

fn vendor(message_id: u32, body: &[u8]) -> Result<Option<Opened>, Undecodable> {
    let payloads = vec![Payload::Vendor(Bytes::copy_from_slice(body))];
    Ok(Some(Opened { message: Message { header: header(message_id), payloads }, fragmented: true }))
}

/// Opens all datagrams in order: every one but the last is kept.
fn open_all(datagrams: &[Bytes], cipher: ToyCipher) -> Result<Opened, Undecodable> {
    let mut reassembly = Reassembly::new();
    let (last, kept) = datagrams.split_last().unwrap();
    for datagram in kept {
        assert_eq!(open(&mut datagram.to_vec(), &cipher, &mut reassembly)?, None);
    }
    Ok(open(&mut last.to_vec(), &cipher, &mut reassembly)?.unwrap())
}

proptest! {
    #[test]
    fn every_message_survives_sealing_and_opening(
        message in any::message(),
        mut cipher in any_cipher(),
        max in prop::option::of(200..2000usize),
        seed in any::<u64>(),
    ) {
        let datagrams = message.seal(&mut cipher, &mut SeededRandom::new(seed), max);
        prop_assert!(max.is_none_or(|max| datagrams.iter().all(|datagram| datagram.len() <= max)));
        let later = datagrams.iter().map(|datagram| is_later_fragment(datagram));
        prop_assert!(later.eq((0..datagrams.len()).map(|index| index > 0)));
        let fragmented = datagrams.len() > 1;
        prop_assert_eq!(open_all(&datagrams, cipher), Ok(Opened { message, fragmented }));
    }

    #[test]
    fn fragments_fit_together_in_any_order(
        message in any::message().prop_filter("short", |message| message.encode().len() > 600),
        order in any::<prop::sample::Index>(),
        reverse in any::<bool>(),
    ) {
        let mut datagrams = message.seal(&mut ToyCipher::cbc(), &mut SeededRandom::new(1), Some(200));
        let turn = order.index(datagrams.len());
        datagrams.rotate_left(turn);
        if reverse {
            datagrams.reverse();
        }
        prop_assert_eq!(open_all(&datagrams, ToyCipher::cbc()), Ok(Opened { message, fragmented: true }));
    }

    #[test]
    fn no_change_of_a_byte_goes_unnoticed(
        message in any::message(),
        max in prop::option::of(200..300usize),
        at in any::<prop::sample::Index>(),
        change in 1..=255u8,
    ) {
        let datagrams = message.seal(&mut ToyCipher::aead(), &mut SeededRandom::new(2), max);
        let mut datagram = datagrams[0].to_vec();
        let at = at.index(datagram.len());
        datagram[at] ^= change;
        let result = opened(&datagram);
        prop_assert!(matches!(result, Err(Undecodable::Unauthenticated(_))), "{:?}", result);
    }

    #[test]
    fn no_cut_goes_unnoticed(message in any::message(), max in prop::option::of(200..300usize)) {
        let datagrams = message.seal(&mut ToyCipher::cbc(), &mut SeededRandom::new(3), max);
        for end in 0..datagrams[0].len() {
            let mut datagram = datagrams[0][..end].to_vec();
            // Correct lengths everywhere, so that only the end is missing.
            if end >= Header::LEN + 4 {
                datagram[24..28].copy_from_slice(&(end as u32).to_be_bytes());
                datagram[30..32].copy_from_slice(&((end - Header::LEN) as u16).to_be_bytes());
            }
            let result = open(&mut datagram, &ToyCipher::cbc(), &mut Reassembly::new());
            prop_assert!(matches!(result, Err(Undecodable::Unauthenticated(_))), "{:?}", result);
        }
    }
}

#[test]
fn an_empty_message_is_a_pad_length_alone() {
    let message = Message { header: header(0), payloads: vec![] };
    let datagrams = message.seal(&mut ToyCipher::aead(), &mut SeededRandom::new(0), Some(0));
    assert_eq!(datagrams.len(), 1, "there is nothing to cut");
    assert_eq!(datagrams[0].len(), 28 + 4 + 8 + 1 + 16);
    assert_eq!(opened(&datagrams[0]), Ok(Some(Opened { message, fragmented: false })));
}

#[test]
fn a_message_is_cut_only_if_it_is_too_long() {
    let message = Message { header: header(0), payloads: vec![Payload::Vendor(Bytes::from(vec![7; 1000]))] };
    let seal = |max| message.seal(&mut ToyCipher::cbc(), &mut SeededRandom::new(0), max);
    let whole = seal(None);
    assert_eq!((whole.len(), whole[0].len()), (1, 28 + 4 + 16 + 1008 + 16));
    assert_eq!(seal(Some(whole[0].len())), whole);
    let two = seal(Some(whole[0].len() - 1));
    assert_eq!(two.len(), 2);
    assert!(two.iter().all(|datagram| datagram[16] == 53), "SKF");
    assert_eq!((two[0][28], two[1][28]), (43, 0), "only the first tells the first payload (RFC 7383 §2.5)");
    assert_eq!((&two[0][32..36], &two[1][32..36]), (&[0, 1, 0, 2][..], &[0, 2, 0, 2][..]));
}

#[test]
fn datagrams_that_shall_be_too_short_carry_64_bytes() {
    let message = Message { header: header(0), payloads: vec![Payload::Vendor(Bytes::from(vec![7; 1000]))] };
    let datagrams = message.seal(&mut ToyCipher::aead(), &mut SeededRandom::new(0), Some(10));
    assert_eq!(datagrams.len(), 1004usize.div_ceil(64));
}

#[test]
fn padding_of_any_length_is_accepted_and_a_pad_length_that_lies_is_not() {
    let with_padding = |pad_length: u8, padding: usize| {
        // The last byte is a pad length of 0 at first, so that what becomes the padding is content.
        let mut cipher = ToyCipher::aead();
        let content = [&[0, 0, 0, 5, 1][..], &vec![9; padding]].concat();
        let (header, first) = (header(0), PayloadType::VENDOR);
        let mut datagram =
            sk::seal_one(&header, first, None, &content, &mut cipher, &mut SeededRandom::new(0)).to_vec();
        let at = datagram.len() - 17;
        datagram[at] = pad_length ^ 0xa5;
        cipher.check_again(&mut datagram);
        opened(&datagram)
    };
    for padding in [0, 1, 15, 255] {
        let opened = with_padding(padding as u8, padding).unwrap().unwrap();
        assert_eq!(opened.message.payloads, [Payload::Vendor(Bytes::from_static(&[1]))]);
    }
    assert_eq!(with_padding(6, 0), answered(NotifyType::INVALID_SYNTAX, b""), "more than there is");
    assert_eq!(with_padding(255, 0), answered(NotifyType::INVALID_SYNTAX, b""), "more than there is");
    assert_eq!(with_padding(4, 0), answered(NotifyType::INVALID_SYNTAX, b""));
    assert_eq!(with_padding(5, 0), answered(NotifyType::INVALID_SYNTAX, b""), "a payload is announced");
}

#[test]
fn a_message_without_encrypted_payload_is_refused() {
    let message = Message { header: header(0), payloads: vec![Payload::notify(NotifyType::INVALID_IKE_SPI, vec![])] };
    assert_eq!(opened(&message.encode()), refused(UnauthenticatedReason::Unprotected));
    assert_eq!(opened(&message.encode()[..20]), refused(UnauthenticatedReason::NotIke));
}

#[test]
fn another_version_is_refused() {
    let mut datagram = sk(0, b"");
    datagram[17] = 0x30;
    assert_eq!(opened(&datagram), refused(UnauthenticatedReason::MajorVersion(3)));
}

#[test]
fn authentic_nonsense_is_answered() {
    assert_eq!(opened(&sk(40, b"\0\0\0\x05n")), answered(NotifyType::INVALID_SYNTAX, b""));
    assert_eq!(opened(&sk(0, b"\0\0\0\x04")), answered(NotifyType::INVALID_SYNTAX, b""));
    assert_eq!(opened(&sk(41, b"")), answered(NotifyType::INVALID_SYNTAX, b""));
    for nested in [46, 53] {
        assert_eq!(opened(&sk(nested, b"\0\0\0\x04")), answered(NotifyType::INVALID_SYNTAX, b""));
    }
    for kind in [1, 32, 49, 255] {
        assert!(opened(&sk(kind, b"\0\x7f\0\x05?")).unwrap().is_some(), "{kind}");
        let data = Bytes::copy_from_slice(&[kind]);
        let notify = NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD;
        let expected = Err(Undecodable::Authenticated { header: header(0), notify, data });
        assert_eq!(opened(&sk(kind, b"\0\x80\0\x05?")), expected);
    }
}

/// The payloads stand before the encrypted one, in clear but verified.
fn with_outer(payloads: &[(u8, u8)], fragment: Option<Fragment>) -> Vec<u8> {
    let mut random = SeededRandom::new(0);
    let inner =
        sk::seal_one(&header(0), PayloadType::VENDOR, fragment, b"\0\0\0\x05v", &mut ToyCipher::aead(), &mut random);
    let mut bytes = inner[..28].to_vec();
    bytes[16] = payloads.first().map_or(inner[16], |(kind, _)| *kind);
    let following = payloads.iter().skip(1).map(|(kind, _)| *kind).chain([inner[16]]);
    for ((_, flags), next) in payloads.iter().zip(following) {
        bytes.extend([next, *flags, 0, 4]);
    }
    bytes.extend(&inner[28..]);
    let length = (bytes.len() as u32).to_be_bytes();
    bytes[24..28].copy_from_slice(&length);
    ToyCipher::aead().check_again(&mut bytes);
    bytes
}

#[test]
fn payloads_beside_the_encrypted_one_are_skipped_however_many() {
    for fragment in [None, Some(Fragment { number: 1, total: 1 })] {
        let opened = opened(&with_outer(&[(200, 0); 150], fragment)).unwrap().unwrap();
        assert_eq!(opened.message.payloads, [Payload::Vendor(Bytes::from_static(b"v"))]);
        assert_eq!(opened.fragmented, fragment.is_some());
    }
}

#[test]
fn a_critical_payload_beside_the_encrypted_one_is_answered_once_verified() {
    let datagram = with_outer(&[(43, 0x80), (200, 0x80), (201, 0x80)], None);
    assert_eq!(opened(&datagram), answered(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[200]));
    let mut forged = datagram;
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(opened(&forged), refused(UnauthenticatedReason::Forged));
}

#[test]
fn an_encrypted_payload_must_be_the_last() {
    let mut datagram = sk(0, b"");
    datagram.extend([0, 0, 0, 4]);
    let length = (datagram.len() as u32).to_be_bytes();
    datagram[24..28].copy_from_slice(&length);
    let error = adit_tunnel::wire::DecodeError::TrailingBytes;
    assert_eq!(opened(&datagram), refused(UnauthenticatedReason::Malformed(error)));
}

#[test]
fn numbers_a_fragment_must_not_have_are_refused() {
    let mut receiver = Receiver::new();
    for (number, total) in [(0, 0), (0, 1), (1, 0), (2, 1), (65535, 64), (1, 65), (65, 65), (65535, 65535)] {
        assert_eq!(receiver.take(0, number, total), refused(FRAGMENT), "{number} of {total}");
    }
}

#[test]
fn a_fragment_that_came_before_is_refused() {
    let mut receiver = Receiver::new();
    assert_eq!(receiver.take(0, 2, 2), Ok(None));
    assert_eq!(receiver.take(0, 2, 2), refused(DUPLICATE));
    assert_eq!(receiver.take(0, 1, 2), vendor(0, &[1, 1, 1, 1, 2, 2, 2, 2]));
    assert_eq!(receiver.take(0, 1, 2), Ok(None), "the session knows that the message is an old one");
}

#[test]
fn a_higher_total_starts_over_and_a_lower_one_is_refused() {
    let mut receiver = Receiver::new();
    assert_eq!(receiver.take(0, 1, 2), Ok(None));
    assert_eq!(receiver.take(0, 3, 3), Ok(None));
    assert_eq!(receiver.take(0, 2, 2), refused(FRAGMENT));
    assert_eq!(receiver.take(0, 2, 3), Ok(None));
    assert_eq!(receiver.take(0, 1, 3), vendor(0, &[1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]));
}

#[test]
fn a_forged_fragment_changes_nothing() {
    let mut receiver = Receiver::new();
    assert_eq!(receiver.take(0, 1, 2), Ok(None));
    let mut random = SeededRandom::new(0);
    for (number, total) in [(2, 2), (1, 3)] {
        let fragment = Some(Fragment { number, total });
        let datagram = sk::seal_one(&header(0), PayloadType::NONE, fragment, b"xx", &mut ToyCipher::cbc(), &mut random);
        let mut datagram = datagram.to_vec();
        *datagram.last_mut().unwrap() ^= 1;
        let result = open(&mut datagram, &ToyCipher::cbc(), &mut receiver.0);
        assert_eq!(result, refused(UnauthenticatedReason::Forged));
    }
    assert_eq!(receiver.take(0, 2, 2), vendor(0, &[1, 1, 1, 1, 2, 2, 2, 2]));
}

#[test]
fn a_newer_message_displaces_an_older_one_and_not_the_other_way() {
    let mut receiver = Receiver::new();
    assert_eq!(receiver.take(5, 1, 2), Ok(None));
    assert_eq!(receiver.take(6, 2, 2), Ok(None));
    assert_eq!(receiver.take(5, 2, 2), refused(FRAGMENT));
    assert_eq!(receiver.take(6, 1, 2), vendor(6, &[1, 1, 1, 1, 2, 2, 2, 2]));
}

#[test]
fn a_whole_message_displaces_its_fragments() {
    let mut receiver = Receiver::new();
    assert_eq!(receiver.take(0, 1, 2), Ok(None));
    let whole = Message { header: header(0), payloads: vec![] };
    let datagram = &whole.seal(&mut ToyCipher::cbc(), &mut SeededRandom::new(0), None)[0];
    assert!(open(&mut datagram.to_vec(), &ToyCipher::cbc(), &mut receiver.0).unwrap().is_some());
    assert_eq!(receiver.take(0, 2, 2), Ok(None), "the first one is gone");
}

fn takes_at_most(length: usize, header: fn(u32) -> Header) {
    let mut receiver = Receiver(Reassembly::new(), header);
    let content = vec![0; length / 2];
    assert_eq!(receiver.take_content(0, 2, 5, &content), Ok(None));
    assert_eq!(receiver.take_content(0, 3, 5, &content), Ok(None));
    assert_eq!(receiver.take_content(0, 4, 5, &[0]), refused(FRAGMENT));
    assert_eq!(receiver.take_content(0, 4, 5, &content), Ok(None), "all of them are gone");
}

#[test]
fn more_than_64_kilobytes_of_fragments_are_dropped() {
    takes_at_most(65536, |message_id| Header { exchange: ExchangeType::CREATE_CHILD_SA, ..header(message_id) });
    takes_at_most(65536, |message_id| Header { response: true, ..header(message_id) });
}

/// Before the peer has proved anything it can send no other requests.
#[test]
fn of_the_requests_of_strangers_less_is_kept() {
    takes_at_most(24 * 1024, header);
    takes_at_most(24 * 1024, |message_id| Header { exchange: ExchangeType::INFORMATIONAL, ..header(message_id) });
}

#[test]
fn fragments_may_be_empty() {
    let mut receiver = Receiver::new();
    assert_eq!(receiver.take_content(0, 2, 3, b""), Ok(None));
    assert_eq!(receiver.take_content(0, 3, 3, &[3; 8]), Ok(None));
    assert_eq!(receiver.take(0, 1, 3), vendor(0, &[1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3]));
}

#[test]
fn nonsense_in_fragments_is_answered() {
    let mut receiver = Receiver::new();
    assert_eq!(receiver.take(0, 1, 2), Ok(None));
    assert_eq!(receiver.take_content(0, 2, 2, b"short"), answered(NotifyType::INVALID_SYNTAX, b""));
}

#[test]
fn only_fragments_after_the_first_are_later_ones() {
    let later = |number, total| is_later_fragment(&with_outer(&[], Some(Fragment { number, total })));
    assert_eq!((later(1, 2), later(2, 2)), (false, true));
    assert!(!is_later_fragment(&sk(0, b"")));
    assert!(!is_later_fragment(&[]));
}
