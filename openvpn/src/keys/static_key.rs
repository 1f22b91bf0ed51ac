//! OpenVPN's 2048-bit static keys, and the files they come in.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A 256-byte key: two directions, each 64 bytes for a cipher and 64 bytes for an HMAC (OpenVPN 2.6 `crypto.h`).
#[derive(Clone)]
pub struct StaticKey(Box<Zeroizing<[u8; 256]>>);

/// Which of the two directions of a [`StaticKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    First,
    Second,
}

/// What is wrong with the text of a static key or a tls-crypt-v2 key, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StaticKeyError {
    /// No line begins the key.
    #[error("the line `-----BEGIN {0}-----` is missing; use the whole file as the server's administrator made it")]
    NoBegin(&'static str),
    /// No line ends the key.
    #[error("the line `-----END {0}-----` is missing; the file is cut off, copy it again")]
    NoEnd(&'static str),
    /// Something that is neither a hexadecimal digit nor white space.
    #[error("line {line} of the static key holds something other than hexadecimal digits; copy the file again")]
    NotHex {
        /// The line of the text, counted from 1.
        line: usize,
    },
    /// Not 256 bytes.
    #[error("the static key has {digits} hexadecimal digits instead of 512; copy the file again")]
    Length {
        /// Digits found.
        digits: usize,
    },
    /// What is between the lines is no base64.
    #[error("the tls-crypt-v2 key is not valid base64; copy the file again")]
    NotBase64,
    /// Too short or too long for a key and its wrapped form.
    #[error("the tls-crypt-v2 key has {bytes} bytes, a client's has 546 to 1280; copy the file again")]
    ClientKeyLength {
        /// Bytes found.
        bytes: usize,
    },
    /// The length at the end of the wrapped key is not its length.
    #[error(
        "the tls-crypt-v2 key says that its wrapped part has {stated} bytes, but it has {found}; copy the file again"
    )]
    WrappedLength {
        /// What the last two bytes say.
        stated: usize,
        /// What there is.
        found: usize,
    },
    /// Not 128 bytes.
    #[error("the tls-crypt-v2 key of a server has 128 bytes, and this has {bytes}; copy the file again")]
    ServerKeyLength {
        /// Bytes found.
        bytes: usize,
    },
    /// A client's key where a server's is wanted.
    #[error(
        "this is the tls-crypt-v2 key of a client; the server has another, made with `--genkey tls-crypt-v2-server`"
    )]
    ClientKey,
    /// A server's key where a client's is wanted.
    #[error("this is the tls-crypt-v2 key of a server, which must stay there; ask for the client's key")]
    ServerKey,
}

impl StaticKey {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: [u8; 256]) -> Self {
        Self(Box::new(Zeroizing::new(bytes)))
    }

    /// Reads the file of `tls-auth` or `tls-crypt`: 512 hexadecimal digits between
    /// `-----BEGIN OpenVPN Static key V1-----` and its end, anything before and after (OpenVPN 2.6 `crypto.c`).
    ///
    /// # Errors
    /// [`StaticKeyError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, StaticKeyError> {
        let mut bytes = Zeroizing::new([0; 256]);
        let mut digits = 0;
        for (line, content) in lines_between(text, STATIC_KEY)? {
            for char in content.chars().filter(|char| !char.is_ascii_whitespace()) {
                let value = char.to_digit(16).ok_or(StaticKeyError::NotHex { line })?;
                if let Some(byte) = bytes.get_mut(digits / 2) {
                    *byte = *byte << 4 | value as u8;
                }
                digits += 1;
            }
        }
        if digits == 512 { Ok(Self::new(*bytes)) } else { Err(StaticKeyError::Length { digits }) }
    }

    /// Reads a client's file of `tls-crypt-v2`: the key, and the key as only the server can unwrap it
    /// (OpenVPN 2.6 `doc/tls-crypt-v2.txt`).
    ///
    /// # Errors
    /// [`StaticKeyError`] says what is wrong.
    pub fn parse_tls_crypt_v2(text: &str) -> Result<(Self, Bytes), StaticKeyError> {
        if lines_between(text, V2_CLIENT_KEY).is_err() && lines_between(text, V2_SERVER_KEY).is_ok() {
            return Err(StaticKeyError::ServerKey);
        }
        let bytes = base64_between(text, V2_CLIENT_KEY)?;
        let length = StaticKeyError::ClientKeyLength { bytes: bytes.len() };
        let (key, wrapped) = bytes.split_first_chunk::<256>().ok_or(length)?;
        if !(MIN_WRAPPED_KEY..=MAX_WRAPPED_KEY).contains(&wrapped.len()) {
            return Err(length);
        }
        let stated = wrapped.last_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
        if stated != wrapped.len() {
            return Err(StaticKeyError::WrappedLength { stated, found: wrapped.len() });
        }
        Ok((Self::new(*key), Bytes::copy_from_slice(wrapped)))
    }

    pub(crate) fn bytes(&self) -> &[u8; 256] {
        &self.0
    }

    /// The 64 bytes for the cipher of one direction.
    pub(crate) fn cipher_key(&self, half: Half) -> &[u8] {
        match half {
            Half::First => self.0.get(..64).unwrap_or_default(),
            Half::Second => self.0.get(128..192).unwrap_or_default(),
        }
    }

    /// The 64 bytes for the HMAC of one direction.
    pub(crate) fn hmac_key(&self, half: Half) -> &[u8] {
        match half {
            Half::First => self.0.get(64..128).unwrap_or_default(),
            Half::Second => self.0.get(192..).unwrap_or_default(),
        }
    }
}

