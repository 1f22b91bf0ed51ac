//! `adit forward` in all its kinds, through our own gateway.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
};

use crate::{
    running::{Running, Workplace, adit},
    serve::{OPENVPN, PAGE, USER, openvpn_client, ready, serve, web_server, workplace},
};

/// A gateway whose peers reach this machine, and a profile for it.
fn gateway() -> (Workplace, Running, String) {
    let place = workplace();
    let (gateway, address) = ready(serve(&place, &format!("{OPENVPN}{USER}")), "ovpn", "udp");
    let profile = openvpn_client(&place, &address, "udp", "auth-user-pass login\n").display().to_string();
    (place, gateway, profile)
}

fn forward(profile: &str, arguments: &[&str]) -> Command {
    let mut command = adit(&["forward", "--config", profile]);
    command.args(arguments);
    command
}

/// The address a line of the announcement begins with.
fn address(client: &Running, nth: usize) -> String {
    format!("127.0.0.1:{}", client.nth_line("127.0.0.1:", nth).split(' ').next().unwrap())
}

/// Says this, and returns everything that comes back.
fn ask(mut stream: impl Read + Write, text: &[u8]) -> String {
    stream.write_all(text).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn every_kind_leads_to_the_page() {
    let (place, _gateway, profile) = gateway();
    let page = web_server();
    let socket = place.0.join("page.sock");
    let (by_port, by_path) = (format!("0:{page}"), format!("unix:{}:{page}", socket.display()));
    let arguments = ["-L", &by_port, "-D", "0", "--http-proxy", "0", "-L", &by_path, "--max-connections", "5"];
    let client = Running::start(forward(&profile, &arguments));
    let get = b"GET / HTTP/1.0\r\n\r\n";
    let connect = |nth| TcpStream::connect(address(&client, nth)).unwrap();
    assert_eq!(ask(connect(0), get), PAGE);

    let SocketAddr::V4(to) = page else { panic!("IPv4") };
    let request = [&[5, 1, 0, 5, 1, 0, 1][..], &to.ip().octets(), &to.port().to_be_bytes(), get].concat();
    let mut socks = connect(1);
    socks.write_all(&request).unwrap();
    let mut replies = [0; 12];
    socks.read_exact(&mut replies).unwrap();
    assert_eq!(replies[..4], [5, 0, 5, 0]);
    assert_eq!(ask(socks, b""), PAGE);

    let tunnel = format!("CONNECT {page} HTTP/1.1\r\nHost: {page}\r\n\r\n");
    let answer = ask(connect(2), &[tunnel.as_bytes(), get].concat());
    assert_eq!(answer, format!("HTTP/1.1 200 Connection established\r\n\r\n{PAGE}"));
    assert_eq!(ask(connect(2), format!("GET http://{page}/ HTTP/1.1\r\n\r\n").as_bytes()), PAGE);

    client.line(&format!("unix:{} -> {page}/tcp", socket.display()));
    #[cfg(unix)]
    assert_eq!(ask(std::os::unix::net::UnixStream::connect(&socket).unwrap(), get), PAGE);
    client.signal("-TERM");
    let ended = client.end().with(0);
    assert!(!socket.exists());
    assert!(ended.stderr.contains(": 1 connection, 0 failed, 0 refused"), "{}", ended.stderr);
}

#[test]
fn a_proxy_with_a_login_lets_in_who_knows_it() {
    let (place, _gateway, profile) = gateway();
    let page = web_server();
    let login = place.file("proxy", "bob\nsesame\n").display().to_string();
    let client = Running::start(forward(&profile, &["--http-proxy", "0", "--proxy-login", &login]));
    let ask_with = |line: &str| {
        let stream = TcpStream::connect(address(&client, 0)).unwrap();
        ask(stream, format!("GET http://{page}/ HTTP/1.0\r\n{line}\r\n").as_bytes())
    };
    assert!(ask_with("").starts_with("HTTP/1.1 407 "));
    assert_eq!(ask_with("Proxy-Authorization: Basic Ym9iOnNlc2FtZQ==\r\n"), PAGE);
    client.signal("-INT");
    let ended = client.end().with(130);
    assert!(!ended.stderr.contains("sesame"), "{}", ended.stderr);

    let short = place.file("short", "bob\n").display().to_string();
    let refused = Running::start(forward(&profile, &["-D", "0", "--proxy-login", &short])).end().with(2);
    assert!(refused.stderr.contains("hint: its first line has to be the user name, its second the password"));
}

/// `--stdio` to a listener, and what it accepted.
fn stdio(profile: &str) -> (Child, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let mut command = forward(profile, &["--quiet", "--stdio", &to]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    (child, listener.accept().unwrap().0)
}

#[test]
fn each_direction_of_standard_input_and_output_ends_on_its_own() {
    let (_place, _gateway, profile) = gateway();
    let (mut child, mut there) = stdio(&profile);
    // Their end first: our output ends, our input goes on.
    there.write_all(b"SSH-2.0\n").unwrap();
    there.shutdown(Shutdown::Write).unwrap();
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(output, "SSH-2.0\n");
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"still here").unwrap();
    drop(input);
    let mut heard = String::new();
    there.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "still here");
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn a_megabyte_goes_through_standard_input_and_output() {
    let (_place, _gateway, profile) = gateway();
    let (mut child, there) = stdio(&profile);
    let sent: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    let echo = thread::spawn(move || std::io::copy(&mut there.try_clone().unwrap(), &mut &there).unwrap());
    let (mut input, to_send) = (child.stdin.take().unwrap(), sent.clone());
    let sending = thread::spawn(move || input.write_all(&to_send).unwrap());
    let mut received = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    assert!(received == sent, "{} bytes came back", received.len());
    sending.join().unwrap();
    assert_eq!(echo.join().unwrap(), 1_000_000);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn an_open_input_does_not_hold_up_the_end() {
    let (_place, _gateway, profile) = gateway();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut refused = forward(&profile, &["--stdio", &closed]);
    let mut refused = refused.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Kept until the end.
    let _input = refused.stdin.take().unwrap();
    assert_eq!(refused.wait().unwrap().code(), Some(1));
    let said: Vec<_> = BufReader::new(refused.stderr.take().unwrap()).lines().map(Result::unwrap).collect();
    assert!(said.last().unwrap().starts_with(&format!("error: cannot connect to {closed}: ")), "{said:?}");
    assert_eq!(said.iter().filter(|line| line.contains("cannot connect to")).count(), 1, "once is enough: {said:?}");

    let (mut child, mut there) = stdio(&profile);
    let _input = child.stdin.take().unwrap();
    there.write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(there.read(&mut [0]).is_err(), "a reset: the data did not come to its end");
}
