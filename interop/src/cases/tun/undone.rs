//! What is left, and what is said, where `adit up` comes to nothing: ended before there is a tunnel, or with a device it cannot have.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{Case, case, profile};
use crate::{
    client::client_file,
    config::{self, Transport},
    net::Place,
    process::{Process, run},
    rig::Rig,
    running::Running,
    server::Server,
    up::{self, Up, prove_undone},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("tun_ended_early", ended_early).takes(10),
        case("tun_name_taken", name_taken).takes(15),
        case("tun_elsewhere", elsewhere).takes(10),
    ]
}

/// How long an end may take.
const END: Duration = Duration::from_secs(30);

/// `adit up`, which is not waited for.
fn start(rig: &Rig, args: &[&str]) -> Result<Process> {
    let name = rig.process_name("up");
    let file = client_file(&rig.dir.join(format!("{name}.ovpn")), &profile(rig)?.text())?;
    let source = ["--config".to_owned(), file.display().to_string()];
    Process::spawn(&name, &rig.dir, &mut up::up_command(rig, &source, args))
}

fn down(rig: &Rig, device: &str) -> Command {
    down_at(rig, Place::Client, device)
}

fn down_at(rig: &Rig, place: Place, device: &str) -> Command {
    let mut command = rig.net.command(place, &rig.adit);
    command.args(["down", "--name", device, "--state-dir"]).arg(up::state_dir(rig));
    command
}

/// Demands that there is no journal of any device.
fn prove_no_journal(rig: &Rig) -> Result<()> {
    let entries = fs::read_dir(up::state_dir(rig))?;
    let left: Vec<_> = entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<_, _>>()?;
    ensure!(left.is_empty(), "journals were left: {left:?}");
    Ok(())
}

/// Before any gateway answers: the file of the namespace and its folder, which were not there, are not there afterwards, whatever ends
/// it; after SIGKILL once the next one has begun and ended, or by `adit down`.
fn ended_early(rig: &Rig) -> Result<()> {
    rig.net.add_empty()?;
    let name = rig.net.name(Place::Nat);
    let folder = Folder(Path::new("/etc/netns").join(&name));
    let before = up::picture(rig, Place::Nat)?;
    let begin_with = |more: &[&str]| -> Result<Process> {
        let process = start(rig, &[&["--netns", &name, "--full"], more].concat())?;
        process.wait_text(0, "connecting to ", up::UP)?;
        ensure!(folder.0.join("resolv.conf").exists(), "there was nothing to undo");
        Ok(process)
    };
    let begin = || begin_with(&[]);
    let end = |process: &Process, signal: &str| -> Result<()> {
        process.signal(signal)?;
        process.wait_end(END).map(drop)
    };
    let prove = |what: &str| -> Result<()> {
        ensure!(!folder.0.exists(), "after {what} {} is there", folder.0.display());
        prove_no_journal(rig).with_context(|| format!("after {what}"))
    };
    for signal in ["TERM", "INT"] {
        end(&begin()?, signal)?;
        prove(signal)?;
    }
    end(&begin()?, "KILL")?;
    ensure!(folder.0.exists(), "SIGKILL has left nothing");
    run(&mut down(rig, "adit0"))?;
    prove("SIGKILL and `adit down`")?;
    end(&begin()?, "KILL")?;
    end(&begin()?, "TERM")?;
    prove("SIGKILL and another start")?;
    // Whoever has given up the right to remove it says so, and the next one has it.
    let without_rights = begin_with(&["--run-as", "65534"])?;
    end(&without_rights, "TERM")?;
    without_rights.wait_text(0, "resolv.conf (made by us) cannot be undone: ", END)?;
    run(&mut down(rig, "adit0"))?;
    prove("--run-as and `adit down`")?;
    // The file of somebody else is left alone, and keeps the folder.
    fs::create_dir_all(&folder.0)?;
    fs::write(folder.0.join("hosts"), "")?;
    end(&begin()?, "TERM")?;
    ensure!(folder.0.join("hosts").exists() && !folder.0.join("resolv.conf").exists(), "another file was removed");
    let after = up::picture(rig, Place::Nat)?;
    ensure!(after == before, "not everything is as before: {after}");
    rig.prove_gone()
}

