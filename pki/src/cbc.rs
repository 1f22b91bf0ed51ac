//! CBC decryption with the block ciphers of old key files.

use aes::cipher::{Block, BlockCipherDecrypt, KeyInit};
use zeroize::Zeroizing;

/// Decrypts and removes the padding of PKCS#7. `None` when lengths or padding are wrong.
pub(crate) fn decrypt<C: BlockCipherDecrypt + KeyInit>(
    key: &[u8],
    iv: &[u8],
    data: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = C::new_from_slice(key).ok()?;
    let size = C::block_size();
    if data.is_empty() || !data.len().is_multiple_of(size) || iv.len() != size {
        return None;
    }
    let mut plain = Zeroizing::new(Vec::with_capacity(data.len()));
    let mut previous = iv;
    for chunk in data.chunks_exact(size) {
        let mut block = Block::<C>::default();
        block.copy_from_slice(chunk);
        cipher.decrypt_block(&mut block);
        plain.extend(block.iter().zip(previous).map(|(byte, mask)| byte ^ mask));
        previous = chunk;
    }
    let padding = usize::from(*plain.last()?);
    let end = plain.len().checked_sub(padding)?;
    let right = (1..=size).contains(&padding) && plain.get(end..)?.iter().all(|&byte| usize::from(byte) == padding);
    plain.truncate(end);
    right.then_some(plain)
}
