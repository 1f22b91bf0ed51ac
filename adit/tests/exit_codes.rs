//! Every way to fail that needs no gateway: one line that says why, and the exit code that says it to machines.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, UdpSocket},
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A directory of its own for each test, gone afterwards.
struct Workplace(PathBuf);

impl Workplace {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("adit-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("login"), "alice\nsecret\n").unwrap();
        Self(path)
    }

    /// A profile for this `remote` line, with further lines.
    fn profile(&self, remote: &str, more: &str) -> PathBuf {
        let path = self.0.join("office.ovpn");
        let fingerprint = ["ab"; 32].join(":");
        let text = format!(
            "client\ndev tun\nremote {remote}\npeer-fingerprint {fingerprint}\nauth-user-pass\n\
             connect-timeout 1\nhand-window 2\nresolv-retry 0\n{more}\n"
        );
        fs::write(&path, text).unwrap();
        path
    }

    /// `adit forward` with this profile.
    fn forward(&self, profile: &PathBuf, arguments: &[&str]) -> Command {
        let mut command = adit(&["forward", "--config"]);
        command.arg(profile).arg("--auth-user-pass").arg(self.0.join("login")).args(arguments);
        command
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn adit(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command.args(arguments).stdin(Stdio::null()).env_remove("ADIT_LOG").env("RUST_BACKTRACE", "0");
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Fails with this code; the last line is the error, and has every one of these texts.
fn fails(mut command: Command, code: i32, texts: &[&str]) {
    let output = command.output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(output.stdout.is_empty(), "nothing is announced");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{said}");
    for text in texts {
        assert!(last.contains(text), "no {text:?} in {last:?}");
    }
}

const FORWARD: [&str; 2] = ["-L", "0:192.168.100.30:80"];

#[cfg(unix)]
#[test]
fn a_gateway_whose_secret_everybody_can_read_says_so_at_its_start() {
    use std::os::unix::fs::PermissionsExt;
    let place = Workplace::new();
    let (secret, file) = (place.0.join("psk.txt"), place.0.join("serve.toml"));
    fs::write(&secret, "shared\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    // No machine has this address (RFC 5737).
    let text = "[serve.x]\nprotocol = \"ikev2\"\nlisten = \"192.0.2.1:4500\"\npool = \"10.99.0.0/24\"\nidentity = \"x\"\n\
                psk = { key = \"file:psk.txt\" }\n";
    fs::write(&file, text).unwrap();
    let output = adit(&["serve", "--config"]).arg(&file).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(
        said.contains("line 6 column 15: every user of this machine can read ") && said.contains("chmod 600"),
        "{said}"
    );
}

#[test]
fn a_profile_that_is_not_there_is_named() {
    let mut command = adit(&["forward", "--config", "/nonexistent/office.ovpn"]);
    command.args(FORWARD);
    fails(command, 2, &["/nonexistent/office.ovpn", "No such file"]);
}

#[test]
fn a_refused_directive_is_named_with_its_line() {
    let place = Workplace::new();
    let profile = place.profile("192.0.2.1 1194", "fragment 1300");
    fails(place.forward(&profile, &FORWARD), 2, &["line 9", "fragment"]);
}

#[test]
fn a_forward_that_makes_no_sense_is_a_usage_error() {
    let place = Workplace::new();
    let profile = place.profile("192.0.2.1 1194", "");
    for wrong in ["80", "80:fd00::1:80", "x:192.168.100.30:80", "80:192.168.100.30:80/sctp"] {
        let output = place.forward(&profile, &["-L", wrong]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong}: {}", stderr(&output));
        assert!(stderr(&output).contains(wrong));
    }
    let output = place.forward(&profile, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "no forward at all");
}

#[test]
fn a_port_in_use_is_said_before_anything_is_tried() {
    let place = Workplace::new();
    let profile = place.profile("no-such-host.invalid 1194", "");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    fails(place.forward(&profile, &["-L", &format!("{port}:192.168.100.30:80")]), 7, &[&port, "hint:"]);

    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    fails(place.forward(&profile, &["-L", &format!("{port}:192.168.100.30:53/udp")]), 7, &[&port, "hint:"]);
}

#[test]
fn a_port_taken_by_the_command_itself_is_not_blamed_on_others() {
    let place = Workplace::new();
    let profile = place.profile("no-such-host.invalid 1194", "");
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (first, second) in [("", ""), ("*:", ""), ("", "*:")] {
        let port = free();
        let [first, second] = [first, second].map(|bind| format!("{bind}{port}:192.168.100.30:80"));
        fails(place.forward(&profile, &["-L", &first, "-L", &second]), 7, &["the forward `", "takes that place"]);
    }
}

#[test]
fn an_unknown_gateway_is_named() {
    let place = Workplace::new();
    let profile = place.profile("no-such-host.invalid 1194", "");
    fails(place.forward(&profile, &FORWARD), 3, &["no-such-host.invalid", "hint:"]);
}

#[test]
fn a_gateway_that_does_not_answer_is_given_up() {
    let place = Workplace::new();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let profile = place.profile(&format!("127.0.0.1 {}", address.port()), "");
    fails(place.forward(&profile, &FORWARD), 3, &[&address.to_string(), "hint:"]);
}

#[test]
fn a_gateway_that_refuses_is_given_up() {
    let place = Workplace::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let profile = place.profile(&format!("127.0.0.1 {} tcp", closed.port()), "");
    fails(place.forward(&profile, &FORWARD), 3, &[&closed.to_string(), "refused"]);
}

/// The port of a server that accepts one connection, reads a little, says this and hangs up.
fn server_that_says(said: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // OpenVPN's first packet, behind its length.
        stream.read_exact(&mut [0; 16]).unwrap();
        stream.write_all(said).unwrap();
    });
    port
}

#[test]
fn a_gateway_that_hangs_up_or_talks_nonsense_leads_to_a_hint() {
    let place = Workplace::new();
    let profile = place.profile(&format!("127.0.0.1 {} tcp", server_that_says(b"")), "");
    fails(
        place.forward(&profile, &FORWARD),
        3,
        &["no tunnel to 127.0.0.1:", "closed the connection", "hint:", "tls-crypt"],
    );
    let profile = place.profile(&format!("127.0.0.1 {} tcp", server_that_says(&[0; 20])), "");
    fails(place.forward(&profile, &FORWARD), 3, &["no tunnel to 127.0.0.1:", "hint:", "proto"]);
}

#[test]
fn as_many_rounds_as_the_profile_says() {
    let place = Workplace::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let remote = format!("127.0.0.1 {} tcp", closed.port());
    let profile = place.profile(&remote, "connect-retry 1 1\nconnect-retry-max 2");
    let output = place.forward(&profile, &FORWARD).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(stderr(&output).matches("connecting to").count(), 2, "{}", stderr(&output));
}

#[test]
fn credentials_nobody_can_be_asked_for_are_said_to_be_missing() {
    let place = Workplace::new();
    let profile = place.profile("192.0.2.1 1194", "");
    let mut command = adit(&["forward", "--config"]);
    command.arg(&profile).args(FORWARD);
    fails(command, 2, &["password", "--auth-user-pass"]);

    fs::write(place.0.join("login"), "alice\n").unwrap();
    fails(place.forward(&profile, &FORWARD), 2, &["login", "password", "hint: its first line has to be the user name"]);
}

#[test]
fn a_probe_where_nothing_listens_ends_by_what_the_machine_there_says() {
    // Free now; nobody else asks for a port of this number.
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = Workplace::new();
    // Silence would be waited for far longer than this test is.
    let profile = place.profile(&format!("127.0.0.1 {port} udp"), "");
    let output = adit(&["probe", "--timeout", "3600", "--config"]).arg(&profile).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains(&format!("nothing listens at 127.0.0.1:{port}/udp ")), "{said}");
    assert!(said.contains("(ICMP port unreachable); hint: see that the server runs"), "{said}");

    let gateway = format!("127.0.0.1:{port}");
    let ike = ["probe", "--timeout", "3600", "--ikev2", &gateway, "--remote-id", "x", "--psk-file"];
    let output = adit(&ike).arg(place.0.join("login")).output().unwrap();
    let said = stderr(&output);
    assert!(
        said.contains(&format!("nothing listens at {gateway}/udp ")) && said.contains("the gateway runs"),
        "{said}"
    );
}

/// A gateway that says nothing is waited for as long as was said; its port is the one to let pass.
#[test]
fn a_probe_of_a_silent_gateway_names_its_own_port() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let place = Workplace::new();
    let gateway = silent.local_addr().unwrap().to_string();
    let ike = ["probe", "--timeout", "1", "--ikev2", &gateway, "--remote-id", "x", "--psk-file"];
    let said = stderr(&adit(&ike).arg(place.0.join("login")).output().unwrap());
    assert!(
        said.contains("no answer within 1 s; hint: ") && said.contains("that firewalls let UDP to that port pass"),
        "{said}"
    );
    assert!(!said.contains("4500"), "{said}");
}

