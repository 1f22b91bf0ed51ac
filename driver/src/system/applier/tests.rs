//! What is written down, undone and said, without rights.

use super::*;
use crate::system::{
    DnsSettings, Net, blocked,
    dns::DnsUndo,
    journal::path,
    namespace::NetId,
    recover,
    resolv_conf::{self, ResolvConf},
};

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("adit-applier-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn options(folder: &Path, owner: &str) -> SystemOptions {
    let namespace = Arc::new(Namespace::open(None).unwrap());
    let (state_dir, owner) = (folder.to_owned(), owner.to_owned());
    SystemOptions { state_dir, namespace, dns: false, dns_method: None, hold: true, owner, spare: true }
}

/// Without a device: index 0 is none.
fn system(folder: &Path) -> System {
    let options = options(folder, "office");
    let (mut journal, _) = Journal::open(folder, "vpn0").unwrap();
    journal.begin("vpn0", (None, None), "office", &[]).unwrap();
    let (netlink, device) = (Netlink::open().unwrap(), "vpn0".to_owned());
    let (applied, prepared, stuck, names) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (index, resolver, warned) = (0, None, false);
    System { device, index, netlink, options, resolver, journal, applied, prepared, stuck, names, warned }
}

fn dns() -> Change {
    let servers = vec!["10.0.0.1".parse().unwrap()];
    Change::Dns(DnsSettings { servers, search: Vec::new(), only: Vec::new() })
}

/// What a process has left that had put its servers in this file.
fn left_in(file: &Path) -> Undo {
    let (device, before) = ("vpn0", "nameserver 192.0.2.53\n");
    let Change::Dns(settings) = dns() else { panic!("DNS") };
    let ours = resolv_conf::text(device, &settings, before);
    Undo::Dns(DnsUndo::File { device: device.into(), path: file.to_owned(), ours, before: before.into() })
}

fn journal_text(folder: &Path) -> String {
    fs::read_to_string(path(folder, "vpn0")).unwrap()
}

