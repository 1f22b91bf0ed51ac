//! Protection of IKE messages (RFC 7296 §3.14, RFC 5282).

use std::ops::Range;

use adit_tunnel::Random;

/// Keys and algorithms of the SK payload in one direction.
pub(crate) trait SkCipher: Send + Sync {
    /// Length of the IV in bytes.
    fn iv_len(&self) -> usize;

    /// The plaintext, with the byte of the pad length, is a multiple of so many bytes; 1 for AEAD and counter mode.
    fn pad_to(&self) -> usize;

    /// Length of the integrity check value in bytes.
    fn icv_len(&self) -> usize;

    /// `buffer` is header (`header_len` bytes, authenticated) | IV | padded plaintext | ICV. Writes IV and ICV, encrypts in
    /// place.
    fn seal(&mut self, random: &mut dyn Random, buffer: &mut [u8], header_len: usize);

    /// Verifies first; `None` if forged. The range of the padded plaintext, decrypted in place.
    fn open(&self, buffer: &mut [u8], header_len: usize) -> Option<Range<usize>>;
}
