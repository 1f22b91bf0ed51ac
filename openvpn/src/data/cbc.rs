//! Packets protected by AES-CBC and an HMAC: encrypt, then authenticate.

use std::ops::Range;

use adit_tunnel::{OpenError, ReplayWindow};

use super::header::Version;
use crate::{
    algorithms::{Cipher, Digest},
    crypto::{Cbc, Crypto, Hmac},
    keys::{Half, StaticKey},
};

/// The key of one direction.
pub(super) struct CbcKey {
    cipher: Box<dyn Cbc>,
    hmac: Box<dyn Hmac>,
    tag_len: usize,
}

impl CbcKey {
    pub(super) fn new(cipher: Cipher, auth: Digest, keys: &StaticKey, half: Half, crypto: &dyn Crypto) -> Option<Self> {
        let hmac = crypto.hmac(auth, keys.hmac_key(half).get(..auth.len())?);
        let cipher = crypto.cbc(keys.cipher_key(half).get(..cipher.key_len())?)?;
        Some(Self { cipher, hmac, tag_len: auth.len() })
    }

    /// Bytes between header and payload.
    pub(super) const fn overhead(&self) -> usize {
        self.tag_len + BLOCK + ID_LEN
    }

    /// Length of tag, IV and ciphertext for a payload of this length.
    pub(super) const fn protected_len(&self, payload_len: usize) -> usize {
        // PKCS#7 adds between one byte and a whole block.
        let padded = (payload_len.saturating_add(ID_LEN) / BLOCK).saturating_add(1).saturating_mul(BLOCK);
        padded.saturating_add(self.tag_len + BLOCK)
    }

    /// Encrypts a datagram whose header and payload are in place; what follows the payload is padding.
    pub(super) fn seal(
        &self,
        ivs: &IvSource,
        version: Version,
        id: u32,
        datagram: &mut [u8],
        payload_len: usize,
    ) -> Option<()> {
        let protected = datagram.get_mut(version.header_len()..)?;
        let (tag, covered) = protected.split_at_mut_checked(self.tag_len)?;
        let (iv, blocks) = covered.split_first_chunk_mut::<BLOCK>()?;
        *iv = ivs.iv(id);
        *blocks.first_chunk_mut()? = id.to_be_bytes();
        let padding = blocks.get_mut(ID_LEN + payload_len..)?;
        padding.fill(u8::try_from(padding.len()).ok()?);
        self.cipher.encrypt(iv, blocks);
        let mut computed = [0; 64];
        self.hmac.sign(&[covered], &mut computed);
        tag.copy_from_slice(computed.get(..self.tag_len)?);
        Some(())
    }

    /// Returns the packet id and where the payload lies. Nothing is decrypted before the HMAC is right.
    pub(super) fn open(
        &self,
        version: Version,
        datagram: &mut [u8],
        replay: &ReplayWindow,
    ) -> Result<(u32, Range<usize>), OpenError> {
        let start = version.header_len() + self.overhead();
        let protected = datagram.get_mut(version.header_len()..).ok_or(OpenError::Malformed)?;
        let (tag, covered) = protected.split_at_mut_checked(self.tag_len).ok_or(OpenError::Malformed)?;
        if covered.len() < 2 * BLOCK || covered.len() % BLOCK != 0 {
            return Err(OpenError::Malformed);
        }
        if !self.hmac.verify(&[covered], tag) {
            return Err(OpenError::Forged);
        }
        let (iv, blocks) = covered.split_first_chunk_mut::<BLOCK>().ok_or(OpenError::Malformed)?;
        self.cipher.decrypt(iv, blocks);
        let payload_len = unpadded_len(blocks).and_then(|len| len.checked_sub(ID_LEN)).ok_or(OpenError::Malformed)?;
        let id = u32::from_be_bytes(*blocks.first_chunk().ok_or(OpenError::Malformed)?);
        if !replay.check(id.into()) {
            return Err(OpenError::Replayed);
        }
        Ok((id, start..start + payload_len))
    }
}

/// Length without PKCS#7 padding. Need not take constant time: the bytes are authentic.
fn unpadded_len(blocks: &[u8]) -> Option<usize> {
    let padding = *blocks.last()?;
    let len = blocks.len().checked_sub(padding.into())?;
    let valid = (1..=BLOCK).contains(&padding.into()) && blocks.get(len..)?.iter().all(|byte| *byte == padding);
    valid.then_some(len)
}

/// Makes initialisation vectors without a source of randomness.
///
/// Each is the packet id encrypted as one block of AES-256 under a key of its own, which makes it unpredictable
/// without that key and different for each packet (NIST SP 800-38A appendix C, first method). The key is the last 32
/// of the 64 bytes that key material holds for the cipher of this direction: no cipher uses more than the first 32, so
/// they are fresh, secret and independent of every other key. The peer does not care where an IV comes from.
pub(super) struct IvSource(Box<dyn Cbc>);

impl IvSource {
    pub(super) fn new(keys: &StaticKey, half: Half, crypto: &dyn Crypto) -> Option<Self> {
        crypto.cbc(keys.cipher_key(half).get(32..64)?).map(Self)
    }

    fn iv(&self, id: u32) -> [u8; BLOCK] {
        let mut block = u128::from(id).to_be_bytes();
        self.0.encrypt(&[0; BLOCK], &mut block);
        block
    }
}

const BLOCK: usize = 16;
const ID_LEN: usize = 4;
