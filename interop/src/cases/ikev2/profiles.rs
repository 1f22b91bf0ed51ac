//! Without a TOML file: the flags for a quick try, and strongSwan's profiles.

use std::{path::Path, process::Command};

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Case, case, passes};
use crate::{
    client::client_file,
    ike::{
        charon::GATEWAY_ID,
        setup::{PASSWORD, PSK, Setup, USER},
    },
    pki::PASSPHRASE,
    process::run,
    rig::Rig,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("flags_eap", flags_eap),
        case("flags_psk", flags_psk),
        case("flags_certificate", flags_certificate),
        case("flags_p12", flags_p12),
        case("sswan_eap", sswan_eap),
        case("sswan_cert", sswan_cert),
    ]
}

/// The same gateway, with a client that is told otherwise.
fn instead(rig: &Rig, setup: Setup, words: &[&str]) -> Result<()> {
    ensure!(!rig.reference, "strongSwan has no such flags; this case needs adit");
    let setup = setup.client(|mut client| {
        client.instead = Some(words.iter().map(|word| (*word).to_owned()).collect());
        client
    });
    passes(rig, &setup)
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn flags_eap(rig: &Rig) -> Result<()> {
    let password = path(&client_file(&rig.dir.join("password.txt"), &format!("{PASSWORD}\n"))?);
    let ca = path(&rig.pki.ike("ca.crt"));
    // The gateway's certificate has its address, too; but it calls itself by its name.
    let words = [
        "--ikev2",
        "203.0.113.1",
        "--user",
        USER,
        "--password-file",
        &password,
        "--ca",
        &ca,
        "--remote-id",
        GATEWAY_ID,
    ];
    instead(rig, Setup::eap("eap-mschapv2"), &words)
}

fn flags_psk(rig: &Rig) -> Result<()> {
    let psk = path(&client_file(&rig.dir.join("psk.txt"), &format!("{PSK}\n"))?);
    let words = [
        "--ikev2",
        "203.0.113.1:4500",
        "--psk-file",
        &psk,
        "--local-id",
        "client@example.org",
        "--remote-id",
        GATEWAY_ID,
        "--ike-proposals",
        "aes256gcm16-prfsha384-ecp384",
        "--esp-proposals",
        "aes256gcm16",
    ];
    instead(rig, Setup::psk(), &words)
}

fn flags_certificate(rig: &Rig) -> Result<()> {
    let [ca, certificate, key] = ["ca.crt", "client.crt", "client.key"].map(|name| path(&rig.pki.ike(name)));
    let words =
        ["--ikev2", "203.0.113.1", "--cert", &certificate, "--key", &key, "--ca", &ca, "--remote-id", GATEWAY_ID];
    instead(rig, Setup::certificates("server", "client"), &words)
}

fn flags_p12(rig: &Rig) -> Result<()> {
    let [ca, container] = ["ca.crt", "client-rsa.p12"].map(|name| path(&rig.pki.ike(name)));
    let passphrase = path(&client_file(&rig.dir.join("passphrase.txt"), &format!("{PASSPHRASE}\n"))?);
    let words = [
        "--ikev2",
        "203.0.113.1",
        "--p12",
        &container,
        "--askpass",
        &passphrase,
        "--ca",
        &ca,
        "--remote-id",
        GATEWAY_ID,
    ];
    instead(rig, Setup::certificates("server-rsa", "client-rsa"), &words)
}

/// DER in base64, as the profiles have it.
fn base64(kind: &str, file: &Path) -> Result<String> {
    let script = format!("openssl {kind} -in \"$1\" | base64 --wrap 0");
    run(Command::new("sh").args(["-ec", &script, "sh"]).arg(file))
}

fn sswan_eap(rig: &Rig) -> Result<()> {
    let profile = json!({
        "uuid": "8a2ba2e1-3f1c-4b8e-9d5b-6f1d7b5a3a10",
        "name": "Office",
        "type": "ikev2-eap",
        "remote": {
            "addr": "203.0.113.1",
            "id": GATEWAY_ID,
            "cert": base64("x509 -outform DER", &rig.pki.ike("ca.crt"))?,
        },
        "local": { "eap_id": USER },
        "ike-proposal": "aes256-sha256-ecp256",
        "esp-proposal": "aes256gcm16",
        "mtu": 1300,
        "nat-keepalive": 25,
        "split-tunneling": { "subnets": "192.168.100.0/24" },
    });
    let file = path(&client_file(&rig.dir.join("office.sswan"), &profile.to_string())?);
    let setup = Setup::eap("eap-mschapv2").client(|mut client| {
        client.env = vec![("ADIT_PASSWORD".to_owned(), PASSWORD.to_owned())];
        client
    });
    instead(rig, setup, &["--config", &file])
}

fn sswan_cert(rig: &Rig) -> Result<()> {
    let profile = json!({
        "uuid": "8a2ba2e1-3f1c-4b8e-9d5b-6f1d7b5a3a11",
        "name": "Office",
        "type": "ikev2-cert",
        "remote": {
            "addr": "203.0.113.1",
            "port": 4500,
            "id": GATEWAY_ID,
            "cert": base64("x509 -outform DER", &rig.pki.ike("ca.crt"))?,
        },
        "local": {
            "p12": run(Command::new("base64").args(["--wrap", "0"]).arg(rig.pki.ike("client-rsa.p12")))?,
            "rsa-pss": true,
        },
    });
    let file = path(&client_file(&rig.dir.join("office.sswan"), &profile.to_string())?);
    let passphrase = path(&client_file(&rig.dir.join("passphrase.txt"), &format!("{PASSPHRASE}\n"))?);
    instead(rig, Setup::certificates("server-rsa", "client-rsa"), &["--config", &file, "--askpass", &passphrase])
}
