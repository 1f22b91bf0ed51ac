//! Devices of `adit run`: of one connection, of several in one process, and where there are no rights for one.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{Case, case};
use crate::{
    cases::redundancy::{World, gateway_a, gateway_b},
    client::client_file,
    config::{self, Transport},
    needs::Need,
    net::{Place, TARGET, WEB},
    process::run,
    rig::Rig,
    running::Running,
    server::Server,
    story::Story,
    up::{self, picture, prove_undone},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("tun_run_openvpn", openvpn).takes(15).rows("C1 C2 C4 C10 C11 C12 C18 C20 G1 G2 G15"),
        case("tun_run_without_rights", without_rights).takes(10).needs(Need::StrongSwan).rows("C1 C4 C5 G1 G2"),
        case("tun_run_two", two).takes(40).needs(Need::StrongSwan).rows("C1 C4 G1 G2"),
        case("tun_run_two_gateways", two_gateways).takes(30).needs(Need::StrongSwan).rows("C1 C4 G1 G2 G3 G7 G8"),
    ]
}

/// How long the end may take.
const END: Duration = Duration::from_secs(30);

/// The device of a connection: its table, with these keys besides.
fn tun(rig: &Rig, connection: &str, device: &str, keys: &str) -> String {
    let state_dir = up::state_dir(rig).display().to_string();
    format!("[connection.{connection}.tun]\ndevice = {device:?}\ndns = \"off\"\nstate_dir = {state_dir:?}\n{keys}\n\n")
}

/// Waits until the connection has its device, and what is behind it can be reached.
fn wait_up(rig: &Rig, running: &Running, connection: &str) -> Result<Value> {
    let status = running.wait(rig, connection, "a device that is up", up::UP, |status| {
        status["state"] == "connected" && status["device"]["state"] == "up"
    })?;
    let device = status["device"]["name"].as_str().unwrap_or_default();
    let labels = [("connection", connection), ("device", device)];
    let metric = running.metric(rig, "vpn_device_up", &labels)?;
    ensure!(metric == Some(1.0), "the metric of {device} is {metric:?}");
    Ok(status)
}

fn carries(rig: &Rig) -> Result<()> {
    let target = TARGET.to_string();
    run(rig.net.command(Place::Client, "ping").args(["-n", "-c", "3", "-i", "0.2", "-W", "5", &target]))?;
    rig.hello(WEB)?;
    rig.download(WEB, 1 << 20)
}

/// The way of the client's packets there; what the kernel says if there is none.
fn way(rig: &Rig, to: &str) -> String {
    let said = run(rig.net.command(Place::Client, "ip").args(["route", "get", to]));
    said.unwrap_or_else(|error| format!("{error:#}"))
}

/// Whatever ends the connection, nothing is left of its device; another `tun` cuts no tunnel, and a device that somebody takes away ends
/// it, until it is connected again.
fn openvpn(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    rig.prove_unreachable()?;
    let _server = Server::start(rig, &config::server(&rig.pki, Transport::Udp))?;
    let profile = client_file(&rig.dir.join("office.ovpn"), &config::profile(&rig.pki, Transport::Udp)?.text())?;
    let connection = |keys: &str| {
        let profile = profile.display().to_string();
        let gateway =
            format!("[[connection.office.gateway]]\nname = \"a\"\nprotocol = \"openvpn\"\nprofile = {profile:?}\n");
        format!("[connection.office]\ndescription = \"\"\n\n{gateway}\n{}", tun(rig, "office", "office0", keys))
    };
    let before = picture(rig, Place::Client)?;
    let running = Running::start_root(rig, &connection(""))?;
    let mut story = Story::new(rig, &running, "office");
    let status = wait_up(rig, &running, "office")?;
    story.shows(up::UP, "C1 C4 G1:a G2:a")?;
    ensure!(status["device"]["addresses"][0] == "10.8.0.2/24", "the device is {}", status["device"]);
    carries(rig)?;
    running.expect_activity("office", "device")?;
    run(&mut running.tell(rig, &["disconnect", "--yes", "office"]))?;
    story.shows(up::UP, "C11 C20 G15:a")?;
    prove_undone(rig, &before)?;
    run(&mut running.tell(rig, &["connect", "office"]))?;
    wait_up(rig, &running, "office")?;
    story.shows(up::UP, "C1 C4 G1:a G2:a")?;
    carries(rig)?;

    running.reload(rig, &connection("routing = \"full\"\nmtu = 1300"))?;
    let full = |status: &Value| status["device"]["state"] == "up" && way(rig, "198.51.100.77").contains("dev office0");
    let status = running.wait(rig, "office", "everything through the device", up::UP, full)?;
    ensure!(status["gateways"][0]["attempts"] == 1, "the tunnel was cut: {}", status["gateways"][0]);
    carries(rig)?;

    run(rig.net.command(Place::Client, "ip").args(["link", "del", "office0"]))?;
    let status = running.wait_state(rig, "office", "failed", up::UP)?;
    ensure!(status["last_error"]["code"] == "device", "the last error is {}", status["last_error"]);
    story.shows(up::UP, "C10 G15:a")?;
    running.wait(rig, "office", "no device", up::UP, |status| status["device"].is_null())?;
    prove_undone(rig, &before)?;
    run(&mut running.tell(rig, &["connect", "office"]))?;
    wait_up(rig, &running, "office")?;
    story.shows(up::UP, "C2 C4 G1:a G2:a")?;
    carries(rig)?;
    running.end(END)?;
    story.ends("C12 C18 C20")?;
    prove_undone(rig, &before)?;
    rig.prove_gone()
}

