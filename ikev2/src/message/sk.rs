//! SK and SKF payloads: protected messages, whole or in fragments (RFC 7296 §3.14, RFC 5282, RFC 7383 §2.5).
//!
//! ```text
//!  header | generic header | fragment number, total | IV | content | padding | pad length | ICV
//!                            (SKF only)
//!  ├──────────── authenticated ──────────────────────┤    ├────────── encrypted ──────────┤
//! ```

use std::ops::Range;

use adit_tunnel::{
    Random,
    wire::{DecodeError, Writer},
};
use bytes::{Bytes, BytesMut};
use nom::number::complete::be_u16;
use zeroize::Zeroize;

use super::{
    Message,
    header::Header,
    numbers::PayloadType,
    payload::{self, Generic},
    reassembly::{Fragment, Reassembly},
    undecodable::{BadPayloads, UnauthenticatedReason, Undecodable},
    wire::{Parsed, finish},
};
use crate::crypto::sk::SkCipher;

/// A message the peer has sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) message: Message,
    /// It came in fragments, so what we answer may, too.
    pub(crate) fragmented: bool,
}

/// Verifies and decrypts a datagram without its non-ESP marker, in place. `None`: a fragment was kept, and others are missing.
///
/// Payloads beside the encrypted one are verified, but nothing is made of them: no exchange has any (RFC 7383 §2.5.3).
pub(crate) fn open(
    datagram: &mut [u8],
    cipher: &dyn SkCipher,
    reassembly: &mut Reassembly,
) -> Result<Option<Opened>, Undecodable> {
    let header = Header::peek(datagram).ok_or(UnauthenticatedReason::NotIke)?;
    if header.major_version != Header::MAJOR_VERSION {
        return Err(UnauthenticatedReason::MajorVersion(header.major_version).into());
    }
    let outer = Outer::decode(datagram).map_err(BadPayloads::unauthenticated)?;
    let outer = outer.ok_or(UnauthenticatedReason::Unprotected)?;
    if let Some(fragment) = &outer.fragment {
        reassembly.check(&header, fragment)?;
    }

    let padded = decrypt(datagram, cipher, outer.authenticated).ok_or(UnauthenticatedReason::Forged)?;
    if let Some(critical) = outer.critical {
        return Err(BadPayloads::Critical(critical).authenticated(header));
    }
    let padded = datagram.get(padded).unwrap_or_default();
    let content = without_padding(padded).map_err(|error| BadPayloads::Malformed(error).authenticated(header))?;
    let Some(fragment) = outer.fragment else {
        reassembly.finish(&header);
        return decode(header, outer.inner, content, false);
    };
    match reassembly.add(&header, fragment, outer.inner, content)? {
        Some(whole) => decode(header, whole.first, &whole.content, true),
        None => Ok(None),
    }
}

/// Whether the datagram, not verified, says it is a fragment other than the first. A retransmitted request is answered again
/// for its first fragment only (RFC 7383 §2.6.1).
pub(crate) fn is_later_fragment(datagram: &[u8]) -> bool {
    fragment_of(datagram).is_some_and(|fragment| fragment.number != 1)
}

/// Whether the datagram, not verified, says it is a first fragment.
pub(crate) fn is_first_fragment(datagram: &[u8]) -> bool {
    fragment_of(datagram).is_some_and(|fragment| fragment.number == 1)
}

fn fragment_of(datagram: &[u8]) -> Option<Fragment> {
    Outer::decode(datagram).ok().flatten()?.fragment
}

/// Whether the datagram has an SK or SKF payload, be it genuine or not.
pub(crate) fn is_protected(datagram: &[u8]) -> bool {
    !matches!(Outer::decode(datagram), Ok(None))
}

fn decode(header: Header, first: PayloadType, content: &[u8], fragmented: bool) -> Result<Option<Opened>, Undecodable> {
    let payloads = payload::decode(first, content).map_err(|error| error.authenticated(header))?;
    Ok(Some(Opened { message: Message { header, payloads }, fragmented }))
}

/// The range of the padded content.
fn decrypt(datagram: &mut [u8], cipher: &dyn SkCipher, authenticated: usize) -> Option<Range<usize>> {
    let padded = datagram.len().checked_sub(authenticated + cipher.iv_len() + cipher.icv_len())?;
    if padded == 0 || !padded.is_multiple_of(cipher.pad_to()) {
        return None;
    }
    cipher.open(datagram, authenticated)
}

/// Any padding is fine, also more than needed (§3.14); a pad length that lies is not.
fn without_padding(padded: &[u8]) -> Result<&[u8], DecodeError> {
    let (pad_length, padded) = padded.split_last().ok_or(DecodeError::Truncated)?;
    let end = padded.len().checked_sub(usize::from(*pad_length));
    end.and_then(|end| padded.get(..end)).ok_or(DecodeError::Invalid("pad length"))
}

/// What of a protected datagram can be read without keys.
struct Outer {
    /// The type of the first payload inside; NONE in all fragments but the first.
    inner: PayloadType,
    fragment: Option<Fragment>,
    /// The bytes before the IV.
    authenticated: usize,
    /// A payload beside the encrypted one that must not be skipped, yet is of a type we do not know.
    critical: Option<PayloadType>,
}

