//! IKEv2 for the driver.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_tunnel::{Epoch, Path, Random, Transport};
use ikev2::{Carry, Config, EapError, Responder, ResponderConfig, Session, SessionError};

use crate::{
    error::{Failure, FailureKind, NO_ROUTE, Stage},
    protocol::{Protocol, Remote, RetryPolicy},
    random::{clocks, os_randoms},
};

/// Makes IKEv2 tunnels of one configuration, and hands what one of them learnt (that older sessions have been ended, which
/// signature the gateway takes) to the next.
#[derive(Debug)]
pub struct Ikev2 {
    config: Arc<Config>,
    carry: Carry,
}

impl Ikev2 {
    /// What its tunnels are made from.
    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    fn unreachable_hint(&self, failure: &Failure) -> &'static str {
        if failure.is_refusal() {
            "see that the gateway runs, and listens at this address and port; a firewall may refuse in its place"
        } else if failure.is_without_route() {
            NO_ROUTE
        } else if self.config.remotes().iter().all(|remote| remote.port == IKE_PORT) {
            "check the gateway's address, and that firewalls let UDP ports 500 and 4500 pass"
        } else {
            "check the gateway's address and port, and that firewalls let UDP to that port pass"
        }
    }
}

impl From<Arc<Config>> for Ikev2 {
    fn from(config: Arc<Config>) -> Self {
        Self { config, carry: Carry::default() }
    }
}

impl Clone for Ikev2 {
    /// The configuration; nothing of what a tunnel has learnt.
    fn clone(&self) -> Self {
        Self::from(Arc::clone(&self.config))
    }
}

impl From<Config> for Ikev2 {
    fn from(config: Config) -> Self {
        Self::from(Arc::new(config))
    }
}

/// The answering end, for [`crate::gateway::Gateway::start`]: with the randomness and the clocks of the operating system.
///
/// At port 500 it speaks without the non-ESP marker, at any other port with it: a gateway without root listens to one port
/// above 1024.
#[must_use]
pub fn responder(config: impl Into<Arc<ResponderConfig>>) -> Responder {
    let (epoch, now) = clocks();
    Responder::new(config.into(), os_randoms(), epoch, now)
}

/// RFC 7296 §2.
const IKE_PORT: u16 = 500;

/// Waits between attempts, our own judgement: a gateway that restarts is back within seconds, and thousands of clients that
/// wait for one that is down must not trouble it when it returns.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Retransmissions of the first message have ended by then.
const FIRST_ANSWER: Duration = Duration::from_secs(30);
const DOUBLING_FROM_ROUND: u32 = 2;

impl Protocol for Ikev2 {
    type Tunnel = Session;

    fn remotes(&self) -> Vec<Remote> {
        // The handshake has a limit of its own; names and first answers come sooner.
        let timeout = self.config.settings().handshake_timeout.min(FIRST_ANSWER);
        let remote = |r: &ikev2::Remote| Remote {
            host: r.host.clone(),
            port: r.port,
            transport: Transport::Udp,
            family: r.family,
            timeout,
        };
        self.config.remotes().iter().map(remote).collect()
    }

    fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy {
            first_wait: FIRST_WAIT,
            longest_wait: LONGEST_WAIT,
            doubling_from_round: DOUBLING_FROM_ROUND,
            rounds: None,
            shuffle: false,
        }
    }

    fn start(
        &mut self,
        remote: usize,
        path: Path,
        random: Box<dyn Random>,
        epoch: Epoch,
        now: Instant,
    ) -> Result<Session, Box<dyn Error + Send + Sync>> {
        let config = Arc::clone(&self.config);
        Ok(Session::new(config, remote, self.carry.clone(), path, random, epoch, now)?)
    }

    fn hint(&self, failure: &Failure) -> Option<&'static str> {
        Some(match failure.kind() {
            FailureKind::PeerClosed if failure.stage() == Stage::Up => {
                "another client with our identity may have connected (say `initial_contact = false` in each of them), \
                 or whoever runs the gateway ended it"
            }
            // The configuration fitted a moment ago.
            FailureKind::Resolve
            | FailureKind::Unreachable
            | FailureKind::Disconnected
            | FailureKind::PeerMisbehaved
                if failure.stage() == Stage::Up =>
            {
                return None;
            }
            FailureKind::Resolve => "check the name of the gateway, and this machine's DNS",
            FailureKind::Unreachable => self.unreachable_hint(failure),
            FailureKind::PeerNotAuthenticated => {
                "the gateway is not the one expected, or its certificate was changed or has expired; \
                 the expected identity is the host unless `remote_id` (--remote-id) says otherwise"
            }
            FailureKind::AuthFailed => {
                "check user name, password, key and certificate, and our identity (`local_id`, --local-id); \
                 not trying again, to spare the account"
            }
            FailureKind::NoAgreement => no_agreement(failure.reason().downcast_ref()),
            FailureKind::LocalSocket => "check this user's permissions",
            FailureKind::PeerClosed => "the gateway's log, or whoever runs it, knows why",
            FailureKind::PeerMisbehaved => "is that an IKEv2 gateway? its log may tell more",
            FailureKind::Disconnected | FailureKind::Configuration | FailureKind::Closed | FailureKind::Internal => {
                return None;
            }
        })
    }

    fn finished(&mut self, tunnel: Session) {
        self.carry = tunnel.into_carry();
    }
}

