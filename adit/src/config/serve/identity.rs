//! Files of the gateway's own certificate and of its clients' authorities.

use std::sync::Arc;

use adit_pki::{ClientIdentity, KeyError};

use super::{
    super::{
        build::{content, of, read, secret},
        draft::Given,
        files::Content,
        problems::Problems,
        source::Source,
    },
    tables::Draft,
};
use crate::error::{Error, Exit};

/// What is known of the gateway's certificate.
pub(super) enum Certificate {
    /// It is there, with its key, and where it stands.
    Found(Given<Arc<ClientIdentity>>),
    NotGiven,
    /// What is wrong was said.
    Wrong,
}

impl Certificate {
    pub(super) fn found(&self) -> Option<&Given<Arc<ClientIdentity>>> {
        match self {
            Self::Found(given) => Some(given),
            Self::NotGiven | Self::Wrong => None,
        }
    }
}

impl Draft {
    /// That the gateway cannot do without a certificate.
    pub(super) fn no_certificate(&self) -> Error {
        self.error("the certificate of the gateway is missing").hint(HINT)
    }

    /// Certificate and key of the gateway.
    pub(super) fn identity(&mut self, source: &Source, problems: &mut Problems) -> Certificate {
        let spoiled = self.is_spoiled(&["certificate", "key", "pkcs12", "passphrase"], problems);
        let table = &mut self.table;
        let file = |path: &mut Option<_>| path.take().map(|path| source.file(path));
        let (pkcs12, certificate, key) = (file(&mut table.pkcs12), file(&mut table.certificate), file(&mut table.key));
        let passphrase = table.passphrase.take().map(|passphrase| source.secret(passphrase));
        let secret = problems.catch(secret(passphrase.as_ref(), "a passphrase"));
        // Without the passphrase, whether the key opens is not known.
        let opened = |file: &Given<Content>, problems: &mut Problems| {
            let bytes = problems.catch(content(file))?;
            Some((bytes, secret.as_ref()?.as_ref()))
        };
        let found = match (pkcs12, certificate, key) {
            (Some(pkcs12), None, None) => opened(&pkcs12, problems).and_then(|(bytes, secret)| {
                let opened = adit_pki::pkcs12(bytes.expose(), secret).map_err(|error| locked(&pkcs12, error));
                Some((problems.catch(opened)?.0, pkcs12.place))
            }),
            (None, Some(certificate), key) => {
                let chain = problems.catch(read(&certificate, adit_pki::certificates));
                // Some have both in one file.
                let file = key.as_ref().unwrap_or(&certificate);
                // Read already, it was said.
                let readable = key.is_some() || chain.is_some() || content(file).is_ok();
                let key = readable.then(|| opened(file, problems)).flatten().and_then(|(bytes, secret)| {
                    let opened = adit_pki::private_key(bytes.expose(), secret);
                    let opened = opened.map_err(|error| match (&key, &error) {
                        (None, KeyError::Missing { .. }) => locked(file, error).hint("add `key = \"…\"`"),
                        _ => locked(file, error),
                    });
                    // What has no key has one in a file whose name was not understood.
                    if key.is_none() && spoiled { opened.ok() } else { problems.catch(opened) }
                });
                chain.zip(key).map(|(chain, key)| (ClientIdentity { chain, key }, certificate.place))
            }
            (Some(pkcs12), Some(_), _) => {
                problems.error(pkcs12.error("there is a certificate already").hint("give one of the two"));
                None
            }
            (_, None, Some(key)) => {
                problems.catch(content(&key));
                if !spoiled {
                    problems.error(key.error("this key has no certificate").hint("add `certificate = \"…\"`"));
                }
                None
            }
            (None, None, None) => match passphrase.filter(|_| !spoiled) {
                Some(given) => {
                    problems.error(given.error("there is no key for this passphrase").hint("leave it away"));
                    None
                }
                None if spoiled => None,
                None => return Certificate::NotGiven,
            },
        };
        match found {
            Some((identity, place)) => Certificate::Found(Given::new(Arc::new(identity), place)),
            None => Certificate::Wrong,
        }
    }

    /// Looks at the files and secrets of a gateway whose protocol is not known.
    pub(super) fn files(&mut self, source: &Source, problems: &mut Problems) {
        self.identity(source, problems);
        for file in source.files(std::mem::take(&mut self.table.client_ca)) {
            problems.catch(read(&file, adit_pki::certificates));
        }
        for file in source.files(std::mem::take(&mut self.table.client_crl)) {
            problems.catch(read(&file, adit_pki::revocation_lists));
        }
        for user in self.users(source, problems) {
            problems.catch(secret(user.password.as_ref(), "a password"));
            problems.catch(secret(user.nt_hash.as_ref(), "an NT hash"));
        }
    }
}

const HINT: &str = "add `certificate = \"…\"` and `key = \"…\"`, or `pkcs12 = \"…\"`";

/// Why the key cannot be read.
fn locked(file: &Given<Content>, error: KeyError) -> Error {
    let hint = matches!(error, KeyError::PassphraseNeeded);
    let error = of(file, Error::new(Exit::Usage, format!("{}{error}", file.value.name())));
    if hint { error.hint("add `passphrase = { file = \"…\" }`") } else { error }
}
