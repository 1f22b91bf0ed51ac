//! A cipher that protects nothing, of every shape a real one has.

use std::ops::Range;

use adit_tunnel::Random;

use crate::crypto::sk::SkCipher;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ToyCipher {
    pub(crate) iv_len: usize,
    pub(crate) pad_to: usize,
    pub(crate) icv_len: usize,
}

impl ToyCipher {
    /// In the shape of AES-GCM.
    pub(crate) const fn aead() -> Self {
        Self { iv_len: 8, pad_to: 1, icv_len: 16 }
    }

    /// In the shape of AES-CBC with HMAC-SHA2-256-128.
    pub(crate) const fn cbc() -> Self {
        Self { iv_len: 16, pad_to: 16, icv_len: 16 }
    }

    /// Makes a changed datagram authentic.
    pub(crate) fn check_again(self, datagram: &mut [u8]) {
        let icv = datagram.len() - self.icv_len;
        let check = self.check(&datagram[..icv]);
        datagram[icv..].copy_from_slice(&check);
    }

    /// FNV-1a, repeated.
    fn check(self, bytes: &[u8]) -> Vec<u8> {
        let hash = bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        hash.to_be_bytes().into_iter().cycle().take(self.icv_len).collect()
    }
}

impl SkCipher for ToyCipher {
    fn iv_len(&self) -> usize {
        self.iv_len
    }

    fn pad_to(&self) -> usize {
        self.pad_to
    }

    fn icv_len(&self) -> usize {
        self.icv_len
    }

    fn seal(&mut self, random: &mut dyn Random, buffer: &mut [u8], header_len: usize) {
        let icv = buffer.len() - self.icv_len;
        let start = header_len + self.iv_len;
        assert!(start < icv && (icv - start).is_multiple_of(self.pad_to), "room for the pad length at least");
        random.fill(&mut buffer[header_len..start]);
        buffer[start..icv].iter_mut().for_each(|byte| *byte ^= 0xa5);
        let check = self.check(&buffer[..icv]);
        buffer[icv..].copy_from_slice(&check);
    }

    fn open(&self, buffer: &mut [u8], header_len: usize) -> Option<Range<usize>> {
        let icv = buffer.len() - self.icv_len;
        if self.check(&buffer[..icv]) != buffer[icv..] {
            return None;
        }
        let content = header_len + self.iv_len..icv;
        buffer[content.clone()].iter_mut().for_each(|byte| *byte ^= 0xa5);
        Some(content)
    }
}
