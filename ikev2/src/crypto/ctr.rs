//! AES-CTR (RFC 3686, RFC 5930): the counter block is nonce, IV and a block counter that starts at 1.

use aes::{
    Aes128, Aes192, Aes256,
    cipher::{
        BlockCipherEncrypt, BlockSizeUser, InnerIvInit, KeyInit, StreamCipherCore, consts::U16, typenum::Unsigned,
    },
};
use zeroize::Zeroizing;

use super::Cipher;

const IV_LEN: usize = 8;

/// Bytes of nonce that follow the key.
pub(super) const NONCE_LEN: usize = 4;

/// AES-CTR with a key of 16, 24 or 32 bytes and its nonce.
pub(super) fn aes(key_with_nonce: &[u8]) -> Option<Box<dyn Cipher>> {
    let (key, nonce) = key_with_nonce.split_last_chunk::<NONCE_LEN>()?;
    match key.len() {
        16 => boxed::<Aes128>(key, *nonce),
        24 => boxed::<Aes192>(key, *nonce),
        32 => boxed::<Aes256>(key, *nonce),
        _ => None,
    }
}

struct Ctr<C> {
    cipher: C,
    nonce: Zeroizing<[u8; NONCE_LEN]>,
}

fn boxed<C>(key: &[u8], nonce: [u8; NONCE_LEN]) -> Option<Box<dyn Cipher>>
where
    C: KeyInit + BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + Send + Sync + 'static,
{
    Some(Box::new(Ctr { cipher: C::new_from_slice(key).ok()?, nonce: Zeroizing::new(nonce) }))
}

impl<C> Cipher for Ctr<C>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn iv_len(&self) -> usize {
        IV_LEN
    }

    fn block_len(&self) -> usize {
        1
    }

    fn encrypt(&self, iv: &[u8], data: &mut [u8]) {
        debug_assert_eq!(iv.len(), IV_LEN);
        let mut block = [0; U16::USIZE];
        let input = self.nonce.iter().chain(iv.iter().take(IV_LEN));
        block.iter_mut().zip(input.chain(&[0, 0, 0, 1])).for_each(|(to, from)| *to = *from);
        let core = ctr::CtrCore::<&C, ctr::flavors::Ctr32BE>::inner_iv_init(&self.cipher, &block.into());
        core.apply_keystream_partial(data.into());
    }

    fn decrypt(&self, iv: &[u8], data: &mut [u8]) {
        self.encrypt(iv, data);
    }
}
