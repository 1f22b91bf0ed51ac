//! Every example, as a reader would run it, against an office in this process.

use std::{
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use adit_examples::{Office, PASSWORD, USER, WEB};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::Command,
    time::timeout,
};

/// Far longer than it takes, also on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(120);

/// An office with its files in a directory that goes with it.
struct Site {
    office: Office,
    directory: PathBuf,
}

impl Site {
    fn open(name: &str) -> Self {
        let directory = env::temp_dir().join(format!("adit-examples-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Self { office: Office::open(&directory).unwrap(), directory }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// Cargo builds examples beside the tests that it is asked for.
fn program(example: &str) -> Command {
    let beside = env::current_exe().unwrap();
    let program = beside.ancestors().nth(2).unwrap().join("examples").join(example);
    assert!(program.exists(), "{} is not there: `cargo build -p adit-examples --examples`", program.display());
    let mut command = Command::new(program);
    command.env("VPN_USER", USER).env("VPN_PASSWORD", PASSWORD).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn output(example: &str, arguments: &[&str]) -> Output {
    let mut command = program(example);
    timeout(PATIENCE, command.args(arguments).output()).await.expect("it ends").unwrap()
}

/// What it says when all is well.
async fn said(example: &str, arguments: &[&str]) -> String {
    let output = output(example, arguments).await;
    let (out, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && error.is_empty(), "{}\n{out}\n{error}", output.status);
    out
}

#[tokio::test]
async fn connect_and_dial_shows_the_page_and_what_happened() {
    let site = Site::open("dial");
    let profile = site.office.profile();
    let (host, port) = (WEB.ip().to_string(), WEB.port().to_string());
    let out = said("connect_and_dial", &[profile.to_str().unwrap(), &host, &port]).await;
    assert!(out.contains("connecting to 127.0.0.1:") && out.contains("up, our addresses are [10.99.2."), "{out}");
    assert!(out.contains("200 OK") && out.contains("Hello from / through OpenVPN!"), "{out}");
    assert_eq!(site.office.peers(), [0, 1]);
}

#[tokio::test]
async fn ikev2_dial_shows_the_page() {
    let site = Site::open("ikev2");
    let (gateway, ca) = (site.office.ikev2_address().to_string(), site.office.ca());
    let (host, port) = (WEB.ip().to_string(), WEB.port().to_string());
    let out = said("ikev2_dial", &[&gateway, ca.to_str().unwrap(), USER, &host, &port]).await;
    assert!(out.contains("up, our addresses are [10.99.1."), "{out}");
    assert!(out.contains("Hello from / through IKEv2!"), "{out}");
    assert_eq!(site.office.peers(), [1, 0]);
}

#[tokio::test]
async fn a_client_of_hyper_keeps_its_connection_through_the_tunnel() {
    let site = Site::open("hyper");
    let profile = site.office.profile();
    let urls = ["one", "two"].map(|path| format!("http://{WEB}/{path}"));
    let out = said("hyper_connector", &[profile.to_str().unwrap(), &urls[0], &urls[1]]).await;
    let lines: Vec<_> = out.lines().collect();
    let expected = [
        &format!("200 OK {}", urls[0]),
        "Hello from /one through OpenVPN!",
        &format!("200 OK {}", urls[1]),
        "Hello from /two through OpenVPN!",
        "1 connection(s) inside the tunnel",
    ];
    assert_eq!(lines, expected);
    // In clear, this one would have been sent to port 80.
    let output = output("hyper_connector", &[profile.to_str().unwrap(), &format!("https://{WEB}/")]).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("only http:// goes through this connector"), "{error}");
}

#[tokio::test]
async fn both_protocols_serve_side_by_side() {
    let site = Site::open("both");
    let office = &site.office;
    let (gateway, psk, profile) = (office.ikev2_address().to_string(), office.psk(), office.profile());
    let mut command = program("both_protocols");
    command.args([&gateway, psk.to_str().unwrap(), profile.to_str().unwrap(), &WEB.to_string()]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = async || timeout(PATIENCE, lines.next_line()).await.expect("a line").unwrap().unwrap();
    for (name, way) in [("production", "IKEv2"), ("lab", "OpenVPN")] {
        let ready = line().await;
        let (at, to) = ready.strip_prefix(&format!("{name}: ")).unwrap().split_once(" -> ").unwrap();
        assert_eq!(to, WEB.to_string());
        let at: SocketAddr = at.parse().unwrap();
        let page = timeout(PATIENCE, page(at)).await.expect("a page");
        assert!(page.ends_with(&format!("Hello from / through {way}!\n")), "{page}");
        // The other port may have been ready before the first connection had ended.
        if name == "production" {
            continue;
        }
        let carried = [line().await, line().await];
        assert!(carried.iter().all(|line| line.contains(" bytes back")), "{carried:?}");
    }
    assert_eq!(office.peers(), [1, 1]);
    child.kill().await.unwrap();
}

async fn page(at: SocketAddr) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\nHost: office\r\n\r\n").await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

#[tokio::test]
async fn sans_io_fetches_the_page_on_its_own_loop() {
    let site = Site::open("sans-io");
    let (gateway, psk) = (site.office.ikev2_address().to_string(), site.office.psk());
    let out = said("sans_io", &[&gateway, psk.to_str().unwrap(), &WEB.to_string()]).await;
    assert!(out.starts_with("up, our addresses are [10.99.1."), "{out}");
    assert!(out.contains("200 OK") && out.contains("Hello from / through IKEv2!"), "{out}");
    assert!(out.lines().last().unwrap().starts_with("closed: "), "{out}");
}

#[tokio::test]
async fn a_ping_needs_no_root_and_tells_who_is_silent() {
    let site = Site::open("ping");
    let (gateway, psk) = (site.office.ikev2_address().to_string(), site.office.psk());
    let arguments = |target| [gateway.as_str(), psk.to_str().unwrap(), target];
    let out = said("userspace_ping", &arguments("10.99.1.1")).await;
    let lines: Vec<_> = out.lines().collect();
    let answers = lines.iter().filter(|line| round_trip(line).is_some_and(|time| time > 0.0)).count();
    assert!(answers > 0 && lines.len() == 5, "{out}");
    assert_eq!(*lines.last().unwrap(), format!("4 sent, {answers} received"));

    // The gateway answers for itself alone.
    let silent = output("userspace_ping", &arguments("192.168.100.30")).await;
    let out = String::from_utf8(silent.stdout).unwrap();
    assert!(!silent.status.success() && out.ends_with("4 sent, 0 received\n"), "{out}");
}

/// Of an answer of the gateway, in milliseconds.
fn round_trip(line: &str) -> Option<f64> {
    let (_, time) = line.strip_prefix("14 bytes from 10.99.1.1: seq=")?.split_once(" time=")?;
    time.strip_suffix(" ms")?.parse().ok()
}

#[tokio::test]
async fn each_line_of_a_profile_is_printed_with_its_outcome() {
    let site = Site::open("profile");
    let profile = site.directory.join("mixed.ovpn");
    let ca = fs::read_to_string(site.office.ca()).unwrap();
    let text = format!(
        "client\ndev tun\nremote vpn.example 1194 udp\nauth-user-pass\nverb 3\nup ./up.sh\nremote-cert-tls server\n<ca>\n{ca}</ca>\n"
    );
    fs::write(&profile, &text).unwrap();
    let out = said("print_profile", &[profile.to_str().unwrap()]).await;
    for line in ["3 remote: applied", "5 verb: means nothing here", "6 up: ignored: ", "7 remote-cert-tls: applied"] {
        assert!(out.contains(line), "`{line}` in\n{out}");
    }
    assert!(out.contains("gateway: vpn.example port 1194 over Udp"), "{out}");
    assert!(out.contains("asks for a user name and a password"), "{out}");

    fs::write(&profile, text.replace("verb 3", "comp-lzo yes\nfragment 1300")).unwrap();
    let refused = output("print_profile", &[profile.to_str().unwrap()]).await;
    let out = String::from_utf8(refused.stdout).unwrap();
    assert!(!refused.status.success() && out.lines().any(|line| line.starts_with("refused: ")), "{out}");
}

#[tokio::test]
async fn the_office_says_how_to_try_every_other_example() {
    let mut child = program("office").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut text = String::new();
    while !text.contains("Ctrl-C") {
        text += &timeout(PATIENCE, lines.next_line()).await.expect("a line").unwrap().expect("more lines");
        text.push('\n');
    }
    child.kill().await.unwrap();
    for file in fs::read_dir("examples").unwrap() {
        let name = file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(name == "office" || text.contains(&format!("--example {name} -- ")), "{name} in\n{text}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_an_error_and_not_a_page() {
    let site = Site::open("refused");
    let profile = site.office.profile();
    let mut command = program("connect_and_dial");
    command.args([profile.to_str().unwrap(), &WEB.ip().to_string(), "8080"]).env("VPN_PASSWORD", "guessed");
    let output = timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    assert!(!output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("Hello"));
    assert_eq!(site.office.peers(), [0, 0]);
}
