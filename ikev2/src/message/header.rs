//! The IKE header (RFC 7296 §3.1).

use std::fmt;

use adit_tunnel::wire::Writer;
use nom::number::complete::{be_u8, be_u32, be_u64};

use super::{
    numbers::{ExchangeType, PayloadType},
    wire::Parsed,
};

/// An SPI of an IKE SA; 0 is "not known yet".
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct IkeSpi(pub(crate) u64);

impl fmt::Debug for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A message id, in the direction of its request (RFC 7296 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct MessageId(pub(crate) u32);

/// What stands in an IKE header and matters (RFC 7296 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) initiator_spi: IkeSpi,
    pub(crate) responder_spi: IkeSpi,
    /// Higher than 2 must be refused; the minor version is ignored.
    pub(crate) major_version: u8,
    pub(crate) exchange: ExchangeType,
    /// The I flag: sent by the original initiator of this IKE SA.
    pub(crate) from_initiator: bool,
    /// The R flag.
    pub(crate) response: bool,
    pub(crate) message_id: MessageId,
}

impl Header {
    /// Length in bytes.
    pub(crate) const LEN: usize = 28;
    /// The version we speak.
    pub(crate) const MAJOR_VERSION: u8 = 2;
    const FLAG_INITIATOR: u8 = 0x08;
    const FLAG_RESPONSE: u8 = 0x20;

    /// The header of a request.
    pub(crate) const fn request(
        (initiator_spi, responder_spi): (IkeSpi, IkeSpi),
        exchange: ExchangeType,
        from_initiator: bool,
        message_id: MessageId,
    ) -> Self {
        let major_version = Self::MAJOR_VERSION;
        Self { initiator_spi, responder_spi, major_version, exchange, from_initiator, response: false, message_id }
    }

    /// The header of the response to this request.
    pub(crate) const fn answer(&self) -> Self {
        let major_version = Self::MAJOR_VERSION;
        Self { major_version, from_initiator: !self.from_initiator, response: true, ..*self }
    }

    /// Reads the header of a whole datagram, without the non-ESP marker. `None` if it cannot be IKE: too short, a length
    /// field that lies, a version below 2, no initiator's SPI. Nothing in it is authenticated.
    pub(crate) fn peek(datagram: &[u8]) -> Option<Self> {
        let (_, (header, _, length)) = Self::parse(datagram).ok()?;
        let true_length = usize::try_from(length).is_ok_and(|length| length == datagram.len());
        let possible = header.major_version >= Self::MAJOR_VERSION && header.initiator_spi.0 != 0;
        (true_length && possible).then_some(header)
    }

    /// Also returns the type of the first payload and the length of the message.
    pub(super) fn parse(input: &[u8]) -> Parsed<'_, (Self, PayloadType, u32)> {
        let (input, initiator_spi) = be_u64(input)?;
        let (input, responder_spi) = be_u64(input)?;
        let (input, first) = be_u8(input)?;
        let (input, version) = be_u8(input)?;
        let (input, exchange) = be_u8(input)?;
        // The V flag and the reserved ones are ignored.
        let (input, flags) = be_u8(input)?;
        let (input, message_id) = be_u32(input)?;
        let (input, length) = be_u32(input)?;
        let header = Self {
            initiator_spi: IkeSpi(initiator_spi),
            responder_spi: IkeSpi(responder_spi),
            major_version: version >> 4,
            exchange: ExchangeType(exchange),
            from_initiator: flags & Self::FLAG_INITIATOR != 0,
            response: flags & Self::FLAG_RESPONSE != 0,
            message_id: MessageId(message_id),
        };
        Ok((input, (header, PayloadType(first), length)))
    }

    /// `length` is that of the whole message, in bytes.
    pub(super) fn encode(&self, w: &mut Writer, first: PayloadType, length: usize) {
        w.u64(self.initiator_spi.0);
        w.u64(self.responder_spi.0);
        w.u8(first.0);
        w.u8(self.major_version << 4);
        w.u8(self.exchange.0);
        let initiator = if self.from_initiator { Self::FLAG_INITIATOR } else { 0 };
        let response = if self.response { Self::FLAG_RESPONSE } else { 0 };
        w.u8(initiator | response);
        w.u32(self.message_id.0);
        w.u32(u32::try_from(length).unwrap_or(u32::MAX));
    }
}
