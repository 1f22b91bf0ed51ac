//! The server's key of tls-crypt-v2, under which every client's own key is wrapped (OpenVPN 2.6 `doc/tls-crypt-v2.txt`).
//!
//! ```text
//!  WKc = T[32] | CTR(Ke, T[..16], Kc[256] | metadata) | length of WKc:16      T = HMAC-SHA256(Ka, length | Kc | metadata)
//!  metadata = type:8 | value                  0: whatever the administrator wrote   1: unix time, 64 bits
//! ```

use std::{fmt, time::Duration};

use adit_tunnel::Random;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use zeroize::Zeroizing;

use super::static_key::{
    MAX_WRAPPED_KEY, MIN_WRAPPED_KEY, StaticKey, StaticKeyError, V2_CLIENT_KEY, V2_SERVER_KEY, base64_between,
};
use crate::{algorithms::Digest, crypto::Crypto};

/// What the server needs to unwrap the keys that clients bring along, and to make them.
#[derive(Clone)]
pub struct TlsCryptV2ServerKey {
    cipher: Zeroizing<[u8; 32]>,
    hmac: Zeroizing<[u8; 32]>,
}

/// What a client's key says about itself, for the server alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientKeyMetadata {
    /// Whatever the administrator wrote (type 0).
    User(Vec<u8>),
    /// When the key was made, since 1970 (type 1).
    Made(Duration),
}

/// A client's key with what it says about itself.
pub(crate) struct Unwrapped {
    pub(crate) key: StaticKey,
    pub(crate) metadata: Option<ClientKeyMetadata>,
}

/// Why a wrapped key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrappedKeyError {
    /// Too short, too long, or not as long as it says.
    #[error("the wrapped client key has an impossible length")]
    Length,
    /// Wrapped under another server's key, or forged.
    #[error("the wrapped client key is not one of this server's")]
    Forged,
    /// Metadata of a type nobody knows, or that cannot be read.
    #[error("the metadata of the client key cannot be read")]
    Metadata,
    /// More metadata than fits.
    #[error("the metadata of a client key has at most {MAX_METADATA} bytes")]
    MetadataTooLong,
}

impl TlsCryptV2ServerKey {
    /// Takes the bytes over: 64 for the cipher, 64 for the HMAC, of either half the first 32 count.
    #[must_use]
    pub fn new(bytes: &[u8; 128]) -> Self {
        let (cipher, hmac) = bytes.split_at(64);
        Self { cipher: first_half(cipher), hmac: first_half(hmac) }
    }

