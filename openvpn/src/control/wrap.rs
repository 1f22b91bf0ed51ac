//! How control packets are wrapped: not at all, tls-auth, tls-crypt, tls-crypt-v2, dynamic tls-crypt.
//!
//! ```text
//!  none       op sid                       rest
//!  tls-auth   op sid HMAC  pid:32 time:32  rest          HMAC over pid time op sid rest
//!  tls-crypt  op sid pid:32 time:32 tag    CTR(rest)     tag = HMAC-SHA256 over op sid pid time rest; IV = tag[..16]
//!  v2         … as tls-crypt …             CTR(rest) WKc in HARD_RESET_CLIENT_V3 and CONTROL_WKC_V1
//! ```
//!
//! Source: OpenVPN 2.6 `ssl_pkt.c`, `tls_crypt.c`, `doc/tls-crypt-v2.txt`.

use std::{fmt, sync::Arc};

use adit_tunnel::{
    ReplayWindow,
    wire::{DecodeError, Writer},
};
use bytes::Bytes;
use zeroize::Zeroizing;

use super::packet::{ControlPacket, EarlyNegotiation, Header, finish};
pub(crate) use crate::data::Role;
use crate::{
    algorithms::Digest,
    config::{ControlWrap, KeyDirection},
    crypto::{Crypto, Hmac},
    keys::{Half, StaticKey},
};

/// Wraps and unwraps control packets: keys, the counter of what we sent, the replay window of what we received.
///
/// One serves key id 0 for the life of a session, another all other key ids where dynamic tls-crypt was agreed upon.
pub(crate) struct Wrapper {
    method: Method,
    role: Role,
    wrapped_key: Bytes,
    last_sent: u32,
    /// 2.x sends the time of its first packet with all of them; only the pair (time, id) must grow.
    time: Option<u32>,
    received: Option<(u32, ReplayWindow)>,
}

enum Method {
    Plain,
    Auth { send: Box<dyn Hmac>, receive: Box<dyn Hmac>, digest: Digest },
    Crypt { send: CryptKey, receive: CryptKey, crypto: Arc<dyn Crypto> },
}

/// One direction of tls-crypt.
struct CryptKey {
    cipher: Zeroizing<[u8; 32]>,
    hmac: Box<dyn Hmac>,
}

/// Why a packet could not be wrapped or unwrapped. Such a packet is dropped and leaves no trace in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrapError {
    #[error("control packet: {0}")]
    Malformed(#[from] DecodeError),
    #[error("the control packet is not authentic: the keys of `tls-auth` or `tls-crypt` differ, or it was forged")]
    Forged,
    #[error("the control packet was seen before or is too old")]
    Replayed,
    #[error("no wrapping packet id is left")]
    Exhausted,
}

impl Wrapper {
    /// The wrapping the configuration asks for.
    pub(crate) fn new(wrap: &ControlWrap, role: Role, crypto: &Arc<dyn Crypto>) -> Self {
        match wrap {
            ControlWrap::None => Self::with_method(Method::Plain, role),
            ControlWrap::TlsAuth { key, direction, digest } => {
                Self::with_method(Method::auth(key, *direction, *digest, crypto.as_ref()), role)
            }
            ControlWrap::TlsCrypt(key) => Self::with_method(Method::crypt(key, role, crypto), role),
            ControlWrap::TlsCryptV2 { key, wrapped } => Self {
                wrapped_key: wrapped.clone(),
                // The ids of a client's session begin in the block that says it understands early negotiation, and go
                // on from there (2.x `ssl_pkt.h` EARLY_NEG_START; captured from 2.6.14). A server's begin at 1.
                last_sent: if role == Role::Client { EarlyNegotiation::ID_BLOCK } else { 0 },
                ..Self::with_method(Method::crypt(key, role, crypto), role)
            },
        }
    }

