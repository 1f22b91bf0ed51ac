//! Secrets that are in no file: who is asked for them, and what was answered.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use adit_pki::KeyError;
use adit_tunnel::Secret;

use super::{files::ATTEMPTS, ovpn, reading::Reading};
use crate::{
    error::{Error, Exit},
    prompt,
};

/// Who answers. Answers are kept, so that reading a configuration again asks nothing a second time.
#[derive(Debug)]
pub(crate) struct Questions {
    /// Whether somebody is asked; else what would be asked is noted.
    asks: bool,
    /// Whether what only a login shows is noted all the same.
    spares_login: bool,
    /// What is typed, where no terminal is.
    #[cfg(test)]
    script: Mutex<std::collections::VecDeque<Secret>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By whom they are for, and what was asked.
    answers: BTreeMap<(String, String), Secret>,
    open: Vec<OpenQuestion>,
}

/// What would be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenQuestion {
    /// Such as ``connection `office` ``.
    pub(crate) subject: String,
    pub(crate) what: String,
    /// How it could be given.
    pub(crate) hint: String,
}

/// Whether a question is about what only a login shows: passwords, and with OpenVPN the user name, which IKEv2 says before.
fn is_for_the_login(question: &str, option: &str) -> bool {
    question.starts_with("Password") || ovpn::LOGIN_OPTIONS.contains(&option)
}

impl Questions {
    /// Asks whoever is at the terminal.
    pub(crate) fn of_the_terminal() -> Self {
        Self::new(true)
    }

    /// The same, but for what only a login shows: that is noted.
    pub(crate) fn before_the_login() -> Self {
        Self { spares_login: true, ..Self::new(true) }
    }

    /// Asks nobody, and notes what would be asked.
    pub(crate) fn noted() -> Self {
        Self::new(false)
    }

    /// Somebody who types these lines.
    #[cfg(test)]
    pub(crate) fn answered_by(lines: &[&str]) -> Self {
        let script = Mutex::new(lines.iter().map(|line| Secret::from(*line)).collect());
        Self { script, ..Self::new(true) }
    }

    fn new(asks: bool) -> Self {
        Self {
            asks,
            spares_login: false,
            #[cfg(test)]
            script: Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// The gateway that was asked for has refused what was answered: it is asked for again, by whoever reads the configuration
    /// next. Whether there was such an answer. A passphrase that fits its key is not what was refused.
    pub(crate) fn forget(&self, subject: &str) -> bool {
        let mut state = self.lock();
        let before = state.answers.len();
        state.answers.retain(|(of, question), _| of != subject || question == PASSPHRASE);
        state.answers.len() < before
    }

    #[cfg(test)]
    fn scripted(&self) -> Option<Secret> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "as in tests")]
    const fn scripted(&self) -> Option<Secret> {
        None
    }

    /// What would have been asked.
    pub(crate) fn open(&self) -> Vec<OpenQuestion> {
        self.lock().open.clone()
    }

    /// Whether a question of a gateway cannot be answered.
    pub(super) fn has_nobody(&self) -> bool {
        self.asks && prompt::is_at_end()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, subject: &str, question: &str) -> Option<Secret> {
        self.lock().answers.get(&(subject.to_owned(), question.to_owned())).cloned()
    }

    fn keep(&self, subject: &str, question: &str, answer: &Secret) {
        self.lock().answers.insert((subject.to_owned(), question.to_owned()), answer.clone());
    }

    fn note(&self, subject: &str, question: &str, hint: &str) {
        // Where the user is asked for, too, his name is not known yet.
        let what = question.trim_end_matches([':', ' ']).trim_end_matches(" of ?").to_owned();
        let question = OpenQuestion { subject: subject.into(), what, hint: hint.into() };
        let mut state = self.lock();
        if !state.open.contains(&question) {
            state.open.push(question);
        }
    }
}

/// What stands in for an answer that nobody was asked for: it is thrown away with what is made with it.
const NO_ANSWER: &[u8] = b"?";
const PASSPHRASE: &str = "Passphrase of the private key: ";

