//! `adit probe` against strongSwan: what it tells is true, and the daemon's own list shows that nothing came of it.

use anyhow::{Context, Result, ensure};

use super::{
    Case, case,
    refusals::{NO_AGREEMENT, OUR_AUTHENTICATION, PEER_AUTHENTICATION},
};
use crate::{
    cases::probed::{self, UNREACHABLE},
    ike::{
        charon::{Charon, GATEWAY_ID},
        setup::Setup,
    },
    net::Place,
    rig::Rig,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("probe_psk", |rig| good(rig, &Setup::psk(), "childless").map(drop)),
        case("probe_without_rfc6023", without_rfc6023),
        case("probe_certificate", certificate),
        case("probe_eap", eap).takes(6),
        case("probe_eap_login", eap_login),
        case("probe_wrong_password", wrong_password).takes(8),
        case("probe_wrong_ca", wrong_ca).takes(6),
        case("probe_wrong_psk", wrong_psk),
        case("probe_no_proposal", no_proposal),
        case("probe_cookie_and_group", cookie_and_group),
        case("probe_silent_address", silent),
    ]
}

/// Probes, and demands that the gateway ends up without an IKE SA, and never had a child or gave an address.
fn probe(rig: &Rig, setup: &Setup, args: &[&str], code: i32) -> Result<(serde_json::Value, Charon)> {
    // It answers DELETE in the middle of EAP, and keeps what it has of us all the same until this is over (5.9.8: 30 s).
    let gateway = setup.gateway.clone().daemon("half_open_timeout", "4");
    let gateway = Charon::start(rig, Place::Gateway, &gateway)?;
    let name = rig.process_name("probe");
    let source = setup.client.source(rig, &name)?;
    let report = probed::run(rig, &name, &source, args, code)?;
    probed::until("strongSwan has no IKE SA any more", || Ok(gateway.sas()?.is_empty()))?;
    for sign in ["CHILD_SA net{", "assigning virtual IP", "peer requested virtual IP"] {
        gateway.expect_none(sign)?;
    }
    rig.prove_gone()?;
    Ok((report, gateway))
}

fn good(rig: &Rig, setup: &Setup, child: &str) -> Result<(serde_json::Value, Charon)> {
    let (report, gateway) = probe(rig, setup, &[], 0)?;
    let address = probed::address(&report)?;
    let ikev2 = &address["ikev2"];
    ensure!(ikev2["authenticated"] == true && ikev2["deleted"] == true, "{ikev2}");
    ensure!(ikev2["identity"] == GATEWAY_ID && ikev2["child"] == child, "{ikev2}");
    ensure!(address["first_answer_ms"].as_f64().is_some_and(|millis| millis > 0.0), "{address}");
    let suite = ikev2["suite"].as_str().context("a suite")?;
    // "selected proposal: IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/CURVE_25519": the same algorithms in the daemon's words.
    gateway.expect("selected proposal: IKE:")?;
    rig.note(&format!("{suite}; announced {}", ikev2["announced"]))?;
    gateway.expect("INFORMATIONAL request 2 [ D ]")?;
    Ok((report, gateway))
}

/// A gateway that wants a child refuses the one we offer, and keeps the IKE SA until we delete it.
fn without_rfc6023(rig: &Rig) -> Result<()> {
    let setup = Setup::psk().gateway(|gateway| gateway.conn("childless", "never"));
    let (_, gateway) = good(rig, &setup, "unacceptable")?;
    gateway.expect("failed to establish CHILD_SA, keeping IKE_SA")
}

fn certificate(rig: &Rig) -> Result<()> {
    let (report, _) = good(rig, &Setup::certificates("server", "client"), "childless")?;
    let certificate = &probed::address(&report)?["ikev2"]["certificates"][0];
    let text = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-serial", "-fingerprint", "-sha256", "-in"])
        .arg(rig.pki.ike("server.crt"))
        .output()?;
    let text = String::from_utf8_lossy(&text.stdout).replace(':', "").to_lowercase();
    for fact in ["sha256", "serial"] {
        let told = certificate[fact].as_str().context("a fact")?.trim_start_matches("00");
        ensure!(text.contains(told), "{fact} {told} is not what openssl says: {text}");
    }
    ensure!(certificate["names"].to_string().contains(GATEWAY_ID), "{certificate}");
    Ok(())
}

fn eap(rig: &Rig) -> Result<()> {
    let (report, gateway) = good(rig, &Setup::eap("eap-mschapv2"), "childless")?;
    let ikev2 = &probed::address(&report)?["ikev2"];
    ensure!(ikev2["eap"] == serde_json::json!(["EAP-Identity"]) && ikev2["accepted_us"].is_null(), "{ikev2}");
    // The gateway learns no user name within EAP.
    gateway.expect_none("received EAP identity")
}

