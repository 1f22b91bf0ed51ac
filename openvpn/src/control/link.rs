//! What all control packets of a session have in common: session ids and wrapping.

use std::{collections::VecDeque, time::Instant};

use adit_tunnel::{Epoch, Path, Transmit};
use bytes::Bytes;

use super::{
    channel::Channel,
    packet::{AckList, ControlPacket, KeyId, Opcode, SessionId},
    reliable::ACKS_PER_PACKET,
    wrap::{Seen, WrapError, Wrapper},
};

/// Turns what channels have to send into datagrams, and datagrams of the peer into packets.
pub(crate) struct ControlLink {
    pub(crate) session_id: SessionId,
    pub(crate) peer_session_id: Option<SessionId>,
    wrapper: Wrapper,
    /// Wraps everything with a key id above 0, once both ends agreed to dynamic tls-crypt.
    dynamic: Option<Wrapper>,
    epoch: Epoch,
    /// Largest datagram including IP and UDP headers.
    max_packet_size: u16,
}

impl ControlLink {
    pub(crate) const fn new(session_id: SessionId, wrapper: Wrapper, epoch: Epoch, max_packet_size: u16) -> Self {
        Self { session_id, peer_session_id: None, wrapper, dynamic: None, epoch, max_packet_size }
    }

    /// From now on, everything with a key id above 0 is wrapped so.
    pub(crate) fn set_dynamic(&mut self, wrapper: Wrapper) {
        self.dynamic = Some(wrapper);
    }

    /// Verifies a datagram and reads its packet; it counts as seen only with [`Self::mark`].
    pub(crate) fn verify(&self, key_id: KeyId, datagram: &[u8]) -> Result<(ControlPacket, Seen), WrapError> {
        self.wrapper_of(key_id).verify(datagram)
    }

    /// The packet belongs to this session: it is not accepted again.
    pub(crate) fn mark(&mut self, key_id: KeyId, seen: Seen) {
        self.wrapper_mut_of(key_id).mark(seen);
    }

    /// Puts into `transmits` whatever the channel has to send, acknowledgements included; the rest goes out when its
    /// timer says so.
    pub(crate) fn flush(
        &mut self,
        now: Instant,
        channel: &mut Channel,
        path: Path,
        transmits: &mut VecDeque<Transmit>,
    ) {
        let header = ControlPacket::len_without_payload(ACKS_PER_PACKET);
        let outer = if path.remote.is_ipv6() { 40 } else { 20 } + 8;
        let (overhead, wrapped_key_len) = (self.wrapper_of(channel.key_id).overhead(), self.wrapper.wrapped_key_len());
        let limit = usize::from(self.max_packet_size).saturating_sub(outer + header + overhead);
        channel.fill_window(limit, wrapped_key_len);
        while let Some(outgoing) = channel.reliable.poll_send(now) {
            let acks = self.take_acks(channel);
            let packet_id = Some(outgoing.packet_id);
            let packet = self.packet(channel.key_id, outgoing.opcode, acks, packet_id, outgoing.payload);
            transmits.extend(self.wrap(now, path, &packet));
            channel.fill_window(limit, wrapped_key_len);
        }
        while channel.reliable.has_pending_acks() && self.peer_session_id.is_some() {
            let acks = self.take_acks(channel);
            if acks.is_empty() {
                break;
            }
            let packet = self.packet(channel.key_id, Opcode::ACK_V1, acks, None, Bytes::new());
            transmits.extend(self.wrap(now, path, &packet));
        }
    }

    fn take_acks(&self, channel: &mut Channel) -> AckList {
        if self.peer_session_id.is_none() { AckList::default() } else { channel.reliable.take_acks(ACKS_PER_PACKET) }
    }

    fn packet(
        &self,
        key_id: KeyId,
        opcode: Opcode,
        acks: AckList,
        packet_id: Option<u32>,
        payload: Bytes,
    ) -> ControlPacket {
        ControlPacket {
            opcode,
            key_id,
            session_id: self.session_id,
            peer_session_id: self.peer_session_id.filter(|_| !acks.is_empty()),
            acks,
            packet_id,
            payload,
        }
    }

    fn wrap(&mut self, now: Instant, path: Path, packet: &ControlPacket) -> Option<Transmit> {
        tracing::trace!(?packet, "sent");
        let unix = u32::try_from(self.epoch.unix_time(now).as_secs()).unwrap_or(u32::MAX);
        match self.wrapper_mut_of(packet.key_id).wrap(packet, unix) {
            Ok(datagram) => Some(Transmit { path, datagram }),
            Err(error) => {
                tracing::warn!(%error, "a control packet could not be wrapped");
                None
            }
        }
    }

    fn wrapper_of(&self, key_id: KeyId) -> &Wrapper {
        match &self.dynamic {
            Some(dynamic) if key_id != KeyId::FIRST => dynamic,
            Some(_) | None => &self.wrapper,
        }
    }

    fn wrapper_mut_of(&mut self, key_id: KeyId) -> &mut Wrapper {
        match &mut self.dynamic {
            Some(dynamic) if key_id != KeyId::FIRST => dynamic,
            Some(_) | None => &mut self.wrapper,
        }
    }
}
