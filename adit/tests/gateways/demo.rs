//! `adit demo`.

use std::{
    fs, io,
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use crate::running::{Running, Workplace, adit, get};

/// The page, as it came through IKEv2 and through OpenVPN.
const PAGES: [&str; 2] =
    ["Hello world!</h1><p>You came in through IKEv2.", "Hello world!</h1><p>You came in through OpenVPN."];

/// A demo that stays, and the addresses it says lead to the page.
fn staying() -> (Running, [String; 2]) {
    let demo = Running::start(adit(&["demo"]));
    let address = |nth| demo.nth_line("curl ", nth).split(' ').next().unwrap().to_owned();
    let addresses = [address(0), address(1)];
    (demo, addresses)
}

#[test]
fn both_pages_are_fetched_and_nothing_is_left() {
    let place = Workplace::new();
    let mut command = adit(&["demo", "--once"]);
    command.current_dir(&place.0).env("HOME", "/nonexistent").env("TMPDIR", &place.0);
    let ended = Running::start(command).end().with(0);
    for text in PAGES.into_iter().chain([
        "IKEv2 gateway: listens on 127.0.0.1:",
        "IKEv2 client: the gateway has proved to be gateway.demo.example",
        "IKEv2 gateway: alice from 127.0.0.1:",
        "OpenVPN gateway: listens on 127.0.0.1:",
        "OpenVPN client: control channel up",
        "OpenVPN gateway: alice from 127.0.0.1:",
        "both pages are here",
    ]) {
        assert!(ended.stdout.contains(text), "no `{text}`:\n{}", ended.stdout);
    }
    // The algorithms of both.
    assert!(ended.stdout.matches("IKE SA").count() >= 1 && ended.stdout.contains("cipher="), "{}", ended.stdout);
    assert!(!ended.stdout.contains("Try it"), "{}", ended.stdout);
    assert_eq!(ended.stderr, "");
    assert_eq!(fs::read_dir(&place.0).unwrap().count(), 0, "no file");
}

#[test]
fn only_the_pages_are_shown_quietly() {
    let ended = Running::start(adit(&["demo", "--once", "--quiet"])).end().with(0);
    let lines: Vec<_> = ended.stdout.lines().filter(|line| !line.contains("is taken by another program")).collect();
    assert!(lines.len() == 2 && PAGES.iter().zip(&lines).all(|(page, line)| line.contains(page)), "{}", ended.stdout);
}

#[test]
fn in_json_the_steps_are_a_log() {
    let ended = Running::start(adit(&["demo", "--once", "--log-format", "json"])).end().with(0);
    assert!(ended.stderr.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{}", ended.stderr);
    assert!(ended.stderr.contains("the gateway has proved to be"), "{}", ended.stderr);
    assert!(PAGES.iter().all(|page| ended.stdout.contains(page)) && !ended.stdout.contains(" ms "), "{}", ended.stdout);
}

#[test]
fn a_port_that_is_taken_is_met_with_the_next_free_one_and_said() {
    // Whoever has it for so long keeps it.
    let _taken = bind("127.0.0.1:33000");
    let (demo, [ikev2, openvpn]) = staying();
    assert!(get(&ikev2).contains(PAGES[0]) && get(&openvpn).contains(PAGES[1]));
    let port: u16 = ikev2.rsplit(':').next().unwrap().parse().unwrap();
    assert!(port > 33001, "{ikev2}");
    demo.signal("-TERM");
    let ended = demo.end().with(0);
    let said = format!("port 33000 is taken by another program; {port} is the next free one");
    assert!(ended.stdout.contains(&said), "{}", ended.stdout);
}

#[test]
fn two_demos_do_not_disturb_each_other() {
    let ((one, first), (two, second)) = (staying(), staying());
    let mut addresses = [&first[..], &second[..]].concat();
    for (index, address) in addresses.iter().enumerate() {
        assert!(get(address).contains(PAGES[index % 2]), "{address}");
    }
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 4);
    one.signal("-INT");
    one.end().with(130);
    assert!(second.iter().all(|address| get(address).contains("Hello world!")), "the other goes on");
    two.signal("-TERM");
    two.end().with(0);
}

#[test]
fn a_signal_ends_it_soon_and_frees_its_ports() {
    let (demo, addresses) = staying();
    assert!(get(&addresses[0]).starts_with("HTTP/1.1 200 OK\r\n"));
    let begin = Instant::now();
    demo.signal("-TERM");
    demo.end().with(0);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    for address in addresses {
        bind(&address).unwrap_or_else(|error| panic!("{address}: {error}"));
    }
}

/// Binds this address, once the demos of other tests that may have it are over.
fn bind(address: &str) -> io::Result<TcpListener> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::park_timeout(Duration::from_millis(5));
            }
            bound => return bound,
        }
    }
}
