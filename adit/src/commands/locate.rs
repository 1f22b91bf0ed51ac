//! Where a process and its files are, as its configuration says. Nothing else of it is looked at: secrets need not be there.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

use super::arguments::Process;
use crate::error::{Error, Exit};

/// What the configuration says of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) control: Option<PathBuf>,
    /// There is none, and no other process is meant.
    pub(super) control_off: bool,
    pub(super) admin: Option<SocketAddr>,
    pub(super) activity: Option<PathBuf>,
}

#[cfg(unix)]
impl Located {
    /// The process; an error where it has no control socket, and not another process.
    pub(super) fn client(&self) -> Result<crate::control::Client, Error> {
        if self.control_off {
            let error = Error::new(Exit::Usage, "this configuration has no control socket: `socket = \"off\"`");
            return Err(error.hint("name a path as `socket` in [control], or say --control PATH"));
        }
        crate::control::Client::connect(self.control.as_deref())
    }
}

#[derive(Deserialize)]
struct File {
    control: Option<Control>,
    admin: Option<Admin>,
    activity: Option<Activity>,
}

#[derive(Deserialize)]
struct Control {
    socket: Option<String>,
}

#[derive(Deserialize)]
struct Admin {
    listen: Option<SocketAddr>,
}

#[derive(Deserialize)]
struct Activity {
    file: Option<PathBuf>,
}

/// What the arguments say, or the configuration they name.
pub(super) fn locate(process: &Process) -> Result<Located, Error> {
    let Some(path) = &process.config else {
        return Ok(Located { control: process.control.clone(), ..Located::default() });
    };
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::new(Exit::Usage, format!("cannot read {name}: {error}")))?;
    // The message never quotes the line: it may hold a secret.
    let file: File =
        toml::from_str(&text).map_err(|error| Error::new(Exit::Usage, format!("{name}: {}", error.message())))?;
    let beside = path.parent().unwrap_or_else(|| std::path::Path::new(""));
    let (off, socket) = match file.control.and_then(|control| control.socket) {
        Some(socket) if socket == "off" => (true, None),
        socket => (false, socket),
    };
    Ok(Located {
        control: match socket {
            Some(socket) => Some(beside.join(socket)),
            None if off => None,
            None => crate::control::path_of_unit(path),
        },
        control_off: off,
        admin: file.admin.and_then(|admin| admin.listen),
        activity: file.activity.and_then(|activity| activity.file).map(|file| beside.join(file)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Folder;

    #[test]
    fn the_configuration_says_where_things_are() {
        let folder = Folder::new();
        let path = folder.path().join("adit.toml");
        let text = "[control]\nsocket = \"adit.sock\"\n[admin]\nlisten = \"127.0.0.1:9002\"\n[activity]\nfile = \"/a.log\"\n\
                    [connection.x]\npassword = { file = \"/nonexistent\" }\n";
        std::fs::write(&path, text).unwrap();
        let located = locate(&Process { config: Some(path.clone()), control: None }).unwrap();
        let expected = Located {
            control: Some(folder.path().join("adit.sock")),
            control_off: false,
            admin: Some("127.0.0.1:9002".parse().unwrap()),
            activity: Some("/a.log".into()),
        };
        assert_eq!(located, expected);
        std::fs::write(&path, "[control]\nsocket = \"off\"\n").unwrap();
        let off = locate(&Process { config: Some(path.clone()), control: None }).unwrap();
        assert_eq!(off, Located { control_off: true, ..Located::default() });
        #[cfg(unix)]
        {
            let error = off.client().err().unwrap();
            assert!(error.exit() == Exit::Usage && error.to_string().contains("`socket = \"off\"`"), "{error}");
        }
        std::fs::write(&path, "secret = hunter2").unwrap();
        let error = locate(&Process { config: Some(path), control: None }).unwrap_err();
        assert!(error.exit() == Exit::Usage && !error.to_string().contains("hunter2"), "{error}");
    }
}
