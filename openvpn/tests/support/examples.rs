//! The examples of `testdata/profile/examples.txt`, and the profiles made of them.

use std::{fs, path::PathBuf};

/// One line of a profile, and what must become of it.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) outcome: String,
    /// The lines, with `{FILE}` still in them.
    pub(crate) text: String,
    /// Text that the configuration shows with the line and not without it.
    pub(crate) change: String,
    /// What stands for `client` in the profile.
    pub(crate) base: String,
}

impl Example {
    /// The name of the first directive.
    pub(crate) fn directive(&self) -> &str {
        let first = self.text.lines().next().unwrap_or_default();
        let word = first.split_whitespace().find(|word| !matches!(*word, "setenv" | "opt")).unwrap_or(first);
        let is_setenv = first.starts_with("setenv ") && !first.starts_with("setenv opt ");
        if is_setenv { "setenv" } else { word.trim_start_matches("--").trim_matches(['<', '>']) }
    }

    /// On one line, as in the file.
    pub(crate) fn shown(&self) -> String {
        let base = if self.base == "client" { String::new() } else { format!(" (with {})", self.base) };
        format!("{}{base}", self.text).replace('\n', "\\n").replace("\\nclient\\n", "\\n")
    }

    /// The profile with the example.
    pub(crate) fn profile(&self) -> String {
        format!("{}{}\n", self.without(), inserted(&self.text))
    }

    /// The profile without the example.
    pub(crate) fn without(&self) -> String {
        format!("{}\nremote 127.0.0.1\nca ca.crt\nauth-user-pass base.txt\n", inserted(&self.base))
    }
}

pub(crate) fn examples() -> Vec<Example> {
    let text = fs::read_to_string(testdata("profile/examples.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let example = |line: &str| {
        let mut parts = line.split('|').map(|part| part.trim().replace("\\n", "\n"));
        let outcome = parts.next().unwrap();
        let text = parts.next().unwrap_or_else(|| panic!("an example without a line: {line}"));
        let change = parts.next().unwrap_or_default();
        let base = parts.next().filter(|base| !base.is_empty()).unwrap_or_else(|| "client".to_owned());
        Example { outcome, text, change, base }
    };
    lines.map(example).collect()
}

/// A file that profiles name.
pub(crate) fn load(path: &str) -> Result<Vec<u8>, String> {
    let file =
        ["keys", "profile"].map(|folder| testdata(&format!("{folder}/{path}"))).into_iter().find(|p| p.is_file());
    fs::read(file.ok_or("no such file")?).map_err(|error| error.to_string())
}

pub(crate) fn testdata(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(path)
}

/// Puts the content of files in.
fn inserted(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap();
        result += before;
        result += str::from_utf8(&load(name).unwrap()).unwrap();
        rest = after;
    }
    result + rest
}
