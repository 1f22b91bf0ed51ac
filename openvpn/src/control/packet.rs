//! Control packets as they are without wrapping (OpenVPN 2.6 `ssl_pkt.h`, `reliable.c`).
//!
//! ```text
//!  opcode:5 key_id:3 | session id:64 | n:8 | n × acknowledged id:32 | peer's session id:64, if n > 0
//!                    | packet id:32, not in ACK_V1 | payload
//! ```

use std::fmt;

use adit_tunnel::{
    Class, KeyTag, Random,
    wire::{DecodeError, Writer},
};
use bytes::Bytes;
use nom::{
    IResult,
    bytes::complete::take,
    combinator::rest,
    number::complete::{be_u8, be_u16, be_u32},
};

type Parsed<'a, T> = IResult<&'a [u8], T, DecodeError>;

/// What a datagram is: the upper five bits of its first byte (OpenVPN 2.6 `ssl_pkt.h`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Opcode(pub(crate) u8);

impl Opcode {
    /// Starts a renegotiation.
    pub(crate) const SOFT_RESET_V1: Self = Self(3);
    /// Carries a piece of the TLS stream.
    pub(crate) const CONTROL_V1: Self = Self(4);
    /// Acknowledges, and carries nothing.
    pub(crate) const ACK_V1: Self = Self(5);
    /// A data packet without peer id.
    pub(crate) const DATA_V1: Self = Self(6);
    /// A client's first packet.
    pub(crate) const HARD_RESET_CLIENT_V2: Self = Self(7);
    /// A server's first packet.
    pub(crate) const HARD_RESET_SERVER_V2: Self = Self(8);
    /// A data packet with peer id.
    pub(crate) const DATA_V2: Self = Self(9);
    /// A client's first packet with tls-crypt-v2: the wrapped client key follows.
    pub(crate) const HARD_RESET_CLIENT_V3: Self = Self(10);
    /// As CONTROL_V1, followed by the wrapped client key.
    pub(crate) const CONTROL_WKC_V1: Self = Self(11);

    /// What the first byte of any datagram says.
    pub(crate) const fn split(first: u8) -> (Self, KeyId) {
        (Self(first >> 3), KeyId(first & 7))
    }

    /// What a session makes of a datagram.
    pub(crate) fn classify(datagram: &[u8]) -> Class {
        let Some(&first) = datagram.first() else { return Class::Ignore };
        let (opcode, key_id) = Self::split(first);
        if opcode.is_data() {
            Class::Data(KeyTag(key_id.value().into()))
        } else if opcode.is_control() {
            Class::Control
        } else {
            Class::Ignore
        }
    }

    /// Whether the datagram belongs to the data channel.
    pub(crate) const fn is_data(self) -> bool {
        matches!(self, Self::DATA_V1 | Self::DATA_V2)
    }

    /// Whether we know it as a packet of the control channel. 1 and 2 are the resets of key method 1, long gone.
    pub(crate) const fn is_control(self) -> bool {
        matches!(self.0, 3..=5 | 7 | 8 | 10 | 11)
    }

    /// Whether the wrapped client key of tls-crypt-v2 follows the packet in clear.
    pub(crate) const fn carries_wrapped_key(self) -> bool {
        matches!(self, Self::HARD_RESET_CLIENT_V3 | Self::CONTROL_WKC_V1)
    }
}

impl fmt::Debug for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::SOFT_RESET_V1 => "SOFT_RESET_V1",
            Self::CONTROL_V1 => "CONTROL_V1",
            Self::ACK_V1 => "ACK_V1",
            Self::DATA_V1 => "DATA_V1",
            Self::HARD_RESET_CLIENT_V2 => "HARD_RESET_CLIENT_V2",
            Self::HARD_RESET_SERVER_V2 => "HARD_RESET_SERVER_V2",
            Self::DATA_V2 => "DATA_V2",
            Self::HARD_RESET_CLIENT_V3 => "HARD_RESET_CLIENT_V3",
            Self::CONTROL_WKC_V1 => "CONTROL_WKC_V1",
            Self(other) => return write!(f, "Opcode({other})"),
        })
    }
}

/// Which TLS session, and which data keys, a datagram belongs to: 0 to 7.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyId(u8);

impl KeyId {
    /// The first key of a session; no later one has this id.
    pub(crate) const FIRST: Self = Self(0);

    /// `None` above 7.
    #[cfg(test)]
    pub(crate) const fn new(value: u8) -> Option<Self> {
        if value <= 7 { Some(Self(value)) } else { None }
    }

    pub(crate) const fn value(self) -> u8 {
        self.0
    }

    /// The id after a renegotiation: 1 follows 7.
    pub(crate) const fn next(self) -> Self {
        if self.0 == 7 { Self(1) } else { Self(self.0 + 1) }
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.0)
    }
}

/// One end's name for the session, drawn at random and never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionId([u8; 8]);

impl SessionId {
    /// What stands in for a random one that turned out to be all zero.
    pub(crate) const FALLBACK: Self = Self([1; 8]);

