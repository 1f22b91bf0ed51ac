//! Integrity algorithms: MACs, cut short (RFC 2404, RFC 3566, RFC 4494, RFC 4868).

use ring::hmac;
use subtle::ConstantTimeEq;

use super::mac::{AES_LEN, MacKey};
use crate::message::numbers::IntegrityId;

/// A key of an integrity algorithm. Nothing is allocated once it is made.
pub(crate) struct Integrity {
    key: MacKey,
    tag_len: usize,
}

impl Integrity {
    /// `None` if we do not have the algorithm or the key has not its [length](Self::key_len).
    pub(crate) fn new(id: IntegrityId, key: &[u8]) -> Option<Self> {
        if Self::key_len(id)? != key.len() {
            return None;
        }
        let (key, tag_len) = match id {
            IntegrityId::HMAC_SHA1_96 => (MacKey::hmac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key), 12),
            IntegrityId::HMAC_SHA2_256_128 => (MacKey::hmac(hmac::HMAC_SHA256, key), 16),
            IntegrityId::HMAC_SHA2_384_192 => (MacKey::hmac(hmac::HMAC_SHA384, key), 24),
            IntegrityId::HMAC_SHA2_512_256 => (MacKey::hmac(hmac::HMAC_SHA512, key), 32),
            IntegrityId::AES_XCBC_96 => (MacKey::xcbc(key.try_into().ok()?), 12),
            IntegrityId::AES_CMAC_96 => (MacKey::cmac(key.try_into().ok()?), 12),
            _ => return None,
        };
        Some(Self { key, tag_len })
    }

    /// Length of a key: that of the whole hash (RFC 4868 §2.1.1) or of the AES key.
    pub(crate) const fn key_len(id: IntegrityId) -> Option<usize> {
        match id {
            IntegrityId::HMAC_SHA1_96 => Some(20),
            IntegrityId::HMAC_SHA2_256_128 => Some(32),
            IntegrityId::HMAC_SHA2_384_192 => Some(48),
            IntegrityId::HMAC_SHA2_512_256 => Some(64),
            IntegrityId::AES_XCBC_96 | IntegrityId::AES_CMAC_96 => Some(AES_LEN),
            _ => None,
        }
    }

    /// Length of a tag in bytes.
    pub(crate) const fn tag_len(&self) -> usize {
        self.tag_len
    }

    /// Writes the tag of the concatenated parts to `tag`, which has [`tag_len`](Self::tag_len) bytes.
    pub(crate) fn sign(&self, parts: &[&[u8]], tag: &mut [u8]) {
        debug_assert_eq!(tag.len(), self.tag_len);
        tag.iter_mut().zip(self.key.sign(parts).as_ref()).for_each(|(to, from)| *to = *from);
    }

    /// Compares in constant time; `false` also for a tag of the wrong length.
    #[must_use]
    pub(crate) fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.key.sign(parts).as_ref().get(..self.tag_len).is_some_and(|whole| whole.ct_eq(tag).into())
    }
}
