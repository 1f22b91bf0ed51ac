//! Our certificate and its key.

use std::fmt;

use pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::{certificate::X509Certificate, prelude::FromDer, public_key::PublicKey};
use zeroize::Zeroize;

/// Our certificate chain, the leaf first, and its private key, which is wiped on drop.
pub struct ClientIdentity {
    /// The leaf, then intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the leaf.
    pub key: PrivateKeyDer<'static>,
}

/// Why a certificate and key of ours cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A key without its certificate.
    #[error("the private key has no certificate; add it")]
    NoCertificate,
    /// A certificate makes no sense.
    #[error("certificate {number} of ours cannot be read; copy it again from whoever issued it")]
    Certificate {
        /// Counted from 1, in the order in which they are sent.
        number: usize,
    },
    /// The private key is another's.
    #[error("the private key does not belong to the certificate; use the two that were made together")]
    KeyMismatch,
    /// ring cannot sign with an RSA key of this size.
    #[error(
        "the private key is an RSA key of {bits} bits, and only 2048 to 4096 bits can be used; make a new key and \
         certificate, or ask whoever issued them"
    )]
    RsaKeySize {
        /// Bits of its modulus, as its certificate says.
        bits: usize,
    },
    /// We cannot sign with this key.
    #[error("the private key cannot be used ({0}); make a new key and certificate")]
    Key(String),
}

impl ClientIdentity {
    /// The leaf, when every certificate of the chain can be read.
    ///
    /// # Errors
    /// [`IdentityError::NoCertificate`] or [`IdentityError::Certificate`].
    pub fn leaf(&self) -> Result<X509Certificate<'_>, IdentityError> {
        let mut leaf = None;
        for (index, der) in self.chain.iter().enumerate() {
            let parsed = X509Certificate::from_der(der).map_err(|_| IdentityError::Certificate { number: index + 1 });
            leaf = leaf.or(Some(parsed?.1));
        }
        leaf.ok_or(IdentityError::NoCertificate)
    }
}

impl IdentityError {
    /// The error for a key that was refused for `reason`: its size, where that is the cause.
    #[must_use]
    pub fn unusable_key(leaf: &X509Certificate<'_>, reason: String) -> Self {
        match leaf.public_key().parsed() {
            Ok(PublicKey::RSA(rsa)) if !RSA_BITS.contains(&rsa.key_size()) => Self::RsaKeySize { bits: rsa.key_size() },
            Ok(_) | Err(_) => Self::Key(reason),
        }
    }
}

impl Clone for ClientIdentity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl Drop for ClientIdentity {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// What ring signs with (`RsaKeyPair::from_der`).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
