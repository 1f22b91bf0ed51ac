//! Both protocols as one: a protocol, its tunnels, and their sealers and openers.
//!
//! Which one it is, a branch decides, not a virtual call; and one value can go on with tunnels of either.

use std::{error::Error, ops::Range, sync::Arc, time::Instant};

use adit_tunnel::{
    Answer, Class, Epoch, Event, KeyChange, OpenError, Opened, Opener, Path, Random, SealError, Sealer, Transmit,
    Tunnel, TunnelDetails,
};
use ikev2::{EspOpener, EspSealer};
use openvpn::{DataOpener, DataSealer};

use crate::{
    client::{Builder, Client},
    error::Failure,
    ikev2::Ikev2,
    openvpn::OpenVpn,
    protocol::{Protocol, Remote, RetryPolicy, SocketOptions},
};

/// Connects with default options: `config` is an [`ikev2::Config`] or an [`openvpn::Config`].
///
/// # Errors
/// [`Failure`] when no gateway could be reached, or trying again would be no use.
pub async fn connect(config: impl Into<Any>) -> Result<Client, Failure> {
    Builder::new(config.into()).connect().await
}

/// Makes tunnels of either protocol. A clone has the configuration, and nothing of what tunnels have learnt since.
#[derive(Debug, Clone)]
pub enum Any {
    /// IKEv2 and ESP.
    Ikev2(Ikev2),
    /// OpenVPN.
    OpenVpn(OpenVpn),
}

/// A tunnel of either protocol.
pub enum AnyTunnel {
    /// IKEv2.
    Ikev2(Box<ikev2::Session>),
    /// OpenVPN.
    OpenVpn(Box<openvpn::Session>),
}

/// A sealer of either protocol.
#[expect(clippy::large_enum_variant, reason = "there are a few, and each packet would take the way through a box")]
pub enum AnySealer {
    /// ESP.
    Ikev2(EspSealer),
    /// OpenVPN.
    OpenVpn(DataSealer),
}

/// An opener of either protocol.
pub enum AnyOpener {
    /// ESP.
    Ikev2(EspOpener),
    /// OpenVPN.
    OpenVpn(DataOpener),
}

impl From<ikev2::Config> for Any {
    fn from(config: ikev2::Config) -> Self {
        Self::Ikev2(config.into())
    }
}

impl From<Arc<ikev2::Config>> for Any {
    fn from(config: Arc<ikev2::Config>) -> Self {
        Self::Ikev2(config.into())
    }
}

impl From<openvpn::Config> for Any {
    fn from(config: openvpn::Config) -> Self {
        Self::OpenVpn(config.into())
    }
}

impl From<Arc<openvpn::Config>> for Any {
    fn from(config: Arc<openvpn::Config>) -> Self {
        Self::OpenVpn(config.into())
    }
}

impl From<Ikev2> for Any {
    fn from(protocol: Ikev2) -> Self {
        Self::Ikev2(protocol)
    }
}

impl From<OpenVpn> for Any {
    fn from(protocol: OpenVpn) -> Self {
        Self::OpenVpn(protocol)
    }
}

/// The same call for whichever it is.
macro_rules! either {
    ($any:expr, $it:ident => $call:expr) => {
        match $any {
            Self::Ikev2($it) => $call,
            Self::OpenVpn($it) => $call,
        }
    };
}

impl Protocol for Any {
    type Tunnel = AnyTunnel;

    fn remotes(&self) -> Vec<Remote> {
        either!(self, protocol => protocol.remotes())
    }

    fn retry_policy(&self) -> RetryPolicy {
        either!(self, protocol => protocol.retry_policy())
    }

    fn socket_options(&self) -> SocketOptions {
        either!(self, protocol => protocol.socket_options())
    }

    fn start(
        &mut self,
        remote: usize,
        path: Path,
        random: Box<dyn Random>,
        epoch: Epoch,
        now: Instant,
    ) -> Result<AnyTunnel, Box<dyn Error + Send + Sync>> {
        Ok(match self {
            Self::Ikev2(ikev2) => AnyTunnel::Ikev2(ikev2.start(remote, path, random, epoch, now)?.into()),
            Self::OpenVpn(openvpn) => AnyTunnel::OpenVpn(openvpn.start(remote, path, random, epoch, now)?.into()),
        })
    }

