//! The chain of payloads (RFC 7296 §3.2).

use std::fmt;

use adit_tunnel::wire::{DecodeError, Writer};
use bytes::Bytes;
use nom::{
    bytes::complete::take,
    number::complete::{be_u8, be_u16},
};

use super::{
    auth::Authentication,
    cert::{Certificate, CertificateRequest},
    cp::Configuration,
    delete::Delete,
    eap,
    id::Identification,
    ke::KeyExchange,
    nonce,
    notify::Notify,
    numbers::{NotifyType, PayloadType},
    sa::SecurityAssociation,
    ts::{self, TrafficSelector},
    undecodable::BadPayloads,
    wire::{Parsed, finish, invalid, rest},
};

/// One payload, in the order of the wire.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    Sa(SecurityAssociation),
    Ke(KeyExchange),
    IdI(Identification),
    IdR(Identification),
    Cert(Certificate),
    CertReq(CertificateRequest),
    Auth(Authentication),
    /// 16 to 256 bytes.
    Nonce(Bytes),
    Notify(Notify),
    Delete(Delete),
    Vendor(Bytes),
    TsI(Vec<TrafficSelector>),
    TsR(Vec<TrafficSelector>),
    Cp(Configuration),
    /// A whole EAP packet (RFC 3748 §4). Debug shows its length alone: GTC sends passwords as they are.
    Eap(Bytes),
    /// A payload of a type we do not know; the critical ones never get here.
    Unknown {
        payload_type: PayloadType,
        body: Bytes,
    },
}

impl Payload {
    /// A notification that is about no SA but this one.
    pub(crate) fn notify(notify_type: NotifyType, data: impl Into<Bytes>) -> Self {
        Self::Notify(Notify::status(notify_type, data))
    }

    pub(crate) const fn payload_type(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::Ke(_) => PayloadType::KE,
            Self::IdI(_) => PayloadType::IDI,
            Self::IdR(_) => PayloadType::IDR,
            Self::Cert(_) => PayloadType::CERT,
            Self::CertReq(_) => PayloadType::CERTREQ,
            Self::Auth(_) => PayloadType::AUTH,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete(_) => PayloadType::DELETE,
            Self::Vendor(_) => PayloadType::VENDOR,
            Self::TsI(_) => PayloadType::TSI,
            Self::TsR(_) => PayloadType::TSR,
            Self::Cp(_) => PayloadType::CP,
            Self::Eap(_) => PayloadType::EAP,
            Self::Unknown { payload_type, .. } => *payload_type,
        }
    }

    /// Reads what follows the generic header.
    pub(super) fn parse(payload_type: PayloadType, input: &[u8]) -> Parsed<'_, Self> {
        fn map<T>((input, value): (&[u8], T), payload: fn(T) -> Payload) -> (&[u8], Payload) {
            (input, payload(value))
        }
        Ok(match payload_type {
            PayloadType::SA => map(SecurityAssociation::parse(input)?, Self::Sa),
            PayloadType::KE => map(KeyExchange::parse(input)?, Self::Ke),
            PayloadType::IDI => map(Identification::parse(input)?, Self::IdI),
            PayloadType::IDR => map(Identification::parse(input)?, Self::IdR),
            PayloadType::CERT => map(Certificate::parse(input)?, Self::Cert),
            PayloadType::CERTREQ => map(CertificateRequest::parse(input)?, Self::CertReq),
            PayloadType::AUTH => map(Authentication::parse(input)?, Self::Auth),
            PayloadType::NONCE => map(nonce::parse(input)?, Self::Nonce),
            PayloadType::NOTIFY => map(Notify::parse(input)?, Self::Notify),
            PayloadType::DELETE => map(Delete::parse(input)?, Self::Delete),
            PayloadType::VENDOR => map(rest(input)?, Self::Vendor),
            PayloadType::TSI => map(ts::parse(input)?, Self::TsI),
            PayloadType::TSR => map(ts::parse(input)?, Self::TsR),
            PayloadType::CP => map(Configuration::parse(input)?, Self::Cp),
            PayloadType::EAP => map(eap::parse(input)?, Self::Eap),
            _ => {
                let (input, body) = rest(input)?;
                (input, Self::Unknown { payload_type, body })
            }
        })
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        match self {
            Self::Sa(sa) => sa.encode(w),
            Self::Ke(ke) => ke.encode(w),
            Self::IdI(id) | Self::IdR(id) => id.encode(w),
            Self::Cert(cert) => cert.encode(w),
            Self::CertReq(request) => request.encode(w),
            Self::Auth(auth) => auth.encode(w),
            Self::Notify(notify) => notify.encode(w),
            Self::Delete(delete) => delete.encode(w),
            Self::TsI(selectors) | Self::TsR(selectors) => ts::encode(selectors, w),
            Self::Cp(cp) => cp.encode(w),
            Self::Nonce(body) | Self::Vendor(body) | Self::Eap(body) | Self::Unknown { body, .. } => w.bytes(body),
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sa(sa) => sa.fmt(f),
            Self::Ke(ke) => ke.fmt(f),
            Self::IdI(id) => write!(f, "IdI({id:?})"),
            Self::IdR(id) => write!(f, "IdR({id:?})"),
            Self::Cert(cert) => cert.fmt(f),
            Self::CertReq(request) => request.fmt(f),
            Self::Auth(auth) => auth.fmt(f),
            Self::Nonce(nonce) => write!(f, "Nonce({nonce:?})"),
            Self::Notify(notify) => notify.fmt(f),
            Self::Delete(delete) => write!(f, "Delete({delete:?})"),
            Self::Vendor(id) => write!(f, "Vendor({id:?})"),
            Self::TsI(selectors) => write!(f, "TsI({selectors:?})"),
            Self::TsR(selectors) => write!(f, "TsR({selectors:?})"),
            Self::Cp(cp) => cp.fmt(f),
            Self::Eap(packet) => write!(f, "Eap({} bytes)", packet.len()),
            Self::Unknown { payload_type, body } => write!(f, "Unknown({payload_type:?}, {} bytes)", body.len()),
        }
    }
}

