//! What strangers send, read without remembering them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::config::{ServerConfig, ServerWrap};
use crate::{
    config::ControlWrap,
    control::{
        packet::{ControlPacket, EarlyNegotiation, Header, KeyId, Opcode},
        wrap::{Role, WrapError, Wrapper},
    },
    crypto::Crypto,
    keys::{ClientKeyMetadata, TlsCryptV2ServerKey, WrappedKeyError},
};

/// A control packet of a stranger, authentic as far as its wrapping can tell.
pub(super) struct Knock {
    pub(super) packet: ControlPacket,
    /// The wrapping of a session with this client.
    pub(super) wrap: ControlWrap,
    /// The client can bring its wrapped key twice.
    pub(super) early_negotiation: bool,
}

/// Why a stranger is not listened to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unheard {
    #[error("{0}")]
    Wrap(#[from] WrapError),
    #[error("{0}")]
    WrappedKey(#[from] WrappedKeyError),
    #[error("the client key is too old, or does not say how old it is")]
    KeyAge,
    #[error("such a packet begins nothing here")]
    Opcode,
}

/// Reads a stranger's packet; `unix` is the time since 1970.
pub(super) fn hear(config: &ServerConfig, datagram: &[u8], unix: Duration) -> Result<Knock, Unheard> {
    let crypto = &config.settings.crypto;
    let header = Header::decode(datagram.get(..Header::LEN).unwrap_or(datagram)).map_err(WrapError::from)?;
    let wrap = match &config.settings.control_wrap {
        _ if header.key_id != KeyId::FIRST => return Err(Unheard::Opcode),
        ServerWrap::TlsCryptV2 { .. } if !header.opcode.carries_wrapped_key() => return Err(Unheard::Opcode),
        ServerWrap::TlsCryptV2 { key, max_age, .. } => own_key(key, *max_age, datagram, unix, crypto)?,
        _ if header.opcode.carries_wrapped_key() => return Err(Unheard::Opcode),
        ServerWrap::None => ControlWrap::None,
        ServerWrap::TlsAuth { key, direction, digest } => {
            ControlWrap::TlsAuth { key: key.clone(), direction: *direction, digest: *digest }
        }
        ServerWrap::TlsCrypt(key) => ControlWrap::TlsCrypt(key.clone()),
    };
    let (packet, seen) = Wrapper::new(&wrap, Role::Server, crypto).verify(datagram)?;
    let early_negotiation = matches!(wrap, ControlWrap::TlsCryptV2 { .. }) && seen.says_early_negotiation();
    Ok(Knock { packet, wrap, early_negotiation })
}

impl Knock {
    /// A client's very first packet.
    pub(super) fn is_reset(&self) -> bool {
        let reset = matches!(self.packet.opcode, Opcode::HARD_RESET_CLIENT_V2 | Opcode::HARD_RESET_CLIENT_V3);
        reset && self.packet.packet_id == Some(0) && self.packet.acks.is_empty()
    }

    /// What a client says when it has received our reset (OpenVPN 2.6 `ssl_pkt.c`, check_session_id_hmac).
    pub(super) fn answers_reset(&self) -> bool {
        let opcode = match &self.wrap {
            ControlWrap::TlsCryptV2 { .. } => self.packet.opcode == Opcode::CONTROL_WKC_V1,
            ControlWrap::None | ControlWrap::TlsAuth { .. } | ControlWrap::TlsCrypt(_) => {
                matches!(self.packet.opcode, Opcode::CONTROL_V1 | Opcode::ACK_V1)
            }
        };
        let acks = self.packet.acks.as_slice();
        let id = self.packet.packet_id.is_none_or(|id| id == 1);
        opcode && id && acks.contains(&0) && acks.iter().all(|id| *id <= 1)
    }

    /// What we say in the payload of our reset to one that is forgotten at once.
    pub(super) fn reset_payload(&self) -> Bytes {
        let early = EarlyNegotiation { resend_wrapped_key: matches!(self.wrap, ControlWrap::TlsCryptV2 { .. }) };
        Bytes::from_static(early.encode())
    }
}

/// The key that the client brought along in clear behind its packet.
fn own_key(
    server: &TlsCryptV2ServerKey,
    max_age: Option<Duration>,
    datagram: &[u8],
    unix: Duration,
    crypto: &Arc<dyn Crypto>,
) -> Result<ControlWrap, Unheard> {
    let length = datagram.last_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
    let start = datagram.len().checked_sub(length).ok_or(WrappedKeyError::Length)?;
    let wrapped = datagram.get(start..).unwrap_or_default();
    let unwrapped = server.unwrap(wrapped, crypto.as_ref())?;
    let young = match (max_age, unwrapped.metadata) {
        (None, _) => true,
        (Some(max_age), Some(ClientKeyMetadata::Made(made))) => unix.saturating_sub(made) <= max_age,
        (Some(_), Some(ClientKeyMetadata::User(_)) | None) => false,
    };
    if !young {
        return Err(Unheard::KeyAge);
    }
    Ok(ControlWrap::TlsCryptV2 { key: unwrapped.key, wrapped: Bytes::copy_from_slice(wrapped) })
}
