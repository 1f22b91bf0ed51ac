//! `adit run`, and what is told to it and asked about it, as it is run. Names of rows are those of `docs/states.md`.
#![cfg(unix)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    json::Strict,
    running::{Ended, Running, Workplace, adit, ended, get},
    serve::{IKEV2, PAGE, USER, serve, web_server, workplace},
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway, and where the configuration of its clients goes.
struct Office {
    place: Workplace,
    gateway: String,
    admin: SocketAddr,
    _running: Running,
}

impl Office {
    fn open() -> Self {
        let place = workplace();
        let running = Running::start(serve(&place, &format!("{IKEV2}{USER}")));
        let gateway = running.line("ready ike ").replace("/udp", "");
        // Free now; nobody else asks for a port of this number.
        let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { place, gateway, admin, _running: running }
    }

    /// What stands before the connections.
    fn head(&self) -> String {
        format!(
            "[admin]\nlisten = \"{}\"\n[control]\nsocket = \"control.sock\"\n[activity]\nfile = \"activity.log\"\n\
             [limits]\ndrain_seconds = 20\n",
            self.admin
        )
    }

    /// All of them are the same user, who does not end the session of the one before.
    fn connection(&self, name: &str, more: &str) -> String {
        format!(
            "[connection.{name}]\nprotocol = \"ikev2\"\nremotes = [\"{}\"]\nremote_id = \"vpn.example\"\nca = \"ca.pem\"\n\
             user = \"alice\"\ninitial_contact = false\npassword = {{ file = \"password\" }}\n{more}\n",
            self.gateway
        )
    }

    /// To a web server of its own, which answers one at a time.
    fn forward(&self, connection: &str, name: &str) -> String {
        format!(
            "[[connection.{connection}.forward]]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\nto = \"{}\"\n",
            web_server()
        )
    }

    fn config(&self, connections: &str) -> PathBuf {
        self.place.file("adit.toml", self.head() + connections)
    }

    fn run(&self, connections: &str) -> Running {
        let config = self.config(connections);
        let mut command = adit(&["run", "--config"]);
        command.arg(config);
        Running::start(command)
    }

    /// What this command says, for the process that runs.
    fn told(&self, arguments: &[&str]) -> Ended {
        let mut command = adit(arguments);
        command.arg("--config").arg(self.place.0.join("adit.toml"));
        Running::start(command).end()
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.told(&["status", "--json"]).with(0).stdout).unwrap()
    }

    /// The state of this connection, once something is so.
    fn until(&self, name: &str, what: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.told(&["status", "--json"]);
            let status: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
            let found = status["connections"].as_array().into_iter().flatten().find(|known| known["name"] == name);
            match found {
                Some(found) if what(found) => return found.clone(),
                _ if Instant::now() > deadline => panic!("{status:#}\n{}", ended.stderr),
                _ => thread::park_timeout(Duration::from_millis(50)),
            }
        }
    }

    fn reaches(&self, name: &str, state: &str) -> Value {
        self.until(name, |connection| connection["state"] == state)
    }

    fn address(&self, name: &str, forward: &str) -> String {
        let connection = self.until(name, |connection| listen(connection, forward).is_some());
        listen(&connection, forward).unwrap()
    }

    /// Status and body of the admin port.
    fn ask(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Kinds of the activity log, of one connection.
    fn activity(&self, name: &str) -> Vec<String> {
        let file = self.place.0.join("activity.log");
        let mut command = adit(&["log", "--json", "-n", "1000", "--connection", name, "--file"]);
        command.arg(file);
        let ended = Running::start(command).end().with(0);
        let kind = |line: &str| serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().unwrap().to_owned();
        ended.stdout.lines().map(kind).collect()
    }
}

fn listen(connection: &Value, forward: &str) -> Option<String> {
    let forwards = connection["forwards"].as_array()?;
    let found = forwards.iter().find(|known| known["name"] == forward && known["listening"] == true)?;
    Some(found["listen"].as_str()?.to_owned())
}

/// A request that was begun, and arrived inside.
fn begin(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n").unwrap();
    stream
}

