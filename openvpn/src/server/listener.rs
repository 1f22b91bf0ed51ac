//! The front door.

use std::{fmt, sync::Arc, time::Instant};

use adit_tunnel::{Accept, Epoch, Listener, Path, PeerId, Randoms, Routing, Transmit, Transport, Tunnel};

use super::{
    config::{ServerConfig, ServerWrap},
    cookie::Cookies,
    door::{Knock, hear},
    half_open::HalfOpens,
    routes::Routes,
    session::{Birth, ServerSession},
};
use crate::control::{
    packet::{AckList, ControlPacket, KeyId, Opcode, SessionId},
    wrap::{Role, Wrapper},
};

/// The answering end of any number of OpenVPN sessions: it decides before any state of a client exists.
///
/// Over UDP a client is remembered once it has returned a cookie that is bound to its address; over TCP the stream has proved
/// that. Our answer to a reset is one packet, and 12 bytes longer than a reset without a wrapped key, as the protocol has it: it
/// acknowledges. It is never sent again by itself, and so often at most as [`crate::ServerLimits::initial_packets`] says.
///
/// A client of `tls-crypt-v2` that cannot bring its key twice (before OpenVPN 2.6) is remembered at once, if `force_cookie` is off.
pub struct Server {
    config: Arc<ServerConfig>,
    randoms: Randoms,
    epoch: Epoch,
    cookies: Cookies,
    routes: Routes,
    half_open: HalfOpens,
    initial: InitialPackets,
    dropped_datagrams: u64,
}

/// Answers to strangers in the window at hand.
struct InitialPackets {
    since: Instant,
    answered: u32,
}

