//! EAP payload (RFC 7296 §3.16).

use bytes::Bytes;
use nom::number::complete::{be_u8, be_u16};

use super::wire::{Parsed, require, rest};

/// Reads a whole EAP packet, of which only the length is checked here.
pub(super) fn parse(input: &[u8]) -> Parsed<'_, Bytes> {
    let (after, _code) = be_u8(input)?;
    let (after, _identifier) = be_u8(after)?;
    let (_, length) = be_u16(after)?;
    require(usize::from(length) == input.len(), "EAP length")?;
    rest(input)
}

#[cfg(test)]
mod tests {
    use adit_tunnel::wire::DecodeError;
    use proptest::prelude::*;

    use super::*;
    use crate::message::tests::{any, each};

    proptest! {
        #[test]
        fn any_packet_survives_and_no_cut_does(packet in any::eap()) {
            each::survives(&packet, parse, |packet, w| w.bytes(packet), None);
        }
    }

    #[test]
    fn the_length_must_be_that_of_the_payload() {
        let cases = [
            ("03000004", Ok(4)),
            ("01000005 01", Ok(5)),
            ("030000", Err(DecodeError::Truncated)),
            ("", Err(DecodeError::Truncated)),
            ("03000000", Err(DecodeError::Invalid("EAP length"))),
            ("03000003", Err(DecodeError::Invalid("EAP length"))),
            ("03000005", Err(DecodeError::Invalid("EAP length"))),
            ("0300ffff", Err(DecodeError::Invalid("EAP length"))),
            ("03000004 00", Err(DecodeError::Invalid("EAP length"))),
        ];
        for (bytes, expected) in cases {
            assert_eq!(each::read(bytes, parse).map(|packet| packet.len()), expected, "{bytes}");
        }
    }
}
