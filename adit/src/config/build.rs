//! From a description, the files it names and the secrets that are not in it, to an IKEv2 configuration.

use std::{env, sync::Arc};

use adit_pki::{ClientIdentity, KeyError};
use adit_tunnel::Secret;
use ikev2::{
    CertificateVerifier, Config, ConfigError, Credentials, EapCredentials, EapMethod, EapTlsServer, ExpectedIdentity,
    Identity, MsChapV2Secret, PeerVerifier, Remote, Settings, TlsVersion, TtlsInner,
};
use pki_types::{CertificateDer, CertificateRevocationListDer};

use super::{
    draft::{Auth, Draft, Given, Inner, Method, RemoteId, Tls, Ttls},
    files::{Content, SecretSource},
    problems::Problems,
    reading::Reading,
};
use crate::error::{Error, Exit};

/// Holds the password where none is named.
const PASSWORD_VARIABLE: &str = "ADIT_PASSWORD";

/// Says all that is wrong with what was read, and all that is missing or has no use; asks nobody. `spoiled`: keys that are there
/// and could not be understood, which are not missing.
pub(super) fn judge(draft: &mut Draft, spoiled: &dyn Fn(&str) -> bool, problems: &mut Problems) {
    settings(draft, problems);
    if let Some(Err(error)) = readable(draft.nt_hash.as_ref()).map(nt_hash) {
        problems.error(error);
    }
    if let Some(user) = draft.user.as_ref().filter(|user| user.value.is_empty()) {
        problems.error(user.error("the user name is empty"));
    }
    keys(draft, problems);
    let any = |keys: &[&str]| keys.iter().any(|key| spoiled(key));
    let found = auth(draft);
    // What proves us follows from the keys that are there, unless it is said.
    let certain = draft.auth.is_some()
        || !any(&["user", "password", "nt_hash", "eap", "eap_tls", "ttls", "psk", "certificate", "key", "pkcs12"])
        || matches!(found, Ok(Auth::Eap));
    if spoiled("auth") || !certain {
        return;
    }
    let Some(auth) = problems.catch(found) else { return };
    let mut methods = draft.eap.clone();
    let implied = auth == Auth::Eap && methods.is_empty();
    if implied {
        methods = default_methods(draft);
    }
    // Which methods there are follows from more.
    let unclear = spoiled("eap") || (implied && any(&["ttls", "certificate", "pkcs12", "password", "nt_hash"]));
    if !unclear {
        for error in unused(draft, auth, &methods, &mut Vec::new()) {
            problems.error(error);
        }
        let shown = auth == Auth::Certificate || methods.contains(&Method::Tls);
        let none = draft.certificate.is_none() && draft.pkcs12.is_none();
        if shown && none && !any(&["certificate", "key", "pkcs12"]) {
            problems.error(no_certificate(draft));
        }
        if methods.contains(&Method::Ttls) && draft.ttls.is_none() && !spoiled("ttls") {
            problems.error(no_ttls(draft));
        }
    }
    // A PKCS#12 file may have the authority in it.
    if auth != Auth::Psk && draft.ca.is_empty() && draft.pkcs12.is_none() && !any(&["ca", "pkcs12"]) {
        problems.error(no_authority(draft));
    }
}

/// A secret that was read.
fn readable(given: Option<&Given<SecretSource>>) -> Option<&Given<SecretSource>> {
    given.filter(|given| matches!(given.value, SecretSource::Value(_)))
}

