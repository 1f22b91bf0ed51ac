//! ESP between two strongSwan daemons, recorded with its keys (`testdata/recorded/README.md`).

use adit_testing::{Vector, vectors};

use super::*;

const RECORDINGS: [&str; 3] = ["psk", "eap_mschapv2", "ecdsa"];

fn load(name: &str) -> Vec<Vector> {
    vectors(format!("{}/testdata/recorded/{name}.txt", env!("CARGO_MANIFEST_DIR")))
}

fn suite_of(child: &Vector) -> EspSuite {
    let text = std::str::from_utf8(&child["suite"]).unwrap();
    match text.split("/CURVE_25519").next().unwrap().trim_end_matches("/NO_EXT_SEQ") {
        "AES_CBC_128/HMAC_SHA2_256_128" => cbc(false),
        "AES_GCM_16_256" => gcm(false),
        "CHACHA20_POLY1305" => suite(EncryptionId::CHACHA20_POLY1305, 256, IntegrityId::NONE, false),
        other => panic!("{other}"),
    }
}

/// One direction of a child: what it is addressed by, and its key.
fn directions(child: &Vector) -> [([u8; 4], EspKeys); 2] {
    [("spi_to_r", "encr_i", "integ_i"), ("spi_to_i", "encr_r", "integ_r")].map(|(spi, encryption, integrity)| {
        let key = |name| Secret::new(child.get(name).cloned().unwrap_or_default());
        (child[spi].as_slice().try_into().unwrap(), EspKeys { encryption: key(encryption), integrity: key(integrity) })
    })
}

#[test]
fn every_recorded_packet_is_opened_and_no_other_is_inside() {
    for name in RECORDINGS {
        let records = load(name);
        let of_kind = |kind: &'static str| records.iter().filter(move |record| record["record"] == kind.as_bytes());
        let mut openers: Vec<_> = of_kind("child_sa")
            .flat_map(|child| directions(child).map(|(spi, keys)| (spi, suite_of(child), keys)))
            .map(|(spi, suite, keys)| (spi, EspOpener::new(&suite, &keys, 1024, anything(), Arc::default()).unwrap()))
            .collect();
        let mut count = 0;
        for esp in of_kind("esp") {
            let (_, opener) = openers.iter_mut().find(|(spi, _)| esp["datagram"].starts_with(spi)).unwrap();
            let (opened, packet) = open(opener, &esp["datagram"]).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!((&packet, opened.newest), (&esp["inner"], true), "{name}");
            assert_eq!(open(opener, &esp["datagram"]), Err(OpenError::Replayed));
            count += 1;
        }
        assert!(count >= 6, "{name}");
    }
}

/// Apart from IVs, what strongSwan seals and what we seal is the same, padding included.
#[test]
fn packets_sealed_here_decrypt_to_what_strongswan_put_inside() {
    for name in RECORDINGS {
        let records = load(name);
        let children: Vec<_> = records.iter().filter(|record| record["record"] == b"child_sa").collect();
        for esp in records.iter().filter(|record| record["record"] == b"esp") {
            let ((spi, keys), suite) = children
                .iter()
                .flat_map(|child| directions(child).map(|direction| (direction, suite_of(child))))
                .find(|((spi, _), _)| esp["datagram"].starts_with(spi))
                .unwrap();
            let sequence = u32::from_be_bytes(esp["datagram"][4..8].try_into().unwrap());
            let random = &mut SeededRandom::new(1);
            let mut sealer = EspSealer::new(&suite, &keys, u32::from_be_bytes(spi), random, Arc::default()).unwrap();
            sealer.set_last_sequence(u64::from(sequence) - 1);
            let mut ours = seal(&mut sealer, &esp["inner"]).unwrap();
            let mut theirs = esp["datagram"].clone();
            assert_eq!((ours.len(), &ours[..8]), (theirs.len(), &theirs[..8]), "{name}");
            let opener = EspOpener::new(&suite, &keys, 1024, anything(), Arc::default()).unwrap();
            let (_, content) = opener.authenticate(&mut theirs).unwrap();
            assert_eq!(opener.authenticate(&mut ours), Ok((sequence.into(), content.clone())));
            assert_eq!(ours[content.clone()], theirs[content], "{name}");
        }
    }
}