    /// Dynamic tls-crypt, for key ids above 0: `exported` comes from the exporter of the first TLS session, and is
    /// mixed with the key of the original wrapping if there is one (2.6 `tls_crypt.c`).
    pub(crate) fn dynamic(exported: &[u8; 256], original: &ControlWrap, role: Role, crypto: &Arc<dyn Crypto>) -> Self {
        let mut key = Zeroizing::new(*exported);
        match original {
            ControlWrap::None => {}
            ControlWrap::TlsAuth { key: original, .. }
            | ControlWrap::TlsCrypt(original)
            | ControlWrap::TlsCryptV2 { key: original, .. } => {
                key.iter_mut().zip(original.bytes()).for_each(|(byte, other)| *byte ^= other);
            }
        }
        Self::with_method(Method::crypt(&StaticKey::new(*key), role, crypto), role)
    }

    /// The first wrapping id was used already, by whoever answered the peer's reset without keeping state.
    pub(crate) fn after_cookie(self) -> Self {
        Self { last_sent: 1, ..self }
    }

    fn with_method(method: Method, role: Role) -> Self {
        Self { method, role, wrapped_key: Bytes::new(), last_sent: 0, time: None, received: None }
    }

    /// The datagram for a packet, under the next wrapping id. `unix_seconds` counts at the first call only.
    ///
    /// Appends the wrapped client key where the opcode calls for it.
    pub(crate) fn wrap(&mut self, packet: &ControlPacket, unix_seconds: u32) -> Result<Bytes, WrapError> {
        let mut w = Writer::with_capacity(packet.encoded_len() + self.overhead() + self.wrapped_key_len());
        if matches!(self.method, Method::Plain) {
            packet.encode(&mut w);
            return Ok(w.finish());
        }
        let ids = self.next_ids(unix_seconds)?;
        let (mut header, mut rest) = (Writer::default(), Writer::with_capacity(packet.encoded_len()));
        packet.header().encode(&mut header);
        packet.encode_after_header(&mut rest);
        self.method.seal(header.as_slice(), &ids, rest.into_inner().as_mut(), &mut w);
        if packet.opcode.carries_wrapped_key() {
            w.bytes(&self.wrapped_key);
        }
        Ok(w.finish())
    }

    /// Verifies a datagram and reads its packet. It counts as seen only with [`Self::mark`], once it has turned out to
    /// belong to this session: all clients may share the key, so an authentic packet can be one of another session, and
    /// its larger time would shut out everything of ours.
    pub(crate) fn verify(&self, datagram: &[u8]) -> Result<(ControlPacket, Seen), WrapError> {
        let header = finish_header(datagram)?;
        if matches!(self.method, Method::Plain) {
            return Ok((ControlPacket::decode(datagram)?, Seen(None)));
        }
        let datagram = self.without_wrapped_key(header, datagram)?;
        let parts = self.method.split(datagram).ok_or(DecodeError::Truncated)?;
        let (id, time) = ids_from(parts.ids)?;
        if !self.is_fresh(id, time) {
            return Err(WrapError::Replayed);
        }
        let rest = self.method.open(&parts).ok_or(WrapError::Forged)?;
        Ok((finish(ControlPacket::parse_after(header, &rest))?, Seen(Some((id, time)))))
    }

    /// Verifies, and marks at once.
    #[cfg(test)]
    pub(crate) fn unwrap(&mut self, datagram: &[u8]) -> Result<ControlPacket, WrapError> {
        let (packet, seen) = self.verify(datagram)?;
        self.mark(seen);
        Ok(packet)
    }

    /// The packet belongs to this session: none with its wrapping id is accepted again. A larger time opens a new window
    /// (2.6 `packet_id.c`).
    pub(crate) fn mark(&mut self, Seen(ids): Seen) {
        let Some((id, time)) = ids else { return };
        match &mut self.received {
            Some((newest, window)) if time == *newest => {
                window.mark(id.into());
            }
            Some(_) | None => {
                let mut window = ReplayWindow::new(REPLAY_WINDOW);
                window.mark(id.into());
                self.received = Some((time, window));
            }
        }
    }

