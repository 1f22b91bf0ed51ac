//! Certificates, made once per test run.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::CryptoProvider,
    server::WebPkiClientVerifier,
    sign::{CertifiedKey, SingleCertAndKey},
    time_provider::TimeProvider,
};

use super::UNIX_START;
use crate::config::ClientIdentity;

pub(super) type Ca = CertifiedIssuer<'static, KeyPair>;

/// A certificate and its key.
pub(super) struct Leaf {
    pub(super) certificate: CertificateDer<'static>,
    /// Sent along.
    pub(super) intermediates: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Leaf {
    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Self { certificate: certificate.der().clone(), intermediates: Vec::new(), key }
    }

    pub(super) fn identity(&self) -> ClientIdentity {
        ClientIdentity { chain: self.chain(), key: self.key.clone_key() }
    }

    /// A TLS server that shows this certificate, although its key is another.
    pub(super) fn server_config_of_a_thief(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = provider.key_provider.load_private_key(self.key.clone_key()).unwrap();
        let certified = Arc::new(CertifiedKey::new(self.chain(), key));
        let config = ServerConfig::builder_with_details(provider, Arc::new(FixedTime))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        Arc::new(config)
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        [std::slice::from_ref(&self.certificate), &self.intermediates].concat()
    }

    /// A TLS server that shows this certificate, and asks for one of ours.
    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        self.server_config_with(rustls::ALL_VERSIONS, rustls::crypto::ring::default_provider())
    }

    pub(super) fn server_config_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        provider: CryptoProvider,
    ) -> Arc<ServerConfig> {
        let provider = Arc::new(provider);
        let mut roots = RootCertStore::empty();
        roots.add(CA.as_ref().der().clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config = ServerConfig::builder_with_details(provider, Arc::new(FixedTime))
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(clients.allow_unauthenticated().build().unwrap())
            .with_single_cert(self.chain(), self.key.clone_key());
        Arc::new(config.unwrap())
    }
}

pub(super) static CA: LazyLock<Ca> = LazyLock::new(|| ca("Test CA"));
/// The usual server: `CN=server`, with the usages that `remote-cert-tls server` wants.
pub(super) static SERVER: LazyLock<Leaf> = LazyLock::new(|| leaf(&CA, |_| {}));
pub(super) static SERVER_TLS: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| SERVER.server_config());
pub(super) static CLIENT: LazyLock<Leaf> = LazyLock::new(|| {
    leaf(&CA, |params| {
        params.distinguished_name.push(DnType::CommonName, "client");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    })
});

pub(super) fn ca(name: &str) -> Ca {
    CertifiedIssuer::self_signed(ca_params(name), KeyPair::generate().unwrap()).unwrap()
}

/// A CA below another.
pub(super) fn intermediate(name: &str, above: &Ca) -> Ca {
    numbered_intermediate(name, above, 1)
}

/// The same, with a serial number.
pub(super) fn numbered_intermediate(name: &str, above: &Ca, serial: u8) -> Ca {
    let mut params = ca_params(name);
    params.serial_number = Some(SerialNumber::from(vec![serial]));
    CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), above).unwrap()
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A server's certificate, with whatever is changed.
pub(super) fn leaf(ca: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
    let key = KeyPair::generate().unwrap();
    Leaf::new(&params(change).signed_by(&key, ca).unwrap(), &key)
}

/// A server's certificate with an RSA key: its PKCS#1 form is wrapped up as PKCS#8 (RFC 5208 §5).
pub(super) fn rsa_leaf() -> Leaf {
    let pkcs1 = adit_pki::private_key(include_bytes!("../../testdata/keys/rsa.pkcs1.key"), None).unwrap();
    let sequence =
        |tag: u8, content: &[u8]| [&[tag, 0x82], (content.len() as u16).to_be_bytes().as_slice(), content].concat();
    let rsa_encryption = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let inner = sequence(4, pkcs1.secret_der());
    let pkcs8 = sequence(0x30, &[[2, 1, 0].as_slice(), &rsa_encryption, &inner].concat());
    let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(pkcs8)).unwrap();
    Leaf::new(&params(|_| {}).signed_by(&key, &*CA).unwrap(), &key)
}

/// The same, of no CA.
pub(super) fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> Leaf {
    let key = KeyPair::generate().unwrap();
    Leaf::new(&params(change).self_signed(&key).unwrap(), &key)
}

fn params(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "DE");
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, "server");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    params
}

#[derive(Debug)]
struct FixedTime;

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(UNIX_START + Duration::from_secs(1)))
    }
}
