//! Random histories against a plain model: after each step both ends open what the other seals.

use adit_testing::SeededRandom;
use adit_tunnel::{Path, Random, Tunnel};

use super::{
    handshake::wraps,
    link::LinkSettings,
    millis,
    pair::{Pair, Setup},
    secs,
};

#[derive(Debug, Clone, Copy)]
enum Step {
    Wait,
    WaitLong,
    ServerRenegotiates,
    /// Both directions are cut for a while, shorter than `hand-window`.
    Outage,
    Roam,
    TokenRenewed,
    Garbage,
}

const STEPS: [Step; 7] =
    [Step::Wait, Step::WaitLong, Step::ServerRenegotiates, Step::Outage, Step::Roam, Step::TokenRenewed, Step::Garbage];

fn play(pair: &mut Pair, step: Step, random: &mut SeededRandom) {
    let some = u64::from(random.next_u32() % 1000);
    match step {
        Step::Wait => pair.run(millis(some)),
        Step::WaitLong => pair.run(secs(some)),
        Step::ServerRenegotiates if pair.server.is_ready() => pair.server.renegotiate(pair.now),
        Step::ServerRenegotiates => {}
        Step::Outage => {
            (pair.to_client.cut, pair.to_server.cut) = (true, true);
            pair.run(millis(20 * some));
            (pair.to_client.cut, pair.to_server.cut) = (false, false);
        }
        Step::Roam => {
            let path = Path { local: Some(([10, 0, 0, 7], some as u16 + 1).into()), ..pair.path };
            pair.client.handle_path(pair.now, &path);
        }
        Step::TokenRenewed if pair.server.is_ready() => {
            pair.server.say(pair.now, format!("PUSH_REPLY,auth-token SESS_ID_{some}\0").as_bytes());
        }
        Step::TokenRenewed => {}
        Step::Garbage => pair.inject(&some.to_be_bytes()),
    }
    pair.settle();
}

fn check(pair: &mut Pair, seed: u64, history: &[Step]) {
    pair.run(secs(1));
    // An outage may leave packets to be sent again, and a renegotiation may have just begun.
    let agreed = pair.run_until(secs(50), |pair| {
        let idle = format!("{:?}", pair.client).contains(&format!("KeyId({})", pair.server.key_id()));
        pair.log.closed.is_some() || idle && pair.server.is_ready() && newest(pair) == pair.server.key_id()
    });
    assert!(agreed && pair.log.closed.is_none(), "seed {seed}: {:?} after {history:?}", pair.log.closed);
    assert!((1..=3).contains(&pair.plane.openers.len()), "seed {seed}: after {history:?}");
    assert!(pair.client.poll_timeout().is_some_and(|at| at > pair.now), "seed {seed}: after {history:?}");
    pair.assert_traffic_flows();
}

/// The client's newest key id.
fn newest(pair: &Pair) -> u8 {
    let added = pair.log.keys.iter().rev().find_map(|(_, change)| change.strip_prefix('+'));
    added.unwrap().parse().unwrap()
}

fn history(seed: u64) {
    let mut random = SeededRandom::new(seed);
    let (_, ours, theirs) = wraps().swap_remove(seed as usize % 5);
    let mut pair = Setup::new(|setup| {
        setup.settings.control_wrap = ours;
        setup.settings.reneg_sec = secs([0, 30, 700][seed as usize % 3]);
        setup.settings.tran_window = secs(120);
        setup.script.wrap = theirs;
        setup.link = if seed.is_multiple_of(2) { LinkSettings::GOOD } else { LinkSettings::REORDERING };
        setup.seed = seed;
    })
    .up();
    let mut history = Vec::new();
    for _ in 0..25 {
        let step = STEPS[random.next_u32() as usize % STEPS.len()];
        history.push(step);
        play(&mut pair, step, &mut random);
        check(&mut pair, seed, &history);
    }
}

#[test]
fn after_any_history_both_ends_open_what_the_other_seals() {
    match std::env::var("TUNNEL_TEST_SEED") {
        Ok(seed) => history(seed.parse().unwrap()),
        Err(_) => (0..40).for_each(history),
    }
}