    /// Bytes a wrapped packet is longer, not counting a wrapped client key.
    pub(crate) fn overhead(&self) -> usize {
        match &self.method {
            Method::Plain => 0,
            Method::Auth { digest, .. } => IDS_LEN + digest.len(),
            Method::Crypt { .. } => IDS_LEN + TAG_LEN,
        }
    }

    /// Bytes of the wrapped client key, which HARD_RESET_CLIENT_V3 and CONTROL_WKC_V1 carry in addition; else 0.
    pub(crate) fn wrapped_key_len(&self) -> usize {
        self.wrapped_key.len()
    }

    fn next_ids(&mut self, unix_seconds: u32) -> Result<[u8; IDS_LEN], WrapError> {
        self.last_sent = self.last_sent.checked_add(1).ok_or(WrapError::Exhausted)?;
        let time = *self.time.get_or_insert(unix_seconds);
        let mut ids = [0; IDS_LEN];
        let (id_field, time_field) = ids.split_at_mut(4);
        id_field.copy_from_slice(&self.last_sent.to_be_bytes());
        time_field.copy_from_slice(&time.to_be_bytes());
        Ok(ids)
    }

    /// Cuts off the wrapped client key that a client sends in clear; whoever made us has looked at it already.
    fn without_wrapped_key<'a>(&self, header: Header, datagram: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        if self.role == Role::Client || self.wrapped_key.is_empty() || !header.opcode.carries_wrapped_key() {
            return Ok(datagram);
        }
        let (_, length) = datagram.split_last_chunk().ok_or(DecodeError::Truncated)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let end = datagram.len().checked_sub(length).ok_or(DecodeError::Invalid("length of the wrapped key"))?;
        datagram.get(..end).ok_or(DecodeError::Truncated)
    }

    fn is_fresh(&self, id: u32, time: u32) -> bool {
        match &self.received {
            Some((newest, window)) if time == *newest => window.check(id.into()),
            Some((newest, _)) => time > *newest && id != 0,
            None => id != 0,
        }
    }
}

impl fmt::Debug for Wrapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match &self.method {
            Method::Plain => "none",
            Method::Auth { digest, .. } => return write!(f, "Wrapper(tls-auth, {digest})"),
            Method::Crypt { .. } => "tls-crypt",
        };
        write!(f, "Wrapper({method})")
    }
}

/// The wrapping id and time of a packet that proved authentic.
#[derive(Debug, Clone, Copy)]
#[must_use = "without `mark` the packet can be replayed"]
pub(crate) struct Seen(Option<(u32, u32)>);

impl Seen {
    /// Whether the id is of the block by which clients say that they understand early negotiation.
    pub(crate) fn says_early_negotiation(&self) -> bool {
        self.0.is_some_and(|(id, _)| id & 0xff00_0000 == EarlyNegotiation::ID_BLOCK)
    }
}

/// A wrapped datagram, cut at its fields.
struct Parts<'a> {
    header: &'a [u8],
    ids: &'a [u8],
    tag: &'a [u8],
    rest: &'a [u8],
}

impl Method {
    fn auth(key: &StaticKey, direction: KeyDirection, digest: Digest, crypto: &dyn Crypto) -> Self {
        let (send, receive) = match direction {
            KeyDirection::Bidirectional => (Half::First, Half::First),
            KeyDirection::Normal => (Half::First, Half::Second),
            KeyDirection::Inverse => (Half::Second, Half::First),
        };
        let hmac = |half| crypto.hmac(digest, key.hmac_key(half).get(..digest.len()).unwrap_or_default());
        Self::Auth { send: hmac(send), receive: hmac(receive), digest }
    }

