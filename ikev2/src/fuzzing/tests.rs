use adit_testing::{Damage, corpora};
use proptest::prelude::*;

use super::*;

/// Every file of a target's corpus.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    adit_testing::corpus(env!("CARGO_MANIFEST_DIR"), target)
}

#[test]
fn the_corpus_passes_every_target() {
    let names = corpora(env!("CARGO_MANIFEST_DIR"));
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
    assert!(count("eap_server", |file| crate::eap::server::fuzzing::outcome(file).0 >= 2) >= 9);
    assert!(count("eap_server", |file| crate::eap::server::fuzzing::outcome(file).1) >= 8);
    assert!(count("ike_message", message::is_message) >= 7);
    assert!(count("ike_payloads_inside_sk", message::holds_payloads) >= 12);
    assert!(count("esp_open", esp_open::holds_a_packet) >= 11);
    assert!(count("responder", |file| responder::answers(file) >= 2) >= 6);
    assert!(count("session", |file| session::answers(file) >= 1) >= 8);
}

proptest! {
    #[test]
    fn no_target_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        TARGETS.iter().for_each(|(_, target)| target(&bytes));
    }

    #[test]
    fn no_damage_to_the_corpus_makes_a_target_panic(
        file in any::<prop::sample::Index>(),
        damages in prop::collection::vec(Damage::any(), 1..6),
    ) {
        for (name, target) in TARGETS {
            let files = corpus(name);
            let mut file = files[file.index(files.len())].clone();
            damages.iter().for_each(|damage| damage.apply(&mut file));
            target(&file);
        }
    }
}
