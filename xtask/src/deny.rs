//! Licences, bans and sources of all dependencies: by cargo-deny where it is installed, else by a check of our own that
//! reads the same `deny.toml`. Building cargo-deny takes longer than all other checks together.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::steps::{output, say};

pub(crate) fn check() -> Result<()> {
    let deny = Command::new("cargo").args(["deny", "--version"]).output();
    if deny.is_ok_and(|output| output.status.success()) {
        let status = Command::new("cargo").args(["deny", "check", "licenses", "bans", "sources"]).status()?;
        ensure!(status.success(), "cargo deny found something");
        return Ok(());
    }
    say("cargo-deny is not installed; checking licences, bans and sources by ourselves");
    let rules = Rules::read(&fs::read_to_string("deny.toml").context("deny.toml")?);
    let metadata = output("cargo", &["metadata", "--format-version", "1", "--all-features", "--locked"])?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata.get("packages").and_then(Value::as_array).context("no packages")?;
    let problems: Vec<String> = packages.iter().filter_map(|package| rules.problem(package)).collect();
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    say(&format!("{} packages", packages.len()));
    Ok(())
}

/// What `deny.toml` says, as far as this check knows.
struct Rules {
    licences: BTreeSet<String>,
    banned: BTreeSet<String>,
}

impl Rules {
    fn read(text: &str) -> Self {
        let quoted = |line: &str| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let section = |name: &str| {
            let lines = text.lines().skip_while(move |line| line.trim() != name).skip(1);
            lines.take_while(|line| !line.starts_with('[')).map(str::to_owned).collect::<Vec<_>>()
        };
        let licences = section("[licenses]").iter().flat_map(|line| quoted(line)).collect();
        let banned = section("[bans]")
            .iter()
            .filter(|line| line.trim_start().starts_with("{ name"))
            .filter_map(|line| quoted(line).into_iter().next())
            .collect();
        Self { licences, banned }
    }

    fn problem(&self, package: &Value) -> Option<String> {
        let text = |key: &str| package.get(key).and_then(Value::as_str).unwrap_or_default();
        let (name, version, source) = (text("name"), text("version"), text("source"));
        if self.banned.contains(name) {
            return Some(format!("{name} {version} is banned"));
        }
        // Members have no source; everything else must come from crates.io.
        if !source.is_empty() && source != "registry+https://github.com/rust-lang/crates.io-index" {
            return Some(format!("{name} {version} comes from {source}"));
        }
        let licence = text("license");
        (!self.allows(licence)).then(|| format!("{name} {version} has the licence {licence:?}"))
    }

    /// Whether one way to read the expression needs allowed licences only. Knows `OR`, `AND`, `/`, parentheses.
    fn allows(&self, expression: &str) -> bool {
        let spaced =
            expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "-WITH-");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut rest = words.as_slice();
        let allowed = self.any(&mut rest);
        allowed && rest.is_empty()
    }

    fn any(&self, rest: &mut &[&str]) -> bool {
        let mut allowed = self.every(rest);
        while let [first, tail @ ..] = *rest
            && *first == "OR"
        {
            *rest = tail;
            allowed |= self.every(rest);
        }
        allowed
    }

    fn every(&self, rest: &mut &[&str]) -> bool {
        let mut allowed = self.one(rest);
        while let [first, tail @ ..] = *rest
            && *first == "AND"
        {
            *rest = tail;
            allowed &= self.one(rest);
        }
        allowed
    }

    fn one(&self, rest: &mut &[&str]) -> bool {
        let [first, tail @ ..] = *rest else { return false };
        *rest = tail;
        if *first != "(" {
            return self.licences.contains(*first);
        }
        let allowed = self.any(rest);
        if let [")", tail @ ..] = *rest {
            *rest = tail;
            return allowed;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions_need_one_allowed_reading() {
        let rules = Rules::read(
            "[licenses]\nallow = [\"MIT\", \"ISC\"]\n[bans]\ndeny = [\n  { name = \"rsa\", reason = \"x\" },\n]\n",
        );
        for allowed in ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(GPL-3.0 OR MIT) AND ISC", "GPL-3.0 OR (MIT AND ISC)"]
        {
            assert!(rules.allows(allowed), "{allowed}");
        }
        for refused in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT ISC", "Apache-2.0 WITH LLVM-exception"] {
            assert!(!rules.allows(refused), "{refused}");
        }
        assert_eq!(rules.banned.into_iter().collect::<Vec<_>>(), ["rsa"]);
    }
}
