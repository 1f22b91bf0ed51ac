//! An EAP server for the methods made of TLS: rustls's server in EAP packets.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use rustls::{ProtocolVersion, ServerConfig, ServerConnection};

use super::{Peer, SUCCESS};
use crate::eap::{EapError, EapStep};

pub(super) const TLS: u8 = 13;
pub(super) const TTLS: u8 = 21;

pub(super) struct Server {
    kind: u8,
    pub(super) connection: ServerConnection,
    id: u8,
    /// Most bytes of TLS in a packet.
    pub(super) fragment: usize,
    /// Whether packets tell the length of the message even where they need not.
    pub(super) tells_length: bool,
    /// What has been decrypted.
    pub(super) plaintext: Vec<u8>,
    /// Packets of the peer that were not the last of their message.
    pub(super) fragments_received: u32,
}

impl Server {
    pub(super) fn new(kind: u8, config: ServerConfig) -> Self {
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        Self {
            kind,
            connection,
            id: 77,
            fragment: 1000,
            tells_length: true,
            plaintext: Vec::new(),
            fragments_received: 0,
        }
    }

    /// Runs the handshake to the end; then what the peer answered to the last of it is in [`Self::plaintext`].
    pub(super) fn handshake(&mut self, peer: &mut Peer) -> Result<(), EapError> {
        let hello = self.start(peer)?;
        self.feed(&hello);
        while let output @ [_, ..] = &self.take_output()[..] {
            let answer = self.exchange(peer, output)?;
            self.feed(&answer);
        }
        assert!(!self.connection.is_handshaking());
        Ok(())
    }

    pub(super) fn start(&mut self, peer: &mut Peer) -> Result<Vec<u8>, EapError> {
        let hello = self.ask(peer, &[0x20])?;
        self.collect(peer, hello)
    }

    /// Sends a whole TLS message, in fragments, and returns the message that comes back.
    pub(super) fn exchange(&mut self, peer: &mut Peer, message: &[u8]) -> Result<Vec<u8>, EapError> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let mut parts: Vec<&[u8]> = message.chunks(self.fragment).collect();
        let last = parts.pop().unwrap_or_default();
        for (number, part) in parts.iter().enumerate() {
            let head: &[u8] = if number == 0 { &[&[0xc0], &length[..]].concat() } else { &[0x40] };
            assert_eq!(self.ask(peer, &[head, part].concat())?, [0], "no acknowledgement");
        }
        let head: &[u8] = if self.tells_length && parts.is_empty() { &[&[0x80], &length[..]].concat() } else { &[0] };
        let answer = self.ask(peer, &[head, last].concat())?;
        self.collect(peer, answer)
    }

    /// Encrypts, sends, and returns what comes back, decrypted.
    pub(super) fn say(&mut self, peer: &mut Peer, plaintext: &[u8]) -> Result<Vec<u8>, EapError> {
        self.connection.writer().write_all(plaintext).unwrap();
        let output = self.take_output();
        let answer = self.exchange(peer, &output)?;
        self.feed(&answer);
        Ok(std::mem::take(&mut self.plaintext))
    }

    pub(super) fn feed(&mut self, mut message: &[u8]) {
        while !message.is_empty() {
            self.connection.read_tls(&mut message).unwrap();
            // An error makes an alert, which `take_output` finds.
            let Ok(state) = self.connection.process_new_packets() else { return };
            let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
            self.connection.reader().read_exact(&mut plaintext).unwrap();
            self.plaintext.extend(plaintext);
        }
    }

    pub(super) fn take_output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut output).unwrap();
        }
        output
    }

    /// The server's half of the key.
    pub(super) fn msk(&self) -> Vec<u8> {
        let (label, context): (_, Option<&[u8]>) = match (self.connection.protocol_version(), self.kind) {
            (Some(ProtocolVersion::TLSv1_3), TLS) => ("EXPORTER_EAP_TLS_Key_Material", Some(&[0x0d])),
            (Some(ProtocolVersion::TLSv1_3), _) => ("EXPORTER_EAP_TLS_Key_Material", Some(&[0x15])),
            (_, TLS) => ("client EAP encryption", None),
            (_, _) => ("ttls keying material", None),
        };
        self.connection.export_keying_material([0; 128], label.as_bytes(), context).unwrap()[..64].to_vec()
    }

    /// Says EAP-Success; the peer must agree and have the same key.
    pub(super) fn succeed(&self, peer: &mut Peer) {
        let Ok(EapStep::Done(Some(key))) = peer.handle(&SUCCESS) else { panic!("no key") };
        assert_eq!(key.expose(), self.msk());
    }

    /// One packet, flags first, and one back.
    pub(super) fn ask(&mut self, peer: &mut Peer, data: &[u8]) -> Result<Vec<u8>, EapError> {
        self.id = self.id.wrapping_add(1);
        let (kind, answer) = peer.ask(self.id, self.kind, data)?;
        assert_eq!(kind, self.kind);
        Ok(answer)
    }

    fn collect(&mut self, peer: &mut Peer, mut answer: Vec<u8>) -> Result<Vec<u8>, EapError> {
        let mut message = Vec::new();
        loop {
            let flags = answer[0];
            assert!(answer.len() <= 5 + crate::eap::tls::FRAGMENT_BYTES);
            message.extend_from_slice(&answer[if flags & 0x80 == 0 { 1 } else { 5 }..]);
            if flags & 0x40 == 0 {
                return Ok(message);
            }
            self.fragments_received += 1;
            answer = self.ask(peer, &[0])?;
        }
    }
}
