//! IKE messages: decoded values, and their bytes (RFC 7296 §3).
//!
//! ```text
//!  datagram ─▶ Outer (header, plain payloads or one SK / SKF) ─▶ SkKey::open ─▶ Message
//!  Message ─▶ encode / seal ─▶ one datagram, or several fragments (RFC 7383)
//! ```

pub(crate) mod numbers;

use std::{fmt, net::IpAddr};

use bytes::Bytes;

use self::numbers::{
    AuthMethod, CertEncoding, CfgAttribute, CfgType, DhGroup, ExchangeType, IdType, NotifyType, PayloadType,
    ProtocolId, TransformType,
};

/// An SPI of an IKE SA; 0 is "not known yet".
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct IkeSpi(pub(crate) u64);

impl fmt::Debug for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A message id, in the direction of its request (RFC 7296 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct MessageId(pub(crate) u32);

/// What stands in an IKE header and matters (RFC 7296 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) initiator_spi: IkeSpi,
    pub(crate) responder_spi: IkeSpi,
    /// Higher than 2 must be refused; the minor version is ignored.
    pub(crate) major_version: u8,
    pub(crate) exchange: ExchangeType,
    /// The I flag: sent by the original initiator of this IKE SA.
    pub(crate) from_initiator: bool,
    /// The R flag.
    pub(crate) response: bool,
    pub(crate) message_id: MessageId,
}

/// A whole message whose payloads may be believed as far as its exchange allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) header: Header,
    pub(crate) payloads: Vec<Payload>,
}

/// One payload, in the order of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    Sa(SecurityAssociation),
    Ke(KeyExchange),
    IdI(Identification),
    IdR(Identification),
    Cert(Certificate),
    CertReq(CertificateRequest),
    Auth(Authentication),
    /// 16 to 256 bytes.
    Nonce(Bytes),
    Notify(Notify),
    Delete(Delete),
    Vendor(Bytes),
    TsI(Vec<TrafficSelector>),
    TsR(Vec<TrafficSelector>),
    Cp(Configuration),
    /// A whole EAP packet (RFC 3748 §4).
    Eap(Bytes),
    /// A payload of a type we do not know; the critical ones never get here.
    Unknown {
        payload_type: PayloadType,
        body: Bytes,
    },
}

/// SA payload (§3.3): proposals, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecurityAssociation {
    pub(crate) proposals: Vec<Proposal>,
}

/// One proposal (§3.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proposal {
    /// Counts from 1.
    pub(crate) number: u8,
    pub(crate) protocol: ProtocolId,
    /// Empty in IKE_SA_INIT, 8 bytes for a rekeyed IKE SA, 4 for ESP.
    pub(crate) spi: Bytes,
    pub(crate) transforms: Vec<Transform>,
}

/// One transform (§3.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transform {
    pub(crate) transform_type: TransformType,
    pub(crate) id: u16,
    /// The key length attribute, in bits.
    pub(crate) key_bits: Option<u16>,
    /// An attribute other than the key length stands here: such a transform is never chosen.
    pub(crate) unknown_attribute: bool,
}

/// KE payload (§3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyExchange {
    pub(crate) group: DhGroup,
    pub(crate) public: Bytes,
}

/// ID payload (§3.5). AUTH covers `reserved` as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identification {
    pub(crate) id_type: IdType,
    /// Zero when we send.
    pub(crate) reserved: [u8; 3],
    pub(crate) data: Bytes,
}

/// CERT payload (§3.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) encoding: CertEncoding,
    pub(crate) data: Bytes,
}

/// CERTREQ payload (§3.7): SHA-1 hashes of the SubjectPublicKeyInfo of trust anchors, 20 bytes each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateRequest {
    pub(crate) encoding: CertEncoding,
    pub(crate) authorities: Bytes,
}

/// AUTH payload (§3.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authentication {
    pub(crate) method: AuthMethod,
    pub(crate) data: Bytes,
}

/// Notify payload (§3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notify {
    pub(crate) protocol: ProtocolId,
    /// Empty, or the SPI the notification is about.
    pub(crate) spi: Bytes,
    pub(crate) notify_type: NotifyType,
    pub(crate) data: Bytes,
}

/// Delete payload (§3.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Delete {
    /// The IKE SA itself.
    Ike,
    /// ESP SAs by the SPIs the sender receives on.
    Esp(Vec<u32>),
    /// SAs of a protocol that is not ours; ignored.
    Other(ProtocolId),
}

/// One traffic selector of IPv4 or IPv6 addresses (§3.13.1), both ends inclusive. Selectors of other types are dropped when
/// decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TrafficSelector {
    /// IP protocol; 0 is any.
    pub(crate) protocol: u8,
    pub(crate) ports: (u16, u16),
    /// Both of one family.
    pub(crate) addresses: (IpAddr, IpAddr),
}

/// CP payload (§3.15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Configuration {
    pub(crate) cfg_type: CfgType,
    pub(crate) attributes: Vec<(CfgAttribute, Bytes)>,
}
