//! INFORMATIONAL with anything but deletions: liveness (RFC 7296 §2.4), NAT mappings and addresses (RFC 4555).

use std::net::IpAddr;

use adit_tunnel::{Event, Path};
use bytes::Bytes;

use super::{Exchange, Wanted};
use crate::{
    error::{Outcome, PeerMisbehaved, SessionError},
    established::{Established, Role},
    message::{
        Delete, IkeSpi, Message, Notify, Payload,
        numbers::{ExchangeType, NotifyType},
    },
    network,
    sa::{Context, Timer, nat},
};

/// Our request in flight.
pub(crate) struct Informational {
    /// It was UPDATE_SA_ADDRESSES.
    update: bool,
    /// Where it was first sent.
    path: Path,
    /// To be returned as it is (RFC 4555 §3.7).
    cookie2: Option<Bytes>,
}

/// How the gateway sees our address, as a hash over the SPIs of an IKE SA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Baseline {
    /// It has not been asked yet.
    Unknown,
    /// This.
    Known(Bytes),
    /// It was known for an IKE SA that is no more.
    Lost,
}

impl Informational {
    /// Whether it tells the gateway where we are.
    pub(crate) const fn is_update(&self) -> bool {
        self.update
    }
}

impl Established {
    // INFORMATIONAL { [N(UPDATE_SA_ADDRESSES)], [N(NAT_DETECTION_*)], [N(COOKIE2)] } -->
    pub(crate) fn inform(&mut self, cx: &mut Context<'_>, spi: IkeSpi, update: bool) {
        let Some(sa) = self.sa(spi) else { return };
        let spis = sa.ike.spis();
        let mut payloads = Vec::new();
        let mut cookie2 = None;
        if update && self.mobike {
            payloads.push(Payload::notify(NotifyType::UPDATE_SA_ADDRESSES, Bytes::new()));
            let mut cookie = [0; COOKIE2_BYTES];
            cx.random.fill(&mut cookie);
            cookie2 = Some(Bytes::copy_from_slice(&cookie));
        }
        // Where the mapping of a NAT has gone is for the client to find out (RFC 4555 §3.8).
        if self.mobike && cx.end.is_client() {
            payloads.extend(nat::payloads(spis, cx.path.remote, &mut *cx.random));
        }
        payloads.extend(cookie2.clone().map(|cookie| Payload::notify(NotifyType::COOKIE2, cookie)));
        let exchange = Informational { update: update && self.mobike, path: *cx.path, cookie2 };
        self.request(cx, spi, ExchangeType::INFORMATIONAL, payloads, Exchange::Informational(exchange));
    }

    pub(crate) fn on_informed(
        &mut self,
        cx: &mut Context<'_>,
        spi: IkeSpi,
        exchange: Informational,
        response: &Message,
    ) -> Outcome<()> {
        if let Some(ours) = &exchange.cookie2
            && response.notify(NotifyType::COOKIE2).is_none_or(|theirs| theirs.data != *ours)
        {
            return Err(PeerMisbehaved::Cookie2.into());
        }
        if !self.mobike || !cx.end.is_client() {
            return Ok(());
        }
        if exchange.path != *cx.path {
            // It was sent to or from several places: nobody knows which of them the answer is about.
            self.want(cx, Wanted::UpdateAddresses);
            return Ok(());
        }
        if response.notify(NotifyType::UNACCEPTABLE_ADDRESSES).is_some() {
            tracing::warn!("the gateway does not accept our new address");
            return Ok(());
        }
        let Some(seen) = response.notify(NotifyType::NAT_DETECTION_DESTINATION_IP).map(|notify| notify.data.clone())
        else {
            return Ok(());
        };
        if self.sa(spi).is_none_or(|sa| sa.role != Role::InUse) {
            return Ok(());
        }
        let moved = matches!(&self.baseline, Baseline::Known(before) if *before != seen);
        if moved && !exchange.update {
            tracing::info!("a NAT on the way gave us another address or port; telling the gateway");
            self.want(cx, Wanted::UpdateAddresses);
        } else {
            self.baseline = Baseline::Known(seen);
        }
        Ok(())
    }

    /// Our own address has changed.
    pub(crate) fn on_local_change(&mut self, cx: &mut Context<'_>) {
        // Without MOBIKE the gateway follows whatever it can verify, so anything will do (RFC 7296 §2.23).
        self.want(cx, if self.mobike { Wanted::UpdateAddresses } else { Wanted::Liveness });
        // What is in flight went out of the old address, and had no chance.
        if let Some(sa) = self.current() {
            sa.ike.start_again(cx);
        }
    }

