//! Inner packets in a file, for Wireshark and tcpdump: classic pcap, raw IP.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{SystemTime, UNIX_EPOCH},
};

/// Takes copies of the packets of tunnels, both ways, and writes them to a file on a thread of its own. Cheap to clone; the
/// file is complete when the last clone is gone.
#[derive(Clone)]
pub struct Capture(Arc<Tap>);

struct Tap {
    /// `None` only while it is dropped.
    records: Option<SyncSender<Vec<u8>>>,
    writer: Option<JoinHandle<()>>,
    full: Arc<AtomicBool>,
    lost: AtomicU64,
}

impl Capture {
    /// Begins a file that nobody but its owner can read, in place of one that is there. After `max_bytes` it takes no more.
    ///
    /// # Errors
    /// When the file cannot be made or written, or there can be no thread.
    pub fn create(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let mut file = private(path)?;
        file.write_all(&header())?;
        let full = Arc::new(AtomicBool::new(false));
        let (records, queue) = sync_channel(QUEUE);
        let sink = Writer { file: BufWriter::new(file), left: max_bytes, full: Arc::clone(&full) };
        let writer = thread::Builder::new().name("capture".to_owned()).spawn(move || sink.run(&queue))?;
        let (records, writer) = (Some(records), Some(writer));
        Ok(Self(Arc::new(Tap { records, writer, full, lost: AtomicU64::new(0) })))
    }

    /// Packets that came faster than they could be written, and are not in the file.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Relaxed)
    }

    /// Takes a copy; never waits.
    pub(crate) fn packet(&self, packet: &[u8]) {
        let tap = &*self.0;
        if tap.full.load(Relaxed) {
            return;
        }
        let Some(records) = &tap.records else { return };
        match records.try_send(record(packet)) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                tap.lost.fetch_add(1, Relaxed);
            }
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.records = None;
        if let Some(writer) = self.writer.take() {
            // A panic there was told where it happened.
            drop(writer.join());
        }
        let lost = self.lost.load(Relaxed);
        if lost > 0 {
            tracing::warn!("the capture lacks {lost} packets, which came faster than they could be written");
        }
    }
}

struct Writer {
    file: BufWriter<File>,
    left: u64,
    full: Arc<AtomicBool>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Vec<u8>>) {
        while let Ok(record) = queue.recv() {
            let mut next = Some(record);
            while let Some(record) = next {
                let Some(left) = self.left.checked_sub(record.len() as u64) else {
                    tracing::warn!("the capture is as long as it may be, and takes no more");
                    return self.stop();
                };
                self.left = left;
                if let Err(error) = self.file.write_all(&record) {
                    tracing::warn!("the capture cannot be written any more: {error}");
                    return self.stop();
                }
                next = queue.try_recv().ok();
            }
            // Whoever looks at it meanwhile sees whole packets.
            if let Err(error) = self.file.flush() {
                tracing::warn!("the capture cannot be written any more: {error}");
                return self.stop();
            }
        }
    }

    fn stop(&self) {
        self.full.store(true, Relaxed);
    }
}

#[cfg(unix)]
fn private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // One that was there keeps its permissions otherwise.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(not(unix))]
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).open(path)
}

/// The file's header, in the byte order of this machine, which readers tell by the first number.
fn header() -> Vec<u8> {
    let mut header = Vec::with_capacity(24);
    header.extend(0xa1b2_c3d4_u32.to_ne_bytes());
    header.extend(2_u16.to_ne_bytes());
    header.extend(4_u16.to_ne_bytes());
    header.extend([0; 8]);
    header.extend(u32::from(u16::MAX).to_ne_bytes());
    header.extend(LINKTYPE_RAW.to_ne_bytes());
    header
}

fn record(packet: &[u8]) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let length = u32::try_from(packet.len()).unwrap_or(u32::MAX).to_ne_bytes();
    let mut record = Vec::with_capacity(16 + packet.len());
    // Seconds have 32 bits in this format.
    record.extend((now.as_secs() as u32).to_ne_bytes());
    record.extend(now.subsec_micros().to_ne_bytes());
    record.extend(length);
    record.extend(length);
    record.extend_from_slice(packet);
    record
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

impl PartialEq for Capture {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Capture {}

/// "The packet begins with an IPv4 or IPv6 header" (the registry of tcpdump.org).
const LINKTYPE_RAW: u32 = 101;
/// Packets that wait to be written; our own judgement.
const QUEUE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn a_capture_holds_whole_packets_and_stops_where_it_is_full() {
        let path = std::env::temp_dir().join(format!("adit-capture-{}.pcap", std::process::id()));
        std::fs::write(&path, "from before").unwrap();
        let capture = Capture::create(&path, 16 + 3 + 16 + 2).unwrap();
        for packet in [&b"abc"[..], b"de", b"fgh"] {
            capture.packet(packet);
        }
        drop(capture);
        let bytes = std::fs::read(&path).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!((number(&bytes, 0), number(&bytes, 20), bytes.len()), (0xa1b2_c3d4, 101, 24 + 19 + 18));
        assert_eq!(
            (number(&bytes, 32), &bytes[40..43], number(&bytes, 51), &bytes[59..]),
            (3, &b"abc"[..], 2, &b"de"[..])
        );
    }
}
