//! Who may in, and who must not: passwords, challenges, tokens, certificates, keys in every wrapping.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::Case;
use crate::{
    client::{Client, ClientConfig, client_file},
    config::{self, Lines, Transport},
    management::Management,
    pki::PASSPHRASE,
    process::Process,
    rig::{Rig, Session},
    server::Server,
};

/// How long a refusal may take.
const REFUSED: Duration = Duration::from_secs(20);
/// Exit codes of `adit`.
const PEER_AUTHENTICATION: i32 = 4;
const OUR_AUTHENTICATION: i32 = 5;
const TUNNEL_LOST: i32 = 8;
const UNREACHABLE: i32 = 3;

pub(super) fn cases() -> Vec<Case> {
    let bad_server = |name: &str, file: &'static str| Case::new(name, move |rig| bad_server(rig, file));
    vec![
        Case::new("password", password),
        Case::new("wrong_password", wrong_password),
        Case::new("wrong_ca", wrong_ca),
        bad_server("server_without_serverauth", "server-plain"),
        bad_server("expired_certificate", "server-expired"),
        Case::new("revoked_server", revoked_server),
        Case::new("wrong_tls_crypt_key_udp", |rig| wrong_tls_crypt_key(rig, Transport::Udp)).takes(5),
        Case::new("wrong_tls_crypt_key_tcp", |rig| wrong_tls_crypt_key(rig, Transport::Tcp)),
        Case::new("revoked_client_udp", |rig| revoked_client(rig, Transport::Udp)).takes(10),
        Case::new("revoked_client_tcp", |rig| revoked_client(rig, Transport::Tcp)).takes(10),
        Case::new("peer_fingerprint", peer_fingerprint),
        Case::new("pkcs12", |rig| rsa_key(rig, Key::Pkcs12)),
        Case::new("pkcs12_inline", |rig| rsa_key(rig, Key::Pkcs12Inline)),
        Case::new("rsa_key", |rig| rsa_key(rig, Key::File("rsa-client.key"))),
        Case::new("encrypted_key_pkcs8", |rig| rsa_key(rig, Key::File("rsa-client-pkcs8.key"))),
        Case::new("encrypted_key_legacy", |rig| rsa_key(rig, Key::File("rsa-client-legacy.key"))),
        Case::new("auth_token", auth_token).takes(10),
        Case::new("static_challenge", static_challenge),
        Case::new("dynamic_challenge_udp", |rig| dynamic_challenge(rig, Transport::Udp)),
        Case::new("dynamic_challenge_tcp", |rig| dynamic_challenge(rig, Transport::Tcp)),
        Case::new("auth_pending", auth_pending).takes(4),
        Case::new("auth_failed_temporarily", auth_failed_temporarily).takes(5),
        Case::new("server_halt", server_halt),
        Case::new("server_halt_before_up", server_halt_before_up),
    ]
}

/// A server that asks a script about passwords: `alice` with `secret` may in. Calls are recorded in `calls`.
pub(super) fn script_server(rig: &Rig, password: &str) -> Result<Lines> {
    let script = rig.dir.join("verify.sh");
    let calls = rig.dir.join("calls");
    fs::write(
        &script,
        format!(
            "#!/bin/sh\n{{ read -r user; read -r password; }} < \"$1\"\necho \"$user\" >> {}\n\
             [ \"$user\" = alice ] && [ \"$password\" = '{password}' ]\n",
            calls.display()
        ),
    )?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(config::server(&rig.pki, Transport::Udp).with(&format!(
        "verify-client-cert none\nusername-as-common-name\nscript-security 2\nauth-user-pass-verify {} via-file",
        script.display()
    )))
}

fn password(rig: &Rig) -> Result<()> {
    let client = ClientConfig::new(config::password_profile(&rig.pki, Transport::Udp)?).user("alice", "secret");
    let session = Session::open(rig, &script_server(rig, "secret")?, &client)?;
    session.exchange()?;
    session.server.expect("authentication succeeded for username 'alice'")?;
    session.close()
}

/// Starts both ends and expects the client to give up.
pub(super) fn refused(rig: &Rig, server: &Lines, client: &ClientConfig, code: i32, text: &str) -> Result<Server> {
    let _lan = rig.start_lan()?;
    rig.prove_unreachable()?;
    let server = Server::start(rig, server)?;
    let client = Client::start(rig, client)?;
    client.expect_failure(code, text, REFUSED)?;
    rig.prove_gone()?;
    rig.prove_unreachable()?;
    Ok(server)
}