impl PartialEq for StaticKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for StaticKey {}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticKey(..)")
    }
}

/// The lines between BEGIN and END, with their numbers from 1. Comments stand before BEGIN, as 2.x writes them; white
/// space around lines and CR at their ends do no harm.
fn lines_between<'a>(text: &'a str, label: &'static str) -> Result<Vec<(usize, &'a str)>, StaticKeyError> {
    let is = |line: &str, word: &str| {
        let inner = line.trim().strip_prefix("-----").and_then(|line| line.strip_suffix("-----"));
        inner.and_then(|line| line.strip_prefix(word)) == Some(label)
    };
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    lines.find(|(_, line)| is(line, "BEGIN ")).ok_or(StaticKeyError::NoBegin(label))?;
    let mut between = Vec::new();
    for (number, line) in lines {
        if is(line, "END ") {
            return Ok(between);
        }
        // 2.x knows no comments here, but people put them.
        if !line.trim_start().starts_with(['#', ';']) {
            between.push((number, line));
        }
    }
    Err(StaticKeyError::NoEnd(label))
}

pub(super) fn base64_between(text: &str, label: &'static str) -> Result<Zeroizing<Vec<u8>>, StaticKeyError> {
    let mut digits = Zeroizing::new(String::with_capacity(text.len()));
    for (_, line) in lines_between(text, label)? {
        digits.push_str(line.trim());
    }
    BASE64.decode(digits.as_bytes()).map(Zeroizing::new).map_err(|_| StaticKeyError::NotBase64)
}

