//! Who is at the other end of the control socket.

use std::fs;

use tokio::net::UnixStream;

use crate::{
    activity::By,
    error::{Error, Exit},
};

/// The user at the other end, if it is us or root.
pub(super) fn admitted(stream: &UnixStream) -> Result<By, Error> {
    let peer = stream.peer_cred().map_err(|error| Error::new(Exit::Other, format!("who is there: {error}")))?;
    let (theirs, ours) = (peer.uid(), rustix::process::geteuid().as_raw());
    judge(theirs, ours)?;
    Ok(By::User(theirs, name_of(theirs)))
}

fn judge(theirs: u32, ours: u32) -> Result<(), Error> {
    if theirs == ours || theirs == 0 {
        return Ok(());
    }
    let error = Error::new(Exit::Other, format!("uid {theirs} may not control a process of uid {ours}"));
    Err(error.hint("run it as the same user, or as root"))
}

/// As `/etc/passwd` has it: other sources of users need foreign code in the process.
fn name_of(id: u32) -> Option<String> {
    named(&fs::read_to_string("/etc/passwd").ok()?, id)
}

fn named(passwd: &str, id: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_user_and_root_are_admitted() {
        assert!(judge(1000, 1000).is_ok() && judge(0, 1000).is_ok() && judge(0, 0).is_ok());
        let refused = judge(1001, 1000).unwrap_err().to_string();
        assert!(refused.contains("uid 1001 may not control a process of uid 1000"), "{refused}");
        assert!(judge(1000, 0).is_err());
    }

    #[test]
    fn a_user_is_found_by_id() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\nodd\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(named(passwd, 0).as_deref(), Some("root"));
        assert_eq!(named(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!(named(passwd, 100), None);
    }
}
