//! Signature algorithms of certificates: those of ring, and what ring lacks of ECDSA: P-521, and SHA-512 with the other
//! curves.

use p521::ecdsa::signature::hazmat::PrehashVerifier as _;
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
    &Ecdsa { curve: Curve::P256, signature: alg_id::ECDSA_SHA512, digest: &digest::SHA512 },
    &Ecdsa { curve: Curve::P384, signature: alg_id::ECDSA_SHA512, digest: &digest::SHA512 },
    &Ecdsa { curve: Curve::P521, signature: alg_id::ECDSA_SHA256, digest: &digest::SHA256 },
    &Ecdsa { curve: Curve::P521, signature: alg_id::ECDSA_SHA384, digest: &digest::SHA384 },
    &Ecdsa { curve: Curve::P521, signature: alg_id::ECDSA_SHA512, digest: &digest::SHA512 },
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

/// A curve of NIST (FIPS 186-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// P-256.
    P256,
    /// P-384.
    P384,
    /// P-521.
    P521,
}

/// ECDSA on a curve with a hash that ring does not combine.
#[derive(Debug)]
struct Ecdsa {
    curve: Curve,
    signature: AlgorithmIdentifier,
    digest: &'static digest::Algorithm,
}

impl SignatureVerificationAlgorithm for Ecdsa {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        match self.curve {
            Curve::P256 => alg_id::ECDSA_P256,
            Curve::P384 => alg_id::ECDSA_P384,
            Curve::P521 => alg_id::ECDSA_P521,
        }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }

    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let hash = digest::digest(self.digest, message);
        let signature = match self.curve {
            Curve::P256 => p256::ecdsa::Signature::from_der(signature).map(|signature| signature.to_vec()),
            Curve::P384 => p384::ecdsa::Signature::from_der(signature).map(|signature| signature.to_vec()),
            Curve::P521 => p521::ecdsa::Signature::from_der(signature).map(|signature| signature.to_vec()),
        };
        verify_ecdsa(self.curve, public_key, hash.as_ref(), &signature.map_err(|_| InvalidSignature)?)
    }
}

/// Verifies ECDSA: `public_key` is the point of SEC 1 §2.3.3, `hash` 32 to 64 bytes, `signature` r and s, each as long
/// as the curve's field.
///
/// # Errors
/// When anything about it is wrong.
pub fn verify_ecdsa(curve: Curve, public_key: &[u8], hash: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
    macro_rules! verify {
        ($curve:ident, $hash:expr) => {{
            let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
            let signature = $curve::ecdsa::Signature::from_slice(signature).map_err(|_| InvalidSignature)?;
            key.verify_prehash($hash, &signature).map_err(|_| InvalidSignature)
        }};
    }
    match curve {
        Curve::P256 => verify!(p256, hash),
        Curve::P384 => verify!(p384, hash),
        Curve::P521 => {
            // The hash is a number (FIPS 186-5 §6.4.2), and zeros in front do not change it; the crate wants at least
            // half the size of the curve.
            let mut padded = [0; 64];
            let start = padded.len().checked_sub(hash.len()).ok_or(InvalidSignature)?;
            padded.get_mut(start..).ok_or(InvalidSignature)?.copy_from_slice(hash);
            verify!(p521, &padded)
        }
    }
}
