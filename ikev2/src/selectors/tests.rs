use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    let (address, prefix) = text.split_once('/').unwrap();
    IpNet::new(ip(address), prefix.parse().unwrap()).unwrap()
}

fn range(start: &str, end: &str) -> TrafficSelector {
    unrestricted(ip(start), ip(end))
}

fn tcp(ports: (u16, u16), selector: TrafficSelector) -> TrafficSelector {
    TrafficSelector { protocol: TCP, ports, ..selector }
}

fn nets(selectors: &[TrafficSelector]) -> Vec<String> {
    to_nets(selectors).iter().map(IpNet::to_string).collect()
}

#[test]
fn a_network_is_the_range_of_its_addresses_whatever_its_host_bits() {
    assert_eq!(from_net(&net("10.1.2.3/22")), range("10.1.0.0", "10.1.3.255"));
    assert_eq!(from_net(&net("10.1.2.3/32")), host(ip("10.1.2.3")));
    assert_eq!(from_net(&net("0.0.0.0/0")), any_v4());
    assert_eq!(from_net(&net("::/0")), any_v6());
    assert_eq!(from_net(&net("2001:db8::1/127")), range("2001:db8::", "2001:db8::1"));
    assert_eq!(from_net(&net("::1/128")), host(ip("::1")));
}

#[test]
fn ranges_become_the_fewest_networks() {
    assert_eq!(nets(&[any_v6(), any_v4()]), ["0.0.0.0/0", "::/0"]);
    assert_eq!(nets(&[range("10.0.0.1", "10.0.0.6")]), ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]);
    assert_eq!(nets(&[range("10.0.1.0", "10.0.1.255"), range("10.0.0.0", "10.0.0.255")]), ["10.0.0.0/23"]);
    assert_eq!(nets(&[range("0.0.0.0", "255.255.255.254")]).len(), 32);
    assert_eq!(nets(&[range("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe")]).len(), 254);
    assert_eq!(nets(&[range("10.0.0.9", "10.0.0.1")]), [""; 0]);
    assert_eq!(nets(&[]), [""; 0]);
}

#[test]
fn hostile_selectors_make_a_bounded_number_of_networks() {
    let every_other = |i: u128| {
        let start = (i << 120) + 1;
        unrestricted(Family::V6.address(start), Family::V6.address(start + (1 << 119) - 3))
    };
    let many: Vec<_> = (0..255).map(every_other).collect();
    assert_eq!(to_nets(&many).len(), MAX_NETS);
    assert_eq!(narrow(&many, &many).len(), MAX_NARROWED);
    assert!(is_subset(&narrow(&many, &many), &many));
}

#[test]
fn narrowing_keeps_the_first_choice_of_the_peer_first() {
    let ours = [range("10.0.0.0", "10.0.0.255"), range("10.2.0.0", "10.2.0.255")];
    let theirs = [tcp((80, 80), host(ip("10.2.0.7"))), range("10.0.0.0", "10.3.255.255"), any_v6()];
    assert_eq!(narrow(&ours, &theirs), [theirs[0], ours[0], ours[1]]);
    assert_eq!(narrow(&ours, &[any_v6()]), []);
    assert_eq!(narrow(&ours, &[]), []);
}

#[test]
fn any_port_includes_opaque_and_numbers_do_not() {
    let opaque = tcp(OPAQUE_PORTS, any_v4());
    assert_eq!(narrow(&[any_v4()], &[opaque]), [opaque]);
    assert_eq!(narrow(&[opaque], &[opaque]), [opaque]);
    assert_eq!(narrow(&[tcp((1, u16::MAX), any_v4())], &[opaque]), []);
    assert!(is_subset(&[opaque], &[any_v4()]));
    assert!(!is_subset(&[any_v4()], &[opaque]));
}

#[test]
fn a_subset_may_be_pieced_together_out_of_addresses() {
    let halves = [range("128.0.0.0", "255.255.255.255"), range("0.0.0.0", "127.255.255.255")];
    assert!(is_subset(&[any_v4()], &halves));
    assert!(!is_subset(&[any_v4()], &halves[..1]));
    assert!(!is_subset(&[any_v4(), any_v6()], &halves));
    assert!(!is_subset(&[any_v4()], &[tcp(ANY_PORTS, any_v4())]));
    assert!(!is_subset(&[any_v4()], &[]));
    assert!(is_subset(&[], &[]));
}

