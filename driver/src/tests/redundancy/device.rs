//! A TUN device over several gateways.

use std::process::Command;

use adit_tunnel::IpNet;
use tokio::net::TcpStream;

use super::*;
use crate::{
    redundancy::GatewayState,
    system::{Namespace, System, SystemOptions, Wanted, plan},
    tests::{far::Manner, namespace::in_namespace, toy::WELCOME},
};

const DEVICE: &str = "adit-test";

/// The machine around the device of a connection.
struct Machine {
    system: System,
    redundant: Redundant,
    events: RedundancyEvents,
}

impl Machine {
    fn start(specs: Vec<Spec>) -> Self {
        let namespace = Arc::new(Namespace::open(None).unwrap());
        let (state_dir, owner) = (state_dir(), "test".to_owned());
        let options =
            SystemOptions { state_dir, namespace, dns: false, dns_method: None, hold: false, owner, spare: false };
        let mut system = System::open(DEVICE, options).unwrap();
        let device = system.make(1400).unwrap();
        let redundant = start(specs, redundancy_options());
        let events = redundant.events();
        redundant.attach(device).unwrap();
        Self { system, redundant, events }
    }

    /// Waits until that gateway is the active one, and does as its network says.
    async fn active(&mut self, name: &str) {
        while self.redundant.status().active.as_deref() != Some(name) {
            soon(self.events.next()).await.expect("it goes on");
        }
        let status = self.redundant.status();
        let active = status.gateways.iter().find(|gateway| gateway.state == GatewayState::Active).unwrap();
        let network = active.network.as_ref().unwrap();
        self.system.bring_up(network.mtu).unwrap();
        self.system.apply(&plan(network, &wanted(), &[], true), Vec::new()).unwrap();
    }
}

/// A network with the host's address is the device's own; this one has a route.
fn wanted() -> Wanted {
    let behind = IpNet::new([10, 77, 0, 0], 16).unwrap();
    Wanted { routes: vec![behind], fail_closed: true, ..Wanted::default() }
}

fn state_dir() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("adit-device-{}", std::process::id()))
}

/// The way of the kernel's packets there.
fn route_to(host: &str) -> String {
    let told = Command::new("ip").args(["route", "get", host]).output().unwrap();
    String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned()
}

async fn echoes(stream: &mut TcpStream, word: &[u8]) {
    stream.write_all(word).await.unwrap();
    let mut answer = vec![0; word.len()];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, word);
}

#[test]
fn the_device_follows_the_active_gateway() {
    in_namespace("tests::redundancy::device::the_device_follows_the_active_gateway", async {
        other_addresses().await;
        same_address().await;
    });
}

#[test]
fn what_the_kernel_sends_where_the_gateway_carries_nothing_is_refused_at_once() {
    in_namespace(
        "tests::redundancy::device::what_the_kernel_sends_where_the_gateway_carries_nothing_is_refused_at_once",
        refused(),
    );
}

async fn refused() {
    let [a] = gateways().await;
    let remote = remote(&a);
    let narrow = Spec::new("a", move || {
        let mut toy = Toy::new([remote.clone()]);
        toy.selectors = vec![IpNet::new([10, 9, 0, 0], 24).unwrap()];
        toy
    });
    let mut machine = Machine::start(vec![narrow]);
    machine.active("a").await;
    // Routed into the device, and not agreed to.
    let error = soon(TcpStream::connect("10.77.0.1:80")).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable, "{error}");
    echoes(&mut soon(TcpStream::connect(echo())).await.unwrap(), b"inside").await;
    let status = machine.redundant.status();
    assert_eq!(status.gateways[0].carries.as_deref(), Some(&[IpNet::new([10, 9, 0, 0], 24).unwrap()][..]));
    assert!(status.gateways[0].stats.dropped_unsealed > 0, "{:?}", status.gateways[0].stats);
    soon(machine.redundant.close()).await;
    drop(machine);
    std::fs::remove_dir_all(state_dir()).unwrap();
}

async fn other_addresses() {
    let [a] = gateways().await;
    let b = Far::with_manner(Transport::Udp, Manner::Say(vec![WELCOME, 1, 10, 9, 0, 3])).await;
    let mut machine = Machine::start(vec![spec("a", &a), spec("b", &b)]);
    machine.active("a").await;
    echoes(&mut soon(TcpStream::connect(echo())).await.unwrap(), b"through a").await;
    let mut of_the_stack = connection(&machine.redundant.way(None, PATIENT)).await;
    assert!(route_to("10.77.0.1").contains(DEVICE), "{}", route_to("10.77.0.1"));
    up(&machine.redundant, "b").await;
    let carried = b.seen.borrow().data;

    a.set(Manner::Silent);
    machine.active("b").await;
    assert!(soon(of_the_stack.read_u8()).await.is_err(), "another address");
    let mut stream = soon(TcpStream::connect(echo())).await.unwrap();
    assert_eq!(stream.local_addr().unwrap().ip().to_string(), "10.9.0.3");
    echoes(&mut stream, b"through b").await;
    b.saw(|seen| seen.data > carried).await;
    // The kernel has removed it with the old address.
    assert!(route_to("10.77.0.1").contains(DEVICE), "{}", route_to("10.77.0.1"));
    connection(&machine.redundant.way(None, PATIENT)).await;

    // With none, it waits.
    b.set(Manner::Silent);
    event(&mut machine.events, |event| matches!(event, RedundancyEvent::Down)).await;
    let waiting = tokio::spawn(TcpStream::connect(echo()));
    a.set(Manner::Welcome);
    machine.active("a").await;
    drop(waiting);
    echoes(&mut soon(TcpStream::connect(echo())).await.unwrap(), b"again through a").await;

    assert!(Command::new("ip").args(["link", "del", DEVICE]).status().unwrap().success());
    event(&mut machine.events, |event| matches!(event, RedundancyEvent::DeviceLost)).await;
    connection(&machine.redundant.way(None, AT_ONCE)).await;
    soon(machine.redundant.close()).await;
}

/// Connections of the kernel live on, beside those of the stack, which are taken over.
async fn same_address() {
    let [a] = gateways().await;
    let b = Far::beside(&a, Manner::Welcome).await;
    let mut machine = Machine::start(vec![spec("a", &a), spec("b", &b)]);
    machine.active("a").await;
    let mut stream = soon(TcpStream::connect(echo())).await.unwrap();
    echoes(&mut stream, b"through a").await;
    let mut of_the_stack = connection(&machine.redundant.way(None, PATIENT)).await;
    up(&machine.redundant, "b").await;
    a.set(Manner::Silent);
    machine.active("b").await;
    echoes(&mut stream, b"through b").await;
    says(&mut of_the_stack, b"through b as well").await;
    soon(machine.redundant.close()).await;
    drop(machine);
    let devices = std::fs::read_to_string("/proc/self/net/dev").unwrap();
    assert!(!devices.contains(DEVICE), "the device goes with the connection: {devices}");
    std::fs::remove_dir_all(state_dir()).unwrap();
}
