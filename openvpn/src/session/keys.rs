//! What the first data keys need to be agreed upon.

use std::time::Instant;

use super::{Session, Timer, peer_info, peer_info::iv_proto};
use crate::{
    algorithms::Cipher,
    data::{DataKeyParams, Role},
    data_keys::{Derivation, Renewal},
    error::SessionError,
    tls::{TlsSession, subject},
};

impl Session {
    /// Makes the keys of the newest slot.
    pub(super) fn install_keys(&mut self, now: Instant) -> Result<(), SessionError> {
        let derivation = if self.options.tls_ekm() { Derivation::Exporter } else { Derivation::Prf };
        self.check_agreed()?;
        let cipher = self.choose_cipher()?;
        let (settings, renewal) = (&self.config.settings, self.renewal());
        let crypto = settings.crypto.as_ref();
        let server = self.link.peer_session_id.ok_or(SessionError::DataKeys)?;
        let sids = (self.link.session_id, server);
        let exchanged = self.slot.exchanged().ok_or(SessionError::DataKeys)?;
        let keys = exchanged.key_material(derivation, sids, crypto).ok_or(SessionError::DataKeys)?;
        let key_id = self.slot.channel.key_id.value();
        let framing = self.options.framing.unwrap_or(settings.framing);
        let peer_id = self.options.peer_id.filter(|_| self.announces(iv_proto::DATA_V2));
        let params = DataKeyParams {
            cipher,
            auth: settings.auth,
            keys: &keys,
            role: Role::Client,
            key_id,
            peer_id,
            framing,
            replay_window: settings.replay_window,
            mtu: self.tun_mtu(),
        };
        let started = self.slot.channel.started;
        let installed = self.keys.install(now, started, &params, crypto, &renewal, &mut self.events);
        installed.map_err(|_| SessionError::DataKeys)?;
        tracing::info!(
            key_id,
            %cipher,
            derivation = derivation.name(),
            data = if peer_id.is_some() { "v2" } else { "v1" },
            framing = framing_name(framing),
            "data keys installed"
        );
        self.cipher = Some(cipher);
        let tls = self.slot.tls();
        let (version, suite) = tls.map_or(("?", "?"), TlsSession::description);
        self.agreed.suite = format!("{version} {suite}, data {cipher}");
        self.agreed.server = tls.and_then(TlsSession::peer_certificate).and_then(|certificate| subject(certificate));
        self.agreed.times += 1;
        self.timers.stop(Timer::HandWindow);
        if !renewal.reneg_sec.is_zero() {
            self.timers.set(Timer::Renegotiate, now + renewal.reneg_sec);
        }
        Ok(())
    }

    pub(super) fn renewal(&self) -> Renewal {
        let settings = &self.config.settings;
        Renewal {
            hand_window: settings.hand_window,
            tran_window: settings.tran_window,
            reneg_sec: settings.reneg_sec,
            reneg_bytes: settings.reneg_bytes,
            reneg_packets: settings.reneg_packets,
        }
    }

    /// Counters of the live keys, the newest last.
    #[cfg(test)]
    pub(crate) fn usages(&self) -> Vec<std::sync::Arc<adit_tunnel::Usage>> {
        self.keys.usages()
    }

    /// Whether IV_PROTO has this bit.
    pub(super) fn announces(&self, bit: u32) -> bool {
        peer_info::announced(&self.config.settings) & bit != 0
    }

    /// A server may only switch on what we announced: anything else changes the wire format under our feet.
    fn check_agreed(&self) -> Result<(), SessionError> {
        let flags = &self.options.protocol_flags;
        let wanted = [
            (self.options.tls_ekm(), iv_proto::TLS_KEY_EXPORT, "tls-ekm"),
            (flags.dyn_tls_crypt, iv_proto::DYN_TLS_CRYPT, "dyn-tls-crypt"),
            (flags.aead_epoch, iv_proto::DATA_EPOCH, "aead-epoch"),
        ];
        match wanted.into_iter().find(|(on, bit, _)| *on && !self.announces(*bit)) {
            Some((_, _, name)) => Err(SessionError::Unsupported(format!("{name}, although we did not announce it"))),
            None => Ok(()),
        }
    }

    /// What the server pushed; from a server that does not negotiate, what its options string says; else our fallback.
    fn choose_cipher(&self) -> Result<Cipher, SessionError> {
        let settings = &self.config.settings;
        let allowed = |cipher: &Cipher| settings.data_ciphers.contains(cipher);
        if let Some(cipher) = self.cipher {
            return Ok(cipher);
        }
        if let Some(cipher) = self.options.cipher {
            let fallback = settings.data_ciphers_fallback == Some(cipher);
            return if allowed(&cipher) || fallback {
                Ok(cipher)
            } else {
                Err(SessionError::Cipher(cipher.to_string()))
            };
        }
        peer_info::cipher_of_options(&self.server_options)
            .filter(allowed)
            .or(settings.data_ciphers_fallback)
            .ok_or(SessionError::NoCipher)
    }
}

const fn framing_name(framing: crate::config::Framing) -> &'static str {
    use crate::config::Framing;
    match framing {
        Framing::None => "none",
        Framing::V1 => "v1",
        Framing::V1Swap => "v1-swap",
        Framing::V2 => "v2",
    }
}
