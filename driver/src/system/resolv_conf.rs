//! Name resolution by a file: `resolv.conf`, rewritten in place and put back.
//!
//! In place, because it may be mounted there, and because a file that is open can be written by a process that has given up
//! its rights.
//!
//! Several devices may do so, of one process or of several, and end in any order. So each puts a layer on top of what it finds,
//! which it keeps below as comments, and takes out its own layer wherever that is by then:
//!
//! ```text
//!  # Written by adit for adit1, …        the layer of adit1: what resolvers read
//!  nameserver 10.9.0.1
//!  #| # Written by adit for adit0, …     below it, the layer of adit0
//!  #| nameserver 10.8.0.1
//!  #| #| nameserver 192.0.2.53           below both, what was there before
//! ```
//!
//! Where there was no file, one is made that says so, and how many folders above it were made with it: the lowest layer. It stays until
//! the last of us ends, since it can be written again by a process that could not make another, and whoever ends last removes it
//! with these folders. Whatever is made is in the journal before ([`DnsUndo::Made`]). And before each look it is made sure that the file that is open is still the one of that name: others put a new
//! one in its place.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::dns::{DnsSettings, DnsUndo};

/// The file, open.
#[derive(Debug)]
pub(super) struct ResolvConf {
    path: PathBuf,
    file: File,
}

/// What a device has put on top of the file.
#[derive(Debug, PartialEq, Eq)]
struct Layer<'a> {
    device: &'a str,
    /// With its first line.
    own: &'a str,
    /// What was there before.
    below: String,
}

/// Nobody has a longer one.
const MAX_BYTES: u64 = 1 << 20;
/// Begins the first line of a layer, before the name of its device.
const OF: &str = "# Written by adit for ";
/// Ends it.
const REST: &str = ", which takes it out again when it ends: what was here before is below.";
/// Before each line of what is below.
const BELOW: &str = "#| ";
/// All of the file where there was none, while nobody has a layer; if folders were made for it, before their number.
const NONE: &str = "#- There was no file.";
const FOLDERS: &str = " Folders made for it: ";

