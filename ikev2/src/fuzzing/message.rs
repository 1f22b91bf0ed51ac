use std::collections::VecDeque;

use adit_tunnel::Random;

use crate::{
    crypto::{
        Prf,
        sk::{SkCipher, sk_cipher},
    },
    message::{
        Header, IkeSpi, Message, MessageId, Payload, Reassembly, Undecodable, is_later_fragment,
        numbers::{DhGroup, EncryptionId, ExchangeType, IntegrityId, NotifyType, PayloadType, PrfId},
        open, sk,
    },
    negotiate::IkeSuite,
};

/// A datagram without protection. What is read of it is written and read again as the same. Under protection nobody can
/// have sent it.
pub fn ike_message(datagram: &[u8]) {
    if let Ok(message) = Message::decode(datagram) {
        assert_eq!(Header::peek(datagram), Some(message.header));
        visit(&message);
    }
    for choice in [AEAD, CBC] {
        let Some(cipher) = cipher(choice) else { return };
        let result = open(&mut datagram.to_vec(), &*cipher, &mut Reassembly::new());
        assert!(matches!(result, Err(Undecodable::Unauthenticated(_))), "a forged message");
    }
    is_later_fragment(datagram);
}

/// What stands inside the encrypted payload of an authentic message. The first byte chooses the cipher and whether the
/// message is cut, the second is the type of the first payload.
pub fn ike_payloads_inside_sk(data: &[u8]) {
    let Some(([choice, first], content)) = data.split_first_chunk() else { return };
    match sealed_and_opened(*choice, *first, content) {
        Some(Ok(message)) => visit(&message),
        Some(Err(Undecodable::Authenticated { notify, data, .. })) => {
            assert!(matches!(notify, NotifyType::INVALID_SYNTAX | NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD));
            assert!(data.len() <= 1);
        }
        Some(Err(Undecodable::Unauthenticated(reason))) => {
            // Only what does not fit into a datagram, or into the fragments we take.
            assert!(content.len() > 4000, "{reason}");
        }
        None => {}
    }
}

const AEAD: u8 = 0;
const CBC: u8 = 1;
const CUT: u8 = 2;

/// `None` if we have no such cipher.
fn sealed_and_opened(choice: u8, first: u8, content: &[u8]) -> Option<Result<Message, Undecodable>> {
    let mut cipher = cipher(choice)?;
    let header = Header::request((IkeSpi(1), IkeSpi(2)), ExchangeType::IKE_AUTH, true, MessageId(1));
    let max = (choice & CUT != 0).then_some(200);
    let mut datagrams: VecDeque<_> =
        sk::seal(&header, PayloadType(first), content, &mut *cipher, &mut Counter(0), max).into();
    // The last fragment comes first.
    datagrams.rotate_right(1);
    let mut reassembly = Reassembly::new();
    for datagram in datagrams {
        match open(&mut datagram.to_vec(), &*cipher, &mut reassembly) {
            Ok(Some(opened)) => return Some(Ok(opened.message)),
            Ok(None) => {}
            Err(error) => return Some(Err(error)),
        }
    }
    None
}

/// Reads all that can be read of a message.
fn visit(message: &Message) {
    assert!(message.payloads.len() <= 80);
    assert!(message.nonce().is_none_or(|nonce| (16..=256).contains(&nonce.len())));
    for selector in message.ts_i().into_iter().chain(message.ts_r()).flatten() {
        assert!(selector.addresses.0 <= selector.addresses.1);
    }
    if let Some(cp) = message.cp() {
        assert!(cp.ip4_addresses().count() + cp.ip6_addresses().count() + cp.dns_servers().count() <= 1024);
        assert!(cp.subnets().count() + cp.dns_domains().count() <= 1024);
    }
    drop(format!("{message:?}"));
    written_and_read_again(message);
}

fn written_and_read_again(message: &Message) {
    let mut message = message.clone();
    // Never written: selectors and attributes of types we do not know.
    message.payloads.retain(|payload| !matches!(payload, Payload::TsI(all) | Payload::TsR(all) if all.is_empty()));
    for payload in &mut message.payloads {
        if let Payload::Sa(sa) = payload {
            let transforms = sa.proposals.iter_mut().flat_map(|proposal| &mut proposal.transforms);
            transforms.for_each(|transform| transform.unknown_attribute = false);
        }
    }
    assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(&message));
}

fn cipher(choice: u8) -> Option<Box<dyn SkCipher>> {
    let (encryption, key_len, integrity) = match choice & CBC {
        AEAD => (EncryptionId::AES_GCM_16, 20, IntegrityId::NONE),
        _ => (EncryptionId::AES_CBC, 16, IntegrityId::HMAC_SHA2_256_128),
    };
    let prf = Prf::new(PrfId::HMAC_SHA2_256)?;
    let suite = IkeSuite { encryption, key_bits: 128, prf, integrity, group: DhGroup::CURVE25519 };
    let integrity_key = if integrity == IntegrityId::NONE { &[][..] } else { &[2; 32] };
    sk_cipher(&suite, [1; 20].get(..key_len)?, integrity_key)
}

/// Not random at all, so that a finding can be repeated.
struct Counter(u8);

impl Random for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}

/// Whether a file of the corpus is a message.
#[cfg(test)]
pub(super) fn is_message(file: &[u8]) -> bool {
    Message::decode(file).is_ok()
}

/// Whether a file of the corpus holds payloads.
#[cfg(test)]
pub(super) fn holds_payloads(file: &[u8]) -> bool {
    file.split_first_chunk().is_some_and(|([choice, first], content)| {
        matches!(sealed_and_opened(*choice, *first, content), Some(Ok(message)) if !message.payloads.is_empty())
    })
}
