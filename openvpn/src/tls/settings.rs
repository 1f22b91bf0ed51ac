//! From [`TlsSettings`] to rustls's configuration.

use std::{fmt, sync::Arc};

use rustls::{
    CipherSuite, ClientConfig, NamedGroup, SupportedProtocolVersion,
    client::{ResolvesClientCert, Resumption},
    crypto::{CryptoProvider, ring},
    sign::CertifiedKey,
    version,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer, public_key::PublicKey};

use super::{ToldClock, verify::ServerVerifier};
use crate::config::{ClientIdentity, ConfigError, ServerCheck, TlsSettings, TlsVersion};

/// rustls's configuration without a clock, with everything in it that can be wrong.
pub(crate) struct TlsTemplate(ClientConfig);

impl TlsTemplate {
    /// # Errors
    /// [`ConfigError`] when a CA, a list, the client certificate, or a choice of versions or suites cannot be used.
    pub(crate) fn new(
        server: &ServerCheck,
        identity: Option<&ClientIdentity>,
        settings: &TlsSettings,
    ) -> Result<Self, ConfigError> {
        let provider = Arc::new(provider(settings)?);
        let verifier = ServerVerifier::new(server.clone(), provider.signature_verification_algorithms)?;
        let clock = Arc::new(ToldClock::default());
        let builder = ClientConfig::builder_with_details(Arc::clone(&provider), clock)
            .with_protocol_versions(&versions(settings))
            .map_err(|e| ConfigError::Tls(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(certified_key(identity, &provider)?)),
            None => builder.with_no_client_auth(),
        };
        // Each renegotiation is a handshake of its own, and OpenVPN servers neither want names nor resume.
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(Self(config))
    }

    /// The configuration of one session, whose `clock` is asked for the time of certificates.
    pub(crate) fn with_clock(&self, clock: Arc<ToldClock>) -> Arc<ClientConfig> {
        let mut config = self.0.clone();
        config.time_provider = clock;
        Arc::new(config)
    }
}

impl fmt::Debug for TlsTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTemplate").finish_non_exhaustive()
    }
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
    let mut leaf = None;
    for (index, der) in identity.chain.iter().enumerate() {
        let parsed = X509Certificate::from_der(der).map_err(|_| ConfigError::Certificate { number: index + 1 });
        leaf = leaf.or(Some(parsed?.1));
    }
    let leaf = leaf.ok_or(ConfigError::NoCertificate)?;
    let key = provider.key_provider.load_private_key(identity.key.clone_key());
    let key = key.map_err(|error| match leaf.public_key().parsed() {
        Ok(PublicKey::RSA(rsa)) if !RSA_BITS.contains(&rsa.key_size()) => {
            ConfigError::RsaKeySize { bits: rsa.key_size() }
        }
        Ok(_) | Err(_) => ConfigError::Key(error.to_string()),
    })?;
    // Not rustls's own comparison: it does not read certificates of version 1, which may still suit the server.
    if key.public_key().is_some_and(|public| public.as_ref() != leaf.public_key().raw) {
        return Err(ConfigError::KeyMismatch);
    }
    Ok(OnlyKey(Arc::new(CertifiedKey::new(identity.chain.clone(), key))))
}

/// What ring signs with (`RsaKeyPair::from_der`).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

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
        return Err(ConfigError::TlsNames { directive, names: names.join(":") });
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