    fn hint(&self, failure: &Failure) -> Option<&'static str> {
        either!(self, protocol => protocol.hint(failure))
    }

    fn finished(&mut self, tunnel: AnyTunnel) {
        match (self, tunnel) {
            (Self::Ikev2(ikev2), AnyTunnel::Ikev2(tunnel)) => ikev2.finished(*tunnel),
            (Self::OpenVpn(openvpn), AnyTunnel::OpenVpn(tunnel)) => openvpn.finished(*tunnel),
            // Not a tunnel of ours: there is nothing to learn from it.
            (Self::Ikev2(_), AnyTunnel::OpenVpn(_)) | (Self::OpenVpn(_), AnyTunnel::Ikev2(_)) => {}
        }
    }
}

impl Tunnel for AnyTunnel {
    type Sealer = AnySealer;
    type Opener = AnyOpener;

    fn classify(&self, path: &Path, datagram: &[u8]) -> Class {
        either!(self, tunnel => tunnel.classify(path, datagram))
    }

    fn handle_datagram(&mut self, now: Instant, path: &Path, datagram: &mut [u8]) {
        either!(self, tunnel => tunnel.handle_datagram(now, path, datagram));
    }

    fn handle_message(&mut self, now: Instant, message: &[u8]) {
        either!(self, tunnel => tunnel.handle_message(now, message));
    }

    fn handle_peer_path(&mut self, now: Instant, path: &Path) {
        either!(self, tunnel => tunnel.handle_peer_path(now, path));
    }

    fn handle_path(&mut self, now: Instant, path: &Path) {
        either!(self, tunnel => tunnel.handle_path(now, path));
    }

    fn handle_unreachable(&mut self, now: Instant) {
        either!(self, tunnel => tunnel.handle_unreachable(now));
    }

    fn handle_answer(&mut self, now: Instant, answer: Answer) {
        either!(self, tunnel => tunnel.handle_answer(now, answer));
    }

    fn handle_timeout(&mut self, now: Instant) {
        either!(self, tunnel => tunnel.handle_timeout(now));
    }

    fn close(&mut self, now: Instant) {
        either!(self, tunnel => tunnel.close(now));
    }

    fn poll_event(&mut self) -> Option<Event<AnySealer, AnyOpener>> {
        match self {
            Self::Ikev2(tunnel) => wrap(tunnel.poll_event()?, AnySealer::Ikev2, AnyOpener::Ikev2),
            Self::OpenVpn(tunnel) => wrap(tunnel.poll_event()?, AnySealer::OpenVpn, AnyOpener::OpenVpn),
        }
        .into()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        either!(self, tunnel => tunnel.poll_transmit())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        either!(self, tunnel => tunnel.poll_timeout())
    }

    fn details(&self) -> TunnelDetails {
        either!(self, tunnel => tunnel.details())
    }
}

/// The same event, with its keys as those of either protocol.
fn wrap<S, O>(
    event: Event<S, O>,
    wrap_sealer: impl FnOnce(S) -> AnySealer,
    wrap_opener: impl FnOnce(O) -> AnyOpener,
) -> Event<AnySealer, AnyOpener> {
    match event {
        Event::Keys(change) => Event::Keys(match change {
            KeyChange::AddOpener { tag, flow, opener } => {
                KeyChange::AddOpener { tag, flow, opener: Box::new(wrap_opener(*opener)) }
            }
            KeyChange::SetSealer { flow, selectors, sealer } => {
                KeyChange::SetSealer { flow, selectors, sealer: Box::new(wrap_sealer(*sealer)) }
            }
            KeyChange::RemoveOpener { tag } => KeyChange::RemoveOpener { tag },
            KeyChange::RemoveFlow { flow } => KeyChange::RemoveFlow { flow },
        }),
        Event::Up(network) => Event::Up(network),
        Event::Inject { flow, packet } => Event::Inject { flow, packet },
        Event::Prompt(prompt) => Event::Prompt(prompt),
        Event::Path(path) => Event::Path(path),
        Event::Closed(closed) => Event::Closed(closed),
    }
}

impl Sealer for AnySealer {
    fn header_len(&self) -> usize {
        either!(self, sealer => sealer.header_len())
    }

    fn sealed_len(&self, packet_len: usize) -> usize {
        either!(self, sealer => sealer.sealed_len(packet_len))
    }

    fn seal(&mut self, buf: &mut [u8], packet: Range<usize>) -> Result<Range<usize>, SealError> {
        either!(self, sealer => sealer.seal(buf, packet))
    }
}

