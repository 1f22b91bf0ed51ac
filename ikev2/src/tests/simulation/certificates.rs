//! Certificates of every kind of key, made once for all seeds.

use std::sync::{Arc, LazyLock};

use adit_pki::ClientIdentity;
use pki_types::{CertificateDer, PrivateKeyDer};
use rcgen::{
    CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    SignatureAlgorithm, date_time_ymd,
};

use crate::tests::pki::{CA, Ca, OTHER_CA};

/// The name of the gateway.
pub(in crate::tests) const GATEWAY: &str = "vpn.example";
/// The name of the client.
pub(in crate::tests) const CLIENT: &str = "client.example";

/// The certificates of both ends, with keys of one kind.
pub(in crate::tests) struct Kind {
    pub(in crate::tests) gateway: Arc<ClientIdentity>,
    pub(in crate::tests) client: Arc<ClientIdentity>,
}

pub(in crate::tests) static P256: LazyLock<Kind> = LazyLock::new(|| Kind::new(&PKCS_ECDSA_P256_SHA256));
pub(in crate::tests) static P384: LazyLock<Kind> = LazyLock::new(|| Kind::new(&PKCS_ECDSA_P384_SHA384));
pub(in crate::tests) static ED25519: LazyLock<Kind> = LazyLock::new(|| Kind::new(&PKCS_ED25519));
/// Of 2048 bits; `ring` makes no such keys, so both ends have the same one.
pub(in crate::tests) static RSA: LazyLock<Kind> = LazyLock::new(|| {
    let pem = include_str!("../../../testdata/certificates/rsa.key");
    let key = || KeyPair::from_pem(pem).unwrap();
    Kind { gateway: leaf(GATEWAY, &CA, &key()), client: leaf(CLIENT, &CA, &key()) }
});

/// Of a client, by somebody the gateway does not trust.
pub(in crate::tests) static STRANGER: LazyLock<Arc<ClientIdentity>> =
    LazyLock::new(|| leaf(CLIENT, &OTHER_CA, &KeyPair::generate().unwrap()));

impl Kind {
    fn new(algorithm: &'static SignatureAlgorithm) -> Self {
        let key = || KeyPair::generate_for(algorithm).unwrap();
        Self { gateway: leaf(GATEWAY, &CA, &key()), client: leaf(CLIENT, &CA, &key()) }
    }
}

pub(in crate::tests) fn anchor() -> CertificateDer<'static> {
    CA.as_ref().der().clone()
}

fn leaf(name: &str, ca: &Ca, key: &KeyPair) -> Arc<ClientIdentity> {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2030, 1, 1));
    let certificate = params.signed_by(key, ca).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Arc::new(ClientIdentity { chain: vec![certificate], key })
}
