//! Key exchange methods (RFC 7296 §2.12, §3.4).

mod modp;
#[cfg(test)]
mod tests;

use std::fmt;

use adit_tunnel::{Random, Secret};
use bytes::Bytes;
use ring::{agreement, rand::SystemRandom};
use zeroize::Zeroizing;

use self::modp::ModpKey;
use crate::message::numbers::DhGroup;

/// Our key of one exchange; used once.
pub(crate) struct DhKey {
    group: DhGroup,
    public: Bytes,
    private: Private,
}

enum Private {
    Ring(agreement::EphemeralPrivateKey),
    P521(p521::SecretKey),
    Modp(ModpKey),
}

/// The peer's public value is not one of its group: wrong length, not on the curve, of low order, or trivial (RFC 6989).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer's public value is not valid in its key exchange group")]
pub(crate) struct InvalidPublicKey;

impl DhKey {
    /// A new key; `None` if we do not have the group.
    ///
    /// X25519, P-256 and P-384 draw from `ring`'s own randomness: it takes keys from nowhere else.
    pub(crate) fn generate(group: DhGroup, random: &mut dyn Random) -> Option<Self> {
        match (ring_algorithm(group), group) {
            (Some(algorithm), _) => Self::ring(group, algorithm),
            (None, DhGroup::ECP_521) => random_p521(random).map(Self::p521),
            (None, _) => ModpKey::generate(group, random).map(|key| Self::modp(group, key)),
        }
    }

    pub(crate) const fn group(&self) -> DhGroup {
        self.group
    }

    /// The value for our KE payload.
    pub(crate) const fn public(&self) -> &Bytes {
        &self.public
    }

    /// The shared secret `g^ir` with the value of the peer's KE payload, padded to the length of the group (RFC 7296 §2.14) or
    /// the x coordinate alone (RFC 5903 §7).
    ///
    /// # Errors
    /// If the value is not valid; the exchange must fail then.
    pub(crate) fn agree(self, theirs: &[u8]) -> Result<Secret, InvalidPublicKey> {
        if public_len(self.group) != Some(theirs.len()) {
            return Err(InvalidPublicKey);
        }
        match self.private {
            Private::Ring(private) => {
                let theirs = agreement::UnparsedPublicKey::new(private.algorithm(), encoded(self.group, theirs));
                // Refuses points that are not on the curve, and an X25519 result of zeros.
                let theirs = &theirs;
                agreement::agree_ephemeral(private, theirs, |secret| Secret::new(secret)).map_err(|_| InvalidPublicKey)
            }
            Private::P521(private) => {
                let theirs = encoded(self.group, theirs);
                let theirs = p521::PublicKey::from_sec1_bytes(&theirs).map_err(|_| InvalidPublicKey)?;
                Ok(Secret::new(private.diffie_hellman(&theirs).raw_secret_bytes().as_slice()))
            }
            Private::Modp(private) => private.agree(theirs).ok_or(InvalidPublicKey),
        }
    }

    /// Whether [`Self::agree`] takes the peer's value. Leaves the key for a better one.
    pub(crate) fn fits(&self, theirs: &[u8]) -> bool {
        public_len(self.group) == Some(theirs.len())
            && match &self.private {
                // Whether a value is of the curve, and of its large subgroup, shows with any key.
                Private::Ring(private) => {
                    let other = Self::ring(self.group, private.algorithm());
                    other.is_some_and(|other| other.agree(theirs).is_ok())
                }
                Private::P521(_) => p521::PublicKey::from_sec1_bytes(&encoded(self.group, theirs)).is_ok(),
                Private::Modp(private) => private.fits(theirs),
            }
    }

    fn ring(group: DhGroup, algorithm: &'static agreement::Algorithm) -> Option<Self> {
        let private = agreement::EphemeralPrivateKey::generate(algorithm, &SystemRandom::new()).ok()?;
        let public = private.compute_public_key().ok()?;
        Some(Self { group, public: value(group, public.as_ref()), private: Private::Ring(private) })
    }

    fn p521(private: p521::SecretKey) -> Self {
        let public = private.public_key().to_sec1_bytes();
        Self { group: DhGroup::ECP_521, public: value(DhGroup::ECP_521, &public), private: Private::P521(private) }
    }

    fn modp(group: DhGroup, private: ModpKey) -> Self {
        Self { group, public: private.public().into(), private: Private::Modp(private) }
    }
}

impl fmt::Debug for DhKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DhKey").field("group", &self.group).finish_non_exhaustive()
    }
}

/// Length of a KE payload's value in this group, in bytes; `None` if we do not have the group.
pub(crate) fn public_len(group: DhGroup) -> Option<usize> {
    match group {
        DhGroup::CURVE25519 => Some(32),
        DhGroup::ECP_256 => Some(64),
        DhGroup::ECP_384 => Some(96),
        DhGroup::ECP_521 => Some(132),
        _ => modp::len(group),
    }
}

fn ring_algorithm(group: DhGroup) -> Option<&'static agreement::Algorithm> {
    match group {
        DhGroup::CURVE25519 => Some(&agreement::X25519),
        DhGroup::ECP_256 => Some(&agreement::ECDH_P256),
        DhGroup::ECP_384 => Some(&agreement::ECDH_P384),
        _ => None,
    }
}

/// Uniform below the order, by trying again. A generator that never hits (one in 2^-256 is bad luck) gives none.
fn random_p521(random: &mut dyn Random) -> Option<p521::SecretKey> {
    (0..16).find_map(|_| {
        let mut bytes = Zeroizing::new([0; 66]);
        random.fill(&mut *bytes);
        let [first, ..] = &mut *bytes;
        *first &= 1;
        p521::SecretKey::from_slice(&*bytes).ok()
    })
}

/// What stands before x and y of an uncompressed point (SEC 1 §2.3.3), but not in a KE payload (RFC 5903 §7).
const UNCOMPRESSED: u8 = 4;

fn value(group: DhGroup, encoded: &[u8]) -> Bytes {
    let value = match group {
        DhGroup::CURVE25519 => encoded,
        _ => encoded.strip_prefix(&[UNCOMPRESSED]).unwrap_or(encoded),
    };
    Bytes::copy_from_slice(value)
}

fn encoded(group: DhGroup, value: &[u8]) -> Vec<u8> {
    match group {
        DhGroup::CURVE25519 => value.to_vec(),
        _ => [&[UNCOMPRESSED], value].concat(),
    }
}
