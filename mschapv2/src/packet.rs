//! The four packets as they are on the wire: code, identifier, length of the whole, content.
//!
//! PPP carries them as they are; EAP behind its own header and type 26, as OpCode, MS-CHAPv2-ID and MS-Length. Texts of the
//! authenticator come from strangers: they are shortened, and characters that do not print are left out.

use alloc::{string::String, vec::Vec};
use core::{error, fmt};

/// From the authenticator: prove yourself (RFC 2759 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Chosen by the authenticator; need not equal the identifier of an EAP packet around.
    pub id: u8,
    /// Random bytes.
    pub challenge: [u8; 16],
    /// The authenticator's name.
    pub name: Vec<u8>,
}

/// From the peer: the proof (RFC 2759 §4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// That of the challenge.
    pub id: u8,
    /// The peer's own random bytes.
    pub peer_challenge: [u8; 16],
    /// The proof itself.
    pub nt_response: [u8; 24],
    /// The user, with a domain if there is one.
    pub name: Vec<u8>,
}

/// From the authenticator: the peer is believed, and here is the counter-proof (RFC 2759 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Success {
    /// That of the challenge.
    pub id: u8,
    /// The counter-proof, on the wire `S=` and 40 hexadecimal digits.
    pub authenticator_response: [u8; 20],
    /// Words for people, on the wire ` M=` and the rest.
    pub message: String,
}

/// From the authenticator: the peer is not believed (RFC 2759 §6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// That of the challenge.
    pub id: u8,
    /// Why: 646 restricted hours, 647 account disabled, 648 password expired, 649 no dial-in permission, 691
    /// authentication failure, 709 changing the password failed.
    pub error: u32,
    /// Whether another response is welcome.
    pub retry: bool,
    /// The challenge for that.
    pub challenge: Option<[u8; 16]>,
    /// The version of password changing: 3.
    pub version: Option<u32>,
    /// Words for people.
    pub message: String,
}

/// Any of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Code 1.
    Challenge(Challenge),
    /// Code 2.
    Response(Response),
    /// Code 3.
    Success(Success),
    /// Code 4.
    Failure(Failure),
}

/// Why bytes are not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// It ends too early.
    Truncated,
    /// Its length field is not its length.
    Length,
    /// An unknown code, such as that of changing a password (7).
    Code(u8),
    /// The value of a challenge is not of 16 bytes, or that of a response not of 49.
    ValueSize(u8),
    /// The text lacks `S=` or `E=`.
    KeyMissing,
    /// A key of the text occurs twice.
    KeyTwice,
    /// A value of the text is not what its key wants: 40 or 32 hexadecimal digits, or a number.
    Value,
}

/// The acknowledgement of a [`Success`] inside EAP: the code alone.
pub const SUCCESS_ACKNOWLEDGEMENT: [u8; 1] = [SUCCESS];

impl Packet {
    /// Reads a packet, which must fill `input` exactly.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        let (&[code, id, high, low], content) = input.split_first_chunk().ok_or(Malformed::Truncated)?;
        if usize::from(u16::from_be_bytes([high, low])) != input.len() {
            return Err(Malformed::Length);
        }
        match code {
            CHALLENGE => Challenge::parse(id, content).map(Self::Challenge),
            RESPONSE => Response::parse(id, content).map(Self::Response),
            SUCCESS => Success::parse(id, content).map(Self::Success),
            FAILURE => Failure::parse(id, content).map(Self::Failure),
            other => Err(Malformed::Code(other)),
        }
    }
}

impl Challenge {
    fn parse(id: u8, content: &[u8]) -> Result<Self, Malformed> {
        let (&[size], content) = content.split_first_chunk().ok_or(Malformed::Truncated)?;
        if size != 16 {
            return Err(Malformed::ValueSize(size));
        }
        let (challenge, name) = content.split_first_chunk().ok_or(Malformed::Truncated)?;
        Ok(Self { id, challenge: *challenge, name: name.to_vec() })
    }

    /// The packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        packet(CHALLENGE, self.id, &[&[16], &self.challenge, &self.name])
    }
}

