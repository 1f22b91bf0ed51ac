//! The admin port, over HTTP, and its metrics.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{
    demo::testing::{Kind as Protocol, Office},
    engine::{Engine, Order},
    status::State,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const FOR_EVER: Duration = Duration::from_secs(3600);

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Status and body.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = ask(address, &format!("GET {path}")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn serve(engine: &Engine) -> SocketAddr {
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server.address();
    tokio::spawn(server.serve(engine.clone()));
    address
}

/// Samples by name and labels, and the types of the families; every rule of the format that matters to us is checked.
fn parse(text: &str) -> (HashMap<String, f64>, HashMap<String, String>) {
    let (mut samples, mut types, mut helps) = (HashMap::new(), HashMap::new(), HashSet::new());
    let lines: Vec<_> = text.lines().collect();
    assert!(text.ends_with("# EOF\n") && lines.iter().filter(|line| **line == "# EOF").count() == 1);
    for line in &lines[..lines.len() - 1] {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is there twice");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(helps.insert(rest.split(' ').next().unwrap()));
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name} is there twice");
            let family = name.split('{').next().unwrap();
            let suffixes = ["", "_total", "_info", "_bucket", "_sum", "_count"];
            let known = suffixes.iter().any(|suffix| {
                let Some(family) = family.strip_suffix(suffix) else { return false };
                types.get(family).is_some_and(|kind| match kind.as_str() {
                    "counter" => *suffix == "_total",
                    "gauge" => suffix.is_empty(),
                    "info" => *suffix == "_info",
                    "histogram" => ["_bucket", "_sum", "_count"].contains(suffix),
                    other => panic!("{other}"),
                })
            });
            assert!(known, "no type of {family}");
        }
    }
    assert_eq!(types.len(), helps.len());
    (samples, types)
}

#[test]
fn the_metrics_say_what_the_status_says() {
    let handshakes = Handshakes::new();
    handshakes.took("production", "a", Duration::from_millis(180));
    handshakes.took("production", "a", Duration::from_secs(3));
    let text = metrics::text(&crate::status::tests::process(), &handshakes);
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"));
    let (samples, types) = parse(&text);
    for (name, value) in [
        ("vpn_build_info{version=\"0.1.0\"}", 1.0),
        ("vpn_tunnel_up{connection=\"production\",tunnel=\"a\"}", 1.0),
        ("vpn_tunnel_up{connection=\"staging\",tunnel=\"c\"}", 0.0),
        ("vpn_tunnel_state{connection=\"production\",tunnel=\"b\",state=\"standby\"}", 1.0),
        ("vpn_tunnel_state{connection=\"production\",tunnel=\"b\",state=\"active\"}", 0.0),
        ("vpn_tunnel_established_timestamp_seconds{connection=\"production\",tunnel=\"a\"}", 1_795_358_410.0),
        ("vpn_tunnel_receive_bytes_total{connection=\"production\",tunnel=\"a\"}", 3_145_728.0),
        ("vpn_tunnel_transmit_packets_total{connection=\"production\",tunnel=\"a\"}", 12.0),
        ("vpn_tunnel_drops_total{connection=\"production\",tunnel=\"a\",reason=\"refused\"}", 3.0),
        ("vpn_rekeys_total{connection=\"production\",tunnel=\"a\",kind=\"data\",result=\"succeeded\"}", 2.0),
        ("vpn_rekeys_total{connection=\"production\",tunnel=\"a\",kind=\"control\",result=\"failed\"}", 3.0),
        ("vpn_netstack_retransmits_total{connection=\"production\",tunnel=\"a\"}", 17.0),
        ("vpn_udp_gso_enabled{connection=\"production\",tunnel=\"a\"}", 1.0),
        ("vpn_udp_rcvbuf_bytes{connection=\"production\",tunnel=\"a\"}", 4_194_304.0),
        ("vpn_handshake_failures_total{connection=\"production\",tunnel=\"a\",code=\"unreachable\"}", 1.0),
        ("vpn_handshake_duration_seconds_count{connection=\"production\",tunnel=\"a\"}", 2.0),
        ("vpn_handshake_duration_seconds_bucket{le=\"0.25\",connection=\"production\",tunnel=\"a\"}", 1.0),
        ("vpn_failovers_total{connection=\"production\"}", 1.0),
        ("vpn_active_server{connection=\"production\",server=\"a\"}", 1.0),
        ("vpn_active_server{connection=\"production\",server=\"b\"}", 0.0),
        ("vpn_connection_state{connection=\"staging\",state=\"failed\"}", 1.0),
        ("vpn_forward_connections{connection=\"production\",forward=\"crm\"}", 1.0),
        ("vpn_forward_handled_connections_total{connection=\"production\",forward=\"crm\",result=\"failed\"}", 3.0),
        ("vpn_probe_rtt_seconds{connection=\"production\",tunnel=\"a\"}", 0.01225),
        ("vpn_probe_up{connection=\"production\",tunnel=\"a\"}", 1.0),
        ("vpn_connection_redundancy{connection=\"production\",state=\"full\"}", 1.0),
        ("vpn_connection_redundancy{connection=\"production\",state=\"none\"}", 0.0),
        ("vpn_configuration_last_reload_successful{}", 1.0),
        ("vpn_configuration_last_reload_success_timestamp_seconds{}", 1_795_358_405.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name}:\n{text}");
    }
    assert!(!text.contains("established_timestamp_seconds{connection=\"staging\""), "it is not up");
    assert_eq!(types["vpn_handshake_duration_seconds"], "histogram");
}

