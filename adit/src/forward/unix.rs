//! Listening on a unix socket.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

/// Permission bits unless chosen: for our own user.
const DEFAULT_MODE: u32 = 0o600;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A bound socket; its file goes with it.
#[derive(Debug)]
pub(crate) struct Listener {
    // Before the file, so that nobody finds one without the other.
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: another's file of the same name stays.
    identity: (u64, u64),
}

impl Listener {
    /// Binds the path. A socket that a program left behind is replaced; one that somebody listens to is not.
    ///
    /// # Errors
    /// `AddrInUse` if somebody listens there, `AlreadyExists` if something else is there.
    pub(crate) fn bind(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        let address = SockAddr::unix(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        if let Err(error) = socket.bind(&address) {
            if error.kind() != io::ErrorKind::AddrInUse {
                return Err(error);
            }
            remove_stale(path, &address)?;
            socket.bind(&address)?;
        }
        // Nobody can connect before it listens, and then the permissions are those that were chosen. A mask would be that of the
        // whole process: what another thread makes just now would get it, too.
        let metadata = fs::symlink_metadata(path)?;
        let identity = (metadata.dev(), metadata.ino());
        fs::set_permissions(path, fs::Permissions::from_mode(mode.unwrap_or(DEFAULT_MODE)))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))?;
        Ok(Self { listener, path: path.to_owned(), identity })
    }

    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Removes the socket of a program that has ended.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    let trial = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full queue must not hold us up.
    trial.set_nonblocking(true)?;
    match trial.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!("removing {}, which nobody listens to any more", path.display());
            fs::remove_file(path)
        }
        Ok(()) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::net::UnixListener as Plain,
        sync::atomic::{AtomicU32, Ordering::Relaxed},
    };

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A folder of its own for each test, gone afterwards.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!("adit-unix-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn path(&self) -> PathBuf {
            self.0.join("x.sock")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[tokio::test]
    async fn a_socket_has_the_chosen_permissions_and_goes_with_its_listener() {
        let folder = Folder::new();
        for (chosen, expected) in [(None, 0o600), (Some(0o660), 0o660)] {
            let listener = Listener::bind(&folder.path(), chosen).unwrap();
            assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, expected);
            let (client, server) = tokio::join!(UnixStream::connect(folder.path()), listener.accept());
            client.unwrap().write_all(b"x").await.unwrap();
            assert_eq!(server.unwrap().read_u8().await.unwrap(), b'x');
            drop(listener);
            assert!(!folder.path().exists());
        }
    }

    #[tokio::test]
    async fn only_a_socket_nobody_listens_to_is_replaced() {
        let folder = Folder::new();
        let other = Plain::bind(folder.path()).unwrap();
        assert_eq!(Listener::bind(&folder.path(), None).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(folder.path().exists());
        drop(other);
        drop(Listener::bind(&folder.path(), None).unwrap());
        fs::write(folder.path(), "precious").unwrap();
        assert_eq!(Listener::bind(&folder.path(), None).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(folder.path()).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn what_another_has_put_in_its_place_stays() {
        let folder = Folder::new();
        let listener = Listener::bind(&folder.path(), None).unwrap();
        fs::remove_file(folder.path()).unwrap();
        let _other = Plain::bind(folder.path()).unwrap();
        drop(listener);
        assert!(folder.path().exists());
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_or_has_no_folder_is_an_error_of_its_own() {
        let long = std::env::temp_dir().join("x".repeat(200));
        assert_eq!(Listener::bind(&long, None).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let nowhere = Path::new("/nonexistent/x.sock");
        assert_eq!(Listener::bind(nowhere, None).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
