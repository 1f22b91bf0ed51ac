//! Certificates, made once per test run.

use std::sync::LazyLock;

use adit_pki::ClientIdentity;
use pki_types::{CertificateDer, PrivateKeyDer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SigningKey, date_time_ymd};

pub(super) type Ca = CertifiedIssuer<'static, KeyPair>;

/// A certificate and its key (ECDSA on P-256).
pub(super) struct Leaf {
    pub(super) certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Leaf {
    /// Of a DNS name.
    pub(super) fn new(name: &str, ca: &Ca) -> Self {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        valid(&mut params);
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.signed_by(&key, ca).unwrap().der().clone(), key }
    }

    /// The certificate of one, the key of another.
    pub(super) fn stolen(&self) -> Self {
        Self { certificate: self.certificate.clone(), key: KeyPair::generate().unwrap() }
    }

    /// A signature in ASN.1, as RFC 7427 wants it.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message).unwrap()
    }

    pub(super) fn identity(&self) -> ClientIdentity {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        ClientIdentity { chain: vec![self.certificate.clone()], key }
    }
}

fn valid(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
}

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    valid(&mut params);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The one the client trusts.
pub(super) static CA: LazyLock<Ca> = LazyLock::new(|| ca("CA"));
/// One it does not.
pub(super) static OTHER_CA: LazyLock<Ca> = LazyLock::new(|| ca("Other CA"));
