//! The primitives, one trait per kind: `ring` where it has them, else RustCrypto.
//!
//! `aead`, `cipher` and `integrity` are shared by ESP and the SK payload and know neither.

pub(crate) mod aead;
mod cbc;
pub(crate) mod cipher;
mod ctr;
pub(crate) mod dh;
pub(crate) mod integrity;
mod mac;
pub(crate) mod prf;
pub(crate) mod sk;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use self::{
    aead::{AEAD_IV_LEN, Aead, aead},
    cipher::{Cipher, cipher},
    dh::DhKey,
    integrity::Integrity,
    prf::Prf,
    sk::{SkCipher, sk_cipher},
};

use crate::message::numbers::EncryptionId;

/// Bytes of key material an encryption algorithm takes, with the salt or nonce at its end; `None` if we do not have it
/// with keys of this many bits.
pub(crate) const fn encryption_key_len(encryption: EncryptionId, key_bits: u16) -> Option<usize> {
    let key_len = match (encryption, key_bits) {
        (EncryptionId::CHACHA20_POLY1305, 256) => 32,
        (EncryptionId::TRIPLE_DES, 192) => 24,
        (EncryptionId::CHACHA20_POLY1305 | EncryptionId::TRIPLE_DES, _) => return None,
        (_, 128 | 192 | 256) => key_bits as usize / 8,
        _ => return None,
    };
    match encryption {
        EncryptionId::AES_CBC | EncryptionId::TRIPLE_DES => Some(key_len),
        EncryptionId::AES_CTR => Some(key_len + ctr::NONCE_LEN),
        _ => match aead::salt_len(encryption) {
            Some(salt_len) => Some(key_len + salt_len),
            None => None,
        },
    }
}