#[test]
fn what_cannot_be_undone_stays_in_the_journal_and_is_tried_again() {
    let folder = folder("stuck");
    let (present, absent) = (folder.join("etc"), folder.join("absent"));
    let file = present.join("resolv.conf");
    fs::create_dir(&present).unwrap();
    fs::write(&file, "nameserver 192.0.2.53\n").unwrap();
    let mut system = system(&folder);
    let open = ResolvConf::open(&file, "vpn0", &mut |_| Ok(())).unwrap();
    system.resolver = Some(Resolver::File { file: open, device: "vpn0".to_owned() });
    system.apply(&[dns()], Vec::new()).unwrap();
    assert!(fs::read_to_string(&file).unwrap().contains("nameserver 10.0.0.1"));
    // A folder in the place of the file cannot be written.
    fs::rename(&present, &absent).unwrap();
    fs::create_dir_all(&file).unwrap();
    system.apply(&[], Vec::new()).unwrap();
    system.undo_all();
    assert!(!journal_text(&folder).contains("undone"), "{}", journal_text(&folder));
    fs::remove_dir_all(&present).unwrap();
    fs::rename(&absent, &present).unwrap();
    system.undo_all();
    assert_eq!(fs::read_to_string(&file).unwrap(), "nameserver 192.0.2.53\n");
    drop(system);
    assert!(!path(&folder, "vpn0").exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn dns_that_cannot_be_undone_is_no_obstacle_and_can_be_forgotten() {
    let folder = folder("forget");
    // A folder in the place of the file.
    let file = folder.join("resolv.conf");
    fs::create_dir(&file).unwrap();
    let (mut journal, _) = Journal::open(&folder, "vpn0").unwrap();
    journal.begin("vpn0", (Some("blue"), None), "home", &[]).unwrap();
    journal.will_do(&left_in(&folder.join("gone"))).unwrap();
    journal.will_do(&left_in(&file)).unwrap();
    drop(journal);
    for _ in 0..2 {
        let system = System::open("vpn0", options(&folder, "office")).unwrap();
        assert_eq!(system.stuck.len(), 1);
        drop(system);
        let (_, left) = Journal::open(&folder, "vpn0").unwrap();
        assert_eq!((left.undo, left.namespace), (vec![(0, left_in(&file))], None));
    }
    // Whoever asks for nothing else is told.
    let recovered = recover(&folder, "vpn0", false).unwrap();
    let [failed] = &recovered.failed[..] else { panic!("{recovered:?}") };
    let (text, shown) = (failed.to_string(), file.display());
    assert!(text.ends_with(&format!("; by hand: take the lines of vpn0 out of {shown}")), "{text}");
    assert!(text.starts_with(&format!("DNS servers in {shown} cannot be undone: ")), "{text}");
    assert!(path(&folder, "vpn0").exists());
    assert_eq!(recover(&folder, "vpn0", true).unwrap().failed.len(), 1);
    assert!(!path(&folder, "vpn0").exists());
    assert!(recover(&folder, "vpn0", false).unwrap().failed.is_empty());
    fs::remove_dir_all(folder).unwrap();
}

/// A folder with a journal of vpn0 that has a rule, noted in a namespace that is none.
fn rule_elsewhere(name: &str) -> (PathBuf, NetId) {
    let folder = folder(name);
    let id = NetId::of(&folder).unwrap();
    let (mut journal, _) = Journal::open(&folder, "vpn0").unwrap();
    journal.begin("vpn0", (None, Some(id)), "office", &[]).unwrap();
    let rule = Change::RuleSpecific { v6: false, table: 254, priority: 5200 };
    journal.will_do(&Undo::Remove(rule)).unwrap();
    (folder, id)
}

#[test]
fn what_was_set_in_a_namespace_that_is_gone_is_gone_with_it() {
    let (folder, _) = rule_elsewhere("gone");
    let (mut journal, left) = Journal::open(&folder, "vpn0").unwrap();
    let (undone, failed) = undo_leftover(&mut journal, left.undo, Ok(Found::Gone)).unwrap();
    assert_eq!((undone, failed.len()), (0, 0));
    drop(journal);
    assert_eq!(Journal::open(&folder, "vpn0").unwrap().1.undo, []);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_was_set_in_a_namespace_that_is_not_found_stays_in_the_journal() {
    let (folder, id) = rule_elsewhere("hidden");
    let (mut journal, left) = Journal::open(&folder, "vpn0").unwrap();
    assert!(!left.is_in(&Namespace::open(None).unwrap()));
    let (undone, failed) = undo_leftover(&mut journal, left.undo, Ok(Found::Hidden(id))).unwrap();
    let [(_, why)] = &failed[..] else { panic!("{undone} and {}", failed.len()) };
    let text = why.to_string();
    assert!(text.contains(&format!("in another network namespace, {id}, ")), "{text}");
    let by_hand = "; by hand: `nsenter --target PID --net ip rule del priority 5200 table 254`";
    assert!(text.ends_with(by_hand), "{text}");
    drop(journal);
    assert_eq!(Journal::open(&folder, "vpn0").unwrap().1.undo.len(), 1);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_device_of_that_name_is_said_and_leaves_nothing() {
    let folder = folder("taken");
    // There is one everywhere, which is no TUN device.
    let mut system = System::open("lo", options(&folder, "office")).unwrap();
    let error = system.make(1400).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(error.to_string(), "there is a network device of that name");
    drop(system);
    fs::remove_dir(folder).unwrap();
}

#[test]
fn links_that_demand_that_senders_are_reached_through_them_are_found() {
    let folder = folder("strict");
    let set = |link: &str, value: &str| {
        fs::create_dir_all(folder.join(link)).unwrap();
        fs::write(folder.join(link).join("rp_filter"), value).unwrap();
    };
    for (link, value) in
        [("all", "0\n"), ("default", "1\n"), ("lo", "1\n"), ("b", "1\n"), ("a", "1\n"), ("c", "2\n"), ("d", "0\n")]
    {
        set(link, value);
    }
    assert_eq!(strict(&folder), ["a", "b"]);
    set("all", "1");
    assert_eq!(strict(&folder), ["a", "b", "d"]);
    set("all", "2");
    assert_eq!(strict(&folder), [""; 0]);
    // The larger of both counts: that of the link suffices.
    set("all", "1");
    ["a", "b", "d"].iter().for_each(|link| set(link, "2"));
    assert_eq!(strict(&folder), [""; 0]);
    assert_eq!(setting("eth0"), "net.ipv4.conf.eth0.rp_filter");
    assert_eq!(setting("eth0.5"), "net/ipv4/conf/eth0.5/rp_filter");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn names_are_known_before_anything_is_blocked() {
    let folder = folder("names");
    let mut system = system(&folder);
    // There is no device that it could be of, whatever the rights.
    let address = adit_tunnel::IpNet::host([192, 0, 2, 1]);
    let fails = [Change::Address(Net(address))];
    let names = vec![("vpn.example".to_owned(), 500, vec!["192.0.2.2:500".parse().unwrap()])];
    system.apply(&fails, names).unwrap_err();
    let text = journal_text(&folder);
    let lines: Vec<_> = text.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
    assert_eq!(lines, ["of", "owner", "names", "do"]);
    drop(system);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn who_takes_any_device_leaves_what_others_have_blocked() {
    let folder = folder("spare");
    let (mut journal, _) = Journal::open(&folder, "vpn0").unwrap();
    journal.begin("vpn0", (None, None), "office", &[]).unwrap();
    let to = Net(adit_tunnel::IpNet::host([192, 0, 2, 1]));
    let blocks = Change::Route { to, table: 254, target: Target::Unreachable, metric: 1 };
    let number = journal.will_do(&Undo::Remove(blocks)).unwrap();
    drop(journal);
    let text = || journal_text(&folder);
    let before = text();
    for hold in [true, false] {
        let options = SystemOptions { hold, ..options(&folder, "home") };
        let error = System::open("vpn0", options).unwrap_err();
        assert_eq!((error.kind(), text()), (io::ErrorKind::ResourceBusy, before.clone()));
        assert!(error.to_string().contains("office"), "{error}");
    }
    assert_eq!((blocked(&folder, "office"), blocked(&folder, "home")), (vec!["vpn0".to_owned()], Vec::new()));
    // What blocks no more is anybody's.
    let (mut journal, _) = Journal::open(&folder, "vpn0").unwrap();
    journal.undone(number).unwrap();
    assert_eq!(blocked(&folder, "office"), Vec::<String>::new());
    fs::remove_dir_all(folder).unwrap();
}
