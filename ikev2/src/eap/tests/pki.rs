//! Certificates, made once per test run.

use std::sync::{Arc, LazyLock};

use adit_pki::{ClientIdentity, ToldClock};
use pki_types::{CertificateDer, PrivateKeyDer};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    server::WebPkiClientVerifier,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::NOW;
use crate::config::{EapTlsServer, TlsVersion};

pub(in crate::eap) type Ca = CertifiedIssuer<'static, KeyPair>;

/// A certificate and its key.
pub(in crate::eap) struct Leaf {
    pub(in crate::eap) certificate: CertificateDer<'static>,
    pub(in crate::eap) key: PrivateKeyDer<'static>,
}

pub(in crate::eap) static CA: LazyLock<Ca> = LazyLock::new(|| ca("Test CA"));
pub(in crate::eap) static OTHER_CA: LazyLock<Ca> = LazyLock::new(|| ca("Other CA"));
/// The usual server: `radius.example`, for servers.
pub(in crate::eap) static SERVER: LazyLock<Leaf> = LazyLock::new(|| leaf(&CA, |_| {}));
/// A client whose certificate is too long for one packet.
pub(in crate::eap) static CLIENT: LazyLock<Leaf> = LazyLock::new(|| {
    leaf(&CA, |params| {
        let name = |number: u32| SanType::DnsName(format!("name-{number}.client.example").try_into().unwrap());
        params.subject_alt_names = (0..80).map(name).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    })
});

impl Leaf {
    pub(in crate::eap) fn identity(&self) -> Arc<ClientIdentity> {
        Arc::new(ClientIdentity { chain: vec![self.certificate.clone()], key: self.key.clone_key() })
    }

    /// A server with this certificate.
    pub(in crate::eap) fn server(
        &self,
        version: &'static SupportedProtocolVersion,
        clients: Option<&Ca>,
    ) -> ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let clock = ToldClock::default();
        clock.tell(NOW);
        let builder = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(clock));
        let builder = builder.with_protocol_versions(&[version]).unwrap();
        let builder = match clients {
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add(ca.as_ref().der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            }
            None => builder.with_no_client_auth(),
        };
        let key = ring::default_provider().key_provider.load_private_key(self.key.clone_key()).unwrap();
        // Whether the key belongs to the certificate is not asked: some tests want one that does not.
        let certified = CertifiedKey::new(vec![self.certificate.clone()], key);
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.send_tls13_tickets = 0;
        config
    }
}

/// What the usual server is expected to be.
pub(in crate::eap) fn expected() -> EapTlsServer {
    EapTlsServer {
        anchors: vec![CA.as_ref().der().clone()],
        crls: vec![],
        name: Some("radius.example".to_owned()),
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
    }
}

pub(in crate::eap) fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The usual server's certificate, with whatever is changed.
pub(in crate::eap) fn leaf(ca: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
    let mut params = CertificateParams::new(vec!["radius.example".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "common.example");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap().der().clone();
    Leaf { certificate, key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
}
