//! What both forms of a report have in common: at which step it ended, and times.

use adit_driver::{AddressProbe, ProbeReport};
use time::OffsetDateTime;

/// The step at which a probe failed, in a few words.
pub(super) fn failed_step(probe: &AddressProbe) -> &'static str {
    match &probe.report {
        None => "reaching it",
        Some(ProbeReport::Ikev2(report)) => {
            if report.first_answer.is_none() {
                "reaching it"
            } else if report.suite.is_none() {
                "agreeing on algorithms (IKE_SA_INIT)"
            } else if report.authenticated {
                "proving ourselves (IKE_AUTH)"
            } else if report.identity.is_some() {
                "its proof (IKE_AUTH)"
            } else {
                "asking for its proof (IKE_AUTH)"
            }
        }
        Some(ProbeReport::OpenVpn(report)) => {
            if report.first_answer.is_none() {
                "reaching it"
            } else if report.authenticated {
                "proving ourselves"
            } else if report.certificates.is_empty() {
                "TLS"
            } else {
                "its certificate (TLS)"
            }
        }
    }
}

/// `2026-11-22 14:00:00 UTC`; years that no calendar has are told in seconds.
pub(super) fn moment(unix: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(unix) {
        Ok(t) => {
            let (date, time) = (t.date(), t.time());
            let (hour, minute, second) = time.as_hms();
            format!(
                "{:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02} UTC",
                date.year(),
                u8::from(date.month()),
                date.day()
            )
        }
        Err(_) => format!("{unix} s after 1970"),
    }
}

/// RFC 3339.
pub(super) fn rfc3339(unix: i64) -> String {
    moment(unix).replacen(' ', "T", 1).replace(" UTC", "Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_for_people_and_for_programs() {
        assert_eq!(moment(1_893_456_000), "2030-01-01 00:00:00 UTC");
        assert_eq!(rfc3339(1_893_456_061), "2030-01-01T00:01:01Z");
        assert_eq!(moment(i64::MAX), "9223372036854775807 s after 1970");
    }
}
