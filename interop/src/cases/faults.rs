//! Servers that vanish, stop or come again, networks that lose and lie, and input that cannot work.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use super::Case;
use crate::{
    client::{Client, ClientConfig, UP, is_error},
    config::{self, Lines, Transport},
    net::Place,
    process::{Process, run},
    rig::{Rig, Session, check_body},
    server::Server,
    tools::stream,
};

/// Enough for a few rounds of reconnects.
const AGAIN: Duration = Duration::from_secs(40);
/// Exit codes of `adit`.
const USAGE: i32 = 2;
const UNREACHABLE: i32 = 3;
const LOCAL_BIND: i32 = 7;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("server_restart_udp", |rig| server_restart(rig, Transport::Udp)).takes(10),
        Case::new("server_restart_tcp", |rig| server_restart(rig, Transport::Tcp)).takes(5),
        Case::new("server_exit_notify", server_exit_notify).takes(8),
        Case::new("server_stops_answering", server_stops_answering).takes(12),
        Case::new("idle_three_keepalives", idle_three_keepalives).takes(15),
        Case::new("loss_3_percent", loss_3_percent).takes(10),
        Case::new("garbage_datagrams", garbage_datagrams).takes(6),
        Case::new("garbage_datagrams_unwrapped", garbage_unwrapped).takes(6),
        Case::new("connections_100", connections_100).takes(12),
        Case::new("unprivileged_container", unprivileged_container),
        Case::new("second_remote", second_remote).takes(6),
        Case::new("bad_port_in_use", bad_port_in_use),
        Case::new("bad_host_name", bad_host_name),
        Case::new("bad_profile", bad_profile),
        Case::new("bad_no_server", bad_no_server).takes(5),
    ]
}

pub(super) fn soak() -> Vec<Case> {
    vec![Case::new("flapping_server", flapping_server).takes(240)]
}

/// The server dies thirty times; the client finds back each time and keeps nothing of the old tunnels.
fn flapping_server(rig: &Rig) -> Result<()> {
    let config = nervous_server(rig, Transport::Udp);
    // A tunnel that lives for seconds only counts as a failed attempt, and failed attempts come ever more slowly.
    let profile = config::profile(&rig.pki, Transport::Udp)?.with("connect-retry 1 3");
    let mut session = Session::open(rig, &config, &ClientConfig::new(profile))?;
    let descriptors = format!("/proc/{}/fd", session.client.process.pid());
    let before = fs::read_dir(&descriptors)?.count();
    for _ in 0..30 {
        session.exchange()?;
        let mark = session.client.process.mark();
        session.server.process.signal("KILL")?;
        session.server.process.wait_exit(Duration::from_secs(15))?;
        session.server = Server::start(rig, &config)?;
        session.client.wait_up_again(mark, AGAIN)?;
        session.reconnected()?;
    }
    session.exchange()?;
    let after = fs::read_dir(&descriptors)?.count();
    rig.note(&format!("open descriptors before {before}, after {after}"))?;
    ensure!(after <= before + 2, "descriptors were left behind: {before} before, {after} after");
    session.close()
}

/// A server with short pings, so that silence is noticed in seconds.
fn nervous_server(rig: &Rig, transport: Transport) -> Lines {
    config::server(&rig.pki, transport).replace("keepalive 1 4")
}

/// The server is killed without a word and comes again; the client finds back by itself.
fn server_restart(rig: &Rig, transport: Transport) -> Result<()> {
    let config = nervous_server(rig, transport);
    let client = ClientConfig::new(config::profile(&rig.pki, transport)?);
    let mut session = Session::open(rig, &config, &client)?;
    session.exchange()?;
    let mark = session.client.process.mark();
    session.server.process.signal("KILL")?;
    session.server.process.wait_exit(Duration::from_secs(15))?;
    session.server = Server::start(rig, &config)?;
    comes_back(session, mark)
}

