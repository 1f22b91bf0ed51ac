use std::fs;

use proptest::prelude::*;

use super::*;

fn folder(path: &str) -> Vec<(String, fs::DirEntry)> {
    let entries = fs::read_dir(format!("{}/testdata/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut named: Vec<_> = entries.map(Result::unwrap).map(|e| (e.file_name().into_string().unwrap(), e)).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named
}

/// Every file of a target's corpus.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    folder(&format!("fuzz/{target}")).iter().map(|(_, entry)| fs::read(entry.path()).unwrap()).collect()
}

#[test]
fn the_corpus_passes_every_target() {
    let names: Vec<String> = folder("fuzz").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "sorted by name");
    for (name, target) in TARGETS {
        let files = corpus(name);
        assert!(files.len() >= 3, "{name}");
        files.iter().for_each(|file| target(file));
    }
}

/// A corpus whose every file is turned away at the door would show nothing.
#[test]
fn the_corpus_reaches_what_lies_behind_the_door() {
    let count = |target: &str, passes: fn(&[u8]) -> bool| corpus(target).iter().filter(|f| passes(f)).count();
    assert!(count("eap", |file| crate::eap::fuzzing::answers(file) >= 2) >= 8);
    assert!(count("eap_mschapv2", crate::eap::fuzzing::holds_a_packet) >= 4);
    assert!(count("ike_message", message::is_message) >= 7);
    assert!(count("ike_payloads_inside_sk", message::holds_payloads) >= 12);
    assert!(count("esp_open", esp_open::holds_a_packet) >= 11);
    assert!(count("session", |file| session::answers(file) >= 1) >= 8);
}

/// One change to a file of the corpus.
#[derive(Debug, Clone)]
enum Damage {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Remove(prop::sample::Index, prop::sample::Index),
    Repeat(prop::sample::Index, prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Cut(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (at(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (at(), at()).prop_map(|(from, to)| Damage::Remove(from, to)),
        (at(), at()).prop_map(|(from, to)| Damage::Repeat(from, to)),
        (at(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        at().prop_map(Damage::Cut),
    ]
}

fn damaged(mut file: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let end = file.len() + 1;
        let range = |from: &prop::sample::Index, to: &prop::sample::Index| {
            let (from, to) = (from.index(end), to.index(end));
            from.min(to)..from.max(to)
        };
        match damage {
            Damage::Set(at, byte) => file.iter_mut().skip(at.index(end)).take(1).for_each(|b| *b = *byte),
            Damage::Flip(at, bit) => file.iter_mut().skip(at.index(end)).take(1).for_each(|b| *b ^= 1 << bit),
            Damage::Remove(from, to) => drop(file.drain(range(from, to))),
            Damage::Repeat(from, to) => file.extend_from_within(range(from, to)),
            Damage::Insert(at, bytes) => drop(file.splice(at.index(end)..at.index(end), bytes.iter().copied())),
            Damage::Cut(at) => file.truncate(at.index(end)),
        }
    }
    file
}

proptest! {
    #[test]
    fn no_target_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        TARGETS.iter().for_each(|(_, target)| target(&bytes));
    }

    #[test]
    fn no_damage_to_the_corpus_makes_a_target_panic(
        file in any::<prop::sample::Index>(),
        damages in prop::collection::vec(damage(), 1..6),
    ) {
        for (name, target) in TARGETS {
            let files = corpus(name);
            target(&damaged(files[file.index(files.len())].clone(), &damages));
        }
    }
}
