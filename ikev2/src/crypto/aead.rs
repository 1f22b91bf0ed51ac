//! AEADs as ESP and the SK payload use them: a key with a salt, and eight bytes of IV in each packet (RFC 4106, RFC 4309,
//! RFC 5282, RFC 7634).

use aes::{
    Aes128, Aes192, Aes256,
    cipher::{
        Array, KeyInit,
        consts::{U8, U11, U12, U16},
    },
};
use aes_gcm::{AesGcm, aead::AeadInOut};
use ccm::Ccm;
use ring::aead as ring_aead;
use zeroize::Zeroizing;

use crate::message::numbers::EncryptionId;

/// Length of the IV in each packet; salt and IV together are the nonce.
pub(crate) const AEAD_IV_LEN: usize = 8;

/// An AEAD key with its salt. Nothing is allocated once it is made.
pub(crate) trait Aead: Send + Sync {
    /// Length of the tag: 8, 12 or 16 bytes.
    fn tag_len(&self) -> usize;

    /// Encrypts `data` in place and writes the tag to `tag`, which has [`tag_len`](Self::tag_len) bytes.
    ///
    /// An IV that comes twice under one key gives the plaintexts and the authentication key away.
    fn seal(&self, iv: &[u8; AEAD_IV_LEN], aad: &[u8], data: &mut [u8], tag: &mut [u8]);

    /// Verifies and decrypts in place; on `false`, also for a tag of the wrong length, `data` must not be used.
    #[must_use]
    fn open(&self, iv: &[u8; AEAD_IV_LEN], aad: &[u8], data: &mut [u8], tag: &[u8]) -> bool;
}

/// Makes an AEAD of its key, which has the salt at its end (RFC 7296 §2.17, RFC 4106 §8.1). `None` if the algorithm is no
/// AEAD or the length is wrong.
pub(crate) fn aead(encryption: EncryptionId, key_with_salt: &[u8]) -> Option<Box<dyn Aead>> {
    type Gcm<C, Tag> = AesGcm<C, U12, Tag>;
    type Ccm11<C, Tag> = Ccm<C, Tag, U11>;

    let key_len = key_with_salt.len().checked_sub(salt_len(encryption)?)?;
    let (key, salt) = key_with_salt.split_at_checked(key_len)?;
    match (encryption, key_len) {
        (EncryptionId::AES_GCM_16, 16) => with_ring(&ring_aead::AES_128_GCM, key, salt),
        (EncryptionId::AES_GCM_16, 24) => with_rust_crypto::<Gcm<Aes192, U16>>(key, salt),
        (EncryptionId::AES_GCM_16, 32) => with_ring(&ring_aead::AES_256_GCM, key, salt),
        (EncryptionId::AES_GCM_12, 16) => with_rust_crypto::<Gcm<Aes128, U12>>(key, salt),
        (EncryptionId::AES_GCM_12, 24) => with_rust_crypto::<Gcm<Aes192, U12>>(key, salt),
        (EncryptionId::AES_GCM_12, 32) => with_rust_crypto::<Gcm<Aes256, U12>>(key, salt),
        (EncryptionId::AES_GCM_8, 16) => with_rust_crypto::<Gcm<Aes128, U8>>(key, salt),
        (EncryptionId::AES_GCM_8, 24) => with_rust_crypto::<Gcm<Aes192, U8>>(key, salt),
        (EncryptionId::AES_GCM_8, 32) => with_rust_crypto::<Gcm<Aes256, U8>>(key, salt),
        (EncryptionId::AES_CCM_16, 16) => with_rust_crypto::<Ccm11<Aes128, U16>>(key, salt),
        (EncryptionId::AES_CCM_16, 24) => with_rust_crypto::<Ccm11<Aes192, U16>>(key, salt),
        (EncryptionId::AES_CCM_16, 32) => with_rust_crypto::<Ccm11<Aes256, U16>>(key, salt),
        (EncryptionId::AES_CCM_12, 16) => with_rust_crypto::<Ccm11<Aes128, U12>>(key, salt),
        (EncryptionId::AES_CCM_12, 24) => with_rust_crypto::<Ccm11<Aes192, U12>>(key, salt),
        (EncryptionId::AES_CCM_12, 32) => with_rust_crypto::<Ccm11<Aes256, U12>>(key, salt),
        (EncryptionId::AES_CCM_8, 16) => with_rust_crypto::<Ccm11<Aes128, U8>>(key, salt),
        (EncryptionId::AES_CCM_8, 24) => with_rust_crypto::<Ccm11<Aes192, U8>>(key, salt),
        (EncryptionId::AES_CCM_8, 32) => with_rust_crypto::<Ccm11<Aes256, U8>>(key, salt),
        (EncryptionId::CHACHA20_POLY1305, 32) => with_ring(&ring_aead::CHACHA20_POLY1305, key, salt),
        _ => None,
    }
}

