//! Keys that change every few seconds under a transfer and a stream of datagrams.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use super::{Case, faults::stream};
use crate::{
    client::{ClientConfig, Event},
    config::{self, Transport},
    rig::{Rig, Session, check_body},
};

/// Who asks for new keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Server,
    Client,
    Both,
    /// Both at the same time: a relay lets each soft reset through only when the other end has sent its own.
    BothAtOnce,
}

/// How many renegotiations each end has begun, by its own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Begun {
    server: usize,
    client: usize,
}

/// Bytes a second of the transfer.
const RATE: usize = 256 * 1024;
/// Milliseconds between the datagrams of the stream.
const INTERVAL: u64 = 20;

pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, by| Case::new(name, move |rig| renegotiate(rig, by, Transport::Udp, 60, 15)).takes(65);
    vec![
        case("reneg_server", By::Server),
        case("reneg_client", By::Client),
        case("reneg_both", By::Both),
        case("reneg_both_at_once", By::BothAtOnce),
    ]
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
    match by {
        By::Server => server = server.with("reneg-sec 2"),
        By::Client => profile = profile.with("reneg-sec 3"),
        // By time alone the server would always be first, and start the client's clock anew. The client looks at what it
        // carried four times in a ping interval, every 1.5 s here: sometimes before the server's two seconds are over.
        By::Both => {
            server = server.with("reneg-sec 2").replace("keepalive 6 60");
            profile = profile.with("reneg-sec 3\nreneg-bytes 60000");
        }
        // The server counts whole seconds and is up to one second ahead. It then forgets the last key but one, while the
        // client, which has not heard of it yet, must not seal with that any more: it does for half of the interval.
        By::BothAtOnce => {
            server = server.with("reneg-sec 3");
            profile = profile.with("reneg-sec 3");
        }
    }
    let _relay = if by == By::BothAtOnce {
        profile = profile.replace("remote 203.0.113.1 1195");
        Some(rig.start_relay(&["--cross-resets"])?)
    } else {
        None
    };
    let mut client = ClientConfig::new(profile);
    // Who began is a detail.
    client.verbose = true;
    let session = Session::open(rig, &server, &client)?;
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
    let begun = begun(&session);
    rig.measured(&format!(
        "{count} renegotiations in {:.1} s, begun by the server {}, by the client {}; {} datagrams, lost {:?}",
        answer.seconds, begun.server, begun.client, report.sent, report.lost
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
    if by == By::BothAtOnce {
        let counters = rig.relay_counters()?;
        rig.note(&format!("resets that crossed: up {}, down {}", counters.up.crossed, counters.down.crossed))?;
        let least = at_least as u64;
        ensure!(counters.up.crossed >= least && counters.down.crossed >= least, "too few crossed: {counters:?}");
    }
    if !session.client.is_reference() {
        check_begun(by, begun, at_least)?;
    }
    session.close()
}

/// Each end announces the soft resets it sends of its own accord.
fn begun(session: &Session<'_>) -> Begun {
    let ours = |event: &Event| event.field("by").is_some_and(|by| by.starts_with("us"));
    Begun {
        server: session.server.process.count("TLS: soft reset"),
        client: session.client.events("renegotiation starts").iter().filter(|event| ours(event)).count(),
    }
}

fn check_begun(by: By, begun: Begun, at_least: usize) -> Result<()> {
    let fits = match by {
        By::Server => begun.server >= at_least && begun.client == 0,
        By::Client => begun.server == 0 && begun.client >= at_least,
        By::Both => begun.server >= 5 && begun.client >= 5,
        By::BothAtOnce => begun.server >= at_least && begun.client >= at_least,
    };
    ensure!(fits, "{by:?} should have begun at least {at_least}, but it was {begun:?}");
    Ok(())
}
