//! One key id's TLS session, once both key messages have gone over it.

use zeroize::Zeroizing;

use crate::{
    control::{channel::Channel, packet::SessionId},
    crypto::Crypto,
    data_keys::Derivation,
    key_exchange::{ClientMessage, EXPORTER_DATA_KEYS, EXPORTER_DYNAMIC_TLS_CRYPT, ServerMessage, derive_prf},
    keys::StaticKey,
    tls::{TlsError, TlsSession},
};

/// Everything data keys can be made of, and the way of control messages.
pub(crate) struct Exchanged {
    pub(crate) tls: Box<TlsSession>,
    pub(crate) client: ClientMessage,
    pub(crate) server: ServerMessage,
}

impl Exchanged {
    /// Sends a control message.
    pub(crate) fn say(&mut self, channel: &mut Channel, text: &[u8]) -> Result<(), TlsError> {
        self.tls.write(text)?;
        channel.collect(&mut self.tls);
        Ok(())
    }

    /// Key material for the data channel. `sids` are the client's session id and the server's.
    pub(crate) fn key_material(
        &self,
        derivation: Derivation,
        (client, server): (SessionId, SessionId),
        crypto: &dyn Crypto,
    ) -> Option<StaticKey> {
        match derivation {
            Derivation::Exporter => self.tls.export(EXPORTER_DATA_KEYS).ok().map(|key| StaticKey::new(*key)),
            Derivation::Prf => Some(derive_prf(&self.client, &self.server, client, server, crypto)),
        }
    }

    /// The key of dynamic tls-crypt.
    pub(crate) fn export_dynamic_tls_crypt(&self) -> Option<Zeroizing<[u8; 256]>> {
        self.tls.export(EXPORTER_DYNAMIC_TLS_CRYPT).ok()
    }
}
