//! Whole server configurations: the customers' own, a modern one, and variations of what they push.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Case;
use crate::{
    client::ClientConfig,
    config::{self, Lines, Transport},
    needs::Need,
    net::Place,
    process::run,
    rig::{Rig, Session},
    server::Server,
    tools::serve::HELLO,
};

/// `/etc/openvpn/server.conf` as the customers' documentation has it, byte for byte (facts, servers §2.2).
const CUSTOMERS: &str = include_str!("../../testdata/customers-server.conf");

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("customers_server_conf", customers_server_conf).takes(4).needs(Need::PamPlugin).needs(Need::Curl),
        Case::new("modern_server", modern_server),
        Case::new("topology_net30", |rig| topology(rig, "net30", "10.8.0.6")),
        Case::new("topology_subnet", |rig| topology(rig, "subnet", "10.8.0.2")),
        Case::new("ipv6_inside", ipv6_inside),
        Case::new("ipv6_outside_udp", |rig| ipv6_outside(rig, Transport::Udp)),
        Case::new("ipv6_outside_tcp", |rig| ipv6_outside(rig, Transport::Tcp)),
    ]
}

/// What the issue is about: `curl 127.0.0.1:33000`, with the profile that fits the customers' server.
fn customers_server_conf(rig: &Rig) -> Result<()> {
    let profile = Lines::new(
        "client\ndev tun\nproto udp\nremote 203.0.113.1 1194\nauth-user-pass\nremote-cert-tls server\nnobind\n\
         cipher AES-256-CBC\nauth SHA256\ncompress lz4-v2",
    )
    .inline("ca", &rig.pki, "rsa-ca.crt")?;
    let client = ClientConfig::new(profile).user("myuser", "mypassword");
    let server = || Server::start_customers(rig, CUSTOMERS, ("myuser", "mypassword"));
    let session = Session::open_with(rig, server, &client)?;
    let mut curl = rig.net.command(Place::Client, "curl");
    let said = run(curl.args(["--silent", "--show-error", "--max-time", "20", &session.client.web().to_string()]))?;
    ensure!(said == HELLO, "curl printed {said:?}");
    session.exchange()?;
    session.client.expect_event("tunnel up", &[("address", "10.10.20.6")])?;
    session.client.expect_event(
        "data keys installed",
        &[("cipher", "AES-256-GCM"), ("derivation", "exporter"), ("data", "v2"), ("framing", "v2")],
    )?;
    session.server.expect("authentication succeeded for username 'myuser'")?;
    session.server.wait("cipher 'AES-256-GCM', peer-id: 0, compression: 'lz4v2'", Duration::from_secs(10))?;
    session.close()
}

fn modern_server(rig: &Rig) -> Result<()> {
    let path = |name| rig.pki.path(name).display().to_string();
    let server = config::server(&rig.pki, Transport::Udp)
        .with(&format!("tls-crypt {}\ntls-version-min 1.3\nremote-cert-tls client", path("ta.key")))
        .with("push \"dhcp-option DNS 192.168.100.30\"\npush \"block-outside-dns\"\nexplicit-exit-notify 1");
    let profile = config::profile(&rig.pki, Transport::Udp)?
        .inline("tls-crypt", &rig.pki, "ta.key")?
        .with("verify-x509-name server name\npersist-key\npersist-tun\nresolv-retry infinite\nverb 3");
    let session = Session::open(rig, &server, &ClientConfig::new(profile))?;
    session.exchange()?;
    session.client.expect_event("data keys installed", &[("cipher", "AES-256-GCM"), ("data", "v2")])?;
    session.close()
}

fn topology(rig: &Rig, topology: &str, address: &str) -> Result<()> {
    let server = config::server(&rig.pki, Transport::Udp).replace(&format!("topology {topology}"));
    let session = Session::open(rig, &server, &ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?))?;
    session.exchange()?;
    let pushed = session.server.pushed()?;
    ensure!(pushed.contains(&format!("ifconfig {address} ")), "pushed: {pushed}");
    session.client.expect_event("tunnel up", &[("address", address)])?;
    session.close()
}

fn ipv6_inside(rig: &Rig) -> Result<()> {
    let server =
        config::server(&rig.pki, Transport::Udp).with("server-ipv6 fd00:8::/64\npush \"route-ipv6 fd00:64::/64\"");
    let session = Session::open(rig, &server, &ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?))?;
    ensure!(session.server.pushed()?.contains("ifconfig-ipv6 fd00:8::"), "no IPv6 address was pushed");
    rig.hello(session.client.web_v6())?;
    rig.download(session.client.web_v6(), 1 << 20)?;
    rig.upload(session.client.web_v6(), 1 << 18)?;
    session.check_counters(1 << 18, 1 << 20)?;
    // And IPv4 beside it.
    session.exchange()?;
    session.close()
}

fn ipv6_outside(rig: &Rig, transport: Transport) -> Result<()> {
    let (proto, proto_server) = match transport {
        Transport::Udp => ("udp6", "udp6"),
        Transport::Tcp => ("tcp6", "tcp6-server"),
    };
    let server = config::server(&rig.pki, transport).replace(&format!("proto {proto_server}"));
    let profile =
        config::profile(&rig.pki, transport)?.replace(&format!("proto {proto}")).replace("remote 2001:db8::1 1194");
    let session = Session::open(rig, &server, &ClientConfig::new(profile))?;
    session.exchange()?;
    session.server.expect("2001:db8::2")?;
    session.close()
}
