//! EAP-GTC and EAP-MD5.

use super::*;

/// A method, its type, and a client's with a password.
type Case = (EapServerMethod, EapType, fn(&str) -> EapMethod);

fn methods() -> [Case; 2] {
    [
        (EapServerMethod::Gtc, EapType::GTC, |password| EapMethod::Gtc(password.into())),
        (EapServerMethod::Md5, EapType::MD5, |password| EapMethod::Md5(password.into())),
    ]
}

#[test]
fn the_right_password_makes_no_key() {
    for (method, _, client) in methods() {
        assert_eq!(success("user", Server::new(vec![method.clone()]).run(vec![client("secret")], "HOME\\user")), None);
        let end = Server::new(vec![method]).run(vec![client("another")], "OFFICE\\user");
        assert_eq!(success("OFFICE\\user", end), None);
    }
}

#[test]
fn unknown_users_and_wrong_passwords_look_alike() {
    for (method, kind, client) in methods() {
        let run = |name: &str, password: &str| Server::new(vec![method.clone()]).run(vec![client(password)], name);
        let refused = |server| End::Refused { server, client: EapError::Refused(Some(kind)) };
        for password in ["wrong", "", "secret ", "secre"] {
            assert_eq!(run("user", password), refused(EapClientError::WrongPassword("user".to_owned())));
        }
        for password in ["secret", ""] {
            assert_eq!(run("nobody", password), refused(EapClientError::UnknownUser("nobody".to_owned())));
        }
    }
}

/// Nor is its hash taken for its password.
#[test]
fn of_a_hash_no_password_is_known() {
    for (method, _, client) in methods() {
        for password in ["secret", "", "878D8014606CDA29677A44EFA1353FC7"] {
            let mut server = Server::new(vec![method.clone(), EapServerMethod::MsChapV2]);
            let End::Refused { server, .. } = server.run(vec![client(password)], "hashed") else { panic!() };
            assert_eq!(server, EapClientError::OnlyHash("hashed".to_owned()));
        }
    }
}

#[test]
fn odd_md5_responses_are_the_end() {
    for data in [&[][..], &[0], &[16], &[[16].as_slice(), &[1; 15]].concat(), &[[15].as_slice(), &[1; 16]].concat()] {
        let mut server = Server::new(vec![EapServerMethod::Md5]);
        server.identified("user");
        assert_eq!(server.refuses(EapType::MD5, data), EapClientError::Packet(EapError::Md5));
    }
}

/// RFC 3748 §5.4: the challenge is new each time.
#[test]
fn a_recorded_md5_response_is_of_no_use() {
    let mut first = Server::new(vec![EapServerMethod::Md5]);
    let (_, challenge) = first.identified("user");
    let mut second = Server::new(vec![EapServerMethod::Md5]);
    second.random = SeededRandom::new(77);
    assert_ne!(second.identified("user").1, challenge);
}

/// What a stranger calls itself is cut and cleaned before it gets into a log.
#[test]
fn names_of_strangers_are_harmless() {
    let mut server = Server::new(vec![EapServerMethod::Gtc]);
    server.identified("no\x1b[2Jbody\n");
    assert_eq!(server.refuses(EapType::GTC, b""), EapClientError::UnknownUser("no[2Jbody".to_owned()));
    let mut server = Server::new(vec![EapServerMethod::Gtc]);
    server.answer(EapType::IDENTITY, &[0xff; 253]).unwrap();
    assert_eq!(server.refuses(EapType::GTC, b""), EapClientError::UnknownUser("\u{fffd}".repeat(200)));
}
