//! The default implementation: `ring`'s assembly where it has the primitive.

use ::ring::{aead, hmac};
use subtle::ConstantTimeEq;

use super::{Aead, Cbc, Crypto, Hmac, RustCrypto};
use crate::algorithms::{Cipher, Digest};

/// `ring` for AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305 and HMAC with SHA-1, SHA-256, SHA-384 and SHA-512;
/// [`RustCrypto`] for everything else.
///
/// `ring` has no way to wipe its expanded keys when they are dropped. Where that matters, choose [`RustCrypto`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Ring;

impl Crypto for Ring {
    fn aead(&self, cipher: Cipher, key: &[u8]) -> Option<Box<dyn Aead>> {
        let algorithm = match cipher {
            Cipher::Aes128Gcm => &aead::AES_128_GCM,
            Cipher::Aes256Gcm => &aead::AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
            Cipher::Aes192Gcm | Cipher::Aes128Cbc | Cipher::Aes192Cbc | Cipher::Aes256Cbc => {
                return RustCrypto.aead(cipher, key);
            }
        };
        let key = aead::UnboundKey::new(algorithm, key).ok()?;
        Some(Box::new(RingAead(aead::LessSafeKey::new(key))))
    }

    fn cbc(&self, key: &[u8]) -> Option<Box<dyn Cbc>> {
        RustCrypto.cbc(key)
    }

    fn aes256_ctr(&self, key: &[u8; 32], iv: &[u8; 16], data: &mut [u8]) {
        RustCrypto.aes256_ctr(key, iv, data);
    }

    fn hmac(&self, digest: Digest, key: &[u8]) -> Box<dyn Hmac> {
        let algorithm = match digest {
            Digest::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Digest::Sha256 => hmac::HMAC_SHA256,
            Digest::Sha384 => hmac::HMAC_SHA384,
            Digest::Sha512 => hmac::HMAC_SHA512,
            Digest::Md5
            | Digest::Sha224
            | Digest::Sha512_224
            | Digest::Sha512_256
            | Digest::Sha3_224
            | Digest::Sha3_256
            | Digest::Sha3_384
            | Digest::Sha3_512
            | Digest::Ripemd160
            | Digest::Blake2b512
            | Digest::Blake2s256 => return RustCrypto.hmac(digest, key),
        };
        Box::new(RingHmac(hmac::Key::new(algorithm, key)))
    }
}

struct RingAead(aead::LessSafeKey);

impl Aead for RingAead {
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; 16] {
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        let sealed = self.0.seal_in_place_separate_tag(nonce, aead::Aad::from(aad), data);
        #[expect(clippy::expect_used, reason = "refused only beyond 64 GiB")]
        let tag = sealed.expect("a packet is shorter than 64 GiB");
        let mut bytes = [0; aead::MAX_TAG_LEN];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8; 16]) -> bool {
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        let tag = aead::Tag::from(*tag);
        self.0.open_in_place_separate_tag(nonce, aead::Aad::from(aad), tag, data, 0..).is_ok()
    }
}

struct RingHmac(hmac::Key);

impl RingHmac {
    /// `ring` keeps a context on the stack; nothing is allocated.
    fn tag(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        parts.iter().for_each(|part| context.update(part));
        context.sign()
    }
}

impl Hmac for RingHmac {
    fn sign(&self, parts: &[&[u8]], out: &mut [u8; 64]) {
        let tag = self.tag(parts);
        for (to, from) in out.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
    }

    fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.tag(parts).as_ref().ct_eq(tag).into()
    }
}
