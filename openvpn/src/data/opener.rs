//! Datagrams to packets.

use std::{fmt, ops::Range, sync::Arc};

use adit_tunnel::{Content, OpenError, Opened, Opener, ReplayWindow, Usage};

use super::{
    DataKeyParams, OpenKey,
    framing::Unmarked,
    header::{KEY_ID_MASK, Version},
    message::is_message,
};
use crate::config::Framing;

/// Opens datagrams with one data channel key, DATA_V1 and DATA_V2 alike.
pub struct DataOpener {
    key_id: u8,
    key: OpenKey,
    framing: Framing,
    replay: ReplayWindow,
    /// Made once, empty without compression framing.
    scratch: Box<[u8]>,
    unpacked_len: usize,
    usage: Arc<Usage>,
}

impl DataOpener {
    pub(super) fn new(params: &DataKeyParams<'_>, key: OpenKey, usage: Arc<Usage>) -> Self {
        Self {
            key_id: params.key_id & KEY_ID_MASK,
            key,
            framing: params.framing,
            replay: ReplayWindow::new(params.replay_window),
            scratch: vec![0; params.framing.scratch_len(params.mtu)].into_boxed_slice(),
            unpacked_len: 0,
            usage,
        }
    }

    /// Returns also the bytes to count.
    fn open_uncounted(&mut self, datagram: &mut [u8]) -> Result<(Opened, usize), OpenError> {
        let (id, payload) = self.authenticate(datagram)?;
        // An authentic datagram is spent, whatever its payload turns out to be.
        let newest = self.replay.mark(id.into());
        let (content, bytes) = match self.framing.unmark(datagram, payload, &mut self.scratch)? {
            Unmarked::InPlace(range) => in_place(datagram, range)?,
            Unmarked::Unpacked(len) => self.unpacked_packet(len)?,
        };
        Ok((Opened { content, newest }, bytes))
    }

    /// Returns the packet id and where the payload lies, decrypted.
    fn authenticate(&self, datagram: &mut [u8]) -> Result<(u32, Range<usize>), OpenError> {
        let version = Version::of(datagram, self.key_id)?;
        match &self.key {
            OpenKey::Aead(key) => key.open(version, datagram, &self.replay),
            OpenKey::Cbc(key) => key.open(version, datagram, &self.replay),
        }
    }

    /// A compressed message is refused: real peers do not compress anything as short (OpenVPN 2.4 `comp.h`,
    /// `COMPRESS_THRESHOLD`), and a message must lie in the datagram.
    fn unpacked_packet(&mut self, len: usize) -> Result<(Content, usize), OpenError> {
        let packet = self.scratch.get(..len).ok_or(OpenError::Malformed)?;
        if is_message(packet) {
            return Err(OpenError::Malformed);
        }
        self.unpacked_len = len;
        Ok((if len == 0 { Content::Filler } else { Content::Unpacked }, len))
    }
}

/// Messages count no bytes: an idle tunnel is one that carries no packets.
fn in_place(datagram: &[u8], range: Range<usize>) -> Result<(Content, usize), OpenError> {
    match datagram.get(range.clone()).ok_or(OpenError::Malformed)? {
        [] => Ok((Content::Filler, 0)),
        message if is_message(message) => Ok((Content::Message(range), 0)),
        packet => Ok((Content::Packet(range), packet.len())),
    }
}

impl Opener for DataOpener {
    fn open(&mut self, datagram: &mut [u8]) -> Result<Opened, OpenError> {
        self.unpacked_len = 0;
        match self.open_uncounted(datagram) {
            Ok((opened, bytes)) => {
                self.usage.on_opened(bytes);
                Ok(opened)
            }
            Err(error) => {
                self.usage.on_refused();
                Err(error)
            }
        }
    }

    fn unpacked(&self) -> &[u8] {
        self.scratch.get(..self.unpacked_len).unwrap_or_default()
    }
}

impl fmt::Debug for DataOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataOpener")
            .field("key_id", &self.key_id)
            .field("framing", &self.framing)
            .field("newest", &self.replay.newest())
            .finish_non_exhaustive()
    }
}
