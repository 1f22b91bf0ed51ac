//! From a description, the files it names and the secrets that are not in it, to an IKEv2 configuration.

use std::{env, sync::Arc};

use adit_pki::{ClientIdentity, KeyError};
use adit_tunnel::Secret;
use ikev2::{
    CertificateVerifier, Config, ConfigError, Credentials, EapCredentials, EapMethod, EapTlsServer, ExpectedIdentity,
    Identity, MsChapV2Secret, PeerVerifier, TlsVersion, TtlsInner,
};
use pki_types::{CertificateDer, CertificateRevocationListDer};

use super::{
    draft::{Auth, Draft, Given, Inner, Method, RemoteId, Tls, Ttls},
    files::{Content, SecretSource},
    reading::Reading,
};
use crate::error::{Error, Exit};

/// Holds the password where none is named.
const PASSWORD_VARIABLE: &str = "ADIT_PASSWORD";

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
            chosen.local_identity = local_id;
            settings.into_iter().for_each(|setting| setting(chosen));
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
    refuse_unused(draft, auth)?;
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
fn auth(draft: &Draft) -> Result<Auth, Error> {
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
    if draft.certificate.is_some() || draft.pkcs12.is_some() {
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
fn refuse_unused(draft: &mut Draft, auth: Auth) -> Result<(), Error> {
    let mut forgiven = Vec::new();
    let eap = |methods: &[Method]| auth == Auth::Eap && draft.eap.iter().any(|method| methods.contains(method));
    let ttls =
        |inner: &[Inner]| eap(&[Method::Ttls]) && draft.ttls.as_ref().is_none_or(|t| inner.contains(&t.value.inner));
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
                Auth::Eap => format!("EAP ({})", names(&draft.eap)),
                Auth::Psk | Auth::Certificate => auth.name().to_owned(),
            };
            let problem = format!("{place}: {what} has no use, as {how} proves who we are");
            if draft.forgiving && place.starts_with(&draft.place) {
                forgiven.push(problem);
                continue;
            }
            let error = Error::new(Exit::Usage, problem);
            return Err(error.hint(draft.word("leave it away", "leave it away, or change `auth` or `eap`")));
        }
    }
    if let (Some(nt_hash), Some(_)) = (&draft.nt_hash, &draft.password) {
        return Err(nt_hash.error("there is a password already").hint("give one of the two"));
    }
    draft.warnings.append(&mut forgiven);
    Ok(())
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
                    self.reading.unlock(passphrase, option, open).map_err(|error| of(pkcs12, error))?;
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
                let key = self.reading.unlock(passphrase, option, open).map_err(|error| match draft.key {
                    Some(_) => of(key, error),
                    None => of(key, error).hint(draft.word("give the key with --key FILE", "add `key = \"…\"`")),
                })?;
                ClientIdentity { chain, key }
            }
            (Some(pkcs12), Some(_)) => {
                return Err(pkcs12.error("there is a certificate already").hint("give one of the two"));
            }
            (None, None) => {
                let hint = draft.word(
                    "give --p12 FILE, or --cert FILE and --key FILE",
                    "add `pkcs12 = \"…\"`, or `certificate = \"…\"` and `key = \"…\"`",
                );
                return Err(draft.error("our certificate is missing").hint(hint));
            }
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
            let hint = self.draft.word("give it with --ca FILE", "add `ca = [\"ca.pem\"]`");
            return Err(self.draft.error("the authority that vouches for the gateway is missing").hint(hint));
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
            let hint = "describe the connection in a TOML file, with `ttls = { inner = \"pap\" }`";
            return Err(self.draft.error("nothing says what is inside of EAP-TTLS").hint(hint));
        };
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

/// The same error, with the place of what it is about.
pub(super) fn of<T>(given: &Given<T>, error: Error) -> Error {
    error.within(&given.place)
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
