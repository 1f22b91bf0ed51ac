//! The metrics of `adit run`, as the parser of Prometheus' own client reads them.

use std::{
    collections::BTreeMap,
    fs::File,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::Case;
use crate::{
    client::client_file,
    config::{self, Transport},
    needs::{DEBIAN_PYTHON, Need},
    net::{Place, WEB},
    process::run,
    rig::Rig,
    running::{ADMIN, Running},
    server::Server,
};

const NAME: &str = "office";
/// The gateway that answers, and one that nobody is behind.
const GATEWAY: &str = "a";
const GONE: &str = "gone";
const LISTEN: &str = "127.0.0.1:33000";
/// Enough for a handshake beside other cases.
const UP: Duration = Duration::from_secs(40);
/// What comes through the forward.
const BYTES: usize = 1 << 20;
const READER: &str = include_str!("openmetrics.py");
/// All there are, and what they are.
const FAMILIES: [(&str, &str); 34] = [
    ("vpn_build", "info"),
    ("vpn_process_start_timestamp_seconds", "gauge"),
    ("vpn_process_tasks", "gauge"),
    ("vpn_netstack_memory_bytes", "gauge"),
    ("vpn_netstack_memory_limit_bytes", "gauge"),
    ("vpn_configuration_last_reload_successful", "gauge"),
    ("vpn_configuration_last_reload_success_timestamp_seconds", "gauge"),
    ("vpn_connection_state", "gauge"),
    ("vpn_connection_redundancy", "gauge"),
    ("vpn_failovers", "counter"),
    ("vpn_active_server", "gauge"),
    ("vpn_tunnel_up", "gauge"),
    ("vpn_tunnel_state", "gauge"),
    ("vpn_tunnel_established_timestamp_seconds", "gauge"),
    ("vpn_tunnel_receive_bytes", "counter"),
    ("vpn_tunnel_transmit_bytes", "counter"),
    ("vpn_tunnel_receive_packets", "counter"),
    ("vpn_tunnel_transmit_packets", "counter"),
    ("vpn_tunnel_drops", "counter"),
    ("vpn_tunnel_connections", "gauge"),
    ("vpn_rekeys", "counter"),
    ("vpn_netstack_retransmits", "counter"),
    ("vpn_udp_gso_enabled", "gauge"),
    ("vpn_udp_rcvbuf_bytes", "gauge"),
    ("vpn_handshakes", "counter"),
    ("vpn_handshake_failures", "counter"),
    ("vpn_handshake_duration_seconds", "histogram"),
    ("vpn_probe_rtt_seconds", "gauge"),
    ("vpn_probe_up", "gauge"),
    ("vpn_forward_up", "gauge"),
    ("vpn_forward_connections", "gauge"),
    ("vpn_forward_handled_connections", "counter"),
    ("vpn_forward_receive_bytes", "counter"),
    ("vpn_forward_transmit_bytes", "counter"),
];

pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("run_metrics", run_metrics).takes(8).needs(Need::Curl).needs(Need::PrometheusClient)]
}

/// What Prometheus would know.
#[derive(Debug, Deserialize)]
struct Family {
    r#type: String,
    help: String,
    samples: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

struct Metrics(BTreeMap<String, Family>);

impl Metrics {
    /// As Prometheus asks for them, and reads them.
    fn scrape(rig: &Rig) -> Result<Self> {
        let (text, accept) = (rig.dir.join("metrics.txt"), "Accept: application/openmetrics-text; version=1.0.0");
        let mut curl = rig.net.command(Place::Client, "curl");
        curl.args([
            "-sS",
            "--fail",
            "--max-time",
            "20",
            "--header",
            accept,
            "--write-out",
            "%{content_type}",
            "--output",
        ]);
        let content_type = run(curl.arg(&text).arg(format!("http://{ADMIN}/metrics")))?;
        let wanted = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ensure!(content_type == wanted, "the content type is {content_type}");
        let mut reader = Command::new(DEBIAN_PYTHON);
        let read = reader.args(["-c", READER]).stdin(File::open(&text)?).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = read.output().context(DEBIAN_PYTHON)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the parser takes {} not: {}", text.display(), said.trim());
        Ok(Self(serde_json::from_slice(&output.stdout)?))
    }

    /// The value with these labels, and no others.
    fn value(&self, sample: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let wanted = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        let mut all = self.0.values().flat_map(|family| &family.samples);
        let found = all.find(|found| found.name == sample && found.labels == wanted);
        Ok(found.with_context(|| format!("there is no {sample} with {labels:?}"))?.value)
    }

    fn of_gateway(&self, sample: &str, gateway: &str) -> Result<f64> {
        self.value(sample, &[("connection", NAME), ("tunnel", gateway)])
    }

