//! Every kind of forward, through real gateways of both protocols.

mod tunnel;

use std::{net::SocketAddr, path::PathBuf, process::Command, thread, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};

use self::tunnel::{Peer, Tunnel};
use super::Case;
use crate::{
    client::{ClientConfig, client_file, unprivileged},
    config::{self, Transport},
    needs::Need,
    net::{ECHO, Place, TARGET, WEB},
    process::{Process, Stream, run},
    rig::{Rig, Session, check_body},
    tools::{dns, fetch::Answer, pattern::Body, serve::HELLO, socks, stream, talk},
};

/// Long enough for a loaded machine.
const SOON: Duration = Duration::from_secs(30);
const SOCKS: &str = "127.0.0.1:1080";
const HTTP: &str = "127.0.0.1:3128";
/// Exit codes of `curl`.
const CANNOT_CONNECT_BY_PROXY: i32 = 97;
const REFUSED_BY_PROXY: i32 = 56;

pub(super) fn cases() -> Vec<Case> {
    let of = |peer: Peer| {
        [
            peer.case("socks", forward_socks).takes(4).needs(Need::Curl),
            peer.case("socks_udp", forward_socks_udp).takes(4),
            peer.case("http_proxy", forward_http_proxy).takes(4).needs(Need::Curl),
            peer.case("unix_socket", forward_unix_socket).takes(5).needs(Need::Curl),
            peer.case("udp", forward_udp).takes(5),
            peer.case("stdio", forward_stdio).takes(4),
            peer.case("proxy_protocol", forward_proxy_protocol).takes(3),
            peer.case("reverse", forward_reverse).takes(5),
            peer.case("while_down", forward_while_down).takes(12),
            peer.case("max_connections", forward_max_connections).takes(5),
        ]
    };
    let both = Peer::ALL.into_iter().flat_map(of);
    both.chain([Case::new("forward_name_of_several", forward_name_of_several).takes(5)]).collect()
}

fn curl(rig: &Rig, args: &[&str]) -> Command {
    let mut curl = rig.net.command(Place::Client, "curl");
    curl.args(["--silent", "--show-error", "--max-time", "30"]).args(args);
    // Nothing of the machine's own settings.
    curl.env_remove("http_proxy").env_remove("https_proxy").env_remove("all_proxy").env_remove("no_proxy");
    curl
}

/// The Hello World comes by this curl.
fn hello(rig: &Rig, args: &[&str]) -> Result<()> {
    let said = run(&mut curl(rig, args)).with_context(|| format!("curl {args:?}"))?;
    ensure!(said == HELLO, "curl {args:?} printed {said:?}");
    Ok(())
}

/// Curl ends with this code, and says so much.
fn fails(rig: &Rig, code: i32, text: &str, args: &[&str]) -> Result<()> {
    let output = curl(rig, args).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code), "curl {args:?} ended with {}: {said}", output.status);
    ensure!(said.contains(text), "nothing of {text:?} in {said:?}");
    Ok(())
}

/// A megabyte comes whole.
fn download(rig: &Rig, args: &[&str]) -> Result<()> {
    let file = rig.dir.join("download");
    let path = file.display().to_string();
    run(&mut curl(rig, &[&["--output", &path], args].concat()))?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &std::fs::read(file)?);
    ensure!(hex::encode(digest) == Body::sha256(1 << 20), "curl {args:?}: not the bytes that were sent");
    Ok(())
}

fn login(rig: &Rig) -> Result<String> {
    Ok(client_file(&rig.dir.join("proxy-login"), "bob\nsesame\n")?.display().to_string())
}

