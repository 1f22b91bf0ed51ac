//! Notices when a file of the configuration is another one.
//!
//! By looking at them every few seconds. Events of the kernel are about a directory entry: what Kubernetes swaps is a symbolic link two steps
//! away from the file, and network file systems tell of nothing. A look is a `stat` a file; what it finds changed is read, and
//! only another content counts.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// How often is looked. A change is believed once two looks agree: whoever writes a file may not be done.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// The files of a configuration, as they were when it was read.
pub(super) struct Files {
    watched: Vec<Watched>,
}

struct Watched {
    path: PathBuf,
    /// When it was last believed.
    content: u64,
    seen: Stat,
    /// Something was different at the last look.
    unsettled: bool,
}

/// What is different whenever a file is written or replaced; `None`: it cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat(Option<(u64, SystemTime, u64, u64)>);

impl Files {
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        let watch = |path: PathBuf| Watched { content: content(&path), seen: Stat::of(&path), unsettled: false, path };
        Self { watched: paths.into_iter().map(watch).collect() }
    }

    /// Looks; the files whose content is another one now, and has been since the last look. Blocks.
    pub(super) fn changed(&mut self) -> Vec<PathBuf> {
        let settled = |watched: &mut Watched| {
            let seen = Stat::of(&watched.path);
            let same = seen == watched.seen;
            watched.seen = seen;
            if !same {
                watched.unsettled = true;
                return false;
            }
            if !std::mem::take(&mut watched.unsettled) {
                return false;
            }
            let content = content(&watched.path);
            std::mem::replace(&mut watched.content, content) != content
        };
        self.watched.iter_mut().filter_map(|watched| settled(watched).then(|| watched.path.clone())).collect()
    }
}

impl Stat {
    /// Follows symbolic links, however many.
    fn of(path: &Path) -> Self {
        let read = || -> io::Result<_> {
            let data = fs::metadata(path)?;
            #[cfg(unix)]
            let (device, inode) = {
                use std::os::unix::fs::MetadataExt;
                (data.dev(), data.ino())
            };
            #[cfg(not(unix))]
            let (device, inode) = (0, 0);
            Ok((data.len(), data.modified()?, device, inode))
        };
        Self(read().ok())
    }
}

/// Stands for what is in it, within this process.
fn content(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    match fs::read(path) {
        Ok(bytes) => zeroize::Zeroizing::new(bytes).hash(&mut hasher),
        Err(error) => error.kind().hash(&mut hasher),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Folder;

    #[test]
    fn a_file_that_was_written_counts_once_it_rests() {
        let folder = Folder::new();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        fs::write(&one, "1").unwrap();
        fs::write(&two, "2").unwrap();
        let mut files = Files::new(vec![one.clone(), two]);
        assert!(files.changed().is_empty());
        fs::write(&one, "longer").unwrap();
        assert!(files.changed().is_empty(), "it may still be written to");
        fs::write(&one, "longer still").unwrap();
        assert!(files.changed().is_empty());
        assert_eq!(files.changed(), [one]);
        assert!(files.changed().is_empty(), "and no second time");
    }

    #[test]
    fn the_same_content_is_no_change() {
        let folder = Folder::new();
        let path = folder.path().join("file");
        fs::write(&path, "same").unwrap();
        let mut files = Files::new(vec![path.clone()]);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "same").unwrap();
        assert!(files.changed().is_empty() && files.changed().is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_swapped_by_kubernetes_is_a_change() {
        use std::os::unix::fs::symlink;
        let folder = Folder::new();
        let at = |name: &str| folder.path().join(name);
        for (version, password) in [("..1", "old"), ("..2", "new")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("password"), password).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/password", at("password")).unwrap();
        let mut files = Files::new(vec![at("password")]);
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        fs::remove_dir_all(at("..1")).unwrap();
        assert!(files.changed().is_empty());
        assert_eq!(files.changed(), [at("password")]);
    }

    #[test]
    fn a_file_that_is_gone_or_comes_is_a_change() {
        let folder = Folder::new();
        let path = folder.path().join("file");
        let mut files = Files::new(vec![path.clone()]);
        fs::write(&path, "here").unwrap();
        assert_eq!([files.changed(), files.changed()].concat(), std::slice::from_ref(&path));
        fs::remove_file(&path).unwrap();
        assert_eq!([files.changed(), files.changed()].concat(), [path]);
    }
}