impl Reading<'_> {
    /// Asks for a secret. `wanted` is said where nobody is there to ask; `option` says how it could have been given.
    pub(super) fn ask_secret(&mut self, wanted: &str, question: &str, option: &str) -> Result<Secret, Error> {
        self.answer(wanted, question, option, |question| {
            insist(|| prompt::ask_secret(question), |secret| secret.expose().is_empty())
        })
    }

    /// Asks for something that may be seen.
    pub(super) fn ask(&mut self, wanted: &str, question: &str, option: &str) -> Result<String, Error> {
        let answer = self.answer(wanted, question, option, |question| {
            insist(|| prompt::ask(question), String::is_empty).map(|text| Secret::from(text.as_str()))
        })?;
        Ok(String::from_utf8_lossy(answer.expose()).into_owned())
    }

    fn answer(
        &mut self,
        wanted: &str,
        question: &str,
        option: &str,
        ask: impl FnOnce(&str) -> Result<Secret, Error>,
    ) -> Result<Secret, Error> {
        let questions = self.questions();
        if !questions.asks || (questions.spares_login && is_for_the_login(question, option)) {
            questions.note(self.subject(), question, option);
            self.leave_blank();
            return Ok(Secret::new(NO_ANSWER));
        }
        let answer = match questions.known(self.subject(), question) {
            Some(answer) => answer,
            None => {
                let answer = match questions.scripted() {
                    Some(answer) => answer,
                    None => {
                        somebody(&self.addressed(wanted), option)?;
                        ask(&self.addressed(question))?
                    }
                };
                questions.keep(self.subject(), question, &answer);
                answer
            }
        };
        self.absorb(answer.expose());
        Ok(answer)
    }

    /// Opens what may have a passphrase, with the one that is known, or else with those somebody types. `option` says how the
    /// passphrase could have been given.
    pub(super) fn unlock<T>(
        &mut self,
        known: Option<Secret>,
        option: &str,
        open: impl Fn(Option<&Secret>) -> Result<T, KeyError>,
    ) -> Result<T, Error> {
        let unusable = |error: KeyError| Error::new(Exit::Usage, error);
        if known.is_some() {
            return open(known.as_ref()).map_err(unusable);
        }
        let opened = open(None);
        if !matches!(opened, Err(KeyError::PassphraseNeeded)) {
            return opened.map_err(unusable);
        }
        self.passphrases(option, |passphrase| match open(Some(passphrase)) {
            Err(KeyError::WrongPassphrase) => Tried::Wrong(unusable(KeyError::WrongPassphrase)),
            other => Tried::Done(other.map_err(unusable)),
        })
    }

    /// Tries passphrases, which may be empty: the one that fitted before, or else those somebody types.
    pub(super) fn passphrases<T>(&mut self, option: &str, open: impl Fn(&Secret) -> Tried<T>) -> Result<T, Error> {
        let questions = self.questions();
        if !questions.asks {
            questions.note(self.subject(), PASSPHRASE, option);
            self.leave_blank();
            return Err(Error::new(Exit::Usage, "the private key has a passphrase"));
        }
        let known = questions.known(self.subject(), PASSPHRASE);
        if let Some(passphrase) = &known
            && let Tried::Done(opened) = open(passphrase)
        {
            self.absorb(passphrase.expose());
            return opened;
        }
        somebody(&self.addressed("the private key has a passphrase"), option)?;
        let mut attempt = 1;
        loop {
            let passphrase = prompt::ask_secret(&self.addressed(PASSPHRASE)).map_err(not_asked)?;
            match open(&passphrase) {
                Tried::Done(opened) => {
                    questions.keep(self.subject(), PASSPHRASE, &passphrase);
                    self.absorb(passphrase.expose());
                    return opened;
                }
                Tried::Wrong(error) if attempt >= ATTEMPTS => return Err(error),
                Tried::Wrong(error) => tracing::warn!("{error}"),
            }
            attempt += 1;
        }
    }
}

/// What came of a passphrase.
pub(super) enum Tried<T> {
    /// Another one may fit.
    Wrong(Error),
    Done(Result<T, Error>),
}

/// Asks again when the answer is empty.
fn insist<T>(mut ask: impl FnMut() -> io::Result<T>, is_empty: impl Fn(&T) -> bool) -> Result<T, Error> {
    for _ in 0..ATTEMPTS {
        let answer = ask().map_err(not_asked)?;
        if !is_empty(&answer) {
            return Ok(answer);
        }
    }
    Err(Error::new(Exit::Usage, "the answer at the terminal was empty"))
}

fn somebody(wanted: &str, option: &str) -> Result<(), Error> {
    if prompt::is_interactive() {
        return Ok(());
    }
    Err(Error::new(Exit::Usage, format!("{wanted}, and nobody is there to ask for it")).hint(option))
}

fn not_asked(error: io::Error) -> Error {
    Error::new(Exit::Usage, format!("no answer from the terminal: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_forgotten_and_nothing_else() {
        let questions = Questions::of_the_terminal();
        for (subject, question) in [("one", "Password of alice: "), ("one", PASSPHRASE), ("two", "Password of bob: ")] {
            questions.keep(subject, question, &Secret::from("secret"));
        }
        assert!(questions.forget("one") && !questions.forget("one"));
        assert!(questions.known("one", "Password of alice: ").is_none());
        assert!(questions.known("one", PASSPHRASE).is_some() && questions.known("two", "Password of bob: ").is_some());
    }

    #[test]
    fn before_a_login_nobody_is_asked_for_what_only_a_login_shows() {
        let script = Mutex::new([Secret::from("alice")].into());
        let questions = Questions { script, ..Questions::before_the_login() };
        let mut problems = super::super::Problems::default();
        let mut reading = Reading::new(&questions, "", &mut problems);
        assert_eq!(reading.ask("no user", "User name: ", "add `user`").unwrap(), "alice");
        assert!(!reading.is_blank());
        let password = reading.ask_secret("no password", "Password of alice: ", "add `password`").unwrap();
        assert!(password.expose() == NO_ANSWER && reading.is_blank());
        let login = reading.ask("no user", "User name: ", ovpn::LOGIN_OPTIONS[0]).unwrap();
        assert_eq!((login.as_bytes(), questions.open().len()), (NO_ANSWER, 2));
    }

    #[test]
    fn an_empty_answer_is_asked_for_again_a_few_times() {
        let mut answers = ["", "", "secret"].into_iter();
        let asked = insist(|| Ok(answers.next().unwrap().to_owned()), String::is_empty);
        assert_eq!(asked.unwrap(), "secret");
        let mut count = 0;
        let never = || {
            count += 1;
            Ok(String::new())
        };
        let error = insist(never, String::is_empty).unwrap_err();
        assert!(error.exit() == Exit::Usage && error.to_string().contains("empty"), "{error}");
        assert_eq!(count, ATTEMPTS);
        let ended = insist(|| Err::<String, _>(io::ErrorKind::UnexpectedEof.into()), String::is_empty);
        assert!(ended.unwrap_err().to_string().contains("no answer"));
    }
}
