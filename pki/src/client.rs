//! Our certificate and key, for rustls.

use std::sync::Arc;

use rustls::{
    client::ResolvesClientCert,
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{ClientIdentity, IdentityError};

/// Always answers with the one certificate we have: servers' lists of acceptable issuers are often wrong, and clients of
/// VPNs name no host.
#[derive(Debug)]
pub struct OnlyKey(Arc<CertifiedKey>);

impl OnlyKey {
    /// Checks that every certificate can be read, and that the key can sign and belongs to the first of them.
    ///
    /// # Errors
    /// [`IdentityError`] says which of it is not so.
    pub fn new(identity: &ClientIdentity, provider: &CryptoProvider) -> Result<Self, IdentityError> {
        let leaf = identity.leaf()?;
        let key = provider.key_provider.load_private_key(identity.key.clone_key());
        let key = key.map_err(|error| IdentityError::unusable_key(&leaf, error.to_string()))?;
        // Not rustls's own comparison: it does not read certificates of version 1, which may still suit the server.
        if key.public_key().is_some_and(|public| public.as_ref() != leaf.public_key().raw) {
            return Err(IdentityError::KeyMismatch);
        }
        Ok(Self(Arc::new(CertifiedKey::new(identity.chain.clone(), key))))
    }
}

impl ResolvesClientCert for OnlyKey {
    fn resolve(&self, _: &[&[u8]], schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.key.choose_scheme(schemes).map(|_| Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for OnlyKey {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.key.choose_scheme(hello.signature_schemes()).map(|_| Arc::clone(&self.0))
    }
}
