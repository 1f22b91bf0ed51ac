//! PKCS#12 (RFC 7292).

use pki_types::CertificateDer;
#[cfg(feature = "pkcs12")]
use pki_types::PrivatePkcs8KeyDer;

use crate::ClientIdentity;
use crate::KeyError;

/// What is in a PKCS#12 file.
#[derive(Debug)]
pub struct Pkcs12 {
    /// The key, its certificate first, and those that lead to the CA.
    pub identity: ClientIdentity,
    /// The other certificates: OpenVPN trusts them when there is no `ca`.
    pub ca: Vec<CertificateDer<'static>>,
}

#[cfg(not(feature = "pkcs12"))]
impl Pkcs12 {
    /// # Errors
    /// Always [`KeyError::NoPkcs12`].
    pub fn open(_: &[u8], _: Option<&[u8]>) -> Result<Self, KeyError> {
        Err(KeyError::NoPkcs12)
    }
}

#[cfg(feature = "pkcs12")]
impl Pkcs12 {
    /// Reads DER, or the same as base64 (`<pkcs12>`). Without a passphrase the empty one is tried, as OpenVPN does.
    ///
    /// # Errors
    /// [`KeyError`] when the passphrase is missing or wrong, or the file is damaged, lacks something or is encrypted in a way
    /// we do not know.
    pub fn open(file: &[u8], passphrase: Option<&[u8]>) -> Result<Self, KeyError> {
        let der = if file.first() == Some(&0x30) { file.to_vec() } else { decode_base64(file)? };
        let password = str::from_utf8(passphrase.unwrap_or_default()).map_err(|_| KeyError::WrongPassphrase)?;
        let archive = p12_keystore::Pkcs12Archive::from_pkcs12(&der, password).map_err(|error| {
            let error = self::error(&error);
            if passphrase.is_none() && error == KeyError::WrongPassphrase { KeyError::PassphraseNeeded } else { error }
        })?;
        let key = archive.keys.first().ok_or(KeyError::MissingInPkcs12("private key"))?;
        // The key's certificate carries the same id. Files with one certificate and no ids exist.
        let id = key.local_key_id.as_ref().map(AsRef::<[u8]>::as_ref);
        let own = archive.certs.iter().position(|bag| bag.local_key_id.as_deref() == id).unwrap_or(0);
        let leaf = archive.certs.get(own).ok_or(KeyError::MissingInPkcs12("certificate"))?;
        let der = |bag: &p12_keystore::CertificateBag| CertificateDer::from(bag.cert.as_der().to_vec());
        let others = archive.certs.iter().enumerate().filter(|(index, _)| *index != own);
        let others: Vec<_> = others.map(|(_, bag)| der(bag)).collect();
        let mut chain = vec![der(leaf)];
        // The server has the roots already; sending one is at worst useless, so all are sent as OpenVPN does.
        chain.extend(others.iter().cloned());
        let key = PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()).into();
        Ok(Self { identity: ClientIdentity { chain, key }, ca: others })
    }
}

#[cfg(feature = "pkcs12")]
fn decode_base64(text: &[u8]) -> Result<Vec<u8>, KeyError> {
    use base64::Engine as _;
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    crate::pem::BASE64.decode(text).map_err(|_| KeyError::MalformedPkcs12)
}

#[cfg(feature = "pkcs12")]
#[expect(clippy::wildcard_enum_match_arm, reason = "every other error means that the file is damaged")]
fn error(error: &p12_keystore::error::Error) -> KeyError {
    use p12_keystore::error::Error;
    let cure = crate::error::CURE_PKCS12;
    match error {
        Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) => KeyError::WrongPassphrase,
        Error::UnsupportedEncryptionScheme => {
            KeyError::UnsupportedEncryption { scheme: "of PKCS#12, such as RC2-128".to_owned(), cure }
        }
        Error::UnsupportedMacAlgorithm => {
            KeyError::UnsupportedEncryption { scheme: "a MAC other than SHA-1 or SHA-2".to_owned(), cure }
        }
        _ => KeyError::MalformedPkcs12,
    }
}
