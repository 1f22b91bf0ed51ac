//! Protection of the SK and SKF payloads (RFC 7296 §3.14, RFC 5282, RFC 7634 §2.1): an AEAD, or a cipher and a MAC over
//! what it made.

#[cfg(test)]
mod tests;

use std::ops::Range;

use adit_tunnel::Random;

use super::{AEAD_IV_LEN, Aead, Cipher, Integrity, aead, cipher};
use crate::{message::numbers::IntegrityId, negotiate::IkeSuite};

/// The key of one direction of an IKE SA.
pub(crate) trait SkCipher: Send + Sync {
    /// Length of the IV, in bytes.
    fn iv_len(&self) -> usize;

    /// The plaintext, with padding and pad length, has a multiple of this many bytes.
    fn pad_to(&self) -> usize;

    /// Length of the integrity check value at the end, in bytes.
    fn icv_len(&self) -> usize;

    /// Encrypts in place: `buffer` is header (`header_len` bytes, up to and with the generic header of the payload), IV,
    /// padded plaintext, ICV. IV and ICV are written.
    ///
    /// A message sent again must be the same bytes, never sealed anew.
    ///
    /// # Panics
    /// If the buffer has no room for IV and ICV.
    fn seal(&mut self, random: &mut dyn Random, buffer: &mut [u8], header_len: usize);

    /// Verifies first, then decrypts in place. Returns where the padded plaintext is; `None` if it is forged or cut off.
    fn open(&self, buffer: &mut [u8], header_len: usize) -> Option<Range<usize>>;
}

/// Makes the protection of a suite of SK_e (with the salt at its end) and SK_a (empty with an AEAD). `None` if a length is
/// wrong or we do not have the suite.
pub(crate) fn sk_cipher(
    suite: &IkeSuite,
    encryption_key_with_salt: &[u8],
    integrity_key: &[u8],
) -> Option<Box<dyn SkCipher>> {
    if suite.integrity == IntegrityId::NONE {
        let key = aead(suite.encryption, encryption_key_with_salt)?;
        Some(Box::new(Combined { key, next_iv: 0 }))
    } else {
        let cipher = cipher(suite.encryption, encryption_key_with_salt)?;
        let integrity = Integrity::new(suite.integrity, integrity_key)?;
        Some(Box::new(Separate { cipher, integrity, next_iv: 0 }))
    }
}

/// The parts of a protected message.
struct Parts<'a> {
    header: &'a mut [u8],
    iv: &'a mut [u8],
    data: &'a mut [u8],
    icv: &'a mut [u8],
}

impl<'a> Parts<'a> {
    fn of(buffer: &'a mut [u8], header_len: usize, iv_len: usize, icv_len: usize) -> Option<Self> {
        let (header, rest) = buffer.split_at_mut_checked(header_len)?;
        let (iv, rest) = rest.split_at_mut_checked(iv_len)?;
        let (data, icv) = rest.split_at_mut_checked(rest.len().checked_sub(icv_len)?)?;
        Some(Self { header, iv, data, icv })
    }
}

const NO_ROOM: &str = "the caller leaves room for IV and ICV";

/// An AEAD.
struct Combined {
    key: Box<dyn Aead>,
    /// A counter: unique is all an AEAD asks of its IV. Message ids end long before it does.
    next_iv: u64,
}

impl SkCipher for Combined {
    fn iv_len(&self) -> usize {
        AEAD_IV_LEN
    }

    fn pad_to(&self) -> usize {
        1
    }

    fn icv_len(&self) -> usize {
        self.key.tag_len()
    }

    fn seal(&mut self, _random: &mut dyn Random, buffer: &mut [u8], header_len: usize) {
        #[expect(clippy::expect_used, reason = "a bug of the caller must not send plaintext")]
        let parts = Parts::of(buffer, header_len, AEAD_IV_LEN, self.key.tag_len()).expect(NO_ROOM);
        let iv = self.next_iv.to_be_bytes();
        self.next_iv += 1;
        parts.iv.copy_from_slice(&iv);
        // RFC 5282 §5.1: everything before the IV is associated data.
        self.key.seal(&iv, parts.header, parts.data, parts.icv);
    }

    fn open(&self, buffer: &mut [u8], header_len: usize) -> Option<Range<usize>> {
        let parts = Parts::of(buffer, header_len, AEAD_IV_LEN, self.key.tag_len())?;
        let iv = parts.iv.first_chunk()?;
        let data = header_len + AEAD_IV_LEN..header_len + AEAD_IV_LEN + parts.data.len();
        self.key.open(iv, parts.header, parts.data, parts.icv).then_some(data)
    }
}

/// A cipher, then a MAC over header, IV and ciphertext.
struct Separate {
    cipher: Box<dyn Cipher>,
    integrity: Integrity,
    /// For CTR, whose IV must be unique; CBC asks for one nobody can predict.
    next_iv: u64,
}

impl SkCipher for Separate {
    fn iv_len(&self) -> usize {
        self.cipher.iv_len()
    }

    fn pad_to(&self) -> usize {
        self.cipher.block_len()
    }

    fn icv_len(&self) -> usize {
        self.integrity.tag_len()
    }

    fn seal(&mut self, random: &mut dyn Random, buffer: &mut [u8], header_len: usize) {
        #[expect(clippy::expect_used, reason = "a bug of the caller must not send plaintext")]
        let parts = Parts::of(buffer, header_len, self.iv_len(), self.icv_len()).expect(NO_ROOM);
        if self.cipher.block_len() > 1 {
            random.fill(parts.iv);
        } else {
            parts.iv.copy_from_slice(&self.next_iv.to_be_bytes());
            self.next_iv += 1;
        }
        self.cipher.encrypt(parts.iv, parts.data);
        self.integrity.sign(&[parts.header, parts.iv, parts.data], parts.icv);
    }

    fn open(&self, buffer: &mut [u8], header_len: usize) -> Option<Range<usize>> {
        let parts = Parts::of(buffer, header_len, self.iv_len(), self.icv_len())?;
        let whole_blocks = parts.data.len().is_multiple_of(self.cipher.block_len());
        if !self.integrity.verify(&[parts.header, parts.iv, parts.data], parts.icv) || !whole_blocks {
            return None;
        }
        self.cipher.decrypt(parts.iv, parts.data);
        let start = header_len + parts.iv.len();
        Some(start..start + parts.data.len())
    }
}
