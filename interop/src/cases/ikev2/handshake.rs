//! The first exchanges when they do not go straight: cookies, other groups, fragments.

use anyhow::{Context, Result, ensure};

use super::{Case, case, passes};
use crate::{
    ike::{charon::Charon, session::IkeSession, setup::Setup},
    net::Place,
    process::run,
    rig::Rig,
};

/// Of two other daemons: its first datagram is somebody else's IKE_SA_INIT.
const RECORDED: &str = include_str!("../../../../ikev2/testdata/recorded/psk.txt");

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("cookie", |rig| cookie(rig, Setup::eap("eap-mschapv2")).map(drop)),
        case("invalid_ke", invalid_ke),
        case("cookie_and_invalid_ke", cookie_and_invalid_ke),
        case("fragmentation", |rig| fragmentation(rig, true)),
        case("fragmentation_off", |rig| fragmentation(rig, false)),
        case("encapsulation_without_nat", |rig| {
            passes(rig, &Setup::psk().gateway(|gateway| gateway.conn("encap", "no")))
        }),
        case("mobike_off", |rig| passes(rig, &Setup::psk().gateway(|gateway| gateway.conn("mobike", "no")))),
    ]
}

/// With somebody else's handshake left half-open, the gateway demands a cookie of everyone.
fn cookie(rig: &Rig, setup: Setup) -> Result<Charon> {
    let setup = setup.gateway(|gateway| gateway.daemon("dos_protection", "yes").daemon("cookie_threshold", "1"));
    let gateway = || {
        let gateway = Charon::start(rig, Place::Gateway, &setup.gateway)?;
        let datagram = RECORDED.lines().find_map(|line| line.strip_prefix("datagram = ")).context("no datagram")?;
        run(&mut rig.tool(Place::Client, &["datagram", "203.0.113.1:500", datagram]))?;
        Ok(gateway)
    };
    let mut session = IkeSession::open_with(rig, gateway, &setup.client)?;
    session.gateway.expect("COOKIE")?;
    session.exchange()?;
    session.client.interrupt()?;
    rig.prove_gone()?;
    Ok(session.gateway)
}

/// The gateway insists on a group that is not the client's first.
fn invalid_ke(rig: &Rig) -> Result<()> {
    let setup = Setup::psk().gateway(|gateway| gateway.conn("proposals", "aes128-sha256-ecp384"));
    let mut session = IkeSession::open(rig, &setup)?;
    session.gateway.expect("unacceptable, requesting ECP_384")?;
    session.exchange()?;
    session.close()
}

/// First the cookie, then the other group; the cookie goes along again.
fn cookie_and_invalid_ke(rig: &Rig) -> Result<()> {
    // The recorded handshake has to be one that the gateway goes on with: it is x25519.
    let setup = Setup::psk().gateway(|gateway| gateway.conn("proposals", "aes128-sha256-x25519")).client(|client| {
        let proposals = "aes128-sha256-ecp384-x25519";
        client.text("ike_proposals", proposals).reference(|charon| charon.conn("proposals", proposals))
    });
    let gateway = cookie(rig, setup)?;
    gateway.expect("unacceptable, requesting CURVE_25519")
}

/// A chain of four kilobytes, with fragments of 600 bytes both ways; or without, in IP fragments.
fn fragmentation(rig: &Rig, on: bool) -> Result<()> {
    let mut setup = Setup::certificates("server-chain", "client-rsa")
        .gateway(|gateway| gateway.file("x509ca", "sub1.crt").file("x509ca", "sub2.crt").daemon("fragment_size", "600"))
        .client(|client| client.set("fragment_size", "600").reference(|charon| charon.daemon("fragment_size", "600")));
    if !on {
        setup = setup.client(|client| {
            client.set("fragmentation", "false").reference(|charon| charon.conn("fragmentation", "no"))
        });
    }
    let mut session = IkeSession::open(rig, &setup)?;
    let split = session.gateway.process.lines(0, |line| {
        let (_, rest) = line.text.split_once("splitting IKE message (")?;
        let length: usize = rest.split(' ').next()?.parse().ok()?;
        Some(length)
    });
    if on {
        ensure!(split.iter().any(|length| *length > 4000), "no message of 4 kB was split, only {split:?}");
        session.gateway.expect("received fragment #1 of")?;
    } else {
        ensure!(split.is_empty(), "messages of {split:?} bytes were split");
        session.gateway.expect_none("received fragment #")?;
    }
    session.exchange()?;
    session.close()
}
