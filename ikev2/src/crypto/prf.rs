//! Pseudorandom functions (RFC 7296 §2.13): HMAC (RFC 2104, RFC 4868), AES-XCBC (RFC 4434), AES-CMAC (RFC 4615).

use std::mem;

use adit_tunnel::Secret;
use ring::hmac;
use zeroize::Zeroizing;

use super::mac::{AES_LEN, Block, MacKey};
use crate::message::numbers::PrfId;

/// A pseudorandom function we have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Prf {
    id: PrfId,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Hmac(hmac::Algorithm),
    Xcbc,
    Cmac,
}

impl Prf {
    /// `None` if we do not have it.
    pub(crate) fn new(id: PrfId) -> Option<Self> {
        let kind = match id {
            PrfId::HMAC_SHA1 => Kind::Hmac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
            PrfId::HMAC_SHA2_256 => Kind::Hmac(hmac::HMAC_SHA256),
            PrfId::HMAC_SHA2_384 => Kind::Hmac(hmac::HMAC_SHA384),
            PrfId::HMAC_SHA2_512 => Kind::Hmac(hmac::HMAC_SHA512),
            PrfId::AES_XCBC => Kind::Xcbc,
            PrfId::AES_CMAC => Kind::Cmac,
            _ => return None,
        };
        Some(Self { id, kind })
    }

    pub(crate) const fn id(self) -> PrfId {
        self.id
    }

    /// Length of the keys it makes and prefers, in bytes: SK_d, SK_pi, SK_pr.
    pub(crate) fn key_len(self) -> usize {
        self.output_len()
    }

    /// Length of what it returns, in bytes.
    pub(crate) fn output_len(self) -> usize {
        match self.kind {
            Kind::Hmac(algorithm) => algorithm.digest_algorithm().output_len(),
            Kind::Xcbc | Kind::Cmac => AES_LEN,
        }
    }

    /// `prf(key, parts)`, the parts put one behind the other.
    pub(crate) fn sign(self, key: &[u8], parts: &[&[u8]]) -> Secret {
        Secret::new(self.keyed(key).sign(parts).as_ref())
    }

    /// The first `len` bytes of `prf+(key, seed)`; at most 255 times the output.
    pub(crate) fn plus(self, key: &[u8], seed: &[&[u8]], len: usize) -> Secret {
        debug_assert!(len <= 255 * self.output_len());
        let key = self.keyed(key);
        let mut output = Zeroizing::new(Vec::with_capacity(len + self.output_len()));
        for counter in 1..=255_u8 {
            if output.len() >= len {
                break;
            }
            // The block before is part of the output, so no other copy of it is kept.
            let previous = output.len().checked_sub(self.output_len()).and_then(|at| output.get(at..));
            let block = key.sign(&[&[previous.unwrap_or_default()], seed, &[&[counter]]].concat());
            output.extend_from_slice(block.as_ref());
        }
        output.truncate(len);
        Secret::new(mem::take(&mut *output))
    }

    /// How much of a nonce goes into the key of the first SKEYSEED: half a key each where keys have one length
    /// (RFC 7296 §2.14).
    pub(crate) fn nonce_part(self, nonce: &[u8]) -> &[u8] {
        match self.kind {
            Kind::Hmac(_) => nonce,
            Kind::Xcbc | Kind::Cmac => nonce.get(..AES_LEN / 2).unwrap_or(nonce),
        }
    }

    fn keyed(self, key: &[u8]) -> MacKey {
        match self.kind {
            Kind::Hmac(algorithm) => MacKey::hmac(algorithm, key),
            Kind::Xcbc => MacKey::xcbc(&xcbc_key(key)),
            Kind::Cmac => MacKey::cmac(&cmac_key(key)),
        }
    }
}

/// RFC 4434 §2: a short key is padded with zeros, a long one is hashed.
fn xcbc_key(key: &[u8]) -> Zeroizing<Block> {
    if key.len() > AES_LEN {
        return block(MacKey::xcbc(&[0; AES_LEN]).sign(&[key]).as_ref());
    }
    block(key)
}

/// RFC 4615 §3: a key of another length is hashed.
fn cmac_key(key: &[u8]) -> Zeroizing<Block> {
    if key.len() == AES_LEN {
        return block(key);
    }
    block(MacKey::cmac(&[0; AES_LEN]).sign(&[key]).as_ref())
}

fn block(bytes: &[u8]) -> Zeroizing<Block> {
    let mut block = Zeroizing::new([0; AES_LEN]);
    block.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    block
}