#[test]
fn a_control_socket_that_nobody_has_named_is_a_warning_and_one_that_was_is_needed() {
    let place = Workplace::new();
    let text = "[connection.x]\nautostart = false\nprotocol = \"ikev2\"\nremotes = [\"127.0.0.1\"]\nremote_id = \"x\"\n\
                psk = { file = \"login\" }\n";
    let run = |head: &str| {
        let config = place.0.join("adit.toml");
        fs::write(&config, format!("{head}{text}")).unwrap();
        // No directory: no socket can be in it.
        let mut command = adit(&["run", "--config"]);
        command.arg(config).env("RUNTIME_DIRECTORY", place.0.join("login")).stderr(Stdio::piped());
        command
    };
    let mut warned = run("").spawn().unwrap();
    let mut lines = BufReader::new(warned.stderr.take().unwrap()).lines();
    let line = lines.find_map(|line| line.ok().filter(|line| line.contains("will not find this process"))).unwrap();
    assert!(line.contains("WARN control socket "), "{line}");
    assert!(warned.try_wait().unwrap().is_none(), "it runs all the same");
    warned.kill().unwrap();
    warned.wait().unwrap();
    let refused = run("[control]\nsocket = \"login/control.sock\"\n").output().unwrap();
    assert_eq!(refused.status.code(), Some(7), "{}", stderr(&refused));
}

