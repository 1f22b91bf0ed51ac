//! A connection to a real gateway on loopback: what it does when it is told something, and when something happens to it.

mod device;

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use adit_driver::Target;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::*;
use crate::{
    activity::Kind,
    demo::testing::{Kind as Protocol, Knocker, Office, to_page},
    plan::{ForwardKind, ForwardPlan, Listen, LocalTarget},
    prompt::Person,
    spec::TransportKind,
    status::{GatewayState, State},
    tests::Log,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    environment: Environment,
    activity: Activity,
    changes: watch::Receiver<u64>,
}

impl Bench {
    fn new(plan: ConnectionPlan) -> Self {
        Self::with_devices(plan, Arc::new(crate::up::open))
    }

    fn with_devices(plan: ConnectionPlan, devices: Open) -> Self {
        let (activity, changes) = (Activity::new(), watch::Sender::new(0));
        let context = Context {
            activity: activity.clone(),
            changes: changes.clone(),
            handshakes: Handshakes::new(),
            limit: Arc::new(Semaphore::new(16)),
            memory: MemoryPool::new(64 << 20),
            desk: Desk::new(Person::new()),
            places: Places::default(),
            manner: Manner::Patient,
            devices,
        };
        let environment = Environment::start(plan, context, By::Program);
        Self { environment, activity, changes: changes.subscribe() }
    }

    async fn connected(plan: ConnectionPlan) -> Self {
        let mut bench = Self::new(plan);
        bench.order(Order::Connect).await.unwrap();
        bench.reaches(State::Connected).await;
        bench
    }

    async fn order(&self, order: Order) -> Result<String, Error> {
        tokio::time::timeout(PATIENCE, self.environment.order(order, By::Signal)).await.expect("in time")
    }

    /// What was changed; nothing may have failed.
    async fn apply(&self, plan: ConnectionPlan) -> String {
        let (changed, failed) = self.try_to_apply(plan).await;
        assert_eq!(failed, [""; 0]);
        changed
    }

    /// What was changed, and what could not be done.
    async fn try_to_apply(&self, plan: ConnectionPlan) -> (String, Vec<String>) {
        let applied = tokio::time::timeout(PATIENCE, self.environment.apply(plan, By::Signal)).await;
        let Applied { changed, failed } = applied.expect("in time").unwrap();
        (changed, failed.iter().map(ToString::to_string).collect())
    }

