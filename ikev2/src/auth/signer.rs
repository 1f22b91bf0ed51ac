//! Our own signature (RFC 7296 §2.15, RFC 4754, RFC 7427, RFC 8420).

use std::{fmt, sync::Arc};

use adit_pki::{ClientIdentity, IdentityError};
use bytes::Bytes;
use p521::ecdsa::signature::Signer as _;
use pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{SignatureAlgorithm, SignatureScheme, crypto::ring::sign::any_supported_type, sign::SigningKey};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{algorithm, rsa_sha1::RsaSha1};
use crate::{
    config::SignatureChoice,
    identity::{CertifiedNames, Identity},
    message::{
        Authentication, Certificate,
        numbers::{AuthMethod, CertEncoding, HashAlgorithm},
    },
};

/// Our certificate and key, ready to sign.
pub(crate) struct Signer {
    key: Key,
    chain: Vec<CertificateDer<'static>>,
    subject: Vec<u8>,
}

/// How AUTH is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Method 1: RSASSA-PKCS1-v1_5 with a hash that only the signature names.
    Rsa(HashAlgorithm),
    /// Method 14 with RSASSA-PKCS1-v1_5.
    RsaPkcs1(HashAlgorithm),
    /// Method 14 with RSASSA-PSS.
    RsaPss(HashAlgorithm),
    /// Methods 9, 10 or 11.
    Ecdsa,
    /// Method 14 with ECDSA and the hash of the curve's size.
    EcdsaSignature,
    /// Method 14 with Ed25519.
    Ed25519,
}

enum Key {
    Rsa(Arc<dyn SigningKey>, RsaSha1),
    P256(Arc<dyn SigningKey>),
    P384(Arc<dyn SigningKey>),
    P521(Box<p521::ecdsa::SigningKey>),
    Ed25519(Arc<dyn SigningKey>),
}

impl Signer {
    /// # Errors
    /// [`IdentityError`] when a certificate cannot be read, the key cannot sign, or does not belong to the first
    /// certificate.
    pub(crate) fn new(identity: &ClientIdentity) -> Result<Self, IdentityError> {
        let leaf = identity.leaf()?;
        let (key, public) = match p521_key(&identity.key) {
            Some(key) => {
                let public = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
                (Key::P521(Box::new(key)), public)
            }
            None => Key::new(&identity.key).map_err(|reason| IdentityError::unusable_key(&leaf, reason))?,
        };
        let (info, bits) = (leaf.public_key(), &leaf.public_key().subject_public_key.data);
        if public != info.raw && public != **bits {
            return Err(IdentityError::KeyMismatch);
        }
        let subject = leaf.subject().as_raw().to_vec();
        Ok(Self { key, chain: identity.chain.clone(), subject })
    }

    /// The ways to sign, best first; after AUTHENTICATION_FAILED the next one may do better. `peer_hashes` is the
    /// gateway's SIGNATURE_HASH_ALGORITHMS, empty if it sent none and knows nothing of RFC 7427. None is left if our
    /// key and the gateway have nothing in common.
    pub(crate) fn schemes(&self, choice: SignatureChoice, peer_hashes: &[HashAlgorithm], legacy: bool) -> Vec<Scheme> {
        let knows = |hash: &HashAlgorithm| peer_hashes.contains(hash);
        match &self.key {
            Key::Rsa(..) => rsa_schemes(choice, RSA_HASHES.into_iter().find(knows), legacy),
            Key::P256(_) | Key::P384(_) | Key::P521(_) => {
                vec![if self.ecdsa_hash().as_ref().is_some_and(knows) { Scheme::EcdsaSignature } else { Scheme::Ecdsa }]
            }
            Key::Ed25519(_) if knows(&HashAlgorithm::IDENTITY) => vec![Scheme::Ed25519],
            Key::Ed25519(_) => Vec::new(),
        }
    }

