//! What is to be undone, on disk before it is done: one JSON object a line, only ever appended.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{dns::DnsUndo, plan::Change};

/// How something is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Undo {
    /// An address, a route or a rule is removed.
    Remove(Change),
    /// A value is put back.
    Sysctl { key: String, before: String },
    /// Names are resolved as before.
    Dns(DnsUndo),
}

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The first: of which device.
    Of { device: String, namespace: Option<String> },
    /// Whose it is from here on.
    Owner(String),
    /// This will be done; its number is that of the line among its kind.
    Do(Undo),
    /// This was undone.
    Undone(usize),
    /// What the names of gateways mean, in place of what was known before: who finds them blocked can ask nobody.
    Names(Vec<Name>),
}

/// A gateway's name with its port, and its addresses.
pub(super) type Name = (String, u16, Vec<SocketAddr>);

/// The journal of one device. The file is locked while the process lives, and kept open: it can be written also when the
/// process has given up its rights.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    next: usize,
}

/// What a journal says is still to be undone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leftover {
    pub(super) namespace: Option<String>,
    pub(super) owner: Option<String>,
    /// In the order it was done, with its number.
    pub(super) undo: Vec<(usize, Undo)>,
    pub(super) names: Vec<Name>,
}

impl Journal {
    /// Opens the journal of a device, and says what an earlier process has left in it.
    ///
    /// # Errors
    /// `WouldBlock`: a process lives that has a device of this name. Else those of the system.
    pub(super) fn open(folder: &Path, device: &str) -> io::Result<(Self, Leftover)> {
        std::fs::create_dir_all(folder).map_err(|error| at(folder, &error))?;
        let path = path(folder, device);
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).append(true).create(true).mode(0o600).open(&path).map_err(|error| at(&path, &error))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| at(&path, &error))?;
        let (left, next) = leftover(&text);
        if !text.is_empty() && !text.ends_with('\n') {
            // What is written from now on is not the rest of a line that was cut short.
            file.write_all(b"\n").map_err(|error| at(&path, &error))?;
        }
        Ok((Self { file, next }, left))
    }

    /// Forgets what was before, and begins anew.
    pub(super) fn begin(&mut self, device: &str, namespace: Option<&str>, owner: &str) -> io::Result<()> {
        self.clear()?;
        self.append(&Line::Of { device: device.to_owned(), namespace: namespace.map(str::to_owned) })?;
        self.own(owner)
    }

    /// Notes whose it is now.
    pub(super) fn own(&mut self, owner: &str) -> io::Result<()> {
        self.append(&Line::Owner(owner.to_owned()))
    }

    /// Notes something that will be done; returns its number.
    pub(super) fn will_do(&mut self, undo: &Undo) -> io::Result<usize> {
        self.append(&Line::Do(undo.clone()))?;
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Notes what the names of gateways mean.
    pub(super) fn names(&mut self, names: &[Name]) -> io::Result<()> {
        self.append(&Line::Names(names.to_vec()))
    }

    /// Notes that it was undone.
    pub(super) fn undone(&mut self, number: usize) -> io::Result<()> {
        self.append(&Line::Undone(number))
    }

    /// Nothing is left to undo.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.next = 0;
        self.file.set_len(0)?;
        self.file.rewind()
    }

    fn append(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()
    }
}

/// What the journals of a folder say, whether or not their processes live, by device.
pub(super) fn all(folder: &Path) -> Vec<(String, Leftover)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let read = |path: PathBuf| {
        let device = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.to_owned();
        Some((device, leftover(&std::fs::read_to_string(&path).ok()?).0))
    };
    let mut all: Vec<_> = entries.flatten().filter_map(|entry| read(entry.path())).collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

/// After the name of the device.
const SUFFIX: &str = ".journal";