/// Removed when dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A device of another kind, or one that stays when its process goes, is not taken; that is said, and leaves nothing. What an earlier
/// process has blocked stays blocked, and can be opened without a device.
fn name_taken(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    let _server = Server::start(rig, &config::server(&rig.pki, Transport::Udp))?;
    let add = "link add taken0 type veth peer name taken1\ntuntap add dev taken2 mode tun\n";
    let clean = up::picture(rig, Place::Client)?;
    rig.net.change(Place::Client, add)?;
    let before = up::picture(rig, Place::Client)?;
    let refused = |name: &str, args: &[&str]| -> Result<Process> {
        let mut all = vec!["--name", name];
        all.extend(args);
        let process = start(rig, &all)?;
        let status = process.wait_end(END)?;
        ensure!(status.code() == Some(7), "with the name {name} it ended with {status}");
        process.wait_text(0, &format!("{name}: there is a network device of that name"), END)?;
        process.wait_text(0, "another --name", END)?;
        Ok(process)
    };
    for name in ["taken0", "taken2"] {
        refused(name, &["--full", "--fail-closed"])?;
        prove_no_journal(rig)?;
        prove_undone(rig, &before)?;
    }
    rig.net.change(Place::Client, "link del taken0\nlink del taken2\n")?;

    let args = ["--name", "taken0", "--full", "--fail-closed"];
    Up::openvpn(rig, &profile(rig)?, &args)?.end("KILL", None)?;
    let blocks = || up::picture(rig, Place::Client).map(|picture| picture.contains("unreachable"));
    rig.net.change(Place::Client, add)?;
    refused("taken0", &args[2..])?.wait_text(0, "`adit down --name taken0` ends it", END)?;
    ensure!(blocks()?, "what fails closed is open");
    // In `adit run` somebody can say that it is over.
    let profile = client_file(&rig.dir.join("office.ovpn"), &profile(rig)?.text())?;
    let (profile, state_dir) = (profile.display().to_string(), up::state_dir(rig).display().to_string());
    let text = format!(
        "[connection.office]\ndescription = \"\"\n\n[[connection.office.gateway]]\nname = \"a\"\nprotocol = \"openvpn\"\n\
         profile = {profile:?}\n\n[connection.office.tun]\ndevice = \"taken0\"\nrouting = \"full\"\ndns = \"off\"\n\
         fail_closed = true\nstate_dir = {state_dir:?}\n"
    );
    let running = Running::start_root(rig, &text)?;
    running.wait_state(rig, "office", "failed", up::UP)?;
    running.wait(rig, "office", "a block", up::UP, |status| status["device"]["state"] == "blocked")?;
    ensure!(blocks()?, "what fails closed is open");
    run(&mut running.tell(rig, &["disconnect", "--yes", "office"]))?;
    prove_no_journal(rig)?;
    prove_undone(rig, &before)?;
    running.terminate(END)?;
    rig.net.change(Place::Client, "link del taken0\nlink del taken2\n")?;
    prove_undone(rig, &clean)?;
    rig.prove_gone()
}

/// What SIGKILL has left in the namespace that a process was in is not looked for in another one: from there the next start takes
/// another device, and `adit down` opens what is blocked where it is blocked. What was removed by hand is blocked again.
fn elsewhere(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    let server = Server::start(rig, &config::server(&rig.pki, Transport::Udp))?;
    let before = up::picture(rig, Place::Client)?;
    let args = ["--full", "--fail-closed"];
    Up::openvpn(rig, &profile(rig)?, &args)?.end("KILL", None)?;
    let blocked = up::picture(rig, Place::Client)?;
    ensure!(blocked.contains("unreachable") && blocked.contains("5201:"), "nothing is blocked: {blocked}");
    drop(server);
    rig.net.change(Place::Client, "rule del priority 5201\n")?;
    // Again where it was, without a gateway: all of it is there.
    let profile = client_file(&rig.dir.join("again.ovpn"), &profile(rig)?.text())?.display().to_string();
    let source = ["--config".to_owned(), profile.clone()];
    let mut command = up::up_command(rig, &source, &args);
    let again = Process::spawn(&rig.process_name("up"), &rig.dir, &mut command)?;
    again.wait_text(0, "stays blocked until a tunnel is up", END)?;
    again.wait_text(0, "connecting to ", END)?;
    let taken_over = up::picture(rig, Place::Client)?;
    // The device is there already, for what a tunnel will say of it.
    let besides = |line: &&str| !line.starts_with("adit0: ");
    ensure!(taken_over.lines().filter(besides).eq(blocked.lines()), "{blocked} is taken over as {taken_over}");
    again.signal("KILL")?;
    again.wait_end(END)?;
    // Elsewhere.
    let lan = up::picture(rig, Place::Lan)?;
    let state_dir = up::state_dir(rig).display().to_string();
    let mut command = rig.net.command(Place::Lan, &rig.adit);
    command.args(["up", "--no-dns", "--config", &profile, "--state-dir", &state_dir]).args(args);
    let other = Process::spawn(&rig.process_name("up"), &rig.dir, &mut command)?;
    other.wait_text(0, "stays blocked: another device is taken", END)?;
    other.wait_text(0, "connecting to ", END)?;
    other.signal("TERM")?;
    other.wait_end(END)?;
    let after = up::picture(rig, Place::Client)?;
    ensure!(after == blocked, "a start elsewhere has changed {blocked} to {after}");
    run(&mut down_at(rig, Place::Lan, "adit0"))?;
    prove_undone(rig, &before)?;
    prove_no_journal(rig)?;
    let after = up::picture(rig, Place::Lan)?;
    ensure!(after == lan, "not everything is as before: {after}");
    rig.prove_gone()
}