    /// Reads the file of `tls-crypt-v2` on a server.
    ///
    /// # Errors
    /// [`StaticKeyError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, StaticKeyError> {
        if text.contains(V2_CLIENT_KEY) && !text.contains(V2_SERVER_KEY) {
            return Err(StaticKeyError::ClientKey);
        }
        let bytes = base64_between(text, V2_SERVER_KEY)?;
        let length = StaticKeyError::ServerKeyLength { bytes: bytes.len() };
        bytes.as_slice().try_into().map(Self::new).map_err(|_| length)
    }

    /// Wraps a client's key.
    ///
    /// # Errors
    /// [`WrappedKeyError::MetadataTooLong`].
    pub fn wrap(
        &self,
        key: &StaticKey,
        metadata: &ClientKeyMetadata,
        crypto: &dyn Crypto,
    ) -> Result<Bytes, WrappedKeyError> {
        let metadata = metadata.encode();
        if metadata.len() > MAX_METADATA {
            return Err(WrappedKeyError::MetadataTooLong);
        }
        let length = u16::try_from(MIN_WRAPPED_KEY + metadata.len()).map_err(|_| WrappedKeyError::MetadataTooLong)?;
        let mut tag = [0; 64];
        self.hmac(crypto).sign(&[&length.to_be_bytes(), key.bytes(), &metadata], &mut tag);
        let mut inner = Zeroizing::new([key.bytes().as_slice(), &metadata].concat());
        crypto.aes256_ctr(&self.cipher, tag.first_chunk().unwrap_or(&[0; 16]), &mut inner);
        let tag = tag.get(..TAG_LEN).unwrap_or_default();
        Ok([tag, &inner, &length.to_be_bytes()].concat().into())
    }

    /// Makes a key for one client: the text of its file (`--genkey tls-crypt-v2-client`).
    ///
    /// # Errors
    /// [`WrappedKeyError::MetadataTooLong`].
    pub fn client_file(
        &self,
        random: &mut dyn Random,
        metadata: &ClientKeyMetadata,
        crypto: &dyn Crypto,
    ) -> Result<Zeroizing<String>, WrappedKeyError> {
        let mut bytes = Zeroizing::new([0; 256]);
        random.fill(bytes.as_mut_slice());
        let wrapped = self.wrap(&StaticKey::new(*bytes), metadata, crypto)?;
        let all = Zeroizing::new([bytes.as_slice(), &wrapped].concat());
        let digits = Zeroizing::new(BASE64.encode(all.as_slice()));
        Ok(Zeroizing::new(format!("-----BEGIN {V2_CLIENT_KEY}-----\n{}\n-----END {V2_CLIENT_KEY}-----\n", *digits)))
    }

    /// The key a client brought along.
    pub(crate) fn unwrap(&self, wrapped: &[u8], crypto: &dyn Crypto) -> Result<Unwrapped, WrappedKeyError> {
        if !(MIN_WRAPPED_KEY..=MAX_WRAPPED_KEY).contains(&wrapped.len()) {
            return Err(WrappedKeyError::Length);
        }
        let (rest, length) = wrapped.split_last_chunk::<2>().ok_or(WrappedKeyError::Length)?;
        if usize::from(u16::from_be_bytes(*length)) != wrapped.len() {
            return Err(WrappedKeyError::Length);
        }
        let (tag, inner) = rest.split_first_chunk::<TAG_LEN>().ok_or(WrappedKeyError::Length)?;
        let mut inner = Zeroizing::new(inner.to_vec());
        crypto.aes256_ctr(&self.cipher, tag.first_chunk().ok_or(WrappedKeyError::Length)?, &mut inner);
        if !self.hmac(crypto).verify(&[length, &inner], tag) {
            return Err(WrappedKeyError::Forged);
        }
        let (key, metadata) = inner.split_first_chunk::<256>().ok_or(WrappedKeyError::Length)?;
        Ok(Unwrapped { key: StaticKey::new(*key), metadata: ClientKeyMetadata::decode(metadata)? })
    }

    fn hmac(&self, crypto: &dyn Crypto) -> Box<dyn crate::crypto::Hmac> {
        crypto.hmac(Digest::Sha256, self.hmac.as_slice())
    }
}

impl fmt::Debug for TlsCryptV2ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsCryptV2ServerKey(..)")
    }
}

impl ClientKeyMetadata {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::User(text) => [&[TYPE_USER], text.as_slice()].concat(),
            Self::Made(unix) => [&[TYPE_TIMESTAMP], unix.as_secs().to_be_bytes().as_slice()].concat(),
        }
    }

    /// Early keys carry nothing at all.
    fn decode(bytes: &[u8]) -> Result<Option<Self>, WrappedKeyError> {
        match bytes {
            [] => Ok(None),
            [TYPE_USER, text @ ..] => Ok(Some(Self::User(text.to_vec()))),
            [TYPE_TIMESTAMP, time @ ..] => {
                let time = time.try_into().map_err(|_| WrappedKeyError::Metadata)?;
                let seconds = u64::try_from(i64::from_be_bytes(time)).map_err(|_| WrappedKeyError::Metadata)?;
                Ok(Some(Self::Made(Duration::from_secs(seconds))))
            }
            _ => Err(WrappedKeyError::Metadata),
        }
    }
}

fn first_half(bytes: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(bytes.first_chunk().copied().unwrap_or_default())
}

const TYPE_USER: u8 = 0;
const TYPE_TIMESTAMP: u8 = 1;
/// HMAC-SHA256, whole.
const TAG_LEN: usize = 32;
/// With its type; so that a wrapped key never has more than 1024 bytes (2.6 `tls_crypt.h`).
const MAX_METADATA: usize = MAX_WRAPPED_KEY - MIN_WRAPPED_KEY;

#[cfg(test)]
mod tests {
    use adit_testing::SeededRandom;