/// `curl` through the SOCKS proxy: names by the name server behind the gateway, addresses, a megabyte, refusals, logins.
fn forward_socks(rig: &Rig, peer: Peer) -> Result<()> {
    let login = login(rig)?;
    let mut session = Tunnel::open(rig, peer, &["-D", SOCKS, "-D", "127.0.0.1:1081", "--proxy-login", &login])?;
    for proxy in ["socks5h://bob:sesame@127.0.0.1:1080", "socks5h://bob:sesame@127.0.0.1:1081"] {
        hello(rig, &["--proxy", proxy, &format!("http://{}:8080/", dns::NAME)])?;
    }
    let proxy = "socks5://bob:sesame@127.0.0.1:1080";
    hello(rig, &["--proxy", proxy, &format!("http://{WEB}/")])?;
    download(rig, &["--proxy", proxy, &format!("http://{WEB}/bytes/{}", 1 << 20)])?;
    // RFC 1928 §6: 5 is "refused", 4 "host unreachable".
    fails(rig, CANNOT_CONNECT_BY_PROXY, "(5)", &["--proxy", proxy, &format!("http://{TARGET}:1/")])?;
    let named = "socks5h://bob:sesame@127.0.0.1:1080";
    fails(rig, CANNOT_CONNECT_BY_PROXY, "(4)", &["--proxy", named, "http://no-such.corp.example/"])?;
    fails(rig, CANNOT_CONNECT_BY_PROXY, "", &["--proxy", "socks5h://bob:wrong@127.0.0.1:1080", "http://x/"])?;
    fails(rig, CANNOT_CONNECT_BY_PROXY, "", &["--proxy", "socks5h://127.0.0.1:1080", "http://x/"])?;
    session.client().process.wait_text(0, "user name or password is wrong", SOON)?;
    ensure!(session.client().process.count("sesame") == 0, "the password is in the log");
    session.exchange()?;
    session.close()
}

/// Datagrams through the SOCKS proxy to an address and to a name.
fn forward_socks_udp(rig: &Rig, peer: Peer) -> Result<()> {
    let mut session = Tunnel::open(rig, peer, &["-D", SOCKS])?;
    for target in [ECHO.to_string(), format!("{}:{}", dns::NAME, ECHO.port())] {
        let said = run(&mut rig.tool(Place::Client, &["socks", SOCKS, &target]))?;
        let report: socks::Report = serde_json::from_str(&said)?;
        ensure!(report.echoed == 20 && report.from == ECHO.to_string(), "{target}: {report:?}");
        ensure!(!report.after_end, "{target}: the association has outlived its connection");
    }
    session.exchange()?;
    session.close()
}

/// Several UDP forwards to one target, each datagram back to whom it belongs; and a name only the gateway's name server knows.
fn forward_udp(rig: &Rig, peer: Peer) -> Result<()> {
    let (address, name) = (format!("34001:{ECHO}/udp"), format!("34002:{}:{}/udp", dns::NAME, ECHO.port()));
    let mut session = Tunnel::open(rig, peer, &["-L", &address, "-L", &name])?;
    let echo = |port: u16| -> Result<stream::Report> {
        let to = format!("127.0.0.1:{port}");
        let args = ["stream", &to, "--count", "100", "--interval", "5", "--size", "900"];
        Ok(serde_json::from_str(&run(&mut rig.tool(Place::Client, &args))?)?)
    };
    let both: Result<Vec<_>> = thread::scope(|scope| {
        let streams = [34001, 34002].map(|port| scope.spawn(move || echo(port)));
        streams.into_iter().map(|stream| stream.join().map_err(|_| anyhow!("a stream panicked"))?).collect()
    });
    for report in both? {
        ensure!(report.lost.is_empty() && report.corrupted == 0 && report.duplicated == 0, "{report:?}");
    }
    session.exchange()?;
    session.close()
}

/// Of several addresses the first that answers is used, soon: those before it, of both families, swallow everything.
fn forward_name_of_several(rig: &Rig) -> Result<()> {
    ensure!(!rig.reference, "this case needs adit");
    let server = config::server(&rig.pki, Transport::Udp)
        .with(&format!("push \"dhcp-option DNS {TARGET}\""))
        .with("server-ipv6 fd00:8::/64\npush \"route-ipv6 fd00:64::/64\"");
    let swallow: String = dns::DEAD.iter().map(|address| format!("route add blackhole {address}\n")).collect();
    rig.net.change(Place::Gateway, &swallow)?;
    let mut client = ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?);
    for (port, (name, _)) in (34000..).zip(dns::SEVERAL) {
        client.args.extend(["-L".to_owned(), format!("{port}:{name}:8080")]);
    }
    let session = Session::open(rig, &server, &client)?;
    for (port, (name, dead)) in (34000..).zip(dns::SEVERAL) {
        let answers = rig.fetch(SocketAddr::from(([127, 0, 0, 1], port)), "/", &[])?;
        let took = answers.first().context("an answer")?.seconds;
        rig.measured(&format!("a name with {dead} dead addresses before the one that answers: {took:.2} s"))?;
        ensure!(answers.iter().all(|answer| answer.text == HELLO), "{name}: {answers:?}");
        // RFC 8305 §5: a quarter of a second for each.
        let least = 0.25 * f64::from(dead);
        ensure!((least..least + 3.0).contains(&took), "{name} took {took:.2} s, of {least} to be expected");
    }
    session.exchange()?;
    session.close()
}

