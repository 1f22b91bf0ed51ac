//! OpenVPN for the driver.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_tunnel::{Epoch, Path, Random};
use openvpn::{Carry, Config, Server, ServerConfig, Session, SessionError};

use crate::{
    error::{Failure, FailureKind, NO_ROUTE, Stage},
    protocol::{Protocol, Remote, RetryPolicy, SocketOptions},
    random::{clocks, os_randoms},
};

/// Makes OpenVPN tunnels of one configuration, and hands what one of them learnt (a token, the answer to a challenge) to the
/// next.
#[derive(Debug)]
pub struct OpenVpn {
    config: Arc<Config>,
    carry: Carry,
}

impl OpenVpn {
    /// What its tunnels are made from.
    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }
}

impl From<Arc<Config>> for OpenVpn {
    fn from(config: Arc<Config>) -> Self {
        Self { config, carry: Carry::default() }
    }
}

impl Clone for OpenVpn {
    /// The configuration; nothing of what a tunnel has learnt.
    fn clone(&self) -> Self {
        Self::from(Arc::clone(&self.config))
    }
}

impl From<Config> for OpenVpn {
    fn from(config: Config) -> Self {
        Self::from(Arc::new(config))
    }
}

/// The answering end, for [`crate::gateway::Gateway::start`]: with the randomness and the clocks of the operating system.
#[must_use]
pub fn server(config: impl Into<Arc<ServerConfig>>) -> Server {
    let (epoch, now) = clocks();
    Server::new(config.into(), os_randoms(), epoch, now)
}

/// OpenVPN 2.6 doubles its waits from the fifth round over all gateways on (`init.c`, `socket_restart_pause`).
const DOUBLING_FROM_ROUND: u32 = 5;
/// Where `connect-timeout` is 0 it means "never"; a lookup or a TCP handshake still ends some time.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(120);

impl Protocol for OpenVpn {
    type Tunnel = Session;

    fn remotes(&self) -> Vec<Remote> {
        let default = self.config.settings().connect_timeout;
        let remote = |r: &openvpn::Remote| Remote {
            host: r.host.clone(),
            port: r.port,
            transport: r.transport,
            family: r.family,
            timeout: Some(r.connect_timeout.unwrap_or(default)).filter(|t| !t.is_zero()).unwrap_or(LONGEST_TIMEOUT),
        };
        self.config.remotes().iter().map(remote).collect()
    }

    fn retry_policy(&self) -> RetryPolicy {
        let settings = self.config.settings();
        RetryPolicy {
            first_wait: settings.connect_retry,
            longest_wait: settings.connect_retry_max_wait.max(settings.connect_retry),
            doubling_from_round: DOUBLING_FROM_ROUND,
            rounds: settings.connect_retry_max,
            shuffle: settings.remote_random,
        }
    }

    fn socket_options(&self) -> SocketOptions {
        let settings = self.config.settings();
        let ((address, port), (receive_buffer, send_buffer)) = (settings.local_bind, settings.socket_buffers);
        SocketOptions { address, port, receive_buffer, send_buffer, mark: None }
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
            // The profile fitted a moment ago.
            FailureKind::Resolve
            | FailureKind::Unreachable
            | FailureKind::PeerClosed
            | FailureKind::Disconnected
            | FailureKind::PeerMisbehaved
                if failure.stage() == Stage::Up =>
            {
                return None;
            }
            FailureKind::Resolve => "check the name in the profile's `remote` line, and this machine's DNS",
            FailureKind::Unreachable if failure.is_refusal() => {
                "see that the server runs, and listens at this address and port by this protocol (`remote`, `proto`); a \
                 firewall may refuse in its place"
            }
            FailureKind::Unreachable if failure.is_without_route() => NO_ROUTE,
            FailureKind::Unreachable => {
                "check address, port and protocol of the profile's `remote` line, and that a firewall lets them pass"
            }
            FailureKind::PeerNotAuthenticated => {
                "the server is not the one the profile names, or its certificate was changed or has expired"
            }
            FailureKind::AuthFailed if is_unanswered(failure) => {
                "run it at a terminal, or give the answer on standard input"
            }
            FailureKind::AuthFailed => {
                "check user name, password and certificate; not trying again, to spare the account"
            }
            FailureKind::NoAgreement => {
                "client and server have no algorithm in common; see the profile's `data-ciphers`"
            }
            FailureKind::LocalSocket => "check the profile's `local` and `lport`, and this user's permissions",
            FailureKind::PeerClosed => "the server's log, or whoever runs it, knows why",
            FailureKind::Disconnected => {
                "is that the port of an OpenVPN server over TCP, is the profile's tls-auth or tls-crypt key the server's, \
                 and does the server accept our certificate? its log tells"
            }
            FailureKind::PeerMisbehaved => {
                "is that the port of an OpenVPN server, and the profile's `proto` the server's?"
            }
            FailureKind::Configuration | FailureKind::Closed | FailureKind::Internal => return None,
        })
    }

    fn finished(&mut self, tunnel: Session) {
        self.carry = tunnel.into_carry();
    }
}

/// Whether only an answer was missing.
fn is_unanswered(failure: &Failure) -> bool {
    matches!(failure.reason().downcast_ref(), Some(SessionError::ChallengeUnanswered))
}

#[cfg(test)]
pub(crate) mod tests {
    use adit_tunnel::Transport;
    use openvpn::{Credentials, ServerCheck};

