//! Keys and certificates for one run: made at its start, in memory alone.

use adit_driver::OsRandom;
use adit_pki::ClientIdentity;
use adit_tunnel::{Random, Secret};
use openvpn::StaticKey;
use pki_types::{CertificateDer, PrivateKeyDer};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// Who the gateways prove to be.
pub(super) const GATEWAY: &str = "gateway.demo.example";
/// Who comes in.
pub(super) const USER: &str = "alice";

/// Everything that is secret in the demo.
pub(super) struct Keys {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The password of [`USER`].
    pub(super) password: Secret,
    /// What both ends of OpenVPN wrap their control packets with.
    pub(super) tls_crypt: StaticKey,
}

impl Keys {
    pub(super) fn make() -> Result<Self, rcgen::Error> {
        let mut params = params("adit demo CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let mut random = OsRandom;
        let mut password = [0; 16];
        random.fill(&mut password);
        let password = password.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut tls_crypt = [0; 256];
        random.fill(&mut tls_crypt);
        Ok(Self { issuer, password: Secret::new(password), tls_crypt: StaticKey::new(tls_crypt) })
    }

    /// The authority that vouches for all certificates.
    pub(super) fn authority(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// The certificate of a gateway.
    pub(super) fn gateway(&self) -> Result<ClientIdentity, rcgen::Error> {
        let mut params = params(GATEWAY);
        params.subject_alt_names = vec![rcgen::SanType::DnsName(GATEWAY.try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params)
    }

    /// The certificate of the user.
    pub(super) fn user(&self) -> Result<ClientIdentity, rcgen::Error> {
        let mut params = params(USER);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    fn issue(&self, mut params: CertificateParams) -> Result<ClientIdentity, rcgen::Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(ClientIdentity { chain: vec![certificate.into()], key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) })
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_runs_share_a_secret() {
        let (one, two) = (Keys::make().unwrap(), Keys::make().unwrap());
        assert!(one.password != two.password && one.tls_crypt != two.tls_crypt);
        assert!(one.authority() != two.authority());
        assert_eq!(one.password.expose().len(), 32);
    }
}
