//! What a certificate says of itself, for people: nothing here decides anything.

use std::{fmt::Write, net::IpAddr};

use ring::digest::{SHA256, digest};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{ExtendedKeyUsage, GeneralName, KeyUsage},
    oid_registry::{OidRegistry, asn1_rs::Oid},
    prelude::FromDer,
    public_key::PublicKey,
    x509::AlgorithmIdentifier,
};

/// What a certificate says of itself. Every text is printable and of bounded length, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateFacts {
    /// Whose it is, such as `C=CH, O=Example, CN=vpn.example`.
    pub subject: String,
    /// Who says to have issued it.
    pub issuer: String,
    /// The serial number in hex digits.
    pub serial: String,
    /// The first moment it is valid, in seconds since 1970-01-01 UTC.
    pub not_before: i64,
    /// The last moment it is valid, in seconds since 1970-01-01 UTC.
    pub not_after: i64,
    /// Alternative names: host names, addresses, e-mail addresses.
    pub names: Vec<String>,
    /// Kind and size of its key, such as `RSA 2048 bits` or `EC P-256`.
    pub key: String,
    /// What it is signed with, such as `sha256WithRSAEncryption`.
    pub signature: String,
    /// Whether it may issue others.
    pub authority: bool,
    /// Key usage, such as `digitalSignature`; empty without the extension.
    pub key_usage: Vec<String>,
    /// Extended key usage, such as `serverAuth`; empty without the extension.
    pub purposes: Vec<String>,
    /// SHA-256 of the whole certificate in hex digits.
    pub sha256: String,
}

impl CertificateFacts {
    /// Reads a certificate in DER; `None` if it cannot be read.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        Some(Self {
            subject: printable(&certificate.subject().to_string()),
            issuer: printable(&certificate.issuer().to_string()),
            serial: hex(certificate.raw_serial().get(..MAX_SERIAL_BYTES).unwrap_or_else(|| certificate.raw_serial())),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            names: names.iter().filter_map(name).take(MAX_NAMES).collect(),
            key: key(&certificate),
            signature: algorithm(&certificate.signature_algorithm),
            authority: certificate.is_ca(),
            key_usage: certificate.key_usage().ok().flatten().map(|usage| usages(usage.value)).unwrap_or_default(),
            purposes: certificate
                .extended_key_usage()
                .ok()
                .flatten()
                .map(|usage| purposes(usage.value))
                .unwrap_or_default(),
            sha256: hex(digest(&SHA256, der).as_ref()),
        })
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "kinds that name no gateway")]
    Some(match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => printable(name),
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from)).ok()?.to_string()
        }
        GeneralName::DirectoryName(name) => printable(&name.to_string()),
        _ => return None,
    })
}

fn key(certificate: &X509Certificate<'_>) -> String {
    let info = certificate.public_key();
    match info.parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {} bits", key.key_size()),
        Ok(PublicKey::EC(_)) => match info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok()) {
            Some(curve) => format!(
                "EC {}",
                CURVES
                    .iter()
                    .find(|(oid, _)| *oid == curve.to_id_string())
                    .map_or_else(|| known(&curve), |(_, name)| (*name).to_owned())
            ),
            None => "EC".to_owned(),
        },
        _ => algorithm(&info.algorithm),
    }
}

fn algorithm(algorithm: &AlgorithmIdentifier<'_>) -> String {
    known(&algorithm.algorithm)
}

/// The registry's name of an OID, or its number.
fn known(oid: &Oid<'_>) -> String {
    let registry = OidRegistry::default().with_crypto().with_x509();
    let name = registry.get(oid).map(|entry| entry.sn().to_owned()).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| printable(&oid.to_id_string()))
}

fn usages(usage: &KeyUsage) -> Vec<String> {
    let all = [
        (usage.digital_signature(), "digitalSignature"),
        (usage.non_repudiation(), "nonRepudiation"),
        (usage.key_encipherment(), "keyEncipherment"),
        (usage.data_encipherment(), "dataEncipherment"),
        (usage.key_agreement(), "keyAgreement"),
        (usage.key_cert_sign(), "keyCertSign"),
        (usage.crl_sign(), "cRLSign"),
    ];
    all.into_iter().filter(|(set, _)| *set).map(|(_, name)| name.to_owned()).collect()
}

fn purposes(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let all = [
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
        (usage.any, "any"),
    ];
    let other = usage.other.iter().map(|oid| match &*oid.to_id_string() {
        "1.3.6.1.5.5.7.3.17" => "ipsecIKE".to_owned(),
        "1.3.6.1.5.5.8.2.2" => "ikeIntermediate".to_owned(),
        other => printable(other),
    });
    all.into_iter().filter(|(set, _)| *set).map(|(_, name)| name.to_owned()).chain(other).take(MAX_NAMES).collect()
}

/// Whatever a stranger wrote, it moves no cursor and fills no screen.
fn printable(text: &str) -> String {
    let mut shown: String = text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
    if text.chars().count() > MAX_TEXT {
        shown.push('…');
    }
    shown
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// Names that people know curves by.
const CURVES: [(&str, &str); 3] =
    [("1.2.840.10045.3.1.7", "P-256"), ("1.3.132.0.34", "P-384"), ("1.3.132.0.35", "P-521")];
/// Characters of a text; our own judgement.
const MAX_TEXT: usize = 300;
/// Names and purposes shown; our own judgement.
const MAX_NAMES: usize = 32;
/// RFC 5280 §4.1.2.2 allows 20.
const MAX_SERIAL_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256};

    use super::*;

    #[test]
    fn a_certificate_says_who_it_is_for_and_until_when() {
        let mut params = CertificateParams::new(vec!["vpn.example".to_owned(), "192.0.2.7".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "vpn.example");
        params.not_before = rcgen::date_time_ymd(2026, 1, 2);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17])];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let facts = CertificateFacts::read(certificate.der()).unwrap();
        assert!(facts.subject.contains("CN=vpn.example"), "{facts:?}");
        assert_eq!(facts.subject, facts.issuer);
        assert_eq!((facts.not_before, facts.not_after), (1_767_312_000, 1_893_456_000));
        assert_eq!(facts.names, ["vpn.example", "192.0.2.7"]);
        assert_eq!((&*facts.key, &*facts.signature, facts.authority), ("EC P-256", "ecdsa-with-SHA256", false));
        assert_eq!(
            (facts.key_usage, facts.purposes),
            (vec!["digitalSignature".to_owned()], vec!["serverAuth".to_owned(), "ipsecIKE".to_owned()])
        );
        assert_eq!(facts.sha256.len(), 64);
    }

    #[test]
    fn text_of_a_stranger_is_shown_without_its_control_characters() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "a\u{1b}[2Jb\nc".to_owned() + &"x".repeat(1000));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let facts = CertificateFacts::read(params.self_signed(&key).unwrap().der()).unwrap();
        assert!(!facts.subject.chars().any(char::is_control) && facts.subject.chars().count() <= MAX_TEXT + 1);
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        for junk in [&b""[..], b"\x30\x82", &[0x30; 300]] {
            assert_eq!(CertificateFacts::read(junk), None);
        }
    }
}
