//! A server of OpenVPN.

use std::{sync::Arc, time::Duration};

use adit_pki::ClientIdentity;
use adit_tunnel::Secret;
use openvpn::{
    Cipher, ClientAnchors, ClientCertificates, ClientCheck, Digest, KeyDirection, ServerConfig, ServerConfigError,
    ServerSettings, ServerWrap, StaticKey, StaticKeyError, TlsCryptV2ServerKey, TlsSettings, TlsVersion,
};
use toml::Spanned;

use super::{
    super::{
        build::{certificates, content, revocation_lists},
        draft::Given,
        files::Content,
        source::Source,
        tables::Version,
    },
    tables::{ClientCertificate, Draft},
};
use crate::error::Error;

/// The lengths of keepalive, where only one is given: those that OpenVPN's documentation shows.
const PING_SECONDS: u32 = 10;
const PING_RESTART_SECONDS: u32 = 60;

impl Draft {
    /// The server, and the passwords of its users, if it has any.
    pub(super) fn openvpn(&mut self, source: &Source) -> Result<(ServerConfig, Vec<(String, Secret)>), Error> {
        let users = self.users(source);
        let passwords = users.iter().map(|user| Ok((user.name.clone(), user.password()?)));
        let passwords: Vec<_> = passwords.collect::<Result<_, Error>>()?;
        let clients = ClientCheck { certificates: self.client_certificates(source)?, login: !passwords.is_empty() };
        let identity = self.needed_identity(source)?;
        let auth = self.table.auth.take().map(|name| digest(&source.given(name))).transpose()?;
        let auth = auth.unwrap_or_else(|| ServerSettings::default().auth);
        let control_wrap = self.control_wrap(source, auth)?;
        let ciphers = self.data_ciphers(source)?;
        let keepalive = self.keepalive(source)?;
        let table = &self.table;
        let change = |settings: &mut ServerSettings| {
            settings.control_wrap = control_wrap;
            settings.auth = auth;
            settings.data_ciphers_fallback = ciphers.1;
            if !ciphers.0.is_empty() {
                settings.data_ciphers = ciphers.0;
            }
            settings.keepalive = keepalive.or(settings.keepalive);
            settings.reneg_sec = table.reneg_seconds.map_or(settings.reneg_sec, seconds);
            settings.hand_window = table.hand_window_seconds.map_or(settings.hand_window, seconds);
            settings.replay_window = table.replay_window.unwrap_or(settings.replay_window);
            settings.tun_mtu = table.mtu.unwrap_or(settings.tun_mtu);
            settings.tls = TlsSettings {
                min: table.tls_version_min.map(version),
                max: table.tls_version_max.map(version),
                ..TlsSettings::default()
            };
        };
        let built = ServerConfig::builder(Arc::clone(&identity.value), clients).settings(change).limits(|limits| {
            limits.peers = table.max_peers.unwrap_or(limits.peers);
            limits.half_open = table.max_half_open.unwrap_or(limits.half_open);
            limits.half_open_per_address = table.max_half_open_per_address.unwrap_or(limits.half_open_per_address);
        });
        let config = built.build().map_err(|error| self.unusable_server(&identity, &error))?;
        Ok((config, passwords))
    }

    /// The same, where it stands and as it is called there.
    fn unusable_server(&self, identity: &Given<Arc<ClientIdentity>>, error: &ServerConfigError) -> Error {
        use openvpn::ConfigError;
        match error {
            ServerConfigError::NobodyIsChecked => {
                let hint = "add `client_ca = [\"ca.pem\"]`, or `users.NAME = { password = { file = \"…\" } }`";
                self.error("nothing says who may come in").hint(hint)
            }
            ServerConfigError::TlsVersions => {
                self.error("`tls_version_min` is above `tls_version_max`").hint("leave one of them away")
            }
            ServerConfigError::Tls(
                error @ (ConfigError::KeyMismatch
                | ConfigError::Certificate { .. }
                | ConfigError::NoCertificate
                | ConfigError::RsaKeySize { .. }
                | ConfigError::Key(_)),
            ) => identity.error(error.to_string().replace("`cert`", "`certificate`")),
            ServerConfigError::Tls(error) => {
                self.error(error.to_string().replace("`ca`", "`client_ca`").replace("`crl-verify`", "`client_crl`"))
            }
            ServerConfigError::NoAnchor
            | ServerConfigError::NoCipher
            | ServerConfigError::Push { .. }
            | ServerConfigError::Number { .. }
            | _ => self.error(error),
        }
    }

    fn client_certificates(&mut self, source: &Source) -> Result<ClientCertificates, Error> {
        let ca = source.files(std::mem::take(&mut self.table.client_ca));
        let crl = source.files(std::mem::take(&mut self.table.client_crl));
        let wanted = self.table.client_certificate.take().map(|wanted| source.given(wanted));
        let unless_said = if ca.is_empty() { ClientCertificate::None } else { ClientCertificate::Required };
        let kind = wanted.as_ref().map_or(unless_said, |wanted| wanted.value);
        if kind == ClientCertificate::None {
            return match ca.first().or_else(|| crl.first()) {
                Some(unused) => Err(unused
                    .error("this has no use, as clients show no certificates")
                    .hint("leave it away, or write `client_certificate = \"required\"` and `client_ca = [\"…\"]`")),
                None => Ok(ClientCertificates::None),
            };
        }
        if let Some(wanted) = wanted.filter(|_| ca.is_empty()) {
            return Err(wanted.error("nothing vouches for clients").hint("add `client_ca = [\"ca.pem\"]`"));
        }
        let anchors = ClientAnchors { ca: certificates(&ca)?, crls: revocation_lists(&crl)? };
        Ok(match kind {
            ClientCertificate::Optional => ClientCertificates::Optional(anchors),
            ClientCertificate::Required | ClientCertificate::None => ClientCertificates::Required(anchors),
        })
    }

