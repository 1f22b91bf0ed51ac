use adit_testing::{SeededRandom, Vector};
use proptest::prelude::*;
use x25519_dalek::StaticSecret;

use super::{modp::Modp, *};
use crate::crypto::tests::vectors_of;

const GROUPS: [DhGroup; 11] = [
    DhGroup::CURVE25519,
    DhGroup::ECP_256,
    DhGroup::ECP_384,
    DhGroup::ECP_521,
    DhGroup::MODP_1024,
    DhGroup::MODP_1536,
    DhGroup::MODP_2048,
    DhGroup::MODP_3072,
    DhGroup::MODP_4096,
    DhGroup::MODP_6144,
    DhGroup::MODP_8192,
];

fn generate(group: DhGroup, seed: u64) -> DhKey {
    DhKey::generate(group, &mut SeededRandom::new(seed)).unwrap()
}

fn group_of(vector: &Vector) -> DhGroup {
    DhGroup(u16::from_be_bytes(vector["group"].as_slice().try_into().unwrap()))
}

/// Public value, and shared secret with the value of a peer, by RustCrypto: `ring` takes no private keys from outside.
fn by_rust_crypto(group: DhGroup, private: &[u8], theirs: &[u8]) -> (Vec<u8>, Vec<u8>) {
    macro_rules! curve {
        ($curve:ident) => {{
            let private = $curve::SecretKey::from_slice(private).unwrap();
            let theirs = $curve::PublicKey::from_sec1_bytes(&encoded(group, theirs)).unwrap();
            let shared = private.diffie_hellman(&theirs).raw_secret_bytes().to_vec();
            (private.public_key().to_sec1_bytes()[1..].to_vec(), shared)
        }};
    }
    match group {
        DhGroup::CURVE25519 => {
            let private = StaticSecret::from(<[u8; 32]>::try_from(private).unwrap());
            let shared = private.diffie_hellman(&<[u8; 32]>::try_from(theirs).unwrap().into());
            (x25519_dalek::PublicKey::from(&private).as_bytes().to_vec(), shared.as_bytes().to_vec())
        }
        DhGroup::ECP_256 => curve!(p256),
        DhGroup::ECP_384 => curve!(p384),
        _ => curve!(p521),
    }
}

#[test]
fn curves_give_the_known_answers() {
    for vector in vectors_of(&["dh"]) {
        for (ours, theirs) in [("i", "r"), ("r", "i")] {
            let (private, theirs) = (&vector[&format!("private_{ours}")], &vector[&format!("public_{theirs}")]);
            let (public, shared) = by_rust_crypto(group_of(&vector), private, theirs);
            assert_eq!((&public, &shared), (&vector[&format!("public_{ours}")], &vector["shared"]));
            if group_of(&vector) == DhGroup::ECP_521 {
                let ours = DhKey::p521(p521::SecretKey::from_slice(private).unwrap());
                assert_eq!((ours.public().to_vec(), ours.agree(theirs).unwrap().expose().to_vec()), (public, shared));
            }
        }
    }
}

#[test]
fn modp_groups_give_the_known_answers() {
    for vector in vectors_of(&["generated_modp"]) {
        let group = group_of(&vector);
        for (ours, theirs) in [("i", "r"), ("r", "i")] {
            let private = ModpKey::new(Modp::find(group).unwrap(), &vector[&format!("private_{ours}")]).unwrap();
            let ours = (DhKey::modp(group, private), &vector[&format!("public_{ours}")]);
            assert_eq!(ours.0.public(), ours.1, "{group}");
            let shared = ours.0.agree(&vector[&format!("public_{theirs}")]).unwrap();
            assert_eq!(shared.expose(), vector["shared"], "{group}");
        }
    }
}

#[test]
fn modp_primes_are_those_of_the_rfcs() {
    let vectors = vectors_of(&["modp_primes"]);
    assert_eq!(vectors.len(), 7);
    for vector in vectors {
        let group = Modp::find(group_of(&vector)).unwrap();
        assert_eq!(group.prime().to_be_bytes().to_vec(), vector["prime"]);
        // `params` wants it odd.
        assert_eq!(group.params().modulus().as_ref(), &group.prime());
        assert!(std::ptr::eq(group.params(), group.params()), "made once");
    }
}

#[test]
fn modp_exponents_have_twice_the_strength_of_their_group() {
    // RFC 3526 §8, the larger estimates; 1024 bits are below its table.
    for (group, strength) in [(2, 120), (5, 120), (14, 160), (15, 210), (16, 240), (17, 270), (18, 310)] {
        assert!(Modp::find(DhGroup(group)).unwrap().exponent_len * 8 >= 2 * strength, "{group}");
    }
}

#[test]
fn both_ends_of_every_group_agree() {
    for group in GROUPS {
        let (ours, theirs) = (generate(group, 1), generate(group, 2));
        let (our_public, their_public) = (ours.public().clone(), theirs.public().clone());
        assert_ne!(our_public, their_public);
        assert_eq!((Some(our_public.len()), ours.group()), (public_len(group), group));
        assert_eq!(ours.agree(&their_public).unwrap(), theirs.agree(&our_public).unwrap(), "{group}");
    }
}

