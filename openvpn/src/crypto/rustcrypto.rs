//! The portable implementation: the RustCrypto crates.

use aes::{
    Aes128, Aes192, Aes256,
    cipher::{
        BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, BlockSizeUser, InnerIvInit,
        KeyIvInit, StreamCipher, consts::U16, inout::InOutBuf,
    },
};
use aes_gcm::{
    Aes128Gcm, Aes256Gcm, AesGcm, KeyInit,
    aead::{AeadInOut, consts::U12},
};
use blake2::{Blake2b512, Blake2s256};
use chacha20poly1305::ChaCha20Poly1305;
use hmac::{Mac, SimpleHmac};
use md5::Md5;
use ripemd::Ripemd160;
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};

use super::{Aead, Cbc, Crypto, Hmac};
use crate::algorithms::{Cipher, Digest};

/// Everything in Rust, with the CPU's AES and SHA instructions where it has them. Expanded keys are wiped on drop, except
/// the outer key of an HMAC over BLAKE2, which its crate does not wipe.
#[derive(Debug, Clone, Copy, Default)]
pub struct RustCrypto;

impl Crypto for RustCrypto {
    fn aead(&self, cipher: Cipher, key: &[u8]) -> Option<Box<dyn Aead>> {
        match cipher {
            Cipher::Aes128Gcm => boxed_aead::<Aes128Gcm>(key),
            Cipher::Aes192Gcm => boxed_aead::<AesGcm<Aes192, U12>>(key),
            Cipher::Aes256Gcm => boxed_aead::<Aes256Gcm>(key),
            Cipher::ChaCha20Poly1305 => boxed_aead::<ChaCha20Poly1305>(key),
            Cipher::Aes128Cbc | Cipher::Aes192Cbc | Cipher::Aes256Cbc => None,
        }
    }

    fn cbc(&self, key: &[u8]) -> Option<Box<dyn Cbc>> {
        match key.len() {
            16 => boxed_cbc::<Aes128>(key),
            24 => boxed_cbc::<Aes192>(key),
            32 => boxed_cbc::<Aes256>(key),
            _ => None,
        }
    }

    fn aes256_ctr(&self, key: &[u8; 32], iv: &[u8; 16], data: &mut [u8]) {
        ctr::Ctr128BE::<Aes256>::new(key.into(), iv.into()).apply_keystream(data);
    }

    fn hmac(&self, digest: Digest, key: &[u8]) -> Box<dyn Hmac> {
        match digest {
            Digest::Md5 => boxed_hmac::<hmac::Hmac<Md5>>(key),
            Digest::Sha1 => boxed_hmac::<hmac::Hmac<Sha1>>(key),
            Digest::Sha224 => boxed_hmac::<hmac::Hmac<Sha224>>(key),
            Digest::Sha256 => boxed_hmac::<hmac::Hmac<Sha256>>(key),
            Digest::Sha384 => boxed_hmac::<hmac::Hmac<Sha384>>(key),
            Digest::Sha512 => boxed_hmac::<hmac::Hmac<Sha512>>(key),
            Digest::Sha512_224 => boxed_hmac::<hmac::Hmac<Sha512_224>>(key),
            Digest::Sha512_256 => boxed_hmac::<hmac::Hmac<Sha512_256>>(key),
            Digest::Sha3_224 => boxed_hmac::<hmac::Hmac<Sha3_224>>(key),
            Digest::Sha3_256 => boxed_hmac::<hmac::Hmac<Sha3_256>>(key),
            Digest::Sha3_384 => boxed_hmac::<hmac::Hmac<Sha3_384>>(key),
            Digest::Sha3_512 => boxed_hmac::<hmac::Hmac<Sha3_512>>(key),
            Digest::Ripemd160 => boxed_hmac::<hmac::Hmac<Ripemd160>>(key),
            // HMAC around the plain hash, as OpenSSL does it; not BLAKE2's own keyed mode.
            Digest::Blake2b512 => boxed_hmac::<SimpleHmac<Blake2b512>>(key),
            Digest::Blake2s256 => boxed_hmac::<SimpleHmac<Blake2s256>>(key),
        }
    }
}

struct Keyed<K>(K);

fn boxed_aead<K>(key: &[u8]) -> Option<Box<dyn Aead>>
where
    K: AeadInOut<NonceSize = U12, TagSize = U16> + KeyInit + Send + Sync + 'static,
{
    Some(Box::new(Keyed(K::new_from_slice(key).ok()?)))
}

impl<K> Aead for Keyed<K>
where
    K: AeadInOut<NonceSize = U12, TagSize = U16> + Send + Sync,
{
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; 16] {
        let sealed = self.0.encrypt_inout_detached(nonce.into(), aad, data.into());
        #[expect(clippy::expect_used, reason = "refused only beyond 64 GiB")]
        sealed.expect("a packet is shorter than 64 GiB").into()
    }

    fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8; 16]) -> bool {
        self.0.decrypt_inout_detached(nonce.into(), aad, data.into(), tag.into()).is_ok()
    }
}

/// A block cipher used in CBC mode.
struct Blocks<C>(C);

fn boxed_cbc<C>(key: &[u8]) -> Option<Box<dyn Cbc>>
where
    C: KeyInit + BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync + 'static,
{
    Some(Box::new(Blocks(C::new_from_slice(key).ok()?)))
}

impl<C> Cbc for Blocks<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn encrypt(&self, iv: &[u8; 16], blocks: &mut [u8]) {
        let (blocks, _) = InOutBuf::from(blocks).into_chunks();
        cbc::Encryptor::<&C>::inner_iv_init(&self.0, iv.into()).encrypt_blocks_inout(blocks);
    }

    fn decrypt(&self, iv: &[u8; 16], blocks: &mut [u8]) {
        let (blocks, _) = InOutBuf::from(blocks).into_chunks();
        cbc::Decryptor::<&C>::inner_iv_init(&self.0, iv.into()).decrypt_blocks_inout(blocks);
    }
}

/// An HMAC that has taken in its key; a copy of it hashes each message.
struct Primed<M>(M);

fn boxed_hmac<M: Mac + KeyInit + Clone + Send + Sync + 'static>(key: &[u8]) -> Box<dyn Hmac> {
    #[expect(clippy::expect_used, reason = "RFC 2104 has no limit")]
    let mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    Box::new(Primed(mac))
}

impl<M: Mac + Clone> Primed<M> {
    fn over(&self, parts: &[&[u8]]) -> M {
        let mut mac = self.0.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac
    }
}

impl<M: Mac + Clone + Send + Sync> Hmac for Primed<M> {
    fn sign(&self, parts: &[&[u8]], out: &mut [u8; 64]) {
        let tag = self.over(parts).finalize().into_bytes();
        for (to, from) in out.iter_mut().zip(tag.as_slice()) {
            *to = *from;
        }
    }

    fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.over(parts).verify_slice(tag).is_ok()
    }
}