fn eap_login(rig: &Rig) -> Result<()> {
    let (report, gateway) = probe(rig, &Setup::eap("eap-mschapv2"), &["--login"], 0)?;
    let ikev2 = &probed::address(&report)?["ikev2"];
    ensure!(ikev2["eap"] == serde_json::json!(["EAP-Identity", "EAP-MSCHAPv2"]), "{ikev2}");
    ensure!(ikev2["accepted_us"] == true && ikev2["deleted"] == true, "{ikev2}");
    gateway.expect("EAP method EAP_MSCHAPV2 succeeded")
}

fn wrong_password(rig: &Rig) -> Result<()> {
    let setup = Setup::eap("eap-mschapv2").client(|client| client.secret("password", "guess"));
    let (report, gateway) = probe(rig, &setup, &["--login"], OUR_AUTHENTICATION)?;
    let address = probed::address(&report)?;
    ensure!(address["ikev2"]["authenticated"] == true && address["ikev2"]["accepted_us"] == false, "{address}");
    ensure!(address["error"]["step"].to_string().contains("proving ourselves"), "{address}");
    let tried = gateway.process.count("EAP-MS-CHAPv2 verification failed");
    ensure!(tried == 1, "the password was tried {tried} times");
    Ok(())
}

fn wrong_ca(rig: &Rig) -> Result<()> {
    let setup = Setup::eap("eap-mschapv2").client(|client| client.set("ca", "[\"@PKI/other-ca.crt\"]"));
    let (report, gateway) = probe(rig, &setup, &["--login"], PEER_AUTHENTICATION)?;
    let address = probed::address(&report)?;
    // Whom it claims to be, and by what, is told all the same.
    ensure!(address["ikev2"]["certificates"][0]["names"].to_string().contains(GATEWAY_ID), "{address}");
    ensure!(address["error"]["text"].to_string().contains("with another key"), "{address}");
    gateway.expect_none("received EAP identity")
}

fn wrong_psk(rig: &Rig) -> Result<()> {
    let setup = Setup::psk().client(|client| client.secret("psk", "guess"));
    let (report, _) = probe(rig, &setup, &[], OUR_AUTHENTICATION)?;
    let address = probed::address(&report)?;
    ensure!(address["ikev2"]["accepted_us"] == false && address["ikev2"]["suite"].is_string(), "{address}");
    Ok(())
}

fn no_proposal(rig: &Rig) -> Result<()> {
    let offered = "aes128gcm16-prfsha256-x25519";
    let setup = Setup::psk()
        .gateway(|gateway| gateway.conn("proposals", "aes256-sha512-modp4096"))
        .client(|client| client.text("ike_proposals", offered));
    let (report, gateway) = probe(rig, &setup, &[], NO_AGREEMENT)?;
    let address = probed::address(&report)?;
    ensure!(address["ikev2"]["offered"] == offered && address["ikev2"]["suite"].is_null(), "{address}");
    ensure!(address["error"]["step"].to_string().contains("IKE_SA_INIT"), "{address}");
    gateway.expect("received proposals unacceptable")
}

/// Under load it asks for a cookie, and it wants another group than our first.
fn cookie_and_group(rig: &Rig) -> Result<()> {
    let setup = Setup::psk()
        .gateway(|gateway| {
            gateway
                .conn("proposals", "aes256gcm16-prfsha384-modp2048")
                .daemon("cookie_threshold", "1")
                .daemon("cookie_threshold_ip", "1")
        })
        .client(|client| client.text("ike_proposals", "aes256gcm16-prfsha384-ecp384-modp2048"));
    let (report, _) = probe(rig, &setup, &[], 0)?;
    let detours = probed::address(&report)?["ikev2"]["before_agreement"].to_string();
    ensure!(detours.contains("2048"), "{detours}");
    rig.note(&detours)
}

fn silent(rig: &Rig) -> Result<()> {
    let setup = Setup::psk();
    let name = rig.process_name("probe");
    let source = setup.client.source(rig, &name)?;
    let report = probed::run(rig, &name, &source, &["--timeout", "2"], UNREACHABLE)?;
    let address = probed::address(&report)?;
    ensure!(address["first_answer_ms"].is_null() && address["ikev2"]["suite"].is_null(), "{address}");
    ensure!(address["error"]["step"] == "reaching it", "{address}");
    rig.note(&address["error"]["text"].to_string())?;
    rig.prove_gone()
}