/// Says what is wrong with our private key and its certificate, as far as that can be seen without a passphrase that nobody has
/// given.
fn keys(draft: &Draft, problems: &mut Problems) {
    let is_read = |given: &&Given<Content>| !matches!(given.value, Content::File(_));
    let passphrase = readable(draft.passphrase.as_ref()).and_then(|given| given.value.read("a passphrase").ok());
    if draft.passphrase.is_some() && passphrase.is_none() {
        return;
    }
    if let (Some(pkcs12), Some(_)) = (&draft.pkcs12, &draft.certificate) {
        problems.error(pkcs12.error("there is a certificate already").hint("give one of the two"));
        return;
    }
    if let Some(pkcs12) = draft.pkcs12.as_ref().filter(is_read) {
        let opened = content(pkcs12).map(|bytes| adit_pki::pkcs12(bytes.expose(), passphrase.as_ref()));
        if let Ok(Err(error)) = opened
            && !matches!(error, KeyError::PassphraseNeeded)
        {
            problems.error(of_file(pkcs12, Error::new(Exit::Usage, error)));
        }
    }
    if let Some(key) = draft.key.as_ref().or(draft.certificate.as_ref()).filter(is_read) {
        let opened = content(key).map(|bytes| adit_pki::private_key(bytes.expose(), passphrase.as_ref()));
        let chain = draft.certificate.as_ref().filter(is_read).map(|file| read(file, adit_pki::certificates));
        match (opened, chain) {
            (Ok(Err(error)), _) if !matches!(error, KeyError::PassphraseNeeded) => {
                problems.error(wrong_key(draft, key, Error::new(Exit::Usage, error)));
            }
            (Ok(Ok(key)), Some(Ok(chain))) => {
                let fits = attempt(Some(ClientIdentity { chain, key }), Settings::default());
                if let Err(error @ ConfigError::Key(_)) = fits {
                    problems.error(unusable(draft, &error));
                }
            }
            _ => {}
        }
    }
}

fn wrong_key(draft: &Draft, key: &Given<Content>, error: Error) -> Error {
    match draft.key {
        Some(_) => of_file(key, error),
        None => of_file(key, error).hint(draft.word("give the key with --key FILE", "add `key = \"…\"`")),
    }
}

/// Puts the settings together, and says all that is wrong with them.
fn settings(draft: &mut Draft, problems: &mut Problems) {
    let mut made = Settings::default();
    std::mem::take(&mut draft.settings).into_iter().for_each(|setting| setting(&mut made));
    for error in mistakes(&made) {
        problems.error(unusable(draft, &error));
    }
    draft.settings.push(Box::new(move |settings| *settings = made));
}

/// All that is wrong with these settings.
pub(super) fn mistakes(settings: &Settings) -> Vec<ConfigError> {
    let (mut tried, mut found) = (settings.clone(), Vec::new());
    // What was said of one is taken back, to find the next.
    while let Err(error @ (ConfigError::Legacy(_) | ConfigError::OutOfBounds { .. })) = attempt(None, tried.clone()) {
        let default = Settings::default();
        if matches!(error, ConfigError::Legacy(_)) {
            if tried.ike_proposals == default.ike_proposals {
                tried.esp_proposals = default.esp_proposals;
            } else {
                tried.ike_proposals = default.ike_proposals;
            }
        } else if matches!(error, ConfigError::OutOfBounds { name: "remote_networks", .. }) {
            tried.remote_networks.clear();
        } else if matches!(error, ConfigError::OutOfBounds { name: "retransmission.limit", .. }) {
            tried.retransmission = default.retransmission;
        } else {
            tried = default;
            tried.legacy = true;
        }
        if !found.contains(&error) {
            found.push(error);
        }
    }
    found
}

/// Whether these make a configuration, where everything else is right.
fn attempt(certificate: Option<ClientIdentity>, settings: Settings) -> Result<(), ConfigError> {
    let key = Secret::from("any");
    let ours = match certificate {
        Some(identity) => Credentials::Certificate(Arc::new(identity)),
        None => Credentials::Psk(key.clone()),
    };
    let remote = Remote { host: "any".into(), port: 500, family: None };
    let built = Config::builder(vec![remote]).peer(PeerVerifier::Psk { key, identity: None }).credentials(ours);
    built.settings(|chosen| *chosen = settings).build().map(|_| ())
}

