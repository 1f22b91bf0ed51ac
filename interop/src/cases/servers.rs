//! Whole server configurations: the customers' own, a modern one, and variations of what they push.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Case, faults};
use crate::{
    client::ClientConfig,
    config::{self, Lines, Transport},
    needs::Need,
    net::Place,
    process::run,
    rig::{Rig, Session, check_body},
    server::Server,
    tools::{dns, serve::HELLO},
};

/// `/etc/openvpn/server.conf` as the customers' documentation has it, byte for byte (facts, servers §2.2).
const CUSTOMERS: &str = include_str!("../../testdata/customers-server.conf");

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("customers_server_conf", customers_server_conf).takes(4).needs(Need::PamPlugin).needs(Need::Curl),
        Case::new("modern_server", modern_server),
        Case::new("topology_net30", |rig| topology(rig, "net30", "10.8.0.6", 32)),
        Case::new("topology_subnet", |rig| topology(rig, "subnet", "10.8.0.2", 24)),
        Case::new("long_push", long_push),
        Case::new("small_mtu", small_mtu),
        Case::new("refused_behind_tunnel", refused_behind_tunnel),
        Case::new("half_close", half_close),
        Case::new("name_behind_tunnel", name_behind_tunnel),
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
    session.client.expect_event("tunnel up", &[("address", "10.10.20.6/32")])?;
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

fn topology(rig: &Rig, topology: &str, address: &str, prefix: u8) -> Result<()> {
    let server = config::server(&rig.pki, Transport::Udp).replace(&format!("topology {topology}"));
    let session = Session::open(rig, &server, &ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?))?;
    session.exchange()?;
    let pushed = session.server.pushed()?;
    ensure!(pushed.contains(&format!("ifconfig {address} ")), "pushed: {pushed}");
    session.client.expect_event("tunnel up", &[("address", &format!("{address}/{prefix}"))])?;
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

/// More options than fit into one message: the server sends several.
fn long_push(rig: &Rig) -> Result<()> {
    let routes: Vec<String> =
        (1..=90).map(|number| format!("push \"route 172.16.{number}.0 255.255.255.0\"")).collect();
    let server = config::server(&rig.pki, Transport::Udp).with(&routes.join("\n"));
    let session = Session::open(rig, &server, &ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?))?;
    session.exchange()?;
    session.server.expect("push-continuation 2")?;
    ensure!(session.server.pushed()?.contains("push-continuation 1"), "the last message is not the last");
    session.close()
}

/// A tunnel narrower than an Ethernet: segments and datagrams must fit.
fn small_mtu(rig: &Rig) -> Result<()> {
    let server = config::server(&rig.pki, Transport::Udp).with("tun-mtu 1280");
    let session = Session::open(rig, &server, &ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?))?;
    session.exchange()?;
    ensure!(session.server.pushed()?.contains("tun-mtu 1280"), "no MTU was pushed");
    let report = faults::stream(rig, &session.client, &["--count", "50", "--interval", "5", "--size", "1252"])?;
    ensure!(report.lost.is_empty() && report.corrupted == 0, "{report:?}");
    session.close()
}

/// Nothing listens at the target's port: whoever connects to the forward learns it at once.
fn refused_behind_tunnel(rig: &Rig) -> Result<()> {
    let mut client = ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?);
    client.args = vec!["-L".to_owned(), "33003:192.168.100.30:81".to_owned()];
    let session = Session::open(rig, &config::server(&rig.pki, Transport::Udp), &client)?;
    session.exchange()?;
    let started = Instant::now();
    let answer = rig.fetch("127.0.0.1:33003".parse()?, "/", &["--patience", "15"]);
    ensure!(answer.is_err(), "an answer from a closed port: {answer:?}");
    ensure!(started.elapsed() < Duration::from_secs(5), "the refusal took {:?}", started.elapsed());
    session.exchange()?;
    session.close()
}

/// A client that ends its side of the stream still gets the whole answer.
fn half_close(rig: &Rig) -> Result<()> {
    const LENGTH: usize = 300_000;
    let server = config::server(&rig.pki, Transport::Udp);
    let session = Session::open(rig, &server, &ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?))?;
    let answers = rig.fetch(session.client.web(), &format!("/paced/{LENGTH}/1"), &["--half-close"])?;
    for answer in &answers {
        check_body(answer, LENGTH)?;
    }
    session.check_counters(100, LENGTH as u64)?;
    session.close()
}

/// A forward to a name that only the server's DNS knows.
fn name_behind_tunnel(rig: &Rig) -> Result<()> {
    let server = config::server(&rig.pki, Transport::Udp).with("push \"dhcp-option DNS 192.168.100.30\"");
    let mut client = ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?);
    client.args = vec!["-L".to_owned(), format!("33003:{}:8080", dns::NAME)];
    let session = Session::open(rig, &server, &client)?;
    rig.hello("127.0.0.1:33003".parse()?)?;
    session.exchange()?;
    session.close()
}
