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
        build::{content, read},
        draft::Given,
        files::Content,
        problems::Problems,
        source::Source,
        tables::Version,
    },
    identity::Certificate,
    tables::{ClientCertificate, Draft},
};
use crate::error::Error;

/// The lengths of keepalive, where only one is given: those that OpenVPN's documentation shows.
const PING_SECONDS: u32 = 10;
const PING_RESTART_SECONDS: u32 = 60;

impl Draft {
    /// The server, and the passwords of its users, if it has any. `None`: what is wrong is in the list of problems. `sound`:
    /// nothing was, so far.
    pub(super) fn openvpn(
        &mut self,
        source: &Source,
        sound: bool,
        problems: &mut Problems,
    ) -> Option<(ServerConfig, Vec<(String, Secret)>)> {
        let errors = problems.errors();
        let users = self.users(source, problems);
        self.somebody |= !users.is_empty();
        let mut passwords = Vec::new();
        for user in users.iter().filter(|user| !user.spoiled) {
            let password = problems.catch(user.password());
            passwords.extend(password.map(|password| (user.name.clone(), password)));
        }
        let certificates = self.client_certificates(source, problems);
        let certificate = self.identity(source, problems);
        if matches!(certificate, Certificate::NotGiven) {
            problems.error(self.no_certificate());
        }
        let auth = self.table.auth.take().and_then(|name| problems.catch(digest(&source.given(name))));
        let auth = auth.unwrap_or_else(|| ServerSettings::default().auth);
        let control_wrap = self.control_wrap(source, auth, problems);
        let ciphers = self.data_ciphers(source, problems);
        let keepalive = self.keepalive(source);
        let keepalive = problems.catch(keepalive).flatten();
        let sound = sound && problems.errors() == errors;
        if !sound && !self.somebody && !self.is_spoiled(&["users", "client_ca", "client_certificate"], problems) {
            problems.error(self.nobody());
        }
        let identity = certificate.found()?;
        // Where something was wrong, the rest is tried all the same, with everybody let in by a password.
        let clients = match certificates.filter(|_| sound) {
            Some(certificates) => ClientCheck { certificates, login: !passwords.is_empty() },
            None => ClientCheck { certificates: ClientCertificates::None, login: true },
        };
        let table = &self.table;
        let change = |settings: &mut ServerSettings| {
            settings.control_wrap = control_wrap.unwrap_or(ServerWrap::None);
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
        let config = problems.catch(built.build().map_err(|error| self.unusable_server(identity, &error)))?;
        sound.then_some((config, passwords))
    }

    fn nobody(&self) -> Error {
        let hint = "add `client_ca = [\"ca.pem\"]`, or `users.NAME = { password = { file = \"…\" } }`";
        self.error("nothing says who may come in").hint(hint)
    }

    /// The same, where it stands and as it is called there.
    fn unusable_server(&self, identity: &Given<Arc<ClientIdentity>>, error: &ServerConfigError) -> Error {
        use openvpn::ConfigError;
        match error {
            ServerConfigError::NobodyIsChecked => self.nobody(),
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

    /// `None`: what is wrong was said.
    fn client_certificates(&mut self, source: &Source, problems: &mut Problems) -> Option<ClientCertificates> {
        let ca = source.files(std::mem::take(&mut self.table.client_ca));
        let crl = source.files(std::mem::take(&mut self.table.client_crl));
        let wanted = self.table.client_certificate.take().map(|wanted| source.given(wanted));
        self.somebody |=
            !ca.is_empty() || wanted.as_ref().is_some_and(|wanted| wanted.value != ClientCertificate::None);
        let mut anchors = ClientAnchors { ca: Vec::new(), crls: Vec::new() };
        let errors = problems.errors();
        for file in &ca {
            anchors.ca.extend(problems.catch(read(file, adit_pki::certificates)).into_iter().flatten());
        }
        for file in &crl {
            anchors.crls.extend(problems.catch(read(file, adit_pki::revocation_lists)).into_iter().flatten());
        }
        let unless_said = if ca.is_empty() { ClientCertificate::None } else { ClientCertificate::Required };
        let kind = wanted.as_ref().map_or(unless_said, |wanted| wanted.value);
        if self.is_spoiled(&["client_certificate", "client_ca"], problems) {
            return None;
        }
        if kind == ClientCertificate::None {
            let Some(unused) = ca.first().or_else(|| crl.first()) else { return Some(ClientCertificates::None) };
            problems.error(
                unused
                    .error("this has no use, as clients show no certificates")
                    .hint("leave it away, or write `client_certificate = \"required\"` and `client_ca = [\"…\"]`"),
            );
            return None;
        }
        if let Some(wanted) = wanted.filter(|_| ca.is_empty()) {
            problems.error(wanted.error("nothing vouches for clients").hint("add `client_ca = [\"ca.pem\"]`"));
            return None;
        }
        let made = match kind {
            ClientCertificate::Optional => ClientCertificates::Optional(anchors),
            ClientCertificate::Required | ClientCertificate::None => ClientCertificates::Required(anchors),
        };
        (problems.errors() == errors).then_some(made)
    }

    /// How control packets are wrapped; by `tls-auth` with this digest. `None`: what is wrong was said.
    fn control_wrap(&mut self, source: &Source, digest: Digest, problems: &mut Problems) -> Option<ServerWrap> {
        let spoiled = self.is_spoiled(&["tls_auth", "tls_crypt", "tls_crypt_v2"], problems);
        let table = &mut self.table;
        let file = |path: &mut Option<_>| path.take().map(|path| source.file(path));
        let given = [&mut table.tls_auth, &mut table.tls_crypt, &mut table.tls_crypt_v2].map(file);
        let direction = table.key_direction.take().map(|direction| source.given(direction));
        let force_cookie = table.tls_crypt_v2_force_cookie.take().map(|flag| source.given(flag));
        let max_age = table.tls_crypt_v2_max_age_days.take().map(|days| source.given(days));
        let errors = problems.errors();
        if given.iter().flatten().count() > 1
            && let Some(last) = given.iter().flatten().next_back()
        {
            let error = last.error("control packets are wrapped already");
            problems.error(error.hint("keep the one that the clients have"));
        }
        let [tls_auth, tls_crypt, tls_crypt_v2] = given;
        for (place, needs, is_there) in [
            (direction.as_ref().map(|given| &given.place), "tls_auth", tls_auth.is_some()),
            (force_cookie.as_ref().map(|given| &given.place), "tls_crypt_v2", tls_crypt_v2.is_some()),
            (max_age.as_ref().map(|given| &given.place), "tls_crypt_v2", tls_crypt_v2.is_some()),
        ] {
            if let Some(place) = place.filter(|_| !is_there && !spoiled) {
                let error = Given::new((), place).error(format!("this has no use without `{needs}`"));
                problems.error(error.hint(format!("leave it away, or add `{needs} = \"…\"`")));
            }
        }
        let tls_auth = tls_auth.map(|file| problems.catch(key(&file, StaticKey::parse)));
        let tls_crypt = tls_crypt.map(|file| problems.catch(key(&file, StaticKey::parse)));
        let tls_crypt_v2 = tls_crypt_v2.map(|file| problems.catch(key(&file, TlsCryptV2ServerKey::parse)));
        if problems.errors() > errors {
            return None;
        }
        Some(match (tls_auth, tls_crypt, tls_crypt_v2) {
            (Some(key), ..) => {
                let direction = match direction.map(|direction| direction.value) {
                    None => KeyDirection::Bidirectional,
                    Some(0) => KeyDirection::Normal,
                    Some(_) => KeyDirection::Inverse,
                };
                ServerWrap::TlsAuth { key: key?, direction, digest }
            }
            (_, Some(key), _) => ServerWrap::TlsCrypt(key?),
            (.., Some(key)) => ServerWrap::TlsCryptV2 {
                key: key?,
                force_cookie: force_cookie.is_some_and(|flag| flag.value),
                max_age: max_age.map(|days| Duration::from_secs(86_400 * u64::from(days.value))),
            },
            (None, None, None) => ServerWrap::None,
        })
    }

    /// The ciphers of the data channel, and the one with old clients.
    fn data_ciphers(&mut self, source: &Source, problems: &mut Problems) -> (Vec<Cipher>, Option<Cipher>) {
        let mut cipher = |name: Spanned<String>| {
            let name = source.given(name);
            let found = Cipher::from_name(&name.value).ok_or_else(|| {
                let all: Vec<_> = Cipher::ALL.iter().map(|cipher| cipher.name()).collect();
                name.error(format!("`{}` is no cipher of the data channel", name.value))
                    .hint(format!("there are {}", all.join(", ")))
            });
            problems.catch(found)
        };
        let ciphers = std::mem::take(&mut self.table.data_ciphers).into_iter().filter_map(&mut cipher).collect();
        (ciphers, self.table.data_ciphers_fallback.take().and_then(cipher))
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