/// What stands before every payload: the type of the next one, whether this one is critical, its body.
pub(super) struct Generic<'a> {
    pub(super) next: PayloadType,
    pub(super) critical: bool,
    pub(super) body: &'a [u8],
}

impl<'a> Generic<'a> {
    /// Length in bytes, without the body.
    pub(super) const LEN: usize = 4;
    const CRITICAL: u8 = 0x80;

    pub(super) fn parse(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, next) = be_u8(input)?;
        // The other flags are reserved, and ignored.
        let (input, flags) = be_u8(input)?;
        let (input, length) = be_u16(input)?;
        let length = usize::from(length).checked_sub(Self::LEN).ok_or_else(|| invalid("payload length"))?;
        let (input, body) = take(length)(input)?;
        Ok((input, Self { next: PayloadType(next), critical: flags & Self::CRITICAL != 0, body }))
    }
}

/// Reads all payloads of a chain that begins with type `first` and must use up the input.
pub(super) fn decode(first: PayloadType, mut input: &[u8]) -> Result<Vec<Payload>, BadPayloads> {
    let (mut payloads, mut seen) = (Vec::new(), Seen::default());
    let mut payload_type = first;
    while payload_type != PayloadType::NONE {
        let (after, generic) = Generic::parse(input).map_err(error)?;
        // They must not stand inside each other, nor anywhere but at the end (§3.14).
        if matches!(payload_type, PayloadType::SK | PayloadType::SKF) {
            return Err(DecodeError::Invalid("encrypted payload").into());
        }
        if is_known(payload_type) {
            seen.count(payload_type)?;
            payloads.push(finish(Payload::parse(payload_type, generic.body))?);
        } else if generic.critical {
            return Err(BadPayloads::Critical(payload_type));
        } else if seen.keep_unknown() {
            payloads.push(finish(Payload::parse(payload_type, generic.body))?);
        }
        (payload_type, input) = (generic.next, after);
    }
    if input.is_empty() { Ok(payloads) } else { Err(DecodeError::TrailingBytes.into()) }
}

/// Writes a chain of payloads.
pub(super) fn encode(payloads: &[Payload], w: &mut Writer) {
    let following = payloads.iter().skip(1).map(Payload::payload_type).chain([PayloadType::NONE]);
    for (payload, next) in payloads.iter().zip(following) {
        w.u8(next.0);
        w.u8(0);
        w.length_u16(Generic::LEN, |w| payload.encode(w));
    }
}

/// The type of the first payload of a chain.
pub(super) fn first_type(payloads: &[Payload]) -> PayloadType {
    payloads.first().map_or(PayloadType::NONE, Payload::payload_type)
}

/// Whether we know payloads of this type, so that the critical flag means nothing on them.
pub(super) fn is_known(payload_type: PayloadType) -> bool {
    matches!(payload_type.0, 33..=48 | 53)
}

pub(super) fn error(error: nom::Err<DecodeError>) -> BadPayloads {
    match error {
        nom::Err::Incomplete(_) => DecodeError::Truncated.into(),
        nom::Err::Error(error) | nom::Err::Failure(error) => error.into(),
    }
}

/// What has been seen of a chain so far.
#[derive(Default)]
struct Seen {
    /// One bit for each type below 64.
    types: u64,
    known: usize,
    unknown: usize,
}

impl Seen {
    /// Our own judgement: the longest real messages, with a chain of certificates and a dozen notifications, have 30.
    const MAX_KNOWN: usize = 64;
    /// Unknown payloads beyond these are skipped and forgotten.
    const MAX_UNKNOWN: usize = 16;

    /// Counts a payload of a known type, and refuses what may come only once but comes again.
    fn count(&mut self, payload_type: PayloadType) -> Result<(), DecodeError> {
        self.known += 1;
        if self.known > Self::MAX_KNOWN {
            return Err(DecodeError::Invalid("number of payloads"));
        }
        let repeats = matches!(
            payload_type,
            PayloadType::CERT | PayloadType::CERTREQ | PayloadType::NOTIFY | PayloadType::DELETE | PayloadType::VENDOR
        );
        let bit = 1 << (payload_type.0 & 63);
        if !repeats && self.types & bit != 0 {
            return Err(DecodeError::Invalid("payload that may come once"));
        }
        self.types |= bit;
        Ok(())
    }

    fn keep_unknown(&mut self) -> bool {
        self.unknown += 1;
        self.unknown <= Self::MAX_UNKNOWN
    }
}
