//! A year without a packet.

use adit_testing::KeyNote;
use adit_tunnel::KeyTag;

use super::variants::{Variant, Wrap};
use crate::tests::secs;

#[test]
fn a_year_of_idle_life_misses_no_renegotiation_and_leaves_nothing_behind() {
    let variant = Variant::new(|choice| {
        choice.wrap = Wrap::TlsCryptV2;
        choice.server.keepalive = Some((secs(60), secs(240)));
    });
    let mut world = variant.up(1, |_| {});
    let (day, mut keys) = (secs(86_400), 0);
    for number in 0..365 {
        world.run(day);
        let log = &mut world.clients[0].driven.log;
        let opened = log.keys.iter().filter(|(_, note)| matches!(note, KeyNote::Opens(_)));
        // One an hour, or a tenth earlier.
        let times: Vec<_> = opened.map(|(at, _)| *at).collect();
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(longest.is_some_and(|longest| longest < secs(3605)), "day {number}: {longest:?}");
        keys += times.len();
        log.keys.clear();
        let census = world.census();
        let at_most = (census.openers <= 6, census.deadlines == 2, census.under_way <= 4);
        assert!(census.peers == 1 && at_most == (true, true, true), "day {number}: {census:?}");
        world.listener.peers.values_mut().for_each(|peer| peer.driven.log.keys.clear());
    }
    assert!((8760..=9800).contains(&keys), "{keys} keys");
    assert!(world.clients[0].driven.openers().iter().all(|tag| (KeyTag(1)..=KeyTag(7)).contains(tag)));
    assert!(world.clients[0].former.is_empty() && world.listener.departed.is_empty());
    world.assert_agree();
}