#[test]
fn a_configuration_that_is_not_in_force_has_a_metric() {
    let mut status = crate::status::tests::process();
    status.configuration_error = status.connections[1].last_error.clone();
    assert!(status.configuration_error.is_some());
    let (samples, types) = parse(&metrics::text(&status, &Handshakes::new()));
    assert_eq!(samples["vpn_configuration_last_reload_successful{}"], 0.0);
    assert_eq!(samples["vpn_configuration_last_reload_success_timestamp_seconds{}"], 1_795_358_405.0);
    for name in ["vpn_configuration_last_reload_successful", "vpn_configuration_last_reload_success_timestamp_seconds"]
    {
        assert_eq!(types[name], "gauge");
    }
}

#[test]
fn every_metric_is_documented() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let docs = std::fs::read_to_string(path).unwrap();
    let (_, types) = parse(&metrics::text(&crate::status::tests::process(), &Handshakes::new()));
    let types: std::collections::BTreeMap<_, _> = types.into_iter().collect();
    for (name, kind) in types {
        let shown = match kind.as_str() {
            "counter" => format!("`{name}_total"),
            "info" => format!("`{name}_info"),
            _ => format!("`{name}"),
        };
        assert!(docs.contains(&shown), "{shown}");
    }
}

#[tokio::test]
async fn probes_follow_the_connection_and_liveness_does_not() {
    let office = Office::open(Protocol::Ikev2);
    let mut plan = office.connection("office", &["crm"]);
    plan.autostart = false;
    let engine = Engine::for_tests();
    engine.add_for_tests(plan).await;
    let address = serve(&engine);
    assert_eq!(get(address, "/livez").await, (200, "ok\n".to_owned()));
    let (code, text) = get(address, "/readyz?connection=office").await;
    assert!(code == 503 && text.contains("connection `office` is idle"), "{text}");
    assert_eq!(get(address, "/readyz?forward=office%2Fcrm").await.0, 503);
    let mut changes = engine.changes();
    engine.order("office", Order::Connect, crate::activity::By::Program).await.unwrap();
    while engine.status().connections[0].state != State::Connected {
        changes.changed().await.unwrap();
    }
    let both = "/readyz?connection=office&forward=office/crm";
    for path in ["/readyz", "/readyz?connection=office", "/readyz?forward=crm", both, "/startupz"] {
        assert_eq!(get(address, path).await, (200, "ok\n".to_owned()), "{path}");
    }
    let (code, text) = get(address, "/metrics").await;
    let (samples, _) = parse(&text);
    assert_eq!(code, 200);
    assert_eq!(samples["vpn_tunnel_up{connection=\"office\",tunnel=\"a\"}"], 1.0);
    assert_eq!(samples["vpn_handshake_duration_seconds_count{connection=\"office\",tunnel=\"a\"}"], 1.0);
    // A name that is misspelt asks about nothing, which must not pass for readiness.
    for path in ["/readyz?forwards=nope", "/readyz?foo=1", "/readyz?forward=crm&foo"] {
        let (code, text) = get(address, path).await;
        assert!(code == 400 && text.contains("connection, forward"), "{path}: {text}");
    }
    for path in ["/readyz?forward=crm&forward=nope", "/readyz?forward=nope&forward=crm"] {
        let (code, text) = get(address, path).await;
        assert!(code == 503 && text == "there is no forward `nope`\n", "{path}: {text}");
    }
    engine.order("office", Order::Disconnect, crate::activity::By::Program).await.unwrap();
    assert_eq!(get(address, "/readyz?connection=office").await.0, 503);
    assert_eq!(get(address, "/livez").await.0, 200);
}

