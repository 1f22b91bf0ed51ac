//! Credentials that are revoked while a tunnel is up.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use anyhow::{Result, ensure};

use super::{Case, NAME, UP, WEB, World, both, case, connection, gateway_a, gateway_b, over, server_b};
use crate::{
    client::client_file,
    config::{self, Lines, Transport},
    ike::{charon::Charon, setup::Setup},
    net::Place,
    process::run,
    rig::Rig,
    running::Running,
    server::Server,
    story::Story,
};

/// Nobody may try again in that time, which is several times the first waits between attempts.
const QUIET: Duration = Duration::from_secs(12);

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("credentials_revoked", 60, "C1 C2 C4 C5 C9 C14 C21 G1 G2 G3 G5 G6 G7 G8 G14 G15", revoked),
        case("password_revoked_while_up", 40, "C1 C4 G1 G2 G3 G8 G13", password_revoked),
        case("session_over", 25, "C1 C4 C10 G1 G2 G13", session_over),
    ]
}

/// The first gateway refuses, the second carries; then both refuse, and the connection is failed. Each gateway refuses once, and once
/// more when somebody says so.
fn revoked(rig: &Rig) -> Result<()> {
    let mut world = World::start(rig)?;
    let running = Running::start(rig, &connection(rig, "liveness = \"fast\"\nstandby = \"hot\"")?)?;
    let mut story = both(rig, &running)?;

    world.kill_a()?;
    let gateway = Setup::psk().gateway.secret("ike.secret", "another key altogether");
    world.a = Charon::start(rig, Place::Gateway, &gateway)?;
    story.shows(Duration::from_secs(90), "G7:a G8:b G6:a G5:a")?;
    rig.hello(WEB.parse()?)?;
    let again = world.a.process.mark();
    let tried = world.a.process.wait_text(again, "parsed IKE_SA_INIT request", QUIET);
    let at_a = world.a.process.count("parsed IKE_AUTH request");
    ensure!(tried.is_err() && at_a == 1, "a was tried {at_a} times after it had refused: {tried:?}");

    world.kill_b()?;
    world.b = Server::start_at(rig, Place::Gateway2, &refusing(rig, &server_b(rig))?)?;
    story.shows(Duration::from_secs(120), "C9 G7:b G6:b G5:b C14")?;
    let again = world.b.process.mark();
    let tried = world.b.process.wait_text(again, "multi_create_instance called", QUIET);
    let at_b = world.b.process.count("multi_create_instance called");
    rig.measured(&format!("credentials revoked: attempts at a {at_a}, at b {at_b}, in {QUIET:?} after each refusal"))?;
    ensure!(tried.is_err() && at_b == 1, "b was tried {at_b} times after it had refused: {tried:?}");
    story.shows(UP, "")?;
    run(&mut running.tell(rig, &["connect", NAME]))?;
    story.shows(UP, "C2 G14:a G5:a G14:b G5:b C5")?;
    run(&mut running.tell(rig, &["disconnect", "--yes", NAME]))?;
    story.shows(UP, "C21 G15:a G15:b")?;
    running.terminate(Duration::from_secs(45))
}

/// The gateway says beforehand when the session is over, which is the end, for it may not be begun again without a person.
fn session_over(rig: &Rig) -> Result<()> {
    let server = server_b(rig).with("push \"session-timeout 8\"");
    let _world = World::start_with(rig, &Setup::psk().gateway, &server)?;
    let running = Running::start(rig, &over("", &[gateway_b(rig)?]))?;
    let mut story = Story::new(rig, &running, NAME);
    story.shows(UP, "C1 C4 G1:b G2:b")?;
    rig.hello(WEB.parse()?)?;
    story.shows(UP, "C10 G13:b")?;
    ensure!(rig.fetch(WEB.parse()?, "/", &[]).is_err(), "its forward still listens");
    running.terminate(Duration::from_secs(45))
}

/// A server that asks for the password at each renegotiation, every few seconds, and whose list of users is changed while the tunnel is
/// up: the other gateway carries on, and the password is not tried again.
fn password_revoked(rig: &Rig) -> Result<()> {
    let (allowed, calls) = (rig.dir.join("allowed"), rig.dir.join("calls"));
    let script = rig.dir.join("verify.sh");
    let text = format!(
        "#!/bin/sh\nread -r user < \"$1\"\necho \"$user\" >> {}\ngrep -qx \"$user\" {}\n",
        calls.display(),
        allowed.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    fs::write(&allowed, "alice\n")?;
    let server = server_b(rig).with(&format!(
        "verify-client-cert none\nusername-as-common-name\nscript-security 2\nreneg-sec 3 3\nauth-user-pass-verify {} via-file",
        script.display()
    ));
    let world = World::start_with(rig, &Setup::psk().gateway, &server)?;
    let profile = config::password_profile(&rig.pki, Transport::Udp)?.replace("remote 203.0.115.1 1194");
    let profile = client_file(&rig.dir.join("b.ovpn"), &profile.text())?.display().to_string();
    let password = client_file(&rig.dir.join("b.password"), "secret\n")?.display().to_string();
    let b = format!(
        "[[connection.{NAME}.gateway]]\nname = \"b\"\nprotocol = \"openvpn\"\nprofile = {profile:?}\nuser = \"alice\"\n\
         password = {{ file = {password:?} }}\n\n"
    );
    let keys = "standby = \"hot\"\nfail_back_seconds = \"never\"";
    let running = Running::start(rig, &over(keys, &[b, gateway_a(rig)?]))?;
    let mut story = Story::new(rig, &running, NAME);
    story.shows(UP, "C1 C4 G1:b G2:b G1:a G3:a")?;
    let asked = || fs::read_to_string(&calls).map(|text| text.lines().count());
    let mark = world.b.process.mark();
    world.b.process.wait_text(mark, "authentication succeeded for username 'alice'", UP)?;
    rig.hello(WEB.parse()?)?;
    fs::write(&allowed, "")?;
    story.shows(UP, "G13:b G8:a")?;
    rig.hello(WEB.parse()?)?;
    let at_refusal = asked()?;
    let mark = world.b.process.mark();
    let tried = world.b.process.wait_text(mark, "multi_create_instance called", QUIET);
    ensure!(tried.is_err() && asked()? == at_refusal, "the password was tried again after it was refused: {tried:?}");
    rig.note(&format!("the password was checked {at_refusal} times, the last of them in vain"))?;
    story.shows(UP, "")?;
    running.terminate(Duration::from_secs(45))
}

/// An OpenVPN server, after it was told to let nobody in any more.
pub(in crate::cases) fn refusing(rig: &Rig, server: &Lines) -> Result<Lines> {
    let script = rig.dir.join("refuse.sh");
    fs::write(&script, "#!/bin/sh\nexit 1\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let script = script.display().to_string();
    Ok(server.clone().with(&format!("script-security 2\nclient-connect {script}")))
}
