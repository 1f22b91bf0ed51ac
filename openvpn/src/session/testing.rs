//! What tests may look at.

use super::Session;
use crate::control::packet::SessionId;

impl Session {
    /// The newest key id, and how far its slot is.
    pub(crate) fn slot_name(&self) -> (u8, &'static str) {
        (self.slot.channel.key_id.value(), self.slot.state_name())
    }

    pub(crate) fn session_id(&self) -> SessionId {
        self.link.session_id
    }

    /// The id of the server's next packet of the newest key.
    pub(crate) fn expected_packet_id(&self) -> u32 {
        self.slot.channel.reliable.expected()
    }
}