#[test]
fn a_probe_without_a_login_asks_for_none() {
    let place = Workplace::new();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let profile = place.profile(&format!("127.0.0.1 {}", silent.local_addr().unwrap().port()), "");
    let mut probe = adit(&["probe", "--timeout", "1", "--config"]);
    let output = probe.arg(&profile).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    assert!(output.status.code() == Some(3) && said.contains("hint"), "{:?}: {said}", output.status);
    assert!(!said.contains("password"), "{said}");
    let mut login = adit(&["probe", "--login", "--config"]);
    login.arg(&profile);
    fails(login, 2, &["wants a user name and a password", "--auth-user-pass"]);
}

#[test]
fn a_configuration_of_wireguard_is_named() {
    let place = Workplace::new();
    let file = place.0.join("wg0.conf");
    fs::write(&file, "# a tunnel\n[Interface]\nPrivateKey = x\n").unwrap();
    let mut command = adit(&["forward", "--config"]);
    command.arg(&file).args(FORWARD);
    fails(command, 2, &["wg0.conf: this is a configuration of WireGuard, which is not supported", "hint: "]);
}

#[test]
fn a_question_nobody_can_answer_is_said_before_connecting() {
    let place = Workplace::new();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let remote = format!("127.0.0.1 {}", silent.local_addr().unwrap().port());
    let profile = place.profile(&remote, "static-challenge \"Your PIN\" 1");
    fails(place.forward(&profile, &FORWARD), 2, &["Your PIN", "static-challenge", "hint:"]);
    let mut closed = place.forward(&profile, &FORWARD);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(writer);
    closed.stdin(reader);
    fails(closed, 2, &["Your PIN"]);

    // Somebody may still write into this one.
    let (reader, writer) = std::io::pipe().unwrap();
    let mut open = place.forward(&profile, &FORWARD);
    open.stdin(reader);
    fails(open, 3, &["no answer"]);
    drop(writer);
}

