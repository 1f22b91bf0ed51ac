//! Keys of OpenVPN's own, and what `pki` reads: keys and certificates as customers hold them.

mod static_key;
mod v2_server_key;

pub use adit_pki::KeyError;
pub(crate) use adit_pki::{Pkcs12, pem};
pub(crate) use static_key::Half;
pub use static_key::{StaticKey, StaticKeyError};
pub use v2_server_key::{ClientKeyMetadata, TlsCryptV2ServerKey, WrappedKeyError};
