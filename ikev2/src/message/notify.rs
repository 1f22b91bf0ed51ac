//! Notify payload (RFC 7296 §3.10).

use adit_tunnel::wire::Writer;
use bytes::Bytes;
use nom::{
    bytes::complete::take,
    number::complete::{be_u8, be_u16},
};

use super::{
    numbers::{NotifyType, ProtocolId},
    wire::{Parsed, rest},
};

/// Notify payload (§3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notify {
    /// Means nothing where `spi` is empty.
    pub(crate) protocol: ProtocolId,
    /// Empty, or the SPI the notification is about.
    pub(crate) spi: Bytes,
    pub(crate) notify_type: NotifyType,
    pub(crate) data: Bytes,
}

impl Notify {
    /// A notification about the IKE SA or the exchange; of any type, also an error.
    pub(crate) fn status(notify_type: NotifyType, data: impl Into<Bytes>) -> Self {
        Self { protocol: ProtocolId::NONE, spi: Bytes::new(), notify_type, data: data.into() }
    }

    /// A notification about the ESP SA that its sender receives on `spi`.
    pub(crate) fn about_esp(notify_type: NotifyType, spi: u32) -> Self {
        let spi = Bytes::copy_from_slice(&spi.to_be_bytes());
        Self { protocol: ProtocolId::ESP, spi, notify_type, data: Bytes::new() }
    }

    /// The SPI of the ESP SA this is about; `None` if it is about anything else, or its SPI is not of 4 bytes.
    pub(crate) fn esp_spi(&self) -> Option<u32> {
        let spi = <[u8; 4]>::try_from(&self.spi[..]).ok()?;
        (self.protocol == ProtocolId::ESP).then_some(u32::from_be_bytes(spi))
    }

    pub(super) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, protocol) = be_u8(input)?;
        let (input, spi_size) = be_u8(input)?;
        let (input, notify_type) = be_u16(input)?;
        let (input, spi) = take(spi_size)(input)?;
        let (input, data) = rest(input)?;
        let spi = Bytes::copy_from_slice(spi);
        Ok((input, Self { protocol: ProtocolId(protocol), spi, notify_type: NotifyType(notify_type), data }))
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.u8(self.protocol.0);
        w.u8(self.spi.len() as u8);
        w.u16(self.notify_type.0);
        w.bytes(&self.spi);
        w.bytes(&self.data);
    }
}