/// The connection says what it lacks and how to get it; the others go on.
fn without_rights(rig: &Rig) -> Result<()> {
    let world = World::start(rig)?;
    let before = picture(rig, Place::Client)?;
    let one = of(&gateway_a(rig)?, "one");
    let state_dir = rig.dir.join("run-1");
    let text = format!(
        "[connection.one]\ndescription = \"\"\n\n{one}[connection.one.tun]\ndevice = \"one0\"\ndns = \"off\"\nstate_dir = {:?}\n\n\
         [connection.two]\ndescription = \"\"\n\n{}[[connection.two.forward]]\nlisten = \"127.0.0.1:33000\"\nto = \"192.168.100.30:8080\"\n",
        state_dir.display().to_string(),
        of(&gateway_b(rig)?, "two"),
    );
    let running = Running::start(rig, &text)?;
    let status = running.wait_state(rig, "one", "failed", up::UP)?;
    let error = &status["last_error"];
    let hint = error["hint"].as_str().unwrap_or_default();
    ensure!(error["code"] == "device" && hint.contains("root"), "the last error is {error}");
    ensure!(status["gateways"][0]["attempts"] == 0, "the gateway was asked for nothing: {status}");
    Story::new(rig, &running, "one").shows(up::UP, "C1 C5")?;
    Story::new(rig, &running, "two").shows(up::UP, "C1 C4 G1:b G2:b")?;
    rig.hello("127.0.0.1:33000".parse()?)?;
    running.terminate(END)?;
    prove_undone(rig, &before)?;
    drop(world);
    rig.prove_gone()
}

/// The gateway in use is killed: the device has the addresses of the one that takes over.
fn two_gateways(rig: &Rig) -> Result<()> {
    let world = World::start(rig)?;
    let before = picture(rig, Place::Client)?;
    let text = format!(
        "[connection.office]\nliveness = \"fast\"\nstandby = \"hot\"\nfail_back_seconds = \"never\"\n\n{}{}{}",
        gateway_a(rig)?,
        gateway_b(rig)?,
        tun(rig, "office", "office0", "")
    );
    let running = Running::start_root(rig, &text)?;
    let status = wait_up(rig, &running, "office")?;
    let mut story = Story::new(rig, &running, "office");
    story.shows(up::UP, "C1 C4 G1:a G2:a G1:b G3:b")?;
    ensure!(status["device"]["addresses"][0] == "10.10.10.1/32", "the device is {}", status["device"]);
    carries(rig)?;
    world.kill_a()?;
    story.shows(up::UP, "G7:a G8:b")?;
    running.wait(rig, "office", "the addresses of b", up::UP, |status| {
        status["device"]["state"] == "up" && status["device"]["addresses"][0] == "10.8.0.2/24"
    })?;
    carries(rig)?;
    story.shows(up::UP, "")?;
    running.terminate(END)?;
    prove_undone(rig, &before)?;
    drop(world);
    rig.prove_gone()
}

/// The table of a gateway, of another connection.
fn of(gateway: &str, connection: &str) -> String {
    gateway.replace("connection.office", &format!("connection.{connection}"))
}

