//! Another network namespace: what has to happen there is done by a thread that goes there and ends.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The network namespace a device is in.
#[derive(Debug, Default)]
pub struct Namespace {
    named: Option<(String, File)>,
    apart: bool,
}

impl Namespace {
    /// A namespace with a name, as `ip netns add` makes it; or that of this process.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn open(name: Option<&str>) -> io::Result<Self> {
        let open = |name: &str| Ok::<_, io::Error>((name.to_owned(), File::open(Path::new(FOLDER).join(name))?));
        let named = name.map(open).transpose()?;
        let apart = named.as_ref().map(|(_, file)| is_another(file)).transpose()?.unwrap_or(false);
        Ok(Self { named, apart })
    }

    /// Whether it is another one than that of this process, which may be known by its name, too.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        self.apart
    }

    /// The name it was opened by.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.named.as_ref().map(|(name, _)| name.as_str())
    }

    /// Runs this there. What it opens stays there.
    ///
    /// # Errors
    /// When it cannot be entered (that needs CAP_SYS_ADMIN), and those of `f`.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let Some((_, namespace)) = self.named.as_ref().filter(|_| self.apart) else { return f() };
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

fn is_another(namespace: &File) -> io::Result<bool> {
    let (own, other) = (fs::metadata(OWN)?, namespace.metadata()?);
    Ok((own.dev(), own.ino()) != (other.dev(), other.ino()))
}

/// That of this thread.
const OWN: &str = "/proc/thread-self/ns/net";
/// Where `ip netns` keeps names.
const FOLDER: &str = "/run/netns";
