//! Pre-shared keys and the EAP methods strongSwan serves itself.

use anyhow::Result;

use super::{Case, case, passes};
use crate::{
    ike::{
        radius::{self, FreeRadius, FreeRadiusConfig},
        session::IkeSession,
        setup::{PASSWORD, Setup},
    },
    needs::Need,
    rig::Rig,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("psk", |rig| passes(rig, &Setup::psk())),
        case("eap_mschapv2", |rig| eap(rig, &Setup::eap("eap-mschapv2"), "EAP_MSCHAPV2")),
        case("eap_mschapv2_nt_hash", nt_hash),
        case("eap_gtc", |rig| eap(rig, &gtc(), "EAP_GTC")),
        case("eap_md5", |rig| eap(rig, &Setup::eap("eap-md5"), "EAP_MD5")),
        case("eap_tls", |rig| eap(rig, &tls(), "EAP_TLS")),
        case("eap_without_identity_request", without_identity),
        case("eap_radius_mschapv2", radius_mschapv2).needs(Need::FreeRadius),
    ]
}

fn eap(rig: &Rig, setup: &Setup, method: &str) -> Result<()> {
    let mut session = IkeSession::open(rig, setup)?;
    session.gateway.expect(&format!("EAP method {method} succeeded"))?;
    session.exchange()?;
    session.close()
}

/// By default strongSwan asks PAM for passwords that come in the clear.
fn gtc() -> Setup {
    Setup::eap("eap-gtc").gateway(|gateway| gateway.daemon("plugins.eap-gtc.backend", "generic"))
}

/// The client's certificate within EAP; the identity of IKE is another.
fn tls() -> Setup {
    Setup::eap("eap-tls").client(|client| {
        client
            .text("user", "client.example.org")
            .text("certificate", "@PKI/client.crt")
            .text("key", "@PKI/client.key")
            .without("password")
            .reference(|charon| {
                charon.certificate("client").conn("local.auth", "eap-tls").conn("local.eap_id", "client.example.org")
            })
    })
}

/// What Windows keeps of a password is enough.
fn nt_hash(rig: &Rig) -> Result<()> {
    // MD4 of "correct horse" in UTF-16, by `openssl dgst -provider legacy -md4`.
    const HASH: &str = "cfc43211ba8dc470832267827cac1407";
    let setup = Setup::eap("eap-mschapv2").client(|client| client.without("password").secret("nt_hash", HASH));
    eap(rig, &setup, "EAP_MSCHAPV2")
}

/// A gateway that does not ask who it is goes straight to the method.
fn without_identity(rig: &Rig) -> Result<()> {
    let setup = Setup::eap("eap-mschapv2")
        .gateway(|gateway| gateway.without("remote.eap_id").without_plugin("eap-identity"))
        .client(|client| client.text("local_id", "alice"));
    let mut session = IkeSession::open(rig, &setup)?;
    session.gateway.expect_none("EAP/REQ/ID")?;
    session.exchange()?;
    session.close()
}

fn radius_mschapv2(rig: &Rig) -> Result<()> {
    let mut config = FreeRadiusConfig::new("mschapv2");
    config.users = radius::user("alice", PASSWORD, &["Session-Timeout = 3600"]);
    let _radius = FreeRadius::start(rig, &config)?;
    let mut setup = Setup::eap("eap-mschapv2");
    setup.gateway = radius::gateway();
    let mut session = IkeSession::open(rig, &setup)?;
    session.gateway.expect("RADIUS authentication of 'alice' successful")?;
    session.exchange()?;
    session.close()
}