    /// The gateway does not answer: perhaps it does elsewhere (RFC 4555 §3.5). Every second time it is tried again where it
    /// last answered: as a rule the network is at fault, and of the other addresses most cannot be reached from outside.
    pub(crate) fn try_other_address(&mut self, cx: &mut Context<'_>) {
        let (now, last) = (cx.path.remote.ip(), self.answered_at);
        if now != last {
            return self.move_to(cx, last);
        }
        let Some(next) = self.additional_addresses.iter().position(|a| *a != now && a.is_ipv4() == now.is_ipv4())
        else {
            return;
        };
        // The one that is tried goes to the end of the list.
        let address = self.additional_addresses.remove(next);
        self.additional_addresses.push(address);
        tracing::info!("the gateway does not answer at {now}; trying its other address {address}");
        self.move_to(cx, address);
    }

    /// A response came from there: of all the addresses a request was sent to, this one works.
    pub(crate) fn on_answered_from(&mut self, cx: &mut Context<'_>, path: &Path) {
        if !cx.end.is_client() {
            return self.on_asked_from(cx, path);
        }
        let address = path.remote.ip();
        // Authentic as it is, anybody may have sent it on from anywhere.
        if address == self.answered_at || address == cx.path.remote.ip() || self.additional_addresses.contains(&address)
        {
            self.answered_at = address;
            self.move_to(cx, address);
        }
    }

    /// A new message of the client came from there. Without MOBIKE a gateway follows whatever it can verify (RFC 7296 §2.23);
    /// with it, the client says when it has moved (RFC 4555 §3.5).
    pub(crate) fn on_asked_from(&mut self, cx: &mut Context<'_>, path: &Path) {
        if !cx.end.is_client() && !self.mobike {
            self.follow(cx, path);
        }
    }

    /// The client is there from now on.
    pub(crate) fn follow(&mut self, cx: &mut Context<'_>, path: &Path) {
        if *cx.path == *path {
            return;
        }
        tracing::info!("the client has moved from {} to {}", cx.path.remote, path.remote);
        *cx.path = *path;
        cx.out.events.push_back(Event::Path(*path));
        // What is in flight went where it no longer is, and is not given up because of that (RFC 4555 §3.11).
        for sa in &mut self.sas {
            sa.ike.start_again(cx);
        }
    }

    fn move_to(&mut self, cx: &mut Context<'_>, address: IpAddr) {
        if cx.path.remote.ip() == address {
            return;
        }
        cx.path.remote.set_ip(address);
        let path = *cx.path;
        cx.out.events.push_back(Event::Path(path));
        // ESP only follows when the gateway is told.
        self.want(cx, Wanted::UpdateAddresses);
    }

    /// The answer to INFORMATIONAL of the peer, and what follows from it.
    pub(crate) fn answer_informational(
        &mut self,
        cx: &mut Context<'_>,
        spi: IkeSpi,
        path: &Path,
        request: &Message,
    ) -> (Vec<Payload>, Outcome<()>) {
        let mut answer = Vec::new();
        let mut ends = Vec::new();
        let mut spis = Vec::new();
        for payload in &request.payloads {
            match payload {
                Payload::Delete(Delete::Ike) => ends.push(self.on_ike_deleted(cx, spi)),
                Payload::Delete(Delete::Esp(deleted)) => {
                    let (ours, lost) = self.delete_by_peer(cx, deleted);
                    spis.extend(ours);
                    if lost {
                        ends.push(self.on_child_lost(cx));
                    }
                }
                Payload::Notify(notify) => {
                    ends.push(self.on_notify(cx, spi, path, request, notify, &mut answer));
                }
                // Nothing else has a meaning here.
                Payload::Sa(_)
                | Payload::Ke(_)
                | Payload::IdI(_)
                | Payload::IdR(_)
                | Payload::Cert(_)
                | Payload::CertReq(_)
                | Payload::Auth(_)
                | Payload::Nonce(_)
                | Payload::Delete(Delete::Other(_))
                | Payload::Vendor(_)
                | Payload::TsI(_)
                | Payload::TsR(_)
                | Payload::Cp(_)
                | Payload::Eap(_)
                | Payload::Unknown { .. } => {}
            }
        }
        if !spis.is_empty() {
            answer.push(Payload::Delete(Delete::Esp(spis)));
        }
        (answer, ends.into_iter().collect())
    }