    use super::*;
    use crate::crypto::{Ring, RustCrypto};

    const SERVER: &str = include_str!("../../testdata/captures/tls-crypt-v2-server.key");
    const CLIENT: &str = include_str!("../../testdata/captures/tls-crypt-v2-client.key");

    #[test]
    fn the_key_that_openvpn_wrapped_is_unwrapped() {
        let server = TlsCryptV2ServerKey::parse(SERVER).unwrap();
        let (key, wrapped) = StaticKey::parse_tls_crypt_v2(CLIENT).unwrap();
        for crypto in [&Ring as &dyn Crypto, &RustCrypto] {
            let unwrapped = server.unwrap(&wrapped, crypto).unwrap();
            assert_eq!(unwrapped.key, key);
            assert!(unwrapped.metadata.is_some());
            assert_eq!(server.wrap(&key, &unwrapped.metadata.unwrap(), crypto), Ok(wrapped.clone()));
        }
    }

    #[test]
    fn a_key_we_make_is_one_that_clients_read() {
        let server = TlsCryptV2ServerKey::new(&[3; 128]);
        for metadata in [
            ClientKeyMetadata::User(b"laptop".to_vec()),
            ClientKeyMetadata::User(Vec::new()),
            ClientKeyMetadata::User(vec![7; MAX_METADATA - 1]),
            ClientKeyMetadata::Made(Duration::from_secs(1_780_272_000)),
        ] {
            let file = server.client_file(&mut SeededRandom::new(1), &metadata, &Ring).unwrap();
            let (key, wrapped) = StaticKey::parse_tls_crypt_v2(&file).unwrap();
            let unwrapped = server.unwrap(&wrapped, &Ring).unwrap();
            assert_eq!((unwrapped.key, unwrapped.metadata), (key, Some(metadata)));
        }
        let long = ClientKeyMetadata::User(vec![7; MAX_METADATA]);
        assert_eq!(server.wrap(&StaticKey::new([1; 256]), &long, &Ring), Err(WrappedKeyError::MetadataTooLong));
    }

    #[test]
    fn every_changed_byte_and_every_other_length_is_refused() {
        let server = TlsCryptV2ServerKey::new(&[3; 128]);
        let metadata = ClientKeyMetadata::User(b"x".to_vec());
        let wrapped = server.wrap(&StaticKey::new([1; 256]), &metadata, &Ring).unwrap();
        for at in 0..wrapped.len() {
            let mut changed = wrapped.to_vec();
            changed[at] ^= 1;
            assert!(server.unwrap(&changed, &Ring).is_err(), "byte {at}");
            assert!(server.unwrap(&wrapped[..at], &Ring).is_err(), "{at} bytes");
            assert!(server.unwrap(&wrapped[at + 1..], &Ring).is_err(), "without {at} bytes");
        }
        let other = TlsCryptV2ServerKey::new(&[4; 128]);
        assert_eq!(other.unwrap(&wrapped, &Ring).err(), Some(WrappedKeyError::Forged));
        assert_eq!(server.unwrap(&[], &Ring).err(), Some(WrappedKeyError::Length));
    }

    #[test]
    fn metadata_of_unknown_types_is_refused() {
        for bytes in [&[2u8, 1, 2][..], &[1, 0, 0], &[0xff], &[1, 0xff, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(ClientKeyMetadata::decode(bytes), Err(WrappedKeyError::Metadata), "{bytes:?}");
        }
        assert_eq!(ClientKeyMetadata::decode(&[]), Ok(None));
    }

    #[test]
    fn the_other_file_is_told_from_this_one() {
        assert_eq!(TlsCryptV2ServerKey::parse(CLIENT).err(), Some(StaticKeyError::ClientKey));
        let short = SERVER.lines().map(|line| if line.starts_with('-') { line } else { "AAAA" });
        let short = short.collect::<Vec<_>>().join("\n");
        assert!(matches!(TlsCryptV2ServerKey::parse(&short), Err(StaticKeyError::ServerKeyLength { .. })));
        assert_eq!(TlsCryptV2ServerKey::parse("").err(), Some(StaticKeyError::NoBegin(V2_SERVER_KEY)));
    }
}
