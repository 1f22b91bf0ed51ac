//! OpenVPN for the driver.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_tunnel::{Epoch, Path, Random};
use openvpn::{Carry, Config, Session};

use crate::{
    client::{Builder, Client},
    error::Failure,
    protocol::{Protocol, Remote, RetryPolicy, SocketOptions},
};

/// Connects with default options.
///
/// # Errors
/// [`Failure`] when no gateway could be reached, or trying again would be no use.
pub async fn connect(config: impl Into<OpenVpn>) -> Result<Client, Failure> {
    Builder::new(config.into()).connect().await
}

/// Makes OpenVPN tunnels of one configuration, and hands what one of them learnt (a token, the answer to a challenge) to the
/// next.
#[derive(Debug)]
pub struct OpenVpn {
    config: Arc<Config>,
    carry: Carry,
}

impl From<Arc<Config>> for OpenVpn {
    fn from(config: Arc<Config>) -> Self {
        Self { config, carry: Carry::default() }
    }
}

impl From<Config> for OpenVpn {
    fn from(config: Config) -> Self {
        Self::from(Arc::new(config))
    }
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
        SocketOptions { address, port, receive_buffer, send_buffer }
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

    fn finished(&mut self, tunnel: Session) {
        self.carry = tunnel.into_carry();
    }
}

#[cfg(test)]
mod tests {
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
}
