//! Whose services resolve names here: those of the machine know nothing of a network namespace that somebody has made.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::namespace::{NAMES, NetId};

/// Who resolves names for programs in the network namespace of this process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resolution {
    /// Whoever the machine has, or the container: it is its namespace.
    Machine,
    /// What is in this file, which others do not use.
    Own(PathBuf),
    /// The machine's file, which is for others, too.
    Shared,
}

impl Resolution {
    pub(super) fn here() -> Self {
        Self::seen(Path::new("/"))
    }

    /// The namespace of the first process is the machine's. Where that cannot be looked at, one that has a name is not.
    fn seen(root: &Path) -> Self {
        let of = |path: &str| NetId::of(&root.join(path));
        let Ok(own) = of("proc/thread-self/ns/net") else { return Self::Machine };
        let first = of("proc/1/ns/net").ok();
        if first == Some(own) {
            return Self::Machine;
        }
        let names = fs::read_dir(root.join(NAMES.trim_start_matches('/'))).into_iter().flatten().flatten();
        let named = names.filter(|entry| NetId::of(&entry.path()).is_ok_and(|id| id == own));
        // Several names are possible: always the same one.
        if let Some(name) = named.map(|entry| entry.file_name()).min() {
            return Self::Own(Path::new("/etc/netns").join(name).join("resolv.conf"));
        }
        let is_shared = |path: &str| match (of(path), of(&format!("proc/1/root/{path}"))) {
            (Ok(ours), Ok(theirs)) => Some(ours == theirs),
            _ => None,
        };
        match (first, is_shared("etc/resolv.conf").or_else(|| is_shared("etc"))) {
            (None, _) => Self::Machine,
            (Some(_), Some(false)) => Self::Own("/etc/resolv.conf".into()),
            (Some(_), Some(true) | None) => Self::Shared,
        }
    }
}

/// Whether a socket that was bound to a path is of another network namespace than ours: `sockets` is `/proc/net/unix`, which has
/// those of ours (proc_pid_net(5)). One that is seen here by another path counts as ours if its name is the same.
pub(super) fn is_bound_elsewhere(socket: &Path, sockets: &str) -> bool {
    let real = fs::canonicalize(socket).unwrap_or_else(|_| socket.to_owned());
    // Seven fields of hexadecimal and decimal numbers, then the path.
    let paths = sockets.lines().skip(1).filter_map(|line| line.find('/').and_then(|at| line.get(at..)));
    let mut paths = paths.map(Path::new);
    !paths.any(|path| path == socket || path == real || path.file_name() == real.file_name())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A file system of its own, removed when dropped.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("adit-whose-{name}-{}", std::process::id()));
            for folder in ["proc/thread-self/ns", "proc/1/ns", "proc/1/root/etc", "run/netns", "etc"] {
                fs::create_dir_all(root.join(folder)).unwrap();
            }
            for namespace in ["machine", "blue"] {
                fs::write(root.join(namespace), "").unwrap();
            }
            Self(root)
        }

        fn link(&self, from: &str, to: &str) {
            symlink(self.0.join(to), self.0.join(from)).unwrap();
        }

        fn sees(&self) -> Resolution {
            Resolution::seen(&self.0)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn in_the_machines_namespace_the_machines_services_are_asked_also_if_it_has_a_name() {
        let root = Root::new("machine");
        assert_eq!(root.sees(), Resolution::Machine);
        root.link("proc/thread-self/ns/net", "machine");
        assert_eq!(root.sees(), Resolution::Machine);
        root.link("proc/1/ns/net", "machine");
        root.link("run/netns/main", "machine");
        assert_eq!(root.sees(), Resolution::Machine);
    }

    #[test]
    fn a_namespace_with_a_name_has_a_file_also_where_the_first_process_cannot_be_looked_at() {
        let root = Root::new("named");
        root.link("proc/thread-self/ns/net", "blue");
        root.link("run/netns/red", "machine");
        root.link("run/netns/blue", "blue");
        let own = Resolution::Own("/etc/netns/blue/resolv.conf".into());
        assert_eq!(root.sees(), own);
        root.link("proc/1/ns/net", "machine");
        assert_eq!(root.sees(), own);
    }

    #[test]
    fn a_namespace_without_a_name_has_the_file_that_it_sees_if_that_is_not_the_machines() {
        let root = Root::new("nameless");
        root.link("proc/thread-self/ns/net", "blue");
        root.link("proc/1/ns/net", "machine");
        // No such file, and another folder.
        let own = Resolution::Own("/etc/resolv.conf".into());
        assert_eq!(root.sees(), own);
        fs::write(root.0.join("etc/resolv.conf"), "").unwrap();
        fs::write(root.0.join("proc/1/root/etc/resolv.conf"), "").unwrap();
        assert_eq!(root.sees(), own);
        fs::remove_file(root.0.join("proc/1/root/etc/resolv.conf")).unwrap();
        root.link("proc/1/root/etc/resolv.conf", "etc/resolv.conf");
        assert_eq!(root.sees(), Resolution::Shared);
    }

    #[test]
    fn the_sockets_of_this_namespace_are_known_by_path_or_name() {
        let sockets = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                       000000008d904356: 00000003 00000000 00000000 0001 03 10805247\n\
                       00000000832d05ac: 00000002 00000000 00010000 0001 01  1592 /run/dbus/system_bus_socket\n\
                       0000000066637a1c: 00000002 00000000 00010000 0001 01 10845 @/tmp/abstract\n";
        for (socket, elsewhere) in [
            ("/run/dbus/system_bus_socket", false),
            ("/host/run/dbus/system_bus_socket", false),
            ("/run/dbus/other", true),
        ] {
            assert_eq!(is_bound_elsewhere(Path::new(socket), sockets), elsewhere, "{socket}");
        }
    }
}
