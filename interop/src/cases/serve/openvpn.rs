//! Debian's `openvpn` as a client of ours: each wrap, each way to prove itself, each transport.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Case, Table, passes};
use crate::{
    cases::matrix::Wrap,
    config::{self, Lines, Transport},
    gateway::{Stranger, WayOut},
    needs::Need,
    net::{Place, TARGET},
    process::{Process, run},
    rig::Rig,
};

/// The user of the cases with a password.
pub(super) const LOGIN: (&str, &str) = ("alice", "correct horse");

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for out in WayOut::ALL {
        for wrap in Wrap::ALL {
            for transport in Transport::ALL {
                let name = format!("serve_openvpn_{}_{}_{}", wrap.name(), transport.name(), out.name());
                cases.push(Case::new(name, move |rig| by_certificate(rig, wrap, transport, out)));
            }
        }
        cases.push(Case::new(format!("serve_openvpn_password_{}", out.name()), move |rig| by_password(rig, out)));
    }
    cases.push(Case::new("serve_openvpn_slow_line_tun", slow_line).takes(10).needs(Need::Iperf3));
    cases.push(Case::new("serve_openvpn_both", both));
    cases.push(Case::new("serve_openvpn_wrong_password", wrong_password));
    cases.push(Case::new("serve_openvpn_prf_and_cbc", prf_and_cbc));
    cases.push(Case::new("serve_openvpn_tls_1_2", |rig| {
        by_certificate_with(rig, |profile| profile.with("tls-version-max 1.2"))
    }));
    cases
}

/// Clients need a certificate of the CA.
pub(super) fn table(transport: Transport) -> Table {
    Table::new(&format!(
        "protocol = \"openvpn\"\nlisten = [\"203.0.113.1:1194/{0}\", \"[2001:db8::1]:1194/{0}\"]\n\
         certificate = \"@PKI/server.crt\"\nkey = \"@PKI/server.key\"\nclient_ca = [\"@PKI/ca.crt\"]\n\
         pool = [\"10.99.0.0/24\", \"fd00:99::/64\"]\nroutes = [\"192.168.100.0/24\", \"fd00:64::/64\"]\n\
         dns = [\"192.168.100.30\"]",
        transport.name()
    ))
}

fn wrapped(table: Table, wrap: Wrap) -> Table {
    match wrap {
        Wrap::None => table,
        Wrap::TlsAuth => table.with("tls_auth = \"@PKI/ta.key\"\nkey_direction = 0"),
        Wrap::TlsCrypt => table.with("tls_crypt = \"@PKI/ta.key\""),
        Wrap::TlsCryptV2 => table.with("tls_crypt_v2 = \"@PKI/v2-server.key\"\ntls_crypt_v2_force_cookie = true"),
    }
}

fn by_certificate(rig: &Rig, wrap: Wrap, transport: Transport, out: WayOut) -> Result<()> {
    let profile = wrap.profile(rig, config::profile(&rig.pki, transport)?)?;
    passes(rig, &wrapped(table(transport), wrap), out, || {
        let client = Stranger::openvpn(rig, Place::Client, &profile.text(), None)?;
        expect(&client, "Outgoing Data Channel: Cipher 'AES-256-GCM'")?;
        Ok(client)
    })
}

fn by_certificate_with(rig: &Rig, change: impl FnOnce(Lines) -> Lines) -> Result<()> {
    let profile = change(config::profile(&rig.pki, Transport::Udp)?);
    passes(rig, &table(Transport::Udp), WayOut::Sockets, || {
        Stranger::openvpn(rig, Place::Client, &profile.text(), None)
    })
}

/// Users, and no certificate asked for.
pub(super) fn password_table() -> Table {
    let table = table(Transport::Udp);
    let text = table.text.replace("client_ca = [\"@PKI/ca.crt\"]\n", "client_certificate = \"none\"\n");
    Table { text, ..table }.with("users.alice = { password = { file = \"alice.txt\" } }").secret("alice.txt", LOGIN.1)
}

fn by_password(rig: &Rig, out: WayOut) -> Result<()> {
    let profile = config::password_profile(&rig.pki, Transport::Udp)?;
    passes(rig, &password_table(), out, || Stranger::openvpn(rig, Place::Client, &profile.text(), Some(LOGIN)))
}

