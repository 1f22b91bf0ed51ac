//! From [`TlsSettings`] to rustls's configuration.

use std::sync::Arc;

use rustls::{
    CipherSuite, ClientConfig, NamedGroup, SupportedProtocolVersion,
    client::{ResolvesClientCert, Resumption},
    crypto::{CryptoProvider, ring},
    sign::CertifiedKey,
    version,
};

use super::{ToldClock, verify::ServerVerifier};
use crate::config::{ClientIdentity, Config, ConfigError, TlsSettings, TlsVersion};

/// rustls's configuration for the sessions of `config`; `clock` is asked for the time of certificates.
///
/// # Errors
/// [`ConfigError`] when a CA, a list, the client certificate, or a choice of versions or suites cannot be used.
pub(crate) fn client_config(config: &Config, clock: Arc<ToldClock>) -> Result<Arc<ClientConfig>, ConfigError> {
    let provider = Arc::new(provider(&config.settings.tls)?);
    let verifier = ServerVerifier::new(config.server.clone(), provider.signature_verification_algorithms)?;
    let builder = ClientConfig::builder_with_details(Arc::clone(&provider), clock)
        .with_protocol_versions(&versions(&config.settings.tls))
        .map_err(|e| ConfigError::Tls(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut tls = match &config.identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(certified_key(identity, &provider)?)),
        None => builder.with_no_client_auth(),
    };
    // Each renegotiation is a handshake of its own, and OpenVPN servers neither want names nor resume.
    tls.enable_sni = false;
    tls.resumption = Resumption::disabled();
    Ok(Arc::new(tls))
}

/// Always answers with the one certificate we have: servers' lists of acceptable issuers are often wrong.
#[derive(Debug)]
struct OnlyKey(Arc<CertifiedKey>);

impl ResolvesClientCert for OnlyKey {
    fn resolve(&self, _: &[&[u8]], schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.key.choose_scheme(schemes).map(|_| Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified_key(identity: &ClientIdentity, provider: &CryptoProvider) -> Result<OnlyKey, ConfigError> {
    let key = provider
        .key_provider
        .load_private_key(identity.key.clone_key())
        .map_err(|e| ConfigError::Identity(e.to_string()))?;
    let certified = CertifiedKey::new(identity.chain.clone(), key);
    // A certificate that rustls cannot read (version 1, say) may still suit the server; a key that differs never does.
    if let Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) = certified.keys_match() {
        return Err(ConfigError::Identity("the key does not belong to the certificate".to_owned()));
    }
    Ok(OnlyKey(Arc::new(certified)))
}

fn versions(tls: &TlsSettings) -> Vec<&'static SupportedProtocolVersion> {
    let allowed = |version| tls.min.is_none_or(|min| version >= min) && tls.max.is_none_or(|max| version <= max);
    let all = [(TlsVersion::V1_3, &version::TLS13), (TlsVersion::V1_2, &version::TLS12)];
    all.into_iter().filter(|(version, _)| allowed(*version)).map(|(_, supported)| supported).collect()
}

fn provider(tls: &TlsSettings) -> Result<CryptoProvider, ConfigError> {
    let mut provider = ring::default_provider();
    choose(&mut provider.kx_groups, &tls.groups, |group, name| group_is(group.name(), name), "tls-groups")?;
    let is_1_3 = |suite: &rustls::SupportedCipherSuite| suite.tls13().is_some();
    let (mut suites13, mut suites12): (Vec<_>, Vec<_>) = provider.cipher_suites.iter().copied().partition(is_1_3);
    choose(&mut suites12, &tls.ciphers, |suite, name| suite_is(suite.suite(), name), "tls-cipher")?;
    choose(&mut suites13, &tls.ciphersuites, |suite, name| suite_is(suite.suite(), name), "tls-ciphersuites")?;
    provider.cipher_suites = suites13.into_iter().chain(suites12).collect();
    Ok(provider)
}

/// Keeps what `names` mention, in their order. Names we do not know are passed over, as long as one is left; OpenSSL's
/// keywords such as `DEFAULT:@SECLEVEL=0` leave the list as it is.
fn choose<T: Copy>(
    all: &mut Vec<T>,
    names: &[String],
    is: impl Fn(&T, &str) -> bool,
    directive: &'static str,
) -> Result<(), ConfigError> {
    if names.is_empty() || names.iter().any(|name| name.eq_ignore_ascii_case("DEFAULT")) {
        return Ok(());
    }
    let chosen: Vec<T> = names.iter().filter_map(|name| all.iter().find(|item| is(item, name)).copied()).collect();
    if chosen.is_empty() {
        return Err(ConfigError::Tls(format!("`{directive}` names nothing we support: {}", names.join(":"))));
    }
    *all = chosen;
    Ok(())
}

fn group_is(group: NamedGroup, name: &str) -> bool {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the registry is open, what we support is not")]
    let names: &[&str] = match group {
        NamedGroup::X25519 => &["X25519"],
        NamedGroup::secp256r1 => &["secp256r1", "prime256v1", "P-256"],
        NamedGroup::secp384r1 => &["secp384r1", "P-384"],
        _ => &[],
    };
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn suite_is(suite: CipherSuite, name: &str) -> bool {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the registry is open, what we support is not")]
    let names: &[&str] = match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => &["TLS_AES_256_GCM_SHA384"],
        CipherSuite::TLS13_AES_128_GCM_SHA256 => &["TLS_AES_128_GCM_SHA256"],
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => &["TLS_CHACHA20_POLY1305_SHA256"],
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => {
            &["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE_ECDSA_AES256_GCM_SHA384"]
        }
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => {
            &["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE_ECDSA_AES128_GCM_SHA256"]
        }
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            &["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE_ECDSA_CHACHA20_POLY1305"]
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => {
            &["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE_RSA_AES256_GCM_SHA384"]
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => {
            &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE_RSA_AES128_GCM_SHA256"]
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => {
            &["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE_RSA_CHACHA20_POLY1305"]
        }
        _ => &[],
    };
    let name = name.replace('-', "_");
    names.iter().any(|known| known.eq_ignore_ascii_case(&name))
}