#[test]
fn a_file_that_cannot_be_read_is_named_once() {
    let place = Workplace::new();
    let profile = place.profile("192.0.2.1 1194", "ca nofile.pem");
    let output = place.forward(&profile, &FORWARD).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(said.matches("nofile.pem").count(), 1, "{said}");
    assert!(said.contains("No such file"), "{said}");
}

#[test]
fn secrets_are_never_logged() {
    let place = Workplace::new();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let profile = place.profile(&format!("127.0.0.1 {}", silent.local_addr().unwrap().port()), "");
    let output = place.forward(&profile, &["-vv", FORWARD[0], FORWARD[1]]).output().unwrap();
    assert!(stderr(&output).contains("TRACE"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("secret\n") && !stderr(&output).contains("alice:secret"));
    assert!(!stderr(&output).contains("\"secret\""));
}

#[test]
fn in_json_the_error_is_an_event_with_code_and_hint() {
    let place = Workplace::new();
    let profile = place.profile("no-such-host.invalid 1194", "");
    let output = place.forward(&profile, &["--log-format", "json", FORWARD[0], FORWARD[1]]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = stderr(&output);
    assert!(said.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{said}");
    let last = said.lines().last().unwrap();
    for text in [r#""level":"ERROR""#, r#""exit_code":3"#, r#""hint":"#, "no-such-host.invalid"] {
        assert!(last.contains(text), "no {text} in {last}");
    }
}

/// A TOML file with a connection to this gateway by pre-shared key, with further lines.
fn ikev2(place: &Workplace, gateway: &str, more: &str) -> PathBuf {
    fs::write(place.0.join("psk"), "shared\n").unwrap();
    let path = place.0.join("office.toml");
    let text = format!(
        "[connection.office]\nprotocol = \"ikev2\"\nremotes = [\"{gateway}\"]\npsk = {{ file = \"psk\" }}\n\
         retransmit = {{ first_ms = 50, limit_ms = 50, tries = 3 }}\n{more}\n"
    );
    fs::write(&path, text).unwrap();
    path
}

/// `adit forward` with this file.
fn forward_ikev2(path: &PathBuf) -> Command {
    let mut command = adit(&["forward", "--config"]);
    command.arg(path).args(FORWARD);
    command
}

#[test]
fn an_ikev2_gateway_that_cannot_be_reached_is_named() {
    let place = Workplace::new();
    fails(forward_ikev2(&ikev2(&place, "no-such-host.invalid", "")), 3, &["no-such-host.invalid", "hint:"]);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    fails(
        forward_ikev2(&ikev2(&place, &address, "")),
        3,
        &["no tunnel to", &address, "no answer", "hint:", "that firewalls let UDP to that port pass"],
    );
}

/// Answers the first IKE_SA_INIT with this error notification, until its socket is closed.
fn ikev2_gateway_that_says(notify: u16) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut request = [0; 3000];
        let (_, client) = socket.recv_from(&mut request).unwrap();
        // The marker, and an SPI of ours behind the client's.
        let mut response = request[..12].to_vec();
        response.extend([7; 8]);
        // A notification next, version 2.0, IKE_SA_INIT, a response, message 0.
        response.extend([41, 0x20, 34, 0x20, 0, 0, 0, 0, 0, 0, 0, 36]);
        response.extend([0, 0, 0, 8, 0, 0]);
        response.extend(notify.to_be_bytes());
        socket.send_to(&response, client).unwrap();
    });
    address
}

