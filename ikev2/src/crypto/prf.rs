//! Pseudorandom functions (RFC 7296 §2.13, RFC 2104, RFC 4868).

use std::mem;

use adit_tunnel::Secret;
use ring::hmac;
use zeroize::Zeroizing;

use crate::message::numbers::PrfId;

/// A pseudorandom function we have: HMAC with SHA-1 or SHA-2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Prf(PrfId);

impl Prf {
    /// `None` if we do not have it.
    pub(crate) fn new(id: PrfId) -> Option<Self> {
        algorithm(id).map(|_| Self(id))
    }

    pub(crate) const fn id(self) -> PrfId {
        self.0
    }

    /// Length of the keys it makes and prefers, in bytes: SK_d, SK_pi, SK_pr.
    pub(crate) fn key_len(self) -> usize {
        self.output_len()
    }

    /// Length of what it returns, in bytes.
    pub(crate) fn output_len(self) -> usize {
        self.algorithm().digest_algorithm().output_len()
    }

    /// `prf(key, parts)`, the parts put one behind the other.
    pub(crate) fn sign(self, key: &[u8], parts: &[&[u8]]) -> Secret {
        Secret::new(tag(&hmac::Key::new(self.algorithm(), key), parts).as_ref())
    }

    /// The first `len` bytes of `prf+(key, seed)`; at most 255 times the output.
    pub(crate) fn plus(self, key: &[u8], seed: &[&[u8]], len: usize) -> Secret {
        debug_assert!(len <= 255 * self.output_len());
        let key = hmac::Key::new(self.algorithm(), key);
        let mut output = Zeroizing::new(Vec::with_capacity(len + self.output_len()));
        let mut last: Option<hmac::Tag> = None;
        for counter in 1..=255_u8 {
            if output.len() >= len {
                break;
            }
            let previous = last.as_ref().map_or(&[][..], AsRef::as_ref);
            let block = tag(&key, &[&[previous], seed, &[&[counter]]].concat());
            output.extend_from_slice(block.as_ref());
            last = Some(block);
        }
        output.truncate(len);
        Secret::new(mem::take(&mut *output))
    }

    fn algorithm(self) -> hmac::Algorithm {
        #[expect(clippy::expect_used, reason = "`new` has looked it up")]
        algorithm(self.0).expect("a Prf is one we have")
    }
}

fn algorithm(id: PrfId) -> Option<hmac::Algorithm> {
    match id {
        PrfId::HMAC_SHA1 => Some(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        PrfId::HMAC_SHA2_256 => Some(hmac::HMAC_SHA256),
        PrfId::HMAC_SHA2_384 => Some(hmac::HMAC_SHA384),
        PrfId::HMAC_SHA2_512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn tag(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}
