//! Certificates of every kind, signatures of every kind, keys in every wrapping.

use anyhow::Result;

use super::{Case, case, passes};
use crate::{
    ike::{session::IkeSession, setup::Setup},
    pki::PASSPHRASE,
    rig::Rig,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("certificates_rsa_pss", rsa_pss),
        case("certificates_rsa_pss_demanded", rsa_pss_demanded),
        case("certificates_crl", |rig| passes(rig, &both("").client(|client| client.set("crl", "[\"@PKI/crl.pem\"]")))),
        case("certificates_der", der),
        case("encrypted_key_pkcs8", |rig| encrypted(rig, "client-rsa-pkcs8.key")),
        case("encrypted_key_legacy", |rig| encrypted(rig, "client-rsa-legacy.key")),
        case("pkcs12", pkcs12),
    ];
    // RFC 7427 names the algorithm in each signature.
    for (kind, scheme) in [
        ("", "ECDSA_WITH_SHA256_DER"),
        ("-rsa", "RSA_EMSA_PKCS1_SHA2_256"),
        ("-p384", "ECDSA_WITH_SHA384_DER"),
        ("-p521", "ECDSA_WITH_SHA512_DER"),
        ("-ed25519", "ED25519"),
    ] {
        let name = format!("certificates{}", suffix(kind));
        cases.push(case(&name, move |rig| signed(rig, &both(kind), scheme)));
    }
    // Before RFC 7427 each curve had a number of its own, and RSA was SHA-1.
    for (kind, scheme) in [
        ("", "ECDSA-256 signature"),
        ("-p384", "ECDSA-384 signature"),
        ("-p521", "ECDSA-521 signature"),
        ("-rsa", "RSA signature"),
    ] {
        let name = format!("certificates_rfc7296{}", suffix(kind));
        cases.push(case(&name, move |rig| classic(rig, kind, scheme)));
    }
    cases
}

fn suffix(kind: &str) -> String {
    kind.replace('-', "_")
}

fn both(kind: &str) -> Setup {
    Setup::certificates(&format!("server{kind}"), &format!("client{kind}"))
}

/// The gateway says by what signature it knows the client, and by what its own was made.
fn signed(rig: &Rig, setup: &Setup, scheme: &str) -> Result<()> {
    let mut session = IkeSession::open(rig, setup)?;
    session.gateway.expect(&format!("(myself) with {scheme} successful"))?;
    session.gateway.expect(&format!("with {scheme} successful"))?;
    session.exchange()?;
    session.close()
}

fn rsa_pss(rig: &Rig) -> Result<()> {
    let setup = both("-rsa")
        .gateway(|gateway| gateway.daemon("rsa_pss", "yes"))
        .client(|client| client.text("signature", "rsa-pss").reference(|charon| charon.daemon("rsa_pss", "yes")));
    signed(rig, &setup, "RSA_EMSA_PSS_SHA2_256_SALT_32")
}

/// A gateway that takes nothing else, as libreswan does: the client finds out by itself.
fn rsa_pss_demanded(rig: &Rig) -> Result<()> {
    let setup = both("-rsa")
        .gateway(|gateway| gateway.daemon("rsa_pss", "yes").conn("remote.auth", "ike:rsa/pss-sha256-sha384-sha512"))
        .client(|client| client.reference(|charon| charon.daemon("rsa_pss", "yes")));
    passes(rig, &setup)
}

/// The gateway knows nothing of RFC 7427. (`legacy` is needed for RSA alone, whose hash is SHA-1 then.)
fn classic(rig: &Rig, kind: &str, scheme: &str) -> Result<()> {
    let setup = both(kind)
        .gateway(|gateway| gateway.daemon("signature_authentication", "no"))
        .client(|client| if kind == "-rsa" { client.set("legacy", "true") } else { client });
    let mut session = IkeSession::open(rig, &setup)?;
    session.gateway.expect(&format!("(myself) with {scheme} successful"))?;
    session.exchange()?;
    session.close()
}

/// As Windows exports them.
fn der(rig: &Rig) -> Result<()> {
    let der = rig.dir.join("ca.der");
    crate::process::run(
        std::process::Command::new("openssl")
            .args(["x509", "-outform", "DER", "-in"])
            .arg(rig.pki.ike("ca.crt"))
            .arg("-out")
            .arg(&der),
    )?;
    let setup = both("").client(|client| client.set("ca", &format!("[{:?}]", der.display().to_string())));
    passes(rig, &setup)
}

fn encrypted(rig: &Rig, key: &str) -> Result<()> {
    let setup =
        both("-rsa").client(|client| client.text("key", &format!("@PKI/{key}")).secret("passphrase", PASSPHRASE));
    passes(rig, &setup)
}

fn pkcs12(rig: &Rig) -> Result<()> {
    let setup = both("-rsa").client(|client| {
        client
            .without("certificate")
            .without("key")
            .text("pkcs12", "@PKI/client-rsa.p12")
            .secret("passphrase", PASSPHRASE)
    });
    passes(rig, &setup)
}
