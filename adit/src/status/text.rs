//! The snapshot for people.

use std::time::Duration;

use super::{
    ConnectionStatus, ForwardStatus, GatewayState, GatewayStatus, ProbeState, ProcessStatus, Redundancy, State,
    Timestamp,
};

/// The connections, a line each: Name, Protocol, Server, Routes, Status.
pub(crate) fn table(status: &ProcessStatus, now: Timestamp) -> String {
    let refused = status.configuration_error.as_ref().map(|error| {
        let hint = error.hint.as_ref().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
        format!("\nThe configuration was refused, the one before is in force: {}{hint} ({})\n", error.text, error.at)
    });
    let refused = refused.unwrap_or_default();
    if status.connections.is_empty() {
        return format!("no connections\n{refused}");
    }
    let mut rows = vec![["NAME", "PROTOCOL", "SERVER", "ROUTES", "STATUS"].map(str::to_owned)];
    rows.extend(status.connections.iter().map(|connection| {
        [
            connection.name.clone(),
            protocols(connection),
            server(connection),
            connection.forwards.len().to_string(),
            summary(connection, now),
        ]
    }));
    let mut text = aligned(&rows);
    text.push_str(&refused);
    if status.stopping {
        text.push_str("\nThe process is stopping.\n");
    }
    text
}

/// Everything about one connection.
pub(crate) fn details(connection: &ConnectionStatus, now: Timestamp) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            text += &format!("{name:<15}{value}\n");
        }
    };
    line("Name", &connection.name);
    line("Description", &connection.description);
    line("Status", &summary(connection, now));
    line("Latest update", &connection.latest_update.to_string());
    line("Policy", &connection.policy);
    line("In use", connection.active.as_deref().unwrap_or("-"));
    line("Standby", &connection.standby.join(", "));
    if let Some(level) = connection.redundancy {
        let why = connection.redundancy_reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        line("Redundancy", &format!("{}{why}", level.name()));
    }
    line("Fail-overs", &connection.failovers.to_string());
    if let Some(device) = &connection.device {
        let state = format!("{} {} for {}", device.name, device.state.name(), span(device.since.age(now)));
        line("Device", [state, device.addresses.join(" ")].join(" ").trim());
    }
    if let Some(error) = &connection.last_error {
        line("Last error", &format!("{} ({})", error.text, error.at));
        line("Hint", error.hint.as_deref().unwrap_or_default());
    }
    for gateway in &connection.gateways {
        text.push('\n');
        text.push_str(&gateway_details(gateway, now));
    }
    let count = connection.forwards.len();
    text += &format!("\n{count} {} routed\n", if count == 1 { "port" } else { "ports" });
    if count > 0 {
        let mut rows = vec![
            ["NAME", "KIND", "FROM", "TO", "GATEWAY", "OPEN", "TOTAL", "REFUSED", "FAILED", "IN", "OUT"]
                .map(str::to_owned),
        ];
        rows.extend(connection.forwards.iter().map(forward_row));
        text.push_str(&aligned(&rows));
        for forward in &connection.forwards {
            if let Some(error) = &forward.last_error {
                text += &format!("{}: {error}\n", forward.name);
            }
        }
    }
    text
}

fn forward_row(forward: &ForwardStatus) -> [String; 11] {
    let listen = if forward.listening { forward.listen.clone() } else { format!("{} (closed)", forward.listen) };
    [
        forward.name.clone(),
        forward.kind.clone(),
        listen,
        forward.to.clone().unwrap_or_else(|| "-".to_owned()),
        forward.gateway.clone().unwrap_or_else(|| "-".to_owned()),
        forward.open.to_string(),
        forward.total.to_string(),
        forward.refused.to_string(),
        forward.failed.to_string(),
        bytes(forward.received_bytes),
        bytes(forward.sent_bytes),
    ]
}