    /// `None` if all zero, which 2.x uses for "not known yet".
    pub(crate) const fn new(bytes: [u8; 8]) -> Option<Self> {
        if u64::from_be_bytes(bytes) == 0 { None } else { Some(Self(bytes)) }
    }

    /// Draws one.
    pub(crate) fn random(random: &mut dyn Random) -> Self {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        // A generator that yields zero once must not hang us: any other value does as well.
        Self::new(bytes).unwrap_or(Self::FALLBACK)
    }

    pub(crate) const fn bytes(&self) -> &[u8; 8] {
        &self.0
    }

    fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, bytes) = array(input)?;
        match Self::new(bytes) {
            Some(id) => Ok((input, id)),
            None => Err(invalid("session id")),
        }
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({:016x})", u64::from_be_bytes(self.0))
    }
}

/// The first nine bytes of every control packet, in clear under every wrapping. Not authenticated yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) opcode: Opcode,
    pub(crate) key_id: KeyId,
    pub(crate) session_id: SessionId,
}

impl Header {
    /// Length in bytes.
    pub(crate) const LEN: usize = 9;

    pub(crate) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, first) = be_u8(input)?;
        let (opcode, key_id) = Opcode::split(first);
        if !opcode.is_control() {
            return Err(invalid("opcode"));
        }
        let (input, session_id) = SessionId::parse(input)?;
        Ok((input, Self { opcode, key_id, session_id }))
    }

    /// Reads the header of a whole datagram.
    pub(crate) fn decode(datagram: &[u8]) -> Result<Self, DecodeError> {
        finish(Self::parse(datagram))
    }

    pub(crate) fn encode(&self, w: &mut Writer) {
        w.u8(self.opcode.0 << 3 | self.key_id.0);
        w.bytes(&self.session_id.0);
    }
}

/// Up to eight acknowledged packet ids.
#[derive(Clone, Copy, Default)]
pub(crate) struct AckList {
    ids: [u32; Self::MAX],
    len: usize,
}

impl AckList {
    /// 2.x drops packets with more (`reliable.h`).
    pub(crate) const MAX: usize = 8;

    /// Appends an id; `false` if there is no room.
    pub(crate) fn push(&mut self, id: u32) -> bool {
        let Some(slot) = self.ids.get_mut(self.len) else { return false };
        *slot = id;
        self.len += 1;
        true
    }

    pub(crate) fn as_slice(&self) -> &[u32] {
        self.ids.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        self.as_slice().contains(&id)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (mut input, count) = be_u8(input)?;
        let mut acks = Self::default();
        for _ in 0..count {
            let (after, id) = be_u32(input)?;
            if !acks.push(id) {
                return Err(invalid("number of acknowledgements"));
            }
            input = after;
        }
        Ok((input, acks))
    }
}

impl PartialEq for AckList {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for AckList {}

impl fmt::Debug for AckList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

impl FromIterator<u32> for AckList {
    /// Takes the first [`AckList::MAX`] ids.
    fn from_iter<I: IntoIterator<Item = u32>>(ids: I) -> Self {
        let mut acks = Self::default();
        for id in ids.into_iter().take(Self::MAX) {
            acks.push(id);
        }
        acks
    }
}

/// One control packet.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ControlPacket {
    pub(crate) opcode: Opcode,
    pub(crate) key_id: KeyId,
    /// The sender's.
    pub(crate) session_id: SessionId,
    /// Packets of the receiver that the sender has.
    pub(crate) acks: AckList,
    /// The receiver's; there if and only if `acks` is not empty.
    pub(crate) peer_session_id: Option<SessionId>,
    /// `None` if and only if this is an ACK_V1.
    pub(crate) packet_id: Option<u32>,
    /// A piece of the TLS stream; in a server's reset, [`EarlyNegotiation`].
    pub(crate) payload: Bytes,
}

