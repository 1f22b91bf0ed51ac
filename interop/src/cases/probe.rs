//! `adit probe` against OpenVPN: what it tells is true, and the server's own status and log show that nobody came.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{
    Case, auth,
    matrix::Wrap,
    probed::{self, UNREACHABLE},
};
use crate::{
    client::{ClientConfig, client_file},
    config::{self, Lines, Transport},
    rig::Rig,
    server::Server,
};

/// Exit codes of `adit`.
const PEER_AUTHENTICATION: i32 = 4;
const OUR_AUTHENTICATION: i32 = 5;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("probe_openvpn_udp", |rig| good(rig, Wrap::None, Transport::Udp)).takes(8),
        Case::new("probe_openvpn_tcp", |rig| good(rig, Wrap::None, Transport::Tcp)),
        Case::new("probe_openvpn_tls_crypt", |rig| good(rig, Wrap::TlsCrypt, Transport::Udp)).takes(8),
        Case::new("probe_openvpn_tls_crypt_v2", |rig| good(rig, Wrap::TlsCryptV2, Transport::Udp)).takes(8),
        Case::new("probe_openvpn_wrong_tls_crypt_key", wrong_key).takes(5),
        Case::new("probe_openvpn_wrong_ca", wrong_ca),
        Case::new("probe_openvpn_password", password).takes(8),
        Case::new("probe_openvpn_login", login),
        Case::new("probe_openvpn_wrong_password", wrong_password),
    ]
}

/// What a server says of a client that is let in.
const LET_IN: [&str; 4] = ["primary virtual IP", "MULTI: Learn", "PUSH: Received control message", "Data Channel: "];

/// Starts the server and probes it; in the end it must know of no client.
fn probe(rig: &Rig, server: &Lines, client: &ClientConfig, args: &[&str], code: i32) -> Result<(Value, Server)> {
    // Over UDP it keeps a client that has gone before a login until then (2.6.14: 60 s).
    let server = Server::start(rig, &server.clone().replace("hand-window 6"))?;
    let name = rig.process_name("probe");
    let profile = client_file(&rig.dir.join(format!("{name}.ovpn")), &client.profile.text())?;
    let mut source = vec!["--config".to_owned(), profile.display().to_string()];
    if let Some((user, password)) = &client.user {
        let file = client_file(&rig.dir.join("credentials"), &format!("{user}\n{password}\n"))?;
        source.extend(["--auth-user-pass".to_owned(), file.display().to_string()]);
    }
    let report = probed::run(rig, &name, &source, args, code)?;
    probed::until("the server has no client any more", || Ok(server.counters()?.clients == 0))?;
    rig.prove_gone()?;
    Ok((report, server))
}

fn good(rig: &Rig, wrap: Wrap, transport: Transport) -> Result<()> {
    let server = wrap.server(rig, config::server(&rig.pki, transport));
    let profile = wrap.profile(rig, config::profile(&rig.pki, transport)?)?;
    let (report, server) = probe(rig, &server, &ClientConfig::new(profile), &[], 0)?;
    let address = probed::address(&report)?;
    let openvpn = &address["openvpn"];
    ensure!(openvpn["wrap"] == wrap.logged(), "{openvpn}");
    ensure!(openvpn["tls_version"] == "TLSv1.3" && openvpn["authenticated"] == true, "{openvpn}");
    ensure!(openvpn["certificate_shown"] == true && openvpn["accepted_us"].is_null(), "{openvpn}");
    ensure!(openvpn["certificates"][0]["purposes"].to_string().contains("serverAuth"), "{openvpn}");
    ensure!(address["connect_ms"].is_null() == (transport == Transport::Udp), "{address}");
    ensure!(address["first_answer_ms"].as_f64().is_some_and(|millis| millis > 0.0), "{address}");
    for sign in LET_IN {
        server.expect_none(sign)?;
    }
    rig.note(&format!("{} {}", openvpn["tls_version"], openvpn["tls_suite"]))
}

/// A server that has another key says nothing, and so does the report.
fn wrong_key(rig: &Rig) -> Result<()> {
    let server = Wrap::TlsCrypt.server(rig, config::server(&rig.pki, Transport::Udp));
    let other = config::profile(&rig.pki, Transport::Udp)?.inline("tls-crypt", &rig.pki, "other-ta.key")?;
    let (report, server) = probe(rig, &server, &ClientConfig::new(other), &["--timeout", "3"], UNREACHABLE)?;
    let address = probed::address(&report)?;
    ensure!(address["first_answer_ms"].is_null() && address["error"]["step"] == "reaching it", "{address}");
    server.expect("tls-crypt unwrap error")
}

fn wrong_ca(rig: &Rig) -> Result<()> {
    let profile = config::profile(&rig.pki, Transport::Udp)?.without("ca").inline("ca", &rig.pki, "other-ca.crt")?;
    let server = config::server(&rig.pki, Transport::Udp);
    let (report, server) = probe(rig, &server, &ClientConfig::new(profile), &[], PEER_AUTHENTICATION)?;
    let address = probed::address(&report)?;
    ensure!(address["openvpn"]["certificates"][0]["subject"].is_string(), "{address}");
    ensure!(address["error"]["step"].to_string().contains("certificate"), "{address}");
    server.expect_none("VERIFY OK")
}

fn user(rig: &Rig, password: &str) -> Result<ClientConfig> {
    Ok(ClientConfig::new(config::password_profile(&rig.pki, Transport::Udp)?).user("alice", password))
}

/// Without `--login` no password leaves.
fn password(rig: &Rig) -> Result<()> {
    let (report, server) = probe(rig, &auth::script_server(rig, "secret")?, &user(rig, "secret")?, &[], 0)?;
    ensure!(probed::address(&report)?["openvpn"]["accepted_us"].is_null(), "{report}");
    ensure!(!rig.dir.join("calls").exists(), "somebody's password was judged");
    server.expect_none("authentication succeeded")
}

fn login(rig: &Rig) -> Result<()> {
    let client = user(rig, "secret")?;
    let (report, server) = probe(rig, &auth::script_server(rig, "secret")?, &client, &["--login"], 0)?;
    let openvpn = &probed::address(&report)?["openvpn"];
    ensure!(openvpn["accepted_us"] == true && openvpn["cipher"] == "AES-256-GCM", "{openvpn}");
    ensure!(openvpn["addresses"][0].to_string().contains("10.8.0."), "{openvpn}");
    server.expect("authentication succeeded for username 'alice'")
}

fn wrong_password(rig: &Rig) -> Result<()> {
    let server = auth::script_server(rig, "secret")?;
    let (report, _) = probe(rig, &server, &user(rig, "guess")?, &["--login"], OUR_AUTHENTICATION)?;
    let address = probed::address(&report)?;
    ensure!(address["openvpn"]["accepted_us"] == false && address["openvpn"]["authenticated"] == true, "{address}");
    let calls = std::fs::read_to_string(rig.dir.join("calls"))?;
    ensure!(calls.lines().count() == 1, "the password was tried {} times", calls.lines().count());
    Ok(())
}
