//! Addresses: IPv6 inside and outside, both ports, names behind the tunnel, narrow selectors.

use anyhow::{Result, ensure};

use super::{Case, case, passes};
use crate::{
    ike::{session::IkeSession, setup::Setup},
    rig::Rig,
    tools::dns,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("ipv6_inside", ipv6_inside),
        case("ipv6_outside", ipv6_outside),
        case("port_4500", port_4500),
        case("narrowed_selectors", narrowed),
        case("name_behind_tunnel", name_behind_tunnel),
    ]
}

fn ipv6_inside(rig: &Rig) -> Result<()> {
    let setup = Setup::eap("eap-mschapv2")
        .gateway(|gateway| {
            gateway.conn("pools", "p4, p6").pool("p6.addrs", "fd00:10::/112").child("local_ts", "0.0.0.0/0, ::/0")
        })
        .client(|client| {
            client.reference(|charon| charon.conn("vips", "0.0.0.0, ::").child("remote_ts", "0.0.0.0/0, ::/0"))
        });
    let mut session = IkeSession::open(rig, &setup)?;
    rig.hello(session.client.web_v6())?;
    rig.download(session.client.web_v6(), 1 << 20)?;
    rig.upload(session.client.web_v6(), 1 << 18)?;
    session.check_counters(1 << 18, 1 << 20)?;
    // And IPv4 beside it.
    session.exchange()?;
    session.close()
}

fn ipv6_outside(rig: &Rig) -> Result<()> {
    let setup = Setup::eap("eap-mschapv2").client(|client| {
        client.set("remotes", "[\"[2001:db8::1]\"]").reference(|charon| charon.conn("remote_addrs", "2001:db8::1"))
    });
    let mut session = IkeSession::open(rig, &setup)?;
    session.gateway.expect("from 2001:db8::2[")?;
    session.exchange()?;
    session.close()
}

/// Straight to the port for encapsulated traffic, as where 500 is blocked.
fn port_4500(rig: &Rig) -> Result<()> {
    let setup = Setup::eap("eap-mschapv2").client(|client| {
        client.set("remotes", "[\"203.0.113.1:4500\"]").reference(|charon| charon.conn("remote_port", "4500"))
    });
    let mut session = IkeSession::open(rig, &setup)?;
    session.gateway.expect_none("to 203.0.113.1[500]")?;
    session.exchange()?;
    session.close()
}

/// The gateway lets less through than the client asks for.
fn narrowed(rig: &Rig) -> Result<()> {
    let setup = Setup::psk().gateway(|gateway| gateway.child("local_ts", "192.168.100.0/24"));
    passes(rig, &setup)
}

/// A forward to a name that only the DNS server given by the gateway knows.
fn name_behind_tunnel(rig: &Rig) -> Result<()> {
    ensure!(!rig.reference, "strongSwan forwards nothing; this case needs adit");
    let setup = Setup::psk().client(|mut client| {
        client.args = vec!["-L".to_owned(), format!("33003:{}:8080", dns::NAME)];
        client
    });
    let mut session = IkeSession::open(rig, &setup)?;
    rig.hello("127.0.0.1:33003".parse()?)?;
    session.exchange()?;
    session.close()
}
