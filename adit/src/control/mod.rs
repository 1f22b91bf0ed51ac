//! The control socket: a JSON object a line, each way, between `adit status` and others and the process that runs.

#[cfg(unix)]
mod client;
#[cfg(unix)]
mod peer;
#[cfg(unix)]
mod protocol;
#[cfg(unix)]
mod server;

#[cfg(all(test, unix))]
mod tests;

use std::path::{Path, PathBuf};

#[cfg(unix)]
pub(crate) use self::{
    client::Client,
    protocol::{Answer, Request},
    server::Server,
};

/// The name of the socket within a runtime directory.
const NAME: &str = "adit/control.sock";
/// The runtime directories of the units `adit@NAME`, and the name of the socket within one.
const UNITS: &str = "/run/adit";
const OF_UNIT: &str = "control.sock";

/// Where a process listens unless told otherwise: in the runtime directory that systemd made for it, in that of its user, or in
/// that of the system.
pub(crate) fn default_path() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(directory) = variable("RUNTIME_DIRECTORY") {
        return directory.join(OF_UNIT);
    }
    variable("XDG_RUNTIME_DIR").unwrap_or_else(|| PathBuf::from("/run")).join(NAME)
}

/// Where a process may be found, the likeliest place first.
pub(crate) fn likely_paths() -> Vec<PathBuf> {
    let mut paths = vec![default_path(), PathBuf::from("/run").join(NAME)];
    paths.extend(only_of_units(Path::new(UNITS)));
    paths.dedup();
    paths
}

/// Where the unit `adit@NAME` listens that runs this configuration, `NAME.toml`, if it does.
pub(crate) fn path_of_unit(configuration: &Path) -> Option<PathBuf> {
    path_within(Path::new(UNITS), configuration)
}

fn path_within(units: &Path, configuration: &Path) -> Option<PathBuf> {
    Some(units.join(configuration.file_stem()?).join(OF_UNIT)).filter(|path| path.exists())
}

/// That of the only unit; which one of several is meant is for whoever asks to say.
fn only_of_units(units: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(units).ok()?;
    let mut paths = entries.flatten().map(|entry| entry.path().join(OF_UNIT)).filter(|path| path.exists());
    let only = paths.next()?;
    paths.next().is_none().then_some(only)
}

#[cfg(test)]
mod paths {
    use super::*;
    use crate::tests::Folder;

    #[test]
    fn the_unit_of_a_configuration_is_found_and_the_only_one_without() {
        let folder = Folder::new();
        let (units, file) = (folder.path(), Path::new("/etc/adit/office.toml"));
        assert_eq!((path_within(units, file), only_of_units(units)), (None, None));
        assert_eq!(only_of_units(&units.join("none")), None);
        let make = |name: &str| {
            std::fs::create_dir(units.join(name)).unwrap();
            std::fs::write(units.join(name).join(OF_UNIT), "").unwrap();
            units.join(name).join(OF_UNIT)
        };
        let office = make("office");
        std::fs::create_dir(units.join("without")).unwrap();
        assert_eq!((path_within(units, file), only_of_units(units)), (Some(office.clone()), Some(office.clone())));
        make("plant");
        assert_eq!((path_within(units, file), only_of_units(units)), (Some(office), None));
        assert_eq!(path_within(units, Path::new("without.toml")), None);
    }
}