impl ControlPacket {
    pub(crate) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, header) = Header::parse(input)?;
        Self::parse_after(header, input)
    }

    /// Reads what follows the header.
    pub(crate) fn parse_after(header: Header, input: &[u8]) -> Parsed<'_, Self> {
        let Header { opcode, key_id, session_id } = header;
        let (input, acks) = AckList::parse(input)?;
        let (input, peer_session_id) = optional(!acks.is_empty(), SessionId::parse, input)?;
        let (input, packet_id) = optional(opcode != Opcode::ACK_V1, be_u32, input)?;
        let (input, payload) = optional(packet_id.is_some(), rest, input)?;
        let payload = payload.map_or_else(Bytes::new, Bytes::copy_from_slice);
        Ok((input, Self { opcode, key_id, session_id, acks, peer_session_id, packet_id, payload }))
    }

    /// Reads a whole unwrapped datagram.
    pub(crate) fn decode(datagram: &[u8]) -> Result<Self, DecodeError> {
        finish(Self::parse(datagram))
    }

    pub(crate) fn header(&self) -> Header {
        Header { opcode: self.opcode, key_id: self.key_id, session_id: self.session_id }
    }

    /// Length of the unwrapped packet in bytes.
    pub(crate) fn encoded_len(&self) -> usize {
        let id = if self.packet_id.is_some() { 4 } else { 0 };
        Self::len_without_payload(self.acks.len()) - 4 + id + self.payload.len()
    }

    /// Bytes of an unwrapped packet with so many acknowledgements and a packet id, before its payload.
    pub(crate) const fn len_without_payload(acks: usize) -> usize {
        Header::LEN + 1 + 4 * acks + if acks > 0 { 8 } else { 0 } + 4
    }

    pub(crate) fn encode(&self, w: &mut Writer) {
        self.header().encode(w);
        self.encode_after_header(w);
    }

    /// Writes what follows the header.
    pub(crate) fn encode_after_header(&self, w: &mut Writer) {
        // Nothing of a peer whose session id is unknown can have been received, so there is nothing to acknowledge.
        match self.peer_session_id {
            Some(peer) if !self.acks.is_empty() => {
                w.u8(self.acks.len() as u8);
                self.acks.as_slice().iter().for_each(|id| w.u32(*id));
                w.bytes(&peer.0);
            }
            Some(_) | None => w.u8(0),
        }
        if let Some(id) = self.packet_id {
            w.u32(id);
            w.bytes(&self.payload);
        }
    }
}

impl fmt::Debug for ControlPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {:?} acks {:?}", self.opcode, self.key_id, self.session_id, self.acks)?;
        if let Some(id) = self.packet_id {
            write!(f, " id {id}")?;
        }
        write!(f, " + {} bytes", self.payload.len())
    }
}

/// What a server says in the payload of its reset, asked for by an id in the block [`EarlyNegotiation::ID_BLOCK`].
///
/// A list of type:16, length:16, value (OpenVPN 2.6 `ssl_pkt.h`, "early negotiation").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct EarlyNegotiation {
    /// The server forgot us at once (its cookie is all it keeps): our packet 1 must bring the wrapped key again.
    pub(crate) resend_wrapped_key: bool,
}

impl EarlyNegotiation {
    /// The upper eight bits of the wrapping packet id of a client's reset that understands early negotiation.
    pub(crate) const ID_BLOCK: u32 = 0x0f00_0000;
    const TYPE_FLAGS: u16 = 1;
    const FLAG_RESEND_WRAPPED_KEY: u16 = 1;

    /// The payload of a server's reset.
    pub(crate) const fn encode(self) -> &'static [u8] {
        if self.resend_wrapped_key { &[0, 1, 0, 2, 0, 1] } else { &[] }
    }

    /// Reads the payload of a server's reset; an empty one says nothing.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let (mut input, mut result) = (payload, Self::default());
        while !input.is_empty() {
            let (after, (kind, value)) = finish_partly(Self::parse_entry(input))?;
            // Other types may come with newer servers; they are none of our business.
            if kind == Self::TYPE_FLAGS {
                let flags: [u8; 2] = value.try_into().map_err(|_| DecodeError::Invalid("early negotiation flags"))?;
                result.resend_wrapped_key = u16::from_be_bytes(flags) & Self::FLAG_RESEND_WRAPPED_KEY != 0;
            }
            input = after;
        }
        Ok(result)
    }

    fn parse_entry(input: &[u8]) -> Parsed<'_, (u16, &[u8])> {
        let (input, kind) = be_u16(input)?;
        let (input, length) = be_u16(input)?;
        let (input, value) = take(length)(input)?;
        Ok((input, (kind, value)))
    }
}

/// Reads a fixed number of bytes.
pub(crate) fn array<const N: usize>(input: &[u8]) -> Parsed<'_, [u8; N]> {
    match input.split_first_chunk() {
        Some((bytes, after)) => Ok((after, *bytes)),
        None => Err(nom::Err::Error(DecodeError::Truncated)),
    }
}

/// The value of a structure that must be all of the input.
pub(crate) fn finish<T>(parsed: Parsed<'_, T>) -> Result<T, DecodeError> {
    match finish_partly(parsed)? {
        ([], value) => Ok(value),
        _ => Err(DecodeError::TrailingBytes),
    }
}

/// The value of a structure, and what follows it.
pub(crate) fn finish_partly<T>(parsed: Parsed<'_, T>) -> Result<(&[u8], T), DecodeError> {
    parsed.map_err(|error| match error {
        nom::Err::Incomplete(_) => DecodeError::Truncated,
        nom::Err::Error(error) | nom::Err::Failure(error) => error,
    })
}

pub(crate) fn invalid(field: &'static str) -> nom::Err<DecodeError> {
    nom::Err::Failure(DecodeError::Invalid(field))
}

fn optional<'a, T>(
    there: bool,
    parse: impl FnOnce(&'a [u8]) -> Parsed<'a, T>,
    input: &'a [u8],
) -> Parsed<'a, Option<T>> {
    if !there {
        return Ok((input, None));
    }
    parse(input).map(|(after, value)| (after, Some(value)))
}

#[cfg(test)]
pub(super) mod tests;