fn wrong_password(rig: &Rig) -> Result<()> {
    let client = ClientConfig::new(config::password_profile(&rig.pki, Transport::Udp)?).user("alice", "guess");
    let server = refused(rig, &script_server(rig, "secret")?, &client, OUR_AUTHENTICATION, "password")?;
    // Once: trying again would lock accounts.
    let calls = fs::read_to_string(rig.dir.join("calls"))?;
    ensure!(calls.lines().count() == 1, "the password was tried {} times", calls.lines().count());
    server.expect("SENT CONTROL [UNDEF]: 'AUTH_FAILED'")
}

fn wrong_ca(rig: &Rig) -> Result<()> {
    let profile = config::profile(&rig.pki, Transport::Udp)?.without("ca").inline("ca", &rig.pki, "other-ca.crt")?;
    let server = config::server(&rig.pki, Transport::Udp);
    refused(rig, &server, &ClientConfig::new(profile), PEER_AUTHENTICATION, "certificate").map(drop)
}

fn bad_server(rig: &Rig, file: &str) -> Result<()> {
    let path = |extension| rig.pki.path(&format!("{file}.{extension}")).display().to_string();
    let server = config::server(&rig.pki, Transport::Udp)
        .replace(&format!("cert {}", path("crt")))
        .replace(&format!("key {}", path("key")));
    let client = ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?);
    refused(rig, &server, &client, PEER_AUTHENTICATION, "certificate").map(drop)
}

fn revoked_server(rig: &Rig) -> Result<()> {
    let path = |name| rig.pki.path(name).display().to_string();
    let server = config::server(&rig.pki, Transport::Udp)
        .replace(&format!("cert {}", path("server-revoked.crt")))
        .replace(&format!("key {}", path("server-revoked.key")));
    let profile = config::profile(&rig.pki, Transport::Udp)?.inline("crl-verify", &rig.pki, "crl.pem")?;
    refused(rig, &server, &ClientConfig::new(profile), PEER_AUTHENTICATION, "certificate").map(drop)
}

/// The server cannot read a word: over UDP it says nothing, over TCP it hangs up.
fn wrong_tls_crypt_key(rig: &Rig, transport: Transport) -> Result<()> {
    let key = rig.pki.path("ta.key");
    let server = config::server(&rig.pki, transport).with(&format!("tls-crypt {}", key.display()));
    let profile = config::profile(&rig.pki, transport)?
        .inline("tls-crypt", &rig.pki, "other-ta.key")?
        .with("connect-timeout 3\nconnect-retry 1 1\nconnect-retry-max 1");
    let server = refused(rig, &server, &ClientConfig::new(profile), UNREACHABLE, "203.0.113.1:1194")?;
    server.wait("tls-crypt unwrap error: packet authentication failed", REFUSED).map(drop)
}

/// The server drops us in silence over UDP, and hangs up over TCP: it takes the handshake's time limit to notice.
fn revoked_client(rig: &Rig, transport: Transport) -> Result<()> {
    let crl = rig.pki.path("crl.pem");
    let server = config::server(&rig.pki, transport).with(&format!("crl-verify {}", crl.display()));
    let profile = config::profile(&rig.pki, transport)?
        .without("cert")
        .without("key")
        .inline("cert", &rig.pki, "mallory.crt")?
        .inline("key", &rig.pki, "mallory.key")?
        .with("hand-window 5\nconnect-retry 1 1\nconnect-retry-max 1");
    let _lan = rig.start_lan()?;
    rig.prove_unreachable()?;
    let server = Server::start(rig, &server)?;
    let client = Client::start(rig, &ClientConfig::new(profile))?;
    server.wait("certificate revoked", REFUSED)?;
    let status = client.process.wait_exit(REFUSED)?;
    ensure!(status.code() == Some(UNREACHABLE) || client.is_reference(), "a revoked client ended with {status}");
    ensure!(client.events("tunnel up").is_empty(), "a revoked client got a tunnel");
    client.check_sane()?;
    rig.prove_unreachable()
}

/// No CA at all: the server's certificate is known by its hash.
fn peer_fingerprint(rig: &Rig) -> Result<()> {
    let certificate = rig.pki.path("server.crt").display().to_string();
    let said = crate::process::run(std::process::Command::new("openssl").args([
        "x509",
        "-in",
        &certificate,
        "-noout",
        "-fingerprint",
        "-sha256",
    ]))?;
    let fingerprint = said.trim().rsplit('=').next().unwrap_or_default().to_owned();
    let profile =
        config::profile(&rig.pki, Transport::Udp)?.without("ca").with(&format!("peer-fingerprint {fingerprint}"));
    let session = Session::open(rig, &config::server(&rig.pki, Transport::Udp), &ClientConfig::new(profile))?;
    session.exchange()?;
    session.close()
}

