//! The AlgorithmIdentifiers of method 14 (RFC 7427 §3, appendix A; RFC 8420 appendix A), and who verifies them.
//!
//! They are compared as whole strings of bytes, as RFC 7427 §3 allows: every encoding that a sane peer may send is made
//! and compared, so there is no parser to get wrong (CVE-2018-6459, CVE-2021-41990).

use std::fmt;

use adit_pki::{ALGORITHMS, Curve, der, verify_ecdsa};
use pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use ring::{digest, signature};

use crate::message::numbers::HashAlgorithm;

/// Something that can verify a signature, given the kind of key it wants.
pub(super) type Verifier = &'static dyn SignatureVerificationAlgorithm;

/// The AlgorithmIdentifier of RSASSA-PKCS1-v1_5 with a hash (RFC 4055 §5): NULL parameters, which the standard prefers.
pub(super) fn rsa_pkcs1(hash: HashAlgorithm) -> Option<Vec<u8>> {
    Some(der::sequence(&[&rsa_pkcs1_oid(hash)?, NULL]))
}

/// The same of RSASSA-PSS with MGF1 of the same hash, a salt as long as the hash and, because DER leaves out what is
/// the default, no trailer field (RFC 4055 §3.1).
pub(super) fn rsa_pss(hash: HashAlgorithm) -> Option<Vec<u8>> {
    pss(hash, NULL, NULL, &[])
}

/// The same of ECDSA (RFC 5758 §3.2): no parameters.
pub(super) fn ecdsa(hash: HashAlgorithm) -> Option<Vec<u8>> {
    Some(der::sequence(&[&ecdsa_oid(hash)?]))
}

/// The same of Ed25519 (RFC 8410 §3): no parameters.
pub(super) fn ed25519() -> Vec<u8> {
    der::sequence(&[&[0x06, 3, 0x2b, 0x65, 0x70]])
}

/// Who verifies signatures of this AlgorithmIdentifier, one for each kind of key it goes with; `None` if we do not have
/// it.
pub(super) fn verifiers(algorithm: &[u8]) -> Option<Vec<Verifier>> {
    let canonical = HASHES.iter().find_map(|&hash| canonical(algorithm, hash));
    let wanted = canonical.unwrap_or_else(|| algorithm.to_vec());
    let known = ALGORITHMS.iter().copied().chain([RSA_SHA1]);
    let found: Vec<_> = known.filter(|known| der::sequence(&[known.signature_alg_id().as_ref()]) == wanted).collect();
    (!found.is_empty()).then_some(found)
}

/// Those of method 1, whose hash stands nowhere but in the signature itself.
pub(super) fn rsa_verifiers() -> Vec<Verifier> {
    HASHES.iter().filter_map(|&hash| verifiers(&rsa_pkcs1(hash)?)).flatten().collect()
}

/// Whether it is only for old gateways.
pub(super) fn is_sha1(verifier: Verifier) -> bool {
    verifier.signature_alg_id() == RSA_SHA1.signature_alg_id()
}

/// The preferred encoding of RSA with this hash, if `algorithm` is some encoding of it: parameters may be NULL or
/// absent, and verifiers must take both (RFC 4055 §2.1, §5); RFC 7427 appendix A.4.3 has the trailer field although it
/// is the default.
fn canonical(algorithm: &[u8], hash: HashAlgorithm) -> Option<Vec<u8>> {
    if der::sequence(&[&rsa_pkcs1_oid(hash)?]) == algorithm {
        return rsa_pkcs1(hash);
    }
    let either = |present: &'static [u8]| [present, &[]];
    for (hash_null, mask_null) in either(NULL).into_iter().flat_map(|first| either(NULL).map(|second| (first, second)))
    {
        for trailer in either(TRAILER_FIELD) {
            if pss(hash, hash_null, mask_null, trailer)? == algorithm {
                return rsa_pss(hash);
            }
        }
    }
    None
}

