//! Files by pattern, and where strongSwan looks for certificates and keys.

use std::{
    ffi::OsStr,
    fs,
    path::{Component, Path, PathBuf},
};

/// The files a pattern names, every part of which may have `*` and `?`; in the order of their names.
pub(super) fn matching(pattern: &Path) -> Vec<PathBuf> {
    let is_pattern = |part: &OsStr| part.to_string_lossy().contains(['*', '?']);
    let mut found = vec![PathBuf::new()];
    for part in pattern.components().map(Component::as_os_str) {
        if is_pattern(part) {
            let wanted: Vec<char> = part.to_string_lossy().chars().collect();
            found = found.iter().flat_map(|directory| entries(directory, &wanted)).collect();
        } else {
            found.iter_mut().for_each(|path| path.push(part));
        }
    }
    // One that is named outright has to be there.
    if pattern.components().map(Component::as_os_str).any(is_pattern) {
        found.retain(|path| path.is_file());
    }
    found
}

/// What is in a directory and fits; in the order of the names.
fn entries(directory: &Path, pattern: &[char]) -> Vec<PathBuf> {
    let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let names = fs::read_dir(here).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut found: Vec<_> = names
        .filter(|name| {
            let name: Vec<char> = name.to_string_lossy().chars().collect();
            // As a shell has it: hidden files are asked for by their dot.
            fits(pattern, &name) && (name.first() != Some(&'.') || pattern.first() == Some(&'.'))
        })
        .map(|name| directory.join(name))
        .collect();
    found.sort();
    found
}

/// The files of a directory, in the order of their names.
pub(super) fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<_> = entries.filter(|path| path.is_file()).collect();
    found.sort();
    found
}

fn fits(pattern: &[char], name: &[char]) -> bool {
    // What each prefix of the pattern fits, of the prefixes of the name.
    let mut row = vec![false; name.len() + 1];
    row[0] = true;
    for wanted in pattern {
        let mut next = vec![false; name.len() + 1];
        for index in 0..=name.len() {
            next[index] = match wanted {
                '*' => row[index] || (index > 0 && next[index - 1]),
                '?' => index > 0 && row[index - 1],
                letter => index > 0 && row[index - 1] && name[index - 1] == *letter,
            };
        }
        row = next;
    }
    row[name.len()]
}

/// Where strongSwan keeps what belongs to a configuration.
pub(super) struct Store {
    base: PathBuf,
    authorities: &'static [&'static str],
    certificates: &'static [&'static str],
    keys: &'static [&'static str],
    revocation_lists: &'static [&'static str],
}

impl Store {
    /// Beside `swanctl.conf`.
    pub(super) fn of_swanctl(file: &Path) -> Self {
        Self {
            base: beside(file),
            authorities: &["x509ca"],
            certificates: &["x509"],
            keys: &["private", "rsa", "ecdsa", "pkcs8", "pkcs12"],
            revocation_lists: &["x509crl"],
        }
    }

    /// Beside `ipsec.conf`.
    pub(super) fn of_ipsec(file: &Path) -> Self {
        Self {
            base: beside(file),
            authorities: &["ipsec.d/cacerts"],
            certificates: &["ipsec.d/certs"],
            keys: &["ipsec.d/private"],
            revocation_lists: &["ipsec.d/crls"],
        }
    }

    pub(super) fn authority(&self, name: &str) -> PathBuf {
        self.find(self.authorities, name)
    }

    pub(super) fn certificate(&self, name: &str) -> PathBuf {
        self.find(self.certificates, name)
    }

    pub(super) fn key(&self, name: &str) -> PathBuf {
        self.find(self.keys, name)
    }

    /// Every authority, as strongSwan trusts all of them.
    pub(super) fn all_authorities(&self) -> Vec<PathBuf> {
        self.authorities.iter().flat_map(|directory| files(&self.base.join(directory))).collect()
    }

    /// Every revocation list, as strongSwan looks into all of them.
    pub(super) fn all_revocation_lists(&self) -> Vec<PathBuf> {
        self.revocation_lists.iter().flat_map(|directory| files(&self.base.join(directory))).collect()
    }

    /// Every key.
    pub(super) fn all_keys(&self) -> Vec<PathBuf> {
        self.keys.iter().flat_map(|directory| files(&self.base.join(directory))).collect()
    }

    /// The one that is there, or else where it should be.
    fn find(&self, directories: &[&str], name: &str) -> PathBuf {
        let places = || directories.iter().map(|directory| self.base.join(directory).join(name));
        // Some copy everything flat into one directory.
        let flat = [self.base.join(name), self.base.join("ipsec.d").join(name)];
        let there = places().chain(flat).find(|path| path.is_file());
        there.or_else(|| places().next()).unwrap_or_else(|| self.base.join(name))
    }
}

fn beside(file: &Path) -> PathBuf {
    file.parent().unwrap_or_else(|| Path::new("")).to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    #[test]
    fn every_part_of_a_path_may_be_a_pattern() {
        let place = std::env::temp_dir().join(format!("adit-patterns-{}", std::process::id()));
        for folder in ["b", "a", ".hidden", "a/c.conf"] {
            fs::create_dir_all(place.join(folder)).unwrap();
        }
        for file in ["a/x.conf", "b/y.conf", "b/z.txt", ".hidden/w.conf"] {
            fs::write(place.join(file), "").unwrap();
        }
        let found = super::matching(&place.join("*/*.conf"));
        let one = super::matching(&place.join("b/missing.conf"));
        let expected = [place.join("a/x.conf"), place.join("b/y.conf")];
        fs::remove_dir_all(&place).unwrap();
        assert_eq!((found.as_slice(), one), (&expected[..], vec![place.join("b/missing.conf")]));
    }

    #[test]
    fn a_pattern_fits_as_in_a_shell() {
        let fits = |pattern: &str, name: &str| {
            super::fits(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
        };
        for (pattern, name) in [("*.conf", "a.conf"), ("*", ""), ("a?c", "abc"), ("*a*b", "xaxb"), ("ab", "ab")] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.conf", "a.conf~"), ("a?c", "ac"), ("ab", "abc"), ("*a", "b")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
