//! `--keylog` and `--pcap`, read by tshark.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{Case, case};
use crate::{
    client::client_file,
    ike::{session::IkeSession, setup::Setup},
    needs::Need,
    net::Place,
    process::{Process, run},
    rig::Rig,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        looks("keylog_aes_gcm", "aes128gcm16-prfsha256-x25519", "aes128gcm16"),
        looks("keylog_aes_cbc", "aes256-sha384-ecp256", "aes256-sha256"),
    ]
}

fn looks(name: &str, ike: &'static str, esp: &'static str) -> Case {
    case(name, move |rig| decrypts(rig, ike, esp)).needs(Need::Tshark).takes(5)
}

/// A capture of the outside, read with the keys, shows what was asked of the web server; the capture of the inside does so
/// without.
fn decrypts(rig: &Rig, ike: &str, esp: &str) -> Result<()> {
    let outside = rig.dir.join("outside.pcap");
    // Files that the client's user may write to.
    let keys = client_file(&rig.dir.join("keys"), "")?;
    let inside = client_file(&rig.dir.join("inside.pcap"), "")?;
    let mut command = rig.net.command(Place::Gateway, "tshark");
    command.args(["-i", "client", "-f", "udp", "-w"]).arg(&outside);
    let capturing = Process::spawn(&rig.process_name("tshark"), &rig.dir, &mut command)?;
    capturing.wait_text(0, "Capturing on", Duration::from_secs(30))?;
    let mut setup = Setup::psk().proposals(ike, esp);
    setup.client.args =
        ["--keylog", &keys.display().to_string(), "--pcap", &inside.display().to_string()].map(str::to_owned).to_vec();
    let mut session = IkeSession::open(rig, &setup)?;
    session.client.process.wait_text(0, "KEYS OF THE TUNNEL", Duration::from_secs(5))?;
    session.exchange()?;
    session.close()?;
    capturing.signal("INT")?;
    capturing.wait_end(Duration::from_secs(30))?;
    let blind = requests(&outside, &[])?;
    ensure!(blind.is_empty(), "readable without keys: {blind}");
    let text = fs::read_to_string(&keys)?;
    let options: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with("uat:"))
        .flat_map(|line| ["-o".to_owned(), line.to_owned()])
        .collect();
    let seen = requests(&outside, &options)?;
    ensure!(
        seen.contains("192.168.100.30"),
        "tshark finds no request with {} lines of keys: {seen:?}",
        options.len() / 2
    );
    // IKE_AUTH, too: whom the client says to be is in there.
    let mut identity = tshark(&outside, &options);
    let identity =
        run(identity.args(["-Y", "isakmp.exchangetype == 35", "-T", "fields", "-e", "isakmp.id.data.user_fqdn"]))?;
    ensure!(identity.contains("client@example.org"), "IKE_AUTH is not readable: {identity:?}");
    let inner = requests(&inside, &[])?;
    ensure!(inner.contains("192.168.100.30"), "the capture of the inside has no request: {inner:?}");
    let mut answers = tshark(&inside, &[]);
    let answers = run(answers.args(["-Y", "http.response", "-T", "fields", "-e", "http.response.code"]))?;
    ensure!(answers.contains("200"), "the capture of the inside has no answer: {answers:?}");
    rig.note(&format!("from outside, with keys: {}", seen.lines().next().context("a request")?))
}

fn requests(file: &Path, options: &[String]) -> Result<String> {
    run(tshark(file, options).args(["-Y", "http.request", "-T", "fields", "-e", "ip.dst", "-e", "http.request.uri"]))
}

fn tshark(file: &Path, options: &[String]) -> Command {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(options).args(["-o", "esp.enable_encryption_decode:TRUE"]);
    command.args(["-d", "tcp.port==8080,http"]);
    command
}