/// Makes a configuration of what the draft says and names, and asks for what is missing.
pub(super) fn build(mut draft: Draft, reading: &mut Reading<'_>) -> Result<Config, Error> {
    let proofs = proofs(&mut draft, reading);
    for warning in draft.warnings.drain(..) {
        reading.problems.warning(Error::new(Exit::Usage, warning));
    }
    let (peer, credentials) = proofs?;
    let local_id = draft.local_id.take();
    let settings = std::mem::take(&mut draft.settings);
    let built = Config::builder(std::mem::take(&mut draft.remotes))
        .peer(peer)
        .credentials(credentials)
        .settings(|chosen| {
            settings.into_iter().for_each(|setting| setting(chosen));
            chosen.local_identity = local_id;
        })
        .build();
    let config = built.map_err(|error| unusable(&draft, &error))?;
    for warning in config.warnings() {
        reading.problems.warning(Error::at(&draft.place, warning));
    }
    Ok(config)
}

/// The same, where it stands and as it is called there.
fn unusable(draft: &Draft, error: &ConfigError) -> Error {
    if let ConfigError::OutOfBounds { name, bounds } = error
        && let Some((_, given)) = draft.bounded.iter().find(|(setting, _)| setting == name)
    {
        return given.error(format!(
            "`{}` has to be {}",
            given.value,
            bounds.replace("retransmission.first", "`first_ms`")
        ));
    }
    if let (ConfigError::Key(_), Some(given)) = (error, draft.pkcs12.as_ref().or(draft.certificate.as_ref())) {
        return given.error(error);
    }
    let ConfigError::Legacy(word) = error else { return draft.error(error) };
    let has = |given: &&Given<String>| given.value.split(['-', ',']).any(|name| name.trim() == word);
    let given = [&draft.ike_proposals, &draft.esp_proposals].into_iter().flatten();
    // A word with another name, such as `sha`, is of the first.
    let place = given.clone().find(has).or_else(|| given.clone().next()).map_or(&draft.place, |given| &given.place);
    let error = Error::at(place, format!("`{word}` is no longer safe"));
    error.hint(draft.word("--legacy allows it all the same", "`legacy = true` allows it all the same"))
}

/// How the gateway proves itself, and how we do.
pub(super) fn proofs(draft: &mut Draft, reading: &mut Reading<'_>) -> Result<(PeerVerifier, Credentials), Error> {
    let auth = auth(draft)?;
    if auth == Auth::Eap && draft.eap.is_empty() {
        draft.eap = default_methods(draft);
    }
    let mut forgiven = Vec::new();
    if let Some(error) = unused(draft, auth, &draft.eap, &mut forgiven).into_iter().next() {
        return Err(error);
    }
    draft.warnings.append(&mut forgiven);
    if auth == Auth::Psk && draft.remote_id.is_none() {
        let option = draft.word("--remote-id", "`remote_id`");
        let what = "any holder of the pre-shared key can pose as the gateway";
        draft.warnings.push(format!("{}: {what}: set {option}", draft.place));
    }
    let mut material = Material::new(draft, reading, auth)?;
    Ok(match auth {
        Auth::Psk => {
            let key = material.psk()?;
            let identity = match &draft.remote_id {
                Some(RemoteId::Exactly(identity)) => Some(identity.clone()),
                Some(RemoteId::Any) | None => None,
            };
            (PeerVerifier::Psk { key: key.clone(), identity }, Credentials::Psk(key))
        }
        Auth::Certificate => (material.verifier()?, Credentials::Certificate(material.certificate()?)),
        Auth::Eap => (material.verifier()?, Credentials::Eap(material.eap()?)),
    })
}

/// What was said, or else what was given.
pub(super) fn auth(draft: &Draft) -> Result<Auth, Error> {
    let eap = draft.user.is_some()
        || draft.password.is_some()
        || draft.nt_hash.is_some()
        || !draft.eap.is_empty()
        || draft.tls.is_some()
        || draft.ttls.is_some();
    if let Some(auth) = draft.auth {
        return Ok(auth);
    }
    if eap {
        return Ok(Auth::Eap);
    }
    if draft.psk.is_some() {
        return Ok(Auth::Psk);
    }
    if draft.certificate.is_some() || draft.key.is_some() || draft.pkcs12.is_some() {
        return Ok(Auth::Certificate);
    }
    let hint = draft.word(
        "give --user NAME, or --psk-file FILE, or --p12 FILE, or --cert FILE and --key FILE",
        "add `auth = \"eap\"`, `auth = \"psk\"` or `auth = \"certificate\"`",
    );
    Err(draft.error("nothing says how we prove who we are").hint(hint))
}

