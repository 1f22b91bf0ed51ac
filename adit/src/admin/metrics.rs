//! The snapshot as OpenMetrics text.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry},
};

use super::family::{Family, Labels};

use crate::status::{
    ConnectionStatus, DeviceState, GatewayState, GatewayStatus, ProbeState, ProcessStatus, Redundancy, State,
};

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds: from a gateway next door to one that asks a person.
const HANDSHAKE_SECONDS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

type Counters = Family<Counter>;
type Gauges = Family<Gauge>;
type Numbers = Family<Gauge<f64, AtomicU64>>;
type Histograms = Family<Histogram>;

/// How long handshakes took. The only numbers that no snapshot has.
#[derive(Clone)]
pub(crate) struct Handshakes(Histograms);

impl Handshakes {
    pub(crate) fn new() -> Self {
        Self(Family::new(|| Histogram::new(HANDSHAKE_SECONDS)))
    }

    pub(crate) fn took(&self, connection: &str, gateway: &str, time: Duration) {
        self.0.get_or_create(&of_tunnel(connection, gateway)).observe(time.as_secs_f64());
    }
}

fn of_tunnel(connection: &str, gateway: &str) -> Labels {
    vec![("connection", connection.to_owned()), ("tunnel", gateway.to_owned())]
}

fn with(labels: &Labels, key: &'static str, value: impl Into<String>) -> Labels {
    let mut labels = labels.clone();
    labels.push((key, value.into()));
    labels
}

pub(super) fn text(status: &ProcessStatus, handshakes: &Handshakes) -> String {
    let mut registry = Registry::default();
    registry.register("vpn_build", "What runs", Info::new(vec![("version", status.version.clone())]));
    let started: Numbers =
        register(&mut registry, "vpn_process_start_timestamp_seconds", "When the process was started");
    started.get_or_create(&Vec::new()).set(status.since.unix_seconds());
    let reload: Gauges = register(
        &mut registry,
        "vpn_configuration_last_reload_successful",
        "1 while what was read last is in force, 0 where it was refused, or could not be done in full",
    );
    reload.get_or_create(&Vec::new()).set(i64::from(status.configuration_error.is_none()));
    let read: Numbers = register(
        &mut registry,
        "vpn_configuration_last_reload_success_timestamp_seconds",
        "When the configuration was read last that was put in force in full, at the start or by a reload",
    );
    read.get_or_create(&Vec::new()).set(status.configuration_since.unix_seconds());
    let tasks: Gauges = register(&mut registry, "vpn_process_tasks", "Tasks of the runtime that have not ended");
    tasks.get_or_create(&Vec::new()).set(signed(status.tasks as u64));
    for (name, help, bytes) in [
        ("vpn_netstack_memory_bytes", "Promised to buffers of connections inside", status.memory.used_bytes),
        ("vpn_netstack_memory_limit_bytes", "The most that may be", status.memory.limit_bytes),
    ] {
        let gauge: Gauges = register(&mut registry, name, help);
        gauge.get_or_create(&Vec::new()).set(signed(bytes));
    }
    let families = Families::new(&mut registry);
    registry.register(
        "vpn_handshake_duration_seconds",
        "From the first packet to a tunnel that is up",
        handshakes.0.clone(),
    );
    for connection in &status.connections {
        families.add(connection);
    }
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => text,
        Err(error) => unreachable!("writing to a string cannot fail: {error}"),
    }
}

fn register<M: Metric + Default + Clone>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

struct Families {
    connection_state: Gauges,
    redundancy: Gauges,
    failovers: Counters,
    active: Gauges,
    up: Gauges,
    state: Gauges,
    established: Numbers,
    received_bytes: Counters,
    sent_bytes: Counters,
    received_packets: Counters,
    sent_packets: Counters,
    drops: Counters,
    rekeys: Counters,
    attempts: Counters,
    failures: Counters,
    retransmits: Counters,
    gso: Gauges,
    receive_buffer: Gauges,
    probe: Numbers,
    probe_up: Gauges,
    connections: Gauges,
    device_up: Gauges,
    device_blocks: Gauges,
    forward_up: Gauges,
    forward_open: Gauges,
    forward_ended: Counters,
    forward_received: Counters,
    forward_sent: Counters,
}

