use std::{collections::HashSet, fs, path::PathBuf};

use adit_tunnel::Secret;
use pki_types::PrivateKeyDer;
use proptest::prelude::*;
use rustls::{crypto::ring::sign::any_supported_type, sign::CertifiedKey};

use super::{
    ClientIdentity, IdentityError, KeyError, OnlyKey, Pkcs12,
    pem::{certificates, crls, is_key_encrypted, private_key},
};

const PASSPHRASE: &[u8] = b"s3cret pass";

fn file(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../openvpn/testdata/keys").join(name)).unwrap()
}

fn files(extension: &str) -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../openvpn/testdata/keys");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(extension)).collect();
    names.sort();
    names
}

/// The public half, to compare keys in different forms.
fn public(key: &PrivateKeyDer<'_>) -> Vec<u8> {
    any_supported_type(key).unwrap().public_key().unwrap().to_vec()
}

#[test]
fn every_form_of_a_key_is_the_same_key() {
    let mut publics = HashSet::new();
    for name in files(".key") {
        let bytes = file(&name);
        let encrypted = is_key_encrypted(&bytes).unwrap();
        assert_eq!(encrypted, name.contains("pbes") || name.contains("dek") || name.contains("3des"), "{name}");
        let key = private_key(&bytes, encrypted.then_some(PASSPHRASE)).unwrap_or_else(|e| panic!("{name}: {e}"));
        publics.insert((name.starts_with("rsa"), public(&key)));
    }
    assert!(files(".key").len() >= 16);
    assert_eq!(publics.len(), 2, "one EC key and one RSA key");
}

#[test]
fn a_wrong_passphrase_is_told_from_everything_else() {
    for name in files(".key") {
        let bytes = file(&name);
        if is_key_encrypted(&bytes).unwrap() {
            assert_eq!(private_key(&bytes, None), Err(KeyError::PassphraseNeeded), "{name}");
            // Many wrong ones: padding is right by accident once in 256 times.
            let attempts = if name.contains("dek") { 600 } else { 2 };
            for attempt in 0..attempts {
                let wrong = format!("wrong {attempt}");
                assert_eq!(private_key(&bytes, Some(wrong.as_bytes())), Err(KeyError::WrongPassphrase), "{name}");
            }
        }
    }
}

#[test]
fn pkcs12_files_of_old_and_new_tools_give_key_and_chain() {
    for (name, passphrase, others) in [
        ("modern.p12", Some(PASSPHRASE), 1),
        ("rc2-40.p12", Some(PASSPHRASE), 1),
        ("3des.p12", Some(PASSPHRASE), 1),
        ("plain.p12", None, 0),
        ("no-password.p12", None, 0),
    ] {
        let opened = Pkcs12::open(&file(name), passphrase).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(opened.ca.len(), others, "{name}");
        let key = any_supported_type(&opened.identity.key).unwrap();
        CertifiedKey::new(opened.identity.chain.clone(), key).keys_match().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(opened.identity.chain[0], certificates(&file("client.crt")).unwrap()[0], "{name}");
    }
}

#[test]
fn pkcs12_may_be_base64() {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(file("modern.p12"));
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    assert!(Pkcs12::open(lines.join("\r\n").as_bytes(), Some(PASSPHRASE)).is_ok());
}

#[test]
fn what_is_wrong_with_a_pkcs12_file_is_said() {
    let open = |name: &str, passphrase| Pkcs12::open(&file(name), passphrase).map(|_| ()).unwrap_err();
    assert_eq!(open("modern.p12", None), KeyError::PassphraseNeeded);
    for name in ["modern.p12", "rc2-40.p12", "3des.p12"] {
        assert_eq!(open(name, Some(b"wrong")), KeyError::WrongPassphrase, "{name}");
    }
    assert!(matches!(open("rc2-128.p12", Some(PASSPHRASE)), KeyError::UnsupportedEncryption { .. }));
    assert_eq!(open("client.crt", None), KeyError::MalformedPkcs12);
    assert_eq!(Pkcs12::open(&file("modern.p12")[..200], None).map(|_| ()), Err(KeyError::MalformedPkcs12));
}

#[test]
fn several_certificates_are_read_in_order_with_text_between_them() {
    let mut bytes = b"\xef\xbb\xbfsubject=/CN=M\xfcller\r\n".to_vec();
    bytes.extend(file("client.crt"));
    bytes.extend(b"issuer\n");
    bytes.extend(String::from_utf8(file("ca.crt")).unwrap().replace('\n', "\r\n  ").into_bytes());
    let found = certificates(&bytes).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], certificates(&file("client.crt")).unwrap()[0]);
}

