//! What people and machines see of a process.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::*;

pub(crate) fn at(seconds: u64) -> Timestamp {
    (SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_358_400 + seconds)).into()
}

fn gateway(name: &str, protocol: &str, server: &str, state: GatewayState) -> GatewayStatus {
    let up = state.is_up();
    GatewayStatus {
        name: name.to_owned(),
        protocol: protocol.to_owned(),
        server: server.to_owned(),
        state,
        since: at(10),
        remote: up.then(|| "198.51.100.7:4500".to_owned()),
        addresses: if up { vec!["10.99.0.2".to_owned()] } else { Vec::new() },
        dns: if up { vec!["10.0.0.53".to_owned()] } else { Vec::new() },
        mtu: up.then_some(1400),
        suite: up.then(|| "AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384".to_owned()),
        peer_identity: up.then(|| "vpn.example".to_owned()),
        rekey_due: up.then(|| at(3600)),
        rekeys: Rekeys { data: 2, control: 1 },
        failed_rekeys: Rekeys { data: 0, control: 3 },
        received_bytes: 3 << 20,
        sent_bytes: 1500,
        received_packets: 2200,
        sent_packets: 12,
        drops: BTreeMap::from([("refused".to_owned(), 3), ("foreign".to_owned(), 0)]),
        retransmits: 17,
        udp_socket: up.then_some(UdpSocket { gso: true, receive_buffer: Some(4_194_304) }),
        probe_rtt_ms: up.then_some(12.25),
        probe: up.then(|| probe(ProbeState::Answered)),
        carries: up.then(|| vec!["10.0.0.0/8".to_owned()]),
        handshake_ms: up.then_some(180.4),
        retry_at: None,
        attempts: 3,
        failures: 1,
        failures_by_code: BTreeMap::from([("unreachable".to_owned(), 1)]),
        connections: 2,
        last_error: None,
    }
}

fn probe(state: ProbeState) -> ProbeStatus {
    let answered = if state == ProbeState::NeverAnswered { 0 } else { 40 };
    let last_failure = Some("10.0.0.80:443: no answer within 1000 ms".to_owned());
    ProbeStatus { state, answered, failed: 2, last_failure }
}

fn forward(name: &str, gateway: Option<&str>) -> ForwardStatus {
    ForwardStatus {
        name: name.to_owned(),
        kind: "local".to_owned(),
        listening: true,
        listen: "127.0.0.1:33000".to_owned(),
        to: Some("192.168.100.30:8080".to_owned()),
        gateway: gateway.map(str::to_owned),
        open: 1,
        total: 7,
        refused: 2,
        failed: 3,
        received_bytes: 4096,
        sent_bytes: 100,
        last_error: None,
    }
}

/// One connection of two gateways that works, one that failed, and one that nobody has started.
pub(crate) fn process() -> ProcessStatus {
    let mut standby = gateway("b", "openvpn", "b.example:1194", GatewayState::Standby);
    standby.remote = Some("203.0.113.9:1194".to_owned());
    let production = ConnectionStatus {
        name: "production".to_owned(),
        description: "Main office".to_owned(),
        autostart: true,
        state: State::Connected,
        since: at(10),
        latest_update: at(11),
        policy: "priority".to_owned(),
        active: Some("a".to_owned()),
        standby: vec!["b".to_owned()],
        gateways: vec![gateway("a", "ikev2", "a.example:500", GatewayState::Active), standby],
        forwards: vec![forward("crm", None), forward("127.0.0.1:33001", Some("b"))],
        device: Some(DeviceStatus {
            name: "adit0".to_owned(),
            state: DeviceState::Up,
            since: at(10),
            addresses: vec!["10.99.0.2/32".to_owned()],
        }),
        redundancy: Some(Redundancy::Full),
        redundancy_reason: None,
        failovers: 1,
        last_error: None,
    };
    let refused = LastError {
        at: at(12),
        text: "c.example:1194: AUTH_FAILED".to_owned(),
        hint: Some("check user name and password".to_owned()),
        code: "auth_failed".to_owned(),
    };
    let mut gateway_of_staging = gateway("c", "openvpn", "c.example:1194", GatewayState::Refused);
    gateway_of_staging.last_error = Some(refused.clone());
    let staging = ConnectionStatus {
        name: "staging".to_owned(),
        description: String::new(),
        state: State::Failed,
        since: at(12),
        active: None,
        standby: Vec::new(),
        gateways: vec![gateway_of_staging],
        forwards: vec![ForwardStatus { listening: false, ..forward("crm", None) }],
        device: None,
        redundancy: None,
        failovers: 0,
        last_error: Some(refused),
        ..production.clone()
    };
    let idle = ConnectionStatus {
        name: "test".to_owned(),
        autostart: false,
        state: State::Idle,
        gateways: vec![gateway("d", "ikev2", "d.example:500", GatewayState::Idle)],
        forwards: Vec::new(),
        last_error: None,
        ..staging.clone()
    };
    ProcessStatus {
        version: "0.1.0".to_owned(),
        pid: 4711,
        since: at(0),
        stopping: false,
        tasks: 12,
        memory: Memory { used_bytes: 53248, limit_bytes: 512 << 20 },
        configuration_error: None,
        configuration_since: at(5),
        connections: vec![production, staging, idle],
    }
}

#[test]
fn the_json_is_as_documented() {
    insta::assert_json_snapshot!(process());
}

#[test]
fn the_json_can_be_read_back() {
    let json = serde_json::to_string(&process()).unwrap();
    assert_eq!(serde_json::from_str::<ProcessStatus>(&json).unwrap(), process());
}

