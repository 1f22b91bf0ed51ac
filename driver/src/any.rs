//! Both protocols as one: a protocol, its tunnels, and their sealers and openers.
//!
//! Which one it is, a branch decides, not a virtual call; and one value can go on with tunnels of either.

use std::{error::Error, ops::Range, sync::Arc, time::Instant};

use adit_tunnel::{
    Answer, Class, Epoch, Event, KeyChange, OpenError, Opened, Opener, Path, Random, SealError, Sealer, Transmit,
    Tunnel,
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

/// Makes tunnels of either protocol.
#[derive(Debug)]
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