/// Addresses, protocols and ports so few that everything overlaps.
fn selector() -> impl Strategy<Value = TrafficSelector> {
    let ports =
        prop_oneof![Just(ANY_PORTS), Just(OPAQUE_PORTS), (0u16..4, 0u16..4).prop_map(|(a, b)| (a.min(b), a.max(b)))];
    let addresses = (any::<bool>(), 0u128..32, 0u128..32);
    (prop::sample::select(vec![0, TCP, UDP]), ports, addresses).prop_map(|(protocol, ports, (v6, a, b))| {
        let at = |offset| point(v6, offset);
        TrafficSelector { protocol, ports, addresses: (at(a.min(b)), at(a.max(b))) }
    })
}

fn selectors() -> impl Strategy<Value = Vec<TrafficSelector>> {
    prop::collection::vec(selector(), 0..5)
}

fn point(v6: bool, offset: u128) -> IpAddr {
    if v6 { Family::V6.address(offset) } else { Family::V4.address((10 << 24) + offset) }
}

/// Whether any of the selectors allows it, for every case that can differ.
fn allowed(selectors: &[TrafficSelector]) -> Vec<bool> {
    let addresses = (0..64).map(|i| point(i >= 32, i % 32));
    let ports =
        [Port::Visible(0), Port::Visible(1), Port::Visible(2), Port::Visible(3), Port::Visible(9), Port::Obscured];
    addresses
        .flat_map(|address| [TCP, UDP, 50].map(|protocol| (address, protocol)))
        .flat_map(|(address, protocol)| ports.map(|port| (address, protocol, port)))
        .map(|(address, protocol, port)| selectors.iter().any(|s| s.matches(address, protocol, port)))
        .collect()
}

proptest! {
    #[test]
    fn narrowing_leaves_exactly_what_both_allow(ours in selectors(), theirs in selectors()) {
        let both: Vec<_> = allowed(&ours).iter().zip(allowed(&theirs)).map(|(a, b)| *a && b).collect();
        let narrowed = narrow(&ours, &theirs);
        prop_assert_eq!(allowed(&narrowed), both);
        prop_assert!(is_subset(&narrowed, &ours) && is_subset(&narrowed, &theirs));
    }

    #[test]
    fn what_counts_as_a_subset_is_one(part in selectors(), whole in selectors()) {
        let inside = allowed(&part).iter().zip(allowed(&whole)).all(|(part, whole)| !part || whole);
        prop_assert!(inside || !is_subset(&part, &whole));
        prop_assert!(is_subset(&part, &[part.clone(), whole].concat()));
    }

    #[test]
    fn without_ports_and_protocols_subsets_are_found_exactly(part in selectors(), whole in selectors()) {
        let bare = |selectors: Vec<TrafficSelector>| -> Vec<_> {
            selectors.iter().map(|s| unrestricted(s.addresses.0, s.addresses.1)).collect()
        };
        let (part, whole) = (bare(part), bare(whole));
        let inside = allowed(&part).iter().zip(allowed(&whole)).all(|(part, whole)| !part || whole);
        prop_assert_eq!(inside, is_subset(&part, &whole));
    }

    #[test]
    fn networks_cover_every_address_once_and_no_other(selectors in selectors()) {
        let nets = to_nets(&selectors);
        for address in (0..64).map(|i| point(i >= 32, i % 32)) {
            let wanted = selectors.iter().any(|s| s.addresses.0 <= address && address <= s.addresses.1);
            prop_assert_eq!(nets.iter().filter(|net| net.contains(address)).count(), usize::from(wanted));
        }
    }

    #[test]
    fn networks_of_any_range_add_up_to_it(a in any::<u128>(), b in any::<u128>(), shift in 0u32..128, v6 in any::<bool>()) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let bits = |bits: u128| if v6 { bits >> shift } else { u128::from(bits as u32 >> (shift % 32)) };
        let (start, end) = (bits(a).min(bits(b)), bits(a).max(bits(b)));
        let mut next = Some(start);
        for net in to_nets(&[unrestricted(family.address(start), family.address(end))]) {
            let as_range = from_net(&net);
            prop_assert_eq!(Some(to_bits(as_range.addresses.0)), next);
            prop_assert_eq!(net.address(), as_range.addresses.0);
            prop_assert!(to_bits(as_range.addresses.1) <= end);
            next = to_bits(as_range.addresses.1).checked_add(1);
        }
        prop_assert_eq!(next, end.checked_add(1));
    }

    #[test]
    fn no_packet_makes_a_check_panic(mut packet in prop::collection::vec(any::<u8>(), 0..120), version in 4u8..7) {
        if let Some(first) = packet.first_mut() {
            *first = version << 4 | *first & 0xf;
        }
        let check = SelectorCheck::new(&[tcp((1, 9), any_v4()), tcp((1, 9), any_v6())], &[any_v4(), any_v6()]);
        if check.allows(&packet) {
            let upper = Upper::of(&packet).unwrap();
            prop_assert_eq!(upper.protocol, TCP);
            prop_assert!(matches!(upper.source, Port::Visible(1..=9)));
        }
    }
}

