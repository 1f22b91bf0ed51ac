//! AUTH of two strongSwan daemons in recorded handshakes (`testdata/recorded/README.md`): by PSK, by certificates, by EAP.

use adit_testing::{Vector, vectors};

use super::{super::verify::verify_signature, *};
use crate::{
    config::SignatureChoice,
    crypto::sk::{SkCipher, sk_cipher},
    message::{
        Header, Message, Reassembly,
        numbers::{DhGroup, EncryptionId, ExchangeType, IntegrityId, PrfId},
        open,
    },
    negotiate::IkeSuite,
};

/// November 2026.
const RECORDED: Duration = Duration::from_secs(1_795_400_000);

struct Recording {
    facts: Vector,
    keys: Vector,
    prf: Prf,
    /// IKE_SA_INIT as it was sent, request and answer.
    init: Vec<Vec<u8>>,
    /// What is inside of IKE_AUTH, in the order of the wire.
    auth: Vec<Message>,
}

/// An end with what it signs.
struct End<'a> {
    id: &'a Identification,
    octets: Vec<u8>,
}

impl Recording {
    fn read(name: &str) -> Self {
        let records = vectors(testdata(&format!("recorded/{name}.txt")));
        let first = |kind: &str| records.iter().find(|record| record["record"] == kind.as_bytes()).unwrap().clone();
        let (facts, keys) = (first("facts"), first("ike_sa"));
        let (suite, ciphers) = (suite(&keys), |suite| [cipher(&keys, suite, "i"), cipher(&keys, suite, "r")]);
        let (prf, [from_initiator, from_responder]) = (suite.prf, ciphers(&suite));
        let mut reassembly = [Reassembly::new(), Reassembly::new()];
        let (mut init, mut auth) = (Vec::new(), Vec::new());
        for record in records.iter().filter(|record| record["record"] == b"ike") {
            let datagram = &record["datagram"];
            let mut datagram = datagram.strip_prefix(&[0; 4]).unwrap_or(datagram).to_vec();
            let header = Header::peek(&datagram).unwrap();
            match header.exchange {
                ExchangeType::IKE_SA_INIT => init.push(datagram),
                ExchangeType::IKE_AUTH => {
                    let cipher = if header.from_initiator { &from_initiator } else { &from_responder };
                    let opened = open(&mut datagram, &**cipher, &mut reassembly[usize::from(header.from_initiator)]);
                    auth.extend(opened.unwrap().map(|opened| opened.message));
                }
                _ => {}
            }
        }
        assert_eq!(init.len(), 2);
        Self { facts, keys, prf, init, auth }
    }

    fn initiator(&self) -> End<'_> {
        let nonce = Message::decode(&self.init[1]).unwrap().nonce().unwrap().clone();
        let id = self.auth.iter().find_map(Message::id_i).unwrap();
        let octets = octets(self.prf, &self.init[0], &nonce, &self.keys["sk_pi"], &id.body());
        End { id, octets: octets.to_vec() }
    }

    fn responder(&self) -> End<'_> {
        let nonce = Message::decode(&self.init[0]).unwrap().nonce().unwrap().clone();
        let answers = self.auth.iter().filter(|message| message.header.response);
        let id = answers.clone().find_map(Message::id_r).unwrap();
        let octets = octets(self.prf, &self.init[1], &nonce, &self.keys["sk_pr"], &id.body());
        End { id, octets: octets.to_vec() }
    }

    fn auths(&self, response: bool) -> Vec<&Authentication> {
        self.auth.iter().filter(|message| message.header.response == response).filter_map(Message::auth).collect()
    }

    fn certs(&self, response: bool) -> Vec<&Certificate> {
        self.auth.iter().filter(|message| message.header.response == response).flat_map(Message::certs).collect()
    }

    /// Judges the signature of one end, with octets changed if `changed`.
    fn judge(&self, end: &End<'_>, response: bool, host: &str, changed: bool) -> Result<(), PeerNotAuthenticated> {
        let mut octets = end.octets.clone();
        octets[30] ^= u8::from(changed);
        let anchors = vec![self.facts["ca"].clone().into()];
        let verifier = CertificateVerifier { anchors, crls: Vec::new(), identity: ExpectedIdentity::Host };
        let verification = PeerVerification::new(&verifier).unwrap();
        let auth = self.auths(response)[0];
        verification.verify(host, &self.certs(response), end.id, auth, &octets, RECORDED, false).map(drop)
    }
}

