//! Other devices of ours that want the same: which of them the kernel takes is for nobody to rely on.

use std::path::Path;

use adit_tunnel::IpNet;

use super::{
    journal::{self, Leftover, Undo},
    namespace::NetId,
    plan::{Change, Target},
};

/// What is amiss beside other devices of this namespace, if this is done, in words. `lives` is whether there is such a device.
pub(super) fn told(
    change: &Change,
    device: &str,
    folder: &Path,
    id: Option<NetId>,
    lives: impl Fn(&str) -> bool,
) -> Option<String> {
    let others = journal::all(folder).into_iter().filter(|(other, left)| other != device && left.id == id);
    // Those of a process that died have no device.
    others.filter(|(other, _)| lives(other)).find_map(|(other, left)| conflict(change, &other, &left))
}

fn conflict(change: &Change, other: &str, left: &Leftover) -> Option<String> {
    let done = left.undo.iter().filter_map(|(_, undo)| match undo {
        Undo::Remove(change) => Some(change),
        Undo::Dns(_) => None,
    });
    done.filter_map(|theirs| between(change, theirs, other)).next()
}

fn between(ours: &Change, theirs: &Change, other: &str) -> Option<String> {
    match (ours, theirs) {
        (Change::Address(ours), Change::Address(theirs)) if ours.0.address() == theirs.0.address() => Some(format!(
            "{other} has the address {} as well: one device alone carries what is sent to its network",
            ours.0.address()
        )),
        (Change::Address(ours), Change::Address(theirs)) if overlap(ours.0, theirs.0) => {
            Some(format!("{other} has the address {theirs}: one device alone carries what is sent to that network"))
        }
        (
            Change::Route { to: ours, table, target: Target::Device, .. },
            Change::Route { to: theirs, table: their_table, target: Target::Device, .. },
        ) if ours == theirs && table == their_table => {
            Some(format!("{other} has a route to {ours} as well: what is sent there goes through {other}"))
        }
        (Change::RuleUnmarked { v6, .. }, Change::RuleUnmarked { v6: theirs, .. }) if v6 == theirs => {
            let family = if *v6 { "IPv6" } else { "IPv4" };
            Some(format!("{other} is a full tunnel as well: all {family} goes through {other} until that has ended"))
        }
        _ => None,
    }
}

fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(other.address()) || other.contains(one.address())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::{Net, plan::Change::Address};

    fn net(text: &str) -> Net {
        text.parse().unwrap()
    }

    fn route(to: &str, table: u32, target: Target) -> Change {
        Change::Route { to: net(to), table, target, metric: 0 }
    }

    fn rule(v6: bool) -> Change {
        Change::RuleUnmarked { v6, mark: 1, table: 7, priority: 5201 }
    }

    #[test]
    fn what_two_devices_want_of_the_same_is_said_with_the_other_device() {
        for (ours, theirs, said) in [
            (Address(net("10.8.0.2/24")), Address(net("10.8.0.2/32")), Some("the address 10.8.0.2 as well")),
            (Address(net("10.8.0.3/24")), Address(net("10.8.0.2/24")), Some("the address 10.8.0.2/24")),
            (Address(net("10.8.1.3/24")), Address(net("10.8.0.2/24")), None),
            (Address(net("fd00::3/64")), Address(net("10.8.0.2/24")), None),
            (
                route("10.0.0.0/8", 254, Target::Device),
                route("10.0.0.0/8", 254, Target::Device),
                Some("a route to 10.0.0.0/8"),
            ),
            // The longer one is meant to win.
            (route("10.1.0.0/16", 254, Target::Device), route("10.0.0.0/8", 254, Target::Device), None),
            (route("0.0.0.0/0", 7, Target::Device), route("0.0.0.0/0", 8, Target::Device), None),
            (route("10.0.0.0/8", 254, Target::Unreachable), route("10.0.0.0/8", 254, Target::Device), None),
            (rule(false), rule(false), Some("all IPv4 goes through other0")),
            (rule(true), rule(false), None),
        ] {
            let told = between(&ours, &theirs, "other0");
            match (said, &told) {
                (Some(said), Some(told)) => assert!(told.contains("other0") && told.contains(said), "{told}"),
                (said, told) => assert_eq!((said, told.as_deref()), (None, None), "{ours} beside {theirs}"),
            }
        }
    }
}
