//! To come.
use super::*;

/// To come.
#[derive(Debug, Clone, Copy, Default)]
pub struct RustCrypto;

impl Crypto for RustCrypto {
    fn aead(&self, _: Cipher, _: &[u8]) -> Option<Box<dyn Aead>> {
        todo!()
    }
    fn cbc(&self, _: &[u8]) -> Option<Box<dyn Cbc>> {
        todo!()
    }
    fn aes256_ctr(&self, _: &[u8; 32], _: &[u8; 16], _: &mut [u8]) {
        todo!()
    }
    fn hmac(&self, _: Digest, _: &[u8]) -> Box<dyn Hmac> {
        todo!()
    }
}
