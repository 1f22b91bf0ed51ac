//! Handshakes over bad links.

use super::{handshake::wraps, link::LinkSettings, pair::Setup, secs};

/// Prints the seed when it fails.
fn comes_up(seed: u64) {
    let (name, ours, theirs) = wraps().swap_remove(seed as usize % 5);
    let mut pair = Setup::new(|setup| {
        setup.link = LinkSettings::BAD;
        setup.settings.control_wrap = ours;
        setup.script.wrap = theirs;
        setup.seed = seed;
    })
    .start();
    let up = pair.run_until(secs(60), |pair| !pair.log.ups.is_empty() || pair.log.closed.is_some());
    assert!(up && pair.log.closed.is_none(), "seed {seed}, {name}: {:?}", pair.log.closed);
    // The tunnel stays up, and its first renegotiations succeed as well.
    for _ in 0..2 {
        let key_id = pair.server.key_id();
        pair.run(secs(20));
        pair.server.renegotiate(pair.now);
        let renewed = pair.run_until(secs(60), |pair| pair.server.key_id() != key_id && pair.server.is_ready());
        assert!(renewed && pair.log.closed.is_none(), "seed {seed}, {name}: {:?}", pair.log.closed);
    }
}

#[test]
fn handshakes_succeed_where_a_fifth_is_lost() {
    match std::env::var("TUNNEL_TEST_SEED") {
        Ok(seed) => comes_up(seed.parse().unwrap()),
        Err(_) => (0..150).for_each(comes_up),
    }
}
