//! No tunnel, and why: one line that says it, and an exit code.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Case, case};
use crate::{
    client::Client,
    ike::{charon::Charon, charon::CharonConfig, setup::Setup},
    net::Place,
    process::Process,
    rig::Rig,
};

/// How long a refusal may take.
const REFUSED: Duration = Duration::from_secs(20);
/// Exit codes of `adit`.
const USAGE: i32 = 2;
const UNREACHABLE: i32 = 3;
pub(super) const PEER_AUTHENTICATION: i32 = 4;
pub(super) const OUR_AUTHENTICATION: i32 = 5;
pub(super) const NO_AGREEMENT: i32 = 6;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("wrong_password", wrong_password).takes(5),
        case("wrong_psk", wrong_psk),
        case("wrong_ca", wrong_ca),
        case("wrong_identity", wrong_identity),
        case("expired_server", |rig| bad_server(rig, "server-expired", "expired")),
        case("revoked_server", |rig| bad_server(rig, "server-revoked", "revoked")),
        case("expired_client", |rig| bad_client(rig, "client-expired")),
        case("revoked_client", |rig| bad_client(rig, "client-revoked")),
        case("no_common_ike_proposal", no_common_ike_proposal),
        case("no_common_esp_proposal", |rig| no_common_esp_proposal(rig, "aes256gcm16")),
        case("esn_refused", |rig| no_common_esp_proposal(rig, "aes128gcm16-esn")),
        case("ts_unacceptable", ts_unacceptable),
        case("no_address_left", no_address_left),
        case("no_server", no_server).takes(8),
        case("legacy_needs_its_word", legacy_needs_its_word),
    ]
}

/// Starts both ends and expects the client to give up.
pub(super) fn refused(rig: &Rig, setup: &Setup, code: i32, text: &str) -> Result<Charon> {
    let _lan = rig.start_lan()?;
    rig.prove_unreachable()?;
    let gateway = Charon::start(rig, Place::Gateway, &setup.gateway)?;
    let client = Client::start_ike(rig, &setup.client)?;
    client.expect_failure(code, text, REFUSED)?;
    rig.note(&client.reason())?;
    drop(client);
    rig.prove_gone()?;
    rig.prove_unreachable()?;
    let left = gateway.counters()?;
    ensure!(left.sas == 0 || rig.reference, "the gateway still has {left:?}");
    Ok(gateway)
}

fn wrong_password(rig: &Rig) -> Result<()> {
    let setup = Setup::eap("eap-mschapv2").client(|client| {
        client.secret("password", "guess").reference(|charon| charon.secret("eap-alice.secret", "guess"))
    });
    let gateway = refused(rig, &setup, OUR_AUTHENTICATION, "password")?;
    // Once: trying again would lock accounts.
    let tried = gateway.process.count("EAP-MS-CHAPv2 verification failed");
    ensure!(tried == 1, "the password was tried {tried} times");
    Ok(())
}

fn wrong_psk(rig: &Rig) -> Result<()> {
    let setup = Setup::psk()
        .client(|client| client.secret("psk", "guess").reference(|charon| charon.secret("ike.secret", "guess")));
    refused(rig, &setup, OUR_AUTHENTICATION, "refused our").map(drop)
}

fn wrong_ca(rig: &Rig) -> Result<()> {
    let setup = Setup::eap("eap-mschapv2").client(|mut client| {
        client.reference = CharonConfig::client().conn("remote.auth", "pubkey").file("x509ca", "other-ca.crt");
        client.set("ca", "[\"@PKI/other-ca.crt\"]")
    });
    let gateway = refused(rig, &setup, PEER_AUTHENTICATION, "certificate")?;
    nothing_told(&gateway)
}

/// The gateway's certificate is good, but another gateway's.
fn wrong_identity(rig: &Rig) -> Result<()> {
    let setup = Setup::eap("eap-mschapv2").client(|client| {
        client.text("remote_id", "other.example.org").reference(|charon| charon.conn("remote.id", "other.example.org"))
    });
    let gateway = refused(rig, &setup, PEER_AUTHENTICATION, "other.example.org")?;
    nothing_told(&gateway)
}

fn bad_server(rig: &Rig, name: &str, text: &str) -> Result<()> {
    let setup = Setup::eap("eap-mschapv2")
        .gateway(|gateway| gateway.certificate(name))
        .client(|client| client.set("crl", "[\"@PKI/crl.pem\"]").reference(|charon| charon.file("x509crl", "crl.pem")));
    let gateway = refused(rig, &setup, PEER_AUTHENTICATION, text)?;
    nothing_told(&gateway)
}