fn gateway_details(gateway: &GatewayStatus, now: Timestamp) -> String {
    let mut text = format!("Gateway {} ({} {})\n", gateway.name, gateway.protocol, gateway.server);
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            text += &format!("  {name:<13}{value}\n");
        }
    };
    let mut state = format!("{} for {}", gateway.state.name(), span(gateway.since.age(now)));
    if let Some(retry_at) = gateway.retry_at {
        state += &format!(", tried again in {}", span(now.age(retry_at)));
    }
    line("State", &state);
    line("Remote", gateway.remote.as_deref().unwrap_or_default());
    line("Identity", gateway.peer_identity.as_deref().unwrap_or_default());
    line("Addresses", &gateway.addresses.join(", "));
    line("DNS", &gateway.dns.join(", "));
    line("MTU", &gateway.mtu.map_or(String::new(), |mtu| mtu.to_string()));
    line("Suite", gateway.suite.as_deref().unwrap_or_default());
    let due = gateway.rekey_due.map_or(String::new(), |due| format!(", next in {}", span(now.age(due))));
    let renewed = gateway.rekeys.data + gateway.rekeys.control;
    if renewed > 0 || !due.is_empty() {
        line("Rekeys", &format!("{} data, {} control{due}", gateway.rekeys.data, gateway.rekeys.control));
    }
    line("Received", &traffic(gateway.received_bytes, gateway.received_packets));
    line("Sent", &traffic(gateway.sent_bytes, gateway.sent_packets));
    let drops: Vec<_> =
        gateway.drops.iter().filter(|(_, count)| **count > 0).map(|(why, count)| format!("{count} {why}")).collect();
    line("Dropped", &drops.join(", "));
    line("Carries", &gateway.carries.as_deref().unwrap_or_default().join(", "));
    line("Probe", &probe(gateway));
    line("Handshake", &gateway.handshake_ms.map_or(String::new(), |took| format!("{took:.0} ms")));
    line("Attempts", &format!("{}, {} failed", gateway.attempts, gateway.failures));
    line("Connections", &gateway.connections.to_string());
    if let Some(error) = &gateway.last_error {
        line("Last error", &format!("{} ({})", error.text, error.at));
        line("Hint", error.hint.as_deref().unwrap_or_default());
    }
    text
}

fn probe(gateway: &GatewayStatus) -> String {
    let rtt = gateway.probe_rtt_ms.map(|rtt| format!("{rtt:.1} ms"));
    let Some(probe) = &gateway.probe else { return rtt.unwrap_or_default() };
    let why = probe.last_failure.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    match probe.state {
        ProbeState::Pending => "not answered yet".to_owned(),
        ProbeState::Answered => rtt.unwrap_or_default(),
        ProbeState::Unanswered => format!("not answered{why}; before that {}", rtt.unwrap_or_default()),
        ProbeState::NeverAnswered => format!("never answered, {} {}{why}", probe.failed, times(probe.failed)),
    }
}

const fn times(count: u64) -> &'static str {
    if count == 1 { "time" } else { "times" }
}

fn protocols(connection: &ConnectionStatus) -> String {
    let mut protocols: Vec<_> = connection.gateways.iter().map(|gateway| gateway.protocol.as_str()).collect();
    protocols.dedup();
    protocols.join("+")
}

/// The gateway in use, or the preferred one; and how many others there are.
fn server(connection: &ConnectionStatus) -> String {
    let in_use = connection.gateways.iter().find(|gateway| gateway.state == GatewayState::Active);
    let Some(gateway) = in_use.or_else(|| connection.gateways.first()) else { return "-".to_owned() };
    match connection.gateways.len() - 1 {
        0 => gateway.server.clone(),
        more => format!("{} (+{more})", gateway.server),
    }
}

fn summary(connection: &ConnectionStatus, now: Timestamp) -> String {
    let state = match connection.state {
        State::Idle => "Not connected",
        State::Connecting => "Connecting",
        State::Connected => "Connected",
        State::Reconnecting => "Reconnecting",
        State::Draining => "Draining",
        State::Disconnecting => "Disconnecting",
        State::Failed => "Failed",
    };
    let mut text = format!("{state} for {}", span(connection.since.age(now)));
    if let Some(error) = connection.trouble() {
        text += &format!(": {}", error.text);
    }
    if connection.state == State::Connected {
        text += match connection.redundancy {
            None | Some(Redundancy::Full) => "",
            Some(Redundancy::Degraded) => ", fewer tunnels than wanted",
            Some(Redundancy::None) => ", no standby",
        };
    }
    let closed = connection.forwards.iter().filter(|forward| !forward.listening).count();
    if connection.state == State::Connected && closed > 0 {
        text += &format!(", {closed} of its forwards {} not listen", if closed == 1 { "does" } else { "do" });
    }
    text
}

/// The two largest units of a time.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

fn traffic(count: u64, packets: u64) -> String {
    format!("{}, {packets} packets", bytes(count))
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Columns of the same width, two spaces between them; the last one as long as it is.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = if column + 1 == N { 0 } else { widths[column] + 2 };
            text += &format!("{cell:<width$}");
        }
        text.push('\n');
    }
    text
}
