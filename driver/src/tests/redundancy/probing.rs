//! Questions through the tunnel, and ports inside of it.

use super::*;
use crate::{
    redundancy::{GatewayState, Probe, ProbeTarget, RedundancyLevel, SwitchReason},
    tests::{far::Manner, toy::WELCOME},
};

fn probe(target: ProbeTarget) -> Probe {
    Probe { target, interval: Duration::from_millis(50), timeout: Duration::from_millis(150), failures: 2 }
}

#[tokio::test]
async fn a_tunnel_whose_probe_is_not_answered_any_more_is_lost_although_the_gateway_lives() {
    for target in [ProbeTarget::Tcp(echo().into()), ProbeTarget::Icmp(HOST.into())] {
        let [a, b] = gateways().await;
        let options = RedundancyOptions {
            probe: Some(probe(target)),
            fail_back_after: Some(Duration::from_millis(100)),
            ..redundancy_options()
        };
        let redundant = start(vec![spec("a", &a), spec("b", &b)], options);
        let mut events = redundant.events();
        soon(async {
            while redundant.status().gateways[..2].iter().any(|g| g.probe.as_ref().is_none_or(|p| p.rtt.is_none())) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        a.set(Manner::Hollow);
        event(&mut events, |event| matches!(event, RedundancyEvent::ProbeFailed { gateway, .. } if gateway == "a"))
            .await;
        event(&mut events, |event| matches!(event, RedundancyEvent::Switched { to, .. } if to == "b")).await;
        connection(&redundant.way(None, AT_ONCE)).await;
        // It connects again, but is not gone back to as long as it carries nothing; and is not torn down again and again.
        up(&redundant, "a").await;
        event(
            &mut events,
            |event| matches!(event, RedundancyEvent::ProbeFailed { gateway, failures: 5.., .. } if gateway == "a"),
        )
        .await;
        assert_eq!(states(&redundant), [GatewayState::Standby, GatewayState::Active]);
        assert!(a.seen.borrow().byes == 1, "once, when it was lost");
        a.set(Manner::Welcome);
        let back =
            |event: &RedundancyEvent| matches!(event, RedundancyEvent::Switched { reason: SwitchReason::FailBack, .. });
        event(&mut events, back).await;
    }
}

#[tokio::test]
async fn a_probe_that_is_never_answered_is_warned_about_once_and_then_shown() {
    // Nobody has this address.
    let absent = [10, 9, 0, 99].into();
    for (target, named) in [
        (ProbeTarget::Icmp(absent), "10.9.0.99"),
        (ProbeTarget::Tcp(SocketAddr::new(absent, 80).into()), "10.9.0.99:80"),
    ] {
        let [a, b] = gateways().await;
        let (log, _guard) = Log::start();
        let options = RedundancyOptions { probe: Some(probe(target)), ..redundancy_options() };
        let redundant = start(vec![spec("a", &a), spec("b", &b)], options.clone());
        let mut events = redundant.events();
        for name in ["a", "b"] {
            let late = |event: &RedundancyEvent| matches!(event, RedundancyEvent::ProbeFailed { gateway, failures: 4.., .. } if gateway == name);
            event(&mut events, late).await;
            let said = log.lines(&format!("through gateway {name} was never answered"));
            let one = said.len() == 1 && said[0].starts_with("WARN") && said[0].contains("hint=\"check that");
            assert!(one && said[0].contains(&format!("the probe of {named} ")), "{said:?}");
        }
        let status = redundant.status();
        let found = status.gateways[0].probe.clone().unwrap();
        assert!(found.was_never_answered() && found.unanswered >= 4 && found.last_failure.is_some(), "{found:?}");
        assert!(status.gateways[0].ailing);
        assert_eq!(status.redundancy(), Some(RedundancyLevel::None), "nobody can rely on the other one");
        // The right target at last.
        let options = RedundancyOptions { probe: Some(probe(ProbeTarget::Icmp(HOST.into()))), ..options };
        redundant.update_specs(vec![spec("a", &a), spec("b", &b)], options);
        soon(async {
            while redundant.status().redundancy() != Some(RedundancyLevel::Full) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert!(!redundant.status().gateways[0].probe.as_ref().unwrap().was_never_answered());
    }
}

#[tokio::test]
async fn a_gateway_that_answers_no_pings_is_said_to_do_so_and_is_as_good_as_others() {
    for (own, why) in [(None, "told no address of its own"), (Some([10, 9, 0, 99].into()), "10.9.0.99")] {
        let [a, b] = gateways().await;
        let (log, _guard) = Log::start();
        let options = RedundancyOptions {
            probe: Some(probe(ProbeTarget::Gateway)),
            fail_back_after: Some(Duration::from_millis(600)),
            ..redundancy_options()
        };
        let spec = |name, far| {
            let remote = remote(far);
            Spec::new(name, move || {
                let mut toy = Toy::new([remote.clone()]);
                toy.gateway = own;
                toy
            })
        };
        let redundant = start(vec![spec("a", &a), spec("b", &b)], options);
        let mut events = redundant.events();
        let late = |event: &RedundancyEvent| matches!(event, RedundancyEvent::ProbeFailed { gateway, failures: 4.., .. } if gateway == "b");
        event(&mut events, late).await;
        let said = log.lines("through gateway b was never answered");
        assert!(said.len() == 1 && said[0].contains(why) && said[0].contains("need not answer pings"), "{said:?}");
        assert_eq!(redundant.status().redundancy(), Some(RedundancyLevel::Full));
        a.set(Manner::Silent);
        event(&mut events, |event| matches!(event, RedundancyEvent::Switched { to, .. } if to == "b")).await;
        // It is gone back to, although its probe is asked more often than that, and never answered.
        a.set(Manner::Welcome);
        let back =
            |event: &RedundancyEvent| matches!(event, RedundancyEvent::Switched { reason: SwitchReason::FailBack, .. });
        event(&mut events, back).await;
        assert!(redundant.status().gateways[0].probe.as_ref().unwrap().was_never_answered());
    }
}

#[tokio::test]
async fn a_probe_that_is_answered_after_all_is_said_to_be() {
    let [a] = gateways().await;
    a.set(Manner::Hollow);
    let (log, _guard) = Log::start();
    let options = RedundancyOptions { probe: Some(probe(ProbeTarget::Icmp(HOST.into()))), ..redundancy_options() };
    let redundant = start(vec![spec("a", &a)], options);
    let mut events = redundant.events();
    event(&mut events, |event| matches!(event, RedundancyEvent::ProbeFailed { failures: 3.., .. })).await;
    a.set(Manner::Welcome);
    soon(async {
        while log.lines("is answered now").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(log.lines("was never answered").len(), 1);
}

#[tokio::test]
async fn a_port_that_refuses_answers_for_the_tunnel() {
    let [a] = gateways().await;
    let refuses = ProbeTarget::Tcp((HOST, 1).into_address());
    let redundant =
        start(vec![spec("a", &a)], RedundancyOptions { probe: Some(probe(refuses)), ..redundancy_options() });
    soon(async {
        while redundant.status().gateways.first().and_then(|g| g.probe.clone()).is_none_or(|p| p.answered < 3) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(redundant.status().gateways[0].probe.as_ref().unwrap().failed, 0);
}

trait IntoAddress {
    fn into_address(self) -> crate::Target;
}

impl IntoAddress for (std::net::Ipv4Addr, u16) {
    fn into_address(self) -> crate::Target {
        SocketAddr::from(self).into()
    }
}

#[tokio::test]
async fn a_port_is_open_inside_of_every_tunnel_and_after_another_took_over() {
    let [a] = gateways().await;
    let b = Far::with_manner(Transport::Udp, Manner::Say(vec![WELCOME, 1, 10, 9, 0, 3])).await;
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    let way = redundant.way(None, PATIENT);
    let mut listener = way.listen(2222).await.unwrap();
    let datagrams = way.bind_udp_port(5353).await.unwrap();
    assert_eq!(way.listen(2222).await.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    up(&redundant, "a").await;
    up(&redundant, "b").await;
    let (to_a, to_b) = ([10, 9, 0, 2].into(), [10, 9, 0, 3].into());
    for (far, ours) in [(&a, to_a), (&b, to_b)] {
        far.call(ours, 2222);
        let (mut accepted, _) = soon(listener.accept()).await.unwrap();
        says(&mut accepted, b"welcome").await;
        far.send(ours, 5353, b"who is there?");
        let (_, from) = soon(datagrams.recv_from(&mut [0; 99])).await.unwrap();
        datagrams.send_to(b"we are", from).unwrap();
        soon(async {
            while far.heard() != [b"we are"] {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
    let mut events = redundant.events();
    a.set(Manner::Silent);
    event(&mut events, |event| matches!(event, RedundancyEvent::Switched { to, .. } if to == "b")).await;
    b.call(to_b, 2222);
    soon(listener.accept()).await.unwrap();
    a.set(Manner::Welcome);
    up(&redundant, "a").await;
    a.call(to_a, 2222);
    soon(listener.accept()).await.unwrap();
    soon(redundant.close()).await;
    assert!(soon(listener.accept()).await.is_err());
}

#[tokio::test]
async fn another_probe_is_asked_from_the_update_on() {
    let [a] = gateways().await;
    let asks = |target: Option<ProbeTarget>| RedundancyOptions { probe: target.map(probe), ..redundancy_options() };
    let redundant = start(vec![spec("a", &a)], asks(None));
    let mut held = connection(&redundant.way(None, PATIENT)).await;
    let found = || redundant.status().gateways.first().and_then(|gateway| gateway.probe.clone());
    assert_eq!(found().map(|found| found.answered), None);
    // Of one that is new, of one with another target, and of one that the gateway has for itself.
    let answers = ProbeTarget::Icmp(HOST.into());
    let silent = ProbeTarget::Icmp([10, 9, 0, 99].into());
    let until = async |what: fn(&crate::redundancy::ProbeStatus) -> bool| {
        soon(async {
            while !found().is_some_and(|found| what(&found)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    };
    redundant.update_specs(vec![spec("a", &a)], asks(Some(answers.clone())));
    until(|found| found.answered > 1).await;
    redundant.update_specs(vec![spec("a", &a)], asks(Some(silent)));
    until(|found| found.failed > 1 && found.answered == 0).await;
    let mut own = spec("a", &a);
    own.probe = Some(probe(answers));
    redundant.update_specs(vec![own], asks(None));
    until(|found| found.answered > 1 && found.failed == 0).await;
    redundant.update_specs(vec![spec("a", &a)], asks(None));
    soon(async {
        while found().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    says(&mut held, b"as before").await;
    assert_eq!(a.seen.borrow().hellos, 1, "one tunnel through all of it");
}

#[tokio::test]
async fn two_gateways_may_have_the_same_port_pinned_to_each() {
    let [a] = gateways().await;
    let b = Far::with_manner(Transport::Udp, Manner::Say(vec![WELCOME, 1, 10, 9, 0, 3])).await;
    let redundant = start(vec![spec("a", &a), spec("b", &b)], redundancy_options());
    let ways = ["a", "b"].map(|name| redundant.way(Some(name), PATIENT));
    up(&redundant, "a").await;
    up(&redundant, "b").await;
    let (to_a, to_b) = ([10, 9, 0, 2].into(), [10, 9, 0, 3].into());
    let mut first = ways[0].listen(2222).await.unwrap();
    let mut second = ways[1].listen(2222).await.unwrap();
    let datagrams = [ways[0].bind_udp_port(5353).await.unwrap(), ways[1].bind_udp_port(5353).await.unwrap()];
    let taken = redundant.way(None, PATIENT).listen(2222).await.unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse, "it would be both's");
    assert_eq!(ways[1].listen(2222).await.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    for (far, ours, listener, datagrams) in
        [(&a, to_a, &mut first, &datagrams[0]), (&b, to_b, &mut second, &datagrams[1])]
    {
        far.call(ours, 2222);
        let (mut accepted, _) = soon(listener.accept()).await.unwrap();
        says(&mut accepted, b"welcome").await;
        far.send(ours, 5353, b"who is there?");
        let (length, _) = soon(datagrams.recv_from(&mut [0; 99])).await.unwrap();
        assert_eq!(length, 13);
    }
    // One goes, and leaves the other where it is.
    drop(first);
    b.call(to_b, 2222);
    soon(second.accept()).await.unwrap();
    let mut again = ways[0].listen(2222).await.unwrap();
    a.call(to_a, 2222);
    soon(again.accept()).await.unwrap();
}

#[tokio::test]
async fn a_question_through_the_tunnel_is_no_connection_to_wait_for() {
    let [a] = gateways().await;
    // Nobody has this address: the question stays open.
    let target = ProbeTarget::Tcp(SocketAddr::from(([10, 9, 0, 99], 80)).into());
    let probe = Probe { timeout: PATIENT, ..Probe::new(target) };
    let redundant = start(vec![spec("a", &a)], RedundancyOptions { probe: Some(probe), ..redundancy_options() });
    soon(redundant.up()).await.unwrap();
    let before = a.seen.borrow().data;
    a.saw(|seen| seen.data > before).await;
    assert_eq!(redundant.status().gateways[0].connections, 0);
    soon(redundant.drain(PATIENT)).await;
}