/// After a fault before `mark`, the client comes up again by itself and carries traffic.
fn comes_back(mut session: Session<'_>, mark: usize) -> Result<()> {
    session.client.wait_up_again(mark, AGAIN)?;
    session.reconnected()?;
    session.exchange()?;
    session.close()
}

/// A server that stops orderly says so; its pings would be missed only after minutes.
fn server_exit_notify(rig: &Rig) -> Result<()> {
    let config = config::server(&rig.pki, Transport::Udp).replace("keepalive 60 300").with("explicit-exit-notify 1");
    let client = ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?);
    let mut session = Session::open(rig, &config, &client)?;
    session.exchange()?;
    let mark = session.client.process.mark();
    session.server.process.signal("TERM")?;
    session.server.process.wait_text(0, "SENT CONTROL [alice]: 'RESTART'", Duration::from_secs(15))?;
    session.server.process.wait_exit(Duration::from_secs(10))?;
    session.server = Server::start(rig, &config)?;
    comes_back(session, mark)
}

/// The server hangs: the client says so and starts over until it answers.
fn server_stops_answering(rig: &Rig) -> Result<()> {
    let config = nervous_server(rig, Transport::Udp);
    let client =
        ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?.with("connect-retry 1 2\nconnect-timeout 3"));
    let session = Session::open(rig, &config, &client)?;
    session.exchange()?;
    let mark = session.client.process.mark();
    session.server.process.signal("STOP")?;
    let noticed = session.client.process.wait_for(mark, "a word about the silence", Duration::from_secs(15), |line| {
        let text = line.text.to_lowercase();
        ["ping-restart", "inactivity", "timed out", "not answer", "no answer"]
            .iter()
            .any(|word| text.contains(word))
            .then(|| line.text.clone())
    });
    let noticed = noticed.inspect_err(|_| {
        // A stopped process cannot be ended politely.
        session.server.process.signal("CONT").ok();
    })?;
    rig.note(&format!("the client says: {}", noticed.trim()))?;
    let mark = session.client.process.mark();
    session.server.process.signal("CONT")?;
    comes_back(session, mark)
}

/// Pings alone keep the tunnel up, in both directions.
fn idle_three_keepalives(rig: &Rig) -> Result<()> {
    let session = Session::open(
        rig,
        &nervous_server(rig, Transport::Udp),
        &ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?),
    )?;
    session.exchange()?;
    let (client, server) = (session.client.process.mark(), session.server.process.mark());
    // Three times the four seconds after which either end would start over. Nothing else can be awaited than that
    // nothing happens.
    let restarted = session.client.process.wait_for(client, "a restart", Duration::from_secs(12), |line| {
        let text = line.text.to_lowercase();
        ["restart", "tunnel up", "reconnect"].iter().any(|word| text.contains(word)).then(|| line.text.clone())
    });
    ensure!(restarted.is_err(), "the client started over while idle: {restarted:?}");
    let restarted = session.server.process.lines(server, |line| line.text.contains("Inactivity").then_some(()));
    ensure!(restarted.is_empty(), "the server lost patience with the client");
    session.exchange()?;
    session.close()
}

/// Three datagrams of a hundred lost, more of them overtaken, some doubled: slower, but whole.
fn loss_3_percent(rig: &Rig) -> Result<()> {
    let server = config::server(&rig.pki, Transport::Udp);
    let profile = config::profile(&rig.pki, Transport::Udp)?.replace("remote 203.0.113.1 1195");
    let _relay = rig.start_relay(&["--loss", "30", "--swap", "50", "--double", "20"])?;
    let session = Session::open(rig, &server, &ClientConfig::new(profile))?;
    session.exchange()?;
    let counters = rig.relay_counters()?;
    rig.note(&format!("up {:?}", counters.up))?;
    rig.note(&format!("down {:?}", counters.down))?;
    for passed in [counters.up, counters.down] {
        ensure!(passed.lost > 0 && passed.swapped > 0 && passed.doubled > 0, "the relay did nothing: {passed:?}");
    }
    session.close()
}