#[test]
fn an_ikev2_gateway_without_a_common_algorithm_is_left() {
    let place = Workplace::new();
    // NO_PROPOSAL_CHOSEN (RFC 7296 §3.10.1).
    let gateway = ikev2_gateway_that_says(14);
    fails(forward_ikev2(&ikev2(&place, &gateway, "")), 6, &[&gateway, "algorithms", "hint:", "ike_proposals"]);
}

#[test]
fn mistakes_in_ikev2_connections_are_named_with_file_and_line() {
    let place = Workplace::new();
    for (more, said) in [
        ("pks = 1", &["office.toml line 6", "`pks`"][..]),
        ("password = \"secret\"", &["office.toml line 6", "`password`: a secret does not stand in this file"]),
        ("ike_proposals = \"aes256-blowfish\"", &["office.toml line 6", "blowfish"]),
        ("remote_id = \"C=CH, X\"", &["office.toml line 6", "is no identity"]),
        ("esp_proposals = \"3des-sha1\"", &["office.toml line 6", "`3des`", "`legacy = true`"]),
        ("fragment_size = 10", &["office.toml line 6", "`fragment_size`", "from 296 to 1500"]),
        ("user = \"alice\"", &["office.toml line 4", "the pre-shared key has no use"]),
    ] {
        fails(forward_ikev2(&ikev2(&place, "192.0.2.1", more)), 2, said);
    }
}

#[test]
fn secrets_of_ikev2_nobody_can_be_asked_for_are_said_to_be_missing() {
    let place = Workplace::new();
    let certificate = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
    let ca = place.0.join("ca.pem");
    fs::write(&ca, certificate.cert.pem()).unwrap();
    let quick = |arguments: &[&str]| {
        let mut command = adit(&["forward", "--ikev2", "no-such-host.invalid"]);
        command.arg("--ca").arg(&ca).args(arguments).args(FORWARD).env_remove("ADIT_PASSWORD");
        command
    };
    fails(quick(&["--user", "alice"]), 2, &["the password is missing", "--password-file", "ADIT_PASSWORD"]);
    fails(quick(&["--eap", "mschapv2"]), 2, &["the user name is missing", "--user"]);
    let mut known = quick(&["--user", "alice"]);
    known.env("ADIT_PASSWORD", "secret");
    fails(known, 3, &["no-such-host.invalid"]);
    let mut shared = adit(&["forward", "--ikev2", "no-such-host.invalid", "--psk-file"]);
    shared.arg(place.0.join("nofile")).args(FORWARD);
    fails(shared, 2, &["--psk-file", "nofile"]);
}

#[test]
fn help_and_version_are_for_standard_output() {
    for (arguments, text) in [
        (&["--version"][..], env!("CARGO_PKG_VERSION")),
        (&["--help"], "Exit codes"),
        (&["forward", "--help"], "adit forward --config office.ovpn -L 8080:192.168.100.30:80"),
        (&["forward", "--help"], "\n  130  ended by Ctrl-C"),
        (&["forward", "--help"], "adit forward --ikev2 vpn.example --user alice --ca ca.pem"),
    ] {
        let output = adit(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains(text));
        assert!(output.stderr.is_empty());
    }
}

/// Starts with a gateway that does not answer, and waits until it has been asked.
#[cfg(unix)]
fn connecting() -> (Workplace, UdpSocket, std::process::Child) {
    let place = Workplace::new();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let remote = format!("127.0.0.1 {}", silent.local_addr().unwrap().port());
    let profile = place.profile(&remote, "connect-timeout 60\nhand-window 60");
    let child = place.forward(&profile, &FORWARD).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    silent.recv_from(&mut [0; 2000]).unwrap();
    (place, silent, child)
}

