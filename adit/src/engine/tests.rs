//! All connections of a process, over gateways on loopback.

use std::net::SocketAddr;

use super::*;
use crate::{
    demo::testing::{Kind as Protocol, Knocker, Office, to_page},
    plan::ControlPlan,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Such connections and nothing else.
fn plan(connections: Vec<ConnectionPlan>) -> Plan {
    Plan {
        connections,
        admin: None,
        control: ControlPlan::Off,
        activity: None,
        handshakes: 16,
        memory: 64 << 20,
        drain: Duration::ZERO,
        files: Vec::new(),
    }
}

/// Where the only forward of this connection listens, once it is connected.
async fn listening(engine: &Engine, connection: &str) -> SocketAddr {
    let mut changes = engine.changes();
    let found = async {
        loop {
            let status = engine.status();
            let known = status.connections.iter().find(|known| known.name == connection);
            let ready = known.filter(|known| known.state == State::Connected && known.forwards[0].listening);
            if let Some(known) = ready {
                return known.forwards[0].listen.parse().unwrap();
            }
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_of_a_connection_under_another_name_is_open_all_the_time() {
    let office = Office::open(Protocol::Ikev2);
    let named = |name: &str, port: u16| {
        let forwards = vec![to_page("crm", port)];
        plan(vec![ConnectionPlan { forwards, ..office.connection(name, &[]) }])
    };
    let engine = Engine::for_tests();
    engine.apply(named("old", 0), By::Signal).await;
    let port = listening(&engine, "old").await.port();
    engine.apply(named("old", port), By::Signal).await;
    let address = listening(&engine, "old").await;
    let knocker = Knocker::at(address);
    assert_eq!(engine.apply(named("new", port), By::Signal).await.0, ["`new` is new", "`old` is gone"]);
    assert_eq!(listening(&engine, "new").await, address);
    let (open, closed) = knocker.end();
    assert!(open > 0 && closed == 0, "open {open} times, closed {closed} times");
}