/// EAP methods for what was given.
fn default_methods(draft: &Draft) -> Vec<Method> {
    if draft.ttls.is_some() {
        return vec![Method::Ttls];
    }
    let certificate = draft.certificate.is_some() || draft.pkcs12.is_some();
    let password = draft.password.is_some() || draft.nt_hash.is_some() || !certificate;
    [(certificate, Method::Tls), (password, Method::MsChapV2)]
        .into_iter()
        .filter(|(has, _)| *has)
        .map(|(_, m)| m)
        .collect()
}

/// What is given and has no use is a misunderstanding, which is better known before than after.
/// That of a profile, which was made by somebody else, is forgiven.
fn unused(draft: &Draft, auth: Auth, methods: &[Method], forgiven: &mut Vec<String>) -> Vec<Error> {
    let mut errors = Vec::new();
    let eap = |any: &[Method]| auth == Auth::Eap && methods.iter().any(|method| any.contains(method));
    let inner = draft.ttls.as_ref().and_then(|ttls| ttls.value.inner);
    let ttls = |any: &[Inner]| eap(&[Method::Ttls]) && inner.is_none_or(|inner| any.contains(&inner));
    let certificate = auth == Auth::Certificate || eap(&[Method::Tls]);
    let hashed = eap(&[Method::MsChapV2]) || ttls(&[Inner::MsChapV2, Inner::EapMsChapV2]);
    let password = hashed || eap(&[Method::Gtc, Method::Md5, Method::Ttls]);
    let trusted = auth != Auth::Psk;
    fn place<T>(given: Option<&Given<T>>) -> Option<&str> {
        given.map(|given| given.place.as_str())
    }
    for (used, given, what) in [
        (auth == Auth::Psk, place(draft.psk.as_ref()), "the pre-shared key"),
        (trusted, place(draft.ca.first()), "the authority of the gateway"),
        (trusted, place(draft.crl.first()), "the revocation list"),
        (certificate, place(draft.certificate.as_ref()), "the certificate"),
        (certificate, place(draft.key.as_ref()), "the private key"),
        (certificate, place(draft.pkcs12.as_ref()), "the PKCS#12 file"),
        (certificate, place(draft.passphrase.as_ref()), "the passphrase"),
        (auth == Auth::Eap, place(draft.user.as_ref()), "the user name"),
        (password, place(draft.password.as_ref()), "the password"),
        (hashed, place(draft.nt_hash.as_ref()), "the NT hash"),
        (eap(&[Method::Tls, Method::Ttls]), place(draft.tls.as_ref()), "the TLS server"),
        (eap(&[Method::Ttls]), place(draft.ttls.as_ref()), "what is inside of TTLS"),
        (auth == Auth::Eap || draft.eap.is_empty(), Some(draft.place.as_str()), "the list of EAP methods"),
    ] {
        if let Some(place) = given.filter(|_| !used) {
            let how = match auth {
                Auth::Eap => format!("EAP ({})", names(methods)),
                Auth::Psk | Auth::Certificate => auth.name().to_owned(),
            };
            if draft.forgiving && place.starts_with(&draft.place) {
                forgiven.push(format!("{place}: {what} has no use, as {how} proves who we are"));
                continue;
            }
            let error = Error::at(place, format!("{what} has no use, as {how} proves who we are"));
            errors.push(error.hint(draft.word("leave it away", "leave it away, or change `auth` or `eap`")));
        }
    }
    if let (Some(nt_hash), Some(_)) = (&draft.nt_hash, &draft.password) {
        errors.push(nt_hash.error("there is a password already").hint("give one of the two"));
    }
    errors
}

