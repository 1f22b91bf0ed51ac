//! What is to be undone, on disk before it is done: one JSON object a line, only ever appended.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    net::SocketAddr,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{
    dns::DnsUndo,
    namespace::NetId,
    plan::{Change, Target},
};

/// How something is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Undo {
    /// An address, a route or a rule is removed.
    Remove(Change),
    /// Names are resolved as before.
    Dns(DnsUndo),
}

impl Undo {
    /// What a person types where we cannot do it; `prefix` has it run in the namespace of the device.
    pub(super) fn by_hand(&self, prefix: &str) -> String {
        let command = match self {
            Self::Dns(undo) => return undo.by_hand(),
            Self::Remove(Change::Address(_) | Change::Dns(_)) => return "nothing: it goes with the device".to_owned(),
            Self::Remove(Change::Route { to, table, target, metric }) => {
                let family = if to.0.address().is_ipv6() { "-6 " } else { "" };
                let kind = match target {
                    Target::Device => "",
                    Target::Unreachable => "unreachable ",
                    Target::Throw => "throw ",
                };
                format!("ip {family}route del {kind}{to} table {table} metric {metric}")
            }
            Self::Remove(
                Change::RuleSpecific { v6, table, priority } | Change::RuleUnmarked { v6, table, priority, .. },
            ) => {
                let family = if *v6 { "-6 " } else { "" };
                format!("ip {family}rule del priority {priority} table {table}")
            }
        };
        format!("`{prefix}{command}`")
    }
}

impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remove(change) => change.fmt(f),
            Self::Dns(undo) => undo.fmt(f),
        }
    }
}

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The first: of which device, in which namespace. Versions before have not noted `id`.
    Of {
        device: String,
        namespace: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<NetId>,
    },
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
/// process has given up its rights. Dropped, it removes the file if nothing is left in it.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    next: usize,
}

/// What a journal says is still to be undone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leftover {
    /// The name of the namespace, if it was chosen by that.
    pub(super) namespace: Option<String>,
    /// Which namespace that was.
    pub(super) id: Option<NetId>,
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
        fs::create_dir_all(folder).map_err(|error| at(folder, &error))?;
        let path = path(folder, device);
        let mut file = locked(&path)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| at(&path, &error))?;
        let (left, next) = leftover(&text);
        if !text.is_empty() && !text.ends_with('\n') {
            // What is written from now on is not the rest of a line that was cut short.
            file.write_all(b"\n").map_err(|error| at(&path, &error))?;
        }
        Ok((Self { path, file, next }, left))
    }

    /// Forgets what was before, and begins anew with what is `still` to be undone, whose numbers it returns.
    pub(super) fn begin(
        &mut self,
        device: &str,
        (namespace, id): (Option<&str>, Option<NetId>),
        owner: &str,
        still: &[Undo],
    ) -> io::Result<Vec<usize>> {
        if still.is_empty() {
            self.clear()?;
        }
        let of = Line::Of { device: device.to_owned(), namespace: namespace.map(str::to_owned), id };
        let still_to_do = still.iter().cloned().map(Line::Do);
        // At once: there is no moment at which it is forgotten.
        let lines: Vec<Line> = [of, Line::Owner(owner.to_owned())].into_iter().chain(still_to_do).collect();
        self.append(&lines)?;
        self.next = still.len();
        Ok((0..still.len()).collect())
    }

    /// Notes whose it is now.
    pub(super) fn own(&mut self, owner: &str) -> io::Result<()> {
        self.append(&[Line::Owner(owner.to_owned())])
    }

    /// Notes something that will be done; returns its number.
    pub(super) fn will_do(&mut self, undo: &Undo) -> io::Result<usize> {
        self.append(&[Line::Do(undo.clone())])?;
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Notes what the names of gateways mean.
    pub(super) fn names(&mut self, names: &[Name]) -> io::Result<()> {
        self.append(&[Line::Names(names.to_vec())])
    }

    /// Notes that it was undone.
    pub(super) fn undone(&mut self, number: usize) -> io::Result<()> {
        self.append(&[Line::Undone(number)])
    }

    /// Nothing is left to undo.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.next = 0;
        self.file.set_len(0)?;
        self.file.rewind()
    }

    fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = String::new();
        for line in lines {
            text += &serde_json::to_string(line)?;
            text.push('\n');
        }
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Whoever has given up the right to leaves an empty one, which says the same.
        if self.file.metadata().is_ok_and(|data| data.len() == 0) {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// The file of that name, ours alone: whoever has had it may have removed it.
fn locked(path: &Path) -> io::Result<File> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let file = options.open(path).map_err(|error| at(path, &error))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let open = file.metadata()?;
        match fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (open.dev(), open.ino()) => return Ok(file),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(path, &error)),
            Ok(_) | Err(_) => {}
        }
    }
}

