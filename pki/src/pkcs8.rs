//! Encrypted PKCS#8 (RFC 5958 §3): PBES2 and PBES1 (RFC 8018), and the scheme of PKCS#12 that old tools use (RFC 7292
//! appendix C).

use md5::Md5;
use pkcs8::{
    EncryptedPrivateKeyInfoRef,
    der::{Any, Decode as _, Encode as _, Reader as _, SliceReader, asn1::ObjectIdentifier, asn1::OctetStringRef},
    pkcs5::{EncryptionScheme, pbes2::Kdf},
};
use sha1::{Digest as _, Sha1};
use zeroize::Zeroizing;

use crate::{KeyError, cbc, error::CURE_PEM};

/// Decrypts an `EncryptedPrivateKeyInfo` to a `PrivateKeyInfo`, both DER.
pub(crate) fn decrypt(der: &[u8], passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let outer = Outer::from_der(der).ok_or(KeyError::MalformedKey)?;
    let plain = match outer.scheme {
        PBE_MD5_DES | PBE_SHA1_DES => decrypt_pbes1(&outer, passphrase)?,
        PBE_SHA1_3DES => decrypt_pkcs12(&outer, passphrase)?,
        _ => {
            let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| unsupported(&outer.scheme))?;
            if !is_quick(&info.encryption_algorithm) {
                return Err(unsupported(&outer.scheme));
            }
            let document = info.decrypt(passphrase).map_err(|_| KeyError::WrongPassphrase)?;
            Some(Zeroizing::new(document.as_bytes().to_vec()))
        }
    };
    plain.filter(|plain| crate::der::is_sequence(plain)).ok_or(KeyError::WrongPassphrase)
}

/// Whether this is an `EncryptedPrivateKeyInfo`.
pub(crate) fn is_encrypted(der: &[u8]) -> bool {
    Outer::from_der(der).is_some()
}

fn unsupported(scheme: &ObjectIdentifier) -> KeyError {
    KeyError::UnsupportedEncryption { scheme: scheme.to_string(), cure: CURE_PEM }
}

/// A file must not be able to keep us busy for hours.
fn is_quick(scheme: &EncryptionScheme) -> bool {
    let EncryptionScheme::Pbes2(parameters) = scheme else { return false };
    match &parameters.kdf {
        Kdf::Pbkdf2(kdf) => kdf.iteration_count <= MAX_ITERATIONS,
        Kdf::Scrypt(kdf) => {
            let memory = kdf.cost_parameter.saturating_mul(128).saturating_mul(kdf.block_size.into());
            memory <= MAX_SCRYPT_BYTES && kdf.parallelization <= 16
        }
        _ => false,
    }
}

/// The outermost structure, read by hand to know the scheme's number even when nobody else knows it.
struct Outer<'a> {
    scheme: ObjectIdentifier,
    parameters: Any,
    data: &'a [u8],
}

impl<'a> Outer<'a> {
    fn from_der(der: &'a [u8]) -> Option<Self> {
        let mut reader = SliceReader::new(der).ok()?;
        let read = reader.sequence(|outer| {
            let (scheme, parameters) = outer.sequence(|algorithm| {
                Ok::<_, pkcs8::der::Error>((algorithm.decode::<ObjectIdentifier>()?, algorithm.decode::<Any>()?))
            })?;
            let data = outer.decode::<&OctetStringRef>()?;
            Ok::<_, pkcs8::der::Error>(Self { scheme, parameters, data: data.as_bytes() })
        });
        read.ok()
    }

    /// Salt and rounds, which all old schemes have in the same form.
    fn salt_and_iterations(&self) -> Result<(Vec<u8>, u32), KeyError> {
        let parameters = self.parameters.to_der().map_err(|_| KeyError::MalformedKey)?;
        let (salt, iterations) = salt_and_iterations(&parameters).ok_or(KeyError::MalformedKey)?;
        if iterations > MAX_ITERATIONS { Err(unsupported(&self.scheme)) } else { Ok((salt, iterations)) }
    }
}