    /// How control packets are wrapped; by `tls-auth` with this digest.
    fn control_wrap(&mut self, source: &Source, digest: Digest) -> Result<ServerWrap, Error> {
        let table = &mut self.table;
        let file = |path: &mut Option<_>| path.take().map(|path| source.file(path));
        let given = [&mut table.tls_auth, &mut table.tls_crypt, &mut table.tls_crypt_v2].map(file);
        let direction = table.key_direction.take().map(|direction| source.given(direction));
        let force_cookie = table.tls_crypt_v2_force_cookie.take().map(|flag| source.given(flag));
        let max_age = table.tls_crypt_v2_max_age_days.take().map(|days| source.given(days));
        if given.iter().flatten().count() > 1 {
            let last = given.iter().flatten().next_back();
            let error = last.map_or_else(|| self.error(SEVERAL), |last| last.error(SEVERAL));
            return Err(error.hint("keep the one that the clients have"));
        }
        let [tls_auth, tls_crypt, tls_crypt_v2] = given;
        for (place, needs, is_there) in [
            (direction.as_ref().map(|given| &given.place), "tls_auth", tls_auth.is_some()),
            (force_cookie.as_ref().map(|given| &given.place), "tls_crypt_v2", tls_crypt_v2.is_some()),
            (max_age.as_ref().map(|given| &given.place), "tls_crypt_v2", tls_crypt_v2.is_some()),
        ] {
            if let Some(place) = place.filter(|_| !is_there) {
                let error = Given::new((), place).error(format!("this has no use without `{needs}`"));
                return Err(error.hint(format!("leave it away, or add `{needs} = \"…\"`")));
            }
        }
        Ok(match (tls_auth, tls_crypt, tls_crypt_v2) {
            (Some(file), ..) => {
                let key = key(&file, StaticKey::parse)?;
                let direction = match direction.map(|direction| direction.value) {
                    None => KeyDirection::Bidirectional,
                    Some(0) => KeyDirection::Normal,
                    Some(_) => KeyDirection::Inverse,
                };
                ServerWrap::TlsAuth { key, direction, digest }
            }
            (_, Some(file), _) => ServerWrap::TlsCrypt(key(&file, StaticKey::parse)?),
            (.., Some(file)) => ServerWrap::TlsCryptV2 {
                key: key(&file, TlsCryptV2ServerKey::parse)?,
                force_cookie: force_cookie.is_some_and(|flag| flag.value),
                max_age: max_age.map(|days| Duration::from_secs(86_400 * u64::from(days.value))),
            },
            (None, None, None) => ServerWrap::None,
        })
    }

    /// The ciphers of the data channel, and the one with old clients.
    fn data_ciphers(&mut self, source: &Source) -> Result<(Vec<Cipher>, Option<Cipher>), Error> {
        let cipher = |name: Spanned<String>| {
            let name = source.given(name);
            Cipher::from_name(&name.value).ok_or_else(|| {
                let all: Vec<_> = Cipher::ALL.iter().map(|cipher| cipher.name()).collect();
                name.error(format!("`{}` is no cipher of the data channel", name.value))
                    .hint(format!("there are {}", all.join(", ")))
            })
        };
        let ciphers = std::mem::take(&mut self.table.data_ciphers).into_iter().map(cipher);
        Ok((ciphers.collect::<Result<_, _>>()?, self.table.data_ciphers_fallback.take().map(cipher).transpose()?))
    }

    fn keepalive(&mut self, source: &Source) -> Result<Option<(Duration, Duration)>, Error> {
        let (ping, restart) = (self.table.ping_seconds, self.table.ping_restart_seconds.take());
        let Some(restart) = restart.map(|restart| source.given(restart)) else {
            let scaled = |ping: u32| ping.saturating_mul(PING_RESTART_SECONDS / PING_SECONDS);
            return Ok(ping.map(|ping| (seconds(ping), seconds(scaled(ping)))));
        };
        let ping = ping.unwrap_or_else(|| PING_SECONDS.min((restart.value / 2).max(1)));
        if restart.value / 2 < ping {
            let problem = format!("`ping_restart_seconds` has to be at least twice `ping_seconds`, which is {ping}");
            return Err(restart.error(problem).hint(format!("write `ping_restart_seconds = {}`", ping * 2)));
        }
        Ok(Some((seconds(ping), seconds(restart.value))))
    }
}

const SEVERAL: &str = "control packets are wrapped already";

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

fn version(version: Version) -> TlsVersion {
    match version {
        Version::V1_2 => TlsVersion::V1_2,
        Version::V1_3 => TlsVersion::V1_3,
    }
}

fn digest(name: &Given<String>) -> Result<Digest, Error> {
    Digest::from_name(&name.value).ok_or_else(|| {
        name.error(format!("`{}` is no digest", name.value)).hint("write it as OpenVPN does: `auth = \"SHA256\"`")
    })
}

/// A key in a file of text.
fn key<T>(file: &Given<Content>, parse: impl Fn(&str) -> Result<T, StaticKeyError>) -> Result<T, Error> {
    let bytes = content(file)?;
    let parsed = parse(&String::from_utf8_lossy(bytes.expose()));
    parsed.map_err(|error| file.error(format!("{}{error}", file.value.name())))
}
