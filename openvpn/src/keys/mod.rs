//! Keys and certificates as customers hold them.

mod cbc;
mod error;
mod legacy;
pub(crate) mod pem;
mod pkcs12;
mod pkcs8;
mod static_key;
#[cfg(test)]
mod tests;

pub use error::KeyError;
pub(crate) use pkcs12::Pkcs12;
pub(crate) use static_key::Half;
pub use static_key::{StaticKey, StaticKeyError};

/// Whether these bytes are one DER SEQUENCE, neither shorter nor longer than it says.
fn is_der_sequence(bytes: &[u8]) -> bool {
    let Some((&0x30, rest)) = bytes.split_first() else { return false };
    let Some((&first, content)) = rest.split_first() else { return false };
    match first {
        ..=0x7f => content.len() == usize::from(first),
        0x81..=0x84 => {
            let Some((length, content)) = content.split_at_checked(usize::from(first & 0x7f)) else { return false };
            content.len() == length.iter().fold(0usize, |sum, &byte| sum << 8 | usize::from(byte))
        }
        _ => false,
    }
}