fn suite(keys: &Vector) -> IkeSuite {
    let (encryption, key_bits, integrity, prf) = match str::from_utf8(&keys["suite"]).unwrap() {
        "AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519" => {
            (EncryptionId::AES_CBC, 128, IntegrityId::HMAC_SHA2_256_128, PrfId::HMAC_SHA2_256)
        }
        "AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384" => {
            (EncryptionId::AES_GCM_16, 256, IntegrityId::NONE, PrfId::HMAC_SHA2_384)
        }
        "CHACHA20_POLY1305/PRF_HMAC_SHA2_256/CURVE_25519" => {
            (EncryptionId::CHACHA20_POLY1305, 256, IntegrityId::NONE, PrfId::HMAC_SHA2_256)
        }
        other => panic!("{other}"),
    };
    IkeSuite { encryption, key_bits, prf: Prf::new(prf).unwrap(), integrity, group: DhGroup::CURVE25519 }
}

fn cipher(keys: &Vector, suite: &IkeSuite, end: &str) -> Box<dyn SkCipher> {
    let integrity = keys.get(&format!("sk_a{end}")).map_or(&[][..], Vec::as_slice);
    sk_cipher(suite, &keys[&format!("sk_e{end}")], integrity).unwrap()
}

#[test]
fn our_auth_of_a_pre_shared_key_is_strongswans() {
    let recording = Recording::read("psk");
    for (end, response) in [(recording.initiator(), false), (recording.responder(), true)] {
        let theirs = recording.auths(response)[0];
        assert_eq!(shared_key(recording.prf, &recording.facts["psk"], &end.octets), *theirs);
        assert!(verify_shared_key(recording.prf, &recording.facts["psk"], &end.octets, theirs).is_ok());
        assert!(verify_shared_key(recording.prf, b"another secret", &end.octets, theirs).is_err());
    }
}

#[test]
fn the_signature_of_a_gateway_holds_for_its_own_octets() {
    let recording = Recording::read("ecdsa");
    let end = recording.responder();
    assert_eq!(recording.judge(&end, true, "vpn.example.org", false), Ok(()));
    assert_eq!(recording.judge(&end, true, "vpn.example.org", true), Err(PeerNotAuthenticated::WrongSignature));
    let elsewhere = recording.judge(&end, true, "elsewhere.example.org", false);
    assert!(matches!(elsewhere, Err(PeerNotAuthenticated::WrongIdentity { .. })), "{elsewhere:?}");
}

/// The client's certificate is for clients alone.
#[test]
fn a_client_of_the_same_ca_cannot_pose_as_the_gateway() {
    let recording = Recording::read("ecdsa");
    let end = recording.initiator();
    let posed = recording.judge(&end, false, "client.example.org", false);
    assert_eq!(posed, Err(PeerNotAuthenticated::ExtendedKeyUsage));
}

/// The same key on the same octets makes a signature that differs only in what ECDSA draws.
#[test]
fn our_signature_takes_the_place_of_strongswans() {
    let recording = Recording::read("ecdsa");
    let end = recording.initiator();
    let key = adit_pki::private_key(&recording.facts["client_key_pkcs8"], None).unwrap();
    let chain = vec![recording.facts["client_certificate"].clone().into()];
    let signer = Signer::new(&ClientIdentity { chain, key }).unwrap();
    let [scheme] = signer.schemes(SignatureChoice::Auto, &HASH_ALGORITHMS, false)[..] else { panic!() };
    let (ours, theirs) = (signer.sign(scheme, &end.octets).unwrap(), recording.auths(false)[0]);
    assert_eq!((ours.method, &ours.data[..13]), (theirs.method, &theirs.data[..13]));
    let certs = signer.cert_payloads();
    assert_eq!(certs.iter().collect::<Vec<_>>(), recording.certs(false));
    let certificate = CertificateDer::from(&*certs[0].data);
    let leaf = webpki::EndEntityCert::try_from(&certificate).unwrap();
    for auth in [&ours, theirs] {
        assert_eq!(verify_signature(&leaf, auth, &end.octets, false), Ok(()));
    }
}

#[test]
fn a_gateway_with_eap_proves_itself_by_certificate_and_then_by_the_key_of_eap() {
    let recording = Recording::read("eap_mschapv2");
    let (initiator, responder) = (recording.initiator(), recording.responder());
    assert_eq!(recording.certs(true).len(), 2, "its own and the intermediate one");
    assert_eq!(recording.judge(&responder, true, "vpn.example.org", false), Ok(()));
    assert_eq!(recording.judge(&responder, true, "vpn.example.org", true), Err(PeerNotAuthenticated::WrongSignature));

    let msk = &recording.facts["msk"];
    assert_eq!(shared_key(recording.prf, msk, &initiator.octets), *recording.auths(false)[0]);
    assert_eq!(shared_key(recording.prf, msk, &responder.octets), *recording.auths(true)[1]);
}
