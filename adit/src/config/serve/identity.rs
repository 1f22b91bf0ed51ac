//! Files of the gateway's own certificate and of its clients' authorities.

use std::sync::Arc;

use adit_pki::{ClientIdentity, KeyError};

use super::{
    super::{
        build::{content, of, read, secret},
        draft::Given,
        files::Content,
        source::Source,
    },
    tables::Draft,
};
use crate::error::{Error, Exit};

impl Draft {
    /// Certificate and key of a gateway that cannot do without.
    pub(super) fn needed_identity(&mut self, source: &Source) -> Result<Given<Arc<ClientIdentity>>, Error> {
        self.identity(source)?.ok_or_else(|| self.error("the certificate of the gateway is missing").hint(HINT))
    }

    /// Certificate and key of the gateway, where they are given, and where they stand.
    pub(super) fn identity(&mut self, source: &Source) -> Result<Option<Given<Arc<ClientIdentity>>>, Error> {
        let table = &mut self.table;
        let file = |path: &mut Option<_>| path.take().map(|path| source.file(path));
        let (pkcs12, certificate, key) = (file(&mut table.pkcs12), file(&mut table.certificate), file(&mut table.key));
        let passphrase = table.passphrase.take().map(|passphrase| source.secret(passphrase));
        let passphrase_read = secret(passphrase.as_ref(), "a passphrase")?;
        let (identity, place) = match (pkcs12, certificate, key) {
            (Some(pkcs12), None, None) => {
                let bytes = content(&pkcs12)?;
                let opened = adit_pki::pkcs12(bytes.expose(), passphrase_read.as_ref());
                (opened.map_err(|error| locked(&pkcs12, error))?.0, pkcs12.place)
            }
            (None, Some(certificate), key) => {
                let chain = read(&certificate, adit_pki::certificates)?;
                // Some have both in one file.
                let file = key.as_ref().unwrap_or(&certificate);
                let opened = adit_pki::private_key(content(file)?.expose(), passphrase_read.as_ref());
                let opened = opened.map_err(|error| match (&key, &error) {
                    (None, KeyError::Missing { .. }) => locked(file, error).hint("add `key = \"…\"`"),
                    _ => locked(file, error),
                });
                (ClientIdentity { chain, key: opened? }, certificate.place)
            }
            (Some(pkcs12), Some(_), _) => {
                return Err(pkcs12.error("there is a certificate already").hint("give one of the two"));
            }
            (_, None, Some(key)) => {
                return Err(key.error("this key has no certificate").hint("add `certificate = \"…\"`"));
            }
            (None, None, None) => {
                return match passphrase {
                    Some(given) => Err(given.error("there is no key for this passphrase").hint("leave it away")),
                    None => Ok(None),
                };
            }
        };
        Ok(Some(Given::new(Arc::new(identity), place)))
    }
}

const HINT: &str = "add `certificate = \"…\"` and `key = \"…\"`, or `pkcs12 = \"…\"`";

/// Why the key cannot be read.
fn locked(file: &Given<Content>, error: KeyError) -> Error {
    let hint = matches!(error, KeyError::PassphraseNeeded);
    let error = of(file, Error::new(Exit::Usage, format!("{}{error}", file.value.name())));
    if hint { error.hint("add `passphrase = { file = \"…\" }`") } else { error }
}
