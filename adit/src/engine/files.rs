//! Notices when a file of the configuration is another one.
//!
//! By looking at them every few seconds. Events of the kernel are about a directory entry: what Kubernetes swaps is a symbolic link two steps
//! away from the file, and network file systems tell of nothing. A look is a `stat` a file; what it finds changed is read, and
//! only another content counts.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::config::{Fingerprint, Seen};

/// How often is looked. A change is believed once two looks agree: whoever writes a file may not be done.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// The files of a configuration, as they were when it was read.
pub(super) struct Files {
    watched: Vec<Watched>,
}

struct Watched {
    path: PathBuf,
    /// When it was last believed.
    content: Fingerprint,
    seen: Stat,
    /// Something was different at the last look.
    unsettled: bool,
}

/// What is different whenever a file is written or replaced; `None`: it cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat(Option<Values>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Values {
    length: u64,
    modified: SystemTime,
    /// Device, inode, and when either or the content was changed, which nobody can set: seconds and nanoseconds.
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

impl Files {
    /// Those that were read. What was written to one while that was done is found at the next look. Blocks.
    pub(super) fn new(read: Vec<Seen>) -> Self {
        let watch = |Seen { path, content }: Seen| {
            let seen = Stat::of(&path);
            let unsettled = Fingerprint::of(&path) != content;
            Watched { content, seen, unsettled, path }
        };
        Self { watched: read.into_iter().map(watch).collect() }
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
            let content = Fingerprint::of(&watched.path);
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
            let inode = {
                use std::os::unix::fs::MetadataExt;
                (data.dev(), data.ino(), data.ctime(), data.ctime_nsec())
            };
            Ok(Values {
                length: data.len(),
                modified: data.modified()?,
                #[cfg(unix)]
                inode,
            })
        };
        Self(read().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Folder;

    fn seen(path: &Path) -> Seen {
        Seen { path: path.to_owned(), content: Fingerprint::of(path) }
    }

    /// As they are now.
    fn watch(paths: &[&PathBuf]) -> Files {
        Files::new(paths.iter().map(|path| seen(path)).collect())
    }

    #[test]
    fn a_file_that_was_written_counts_once_it_rests() {
        let folder = Folder::new();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        fs::write(&one, "1").unwrap();
        fs::write(&two, "2").unwrap();
        let mut files = watch(&[&one, &two]);
        assert!(files.changed().is_empty());
        fs::write(&one, "longer").unwrap();
        assert!(files.changed().is_empty(), "it may still be written to");
        fs::write(&one, "longer still").unwrap();
        assert!(files.changed().is_empty());
        assert_eq!(files.changed(), [one]);
        assert!(files.changed().is_empty(), "and no second time");
    }

    #[test]
    fn what_was_written_while_the_configuration_was_read_is_read_again() {
        let folder = Folder::new();
        let path = folder.path().join("file");
        fs::write(&path, "read").unwrap();
        let seen = seen(&path);
        // As long as before, and with the same time, as of somebody who keeps it.
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "late").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        let mut files = Files::new(vec![seen]);
        assert_eq!(files.changed(), [path]);
        assert!(files.changed().is_empty(), "and no second time");
    }

    #[test]
    fn the_same_content_is_no_change() {
        let folder = Folder::new();
        let path = folder.path().join("file");
        fs::write(&path, "same").unwrap();
        let mut files = watch(&[&path]);
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
        let mut files = watch(&[&at("password")]);
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        fs::remove_dir_all(at("..1")).unwrap();
        assert!(files.changed().is_empty());
        assert_eq!(files.changed(), [at("password")]);
    }

    #[cfg(unix)]
    #[test]
    fn a_change_that_keeps_length_and_time_is_one() {
        let folder = Folder::new();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let mut files = watch(&[&path]);
        let before = Stat::of(&path);
        // Until the clock that files have has turned.
        while Stat::of(&path) == before {
            fs::write(&path, "two").unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        assert_eq!([files.changed(), files.changed()].concat(), [path]);
    }

    #[test]
    fn a_file_that_is_gone_or_comes_is_a_change() {
        let folder = Folder::new();
        let path = folder.path().join("file");
        let mut files = watch(&[&path]);
        fs::write(&path, "here").unwrap();
        assert_eq!([files.changed(), files.changed()].concat(), std::slice::from_ref(&path));
        fs::remove_file(&path).unwrap();
        assert_eq!([files.changed(), files.changed()].concat(), [path]);
    }
}
