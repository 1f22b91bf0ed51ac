//! One key id's way to the peer: a TLS stream, cut into reliable packets.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;

use super::{
    packet::{KeyId, Opcode},
    reliable::Reliable,
};
use crate::tls::TlsSession;

/// The packets of one key id, and the ciphertext that is to go into them.
pub(crate) struct Channel {
    pub(crate) key_id: KeyId,
    pub(crate) started: Instant,
    pub(crate) reliable: Reliable,
    /// Ciphertext that has no packet yet, because the send window is full.
    unsent: VecDeque<Bytes>,
    /// The next packet carries our wrapped key (tls-crypt-v2).
    resend_wrapped_key: bool,
}

impl Channel {
    pub(crate) const fn new(key_id: KeyId, reliable: Reliable, now: Instant) -> Self {
        Self { key_id, started: now, reliable, unsent: VecDeque::new(), resend_wrapped_key: false }
    }

    /// The server has forgotten our key: the next packet brings it again.
    pub(crate) fn resend_wrapped_key(&mut self, wanted: bool) {
        self.resend_wrapped_key = wanted;
    }

    /// Takes over what TLS has to send.
    pub(crate) fn collect(&mut self, tls: &mut TlsSession) {
        let ciphertext = tls.take_ciphertext();
        if !ciphertext.is_empty() {
            self.unsent.push_back(ciphertext);
        }
    }

    /// Moves ciphertext into packets of at most `payload_limit` bytes, as far as the send window allows. The packet that
    /// carries our wrapped key is shorter by `wrapped_key_len`.
    pub(super) fn fill_window(&mut self, payload_limit: usize, wrapped_key_len: usize) {
        while self.reliable.can_queue() {
            let Some(first) = self.unsent.front_mut() else { return };
            let (opcode, limit) = if std::mem::take(&mut self.resend_wrapped_key) {
                (Opcode::CONTROL_WKC_V1, payload_limit.saturating_sub(wrapped_key_len).max(1))
            } else {
                (Opcode::CONTROL_V1, payload_limit.max(1))
            };
            let chunk = first.split_to(limit.min(first.len()));
            if first.is_empty() {
                self.unsent.pop_front();
            }
            self.reliable.queue(opcode, chunk);
        }
    }

    /// Whether the peer has everything that was said.
    pub(crate) fn all_arrived(&self) -> bool {
        self.reliable.all_acked() && self.unsent.is_empty()
    }

    /// Bytes that wait for the peer, one way or the other.
    pub(crate) fn held_bytes(&self) -> usize {
        self.reliable.held_bytes() + self.unsent.iter().map(Bytes::len).sum::<usize>()
    }
}