#[test]
fn groups_we_do_not_have_give_no_key() {
    for group in [0, 1, 3, 22, 23, 24, 25, 28, 32, 33, 1025, u16::MAX].map(DhGroup) {
        assert!(DhKey::generate(group, &mut SeededRandom::new(1)).is_none() && public_len(group).is_none(), "{group}");
    }
}

#[test]
fn public_values_of_another_length_are_refused() {
    for group in GROUPS {
        let public = generate(group, 2).public().to_vec();
        for len in [0, 1, public.len() - 1, public.len() + 1, 2 * public.len()] {
            let theirs: Vec<u8> = public.iter().copied().cycle().take(len).collect();
            assert_eq!(generate(group, 1).agree(&theirs), Err(InvalidPublicKey), "{group} {len}");
        }
        // The encoded form of SEC 1, as RFC 4753 did not have it either.
        let encoded = [&[UNCOMPRESSED], public.as_slice()].concat();
        assert_eq!(generate(group, 1).agree(&encoded), Err(InvalidPublicKey), "{group}");
    }
}

#[test]
fn trivial_modp_values_are_refused() {
    for group in GROUPS.into_iter().filter_map(Modp::find) {
        let len = group.bits as usize / 8;
        let prime = group.prime().to_be_bytes().to_vec();
        let at = |difference: i16| {
            let mut bytes = prime.clone();
            bytes[len - 1] = u8::try_from(0xff + difference).unwrap(); // every prime ends in ff
            bytes
        };
        let small = |value: u8| [vec![0; len - 1], vec![value]].concat();
        for theirs in [small(0), small(1), at(-1), at(0), vec![0xff; len]] {
            assert_eq!(generate(group.group, 1).agree(&theirs), Err(InvalidPublicKey), "{}", group.group);
        }
        for theirs in [small(2), at(-2)] {
            assert!(generate(group.group, 1).agree(&theirs).is_ok(), "{}", group.group);
        }
    }
}

#[test]
fn points_that_are_not_on_the_curve_are_refused() {
    for group in [DhGroup::ECP_256, DhGroup::ECP_384, DhGroup::ECP_521] {
        let len = public_len(group).unwrap();
        let mut off = generate(group, 2).public().to_vec();
        off[len - 1] ^= 1;
        for theirs in [off, vec![0; len], vec![0xff; len]] {
            assert_eq!(generate(group, 1).agree(&theirs), Err(InvalidPublicKey), "{group}");
        }
    }
}

#[test]
fn x25519_values_of_low_order_are_refused() {
    // Points of order 1, 2, 4 and 8, reduced or not: RFC 7748 §6.1 lets one look at the result.
    let ones = |first: u8| [vec![first], vec![0xff; 30], vec![0x7f]].concat();
    let small = |first: u8| [vec![first], vec![0; 31]].concat();
    let eighth = [
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ]
    .map(|point| hex::decode(point).unwrap());
    for theirs in [small(0), small(1), ones(0xec), ones(0xed), ones(0xee)].into_iter().chain(eighth) {
        assert_eq!(generate(DhGroup::CURVE25519, 1).agree(&theirs), Err(InvalidPublicKey));
    }
}

#[test]
fn keys_from_random_are_the_same_for_the_same_seed() {
    for group in [DhGroup::ECP_521, DhGroup::MODP_2048] {
        assert_eq!(generate(group, 7).public(), generate(group, 7).public());
    }
}

#[test]
fn a_generator_that_is_stuck_gives_no_key() {
    struct Stuck;
    impl Random for Stuck {
        fn fill(&mut self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }
    assert!(DhKey::generate(DhGroup::ECP_521, &mut Stuck).is_none());
    assert!(DhKey::generate(DhGroup::MODP_2048, &mut Stuck).is_none());
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", generate(DhGroup::MODP_2048, 1)), "DhKey { group: MODP_2048, .. }");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn ring_and_rust_crypto_agree(seed: u64) {
        for group in [DhGroup::CURVE25519, DhGroup::ECP_256, DhGroup::ECP_384] {
            let mut private = vec![0; public_len(group).unwrap()];
            SeededRandom::new(seed).fill(&mut private);
            private.truncate(match group { DhGroup::ECP_384 => 48, _ => 32 });
            let ours = generate(group, 1);
            let (theirs, shared) = by_rust_crypto(group, &private, ours.public());
            let agreed = ours.agree(&theirs).unwrap();
            prop_assert_eq!(agreed.expose(), shared);
        }
    }

    #[test]
    fn no_public_value_panics(group in prop::sample::select(GROUPS[..7].to_vec()), seed: u64, len in 0..400_usize) {
        let mut theirs = vec![0; len];
        SeededRandom::new(seed).fill(&mut theirs);
        prop_assert!(generate(group, 1).agree(&theirs).is_err() || public_len(group) == Some(len));
        theirs.resize(public_len(group).unwrap(), 0);
        if let Ok(shared) = generate(group, 1).agree(&theirs) {
            prop_assert!(!shared.expose().is_empty());
        }
    }
}
