//! Keys that change every few seconds under a transfer and a stream of datagrams.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use super::{Case, faults::stream};
use crate::{
    client::ClientConfig,
    config::{self, Transport},
    rig::{Rig, Session, check_body},
};

/// Who asks for new keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Server,
    Client,
    Both,
}

/// Bytes a second of the transfer.
const RATE: usize = 256 * 1024;
/// Milliseconds between the datagrams of the stream.
const INTERVAL: u64 = 20;

pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, by| Case::new(name, move |rig| renegotiate(rig, by, Transport::Udp, 60, 15)).takes(65);
    vec![case("reneg_server", By::Server), case("reneg_client", By::Client), case("reneg_both", By::Both)]
}

pub(super) fn soak() -> Vec<Case> {
    let case =
        |name: &str, by, transport| Case::new(name, move |rig| renegotiate(rig, by, transport, 600, 200)).takes(610);
    vec![
        case("renegotiation_both_udp", By::Both, Transport::Udp),
        case("renegotiation_server_tcp", By::Server, Transport::Tcp),
    ]
}

fn renegotiate(rig: &Rig, by: By, transport: Transport, seconds: u64, at_least: usize) -> Result<()> {
    let (mut server, mut profile) = (config::server(&rig.pki, transport), config::profile(&rig.pki, transport)?);
    // Both would ask after an hour by default; one of them stays at that.
    if by != By::Client {
        server = server.with("reneg-sec 2");
    }
    if by != By::Server {
        profile = profile.with("reneg-sec 3");
    }
    let session = Session::open(rig, &server, &ClientConfig::new(profile))?;
    let length = RATE * usize::try_from(seconds)?;
    let (answers, report) = thread::scope(|scope| {
        let download = scope
            .spawn(|| rig.fetch(session.client.web(), &format!("/paced/{length}/{seconds}"), &["--patience", "30"]));
        let datagrams = (seconds * 1000 / INTERVAL).to_string();
        let report = stream(
            rig,
            &session.client,
            &["--count", &datagrams, "--interval", &INTERVAL.to_string(), "--size", "400"],
        );
        let answers = download.join().map_err(|_| anyhow!("the download panicked"))?;
        anyhow::Ok((answers, report))
    })?;
    let answers = answers.context("the transfer")?;
    let answer = answers.first().context("no answer")?;
    check_body(answer, length)?;
    ensure!(answer.seconds >= seconds as f64 - 1.0, "the transfer took only {:.1} s", answer.seconds);
    let count = session.server.renegotiations();
    let report = report.context("the stream")?;
    rig.note(&format!(
        "{count} renegotiations in {:.1} s; {} datagrams, lost {:?}",
        answer.seconds, report.sent, report.lost
    ))?;
    ensure!(count >= at_least, "only {count} renegotiations in the server's log");
    ensure!(report.lost.is_empty(), "datagrams were lost: {:?}", report.lost);
    ensure!(report.corrupted == 0, "{} datagrams came back changed", report.corrupted);
    ensure!(session.client.events("tunnel up").len() <= 1, "the tunnel was set up again");
    session.check_counters(report.sent * 400, u64::try_from(length)?)?;
    // Both ends speak of the same keys.
    if !session.client.is_reference() {
        let installed = session.client.events("data keys installed").len();
        ensure!(installed > at_least, "the client's log has {installed} key changes, the server's {count}");
    }
    check_initiator(&session, by)?;
    session.close()
}

/// Who asked can be told from the server's log: it announces its own soft resets.
fn check_initiator(session: &Session<'_>, by: By) -> Result<()> {
    let own = session.server.process.count("TLS: soft reset");
    match by {
        By::Server => ensure!(own > 0, "the server never asked"),
        By::Client => ensure!(own == 0, "the server asked {own} times, the client should"),
        By::Both => {}
    }
    Ok(())
}
