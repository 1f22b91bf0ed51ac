//! IKE messages: decoded values, and their bytes (RFC 7296 §3).
//!
//! ```text
//!  IKE_SA_INIT   datagram ─▶ Message::decode ─▶ Message        Message ─▶ encode ─▶ datagram
//!  all others    datagram ─▶ open ─▶ Message                   Message ─▶ seal ───▶ datagrams
//!                             ╰─▶ Reassembly, if a fragment (RFC 7383)
//! ```
//!
//! What is reserved is ignored when read and zero when written. Lengths must be true to the byte. What a peer can make us
//! store is bounded: payloads, proposals, attributes, fragments.

mod auth;
mod cert;
mod cp;
mod delete;
mod eap;
mod header;
mod id;
mod ke;
mod nonce;
mod notify;
pub(crate) mod numbers;
mod payload;
mod reassembly;
mod sa;
pub(crate) mod sk;
mod ts;
mod undecodable;
mod wire;

#[cfg(test)]
mod tests;

use std::fmt;

use adit_tunnel::{Random, wire::Writer};
use bytes::Bytes;

pub(crate) use self::{
    auth::Authentication,
    cert::{Certificate, CertificateRequest},
    cp::Configuration,
    delete::Delete,
    header::{Header, IkeSpi, MessageId},
    id::Identification,
    ke::KeyExchange,
    notify::Notify,
    payload::Payload,
    reassembly::Reassembly,
    sa::{Proposal, SecurityAssociation, Transform},
    sk::{Opened, is_first_fragment, is_later_fragment, is_protected, open},
    ts::TrafficSelector,
    undecodable::{UnauthenticatedReason, Undecodable},
};
use self::{
    numbers::{ExchangeType, NotifyType},
    undecodable::BadPayloads,
};
use crate::crypto::sk::SkCipher;

/// A whole message whose payloads may be believed as far as its exchange allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) header: Header,
    pub(crate) payloads: Vec<Payload>,
}

impl Message {
    /// A request. `from_initiator`: we are the original initiator of this IKE SA.
    pub(crate) fn request(
        spis: (IkeSpi, IkeSpi),
        exchange: ExchangeType,
        from_initiator: bool,
        message_id: MessageId,
        payloads: Vec<Payload>,
    ) -> Self {
        Self { header: Header::request(spis, exchange, from_initiator, message_id), payloads }
    }

    /// The response to a request with this header.
    pub(crate) fn response(request: &Header, payloads: Vec<Payload>) -> Self {
        Self { header: request.answer(), payloads }
    }

    /// Reads an unprotected message without the non-ESP marker: IKE_SA_INIT, or a notification about an unknown IKE SA.
    pub(crate) fn decode(datagram: &[u8]) -> Result<Self, Undecodable> {
        let header = Header::peek(datagram).ok_or(UnauthenticatedReason::NotIke)?;
        if header.major_version != Header::MAJOR_VERSION {
            return Err(UnauthenticatedReason::MajorVersion(header.major_version).into());
        }
        let read = || {
            let (input, (_, first, _)) = Header::parse(datagram).map_err(payload::error)?;
            payload::decode(first, input)
        };
        Ok(Self { header, payloads: read().map_err(BadPayloads::unauthenticated)? })
    }

    /// The bytes of an unprotected message.
    pub(crate) fn encode(&self) -> Bytes {
        let mut payloads = Writer::with_capacity(1200);
        payload::encode(&self.payloads, &mut payloads);
        let length = Header::LEN + payloads.len();
        let mut w = Writer::with_capacity(length);
        self.header.encode(&mut w, payload::first_type(&self.payloads), length);
        w.bytes(payloads.as_slice());
        w.finish()
    }

    /// The datagrams of a protected message. `max_datagram`: the longest there may be, in bytes of IKE, without marker and
    /// headers of UDP and IP; a longer message is cut into fragments (RFC 7383 §2.5). `None`: the peer does not know them.
    pub(crate) fn seal(
        &self,
        cipher: &mut dyn SkCipher,
        random: &mut dyn Random,
        max_datagram: Option<usize>,
    ) -> Vec<Bytes> {
        let first = payload::first_type(&self.payloads);
        sk::with_content(self, |content| sk::seal(&self.header, first, content, cipher, random, max_datagram))
    }
}

/// What a message holds, by kind.
impl Message {
    /// The notification of this type that comes first.
    pub(crate) fn notify(&self, notify_type: NotifyType) -> Option<&Notify> {
        self.notifies(notify_type).next()
    }

    /// All notifications of this type.
    pub(crate) fn notifies(&self, notify_type: NotifyType) -> impl Iterator<Item = &Notify> {
        self.all_notifies().filter(move |notify| notify.notify_type == notify_type)
    }

    /// The first notification of an error, known to us or not.
    pub(crate) fn error(&self) -> Option<&Notify> {
        self.all_notifies().find(|notify| notify.notify_type.is_error())
    }
}

/// The names alone, as in `IKE_AUTH request 1 { IDI, AUTH, N(MOBIKE_SUPPORTED) }`: nothing secret.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Header { exchange, response, message_id, .. } = &self.header;
        let kind = if *response { "response" } else { "request" };
        write!(f, "{exchange} {kind} {} {{", message_id.0)?;
        for (index, payload) in self.payloads.iter().enumerate() {
            f.write_str(if index == 0 { " " } else { ", " })?;
            if let Payload::Notify(notify) = payload {
                write!(f, "N({})", notify.notify_type)?;
            } else {
                write!(f, "{}", payload.payload_type())?;
            }
        }
        f.write_str(" }")
    }
}

/// One method that gives the first payload of a kind.
macro_rules! first {
    ($($(#[$doc:meta])* $name:ident: $variant:ident($value:ty),)*) => {
        impl Message {
            $($(#[$doc])* pub(crate) fn $name(&self) -> Option<&$value> {
                self.payloads.iter().find_map(|payload| -> Option<&$value> {
                    if let Payload::$variant(value) = payload { Some(value) } else { None }
                })
            })*
        }
    };
}

/// One method that gives all payloads of a kind that may come more than once.
macro_rules! all {
    ($($(#[$doc:meta])* $name:ident: $variant:ident($value:ty),)*) => {
        impl Message {
            $($(#[$doc])* pub(crate) fn $name(&self) -> impl Iterator<Item = &$value> {
                self.payloads.iter().filter_map(|payload| {
                    if let Payload::$variant(value) = payload { Some(value) } else { None }
                })
            })*
        }
    };
}

first! {
    sa: Sa(SecurityAssociation),
    ke: Ke(KeyExchange),
    id_i: IdI(Identification),
    id_r: IdR(Identification),
    auth: Auth(Authentication),
    nonce: Nonce(Bytes),
    ts_i: TsI([TrafficSelector]),
    ts_r: TsR([TrafficSelector]),
    cp: Cp(Configuration),
    /// The whole EAP packet.
    eap: Eap(Bytes),
}

all! {
    /// In the order of the wire: the peer's own certificate is the first (§3.6).
    certs: Cert(Certificate),
    all_notifies: Notify(Notify),
    #[cfg(test)]
    deletes: Delete(Delete),
}