fn finish(mut stream: TcpStream) -> String {
    stream.write_all(b"\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_there_is_not_is_said_and_not_shown_as_nothing() {
    let office = Office::open();
    let running = office.run(&office.connection("main", "autostart = false\n"));
    office.reaches("main", "idle");
    for (arguments, code, says) in [
        // Nobody is asked whether to do what cannot be done.
        (&["disconnect", "nosuch"][..], 2, "there is no connection `nosuch`; hint: there is main"),
        (&["disconnect", "main"], 1, "`main` is not connected"),
        (&["log", "--connection", "nosuch"], 2, "nothing about a connection `nosuch`; hint: `adit status`"),
    ] {
        let ended = office.told(arguments).with(code);
        assert!(ended.stderr.contains(says) && ended.stdout.is_empty(), "{arguments:?}: {}", ended.stderr);
    }
    assert!(office.told(&["log", "--connection", "main"]).with(0).stdout.contains("created"));
    running.signal("-TERM");
    running.end().with(0);
}

/// At every level, and of both kinds of gateway: a reader that keeps one of two members of a name would lose whose line it is.
#[test]
fn a_log_in_json_is_an_object_a_line_and_says_whose_it_is() {
    let office = Office::open();
    let closed = "[[connection.main.forward]]\nname = \"closed\"\nlisten = \"127.0.0.1:0\"\nto = \"127.0.0.1:1\"\n";
    let two = "[[connection.main.gateway]]\nname = \"first\"\n[[connection.main.gateway]]\nname = \"other\"\nremotes = [\"127.0.0.1:1\"]\n";
    let config = office.config(&format!("{}{two}{closed}", office.connection("main", "")));
    let mut command = adit(&["run", "-vv", "--log-format", "json", "--config"]);
    command.arg(config);
    let running = Running::start(command);
    office.reaches("main", "connected");
    let mut refused = TcpStream::connect(office.address("main", "closed")).unwrap();
    assert!(refused.read_to_end(&mut Vec::new()).is_err());
    running.said("cannot connect to 127.0.0.1:1");
    running.signal("-TERM");
    let lines: Vec<_> = running.end().with(0).stderr.lines().map(Strict::parse).collect();
    let is_refused = |line: &&Strict| {
        let message = line.get("fields").and_then(|fields| fields.text("message"));
        message.is_some_and(|message| message.starts_with("cannot connect to 127.0.0.1:1"))
            && line.text("level") == Some("WARN")
    };
    let refused = lines.iter().find(is_refused).unwrap();
    let spans: Vec<_> = refused.list("spans").iter().map(|span| (span.text("name"), span)).collect();
    assert_eq!(spans.iter().map(|(name, _)| name.unwrap()).collect::<Vec<_>>(), ["connection", "forward"]);
    assert_eq!((spans[0].1.text("connection"), spans[1].1.text("forward")), (Some("main"), Some("closed")));
    assert_eq!(refused.get("span"), Some(spans[1].1));
}

/// C1, C4, C11, C20.
#[test]
fn connections_are_run_seen_and_told_what_to_do() {
    let office = Office::open();
    let waits = office.connection("waits", "autostart = false");
    let closed = "[[connection.main.forward]]\nname = \"closed\"\nlisten = \"127.0.0.1:0\"\nto = \"127.0.0.1:1\"\n";
    let web = office.forward("main", "web");
    let running = office.run(&format!("{}{web}{closed}{waits}", office.connection("main", "")));
    let connection = office.reaches("main", "connected");
    assert_eq!(connection["active"], connection["gateways"][0]["name"]);
    assert_eq!(connection["gateways"][0]["server"], office.gateway.as_str());
    assert_eq!(get(&office.address("main", "web")), PAGE);
    assert_eq!(office.until("waits", |_| true)["state"], "idle");

    let table = office.told(&["status"]).with(0).stdout;
    let rows: Vec<_> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(rows[0], ["NAME", "PROTOCOL", "SERVER", "ROUTES", "STATUS"]);
    assert_eq!(rows[1][..5], ["main", "ikev2", &office.gateway, "2", "Connected"]);
    assert_eq!(rows[2][..4], ["waits", "ikev2", &office.gateway, "0"]);
    assert!(office.told(&["status", "main"]).with(0).stdout.contains("2 ports routed"));
    assert!(office.told(&["status", "none"]).with(2).stderr.contains("no connection `none`"));

    // Each line of the log says whose it is.
    let mut refused = TcpStream::connect(office.address("main", "closed")).unwrap();
    assert!(refused.read_to_end(&mut Vec::new()).is_err());
    running.said("connection{connection=\"main\"}:forward{forward=\"closed\"}: cannot connect to 127.0.0.1:1");
    let status = office.until("main", |connection| connection["forwards"][1]["failed"] == 1);
    assert!(status["forwards"][1]["last_error"].as_str().unwrap().contains("refused"), "{status:#}");

    // Three ways to ask whether it can be used.
    assert_eq!(office.ask("/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(office.ask("/livez").0, 200);
    assert_eq!(office.ask("/startupz").0, 200);
    assert_eq!(office.ask("/readyz?connection=waits").0, 503);
    assert!(office.ask("/metrics").1.contains("vpn_tunnel_up{connection=\"main\""));
    assert_eq!(office.told(&["healthcheck"]).with(0).stdout, "ok\n");
    assert_eq!(office.told(&["healthcheck", "main"]).with(0).stdout, "ok\n");
    for named in [&["healthcheck", "waits"][..], &["healthcheck", "--connection", "waits"]] {
        assert!(office.told(named).with(1).stdout.contains("connection `waits` is idle"), "{named:?}");
    }
    assert!(office.told(&["healthcheck", "main", "--connection", "waits"]).with(2).stderr.contains("--connection"));
    office.told(&["healthcheck", "--forward", "web"]).with(0);
    assert!(office.told(&["healthcheck", "--forward", "none"]).with(1).stdout.contains("there is no forward"));
    let admin = office.admin.to_string();
    Running::start(adit(&["healthcheck", "--admin", &admin, "--forward", "main/web"])).end().with(0);
    Running::start(adit(&["healthcheck", "--admin", &admin, "main"])).end().with(0);
    for named in [&["waits"][..], &["--connection", "waits"]] {
        let ended = Running::start(adit(&[&["healthcheck", "--admin", &admin], named].concat())).end().with(1);
        assert!(ended.stdout.contains("connection `waits` is idle"), "{}", ended.stdout);
    }

    office.told(&["connect", "waits"]).with(0);
    office.reaches("waits", "connected");
    assert!(office.told(&["connect", "waits"]).with(1).stderr.contains("`waits` is connected already"));
    let refused = office.told(&["disconnect", "waits"]).with(2);
    assert!(refused.stderr.contains("no terminal") && refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert_eq!(office.told(&["disconnect", "--yes", "waits"]).with(0).stdout, "`waits` is disconnected\n");
    assert_eq!(office.status()["connections"][1]["state"], "idle");
    assert_eq!(get(&office.address("main", "web")), PAGE, "the other one goes on");

    let log = office.told(&["log", "--connection", "waits"]).with(0).stdout;
    let last = log.lines().last().unwrap();
    assert!(last.contains("disconnected") && (last.contains("by user ") || last.contains("by uid ")), "{log}");
    running.signal("-TERM");
    let ended = running.end().with(0);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("connection{connection=\"main\"}"), "{}", ended.stderr);
    assert!(!office.place.0.join("control.sock").exists());
    assert_eq!(office.activity("waits"), ["created", "connecting", "connected", "disconnected"]);
    assert_eq!(office.activity("main"), ["created", "connecting", "connected", "disconnected"]);
    let gone = office.told(&["status"]).with(1);
    assert!(gone.stderr.contains("no adit answers at"), "{}", gone.stderr);
}

/// A command at a terminal of its own, where this line is typed once something was asked; what the terminal shows, and the exit
/// code.
fn at_a_terminal(mut command: std::process::Command, asked: &str, typed: &str) -> (String, i32) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).and_then(|()| unlockpt(&ours)).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = fs::File::options().read(true).write(true).open(name).unwrap();
    let end = || theirs.try_clone().unwrap();
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    // Once nobody has the other end any more, reading fails.
    drop((command, theirs));
    let mut ours = fs::File::from(ours);
    let (mut shown, mut answered, mut buffer) = (String::new(), false, [0; 4096]);
    while let Ok(length @ 1..) = ours.read(&mut buffer) {
        shown.push_str(&String::from_utf8_lossy(&buffer[..length]));
        if !answered && shown.contains(asked) {
            answered = true;
            ours.write_all(typed.as_bytes()).unwrap();
        }
    }
    let code = child.wait().unwrap().code().unwrap();
    (shown.replace("\r\n", "\n"), code)
}

#[test]
fn at_a_terminal_a_disconnect_asks_and_does_as_it_is_told() {
    let office = Office::open();
    let running = office.run(&office.connection("main", ""));
    office.reaches("main", "connected");
    let disconnect = || {
        let mut command = adit(&["disconnect", "main", "--config"]);
        command.arg(office.place.0.join("adit.toml"));
        command
    };
    for typed in ["\n", "n\n", "yeah\n", "\x04"] {
        let (shown, code) = at_a_terminal(disconnect(), "Disconnect? [y/N] ", typed);
        let asked = shown.starts_with("All connections through `main` are cut (none is open now)");
        assert!(asked && code == 1 && !shown.contains("is disconnected"), "{typed:?}: {code} {shown}");
        assert_eq!(office.status()["connections"][0]["state"], "connected", "{typed:?}");
    }
    let (shown, code) = at_a_terminal(disconnect(), "Disconnect? [y/N] ", "y\n");
    assert!(code == 0 && shown.ends_with("`main` is disconnected\n"), "{code} {shown}");
    assert_eq!(office.status()["connections"][0]["state"], "idle");
    // Where nothing is to be cut, nothing is asked.
    let (shown, code) = at_a_terminal(disconnect(), "Disconnect?", "y\n");
    assert!(code == 1 && shown.contains("`main` is not connected"), "{code} {shown}");
    running.signal("-TERM");
    running.end().with(0);
}

/// C6: an attempt that hangs.
#[test]
fn an_attempt_is_cancelled() {
    let mut office = Office::open();
    // Nobody answers there.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    office.gateway = silent.local_addr().unwrap().to_string();
    let running = office.run(&office.connection("main", ""));
    office.reaches("main", "connecting");
    let (code, text) = office.ask("/readyz");
    assert!(code == 503 && text.contains("`main` is connecting"), "{text}");
    assert_eq!(office.ask("/startupz").0, 503);
    assert_eq!(office.ask("/livez").0, 200);
    office.told(&["cancel", "main"]).with(0);
    assert_eq!(office.status()["connections"][0]["state"], "idle");
    running.signal("-INT");
    running.end().with(130);
    assert_eq!(office.activity("main"), ["created", "connecting", "cancelled"]);
}

#[test]
fn a_reload_cuts_nothing_that_did_not_change() {
    let office = Office::open();
    let main = office.connection("main", "") + &office.forward("main", "web");
    let running = office.run(&main);
    let address = office.address("main", "web");
    office.reaches("main", "connected");
    let open = begin(&address);
    let more = office.forward("main", "more");
    office.config(&format!("{main}{more}{}", office.connection("second", "")));
    let said = office.told(&["reload"]).with(0).stdout;
    assert!(said.contains("`main`: forward more added") && said.contains("`second` is new"), "{said}");
    office.reaches("second", "connected");
    assert_eq!(get(&office.address("main", "more")), PAGE);
    assert_eq!(office.address("main", "web"), address);
    assert_eq!(finish(open), PAGE);
    let more_address = office.address("main", "more");

    // A mistake is told, and changes nothing.
    let reload_successful = |expected: u8| {
        let metrics = office.ask("/metrics").1;
        assert!(metrics.contains(&format!("\nvpn_configuration_last_reload_successful{{}} {expected}\n")), "{metrics}");
    };
    reload_successful(1);
    office.config(&format!("{main}{more}nonsense = 1\n"));
    let refused = office.told(&["reload"]).with(2);
    reload_successful(0);
    assert_eq!(office.ask("/readyz").0, 200, "what is in force is ready");
    assert!(refused.stderr.contains("nonsense"), "{}", refused.stderr);
    running.said("the configuration stays as it was");
    assert_eq!(get(&address), PAGE);
    let status = office.status();
    assert_eq!(status["connections"].as_array().unwrap().len(), 2);
    assert!(status["configuration_error"]["text"].as_str().unwrap().contains("nonsense"), "{status:#}");
    assert!(office.told(&["status"]).with(0).stdout.contains("refused, the one before is in force: "));

    // By a signal: one connection is gone, the other has a forward less.
    office.config(&main);
    running.signal("-HUP");
    office.until("main", |connection| connection["forwards"].as_array().unwrap().len() == 1);
    assert_eq!(get(&address), PAGE);
    let status = office.status();
    assert_eq!(status["connections"].as_array().unwrap().len(), 1, "{status:#}");
    assert!(status["configuration_error"].is_null(), "{status:#}");
    assert_eq!(status["connections"][0]["gateways"][0]["attempts"], 1, "the tunnel is the same");
    running.signal("-TERM");
    let ended = running.end().with(0);
    // Whoever reads the log alone knows where to connect to; once, whatever is read again.
    let says = |address: &str| ended.stderr.matches(&format!(": listens: {address} -> ")).count();
    assert_eq!((says(&address), says(&more_address)), (1, 1), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("forward{{forward=\"web\"}}: listens: {address} -> ")), "{}", ended.stderr);
    assert_eq!(office.activity("main"), ["created", "connecting", "connected", "edited", "edited", "disconnected"]);
    assert_eq!(office.activity("second").last().unwrap(), "disconnected");
    let log = fs::read_to_string(office.place.0.join("activity.log")).unwrap();
    assert!(log.contains("\"kind\":\"reloaded\"") && log.contains("refused, it stays as it was"), "{log}");
    assert!(log.contains("\"kind\":\"deleted\""), "{log}");
}

