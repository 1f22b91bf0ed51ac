//! Signature algorithms of certificates: those of ring, and ECDSA on P-521, which ring lacks.

use p521::ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier as _};
use pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use ring::digest;
use webpki::ring::{
    ECDSA_P256_SHA256, ECDSA_P256_SHA384, ECDSA_P384_SHA256, ECDSA_P384_SHA384, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
    RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS, RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    RSA_PSS_2048_8192_SHA384_LEGACY_KEY, RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
};

/// What certificates may be signed with: RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 and P-521, Ed25519. Not SHA-1.
pub static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    ECDSA_P256_SHA256,
    ECDSA_P256_SHA384,
    ECDSA_P384_SHA256,
    ECDSA_P384_SHA384,
    &P521 { signature: alg_id::ECDSA_SHA256, digest: &digest::SHA256 },
    &P521 { signature: alg_id::ECDSA_SHA384, digest: &digest::SHA384 },
    &P521 { signature: alg_id::ECDSA_SHA512, digest: &digest::SHA512 },
    ED25519,
    RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512,
    RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
    RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
    RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// ECDSA on P-521 with some hash.
#[derive(Debug)]
struct P521 {
    signature: AlgorithmIdentifier,
    digest: &'static digest::Algorithm,
}

impl SignatureVerificationAlgorithm for P521 {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }

    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        verify_p521(public_key, digest::digest(self.digest, message).as_ref(), &signature.to_bytes())
    }
}

/// Verifies ECDSA on P-521: `public_key` is the point of SEC 1 §2.3.3, `hash` at most 64 bytes, `signature` r and s of 66 bytes
/// each.
///
/// # Errors
/// When anything about it is wrong.
pub fn verify_p521(public_key: &[u8], hash: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
    let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
    let signature = Signature::from_slice(signature).map_err(|_| InvalidSignature)?;
    // The hash is a number (FIPS 186-5 §6.4.2), and zeros in front do not change it; the crate wants at least half the size of the
    // curve.
    let mut padded = [0; 64];
    let start = padded.len().checked_sub(hash.len()).ok_or(InvalidSignature)?;
    padded.get_mut(start..).ok_or(InvalidSignature)?.copy_from_slice(hash);
    key.verify_prehash(&padded, &signature).map_err(|_| InvalidSignature)
}