/// Where the client's RSA key is.
enum Key {
    File(&'static str),
    Pkcs12,
    Pkcs12Inline,
}

fn rsa_key(rig: &Rig, key: Key) -> Result<()> {
    let path = |name| rig.pki.path(name).display().to_string();
    let server = config::server(&rig.pki, Transport::Udp)
        .replace(&format!("ca {}", path("rsa-ca.crt")))
        .replace(&format!("cert {}", path("rsa-server.crt")))
        .replace(&format!("key {}", path("rsa-server.key")));
    let profile = config::profile(&rig.pki, Transport::Udp)?.without("ca").without("cert").without("key");
    let encrypted = !matches!(key, Key::File("rsa-client.key"));
    let mut profile = match key {
        Key::File(name) => profile
            .inline("ca", &rig.pki, "rsa-ca.crt")?
            .inline("cert", &rig.pki, "rsa-client.crt")?
            .with(&format!("key {}", path(name))),
        Key::Pkcs12 => profile.with(&format!("pkcs12 {}", path("rsa-client.p12"))),
        Key::Pkcs12Inline => {
            let base64 = crate::process::run(std::process::Command::new("openssl").args([
                "base64",
                "-in",
                &path("rsa-client.p12"),
            ]))?;
            profile.with(&format!("<pkcs12>\n{}\n</pkcs12>", base64.trim()))
        }
    };
    if encrypted {
        let askpass = client_file(&rig.dir.join("askpass"), &format!("{PASSPHRASE}\n"))?;
        profile = profile.with(&format!("askpass {}", askpass.display()));
    }
    let session = Session::open(rig, &server, &ClientConfig::new(profile))?;
    session.exchange()?;
    session.server.expect("VERIFY OK: depth=0, CN=bob")?;
    session.close()
}

/// After the first time a token takes the password's place, as renegotiations show.
fn auth_token(rig: &Rig) -> Result<()> {
    let server = script_server(rig, "secret")?.with("auth-gen-token 3600 120\nreneg-sec 3");
    let client = ClientConfig::new(config::password_profile(&rig.pki, Transport::Udp)?).user("alice", "secret");
    let session = Session::open(rig, &server, &client)?;
    session.exchange()?;
    for _ in 0..2 {
        let mark = session.server.process.mark();
        session.server.process.wait_text(
            mark,
            "Username/auth-token authentication succeeded",
            Duration::from_secs(15),
        )?;
    }
    session.exchange()?;
    let calls = fs::read_to_string(rig.dir.join("calls"))?;
    ensure!(calls.lines().count() == 1, "the password was checked {} times", calls.lines().count());
    session.close()
}

/// Password and answer travel together: `SCRV1:` and both in base64.
fn static_challenge(rig: &Rig) -> Result<()> {
    // base64 of "secret" and "123456".
    let server = script_server(rig, "SCRV1:c2VjcmV0:MTIzNDU2")?;
    let profile = config::password_profile(&rig.pki, Transport::Udp)?.with("static-challenge \"Your PIN\" 1");
    let mut client = ClientConfig::new(profile).user("alice", "secret");
    client.input = Some("123456\n".to_owned());
    let session = Session::open(rig, &server, &client)?;
    ensure!(session.client.process.count("Your PIN") > 0, "the question was not shown");
    session.exchange()?;
    session.close()
}

/// A server that asks the rig about each client.
fn management_server(rig: &Rig, transport: Transport) -> Lines {
    config::server(&rig.pki, transport).with(&format!(
        "verify-client-cert none\nusername-as-common-name\nmanagement {} unix\nmanagement-client-auth",
        rig.dir.join("management").display()
    ))
}

/// A server whose management interface decides, and a client that has asked it.
struct Managed {
    _lan: Process,
    server: Server,
    management: Management,
    client: Client,
}

impl Managed {
    /// `input` is what the client finds on its standard input.
    fn start(rig: &Rig, transport: Transport, input: Option<&str>) -> Result<Self> {
        let mut client = ClientConfig::new(config::password_profile(&rig.pki, transport)?).user("alice", "secret");
        client.input = input.map(str::to_owned);
        let lan = rig.start_lan()?;
        rig.prove_unreachable()?;
        let server = Server::start(rig, &management_server(rig, transport))?;
        let management = Management::connect(&rig.dir.join("management"))?;
        let client = Client::start(rig, &client)?;
        Ok(Self { _lan: lan, server, management, client })
    }