/// For every real datagram two that are not, to both ends: half noise, half real ones with some bits changed.
fn garbage_datagrams(rig: &Rig) -> Result<()> {
    let server =
        config::server(&rig.pki, Transport::Udp).with(&format!("tls-crypt {}", rig.pki.path("ta.key").display()));
    let profile = config::profile(&rig.pki, Transport::Udp)?.replace("remote 203.0.113.1 1195").inline(
        "tls-crypt",
        &rig.pki,
        "ta.key",
    )?;
    let _relay = rig.start_relay(&["--garbage", "2"])?;
    let session = Session::open(rig, &server, &ClientConfig::new(profile))?;
    session.exchange()?;
    let counters = rig.relay_counters()?;
    ensure!(counters.up.garbage > 100 && counters.down.garbage > 100, "not enough garbage: {counters:?}");
    ensure!(session.client.events("tunnel up").len() <= 1, "garbage restarted the tunnel");
    session.close()
}

/// Without a wrap nothing authenticates control packets but the session ids: noise from the gateway's address and from
/// a stranger's must change nothing, nor must copies of data packets with flipped bits, in the middle of a transfer.
/// (With OpenVPN 2.6.14 in the client's place the transfer stops.)
fn garbage_unwrapped(rig: &Rig) -> Result<()> {
    const LENGTH: usize = 1 << 20;
    let server = config::server(&rig.pki, Transport::Udp);
    let profile = config::profile(&rig.pki, Transport::Udp)?.replace("remote 203.0.113.1 1195");
    let _relay = rig.start_relay(&["--flips", "1", "--noise", "2", "--stranger", "203.0.113.9:1999"])?;
    let session = Session::open(rig, &server, &ClientConfig::new(profile))?;
    session.exchange()?;
    for answer in &rig.fetch(session.client.web(), &format!("/paced/{LENGTH}/3"), &[])? {
        check_body(answer, LENGTH)?;
    }
    let counters = rig.relay_counters()?;
    rig.note(&format!("noise {}, flipped {}", counters.down.noise, counters.up.flipped + counters.down.flipped))?;
    ensure!(counters.down.noise > 1000, "not enough noise: {counters:?}");
    ensure!(counters.up.flipped > 100 && counters.down.flipped > 1000, "not enough flipped: {counters:?}");
    ensure!(session.client.events("tunnel up").len() <= 1, "garbage restarted the tunnel");
    // (A copy whose opcode became that of a first packet begins a TLS session of its own there, which leads to nothing.)
    for text in ["multi_create_instance called", "Peer Connection Initiated with"] {
        let count = session.server.process.count(text);
        ensure!(count == 1, "the server's log has {text:?} {count} times");
    }
    session.check_counters(1 << 18, LENGTH as u64)?;
    session.close()
}

/// A hundred connections through one forward at the same time.
fn connections_100(rig: &Rig) -> Result<()> {
    const LENGTH: usize = 20_000;
    let server = config::server(&rig.pki, Transport::Udp);
    let session = Session::open(rig, &server, &ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?))?;
    let answers =
        rig.fetch(session.client.web(), &format!("/paced/{LENGTH}/8"), &["--count", "100", "--patience", "60"])?;
    ensure!(answers.len() == 100, "{} answers", answers.len());
    for answer in &answers {
        check_body(answer, LENGTH)?;
    }
    session.lan.wait_text(0, "open=100", Duration::from_secs(5)).context("not all at the same time")?;
    session.check_counters(100, 100 * LENGTH as u64)?;
    session.close()
}