/// Whoever is not the gateway learns no user name and sees no answer to a challenge.
fn nothing_told(gateway: &Charon) -> Result<()> {
    gateway.expect_none("received EAP identity")?;
    gateway.expect_none("EAP/RES")
}

fn bad_client(rig: &Rig, name: &str) -> Result<()> {
    let setup = Setup::certificates("server", name)
        .gateway(|gateway| gateway.file("x509crl", "crl.pem").conn("remote.revocation", "strict"));
    refused(rig, &setup, OUR_AUTHENTICATION, "refused our").map(drop)
}

fn no_common_ike_proposal(rig: &Rig) -> Result<()> {
    let setup = Setup::psk().gateway(|gateway| gateway.conn("proposals", "aes256-sha512-modp4096")).client(|client| {
        client
            .text("ike_proposals", "aes128gcm16-prfsha256-x25519")
            .reference(|charon| charon.conn("proposals", "aes128gcm16-prfsha256-x25519"))
    });
    let gateway = refused(rig, &setup, NO_AGREEMENT, "proposal")?;
    gateway.expect("received proposals unacceptable")
}

/// The handshake goes through, and then there is nothing to carry packets.
fn no_common_esp_proposal(rig: &Rig, esp: &str) -> Result<()> {
    let setup = Setup::psk()
        .gateway(|gateway| gateway.child("esp_proposals", "aes128gcm16"))
        .client(|client| client.text("esp_proposals", esp).reference(|charon| charon.child("esp_proposals", esp)));
    let gateway = refused(rig, &setup, NO_AGREEMENT, "proposal")?;
    gateway.expect("no acceptable proposal found")
}

fn ts_unacceptable(rig: &Rig) -> Result<()> {
    let setup = Setup::psk().gateway(|gateway| gateway.child("local_ts", "192.168.100.0/24")).client(|client| {
        client.set("remote_ts", "[\"172.16.0.0/16\"]").reference(|charon| charon.child("remote_ts", "172.16.0.0/16"))
    });
    let gateway = refused(rig, &setup, NO_AGREEMENT, "TS_UNACCEPTABLE")?;
    gateway.expect("N(TS_UNACCEPT)")
}

/// Somebody in the lan has the only address.
fn no_address_left(rig: &Rig) -> Result<()> {
    let setup = Setup::psk().gateway(|gateway| gateway.pool("p4.addrs", "10.10.10.1/32").conn("remote.id", "%any"));
    let _lan = rig.start_lan()?;
    rig.prove_unreachable()?;
    let gateway = Charon::start(rig, Place::Gateway, &setup.gateway)?;
    let other =
        setup.client.reference.clone().conn("remote_addrs", "192.168.100.1").conn("local.id", "other.example.org");
    let other = Charon::start(rig, Place::Lan, &other)?;
    other.swanctl(&["--initiate", "--child", "net"])?;
    let client = Client::start_ike(rig, &setup.client)?;
    client.expect_failure(UNREACHABLE, "no address left", REFUSED)?;
    rig.note(&client.reason())?;
    drop(client);
    rig.prove_gone()?;
    gateway.expect("N(INT_ADDR_FAIL)")
}

/// Nothing listens at the gateway.
fn no_server(rig: &Rig) -> Result<()> {
    let setup = Setup::psk().client(|client| client.set("retransmit", "{ first_ms = 200, limit_ms = 800, tries = 3 }"));
    let client = Client::start_ike(rig, &setup.client)?;
    client.expect_failure(UNREACHABLE, "203.0.113.1", REFUSED)?;
    drop(client);
    rig.prove_gone()
}

/// Weak algorithms are refused before anything is sent.
fn legacy_needs_its_word(rig: &Rig) -> Result<()> {
    ensure!(!rig.reference, "strongSwan has no such word; this case needs adit");
    let client = Setup::psk().client.text("ike_proposals", "3des-sha1-modp1024");
    let listener =
        Process::spawn("listener", &rig.dir, &mut rig.tool(Place::Gateway, &["datagram", "--wait", "0.0.0.0:500"]))?;
    listener.wait_text(0, "ready", REFUSED)?;
    let client = Client::start_ike(rig, &client)?;
    client.expect_failure(USAGE, "legacy", REFUSED)?;
    ensure!(listener.count("datagram") == 0, "something was sent");
    rig.prove_gone()
}
