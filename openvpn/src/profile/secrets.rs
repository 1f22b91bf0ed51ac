//! What is not in a profile: passwords and passphrases; and the configuration made with them.

use adit_tunnel::Secret;

use super::{DirectiveOutcome, Profile};
use crate::{
    config::{ClientIdentity, Complete, Config, ConfigBuilder, ConfigError, Credentials},
    keys::{KeyError, Pkcs12, pem},
};

/// The secrets a person was asked for.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// Asked for when [`Profile::needs_credentials`] says so; else it replaces what the profile holds.
    pub credentials: Option<Credentials>,
    /// Asked for when [`Profile::needs_key_passphrase`] says so; else it replaces what the profile holds.
    pub key_passphrase: Option<Secret>,
}

/// A user name and password are to be asked for, or the password alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialsWanted {
    /// The user, when the profile says who it is.
    pub username: Option<String>,
}

/// Why a profile and secrets do not make a configuration: the line where one can be named, the directive, the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntoConfigError {
    /// The key of `key`.
    #[error("{}`key`: {error}", at(.line))]
    Key {
        /// The line of `key`, counted from 1; `None` if it stands behind `setenv opt`.
        line: Option<usize>,
        /// What is wrong with the key.
        error: KeyError,
    },
    /// The key and certificates of `pkcs12`.
    #[error("{}`pkcs12`: {error}", at(.line))]
    Pkcs12 {
        /// The line of `pkcs12`, counted from 1; `None` if it stands behind `setenv opt`.
        line: Option<usize>,
        /// What is wrong with the file.
        error: KeyError,
    },
    /// Nobody said who we are.
    #[error("{}`auth-user-pass`: the profile wants a user name and a password, and they were not given", at(.line))]
    CredentialsMissing {
        /// The line of `auth-user-pass`, counted from 1; `None` if it stands behind `setenv opt`.
        line: Option<usize>,
    },
    /// Together it does not work.
    #[error("{}{error}", at(.line))]
    Config {
        /// The line of the directive to change, counted from 1; `None` when something is missing as a whole.
        line: Option<usize>,
        /// What is wrong.
        error: ConfigError,
    },
}

fn at(line: &Option<usize>) -> String {
    line.map(|line| format!("line {line}: ")).unwrap_or_default()
}

impl IntoConfigError {
    /// Whether asking for the passphrase again may help.
    #[must_use]
    pub fn is_wrong_passphrase(&self) -> bool {
        matches!(self, Self::Key { error, .. } | Self::Pkcs12 { error, .. } if *error == KeyError::WrongPassphrase)
    }
}

impl Profile {
    /// Whether a user name and password must be asked for: `auth-user-pass` without a file, or with half of it.
    #[must_use]
    pub fn needs_credentials(&self) -> Option<CredentialsWanted> {
        let login = self.draft.login.as_ref()?;
        let known = login.username.is_some() && login.password.is_some();
        (!known).then(|| CredentialsWanted { username: login.username.clone() })
    }

    /// Whether the passphrase of the private key must be asked for.
    #[must_use]
    pub fn needs_key_passphrase(&self) -> bool {
        if self.draft.key_passphrase.is_some() {
            return false;
        }
        match (&self.draft.pkcs12, &self.draft.key) {
            (Some(file), _) => matches!(Pkcs12::open(file.expose(), None), Err(KeyError::PassphraseNeeded)),
            (None, Some(key)) => pem::is_key_encrypted(key.expose()).unwrap_or(false),
            (None, None) => false,
        }
    }

    /// The configuration of a [`crate::Session`].
    ///
    /// # Errors
    /// [`IntoConfigError`] when a secret is missing or wrong, a key cannot be read, or the whole makes no sense.
    pub fn into_config(self, secrets: Secrets) -> Result<Config, IntoConfigError> {
        let (builder, outcomes, unusable) = self.builder(secrets);
        if let Some(first) = unusable.into_iter().next() {
            return Err(first);
        }
        builder.build().map_err(|error| misfit(&outcomes, error))
    }

