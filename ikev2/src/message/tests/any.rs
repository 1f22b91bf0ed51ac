//! Arbitrary values of everything a message is made of.

use std::net::IpAddr;

use proptest::{collection::vec, prelude::*};

use super::super::{
    numbers::{
        AuthMethod, CertEncoding, CfgAttribute, CfgType, DhGroup, IdType, PayloadType, ProtocolId, TransformType,
    },
    *,
};

pub(in crate::message) fn bytes(length: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), length).prop_map(Bytes::from)
}

pub(in crate::message) fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u16>(), any::<Option<u16>>())
        .prop_map(|(kind, id, key_bits)| Transform { key_bits, ..Transform::new(TransformType(kind), id) })
}

fn proposal() -> impl Strategy<Value = Proposal> {
    let spi = prop_oneof![
        (Just(ProtocolId::IKE), bytes(0)),
        (Just(ProtocolId::IKE), bytes(8)),
        (Just(ProtocolId::ESP), bytes(4)),
        (Just(ProtocolId(9)), bytes(0..=255)),
    ];
    (any::<u8>(), spi, vec(transform(), 1..20)).prop_map(|(number, (protocol, spi), transforms)| Proposal {
        number,
        protocol,
        spi,
        transforms,
    })
}

pub(in crate::message) fn security_association() -> impl Strategy<Value = SecurityAssociation> {
    vec(proposal(), 1..5).prop_map(|proposals| SecurityAssociation { proposals })
}

pub(in crate::message) fn key_exchange() -> impl Strategy<Value = KeyExchange> {
    (any::<u16>(), bytes(0..300)).prop_map(|(group, public)| KeyExchange { group: DhGroup(group), public })
}

pub(in crate::message) fn identification() -> impl Strategy<Value = Identification> {
    (any::<u8>(), any::<[u8; 3]>(), bytes(0..50)).prop_map(|(id_type, reserved, data)| Identification {
        id_type: IdType(id_type),
        reserved,
        data,
    })
}

pub(in crate::message) fn certificate() -> impl Strategy<Value = Certificate> {
    (any::<u8>(), bytes(0..300)).prop_map(|(encoding, data)| Certificate { encoding: CertEncoding(encoding), data })
}

pub(in crate::message) fn certificate_request() -> impl Strategy<Value = CertificateRequest> {
    (any::<u8>(), bytes(0..100))
        .prop_map(|(encoding, authorities)| CertificateRequest { encoding: CertEncoding(encoding), authorities })
}

pub(in crate::message) fn authentication() -> impl Strategy<Value = Authentication> {
    (any::<u8>(), bytes(0..100)).prop_map(|(method, data)| Authentication { method: AuthMethod(method), data })
}

pub(in crate::message) fn notify() -> impl Strategy<Value = Notify> {
    (any::<u8>(), bytes(0..=255), any::<u16>(), bytes(0..50)).prop_map(|(protocol, spi, notify_type, data)| Notify {
        protocol: ProtocolId(protocol),
        spi,
        notify_type: NotifyType(notify_type),
        data,
    })
}

pub(in crate::message) fn delete() -> impl Strategy<Value = Delete> {
    prop_oneof![Just(Delete::Ike), vec(any::<u32>(), 0..20).prop_map(Delete::Esp), Just(Delete::Other(ProtocolId::AH)),]
}

fn traffic_selector() -> impl Strategy<Value = TrafficSelector> {
    let addresses = prop_oneof![
        any::<[[u8; 4]; 2]>().prop_map(|both| both.map(IpAddr::from)),
        any::<[[u8; 16]; 2]>().prop_map(|both| both.map(IpAddr::from)),
    ];
    let ports = prop_oneof![4 => any::<(u16, u16)>().prop_map(|(a, b)| (a.min(b), a.max(b))), 1 => Just((65535, 0))];
    (any::<u8>(), ports, addresses).prop_map(|(protocol, ports, [a, b])| TrafficSelector {
        protocol,
        ports,
        addresses: (a.min(b), a.max(b)),
    })
}

pub(in crate::message) fn traffic_selectors() -> impl Strategy<Value = Vec<TrafficSelector>> {
    vec(traffic_selector(), 1..10)
}

pub(in crate::message) fn configuration() -> impl Strategy<Value = Configuration> {
    let attribute = (0..0x8000u16, bytes(0..20)).prop_map(|(kind, value)| (CfgAttribute(kind), value));
    (any::<u8>(), vec(attribute, 0..10))
        .prop_map(|(cfg_type, attributes)| Configuration { cfg_type: CfgType(cfg_type), attributes })
}

pub(in crate::message) fn eap() -> impl Strategy<Value = Bytes> {
    (any::<[u8; 2]>(), vec(any::<u8>(), 0..100)).prop_map(|(start, data)| {
        let length = (data.len() as u16 + 4).to_be_bytes();
        [&start[..], &length, &data].concat().into()
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    let unknown = (prop_oneof![1..33u8, 49..53u8, 54..=255u8], bytes(0..50));
    prop_oneof![
        security_association().prop_map(Payload::Sa),
        key_exchange().prop_map(Payload::Ke),
        identification().prop_map(Payload::IdI),
        identification().prop_map(Payload::IdR),
        certificate().prop_map(Payload::Cert),
        certificate_request().prop_map(Payload::CertReq),
        authentication().prop_map(Payload::Auth),
        bytes(16..=256).prop_map(Payload::Nonce),
        notify().prop_map(Payload::Notify),
        delete().prop_map(Payload::Delete),
        bytes(0..50).prop_map(Payload::Vendor),
        traffic_selectors().prop_map(Payload::TsI),
        traffic_selectors().prop_map(Payload::TsR),
        configuration().prop_map(Payload::Cp),
        eap().prop_map(Payload::Eap),
        unknown.prop_map(|(kind, body)| Payload::Unknown { payload_type: PayloadType(kind), body }),
    ]
}

pub(in crate::message) fn header() -> impl Strategy<Value = Header> {
    (1..=u64::MAX, any::<u64>(), any::<(u8, bool, bool, u32)>()).prop_map(
        |(spi_i, spi_r, (exchange, initiator, response, id))| Header {
            response,
            ..Header::request((IkeSpi(spi_i), IkeSpi(spi_r)), ExchangeType(exchange), initiator, MessageId(id))
        },
    )
}

/// Any message a peer may send: no payload twice that may come once.
pub(in crate::message) fn message() -> impl Strategy<Value = Message> {
    (header(), vec(payload(), 0..12)).prop_map(|(header, payloads)| {
        let mut message = Message { header, payloads: Vec::new() };
        for payload in payloads {
            let there = message.payloads.iter().any(|other| other.payload_type() == payload.payload_type());
            let repeats = matches!(
                payload,
                Payload::Cert(_)
                    | Payload::CertReq(_)
                    | Payload::Notify(_)
                    | Payload::Delete(_)
                    | Payload::Unknown { .. }
            );
            if repeats || !there {
                message.payloads.push(payload);
            }
        }
        message
    })
}