fn names(methods: &[Method]) -> String {
    let name = |method: &Method| clap::ValueEnum::to_possible_value(method).map(|value| value.get_name().to_owned());
    methods.iter().filter_map(name).collect::<Vec<_>>().join(", ")
}

/// What has been read, each thing once.
struct Material<'a, 'r> {
    draft: &'a Draft,
    reading: &'a mut Reading<'r>,
    identity: Option<Arc<ClientIdentity>>,
    anchors: Vec<CertificateDer<'static>>,
    password: Option<Secret>,
}

impl<'a, 'r> Material<'a, 'r> {
    fn new(draft: &'a Draft, reading: &'a mut Reading<'r>, auth: Auth) -> Result<Self, Error> {
        let mut material = Self { draft, reading, identity: None, anchors: Vec::new(), password: None };
        material.anchors = certificates(&draft.ca)?;
        let wanted = auth == Auth::Certificate || (auth == Auth::Eap && draft.eap.contains(&Method::Tls));
        if wanted && let Err(ours) = material.read_identity() {
            // One mistake is no reason to keep another for later; a PKCS#12 file might have had the authority in it.
            if draft.pkcs12.is_none()
                && let Err(theirs) = material.verifier()
            {
                material.reading.problems.error(theirs);
            }
            return Err(ours);
        }
        Ok(material)
    }

    fn psk(&mut self) -> Result<Secret, Error> {
        let option = self.draft.word("give it with --psk-file FILE", "add `psk = { file = \"…\" }`");
        match secret(self.draft.psk.as_ref(), "a pre-shared key")? {
            Some(key) => Ok(key),
            None => self.reading.ask_secret("the pre-shared key is missing", "Pre-shared key: ", option),
        }
    }

    fn read_identity(&mut self) -> Result<(), Error> {
        let draft = self.draft;
        let option =
            draft.word("put it into a file and give that with --askpass FILE", "add `passphrase = { file = \"…\" }`");
        let passphrase = secret(draft.passphrase.as_ref(), "a passphrase")?;
        let identity = match (&draft.pkcs12, &draft.certificate) {
            (Some(pkcs12), None) => {
                let bytes = content(pkcs12)?;
                let open = |passphrase: Option<&Secret>| adit_pki::pkcs12(bytes.expose(), passphrase);
                let (identity, others) =
                    self.reading.unlock(passphrase, option, open).map_err(|error| of_file(pkcs12, error))?;
                if self.anchors.is_empty() {
                    self.anchors = others;
                }
                identity
            }
            (None, Some(certificate)) => {
                let chain = read(certificate, adit_pki::certificates)?;
                // Some have both in one file.
                let key = draft.key.as_ref().unwrap_or(certificate);
                let bytes = content(key)?;
                let open = |passphrase: Option<&Secret>| adit_pki::private_key(bytes.expose(), passphrase);
                let key =
                    self.reading.unlock(passphrase, option, open).map_err(|error| wrong_key(draft, key, error))?;
                ClientIdentity { chain, key }
            }
            (Some(pkcs12), Some(_)) => {
                return Err(pkcs12.error("there is a certificate already").hint("give one of the two"));
            }
            (None, None) => return Err(no_certificate(draft)),
        };
        let place = draft.pkcs12.as_ref().or(draft.certificate.as_ref()).map_or(&draft.place, |given| &given.place);
        self.reading.judge_dates(&identity.chain, place);
        self.identity = Some(Arc::new(identity));
        Ok(())
    }

    fn certificate(&self) -> Result<Arc<ClientIdentity>, Error> {
        self.identity.clone().ok_or_else(|| self.draft.error("our certificate is missing"))
    }

    /// How the gateway proves itself, where it does so with a certificate.
    fn verifier(&self) -> Result<PeerVerifier, Error> {
        if self.anchors.is_empty() {
            return Err(no_authority(self.draft));
        }
        let identity = match &self.draft.remote_id {
            None => ExpectedIdentity::Host,
            Some(RemoteId::Exactly(identity)) => ExpectedIdentity::Exactly(identity.clone()),
            Some(RemoteId::Any) => ExpectedIdentity::AnyOfTheAnchors,
        };
        let crls = revocation_lists(&self.draft.crl)?;
        Ok(PeerVerifier::Certificate(CertificateVerifier { anchors: self.anchors.clone(), crls, identity }))
    }