#[cfg(unix)]
fn ends_with(signal: &str, code: i32) {
    let (_place, _silent, mut child) = connecting();
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(code), "{said}");
    assert!(!said.contains("error:"), "{said}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_while_connecting_ends_at_once() {
    ends_with("-INT", 130);
}

#[cfg(unix)]
#[test]
fn sigterm_while_connecting_is_no_failure() {
    ends_with("-TERM", 0);
}

#[cfg(unix)]
#[test]
fn the_end_of_the_terminal_ends_the_program_politely() {
    hangups_are_not_ignored();
    ends_with("-HUP", 0);
}

/// Whoever started this test may have SIGHUP ignored, as `nohup` does, and programs inherit that. What is handled here they do not:
/// they start with the default.
#[cfg(unix)]
fn hangups_are_not_ignored() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _entered = runtime.enter();
    // The handler stays.
    drop(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).unwrap());
}

/// As `nohup` starts it.
#[cfg(target_os = "linux")]
#[test]
fn where_the_end_of_the_terminal_is_to_be_ignored_it_is() {
    let (place, silent) = (Workplace::new(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let remote = format!("127.0.0.1 {}", silent.local_addr().unwrap().port());
    let profile = place.profile(&remote, "connect-timeout 60\nhand-window 60");
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_adit"), "forward", "--auth-user-pass"]);
    command.arg(place.0.join("login")).arg("--config").arg(&profile).args(FORWARD);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    silent.recv_from(&mut [0; 2000]).unwrap();
    for signal in ["-HUP", "-INT"] {
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    }
    assert_eq!(child.wait().unwrap().code(), Some(130), "Ctrl-C ended it, not the terminal");
}

#[test]
fn a_check_says_everything_and_ends_with_two_or_nothing() {
    let place = Workplace::new();
    let file = place.0.join("office.toml");
    fs::write(place.0.join("psk.txt"), "shared\n").unwrap();
    let good =
        "[connection.a]\nprotocol = \"ikev2\"\nremotes = [\"a\"]\nremote_id = \"a\"\npsk = { file = \"psk.txt\" }\n";
    fs::write(&file, format!("{good}usr = 1\nmtu = 1\nca = [\"nofile.pem\"]\n")).unwrap();
    let check = |arguments: &[&str]| adit(&["check"]).arg(&file).args(arguments).output().unwrap();
    let output = check(&[]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 3, "{said}");
    let json = check(&["--json"]);
    assert_eq!(json.status.code(), Some(2));
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["errors"].as_array().unwrap().len(), 3, "{report}");
    fs::write(&file, good).unwrap();
    let output = check(&[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("gateway a: ikev2 a:500"), "{said}");
    assert!(!said.contains("shared"), "{said}");
}

/// As `adit check` says it: a line each, none of them of the log.
#[test]
fn an_import_that_fails_says_every_mistake_in_one_way() {
    let place = Workplace::new();
    let profile = place.0.join("empty.ovpn");
    fs::write(&profile, "").unwrap();
    let output = adit(&["import"]).arg(&profile).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.lines().count() > 1 && said.lines().all(|line| line.starts_with("error: profile ")), "{said}");
    let checked = adit(&["check"]).arg(&profile).output().unwrap();
    assert_eq!(stderr(&checked), said);
}

#[test]
fn what_was_imported_passes_the_check_and_a_secret_is_not_printed() {
    let place = Workplace::new();
    let profile = place.0.join("office.sswan");
    let certificate = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
    let ca: String = certificate.cert.pem().lines().filter(|line| !line.starts_with('-')).collect();
    let text = format!(
        r#"{{ "type": "ikev2-eap", "remote": {{ "addr": "a", "cert": "{ca}" }},
            "local": {{ "eap_id": "alice", "shared_secret": "hunter2" }} }}"#
    );
    fs::write(&profile, text).unwrap();
    let printed = adit(&["import"]).arg(&profile).output().unwrap();
    let said = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.status.success() && said.contains("[connection.office]") && !said.contains("hunter2"), "{said}");
    let out = place.0.join("new.toml");
    let written = adit(&["import"]).arg(&profile).arg("-o").arg(&out).output().unwrap();
    assert!(written.status.success(), "{}", stderr(&written));
    assert_eq!(String::from_utf8(written.stdout).unwrap().lines().count(), 3);
    let checked = adit(&["check"]).arg(&out).output().unwrap();
    assert!(checked.status.success(), "{}", stderr(&checked));
    fails(
        {
            let mut again = adit(&["import"]);
            again.arg(&profile).arg("-o").arg(&out);
            again
        },
        2,
        &["new.toml is there already", "hint:"],
    );
}

