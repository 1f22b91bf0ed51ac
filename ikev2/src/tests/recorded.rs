//! Two strongSwan daemons, recorded with their secrets (`testdata/recorded/README.md`): we derive the same keys, read and write
//! every message, and agree with every proof.

use std::{collections::BTreeMap, time::Duration};

use adit_testing::{Vector, vectors};
use adit_tunnel::Secret;
use pki_types::CertificateDer;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    CertificateVerifier, ExpectedIdentity, Identity,
    auth::{self, PeerVerification},
    crypto::{Prf, SkCipher},
    message::{
        Authentication, Header, Identification, IkeSpi, Message, Opened, Reassembly,
        numbers::{AuthMethod, DhGroup, EncryptionId, ExchangeType, IntegrityId, PrfId, ProtocolId},
        open,
    },
    negotiate::{EspSuite, IkeSuite},
    sa::keys::{ChildKeys, IkeKeys},
};

/// 2026-11-22, when it was recorded.
const RECORDED: Duration = Duration::from_secs(1_795_348_800);

fn suite(name: &str) -> (IkeSuite, EspSuite) {
    let (encryption, key_bits, integrity, prf, group) = match name {
        "psk" => {
            let integrity = IntegrityId::HMAC_SHA2_256_128;
            (EncryptionId::AES_CBC, 128, integrity, PrfId::HMAC_SHA2_256, DhGroup::CURVE25519)
        }
        "eap_mschapv2" => (EncryptionId::AES_GCM_16, 256, IntegrityId::NONE, PrfId::HMAC_SHA2_384, DhGroup::ECP_384),
        _ => {
            let encryption = EncryptionId::CHACHA20_POLY1305;
            (encryption, 256, IntegrityId::NONE, PrfId::HMAC_SHA2_256, DhGroup::CURVE25519)
        }
    };
    let ike = IkeSuite { encryption, key_bits, prf: Prf::new(prf).unwrap(), integrity, group };
    (ike, EspSuite { encryption, key_bits, integrity, group: DhGroup::NONE, esn: false })
}

struct Sa {
    keys: IkeKeys,
    /// Of each direction and kind.
    fragments: BTreeMap<(bool, bool), (Reassembly, Vec<u8>)>,
}

struct Recording {
    name: &'static str,
    facts: Vector,
    ike_sas: Vec<Vector>,
    child_sas: Vec<Vector>,
    /// Without markers.
    datagrams: Vec<Vec<u8>>,
    sas: BTreeMap<IkeSpi, Sa>,
    /// In order, whole.
    messages: Vec<Message>,
}

impl Recording {
    fn read(name: &'static str) -> Self {
        let records = vectors(format!("{}/testdata/recorded/{name}.txt", env!("CARGO_MANIFEST_DIR")));
        let of = |kind: &str| records.iter().filter(|r| r["record"] == kind.as_bytes()).cloned().collect::<Vec<_>>();
        let bare = |r: &Vector| r["datagram"].strip_prefix(&[0; 4]).unwrap_or(&r["datagram"]).to_vec();
        let datagrams = of("ike").iter().map(bare).collect();
        let (facts, ike_sas, child_sas) = (of("facts").remove(0), of("ike_sa"), of("child_sa"));
        let mut recording =
            Self { name, facts, ike_sas, child_sas, datagrams, sas: BTreeMap::new(), messages: Vec::new() };
        recording.replay();
        recording
    }

    fn replay(&mut self) {
        let (mut ike_sas, mut child_sas) = (self.ike_sas.clone().into_iter(), self.child_sas.clone().into_iter());
        for datagram in self.datagrams.clone() {
            let header = Header::peek(&datagram).unwrap();
            if header.exchange == ExchangeType::IKE_SA_INIT {
                self.messages.push(Message::decode(&datagram).unwrap());
                if let ([request, response], true) = (&self.messages[..], header.response) {
                    let keys = self.first_keys(&ike_sas.next().unwrap(), request, response);
                    self.check_child(&child_sas.next().unwrap(), &keys, request, response);
                    self.sas.insert(header.initiator_spi, Sa { keys, fragments: BTreeMap::new() });
                }
                continue;
            }
            let Some(message) = self.decrypt(&header, &datagram) else { continue };
            self.messages.push(message);
            let [.., request, response] = &self.messages[..] else { continue };
            if !header.response || header.exchange != ExchangeType::CREATE_CHILD_SA {
                continue;
            }
            let old = &self.sas[&header.initiator_spi].keys;
            if request.sa().unwrap().proposals[0].protocol == ProtocolId::IKE {
                let (keys, spi) = self.next_keys(&ike_sas.next().unwrap(), old, request, response);
                self.sas.insert(spi, Sa { keys, fragments: BTreeMap::new() });
            } else {
                self.check_child(&child_sas.next().unwrap(), old, request, response);
            }
        }
        assert!(ike_sas.next().is_none() && child_sas.next().is_none(), "{}: keys that nobody uses", self.name);
    }

