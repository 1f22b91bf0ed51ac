//! PEM (RFC 7468) with what surrounds it in practice: text between the blocks, CRLF, indentation, the headers of RFC 1421.

use std::str;

use base64::engine::DecodePaddingMode;
use base64::{Engine as _, alphabet, engine::GeneralPurpose, engine::general_purpose::NO_PAD};
use pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer,
    PrivateSec1KeyDer,
};
use zeroize::Zeroizing;

use crate::{KeyError, legacy, pkcs8};

/// The certificates of a file, in their order.
///
/// # Errors
/// [`KeyError`] when there is none, or the file is damaged.
pub fn certificates(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    let found = blocks(file)?.into_iter().filter(|block| CERTIFICATE.contains(&block.label.as_str()));
    let found: Vec<_> = found.map(|block| CertificateDer::from(block.content.to_vec())).collect();
    if found.is_empty() {
        return Err(KeyError::Missing { what: "certificate", label: "CERTIFICATE" });
    }
    Ok(found)
}

/// The revocation lists of a file.
///
/// # Errors
/// [`KeyError`] when there is none, or the file is damaged.
pub fn crls(file: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, KeyError> {
    let found = blocks(file)?.into_iter().filter(|block| block.label == CRL);
    let found: Vec<_> = found.map(|block| CertificateRevocationListDer::from(block.content.to_vec())).collect();
    if found.is_empty() {
        return Err(KeyError::Missing { what: "revocation list", label: CRL });
    }
    Ok(found)
}

/// Whether the private key of a file opens only with a passphrase.
///
/// # Errors
/// [`KeyError`] when there is no key, or the file is damaged.
pub fn is_key_encrypted(file: &[u8]) -> Result<bool, KeyError> {
    let block = key_block(file)?;
    Ok(block.label == PKCS8_ENCRYPTED || block.dek_info.is_some())
}

/// The private key of a file. An encrypted one is opened with the passphrase.
///
/// # Errors
/// [`KeyError`] when there is no key, it is damaged or encrypted in a way we do not know, or the passphrase is missing or
/// wrong.
pub fn private_key(file: &[u8], passphrase: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, KeyError> {
    let block = key_block(file)?;
    let content = match (&block.dek_info, block.label.as_str()) {
        (Some(info), _) => legacy::decrypt(info, &block.content, passphrase.ok_or(KeyError::PassphraseNeeded)?)?,
        (None, PKCS8_ENCRYPTED) => pkcs8::decrypt(&block.content, passphrase.ok_or(KeyError::PassphraseNeeded)?)?,
        (None, _) => block.content,
    };
    let content = content.to_vec();
    Ok(match block.label.as_str() {
        PKCS1 => PrivatePkcs1KeyDer::from(content).into(),
        SEC1 => PrivateSec1KeyDer::from(content).into(),
        _ => PrivatePkcs8KeyDer::from(content).into(),
    })
}

fn key_block(file: &[u8]) -> Result<Block, KeyError> {
    let is_key = |block: &Block| matches!(block.label.as_str(), PKCS1 | SEC1 | PKCS8 | PKCS8_ENCRYPTED);
    blocks(file)?.into_iter().find(is_key).ok_or(KeyError::Missing { what: "private key", label: PKCS8 })
}

/// One block, decoded.
struct Block {
    label: String,
    /// The value of the header `DEK-Info`: the block is encrypted.
    dek_info: Option<String>,
    content: Zeroizing<Vec<u8>>,
}

/// Every block whose label can be ours; others, such as `DH PARAMETERS`, are skipped unread.
fn blocks(file: &[u8]) -> Result<Vec<Block>, KeyError> {
    let mut blocks = Vec::new();
    let mut lines = file.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(label) = boundary(line, b"-----BEGIN ") else { continue };
        let mut block = Block { label: label.to_owned(), dek_info: None, content: Zeroizing::default() };
        let mut base64 = Zeroizing::new(Vec::new());
        loop {
            let (_, line) = lines.next().ok_or(KeyError::Unterminated { line: index + 1 })?;
            if boundary(line, b"-----END ").is_some() {
                break;
            }
            match str::from_utf8(line).ok().and_then(|line| line.split_once(':')) {
                Some(("DEK-Info", value)) => block.dek_info = Some(value.trim().to_owned()),
                Some(_) => {}
                None => base64.extend_from_slice(line),
            }
        }
        if KNOWN.contains(&block.label.as_str()) {
            let decoded = BASE64.decode(&base64).map_err(|_| KeyError::NotBase64 { line: index + 1 })?;
            block.content = Zeroizing::new(decoded);
            blocks.push(block);
        }
    }
    Ok(blocks)
}

fn boundary<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a str> {
    str::from_utf8(line.strip_prefix(start)?.strip_suffix(b"-----")?).ok()
}

/// Base64 as mail programs and editors leave it.
pub(crate) const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, NO_PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent));

const PKCS1: &str = "RSA PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";
const PKCS8: &str = "PRIVATE KEY";
const PKCS8_ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
const CRL: &str = "X509 CRL";
const CERTIFICATE: [&str; 2] = ["CERTIFICATE", "X509 CERTIFICATE"];
const KNOWN: [&str; 7] = [PKCS1, SEC1, PKCS8, PKCS8_ENCRYPTED, CRL, "CERTIFICATE", "X509 CERTIFICATE"];