#[test]
fn what_is_wrong_with_a_pem_file_is_said() {
    assert!(matches!(certificates(&file("ec.sec1.key")), Err(KeyError::Missing { what: "certificate", .. })));
    assert!(matches!(private_key(&file("client.crt"), None), Err(KeyError::Missing { what: "private key", .. })));
    assert!(matches!(crls(&file("client.crt")), Err(KeyError::Missing { what: "revocation list", .. })));
    let unterminated = b"\n-----BEGIN CERTIFICATE-----\nAAAA\n";
    assert_eq!(certificates(unterminated), Err(KeyError::Unterminated { line: 2 }));
    let damaged = b"-----BEGIN CERTIFICATE-----\nA?AA\n-----END CERTIFICATE-----\n";
    assert_eq!(certificates(damaged), Err(KeyError::NotBase64 { line: 1 }));
    let camellia =
        String::from_utf8(file("ec.dek-aes-128-cbc.key")).unwrap().replace("AES-128-CBC", "CAMELLIA-128-CBC");
    let error = private_key(camellia.as_bytes(), Some(PASSPHRASE)).unwrap_err();
    assert!(error.to_string().contains("CAMELLIA-128-CBC") && error.to_string().contains("openssl pkcs8"), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in any::<Vec<u8>>(), cut in 0usize..2000, flip in 0usize..2000) {
        drop((certificates(&bytes), crls(&bytes), private_key(&bytes, Some(PASSPHRASE)), Pkcs12::open(&bytes, None)));
        for name in ["ec.pbes1-md5-des.key", "ec.pkcs12-sha1-3des.key", "ec.dek-des-cbc.key", "plain.p12"] {
            let mut bytes = file(name);
            bytes.truncate(bytes.len() - cut.min(bytes.len()) / 8);
            let at = flip % bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at) { *byte ^= 1 << (flip % 8); }
            drop((private_key(&bytes, Some(PASSPHRASE)), Pkcs12::open(&bytes, None)));
        }
    }
}

/// The content of the first block, whatever it is.
fn der(file: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let text = str::from_utf8(file).unwrap();
    let lines = text.lines().skip(1).take_while(|line| !line.starts_with('-'));
    base64::engine::general_purpose::STANDARD.decode(lines.collect::<String>()).unwrap()
}

#[test]
fn der_is_read_like_pem() {
    let same = |name: &str| (file(name), der(&file(name)));
    let (pem, binary) = same("client.crt");
    assert_eq!(crate::certificates(&binary), crate::certificates(&pem));
    let (pem, binary) = same("crl.pem");
    assert_eq!(crate::revocation_lists(&binary), crate::revocation_lists(&pem));
    let passphrase = Secret::new(PASSPHRASE);
    for name in ["ec.sec1.key", "ec.pkcs8.key", "rsa.pkcs1.key", "ec.pbes2-aes-256-cbc.key", "ec.pbes1-md5-des.key"] {
        let (pem, binary) = same(name);
        let read = |file: &[u8]| crate::private_key(file, Some(&passphrase)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(public(&read(&binary)), public(&read(&pem)), "{name}");
    }
    let (_, encrypted) = same("ec.pbes2-aes-256-cbc.key");
    assert_eq!(crate::private_key(&encrypted, None), Err(KeyError::PassphraseNeeded));
    assert_eq!(crate::private_key(&encrypted, Some(&"wrong".into())), Err(KeyError::WrongPassphrase));
    assert_eq!(crate::private_key(&[0x30, 0], None), Err(KeyError::MalformedKey));
    let nothing = Err(KeyError::Missing { what: "certificate", label: "CERTIFICATE" });
    assert_eq!(crate::certificates(&[0x30, 5, 0]), nothing, "cut short it is neither");
}

#[test]
fn a_pkcs12_file_is_an_identity_and_its_cas() {
    let (identity, cas) = crate::pkcs12(&file("modern.p12"), Some(&Secret::new(PASSPHRASE))).unwrap();
    assert_eq!(cas, certificates(&file("ca.crt")).unwrap());
    OnlyKey::new(&identity, &rustls::crypto::ring::default_provider()).unwrap();
    assert_eq!(crate::pkcs12(&file("modern.p12"), None).map(drop), Err(KeyError::PassphraseNeeded));
}

#[test]
fn an_identity_that_cannot_be_used_is_told() {
    let provider = rustls::crypto::ring::default_provider();
    let error = |chain: &str, key: &str| {
        let chain = if chain.is_empty() { Vec::new() } else { certificates(&file(chain)).unwrap() };
        let key = private_key(&file(key), None).unwrap();
        OnlyKey::new(&ClientIdentity { chain, key }, &provider).map(drop).unwrap_err()
    };
    assert_eq!(error("", "ec.pkcs8.key"), IdentityError::NoCertificate);
    assert_eq!(error("client.crt", "rsa.pkcs1.key"), IdentityError::KeyMismatch);
    assert_eq!(error("rsa.1024.pem", "rsa.1024.pem"), IdentityError::RsaKeySize { bits: 1024 });
}
