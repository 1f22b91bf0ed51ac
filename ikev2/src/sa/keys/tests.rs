use adit_testing::{Vector, vectors};

use super::*;
use crate::{
    crypto::tests::vectors_of,
    message::{
        Message, Reassembly, SecurityAssociation,
        numbers::{ExchangeType, NotifyType, PrfId, ProtocolId},
        open,
    },
    negotiate::{EspProposals, IkeProposals},
};

fn text<'a>(vector: &'a Vector, name: &str) -> &'a str {
    std::str::from_utf8(&vector[name]).unwrap()
}

fn spi(bytes: &[u8]) -> IkeSpi {
    IkeSpi(u64::from_be_bytes(bytes.try_into().unwrap()))
}

fn secret(vector: &Vector, name: &str) -> Secret {
    Secret::new(vector[name].as_slice())
}

#[test]
fn key_derivation_gives_the_known_answers() {
    for vector in vectors_of(&["key_derivation"]) {
        let prf = Prf::new(PrfId(u16::from_be_bytes(vector["prf"].as_slice().try_into().unwrap()))).unwrap();
        let (ni, nr) = (&vector["ni"], &vector["nr"]);
        let (shared, new) = (secret(&vector, "g_ir"), secret(&vector, "g_ir_new"));
        let seed = skeyseed(prf, &shared, ni, nr);
        assert_eq!(seed, secret(&vector, "skeyseed"));
        let (spi_i, spi_r) = (spi(&vector["spi_i"]), spi(&vector["spi_r"]));
        let dkm = ike_material(prf, &seed, ni, nr, spi_i, spi_r, vector["dkm"].len());
        assert_eq!(dkm, secret(&vector, "dkm"));
        let d = Secret::new(&dkm.expose()[..prf.key_len()]);
        assert_eq!(rekeyed_skeyseed(prf, &d, &new, ni, nr), secret(&vector, "skeyseed_rekey"));
        if vector.contains_key("child") {
            let child = |shared, len| child_material(prf, &d, shared, ni, nr, len);
            assert_eq!(child(None, vector["child"].len()), secret(&vector, "child"));
            assert_eq!(child(Some(&new), vector["child_dh"].len()), secret(&vector, "child_dh"));
        }
    }
}

#[test]
fn a_prf_with_keys_of_one_length_takes_half_of_it_from_each_nonce() {
    let (shared, ni, nr) = (Secret::from("g^ir"), [1; 32], [2; 16]);
    for id in [PrfId::AES_XCBC, PrfId::AES_CMAC] {
        let prf = Prf::new(id).unwrap();
        let key = [[1; 8], [2; 8]].concat();
        assert_eq!(skeyseed(prf, &shared, &ni, &nr), prf.sign(&key, &[shared.expose()]));
        // Only there: the nonces are data of the PRF everywhere else.
        let d = Secret::from("d");
        assert_eq!(rekeyed_skeyseed(prf, &d, &shared, &ni, &nr), prf.sign(b"d", &[shared.expose(), &ni, &nr]));
    }
}

/// strongSwan's name of a suite in its log, in its notation for configurations.
fn notation(suite: &str) -> &'static str {
    match suite {
        "AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519" => "aes128-sha256-x25519",
        "AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384" => "aes256gcm16-prfsha384-ecp384",
        "CHACHA20_POLY1305/PRF_HMAC_SHA2_256/CURVE_25519" => "chacha20poly1305-prfsha256-x25519",
        "AES_CBC_128/HMAC_SHA2_256_128/NO_EXT_SEQ" => "aes128-sha256",
        "AES_CBC_128/HMAC_SHA2_256_128/CURVE_25519/NO_EXT_SEQ" => "aes128-sha256-x25519",
        "AES_GCM_16_256/NO_EXT_SEQ" => "aes256gcm16",
        "CHACHA20_POLY1305/NO_EXT_SEQ" => "chacha20poly1305",
        "CHACHA20_POLY1305/CURVE_25519/NO_EXT_SEQ" => "chacha20poly1305-x25519",
        other => panic!("a new suite: {other}"),
    }
}

/// What one recorded IKE SA has shown so far.
struct Recorded {
    spis: (IkeSpi, IkeSpi),
    suite: IkeSuite,
    /// Of the exchange that made it.
    nonces: (Vec<u8>, Vec<u8>),
    keys: IkeKeys,
    reassembly: [Reassembly; 2],
}

/// A conversation between two strongSwan daemons, against the keys in their logs.
struct Replay {
    ike_keys: std::vec::IntoIter<Vector>,
    child_keys: std::vec::IntoIter<Vector>,
    sas: Vec<Recorded>,
    /// The request that is not answered yet.
    request: Option<Message>,
}

impl Replay {
    fn message(&mut self, datagram: &mut [u8]) {
        let message = match datagram[18] {
            34 => Message::decode(datagram).unwrap(),
            _ => match self.open(datagram) {
                Some(message) => message,
                None => return, // a fragment
            },
        };
        if !message.header.response {
            self.request = Some(message);
        } else if let Some(request) = self.request.take() {
            self.exchange(&request, &message);
        }
    }

    fn open(&mut self, datagram: &mut [u8]) -> Option<Message> {
        let spis = (spi(&datagram[..8]), spi(&datagram[8..16]));
        let sa = self.sas.iter_mut().find(|sa| sa.spis == spis).unwrap();
        let from_initiator = datagram[19] & 0x08 != 0;
        let cipher = if from_initiator { &sa.keys.initiator } else { &sa.keys.responder };
        let reassembly = &mut sa.reassembly[usize::from(from_initiator)];
        open(datagram, cipher.as_ref(), reassembly).unwrap().map(|opened| opened.message)
    }

