//! How many files and sockets may be open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises what is allowed now to what may be allowed: shells and systemd give 1,024, and each connection takes one.
pub(crate) fn raise() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let before = std::mem::replace(&mut limit.current, limit.maximum);
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!("no more than {before:?} open files: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_may_be_open_as_the_system_lets_us() {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.current.map(|current| current - 1);
        setrlimit(Resource::Nofile, limit).unwrap();
        raise();
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
    }
}
