//! Who is let in.

use std::{collections::HashMap, fmt, net::IpAddr, time::Duration};

use adit_tunnel::{Applicant, Secret};
use subtle::{Choice, ConstantTimeEq};

use super::BoxFuture;

/// Decides who is let in. It may take its time: other peers are not held up, and when the peer is gone the future is dropped.
/// How long a peer waits is for its protocol to say.
pub trait Authenticator: Send + Sync + 'static {
    /// Judges an applicant. Whose address and place it gets goes by the identity it has proved, and by its login only where
    /// there is none; which logins fit which certificate is for this judgement to say. One that was let in before ([`Applicant::again`]) keeps its address, whatever the judgement says.
    fn judge(&self, applicant: Applicant) -> BoxFuture<'_, Judgement>;
}

/// What an [`Authenticator`] has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It is welcome.
    Admit {
        /// Its own addresses, at most one of each family, which must be of the pool; the pool chooses for families that are not
        /// named here. If another identity has one of them, there is no address for it: [`Pool::reserving`](super::Pool::reserving)
        /// keeps them for those they are meant for.
        addresses: Vec<IpAddr>,
    },
    /// Its login is wrong, or it may not come in.
    Refuse,
    /// Not now: come back after this time.
    Later(Duration),
}

impl Judgement {
    /// Welcome, with an address of the pool.
    #[must_use]
    pub const fn admit() -> Self {
        Self::Admit { addresses: Vec::new() }
    }
}

/// Lets in whoever has proved an identity, by a key, a certificate or EAP. An applicant with a login to judge is refused:
/// there is nobody here to know passwords.
#[derive(Debug, Clone, Copy, Default)]
pub struct AdmitProved;

impl Authenticator for AdmitProved {
    fn judge(&self, applicant: Applicant) -> BoxFuture<'_, Judgement> {
        let proved = applicant.identity.is_some() && applicant.login.is_none();
        let judgement = if proved { Judgement::admit() } else { Judgement::Refuse };
        Box::pin(std::future::ready(judgement))
    }
}

/// Lets in whoever knows the password of a user, whatever else the protocol has asked for. An applicant without a login is
/// refused.
#[derive(Clone, Default)]
pub struct Passwords {
    users: HashMap<String, Secret>,
}

impl Passwords {
    /// Users, each with a password. Of two with the same name the last counts.
    #[must_use]
    pub fn new(users: impl IntoIterator<Item = (String, Secret)>) -> Self {
        Self { users: users.into_iter().collect() }
    }

    fn knows(&self, user: &str, password: &Secret) -> bool {
        // A name nobody has takes as long as a wrong password.
        let right = self.users.get(user);
        let same = same(password.expose(), right.map_or(&[], Secret::expose));
        right.is_some() && bool::from(same)
    }
}

impl Authenticator for Passwords {
    fn judge(&self, applicant: Applicant) -> BoxFuture<'_, Judgement> {
        let known = applicant.login.is_some_and(|login| self.knows(&login.user, &login.password));
        let judgement = if known { Judgement::admit() } else { Judgement::Refuse };
        Box::pin(std::future::ready(judgement))
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("users", &self.users.len()).finish()
    }
}

/// Compares in a time that depends on the length of what was given alone.
fn same(given: &[u8], right: &[u8]) -> Choice {
    let other = |index: usize| right.get(index).unwrap_or(&0);
    let each = given.iter().enumerate().map(|(index, byte)| byte.ct_eq(other(index)));
    each.fold(given.len().ct_eq(&right.len()), |all, one| all & one)
}

#[cfg(test)]
mod tests {
    use adit_tunnel::Login;

    use super::*;

    fn applicant(identity: Option<&str>, login: Option<(&str, &str)>) -> Applicant {
        Applicant {
            identity: identity.map(str::to_owned),
            login: login.map(|(user, password)| Login { user: user.into(), password: password.into() }),
            addresses: Vec::new(),
            alone: false,
            again: false,
        }
    }

    #[tokio::test]
    async fn only_a_proved_identity_without_a_login_is_admitted() {
        for (identity, login, admitted) in [
            (Some("ann"), None, true),
            (None, None, false),
            (Some("ann"), Some(("ann", "x")), false),
            (None, Some(("ann", "x")), false),
        ] {
            let judgement = AdmitProved.judge(applicant(identity, login)).await;
            assert_eq!(judgement == Judgement::admit(), admitted, "{identity:?} {login:?}");
        }
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_is_admitted() {
        let passwords = Passwords::new([("ann".to_owned(), "secret".into()), ("empty".to_owned(), "".into())]);
        for (user, password, admitted) in [
            ("ann", "secret", true),
            ("empty", "", true),
            ("ann", "secreT", false),
            ("ann", "secret ", false),
            ("ann", "secre", false),
            ("ann", "", false),
            ("bob", "secret", false),
            ("bob", "", false),
            ("", "", false),
        ] {
            let judgement = passwords.judge(applicant(Some("ann"), Some((user, password)))).await;
            assert_eq!(judgement == Judgement::admit(), admitted, "{user:?} {password:?}");
        }
        assert_eq!(passwords.judge(applicant(Some("ann"), None)).await, Judgement::Refuse);
        assert!(!format!("{passwords:?}").contains("secret"));
    }
}