/// `curl` through the HTTP proxy, by CONNECT and by plain requests, with a login.
fn forward_http_proxy(rig: &Rig, peer: Peer) -> Result<()> {
    let login = login(rig)?;
    let mut session = Tunnel::open(rig, peer, &["--http-proxy", HTTP, "--proxy-login", &login])?;
    let by_name = format!("http://{}:8080/", dns::NAME);
    let proxy = ["--proxy", "http://127.0.0.1:3128", "--proxy-user", "bob:sesame"];
    let tunnel = [&proxy[..], &["--proxytunnel"]].concat();
    for how in [&proxy[..], &tunnel] {
        hello(rig, &[how, &[&by_name]].concat())?;
        download(rig, &[how, &[&format!("http://{WEB}/bytes/{}", 1 << 20)]].concat())?;
        upload(rig, how)?;
        // One connection for both, or one each: as the proxy has it.
        let two = [how, &[&by_name, &by_name]].concat();
        let said = run(&mut curl(rig, &two))?;
        ensure!(said == HELLO.repeat(2), "curl {two:?} printed {said:?}");
    }
    let refused = format!("http://{TARGET}:1/");
    fails(rig, 0, "cannot connect to 192.168.100.30:1", &[&proxy[..], &[&refused]].concat())?;
    fails(rig, REFUSED_BY_PROXY, "502", &[&tunnel[..], &[&refused]].concat())?;
    let stranger = ["--proxy", "http://127.0.0.1:3128", "--proxytunnel"];
    fails(rig, REFUSED_BY_PROXY, "407", &[&stranger[..], &[&by_name]].concat())?;
    fails(
        rig,
        0,
        "this is a proxy",
        &["--header", "Proxy-Authorization: Basic Ym9iOnNlc2FtZQ==", "http://127.0.0.1:3128/"],
    )?;
    ensure!(session.client().process.count("sesame") == 0, "the password is in the log");
    session.exchange()?;
    session.close()
}

fn upload(rig: &Rig, how: &[&str]) -> Result<()> {
    let (mut body, mut piece) = (Body::new(), vec![0; 1 << 18]);
    body.fill(&mut piece);
    let file = rig.dir.join("upload");
    std::fs::write(&file, &piece)?;
    let from = format!("@{}", file.display());
    let to = format!("http://{WEB}/sink");
    let said = run(&mut curl(rig, &[how, &["--data-binary", &from, &to]].concat()))?;
    ensure!(said == Body::sha256(1 << 18), "the upload arrived as {said:?}");
    Ok(())
}

/// A listener at a path: used, gone with the program, and bound again over what a killed one has left.
fn forward_unix_socket(rig: &Rig, peer: Peer) -> Result<()> {
    let folder = PathBuf::from(format!("/tmp/{}", rig.net.unique("sockets")));
    std::fs::create_dir(&folder)?;
    let used = unix_socket(rig, peer, &folder.join("web.sock"));
    std::fs::remove_dir_all(&folder)?;
    used
}

fn unix_socket(rig: &Rig, peer: Peer, path: &std::path::Path) -> Result<()> {
    std::os::unix::fs::chown(path.parent().context("a folder")?, Some(crate::pki::CLIENT_UID), None)?;
    let (text, spec) = (path.display().to_string(), format!("unix:{}:{WEB}", path.display()));
    let args = ["-L", spec.as_str(), "--socket-mode", "0640"];
    let session = Tunnel::open(rig, peer, &args)?;
    session.client().process.wait_text(0, &format!("unix:{text} -> {WEB}/tcp"), SOON)?;
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path)?);
    ensure!(mode & 0o777 == 0o640, "the mode is {mode:o}");
    let by_socket = ["--unix-socket", text.as_str(), "http://anything/"];
    hello(rig, &by_socket)?;
    download(rig, &["--unix-socket", &text, &format!("http://anything/bytes/{}", 1 << 20)])?;
    session.client().process.signal("KILL")?;
    session.client().process.wait_end(SOON)?;
    ensure!(path.exists(), "what a killed program leaves is gone already");
    let behind = session.without_client();
    let again = peer.client(rig, &args)?;
    again.wait_up()?;
    hello(rig, &by_socket)?;
    again.interrupt()?;
    ensure!(!path.exists(), "the socket was left behind");
    drop(behind);
    rig.prove_gone()
}

