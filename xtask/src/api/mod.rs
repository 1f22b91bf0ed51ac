//! The public API of each published crate, as a listing that is committed: a change of it shows in review.
//!
//! It is read from the sources, not by rustdoc, whose machine-readable output needs a nightly compiler: what `lib.rs` makes
//! reachable, with its fields, variants, methods and trait impls. What a macro makes is listed by name alone.

#![expect(clippy::wildcard_enum_match_arm, reason = "syn knows far more kinds of syntax than mean something here")]

mod names;
mod read;
mod show;

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::{package::published, steps::say};

/// Where the listings are.
const PLACE: &str = "docs/api";

/// Compares the listings with the sources, or writes them anew.
pub(crate) fn run(update: bool) -> Result<()> {
    let mut stale = Vec::new();
    for package in published()? {
        let listing = listing(&package.name, &package.library)?;
        let path = Path::new(PLACE).join(format!("{}.txt", package.name));
        if update {
            fs::create_dir_all(PLACE)?;
            fs::write(&path, &listing)?;
            say(&format!("{}: {} lines", path.display(), listing.lines().count()));
            continue;
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        if let Some(difference) = difference(&committed, &listing) {
            say(&format!("{}:\n{difference}", path.display()));
            stale.push(package.name);
        }
    }
    ensure!(
        stale.is_empty(),
        "the public API of {} is not as listed in {PLACE}; if that is meant: cargo xtask api --update",
        stale.join(", ")
    );
    Ok(())
}

fn listing(name: &str, library: &Path) -> Result<String> {
    let root = read::library(library).with_context(|| format!("the sources of {name}"))?;
    Ok(show::listing(name, &root))
}

/// Lines that are in one alone, the first few of them.
fn difference(committed: &str, current: &str) -> Option<String> {
    if committed == current {
        return None;
    }
    let only = |these: &str, those: &str, sign: char| -> Vec<String> {
        let those: std::collections::HashSet<&str> = those.lines().collect();
        these.lines().filter(|line| !those.contains(line)).take(20).map(|line| format!("{sign} {line}")).collect()
    };
    let lines = [only(committed, current, '-'), only(current, committed, '+')].concat();
    Some(if lines.is_empty() { "the same lines in another order".to_owned() } else { lines.join("\n") })
}

#[cfg(test)]
mod tests;
