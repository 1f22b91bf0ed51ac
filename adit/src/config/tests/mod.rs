//! What becomes of files and options, and what is said about those that cannot be used.

mod check;
mod credentials;
mod import;
mod losses;
mod options;
mod pairs;
mod plan;
mod problems;
mod reference;
mod robust;
mod sswan;
mod tables;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use ikev2::{Credentials, PeerVerifier};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use super::{draft::Draft, problems::Problems, questions::Questions, reading::Reading};
use crate::error::Error;

/// How the gateway proves itself and how we do, with nobody to be asked.
fn proofs(draft: &mut Draft) -> Result<(PeerVerifier, Credentials), Error> {
    let (questions, mut problems) = (Questions::of_the_terminal(), Problems::default());
    super::build::proofs(draft, &mut Reading::new(&questions, "", &mut problems))
}

fn build(draft: Draft) -> Result<ikev2::Config, Error> {
    let (questions, mut problems) = (Questions::of_the_terminal(), Problems::default());
    super::build::build(draft, &mut Reading::new(&questions, "", &mut problems))
}

/// A strongSwan profile, or everything that is wrong with it.
fn sswan(path: &Path) -> Result<Draft, Error> {
    let (questions, mut problems) = (Questions::of_the_terminal(), Problems::default());
    let draft = super::sswan_draft(path, &mut Reading::new(&questions, "", &mut problems));
    draft.ok_or_else(|| {
        let all: Vec<_> = problems.sorted().into_iter().map(ToString::to_string).collect();
        Error::new(crate::error::Exit::Usage, all.join("\n"))
    })
}

/// Without ` column N`, where the line is enough.
pub(super) fn without_columns(text: &str) -> String {
    let mut parts = text.split(" column ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// A directory of its own for each test, with certificates and secrets; gone afterwards.
pub(super) struct Workplace(PathBuf);

impl Workplace {
    pub(super) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("adit-config-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let place = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&place.0).unwrap();
        let (certificate, key) = certificate("alice");
        place.file("client.pem", certificate.pem());
        place.file("client.key", key.serialize_pem());
        place.file("both.pem", certificate.pem() + &key.serialize_pem());
        place.file("ca.pem", self::certificate("ca").0.pem());
        place.file("other.der", self::certificate("other").0.der());
        place.file("password.txt", "secret\n");
        place.file("psk.txt", "shared\r\nnot this\n");
        place.file("hash.txt", "44EBBA8D5312B8D611474411F56989AE\n");
        place
    }

    pub(super) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// The path of a file, as it stands in an error.
    pub(super) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn read_text(place: &Workplace, name: &str) -> String {
    fs::read_to_string(place.0.join(name)).unwrap()
}

/// A revocation list in which nothing is.
fn revocation_list() -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
    let issuer = rcgen::Issuer::new(params, key);
    let list = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2024, 1, 1),
        next_update: rcgen::date_time_ymd(2050, 1, 1),
        crl_number: rcgen::SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    list.signed_by(&issuer).unwrap().pem().unwrap()
}

fn certificate(name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["vpn.example".to_owned(), "vpn.lab.example".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "CH");
    params.distinguished_name.push(DnType::CommonName, name);
    (params.self_signed(&key).unwrap(), key)
}
