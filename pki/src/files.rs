//! Files of customers, PEM or DER, told apart by their first byte.

use adit_tunnel::Secret;
use pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::{ClientIdentity, KeyError, Pkcs12, der, pem, pkcs8};

/// The certificates of a file in their order: any number of PEM, or one of DER.
///
/// # Errors
/// [`KeyError`] when there is none, or the file is damaged.
pub fn certificates(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    if der::is_sequence(file) { Ok(vec![file.to_vec().into()]) } else { pem::certificates(file) }
}

/// The revocation lists of a file: any number of PEM, or one of DER.
///
/// # Errors
/// [`KeyError`] when there is none, or the file is damaged.
pub fn revocation_lists(file: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, KeyError> {
    if der::is_sequence(file) { Ok(vec![file.to_vec().into()]) } else { pem::crls(file) }
}

/// The private key of a file, PEM or DER: PKCS#1, SEC 1 or PKCS#8, in the clear or encrypted.
///
/// # Errors
/// [`KeyError::PassphraseNeeded`] and [`KeyError::WrongPassphrase`] tell that asking for a passphrase helps; the
/// others, that there is no key or that it cannot be used.
pub fn private_key(file: &[u8], passphrase: Option<&Secret>) -> Result<PrivateKeyDer<'static>, KeyError> {
    let passphrase = passphrase.map(Secret::expose);
    if !der::is_sequence(file) {
        return pem::private_key(file, passphrase);
    }
    if pkcs8::is_encrypted(file) {
        let plain = pkcs8::decrypt(file, passphrase.ok_or(KeyError::PassphraseNeeded)?)?;
        return Ok(PrivateKeyDer::Pkcs8(plain.to_vec().into()));
    }
    PrivateKeyDer::try_from(file.to_vec()).map_err(|_| KeyError::MalformedKey)
}

/// What a PKCS#12 file (`.p12`, `.pfx`) holds, DER or base64: our identity, and the other certificates, which may serve
/// as trust anchors.
///
/// # Errors
/// As [`private_key`].
pub fn pkcs12(
    file: &[u8],
    passphrase: Option<&Secret>,
) -> Result<(ClientIdentity, Vec<CertificateDer<'static>>), KeyError> {
    let opened = Pkcs12::open(file, passphrase.map(Secret::expose))?;
    Ok((opened.identity, opened.ca))
}