impl Server {
    /// A server without clients. `randoms` is asked once for cookies, and once for each client.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>, mut randoms: Randoms, epoch: Epoch, now: Instant) -> Self {
        let settings = &config.settings;
        let cookies = Cookies::new(randoms().as_mut(), settings.crypto.as_ref(), settings.hand_window, now);
        Self {
            randoms,
            epoch,
            cookies,
            routes: Routes::default(),
            half_open: HalfOpens::default(),
            initial: InitialPackets { since: now, answered: 0 },
            dropped_datagrams: 0,
            config,
        }
    }

    /// Clients at the moment, half-open ones included.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.routes.len()
    }

    /// Clients at the moment that have not been let in yet.
    #[must_use]
    pub fn half_open_peers(&self) -> usize {
        self.half_open.count()
    }

    /// Datagrams of strangers that were dropped.
    #[must_use]
    pub fn dropped_datagrams(&self) -> u64 {
        self.dropped_datagrams
    }

    fn on_knock(
        &mut self,
        now: Instant,
        path: &Path,
        knock: Knock,
        datagram: &mut [u8],
    ) -> Option<Accept<ServerSession>> {
        if knock.is_reset() {
            return self.on_reset(now, path, knock, datagram);
        }
        let cookie = knock.packet.peer_session_id.filter(|_| path.transport == Transport::Udp)?;
        let returned = self.cookies.is_ours(now, path.remote, knock.packet.session_id, cookie);
        if !returned || !knock.answers_reset() {
            tracing::debug!(remote = %path.remote, "a stranger without a good cookie");
            return None;
        }
        let accepted = self.welcome(now, path, knock, Some(cookie), datagram)?;
        // Not before: who is turned away can return one cookie for ever.
        self.initial.answered = self.initial.answered.saturating_sub(1);
        Some(accepted)
    }

    fn on_reset(
        &mut self,
        now: Instant,
        path: &Path,
        knock: Knock,
        datagram: &mut [u8],
    ) -> Option<Accept<ServerSession>> {
        if path.transport == Transport::Tcp {
            return self.welcome(now, path, knock, None, datagram);
        }
        if !self.initial.allow(now, &self.config) {
            tracing::debug!(remote = %path.remote, "too many strangers");
            return None;
        }
        let forgetful = match &self.config.settings.control_wrap {
            ServerWrap::TlsCryptV2 { force_cookie, .. } if !knock.early_negotiation => {
                if *force_cookie {
                    tracing::debug!(remote = %path.remote, "a client that cannot bring its key twice");
                    return None;
                }
                false
            }
            ServerWrap::None | ServerWrap::TlsAuth { .. } | ServerWrap::TlsCrypt(_) | ServerWrap::TlsCryptV2 { .. } => {
                true
            }
        };
        if !forgetful {
            return self.welcome(now, path, knock, None, datagram);
        }
        let cookie = self.cookies.make(now, path.remote, knock.packet.session_id);
        let reply = self.stateless_reset(now, &knock, cookie)?;
        Some(Accept::Reply(Transmit { path: *path, datagram: reply }))
    }

    /// Our reset, of which nothing is remembered.
    fn stateless_reset(&self, now: Instant, knock: &Knock, cookie: SessionId) -> Option<bytes::Bytes> {
        let packet = ControlPacket {
            opcode: Opcode::HARD_RESET_SERVER_V2,
            key_id: KeyId::FIRST,
            session_id: cookie,
            acks: AckList::from_iter([0]),
            peer_session_id: Some(knock.packet.session_id),
            packet_id: Some(0),
            payload: knock.reset_payload(),
        };
        let unix = u32::try_from(self.epoch.unix_time(now).as_secs()).unwrap_or(u32::MAX);
        let mut wrapper = Wrapper::new(&knock.wrap, Role::Server, &self.config.settings.crypto);
        wrapper.wrap(&packet, unix).ok()
    }

    /// Remembers a client, and gives its session the packet that earned it.
    fn welcome(
        &mut self,
        now: Instant,
        path: &Path,
        knock: Knock,
        cookie: Option<SessionId>,
        datagram: &mut [u8],
    ) -> Option<Accept<ServerSession>> {
        let limits = &self.config.limits;
        let Some(half_open) = self.half_open.open(path.remote.ip(), limits) else {
            tracing::debug!(remote = %path.remote, "too many half-open clients");
            return None;
        };
        let client = knock.packet.session_id;
        let Some(peer) = self.routes.add(path, client, limits.peers) else {
            tracing::warn!(remote = %path.remote, limit = limits.peers, "too many clients");
            return None;
        };
        let birth = Birth {
            config: Arc::clone(&self.config),
            peer,
            path: *path,
            random: (self.randoms)(),
            epoch: self.epoch,
            wrap: knock.wrap,
            client,
            cookie,
            half_open,
        };
        match ServerSession::new(birth, now) {
            Ok(mut session) => {
                tracing::debug!(peer = peer.0, remote = %path.remote, "a new client");
                session.handle_datagram(now, path, datagram);
                Some(Accept::Peer(peer, Box::new(session)))
            }
            Err(error) => {
                tracing::warn!(%error, "no session could be made");
                self.routes.remove(peer);
                None
            }
        }
    }
}

impl InitialPackets {
    fn allow(&mut self, now: Instant, config: &ServerConfig) -> bool {
        let limits = &config.limits;
        if now.saturating_duration_since(self.since) >= limits.initial_window {
            (self.since, self.answered) = (now, 0);
        }
        let allowed = self.answered < limits.initial_packets;
        if allowed {
            self.answered += 1;
        }
        allowed
    }
}

impl Listener for Server {
    type Tunnel = ServerSession;

    fn route(&self, path: &Path, datagram: &[u8]) -> Routing {
        self.routes.route(path, datagram)
    }

    fn accept(&mut self, now: Instant, path: &Path, datagram: &mut [u8]) -> Accept<ServerSession> {
        let accepted = match hear(&self.config, datagram, self.epoch.unix_time(now)) {
            Ok(knock) => self.on_knock(now, path, knock, datagram),
            Err(error) => {
                tracing::debug!(%error, remote = %path.remote, "a stranger is not listened to");
                None
            }
        };
        accepted.unwrap_or_else(|| {
            self.dropped_datagrams += 1;
            Accept::Drop
        })
    }

    fn forget(&mut self, peer: PeerId) {
        self.routes.remove(peer);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("peers", &self.peers())
            .field("half_open", &self.half_open_peers())
            .finish_non_exhaustive()
    }
}
