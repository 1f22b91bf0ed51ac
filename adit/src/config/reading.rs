//! Reading what one gateway is made from: every file and secret passes through here, to be watched and to be told apart.

use std::{
    io,
    path::{Path, PathBuf},
};

use adit_tunnel::Secret;
use pki_types::CertificateDer;
use ring::digest;
use x509_parser::{certificate::X509Certificate, prelude::FromDer, time::ASN1Time};

use super::{
    draft::{Draft, Given},
    files::{Content, SecretSource, credential, read},
    problems::Problems,
    questions::Questions,
};
use crate::error::{Error, Exit};

/// Whoever has a certificate that ends so soon is told, in seconds.
const ENDS_SOON: i64 = 14 * 86_400;

/// What has been read for one gateway.
pub(super) struct Reading<'a> {
    questions: &'a Questions,
    /// Whom it is read for, such as ``connection `office` ``; empty where there is nothing to tell apart.
    subject: String,
    pub(super) problems: &'a mut Problems,
    digest: digest::Context,
    blank: bool,
}

impl<'a> Reading<'a> {
    pub(super) fn new(questions: &'a Questions, subject: impl Into<String>, problems: &'a mut Problems) -> Self {
        Self {
            questions,
            subject: subject.into(),
            problems,
            digest: digest::Context::new(&digest::SHA256),
            blank: false,
        }
    }

    pub(super) fn questions(&self) -> &'a Questions {
        self.questions
    }

    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    /// A question, with whom it is for.
    pub(super) fn addressed(&self, question: &str) -> String {
        if self.subject.is_empty() { question.to_owned() } else { format!("{}: {question}", self.subject) }
    }

    /// Whether nobody is there to answer a question of the gateway.
    pub(super) fn is_answered_by_nobody(&self) -> bool {
        self.questions.has_nobody()
    }

    /// An answer is missing, as nobody was asked: what is made now is not to be used.
    pub(super) fn leave_blank(&mut self) {
        self.blank = true;
    }

    pub(super) fn is_blank(&self) -> bool {
        self.blank
    }

    /// Something that the gateway depends on.
    pub(super) fn absorb(&mut self, bytes: &[u8]) {
        self.digest.update(&(bytes.len() as u64).to_be_bytes());
        self.digest.update(bytes);
    }

    /// Tells gateways apart; says nothing of what they are made from, and is not to be shown.
    pub(super) fn fingerprint(self) -> u64 {
        let digest = self.digest.finish();
        digest.as_ref().iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// Reads a file.
    pub(super) fn file(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.problems.file(path.to_owned());
        let bytes = read(path)?;
        self.absorb(&bytes);
        Ok(bytes)
    }

    /// Reads a file that nobody else should be able to read.
    pub(super) fn private_file(&mut self, path: &Path, place: &str) -> io::Result<Vec<u8>> {
        let bytes = self.file(path)?;
        self.problems.warn_of_readers(path, place);
        Ok(bytes)
    }

    /// Fetches a secret. `what` names it, with its article.
    pub(super) fn secret(&mut self, given: &Given<SecretSource>, what: &str) -> Result<Secret, Error> {
        let file = match &given.value {
            SecretSource::File(path) => Some(path.clone()),
            SecretSource::Credential(name) => credential(name).ok(),
            SecretSource::Variable(_) | SecretSource::Value(_) => None,
        };
        self.problems.files_of(file.as_deref());
        let secret = given.value.read(what).map_err(|error| error.within(&given.place))?;
        self.absorb(secret.expose());
        // Systemd sees to those of a credential itself.
        if let SecretSource::File(path) = &given.value {
            self.problems.warn_of_readers(path, &given.place);
        }
        Ok(secret)
    }

    /// Says of certificates that have ended, or will soon.
    pub(super) fn judge_dates(&mut self, certificates: &[CertificateDer<'_>], place: &str) {
        let now = ASN1Time::now();
        for der in certificates {
            let Ok((_, certificate)) = X509Certificate::from_der(der) else { continue };
            let (name, validity) = (certificate.subject(), certificate.validity());
            let left = validity.not_after.timestamp() - now.timestamp();
            let problem = if left < 0 {
                format!("the certificate of `{name}` has expired: {}", validity.not_after)
            } else if validity.not_before > now {
                format!("the certificate of `{name}` is not valid yet: only from {} on", validity.not_before)
            } else if left < ENDS_SOON {
                format!("the certificate of `{name}` expires in {} days: {}", left / 86_400, validity.not_after)
            } else {
                continue;
            };
            let error = Error::at(place, problem.escape_debug());
            self.problems.warning(error.hint("get a new one, and see that the clock of this machine is right"));
        }
    }

    /// Takes the result, or else keeps the error.
    fn fetched<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        self.problems.catch(result)
    }
}

