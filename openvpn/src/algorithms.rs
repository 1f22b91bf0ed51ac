//! Names of ciphers and digests as OpenVPN writes them, and their sizes.

use std::fmt;

/// A cipher of the data channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-192-GCM.
    Aes192Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439).
    ChaCha20Poly1305,
    /// AES-128-CBC, with the HMAC of `auth`.
    Aes128Cbc,
    /// AES-192-CBC, with the HMAC of `auth`.
    Aes192Cbc,
    /// AES-256-CBC, with the HMAC of `auth`.
    Aes256Cbc,
}

impl Cipher {
    /// Every cipher, the most preferred first.
    pub const ALL: [Self; 7] = [
        Self::Aes256Gcm,
        Self::Aes128Gcm,
        Self::ChaCha20Poly1305,
        Self::Aes192Gcm,
        Self::Aes256Cbc,
        Self::Aes192Cbc,
        Self::Aes128Cbc,
    ];

    /// What `data-ciphers` is when nothing is configured (OpenVPN 2.6 `options.c`).
    pub const DEFAULT: [Self; 3] = [Self::Aes256Gcm, Self::Aes128Gcm, Self::ChaCha20Poly1305];

    /// Finds a cipher by its name, in any case; also OpenSSL's `id-aes256-GCM` forms.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let known = |cipher: &Self| cipher.name().eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(known).or_else(|| match name.to_ascii_lowercase().as_str() {
            "id-aes128-gcm" => Some(Self::Aes128Gcm),
            "id-aes192-gcm" => Some(Self::Aes192Gcm),
            "id-aes256-gcm" => Some(Self::Aes256Gcm),
            _ => None,
        })
    }

    /// The name on the wire and in profiles.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "AES-128-GCM",
            Self::Aes192Gcm => "AES-192-GCM",
            Self::Aes256Gcm => "AES-256-GCM",
            Self::ChaCha20Poly1305 => "CHACHA20-POLY1305",
            Self::Aes128Cbc => "AES-128-CBC",
            Self::Aes192Cbc => "AES-192-CBC",
            Self::Aes256Cbc => "AES-256-CBC",
        }
    }

    /// Length of the key in bytes.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes128Cbc => 16,
            Self::Aes192Gcm | Self::Aes192Cbc => 24,
            Self::Aes256Gcm | Self::Aes256Cbc | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// Whether the cipher authenticates by itself; the others need the HMAC of `auth`.
    #[must_use]
    pub const fn is_aead(self) -> bool {
        match self {
            Self::Aes128Gcm | Self::Aes192Gcm | Self::Aes256Gcm | Self::ChaCha20Poly1305 => true,
            Self::Aes128Cbc | Self::Aes192Cbc | Self::Aes256Cbc => false,
        }
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A digest, used as HMAC by `tls-auth` and by the CBC ciphers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is its own name")]
pub enum Digest {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512_224,
    Sha512_256,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
    Ripemd160,
    Blake2b512,
    Blake2s256,
}

impl Digest {
    /// Every digest.
    pub const ALL: [Self; 15] = [
        Self::Md5,
        Self::Sha1,
        Self::Sha224,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
        Self::Sha512_224,
        Self::Sha512_256,
        Self::Sha3_224,
        Self::Sha3_256,
        Self::Sha3_384,
        Self::Sha3_512,
        Self::Ripemd160,
        Self::Blake2b512,
        Self::Blake2s256,
    ];

    /// Finds a digest by its name as OpenSSL knows it, in any case; `RSA-` before the old ones is accepted.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let plain = upper.strip_prefix("RSA-").unwrap_or(&upper);
        let plain = match plain {
            "SHA-1" => "SHA1",
            "SHA-224" | "SHA2-224" => "SHA224",
            "SHA-256" | "SHA2-256" => "SHA256",
            "SHA-384" | "SHA2-384" => "SHA384",
            "SHA-512" | "SHA2-512" => "SHA512",
            "SHA512/224" | "SHA2-512/224" => "SHA512-224",
            "SHA512/256" | "SHA2-512/256" => "SHA512-256",
            "RIPEMD" | "RMD160" | "RIPEMD-160" => "RIPEMD160",
            "BLAKE2B-512" => "BLAKE2B512",
            "BLAKE2S-256" => "BLAKE2S256",
            other => other,
        };
        Self::ALL.into_iter().find(|digest| digest.name() == plain)
    }

    /// The name in profiles and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA1",
            Self::Sha224 => "SHA224",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
            Self::Sha512_224 => "SHA512-224",
            Self::Sha512_256 => "SHA512-256",
            Self::Sha3_224 => "SHA3-224",
            Self::Sha3_256 => "SHA3-256",
            Self::Sha3_384 => "SHA3-384",
            Self::Sha3_512 => "SHA3-512",
            Self::Ripemd160 => "RIPEMD160",
            Self::Blake2b512 => "BLAKE2B512",
            Self::Blake2s256 => "BLAKE2S256",
        }
    }

    #[expect(clippy::len_without_is_empty, reason = "no digest is empty")]
    /// Length of the digest, and of the HMAC key taken from key material, in bytes.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 | Self::Ripemd160 => 20,
            Self::Sha224 | Self::Sha512_224 | Self::Sha3_224 => 28,
            Self::Sha256 | Self::Sha512_256 | Self::Sha3_256 | Self::Blake2s256 => 32,
            Self::Sha384 | Self::Sha3_384 => 48,
            Self::Sha512 | Self::Sha3_512 | Self::Blake2b512 => 64,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_spelling() {
        assert_eq!(Cipher::from_name("aes-256-gcm"), Some(Cipher::Aes256Gcm));
        assert_eq!(Cipher::from_name("id-aes128-GCM"), Some(Cipher::Aes128Gcm));
        assert_eq!(Cipher::from_name("BF-CBC"), None);
        assert_eq!(Digest::from_name("RSA-SHA256"), Some(Digest::Sha256));
        assert_eq!(Digest::from_name("sha2-512"), Some(Digest::Sha512));
        assert_eq!(Digest::from_name("whirlpool"), None);
    }
}
