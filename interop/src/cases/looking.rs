//! `--keylog` with OpenVPN: tshark reads the TLS of the control channel. It knows no keys of the data channel.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Result, ensure};

use super::Case;
use crate::{
    client::{ClientConfig, client_file},
    config::{self, Transport},
    needs::Need,
    net::Place,
    process::{Process, run},
    rig::{Rig, Session},
};

pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("keylog_openvpn", openvpn).needs(Need::Tshark).takes(6)]
}

/// With TLS 1.3 the certificates are encrypted.
fn openvpn(rig: &Rig) -> Result<()> {
    let outside = rig.dir.join("outside.pcap");
    let keys = client_file(&rig.dir.join("keys"), "")?;
    let mut command = rig.net.command(Place::Gateway, "tshark");
    command.args(["-i", "client", "-f", "udp", "-w"]).arg(&outside);
    let capturing = Process::spawn(&rig.process_name("tshark"), &rig.dir, &mut command)?;
    capturing.wait_text(0, "Capturing on", Duration::from_secs(30))?;
    let mut client = ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?);
    client.args = vec!["--keylog".to_owned(), keys.display().to_string()];
    let session = Session::open(rig, &config::server(&rig.pki, Transport::Udp), &client)?;
    session.exchange()?;
    session.close()?;
    capturing.signal("INT")?;
    capturing.wait_end(Duration::from_secs(30))?;
    let blind = certificates(&outside, None)?;
    ensure!(blind.is_empty(), "readable without keys: {blind}");
    let seen = certificates(&outside, Some(&keys))?;
    ensure!(seen.contains("Interop CA"), "tshark sees no certificate: {seen:?}");
    rig.note(&format!("from outside, with keys: {}", seen.replace('\n', " ")))
}

fn certificates(file: &Path, keys: Option<&Path>) -> Result<String> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file);
    if let Some(keys) = keys {
        command.arg("-o").arg(format!("tls.keylog_file:{}", keys.display()));
    }
    run(command.args(["-Y", "tls.handshake.type == 11", "-T", "fields", "-e", "x509sat.uTF8String"]))
}
