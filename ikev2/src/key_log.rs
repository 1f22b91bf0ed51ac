//! Keys of IKE and ESP in the words of Wireshark 4: its tables `ikev2_decryption_table` and `esp_sa`.

use std::fmt::Write;

use adit_tunnel::{KeySink, Path, Secret};
use zeroize::Zeroizing;

use crate::{
    message::{
        IkeSpi,
        numbers::{EncryptionId, IntegrityId},
    },
    negotiate::{EspSuite, IkeSuite},
    sa::keys::EspKeys,
};

/// SK_ei, SK_er, SK_ai and SK_ar of an IKE SA.
pub(crate) fn ike(sink: &KeySink, suite: &IkeSuite, spis: (IkeSpi, IkeSpi), keys: [&[u8]; 4]) {
    let Some(encryption) = ike_encryption(suite) else {
        return tracing::debug!("keys are not logged: Wireshark has no {suite}");
    };
    let integrity = integrity_of_ike(suite.integrity);
    sink.log(|| {
        let [ei, er, ai, ar] = keys.map(hex);
        let line = format!(
            "uat:ikev2_decryption_table:{:016x},{:016x},{},{},\"{encryption}\",{},{},\"{integrity}\"",
            spis.0.0, spis.1.0, *ei, *er, *ai, *ar
        );
        Zeroizing::new(line)
    });
}

/// One direction of a child. Addresses are left open: behind NAT, and with MOBIKE, they change.
pub(crate) fn esp(sink: &KeySink, suite: &EspSuite, path: &Path, spi: u32, keys: &EspKeys) {
    let Some((encryption, integrity)) = esp_algorithms(suite) else {
        return tracing::debug!("keys are not logged: Wireshark has no {suite}");
    };
    let protocol = if path.remote.is_ipv4() { "IPv4" } else { "IPv6" };
    sink.log(|| {
        let key = |key: &Secret| if key.expose().is_empty() { Zeroizing::default() } else { prefixed(key.expose()) };
        let line = format!(
            "uat:esp_sa:\"{protocol}\",\"*\",\"*\",\"0x{spi:08x}\",\"{encryption}\",\"{}\",\"{integrity}\",\"{}\"",
            *key(&keys.encryption),
            *key(&keys.integrity)
        );
        Zeroizing::new(line)
    });
}

fn ike_encryption(suite: &IkeSuite) -> Option<String> {
    let bits = suite.key_bits;
    Some(match suite.encryption {
        EncryptionId::AES_CBC => format!("AES-CBC-{bits} [RFC3602]"),
        EncryptionId::AES_GCM_16 => format!("AES-GCM-{bits} with 16 octet ICV [RFC5282]"),
        EncryptionId::AES_GCM_12 => format!("AES-GCM-{bits} with 12 octet ICV [RFC5282]"),
        EncryptionId::AES_GCM_8 => format!("AES-GCM-{bits} with 8 octet ICV [RFC5282]"),
        EncryptionId::AES_CCM_16 => format!("AES-CCM-{bits} with 16 octet ICV [RFC5282]"),
        EncryptionId::AES_CCM_12 => format!("AES-CCM-{bits} with 12 octet ICV [RFC5282]"),
        EncryptionId::AES_CCM_8 => format!("AES-CCM-{bits} with 8 octet ICV [RFC5282]"),
        EncryptionId::TRIPLE_DES => "3DES [RFC2451]".to_owned(),
        _ => return None,
    })
}

fn integrity_of_ike(id: IntegrityId) -> &'static str {
    match id {
        IntegrityId::HMAC_SHA1_96 => "HMAC_SHA1_96 [RFC2404]",
        IntegrityId::HMAC_SHA2_256_128 => "HMAC_SHA2_256_128 [RFC4868]",
        IntegrityId::HMAC_SHA2_384_192 => "HMAC_SHA2_384_192 [RFC4868]",
        IntegrityId::HMAC_SHA2_512_256 => "HMAC_SHA2_512_256 [RFC4868]",
        _ => "NONE [RFC4306]",
    }
}

fn esp_algorithms(suite: &EspSuite) -> Option<(&'static str, &'static str)> {
    let encryption = match suite.encryption {
        EncryptionId::AES_CBC => "AES-CBC [RFC3602]",
        EncryptionId::AES_CTR => "AES-CTR [RFC3686]",
        EncryptionId::AES_GCM_16 => return Some(("AES-GCM with 16 octet ICV [RFC4106]", "NULL")),
        EncryptionId::AES_GCM_12 => return Some(("AES-GCM with 12 octet ICV [RFC4106]", "NULL")),
        EncryptionId::AES_GCM_8 => return Some(("AES-GCM with 8 octet ICV [RFC4106]", "NULL")),
        EncryptionId::TRIPLE_DES => "TripleDES-CBC [RFC2451]",
        _ => return None,
    };
    Some((
        encryption,
        match suite.integrity {
            IntegrityId::HMAC_SHA1_96 => "HMAC-SHA-1-96 [RFC2404]",
            IntegrityId::HMAC_SHA2_256_128 => "HMAC-SHA-256-128 [RFC4868]",
            IntegrityId::HMAC_SHA2_384_192 => "HMAC-SHA-384-192 [RFC4868]",
            IntegrityId::HMAC_SHA2_512_256 => "HMAC-SHA-512-256 [RFC4868]",
            _ => return None,
        },
    ))
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

fn prefixed(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(format!("0x{}", *hex(bytes)))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use adit_tunnel::{KeyLog, Transport};

    use super::*;
    use crate::message::numbers::DhGroup;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl KeyLog for Lines {
        fn line(&self, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }
    }

    #[test]
    fn keys_are_lines_as_wireshark_has_them() {
        let lines = Lines::default();
        let sink = KeySink::new(lines.clone());
        let esp =
            |encryption, integrity| EspSuite { encryption, key_bits: 128, integrity, group: DhGroup::NONE, esn: false };
        let path = Path { transport: Transport::Udp, local: None, remote: "192.0.2.1:4500".parse().unwrap() };
        let keys = EspKeys { encryption: Secret::new([0xab; 2]), integrity: Secret::new([]) };
        super::esp(&sink, &esp(EncryptionId::AES_GCM_16, IntegrityId::NONE), &path, 0x1234, &keys);
        let keys = EspKeys { integrity: Secret::new([0xcd]), ..keys };
        super::esp(&sink, &esp(EncryptionId::AES_CBC, IntegrityId::HMAC_SHA2_256_128), &path, 0x1234, &keys);
        // Nothing that Wireshark would not take.
        super::esp(&sink, &esp(EncryptionId::CHACHA20_POLY1305, IntegrityId::NONE), &path, 0x1234, &keys);
        let expected = [
            r#"uat:esp_sa:"IPv4","*","*","0x00001234","AES-GCM with 16 octet ICV [RFC4106]","0xabab","NULL","""#,
            r#"uat:esp_sa:"IPv4","*","*","0x00001234","AES-CBC [RFC3602]","0xabab","HMAC-SHA-256-128 [RFC4868]","0xcd""#,
        ];
        assert_eq!(*lines.0.lock().unwrap(), expected);
        assert_eq!(format!("{sink:?}"), "KeySink(on)");
    }
}