    use super::*;

    #[test]
    fn the_profile_decides_about_gateways_and_waits() {
        let mut second = openvpn::Remote::new("b.example", 443, Transport::Tcp);
        second.family = Some(adit_tunnel::Family::V6);
        second.connect_timeout = Some(Duration::from_secs(7));
        let credentials = Credentials { username: "u".to_owned(), password: "p".into() };
        let config = Config::builder(vec![openvpn::Remote::new("a.example", 1194, Transport::Udp), second])
            .server_check(ServerCheck { fingerprints: vec![[1; 32]], ..ServerCheck::default() })
            .identity(None, Some(credentials))
            .settings(|settings| {
                settings.connect_retry = Duration::from_secs(3);
                settings.connect_retry_max = Some(4);
                settings.remote_random = true;
                settings.local_bind = (None, Some(1194));
                settings.socket_buffers = (Some(1000), None);
            })
            .build()
            .unwrap();
        let protocol = OpenVpn::from(config);
        let remotes = protocol.remotes();
        assert_eq!((remotes[0].timeout, remotes[1].timeout), (Duration::from_secs(120), Duration::from_secs(7)));
        assert_eq!(
            (remotes[1].port, remotes[1].transport, remotes[1].family),
            (443, Transport::Tcp, Some(adit_tunnel::Family::V6))
        );
        let policy = protocol.retry_policy();
        assert_eq!((policy.first_wait, policy.longest_wait), (Duration::from_secs(3), Duration::from_secs(300)));
        assert_eq!((policy.rounds, policy.shuffle), (Some(4), true));
        let sockets = protocol.socket_options();
        assert_eq!((sockets.address, sockets.port, sockets.receive_buffer), (None, Some(1194), Some(1000)));
    }

    pub(crate) fn of_profile(lines: &str) -> OpenVpn {
        let text = format!(
            "client\npeer-fingerprint {}\n<auth-user-pass>\nuser\npassword\n</auth-user-pass>\n{lines}\n",
            ["ab"; 32].join(":")
        );
        let profile = openvpn::Profile::parse(text, &mut |_| Err("no file".to_owned())).unwrap();
        OpenVpn::from(profile.into_config(openvpn::Secrets::default()).unwrap())
    }

    /// `testdata/profile/behaviour.txt` of the protocol's crate names this test.
    #[test]
    fn profile_lines_are_gateways_waits_and_sockets() {
        let gateway = |lines: &str| of_profile(lines).remotes().swap_remove(0);
        let usual = gateway("remote a.example");
        assert_eq!((usual.host.as_str(), usual.port, usual.family), ("a.example", 1194, None));
        assert_eq!(gateway("remote a.example 443").port, 443);
        assert_eq!(gateway("remote a.example\nport 443").port, 443);
        assert_eq!(gateway("remote a.example\nrport 443").port, 443);
        let tcp6 = gateway("remote a.example\nproto tcp6");
        assert_eq!((tcp6.transport, tcp6.family), (Transport::Tcp, Some(adit_tunnel::Family::V6)));
        assert_eq!(gateway("remote a.example\nconnect-timeout 7").timeout, Duration::from_secs(7));
        assert_eq!(gateway("remote a.example\nserver-poll-timeout 7").timeout, Duration::from_secs(7));
        let forced = of_profile("remote a.example\nremote b.example 443 tcp\nproto-force tcp").remotes();
        assert_eq!((forced.len(), forced[0].host.as_str()), (1, "b.example"));

        let policy = of_profile("remote a.example").retry_policy();
        assert_eq!((policy.first_wait, policy.longest_wait), (Duration::from_secs(1), Duration::from_secs(300)));
        assert_eq!((policy.rounds, policy.shuffle), (None, false));
        let lines = "remote a.example\nconnect-retry 3 40\nconnect-retry-max 4\nremote-random";
        let policy = of_profile(lines).retry_policy();
        assert_eq!((policy.first_wait, policy.longest_wait), (Duration::from_secs(3), Duration::from_secs(40)));
        assert_eq!((policy.rounds, policy.shuffle), (Some(4), true));

        let sockets =
            of_profile("remote a.example\nlocal 127.0.0.3\nlport 1194\nrcvbuf 1000\nsndbuf 2000").socket_options();
        assert_eq!((sockets.address, sockets.port), (Some([127, 0, 0, 3].into()), Some(1194)));
        assert_eq!((sockets.receive_buffer, sockets.send_buffer), (Some(1000), Some(2000)));
    }

    #[test]
    fn hints_speak_of_the_profile_unless_it_fitted_a_moment_ago() {
        let protocol = of_profile("remote a.example");
        let failure = |kind| Failure::new(kind, "why");
        let hint = |failure: &Failure| protocol.hint(failure).unwrap_or_default();
        assert!(hint(&failure(FailureKind::Disconnected)).contains("tls-crypt"));
        assert!(hint(&failure(FailureKind::PeerMisbehaved)).contains("proto"));
        assert_eq!(protocol.hint(&failure(FailureKind::Unreachable).in_stage(Stage::Up)), None);
        let unanswered = Failure::new(FailureKind::AuthFailed, SessionError::ChallengeUnanswered);
        assert!(hint(&unanswered).contains("terminal"));
        assert!(hint(&failure(FailureKind::AuthFailed)).contains("password"));
    }
}
