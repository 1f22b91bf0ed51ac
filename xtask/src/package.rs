//! What goes to the registry: complete manifests, documented features, tarballs that build.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::steps::{self, output, say};

/// A crate of ours that is published.
pub(crate) struct Package {
    pub(crate) name: String,
    /// Its `lib.rs`.
    pub(crate) library: PathBuf,
    metadata: Value,
}

/// All members that may be published.
pub(crate) fn published() -> Result<Vec<Package>> {
    let metadata: Value =
        serde_json::from_str(&output("cargo", &["metadata", "--no-deps", "--format-version", "1", "--locked"])?)?;
    let members = metadata.get("packages").and_then(Value::as_array).context("no packages")?;
    // `publish = false` is an empty list of registries.
    let published = members.iter().filter(|member| member.get("publish").is_none_or(Value::is_null));
    published.map(Package::read).collect()
}

/// Every manifest says all that the registry shows, and every `lib.rs` has its features and the oldest compiler.
pub(crate) fn manifests() -> Result<()> {
    let packages = published()?;
    let problems: Vec<String> = packages.iter().flat_map(Package::problems).collect();
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    say(&format!("{} crates", packages.len()));
    Ok(())
}

/// Makes the tarballs and builds what is in them: in a workspace of their own, where they find each other, with the versions and
/// profiles of ours, so that what they depend on is built already.
pub(crate) fn tarballs() -> Result<()> {
    let packages = published()?;
    let target = steps::target_dir()?;
    let mut command = Command::new("cargo");
    command.args(["package", "--quiet", "--allow-dirty", "--no-verify", "--locked"]);
    command.args(packages.iter().flat_map(|package| ["-p", &package.name]));
    ensure!(command.status().context("cannot run cargo")?.success(), "a tarball cannot be made");

    let place = target.join("package").join("unpacked");
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| place.display().to_string())?;
    }
    fs::create_dir_all(&place)?;
    for package in &packages {
        let tarball = target.join("package").join(format!("{}.crate", package.directory()));
        let size = fs::metadata(&tarball).with_context(|| tarball.display().to_string())?.len();
        // As files of now: those of the tarball are all as old as each other, and what was built of them before would be taken for new.
        output("tar", &["-xzmf", &tarball.to_string_lossy(), "-C", &place.to_string_lossy()])?;
        let unpacked = place.join(package.directory());
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            // What was a link in the repository is the text itself here.
            let text = fs::read_to_string(unpacked.join(file)).unwrap_or_default();
            ensure!(text.lines().count() > 3, "{} has no {file}", package.directory());
        }
        say(&format!("{}: {} KiB", package.directory(), size / 1024));
    }
    let manifest = place.join("Cargo.toml");
    fs::write(&manifest, workspace(&packages, &fs::read_to_string("Cargo.toml")?))?;
    fs::copy("Cargo.lock", place.join("Cargo.lock"))?;
    let mut command = Command::new("cargo");
    command.args(["build", "--workspace", "--offline", "--manifest-path"]).arg(&manifest);
    command.env("CARGO_TARGET_DIR", &target);
    ensure!(command.status().context("cannot run cargo")?.success(), "a tarball does not build");
    Ok(())
}

/// The manifest of a workspace of tarballs, with the profiles of ours.
fn workspace(packages: &[Package], ours: &str) -> String {
    let members: Vec<String> = packages.iter().map(|package| format!("{:?}", package.directory())).collect();
    let patches: String =
        packages.iter().map(|package| format!("{} = {{ path = {:?} }}\n", package.name, package.directory())).collect();
    let profiles = ours.find("\n[profile.").and_then(|at| ours.get(at..)).unwrap_or_default();
    let members = members.join(", ");
    format!("[workspace]\nresolver = \"3\"\nmembers = [{members}]\n\n[patch.crates-io]\n{patches}{profiles}")
}

impl Package {
    fn read(metadata: &Value) -> Result<Self> {
        let name = metadata.get("name").and_then(Value::as_str).context("no name")?.to_owned();
        let targets = metadata.get("targets").and_then(Value::as_array).context("no targets")?;
        let is_library = |target: &&Value| target.pointer("/kind/0").and_then(Value::as_str) == Some("lib");
        let library = targets.iter().find(is_library).and_then(|target| target.get("src_path")?.as_str());
        let library = library.with_context(|| format!("{name} is no library"))?.into();
        Ok(Self { name, library, metadata: metadata.clone() })
    }

    /// The folder in its tarball.
    fn directory(&self) -> String {
        format!("{}-{}", self.name, self.text("version"))
    }

    fn text(&self, key: &str) -> &str {
        self.metadata.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for key in ["description", "license", "repository", "readme", "rust_version"] {
            if self.text(key).is_empty() {
                problems.push(format!("{} has no {key}", self.name));
            }
        }
        for key in ["keywords", "categories"] {
            // The registry takes five at most.
            let count = self.metadata.get(key).and_then(Value::as_array).map_or(0, Vec::len);
            if !(1..=5).contains(&count) {
                problems.push(format!("{} has {count} {key}", self.name));
            }
        }
        let docs = documentation(&self.library);
        problems.extend(self.undocumented(&docs).into_iter().map(|what| format!("lib.rs of {} {what}", self.name)));
        problems
    }

    /// What the section about features lacks.
    fn undocumented(&self, docs: &str) -> Vec<String> {
        let Some((_, section)) = docs.split_once("# Features\n") else {
            return vec!["has no section `# Features`".to_owned()];
        };
        let features: BTreeMap<String, Value> =
            self.metadata.get("features").and_then(|all| serde_json::from_value(all.clone()).ok()).unwrap_or_default();
        let names = features.keys().filter(|name| *name != "default");
        let mut lacks: Vec<String> = names
            .filter(|name| !section.contains(&format!("| `{name}` |")))
            .map(|name| format!("lacks {name}"))
            .collect();
        let rust = self.text("rust_version").trim_end_matches(".0").to_owned();
        if !section.contains(&format!("Rust {rust} or newer")) {
            lacks.push(format!("does not say `Rust {rust} or newer`"));
        }
        lacks
    }
}

/// The documentation of a crate, from its first lines.
fn documentation(library: &Path) -> String {
    let text = fs::read_to_string(library).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix("//!")).map(|line| line.trim_start().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_feature_and_the_oldest_compiler_must_be_documented() {
        let metadata = json!({
            "name": "toy", "rust_version": "1.91.0", "features": { "default": ["one"], "one": [], "two": [] },
            "targets": [{ "kind": ["lib"], "src_path": "src/lib.rs" }],
        });
        let toy = Package::read(&metadata).unwrap();
        assert_eq!(toy.undocumented("# Toy\n"), ["has no section `# Features`"]);
        assert_eq!(
            toy.undocumented("# Features\n| `one` | yes | x |\n"),
            ["lacks two", "does not say `Rust 1.91 or newer`"]
        );
        assert!(toy.undocumented("# Features\n| `one` | yes |\n| `two` | no |\nRust 1.91 or newer\n").is_empty());
    }
}