impl Families {
    /// The names of counters get `_total` when they are written.
    fn new(registry: &mut Registry) -> Self {
        let r = registry;
        Self {
            connection_state: register(
                r,
                "vpn_connection_state",
                "1 for the state of the connection, 0 for the others",
            ),
            redundancy: register(
                r,
                "vpn_connection_redundancy",
                "1 for what is left when the gateway in use is lost, 0 for the others",
            ),
            failovers: register(r, "vpn_failovers", "How often another gateway took over"),
            active: register(r, "vpn_active_server", "1 for gateways in use, 0 for the others"),
            up: register(r, "vpn_tunnel_up", "1 while packets can travel through the tunnel"),
            state: register(r, "vpn_tunnel_state", "1 for the state of the gateway, 0 for the others"),
            established: register(
                r,
                "vpn_tunnel_established_timestamp_seconds",
                "Since when the gateway is in its state, while it is up",
            ),
            received_bytes: register(r, "vpn_tunnel_receive_bytes", "Bytes of datagrams from the gateway"),
            sent_bytes: register(r, "vpn_tunnel_transmit_bytes", "Bytes of datagrams to the gateway"),
            received_packets: register(r, "vpn_tunnel_receive_packets", "Packets out of the tunnel"),
            sent_packets: register(r, "vpn_tunnel_transmit_packets", "Packets into the tunnel"),
            drops: register(r, "vpn_tunnel_drops", "Datagrams and packets dropped, by reason"),
            rekeys: register(r, "vpn_rekeys", "How often keys were to be renewed, by kind and by what became of it"),
            attempts: register(r, "vpn_handshakes", "Attempts to bring the tunnel up"),
            failures: register(r, "vpn_handshake_failures", "Attempts that failed and tunnels that were lost, by code"),
            retransmits: register(r, "vpn_netstack_retransmits", "TCP segments inside that were sent again"),
            gso: register(r, "vpn_udp_gso_enabled", "1 while the system parts what is sent to the gateway, over UDP"),
            receive_buffer: register(
                r,
                "vpn_udp_rcvbuf_bytes",
                "Bytes of datagrams from the gateway that may wait, as the system counts",
            ),
            probe: register(r, "vpn_probe_rtt_seconds", "Round trip of the latest probe"),
            probe_up: register(r, "vpn_probe_up", "1 while the probe through the tunnel is answered"),
            connections: register(r, "vpn_tunnel_connections", "TCP connections inside that are open"),
            device_up: register(
                r,
                "vpn_device_up",
                "1 while the networks behind the gateway are routed through the device",
            ),
            device_blocks: register(
                r,
                "vpn_device_blocking",
                "1 while there is no tunnel and what belongs in one goes nowhere",
            ),
            forward_up: register(r, "vpn_forward_up", "1 while the forward listens"),
            forward_open: register(r, "vpn_forward_connections", "Connections and UDP associations that are open"),
            forward_ended: register(
                r,
                "vpn_forward_handled_connections",
                "Connections and UDP associations, by what became of them",
            ),
            forward_received: register(r, "vpn_forward_receive_bytes", "Bytes out of the tunnel"),
            forward_sent: register(r, "vpn_forward_transmit_bytes", "Bytes into the tunnel"),
        }
    }

    fn add(&self, connection: &ConnectionStatus) {
        let labels: Labels = vec![("connection", connection.name.clone())];
        for state in State::ALL {
            let value = i64::from(state == connection.state);
            self.connection_state.get_or_create(&with(&labels, "state", state.name())).set(value);
        }
        for level in Redundancy::ALL.into_iter().filter(|_| connection.redundancy.is_some()) {
            let value = i64::from(connection.redundancy == Some(level));
            self.redundancy.get_or_create(&with(&labels, "state", level.name())).set(value);
        }
        self.failovers.get_or_create(&labels).inc_by(connection.failovers);
        for gateway in &connection.gateways {
            self.add_gateway(connection, gateway);
        }
        if let Some(device) = &connection.device {
            let labels = with(&labels, "device", &device.name);
            self.device_up.get_or_create(&labels).set(i64::from(device.state == DeviceState::Up));
            self.device_blocks.get_or_create(&labels).set(i64::from(device.state == DeviceState::Blocked));
        }
        for forward in &connection.forwards {
            let labels = with(&labels, "forward", &forward.name);
            self.forward_up.get_or_create(&labels).set(i64::from(forward.listening));
            self.forward_open.get_or_create(&labels).set(signed(forward.open));
            let ends = [("accepted", forward.total), ("refused", forward.refused), ("failed", forward.failed)];
            for (result, count) in ends {
                self.forward_ended.get_or_create(&with(&labels, "result", result)).inc_by(count);
            }
            self.forward_received.get_or_create(&labels).inc_by(forward.received_bytes);
            self.forward_sent.get_or_create(&labels).inc_by(forward.sent_bytes);
        }
    }

    fn add_gateway(&self, connection: &ConnectionStatus, gateway: &GatewayStatus) {
        let labels = of_tunnel(&connection.name, &gateway.name);
        let server = vec![("connection", connection.name.clone()), ("server", gateway.name.clone())];
        self.active.get_or_create(&server).set(i64::from(gateway.state == GatewayState::Active));
        self.up.get_or_create(&labels).set(i64::from(gateway.state.is_up()));
        for state in GatewayState::ALL {
            let value = i64::from(state == gateway.state);
            self.state.get_or_create(&with(&labels, "state", state.name())).set(value);
        }
        if gateway.state.is_up() {
            self.established.get_or_create(&labels).set(gateway.since.unix_seconds());
        }
        if let Some(socket) = gateway.udp_socket {
            self.gso.get_or_create(&labels).set(i64::from(socket.gso));
            if let Some(bytes) = socket.receive_buffer {
                self.receive_buffer.get_or_create(&labels).set(signed(bytes as u64));
            }
        }
        if let Some(rtt) = gateway.probe_rtt_ms {
            self.probe.get_or_create(&labels).set(rtt / 1000.0);
        }
        if let Some(probe) = &gateway.probe {
            self.probe_up.get_or_create(&labels).set(i64::from(probe.state == ProbeState::Answered));
        }
        for (family, count) in [
            (&self.received_bytes, gateway.received_bytes),
            (&self.sent_bytes, gateway.sent_bytes),
            (&self.received_packets, gateway.received_packets),
            (&self.sent_packets, gateway.sent_packets),
            (&self.attempts, gateway.attempts),
            (&self.retransmits, gateway.retransmits),
        ] {
            family.get_or_create(&labels).inc_by(count);
        }
        for (reason, count) in &gateway.drops {
            self.drops.get_or_create(&with(&labels, "reason", reason)).inc_by(*count);
        }
        for (result, rekeys) in [("succeeded", gateway.rekeys), ("failed", gateway.failed_rekeys)] {
            for (kind, count) in [("data", rekeys.data), ("control", rekeys.control)] {
                let labels = with(&with(&labels, "kind", kind), "result", result);
                self.rekeys.get_or_create(&labels).inc_by(count);
            }
        }
        for (code, count) in &gateway.failures_by_code {
            self.failures.get_or_create(&with(&labels, "code", code)).inc_by(*count);
        }
        self.connections.get_or_create(&labels).set(signed(gateway.connections as u64));
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
