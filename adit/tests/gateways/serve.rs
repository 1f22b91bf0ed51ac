//! `adit serve`, with our own client.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::PathBuf,
    process::Command,
    thread,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::running::{Running, Workplace, adit, get};

/// What the web server behind the gateways answers.
pub(crate) const PAGE: &str = "HTTP/1.0 200 OK\r\n\r\nbehind the gateway";

/// A workplace with certificates and secrets.
pub(crate) fn workplace() -> Workplace {
    let place = Workplace::new();
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    place.file("ca.pem", ca.pem());
    for (name, usage) in [
        ("vpn.example", ExtendedKeyUsagePurpose::ServerAuth),
        ("alice", ExtendedKeyUsagePurpose::ClientAuth),
        ("bob", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        place.file(&format!("{name}.pem"), certificate.pem() + &key.serialize_pem());
    }
    place.file("password", "secret\n");
    place.file("wrong", "another\n");
    place.file("login", "alice\nsecret\n");
    let digits = "0123456789abcdef".repeat(32);
    place.file(
        "ta.key",
        format!("-----BEGIN OpenVPN Static key V1-----\n{digits}\n-----END OpenVPN Static key V1-----\n"),
    );
    place
}

/// A web server on loopback, for the rest of the test.
pub(crate) fn web_server() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_to_end_of(&mut head) {}
            drop(stream.write_all(PAGE.as_bytes()));
        }
    });
    address
}

trait ReadSome {
    /// Reads some more; `false` at the end.
    fn read_to_end_of(&mut self, to: &mut Vec<u8>) -> bool;
}

impl<R: Read> ReadSome for R {
    fn read_to_end_of(&mut self, to: &mut Vec<u8>) -> bool {
        let mut buffer = [0; 1024];
        let length = self.read(&mut buffer).unwrap_or_default();
        to.extend_from_slice(&buffer[..length]);
        length > 0
    }
}

pub(crate) const IKEV2: &str = "[serve.ike]\nprotocol = \"ikev2\"\nlisten = \"127.0.0.1:0\"\ncertificate = \"vpn.example.pem\"\n\
    identity = \"vpn.example\"\npool = \"10.99.0.0/24\"\nallow = \"127.0.0.1/32\"\n";
pub(crate) const OPENVPN: &str = "[serve.ovpn]\nprotocol = \"openvpn\"\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0/tcp\"]\n\
    certificate = \"vpn.example.pem\"\npool = \"10.98.0.0/24\"\nallow = \"127.0.0.1/32\"\n";
pub(crate) const USER: &str = "users.alice = { password = { file = \"password\" } }\n";

pub(crate) fn serve(place: &Workplace, text: &str) -> Command {
    let mut command = adit(&["serve", "--config"]);
    command.arg(place.file("serve.toml", text));
    command
}

/// A forward to the web server, with this client.
fn forward(config: &PathBuf, to: SocketAddr) -> Command {
    let mut command = adit(&["forward", "--config"]);
    command.arg(config).arg("-L").arg(format!("0:{to}"));
    command
}

fn ikev2_client(place: &Workplace, name: &str, gateway: &str, lines: &str) -> PathBuf {
    let text = format!(
        "[connection.x]\nprotocol = \"ikev2\"\nremotes = [\"{gateway}\"]\nremote_id = \"vpn.example\"\n{lines}"
    );
    place.file(&format!("{name}.toml"), text)
}

pub(crate) fn openvpn_client(place: &Workplace, gateway: &str, proto: &str, lines: &str) -> PathBuf {
    let remote = gateway.replace(':', " ");
    let text = format!(
        "client\ndev tun\nproto {proto}\nremote {remote}\nca ca.pem\nremote-cert-tls server\n\
         verify-x509-name vpn.example name\n{lines}"
    );
    place.file(&format!("{proto}.ovpn"), text)
}

/// The page arrives through this forward, which is ended afterwards.
fn page_through(command: Command) {
    let client = Running::start(command);
    let address = client.line("127.0.0.1:");
    let port = address.split(' ').next().unwrap();
    assert_eq!(get(&format!("127.0.0.1:{port}")), PAGE);
    client.signal("-TERM");
    client.end().with(0);
}

/// The gateway, and where it listens: `0.0.0.0:4500` of `ready NAME 0.0.0.0:4500/udp`.
pub(crate) fn ready(command: Command, name: &str, transport: &str) -> (Running, String) {
    let gateway = Running::start(command);
    let address = (0..2).map(|nth| gateway.nth_line(&format!("ready {name} "), nth));
    let address = address.into_iter().find_map(|line| line.strip_suffix(&format!("/{transport}")).map(str::to_owned));
    (gateway, address.unwrap())
}

