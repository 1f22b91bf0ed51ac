//! Who we are.

use adit_tunnel::Prompt;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::with;
use crate::{
    error::SessionError,
    tests::{pair::Setup, pki, secs},
    tls::TlsFailure,
};

fn block(name: &str, label: &str, der: &[u8]) -> String {
    format!("<{name}>\n-----BEGIN {label}-----\n{}\n-----END {label}-----\n</{name}>\n", STANDARD.encode(der))
}

#[test]
fn cert_key_and_extra_certs_lines_are_what_is_shown() {
    let key = block("key", "PRIVATE KEY", pki::CLIENT.key.secret_der());
    let ours = block("cert", "CERTIFICATE", &pki::CLIENT.certificate) + &key;
    let extra = block("extra-certs", "CERTIFICATE", pki::CA.as_ref().der());
    for (lines, shown) in [(String::new(), 0), (ours.clone(), 1), (ours + &extra, 2)] {
        assert_eq!(with(&lines).up().server.peer_certificates, shown, "{lines}");
    }
}

#[test]
fn pkcs12_and_askpass_lines_open_what_is_shown() {
    // Of another CA than the server's.
    for lines in ["pkcs12 plain.p12", "askpass ../profile/passphrase.txt\npkcs12 modern.p12"] {
        let pair = with(lines).fails();
        assert!(matches!(pair.error(), SessionError::Tls(TlsFailure::OurCertificate(_))), "{:?}", pair.error());
    }
}

fn login(setup: Setup) -> (String, String) {
    let pair = setup.up();
    let message = &pair.server.client_messages[0];
    (message.username.clone(), String::from_utf8(message.password.expose().to_vec()).unwrap())
}

#[test]
fn auth_user_pass_line_is_what_the_server_is_told() {
    assert_eq!(login(with("")), ("user".to_owned(), "password".to_owned()));
    let lines = "<auth-user-pass>\nalice\nhunter2\n</auth-user-pass>";
    assert_eq!(login(with(lines)), ("alice".to_owned(), "hunter2".to_owned()));
    let (user, _) = login(with("auth-user-pass ../profile/login.txt"));
    assert_eq!(user, "filed");
}

#[test]
fn static_challenge_line_is_asked() {
    for (line, sent) in [
        ("static-challenge Code 1", "SCRV1:cGFzc3dvcmQ=:MTIzNDU2"),
        ("static-challenge Code 0 concat", "password123456"),
    ] {
        let mut pair = with(line).start();
        pair.run_until(secs(20), |pair| !pair.log.prompts.is_empty());
        let echo = line.ends_with('1');
        assert_eq!(pair.log.prompts, [Prompt::Challenge { text: "Code".to_owned(), echo }]);
        pair.answer("123456");
        pair.come_up();
        assert_eq!(pair.server.client_messages[0].password.expose(), sent.as_bytes(), "{line}");
    }
}