/// Bytes of salt that follow the key; `None` if the algorithm is no AEAD we know.
pub(crate) const fn salt_len(encryption: EncryptionId) -> Option<usize> {
    match encryption {
        EncryptionId::AES_GCM_8
        | EncryptionId::AES_GCM_12
        | EncryptionId::AES_GCM_16
        | EncryptionId::CHACHA20_POLY1305 => Some(4),
        EncryptionId::AES_CCM_8 | EncryptionId::AES_CCM_12 | EncryptionId::AES_CCM_16 => Some(3),
        _ => None,
    }
}

/// The salt, ending where the IV begins in a nonce of 12 bytes; CCM uses the last 11.
struct Salt(Zeroizing<[u8; 12]>);

impl Salt {
    fn new(salt: &[u8]) -> Self {
        let mut bytes = Zeroizing::new([0; 12]);
        bytes.iter_mut().rev().skip(AEAD_IV_LEN).zip(salt.iter().rev()).for_each(|(to, from)| *to = *from);
        Self(bytes)
    }

    fn nonce(&self, iv: &[u8; AEAD_IV_LEN]) -> [u8; 12] {
        let mut nonce = *self.0;
        if let Some(end) = nonce.last_chunk_mut() {
            *end = *iv;
        }
        nonce
    }
}

/// `ring` gives whole tags only, and has no way to wipe its expanded keys.
struct RingAead {
    key: ring_aead::LessSafeKey,
    salt: Salt,
}

fn with_ring(algorithm: &'static ring_aead::Algorithm, key: &[u8], salt: &[u8]) -> Option<Box<dyn Aead>> {
    let key = ring_aead::LessSafeKey::new(ring_aead::UnboundKey::new(algorithm, key).ok()?);
    Some(Box::new(RingAead { key, salt: Salt::new(salt) }))
}

impl Aead for RingAead {
    fn tag_len(&self) -> usize {
        ring_aead::MAX_TAG_LEN
    }

    fn seal(&self, iv: &[u8; AEAD_IV_LEN], aad: &[u8], data: &mut [u8], tag: &mut [u8]) {
        let nonce = ring_aead::Nonce::assume_unique_for_key(self.salt.nonce(iv));
        let sealed = self.key.seal_in_place_separate_tag(nonce, ring_aead::Aad::from(aad), data);
        #[expect(clippy::expect_used, reason = "refused only beyond 64 GiB")]
        let computed = sealed.expect("a packet is shorter than 64 GiB");
        tag.copy_from_slice(computed.as_ref());
    }

    fn open(&self, iv: &[u8; AEAD_IV_LEN], aad: &[u8], data: &mut [u8], tag: &[u8]) -> bool {
        let nonce = ring_aead::Nonce::assume_unique_for_key(self.salt.nonce(iv));
        let Ok(tag) = ring_aead::Tag::try_from(tag) else { return false };
        self.key.open_in_place_separate_tag(nonce, ring_aead::Aad::from(aad), tag, data, 0..).is_ok()
    }
}

struct RustCryptoAead<K> {
    key: K,
    salt: Salt,
}

fn with_rust_crypto<K>(key: &[u8], salt: &[u8]) -> Option<Box<dyn Aead>>
where
    K: AeadInOut + KeyInit + Send + Sync + 'static,
{
    Some(Box::new(RustCryptoAead { key: K::new_from_slice(key).ok()?, salt: Salt::new(salt) }))
}

impl<K: AeadInOut> RustCryptoAead<K> {
    fn nonce(&self, iv: &[u8; AEAD_IV_LEN]) -> Array<u8, K::NonceSize> {
        let mut nonce = Array::default();
        nonce.iter_mut().rev().zip(self.salt.nonce(iv).iter().rev()).for_each(|(to, from)| *to = *from);
        nonce
    }
}

impl<K: AeadInOut + Send + Sync> Aead for RustCryptoAead<K> {
    fn tag_len(&self) -> usize {
        Array::<u8, K::TagSize>::default().len()
    }

    fn seal(&self, iv: &[u8; AEAD_IV_LEN], aad: &[u8], data: &mut [u8], tag: &mut [u8]) {
        let sealed = self.key.encrypt_inout_detached(&self.nonce(iv), aad, data.into());
        #[expect(clippy::expect_used, reason = "refused only beyond 4 GiB")]
        let computed = sealed.expect("a packet is shorter than 4 GiB");
        tag.copy_from_slice(&computed);
    }

    fn open(&self, iv: &[u8; AEAD_IV_LEN], aad: &[u8], data: &mut [u8], tag: &[u8]) -> bool {
        let Ok(tag) = tag.try_into() else { return false };
        self.key.decrypt_inout_detached(&self.nonce(iv), aad, data.into(), tag).is_ok()
    }
}
