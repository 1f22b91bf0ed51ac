//! A report for programs. The schema is in `docs/probe.md`: names in it are never changed, only added.

use adit_driver::{AddressProbe, Failure, ProbeReport, RemoteProbe};
use ikev2::{CertificateFacts, ProbeChild};
use serde_json::{Value, json};

use super::{
    GatewayProbe,
    facts::{failed_step, rfc3339},
};
use crate::error::Error;

/// One line.
pub(super) fn of(probes: &[GatewayProbe]) -> String {
    let gateways: Vec<Value> = probes.iter().map(gateway).collect();
    let ok = probes.iter().all(|probe| probe.failure().is_none());
    format!("{}\n", json!({ "schema": 1, "ok": ok, "gateways": gateways }))
}

fn gateway(probe: &GatewayProbe) -> Value {
    let remotes: Vec<Value> = probe.remotes.iter().map(remote).collect();
    json!({
        "name": probe.name,
        "protocol": probe.protocol,
        "ok": probe.failure().is_none(),
        "remotes": remotes,
    })
}

fn remote(remote: &RemoteProbe) -> Value {
    let (addresses, failed) = match &remote.addresses {
        Ok(addresses) => (addresses.iter().map(address).collect::<Vec<_>>(), Value::Null),
        Err(failure) => (Vec::new(), error(failure, "resolving its name")),
    };
    json!({
        "remote": remote.remote,
        "transport": remote.transport.to_string().to_lowercase(),
        "addresses": addresses,
        "error": failed,
    })
}

fn address(probe: &AddressProbe) -> Value {
    let millis = |time: std::time::Duration| (time.as_secs_f64() * 1_000_000.0).round() / 1000.0;
    let (answer, ikev2, openvpn) = match &probe.report {
        None => (None, Value::Null, Value::Null),
        Some(ProbeReport::Ikev2(report)) => (report.first_answer, of_ikev2(report), Value::Null),
        Some(ProbeReport::OpenVpn(report)) => (report.first_answer, Value::Null, of_openvpn(report)),
    };
    json!({
        "address": probe.address.to_string(),
        "ok": probe.result.is_ok(),
        "login": probe.login,
        "connect_ms": probe.connected.map(millis),
        "first_answer_ms": answer.map(millis),
        "error": probe.result.as_ref().err().map(|failure| error(failure, failed_step(probe))),
        "ikev2": ikev2,
        "openvpn": openvpn,
    })
}

fn error(failure: &Failure, step: &str) -> Value {
    let exit = Error::from(failure.clone()).exit().code();
    json!({ "step": step, "text": failure.reason().to_string(), "hint": failure.hint(), "code": exit })
}

fn of_ikev2(report: &ikev2::ProbeReport) -> Value {
    json!({
        "before_agreement": report.detours.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "offered": report.offered,
        "suite": report.suite,
        "nat_at_our_end": report.nat_at_our_end,
        "nat_at_their_end": report.nat_at_their_end,
        "announced": report.announced,
        "signature_hashes": report.signature_hashes,
        "identity": report.identity,
        "proof": report.proof,
        "authenticated": report.authenticated,
        "certificates": report.certificates.iter().map(certificate).collect::<Vec<_>>(),
        "unreadable_certificates": report.unreadable_certificates,
        "eap": report.eap,
        "accepted_us": report.accepted_us,
        "child": report.child.map(|child| match child {
            ProbeChild::Childless => "childless",
            ProbeChild::Unacceptable => "unacceptable",
        }),
        "auth_lifetime_seconds": report.auth_lifetime.map(|time| time.as_secs()),
        "deleted": report.deleted,
    })
}

fn of_openvpn(report: &openvpn::ProbeReport) -> Value {
    let network = report.network.as_ref();
    json!({
        "wrap": report.wrap,
        "tls_version": report.tls_version,
        "tls_suite": report.tls_suite,
        "authenticated": report.authenticated,
        "certificates": report.certificates.iter().map(certificate).collect::<Vec<_>>(),
        "unreadable_certificates": report.unreadable_certificates,
        "certificate_shown": report.certificate_shown,
        "accepted_us": report.accepted_us,
        "offered_ciphers": report.offered_ciphers,
        "cipher": report.cipher,
        "addresses": network.map(|it| it.addresses.iter().map(ToString::to_string).collect::<Vec<_>>()),
        "dns": network.map(|it| it.dns.servers.iter().map(ToString::to_string).collect::<Vec<_>>()),
    })
}

fn certificate(facts: &CertificateFacts) -> Value {
    json!({
        "subject": facts.subject,
        "issuer": facts.issuer,
        "serial": facts.serial,
        "not_before": rfc3339(facts.not_before),
        "not_after": rfc3339(facts.not_after),
        "names": facts.names,
        "key": facts.key,
        "signature": facts.signature,
        "authority": facts.authority,
        "key_usage": facts.key_usage,
        "purposes": facts.purposes,
        "sha256": facts.sha256,
    })
}