#[test]
fn an_ikev2_gateway_lets_in_whoever_it_knows_and_nobody_else() {
    let (place, page) = (workplace(), web_server());
    place.file("shared", "pre-shared\n");
    let text = format!(
        "{IKEV2}{USER}client_ca = \"ca.pem\"\npsk = [{{ identity = \"carol@example\", key = {{ file = \"shared\" }} }}]\n"
    );
    let gateway = Running::start(serve(&place, &text));
    let line = gateway.line("ready ike ");
    let address = line.strip_suffix("/udp").unwrap();
    gateway.said("for labs, tests and small sites");
    for (name, lines) in [
        ("password", "ca = \"ca.pem\"\nuser = \"alice\"\npassword = { file = \"password\" }\n"),
        ("certificate", "ca = \"ca.pem\"\nauth = \"certificate\"\ncertificate = \"bob.pem\"\n"),
        ("psk", "psk = { file = \"shared\" }\nlocal_id = \"carol@example\"\n"),
    ] {
        page_through(forward(&ikev2_client(&place, name, address, lines), page));
    }
    for (name, lines) in [
        ("wrong password", "ca = \"ca.pem\"\nuser = \"alice\"\npassword = { file = \"wrong\" }\n"),
        ("wrong user", "ca = \"ca.pem\"\nuser = \"mallory\"\npassword = { file = \"password\" }\n"),
        ("wrong key", "psk = { file = \"wrong\" }\nlocal_id = \"carol@example\"\n"),
    ] {
        let refused = Running::start(forward(&ikev2_client(&place, name, address, lines), page)).end();
        assert!(refused.stdout.is_empty(), "{name}");
        let code = if name == "wrong key" { [4, 5] } else { [5, 5] };
        assert!(
            code.iter().any(|code| refused.stderr.contains("error: ") && refused.code() == *code),
            "{}",
            refused.stderr
        );
    }
    gateway.signal("-TERM");
    let ended = gateway.end().with(0);
    for peer in ["alice from 127.0.0.1:", "carol@example from 127.0.0.1:"] {
        assert!(ended.stderr.contains(peer), "{}", ended.stderr);
    }
    let up: Vec<_> = ended.stderr.lines().filter(|line| line.contains("is up, as 10.99.0.")).collect();
    assert_eq!(up.len(), 3, "{}", ended.stderr);
    assert_eq!(ended.stderr.matches(" is down: ").count(), 3, "{}", ended.stderr);
    assert!(!ended.stderr.contains("secret") && !ended.stderr.contains("pre-shared\n"), "{}", ended.stderr);
}

#[test]
fn an_openvpn_gateway_answers_over_both_transports() {
    let (place, page) = (workplace(), web_server());
    let text = format!("{OPENVPN}{USER}client_ca = \"ca.pem\"\ntls_crypt = \"ta.key\"\n");
    for (transport, proto) in [("udp", "udp"), ("tcp", "tcp-client")] {
        let (gateway, address) = ready(serve(&place, &text), "ovpn", transport);
        let lines = "tls-crypt ta.key\ncert alice.pem\nkey alice.pem\nauth-user-pass login\n";
        page_through(forward(&openvpn_client(&place, &address, proto, lines), page));
        let unknown = lines.replace("login", "mallory");
        place.file("mallory", "mallory\nsecret\n");
        let refused = Running::start(forward(&openvpn_client(&place, &address, proto, &unknown), page)).end().with(5);
        assert!(refused.stdout.is_empty());
        gateway.signal("-INT");
        let ended = gateway.end().with(130);
        assert!(ended.stderr.contains("is up, as 10.98.0.2"), "{}", ended.stderr);
    }
}

#[test]
fn an_openvpn_gateway_may_do_without_certificates_or_without_passwords() {
    let (place, page) = (workplace(), web_server());
    for (gateway_has, client_has) in [
        (
            USER.to_owned() + "tls_auth = \"ta.key\"\nkey_direction = 0\nauth = \"SHA256\"\n",
            "tls-auth ta.key 1\nauth SHA256\nauth-user-pass login\n",
        ),
        ("client_ca = \"ca.pem\"\n".to_owned(), "cert alice.pem\nkey alice.pem\n"),
    ] {
        let (gateway, address) = ready(serve(&place, &format!("{OPENVPN}{gateway_has}")), "ovpn", "udp");
        page_through(forward(&openvpn_client(&place, &address, "udp", client_has), page));
        gateway.signal("-TERM");
        gateway.end().with(0);
    }
}

