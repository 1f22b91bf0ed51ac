//! From [`TlsSettings`] to rustls's configuration.

use std::{fmt, slice, sync::Arc};

use adit_pki::{ClientIdentity, IdentityError, Judged, OnlyKey, SeenChain, TlsKeyLog};
use adit_tunnel::KeySink;
use pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::{
    CipherSuite, ClientConfig, NamedGroup, SupportedProtocolVersion,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    version,
};

use super::{ToldClock, verify::ServerVerifier};
use crate::config::{ConfigError, ServerCheck, TlsSettings, TlsVersion};

/// rustls's configuration without a clock, with everything in it that can be wrong.
pub(crate) struct TlsTemplate {
    config: ClientConfig,
    verifier: Arc<Judged<ServerVerifier>>,
}

impl TlsTemplate {
    /// # Errors
    /// [`ConfigError`] when a CA, a list, the client certificate, or a choice of versions or suites cannot be used.
    pub(crate) fn new(
        server: &ServerCheck,
        identity: Option<&ClientIdentity>,
        settings: &TlsSettings,
    ) -> Result<Self, ConfigError> {
        let provider = Arc::new(provider(settings)?);
        let algorithms = provider.signature_verification_algorithms;
        let verifier = Arc::new(Judged::new(ServerVerifier::new(server.clone(), algorithms)?, algorithms));
        let clock = Arc::new(ToldClock::default());
        let builder = ClientConfig::builder_with_details(Arc::clone(&provider), clock)
            .with_protocol_versions(&versions(settings))
            .map_err(|e| ConfigError::Tls(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Judged<ServerVerifier>>::clone(&verifier));
        let mut config = match identity {
            Some(identity) => {
                let key = OnlyKey::new(identity, &provider).map_err(identity_error)?;
                builder.with_client_cert_resolver(Arc::new(key))
            }
            None => builder.with_no_client_auth(),
        };
        // Each renegotiation is a handshake of its own, and OpenVPN servers neither want names nor resume.
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(Self { config, verifier })
    }

    /// All that is wrong; [`Self::new`] says the first of it. Versions that contradict each other are none of it.
    pub(crate) fn mistakes(
        server: &ServerCheck,
        identity: Option<&ClientIdentity>,
        settings: &TlsSettings,
    ) -> Vec<ConfigError> {
        // Each list by itself, beside what there is by default.
        let lists = [
            TlsSettings { groups: settings.groups.clone(), ..TlsSettings::default() },
            TlsSettings { ciphers: settings.ciphers.clone(), ..TlsSettings::default() },
            TlsSettings { ciphersuites: settings.ciphersuites.clone(), ..TlsSettings::default() },
        ];
        let mut found: Vec<_> = lists.iter().filter_map(|list| provider(list).err()).collect();
        let lists_are_fine = found.is_empty();
        let provider = provider(settings).unwrap_or_else(|_| ring::default_provider());
        let verifier = |ca: &[CertificateDer<'static>], crls: &[CertificateRevocationListDer<'static>]| {
            let check = ServerCheck { ca: ca.to_vec(), crls: crls.to_vec(), ..ServerCheck::default() };
            ServerVerifier::new(check, provider.signature_verification_algorithms).err()
        };
        for (index, ca) in server.ca.iter().enumerate() {
            if let Some(ConfigError::Ca { reason, .. }) = verifier(slice::from_ref(ca), &[]) {
                found.push(ConfigError::Ca { number: index + 1, reason });
            }
        }
        for (index, list) in server.crls.iter().enumerate() {
            if let Some(ConfigError::Crl { reason, .. }) = verifier(&[], slice::from_ref(list)) {
                found.push(ConfigError::Crl { number: index + 1, reason });
            }
        }
        let versions = versions(settings);
        if lists_are_fine && !versions.is_empty() {
            let builder =
                ClientConfig::builder_with_details(Arc::new(provider.clone()), Arc::new(ToldClock::default()));
            found.extend(builder.with_protocol_versions(&versions).err().map(|e| ConfigError::Tls(e.to_string())));
        }
        found.extend(identity.and_then(|identity| OnlyKey::new(identity, &provider).err()).map(identity_error));
        found
    }

    pub(crate) fn log_keys(&mut self, keys: &KeySink) {
        self.config.key_log = Arc::new(TlsKeyLog(keys.clone()));
    }

    /// The configuration of one session, whose `clock` is asked for the time of certificates.
    pub(crate) fn with_clock(&self, clock: Arc<ToldClock>) -> Arc<ClientConfig> {
        let mut config = self.config.clone();
        config.time_provider = clock;
        Arc::new(config)
    }

    /// The same, remembering what the server shows.
    pub(crate) fn watching(&self, clock: Arc<ToldClock>, seen: &Arc<SeenChain>) -> Arc<ClientConfig> {
        let mut config = self.config.clone();
        config.time_provider = clock;
        let judge = Arc::<Judged<ServerVerifier>>::clone(&self.verifier);
        config.dangerous().set_certificate_verifier(seen.watch(judge));
        Arc::new(config)
    }
}

impl fmt::Debug for TlsTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTemplate").finish_non_exhaustive()
    }
}

/// The same in words of directives.
pub(super) fn identity_error(error: IdentityError) -> ConfigError {
    match error {
        IdentityError::NoCertificate => ConfigError::NoCertificate,
        IdentityError::Certificate { number } => ConfigError::Certificate { number },
        IdentityError::KeyMismatch => ConfigError::KeyMismatch,
        IdentityError::RsaKeySize { bits } => ConfigError::RsaKeySize { bits },
        IdentityError::Key(reason) => ConfigError::Key(reason),
    }
}

pub(super) fn versions(tls: &TlsSettings) -> Vec<&'static SupportedProtocolVersion> {
    let allowed = |version| tls.min.is_none_or(|min| version >= min) && tls.max.is_none_or(|max| version <= max);
    let all = [(TlsVersion::V1_3, &version::TLS13), (TlsVersion::V1_2, &version::TLS12)];
    all.into_iter().filter(|(version, _)| allowed(*version)).map(|(_, supported)| supported).collect()
}

pub(super) fn provider(tls: &TlsSettings) -> Result<CryptoProvider, ConfigError> {
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
