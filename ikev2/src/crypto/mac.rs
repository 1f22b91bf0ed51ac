//! Keyed hashes, for PRFs and integrity algorithms alike: HMAC, AES-CMAC (RFC 4493), AES-XCBC-MAC (RFC 3566).

use aes::{
    Aes128,
    cipher::{BlockCipherEncrypt, KeyInit},
};
use ring::hmac;
use zeroize::Zeroizing;

/// A key of one of them. Nothing is allocated once it is made.
pub(super) enum MacKey {
    Hmac(hmac::Key),
    Aes(Box<AesMac>),
}

/// What it returns, whole.
pub(super) enum Mac {
    Hmac(hmac::Tag),
    Aes(Zeroizing<Block>),
}

impl MacKey {
    pub(super) fn hmac(algorithm: hmac::Algorithm, key: &[u8]) -> Self {
        Self::Hmac(hmac::Key::new(algorithm, key))
    }

    pub(super) fn cmac(key: &Block) -> Self {
        Self::Aes(Box::new(AesMac::cmac(key)))
    }

    pub(super) fn xcbc(key: &Block) -> Self {
        Self::Aes(Box::new(AesMac::xcbc(key)))
    }

    /// The MAC of the parts, put one behind the other.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> Mac {
        match self {
            Self::Hmac(key) => {
                let mut context = hmac::Context::with_key(key);
                parts.iter().for_each(|part| context.update(part));
                Mac::Hmac(context.sign())
            }
            Self::Aes(key) => Mac::Aes(key.sign(parts)),
        }
    }
}

impl AsRef<[u8]> for Mac {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Hmac(tag) => tag.as_ref(),
            Self::Aes(block) => block.as_slice(),
        }
    }
}

/// Length of a block, and of the keys and results of the MACs made of AES, in bytes.
pub(super) const AES_LEN: usize = 16;

pub(super) type Block = [u8; AES_LEN];

/// AES in CBC mode with a mask over the last block, another one if that is padded; the result is the last block.
pub(super) struct AesMac {
    cipher: Aes128,
    whole: Zeroizing<Block>,
    padded: Zeroizing<Block>,
}

impl AesMac {
    /// RFC 4493 §2.3: the masks are the encrypted zero block times x and times x².
    fn cmac(key: &Block) -> Self {
        let cipher = Aes128::new(key.into());
        let zero = encrypted(&cipher, [0; AES_LEN]);
        let whole = times_x(&zero);
        let padded = times_x(&whole);
        Self { cipher, whole, padded }
    }

    /// RFC 3566 §4.1: key and masks are three encrypted constants.
    fn xcbc(key: &Block) -> Self {
        let outer = Aes128::new(key.into());
        let [inner, whole, padded] = [1, 2, 3].map(|byte| encrypted(&outer, [byte; AES_LEN]));
        Self { cipher: Aes128::new((&*inner).into()), whole, padded }
    }

    fn sign(&self, parts: &[&[u8]]) -> Zeroizing<Block> {
        let mut block = Zeroizing::new([0; AES_LEN]);
        let mut filled = 0;
        for byte in parts.iter().copied().flatten() {
            if filled == AES_LEN {
                block = encrypted(&self.cipher, *block);
                filled = 0;
            }
            if let Some(to) = block.get_mut(filled) {
                *to ^= byte;
            }
            filled += 1;
        }
        let mask = match block.get_mut(filled) {
            None => &self.whole,
            Some(to) => {
                *to ^= 0x80;
                &self.padded
            }
        };
        block.iter_mut().zip(mask.iter()).for_each(|(to, from)| *to ^= from);
        encrypted(&self.cipher, *block)
    }
}

fn encrypted(cipher: &Aes128, block: Block) -> Zeroizing<Block> {
    let mut block = Zeroizing::new(block);
    cipher.encrypt_block((&mut *block).into());
    block
}

/// In the field of 2^128 elements (NIST SP 800-38B §6.1), without a branch on the secret.
fn times_x(block: &Block) -> Zeroizing<Block> {
    let number = u128::from_be_bytes(*block);
    Zeroizing::new(((number << 1) ^ ((number >> 127) * 0x87)).to_be_bytes())
}