impl Outer {
    /// `None` if no payload is encrypted.
    fn decode(datagram: &[u8]) -> Result<Option<Self>, BadPayloads> {
        let (mut input, (_, mut payload_type, _)) = Header::parse(datagram).map_err(payload::error)?;
        let mut critical = None;
        // Every turn consumes a header, so their number needs no other bound; nothing is kept of them.
        while !matches!(payload_type, PayloadType::SK | PayloadType::SKF) {
            if payload_type == PayloadType::NONE {
                return Ok(None);
            }
            let (after, generic) = Generic::parse(input).map_err(payload::error)?;
            if generic.critical && !payload::is_known(payload_type) {
                critical = critical.or(Some(payload_type));
            }
            (payload_type, input) = (generic.next, after);
        }
        Self::decode_encrypted(datagram.len(), payload_type, input, critical).map(Some)
    }

    fn decode_encrypted(
        datagram_len: usize,
        payload_type: PayloadType,
        input: &[u8],
        critical: Option<PayloadType>,
    ) -> Result<Self, BadPayloads> {
        // It is the last payload, so it ends where the datagram ends.
        let generic = finish(Generic::parse(input))?;
        let (protected, fragment) = if payload_type == PayloadType::SKF {
            let (after, fragment) = parse_fragment(generic.body).map_err(payload::error)?;
            (after, Some(fragment))
        } else {
            (generic.body, None)
        };
        Ok(Self { inner: generic.next, fragment, authenticated: datagram_len - protected.len(), critical })
    }
}

fn parse_fragment(input: &[u8]) -> Parsed<'_, Fragment> {
    let (input, number) = be_u16(input)?;
    let (input, total) = be_u16(input)?;
    Ok((input, Fragment { number, total }))
}

/// Protects `content`, a chain of payloads that begins with type `first`; see [`Message::seal`].
pub(crate) fn seal(
    header: &Header,
    first: PayloadType,
    content: &[u8],
    cipher: &mut dyn SkCipher,
    random: &mut dyn Random,
    max_datagram: Option<usize>,
) -> Vec<Bytes> {
    let too_long = max_datagram.filter(|max| sealed_len(cipher, None, content.len()) > *max);
    let chunk = too_long.map(|max| chunk_len(cipher, max)).filter(|chunk| content.len() > *chunk);
    let Some(chunk) = chunk else {
        return vec![seal_one(header, first, None, content, cipher, random)];
    };
    // Fits: lengths of 64 kB at most, in chunks of MIN_CHUNK at least.
    let total = content.len().div_ceil(chunk) as u16;
    let inner = [first].into_iter().chain(std::iter::repeat(PayloadType::NONE));
    let chunks = (1..=total).zip(inner).zip(content.chunks(chunk));
    chunks
        .map(|((number, inner), chunk)| {
            seal_one(header, inner, Some(Fragment { number, total }), chunk, cipher, random)
        })
        .collect()
}

/// A fragment carries this many bytes at least, however small datagrams shall be.
const MIN_CHUNK: usize = 64;

/// How many bytes of content go into one fragment.
fn chunk_len(cipher: &dyn SkCipher, max_datagram: usize) -> usize {
    let overhead = sealed_prefix_len(true) + cipher.iv_len() + cipher.icv_len();
    let padded = max_datagram.saturating_sub(overhead) / cipher.pad_to() * cipher.pad_to();
    padded.saturating_sub(1).max(MIN_CHUNK)
}

/// Bytes before the IV.
const fn sealed_prefix_len(fragment: bool) -> usize {
    Header::LEN + Generic::LEN + if fragment { 4 } else { 0 }
}

/// Length of a datagram with so many bytes of content.
fn sealed_len(cipher: &dyn SkCipher, fragment: Option<Fragment>, content: usize) -> usize {
    let padded = (content + 1).next_multiple_of(cipher.pad_to());
    sealed_prefix_len(fragment.is_some()) + cipher.iv_len() + padded + cipher.icv_len()
}

/// One datagram: an SK, or the SKF of a fragment.
pub(super) fn seal_one(
    header: &Header,
    inner: PayloadType,
    fragment: Option<Fragment>,
    content: &[u8],
    cipher: &mut dyn SkCipher,
    random: &mut dyn Random,
) -> Bytes {
    let len = sealed_len(cipher, fragment, content.len());
    let mut w = Writer::with_capacity(len);
    header.encode(&mut w, if fragment.is_some() { PayloadType::SKF } else { PayloadType::SK }, len);
    w.u8(inner.0);
    w.u8(0);
    w.u16(u16::try_from(len - Header::LEN).unwrap_or(u16::MAX));
    if let Some(fragment) = fragment {
        w.u16(fragment.number);
        w.u16(fragment.total);
    }
    let prefix = w.len();
    let mut buffer = w.into_inner();
    buffer.resize(prefix + cipher.iv_len(), 0);
    buffer.extend_from_slice(content);
    // The bytes of the padding may have any value (§3.14).
    let padding = len - cipher.icv_len() - buffer.len() - 1;
    buffer.resize(buffer.len() + padding, 0);
    buffer.extend_from_slice(&[padding as u8]);
    buffer.resize(len, 0);
    cipher.seal(random, &mut buffer, prefix);
    buffer.freeze()
}

/// Writes the payloads of a message for [`seal`]; what is written is wiped afterwards.
pub(super) fn with_content<T>(message: &Message, use_content: impl FnOnce(&[u8]) -> T) -> T {
    // Room enough for every message with a password or challenge in it, so that growing leaves no copy behind.
    let mut w = Writer::with_capacity(4096);
    payload::encode(&message.payloads, &mut w);
    let mut content: BytesMut = w.into_inner();
    let result = use_content(&content);
    content.as_mut().zeroize();
    result
}
