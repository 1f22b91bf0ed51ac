//! Name resolution by a file: `resolv.conf`, rewritten in place and put back.
//!
//! In place, because it may be mounted there, and because a file that is open can be written by a process that has given up
//! its rights.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use super::dns::DnsSettings;

/// The file, open.
#[derive(Debug)]
pub(super) struct ResolvConf {
    path: PathBuf,
    file: File,
    /// It was made by us.
    made: bool,
}

/// Nobody has a longer one.
const MAX_BYTES: u64 = 1 << 20;

impl ResolvConf {
    pub(super) fn open(path: &Path, device: &str) -> io::Result<Self> {
        let at = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if fs::canonicalize(path).is_ok_and(|real| real.starts_with("/run/systemd/resolve")) {
            let text = format!("{} is systemd-resolved's, which would not look at it", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let made = !path.exists();
        if let Some(folder) = path.parent().filter(|_| made) {
            fs::create_dir_all(folder).map_err(at)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(at)?;
        tracing::debug!(device, path = %path.display(), made, "names are resolved by a file");
        Ok(Self { path: path.to_owned(), file, made })
    }

    /// What it says; `None` if there was none before us.
    pub(super) fn read(&mut self) -> io::Result<Option<String>> {
        let mut text = String::new();
        self.file.rewind()?;
        (&self.file).take(MAX_BYTES).read_to_string(&mut text)?;
        Ok((!self.made || !text.is_empty()).then_some(text))
    }

    pub(super) fn write(&mut self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }

    /// Puts back what was there before, if nobody else has written to it since.
    pub(super) fn restore(&mut self, ours: &str, before: Option<&str>) -> io::Result<()> {
        let now = self.read()?.unwrap_or_default();
        // Cut short, it is what a process has left that died while it wrote.
        if now != ours && !(ours.starts_with(&now) && before != Some(&now)) {
            if Some(now.as_str()) != before {
                tracing::warn!("{} was changed by somebody else: it is left as it is", self.path.display());
            }
            return Ok(());
        }
        match before {
            Some(before) => self.write(before),
            None => fs::remove_file(&self.path).or_else(|_| self.write("")),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The file for these servers.
pub(super) fn text(device: &str, settings: &DnsSettings) -> String {
    let mut text = format!("# Written by adit for {device}, which puts back what was here before when it ends.\n");
    let domains: Vec<&str> = settings.search.iter().chain(&settings.only).map(String::as_str).collect();
    if !domains.is_empty() {
        text += &format!("search {}\n", domains.join(" "));
    }
    for server in &settings.servers {
        text += &format!("nameserver {server}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("adit-resolv-{name}-{}", std::process::id()))
    }

    const BEFORE: &str = "nameserver 192.0.2.53\n";

    #[test]
    fn what_was_there_comes_back() {
        let path = path("back");
        fs::write(&path, BEFORE).unwrap();
        let mut file = ResolvConf::open(&path, "vpn0").unwrap();
        let settings = DnsSettings {
            servers: vec!["10.8.0.1".parse().unwrap(), "fd00::53".parse().unwrap()],
            search: vec!["corp.example".to_owned()],
            only: Vec::new(),
        };
        let (ours, before) = (text("vpn0", &settings), file.read().unwrap());
        file.write(&ours).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert!(written.ends_with("\nsearch corp.example\nnameserver 10.8.0.1\nnameserver fd00::53\n"), "{written}");
        file.restore(&ours, before.as_deref()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), BEFORE);
        // Once more, and after a crash in the middle of writing.
        file.restore(&ours, before.as_deref()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), BEFORE);
        for length in [0, 10] {
            fs::write(&path, &ours[..length]).unwrap();
            file.restore(&ours, before.as_deref()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), BEFORE);
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_somebody_else_has_written_stays() {
        let path = path("else");
        fs::write(&path, BEFORE).unwrap();
        let mut file = ResolvConf::open(&path, "vpn0").unwrap();
        file.write("ours").unwrap();
        fs::write(&path, "nameserver 198.51.100.1\n").unwrap();
        file.restore("ours", Some(BEFORE)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "nameserver 198.51.100.1\n");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_that_was_not_there_is_removed() {
        let folder = path("folder");
        let path = folder.join("blue/resolv.conf");
        let mut file = ResolvConf::open(&path, "vpn0").unwrap();
        assert_eq!(file.read().unwrap(), None);
        file.write("ours").unwrap();
        file.restore("ours", None).unwrap();
        assert!(!path.exists());
        fs::remove_dir_all(folder).unwrap();
    }
}