    /// The ids of the next client to ask, which must bring this password.
    fn next_client(&mut self, password: &str) -> Result<String> {
        let found = self.management.next_client(REFUSED)?;
        ensure!(found.password == password, "password {:?}, not {password:?}", found.password);
        Ok(found.ids)
    }

    /// Lets the client in, to the end.
    fn accept(mut self, rig: &Rig, ids: &str) -> Result<()> {
        self.let_in(rig, ids)?;
        self.client.interrupt()
    }

    /// Lets the client in; from then on the tunnel carries traffic.
    fn let_in(&mut self, rig: &Rig, ids: &str) -> Result<()> {
        self.management.send(&format!("client-auth-nt {ids}"))?;
        self.client.wait_up()?;
        let before = self.server.counters()?;
        rig.hello(self.client.web())?;
        ensure!(self.server.counters()?.sent > before.sent, "the server counted nothing");
        Ok(())
    }

    fn halt(&mut self, ids: &str) -> Result<()> {
        let number = ids.split(' ').next().unwrap_or_default();
        self.management.send(&format!("client-kill {number} HALT"))
    }
}

/// The server refuses with a question; the client comes again with the answer (`CRV1`).
fn dynamic_challenge(rig: &Rig, transport: Transport) -> Result<()> {
    let mut managed = Managed::start(rig, transport, Some("424242\n"))?;
    let first = managed.next_client("secret")?;
    // base64 of "alice".
    managed.management.send(&format!("client-deny {first} \"challenge\" \"CRV1:R,E:state-7:YWxpY2U=:Your token\""))?;
    let second = managed.next_client("CRV1::state-7::424242")?;
    ensure!(managed.client.process.count("Your token") > 0, "the question was not shown");
    managed.accept(rig, &second)
}

/// The server lets the client wait and tells it an address to open meanwhile.
fn auth_pending(rig: &Rig) -> Result<()> {
    let mut managed = Managed::start(rig, Transport::Udp, None)?;
    let ids = managed.next_client("secret")?;
    let url = "https://sso.example/login";
    managed.management.send(&format!("client-pending-auth {ids} WEB_AUTH::{url} 30"))?;
    managed.client.process.wait_text(0, url, REFUSED)?;
    ensure!(managed.client.events("tunnel up").is_empty(), "the tunnel is up before the login");
    managed.accept(rig, &ids)
}

/// A refusal that is only temporary: the client waits as told and comes again with the same password.
fn auth_failed_temporarily(rig: &Rig) -> Result<()> {
    let mut managed = Managed::start(rig, Transport::Udp, None)?;
    let first = managed.next_client("secret")?;
    let denied = Instant::now();
    managed.management.send(&format!("client-deny {first} \"busy\" \"TEMP[backoff 2]: come again\""))?;
    let second = managed.next_client("secret")?;
    ensure!(denied.elapsed() >= Duration::from_secs(2), "came again after {:?}, told to wait 2 s", denied.elapsed());
    managed.accept(rig, &second)
}

/// The server sends the client away for good.
fn server_halt(rig: &Rig) -> Result<()> {
    let mut managed = Managed::start(rig, Transport::Udp, None)?;
    let ids = managed.next_client("secret")?;
    managed.let_in(rig, &ids)?;
    managed.halt(&ids)?;
    managed.client.expect_failure(TUNNEL_LOST, "server", REFUSED)?;
    ensure!(managed.client.events("tunnel up").len() <= 1, "the client came again");
    rig.prove_gone()?;
    rig.prove_unreachable()
}

/// The server sends the client away while it still waits to be let in.
fn server_halt_before_up(rig: &Rig) -> Result<()> {
    let mut managed = Managed::start(rig, Transport::Udp, None)?;
    let ids = managed.next_client("secret")?;
    managed.halt(&ids)?;
    managed.client.expect_failure(UNREACHABLE, "the server ended the session", REFUSED)?;
    managed.server.expect("SENT CONTROL [alice]: 'HALT'")?;
    ensure!(managed.client.events("tunnel up").is_empty(), "the tunnel came up");
    rig.prove_gone()?;
    rig.prove_unreachable()
}
