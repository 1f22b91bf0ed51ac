//! EAP packets (RFC 3748 §4): code, identifier, length, and in requests and responses a type with its data.

use std::fmt;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::EapError;

/// A type of request and response (IANA "EAP Registry", Method Types).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EapType(pub(crate) u8);

/// What a server sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    Request { id: u8, kind: EapType, data: &'a [u8] },
    Success,
    Failure,
}

impl EapType {
    pub(super) const IDENTITY: Self = Self(1);
    pub(super) const NOTIFICATION: Self = Self(2);
    pub(super) const NAK: Self = Self(3);
    pub(super) const MD5: Self = Self(4);
    pub(super) const GTC: Self = Self(6);
    pub(super) const TLS: Self = Self(13);
    pub(super) const TTLS: Self = Self(21);
    pub(super) const MSCHAPV2: Self = Self(26);
    pub(super) const EXPANDED: Self = Self(254);

    const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::IDENTITY => "EAP-Identity",
            Self::NOTIFICATION => "EAP-Notification",
            Self::NAK => "EAP-Nak",
            Self::MD5 => "EAP-MD5",
            Self::GTC => "EAP-GTC",
            Self::TLS => "EAP-TLS",
            Self::TTLS => "EAP-TTLS",
            Self(25) => "EAP-PEAP",
            Self::MSCHAPV2 => "EAP-MSCHAPv2",
            Self(43) => "EAP-FAST",
            Self::EXPANDED => "an expanded EAP type",
            _ => return None,
        })
    }
}

/// What a peer sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response<'a> {
    pub(super) id: u8,
    pub(super) kind: EapType,
    pub(super) data: &'a [u8],
}

impl fmt::Display for EapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "EAP type {}", self.0),
        }
    }
}

impl fmt::Debug for EapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EapType({})", self.0)
    }
}

impl<'a> Packet<'a> {
    /// What lies behind the end that the length field tells is padding (RFC 3748 §4.1). The identifier of Success and Failure
    /// is not compared: IKE has brought them, in order and authenticated, and servers differ about it.
    pub(super) fn parse(input: &'a [u8]) -> Result<Self, EapError> {
        let (code, id, content) = open(input)?;
        match code {
            REQUEST => {
                let (kind, data) = typed(content)?;
                Ok(Self::Request { id, kind, data })
            }
            SUCCESS if content.is_empty() => Ok(Packet::Success),
            FAILURE if content.is_empty() => Ok(Packet::Failure),
            SUCCESS | FAILURE => Err(EapError::Malformed),
            other => Err(EapError::Code(other)),
        }
    }
}

impl<'a> Response<'a> {
    pub(super) fn parse(input: &'a [u8]) -> Result<Self, EapError> {
        match open(input)? {
            (RESPONSE, id, content) => {
                let (kind, data) = typed(content)?;
                Ok(Self { id, kind, data })
            }
            (other, ..) => Err(EapError::Code(other)),
        }
    }
}

/// Code, identifier, and what follows the header up to the end that the length field tells.
fn open(input: &[u8]) -> Result<(u8, u8, &[u8]), EapError> {
    let &[code, id, high, low] = input.first_chunk().ok_or(EapError::Malformed)?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    Ok((code, id, input.get(HEADER_BYTES..length).ok_or(EapError::Malformed)?))
}

fn typed(content: &[u8]) -> Result<(EapType, &[u8]), EapError> {
    let (&kind, data) = content.split_first().ok_or(EapError::Malformed)?;
    Ok((EapType(kind), data))
}

/// A response, in memory that is wiped when the last user is done: it may be a password in clear.
pub(super) fn response(id: u8, kind: EapType, data: &[u8]) -> Bytes {
    packet(RESPONSE, id, kind, data)
}

/// A request, in such memory too.
pub(super) fn request(id: u8, kind: EapType, data: &[u8]) -> Bytes {
    packet(REQUEST, id, kind, data)
}

/// The end, with the identifier of the response that brought it about (RFC 3748 §4.2).
pub(super) fn success(id: u8) -> Bytes {
    Bytes::copy_from_slice(&[SUCCESS, id, 0, 4])
}

/// The other end.
pub(super) fn failure(id: u8) -> Bytes {
    Bytes::copy_from_slice(&[FAILURE, id, 0, 4])
}

fn packet(code: u8, id: u8, kind: EapType, data: &[u8]) -> Bytes {
    let length = HEADER_BYTES + 1 + data.len();
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = Zeroizing::new(Vec::with_capacity(length));
    packet.extend_from_slice(&[code, id, high, low, kind.0]);
    packet.extend_from_slice(data);
    Bytes::from_owner(packet)
}

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
const SUCCESS: u8 = 3;
const FAILURE: u8 = 4;
pub(super) const HEADER_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_up_to_their_length() {
        let request = Packet::Request { id: 7, kind: EapType::IDENTITY, data: b"hi" };
        assert_eq!(Packet::parse(b"\x01\x07\x00\x07\x01hi"), Ok(request));
        assert_eq!(
            Packet::parse(b"\x01\x07\x00\x05\x01padding"),
            Ok(Packet::Request { id: 7, kind: EapType::IDENTITY, data: b"" })
        );
        assert_eq!(Packet::parse(b"\x03\x07\x00\x04"), Ok(Packet::Success));
        assert_eq!(Packet::parse(b"\x04\x07\x00\x04pad"), Ok(Packet::Failure));
    }

    #[test]
    fn malformed_packets_are_errors() {
        for packet in [
            &b""[..],
            b"\x01\x07\x00",
            b"\x01\x07\x00\x04",
            b"\x01\x07\x00\x03\x01",
            b"\x01\x07\x00\x00\x01",
            b"\x01\x07\x00\x06\x01",
            b"\x01\x07\xff\xff\x01",
            b"\x03\x07\x00\x05\x00",
            b"\x04\x07\x00\x03\x00",
        ] {
            assert_eq!(Packet::parse(packet), Err(EapError::Malformed), "{packet:?}");
        }
        for code in (0..=255).filter(|code| ![1, 3, 4].contains(code)) {
            assert_eq!(Packet::parse(&[code, 7, 0, 5, 1]), Err(EapError::Code(code)));
        }
    }

    #[test]
    fn responses_are_read_up_to_their_length() {
        let wanted = Response { id: 7, kind: EapType::IDENTITY, data: b"me" };
        assert_eq!(Response::parse(b"\x02\x07\x00\x07\x01mepad"), Ok(wanted));
        for packet in [&b""[..], b"\x02\x07\x00", b"\x02\x07\x00\x04", b"\x02\x07\x00\x06\x01", b"\x02\x07\0\0\x01"] {
            assert_eq!(Response::parse(packet), Err(EapError::Malformed), "{packet:?}");
        }
        for code in (0..=255).filter(|code| *code != 2) {
            assert_eq!(Response::parse(&[code, 7, 0, 5, 1]), Err(EapError::Code(code)));
        }
    }

    #[test]
    fn requests_and_ends_have_their_length() {
        assert_eq!(request(7, EapType::IDENTITY, b"")[..], *b"\x01\x07\x00\x05\x01");
        assert_eq!((&success(8)[..], &failure(9)[..]), (&b"\x03\x08\x00\x04"[..], &b"\x04\x09\x00\x04"[..]));
    }

    #[test]
    fn a_response_has_its_length() {
        assert_eq!(response(7, EapType::IDENTITY, b"me")[..], *b"\x02\x07\x00\x07\x01me");
    }
}
