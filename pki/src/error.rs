//! Why a key or certificate cannot be used.

/// What is wrong with a file of keys or certificates, and the cure. Never shows what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is nothing of the kind in it.
    #[error("there is no {what} in it; a block that begins with `-----BEGIN {label}-----` is expected")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// How its block would begin.
        label: &'static str,
    },
    /// A block has no end.
    #[error("the block that begins in line {line} has no `-----END` line")]
    Unterminated {
        /// Counted from 1, in the file or block.
        line: usize,
    },
    /// A block's content is damaged.
    #[error("the block that begins in line {line} is not base64; copy it again")]
    NotBase64 {
        /// Counted from 1, in the file or block.
        line: usize,
    },
    /// The key is encrypted and no passphrase was given.
    #[error("the private key is encrypted, and no passphrase was given")]
    PassphraseNeeded,
    /// The key does not open with this passphrase.
    #[error("the passphrase of the private key is wrong")]
    WrongPassphrase,
    /// An encryption we do not have.
    #[error("the private key is encrypted in a way that is not supported ({scheme}); encrypt it anew with `{cure}`")]
    UnsupportedEncryption {
        /// The name or number of the encryption.
        scheme: String,
        /// A command that helps.
        cure: &'static str,
    },
    /// The private key makes no sense.
    #[error("the private key is damaged")]
    MalformedKey,
    /// The PKCS#12 file makes no sense.
    #[error("the PKCS#12 file is damaged, or none; make it anew with `{CURE_PKCS12}`")]
    MalformedPkcs12,
    /// A PKCS#12 file without what is needed.
    #[error("there is no {0} in the PKCS#12 file")]
    MissingInPkcs12(&'static str),
    /// Built without PKCS#12.
    #[error("this program was built without support for PKCS#12; use `cert` and `key`")]
    NoPkcs12,
}

/// How to encrypt a key of PEM anew.
pub(crate) const CURE_PEM: &str = "openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW";

/// How to encrypt a PKCS#12 file anew.
pub(crate) const CURE_PKCS12: &str = "openssl pkcs12 -legacy -in OLD -nodes | openssl pkcs12 -export -out NEW";
