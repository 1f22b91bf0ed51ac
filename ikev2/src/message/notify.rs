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

#[cfg(test)]
mod tests {
    use adit_tunnel::wire::DecodeError;
    use proptest::prelude::*;

    use super::*;
    use crate::message::tests::{any, each};

    proptest! {
        #[test]
        fn any_value_survives_and_no_cut_before_the_data_does(notify in any::notify()) {
            each::survives(&notify, Notify::parse, Notify::encode, Some(4 + notify.spi.len()));
        }
    }

    #[test]
    fn the_builders_write_what_the_figure_shows() {
        let cookie = Notify::status(NotifyType::COOKIE, &b"abc"[..]);
        each::is("00004006 616263", &cookie, Notify::parse, Notify::encode);
        let rekey = Notify::about_esp(NotifyType::REKEY_SA, 0xc0de_cafe);
        each::is("03044009 c0decafe", &rekey, Notify::parse, Notify::encode);
    }

    #[test]
    fn an_spi_that_is_not_of_esp_is_not_taken_for_one() {
        let spi = |bytes| each::read(bytes, Notify::parse).unwrap().esp_spi();
        assert_eq!(spi("03044009 c0decafe"), Some(0xc0de_cafe));
        for other in
            ["00044009 c0decafe", "01044009 c0decafe", "02044009 c0decafe", "03004009 c0decafe", "03034009 c0deca"]
        {
            assert_eq!(spi(other), None, "{other}");
        }
    }

    #[test]
    fn an_spi_longer_than_the_payload_is_refused() {
        for bytes in ["03054009 c0decafe", "03ff4009", "000100"] {
            assert_eq!(each::read(bytes, Notify::parse), Err(DecodeError::Truncated), "{bytes}");
        }
    }

    #[test]
    fn types_we_do_not_know_survive_with_their_class() {
        for (bytes, is_error) in [("00003fff", true), ("0000ffff", false), ("00000000", true)] {
            assert_eq!(each::read(bytes, Notify::parse).unwrap().notify_type.is_error(), is_error, "{bytes}");
        }
    }
}
