//! A report for people.

use std::{
    fmt::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use adit_driver::{AddressProbe, ProbeReport, RemoteProbe};
use ikev2::{CertificateFacts, ProbeChild};

use super::{
    GatewayProbe,
    facts::{failed_step, moment},
};

/// The whole report; ends with a line break.
pub(super) fn of(probes: &[GatewayProbe]) -> String {
    let mut page = Page::default();
    for probe in probes {
        page.line(0, &format!("gateway {} ({})", probe.name, protocol(probe.protocol)));
        probe.remotes.iter().for_each(|remote| page.remote(remote));
    }
    page.text
}

fn protocol(protocol: &str) -> &str {
    if protocol == "ikev2" { "IKEv2" } else { "OpenVPN" }
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, depth: usize, text: &str) {
        // Writing to a String cannot fail.
        writeln!(self.text, "{:1$}{text}", "", 2 * depth).ok();
    }

    /// A name and what it stands for, in columns; nothing without a value.
    fn fact(&mut self, name: &str, value: impl AsRef<str>) {
        self.fact_at(2, name, value);
    }

    fn fact_at(&mut self, depth: usize, name: &str, value: impl AsRef<str>) {
        let width = COLUMN - 2 * depth;
        if !value.as_ref().is_empty() {
            self.line(depth, &format!("{name:width$}{}", value.as_ref()));
        }
    }

    fn remote(&mut self, remote: &RemoteProbe) {
        match &remote.addresses {
            Err(failure) => {
                self.line(1, &format!("{} over {}", remote.remote, remote.transport));
                self.fact("failed", format!("{}", failure.reason()));
                self.fact("hint", failure.hint().unwrap_or_default());
            }
            Ok(addresses) => addresses.iter().for_each(|address| self.address(remote, address)),
        }
    }

    fn address(&mut self, remote: &RemoteProbe, probe: &AddressProbe) {
        let address = probe.address.to_string();
        let name = if address == remote.remote { String::new() } else { format!(", {}", remote.remote) };
        self.line(1, &format!("{address} over {}{name}", remote.transport));
        if let Some(connected) = probe.connected {
            self.fact("connected", format!("in {}", millis(connected)));
        }
        match &probe.report {
            Some(ProbeReport::Ikev2(report)) => self.ikev2(report, probe.login),
            Some(ProbeReport::OpenVpn(report)) => self.openvpn(report, probe.login),
            None => {}
        }
        match &probe.result {
            Ok(()) => self.fact("result", "all went well"),
            Err(failure) => {
                self.fact("failed", format!("at {}: {}", failed_step(probe), failure.reason()));
                self.fact("hint", failure.hint().unwrap_or_default());
            }
        }
    }

    fn ikev2(&mut self, report: &ikev2::ProbeReport, login: bool) {
        self.answered(report.first_answer);
        for detour in &report.detours {
            self.fact("before that", format!("the gateway {detour}"));
        }
        match &report.suite {
            Some(suite) => self.fact("IKE suite", suite),
            None => self.fact("offered", &report.offered),
        }
        if report.suite.is_some() {
            self.fact("NAT", nat(report));
        }
        self.fact("announced", report.announced.join(", "));
        self.fact("verifies", report.signature_hashes.join(", "));
        if let Some(identity) = &report.identity {
            let proof = report.proof.as_deref().unwrap_or("nothing");
            let proved = if report.authenticated { "proved by" } else { "NOT proved; it showed" };
            self.fact("identity", format!("{identity}, {proved} {proof}"));
        }
        self.certificates(&report.certificates, report.unreadable_certificates);
        self.fact("EAP", report.eap.join(", then "));
        if report.authenticated {
            self.fact("our proof", judged(report.accepted_us, login));
        }
        self.fact(
            "ESP SA",
            match report.child {
                Some(ProbeChild::Childless) => "none asked for (RFC 6023)",
                Some(ProbeChild::Unacceptable) => "one asked for that no gateway can accept, so none was made",
                None => "",
            },
        );
        if let Some(lifetime) = report.auth_lifetime {
            self.fact("to prove anew", format!("after {} s", lifetime.as_secs()));
        }
        if report.deleted {
            self.fact("goodbye", "the IKE SA was deleted, and the gateway has confirmed it");
        }
    }

    fn openvpn(&mut self, report: &openvpn::ProbeReport, login: bool) {
        self.answered(report.first_answer);
        let accepted = match (report.wrap, report.first_answer) {
            ("none", _) => "none",
            (_, Some(_)) => "the server takes our key",
            (_, None) => "no answer: a server that has another key says nothing",
        };
        self.fact(
            "wrap",
            if report.wrap == "none" { "none".to_owned() } else { format!("{}: {accepted}", report.wrap) },
        );
        if let (Some(version), Some(suite)) = (&report.tls_version, &report.tls_suite) {
            self.fact("TLS", format!("{version}, {suite}"));
        }
        self.certificates(&report.certificates, report.unreadable_certificates);
        if report.authenticated {
            let certificate = if report.certificate_shown { "our certificate was shown; " } else { "" };
            self.fact("our proof", format!("{certificate}{}", judged(report.accepted_us, login)));
        }
        match &report.cipher {
            Some(cipher) => self.fact("data cipher", cipher),
            None => self.fact(
                "data cipher",
                format!("told after a login only; offered: {}", report.offered_ciphers.join(", ")),
            ),
        }
        if let Some(network) = &report.network {
            let list = |texts: Vec<String>| texts.join(", ");
            self.fact("addresses", list(network.addresses.iter().map(ToString::to_string).collect()));
            self.fact("DNS", list(network.dns.servers.iter().map(ToString::to_string).collect()));
        }
    }

    fn answered(&mut self, after: Option<Duration>) {
        self.fact("answered", after.map_or_else(|| "not at all".to_owned(), |after| format!("in {}", millis(after))));
    }

    fn certificates(&mut self, certificates: &[CertificateFacts], unreadable: usize) {
        for (number, facts) in (1..).zip(certificates) {
            self.fact(&format!("certificate {number}"), &facts.subject);
            self.fact_at(3, "issued by", if facts.issuer == facts.subject { "itself" } else { &facts.issuer });
            self.fact_at(3, "valid", validity(facts));
            self.fact_at(3, "names", facts.names.join(", "));
            self.fact_at(3, "key", format!("{}, signed with {}", facts.key, facts.signature));
            let usage: Vec<_> = facts.key_usage.iter().chain(&facts.purposes).map(String::as_str).collect();
            self.fact_at(3, "for", usage.join(", "));
            self.fact_at(3, "SHA-256", &facts.sha256);
        }
        if unreadable > 0 {
            self.fact("certificates", format!("{unreadable} more that cannot be read"));
        }
    }
}

/// Where values begin.
const COLUMN: usize = 20;

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn nat(report: &ikev2::ProbeReport) -> String {
    let end = |translated| match translated {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not known",
    };
    // strongSwan with `encap = yes`, for one, says so to get UDP encapsulation.
    let theirs =
        if report.nat_at_their_end == Some(true) { "yes, or so it says" } else { end(report.nat_at_their_end) };
    format!("at our end: {}, at the gateway's: {theirs}", end(report.nat_at_our_end))
}

fn judged(accepted: Option<bool>, login: bool) -> &'static str {
    match accepted {
        Some(true) => "accepted",
        Some(false) => "REFUSED",
        None if login => "not judged",
        None => "no login was tried (--login tries it)",
    }
}

fn validity(facts: &CertificateFacts) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let span = format!("{} to {}", moment(facts.not_before), moment(facts.not_after));
    if now < facts.not_before {
        format!("{span}: NOT YET")
    } else if now > facts.not_after {
        format!("{span}: EXPIRED")
    } else {
        format!("{span} ({} days left)", facts.not_after.saturating_sub(now) / 86_400)
    }
}