fn v4(protocol: u8, fragment_offset: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 10, 0, 0, 7];
    header[6..8].copy_from_slice(&fragment_offset.to_be_bytes());
    [&header, payload].concat()
}

fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (Ipv6Addr::from_bits(0x2001 << 112 | 1), Ipv6Addr::from_bits(0x2001 << 112 | 7));
    [&[0x60, 0, 0, 0, 0, 0, next_header, 64], &source.octets()[..], &destination.octets(), payload].concat()
}

/// From port 0x50 to port 0x1234.
const PORTS: [u8; 8] = [0, 0x50, 0x12, 0x34, 0, 0, 0, 0];

#[test]
fn source_is_looked_up_in_the_peers_selectors_and_destination_in_ours() {
    let (them, us) = (range("192.0.2.0", "192.0.2.255"), host(ip("10.0.0.7")));
    let packet = v4(TCP, 0, &PORTS);
    assert!(SelectorCheck::new(&[them], &[us]).allows(&packet));
    assert!(SelectorCheck::new(&[any_v6(), any_v4()], &[us]).allows(&packet));
    assert!(!SelectorCheck::new(&[us], &[them]).allows(&packet));
    assert!(!SelectorCheck::new(&[them], &[host(ip("10.0.0.8"))]).allows(&packet));
    assert!(!SelectorCheck::new(&[host(ip("192.0.2.2"))], &[us]).allows(&packet));
    assert!(!SelectorCheck::new(&[any_v6()], &[any_v6()]).allows(&packet));
    assert!(!SelectorCheck::new(&[], &[us]).allows(&packet));
    assert!(!SelectorCheck::new(&[any_v4()], &[any_v4()]).allows(&v6(TCP, &PORTS)));
    assert!(SelectorCheck::new(&[any_v6()], &[host(ip("2001::7"))]).allows(&v6(TCP, &PORTS)));
    assert!(!SelectorCheck::new(&[any_v6()], &[host(ip("2001::8"))]).allows(&v6(TCP, &PORTS)));
}

#[test]
fn everything_to_everything_is_not_even_looked_at() {
    let all = [any_v4(), any_v6()];
    assert!(SelectorCheck::new(&all, &all).allows(&[]));
    assert!(!SelectorCheck::new(&all, &all[..1]).allows(&[]));
}

/// A check of packets of one protocol from and to these ports.
fn check(protocol: u8, from: (u16, u16), to: (u16, u16)) -> SelectorCheck {
    let side = |ports| [any_v4(), any_v6()].map(|any| TrafficSelector { protocol, ports, ..any });
    SelectorCheck::new(&side(from), &side(to))
}

