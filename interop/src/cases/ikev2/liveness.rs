//! Gateways that ask whether we are there, that stop, and that throw us out.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};

use super::{Case, case};
use crate::{
    ike::{charon::Charon, session::IkeSession, setup::Setup},
    net::Place,
    rig::Rig,
};

/// How long a new attempt may take.
const AGAIN: Duration = Duration::from_secs(40);

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("server_asks_whether_alive", server_asks).takes(6),
        case("idle", idle).takes(8),
        case("server_restart", server_restart).takes(12),
        case("server_stops_answering", server_stops_answering).takes(15),
        case("server_stops_politely", server_stops_politely).takes(8),
        case("server_deletes_child", |rig| server_deletes(rig, &["--child", "net"])).takes(6),
        case("server_deletes_ike", |rig| server_deletes(rig, &["--ike", "gw"])).takes(6),
    ]
}

pub(super) fn soak() -> Vec<Case> {
    vec![case("flapping_server", flapping_server).takes(480)]
}

/// The gateway dies a dozen times; the client finds back each time and keeps nothing of the old tunnels. (What lives for
/// seconds only counts as a failed attempt, and those come ever more slowly: up to a minute apart.)
fn flapping_server(rig: &Rig) -> Result<()> {
    let setup = nervous();
    let mut session = IkeSession::open(rig, &setup)?;
    let descriptors = format!("/proc/{}/fd", session.client.process.pid());
    let before = fs::read_dir(&descriptors)?.count();
    for _ in 0..12 {
        session.exchange()?;
        let mark = session.client.process.mark();
        session.gateway.process.signal("KILL")?;
        session.gateway.process.wait_exit(Duration::from_secs(15))?;
        session.gateway = Charon::start(rig, Place::Gateway, &setup.gateway)?;
        session.client.wait_up_again(mark, Duration::from_secs(100))?;
        session.recount()?;
    }
    session.exchange()?;
    let after = fs::read_dir(&descriptors)?.count();
    rig.note(&format!("open descriptors before {before}, after {after}"))?;
    ensure!(after <= before + 2, "descriptors were left behind: {before} before, {after} after");
    session.close()
}

/// A client that notices silence within seconds.
fn nervous() -> Setup {
    Setup::eap("eap-mschapv2").client(|client| {
        client.set("liveness_seconds", "2").set("retransmit", "{ first_ms = 300, limit_ms = 1000, tries = 4 }")
    })
}

fn server_asks(rig: &Rig) -> Result<()> {
    let setup = Setup::psk().gateway(|gateway| gateway.conn("dpd_delay", "1s"));
    let mut session = IkeSession::open(rig, &setup)?;
    session.exchange()?;
    for _ in 0..3 {
        let mark = session.gateway.process.mark();
        session.gateway.process.wait_text(mark, "sending DPD request", Duration::from_secs(10))?;
        session.gateway.process.wait_text(mark, "parsed INFORMATIONAL response", Duration::from_secs(10))?;
    }
    session.exchange()?;
    session.gateway.expect_none("retransmit")?;
    session.close()
}

/// Nobody says anything but the client's own checks; the tunnel stays the same.
fn idle(rig: &Rig) -> Result<()> {
    ensure!(!rig.reference, "strongSwan's client is not nervous; this case needs adit");
    let mut session = IkeSession::open(rig, &nervous())?;
    session.exchange()?;
    for _ in 0..3 {
        let mark = session.gateway.process.mark();
        session.gateway.process.wait_text(mark, "parsed INFORMATIONAL request", Duration::from_secs(10))?;
    }
    ensure!(session.client.events("tunnel up").len() == 1, "the tunnel was set up again");
    session.exchange()?;
    session.close()
}

/// The gateway is killed without a word and comes again; the client finds back by itself.
fn server_restart(rig: &Rig) -> Result<()> {
    let setup = nervous();
    let mut session = IkeSession::open(rig, &setup)?;
    session.exchange()?;
    let mark = session.client.process.mark();
    session.gateway.process.signal("KILL")?;
    session.gateway.process.wait_exit(Duration::from_secs(15))?;
    session.gateway = Charon::start(rig, Place::Gateway, &setup.gateway)?;
    comes_back(session, mark)
}

/// The gateway hangs, and goes on when the client has given it up.
fn server_stops_answering(rig: &Rig) -> Result<()> {
    let mut session = IkeSession::open(rig, &nervous())?;
    session.exchange()?;
    let mark = session.client.process.mark();
    session.gateway.process.signal("STOP")?;
    let noticed = session.client.process.wait_text(mark, "tunnel lost", Duration::from_secs(20));
    // A stopped process cannot be ended politely.
    session.gateway.process.signal("CONT")?;
    noticed?;
    comes_back(session, mark)
}

/// A gateway that stops orderly deletes its SAs.
fn server_stops_politely(rig: &Rig) -> Result<()> {
    let setup = Setup::psk();
    let mut session = IkeSession::open(rig, &setup)?;
    session.exchange()?;
    let mark = session.client.process.mark();
    session.gateway.process.signal("TERM")?;
    session.gateway.process.wait_exit(Duration::from_secs(15))?;
    session.gateway = Charon::start(rig, Place::Gateway, &setup.gateway)?;
    comes_back(session, mark)
}

/// After a fault before `mark`, the client comes up again by itself and carries traffic.
fn comes_back(mut session: IkeSession<'_>, mark: usize) -> Result<()> {
    session.client.wait_up_again(mark, AGAIN)?;
    session.recount()?;
    session.exchange()?;
    session.close()
}

/// Thrown out by hand: the client makes what was deleted anew.
fn server_deletes(rig: &Rig, what: &[&str]) -> Result<()> {
    let mut session = IkeSession::open(rig, &Setup::psk())?;
    session.exchange()?;
    let mark = session.gateway.process.mark();
    let args: Vec<&str> = ["--terminate"].iter().chain(what).copied().collect();
    session.gateway.swanctl(&args)?;
    session.gateway.process.wait_text(mark, "established with SPIs", AGAIN)?;
    // Whoever was thrown out in favour of another must not throw that one out in turn.
    let contacts =
        |mark| session.gateway.process.lines(mark, |line| line.text.contains("N(INIT_CONTACT)").then_some(()));
    ensure!(rig.reference || (contacts(0).len(), contacts(mark).len()) == (1, 0), "INITIAL_CONTACT was sent again");
    session.recount()?;
    for answer in rig.fetch(session.client.web(), "/", &["--retry", "20"])? {
        ensure!(answer.status.contains("200"), "the answer is {answer:?}");
    }
    session.exchange()?;
    session.close()
}