pub(super) fn path(folder: &Path, device: &str) -> PathBuf {
    folder.join(format!("{device}{SUFFIX}"))
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// And the number of what is done next. A last line that was not finished says of something that it was not begun.
fn leftover(text: &str) -> (Leftover, usize) {
    let (mut namespace, mut owner, mut names) = (None, None, Vec::new());
    let mut undo = Vec::new();
    for line in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
        match line {
            Line::Of { namespace: of, .. } => {
                (namespace, owner) = (of, None);
                names.clear();
                undo.clear();
            }
            Line::Owner(now) => owner = Some(now),
            Line::Names(now) => names = now,
            Line::Do(one) => undo.push(Some(one)),
            Line::Undone(number) => {
                if let Some(done) = undo.get_mut(number) {
                    *done = None;
                }
            }
        }
    }
    let next = undo.len();
    let undo = undo.into_iter().enumerate().filter_map(|(number, undo)| Some((number, undo?))).collect();
    (Leftover { namespace, owner, undo, names }, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sysctl(key: &str) -> Undo {
        Undo::Sysctl { key: key.to_owned(), before: "0".to_owned() }
    }

    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("adit-journal-{name}-{}", std::process::id()))
    }

    #[test]
    fn what_was_not_undone_is_found_again_in_the_order_it_was_done() {
        let folder = folder("found");
        let (mut journal, before) = Journal::open(&folder, "vpn0").unwrap();
        assert_eq!(before.undo, []);
        journal.begin("vpn0", Some("blue"), "office").unwrap();
        let numbers = ["a", "b", "c"].map(|key| journal.will_do(&sysctl(key)).unwrap());
        journal.undone(numbers[1]).unwrap();
        drop(journal);
        let (mut journal, left) = Journal::open(&folder, "vpn0").unwrap();
        let undo = vec![(0, sysctl("a")), (2, sysctl("c"))];
        let (namespace, owner) = (Some("blue".to_owned()), Some("office".to_owned()));
        assert_eq!(left, Leftover { namespace, owner, undo, names: Vec::new() });
        journal.clear().unwrap();
        drop(journal);
        assert_eq!(Journal::open(&folder, "vpn0").unwrap().1.undo, []);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_journal_that_is_taken_over_goes_on() {
        let folder = folder("on");
        let (mut journal, _) = Journal::open(&folder, "vpn0").unwrap();
        journal.begin("vpn0", None, "office").unwrap();
        let numbers = ["a", "b"].map(|key| journal.will_do(&sysctl(key)).unwrap());
        let name = |address: &str| vec![("vpn.example".to_owned(), 500, vec![address.parse().unwrap()])];
        journal.names(&name("192.0.2.1:500")).unwrap();
        journal.names(&name("192.0.2.2:500")).unwrap();
        // It died at the next line.
        journal.file.write_all(b"{\"do\":{\"sysc").unwrap();
        drop(journal);
        let (mut journal, left) = Journal::open(&folder, "vpn0").unwrap();
        assert_eq!((left.undo.len(), left.names), (2, name("192.0.2.2:500")));
        assert_eq!(journal.will_do(&sysctl("c")).unwrap(), 2);
        journal.undone(numbers[0]).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&folder, "vpn0").unwrap().1.undo, [(1, sysctl("b")), (2, sysctl("c"))]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_journal_has_one_owner_at_a_time() {
        let folder = folder("owner");
        let first = Journal::open(&folder, "vpn0").unwrap();
        assert_eq!(Journal::open(&folder, "vpn0").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(Journal::open(&folder, "vpn1").is_ok());
        drop(first);
        assert!(Journal::open(&folder, "vpn0").is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_line_cut_short_and_one_that_makes_no_sense_are_passed_over() {
        let folder = folder("short");
        let (mut journal, _) = Journal::open(&folder, "vpn0").unwrap();
        journal.begin("vpn0", None, "office").unwrap();
        journal.will_do(&sysctl("a")).unwrap();
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(path(&folder, "vpn0")).unwrap();
        file.write_all(b"{\"undone\":7}\nrubbish\n{\"do\":{\"sysc").unwrap();
        assert_eq!(Journal::open(&folder, "vpn0").unwrap().1.undo, [(0, sysctl("a"))]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
