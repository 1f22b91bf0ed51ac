//! Bytes both ends can compute: the body of every transfer.

use ring::digest::{Context, SHA256};

/// A generator of 64-bit numbers (splitmix64), good enough for bodies and for the relay's dice.
#[derive(Debug, Clone)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// True in so many of a thousand cases.
    pub(crate) fn happens(&mut self, per_mille: u64) -> bool {
        self.next() % 1000 < per_mille
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.next().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}

/// The body of a transfer of any length: no part of it repeats, so that a lost or moved piece changes its hash.
#[derive(Debug)]
pub(crate) struct Body(Numbers);

impl Body {
    /// What is written at once; a multiple of 8.
    pub(crate) const PIECE: usize = 16 * 1024;

    pub(crate) fn new() -> Self {
        Self(Numbers::new(0x0061_6469_7400))
    }

    /// The next bytes; call with multiples of 8 except at the end.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    /// The SHA-256 of a body of this length, in hexadecimal.
    pub(crate) fn sha256(length: usize) -> String {
        let (mut body, mut hash) = (Self::new(), Context::new(&SHA256));
        let mut piece = vec![0; Self::PIECE];
        let mut left = length;
        while left > 0 {
            let part = &mut piece[..left.min(Self::PIECE)];
            body.fill(part);
            hash.update(part);
            left -= part.len();
        }
        hex::encode(hash.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_of_a_body_is_that_of_its_pieces() {
        let (mut body, mut bytes) = (Body::new(), vec![0; 40_000]);
        let (first, second) = bytes.split_at_mut(24);
        body.fill(first);
        body.fill(second);
        assert_eq!(Body::sha256(40_000), hex::encode(ring::digest::digest(&SHA256, &bytes)));
        assert_ne!(Body::sha256(40_000), Body::sha256(39_999));
    }
}