    fn exchange(&mut self, request: &Message, response: &Message) {
        let Some(answer) = response.sa() else { return };
        let nonces = || (request.nonce().unwrap().to_vec(), response.nonce().unwrap().to_vec());
        match (response.header.exchange, answer.proposals[0].protocol) {
            (ExchangeType::IKE_SA_INIT, _) => {
                let spis = (response.header.initiator_spi, response.header.responder_spi);
                self.ike_sa(spis, nonces(), answer, None);
            }
            (ExchangeType::CREATE_CHILD_SA, ProtocolId::IKE) => {
                let spis = (spi(&request.sa().unwrap().proposals[0].spi), spi(&answer.proposals[0].spi));
                self.ike_sa(spis, nonces(), answer, Some(self.index(response)));
            }
            (ExchangeType::CREATE_CHILD_SA, _) => {
                assert!(request.notify(NotifyType::REKEY_SA).is_some());
                self.child(self.index(response), nonces(), answer);
            }
            _ => {
                let index = self.index(response);
                self.child(index, self.sas[index].nonces.clone(), answer);
            }
        }
    }

    fn index(&self, message: &Message) -> usize {
        let spis = (message.header.initiator_spi, message.header.responder_spi);
        self.sas.iter().position(|sa| sa.spis == spis).unwrap()
    }

    fn ike_sa(
        &mut self,
        spis: (IkeSpi, IkeSpi),
        nonces: (Vec<u8>, Vec<u8>),
        answer: &SecurityAssociation,
        old: Option<usize>,
    ) {
        let logged = self.ike_keys.next().unwrap();
        assert_eq!(spis, (spi(&logged["spi_i"]), spi(&logged["spi_r"])));
        let proposals: IkeProposals = notation(text(&logged, "suite")).parse().unwrap();
        let (suite, _) = proposals.accept(&first(answer)).unwrap();
        let (ni, nr) = (nonces.0.as_slice(), nonces.1.as_slice());
        let shared = secret(&logged, "g_ir");
        let keys = match old.map(|old| &self.sas[old]) {
            None => IkeKeys::first(&suite, &shared, ni, nr, spis.0, spis.1, &KeySink::default()),
            Some(old) => IkeKeys::rekeyed(
                old.suite.prf,
                &old.keys.d,
                &suite,
                &shared,
                ni,
                nr,
                spis.0,
                spis.1,
                &KeySink::default(),
            ),
        };
        let keys = keys.unwrap();
        for (ours, name) in [(&keys.d, "sk_d"), (&keys.pi, "sk_pi"), (&keys.pr, "sk_pr")] {
            assert_eq!(*ours, secret(&logged, name), "{name}");
        }
        self.sas.push(Recorded { spis, suite, nonces, keys, reassembly: [Reassembly::new(), Reassembly::new()] });
    }

    fn child(&mut self, ike: usize, nonces: (Vec<u8>, Vec<u8>), answer: &SecurityAssociation) {
        let logged = self.child_keys.next().unwrap();
        let proposals: EspProposals = notation(text(&logged, "suite")).parse().unwrap();
        let (suite, spi) = proposals.accept(&first(answer), &proposals.groups()).unwrap();
        // The answer names the SPI the responder receives on; the log, seen from the initiator of the exchange.
        assert_eq!(spi.to_be_bytes(), logged["spi_to_r"].as_slice());
        let shared = logged.contains_key("g_ir").then(|| secret(&logged, "g_ir"));
        let ike = &self.sas[ike];
        let keys = ChildKeys::derive(ike.suite.prf, &ike.keys.d, shared.as_ref(), &nonces.0, &nonces.1, &suite);
        for (ours, name) in [
            (keys.to_responder.encryption, "encr_i"),
            (keys.to_initiator.encryption, "encr_r"),
            (keys.to_responder.integrity, "integ_i"),
            (keys.to_initiator.integrity, "integ_r"),
        ] {
            assert_eq!(ours.expose(), logged.get(name).map_or(&[][..], Vec::as_slice), "{name}");
        }
    }
}

/// The answer as if it had chosen the first proposal: the offer was longer than what the test offers.
fn first(answer: &SecurityAssociation) -> SecurityAssociation {
    let mut answer = answer.clone();
    answer.proposals[0].number = 1;
    answer
}

#[test]
fn keys_of_recorded_handshakes_are_those_in_strongswans_logs() {
    for name in ["psk", "eap_mschapv2", "ecdsa"] {
        let all = vectors(format!("{}/testdata/recorded/{name}.txt", env!("CARGO_MANIFEST_DIR")));
        let of = |kind: &str| -> Vec<Vector> { all.iter().filter(|v| text(v, "record") == kind).cloned().collect() };
        let (ike_keys, child_keys) = (of("ike_sa").into_iter(), of("child_sa").into_iter());
        let mut replay = Replay { ike_keys, child_keys, sas: Vec::new(), request: None };
        for mut vector in of("ike") {
            let datagram = vector.get_mut("datagram").unwrap();
            let marker = if datagram.starts_with(&[0; 4]) { 4 } else { 0 };
            replay.message(&mut datagram[marker..]);
        }
        assert!(replay.ike_keys.next().is_none() && replay.child_keys.next().is_none(), "{name}");
    }
}
