//! Another network namespace: what has to happen there is done by a thread that goes there and ends.

use std::{
    fmt,
    fs::{self, File, Metadata},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

/// The network namespace a device is in.
#[derive(Debug, Default)]
pub struct Namespace {
    name: Option<String>,
    /// What leads there, if it was opened by that.
    entry: Option<(PathBuf, File)>,
    id: Option<NetId>,
    apart: bool,
}

/// Which network namespace it is, as long as it exists (namespaces(7), "The /proc/pid/ns/ directory"). The kernel gives the
/// number to another one afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NetId {
    dev: u64,
    ino: u64,
}

/// What is known of a namespace that something was done in.
#[derive(Debug)]
pub(super) enum Found {
    /// It is there.
    There(Namespace),
    /// It is gone, and its addresses, routes and rules with it.
    Gone,
    /// Nothing that is seen from here leads there; but not everything is.
    Hidden(NetId),
}

impl Namespace {
    /// A namespace with a name, as `ip netns add` makes it; or that of this process.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn open(name: Option<&str>) -> io::Result<Self> {
        match name {
            Some(name) => Ok(Self { name: Some(name.to_owned()), ..Self::at(&Path::new(NAMES).join(name))? }),
            None => Ok(Self { id: NetId::of(Path::new(OWN)).ok(), ..Self::default() }),
        }
    }

    /// That which this file leads to.
    fn at(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let id = NetId::from(file.metadata()?);
        Ok(Self {
            name: None,
            entry: Some((path.to_owned(), file)),
            id: Some(id),
            apart: NetId::of(Path::new(OWN))? != id,
        })
    }

    /// That of an earlier process, by what it has noted of it.
    ///
    /// # Errors
    /// When it is there, and cannot be opened.
    pub(super) fn find(name: Option<&str>, id: Option<NetId>) -> io::Result<Found> {
        let named = match Self::open(name) {
            Err(error) if name.is_some() && error.kind() == io::ErrorKind::NotFound => None,
            named => Some(named?),
        };
        match (named, id) {
            (Some(named), None) => Ok(Found::There(named)),
            (Some(named), Some(id)) if named.id.is_none_or(|of| of == id) => Ok(Found::There(named)),
            // A name that is gone or given to another, by somebody who knows what he does.
            (_, Some(id)) => match (ways_to(id, Path::new("/proc")), name) {
                (Ways::Path(path), _) => Self::at(&path).map(Found::There),
                (Ways::Unsure, None) => Ok(Found::Hidden(id)),
                (Ways::None | Ways::Unsure, _) => Ok(Found::Gone),
            },
            (None, None) => Ok(Found::Gone),
        }
    }

    /// Whether it is another one than that of this process, which may be known by its name, too.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        self.apart
    }

    /// The name it was opened by.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Which it is; `None` without `/proc`.
    pub(super) fn id(&self) -> Option<NetId> {
        self.id
    }

    /// What a person puts before a command that is to be run in it.
    pub(super) fn prefix(&self) -> String {
        match (&self.name, &self.entry) {
            (Some(name), _) => format!("ip netns exec {name} "),
            (None, Some((path, _))) if self.apart => format!("nsenter --net={} ", path.display()),
            (None, _) => String::new(),
        }
    }

    /// Runs this there. What it opens stays there.
    ///
    /// # Errors
    /// When it cannot be entered (that needs CAP_SYS_ADMIN), and those of `f`.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let Some((_, namespace)) = self.entry.as_ref().filter(|_| self.apart) else { return f() };
        let inside = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            f()
        };
        // A thread of its own: coming back could fail.
        thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    }

    /// The `resolv.conf` of programs in it: `ip netns exec` puts that in place of the machine's.
    pub(super) fn resolv_conf(&self) -> PathBuf {
        match self.name() {
            Some(name) => Path::new("/etc/netns").join(name).join("resolv.conf"),
            None => "/etc/resolv.conf".into(),
        }
    }
}

impl NetId {
    /// Of that which this file leads to.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(Self::from)
    }
}

