//! Giving up root: what is left is the one capability that routes and the mark of datagrams take.
//!
//! One process that keeps CAP_NET_ADMIN, and not a second one with all rights beside it: everything that needs more is open by
//! then (the device, the journal, the connection to systemd-resolved, which goes by who opened it, or `resolv.conf`), so that
//! nothing that comes from the network is ever read by root, and there is no second program to be talked into something.

use std::{fs, io};

use rustix::{
    process::{Gid, Uid},
    thread::{
        CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
        set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

use super::options::User;

/// Becomes this user, without any group but its own, any capability but CAP_NET_ADMIN, and any way to gain one.
///
/// # Errors
/// The system's; then the process must end, for it may have given up a part.
pub(super) fn give_up(user: User) -> io::Result<()> {
    // Rights are a thread's own. Those that begin later inherit these.
    let threads = fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("{threads} threads run instead of one")));
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap")?;
    let last: u32 = last.trim().parse().map_err(io::Error::other)?;
    for number in (0..=last.min(63)).filter(|number| *number != CapabilitySet::NET_ADMIN.bits().trailing_zeros()) {
        remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number))?;
    }
    set_thread_groups(&[])?;
    set_keep_capabilities(true)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    let kept = CapabilitySet::NET_ADMIN;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })?;
    set_keep_capabilities(false)?;
    set_no_new_privs(true)?;
    Ok(())
}
