//! Ciphers that need an integrity algorithm beside them: CBC and CTR.

use crate::{
    crypto::{cbc, ctr},
    message::numbers::EncryptionId,
};

/// A cipher key. Nothing is allocated once it is made.
pub(crate) trait Cipher: Send + Sync {
    /// Length of the IV in each packet.
    fn iv_len(&self) -> usize;

    /// What is encrypted has a multiple of this many bytes; 1 for CTR.
    fn block_len(&self) -> usize;

    /// Encrypts whole blocks in place; the caller has padded.
    ///
    /// The IV must be unpredictable with CBC and new with CTR. An IV of another length encrypts nothing sensible.
    fn encrypt(&self, iv: &[u8], data: &mut [u8]);

    /// Decrypts whole blocks in place.
    fn decrypt(&self, iv: &[u8], data: &mut [u8]);
}

/// Makes a cipher of its key, with the nonce at the end for CTR. `None` if the algorithm is an AEAD or the length is wrong.
pub(crate) fn cipher(encryption: EncryptionId, key: &[u8]) -> Option<Box<dyn Cipher>> {
    match encryption {
        EncryptionId::AES_CBC => cbc::aes(key),
        EncryptionId::TRIPLE_DES => cbc::triple_des(key),
        EncryptionId::AES_CTR => ctr::aes(key),
        _ => None,
    }
}