impl Opener for AnyOpener {
    fn open(&mut self, datagram: &mut [u8]) -> Result<Opened, OpenError> {
        either!(self, opener => opener.open(datagram))
    }

    fn unpacked(&self) -> &[u8] {
        either!(self, opener => opener.unpacked())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use adit_tunnel::{CloseKind, FlowId, KeyTag, Transport};
    use openvpn::{Credentials, ServerCheck};

    use super::*;
    use crate::{OsRandom, ikev2::tests::config};

    fn openvpn() -> openvpn::Config {
        let credentials = Credentials { username: "u".to_owned(), password: "p".into() };
        openvpn::Config::builder(vec![openvpn::Remote::new("a.example", 1194, Transport::Udp)])
            .server_check(ServerCheck { fingerprints: vec![[1; 32]], ..ServerCheck::default() })
            .identity(None, Some(credentials))
            .build()
            .unwrap()
    }

    fn start(any: &mut Any, remote: &str) -> (AnyTunnel, Path) {
        let path = Path { transport: Transport::Udp, local: None, remote: remote.parse().unwrap() };
        let now = Instant::now();
        let epoch = Epoch::new(now, Duration::from_secs(1_800_000_000));
        (any.start(0, path, Box::new(OsRandom), epoch, now).unwrap(), path)
    }

    #[test]
    fn either_protocol_begins_with_its_own_datagram_and_ends_when_closed() {
        let ikev2 = config(vec![ikev2::Remote::new("b.example", 500)]);
        for (config, port, first) in [(Any::from(ikev2), 500, None), (Any::from(openvpn()), 1194, Some(0x38))] {
            let mut any = config;
            assert_eq!(any.remotes()[0].port, port);
            let (mut tunnel, path) = start(&mut any, &format!("192.0.2.1:{port}"));
            assert!(tunnel.poll_event().is_none());
            let transmit = tunnel.poll_transmit().unwrap();
            assert_eq!(transmit.path.remote, path.remote);
            match first {
                // P_CONTROL_HARD_RESET_CLIENT_V2 of key 0.
                Some(opcode) => assert_eq!(transmit.datagram[0], opcode),
                // IKE_SA_INIT of version 2.0, behind both SPIs.
                None => assert_eq!(transmit.datagram[17..19], [0x20, 34]),
            }
            assert!(tunnel.poll_timeout().is_some());
            tunnel.close(Instant::now());
            let Some(Event::Closed(closed)) = tunnel.poll_event() else { panic!("it is over") };
            assert_eq!(closed.kind, CloseKind::Local);
            any.finished(tunnel);
        }
    }

    #[test]
    fn each_tunnel_sorts_datagrams_as_its_protocol_does() {
        let mut ikev2 = Any::from(config(vec![ikev2::Remote::new("b.example", 500)]));
        let (ikev2, path) = start(&mut ikev2, "192.0.2.1:4500");
        let (openvpn, _) = start(&mut Any::from(openvpn()), "192.0.2.1:1194");
        // P_DATA_V2 of key 0 and peer 1: as ESP, an SPI.
        let datagram = [
            0x48, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0,
        ];
        assert_eq!(ikev2.classify(&path, &datagram), Class::Data(KeyTag(0x4800_0001)));
        assert_eq!(openvpn.classify(&path, &datagram), Class::Data(KeyTag(0)));
    }

    #[test]
    fn keys_are_wrapped_and_everything_else_passes() {
        let wrap = |event: Event<char, char>| {
            fn never<T>(_: char) -> T {
                panic!("no key")
            }
            wrap(event, never, never)
        };
        let remove = |event| matches!(wrap(event), Event::Keys(KeyChange::RemoveOpener { tag: KeyTag(7) }));
        assert!(remove(Event::Keys(KeyChange::RemoveOpener { tag: KeyTag(7) })));
        let flow = FlowId(3);
        assert!(matches!(
            wrap(Event::Keys(KeyChange::RemoveFlow { flow })),
            Event::Keys(KeyChange::RemoveFlow { flow: FlowId(3) })
        ));
        let inject = Event::Inject { flow, packet: bytes::Bytes::from_static(b"x") };
        assert!(matches!(wrap(inject), Event::Inject { flow: FlowId(3), packet } if *packet == *b"x"));
    }
}
