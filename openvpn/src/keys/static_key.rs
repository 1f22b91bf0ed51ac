//! OpenVPN's 2048-bit static keys.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A 256-byte key: two directions, each 64 bytes for a cipher and 64 bytes for an HMAC (OpenVPN 2.6 `crypto.h`).
#[derive(Clone)]
pub struct StaticKey(Box<Zeroizing<[u8; 256]>>);

/// Which of the two directions of a [`StaticKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    First,
    Second,
}

impl StaticKey {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: [u8; 256]) -> Self {
        Self(Box::new(Zeroizing::new(bytes)))
    }

    pub(crate) fn bytes(&self) -> &[u8; 256] {
        &self.0
    }

    /// The 64 bytes for the cipher of one direction.
    pub(crate) fn cipher_key(&self, half: Half) -> &[u8] {
        match half {
            Half::First => self.0.get(..64).unwrap_or_default(),
            Half::Second => self.0.get(128..192).unwrap_or_default(),
        }
    }

    /// The 64 bytes for the HMAC of one direction.
    pub(crate) fn hmac_key(&self, half: Half) -> &[u8] {
        match half {
            Half::First => self.0.get(64..128).unwrap_or_default(),
            Half::Second => self.0.get(192..).unwrap_or_default(),
        }
    }
}

impl PartialEq for StaticKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for StaticKey {}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticKey(..)")
    }
}