impl Problems {
    /// Warns of a file with a secret that every user of this machine can read; `place`: where it is named.
    #[cfg(unix)]
    pub(super) fn warn_of_readers(&mut self, path: &Path, place: &str) {
        use std::os::unix::fs::PermissionsExt;
        let everybody = path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0);
        if everybody {
            let path = path.display();
            let error = Error::at(place, format!("every user of this machine can read {path}"));
            let hint = format!("`chmod 600 {path}`; in Kubernetes, `defaultMode: 0400`");
            self.warning(error.hint(hint));
        }
    }

    #[cfg(not(unix))]
    pub(super) fn warn_of_readers(&mut self, _: &Path, _: &str) {}

    fn files_of(&mut self, path: Option<&Path>) {
        if let Some(path) = path {
            self.file(path.to_owned());
        }
    }
}

/// Reads everything the draft names, so that it depends on no file any more. What cannot be read is in the list of problems
/// afterwards, all of it.
pub(super) fn fetch(draft: &mut Draft, reading: &mut Reading<'_>) {
    for certificates in [&mut draft.ca, draft.tls.as_mut().map_or(&mut Vec::new(), |tls| &mut tls.value.ca)] {
        for file in certificates {
            if content(file, Sort::Public, reading)
                && let Some(found) = parsed(file, adit_pki::certificates, reading)
            {
                reading.judge_dates(&found, &file.place);
            }
        }
    }
    for lists in [&mut draft.crl, draft.tls.as_mut().map_or(&mut Vec::new(), |tls| &mut tls.value.crl)] {
        for file in lists {
            if content(file, Sort::Public, reading) {
                parsed(file, adit_pki::revocation_lists, reading);
            }
        }
    }
    if let Some(file) = &mut draft.certificate {
        let sort = if draft.key.is_some() { Sort::Public } else { Sort::Private };
        if content(file, sort, reading) {
            parsed(file, adit_pki::certificates, reading);
        }
    }
    for file in [&mut draft.key, &mut draft.pkcs12].into_iter().flatten() {
        content(file, Sort::Private, reading);
    }
    for (secret, what) in [
        (&mut draft.psk, "a pre-shared key"),
        (&mut draft.passphrase, "a passphrase"),
        (&mut draft.password, "a password"),
        (&mut draft.nt_hash, "an NT hash"),
    ] {
        if let Some(given) = secret {
            let read = reading.secret(given, what);
            if let Some(value) = reading.fetched(read) {
                given.value = SecretSource::Value(value);
            }
        }
    }
}

enum Sort {
    Public,
    Private,
}

/// Whether it could be read.
fn content(given: &mut Given<Content>, sort: Sort, reading: &mut Reading<'_>) -> bool {
    let path: PathBuf = match &given.value {
        Content::File(path) => path.clone(),
        Content::Bytes(bytes) | Content::Read(_, bytes) => {
            reading.absorb(bytes.expose());
            return true;
        }
    };
    let read = match sort {
        Sort::Public => reading.file(&path),
        Sort::Private => reading.private_file(&path, &given.place),
    };
    let read = read.map_err(|error| {
        Error::new(Exit::Usage, format!("cannot read {}: {error}", path.display())).within(&given.place)
    });
    let Some(bytes) = reading.fetched(read) else { return false };
    given.value = Content::Read(path, Secret::new(bytes));
    true
}

fn parsed<T>(
    given: &Given<Content>,
    parse: impl Fn(&[u8]) -> Result<T, adit_pki::KeyError>,
    reading: &mut Reading<'_>,
) -> Option<T> {
    reading.fetched(super::build::read(given, parse))
}
