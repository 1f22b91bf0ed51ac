use adit_testing::{SeededRandom, vectors};
use p256::elliptic_curve::sec1::ToSec1Point;

use super::*;
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
