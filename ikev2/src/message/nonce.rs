//! Nonce payload (RFC 7296 §3.9).

use bytes::Bytes;

use super::wire::{Parsed, require, rest};

/// Reads a nonce of 16 to 256 bytes.
pub(super) fn parse(input: &[u8]) -> Parsed<'_, Bytes> {
    require((16..=256).contains(&input.len()), "nonce length")?;
    rest(input)
}

#[cfg(test)]
mod tests {
    use adit_tunnel::wire::DecodeError;

    use super::*;
    use crate::message::wire::finish;

    #[test]
    fn a_nonce_has_16_to_256_bytes() {
        for length in 0..300 {
            let expected =
                if (16..=256).contains(&length) { Ok(length) } else { Err(DecodeError::Invalid("nonce length")) };
            assert_eq!(finish(parse(&vec![7; length])).map(|nonce| nonce.len()), expected);
        }
    }
}
