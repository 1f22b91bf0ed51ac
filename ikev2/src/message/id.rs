//! IDi and IDr payloads (RFC 7296 §3.5).

use adit_tunnel::wire::Writer;
use bytes::Bytes;
use nom::number::complete::be_u8;

use super::{
    numbers::IdType,
    wire::{Parsed, array, rest},
};

/// ID payload (§3.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identification {
    pub(crate) id_type: IdType,
    /// Zero when we send, ignored when received; yet AUTH covers them as received (§2.15).
    pub(crate) reserved: [u8; 3],
    pub(crate) data: Bytes,
}

impl Identification {
    /// An identification to send.
    pub(crate) fn new(id_type: IdType, data: impl Into<Bytes>) -> Self {
        Self { id_type, reserved: [0; 3], data: data.into() }
    }

    /// What AUTH covers: the payload without its generic header (`RestOfIDPayload` of §2.15).
    pub(crate) fn body(&self) -> Bytes {
        let mut w = Writer::with_capacity(4 + self.data.len());
        self.encode(&mut w);
        w.finish()
    }

    pub(super) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, id_type) = be_u8(input)?;
        let (input, reserved) = array(input)?;
        let (input, data) = rest(input)?;
        Ok((input, Self { id_type: IdType(id_type), reserved, data }))
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.u8(self.id_type.0);
        w.bytes(&self.reserved);
        w.bytes(&self.data);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::tests::{any, each};

    proptest! {
        #[test]
        fn any_value_survives_and_no_cut_before_the_data_does(id in any::identification()) {
            each::survives(&id, Identification::parse, Identification::encode, Some(4));
        }
    }

    /// AUTH covers the reserved bytes, so that they must not be lost.
    #[test]
    fn the_body_is_what_was_received() {
        let id = each::read("02010203 76706e", Identification::parse).unwrap();
        assert_eq!(id, Identification { reserved: [1, 2, 3], ..Identification::new(IdType::FQDN, &b"vpn"[..]) });
        assert_eq!(&id.body()[..], b"\x02\x01\x02\x03vpn");
        assert_eq!(&Identification::new(IdType::FQDN, &b"vpn"[..]).body()[..], b"\x02\0\0\0vpn");
    }

    #[test]
    fn no_length_of_the_data_is_refused() {
        for length in [0, 1, 65000] {
            let bytes = format!("0b000000{}", "41".repeat(length));
            assert_eq!(each::read(&bytes, Identification::parse).unwrap().data.len(), length);
        }
    }
}