/// What to change when gateway and client have something not in common.
fn no_agreement(error: Option<&SessionError>) -> &'static str {
    match error {
        Some(SessionError::Eap(EapError::NoCommonMethod(_))) => {
            "ask whoever runs the gateway which EAP methods it takes, and name one with `eap` (--eap)"
        }
        Some(SessionError::Eap(EapError::NoTlsAgreement(_))) => {
            "see the versions in `eap_tls`, and the log of the EAP server"
        }
        Some(SessionError::TrafficSelectors) => {
            "see `remote_ts`: it has to be within the networks the gateway is set up to carry"
        }
        Some(SessionError::NoIkeProposal(_) | SessionError::GroupNotOffered(_)) => {
            "see `ike_proposals` (--ike-proposals), and the proposals the gateway is set up with"
        }
        Some(SessionError::NoEspProposal(_)) => {
            "see `esp_proposals` (--esp-proposals), and the proposals the gateway is set up with"
        }
        Some(SessionError::NoCommonSignature) => {
            "see `signature`; a certificate with another kind of key may be needed"
        }
        _ => "the gateway's log may tell what it wants",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use adit_tunnel::Family;
    use ikev2::{Credentials, PeerVerifier};

    use super::*;

    pub(crate) fn config(remotes: Vec<ikev2::Remote>) -> Config {
        Config::builder(remotes)
            .peer(PeerVerifier::Psk { key: "shared".into(), identity: None })
            .credentials(Credentials::Psk("shared".into()))
            .settings(|settings| settings.handshake_timeout = Duration::from_secs(7))
            .build()
            .unwrap()
    }

    #[test]
    fn the_configuration_decides_about_gateways() {
        let mut second = ikev2::Remote::new("192.0.2.1", 4500);
        second.family = Some(Family::V4);
        let protocol = Ikev2::from(config(vec![ikev2::Remote::new("vpn.example", 500), second]));
        let remotes = protocol.remotes();
        assert_eq!((remotes[0].host.as_str(), remotes[0].port, remotes[0].family), ("vpn.example", 500, None));
        assert_eq!((remotes[1].port, remotes[1].family), (4500, Some(Family::V4)));
        assert!(remotes.iter().all(|r| r.transport == Transport::Udp && r.timeout == Duration::from_secs(7)));
        assert_eq!(protocol.socket_options().port, None, "one ephemeral port, for IKE and ESP");
    }

    #[test]
    fn hints_speak_of_the_gateway_unless_it_answered_a_moment_ago() {
        let protocol = Ikev2::from(config(vec![ikev2::Remote::new("vpn.example", 500)]));
        let failure = |kind| Failure::new(kind, "why");
        let hint = |kind| protocol.hint(&failure(kind)).unwrap_or_default();
        assert!(hint(FailureKind::Unreachable).contains("4500"));
        assert!(hint(FailureKind::PeerNotAuthenticated).contains("remote_id"));
        assert_eq!(protocol.hint(&failure(FailureKind::Unreachable).in_stage(Stage::Up)), None);
        let ended = protocol.hint(&failure(FailureKind::PeerClosed).in_stage(Stage::Up)).unwrap();
        assert!(ended.contains("initial_contact = false"), "{ended}");
    }

    #[test]
    fn hints_name_what_is_not_in_common() {
        let protocol = Ikev2::from(config(vec![ikev2::Remote::new("vpn.example", 500)]));
        for (error, word) in [
            (SessionError::Eap(EapError::NoTlsAgreement("versions".into())), "eap_tls"),
            (SessionError::TrafficSelectors, "remote_ts"),
            (SessionError::NoIkeProposal("x".into()), "--ike-proposals"),
            (SessionError::GroupNotOffered(19), "ike_proposals"),
            (SessionError::NoEspProposal("x".into()), "--esp-proposals"),
            (SessionError::NoCommonSignature, "signature"),
        ] {
            let hint = protocol.hint(&Failure::new(FailureKind::NoAgreement, error.clone())).unwrap();
            assert!(hint.contains(word), "{error}: {hint}");
            let others = ["ike_proposals", "esp_proposals", "remote_ts", "`eap`", "`signature`"];
            let named = others.iter().filter(|other| hint.contains(**other)).count();
            assert!(named <= 1, "{error}: {hint}");
        }
    }
}