#[test]
fn all_gateways_of_a_file_are_run_and_each_peer_has_a_tunnel_of_its_own() {
    let (place, page) = (workplace(), web_server());
    let bob = "users.bob = { password = { file = \"password\" } }\n";
    let gateway = Running::start(serve(&place, &format!("{IKEV2}{USER}{bob}{OPENVPN}{USER}")));
    let ike = gateway.line("ready ike ").replace("/udp", "");
    let udp = (0..2).map(|nth| gateway.nth_line("ready ovpn ", nth)).find(|line| line.ends_with("/udp")).unwrap();
    let client = |user: &str| {
        let lines = format!("ca = \"ca.pem\"\nuser = \"{user}\"\npassword = {{ file = \"password\" }}\n");
        Running::start(forward(&ikev2_client(&place, user, &ike, &lines), page))
    };
    let profile = openvpn_client(&place, &udp.replace("/udp", ""), "udp", "auth-user-pass login\n");
    let clients = [client("alice"), client("bob"), Running::start(forward(&profile, page))];
    for client in &clients {
        let port = client.line("127.0.0.1:");
        assert_eq!(get(&format!("127.0.0.1:{}", port.split(' ').next().unwrap())), PAGE);
    }
    gateway.signal("-TERM");
    let ended = gateway.end().with(0);
    for up in ["is up, as 10.99.0.2", "is up, as 10.99.0.3", "is up, as 10.98.0.2"] {
        assert!(ended.stderr.contains(up), "no {up}: {}", ended.stderr);
    }
}

#[test]
fn what_is_not_allowed_is_not_reached() {
    let (place, page) = (workplace(), web_server());
    // Without `allow`, this machine itself.
    let text = format!("{IKEV2}{USER}").replace("allow = \"127.0.0.1/32\"\n", "");
    let gateway = Running::start(serve(&place, &text));
    let address = gateway.line("ready ike ").replace("/udp", "");
    let lines = "ca = \"ca.pem\"\nuser = \"alice\"\npassword = { file = \"password\" }\n";
    let client = Running::start(forward(&ikev2_client(&place, "alice", &address, lines), page));
    let port = client.line("127.0.0.1:");
    let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{}", port.split(' ').next().unwrap())).unwrap();
    let mut answer = Vec::new();
    let reset = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() && reset.is_err(), "{reset:?}");
    client.said("cannot connect to");
}

/// Fails with this code; the last line is the error, and has every one of these texts.
fn fails(command: Command, code: i32, texts: &[&str]) {
    let ended = Running::start(command).end().with(code);
    assert!(ended.stdout.is_empty(), "nothing is announced: {}", ended.stdout);
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{}", ended.stderr);
    for text in texts {
        assert!(last.contains(text), "no {text:?} in {last:?}");
    }
}

#[test]
fn mistakes_are_said_with_line_and_cure() {
    let place = workplace();
    for (text, said) in [
        (String::new(), &["serve.toml", "there is no gateway in it", "[serve.NAME]"][..]),
        (format!("{IKEV2}usrs = 1\n"), &["serve.toml line 8", "`usrs`", "did you mean `users`?"]),
        (
            format!("{IKEV2}users.a = {{ password = \"hunter2\" }}\n"),
            &["line 8", "a secret does not stand in this file", "write `{ file"],
        ),
        (IKEV2.to_owned(), &["line 1 ", "(gateway `ike`)", "nothing says who may come in", "users.NAME"]),
        (format!("{IKEV2}{USER}").replace("vpn.example.pem", "nofile.pem"), &["line 4", "nofile.pem", "No such file"]),
        (format!("{IKEV2}{USER}").replace("vpn.example.pem", "ca.pem"), &["line 4", "ca.pem", "add `key"]),
        (format!("{OPENVPN}{USER}data_ciphers = \"BF-CBC\"\n"), &["line 8", "`BF-CBC`", "there are AES-256-GCM"]),
        ("[serve.x]\nprotocol = \"l2tp\"".to_owned(), &["line 2", "unknown", "`protocol = \"ikev2\"`"]),
    ] {
        fails(serve(&place, &text), 2, said);
    }
    let mut command = adit(&["serve", "--config"]);
    command.arg("/nonexistent/serve.toml");
    fails(command, 2, &["/nonexistent/serve.toml", "No such file"]);
    assert_eq!(adit(&["serve"]).output().unwrap().status.code(), Some(2), "no file at all");
}

#[test]
fn an_address_that_cannot_be_used_is_said() {
    let place = workplace();
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let with = |address: &str| format!("{IKEV2}{USER}").replace("127.0.0.1:0", address);
    fails(serve(&place, &with(&address)), 7, &["gateway `ike`", "in use", "hint:", "`listen`"]);
    // TEST-NET-1.
    fails(serve(&place, &with("192.0.2.1:0")), 7, &["gateway `ike`", "hint:", "`listen`"]);
}

#[test]
fn help_says_what_it_is_and_is_not() {
    let output = adit(&["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for text in ["for labs, tests", "no RADIUS", "remote_port", "--tun", "Exit codes", "ready NAME"] {
        assert!(help.contains(text), "no {text}: {help}");
    }
}
