//! The primitives of OpenVPN's own wire formats, behind one small trait with two implementations.
//!
//! TLS is not here: that is rustls.

use std::{fmt, sync::Arc};

use crate::algorithms::{Cipher, Digest};

/// Makes keyed primitives. Everything expensive happens when a key is made, nothing is allocated afterwards.
pub trait Crypto: fmt::Debug + Send + Sync + 'static {
    /// An AEAD key; `key` has [`Cipher::key_len`] bytes and the cipher [`Cipher::is_aead`], else `None`.
    fn aead(&self, cipher: Cipher, key: &[u8]) -> Option<Box<dyn Aead>>;

    /// An AES-CBC key with PKCS#7 padding; 16, 24 or 32 bytes, else `None`.
    fn cbc(&self, key: &[u8]) -> Option<Box<dyn Cbc>>;

    /// AES-256 in counter mode with a 128-bit big-endian counter starting at `iv`, applied in place (tls-crypt).
    fn aes256_ctr(&self, key: &[u8; 32], iv: &[u8; 16], data: &mut [u8]);

    /// An HMAC key of any length.
    fn hmac(&self, digest: Digest, key: &[u8]) -> Box<dyn Hmac>;
}

/// An AEAD key with 12-byte nonces and 16-byte tags.
pub trait Aead: Send + Sync {
    /// Encrypts in place and returns the tag.
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; 16];

    /// Verifies and decrypts in place; on `false` the data is unspecified and must not be used.
    #[must_use]
    fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8; 16]) -> bool;
}

/// An AES-CBC key.
pub trait Cbc: Send + Sync {
    /// Encrypts whole blocks in place; the caller has padded.
    fn encrypt(&self, iv: &[u8; 16], blocks: &mut [u8]);

    /// Decrypts whole blocks in place; the caller removes the padding.
    fn decrypt(&self, iv: &[u8; 16], blocks: &mut [u8]);
}

/// An HMAC key.
pub trait Hmac: Send + Sync {
    /// Writes the HMAC of the concatenated parts to the beginning of `out`, which has at least [`Digest::len`] bytes.
    fn sign(&self, parts: &[&[u8]], out: &mut [u8; 64]);

    /// Compares in constant time; `false` also for a tag of the wrong length.
    #[must_use]
    fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool;
}

mod ring;
mod rustcrypto;
#[cfg(test)]
mod tests;

pub use self::{ring::Ring, rustcrypto::RustCrypto};

/// `ring`, and RustCrypto for what it lacks.
#[must_use]
pub fn default_backend() -> Arc<dyn Crypto> {
    Arc::new(Ring)
}
