//! Certificates made for one test each.

use pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

use super::*;

pub(super) type Ca = CertifiedIssuer<'static, KeyPair>;

pub(super) fn ca(name: &str) -> Ca {
    CertifiedIssuer::self_signed(ca_params(name), KeyPair::generate().unwrap()).unwrap()
}

/// With a key of another CA: the same CA, certified anew.
pub(super) fn ca_with_key(name: &str, key: &KeyPair) -> Ca {
    let key = KeyPair::try_from(key.serialize_der()).unwrap();
    CertifiedIssuer::self_signed(ca_params(name), key).unwrap()
}

/// A CA below another.
pub(super) fn below(name: &str, key: Option<&KeyPair>, above: &Ca) -> Ca {
    let key = key.map_or_else(|| KeyPair::generate().unwrap(), |key| KeyPair::try_from(key.serialize_der()).unwrap());
    CertifiedIssuer::signed_by(ca_params(name), key, above).unwrap()
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The certificate of a gateway `C=DE, O=Example, CN=gateway`, alternative name `vpn.example`, with whatever is changed.
pub(super) struct Gateway {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) signer: Signer,
}

pub(super) fn gateway(ca: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Gateway {
    let key = KeyPair::generate().unwrap();
    let certificate = params(change).signed_by(&key, ca).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let signer = Signer::new(&ClientIdentity { chain: vec![certificate.clone()], key }).unwrap();
    Gateway { certificate, signer }
}

pub(super) fn params(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "DE");
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, "gateway");
    params.subject_alt_names = vec![dns("vpn.example")];
    params.serial_number = Some(SerialNumber::from(vec![5]));
    change(&mut params);
    params
}

pub(super) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// A list of these serial numbers, good until the start of that year.
pub(super) fn list(ca: &Ca, revoked: &[u8], until: i32) -> CertificateRevocationListDer<'static> {
    let entry = |serial: u8| RevokedCertParams {
        serial_number: SerialNumber::from(vec![serial]),
        revocation_time: date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2025, 1, 1),
        next_update: date_time_ymd(until, 1, 1),
        crl_number: SerialNumber::from(vec![1]),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(|serial| entry(*serial)).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(ca).unwrap().der().clone()
}
