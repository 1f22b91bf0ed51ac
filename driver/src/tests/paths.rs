//! Either end goes on from another address or port.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use adit_tunnel::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    far::{ECHO, Far, HOST, Manner},
    options, remote, soon,
    toy::{MOVE, Toy},
};
use crate::{
    Builder, Client, NoPrompts, Options,
    active::Env,
    race::{Gateway, race},
    shared::{Shared, State},
    supervisor,
};

async fn echoes(client: &Client) {
    let mut connection = soon(client.dial(SocketAddr::from((HOST, ECHO)))).await.unwrap();
    connection.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    soon(connection.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"hello");
}

/// A gateway that goes on at the port of another.
async fn leading_to(far: &Far) -> Far {
    let [high, low] = far.address.port().to_be_bytes();
    Far::with_manner(Transport::Udp, Manner::Say(vec![MOVE, high, low])).await
}

/// The system tells of the ICMP error at a send or at a receive, whichever comes first.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_tunnel_that_is_up_hears_that_the_network_cannot_reach_the_gateway_and_decides_itself() {
    let far = Far::start(Transport::Udp).await;
    let mut toy = Toy::new([remote(&far)]);
    toy.patience = Duration::from_secs(600);
    let told = Arc::clone(&toy.unreachable);
    let client = soon(Builder::new(toy).options(options()).connect()).await.unwrap();
    assert_eq!(told.load(std::sync::atomic::Ordering::Relaxed), 0);
    far.gone().await;
    // Its pings go to a port that is closed.
    soon(async {
        while told.load(std::sync::atomic::Ordering::Relaxed) < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(client.network().is_some(), "it is but a hint");
}

#[tokio::test]
async fn a_gateway_may_go_on_at_another_port_and_hears_us_from_the_same() {
    let far = Far::start(Transport::Udp).await;
    let first = leading_to(&far).await;
    let client = soon(Builder::new(Toy::new([remote(&first)])).options(options()).connect()).await.unwrap();
    echoes(&client).await;
    assert_eq!(first.seen.borrow().client, far.seen.borrow().client, "one socket for both ports");
    assert!(far.seen.borrow().data > 0 && first.seen.borrow().data == 0);
}

#[tokio::test]
async fn a_gateway_that_goes_on_elsewhere_is_still_the_address_that_was_tried() {
    let far = Far::start(Transport::Udp).await;
    let first = leading_to(&far).await;
    let env = Env::new(Arc::new(Shared::new(options(), 1)), Arc::new(NoPrompts));
    let gateway = Gateway { index: 0, remote: remote(&first) };
    let mut active = soon(race(&mut Toy::new([remote(&first)]), &gateway, &[first.address], &env)).await.unwrap();
    tokio::select! {
        closed = active.run(&env) => panic!("{closed:?}"),
        seen = far.saw(|seen| seen.data > 0) => assert_eq!(seen.hellos, 1),
    }
    assert_eq!(active.address(), first.address);
}

#[tokio::test]
async fn the_tunnel_knows_its_own_address_and_hears_of_a_new_one() {
    let far = Far::start(Transport::Udp).await;
    let toy = Toy::new([remote(&far)]);
    let mut roamed = toy.roamed.subscribe();
    let options = Options { address_check: Some(Duration::from_millis(20)), ..options() };
    let mut env = Env::new(Arc::new(Shared::new(options, 1)), Arc::new(NoPrompts));
    let address = Arc::new(Mutex::new(IpAddr::from([127, 0, 0, 1])));
    let source = Arc::clone(&address);
    env.source = Arc::new(move |_| Ok(*source.lock().unwrap()));
    let mut state = env.shared.state.subscribe();
    let task = tokio::spawn(supervisor::run(toy, env));
    soon(state.wait_for(|state| matches!(state, State::Up(_)))).await.unwrap();
    let client = far.saw(|seen| seen.data > 2).await.client.unwrap();
    assert_eq!(*roamed.borrow(), None, "the address has not changed");
    *address.lock().unwrap() = [127, 0, 0, 9].into();
    let path = soon(roamed.wait_for(Option::is_some)).await.unwrap().unwrap();
    assert_eq!(path.local, Some(SocketAddr::from(([127, 0, 0, 9], client.port()))));
    assert_eq!(path.remote, far.address);
    task.abort();
}