    fn on_notify(
        &mut self,
        cx: &mut Context<'_>,
        spi: IkeSpi,
        path: &Path,
        request: &Message,
        notify: &Notify,
        answer: &mut Vec<Payload>,
    ) -> Outcome<()> {
        match notify.notify_type {
            NotifyType::NO_NATS_ALLOWED if self.is_translated(path, request) => {
                tracing::warn!("there is a NAT on the way, which the peer does not allow");
                answer.push(Payload::notify(NotifyType::UNEXPECTED_NAT_DETECTED, Bytes::new()));
            }
            NotifyType::UPDATE_SA_ADDRESSES
            | NotifyType::ADDITIONAL_IP4_ADDRESS
            | NotifyType::ADDITIONAL_IP6_ADDRESS
            | NotifyType::NO_ADDITIONAL_ADDRESSES
                if self.is_translated(path, request) => {}
            NotifyType::UPDATE_SA_ADDRESSES if self.mobike && !cx.end.is_client() => self.follow(cx, path),
            NotifyType::COOKIE2 => {
                answer.push(Payload::notify(NotifyType::COOKIE2, notify.data.clone()));
            }
            NotifyType::NAT_DETECTION_DESTINATION_IP => {
                let spis = self.sa(spi).map(|sa| sa.ike.spis());
                answer.extend(spis.into_iter().flat_map(|spis| nat::payloads(spis, path.remote, &mut *cx.random)));
            }
            NotifyType::ADDITIONAL_IP4_ADDRESS
            | NotifyType::ADDITIONAL_IP6_ADDRESS
            | NotifyType::NO_ADDITIONAL_ADDRESSES => {
                self.additional_addresses = network::additional_addresses(request);
            }
            NotifyType::AUTH_LIFETIME if cx.end.is_client() => {
                if let Some(seconds) = notify.data.first_chunk() {
                    let lifetime = std::time::Duration::from_secs(u32::from_be_bytes(*seconds).into());
                    schedule_reauthentication(cx, lifetime);
                }
            }
            NotifyType::INVALID_SPI => return self.on_unknown_child(cx, notify),
            NotifyType::AUTHENTICATION_FAILED => return Err(SessionError::AuthFailed("authentication (after all)")),
            NotifyType::INVALID_SYNTAX => return Err(PeerMisbehaved::CannotReadUs.into()),
            other => tracing::debug!("notification {other} needs no action"),
        }
        Ok(())
    }

    /// Whether the peer allows no NAT, and there is one all the same (RFC 4555 §3.9).
    fn is_translated(&self, path: &Path, request: &Message) -> bool {
        let named = request.notify(NotifyType::NO_NATS_ALLOWED).filter(|_| self.mobike);
        named.is_some_and(|named| !nat::is_untranslated(&named.data, path))
    }

    /// The peer has no SA for what we sealed (RFC 7296 §1.5): it has lost the child. What is left of one that was replaced is
    /// none of its packets' concern.
    fn on_unknown_child(&mut self, cx: &mut Context<'_>, notify: &Notify) -> Outcome<()> {
        let spi = notify.data.first_chunk().map(|spi| u32::from_be_bytes(*spi));
        let Some(child) = self.children.iter().find(|child| Some(child.spi_out) == spi && child.is_in_use()) else {
            return Ok(());
        };
        let child = child.spi_in;
        tracing::warn!("the gateway does not know child {child:08x} any more");
        if self.remove_child(cx, child) { self.on_child_lost(cx) } else { Ok(()) }
    }

    /// The peer deletes the IKE SA the request came through.
    fn on_ike_deleted(&mut self, cx: &mut Context<'_>, spi: IkeSpi) -> Outcome<()> {
        let Some(sa) = self.sa(spi) else { return Ok(()) };
        if sa.role != Role::InUse {
            return Ok(());
        }
        // If it has rekeyed it, the new one takes over.
        let unfinished = sa.exchange.take();
        let offered = self.sas.iter().find(|sa| sa.role == Role::Offered).map(|sa| sa.ike.our_spi());
        let Some(offered) = offered else { return Err(SessionError::Deleted) };
        if let Some(unfinished) = unfinished {
            self.want_again(&unfinished);
        }
        self.use_offered(cx, offered);
        self.go_on(cx);
        Ok(())
    }
}

/// Authenticates anew before `lifetime` from now is over (RFC 4478).
pub(crate) fn schedule_reauthentication(cx: &mut Context<'_>, lifetime: std::time::Duration) {
    if lifetime < SHORTEST_LIFETIME {
        // Some gateways announce zero; the attempt to obey would be an endless loop.
        tracing::warn!("the gateway lets the authentication last {} s; it is left to end it", lifetime.as_secs());
        return;
    }
    let ahead = (lifetime / 5).min(LONGEST_AHEAD);
    cx.set(Timer::Reauthenticate, lifetime.saturating_sub(ahead));
}

/// Between 8 and 64 bytes (RFC 4555 §4.2.5).
const COOKIE2_BYTES: usize = 16;
/// Below this, authenticating anew in time is hopeless.
const SHORTEST_LIFETIME: std::time::Duration = std::time::Duration::from_secs(5);
/// Ample time for a handshake, passwords of people included.
const LONGEST_AHEAD: std::time::Duration = std::time::Duration::from_secs(300);
