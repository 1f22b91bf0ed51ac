//! Pings both ways, and the timers that end idle sessions.

use adit_tunnel::{CloseKind, Retry};

use super::{
    START,
    link::LinkSettings,
    millis,
    pair::{Pair, Setup, numbered},
    secs,
};
use crate::{data::PING_PAYLOAD, error::SessionError};

fn pushed(options: &[&str]) -> Pair {
    Setup::new(|setup| setup.script.push.extend(options.iter().map(|&option| option.to_owned()))).up()
}

#[test]
fn an_idle_tunnel_pings_and_is_never_late() {
    for ping in [1, 5, 10, 60] {
        let mut pair = pushed(&[&format!("ping {ping}")]);
        let mut last = pair.key_change_at("seal 0");
        pair.run(secs(20 * ping));
        assert!(pair.log.injected.len() >= 19, "ping {ping}");
        for (at, packet) in &pair.log.injected {
            assert_eq!(**packet, PING_PAYLOAD);
            let gap = at.duration_since(last);
            assert!(gap <= secs(ping) && gap >= secs(ping) / 2, "ping {ping}: {gap:?}");
            last = *at;
        }
        assert_eq!(pair.server.pings.len(), pair.log.injected.len());
    }
}

#[test]
fn a_busy_tunnel_does_not_ping() {
    let mut pair = pushed(&["ping 10"]);
    pair.start_traffic(secs(2));
    pair.run(secs(300));
    assert_eq!(pair.log.injected.len(), 0);
}

#[test]
fn after_a_packet_the_next_ping_is_in_time() {
    for offset in (0..10_000).step_by(130) {
        let mut pair = pushed(&["ping 10"]);
        pair.run(millis(offset));
        pair.log.injected.clear();
        let packet_sent = pair.now;
        pair.client_sends(&numbered(1));
        pair.run(secs(30));
        let gap = pair.log.injected[0].0.duration_since(packet_sent);
        assert!(gap <= secs(10), "{gap:?} after {offset} ms");
    }
}

#[test]
fn without_ping_nothing_is_sent() {
    let mut pair = Setup::new(|setup| setup.settings.reneg_sec = secs(0)).up();
    let sent = pair.log.sent.len();
    pair.run(secs(10_000));
    assert_eq!((pair.log.injected.len(), pair.log.sent.len()), (0, sent));
}

#[test]
fn our_own_ping_counts_unless_the_server_pushes_another() {
    let mut pair = Setup::new(|setup| setup.settings.ping = Some(secs(10))).up();
    pair.run(secs(100));
    assert_eq!(pair.log.injected.len(), 10);
    let mut pair = Setup::new(|setup| {
        setup.settings.ping = Some(secs(10));
        setup.script.push.push("ping 50".to_owned());
    })
    .up();
    pair.run(secs(101));
    assert_eq!(pair.log.injected.len(), 2);
}

#[test]
fn over_udp_silence_ends_a_session_after_two_minutes_unless_somebody_said_otherwise() {
    let silent_for = |setup: Setup| {
        let mut pair = setup.up();
        pair.run(secs(1000));
        pair.log.closed.is_some().then(|| pair.closed_after())
    };
    let unsaid = |setup: &mut Setup| {
        setup.settings.ping_restart = None;
        setup.settings.reneg_sec = secs(0);
    };
    let udp = silent_for(Setup::new(unsaid)).unwrap();
    assert!(udp >= secs(120) && udp <= secs(126), "{udp:?}");
    let pushed = Setup::new(|setup| {
        unsaid(setup);
        setup.script.push.push("ping-restart 0".to_owned());
    });
    assert_eq!(silent_for(pushed), None);
    let tcp = Setup::new(|setup| {
        unsaid(setup);
        setup.remote.transport = adit_tunnel::Transport::Tcp;
    });
    assert_eq!(silent_for(tcp), None);
}

