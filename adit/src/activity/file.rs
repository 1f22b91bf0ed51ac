//! The activity log in a file: a JSON object a line, and older files besides it.
//!
//! Each entry is one write to a file opened for appending, and is brought to the disk: whatever ends the process or the
//! machine, the entries before the last one are whole, and a last one that is not is left out by whoever reads.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    thread::{self, JoinHandle},
};

use super::Entry;
use crate::{
    error::{Error, Exit},
    plan::ActivityPlan,
};

/// Lines that wait for a slow disk; more are lost, and that is said.
const WAITING: usize = 4096;

/// Writes entries on a thread of its own: a slow disk must not hold up tunnels. When it is dropped, what waits is written.
pub(super) struct Writer {
    plan: ActivityPlan,
    lines: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(plan: ActivityPlan) -> Result<Self, Error> {
        let failed = |error: io::Error| {
            let error = Error::new(Exit::Usage, format!("activity log {}: {error}", plan.file.display()));
            error.hint("`file` of [activity] must be in a directory this user may write to")
        };
        let mut rotating = Rotating::open(&plan).map_err(failed)?;
        let (lines, waiting) = sync_channel::<String>(WAITING);
        let write = move || {
            let mut failing = false;
            for line in waiting {
                match rotating.append(&line) {
                    Ok(()) => failing = false,
                    // Said once, not for every entry of a full disk.
                    Err(error) if !failing => {
                        failing = true;
                        tracing::warn!("activity log {}: {error}", rotating.plan.file.display());
                    }
                    Err(_) => {}
                }
            }
        };
        let thread = thread::Builder::new().name("activity".to_owned()).spawn(write).map_err(failed)?;
        Ok(Self { plan, lines: Some(lines), thread: Some(thread) })
    }

    pub(super) fn plan(&self) -> &ActivityPlan {
        &self.plan
    }

    pub(super) fn write(&self, entry: &Entry) {
        let Some(lines) = &self.lines else { return };
        let line = match serde_json::to_string(entry) {
            Ok(line) => line + "\n",
            Err(error) => {
                tracing::warn!("activity log: {error}");
                return;
            }
        };
        match lines.try_send(line) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => tracing::warn!("activity log: the disk is too slow, an entry is lost"),
            Err(TrySendError::Disconnected(_)) => tracing::warn!("activity log: its thread is gone"),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.lines.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The current file.
struct Rotating {
    plan: ActivityPlan,
    file: File,
    length: u64,
}

impl Rotating {
    fn open(plan: &ActivityPlan) -> io::Result<Self> {
        if let Some(parent) = plan.file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent)?;
        }
        let (file, length) = open(&plan.file)?;
        Ok(Self { plan: plan.clone(), file, length })
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        // Moved or removed by others, as logrotate does: what is written there is read by nobody.
        if !is_at(&self.file, &self.plan.file)? {
            *self = Self::open(&self.plan)?;
        }
        self.length = self.file.metadata()?.len();
        let bytes = line.len() as u64;
        // A first line that is longer than a file may be gets one of its own.
        if self.length > 0 && self.length.saturating_add(bytes) > self.plan.max_bytes {
            self.rotate()?;
        }
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..=self.plan.keep).rev() {
            let younger = if number == 1 { self.plan.file.clone() } else { numbered(&self.plan.file, number - 1) };
            match fs::rename(younger, numbered(&self.plan.file, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        if self.plan.keep == 0 {
            self.file.set_len(0)?;
        }
        (self.file, self.length) = open(&self.plan.file)?;
        Ok(())
    }
}

/// Whether this file is the one at the path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where nothing tells files apart, one that is there is taken to be it.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// Opens it for appending, behind a whole line.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    let mut file = options.open(path)?;
    let mut length = file.metadata()?.len();
    if length > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            length += 1;
        }
    }
    Ok((file, length))
}