    fn crypt(key: &StaticKey, role: Role, crypto: &Arc<dyn Crypto>) -> Self {
        let (send, receive) = match role {
            Role::Client => (Half::Second, Half::First),
            Role::Server => (Half::First, Half::Second),
        };
        let half = |half| CryptKey::new(key.cipher_key(half), key.hmac_key(half), crypto.as_ref());
        Self::Crypt { send: half(send), receive: half(receive), crypto: Arc::clone(crypto) }
    }

    /// Writes the whole datagram; `rest` is encrypted in place on the way.
    fn seal(&self, header: &[u8], ids: &[u8; IDS_LEN], rest: &mut [u8], w: &mut Writer) {
        let mut tag = [0; 64];
        w.bytes(header);
        match self {
            Self::Plain => {}
            Self::Auth { send, digest, .. } => {
                send.sign(&[ids, header, rest], &mut tag);
                w.bytes(tag.get(..digest.len()).unwrap_or_default());
                w.bytes(ids);
            }
            Self::Crypt { send, crypto, .. } => {
                send.hmac.sign(&[header, ids, rest], &mut tag);
                w.bytes(ids);
                w.bytes(tag.first_chunk::<TAG_LEN>().map_or(&[], |tag| tag.as_slice()));
                let iv = tag.first_chunk().unwrap_or(&[0; 16]);
                crypto.aes256_ctr(&send.cipher, iv, rest);
            }
        }
        w.bytes(rest);
    }

    fn split<'a>(&self, datagram: &'a [u8]) -> Option<Parts<'a>> {
        let (header, after) = datagram.split_at_checked(Header::LEN)?;
        match self {
            Self::Plain => Some(Parts { header, ids: &[], tag: &[], rest: after }),
            Self::Auth { digest, .. } => {
                let (tag, after) = after.split_at_checked(digest.len())?;
                let (ids, rest) = after.split_at_checked(IDS_LEN)?;
                Some(Parts { header, ids, tag, rest })
            }
            Self::Crypt { .. } => {
                let (ids, after) = after.split_at_checked(IDS_LEN)?;
                let (tag, rest) = after.split_at_checked(TAG_LEN)?;
                Some(Parts { header, ids, tag, rest })
            }
        }
    }

    /// What follows the header, if the tag is right.
    fn open(&self, parts: &Parts<'_>) -> Option<Vec<u8>> {
        let Parts { header, ids, tag, rest } = *parts;
        let mut rest = rest.to_vec();
        let authentic = match self {
            Self::Plain => true,
            Self::Auth { receive, .. } => receive.verify(&[ids, header, &rest], tag),
            Self::Crypt { receive, crypto, .. } => {
                crypto.aes256_ctr(&receive.cipher, tag.first_chunk()?, &mut rest);
                receive.hmac.verify(&[header, ids, &rest], tag)
            }
        };
        authentic.then_some(rest)
    }
}

impl CryptKey {
    fn new(cipher: &[u8], hmac: &[u8], crypto: &dyn Crypto) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        key.iter_mut().zip(cipher).for_each(|(byte, value)| *byte = *value);
        Self { cipher: key, hmac: crypto.hmac(Digest::Sha256, hmac.get(..32).unwrap_or_default()) }
    }
}

/// Reads the header alone; the rest is not readable yet.
fn finish_header(datagram: &[u8]) -> Result<Header, DecodeError> {
    Header::decode(datagram.get(..Header::LEN).unwrap_or(datagram))
}

fn ids_from(ids: &[u8]) -> Result<(u32, u32), DecodeError> {
    let (id, rest) = ids.split_first_chunk().ok_or(DecodeError::Truncated)?;
    let time = rest.first_chunk().ok_or(DecodeError::Truncated)?;
    Ok((u32::from_be_bytes(*id), u32::from_be_bytes(*time)))
}

/// Packet id and time, four bytes each.
const IDS_LEN: usize = 8;
/// tls-crypt's tag: HMAC-SHA256, whole.
const TAG_LEN: usize = 32;
/// As many packets may come late as 2.x allows (`replay-window 64`).
const REPLAY_WINDOW: u32 = 64;

#[cfg(test)]
mod tests;