impl From<Metadata> for NetId {
    fn from(data: Metadata) -> Self {
        Self { dev: data.dev(), ino: data.ino() }
    }
}

/// As `ls -l /proc/self/ns/net` and `lsns` show it.
impl fmt::Display for NetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.ino)
    }
}

/// What leads to a namespace.
#[derive(Debug, PartialEq, Eq)]
enum Ways {
    Path(PathBuf),
    /// Nothing does, of all there is.
    None,
    /// Nothing that we may look at.
    Unsure,
}

/// Looks at what is mounted, which has names, and at all processes.
fn ways_to(id: NetId, proc: &Path) -> Ways {
    let leads = |path: &Path| NetId::of(path).map(|of| of == id);
    let mounts = fs::read_to_string(proc.join("self/mountinfo"));
    let mut unsure = mounts.is_err();
    for line in mounts.unwrap_or_default().lines() {
        // proc_pid_mountinfo(5): the fourth is what is mounted of its file system, the fifth where.
        let mut fields = line.split(' ').skip(3);
        if let (Some(root), Some(at)) = (fields.next(), fields.next())
            && root == id.to_string()
        {
            match leads(Path::new(at)) {
                Ok(true) => return Ways::Path(at.into()),
                // Something is mounted above it, or the path has characters that are written otherwise here.
                Ok(false) | Err(_) => unsure = true,
            }
        }
    }
    let Ok(processes) = fs::read_dir(proc) else { return Ways::Unsure };
    for process in processes.flatten() {
        if process.file_name().to_str().is_none_or(|name| name.parse::<u32>().is_err()) {
            continue;
        }
        let path = process.path().join("ns/net");
        match leads(&path) {
            Ok(true) => return Ways::Path(path),
            Ok(false) => {}
            // It has ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => unsure = true,
        }
    }
    if unsure { Ways::Unsure } else { Ways::None }
}

/// That of this thread.
const OWN: &str = "/proc/thread-self/ns/net";
/// Where `ip netns` keeps names.
pub(super) const NAMES: &str = "/run/netns";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_namespace_is_found_by_what_is_mounted_or_by_a_process_and_gone_if_all_were_seen() {
        let proc = std::env::temp_dir().join(format!("adit-namespaces-{}", std::process::id()));
        for folder in ["self", "7/ns", "8/ns", "net"] {
            fs::create_dir_all(proc.join(folder)).unwrap();
        }
        let (own, other) = (proc.join("own"), proc.join("other"));
        fs::write(&own, "").unwrap();
        fs::write(&other, "").unwrap();
        let (id, mounts) = (NetId::of(&own).unwrap(), proc.join("self/mountinfo"));
        assert_eq!(ways_to(id, &proc), Ways::Unsure);
        fs::write(&mounts, "22 1 0:21 / /proc rw - proc proc rw\n").unwrap();
        // A process that has ended has none.
        symlink(&other, proc.join("7/ns/net")).unwrap();
        assert_eq!(ways_to(id, &proc), Ways::None);
        // One that we may not look at: a file where there should be a folder fails otherwise than by being absent.
        fs::create_dir(proc.join("9")).unwrap();
        fs::write(proc.join("9/ns"), "").unwrap();
        assert_eq!(ways_to(id, &proc), Ways::Unsure);
        symlink(&own, proc.join("8/ns/net")).unwrap();
        assert_eq!(ways_to(id, &proc), Ways::Path(proc.join("8/ns/net")));
        let mount = |at: &Path| format!("50 22 0:4 {id} {} rw shared:9 - nsfs nsfs rw\n", at.display());
        fs::write(&mounts, mount(&own)).unwrap();
        assert_eq!(ways_to(id, &proc), Ways::Path(own));
        // Behind another mount.
        fs::remove_file(proc.join("8/ns/net")).unwrap();
        fs::remove_dir_all(proc.join("9")).unwrap();
        fs::write(&mounts, mount(&other)).unwrap();
        assert_eq!(ways_to(id, &proc), Ways::Unsure);
        fs::remove_dir_all(proc).unwrap();
    }
}
