//! What a session finds out that only wants to know: the same handshake, with a report kept.
//!
//! ```text
//!  reset ──▶ TLS ──▶ close_notify                        nothing of a login is shown, nothing is assigned
//!             └─ login: key exchange ──▶ options ──▶ farewell
//! ```

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use adit_pki::{CertificateFacts, SeenChain};
use adit_tunnel::NetworkConfig;

/// How far a probe goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Probe {
    /// Our credentials are shown and the options are asked for, so that the server judges us; for a moment we are a client of
    /// it, with an address. Without, it ends when TLS is through: a certificate of ours is shown then, but no password.
    pub login: bool,
}

/// What a probe has found out, as far as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeReport {
    /// From the last reset sent to the answer. That there is one says that the server takes our tls-auth or tls-crypt key.
    pub first_answer: Option<Duration>,
    /// How control packets are wrapped: `none`, `tls-auth`, `tls-crypt` or `tls-crypt-v2`.
    pub wrap: &'static str,
    /// The version of TLS, such as `TLSv1.3`.
    pub tls_version: Option<String>,
    /// The suite of TLS.
    pub tls_suite: Option<String>,
    /// The chain that the server sent, its own certificate first.
    pub certificates: Vec<CertificateFacts>,
    /// Certificates it sent that cannot be read.
    pub unreadable_certificates: usize,
    /// Whether it has proved to be whom we expect.
    pub authenticated: bool,
    /// Whether a certificate of ours was shown.
    pub certificate_shown: bool,
    /// Whether the server has accepted our credentials; `None`: not tried, or not heard.
    pub accepted_us: Option<bool>,
    /// Ciphers offered for the data channel.
    pub offered_ciphers: Vec<String>,
    /// The cipher of the data channel, which the server tells with its options alone: only with a login.
    pub cipher: Option<String>,
    /// What the server would have given us: only with a login.
    pub network: Option<NetworkConfig>,
}

/// A probe under way.
#[derive(Debug)]
pub(crate) struct Probing {
    pub(crate) probe: Probe,
    pub(crate) report: ProbeReport,
    pub(crate) seen: Arc<SeenChain>,
    /// When the first reset was sent last.
    sent: Instant,
}

impl Probing {
    pub(crate) fn new(probe: Probe, report: ProbeReport, now: Instant) -> Self {
        Self { probe, report, seen: Arc::default(), sent: now }
    }

    /// Something is sent again.
    pub(crate) fn on_sent(&mut self, now: Instant) {
        if self.report.first_answer.is_none() {
            self.sent = now;
        }
    }

    pub(crate) fn on_answered(&mut self, now: Instant) {
        self.report.first_answer = Some(now.saturating_duration_since(self.sent));
    }

    /// TLS is through.
    pub(crate) fn on_tls(&mut self, (version, suite): (&str, &str)) {
        self.report.tls_version = Some(version.to_owned());
        self.report.tls_suite = Some(suite.to_owned());
        self.report.authenticated = true;
    }

    /// All that is known by now.
    pub(crate) fn report(&self) -> ProbeReport {
        let (certificates, unreadable_certificates) = self.seen.facts();
        ProbeReport { certificates, unreadable_certificates, ..self.report.clone() }
    }
}