/// No capabilities, no way to gain any, and a file system that cannot be written.
fn unprivileged_container(rig: &Rig) -> Result<()> {
    let mut client = ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?);
    client.read_only = true;
    let session = Session::open(rig, &config::server(&rig.pki, Transport::Udp), &client)?;
    let status = fs::read_to_string(format!("/proc/{}/status", session.client.process.pid()))?;
    for line in
        ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"]
    {
        ensure!(status.contains(line), "not {line:?} but {status}");
    }
    ensure!(status.contains("Uid:\t65534\t65534"), "not an ordinary user: {status}");
    session.exchange()?;
    session.close()
}

/// The first gateway does not answer; the second does.
fn second_remote(rig: &Rig) -> Result<()> {
    let profile = config::profile(&rig.pki, Transport::Udp)?
        .replace("remote 203.0.113.1 1999")
        .with("remote 203.0.113.1 1194\nconnect-timeout 3");
    let session = Session::open(rig, &config::server(&rig.pki, Transport::Udp), &ClientConfig::new(profile))?;
    session.exchange()?;
    session.close()
}

fn bad_port_in_use(rig: &Rig) -> Result<()> {
    let mut squatter = rig.tool(Place::Client, &["serve", "--web", "127.0.0.1:33000", "--echo", "127.0.0.1:39000"]);
    let squatter = Process::spawn("squatter", &rig.dir, &mut squatter)?;
    squatter.wait_text(0, "ready", UP)?;
    let client = Client::start(rig, &ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?))?;
    client.expect_failure(LOCAL_BIND, "33000", UP)?;
    rig.prove_only(&[&squatter], &[33000, 39000])
}

fn bad_host_name(rig: &Rig) -> Result<()> {
    let profile = config::profile(&rig.pki, Transport::Udp)?
        .replace("remote gateway.invalid 1194")
        .with("connect-retry 1 1\nconnect-retry-max 1\nresolv-retry 0");
    let client = Client::start(rig, &ClientConfig::new(profile))?;
    client.expect_failure(UNREACHABLE, "gateway.invalid", UP)?;
    rig.prove_gone()
}

fn bad_profile(rig: &Rig) -> Result<()> {
    let profile = config::profile(&rig.pki, Transport::Udp)?.with("fragment 1300");
    let client = Client::start(rig, &ClientConfig::new(profile))?;
    client.expect_failure(USAGE, "fragment", UP)?;
    rig.prove_gone()?;
    // One that only root may read, and one that is not there at all.
    let secret = rig.dir.join("secret.ovpn");
    fs::write(&secret, "client\n")?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    for path in [secret.as_path(), Path::new("/nonexistent/office.ovpn")] {
        let mut command = crate::client::unprivileged(rig, false);
        command.arg(&rig.adit).arg("forward").arg("--config").arg(path).args(["-L", "33000:192.168.100.30:8080"]);
        let process = Process::spawn(&rig.process_name("unreadable"), &rig.dir, &mut command)?;
        let status = process.wait_end(UP)?;
        ensure!(status.code() == Some(USAGE), "{} ended with {status}", path.display());
        let name = path.display().to_string();
        let said = process.lines(0, |line| Some(line.text.clone()));
        ensure!(matches!(said.as_slice(), [line] if is_error(line) && line.contains(&name)), "said {said:?}");
        rig.prove_gone()?;
    }
    Ok(())
}

/// Nothing listens at the gateway.
fn bad_no_server(rig: &Rig) -> Result<()> {
    let profile = config::profile(&rig.pki, Transport::Udp)?
        .with("connect-timeout 2\nhand-window 4\nconnect-retry 1 1\nconnect-retry-max 1");
    let client = Client::start(rig, &ClientConfig::new(profile))?;
    client.expect_failure(UNREACHABLE, "203.0.113.1", UP)?;
    rig.prove_gone()
}

/// Runs a numbered stream and returns what became of it.
pub(super) fn stream(rig: &Rig, client: &Client, args: &[&str]) -> Result<stream::Report> {
    let echo = client.echo().to_string();
    let mut all = vec!["stream", &echo];
    all.extend(args);
    Ok(serde_json::from_str(&run(&mut rig.tool(Place::Client, &all))?)?)
}
