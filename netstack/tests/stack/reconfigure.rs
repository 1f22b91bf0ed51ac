//! The tunnel comes back, with the same addresses or others.

use std::{net::IpAddr, time::Duration};

use adit_netstack::{CloseReason, ConnectError, StackConfig};

use crate::{
    client::pattern,
    world::{HOST_V4, OURS_V6, World, config},
};

#[test]
fn connection_whose_address_is_still_there_lives_on() {
    let mut world = World::new();
    let (mut client, handle) = world.connected(80, 1 << 20);
    client.send(&pattern(500_000, 1));
    world.run_for(&mut [&mut client], Duration::from_millis(12));
    // The tunnel is down for a minute and comes back with smaller packets.
    (world.up.cut, world.down.cut) = (true, true);
    world.run_for(&mut [&mut client], Duration::from_secs(60));
    (world.up.cut, world.down.cut) = (false, false);
    world.stack.reconfigure(world.now, StackConfig { tcp_mtu: 1000, ..config() });
    world.seen = Some(Vec::new());
    world.run(&mut [&mut client], |world, _| world.host.socket(handle).recv_queue() == 500_000);
    let mut received = vec![0; 500_000];
    world.host.socket(handle).recv_slice(&mut received).unwrap();
    assert!(received == client.to_send && client.closed.is_none());
    assert_eq!(world.seen.unwrap().iter().map(Vec::len).max(), Some(1000));
}

#[test]
fn connection_whose_address_is_gone_ends_and_says_so() {
    let mut world = World::new();
    let (mut client, _) = world.connected(80, 64 << 10);
    let id = world.stack.bind_udp().unwrap();
    world.stack.send_udp(world.now, id, (HOST_V4, 53).into(), b"from the old address").unwrap();
    let other = IpAddr::from([10, 8, 0, 99]);
    world.stack.reconfigure(world.now, StackConfig { addresses: vec![other, OURS_V6], ..config() });
    world.seen = Some(Vec::new());
    world.settle(&mut [&mut client]);
    assert_eq!(client.closed, Some(CloseReason::LocalAddressGone));
    assert_eq!(world.seen.as_deref(), Some(&[][..]), "nothing leaves from an address that is not ours");
    let id = world.connect((HOST_V4, 80).into());
    assert_eq!(world.stack.local_addr(id).map(|address| address.ip()), Some(other));
}

#[test]
fn family_without_an_address_is_refused() {
    let mut world = World::new();
    world.stack.reconfigure(world.now, StackConfig { addresses: vec![OURS_V6], ..config() });
    let result = world.stack.connect(world.now, (HOST_V4, 80).into());
    assert_eq!(result, Err(ConnectError::NoAddressOfFamily));
    world.stack.reconfigure(world.now, StackConfig::default());
    assert_eq!(world.stack.bind_udp(), Err(ConnectError::NoAddressOfFamily));
}

#[test]
fn addresses_that_no_host_can_have_are_left_out() {
    let mut world = World::new();
    let odd = ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"];
    let addresses = odd.iter().map(|text| text.parse().unwrap()).collect();
    world.stack.reconfigure(world.now, StackConfig { addresses, mtu: 0, tcp_mtu: 0, ..config() });
    let result = world.stack.connect(world.now, (HOST_V4, 80).into());
    assert_eq!(result, Err(ConnectError::NoAddressOfFamily));
}
