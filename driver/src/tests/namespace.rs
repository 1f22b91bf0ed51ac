//! A network namespace of a test's own: with a TUN device it needs no root where users may have namespaces of their own.

use std::{env, future::Future, process::Command};

/// Set inside the namespace.
const INSIDE: &str = "ADIT_TEST_IN_NAMESPACE";

/// Runs this test again in a namespace, and there what it is about. `name` is the test's own, with its modules.
pub(super) fn in_namespace(name: &str, test: impl Future<Output = ()>) {
    if env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test);
        return;
    }
    let namespace = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--net", "sh", "-c", command]);
        unshare
    };
    let probe = namespace("ip link set lo up && ip tuntap add dev probe mode tun").output().unwrap();
    let why = String::from_utf8_lossy(&probe.stderr);
    assert!(probe.status.success(), "this test needs a network namespace with a TUN device: run it as root: {why}");
    let output = namespace("ip link set lo up && exec \"$0\" --exact \"$1\" --nocapture")
        .arg(env::current_exe().unwrap())
        .arg(name)
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&output.stderr));
}
