//! The data channel: a sealer and an opener for each key, values without I/O, lock, clock or allocation per packet.
//!
//! ```text
//! DATA_V1   op                                 op = opcode << 3 | key id
//! DATA_V2   op | peer id:u24
//!
//! AEAD      header | packet id:u32 | tag[16] | ciphertext
//!           additional data: header and packet id (DATA_V2), packet id alone (DATA_V1)
//!           nonce: packet id, then the first 8 bytes of the direction's HMAC half
//! CBC       header | HMAC | IV[16] | CBC(packet id:u32, payload, PKCS#7)
//!           the HMAC covers IV and ciphertext, but not the header
//! ```
//!
//! Payload is the packet in its [`Framing`]. OpenVPN wire protocol, "Data channel"; OpenVPN 2.6 `crypto.c`.

mod aead;
mod cbc;
mod framing;
mod header;
mod message;
mod opener;
mod sealer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use adit_tunnel::Usage;

use self::{
    aead::AeadKey,
    cbc::{CbcKey, IvSource},
    header::Header,
};
pub use self::{
    message::{EXIT_MESSAGE, OCC_MAGIC, PING_PAYLOAD},
    opener::DataOpener,
    sealer::DataSealer,
};
use crate::{
    algorithms::{Cipher, Digest},
    config::Framing,
    crypto::Crypto,
    keys::{Half, StaticKey},
};

/// What fixes the format of a data channel key.
#[derive(Debug, Clone, Copy)]
pub struct DataKeyParams<'a> {
    /// How packets are encrypted.
    pub cipher: Cipher,
    /// The digest of the HMAC, for ciphers that are not AEAD.
    pub auth: Digest,
    /// The key material of both directions.
    pub keys: &'a StaticKey,
    /// Which direction is ours.
    pub role: Role,
    /// 0 to 7.
    pub key_id: u8,
    /// 24 bits; `Some` sends DATA_V2, `None` DATA_V1. Both are opened in either case.
    pub peer_id: Option<u32>,
    /// What surrounds the packet inside the encryption.
    pub framing: Framing,
    /// How many packets a datagram may be late by.
    pub replay_window: u32,
    /// Largest inner packet in bytes; bounds what decompression may produce.
    pub mtu: u16,
}

/// Which end of the tunnel a key is made for: the client sends with the first key, the server with the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The end that connects.
    Client,
    /// The end that answers.
    Server,
}

impl Role {
    const fn outbound(self) -> Half {
        match self {
            Self::Client => Half::First,
            Self::Server => Half::Second,
        }
    }

    const fn inbound(self) -> Half {
        match self {
            Self::Client => Half::Second,
            Self::Server => Half::First,
        }
    }
}

/// The crypto backend does not know the cipher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the crypto backend cannot make a key for {0}")]
pub struct CipherUnavailable(Cipher);

/// Makes both directions of a data channel key. Everything that allocates happens here.
///
/// # Errors
/// [`CipherUnavailable`] if the backend lacks the cipher; neither of ours does.
pub fn data_keys(
    params: &DataKeyParams<'_>,
    crypto: &dyn Crypto,
    usage: Arc<Usage>,
) -> Result<(DataSealer, DataOpener), CipherUnavailable> {
    let (outbound, inbound) = (params.role.outbound(), params.role.inbound());
    let unavailable = || CipherUnavailable(params.cipher);
    let sealing = SealKey::new(params, outbound, crypto).ok_or_else(unavailable)?;
    let opening = OpenKey::new(params, inbound, crypto).ok_or_else(unavailable)?;
    let header = Header::new(params.key_id, params.peer_id);
    let sealer = DataSealer::new(header, sealing, params.framing, Arc::clone(&usage));
    Ok((sealer, DataOpener::new(params, opening, usage)))
}

/// The key of the direction we send in.
enum SealKey {
    Aead(AeadKey),
    Cbc(CbcKey, IvSource),
}

impl SealKey {
    fn new(params: &DataKeyParams<'_>, half: Half, crypto: &dyn Crypto) -> Option<Self> {
        match OpenKey::new(params, half, crypto)? {
            OpenKey::Aead(key) => Some(Self::Aead(key)),
            OpenKey::Cbc(key) => Some(Self::Cbc(key, IvSource::new(params.keys, half, crypto)?)),
        }
    }
}

/// The key of the direction we receive in.
enum OpenKey {
    Aead(AeadKey),
    Cbc(CbcKey),
}

impl OpenKey {
    fn new(params: &DataKeyParams<'_>, half: Half, crypto: &dyn Crypto) -> Option<Self> {
        if params.cipher.is_aead() {
            AeadKey::new(params.cipher, params.keys, half, crypto).map(Self::Aead)
        } else {
            CbcKey::new(params.cipher, params.auth, params.keys, half, crypto).map(Self::Cbc)
        }
    }
}
