//! Integrity algorithms: HMAC, cut short (RFC 2404, RFC 4868).

use ring::hmac;
use subtle::ConstantTimeEq;

use crate::message::numbers::IntegrityId;

/// A key of an integrity algorithm. Nothing is allocated once it is made.
pub(crate) struct Integrity {
    key: hmac::Key,
    tag_len: usize,
}

impl Integrity {
    /// `None` if we do not have the algorithm or the key has not its [length](Self::key_len).
    pub(crate) fn new(id: IntegrityId, key: &[u8]) -> Option<Self> {
        let (algorithm, tag_len) = match id {
            IntegrityId::HMAC_SHA1_96 => (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, 12),
            IntegrityId::HMAC_SHA2_256_128 => (hmac::HMAC_SHA256, 16),
            IntegrityId::HMAC_SHA2_384_192 => (hmac::HMAC_SHA384, 24),
            IntegrityId::HMAC_SHA2_512_256 => (hmac::HMAC_SHA512, 32),
            _ => return None,
        };
        (Self::key_len(id)? == key.len()).then(|| Self { key: hmac::Key::new(algorithm, key), tag_len })
    }

    /// Length of a key: that of the whole hash (RFC 4868 §2.1.1).
    pub(crate) const fn key_len(id: IntegrityId) -> Option<usize> {
        match id {
            IntegrityId::HMAC_SHA1_96 => Some(20),
            IntegrityId::HMAC_SHA2_256_128 => Some(32),
            IntegrityId::HMAC_SHA2_384_192 => Some(48),
            IntegrityId::HMAC_SHA2_512_256 => Some(64),
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
        tag.iter_mut().zip(self.whole(parts).as_ref()).for_each(|(to, from)| *to = *from);
    }

    /// Compares in constant time; `false` also for a tag of the wrong length.
    #[must_use]
    pub(crate) fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.whole(parts).as_ref().get(..self.tag_len).is_some_and(|whole| whole.ct_eq(tag).into())
    }

    fn whole(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        parts.iter().for_each(|part| context.update(part));
        context.sign()
    }
}