#[test]
fn the_table_has_a_line_for_each_connection() {
    insta::assert_snapshot!(table(&process(), at(7900)));
}

#[test]
fn the_details_show_gateways_and_forwards() {
    insta::assert_snapshot!(details(&process().connections[0], at(7900)));
}

#[test]
fn a_standby_that_is_missing_is_shown_with_its_reason() {
    let mut process = process();
    let connection = &mut process.connections[0];
    connection.redundancy = Some(Redundancy::None);
    connection.redundancy_reason = Some("no standby: b is waiting (b.example:1194: no answer)".to_owned());
    let text = details(connection, at(7900));
    assert!(text.contains("Redundancy     none: no standby: b is waiting (b.example:1194: no answer)\n"), "{text}");
    let lines = table(&process, at(7900));
    assert!(lines.lines().nth(1).unwrap().ends_with("Connected for 2 h 11 min, no standby"), "{lines}");
}

#[test]
fn a_probe_that_is_not_answered_is_shown_with_its_reason() {
    let mut connection = process().connections.swap_remove(0);
    let mut shown = |state| {
        connection.gateways[0].probe = Some(probe(state));
        let text = details(&connection, at(7900));
        text.lines().find(|line| line.starts_with("  Probe")).unwrap().trim_start_matches("  Probe").trim().to_owned()
    };
    assert_eq!(shown(ProbeState::Answered), "12.2 ms");
    assert_eq!(shown(ProbeState::NeverAnswered), "never answered, 2 times: 10.0.0.80:443: no answer within 1000 ms");
    assert_eq!(
        shown(ProbeState::Unanswered),
        "not answered: 10.0.0.80:443: no answer within 1000 ms; before that 12.2 ms"
    );
}

#[test]
fn the_details_of_a_failure_say_what_to_do() {
    let text = details(&process().connections[1], at(7900));
    for said in ["Failed for 2 h 11 min: c.example:1194: AUTH_FAILED", "check user name and password", "(closed)"] {
        assert!(text.contains(said), "no {said}:\n{text}");
    }
}

#[test]
fn readiness_is_about_what_is_to_be_connected() {
    let mut process = process();
    let ready = process.readiness(None, None);
    assert!(!ready.ready && ready.reasons.len() == 1, "{ready:?}");
    assert!(ready.reasons[0].contains("`staging` is failed") && ready.reasons[0].contains("AUTH_FAILED"), "{ready:?}");
    process.connections[1].autostart = false;
    assert!(process.readiness(None, None).ready, "those that nobody started do not count");
    assert!(!process.readiness(Some("staging"), None).ready, "unless they are asked about");
    assert!(!process.readiness(Some("none"), None).ready);
    process.stopping = true;
    assert!(!process.readiness(None, None).ready);
}

#[test]
fn what_went_wrong_before_an_order_to_connect_is_no_reason() {
    let mut process = process();
    let shown = |process: &ProcessStatus| {
        let lines = table(process, at(7900));
        let line = lines.lines().find(|line| line.starts_with("staging")).unwrap().to_owned();
        [line, process.readiness(Some("staging"), None).reasons.concat()]
    };
    process.connections[1].state = State::Connecting;
    process.connections[1].since = at(7899);
    let [line, reason] = shown(&process);
    assert!(line.ends_with("Connecting for 1 s"), "{line}");
    assert!(reason.contains("is connecting") && !reason.contains("AUTH_FAILED"), "{reason}");
    // One of this very attempt is, and so is that which another state began with.
    process.connections[1].last_error.as_mut().unwrap().at = at(7899);
    assert!(
        shown(&process).iter().all(|said| said.ends_with(": c.example:1194: AUTH_FAILED")),
        "{:?}",
        shown(&process)
    );
    process.connections[1].last_error.as_mut().unwrap().at = at(7898);
    for state in [State::Reconnecting, State::Failed] {
        process.connections[1].state = state;
        assert!(shown(&process)[0].ends_with("for 1 s: c.example:1194: AUTH_FAILED"), "{:?}", shown(&process));
    }
}

#[test]
fn what_went_wrong_before_is_no_reason_of_what_ends_in_good_order() {
    let mut process = process();
    let staging = |process: &ProcessStatus| process.readiness(Some("staging"), None).reasons.concat();
    for state in [State::Draining, State::Disconnecting, State::Idle] {
        process.connections[1].state = state;
        let said = staging(&process);
        assert!(
            said.contains(&format!("`staging` is {} since ", state.name())) && !said.contains("AUTH_FAILED"),
            "{said}"
        );
    }
    process.connections[1].state = State::Reconnecting;
    assert!(staging(&process).contains("AUTH_FAILED"));
}

#[test]
fn a_forward_is_ready_when_it_listens_and_its_gateway_is_up() {
    let mut process = process();
    assert!(process.readiness(None, Some("127.0.0.1:33001")).ready);
    assert!(process.readiness(Some("production"), Some("crm")).ready);
    assert!(process.readiness(None, Some("production/crm")).ready);
    assert!(!process.readiness(None, Some("crm")).ready, "that of the other connection is not");
    assert!(!process.readiness(None, Some("nothing")).ready);
    process.connections[0].gateways[1].state = GatewayState::Waiting;
    let ready = process.readiness(None, Some("127.0.0.1:33001"));
    assert!(ready.reasons[0].contains("its gateway `b` is down"), "{ready:?}");
    assert!(process.readiness(None, Some("production/crm")).ready);
    process.connections[0].forwards[0].listening = false;
    assert!(!process.readiness(None, Some("production/crm")).ready);
}
