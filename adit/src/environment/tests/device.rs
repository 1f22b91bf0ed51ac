//! Connections with a device, which is a double: what is done with it, and when.

use std::sync::Mutex;

use super::*;
use crate::{
    status::DeviceState,
    up::{Done, Lacks, TunOptions, does, doubles, held_doubles, lacking_doubles},
};

/// A connection with a device, and what is done with it.
fn with_device(office: &Office, tun: TunOptions) -> (ConnectionPlan, Done, Open) {
    let done = Done::default();
    let plan = ConnectionPlan { tun: Some(tun), ..office.connection("office", &["crm"]) };
    let devices = doubles(&done);
    (plan, done, devices)
}

fn named(device: &str) -> TunOptions {
    // Elsewhere, so that the sockets need no mark, which takes rights.
    TunOptions { device: Some(device.to_owned()), netns: Some("elsewhere".to_owned()), ..TunOptions::default() }
}

fn done(done: &Done) -> Vec<String> {
    done.borrow().clone()
}

#[tokio::test]
async fn a_device_comes_with_the_connection_and_goes_with_it() {
    let office = Office::open(Protocol::Ikev2);
    let (plan, what, devices) = with_device(&office, named("vpn0"));
    let mut bench = Bench::with_devices(plan, devices);
    bench.order(Order::Connect).await.unwrap();
    let status = bench.until(|status| has_device(status, DeviceState::Up)).await;
    let device = status.device.unwrap();
    assert_eq!((device.name.as_str(), device.addresses.is_empty()), ("vpn0", false));
    assert!(page(bench.address("crm")).await.ends_with(&office.page()));
    bench.order(Order::Disconnect).await.unwrap();
    assert_eq!(bench.environment.status().device, None, "it is told when nothing is left");
    assert_eq!(done(&what), ["vpn0 open", "vpn0 attach", "vpn0 up", "vpn0 undo"]);
    assert_eq!(bench.kinds().iter().filter(|kind| **kind == Kind::Device).count(), 2);
    bench.order(Order::Connect).await.unwrap();
    bench.until(|status| has_device(status, DeviceState::Up)).await;
    bench.environment.stop(Stop { drain: Duration::ZERO, deleted: false }, By::Signal).await;
    assert_eq!(done(&what)[4..], ["vpn0 open", "vpn0 attach", "vpn0 up", "vpn0 undo"]);
}

fn has_device(status: &ConnectionStatus, state: DeviceState) -> bool {
    status.device.as_ref().is_some_and(|device| device.state == state)
}

#[tokio::test]
async fn without_a_device_no_gateway_is_asked_and_the_connection_says_why() {
    let office = Office::open(Protocol::Ikev2);
    let (plan, what, works) = with_device(&office, named("vpn0"));
    let refuses: Open = Arc::new(move |options, name, names| match options.mtu {
        None => Err(Error::new(Exit::LocalSocket, "no rights").hint("become root")),
        Some(_) => works(options, name, names),
    });
    let mut bench = Bench::with_devices(plan, refuses);
    bench.order(Order::Connect).await.unwrap();
    let status = bench.reaches(State::Failed).await;
    let error = status.last_error.unwrap();
    assert_eq!(
        (error.code.as_str(), error.text.as_str(), error.hint.as_deref()),
        ("device", "no rights", Some("become root"))
    );
    assert_eq!((status.gateways[0].attempts, status.forwards[0].listening, status.device), (0, false, None));
    // Another one may be had.
    let tun = TunOptions { mtu: Some(1300), ..named("vpn0") };
    let plan = ConnectionPlan { tun: Some(tun), ..office.connection("office", &["crm"]) };
    assert_eq!(bench.apply(plan).await, "tun");
    bench.until(|status| has_device(status, DeviceState::Up)).await;
    assert_eq!(done(&what), ["vpn0 open", "vpn0 attach", "vpn0 up"]);
}