    /// All that [`Self::into_config`] refuses with these secrets, in the order in which it would be found: one after the other, if
    /// each was put right. What cannot be judged before another is right is left out.
    #[must_use]
    pub fn mistakes(&self, secrets: Secrets) -> Vec<IntoConfigError> {
        let (builder, outcomes, mut found) = self.clone().builder(secrets);
        found.extend(builder.mistakes().into_iter().map(|error| misfit(&outcomes, error)));
        found
    }

    /// What a configuration is made from, and what of it cannot be used: then something that can stands in its place.
    fn builder(self, secrets: Secrets) -> (ConfigBuilder<Complete>, Vec<DirectiveOutcome>, Vec<IntoConfigError>) {
        let mut unusable = Vec::new();
        let somebody = Credentials { username: String::new(), password: Secret::from("") };
        let mut credentials = self.credentials(secrets.credentials).unwrap_or_else(|error| {
            unusable.push(error);
            Some(somebody.clone())
        });
        // What is below takes the profile apart.
        let (key_line, pkcs12_line) = (self.line(&["key"]), self.line(&["pkcs12"]));
        let outcomes = self.outcomes;
        let passphrase = secrets.key_passphrase.or_else(|| self.draft.key_passphrase.clone());
        let mut server = self.draft.server;
        let without_anchor = server.ca.is_empty() && server.fingerprints.is_empty();
        let mut identity = None;
        if let Some(file) = &self.draft.pkcs12 {
            match Pkcs12::open(file.expose(), passphrase.as_ref().map(Secret::expose)) {
                Ok(opened) => {
                    if without_anchor {
                        server.ca = opened.ca;
                    }
                    identity = Some(opened.identity);
                }
                Err(error) => {
                    unusable.push(IntoConfigError::Pkcs12 { line: pkcs12_line, error });
                    // It may have the authority in it.
                    if without_anchor {
                        server.fingerprints.push([0; 32]);
                        server.crls.clear();
                    }
                }
            }
        } else if let Some(key) = &self.draft.key {
            match pem::private_key(key.expose(), passphrase.as_ref().map(Secret::expose)) {
                Ok(key) => identity = Some(ClientIdentity { chain: self.draft.certificates, key }),
                Err(error) => unusable.push(IntoConfigError::Key { line: key_line, error }),
            }
        }
        if let Some(identity) = &mut identity {
            identity.chain.extend(self.draft.extra_certificates);
        }
        if !unusable.is_empty() {
            credentials = credentials.or(Some(somebody));
        }
        let settings = self.draft.settings;
        let builder = Config::builder(self.remotes).server_check(server).identity(identity, credentials);
        (builder.settings(|s| *s = settings), outcomes, unusable)
    }

    fn line(&self, directives: &[&str]) -> Option<usize> {
        line(&self.outcomes, directives)
    }

    fn credentials(&self, given: Option<Credentials>) -> Result<Option<Credentials>, IntoConfigError> {
        let Some(login) = &self.draft.login else { return Ok(None) };
        if given.is_some() {
            return Ok(given);
        }
        match (&login.username, &login.password) {
            (Some(username), Some(password)) => {
                Ok(Some(Credentials { username: username.clone(), password: password.clone() }))
            }
            _ => Err(IntoConfigError::CredentialsMissing { line: self.line(&["auth-user-pass"]) }),
        }
    }
}

fn misfit(outcomes: &[DirectiveOutcome], error: ConfigError) -> IntoConfigError {
    IntoConfigError::Config { line: line(outcomes, error.directives()), error }
}

/// Where the first of these directives that the profile has was said last.
fn line(outcomes: &[DirectiveOutcome], directives: &[&str]) -> Option<usize> {
    let of = |name: &&str| outcomes.iter().rev().find(|outcome| outcome.directive == *name);
    directives.iter().find_map(of).map(|outcome| outcome.line)
}
