//! Who may use a proxy.

use subtle::{Choice, ConstantTimeEq};

use crate::plan::Login;

impl Login {
    /// Whether these are the user and the password. How long that takes depends on what is given alone.
    pub(super) fn admits(&self, user: &[u8], password: &[u8]) -> bool {
        (same(user, self.user.as_bytes()) & same(password, self.password.expose())).into()
    }
}

fn same(given: &[u8], known: &[u8]) -> Choice {
    // Every byte is compared with one of ours, wherever the two differ first, and however long ours is.
    let ours = known.iter().chain(std::iter::repeat(&0));
    let bytes = given.iter().zip(ours).fold(Choice::from(1), |so_far, (given, ours)| so_far & given.ct_eq(ours));
    bytes & given.len().ct_eq(&known.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_have_to_be_right_to_the_last_byte() {
        let login = Login { user: "alice".to_owned(), password: "secret".into() };
        assert!(login.admits(b"alice", b"secret"));
        for (user, password) in
            [("alice", "secre"), ("alice", "secret\0"), ("alic", "secret"), ("alice", ""), ("", ""), ("bob", "secret")]
        {
            assert!(!login.admits(user.as_bytes(), password.as_bytes()), "{user} {password}");
        }
        assert!(!format!("{login:?}").contains("secret"));
    }
}
