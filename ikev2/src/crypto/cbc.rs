//! AES-CBC (RFC 3602) and, for old gateways, 3DES-CBC (RFC 2451).

use aes::{
    Aes128, Aes192, Aes256,
    cipher::{
        Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit,
        inout::InOutBuf,
    },
};
use des::TdesEde3;

use super::Cipher;

/// AES-CBC with a key of 16, 24 or 32 bytes.
pub(super) fn aes(key: &[u8]) -> Option<Box<dyn Cipher>> {
    match key.len() {
        16 => boxed::<Aes128>(key),
        24 => boxed::<Aes192>(key),
        32 => boxed::<Aes256>(key),
        _ => None,
    }
}

/// 3DES-CBC with a key of 24 bytes; parity bits are ignored.
pub(super) fn triple_des(key: &[u8]) -> Option<Box<dyn Cipher>> {
    boxed::<TdesEde3>(key)
}

struct Cbc<C>(C);

fn boxed<C>(key: &[u8]) -> Option<Box<dyn Cipher>>
where
    C: KeyInit + BlockCipherEncrypt + BlockCipherDecrypt + Send + Sync + 'static,
{
    Some(Box::new(Cbc(C::new_from_slice(key).ok()?)))
}

impl<C> Cipher for Cbc<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + Send + Sync,
{
    fn iv_len(&self) -> usize {
        C::block_size()
    }

    fn block_len(&self) -> usize {
        C::block_size()
    }

    fn encrypt(&self, iv: &[u8], data: &mut [u8]) {
        let (blocks, _) = InOutBuf::from(data).into_chunks();
        ::cbc::Encryptor::<&C>::inner_iv_init(&self.0, &iv_of(iv)).encrypt_blocks_inout(blocks);
    }

    fn decrypt(&self, iv: &[u8], data: &mut [u8]) {
        let (blocks, _) = InOutBuf::from(data).into_chunks();
        ::cbc::Decryptor::<&C>::inner_iv_init(&self.0, &iv_of(iv)).decrypt_blocks_inout(blocks);
    }
}

fn iv_of<N: aes::cipher::array::ArraySize>(bytes: &[u8]) -> Array<u8, N> {
    debug_assert_eq!(bytes.len(), N::USIZE);
    let mut iv = Array::default();
    iv.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    iv
}
