//! A year in which nobody sends anything.

use adit_testing::KeyNote;

use super::{Ends, World, settled};
use crate::tests::secs;

/// Both ends rekey by age, ask whether the other lives, and keep the NAT's mapping: nothing grows, and nothing is missed.
#[test]
fn a_year_of_idle_life_leaves_nothing_behind_and_misses_no_rekeying() {
    for mobike in [true, false] {
        let plan = Ends::new(|ends| {
            ends.both(|settings| {
                settings.mobike = mobike;
                // Else most of the year is made of looking at counters.
                (settings.liveness, settings.nat_keepalive) = (secs(600), secs(600));
            });
        })
        .plan();
        let mut world = plan.up(1);
        let settings = crate::Settings::default();
        let mut ikes = 0;
        let mut last = ike(&mut world);
        let (mut most_openers, mut most_under_way) = (0, 0);
        // Shorter than the age of an IKE SA, so that each is seen.
        let look = secs(1800);
        let year = secs(365 * 86_400);
        for _ in 0..year.as_secs() / look.as_secs() {
            world.run(look);
            let now = ike(&mut world);
            ikes += u64::from(now != last);
            last = now;
            let census = world.census();
            most_openers = most_openers.max(census.openers);
            most_under_way = most_under_way.max(census.under_way);
            assert_eq!((census.peers, census.sealers, census.leases), (1, 2, 1));
        }
        assert!(most_openers <= 6 && most_under_way <= 4, "{most_openers} openers, {most_under_way} under way");
        assert_eq!(world.clients[0].incarnation, 0);
        // Both ends rekey at up to a tenth before the age, and the first of them counts: none is older, few are much younger.
        let notes = world.clients[0].driven.key_changes();
        let children = notes.iter().filter(|note| matches!(note, KeyNote::Seals(_))).count() as u64;
        let least = |age: std::time::Duration| year.as_secs() / age.as_secs();
        for (count, age) in [(children, settings.child_rekey), (ikes, settings.ike_rekey)] {
            assert!((least(age)..=least(age) * 10 / 9 + 2).contains(&count), "{count} in place of {}", least(age));
        }
        settled(&mut world).unwrap();
    }
}

/// The SPI of the IKE SA in use.
fn ike(world: &mut World) -> u64 {
    let client = world.clients[0].driven.tunnel.established().expect("it stands");
    client.current().expect("an IKE SA in use").ike.our_spi().0
}