    fn eap(&mut self) -> Result<EapCredentials, Error> {
        let identity = self.eap_identity()?;
        let methods = self.draft.eap.iter().map(|method| self.method(*method, &identity)).collect::<Result<_, _>>()?;
        Ok(EapCredentials { identity, methods })
    }

    /// The user name; without one, and without a method that needs one, whom the certificate names.
    fn eap_identity(&mut self) -> Result<String, Error> {
        let draft = self.draft;
        if let Some(user) = &draft.user {
            return if user.value.is_empty() {
                Err(user.error("the user name is empty"))
            } else {
                Ok(user.value.clone())
            };
        }
        if let (Some(identity), [Method::Tls]) = (&self.identity, &draft.eap[..]) {
            return match &draft.local_id {
                Some(id) => Ok(id.to_string()),
                None => {
                    let leaf = identity.leaf().map_err(|error| draft.error(error))?;
                    Ok(Identity::DistinguishedName(leaf.subject().as_raw().to_vec()).to_string())
                }
            };
        }
        self.reading.ask(
            "the user name is missing",
            "User name: ",
            draft.word("give it with --user NAME", "add `user = \"…\"`"),
        )
    }

    fn method(&mut self, method: Method, user: &str) -> Result<EapMethod, Error> {
        Ok(match method {
            Method::MsChapV2 => EapMethod::MsChapV2(self.hashed(user)?),
            Method::Gtc => EapMethod::Gtc(self.password(user)?),
            Method::Md5 => EapMethod::Md5(self.password(user)?),
            Method::Tls => EapMethod::Tls { certificate: self.certificate()?, server: self.tls_server()? },
            Method::Ttls => self.ttls(user)?,
        })
    }

    fn ttls(&mut self, user: &str) -> Result<EapMethod, Error> {
        let Some(Given { value: Ttls { inner, anonymous_identity }, .. }) = &self.draft.ttls else {
            return Err(no_ttls(self.draft));
        };
        let Some(inner) = inner else { return Err(no_ttls(self.draft)) };
        let inner = match inner {
            Inner::Pap => TtlsInner::Pap(self.password(user)?),
            Inner::MsChapV2 => TtlsInner::MsChapV2(self.hashed(user)?),
            Inner::EapMd5 => TtlsInner::Eap(Box::new(EapMethod::Md5(self.password(user)?))),
            Inner::EapMsChapV2 => TtlsInner::Eap(Box::new(EapMethod::MsChapV2(self.hashed(user)?))),
            Inner::EapGtc => TtlsInner::Eap(Box::new(EapMethod::Gtc(self.password(user)?))),
        };
        Ok(EapMethod::Ttls { server: self.tls_server()?, anonymous_identity: anonymous_identity.clone(), inner })
    }

    /// How the server of a TLS-based method is judged: as the gateway, unless something else is said.
    fn tls_server(&self) -> Result<EapTlsServer, Error> {
        let default = Tls::default();
        let tls = self.draft.tls.as_ref().map_or(&default, |tls| &tls.value);
        let (anchors, crl) = match &tls.ca[..] {
            [] if tls.crl.is_empty() => (self.anchors.clone(), &self.draft.crl),
            [] => (self.anchors.clone(), &tls.crl),
            ca => (certificates(ca)?, &tls.crl),
        };
        Ok(EapTlsServer {
            anchors,
            crls: revocation_lists(crl)?,
            name: tls.server_name.clone(),
            min_version: tls.versions.0.unwrap_or(TlsVersion::V1_2),
            max_version: tls.versions.1.unwrap_or(TlsVersion::V1_3),
        })
    }

    /// What MS-CHAPv2 needs: the hash if there is one.
    fn hashed(&mut self, user: &str) -> Result<MsChapV2Secret, Error> {
        let Some(given) = &self.draft.nt_hash else { return self.password(user).map(MsChapV2Secret::Password) };
        nt_hash(given).map(MsChapV2Secret::NtHash)
    }