#[test]
fn ping_restart_ends_a_silent_session_and_tries_the_next_address() {
    let mut pair = pushed(&["ping-restart 60"]);
    pair.run(secs(1000));
    let silence = pair.closed_after();
    assert!(silence >= secs(60) && silence <= secs(71), "{silence:?}");
    assert!(matches!(pair.error(), SessionError::Silence { directive: "ping-restart", .. }));
    assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::TimedOut, &Retry::NextAddress));
}

#[test]
fn ping_exit_ends_it_for_good() {
    let mut pair = pushed(&["ping-exit 60"]);
    pair.run(secs(1000));
    assert!(matches!(pair.error(), SessionError::Silence { directive: "ping-exit", .. }));
    assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::TimedOut, &Retry::Never));
}

#[test]
fn pings_of_the_server_keep_the_session() {
    let mut pair = pushed(&["ping-restart 30"]);
    for _ in 0..100 {
        pair.run(secs(20));
        pair.server_sends(&PING_PAYLOAD);
    }
    assert!(pair.log.closed.is_none());
    assert!(pair.log.opened.is_empty(), "a ping is no packet");
}

#[test]
fn control_packets_keep_the_session_too() {
    let mut pair = pushed(&["ping-restart 30"]);
    for _ in 0..100 {
        pair.run(secs(20));
        pair.server_says(b"INFO,hello\0");
    }
    assert!(pair.log.closed.is_none());
}

#[test]
fn forged_datagrams_do_not_keep_the_session() {
    let mut pair = pushed(&["ping-restart 30"]);
    for _ in 0..100 {
        pair.run(secs(1));
        pair.inject(&[0x30; 100]);
        pair.inject(&[0x20; 100]);
    }
    assert!(matches!(pair.error(), SessionError::Silence { .. }));
}

#[test]
fn two_ends_that_ping_stay_together_on_a_bad_link() {
    let mut pair = Setup::new(|setup| {
        setup.script.push = vec!["ping 10".to_owned(), "ping-restart 120".to_owned()];
        setup.settings.reneg_sec = secs(600);
    })
    .up();
    pair.to_client = super::link::Link::new(LinkSettings::BAD, 5);
    for _ in 0..1000 {
        pair.run(secs(10));
        pair.server_sends(&PING_PAYLOAD);
    }
    assert!(pair.log.closed.is_none(), "{:?}", pair.log.closed);
    assert!(pair.server.pings.len() >= 1000);
}

#[test]
fn inactive_ends_a_session_with_too_little_traffic() {
    let mut pair = pushed(&["inactive 100 1000", "ping 10"]);
    pair.run(secs(500));
    // Pings are not traffic.
    assert_eq!(*pair.error(), SessionError::Inactive);
    assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::TimedOut, &Retry::Never));
    assert!(pair.closed_after() >= secs(100) && pair.closed_after() <= secs(106));

    // 120 bytes every 20 s are 600 in 100 s.
    let mut pair = pushed(&["inactive 100 1000"]);
    pair.start_traffic(secs(20));
    pair.run(secs(500));
    assert_eq!(*pair.error(), SessionError::Inactive);
    let mut pair = pushed(&["inactive 100 1000"]);
    pair.start_traffic(secs(5));
    pair.run(secs(1000));
    assert!(pair.log.closed.is_none());
}

#[test]
fn inactive_without_bytes_wants_any_packet() {
    let mut pair = pushed(&["inactive 100"]);
    pair.start_traffic(secs(90));
    pair.run(secs(1000));
    assert!(pair.log.closed.is_none());
    pair.stop_traffic();
    pair.run(secs(200));
    assert_eq!(*pair.error(), SessionError::Inactive);
}

#[test]
fn session_timeout_ends_the_session_whatever_it_does() {
    let mut pair = pushed(&["session-timeout 100"]);
    pair.start_traffic(secs(1));
    pair.run(millis(99_500));
    assert!(pair.log.closed.is_none());
    pair.stop_traffic();
    pair.run(secs(10));
    assert_eq!((pair.error(), &pair.closed().retry), (&SessionError::SessionTimeout, &Retry::Never));
    assert_eq!(pair.closed_after(), secs(100));
    assert!(pair.now > *START);
}