#[tokio::test]
async fn callers_that_say_nothing_do_not_keep_a_probe_from_its_answer() {
    let mut server = Server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (server.patience, server.life) = (FOR_EVER, FOR_EVER);
    let address = server.address();
    tokio::spawn(server.serve(Engine::for_tests()));
    let mut silent = Vec::new();
    for _ in 0..http::CALLERS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
        silent.push(stream);
    }
    let answered = tokio::time::timeout(PATIENCE, get(address, "/livez")).await.expect("in time");
    assert_eq!(answered.0, 200);
    // The first of them has made room, with a reset or without.
    let ended = tokio::time::timeout(PATIENCE, silent[0].read(&mut [0; 16])).await.expect("in time");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

#[tokio::test]
async fn a_caller_that_takes_too_long_is_left() {
    let mut server = Server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (server.patience, server.life) = (FOR_EVER, Duration::from_millis(50));
    let address = server.address();
    tokio::spawn(server.serve(Engine::for_tests()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 16])).await.expect("in time");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

#[tokio::test]
async fn who_has_said_all_may_end_its_direction() {
    let address = serve(&Engine::for_tests());
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("ok\n"), "{answer:?}");
    }
}

#[tokio::test]
async fn other_requests_are_told_what_there_is() {
    let address = serve(&Engine::for_tests());
    let (code, text) = get(address, "/").await;
    assert!(code == 404 && text.contains("/metrics"), "{text}");
    assert!(ask(address, "POST /livez").await.starts_with("HTTP/1.1 405 "));
    assert!(ask(address, "HEAD /livez").await.ends_with("\r\n\r\n"));
    let answer = ask(address, "GET /metrics").await;
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{answer}");
}

/// Who sends a head that is too long has it all sent before it reads: it is told so, and not reset.
#[tokio::test]
async fn an_overlong_head_is_told_so() {
    let address = serve(&Engine::for_tests());
    let long = |bytes: usize| format!("X-Long: {}\r\n", "x".repeat(bytes));
    for (code, headers) in
        [("431", long(60_000)), ("431", long(1_000_000)), ("431", "X: y\r\n".repeat(200)), ("200", long(2_000))]
    {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET /livez HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{} bytes: {answer:?}", headers.len());
    }
}

/// Labels and values come in the same order each time, so that two answers can be compared.
#[test]
fn the_metrics_have_one_order() {
    let (status, handshakes) = (crate::status::tests::process(), Handshakes::new());
    let text = metrics::text(&status, &handshakes);
    let states: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("vpn_tunnel_state{connection=\"production\",tunnel=\"b\""))
        .filter_map(|line| line.split("state=\"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(states, crate::status::GatewayState::ALL.map(|state| state.name()));
    let again = metrics::text(&status, &handshakes);
    assert_eq!(text, again);
}