/// An IKEv2 and an OpenVPN connection, each with a device: one comes, goes and changes without the other noticing; after SIGKILL what
/// fails closed is closed, and the next process takes over.
fn two(rig: &Rig) -> Result<()> {
    let world = World::start(rig)?;
    // Past the tunnel there is a way for everything: only what is blocked has none.
    rig.net.change(Place::Client, "route add default via 203.0.113.1\nroute add ::/0 via 2001:db8::1\n")?;
    ensure!(way(rig, "192.168.100.99").contains("via 203.0.113.1"), "the way is {}", way(rig, "192.168.100.99"));
    let before = picture(rig, Place::Client)?;
    let (one, two) = (of(&gateway_a(rig)?, "one"), of(&gateway_b(rig)?, "two"));
    let text = |first: Option<&str>, second: &str| {
        let first = first.map_or(String::new(), |keys| tun(rig, "one", "one0", keys));
        let second =
            tun(rig, "two", "two0", &format!("routing = [\"192.168.100.0/24\"]\nfail_closed = true\n{second}"));
        let header = |name: &str| format!("[connection.{name}]\ndescription = \"\"\n\n");
        format!("{}{one}{first}{}{two}{second}", header("one"), header("two"))
    };
    let narrow = Some("routing = [\"192.168.100.30/32\"]");
    let running = Running::start_root(rig, &text(narrow, ""))?;
    wait_up(rig, &running, "one")?;
    let second = wait_up(rig, &running, "two")?;
    let (mut of_one, mut of_two) = (Story::new(rig, &running, "one"), Story::new(rig, &running, "two"));
    of_one.shows(up::UP, "C1 C4 G1:a G2:a")?;
    of_two.shows(up::UP, "C1 C4 G1:b G2:b")?;
    ensure!(way(rig, "192.168.100.30").contains("dev one0"), "the way is {}", way(rig, "192.168.100.30"));
    ensure!(way(rig, "192.168.100.99").contains("dev two0"), "the way is {}", way(rig, "192.168.100.99"));
    carries(rig)?;

    // Without the first device its hosts are the second's, which nobody has touched.
    running.reload(rig, &text(None, ""))?;
    let first = running.wait(rig, "one", "no device", up::UP, |status| status["device"].is_null())?;
    ensure!(first["state"] == "connected" && first["gateways"][0]["attempts"] == 1, "the tunnel was cut: {first}");
    ensure!(way(rig, "192.168.100.30").contains("dev two0"), "the way is {}", way(rig, "192.168.100.30"));
    carries(rig)?;
    running.reload(rig, &text(narrow, ""))?;
    wait_up(rig, &running, "one")?;
    let now = running.connection(rig, "two")?;
    for key in ["/device", "/gateways/0/attempts", "/gateways/0/since"] {
        ensure!(now.pointer(key) == second.pointer(key), "{key} of the other is {:?}", now.pointer(key));
    }

    // Another MTU for the second: the first is as before.
    let first = running.connection(rig, "one")?;
    running.reload(rig, &text(narrow, "mtu = 1300"))?;
    let smaller = |status: &Value| {
        let shown = run(rig.net.command(Place::Client, "ip").args(["-o", "link", "show", "two0"])).unwrap_or_default();
        status["device"]["state"] == "up" && shown.contains("mtu 1300")
    };
    let second = running.wait(rig, "two", "another MTU", up::UP, smaller)?;
    ensure!(second["gateways"][0]["attempts"] == 1, "the tunnel was cut: {}", second["gateways"][0]);
    let now = running.connection(rig, "one")?;
    for key in ["/device", "/gateways/0/attempts", "/gateways/0/since"] {
        ensure!(now.pointer(key) == first.pointer(key), "{key} of the other is {:?}", now.pointer(key));
    }
    carries(rig)?;
    of_one.shows(up::UP, "")?;
    of_two.shows(up::UP, "")?;

    running.process.signal("KILL")?;
    running.process.wait_end(END)?;
    let left = way(rig, "192.168.100.99");
    ensure!(!left.contains("dev "), "what fails closed is open: {left}");
    let running = Running::start_root(rig, &text(narrow, ""))?;
    running.process.wait_text(0, "stays blocked until a tunnel is up", up::UP)?;
    wait_up(rig, &running, "one")?;
    wait_up(rig, &running, "two")?;
    ensure!(way(rig, "192.168.100.99").contains("dev two0"), "the way is {}", way(rig, "192.168.100.99"));
    carries(rig)?;
    running.terminate(END)?;
    prove_undone(rig, &before)?;
    drop(world);
    rig.prove_gone()
}