/// What the journals of a folder say, whether or not their processes live, by device.
pub(super) fn all(folder: &Path) -> Vec<(String, Leftover)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let read = |path: PathBuf| {
        let device = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.to_owned();
        Some((device, leftover(&fs::read_to_string(&path).ok()?).0))
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
    let (mut namespace, mut id, mut owner, mut names) = (None, None, None, Vec::new());
    let mut undo = Vec::new();
    for line in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
        match line {
            Line::Of { namespace: of, id: which, .. } => {
                (namespace, id, owner) = (of, which, None);
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
    (Leftover { namespace, id, owner, undo, names }, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> Undo {
        Undo::Dns(DnsUndo::Resolvconf { record: name.to_owned() })
    }

    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("adit-journal-{name}-{}", std::process::id()))
    }

    #[test]
    fn what_was_not_undone_is_found_again_in_the_order_it_was_done() {
        let folder = folder("found");
        let (mut journal, before) = Journal::open(&folder, "vpn0").unwrap();
        assert_eq!(before.undo, []);
        journal.begin("vpn0", (Some("blue"), None), "office", &[]).unwrap();
        let numbers = ["a", "b", "c"].map(|key| journal.will_do(&record(key)).unwrap());
        journal.undone(numbers[1]).unwrap();
        drop(journal);
        let (mut journal, left) = Journal::open(&folder, "vpn0").unwrap();
        let undo = vec![(0, record("a")), (2, record("c"))];
        let (namespace, owner) = (Some("blue".to_owned()), Some("office".to_owned()));
        assert_eq!(left, Leftover { namespace, id: None, owner, undo, names: Vec::new() });
        journal.clear().unwrap();
        drop(journal);
        assert_eq!(Journal::open(&folder, "vpn0").unwrap().1.undo, []);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_journal_that_is_taken_over_goes_on() {
        let folder = folder("on");
        let (mut journal, _) = Journal::open(&folder, "vpn0").unwrap();
        journal.begin("vpn0", (None, None), "office", &[]).unwrap();
        let numbers = ["a", "b"].map(|key| journal.will_do(&record(key)).unwrap());
        let name = |address: &str| vec![("vpn.example".to_owned(), 500, vec![address.parse().unwrap()])];
        journal.names(&name("192.0.2.1:500")).unwrap();
        journal.names(&name("192.0.2.2:500")).unwrap();
        // It died at the next line.
        journal.file.write_all(b"{\"do\":{\"dns").unwrap();
        drop(journal);
        let (mut journal, left) = Journal::open(&folder, "vpn0").unwrap();
        assert_eq!((left.undo.len(), left.names), (2, name("192.0.2.2:500")));
        assert_eq!(journal.will_do(&record("c")).unwrap(), 2);
        journal.undone(numbers[0]).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&folder, "vpn0").unwrap().1.undo, [(1, record("b")), (2, record("c"))]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_still_to_be_undone_is_there_also_when_it_begins_anew() {
        let folder = folder("anew");
        let (mut journal, _) = Journal::open(&folder, "vpn0").unwrap();
        journal.begin("vpn0", (Some("blue"), None), "office", &[]).unwrap();
        for name in ["a", "b"] {
            journal.will_do(&record(name)).unwrap();
        }
        assert_eq!(journal.begin("vpn0", (None, None), "home", &[record("b")]).unwrap(), [0]);
        assert_eq!(journal.will_do(&record("c")).unwrap(), 1);
        drop(journal);
        let (mut journal, left) = Journal::open(&folder, "vpn0").unwrap();
        let undo = vec![(0, record("b")), (1, record("c"))];
        assert_eq!(
            left,
            Leftover { namespace: None, id: None, owner: Some("home".to_owned()), undo, names: Vec::new() }
        );
        // Nothing left, not even the file.
        journal.clear().unwrap();
        drop(journal);
        assert!(!path(&folder, "vpn0").exists());
        fs::remove_dir(folder).unwrap();
    }

    #[test]
    fn a_person_is_told_what_to_type() {
        let net = |text: &str| text.parse().unwrap();
        let route = |to, table, target| Undo::Remove(Change::Route { to, table, target, metric: 9 });
        let rule = |v6| Undo::Remove(Change::RuleUnmarked { v6, mark: 1, table: 7, priority: 5201 });
        for (undo, prefix, command) in [
            (
                route(net("10.0.0.0/8"), 254, Target::Unreachable),
                "",
                "`ip route del unreachable 10.0.0.0/8 table 254 metric 9`",
            ),
            (route(net("fd00::/8"), 7, Target::Throw), "", "`ip -6 route del throw fd00::/8 table 7 metric 9`"),
            (rule(false), "ip netns exec blue ", "`ip netns exec blue ip rule del priority 5201 table 7`"),
            (rule(true), "", "`ip -6 rule del priority 5201 table 7`"),
            (record("vpn0.adit"), "", "`resolvconf -d vpn0.adit`"),
        ] {
            assert_eq!(undo.by_hand(prefix), command);
        }
    }

    #[test]
    fn which_namespace_it_is_can_be_read_back_and_may_be_missing() {
        let id = NetId::of(Path::new("/")).unwrap();
        let folder = folder("which");
        let (mut journal, _) = Journal::open(&folder, "vpn0").unwrap();
        journal.begin("vpn0", (None, Some(id)), "office", &[]).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&folder, "vpn0").unwrap().1.id, Some(id));
        fs::remove_dir_all(folder).unwrap();
        // As version 0.1 has written it.
        let (left, _) = leftover("{\"of\":{\"device\":\"vpn0\",\"namespace\":\"blue\"}}\n{\"owner\":\"office\"}\n");
        assert_eq!((left.namespace.as_deref(), left.id, left.owner.as_deref()), (Some("blue"), None, Some("office")));
    }

    #[test]
    fn a_journal_has_one_owner_at_a_time() {
        let folder = folder("owner");
        let first = Journal::open(&folder, "vpn0").unwrap();
        assert_eq!(Journal::open(&folder, "vpn0").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(Journal::open(&folder, "vpn1").is_ok());
        drop(first);
        assert!(Journal::open(&folder, "vpn0").is_ok());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_line_cut_short_and_one_that_makes_no_sense_are_passed_over() {
        let folder = folder("short");
        let (mut journal, _) = Journal::open(&folder, "vpn0").unwrap();
        journal.begin("vpn0", (None, None), "office", &[]).unwrap();
        journal.will_do(&record("a")).unwrap();
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(path(&folder, "vpn0")).unwrap();
        file.write_all(b"{\"undone\":7}\nrubbish\n{\"do\":{\"dns").unwrap();
        assert_eq!(Journal::open(&folder, "vpn0").unwrap().1.undo, [(0, record("a"))]);
        fs::remove_dir_all(folder).unwrap();
    }
}