/// A certificate and a password, as the customers' servers want it.
fn both(rig: &Rig) -> Result<()> {
    let table = table(Transport::Udp)
        .with("users.alice = { password = { file = \"alice.txt\" } }")
        .secret("alice.txt", LOGIN.1);
    let profile = config::profile(&rig.pki, Transport::Udp)?;
    passes(rig, &table, WayOut::Sockets, || Stranger::openvpn(rig, Place::Client, &profile.text(), Some(LOGIN)))
}

fn wrong_password(rig: &Rig) -> Result<()> {
    let gateway = password_table().start(rig, WayOut::Sockets)?;
    let profile = config::password_profile(&rig.pki, Transport::Udp)?;
    let refused = Stranger::openvpn(rig, Place::Client, &profile.text(), Some((LOGIN.0, "battery staple")));
    let Err(error) = refused else { anyhow::bail!("openvpn came in with a wrong password") };
    ensure!(format!("{error:#}").contains("ended"), "openvpn did not end, but {error:#}");
    let log = std::fs::read_dir(&rig.dir)?
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .any(|text| text.contains("AUTH_FAILED"));
    ensure!(log, "openvpn was not told AUTH_FAILED");
    gateway.wait("did not come in")?;
    gateway.close()
}

/// Packets for a peer wait in the queue of the device, as on any link, while the socket is full: it is the kernel that drops what is
/// too much, before anybody has worked on it.
fn slow_line(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    // A queue longer than the socket's buffer, so that it is the socket that is full.
    let queue = ["qdisc", "add", "dev", "client", "root", "tbf", "rate", "50mbit", "burst", "256k", "limit", "40m"];
    run(rig.net.command(Place::Gateway, "tc").args(queue))?;
    let gateway = table(Transport::Udp).with("tun_name = \"adit0\"").start(rig, WayOut::Tun)?;
    let client = Stranger::openvpn(rig, Place::Client, &config::profile(&rig.pki, Transport::Udp)?.text(), None)?;
    let mut server = rig.net.command(Place::Lan, "iperf3");
    server.args(["--server", "--one-off", "--forceflush"]);
    let server = Process::spawn(&rig.process_name("iperf3"), &rig.dir, &mut server)?;
    server.wait_text(0, "Server listening", Duration::from_secs(10))?;
    let flood = ["--udp", "--reverse", "--bitrate", "500M", "--length", "1300", "--time", "3"];
    run(rig.net.command(Place::Client, "iperf3").args(["--client", &TARGET.to_string()]).args(flood))?;
    let devices = run(rig.net.command(Place::Gateway, "cat").arg("/proc/net/dev"))?;
    let line = devices.lines().find_map(|line| line.trim().strip_prefix("adit0:")).context("no adit0")?;
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    // What was taken out of the device, and what found its queue full.
    let [read, dropped] = [9, 11].map(|field| numbers.get(field).copied().unwrap_or_default());
    let queue = run(rig.net.command(Place::Gateway, "tc").args(["-s", "qdisc", "show", "dev", "client"]))?;
    let words: Vec<&str> = queue.split_whitespace().collect();
    let sent = words.iter().position(|word| *word == "pkt").and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok());
    let sent: u64 = sent.with_context(|| format!("no number of packets in {queue:?}"))?;
    ensure!(dropped > 1000, "no flood: {read} packets were read, {dropped} dropped in the device's queue");
    ensure!(read < 2 * sent, "{read} packets were read, and {sent} sent");
    // And all goes on.
    client.exchange(rig)?;
    client.close()?;
    gateway.close()
}

/// What clients before 2.6 do.
fn prf_and_cbc(rig: &Rig) -> Result<()> {
    let table = table(Transport::Udp).with("data_ciphers = [\"AES-256-CBC\"]\nauth = \"SHA256\"");
    let profile = config::profile(&rig.pki, Transport::Udp)?.replace("data-ciphers AES-256-CBC").with("auth SHA256");
    passes(rig, &table, WayOut::Sockets, || {
        let client = Stranger::openvpn(rig, Place::Client, &profile.text(), None)?;
        expect(&client, "Outgoing Data Channel: Cipher 'AES-256-CBC'")?;
        Ok(client)
    })
}

pub(super) fn expect(client: &Stranger, text: &str) -> Result<()> {
    ensure!(client.process().count(text) > 0, "the client's log has no {text:?}");
    Ok(())
}