    /// Reads it in both ways: as the session does, and by the cipher alone to compare the bytes.
    fn decrypt(&mut self, header: &Header, datagram: &[u8]) -> Option<Message> {
        let Sa { keys, fragments } = self.sas.get_mut(&header.initiator_spi).expect("keys");
        let cipher = if header.from_initiator { &*keys.initiator } else { &*keys.responder };
        let (reassembly, plain) = fragments.entry((header.from_initiator, header.response)).or_default();
        plain.extend(plaintext(cipher, datagram));
        let Opened { message, .. } = open(&mut datagram.to_vec(), cipher, reassembly).unwrap()?;
        let plain = std::mem::take(plain);
        assert_eq!(hex::encode(&message.encode()[Header::LEN..]), hex::encode(plain), "{message:?}");
        Some(message)
    }

    fn first_keys(&self, record: &Vector, request: &Message, response: &Message) -> IkeKeys {
        let (suite, _) = suite(self.name);
        let (shared, ni, nr) =
            (Secret::new(record["g_ir"].clone()), request.nonce().unwrap(), response.nonce().unwrap());
        let spis = (response.header.initiator_spi, response.header.responder_spi);
        assert_eq!(
            (&spis.0.0.to_be_bytes()[..], &spis.1.0.to_be_bytes()[..]),
            (&record["spi_i"][..], &record["spi_r"][..])
        );
        let keys = IkeKeys::first(&suite, &shared, ni, nr, spis.0, spis.1, &adit_tunnel::KeySink::default()).unwrap();
        assert_keys(&keys, record);
        keys
    }

    fn next_keys(&self, record: &Vector, old: &IkeKeys, request: &Message, response: &Message) -> (IkeKeys, IkeSpi) {
        let (suite, _) = suite(self.name);
        let (shared, ni, nr) =
            (Secret::new(record["g_ir"].clone()), request.nonce().unwrap(), response.nonce().unwrap());
        let spi = |message: &Message| {
            IkeSpi(u64::from_be_bytes(message.sa().unwrap().proposals[0].spi[..].try_into().unwrap()))
        };
        let spis = (spi(request), spi(response));
        let keys = IkeKeys::rekeyed(
            suite.prf,
            &old.d,
            &suite,
            &shared,
            ni,
            nr,
            spis.0,
            spis.1,
            &adit_tunnel::KeySink::default(),
        )
        .unwrap();
        assert_keys(&keys, record);
        (keys, spis.0)
    }

    fn check_child(&self, record: &Vector, ike: &IkeKeys, request: &Message, response: &Message) {
        let (ike_suite, suite) = suite(self.name);
        let shared = record.get("g_ir").map(|shared| Secret::new(shared.clone()));
        let (ni, nr) = (request.nonce().unwrap(), response.nonce().unwrap());
        let keys = ChildKeys::derive(ike_suite.prf, &ike.d, shared.as_ref(), ni, nr, &suite);
        let none = Vec::new();
        for (keys, encryption, integrity) in
            [(&keys.to_responder, "encr_i", "integ_i"), (&keys.to_initiator, "encr_r", "integ_r")]
        {
            assert_eq!(keys.encryption.expose(), record[encryption], "{} {encryption}", self.name);
            assert_eq!(keys.integrity.expose(), record.get(integrity).unwrap_or(&none), "{} {integrity}", self.name);
        }
    }

    /// What an end of the first IKE SA signs.
    fn octets(&self, initiator: bool, id: &Identification) -> Vec<u8> {
        let (suite, _) = suite(self.name);
        let sa = &self.sas[&self.messages[0].header.initiator_spi];
        let (own, other, key) = if initiator { (0, 1, &sa.keys.pi) } else { (1, 0, &sa.keys.pr) };
        let nonce = self.messages[other].nonce().unwrap();
        auth::octets(suite.prf, &self.datagrams[own], nonce, key.expose(), &id.body()).to_vec()
    }