    /// AUTH over `octets`. `None` if the scheme is not one of [`Self::schemes`], or the system has no randomness.
    pub(crate) fn sign(&self, scheme: Scheme, octets: &[u8]) -> Option<Authentication> {
        let classic = |method, signature: Vec<u8>| Authentication { method, data: Bytes::from(signature) };
        match (scheme, &self.key) {
            (Scheme::Rsa(HashAlgorithm::SHA1), Key::Rsa(_, key)) => Some(classic(AuthMethod::RSA, key.sign(octets)?)),
            (Scheme::Rsa(hash), Key::Rsa(key, _)) => Some(classic(AuthMethod::RSA, sign(key, pkcs1(hash)?, octets)?)),
            (Scheme::RsaPkcs1(hash), Key::Rsa(key, _)) => {
                digital_signature(&algorithm::rsa_pkcs1(hash)?, &sign(key, pkcs1(hash)?, octets)?)
            }
            (Scheme::RsaPss(hash), Key::Rsa(key, _)) => {
                digital_signature(&algorithm::rsa_pss(hash)?, &sign(key, pss(hash)?, octets)?)
            }
            (Scheme::Ecdsa, Key::P256(_)) => Some(classic(AuthMethod::ECDSA_256, self.ecdsa_raw(octets)?)),
            (Scheme::Ecdsa, Key::P384(_)) => Some(classic(AuthMethod::ECDSA_384, self.ecdsa_raw(octets)?)),
            (Scheme::Ecdsa, Key::P521(_)) => Some(classic(AuthMethod::ECDSA_521, self.ecdsa_raw(octets)?)),
            (Scheme::EcdsaSignature, _) => {
                digital_signature(&algorithm::ecdsa(self.ecdsa_hash()?)?, &self.ecdsa_der(octets)?)
            }
            (Scheme::Ed25519, Key::Ed25519(key)) => {
                digital_signature(&algorithm::ed25519(), &sign(key, SignatureScheme::ED25519, octets)?)
            }
            _ => None,
        }
    }

    /// CERT payloads: our certificate first, then those above it.
    pub(crate) fn cert_payloads(&self) -> Vec<Certificate> {
        let encoding = CertEncoding::X509_SIGNATURE;
        self.chain.iter().map(|der| Certificate { encoding, data: Bytes::copy_from_slice(der) }).collect()
    }

    /// Who we are unless something else is configured: the subject of our certificate, byte by byte (RFC 4945 §3.1.5).
    pub(crate) fn identity(&self) -> Identity {
        Identity::DistinguishedName(self.subject.clone())
    }

    /// The names of our certificate, for people, if this identity is not among them (RFC 4945 §3.1): whoever compares them
    /// refuses us.
    pub(crate) fn names_instead_of(&self, identity: &Identity) -> Option<String> {
        let (_, leaf) = X509Certificate::from_der(self.chain.first()?).ok()?;
        let names = CertifiedNames::new(&leaf)?;
        (!names.contain(identity)).then(|| names.to_string())
    }

    /// The hash that RFC 4754 ties to the curve.
    fn ecdsa_hash(&self) -> Option<HashAlgorithm> {
        match &self.key {
            Key::P256(_) => Some(HashAlgorithm::SHA2_256),
            Key::P384(_) => Some(HashAlgorithm::SHA2_384),
            Key::P521(_) => Some(HashAlgorithm::SHA2_512),
            Key::Rsa(..) | Key::Ed25519(_) => None,
        }
    }

    /// r and s in DER, as method 14 wants them.
    fn ecdsa_der(&self, octets: &[u8]) -> Option<Vec<u8>> {
        match &self.key {
            Key::P256(key) => sign(key, SignatureScheme::ECDSA_NISTP256_SHA256, octets),
            Key::P384(key) => sign(key, SignatureScheme::ECDSA_NISTP384_SHA384, octets),
            Key::P521(key) => {
                let signature: p521::ecdsa::Signature = key.try_sign(octets).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }
            Key::Rsa(..) | Key::Ed25519(_) => None,
        }
    }

    /// r and s side by side, as the methods 9 to 11 want them (RFC 4754 §7).
    fn ecdsa_raw(&self, octets: &[u8]) -> Option<Vec<u8>> {
        let der = self.ecdsa_der(octets)?;
        match &self.key {
            Key::P256(_) => p256::ecdsa::Signature::from_der(&der).ok().map(|signature| signature.to_vec()),
            Key::P384(_) => p384::ecdsa::Signature::from_der(&der).ok().map(|signature| signature.to_vec()),
            Key::P521(_) => p521::ecdsa::Signature::from_der(&der).ok().map(|signature| signature.to_vec()),
            Key::Rsa(..) | Key::Ed25519(_) => None,
        }
    }
}