fn pss(hash: HashAlgorithm, hash_null: &[u8], mask_null: &[u8], trailer: &[u8]) -> Option<Vec<u8>> {
    let (oid, length) = hash_oid(hash)?;
    let mask = der::sequence(&[MGF1, &der::sequence(&[oid, mask_null])]);
    let parameters = der::sequence(&[
        &der::value(0xa0, &[&der::sequence(&[oid, hash_null])]),
        &der::value(0xa1, &[&mask]),
        &der::value(0xa2, &[&[0x02, 1, length]]),
        trailer,
    ]);
    Some(der::sequence(&[RSASSA_PSS, &parameters]))
}

/// The object identifier of a hash, and its length in bytes.
fn hash_oid(hash: HashAlgorithm) -> Option<(&'static [u8], u8)> {
    match hash {
        HashAlgorithm::SHA2_256 => Some((&[0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1], 32)),
        HashAlgorithm::SHA2_384 => Some((&[0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2], 48)),
        HashAlgorithm::SHA2_512 => Some((&[0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3], 64)),
        _ => None,
    }
}

fn rsa_pkcs1_oid(hash: HashAlgorithm) -> Option<[u8; 11]> {
    let last = match hash {
        HashAlgorithm::SHA1 => 5,
        HashAlgorithm::SHA2_256 => 11,
        HashAlgorithm::SHA2_384 => 12,
        HashAlgorithm::SHA2_512 => 13,
        _ => return None,
    };
    Some([0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last])
}

fn ecdsa_oid(hash: HashAlgorithm) -> Option<[u8; 10]> {
    let last = match hash {
        HashAlgorithm::SHA2_256 => 2,
        HashAlgorithm::SHA2_384 => 3,
        HashAlgorithm::SHA2_512 => 4,
        _ => return None,
    };
    Some([0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, last])
}

/// Hashes that signatures of RSA may have, the likeliest first.
const HASHES: [HashAlgorithm; 4] =
    [HashAlgorithm::SHA2_256, HashAlgorithm::SHA2_384, HashAlgorithm::SHA2_512, HashAlgorithm::SHA1];

const NULL: &[u8] = &[0x05, 0];
/// 1.2.840.113549.1.1.10
const RSASSA_PSS: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
/// 1.2.840.113549.1.1.8
const MGF1: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8];
/// The INTEGER 1 in [3].
const TRAILER_FIELD: &[u8] = &[0xa3, 3, 0x02, 1, 1];

/// RSASSA-PKCS1-v1_5 with SHA-1, for old gateways; certificates signed so are never accepted.
static RSA_SHA1: Verifier = &Ring {
    key: alg_id::RSA_ENCRYPTION,
    signature: AlgorithmIdentifier::from_slice(&[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5, 5, 0]),
    verifier: &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
};

/// Method 9: ECDSA on P-256 with SHA-256, r and s side by side (RFC 4754 §7).
pub(super) static ECDSA_256: Verifier =
    &Ring { key: alg_id::ECDSA_P256, signature: NO_ID, verifier: &signature::ECDSA_P256_SHA256_FIXED };

/// Method 10: ECDSA on P-384 with SHA-384.
pub(super) static ECDSA_384: Verifier =
    &Ring { key: alg_id::ECDSA_P384, signature: NO_ID, verifier: &signature::ECDSA_P384_SHA384_FIXED };

/// Method 11: ECDSA on P-521 with SHA-512.
pub(super) static ECDSA_521: Verifier = &EcdsaP521;

/// The methods 9 to 11 say all by their number.
const NO_ID: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[]);

/// An algorithm of ring that no certificate we accept is signed with.
struct Ring {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    verifier: &'static dyn signature::VerificationAlgorithm,
}

impl SignatureVerificationAlgorithm for Ring {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }

    fn verify_signature(&self, public_key: &[u8], message: &[u8], bytes: &[u8]) -> Result<(), InvalidSignature> {
        let key = signature::UnparsedPublicKey::new(self.verifier, public_key);
        key.verify(message, bytes).map_err(|_| InvalidSignature)
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct EcdsaP521;

impl SignatureVerificationAlgorithm for EcdsaP521 {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        NO_ID
    }

    fn verify_signature(&self, public_key: &[u8], message: &[u8], bytes: &[u8]) -> Result<(), InvalidSignature> {
        verify_ecdsa(Curve::P521, public_key, digest::digest(&digest::SHA512, message).as_ref(), bytes)
    }
}
