//! Proofs that hold, and those that must not.

mod certificates;
mod clients;
mod pki;
mod recorded;
mod shared_key;
mod signatures;
mod signing;

use std::{fs, path::PathBuf, time::Duration};

use adit_pki::ClientIdentity;
use bytes::Bytes;
use pki_types::CertificateDer;

use super::*;
use crate::{
    config::{CertificateVerifier, ExpectedIdentity},
    message::{Certificate, numbers::CertEncoding},
};

/// 2030, when every certificate of `testdata/certificates` is good.
const NOW: Duration = Duration::from_secs(1_900_000_000);

fn testdata(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(path)
}

fn file(name: &str) -> Vec<u8> {
    fs::read(testdata("certificates").join(name)).unwrap()
}

fn certificate(name: &str) -> CertificateDer<'static> {
    adit_pki::certificates(&file(&format!("{name}.crt"))).unwrap().remove(0)
}

/// Certificate and key of `testdata/certificates`.
fn identity_of(name: &str) -> ClientIdentity {
    let key = adit_pki::private_key(&file(&format!("{name}.key")), None).unwrap();
    ClientIdentity { chain: vec![certificate(name.split('.').next().unwrap())], key }
}

fn payload(der: &CertificateDer<'_>) -> Certificate {
    Certificate { encoding: CertEncoding::X509_SIGNATURE, data: Bytes::copy_from_slice(der) }
}

fn id(text: &str) -> Identification {
    Identity::from_text(text).unwrap().to_payload()
}

/// Trusts both CAs of `testdata/certificates`.
fn anyone() -> PeerVerification {
    let anchors = vec![certificate("ca-rsa"), certificate("ca-p521")];
    let verifier = CertificateVerifier { anchors, crls: Vec::new(), identity: ExpectedIdentity::AnyOfTheAnchors };
    PeerVerification::new(&verifier).unwrap()
}

/// Judges AUTH made with the key of a certificate of `testdata/certificates`.
fn judge(name: &str, method: AuthMethod, data: &[u8], octets: &[u8], legacy: bool) -> Result<(), PeerNotAuthenticated> {
    let auth = Authentication { method, data: Bytes::copy_from_slice(data) };
    let cert = payload(&certificate(name));
    anyone().verify("vpn.example", &[&cert], &id("vpn.example"), &auth, octets, NOW, legacy).map(drop)
}

/// The data of method 14.
fn digital(algorithm: &[u8], signature: &[u8]) -> Vec<u8> {
    [&[u8::try_from(algorithm.len()).unwrap()], algorithm, signature].concat()
}