    async fn until(&mut self, what: impl Fn(&ConnectionStatus) -> bool) -> ConnectionStatus {
        let found = async {
            loop {
                let status = self.environment.status();
                if what(&status) {
                    return status;
                }
                self.changes.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(status) => status,
            Err(_) => panic!("{:#?}", self.environment.status()),
        }
    }

    async fn reaches(&mut self, state: State) -> ConnectionStatus {
        self.until(|status| status.state == state).await
    }

    fn address(&self, forward: &str) -> SocketAddr {
        let status = self.environment.status();
        let found = status.forwards.iter().find(|known| known.name == forward).unwrap();
        assert!(found.listening, "{found:?}");
        found.listen.parse().unwrap()
    }

    fn kinds(&self) -> Vec<Kind> {
        self.activity.last(usize::MAX, None).0.into_iter().map(|entry| entry.kind).collect()
    }
}

/// A request that was begun.
async fn begin(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    stream
}

/// Ends the request, and reads the answer.
async fn finish(mut stream: TcpStream) -> std::io::Result<String> {
    let read = async {
        stream.write_all(b"\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    };
    tokio::time::timeout(PATIENCE, read).await.expect("in time")
}

async fn page(address: SocketAddr) -> String {
    finish(begin(address).await).await.unwrap()
}

#[tokio::test]
async fn a_connection_comes_up_and_its_forwards_carry() {
    let office = Office::open(Protocol::Ikev2);
    let bench = Bench::connected(office.connection("office", &["crm"])).await;
    assert!(page(bench.address("crm")).await.ends_with(&office.page()));
    let status = bench.environment.status();
    assert_eq!((status.active.as_deref(), status.policy.as_str()), (Some("a"), "priority"));
    let gateway = &status.gateways[0];
    assert_eq!((gateway.state, gateway.attempts, gateway.failures), (GatewayState::Active, 1, 0));
    assert_eq!((gateway.server.clone(), gateway.protocol.as_str()), (office.remote.to_string(), "ikev2"));
    assert_eq!(gateway.remote, Some(office.remote.to_string()));
    assert!(gateway.handshake_ms.is_some() && !gateway.addresses.is_empty() && gateway.mtu.is_some());
    assert!(gateway.received_bytes > 0 && gateway.sent_packets > 0);
    assert!(gateway.udp_socket.is_some_and(|socket| socket.receive_buffer.is_some()), "{:?}", gateway.udp_socket);
    let forward = &status.forwards[0];
    assert_eq!((forward.total, forward.refused, forward.failed), (1, 0, 0));
    assert!(forward.received_bytes > forward.sent_bytes && forward.sent_bytes > 0);
    assert_eq!(bench.kinds(), [Kind::Created, Kind::Connecting, Kind::Connected]);
}

#[tokio::test]
async fn what_leads_to_where_the_gateway_carries_nothing_is_said_once_for_each_tunnel() {
    let elsewhere: SocketAddr = "10.77.0.1:443".parse().unwrap();
    let forward = |name: &str| {
        let kind =
            ForwardKind::Local { listen: Listen::Tcp(([127, 0, 0, 1], 0).into()), to: Target::Address(elsewhere) };
        ForwardPlan { name: name.to_owned(), ..ForwardPlan::new(kind) }
    };
    let lines =
        |log: &Log, level: &str, name: &str| log.lines(&[level, &format!("forward {name} leads to {elsewhere}")]);
    // With IKEv2 it is certain, and such a connection fails at once.
    let office = Office::open(Protocol::Ikev2);
    let (log, _guard) = Log::start();
    let mut plan = office.connection("office", &["crm"]);
    plan.forwards.push(forward("lost"));
    let mut bench = Bench::connected(plan).await;
    let said = lines(&log, "WARN", "lost");
    assert!(said.len() == 1 && said[0].contains("it agreed to 192.168.100.0/24"), "{said:?}");
    assert!(said[0].contains("hint=") && said[0].contains("gateway a "), "{said:?}");
    assert_eq!(bench.environment.status().gateways[0].carries, Some(vec!["192.168.100.0/24".to_owned()]));
    let port = bench.address("lost");
    assert!(finish(begin(port).await).await.is_err(), "it is refused");
    let failed = |status: &ConnectionStatus| status.forwards[1].last_error.clone();
    counted(&bench, |status| failed(status).is_some_and(|error| error.contains("agreed to carry 192.168.100.0/24")))
        .await;
    assert!(log.lines(&["leads to", "crm"]).is_empty());
    // Another forward is said once it is there, what was said is not said again.
    let mut plan = office.connection("office", &["crm"]);
    plan.forwards.extend([forward("lost"), forward("more")]);
    bench.apply(plan).await;
    assert_eq!((lines(&log, "WARN", "lost").len(), lines(&log, "WARN", "more").len()), (1, 1));
    bench.order(Order::Disconnect).await.unwrap();
    bench.order(Order::Connect).await.unwrap();
    bench.reaches(State::Connected).await;
    assert_eq!(lines(&log, "WARN", "lost").len(), 2, "it is another tunnel");
    // OpenVPN only names networks.
    let office = Office::open(Protocol::OpenVpn);
    let mut plan = office.connection("office", &["crm"]);
    plan.forwards.push(forward("perhaps"));
    let _bench = Bench::connected(plan).await;
    let said = lines(&log, "INFO", "perhaps");
    assert!(said.len() == 1 && said[0].contains("192.168.100.0/24"), "{said:?}");
}

#[tokio::test]
async fn datagrams_to_where_the_gateway_carries_nothing_are_told_of() {
    let office = Office::open(Protocol::Ikev2);
    let (log, _guard) = Log::start();
    let mut plan = office.connection("office", &[]);
    let to = Target::Address("10.77.0.1:53".parse().unwrap());
    let kind = ForwardKind::Local { listen: Listen::Udp(([127, 0, 0, 1], 0).into()), to };
    plan.forwards = vec![ForwardPlan { name: "dns".to_owned(), ..ForwardPlan::new(kind) }];
    let bench = Bench::connected(plan).await;
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..3 {
        sender.send_to(b"who?", bench.address("dns")).unwrap();
    }
    counted(&bench, |status| status.forwards[0].failed == 1 && status.forwards[0].last_error.is_some()).await;
    assert_eq!(log.lines(&["WARN", "datagram dropped: 10.77.0.1 is not behind the gateway"]).len(), 1);
}

#[tokio::test]
async fn one_that_is_disconnected_listens_no_longer_and_can_be_connected_again() {
    let office = Office::open(Protocol::OpenVpn);
    let mut bench = Bench::connected(office.connection("office", &["crm"])).await;
    let (address, open) = (bench.address("crm"), begin(bench.address("crm")).await);
    bench.order(Order::Disconnect).await.unwrap();
    let status = bench.environment.status();
    assert_eq!((status.state, status.active, status.gateways[0].state), (State::Idle, None, GatewayState::Idle));
    assert!(finish(open).await.is_err(), "it is cut");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    assert!(bench.order(Order::Disconnect).await.unwrap_err().to_string().contains("not connected"));
    bench.order(Order::Connect).await.unwrap();
    bench.reaches(State::Connected).await;
    assert!(page(bench.address("crm")).await.ends_with(&office.page()));
    let expected =
        [Kind::Created, Kind::Connecting, Kind::Connected, Kind::Disconnected, Kind::Connecting, Kind::Connected];
    assert_eq!(bench.kinds(), expected);
}

#[tokio::test]
async fn an_attempt_can_be_cancelled() {
    let office = Office::open(Protocol::Ikev2);
    // Nobody answers there.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let plan = office.connection_to(silent.local_addr().unwrap(), "office", &["crm"]);
    let mut bench = Bench::new(plan);
    bench.order(Order::Connect).await.unwrap();
    let status = bench.reaches(State::Connecting).await;
    assert!(status.forwards[0].listening, "who comes now waits");
    bench.order(Order::Cancel).await.unwrap();
    let status = bench.environment.status();
    assert_eq!((status.state, status.forwards[0].listening), (State::Idle, false));
    assert_eq!(bench.kinds(), [Kind::Created, Kind::Connecting, Kind::Cancelled]);
}

#[tokio::test]
async fn what_did_not_change_is_not_cut() {
    let office = Office::open(Protocol::Ikev2);
    let bench = Bench::connected(office.connection("office", &["kept", "removed"])).await;
    let kept = begin(bench.address("kept")).await;
    let (removed, leaving) = (bench.address("removed"), begin(bench.address("removed")).await);
    assert_eq!(bench.apply(office.connection("office", &["kept", "removed"])).await, "", "nothing is new");
    let changed = bench.apply(office.connection("office", &["kept", "added"])).await;
    assert_eq!(changed, "forward added added, forward removed removed");
    assert!(page(bench.address("added")).await.ends_with(&office.page()));
    assert!(finish(kept).await.unwrap().ends_with(&office.page()));
    assert!(TcpStream::connect(removed).await.is_err(), "nobody listens there any more");
    assert!(finish(leaving).await.unwrap().ends_with(&office.page()), "whoever was there may go on");
    let status = bench.environment.status();
    assert_eq!(status.gateways[0].attempts, 1, "the tunnel is the same");
    assert_eq!(status.forwards.iter().map(|forward| forward.name.as_str()).collect::<Vec<_>>(), ["kept", "added"]);
    assert_eq!(bench.kinds().last(), Some(&Kind::Edited));
}

#[tokio::test]
async fn a_forward_that_changed_takes_its_port_over() {
    let office = Office::open(Protocol::Ikev2);
    let bench = Bench::connected(office.connection("office", &["crm"])).await;
    let address = bench.address("crm");
    let mut plan = office.connection("office", &[]);
    plan.forwards = vec![to_page("crm", address.port())];
    bench.apply(plan).await;
    let mut plan = office.connection("office", &[]);
    plan.forwards = vec![to_page("crm", address.port())];
    plan.forwards[0].max_connections = Some(1);
    assert_eq!(bench.apply(plan).await, "forward crm changed");
    assert_eq!(bench.address("crm"), address);
    assert!(page(address).await.ends_with(&office.page()));
}

#[tokio::test]
async fn other_limits_and_times_cut_nothing_that_lives() {
    let office = Office::open(Protocol::Ikev2);
    let at = |port: u16| {
        let mut plan = office.connection("office", &[]);
        plan.forwards = vec![to_page("crm", port)];
        plan.redundancy.drain = Duration::ZERO;
        plan
    };
    let bench = Bench::connected(at(0)).await;
    let port = bench.address("crm").port();
    bench.apply(at(port)).await;
    let open = begin(bench.address("crm")).await;
    let open = arrived(&bench, open, 1).await;
    let mut plan = at(port);
    plan.wait += Duration::from_secs(1);
    assert_eq!(bench.apply(plan).await, "wait_seconds, forward crm changed");
    let mut plan = at(port);
    plan.forwards[0].max_connections = Some(2);
    bench.apply(plan).await;
    assert!(page(bench.address("crm")).await.ends_with(&office.page()));
    assert!(finish(open).await.unwrap().ends_with(&office.page()));
}

#[tokio::test]
async fn another_limit_cuts_no_flow_of_datagrams() {
    let office = Office::open(Protocol::Ikev2);
    let with = |limit: Option<usize>| {
        let mut plan = office.connection("office", &["page"]);
        let ForwardKind::Local { to, .. } = plan.forwards.remove(0).kind else { panic!("another kind") };
        let kind = ForwardKind::Local { listen: Listen::Udp(([127, 0, 0, 1], 0).into()), to };
        plan.forwards = vec![ForwardPlan { name: "dns".to_owned(), max_connections: limit, ..ForwardPlan::new(kind) }];
        plan
    };
    let mut bench = Bench::connected(with(None)).await;
    let address = bench.address("dns");
    let [first, second] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    first.send_to(b"one", address).unwrap();
    let counts = |status: &ConnectionStatus| {
        let forward = &status.forwards[0];
        (forward.open, forward.total, forward.sent_bytes)
    };
    counted(&bench, |status| counts(status) == (1, 1, 3)).await;
    assert_eq!(bench.apply(with(Some(1))).await, "forward dns changed");
    assert_eq!(bench.address("dns"), address);
    first.send_to(b"two", address).unwrap();
    counted(&bench, |status| counts(status) == (1, 1, 6)).await;
    // One at a time from now on.
    second.send_to(b"three", address).unwrap();
    counted(&bench, |status| counts(status) == (1, 2, 11)).await;
    bench.reaches(State::Connected).await;
}

#[tokio::test]
async fn a_forward_under_another_name_is_the_same() {
    let office = Office::open(Protocol::Ikev2);
    let named = |name: &str, port: u16| {
        let mut plan = office.connection("office", &[]);
        plan.forwards = vec![to_page(name, port)];
        plan.redundancy.drain = Duration::ZERO;
        plan
    };
    let bench = Bench::connected(named("old", 0)).await;
    let address = bench.address("old");
    bench.apply(named("old", address.port())).await;
    let open = begin(address).await;
    let open = arrived(&bench, open, 1).await;
    assert_eq!(bench.apply(named("new", address.port())).await, "forward old is now new");
    let status = bench.environment.status();
    assert_eq!((status.forwards[0].name.as_str(), status.forwards[0].open), ("new", 1));
    assert!(finish(open).await.unwrap().ends_with(&office.page()));
    assert!(page(address).await.ends_with(&office.page()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_leads_elsewhere_is_open_all_the_time() {
    let office = Office::open(Protocol::Ikev2);
    let bench = Bench::connected(office.connection("office", &["crm"])).await;
    let address = bench.address("crm");
    let to = |host: u8| {
        let mut plan = office.connection("office", &[]);
        let listen = Listen::Tcp(address);
        let kind = ForwardKind::Local { listen, to: Target::Address(([10, 9, 0, host], 80).into()) };
        plan.forwards = vec![ForwardPlan { name: "crm".to_owned(), ..ForwardPlan::new(kind) }];
        plan
    };
    bench.apply(to(1)).await;
    let knocker = Knocker::at(address);
    for host in 2..20 {
        assert_eq!(bench.apply(to(host)).await, "forward crm changed");
        assert_eq!(bench.address("crm"), address);
    }
    let (open, closed) = knocker.end();
    assert!(open > 0 && closed == 0, "open {open} times, closed {closed} times");
}

#[tokio::test]
async fn a_limit_counts_what_was_there_before_it() {
    let office = Office::open(Protocol::Ikev2);
    let at = |port: u16, limit: Option<usize>| {
        let mut plan = office.connection("office", &[]);
        plan.forwards = vec![ForwardPlan { max_connections: limit, ..to_page("crm", port) }];
        plan
    };
    let (log, _guard) = Log::start();
    let bench = Bench::connected(at(0, None)).await;
    let port = bench.address("crm").port();
    bench.apply(at(port, None)).await;
    let open = begin(bench.address("crm")).await;
    let open = arrived(&bench, open, 1).await;
    bench.apply(at(port, Some(1))).await;
    let refused = begin(bench.address("crm")).await;
    assert!(finish(refused).await.is_err(), "there is one already");
    let forward = bench.environment.status().forwards.remove(0);
    assert_eq!(forward.refused, 1);
    let why = "connection refused: open now: 1, and `max_connections` is 1";
    assert_eq!(forward.last_error.as_deref(), Some(why));
    assert_eq!(log.lines(&["WARN", "forward{forward=\"crm\"}", why, "hint="]).len(), 1);
    assert!(finish(open).await.unwrap().ends_with(&office.page()));
}

/// A forward of datagrams, and a proxy that takes some; both towards the page.
fn for_datagrams(plan: &mut ConnectionPlan, wait: Duration) {
    let ForwardKind::Local { to, .. } = to_page("page", 0).kind else { panic!("another kind") };
    let local = ForwardKind::Local { listen: Listen::Udp(([127, 0, 0, 1], 0).into()), to };
    let proxy = ForwardKind::Socks { listen: Listen::Tcp(([127, 0, 0, 1], 0).into()), login: None, udp: true };
    let named = |name: &str, kind| ForwardPlan { name: name.to_owned(), ..ForwardPlan::new(kind) };
    plan.forwards = vec![named("dns", local), named("proxy", proxy)];
    plan.wait = wait;
}

/// Opens an association at the proxy: its connection, and where datagrams go.
async fn associate(proxy: SocketAddr) -> (TcpStream, SocketAddr) {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(&[5, 1, 0]).await.unwrap();
    stream.read_exact(&mut [0; 2]).await.unwrap();
    stream.write_all(&[5, 3, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply[..4], [5, 0, 0, 1]);
    let port = u16::from_be_bytes([reply[8], reply[9]]);
    (stream, SocketAddr::from(([127, 0, 0, 1], port)))
}

#[tokio::test]
async fn datagrams_wait_for_a_tunnel_that_is_down() {
    let (first, second) = (Office::open(Protocol::Ikev2), Office::open(Protocol::Ikev2));
    let mut plan = first.connection("office", &[]);
    for_datagrams(&mut plan, PATIENCE);
    let mut bench = Bench::connected(plan).await;
    let (_control, relay) = associate(bench.address("proxy")).await;
    let (sender, dns) = (UdpSocket::bind("127.0.0.1:0").unwrap(), bench.address("dns"));
    let send = |text: &[u8]| {
        sender.send_to(text, dns).unwrap();
        sender.send_to(&[&[0, 0, 0, 1, 192, 168, 100, 30, 31, 144][..], text].concat(), relay).unwrap();
    };
    send(b"up");
    counted(&bench, |status| status.forwards.iter().all(|forward| forward.sent_bytes == 2)).await;
    first.gateway.close().await;
    bench.reaches(State::Reconnecting).await;
    send(b"one");
    send(b"three");
    // Nobody is told of datagrams that wait.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(bench.environment.status().forwards.iter().all(|forward| forward.sent_bytes == 2));
    let mut plan = second.connection("office", &[]);
    for_datagrams(&mut plan, PATIENCE);
    bench.apply(plan).await;
    bench.reaches(State::Connected).await;
    counted(&bench, |status| status.forwards.iter().all(|forward| (forward.sent_bytes, forward.failed) == (10, 0)))
        .await;
}

#[tokio::test]
async fn datagrams_that_found_no_tunnel_in_time_are_counted() {
    for wait in [Duration::ZERO, Duration::from_millis(200)] {
        let office = Office::open(Protocol::Ikev2);
        let mut plan = office.connection("office", &[]);
        for_datagrams(&mut plan, wait);
        let mut bench = Bench::connected(plan).await;
        let (_control, relay) = associate(bench.address("proxy")).await;
        office.gateway.close().await;
        bench.reaches(State::Reconnecting).await;
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..2 {
            sender.send_to(b"lost", bench.address("dns")).unwrap();
            sender.send_to(&[0, 0, 0, 1, 192, 168, 100, 30, 31, 144, 1], relay).unwrap();
        }
        counted(&bench, |status| status.forwards.iter().all(|forward| forward.failed == 2)).await;
        for forward in bench.environment.status().forwards {
            assert_eq!(forward.sent_bytes, 0);
            assert!(forward.last_error.is_some_and(|error| error.contains("the tunnel is down")));
        }
    }
}

/// Waits until numbers are such, which nobody is told of.
async fn counted(bench: &Bench, what: impl Fn(&ConnectionStatus) -> bool) {
    let found = async {
        while !what(&bench.environment.status()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, found).await;
    assert!(in_time.is_ok(), "{:#?}", bench.environment.status());
}

/// It has arrived inside.
async fn arrived(bench: &Bench, open: TcpStream, count: u64) -> TcpStream {
    let arrived = async {
        while bench.environment.status().forwards[0].open < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.expect("in time");
    open
}

#[tokio::test]
async fn a_forward_that_ended_with_an_error_says_so_and_is_tried_again() {
    let office = Office::open(Protocol::Ikev2);
    let reverse = |name: &str| {
        let to = LocalTarget::Address("127.0.0.1".to_owned(), 9);
        let kind = ForwardKind::Reverse { transport: TransportKind::Tcp, port: 4000, to };
        ForwardPlan { name: name.to_owned(), ..ForwardPlan::new(kind) }
    };
    let with = |names: &[&str]| {
        let mut plan = office.connection("office", &[]);
        plan.forwards = names.iter().map(|name| reverse(name)).collect();
        plan
    };
    let mut bench = Bench::connected(with(&["one", "two"])).await;
    let status = bench.until(|status| status.forwards.iter().any(|forward| forward.last_error.is_some())).await;
    let (refused, serving): (Vec<_>, Vec<_>) = status.forwards.iter().partition(|forward| forward.last_error.is_some());
    assert!(refused.len() == 1 && serving.len() == 1 && !refused[0].listening, "{status:#?}");
    bench.apply(with(&[refused[0].name.as_str()])).await;
    bench.until(|status| status.forwards[0].listening && status.forwards[0].last_error.is_none()).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_for_a_tunnel_is_let_go() {
    let office = Office::open(Protocol::Ikev2);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut plan = office.connection_to(silent.local_addr().unwrap(), "office", &["crm"]);
    plan.wait = Duration::from_secs(3600);
    let mut bench = Bench::new(plan);
    bench.order(Order::Connect).await.unwrap();
    bench.reaches(State::Connecting).await;
    let left = TcpStream::connect(bench.address("crm")).await.unwrap();
    let left = arrived(&bench, left, 1).await;
    drop(left);
    let gone = async {
        while bench.environment.status().forwards[0].open > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("in time");
}

#[tokio::test]
async fn refused_credentials_end_it_until_the_configuration_is_another_one() {
    let mut office = Office::open(Protocol::Ikev2);
    let password = office.forget_password();
    let mut bench = Bench::new(office.connection("office", &["crm"]));
    bench.order(Order::Connect).await.unwrap();
    let status = bench.reaches(State::Failed).await;
    assert_eq!((status.gateways[0].state, status.forwards[0].listening), (GatewayState::Refused, false));
    let error = status.last_error.unwrap();
    assert_eq!(error.code, "auth_failed");
    assert!(error.hint.is_some());
    assert_eq!(bench.kinds(), [Kind::Created, Kind::Connecting, Kind::Failed, Kind::Failed]);
    // What has nothing to do with its refusal is no reason to try again: an account must not be locked.
    let mut edited = office.connection("office", &["crm"]);
    edited.redundancy.stagger += Duration::from_secs(1);
    edited.redundancy.hot_standby = true;
    edited.wait += Duration::from_secs(1);
    let said = bench.apply(edited).await;
    assert!(said.contains("standby, stagger_seconds") && !said.contains("gateway"), "{said}");
    assert_eq!(bench.environment.status().state, State::Failed);
    office.remember_password(password);
    assert_eq!(bench.apply(office.connection("office", &["crm"])).await.matches("gateway a changed").count(), 1);
    bench.reaches(State::Connected).await;
    assert!(page(bench.address("crm")).await.ends_with(&office.page()));
}

#[tokio::test]
async fn a_gateway_that_says_goodbye_is_asked_again() {
    let office = Office::open(Protocol::OpenVpn);
    let mut bench = Bench::connected(office.connection("office", &["crm"])).await;
    office.gateway.close().await;
    let status = bench.reaches(State::Reconnecting).await;
    assert!(status.forwards[0].listening && status.active.is_none(), "{status:#?}");
    assert!(bench.kinds().contains(&Kind::Disconnected));
    assert!(status.last_error.is_some());
    bench.order(Order::Disconnect).await.unwrap();
    assert_eq!(bench.environment.status().state, State::Idle);
}

#[tokio::test]
async fn another_gateway_takes_over_and_that_is_told() {
    let (first, second) = (Office::open(Protocol::Ikev2), Office::open(Protocol::OpenVpn));
    let mut bench = Bench::connected(first.connection_with(&second, "office", &["crm"])).await;
    let status = bench.until(|status| status.standby == ["b"]).await;
    assert_eq!((status.active.as_deref(), status.gateways[1].protocol.as_str()), (Some("a"), "openvpn"));
    first.gateway.close().await;
    let status = bench.until(|status| status.active.as_deref() == Some("b")).await;
    assert_eq!((status.state, status.failovers), (State::Connected, 1), "new connections notice nothing");
    assert!(page(bench.address("crm")).await.ends_with(&second.page()));
    let entries = bench.activity.last(usize::MAX, None).0;
    let told = entries.iter().find(|entry| entry.kind == Kind::Switched).unwrap();
    assert_eq!((told.gateway.as_deref(), told.by.as_str()), (Some("b"), "program"));
    assert!(told.reason.as_deref().unwrap().starts_with("from a: "), "{told:?}");
    let lost = entries.iter().find(|entry| entry.kind == Kind::Disconnected).unwrap();
    assert_eq!((lost.gateway.as_deref(), lost.by.as_str()), (Some("a"), "gateway"));
    let standing_by =
        entries.iter().any(|entry| entry.kind == Kind::Connected && entry.gateway.as_deref() == Some("b"));
    assert!(standing_by, "{entries:#?}");
}

#[tokio::test]
async fn a_gateway_that_is_removed_leaves_the_other_its_tunnel() {
    let (first, second) = (Office::open(Protocol::Ikev2), Office::open(Protocol::OpenVpn));
    let mut bench = Bench::connected(first.connection_with(&second, "office", &["crm"])).await;
    bench.until(|status| status.standby == ["b"]).await;
    let open = begin(bench.address("crm")).await;
    let mut alone = first.connection("office", &["crm"]);
    alone.redundancy.hot_standby = true;
    assert_eq!(bench.apply(alone).await, "gateway b removed");
    let status = bench.until(|status| status.gateways.len() == 1 && status.standby.is_empty()).await;
    assert_eq!((status.state, status.gateways[0].attempts), (State::Connected, 1));
    assert!(finish(open).await.unwrap().ends_with(&first.page()));
}

#[tokio::test]
async fn a_port_that_is_taken_is_tried_again_and_holds_up_no_other() {
    let office = Office::open(Protocol::Ikev2);
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut plan = office.connection("office", &["free"]);
    plan.forwards.push(to_page("taken", taken.local_addr().unwrap().port()));
    let mut bench = Bench::connected(plan).await;
    assert!(page(bench.address("free")).await.ends_with(&office.page()));
    let status = bench.environment.status();
    let waiting = &status.forwards[1];
    assert!(!waiting.listening && waiting.last_error.as_deref().unwrap().contains("in use"), "{waiting:?}");
    let address = taken.local_addr().unwrap();
    drop(taken);
    bench.until(|status| status.forwards[1].listening).await;
    assert!(page(address).await.ends_with(&office.page()));
}

#[tokio::test]
async fn a_forward_keeps_its_port_when_the_new_one_cannot_be_had() {
    let office = Office::open(Protocol::Ikev2);
    let bench = Bench::connected(office.connection("office", &["web"])).await;
    let address = bench.address("web");
    let open = begin(address).await;
    let open = arrived(&bench, open, 1).await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let occupied = taken.local_addr().unwrap();
    let at = |forwards: &[(&str, u16)]| {
        let mut plan = office.connection("office", &[]);
        plan.forwards = forwards.iter().map(|(name, port)| to_page(name, *port)).collect();
        plan
    };
    for _ in 0..2 {
        let (changed, failed) = bench.try_to_apply(at(&[("web", occupied.port())])).await;
        assert_eq!((changed.as_str(), failed.len()), ("", 1));
        assert!(failed[0].starts_with(&format!("forward `web`: cannot listen on {occupied}/tcp: ")), "{failed:?}");
        assert!(failed[0].contains("; it stays as it was; hint: another program uses that port"), "{failed:?}");
        assert_eq!(bench.address("web"), address);
        assert!(page(address).await.ends_with(&office.page()));
    }
    assert!(finish(open).await.unwrap().ends_with(&office.page()));
    // Its place is another's now: then it has none.
    let plan = at(&[("web", occupied.port()), ("other", address.port())]);
    let (changed, failed) = bench.try_to_apply(plan).await;
    assert_eq!((changed.as_str(), failed.len()), ("forward other added, forward web changed", 1));
    assert!(failed[0].starts_with("forward `web`: ") && !failed[0].contains("it stays"), "{failed:?}");
    assert_eq!(bench.address("other"), address);
    // One that is new says so, too, once.
    let plan = at(&[("web", occupied.port()), ("other", address.port()), ("more", occupied.port())]);
    let (changed, failed) = bench.try_to_apply(plan).await;
    assert_eq!((changed.as_str(), failed.len()), ("forward more added", 1));
    assert!(failed[0].starts_with("forward `more`: "), "{failed:?}");
    drop(taken);
    // What is free is had at once, and what was left is closed.
    assert_eq!(bench.apply(at(&[("web", occupied.port())])).await, "forward more removed, forward other removed");
    assert_eq!(bench.address("web"), occupied);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn the_end_waits_for_live_connections_and_takes_no_new_ones() {
    let office = Office::open(Protocol::Ikev2);
    let mut bench = Bench::connected(office.connection("office", &["crm"])).await;
    let (address, open) = (bench.address("crm"), begin(bench.address("crm")).await);
    // It has arrived inside.
    bench.environment.status();
    tokio::time::timeout(PATIENCE, async {
        while bench.environment.status().gateways[0].connections == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("in time");
    let environment = bench.environment.clone();
    let stop = Stop { drain: PATIENCE, deleted: false };
    let stopping = tokio::spawn(async move { environment.stop(stop, By::Signal).await });
    let status = bench.reaches(State::Draining).await;
    assert!(!stopping.is_finished() && status.gateways[0].connections == 1);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    assert!(finish(open).await.unwrap().ends_with(&office.page()));
    tokio::time::timeout(PATIENCE, stopping).await.expect("in time").unwrap();
    assert_eq!(bench.environment.status().state, State::Idle);
    assert!(bench.order(Order::Connect).await.is_err(), "the process ends");
}

#[tokio::test]
async fn a_connection_that_fails_touches_no_other() {
    let (good, mut bad) = (Office::open(Protocol::Ikev2), Office::open(Protocol::OpenVpn));
    bad.forget_password();
    let works = Bench::connected(good.connection("good", &["crm"])).await;
    let open = begin(works.address("crm")).await;
    let mut fails = Bench::new(bad.connection("bad", &["crm"]));
    fails.order(Order::Connect).await.unwrap();
    fails.reaches(State::Failed).await;
    assert!(finish(open).await.unwrap().ends_with(&good.page()));
    assert_eq!(works.environment.status().gateways[0].attempts, 1);
}