impl Key {
    /// The key, and its public half as SubjectPublicKeyInfo.
    fn new(der: &PrivateKeyDer<'static>) -> Result<(Self, Vec<u8>), String> {
        let key = any_supported_type(der).map_err(|error| error.to_string())?;
        let public = key.public_key().ok_or("its public half cannot be derived")?.as_ref().to_vec();
        #[expect(clippy::wildcard_enum_match_arm, reason = "ring has no others")]
        let key = match key.algorithm() {
            SignatureAlgorithm::RSA => Self::Rsa(key, RsaSha1::new(der).ok_or("its numbers cannot be read")?),
            SignatureAlgorithm::ED25519 => Self::Ed25519(key),
            SignatureAlgorithm::ECDSA if key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).is_some() => {
                Self::P256(key)
            }
            SignatureAlgorithm::ECDSA => Self::P384(key),
            _ => return Err("it is of a kind that is not supported".to_owned()),
        };
        Ok((key, public))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// Without RFC 7427 (`hash` is `None`) only method 1 is left. There RFC 7296 §3.8 wants SHA-1, which many old gateways
/// insist on and which is behind `legacy`; the others read the hash from the signature.
fn rsa_schemes(choice: SignatureChoice, hash: Option<HashAlgorithm>, legacy: bool) -> Vec<Scheme> {
    let classic = [legacy.then_some(HashAlgorithm::SHA1), Some(HashAlgorithm::SHA2_256)];
    let classic = classic.into_iter().flatten().map(Scheme::Rsa);
    match choice {
        // strongSwan takes all and makes PKCS#1 by default, libreswan takes PSS alone.
        SignatureChoice::Auto => {
            hash.iter().flat_map(|&hash| [Scheme::RsaPkcs1(hash), Scheme::RsaPss(hash)]).chain(classic).collect()
        }
        SignatureChoice::RsaPkcs1 => hash.map(Scheme::RsaPkcs1).into_iter().collect(),
        SignatureChoice::RsaPss => hash.map(Scheme::RsaPss).into_iter().collect(),
        SignatureChoice::Method1 => classic.collect(),
    }
}

/// A key on P-521, which rustls's ring does not have.
fn p521_key(der: &PrivateKeyDer<'_>) -> Option<p521::ecdsa::SigningKey> {
    use p521::{SecretKey, pkcs8::DecodePrivateKey as _};
    let secret = match der {
        PrivateKeyDer::Pkcs8(der) => SecretKey::from_pkcs8_der(der.secret_pkcs8_der()).ok()?,
        PrivateKeyDer::Sec1(der) => SecretKey::from_sec1_der(der.secret_sec1_der()).ok()?,
        PrivateKeyDer::Pkcs1(_) | _ => return None,
    };
    Some(secret.into())
}

fn sign(key: &Arc<dyn SigningKey>, scheme: SignatureScheme, octets: &[u8]) -> Option<Vec<u8>> {
    key.choose_scheme(&[scheme])?.sign(octets).ok()
}

fn digital_signature(algorithm: &[u8], signature: &[u8]) -> Option<Authentication> {
    let length = u8::try_from(algorithm.len()).ok()?;
    let data = Bytes::from([&[length], algorithm, signature].concat());
    Some(Authentication { method: AuthMethod::DIGITAL_SIGNATURE, data })
}

fn pkcs1(hash: HashAlgorithm) -> Option<SignatureScheme> {
    match hash {
        HashAlgorithm::SHA2_256 => Some(SignatureScheme::RSA_PKCS1_SHA256),
        HashAlgorithm::SHA2_384 => Some(SignatureScheme::RSA_PKCS1_SHA384),
        HashAlgorithm::SHA2_512 => Some(SignatureScheme::RSA_PKCS1_SHA512),
        _ => None,
    }
}

fn pss(hash: HashAlgorithm) -> Option<SignatureScheme> {
    match hash {
        HashAlgorithm::SHA2_256 => Some(SignatureScheme::RSA_PSS_SHA256),
        HashAlgorithm::SHA2_384 => Some(SignatureScheme::RSA_PSS_SHA384),
        HashAlgorithm::SHA2_512 => Some(SignatureScheme::RSA_PSS_SHA512),
        _ => None,
    }
}

/// Hashes for RSA, best first.
const RSA_HASHES: [HashAlgorithm; 3] = [HashAlgorithm::SHA2_256, HashAlgorithm::SHA2_384, HashAlgorithm::SHA2_512];