impl Response {
    fn parse(id: u8, content: &[u8]) -> Result<Self, Malformed> {
        let (&[size], content) = content.split_first_chunk().ok_or(Malformed::Truncated)?;
        if size != 49 {
            return Err(Malformed::ValueSize(size));
        }
        let (peer_challenge, content) = content.split_first_chunk().ok_or(Malformed::Truncated)?;
        // Reserved, ignored on input.
        let (_, content) = content.split_first_chunk::<8>().ok_or(Malformed::Truncated)?;
        let (nt_response, content) = content.split_first_chunk().ok_or(Malformed::Truncated)?;
        // Flags, ignored on input.
        let (_, name) = content.split_first_chunk::<1>().ok_or(Malformed::Truncated)?;
        Ok(Self { id, peer_challenge: *peer_challenge, nt_response: *nt_response, name: name.to_vec() })
    }

    /// The packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        packet(RESPONSE, self.id, &[&[49], &self.peer_challenge, &[0; 8], &self.nt_response, &[0], &self.name])
    }

    /// From the value of the attribute MS-CHAP2-Response; the user's name is in an attribute of its own.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_attribute(value: &[u8], name: &[u8]) -> Result<Self, Malformed> {
        // Flags, ignored on input.
        let (&[id, _], value) = value.split_first_chunk().ok_or(Malformed::Truncated)?;
        let (peer_challenge, value) = value.split_first_chunk().ok_or(Malformed::Truncated)?;
        // Reserved, ignored on input.
        let (_, value) = value.split_first_chunk::<8>().ok_or(Malformed::Truncated)?;
        let (nt_response, rest) = value.split_first_chunk().ok_or(Malformed::Truncated)?;
        if !rest.is_empty() {
            return Err(Malformed::Length);
        }
        Ok(Self { id, peer_challenge: *peer_challenge, nt_response: *nt_response, name: name.to_vec() })
    }

    /// The value of the attribute MS-CHAP2-Response (RFC 2548 §2.3.2), which RADIUS and EAP-TTLS use.
    #[must_use]
    pub fn attribute(&self) -> [u8; 50] {
        let mut value = [0; 50];
        let parts = [&[self.id, 0][..], &self.peer_challenge, &[0; 8], &self.nt_response];
        value.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        value
    }
}

impl Success {
    fn parse(id: u8, content: &[u8]) -> Result<Self, Malformed> {
        let text = Text::parse(content);
        let authenticator_response = hex(text.value(b"S")?.ok_or(Malformed::KeyMissing)?)?;
        Ok(Self { id, authenticator_response, message: printable(text.message) })
    }

    /// From the value of the attribute MS-CHAP2-Success (RFC 2548 §2.3.3): identifier and text.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_attribute(value: &[u8]) -> Result<Self, Malformed> {
        let (&[id], text) = value.split_first_chunk().ok_or(Malformed::Truncated)?;
        Self::parse(id, text)
    }

    /// The packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        packet(SUCCESS, self.id, &[self.text().as_bytes()])
    }

    /// The value of the attribute MS-CHAP2-Success.
    #[must_use]
    pub fn attribute(&self) -> Vec<u8> {
        attribute(self.id, &self.text())
    }

    /// The text of the packet.
    #[must_use]
    pub fn text(&self) -> String {
        alloc::format!("S={} M={}", Hex(&self.authenticator_response), self.message)
    }
}

impl Failure {
    fn parse(id: u8, content: &[u8]) -> Result<Self, Malformed> {
        let text = Text::parse(content);
        let retry = match text.value(b"R")? {
            None | Some(b"0") => false,
            Some(b"1") => true,
            Some(_) => return Err(Malformed::Value),
        };
        Ok(Self {
            id,
            error: number(text.value(b"E")?.ok_or(Malformed::KeyMissing)?)?,
            retry,
            challenge: text.value(b"C")?.map(hex).transpose()?,
            version: text.value(b"V")?.map(number).transpose()?,
            message: printable(text.message),
        })
    }