/// A picture at first, and another one at each change, until nobody wants to see any.
#[test]
fn status_is_shown_again_at_every_change_until_it_is_ended() {
    let office = Office::open();
    let running = office.run(&office.connection("main", "autostart = false\n"));
    office.reaches("main", "idle");
    let watch = |options: &[&str]| {
        let mut command = adit(&["status", "--watch"]);
        command.args(options).arg("--config").arg(office.place.0.join("adit.toml"));
        command
    };
    let (table, machine) = (Running::start(watch(&[])), Running::start(watch(&["--json", "main"])));
    let state = |nth| {
        let status: Value = serde_json::from_str(&format!("{{{}", machine.nth_line("{", nth))).unwrap();
        status["connections"][0]["state"].as_str().unwrap().to_owned()
    };
    // One that is left by its reader: `adit status --watch | head -1`.
    let mut left = watch(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(left.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("NAME "), "{first}");
    assert!(table.line("main ").contains("Not connected"));
    assert_eq!(state(0), "idle");

    office.told(&["connect", "main"]).with(0);
    // Each is waited for, and there is no end to them.
    assert!((1..).any(|nth| table.nth_line("main ", nth).contains(" Connected")));
    assert!((1..).any(|nth| state(nth) == "connected"));
    office.told(&["disconnect", "--yes", "main"]).with(0);
    assert!((2..).any(|nth| table.nth_line("main ", nth).contains("Not connected")));
    let mut said = String::new();
    let code = ended(&mut left).code();
    left.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((code, said.as_str()), (Some(0), ""));

    // Ctrl-C and SIGTERM end it as they end whatever only shows something; nothing is complained about.
    table.signal("-TERM");
    let ended_by_signal = table.end();
    assert_eq!((ended_by_signal.signal(), ended_by_signal.stderr.as_str()), (Some(15), ""));
    running.signal("-TERM");
    running.end().with(0);
    let last = machine.end().with(1);
    assert!(last.stderr.contains("the process has ended"), "{}", last.stderr);
}

/// C5, and C3 by a secret that was swapped.
#[test]
fn a_changed_secret_is_noticed_and_ends_a_failure() {
    let office = Office::open();
    fs::write(office.place.0.join("password"), "hunter2\n").unwrap();
    let running = office.run(&office.connection("main", ""));
    let connection = office.reaches("main", "failed");
    assert_eq!(connection["last_error"]["code"], "auth_failed");
    assert!(office.told(&["status"]).with(0).stdout.contains("Failed for"));
    running.said("`adit connect main` does");
    // As Kubernetes does it: another file in its place.
    fs::write(office.place.0.join("new"), "secret\n").unwrap();
    fs::rename(office.place.0.join("new"), office.place.0.join("password")).unwrap();
    office.reaches("main", "connected");
    running.signal("-TERM");
    let ended = running.end().with(0);
    assert!(!ended.stderr.contains("hunter2") && !ended.stderr.contains("secret"), "{}", ended.stderr);
}

/// As Kubernetes mounts a Secret: each file is a link through `..data`, which is swapped.
#[test]
fn a_secret_that_kubernetes_swaps_is_read_again() {
    use std::os::unix::fs::symlink;
    let office = Office::open();
    let at = |name: &str| office.place.0.join(name);
    let mount = |version: &str, config: &str, password: &str| {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("adit.toml"), office.head() + config).unwrap();
        fs::write(at(version).join("client-password"), password).unwrap();
        symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    let connection = office.connection("main", "").replace("\"password\"", "\"client-password\"");
    mount("..1", &connection, "hunter2\n");
    for name in ["adit.toml", "client-password"] {
        symlink(format!("..data/{name}"), at(name)).unwrap();
    }
    let mut command = adit(&["run", "--config"]);
    command.arg(at("adit.toml"));
    let running = Running::start(command);
    office.reaches("main", "failed");
    // The secret alone is another one.
    mount("..2", &connection, "secret\n");
    fs::remove_dir_all(at("..1")).unwrap();
    let connected = office.reaches("main", "connected");
    // A mistake is told, and everything stays as it is.
    mount("..3", &format!("{connection}nonsense = 1\n"), "secret\n");
    running.said("the configuration stays as it was");
    let status = office.status();
    assert!(status["configuration_error"]["text"].as_str().unwrap().contains("nonsense"), "{status:#}");
    let same = |connection: &Value| connection["since"] == connected["since"];
    assert!(same(&status["connections"][0]), "{status:#}");
    // Until it is mended.
    mount("..4", &connection, "secret\n");
    running.said("configuration: nothing has changed");
    let status = office.status();
    assert!(status["configuration_error"].is_null() && same(&status["connections"][0]), "{status:#}");
    running.signal("-TERM");
    running.end().with(0);
}

/// C12, C18, C20.
#[test]
fn the_end_lets_live_connections_finish() {
    let office = Office::open();
    let running = office.run(&(office.connection("main", "") + &office.forward("main", "web")));
    office.reaches("main", "connected");
    let address = office.address("main", "web");
    let open = begin(&address);
    office.until("main", |connection| connection["gateways"][0]["connections"] == 1);
    running.signal("-TERM");
    office.reaches("main", "draining");
    let (code, text) = office.ask("/readyz");
    assert!(code == 503 && text.contains("stopping"), "{text}");
    assert_eq!(office.ask("/livez").0, 200);
    assert!(TcpStream::connect(&address).is_err(), "nobody listens any more");
    assert_eq!(finish(open), PAGE);
    running.end().with(0);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let office = Office::open();
    let running = office.run(&(office.connection("main", "") + &office.forward("main", "web")));
    office.reaches("main", "connected");
    let mut open = begin(&office.address("main", "web"));
    office.until("main", |connection| connection["gateways"][0]["connections"] == 1);
    running.signal("-TERM");
    office.reaches("main", "draining");
    running.signal("-INT");
    running.end().with(130);
    assert!(open.read_to_end(&mut Vec::new()).is_err(), "it was cut");
}

#[test]
fn what_cannot_be_had_is_said_at_the_start() {
    let office = Office::open();
    let taken = TcpListener::bind(office.admin).unwrap();
    let ended = office.run(&office.connection("main", "")).end().with(7);
    assert!(ended.stderr.contains("cannot listen on") && ended.stderr.contains("[admin]"), "{}", ended.stderr);
    drop(taken);
    let mut command = adit(&["run", "--connection", "none", "--config"]);
    command.arg(office.config(&office.connection("main", "")));
    assert!(Running::start(command).end().with(2).stderr.contains("`none`"));
    let mut command = adit(&["run", "--config"]);
    command.arg(office.place.0.join("nothing.toml"));
    assert!(Running::start(command).end().with(2).stderr.contains("nothing.toml"));
}

/// What systemd is told, and when.
#[cfg(target_os = "linux")]
#[test]
fn systemd_is_told_what_happens() {
    use std::os::unix::net::UnixDatagram;
    let office = Office::open();
    let path = office.place.0.join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let begun = Instant::now();
    let next = |wanted: &str| loop {
        // Others go on to come.
        assert!(begun.elapsed() < 4 * PATIENCE, "{wanted} does not come");
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{wanted}: {error}"));
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.contains(wanted) {
            return text;
        }
    };
    let mut command = adit(&["run", "--config"]);
    command.arg(office.config(&office.connection("main", "")));
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let running = Running::start(command);
    next("READY=1");
    next("WATCHDOG=1");
    next("STATUS=1 of 1 connected");
    running.signal("-HUP");
    assert!(next("RELOADING=1").contains("MONOTONIC_USEC="));
    next("READY=1");
    next("WATCHDOG=1");
    running.signal("-TERM");
    next("STOPPING=1");
    running.end().with(0);
}

/// It is there all the same, and tries again.
#[test]
fn a_reload_says_of_a_new_connection_too_that_a_port_cannot_be_had() {
    let office = Office::open();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let running = office.run(&office.connection("main", ""));
    office.reaches("main", "connected");
    let forward = |name: &str, at: &str| {
        format!("[[connection.{name}.forward]]\nname = \"web\"\nlisten = \"{at}\"\nto = \"{}\"\n", web_server())
    };
    let new = office.connection("new", "") + &forward("new", &listen.to_string());
    let idle = office.connection("idle", "autostart = false");
    office.config(&(office.connection("main", "") + &new + &idle));
    let said = office.told(&["reload"]).with(7).stderr;
    for part in ["`new`: forward `web`: cannot listen on ", "; otherwise ", "`new` is new", "`idle` is new", "hint: "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let status = office.reaches("new", "connected");
    let web = &status["forwards"][0];
    assert!(
        web["listening"] == false && web["last_error"].as_str().unwrap().contains("cannot listen on"),
        "{status:#}"
    );
    drop(taken);
    office.until("new", |connection| connection["forwards"][0]["listening"] == true);
    running.signal("-TERM");
    running.end().with(0);
}

#[test]
fn a_reload_that_cannot_have_a_port_says_so_and_leaves_the_old_one() {
    let office = Office::open();
    let web = web_server();
    let at = |listen: SocketAddr| {
        let forward = format!("[[connection.main.forward]]\nname = \"web\"\nlisten = \"{listen}\"\nto = \"{web}\"\n");
        office.connection("main", &forward)
    };
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let running = office.run(&at(free));
    office.reaches("main", "connected");
    office.config(&at(taken.local_addr().unwrap()));
    let said = office.told(&["reload"]).with(7).stderr;
    for part in
        ["`main`: forward `web`: cannot listen on ", "; it stays as it was; otherwise nothing has changed", "hint: "]
    {
        assert!(said.contains(part), "{said}");
    }
    assert!(office.status()["configuration_error"]["text"].as_str().unwrap().contains("forward `web`"));
    assert_eq!(office.address("main", "web"), free.to_string());
    TcpStream::connect(free).unwrap();
    running.said("but `main`: forward `web`: cannot listen on ");
    office.config(&at(free));
    office.told(&["reload"]).with(0);
    assert!(office.status()["configuration_error"].is_null());
}