/// `pbeWithMD5AndDES-CBC`, `pbeWithSHA1AndDES-CBC` with PBKDF1 (RFC 8018 §5.1, §6.1).
fn decrypt_pbes1(outer: &Outer<'_>, passphrase: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    let (salt, iterations) = outer.salt_and_iterations()?;
    let derived = if outer.scheme == PBE_MD5_DES {
        pbkdf1::<Md5>(passphrase, &salt, iterations)
    } else {
        pbkdf1::<Sha1>(passphrase, &salt, iterations)
    };
    let (key, rest) = derived.split_at_checked(8).ok_or(KeyError::MalformedKey)?;
    Ok(cbc::decrypt::<des::Des>(key, rest.get(..8).unwrap_or_default(), outer.data))
}

fn pbkdf1<D: sha1::Digest>(passphrase: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<Vec<u8>> {
    let mut derived = D::new().chain_update(passphrase).chain_update(salt).finalize();
    for _ in 1..iterations {
        derived = D::digest(derived);
    }
    Zeroizing::new(derived.to_vec())
}

/// `pbeWithSHAAnd3-KeyTripleDES-CBC`.
fn decrypt_pkcs12(outer: &Outer<'_>, passphrase: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    let (salt, iterations) = outer.salt_and_iterations()?;
    let passphrase = str::from_utf8(passphrase).map_err(|_| KeyError::WrongPassphrase)?;
    let key = pkcs12_key(passphrase, &salt, iterations, 1, 24);
    let iv = pkcs12_key(passphrase, &salt, iterations, 2, 8);
    Ok(cbc::decrypt::<des::TdesEde3>(&key, &iv, outer.data))
}

fn salt_and_iterations(der: &[u8]) -> Option<(Vec<u8>, u32)> {
    let mut reader = SliceReader::new(der).ok()?;
    let read = reader.sequence(|inner| {
        let salt = inner.decode::<&OctetStringRef>()?.as_bytes().to_vec();
        Ok::<_, pkcs8::der::Error>((salt, u32::decode(inner)?))
    });
    read.ok()
}

/// The key derivation of PKCS#12 with SHA-1 (RFC 7292 appendix B.2). `id` is 1 for a key, 2 for an IV.
fn pkcs12_key(passphrase: &str, salt: &[u8], iterations: u32, id: u8, length: usize) -> Zeroizing<Vec<u8>> {
    const V: usize = 64;
    let password: Zeroizing<Vec<u8>> =
        Zeroizing::new(passphrase.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect());
    let repeated =
        |bytes: &[u8]| -> Vec<u8> { bytes.iter().copied().cycle().take(bytes.len().next_multiple_of(V)).collect() };
    let mut i = Zeroizing::new(repeated(salt));
    i.extend_from_slice(&Zeroizing::new(repeated(&password)));
    let mut key = Zeroizing::new(Vec::new());
    while key.len() < length {
        let mut a = Sha1::new().chain_update([id; V]).chain_update(&*i).finalize();
        for _ in 1..iterations {
            a = Sha1::digest(a);
        }
        key.extend_from_slice(&a);
        let b: Zeroizing<Vec<u8>> = Zeroizing::new(a.iter().copied().cycle().take(V).collect());
        for block in i.chunks_mut(V) {
            add_one_and(block, &b);
        }
    }
    key.truncate(length);
    key
}

/// `block = block + addend + 1` modulo 2 to the power of its bits, both big-endian.
fn add_one_and(block: &mut [u8], addend: &[u8]) {
    let mut carry = 1u16;
    for (byte, add) in block.iter_mut().zip(addend).rev() {
        let sum = u16::from(*byte) + u16::from(*add) + carry;
        *byte = sum.to_be_bytes()[1];
        carry = sum >> 8;
    }
}

const PBE_MD5_DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.3");
const PBE_SHA1_DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.10");
const PBE_SHA1_3DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.3");

/// Most rounds of a key derivation: some seconds on a slow machine; our judgement.
const MAX_ITERATIONS: u32 = 10_000_000;

/// Most memory of scrypt in bytes; our judgement.
const MAX_SCRYPT_BYTES: u64 = 256 * 1024 * 1024;
