//! The `resolv.conf` of a namespace: `ip netns exec` shows it to programs there in place of the machine's.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{net::Place, rig::Rig};

/// Removed with its folder when dropped.
pub(crate) struct ResolvConf {
    path: PathBuf,
}

impl ResolvConf {
    pub(crate) fn new(rig: &Rig, place: Place, text: &str) -> Result<Self> {
        let path = Path::new("/etc/netns").join(rig.net.name(place)).join("resolv.conf");
        fs::create_dir_all(path.parent().context("a file in a folder")?)?;
        fs::write(&path, text)?;
        Ok(Self { path })
    }

    pub(crate) fn text(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.path)?)
    }
}

impl Drop for ResolvConf {
    fn drop(&mut self) {
        self.path.parent().map(fs::remove_dir_all);
    }
}
