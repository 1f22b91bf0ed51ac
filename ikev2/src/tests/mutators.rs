//! What a gateway may do wrong, by name: the hooks of strongSwan's conformance tester.

use bytes::Bytes;

use crate::message::{
    Header, Message, Notify, Payload,
    numbers::{ExchangeType, NotifyType, PayloadType},
};

/// A change to something.
type Change<T> = Box<dyn Fn(&mut T)>;

/// A change to a message before it leaves.
pub(super) struct Mutator {
    exchange: ExchangeType,
    /// Any, if `None`.
    id: Option<u32>,
    edit: Edit,
}

pub(super) enum Edit {
    /// Of the payloads, before they are encoded.
    Payloads(Change<Vec<Payload>>),
    /// Of the encoded payloads, before they are encrypted, with the type of the first one.
    Content(Change<(PayloadType, Vec<u8>)>),
    /// Of the header, before it is authenticated.
    Header(Change<Vec<u8>>),
    /// Of the whole.
    Datagram(Change<Vec<u8>>),
    /// Before the message, this one, unprotected.
    Before(Box<dyn Fn(&Header) -> Message>),
    /// It is never sent.
    Ignore,
}

impl Mutator {
    pub(super) const fn new(exchange: ExchangeType, edit: Edit) -> Self {
        Self { exchange, id: None, edit }
    }

    /// Only of the message with this id.
    pub(super) fn at(self, id: u32) -> Self {
        Self { id: Some(id), ..self }
    }

    pub(super) fn edit_of(&self, header: &Header) -> Option<&Edit> {
        let fits = self.exchange == header.exchange && self.id.is_none_or(|id| id == header.message_id.0);
        fits.then_some(&self.edit)
    }
}

/// Any change of the payloads.
pub(super) fn payloads(exchange: ExchangeType, edit: impl Fn(&mut Vec<Payload>) + 'static) -> Mutator {
    Mutator::new(exchange, Edit::Payloads(Box::new(edit)))
}

pub(super) fn add_notify(exchange: ExchangeType, notify_type: u16, data: &'static [u8]) -> Mutator {
    payloads(exchange, move |payloads| {
        payloads.push(Payload::Notify(Notify::status(NotifyType(notify_type), data)));
    })
}

/// A payload of a type of one's own choice, in front.
pub(super) fn add_payload(exchange: ExchangeType, payload_type: u8, critical: bool) -> Mutator {
    Mutator::new(
        exchange,
        Edit::Content(Box::new(move |(first, content)| {
            let flags = if critical { 0x80 } else { 0 };
            let payload = [first.0, flags, 0, 8, 1, 2, 3, 4];
            content.splice(0..0, payload);
            *first = PayloadType(payload_type);
        })),
    )
}

pub(super) fn remove(exchange: ExchangeType, payload_type: PayloadType) -> Mutator {
    payloads(exchange, move |payloads| payloads.retain(|payload| payload.payload_type() != payload_type))
}

/// The critical bit of every payload.
pub(super) fn set_critical(exchange: ExchangeType) -> Mutator {
    each_payload(exchange, |header| header[1] |= 0x80)
}

/// Every reserved bit behind the critical ones, of every payload.
pub(super) fn set_reserved(exchange: ExchangeType) -> Mutator {
    each_payload(exchange, |header| header[1] |= 0x7f)
}

fn each_payload(exchange: ExchangeType, edit: fn(&mut [u8])) -> Mutator {
    Mutator::new(
        exchange,
        Edit::Content(Box::new(move |(_, content)| {
            let mut rest = &mut content[..];
            while rest.len() >= 4 {
                edit(rest);
                let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
                rest = &mut rest[length..];
            }
        })),
    )
}

/// The content is these bytes, whatever they are.
pub(super) fn ike_auth_fill(first: PayloadType, bytes: &'static [u8]) -> Mutator {
    Mutator::new(
        ExchangeType::IKE_AUTH,
        Edit::Content(Box::new(move |(next, content)| {
            *next = first;
            *content = bytes.to_vec();
        })),
    )
}

/// Another length in the first payload than the true one.
pub(super) fn set_length(exchange: ExchangeType, change: i16) -> Mutator {
    Mutator::new(
        exchange,
        Edit::Content(Box::new(move |(_, content)| {
            let length = u16::from_be_bytes([content[2], content[3]]).wrapping_add_signed(change);
            content[2..4].copy_from_slice(&length.to_be_bytes());
        })),
    )
}

fn header(exchange: ExchangeType, edit: impl Fn(&mut Vec<u8>) + 'static) -> Mutator {
    Mutator::new(exchange, Edit::Header(Box::new(edit)))
}

pub(super) fn set_ike_initiator(exchange: ExchangeType) -> Mutator {
    header(exchange, |header| header[19] ^= 0x08)
}

pub(super) fn set_ike_request(exchange: ExchangeType) -> Mutator {
    header(exchange, |header| header[19] ^= 0x20)
}

pub(super) fn set_ike_spi(exchange: ExchangeType, responder: bool, spi: u64) -> Mutator {
    let at = if responder { 8 } else { 0 };
    header(exchange, move |header| header[at..at + 8].copy_from_slice(&spi.to_be_bytes()))
}

pub(super) fn set_ike_version(exchange: ExchangeType, version: u8) -> Mutator {
    header(exchange, move |header| header[17] = version)
}

/// The flag "version", and those that mean nothing.
pub(super) fn set_reserved_flags(exchange: ExchangeType) -> Mutator {
    header(exchange, |header| header[19] |= 0xd7)
}

pub(super) fn set_proposal_number(exchange: ExchangeType, number: u8) -> Mutator {
    payloads(exchange, move |payloads| {
        for payload in payloads {
            if let Payload::Sa(sa) = payload {
                sa.proposals.iter_mut().for_each(|proposal| proposal.number = number);
            }
        }
    })
}

/// Any change to the proposals.
pub(super) fn custom_proposal(
    exchange: ExchangeType,
    edit: impl Fn(&mut Vec<crate::message::Proposal>) + 'static,
) -> Mutator {
    payloads(exchange, move |payloads| {
        for payload in payloads {
            if let Payload::Sa(sa) = payload {
                edit(&mut sa.proposals);
            }
        }
    })
}

/// The last payload comes first.
pub(super) fn unsort_message(exchange: ExchangeType) -> Mutator {
    payloads(exchange, |payloads| payloads.reverse())
}

/// An error that anybody could have sent, before the answer.
pub(super) fn unencrypted_notify(exchange: ExchangeType, notify_type: NotifyType) -> Mutator {
    Mutator::new(
        exchange,
        Edit::Before(Box::new(move |header| Message {
            header: *header,
            payloads: vec![Payload::Notify(Notify::status(notify_type, Bytes::new()))],
        })),
    )
}

pub(super) fn ignore_message(exchange: ExchangeType) -> Mutator {
    Mutator::new(exchange, Edit::Ignore)
}

/// Any change of the datagram.
pub(super) fn datagram(exchange: ExchangeType, edit: impl Fn(&mut Vec<u8>) + 'static) -> Mutator {
    Mutator::new(exchange, Edit::Datagram(Box::new(edit)))
}