/// An older file: the higher its number, the older it is.
pub(super) fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{By, Kind, last_of_file},
        *,
    };
    use crate::tests::Folder;

    fn plan(folder: &Folder, max_bytes: u64, keep: usize) -> ActivityPlan {
        ActivityPlan { file: folder.path().join("sub/activity.log"), max_bytes, keep }
    }

    fn write(plan: &ActivityPlan, numbers: std::ops::Range<usize>) {
        let writer = Writer::start(plan.clone()).unwrap();
        for number in numbers {
            writer.write(&Entry::new(Kind::Connecting, By::Program).connection("a").reason(number));
        }
    }

    fn reasons(plan: &ActivityPlan, count: usize) -> Vec<String> {
        let entries = last_of_file(&plan.file, count, None).unwrap();
        entries.into_iter().map(|entry| entry.reason.unwrap()).collect()
    }

    #[test]
    fn entries_survive_the_process() {
        let folder = Folder::new();
        let plan = plan(&folder, 1 << 20, 2);
        write(&plan, 0..3);
        write(&plan, 3..5);
        assert_eq!(reasons(&plan, 4), ["1", "2", "3", "4"]);
        assert_eq!(reasons(&plan, 100).len(), 5);
    }

    #[test]
    fn a_line_that_was_cut_off_by_a_crash_costs_no_other() {
        let folder = Folder::new();
        let plan = plan(&folder, 1 << 20, 2);
        write(&plan, 0..2);
        let mut file = OpenOptions::new().append(true).open(&plan.file).unwrap();
        file.write_all(b"{\"at\":\"2026-").unwrap();
        assert_eq!(reasons(&plan, 9), ["0", "1"]);
        write(&plan, 2..3);
        assert_eq!(reasons(&plan, 9), ["0", "1", "2"]);
    }

    #[test]
    fn files_are_bounded_in_size_and_number() {
        let folder = Folder::new();
        for keep in [0, 2] {
            let plan = ActivityPlan { file: folder.path().join(format!("{keep}.log")), ..plan(&folder, 500, keep) };
            write(&plan, 0..50);
            let kept: Vec<_> = (1..9).filter(|number| numbered(&plan.file, *number).exists()).collect();
            assert_eq!(kept, (1..=keep).collect::<Vec<_>>());
            for file in kept.iter().map(|number| numbered(&plan.file, *number)).chain([plan.file.clone()]) {
                assert!(fs::metadata(&file).unwrap().len() <= 500, "{file:?}");
            }
            let reasons = reasons(&plan, 100);
            assert_eq!(reasons.last().unwrap(), "49");
            assert!(reasons.len() >= 3 * (keep + 1), "{reasons:?}");
            assert!(reasons.is_sorted(), "{reasons:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_move_or_remove_is_made_anew() {
        let folder = Folder::new();
        let plan = plan(&folder, 1 << 20, 2);
        let mut rotating = Rotating::open(&plan).unwrap();
        let moved = folder.path().join("activity.log.moved");
        rotating.append("one\n").unwrap();
        fs::rename(&plan.file, &moved).unwrap();
        rotating.append("two\n").unwrap();
        rotating.append("three\n").unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "one\n");
        assert_eq!(fs::read_to_string(&plan.file).unwrap(), "two\nthree\n");
        fs::remove_dir_all(plan.file.parent().unwrap()).unwrap();
        rotating.append("four\n").unwrap();
        assert_eq!(fs::read_to_string(&plan.file).unwrap(), "four\n");
        // Emptied in place, as with `copytruncate`, it counts from there.
        fs::write(&plan.file, "").unwrap();
        rotating.append("five\n").unwrap();
        assert_eq!(fs::read_to_string(&plan.file).unwrap(), "five\n");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let folder = Folder::new();
        let plan = ActivityPlan { file: folder.path().to_owned(), ..plan(&folder, 1, 1) };
        let error = Writer::start(plan).err().unwrap();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.message().contains(&folder.path().display().to_string()));
    }
}
