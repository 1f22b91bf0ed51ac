//! Clients that want new keys every few seconds, under a transfer and a stream of datagrams.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use super::{Case, Table, openvpn, strongswan};
use crate::{
    config::{self, Transport},
    gateway::{Stranger, WayOut},
    net::{Place, WEB},
    rig::{Rig, check_body},
};

/// Seconds of a transfer.
const SECONDS: u64 = 60;
/// Bytes a second of it.
const RATE: usize = 128 * 1024;
/// Milliseconds between the datagrams of the stream.
const INTERVAL: u64 = 20;
/// So many new keys are the least.
const AT_LEAST: usize = 12;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("serve_openvpn_renegotiates", openvpn_renegotiates).takes(65).paced(),
        strongswan::case("serve_strongswan_rekeys_child", |rig| strongswan_rekeys(rig, true, false)).takes(65).paced(),
        strongswan::case("serve_strongswan_rekeys_ike", |rig| strongswan_rekeys(rig, false, true)).takes(65).paced(),
        strongswan::case("serve_strongswan_rekeys_both", |rig| strongswan_rekeys(rig, true, true)).takes(65).paced(),
    ]
}

fn openvpn_renegotiates(rig: &Rig) -> Result<()> {
    let table = openvpn::table(Transport::Udp).with("reneg_seconds = 0");
    let profile = config::profile(&rig.pki, Transport::Udp)?.with("reneg-sec 3");
    let start = || Stranger::openvpn(rig, Place::Client, &profile.text(), None);
    paced(rig, &table, start, |client| {
        // The first key is none of them.
        let keys = client.process().count("Outgoing Data Channel: Cipher").saturating_sub(1);
        (format!("{keys} renegotiations in the log of openvpn"), keys >= AT_LEAST)
    })
}

/// New keys of the child every two seconds, of the IKE SA every three.
fn strongswan_rekeys(rig: &Rig, child: bool, ike: bool) -> Result<()> {
    let seconds = |on: bool, seconds: u32| if on { format!("{seconds}s") } else { "0s".to_owned() };
    let config = strongswan::Way::Psk
        .client()
        .child("rekey_time", &seconds(child, 2))
        .child("life_time", "3600s")
        .child("rand_time", "0s")
        .conn("rekey_time", &seconds(ike, 3))
        .conn("over_time", "3600s")
        .conn("rand_time", "0s");
    let table = strongswan::Way::Psk.table().with("child_rekey_seconds = 0\nike_rekey_seconds = 0");
    paced(
        rig,
        &table,
        || Stranger::strongswan(rig, Place::Client, &config),
        |client| {
            // The first child is none of them.
            let children = client.process().count("outbound CHILD_SA net{").saturating_sub(1);
            let ikes = client.process().count("rekeyed between");
            let enough = (!child || children >= AT_LEAST) && (!ike || ikes >= AT_LEAST);
            (format!("{children} children and {ikes} IKE SAs rekeyed in the log of strongSwan"), enough)
        },
    )
}

fn paced(
    rig: &Rig,
    table: &Table,
    start: impl FnOnce() -> Result<Stranger>,
    count: impl FnOnce(&Stranger) -> (String, bool),
) -> Result<()> {
    let _lan = rig.start_lan()?;
    rig.prove_unreachable()?;
    let gateway = table.start(rig, WayOut::Sockets)?;
    let client = start()?;
    let length = RATE * usize::try_from(SECONDS)?;
    let path = format!("/paced/{length}/{SECONDS}");
    let transfer = || {
        thread::scope(|scope| {
            let download = scope.spawn(|| client.fetch(rig, WEB, &path, &["--patience", "30"]));
            let report = client.stream(rig, SECONDS * 1000 / INTERVAL, INTERVAL);
            let answers = download.join().map_err(|_| anyhow!("the download panicked"))?;
            anyhow::Ok((answers, report))
        })
    };
    let ((answers, report), again) = client.keep_rekeying(transfer)?;
    let answers = answers.context("the transfer")?;
    check_body(answers.first().context("no answer")?, length)?;
    let report = report.context("the stream")?;
    let (said, enough) = count(&client);
    let said = format!("{said} in {SECONDS} s, {again} asked for again");
    rig.measured(&format!("{said}; {} datagrams, lost {:?}", report.sent, report.lost))?;
    ensure!(enough, "too few new keys: {said}");
    ensure!(report.lost.is_empty() && report.corrupted == 0, "the stream is {report:?}");
    ensure!(gateway.process.count(" is up, as ") == 1, "the tunnel was set up again");
    client.close()?;
    gateway.wait(" is down: ")?;
    gateway.close()
}