    /// From where it was said to be, or from the environment, or from somebody.
    fn password(&mut self, user: &str) -> Result<Secret, Error> {
        if self.password.is_none() {
            let option = self.draft.word(
                "put it into a file and give that with --password-file FILE, or set ADIT_PASSWORD",
                "add `password = { file = \"…\" }`, or set ADIT_PASSWORD",
            );
            self.password = Some(match secret(self.draft.password.as_ref(), "a password")? {
                Some(password) => password,
                None if env::var_os(PASSWORD_VARIABLE).is_some_and(|password| !password.is_empty()) => {
                    let variable = SecretSource::Variable(PASSWORD_VARIABLE.to_owned());
                    self.reading.secret(&Given::new(variable, PASSWORD_VARIABLE), "a password")?
                }
                None => self.reading.ask_secret("the password is missing", &format!("Password of {user}: "), option)?,
            });
        }
        Ok(self.password.clone().unwrap_or_default())
    }
}

fn no_certificate(draft: &Draft) -> Error {
    let hint = draft.word(
        "give --p12 FILE, or --cert FILE and --key FILE",
        "add `pkcs12 = \"…\"`, or `certificate = \"…\"` and `key = \"…\"`",
    );
    draft.error("our certificate is missing").hint(hint)
}

fn no_authority(draft: &Draft) -> Error {
    let hint = draft.word("give it with --ca FILE", "add `ca = [\"ca.pem\"]`");
    draft.error("the authority that vouches for the gateway is missing").hint(hint)
}

fn no_ttls(draft: &Draft) -> Error {
    let hint = draft.word(
        "describe the connection in a TOML file, with `ttls = { inner = \"pap\" }`",
        "add `ttls = { inner = \"pap\" }`",
    );
    draft.error("nothing says what is inside of EAP-TTLS").hint(hint)
}

/// The same error, with the place of what it is about.
pub(super) fn of<T>(given: &Given<T>, error: Error) -> Error {
    error.within(&given.place)
}

/// The same, with the name of the file it is in.
fn of_file(given: &Given<Content>, error: Error) -> Error {
    let made = given.error(format!("{}{}", given.value.name(), error.problem()));
    match error.hint_text() {
        Some(hint) => made.hint(hint),
        None => made,
    }
}

pub(super) fn content(given: &Given<Content>) -> Result<Secret, Error> {
    given.value.read().map_err(|error| of(given, error))
}

pub(super) fn secret(given: Option<&Given<SecretSource>>, what: &str) -> Result<Option<Secret>, Error> {
    given.map(|given| given.value.read(what).map_err(|error| of(given, error))).transpose()
}

/// Reads and takes apart.
pub(super) fn read<T>(given: &Given<Content>, parse: impl Fn(&[u8]) -> Result<T, KeyError>) -> Result<T, Error> {
    parse(content(given)?.expose()).map_err(|error| given.error(format!("{}{error}", given.value.name())))
}

pub(super) fn certificates(files: &[Given<Content>]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = files.iter().map(|file| read(file, adit_pki::certificates)).collect();
    found.map(|found| found.into_iter().flatten().collect())
}

pub(super) fn revocation_lists(files: &[Given<Content>]) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = files.iter().map(|file| read(file, adit_pki::revocation_lists)).collect();
    found.map(|found| found.into_iter().flatten().collect())
}

/// The NT hash of a password, in hexadecimal digits.
pub(super) fn nt_hash(given: &Given<SecretSource>) -> Result<Secret, Error> {
    let text = given.value.read("an NT hash").map_err(|error| of(given, error))?;
    let hash = from_hex(text.expose()).filter(|hash| hash.expose().len() == 16);
    hash.ok_or_else(|| given.error("an NT hash has 32 hexadecimal digits"))
}

/// Pairs of hexadecimal digits.
fn from_hex(text: &[u8]) -> Option<Secret> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let bytes: Option<Vec<u8>> = text
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect();
    bytes.map(Secret::new)
}