#[tokio::test]
async fn another_device_cuts_no_tunnel() {
    let office = Office::open(Protocol::OpenVpn);
    let (plan, what, devices) = with_device(&office, named("vpn0"));
    let mut bench = Bench::with_devices(plan, devices);
    bench.order(Order::Connect).await.unwrap();
    bench.until(|status| has_device(status, DeviceState::Up)).await;
    let open = begin(bench.address("crm")).await;
    let open = arrived(&bench, open, 1).await;
    let plan = |tun| ConnectionPlan { tun, ..keeping_ports(&bench, &office) };
    assert_eq!(bench.apply(plan(Some(named("vpn1")))).await, "tun, forward crm changed");
    let plan = |tun| ConnectionPlan { tun, ..keeping_ports(&bench, &office) };
    let other = plan(None);
    bench.until(|status| has_device(status, DeviceState::Up) && named_device(status) == "vpn1").await;
    assert_eq!(bench.apply(other).await, "tun");
    let status = bench.until(|status| status.device.is_none()).await;
    assert_eq!((status.state, status.gateways[0].attempts), (State::Connected, 1));
    assert!(finish(open).await.unwrap().ends_with(&office.page()));
    let expected =
        ["vpn0 open", "vpn0 attach", "vpn0 up", "vpn0 undo", "vpn1 open", "vpn1 attach", "vpn1 up", "vpn1 undo"];
    assert_eq!(done(&what), expected);
}

fn named_device(status: &ConnectionStatus) -> &str {
    status.device.as_ref().map_or("", |device| device.name.as_str())
}

/// Its forward has the port that it got.
fn keeping_ports(bench: &Bench, office: &Office) -> ConnectionPlan {
    let mut plan = office.connection("office", &[]);
    plan.forwards = vec![to_page("crm", bench.address("crm").port())];
    plan
}

#[tokio::test]
async fn what_fails_closed_stays_so_until_somebody_wants_the_end() {
    let mut office = Office::open(Protocol::Ikev2);
    let closed = TunOptions { fail_closed: true, ..named("vpn0") };
    let (plan, what, devices) = with_device(&office, closed.clone());
    let mut bench = Bench::with_devices(plan, devices);
    bench.order(Order::Connect).await.unwrap();
    bench.until(|status| has_device(status, DeviceState::Up)).await;
    // Another password is wrong, and so it is given up.
    let password = office.forget_password();
    let plan = |office: &Office, tun| ConnectionPlan { tun: Some(tun), ..office.connection("office", &["crm"]) };
    bench.apply(plan(&office, closed.clone())).await;
    bench.reaches(State::Failed).await;
    let rests = |_: &ConnectionStatus| done(&what).ends_with(&["vpn0 rest".to_owned()]);
    bench.until(|status| rests(status) && has_device(status, DeviceState::Blocked)).await;
    let told = done(&what);
    assert!(!told.contains(&"vpn0 undo".to_owned()), "{told:?}");
    // The right one: what blocks is taken over, also by a device that is otherwise another one.
    office.remember_password(password);
    bench.apply(plan(&office, closed.clone())).await;
    bench.until(|status| has_device(status, DeviceState::Up)).await;
    let told_before = told.len();
    assert_eq!(done(&what)[told_before..], ["vpn0 renew", "vpn0 attach", "vpn0 up"]);
    let other = TunOptions { mtu: Some(1300), ..closed };
    bench.apply(plan(&office, other.clone())).await;
    bench.until(|status| has_device(status, DeviceState::Up) && done(&what).len() == told_before + 8).await;
    let replaced = ["vpn0 rest", "vpn0 change", "vpn0 renew", "vpn0 attach", "vpn0 up"];
    assert_eq!(done(&what)[told_before + 3..], replaced);
    office.forget_password();
    bench.apply(plan(&office, other)).await;
    bench.reaches(State::Failed).await;
    bench.until(|status| has_device(status, DeviceState::Blocked)).await;
    bench.order(Order::Disconnect).await.unwrap();
    assert_eq!(done(&what).last().map(String::as_str), Some("vpn0 undo"));
    assert_eq!(bench.environment.status().device, None);
}