/// `--stdio`, as ssh's ProxyCommand has it: the end of input goes through, the answer comes, the exit code is 0.
fn forward_stdio(rig: &Rig, peer: Peer) -> Result<()> {
    let lan = rig.start_lan()?;
    let gateway = peer.gateway(rig)?;
    let source = peer.source(rig)?;
    let stdio = |target: &str, input: &str| {
        let mut command = unprivileged(rig, false);
        command.arg(&rig.adit).arg("forward").args(&source).args(["--stdio", target]);
        Process::spawn_with_input(&rig.process_name("stdio"), &rig.dir, &mut command, Some(input))
    };
    let request = "GET / HTTP/1.1\r\nHost: web\r\n\r\n";
    for target in [WEB.to_string(), format!("{}:{}", dns::NAME, WEB.port())] {
        let said = stdio(&target, request)?.wait_output(SOON)?;
        ensure!(said.starts_with("HTTP/1.1 200 OK") && said.ends_with(HELLO), "standard output has {said:?}");
    }
    let refused = stdio(&format!("{TARGET}:1"), request)?;
    let status = refused.wait_end(SOON)?;
    let (out, err) = [Stream::Out, Stream::Err]
        .map(|stream| refused.lines(0, |line| (line.stream == stream).then(|| line.text.clone())).join("\n"))
        .into();
    ensure!(status.code() == Some(1) && out.is_empty(), "{status}, standard output has {out:?}");
    ensure!(err.contains("error: cannot connect to 192.168.100.30:1: "), "{err}");
    ensure!(gateway.process().is_running(), "the gateway has ended");
    drop((lan, gateway));
    rig.prove_gone()
}

/// The target sees the header of the PROXY protocol before anything else.
fn forward_proxy_protocol(rig: &Rig, peer: Peer) -> Result<()> {
    const HEADER_BYTES: usize = 28;
    let args = ["-L", "34000:192.168.100.30:7000", "--proxy-protocol"];
    let session = Tunnel::open(rig, peer, &args)?;
    let listening =
        ["talk", "192.168.100.30:7000", "answer", "--listen", &(HEADER_BYTES + 5).to_string()].map(str::to_owned);
    let listening: Vec<&str> = listening.iter().map(String::as_str).collect();
    let target = Process::spawn(&rig.process_name("target"), &rig.dir, &mut rig.tool(Place::Lan, &listening))?;
    target.wait_text(0, "ready", SOON)?;
    let answer = talk_to(rig, "127.0.0.1:34000")?;
    ensure!(answer.text == "answer" && !answer.reset, "{answer:?}");
    let heard = target.wait_text(0, "heard ", SOON)?;
    // Version 2, PROXY, TCP over IPv4, 12 bytes: from and to 127.0.0.1, a port, and 34000; then what was said.
    let begin = format!("heard {}2111000c7f0000017f000001", hex::encode(b"\r\n\r\n\0\r\nQUIT\n"));
    ensure!(heard.starts_with(&begin), "{heard}");
    ensure!(heard[begin.len() + 4..].starts_with(&format!("84d0{} from ", hex::encode("hello"))), "{heard}");
    session.close()
}

fn talk_to(rig: &Rig, address: &str) -> Result<talk::Answer> {
    Ok(serde_json::from_str(&run(&mut rig.tool(Place::Client, &["talk", address]))?)?)
}

