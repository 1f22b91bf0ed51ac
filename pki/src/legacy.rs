//! Keys encrypted as PEM did before PKCS#8: `Proc-Type: 4,ENCRYPTED` with `DEK-Info` (RFC 1421 §4.6.1.1, §4.6.1.3), the key
//! made of the passphrase as OpenSSL's `EVP_BytesToKey` does with MD5 and one round.

use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use crate::{KeyError, cbc, error::CURE_PEM};

/// Decrypts a block. `info` is the value of `DEK-Info`: the cipher's name, a comma, the IV in hexadecimal digits.
pub(crate) fn decrypt(info: &str, data: &[u8], passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let (name, iv) = info.split_once(',').ok_or(KeyError::MalformedKey)?;
    let iv = hex(iv.trim()).ok_or(KeyError::MalformedKey)?;
    let salt = iv.first_chunk::<8>().ok_or(KeyError::MalformedKey)?;
    let key = |length| bytes_to_key(passphrase, salt, length);
    let plain = match name.trim() {
        "DES-CBC" => cbc::decrypt::<des::Des>(&key(8), &iv, data),
        "DES-EDE3-CBC" => cbc::decrypt::<des::TdesEde3>(&key(24), &iv, data),
        "AES-128-CBC" => cbc::decrypt::<aes::Aes128>(&key(16), &iv, data),
        "AES-192-CBC" => cbc::decrypt::<aes::Aes192>(&key(24), &iv, data),
        "AES-256-CBC" => cbc::decrypt::<aes::Aes256>(&key(32), &iv, data),
        other => {
            let scheme = other.chars().filter(char::is_ascii_graphic).take(40).collect();
            return Err(KeyError::UnsupportedEncryption { scheme, cure: CURE_PEM });
        }
    };
    // One wrong passphrase in 256 leaves padding that looks right: the key must be a SEQUENCE of the right length as well.
    plain.filter(|plain| crate::der::is_sequence(plain)).ok_or(KeyError::WrongPassphrase)
}

fn bytes_to_key(passphrase: &[u8], salt: &[u8; 8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(length + 16));
    let mut digest = Zeroizing::new(Vec::new());
    while key.len() < length {
        let next = Md5::new().chain_update(&*digest).chain_update(passphrase).chain_update(salt).finalize();
        digest = Zeroizing::new(next.to_vec());
        key.extend_from_slice(&digest);
    }
    key.truncate(length);
    key
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes = pairs.iter().map(|&[high, low]| u8::try_from(digit(high)? << 4 | digit(low)?).ok());
    if rest.is_empty() { bytes.collect() } else { None }
}