/// `adit forward` refuses it; a connection of `adit run` that cannot have its device says so, and is not made without it.
#[test]
fn a_device_is_never_left_out_in_silence() {
    let place = Workplace::new();
    // Where a file is, no journal can be kept: with whatever rights.
    fs::write(place.0.join("state"), "").unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let gateway = silent.local_addr().unwrap().to_string();
    let tun = "tun = { device = \"adit-none\", dns = \"off\", state_dir = \"state\" }\n[control]\nsocket = \"off\"";
    let path = ikev2(&place, &gateway, tun);
    fails(forward_ikev2(&path), 2, &["`office`", "`adit forward` makes no device", "hint: "]);
    let mut run = adit(&["run", "--config"]).arg(&path).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines().map(Result::unwrap);
    let said = lines.find(|line| line.contains("no device, and so no connection")).unwrap();
    assert!(said.contains("`adit connect office` tries again"), "{said}");
    run.kill().unwrap();
    run.wait().unwrap();
    silent.set_nonblocking(true).unwrap();
    assert!(silent.recv_from(&mut [0; 2000]).is_err(), "the gateway was asked");
    let unit = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd/adit-tun@.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/adit up ") && unit.contains("Type=exec\n"), "{unit}");
}

#[test]
fn connections_that_were_not_chosen_are_not_read() {
    let place = Workplace::new();
    let path = place.0.join("several.toml");
    let one = |name: &str, psk: &str| {
        format!("[connection.{name}]\nprotocol = \"ikev2\"\nremotes = [\"192.0.2.1\"]\npsk = {{ file = \"{psk}\" }}\n")
    };
    fs::write(&path, one("a", "no-psk-a") + &one("b", "no-psk-b") + &one("c", "no-psk-c")).unwrap();
    let run = adit(&["run", "--connection", "a", "--connection", "b", "--config"]).arg(&path).output().unwrap();
    let said = stderr(&run);
    assert!(said.contains("no-psk-a") && said.contains("no-psk-b") && !said.contains("no-psk-c"), "{said}");
    let mut nosuch = adit(&["run", "--connection", "a", "--connection", "nosuch", "--config"]);
    nosuch.arg(&path);
    let said = stderr(&nosuch.output().unwrap());
    assert!(said.contains("there is no connection `nosuch`"), "{said}");
}

#[test]
fn a_profile_may_be_a_credential_of_systemd() {
    let place = Workplace::new();
    place.profile("192.0.2.1 1194", "");
    let config = place.0.join("adit.toml");
    let text = "[connection.office]\nprotocol = \"openvpn\"\nprofile = \"credential:office.ovpn\"\nuser = \"alice\"\n\
                password = \"credential:login\"\n";
    fs::write(&config, text).unwrap();
    let check = || {
        let mut command = adit(&["check"]);
        command.arg(&config).env_remove("CREDENTIALS_DIRECTORY");
        command
    };
    let output = check().output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in ["line 3", "$CREDENTIALS_DIRECTORY/office.ovpn", "LoadCredential="] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let output = check().env("CREDENTIALS_DIRECTORY", &place.0).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}