/// A host behind the gateway reaches services of the client's machine, over TCP and UDP; the end of the program closes the ports.
fn forward_reverse(rig: &Rig, peer: Peer) -> Result<()> {
    let ours = peer.inside();
    let args = ["-R", "80:127.0.0.1:8088", "-R", "81:127.0.0.1:1", "-R", "90:127.0.0.1:9009/udp"];
    let mut session = Tunnel::open(rig, peer, &args)?;
    session.client().process.wait_text(0, "inside:80 -> 127.0.0.1:8088/tcp", SOON)?;
    let serve = ["serve", "--web", "127.0.0.1:8088", "--echo", "127.0.0.1:9009"];
    let service = Process::spawn(&rig.process_name("service"), &rig.dir, &mut rig.tool(Place::Client, &serve))?;
    service.wait_text(0, "ready", SOON)?;
    let lan = |args: &[&str]| run(&mut rig.tool(Place::Lan, args));
    let fetch = |path: &str, args: &[&str]| -> Result<Vec<Answer>> {
        Ok(serde_json::from_str(&lan(&[&["fetch", &format!("{ours}:80"), path], args].concat())?)?)
    };
    let hello = fetch("/", &[])?;
    ensure!(hello.iter().all(|answer| answer.text == HELLO), "{hello:?}");
    for answer in fetch(&format!("/bytes/{}", 1 << 20), &["--count", "5"])? {
        check_body(&answer, 1 << 20)?;
    }
    for answer in fetch("/sink", &["--upload", &(1 << 20).to_string(), "--half-close"])? {
        ensure!(answer.text == Body::sha256(1 << 20), "the upload arrived as {}", answer.text);
    }
    let echo = [&format!("{ours}:90"), "--count", "50", "--interval", "10", "--size", "400"].map(str::to_owned);
    let echo: Vec<&str> = echo.iter().map(String::as_str).collect();
    let report: stream::Report = serde_json::from_str(&lan(&[&["stream"], &echo[..]].concat())?)?;
    ensure!(report.lost.is_empty() && report.corrupted == 0, "{report:?}");
    for port in [81, 82] {
        let said = lan(&["talk", &format!("{ours}:{port}")]);
        // One has nobody behind it; the other is not there.
        let refused = match (port, said) {
            (81, Ok(answer)) => serde_json::from_str::<talk::Answer>(&answer)?.reset,
            (_, said) => said.is_err_and(|error| format!("{error:#}").contains("refused")),
        };
        ensure!(refused, "port {port} inside was not refused");
    }
    session.client().process.wait_text(0, "cannot connect to 127.0.0.1:1: ", SOON)?;
    session.exchange()?;
    service.signal("TERM")?;
    service.wait_exit(SOON)?;
    session.close()
}

/// Without a tunnel, connections are reset at once, or wait until there is one.
fn forward_while_down(rig: &Rig, peer: Peer) -> Result<()> {
    for (setting, waits) in [("refuse", false), ("wait=60", true)] {
        let mut session = Tunnel::open(rig, peer, &["--while-down", setting])?;
        session.exchange()?;
        let mark = session.client().process.mark();
        session.stop_gateway()?;
        session.client().process.wait_text(mark, "tunnel lost", SOON)?;
        if waits {
            let fetch = ["fetch", "127.0.0.1:33000", "/", "--patience", "60"];
            let waiting = Process::spawn(&rig.process_name("fetch"), &rig.dir, &mut rig.tool(Place::Client, &fetch))?;
            session.start_gateway()?;
            let answer = waiting.wait_output(Duration::from_secs(70))?;
            ensure!(answer.contains("Hello world"), "{answer}");
        } else {
            let answer = talk_to(rig, "127.0.0.1:33000")?;
            ensure!(answer.reset && answer.text.is_empty(), "{answer:?}");
            session.client().process.wait_text(mark, "cannot connect to 192.168.100.30:8080", SOON)?;
            session.start_gateway()?;
        }
        session.client().wait_up_again(mark, Duration::from_secs(60))?;
        session.recount()?;
        session.exchange()?;
        session.close()?;
    }
    Ok(())
}

/// Beyond the limit connections are reset; those below it are served, and their end makes room.
fn forward_max_connections(rig: &Rig, peer: Peer) -> Result<()> {
    let mut session = Tunnel::open(rig, peer, &["--max-connections", "2"])?;
    let paced = ["fetch", "127.0.0.1:33000", "/paced/100000/8", "--count", "2"];
    let busy = Process::spawn(&rig.process_name("fetch"), &rig.dir, &mut rig.tool(Place::Client, &paced))?;
    session.lan().wait_text(0, "open=2", SOON)?;
    let answer = talk_to(rig, "127.0.0.1:33000")?;
    ensure!(answer.reset && answer.text.is_empty(), "{answer:?}");
    session.client().process.wait_text(0, "connection refused: open now: 2, and `max_connections` is 2", SOON)?;
    busy.wait_output(SOON)?;
    session.exchange()?;
    session.client().process.signal("INT")?;
    session.client().interrupted()?;
    session.client().process.wait_text(0, " failed, 1 refused", SOON)?;
    rig.prove_gone()
}