    fn id(&self, initiator: bool) -> Identification {
        let found = self
            .messages
            .iter()
            .find_map(|m| if initiator { m.id_i() } else { m.id_r().filter(|_| m.header.response) });
        found.expect("an identity").clone()
    }

    /// The AUTH payloads of one end, in order.
    fn proofs(&self, initiator: bool) -> Vec<&Authentication> {
        self.messages.iter().filter(|m| m.header.from_initiator == initiator).filter_map(Message::auth).collect()
    }

    fn assert_shared_key(&self, key: &[u8]) {
        let (suite, _) = suite(self.name);
        for initiator in [true, false] {
            let octets = self.octets(initiator, &self.id(initiator));
            let ours = auth::shared_key(suite.prf, key, &octets);
            assert_eq!(*self.proofs(initiator).last().unwrap(), &ours, "{}, initiator: {initiator}", self.name);
            assert!(auth::verify_shared_key(suite.prf, key, &octets, &ours).is_ok());
        }
    }

    fn assert_signature(&self, initiator: bool) {
        let id = self.id(initiator);
        let verifier = CertificateVerifier {
            anchors: vec![CertificateDer::from(self.facts["ca"].clone())],
            crls: vec![],
            identity: ExpectedIdentity::Exactly(Identity::from_payload(&id).unwrap()),
        };
        let verification = PeerVerification::new(&verifier).unwrap();
        let with_certificates = self
            .messages
            .iter()
            .find(|m| m.header.from_initiator == initiator && m.certs().next().is_some() && m.auth().is_some());
        let certificates: Vec<_> = with_certificates.expect("certificates").certs().collect();
        let proof = self.proofs(initiator)[0];
        assert_ne!(proof.method, AuthMethod::PSK);
        let octets = self.octets(initiator, &id);
        let verify = |octets: &[u8]| verification.verify("", &certificates, &id, proof, octets, RECORDED, false);
        verify(&octets).unwrap_or_else(|error| panic!("{}, initiator: {initiator}: {error}", self.name));
        let mut other = octets;
        other[40] ^= 1;
        assert!(verify(&other).is_err());
    }
}

fn assert_keys(keys: &IkeKeys, record: &Vector) {
    // What the others are shows in what they decrypt.
    for (ours, theirs) in [(&keys.d, "sk_d"), (&keys.pi, "sk_pi"), (&keys.pr, "sk_pr")] {
        assert_eq!(ours.expose(), record[theirs], "{theirs}");
    }
}

/// The content of an SK or SKF payload.
fn plaintext(cipher: &dyn SkCipher, datagram: &[u8]) -> Vec<u8> {
    let fragment = if datagram[16] == 53 { 4 } else { 0 };
    let mut buffer = datagram.to_vec();
    let range = cipher.open(&mut buffer, Header::LEN + 4 + fragment).expect("authentic");
    let padded = &buffer[range];
    let padding = usize::from(*padded.last().unwrap());
    padded[..padded.len() - 1 - padding].to_vec()
}

#[test]
fn with_a_pre_shared_key() {
    let recording = Recording::read("psk");
    assert_eq!(recording.sas.len(), 2, "one was replaced");
    recording.assert_shared_key(&recording.facts["psk"]);
}

#[test]
fn with_eap_mschapv2_in_fragments() {
    let recording = Recording::read("eap_mschapv2");
    recording.assert_signature(false);
    recording.assert_shared_key(&recording.facts["msk"]);
    assert!(recording.datagrams.iter().any(|datagram| datagram[16] == 53), "in fragments");
}

#[test]
fn with_certificates_of_both_ends() {
    let recording = Recording::read("ecdsa");
    recording.assert_signature(false);
    // The client's certificate is none of a gateway; its key is what matters.
    let (_, certificate) = X509Certificate::from_der(&recording.facts["client_certificate"]).unwrap();
    let key = certificate.public_key().subject_public_key.data.to_vec();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key);
    let proof = recording.proofs(true)[0];
    assert_eq!(proof.method, AuthMethod::DIGITAL_SIGNATURE);
    let signature = &proof.data[1 + usize::from(proof.data[0])..];
    let octets = recording.octets(true, &recording.id(true));
    assert!(key.verify(&octets, signature).is_ok());
    assert!(key.verify(&octets[1..], signature).is_err());
}
