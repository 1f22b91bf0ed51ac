//! How soon a gateway that says nothing counts as dead.

use std::time::Duration;

use ::ikev2::Retransmission;

use crate::redundancy::{Probe, ProbeTarget};

/// How soon a gateway that says nothing counts as dead. Handshakes are not concerned: they keep their own, more patient schedule.
///
/// In IKEv2 a gateway that was not heard of is asked, and must answer. OpenVPN has no question that must be answered: there the
/// server's pings and `ping-restart` decide, which are for the server to choose, and what is asked sooner is the gateway's own address
/// inside the tunnel: by [`Self::probe`], which counts only for servers that answered it before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// As the protocol has it: patient, and cheap while nothing happens.
    #[default]
    Normal,
    /// Within two seconds. A path that loses everything for as long counts as dead, too.
    Fast,
    /// Exactly so.
    Exact {
        /// Silence before the gateway is asked.
        idle: Duration,
        /// How long an answer may take before it is asked again.
        retry: Duration,
        /// How often it is asked.
        tries: u32,
    },
}

/// What [`Liveness::Fast`] is: half a second of silence, looked for four times in it, and 1.2 seconds for four questions.
const FAST: (Duration, Duration, u32) = (Duration::from_millis(500), Duration::from_millis(300), 4);

impl Liveness {
    const fn times(self) -> Option<(Duration, Duration, u32)> {
        match self {
            Self::Normal => None,
            Self::Fast => Some(FAST),
            Self::Exact { idle, retry, tries } => Some((idle, retry, tries)),
        }
    }

    /// Silence after which a gateway that answers nothing counts as dead at the latest, where that was chosen.
    #[must_use]
    pub fn bound(self) -> Option<Duration> {
        let (idle, retry, tries) = self.times()?;
        // Silence is looked for at intervals of a quarter.
        Some((idle + idle / 4).saturating_add(retry.saturating_mul(tries)))
    }

    /// Applies it to the settings of an IKEv2 configuration: for [`ikev2::ConfigBuilder::settings`](::ikev2::ConfigBuilder::settings).
    pub fn apply(self, settings: &mut ::ikev2::Settings) {
        if let Some((idle, retry, tries)) = self.times() {
            settings.liveness = idle;
            settings.retransmission_once_up = Some(Retransmission { first: retry, limit: retry, tries });
        }
    }

    /// The probe that does the same for OpenVPN: for [`crate::redundancy::Gateway::probe`], unless there is another.
    #[must_use]
    pub fn probe(self) -> Option<Probe> {
        let (idle, retry, tries) = self.times()?;
        Some(Probe { target: ProbeTarget::Gateway, interval: idle, timeout: retry, failures: tries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_is_within_two_seconds() {
        assert!(Liveness::Fast.bound().unwrap() < Duration::from_secs(2));
        let probe = Liveness::Fast.probe().unwrap();
        // Right after an answer, the gateway falls silent.
        assert!(probe.interval + probe.timeout * probe.failures < Duration::from_secs(2));
        assert_eq!((Liveness::Normal.bound(), Liveness::Normal.probe()), (None, None));
    }
}