#[test]
fn protocol_and_ports_are_found_in_both_families() {
    let fragment = [TCP, 0, 0, 1, 0, 0, 0, 9];
    let options = [FRAGMENT, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let authentication = [HOP_BY_HOP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let chain =
        [&authentication[..], &[DESTINATION_OPTIONS, 0, 0, 0, 0, 0, 0, 0], &options, &fragment, &PORTS].concat();
    for packet in [v4(TCP, 0x4000, &PORTS), v6(TCP, &PORTS), v6(AUTHENTICATION_HEADER, &chain)] {
        assert!(check(TCP, (0x50, 0x50), (0x1234, 0x1234)).allows(&packet));
        assert!(check(TCP, (0x50, 0x50), ANY_PORTS).allows(&packet));
        assert!(check(0, (0x50, 0x50), ANY_PORTS).allows(&packet));
        assert!(!check(UDP, ANY_PORTS, ANY_PORTS).allows(&packet));
        assert!(!check(TCP, (0x51, 0x60), ANY_PORTS).allows(&packet));
        assert!(!check(TCP, ANY_PORTS, (0, 0x1233)).allows(&packet));
        assert!(!check(TCP, OPAQUE_PORTS, ANY_PORTS).allows(&packet));
    }
}

#[test]
fn later_fragments_and_protocols_without_ports_match_only_any_and_opaque() {
    let later = [TCP, 0, 0, 8, 0, 0, 0, 9];
    for packet in [v4(TCP, 1, &PORTS), v6(FRAGMENT, &[later, PORTS].concat()), v4(TCP, 0, &PORTS[..1]), v4(TCP, 0, &[])]
    {
        assert!(check(TCP, ANY_PORTS, OPAQUE_PORTS).allows(&packet));
        assert!(!check(TCP, (0, 0xfffe), ANY_PORTS).allows(&packet));
    }
    assert!(check(50, OPAQUE_PORTS, ANY_PORTS).allows(&v4(50, 0, &PORTS)));
    assert!(!check(50, (0x50, 0x50), ANY_PORTS).allows(&v4(50, 0, &PORTS)));
}

#[test]
fn types_of_icmp_and_mobility_are_looked_up_in_the_peers_selectors_alone() {
    let echo_request = (0x0800, 0x0800);
    for packet in [v4(ICMP, 0, &[8, 0, 1, 2]), v6(ICMPV6, &[8, 0, 1, 2])] {
        let protocol = if packet[0] == 0x45 { ICMP } else { ICMPV6 };
        assert!(check(protocol, echo_request, echo_request).allows(&packet));
        assert!(check(protocol, echo_request, OPAQUE_PORTS).allows(&packet));
        assert!(!check(protocol, OPAQUE_PORTS, echo_request).allows(&packet));
        assert!(!check(protocol, (0, 0), ANY_PORTS).allows(&packet));
    }
    let binding_update = v6(MOBILITY_HEADER, &[59, 1, 5, 0, 0, 0, 0, 0]);
    assert!(check(MOBILITY_HEADER, (0x0500, 0x0500), ANY_PORTS).allows(&binding_update));
    assert!(!check(MOBILITY_HEADER, (0x0600, 0x0600), ANY_PORTS).allows(&binding_update));
}

#[test]
fn headers_that_lead_nowhere_are_refused_where_the_protocol_matters() {
    let check = check(TCP, ANY_PORTS, ANY_PORTS);
    let endless = [[HOP_BY_HOP, 0, 0, 0, 0, 0, 0, 0]; 9].concat();
    for packet in [v6(HOP_BY_HOP, &endless), v6(HOP_BY_HOP, &[TCP, 9, 0, 0, 0, 0, 0, 0]), v6(HOP_BY_HOP, &[])] {
        assert!(!check.allows(&packet));
        assert!(SelectorCheck::new(&[any_v6()], &[any_v6()]).allows(&packet));
    }
    let mut long_header = v4(TCP, 0, &PORTS);
    long_header[0] = 0x4f;
    assert!(!check.allows(&long_header));
}

#[test]
fn packets_of_ours_are_looked_at_only_where_that_tells_something() {
    let looked_at = |local: &[_], remote: &[_]| SelectorCheck::outbound(local, remote).is_some();
    let (us, net) = (host(ip("10.0.0.7")), range("192.0.2.0", "192.0.2.255"));
    for local in [&[us][..], &[any_v4()], &[range("10.0.0.0", "10.0.0.255")]] {
        assert!(!looked_at(local, &[any_v4()]));
        assert!(looked_at(local, &[net]));
        assert!(looked_at(local, &[TrafficSelector { protocol: TCP, ..any_v4() }]));
        assert!(looked_at(local, &[any_v6()]));
    }
    assert!(!looked_at(&[us, host(ip("2001::7"))], &[any_v4(), any_v6()]));
    assert!(looked_at(&[us, host(ip("2001::7"))], &[any_v4()]));
}