const STATIC_KEY: &str = "OpenVPN Static key V1";
pub(super) const V2_CLIENT_KEY: &str = "OpenVPN tls-crypt-v2 client key";
pub(super) const V2_SERVER_KEY: &str = "OpenVPN tls-crypt-v2 server key";
/// Tag, key, and length; no metadata at all.
pub(super) const MIN_WRAPPED_KEY: usize = 32 + 256 + 2;
/// 2.6 `tls_crypt.h`.
pub(super) const MAX_WRAPPED_KEY: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = include_str!("../../testdata/captures/static.key");
    const V2_CLIENT: &str = include_str!("../../testdata/captures/tls-crypt-v2-client.key");
    const V2_SERVER: &str = include_str!("../../testdata/captures/tls-crypt-v2-server.key");

    /// The hexadecimal digits of a key in lines, as openvpn writes them.
    fn file(bytes: &[u8]) -> String {
        let lines: String = bytes.chunks(16).map(|line| hex::encode(line) + "\n").collect();
        format!("-----BEGIN {STATIC_KEY}-----\n{lines}-----END {STATIC_KEY}-----\n")
    }

    fn v2_file(bytes: &[u8]) -> String {
        format!("-----BEGIN {V2_CLIENT_KEY}-----\n{}\n-----END {V2_CLIENT_KEY}-----\n", BASE64.encode(bytes))
    }

    #[test]
    fn the_file_of_openvpn_is_read() {
        let digits: String = KEY.lines().filter(|line| !line.starts_with(['#', '-'])).collect();
        let key = StaticKey::parse(KEY).unwrap();
        assert_eq!(hex::encode(key.bytes()), digits);
        assert_eq!(key.bytes()[64..128], *key.hmac_key(Half::First));
        assert_eq!(key.bytes()[128..192], *key.cipher_key(Half::Second));
    }

    #[test]
    fn line_ends_indentation_and_comments_do_no_harm() {
        let key = StaticKey::parse(KEY).unwrap();
        let mut commented = KEY.replace("V1-----\n", "V1-----\n# by hand\n; and this\n");
        assert_eq!(StaticKey::parse(&commented), Ok(key.clone()));
        commented = commented.to_uppercase().replace("OPENVPN STATIC KEY", "OpenVPN Static key");
        assert_eq!(StaticKey::parse(&commented), Ok(key.clone()));
        for (from, to) in [("\n", "\r\n"), ("\n", "\n  "), ("\n", " \n"), ("\n", "\n\n")] {
            assert_eq!(StaticKey::parse(&KEY.replace(from, to)), Ok(key.clone()), "{to:?}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let begin = format!("-----BEGIN {STATIC_KEY}-----\n");
        let end = format!("-----END {STATIC_KEY}-----");
        for (text, error) in [
            (String::new(), StaticKeyError::NoBegin(STATIC_KEY)),
            ("0123".to_owned(), StaticKeyError::NoBegin(STATIC_KEY)),
            (KEY.replace(&end, ""), StaticKeyError::NoEnd(STATIC_KEY)),
            (KEY.replace(&begin, &format!("{begin}xyz\n")), StaticKeyError::NotHex { line: 5 }),
            (KEY.replace(&begin, &format!("{begin}0a1\n")), StaticKeyError::Length { digits: 515 }),
            (file(&[7; 255]), StaticKeyError::Length { digits: 510 }),
            (file(&[7; 100_000]), StaticKeyError::Length { digits: 200_000 }),
        ] {
            assert_eq!(StaticKey::parse(&text), Err(error));
        }
        assert!(StaticKeyError::NoBegin(STATIC_KEY).to_string().contains("-----BEGIN OpenVPN Static key V1-----"));
    }

    #[test]
    fn the_client_key_of_openvpn_is_read() {
        let (key, wrapped) = StaticKey::parse_tls_crypt_v2(V2_CLIENT).unwrap();
        let all = [key.bytes().as_slice(), &wrapped].concat();
        assert_eq!(StaticKey::parse_tls_crypt_v2(&v2_file(&all)), Ok((key, wrapped)));
        assert!(StaticKey::parse_tls_crypt_v2(&V2_CLIENT.replace('\n', "\r\n")).is_ok());
    }

    #[test]
    fn broken_client_keys_are_refused_with_the_reason() {
        let (key, wrapped) = StaticKey::parse_tls_crypt_v2(V2_CLIENT).unwrap();
        let parse = |wrapped: &[u8]| {
            StaticKey::parse_tls_crypt_v2(&v2_file(&[key.bytes().as_slice(), wrapped].concat())).map(|_| ())
        };
        let found = wrapped.len();
        let mut long = vec![0; 1025];
        long[1023..].copy_from_slice(&1025u16.to_be_bytes());
        assert_eq!(parse(&long), Err(StaticKeyError::ClientKeyLength { bytes: 1281 }));
        assert_eq!(parse(&wrapped[..289]), Err(StaticKeyError::ClientKeyLength { bytes: 545 }));
        assert_eq!(parse(&wrapped[1..]), Err(StaticKeyError::WrappedLength { stated: found, found: found - 1 }));
        let behind = [&[0], &wrapped[..]].concat();
        assert_eq!(parse(&behind), Err(StaticKeyError::WrappedLength { stated: found, found: found + 1 }));
        long.truncate(1024);
        long[1022..].copy_from_slice(&1024u16.to_be_bytes());
        assert_eq!(parse(&long), Ok(()));
        assert_eq!(StaticKey::parse_tls_crypt_v2(V2_SERVER), Err(StaticKeyError::ServerKey));
        assert_eq!(StaticKey::parse_tls_crypt_v2(KEY), Err(StaticKeyError::NoBegin(V2_CLIENT_KEY)));
        let broken = V2_CLIENT.replace("KEY-----\n", "KEY-----\n!").replace("key-----\n", "key-----\n!");
        assert_eq!(StaticKey::parse_tls_crypt_v2(&broken), Err(StaticKeyError::NotBase64));
    }

    proptest! {
        #[test]
        fn every_key_survives_writing_and_reading(bytes in prop::collection::vec(any::<u8>(), 256)) {
            let key = StaticKey::new(bytes.as_slice().try_into().unwrap());
            prop_assert_eq!(StaticKey::parse(&file(&bytes)), Ok(key));
        }

        #[test]
        fn every_truncated_file_is_refused(end in 0..KEY.trim_end().len()) {
            prop_assert!(StaticKey::parse(&KEY[..end]).is_err());
        }
    }
}
