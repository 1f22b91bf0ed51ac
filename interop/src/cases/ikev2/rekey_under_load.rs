//! Keys that change every few seconds under a transfer and a stream of datagrams.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{Case, case, nat, paced::Transfer};
use crate::{
    ike::{charon::Charon, session::IkeSession, setup::Setup},
    net::Place,
    rig::Rig,
};

/// What gets new keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Child,
    Ike,
    Both,
}

/// Who asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Client,
    Server,
    /// Both at the same time.
    Both,
}

/// Seconds of a transfer.
const SECONDS: u64 = 60;
/// So many rekeys are the least.
const AT_LEAST: usize = 15;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (by, by_name) in [(By::Client, "client"), (By::Server, "server"), (By::Both, "both_at_once")] {
        for (what, what_name) in [(What::Child, "child"), (What::Ike, "ike"), (What::Both, "both")] {
            let name = format!("rekey_{what_name}_by_{by_name}");
            cases.push(case(&name, move |rig| rekey(rig, what, by, SECONDS, AT_LEAST)).takes(70).paced());
        }
    }
    cases.push(case("rekey_both_by_client_with_loss", |rig| with_loss(rig, By::Client)).takes(70).paced());
    cases.push(case("rekey_both_by_server_with_loss", |rig| with_loss(rig, By::Server)).takes(70).paced());
    cases
}

pub(super) fn soak() -> Vec<Case> {
    vec![case("rekey_both_ends", |rig| rekey(rig, What::Both, By::Both, 600, 200)).takes(620).paced()]
}

/// New keys of the child every two seconds, of the IKE SA every three.
fn setup(what: What, by: By) -> Setup {
    let (client, server) = (by != By::Server, by != By::Client);
    let (child, ike) = (what != What::Ike, what != What::Child);
    let seconds = |on: bool, seconds: u32| if on { seconds } else { 0 };
    Setup::psk()
        .proposals(
            "aes128gcm16-prfsha256-x25519",
            if what == What::Child { "aes128gcm16" } else { "aes128gcm16-x25519" },
        )
        .gateway(|gateway| {
            gateway
                .child("rekey_time", &format!("{}s", seconds(child && server, 2)))
                .child("life_time", "3600s")
                .child("rand_time", "0s")
                .conn("rekey_time", &format!("{}s", seconds(ike && server, 3)))
                .conn("over_time", "3600s")
                .conn("rand_time", "0s")
        })
        .client(|client_config| {
            client_config
                .set("child_rekey_seconds", &seconds(child && client, 2).to_string())
                .set("ike_rekey_seconds", &seconds(ike && client, 3).to_string())
                .reference(|charon| {
                    charon
                        .child("rekey_time", &format!("{}s", seconds(child && client, 2)))
                        .child("life_time", "3600s")
                        .child("rand_time", "0s")
                        .conn("rekey_time", &format!("{}s", seconds(ike && client, 3)))
                        .conn("over_time", "3600s")
                        .conn("rand_time", "0s")
                })
        })
}

fn rekey(rig: &Rig, what: What, by: By, time: u64, at_least: usize) -> Result<()> {
    let mut setup = setup(what, by);
    // A relay holds each request back until the other end has sent its own.
    let crossing = by == By::Both;
    let _nat = if crossing {
        setup = nat::behind(setup);
        Some(rig.start_nat(&["--cross-rekeys"])?)
    } else {
        None
    };
    let session = IkeSession::open(rig, &setup)?;
    let (ended, again) = session.gateway.keep_rekeying("net", || Transfer { seconds: time }.run(&session))?;
    let count = Count::of(&session.gateway);
    let said = format!("{count:?} in {time} s, {again} asked for again");
    rig.measured(&format!("{said}; {} datagrams, lost {:?}", ended.0.sent, ended.0.lost))?;
    ended.nothing_lost()?;
    // Where a child's request meets one for the IKE SA, both are refused for the time being, and strongSwan waits many seconds
    // before it tries again (RFC 7296 §2.25).
    let at_least = if by == By::Both && what == What::Both { at_least.div_ceil(2) } else { at_least };
    let children = if what == What::Ike { 0 } else { at_least };
    let ikes = if what == What::Child { 0 } else { at_least };
    ensure!(count.children >= children && count.ikes >= ikes, "too few rekeys in the log of strongSwan: {count:?}");
    let fits = match by {
        By::Client => count.by_client >= at_least && count.by_server == 0,
        By::Server => count.by_client == 0 && count.by_server >= at_least,
        By::Both => count.by_client >= at_least && count.by_server >= at_least,
    };
    ensure!(fits, "{by:?} should have begun, but it was {count:?}");
    if crossing {
        let counters = rig.relay_counters_at(Place::Nat)?;
        rig.note(&format!("requests that crossed: up {}, down {}", counters.up.crossed, counters.down.crossed))?;
        let least = u64::try_from(at_least)?;
        ensure!(counters.up.crossed >= least && counters.down.crossed >= least, "too few crossed: {counters:?}");
    }
    ensure!(session.client.events("tunnel up").len() <= 1, "the tunnel was set up again");
    settle(&session)?;
    session.close()
}

/// A network that loses one of forty datagrams, requests and answers of rekeying among them.
fn with_loss(rig: &Rig, by: By) -> Result<()> {
    let _nat = rig.start_nat(&["--loss", "25", "--swap", "25", "--double", "25"])?;
    let session = IkeSession::open(rig, &nat::behind(setup(What::Both, by)))?;
    let ended = Transfer { seconds: SECONDS }.run(&session)?;
    let count = Count::of(&session.gateway);
    rig.measured(&format!("{count:?} in {SECONDS} s; {} of {} datagrams lost", ended.0.lost.len(), ended.0.sent))?;
    ensure!(count.children + count.ikes >= AT_LEAST, "too few rekeys in the log of strongSwan: {count:?}");
    // What the relay takes on the way there and back, and no more.
    let lost = u64::try_from(ended.0.lost.len())?;
    ensure!(lost * 8 < ended.0.sent, "{lost} of {} datagrams were lost", ended.0.sent);
    ensure!(session.client.events("tunnel up").len() <= 1, "the tunnel was set up again");
    settle(&session)?;
    session.close()
}

/// What strongSwan says about new keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    children: usize,
    ikes: usize,
    by_client: usize,
    by_server: usize,
}

impl Count {
    fn of(gateway: &Charon) -> Self {
        let count = |text: &str| gateway.process.count(text);
        // The first of each is no rekey.
        let children = count("outbound CHILD_SA net{");
        Self {
            children,
            ikes: count("rekeyed between"),
            by_client: count("parsed CREATE_CHILD_SA request"),
            by_server: count("generating CREATE_CHILD_SA request"),
        }
    }
}

/// In the end one of each is left. strongSwan 5.9.8 drops an answer that comes while it works on a request of the same message
/// id, and only asks again after four seconds.
fn settle(session: &IkeSession<'_>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let counters = session.gateway.counters()?;
        if counters.sas == 1 && counters.children == 1 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "strongSwan is left with {counters:?}");
        // Between the new one and the end of the old one.
        thread::sleep(Duration::from_millis(50));
    }
}
