//! What the tests of several crates share: a simulated world for both ends of a tunnel, seeded randomness, vectors read from files,
//! counted allocations, fuzz corpora.

mod allocations;
mod clock;
mod corpus;
mod link;
mod pair;
mod seeds;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::Path};

use adit_tunnel::Random;
use rand_chacha::{
    ChaCha12Rng,
    rand_core::{Rng, SeedableRng},
};

pub use allocations::{CountingAllocator, allocations_of};
pub use clock::{Clock, UNIX_START};
pub use corpus::{Damage, corpora, corpus};
pub use link::{Conditions, Link, LinkCounts};
pub use pair::{
    Birth, Census, ClientEnd, Datagram, Driven, End, Judgement, KeyNote, ListenerBirth, ListenerEnd, Log, Mapping,
    Pair, PeerEnd, Policy, Port, Rules, Sent, Setup, TrafficReport,
};
pub use seeds::{histories, seeds};

/// Randomness that is the same for the same seed.
#[derive(Debug, Clone)]
pub struct SeededRandom(ChaCha12Rng);

impl SeededRandom {
    /// A generator for this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }
}

impl Random for SeededRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

/// One vector: names and values, as bytes.
pub type Vector = BTreeMap<String, Vec<u8>>;

/// Reads a file of vectors: lines `name = hex` or `name = "text"`, vectors apart by blank lines, `#` starts a comment.
///
/// # Panics
/// If the file is missing or malformed: a test cannot go on without it.
#[must_use]
pub fn vectors(path: impl AsRef<Path>) -> Vec<Vector> {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut all = vec![Vector::new()];
    for line in text.lines().map(|l| l.split('#').next().unwrap_or("").trim_end()) {
        match line.split_once('=') {
            Some((name, value)) => {
                let bytes = decode(value.trim()).unwrap_or_else(|e| panic!("{}: {line}: {e}", path.display()));
                if let Some(vector) = all.last_mut() {
                    vector.insert(name.trim().to_owned(), bytes);
                }
            }
            None if line.trim().is_empty() => all.push(Vector::new()),
            None => panic!("{}: not a `name = hex` line: {line}", path.display()),
        }
    }
    all.retain(|vector| !vector.is_empty());
    assert!(!all.is_empty(), "{}: no vectors", path.display());
    all
}

fn decode(value: &str) -> Result<Vec<u8>, hex::FromHexError> {
    match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(text) => Ok(text.as_bytes().to_vec()),
        None => hex::decode(value),
    }
}