impl ResolvConf {
    /// Opens the file, or makes it. `first` is told how that is undone before it is done.
    pub(super) fn open(
        path: &Path,
        device: &str,
        first: &mut dyn FnMut(DnsUndo) -> io::Result<()>,
    ) -> io::Result<Self> {
        if fs::canonicalize(path).is_ok_and(|real| real.starts_with("/run/systemd/resolve")) {
            let text = format!("{} is systemd-resolved's, which would not look at it", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        // Also where another of us has made it, who may end before us.
        let existed = path.exists();
        let folders = if existed { made_for(&fs::read_to_string(path).unwrap_or_default()) } else { missing(path) };
        first(DnsUndo::Made { path: path.to_owned(), folders, existed })?;
        let file = opened(path)?;
        tracing::debug!(device, path = %path.display(), "names are resolved by a file");
        Ok(Self { path: path.to_owned(), file })
    }

    /// What it says.
    pub(super) fn read(&mut self) -> io::Result<String> {
        let _locked = self.lock()?;
        self.said()
    }

    fn said(&mut self) -> io::Result<String> {
        let mut text = String::new();
        self.file.rewind()?;
        (&self.file).take(MAX_BYTES).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Puts the layer of this device on top.
    pub(super) fn put(&mut self, device: &str, settings: &DnsSettings) -> io::Result<()> {
        let _locked = self.lock()?;
        let before = self.said()?;
        self.write(&text(device, settings, &before))
    }

    /// Takes out the layer of this device, wherever it is; if there is none, somebody else has written the file since. `ours` is the
    /// whole file as it was to be written, and `before` as it was found: cut short, it is what a process has left that died while
    /// it wrote.
    pub(super) fn restore(&mut self, device: &str, ours: &str, before: &str) -> io::Result<()> {
        if !self.path.exists() {
            tracing::warn!("{} was removed by somebody else: it is left so", self.path.display());
            return Ok(());
        }
        let _locked = self.lock()?;
        let now = self.said()?;
        match without(&now, device) {
            _ if now != ours && ours.starts_with(&now) && before != now => self.write(before),
            Some(left) => self.write(&left),
            None => {
                if now != before {
                    tracing::warn!("{} was changed by somebody else: it is left as it is", self.path.display());
                }
                Ok(())
            }
        }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }

    /// Until it is dropped, no other of us writes to it. The file is that of the path by then, if need be a new one.
    fn lock(&mut self) -> io::Result<Lock> {
        loop {
            let file = self.file.try_clone()?;
            flock(&file, FlockOperation::LockExclusive)?;
            let locked = Lock(file);
            if self.is_current()? {
                return Ok(locked);
            }
            drop(locked);
            self.file = opened(&self.path).map_err(|error| {
                let text =
                    format!("{error}; another program has put a file in its place, or removed it: start adit again");
                io::Error::new(error.kind(), text)
            })?;
        }
    }

    /// Whether the path leads to what is open.
    fn is_current(&self) -> io::Result<bool> {
        let open = self.file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(now) => Ok((now.dev(), now.ino()) == (open.dev(), open.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(at(&self.path, &error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The file, which is made if there is none, and then says so.
fn opened(path: &Path) -> io::Result<File> {
    let folders = missing(path);
    let made = !path.exists();
    if let Some(folder) = path.parent().filter(|_| made) {
        fs::create_dir_all(folder).map_err(|error| at(path, &error))?;
    }
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = open.map_err(|error| at(path, &error))?;
    if made {
        file.write_all(none(folders).as_bytes()).map_err(|error| at(path, &error))?;
    }
    Ok(file)
}

/// How many folders above it there are not.
fn missing(path: &Path) -> usize {
    path.ancestors().skip(1).take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).count()
}

/// The file where there was none.
fn none(folders: usize) -> String {
    match folders {
        0 => format!("{NONE}\n"),
        _ => format!("{NONE}{FOLDERS}{folders}\n"),
    }
}

/// How many folders were made for it, if this is the file where there was none.
fn is_none(text: &str) -> Option<usize> {
    match text.trim_end_matches('\n').strip_prefix(NONE)? {
        "" => Some(0),
        rest => rest.strip_prefix(FOLDERS)?.parse().ok(),
    }
}

/// The same, whoever has a layer on top of it.
fn made_for(text: &str) -> usize {
    match Layer::top(text) {
        Some(layer) => made_for(&layer.below),
        None => is_none(text).unwrap_or(0),
    }
}

/// Undoes the making of a file, and of so many folders above it; whether there was anything left of that. What others have put there
/// stays.
pub(super) fn unmake(path: &Path, folders: usize, existed: bool) -> io::Result<bool> {
    let (made, folders) = match File::open(path) {
        Ok(file) => {
            flock(&file, FlockOperation::LockExclusive)?;
            let mut text = Vec::new();
            (&file).take(MAX_BYTES).read_to_end(&mut text)?;
            let text = String::from_utf8_lossy(&text);
            // Empty: its process died before it could say so.
            let cut = (text.is_empty() && !existed).then_some(folders);
            let Some(folders) = is_none(&text).or(cut) else { return Ok(false) };
            // A link may lead to it, and stays. What cannot be removed, as something is mounted there, says nothing.
            match fs::canonicalize(path).and_then(fs::remove_file) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => fs::write(path, "")?,
                done => done.map_err(|error| at(path, &error))?,
            }
            (true, folders)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (false, folders),
        Err(error) => return Err(at(path, &error)),
    };
    let mut any = made;
    for folder in path.ancestors().skip(1).take(folders) {
        match fs::remove_dir(folder) {
            Ok(()) => any = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Somebody else has put something there.
            Err(_) => break,
        }
    }
    Ok(any)
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The file is ours alone.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Another descriptor of the same opening stays, and with it the lock.
        if let Err(error) = flock(&self.0, FlockOperation::Unlock) {
            tracing::warn!("a file stays locked: {error}");
        }
    }
}

/// The file for these servers, on top of what it says now.
pub(super) fn text(device: &str, settings: &DnsSettings, before: &str) -> String {
    // Only what a process has left that nobody could undo: no two devices have one name.
    let cleaned = without(before, device);
    layered(&(format!("{OF}{device}{REST}\n") + &lines(settings)), cleaned.as_deref().unwrap_or(before))
}

/// What resolvers read.
pub(super) fn lines(settings: &DnsSettings) -> String {
    let mut text = String::new();
    let domains: Vec<&str> = settings.search.iter().chain(&settings.only).map(String::as_str).collect();
    if !domains.is_empty() {
        text += &format!("search {}\n", domains.join(" "));
    }
    for server in &settings.servers {
        text += &format!("nameserver {server}\n");
    }
    text
}

fn layered(own: &str, below: &str) -> String {
    let mut text = own.to_owned();
    // Also what follows the last line end, which is nothing for most: so it comes back as it was.
    below.split('\n').for_each(|line| text += &format!("{BELOW}{line}\n"));
    text
}

impl<'a> Layer<'a> {
    /// The topmost, if the file is one of ours.
    fn top(text: &'a str) -> Option<Self> {
        let device = text.lines().next()?.strip_prefix(OF)?.strip_suffix(REST)?;
        let own_bytes = text.split_inclusive('\n').take_while(|line| !line.starts_with(BELOW));
        let (own, rest) = text.split_at_checked(own_bytes.map(str::len).sum())?;
        let lines: Option<Vec<&str>> =
            rest.strip_suffix('\n')?.split('\n').map(|line| line.strip_prefix(BELOW)).collect();
        Some(Self { device, own, below: lines?.join("\n") })
    }
}

/// The file without the layer of this device; `None` if it has no such layer.
fn without(text: &str, device: &str) -> Option<String> {
    let Layer { device: of, own, below } = Layer::top(text)?;
    if of == device {
        return Some(below);
    }
    Some(layered(own, &without(&below, device)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("adit-resolv-{name}-{}", std::process::id()))
    }

    const BEFORE: &str = "nameserver 192.0.2.53\n";

    fn settings(server: &str) -> DnsSettings {
        let servers = vec![server.parse().unwrap()];
        DnsSettings { servers, search: vec!["corp.example".to_owned()], only: Vec::new() }
    }

    /// One of those that write to the file.
    struct Owner {
        device: String,
        file: ResolvConf,
        ours: String,
        before: String,
        made: DnsUndo,
    }

    impl Owner {
        fn begin(path: &Path, number: usize) -> Self {
            let device = format!("vpn{number}");
            let (mut file, made) = opened(path, &device);
            let before = file.read().unwrap();
            let settings = settings(&format!("10.{number}.0.1"));
            let ours = text(&device, &settings, &before);
            file.put(&device, &settings).unwrap();
            Self { device, file, ours, before, made }
        }

        fn end(mut self) {
            self.file.restore(&self.device, &self.ours, &self.before).unwrap();
            self.made.run().unwrap();
        }
    }

    /// And how its making is undone.
    fn opened(path: &Path, device: &str) -> (ResolvConf, DnsUndo) {
        let mut made = Vec::new();
        let file = ResolvConf::open(path, device, &mut |undo| {
            made.push(undo);
            Ok(())
        });
        (file.unwrap(), made.pop().unwrap())
    }

    /// As a resolver reads it.
    fn servers(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("nameserver ")).map(str::to_owned).collect()
    }

    #[test]
    fn what_was_there_comes_back() {
        let path = path("back");
        fs::write(&path, BEFORE).unwrap();
        let mut file = opened(&path, "vpn0").0;
        let settings = DnsSettings {
            servers: vec!["10.8.0.1".parse().unwrap(), "fd00::53".parse().unwrap()],
            search: vec!["corp.example".to_owned()],
            only: Vec::new(),
        };
        let before = file.read().unwrap();
        let ours = text("vpn0", &settings, &before);
        file.put("vpn0", &settings).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        let read: Vec<&str> = written.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(read, ["search corp.example", "nameserver 10.8.0.1", "nameserver fd00::53"]);
        file.restore("vpn0", &ours, &before).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), BEFORE);
        // Once more, and after a crash in the middle of writing.
        file.restore("vpn0", &ours, &before).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), BEFORE);
        for length in [0, 10, ours.len() - 1] {
            fs::write(&path, &ours[..length]).unwrap();
            file.restore("vpn0", &ours, &before).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), BEFORE);
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn several_owners_may_end_in_any_order() {
        let path = path("order");
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        for before in [Some(BEFORE), Some(""), Some("nameserver 192.0.2.53"), Some("\r\n\n#| x\n\n"), None] {
            for order in orders {
                match before {
                    Some(before) => fs::write(&path, before).unwrap(),
                    None => drop(fs::remove_file(&path)),
                }
                let mut owners: Vec<_> = (0..3).map(|number| Some(Owner::begin(&path, number))).collect();
                assert_eq!(servers(&path), ["10.2.0.1"]);
                for (ended, number) in order.into_iter().enumerate() {
                    owners[number].take().unwrap().end();
                    if let Some(last) = owners.iter().rposition(Option::is_some) {
                        assert_eq!(servers(&path), [format!("10.{last}.0.1")], "{order:?}, {ended}");
                    }
                }
                assert_eq!(fs::read_to_string(&path).ok().as_deref(), before, "{order:?}");
            }
        }
        drop(fs::remove_file(path));
    }

    #[test]
    fn one_that_begins_again_has_one_layer() {
        let path = path("again");
        fs::write(&path, BEFORE).unwrap();
        drop(Owner::begin(&path, 0));
        let other = Owner::begin(&path, 1);
        let again = Owner::begin(&path, 0);
        assert_eq!(servers(&path), ["10.0.0.1"]);
        again.end();
        assert_eq!(servers(&path), ["10.1.0.1"]);
        other.end();
        assert_eq!(fs::read_to_string(&path).unwrap(), BEFORE);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_somebody_else_has_written_stays() {
        let path = path("else");
        fs::write(&path, BEFORE).unwrap();
        let owner = Owner::begin(&path, 0);
        fs::write(&path, "nameserver 198.51.100.1\n").unwrap();
        owner.end();
        assert_eq!(fs::read_to_string(&path).unwrap(), "nameserver 198.51.100.1\n");
        // Also on top of a layer that is damaged.
        for damaged in [format!("{OF}vpn0"), format!("{OF}vpn0{REST}\nnameserver 10.0.0.1\n#| a\nb\n")] {
            assert_eq!(without(&damaged, "vpn0"), None, "{damaged}");
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn where_there_was_no_file_names_are_resolved_also_the_second_time() {
        let folder = path("second");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("netns/blue/resolv.conf");
        let (mut file, made) = opened(&path, "vpn0");
        for round in 0..3 {
            let before = file.read().unwrap();
            assert_eq!(is_none(&before), Some(2), "round {round}");
            let settings = settings("10.0.0.1");
            let ours = text("vpn0", &settings, &before);
            file.put("vpn0", &settings).unwrap();
            assert_eq!(servers(&path), ["10.0.0.1"], "round {round}");
            file.restore("vpn0", &ours, &before).unwrap();
            assert_eq!(servers(&path), [""; 0], "round {round}");
            // Another one comes and goes meanwhile, and takes the file with it.
            if round == 1 {
                Owner::begin(&path, 1).end();
                assert!(!path.exists());
            }
        }
        assert!(made.run().unwrap());
        // With all that was made for it, and nothing else.
        fs::remove_dir(folder).unwrap();
    }

    #[test]
    fn what_is_made_is_told_before_and_undone_wherever_it_was_interrupted() {
        let folder = path("made");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("netns/blue/resolv.conf");
        let mut told = None;
        let refused = ResolvConf::open(&path, "vpn0", &mut |undo| {
            assert!(!folder.join("netns").exists());
            told = Some(undo);
            Err(io::Error::other("no journal"))
        });
        assert_eq!(refused.unwrap_err().to_string(), "no journal");
        let told = told.unwrap();
        assert!(!told.run().unwrap(), "nothing was made");
        let interrupted: [&dyn Fn(); 4] = [
            &|| fs::create_dir(folder.join("netns")).unwrap(),
            &|| fs::create_dir_all(folder.join("netns/blue")).unwrap(),
            &|| {
                fs::create_dir_all(folder.join("netns/blue")).unwrap();
                fs::write(&path, "").unwrap();
            },
            &|| drop(opened(&path, "vpn0")),
        ];
        for interrupted in interrupted {
            interrupted();
            assert!(told.run().unwrap());
            assert!(!folder.join("netns").exists());
        }
        // What others have put there stays, and so does an empty file that was there before.
        drop(opened(&path, "vpn0"));
        fs::write(folder.join("netns/hosts"), "").unwrap();
        assert!(told.run().unwrap());
        assert!(!folder.join("netns/blue").exists() && folder.join("netns/hosts").exists());
        let path = folder.join("resolv.conf");
        fs::write(&path, "").unwrap();
        let (_, made) = opened(&path, "vpn0");
        assert!(!made.run().unwrap() && path.exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_last_of_several_removes_what_the_first_has_made() {
        let folder = path("last");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("netns/blue/resolv.conf");
        for first in [0, 1] {
            let mut owners = [0, 1].map(|number| Some(Owner::begin(&path, number)));
            owners[first].take().unwrap().end();
            assert_eq!(servers(&path), [format!("10.{}.0.1", 1 - first)]);
            owners[1 - first].take().unwrap().end();
            assert!(!folder.join("netns").exists());
        }
        fs::remove_dir(folder).unwrap();
    }

    #[test]
    fn a_file_that_was_put_in_its_place_is_the_one_that_counts() {
        let path = path("place");
        let replace = |text: &str| {
            let new = path.with_extension("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, &path).unwrap();
        };
        fs::write(&path, BEFORE).unwrap();
        let mut owner = Owner::begin(&path, 0);
        // What is there now is somebody else's: nothing is undone in it.
        replace("nameserver 198.51.100.1\n");
        owner.file.restore("vpn0", &owner.ours, &owner.before).unwrap();
        assert_eq!(servers(&path), ["198.51.100.1"]);
        // The next time it is the one that is read, written and put back.
        replace("nameserver 198.51.100.2\n");
        owner.before = owner.file.read().unwrap();
        assert_eq!(owner.before, "nameserver 198.51.100.2\n");
        replace("nameserver 198.51.100.2\n");
        owner.ours = text("vpn0", &settings("10.0.0.1"), &owner.before);
        owner.file.put("vpn0", &settings("10.0.0.1")).unwrap();
        assert_eq!(servers(&path), ["10.0.0.1"]);
        owner.end();
        assert_eq!(fs::read_to_string(&path).unwrap(), "nameserver 198.51.100.2\n");
        // Removed by somebody else, it stays so.
        let owner = Owner::begin(&path, 0);
        fs::remove_file(&path).unwrap();
        owner.end();
        assert!(!path.exists());
    }

    #[test]
    fn a_link_to_no_file_stays_one() {
        let folder = path("link");
        fs::create_dir_all(&folder).unwrap();
        let (path, real) = (folder.join("resolv.conf"), folder.join("real"));
        std::os::unix::fs::symlink(&real, &path).unwrap();
        let owner = Owner::begin(&path, 0);
        assert_eq!(servers(&real), ["10.0.0.1"]);
        owner.end();
        assert_eq!((path.is_symlink(), real.exists()), (true, false));
        fs::remove_dir_all(folder).unwrap();
    }
}