    /// From the value of the attribute MS-CHAP-Error (RFC 2548 §2.1.5): identifier and text.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_attribute(value: &[u8]) -> Result<Self, Malformed> {
        let (&[id], text) = value.split_first_chunk().ok_or(Malformed::Truncated)?;
        Self::parse(id, text)
    }

    /// The packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        packet(FAILURE, self.id, &[self.text().as_bytes()])
    }

    /// The value of the attribute MS-CHAP-Error.
    #[must_use]
    pub fn attribute(&self) -> Vec<u8> {
        attribute(self.id, &self.text())
    }

    /// The text of the packet.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = alloc::format!("E={} R={}", self.error, u8::from(self.retry));
        if let Some(challenge) = &self.challenge {
            text += &alloc::format!(" C={}", Hex(challenge));
        }
        if let Some(version) = self.version {
            text += &alloc::format!(" V={version}");
        }
        text += &alloc::format!(" M={}", self.message);
        text
    }
}

/// `K=value` words apart by spaces, up to `M=`, which takes the rest.
struct Text<'a> {
    words: &'a [u8],
    message: &'a [u8],
}

impl<'a> Text<'a> {
    /// What lies behind a NUL does not count: strongSwan 5.9.8 sends one at the end.
    fn parse(content: &'a [u8]) -> Self {
        let text = content.split(|&byte| byte == 0).next().unwrap_or_default();
        let message = (0..text.len()).find(|&at| {
            let starts_word = at.checked_sub(1).is_none_or(|before| text.get(before) == Some(&b' '));
            starts_word && text.get(at..).is_some_and(|rest| rest.starts_with(b"M="))
        });
        let (words, message) = text.split_at_checked(message.unwrap_or(text.len())).unwrap_or((text, &[]));
        Self { words, message: message.strip_prefix(b"M=").unwrap_or_default() }
    }

    /// The value of the only word with this key. Keys we do not know are passed over.
    fn value(&self, key: &[u8]) -> Result<Option<&'a [u8]>, Malformed> {
        let words = self.words.split(|&byte| byte == b' ');
        let mut values = words.filter_map(|word| word.strip_prefix(key)?.strip_prefix(b"="));
        let value = values.next();
        if values.next().is_some() { Err(Malformed::KeyTwice) } else { Ok(value) }
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// Exactly `N` bytes in hexadecimal digits of either case.
fn hex<const N: usize>(digits: &[u8]) -> Result<[u8; N], Malformed> {
    let (pairs, odd) = digits.as_chunks::<2>();
    if pairs.len() != N || !odd.is_empty() {
        return Err(Malformed::Value);
    }
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = [0; N];
    for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low).ok_or(Malformed::Value)?;
    }
    Ok(bytes)
}

/// Decimal digits only: no sign.
fn number(digits: &[u8]) -> Result<u32, Malformed> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::Value);
    }
    core::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Malformed::Value)
}

fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(MESSAGE_MAX_CHARS).collect()
}

fn attribute(id: u8, text: &str) -> Vec<u8> {
    [&[id], text.as_bytes()].concat()
}

fn packet(code: u8, id: u8, parts: &[&[u8]]) -> Vec<u8> {
    // A name long enough to saturate the length is refused by every receiver.
    let length = HEADER_BYTES + parts.iter().map(|part| part.len()).sum::<usize>();
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = Vec::with_capacity(length);
    packet.extend_from_slice(&[code, id, high, low]);
    parts.iter().for_each(|part| packet.extend_from_slice(part));
    packet
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("an MS-CHAPv2 packet ends too early"),
            Self::Length => f.write_str("the length field of an MS-CHAPv2 packet is not its length"),
            Self::Code(code) => write!(f, "an MS-CHAPv2 packet has the unknown code {code}"),
            Self::ValueSize(size) => write!(f, "an MS-CHAPv2 packet has a value of {size} bytes"),
            Self::KeyMissing => f.write_str("the text of an MS-CHAPv2 packet lacks `S=` or `E=`"),
            Self::KeyTwice => f.write_str("the text of an MS-CHAPv2 packet has a key twice"),
            Self::Value => f.write_str("the text of an MS-CHAPv2 packet has a malformed value"),
        }
    }
}

impl error::Error for Malformed {}

const CHALLENGE: u8 = 1;
const RESPONSE: u8 = 2;
const SUCCESS: u8 = 3;
const FAILURE: u8 = 4;
const HEADER_BYTES: usize = 4;
/// Our own judgement: a line for people.
const MESSAGE_MAX_CHARS: usize = 200;