#[tokio::test]
async fn a_device_that_hangs_holds_up_no_other_connection_and_an_attempt_can_be_cancelled() {
    let office = Office::open(Protocol::Ikev2);
    let (plan, what, works) = with_device(&office, named("vpn0"));
    let (go, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let hangs: Open = Arc::new(move |options, name, names| {
        held.lock().unwrap().recv().ok();
        works(options, name, names)
    });
    let mut bench = Bench::with_devices(plan, hangs);
    bench.order(Order::Connect).await.unwrap();
    let other = Bench::connected(office.connection("other", &["crm"])).await;
    assert!(page(other.address("crm")).await.ends_with(&office.page()));
    let status = bench.until(|status| has_device(status, DeviceState::Opening)).await;
    assert_eq!((status.state, status.gateways[0].attempts), (State::Connecting, 0));
    let environment = bench.environment.clone();
    let cancelled = tokio::spawn(async move { environment.order(Order::Cancel, By::Signal).await });
    bench.reaches(State::Disconnecting).await;
    go.send(()).unwrap();
    tokio::time::timeout(PATIENCE, cancelled).await.expect("in time").unwrap().unwrap();
    assert_eq!(bench.environment.status().state, State::Idle);
    assert_eq!(done(&what), ["vpn0 open", "vpn0 undo"]);
}

#[tokio::test]
async fn a_device_that_is_not_wanted_any_more_when_the_last_one_is_gone_holds_up_nothing() {
    let mut office = Office::open(Protocol::Ikev2);
    let (go, held) = std::sync::mpsc::channel();
    let (plan, what, _) = with_device(&office, named("vpn0"));
    let mut bench = Bench::with_devices(plan, held_doubles(&what, held));
    bench.order(Order::Connect).await.unwrap();
    bench.until(|status| has_device(status, DeviceState::Up)).await;
    let password = office.forget_password();
    bench.apply(ConnectionPlan { tun: Some(named("vpn0")), ..office.connection("office", &["crm"]) }).await;
    bench.reaches(State::Failed).await;
    does(&what, "vpn0 undo").await;
    // It is being removed when somebody connects again, and reads another configuration.
    bench.order(Order::Connect).await.unwrap();
    bench.reaches(State::Connecting).await;
    office.remember_password(password);
    bench.apply(office.connection("office", &["crm"])).await;
    assert_eq!(bench.environment.status().state, State::Connecting);
    go.send(()).unwrap();
    bench.reaches(State::Connected).await;
    assert_eq!(bench.environment.status().device, None);
}

#[tokio::test]
async fn a_disconnect_while_the_device_is_replaced_leaves_nothing_blocked() {
    let office = Office::open(Protocol::Ikev2);
    let closed = TunOptions { fail_closed: true, ..named("vpn0") };
    let (plan, what, devices) = with_device(&office, closed.clone());
    let mut bench = Bench::with_devices(plan, devices);
    bench.order(Order::Connect).await.unwrap();
    bench.until(|status| has_device(status, DeviceState::Up)).await;
    let other = TunOptions { mtu: Some(1300), ..closed };
    let other = ConnectionPlan { tun: Some(other), ..office.connection("office", &["crm"]) };
    // The disconnect is there before anything of the device has come back.
    let environment = bench.environment.clone();
    let (applied, disconnected) =
        tokio::join!(bench.apply(other), async move { environment.order(Order::Disconnect, By::Signal).await });
    disconnected.unwrap();
    assert!(applied.contains("tun"), "{applied}");
    let told = done(&what);
    assert_eq!(told[3..6], ["vpn0 rest", "vpn0 change", "vpn0 renew"]);
    assert_eq!(told.last().map(String::as_str), Some("vpn0 undo"), "{told:?}");
    assert_eq!(bench.environment.status().device, None);
}

#[tokio::test]
async fn what_was_blocked_before_is_opened_by_a_disconnect_also_where_no_device_can_be_had() {
    let office = Office::open(Protocol::Ikev2);
    let closed = TunOptions { fail_closed: true, ..named("vpn0") };
    let (plan, what, _) = with_device(&office, closed);
    let lacks: Lacks = Arc::new(Mutex::new(Some(Error::new(Exit::LocalSocket, "no rights"))));
    let mut bench = Bench::with_devices(plan, lacking_doubles(&what, &lacks));
    bench.order(Order::Connect).await.unwrap();
    bench.reaches(State::Failed).await;
    let status = bench.until(|status| has_device(status, DeviceState::Blocked)).await;
    assert_eq!((status.gateways[0].attempts, status.last_error.unwrap().text.as_str()), (0, "no rights"));
    // Once it can be had, the block is that of the device.
    *lacks.lock().unwrap() = None;
    bench.order(Order::Connect).await.unwrap();
    bench.until(|status| has_device(status, DeviceState::Up)).await;
    bench.order(Order::Disconnect).await.unwrap();
    *lacks.lock().unwrap() = Some(Error::new(Exit::LocalSocket, "no rights"));
    bench.order(Order::Connect).await.unwrap();
    bench.until(|status| has_device(status, DeviceState::Blocked)).await;
    bench.order(Order::Disconnect).await.unwrap();
    assert_eq!(bench.environment.status().device, None);
    let first = ["vpn0 open", "vpn0 lacks", "vpn0 rest", "vpn0 attach", "vpn0 up", "vpn0 undo"];
    assert_eq!(done(&what), [&first[..], &["vpn0 open", "vpn0 lacks", "vpn0 rest", "vpn0 undo"]].concat());
}
