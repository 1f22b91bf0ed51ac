//! Packets protected by an AEAD.

use std::ops::Range;

use adit_tunnel::{OpenError, ReplayWindow};
use zeroize::Zeroizing;

use super::header::Version;
use crate::{
    algorithms::Cipher,
    crypto::{Aead, Crypto},
    keys::{Half, StaticKey},
};

/// The key of one direction.
pub(super) struct AeadKey {
    key: Box<dyn Aead>,
    /// The part of the nonce that is not on the wire.
    implicit_iv: Zeroizing<[u8; 8]>,
}

impl AeadKey {
    pub(super) fn new(cipher: Cipher, keys: &StaticKey, half: Half, crypto: &dyn Crypto) -> Option<Self> {
        let key = crypto.aead(cipher, keys.cipher_key(half).get(..cipher.key_len())?)?;
        let implicit_iv = Zeroizing::new(*keys.hmac_key(half).first_chunk()?);
        Some(Self { key, implicit_iv })
    }

    /// Encrypts a datagram whose header and payload are in place.
    pub(super) fn seal(&self, version: Version, id: u32, datagram: &mut [u8]) -> Option<()> {
        let (head, rest) = datagram.split_at_mut_checked(version.header_len() + ID_LEN)?;
        let (tag, payload) = rest.split_first_chunk_mut::<TAG_LEN>()?;
        *head.last_chunk_mut()? = id.to_be_bytes();
        *tag = self.key.seal(&self.nonce(id), version.additional_data(head), payload);
        Some(())
    }

    /// Returns the packet id and where the payload lies.
    pub(super) fn open(
        &self,
        version: Version,
        datagram: &mut [u8],
        replay: &ReplayWindow,
    ) -> Result<(u32, Range<usize>), OpenError> {
        let range = version.header_len() + OVERHEAD..datagram.len();
        let (head, rest) = datagram.split_at_mut_checked(version.header_len() + ID_LEN).ok_or(OpenError::Malformed)?;
        let (tag, payload) = rest.split_first_chunk_mut::<TAG_LEN>().ok_or(OpenError::Malformed)?;
        let id = u32::from_be_bytes(*head.last_chunk().ok_or(OpenError::Malformed)?);
        if !replay.check(id.into()) {
            return Err(OpenError::Replayed);
        }
        if !self.key.open(&self.nonce(id), version.additional_data(head), payload, tag) {
            return Err(OpenError::Forged);
        }
        Ok((id, range))
    }

    fn nonce(&self, id: u32) -> [u8; 12] {
        let [a, b, c, d] = id.to_be_bytes();
        let [e, f, g, h, i, j, k, l] = *self.implicit_iv;
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }
}

/// Bytes between header and payload.
pub(super) const OVERHEAD: usize = ID_LEN + TAG_LEN;
const ID_LEN: usize = 4;
const TAG_LEN: usize = 16;