    /// Everything that there is, under its name and with its type and a word about it.
    fn expect_families(&self) -> Result<()> {
        let found: BTreeMap<_, _> = self.0.iter().map(|(name, f)| (name.as_str(), f.r#type.as_str())).collect();
        ensure!(found == BTreeMap::from(FAMILIES), "the families are {found:?}");
        let silent: Vec<_> = self.0.iter().filter(|(_, f)| f.help.is_empty() || f.samples.is_empty()).collect();
        ensure!(silent.is_empty(), "without help or samples: {silent:?}");
        Ok(())
    }
}

fn run_metrics(rig: &Rig) -> Result<()> {
    let lan = rig.start_lan()?;
    rig.prove_unreachable()?;
    let server = Server::start(rig, &config::server(&rig.pki, Transport::Udp).with("reneg-sec 4"))?;
    let running = Running::start(rig, &connection(rig)?)?;
    running.wait(rig, NAME, "both gateways tried, and the probe answered", UP, |connection| {
        let [Some(a), Some(gone)] = [GATEWAY, GONE].map(|name| gateway(connection, name)) else { return false };
        connection["state"] == "connected" && !a["probe_rtt_ms"].is_null() && gone["failures"].as_u64() > Some(0)
    })?;
    rig.hello(LISTEN.parse()?)?;
    rig.download(LISTEN.parse()?, BYTES)?;
    running.wait(rig, NAME, "new keys", UP, |connection| {
        gateway(connection, GATEWAY).is_some_and(|gateway| gateway["rekeys"]["data"].as_u64() > Some(0))
    })?;
    // Nothing is open any more, or the sides would see another number each.
    running.wait(rig, NAME, "the end of all connections", UP, |connection| connection["forwards"][0]["open"] == 0)?;

    let before = running.status(rig)?;
    let metrics = Metrics::scrape(rig)?;
    let after = running.status(rig)?;
    metrics.expect_families()?;
    expect_process(&metrics, &before)?;
    expect_gateways(&metrics, &before["connections"][0], &after["connections"][0])?;
    expect_no_standby(&metrics, &after["connections"][0])?;
    expect_forward(&metrics, &after["connections"][0]["forwards"][0])?;

    running.terminate(UP)?;
    drop((server, lan));
    Ok(())
}

/// Two gateways, of which one refuses at once; a probe, and a forward to the web server.
fn connection(rig: &Rig) -> Result<String> {
    let profile = config::profile(&rig.pki, Transport::Udp)?;
    let gone = config::profile(&rig.pki, Transport::Tcp)?.replace("remote 203.0.113.1 9");
    let mut text = format!("[connection.{NAME}]\nstandby = \"hot\"\nprobe = {{ tcp = \"{WEB}\" }}\n\n");
    for (name, profile) in [(GATEWAY, profile), (GONE, gone)] {
        let file = client_file(&rig.dir.join(format!("{name}.ovpn")), &profile.text())?;
        text += &format!(
            "[[connection.{NAME}.gateway]]\nname = {name:?}\nprotocol = \"openvpn\"\nprofile = {:?}\n\n",
            file.display().to_string()
        );
    }
    Ok(text + &format!("[[connection.{NAME}.forward]]\nname = \"web\"\nlisten = {LISTEN:?}\nto = \"{WEB}\"\n"))
}

fn gateway<'a>(connection: &'a Value, name: &str) -> Option<&'a Value> {
    connection["gateways"].as_array()?.iter().find(|gateway| gateway["name"] == name)
}

fn number(status: &Value, key: &str) -> Result<f64> {
    status[key].as_f64().with_context(|| format!("{key} is {} in the status", status[key]))
}

fn expect_process(metrics: &Metrics, status: &Value) -> Result<()> {
    let version = status["version"].as_str().context("version")?;
    ensure!(metrics.value("vpn_build_info", &[("version", version)])? == 1.0, "the build is not {version}");
    ensure!(
        metrics.value("vpn_configuration_last_reload_successful", &[])? == 1.0,
        "the configuration is not in force"
    );
    for (state, wanted) in [("connected", 1.0), ("connecting", 0.0), ("failed", 0.0)] {
        let found = metrics.value("vpn_connection_state", &[("connection", NAME), ("state", state)])?;
        ensure!(found == wanted, "the state {state} is {found}");
    }
    Ok(())
}

/// Nobody is behind the gateway that is to stand by.
fn expect_no_standby(metrics: &Metrics, status: &Value) -> Result<()> {
    for (state, wanted) in [("full", 0.0), ("degraded", 0.0), ("none", 1.0)] {
        let found = metrics.value("vpn_connection_redundancy", &[("connection", NAME), ("state", state)])?;
        ensure!(found == wanted, "the redundancy {state} is {found}");
    }
    let (level, reason) = (&status["redundancy"], status["redundancy_reason"].as_str().unwrap_or_default());
    ensure!(*level == "none" && reason.starts_with(&format!("no standby: {GONE} is ")), "redundancy {level}: {reason}");
    let probe = &gateway(status, GATEWAY).context("the gateway")?["probe"];
    ensure!(probe["state"] == "answered" && metrics.of_gateway("vpn_probe_up", GATEWAY)? == 1.0, "the probe: {probe}");
    Ok(())
}

fn expect_gateways(metrics: &Metrics, before: &Value, after: &Value) -> Result<()> {
    for (name, up) in [(GATEWAY, 1.0), (GONE, 0.0)] {
        ensure!(metrics.of_gateway("vpn_tunnel_up", name)? == up, "whether {name} is up is not {up}");
        let server = [("connection", NAME), ("server", name)];
        ensure!(metrics.value("vpn_active_server", &server)? == up, "whether {name} is in use is not {up}");
        let [before, after] = [before, after].map(|status| gateway(status, name).context("the gateway"));
        let (before, after) = (before?, after?);
        for (sample, key) in [
            ("vpn_tunnel_receive_bytes_total", "received_bytes"),
            ("vpn_tunnel_transmit_bytes_total", "sent_bytes"),
            ("vpn_tunnel_receive_packets_total", "received_packets"),
            ("vpn_tunnel_transmit_packets_total", "sent_packets"),
            ("vpn_netstack_retransmits_total", "retransmits"),
            ("vpn_handshakes_total", "attempts"),
        ] {
            // The probe goes on meanwhile.
            let (found, least, most) = (metrics.of_gateway(sample, name)?, number(before, key)?, number(after, key)?);
            ensure!((least..=most).contains(&found), "{sample} of {name} is {found}, not from {least} to {most}");
        }
        for (result, key) in [("succeeded", "rekeys"), ("failed", "failed_rekeys")] {
            for kind in ["data", "control"] {
                let labels = [("connection", NAME), ("tunnel", name), ("kind", kind), ("result", result)];
                let found = metrics.value("vpn_rekeys_total", &labels)?;
                let (least, most) = (number(&before[key], kind)?, number(&after[key], kind)?);
                ensure!((least..=most).contains(&found), "{found} of {kind} {result}, not from {least} to {most}");
            }
        }
        let reasons = before["drops"].as_object().context("drops")?;
        for reason in reasons.keys() {
            let labels = [("connection", NAME), ("tunnel", name), ("reason", reason)];
            metrics.value("vpn_tunnel_drops_total", &labels)?;
        }
    }
    ensure!(metrics.of_gateway("vpn_tunnel_receive_bytes_total", GATEWAY)? > BYTES as f64, "too few bytes");
    let socket = &gateway(after, GATEWAY).context("the gateway")?["udp_socket"];
    let buffer = metrics.of_gateway("vpn_udp_rcvbuf_bytes", GATEWAY)?;
    ensure!(buffer > 0.0 && buffer == number(socket, "receive_buffer")?, "the buffer is {buffer}, and {socket}");
    let gso = metrics.of_gateway("vpn_udp_gso_enabled", GATEWAY)?;
    ensure!(Some(gso == 1.0) == socket["gso"].as_bool(), "segmentation is {gso}, and {socket}");
    ensure!(metrics.of_gateway("vpn_udp_rcvbuf_bytes", GONE).is_err(), "a socket to nobody has a buffer");
    let failures = [("connection", NAME), ("tunnel", GONE), ("code", "unreachable")];
    ensure!(metrics.value("vpn_handshake_failures_total", &failures)? > 0.0, "{GONE} has not failed");
    let took = metrics.of_gateway("vpn_handshake_duration_seconds_count", GATEWAY)?;
    let bucket = [("connection", NAME), ("tunnel", GATEWAY), ("le", "+Inf")];
    let all = metrics.value("vpn_handshake_duration_seconds_bucket", &bucket)?;
    ensure!(took == 1.0 && all == 1.0, "{took} handshakes were measured, {all} in all buckets");
    Ok(())
}

fn expect_forward(metrics: &Metrics, status: &Value) -> Result<()> {
    let labels = [("connection", NAME), ("forward", "web")];
    for (sample, key) in [
        ("vpn_forward_connections", "open"),
        ("vpn_forward_receive_bytes_total", "received_bytes"),
        ("vpn_forward_transmit_bytes_total", "sent_bytes"),
    ] {
        let (found, wanted) = (metrics.value(sample, &labels)?, number(status, key)?);
        ensure!(found == wanted, "{sample} is {found}, and {wanted} in the status");
    }
    for (result, wanted) in [("accepted", 2.0), ("failed", 0.0), ("refused", 0.0)] {
        let labels = [&labels[..], &[("result", result)]].concat();
        let found = metrics.value("vpn_forward_handled_connections_total", &labels)?;
        ensure!(found == wanted, "{found} connections are {result}, not {wanted}");
    }
    Ok(())
}
