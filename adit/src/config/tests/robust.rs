//! Whatever a file holds, it is understood or refused.

use proptest::prelude::*;

use super::Workplace;
use crate::config::{Import, Problems, Questions, assemble};

/// What files are made from.
const PIECES: &[&str] = &[
    "[connection.a]\n",
    "[[connection.a.gateway]]\n",
    "[[connection.a.forward]]\n",
    "[connection.a.tun]\n",
    "[connection]\n",
    "[[connection]]\n",
    "[admin]\n",
    "[limits]\n",
    "[activity]\n",
    "[control]\n",
    "connection = 1\n",
    "protocol = \"ikev2\"\n",
    "protocol = \"openvpn\"\n",
    "protocol = 1\n",
    "remotes = [\"a\", 1]\n",
    "remotes = \"a\"\n",
    "psk = \"file:psk.txt\"\n",
    "psk = { file = 1 }\n",
    "psk = \"x\"\n",
    "gateway = [{}, 1]\n",
    "gateway = { name = \"\" }\n",
    "forward = [{ listen = -1 }]\n",
    "listen = \"[::]:0\"\n",
    "listen = 70000\n",
    "to = \"h:1\"\n",
    "probe = { tcp = \"h:1\" }\n",
    "probe = []\n",
    "liveness = { idle_ms = 100 }\n",
    "liveness = \"fast\"\n",
    "fail_back_seconds = \"never\"\n",
    "socks = { listen = 1 }\n",
    "reverse = { port = 1, to = \"unix:/x\" }\n",
    "routing = [1]\n",
    "mtu = 0x7fff_ffff_ffff_ffff\n",
    "a.b.c = 1\n",
    "\"\" = 1\n",
    "=",
    "\"",
    "'''",
    "[",
    "]",
    "{",
    "}",
    "\n",
    "#",
    "\\",
    "\u{0}",
    "ü",
    "1979-05-27",
    "nan",
];

fn files() -> impl Strategy<Value = Vec<u8>> {
    let pieces =
        prop::collection::vec(prop::sample::select(PIECES), 0..24).prop_map(|pieces| pieces.concat().into_bytes());
    prop_oneof![pieces, prop::collection::vec(any::<u8>(), 0..256), ".{0,200}".prop_map(String::into_bytes)]
}

fn others() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(
        &[
            "connections {\n",
            "a : b, c {\n",
            "local { auth = psk\n }\n",
            "include x*\n",
            "conn a\n",
            "conn %default\n",
            "config setup\n",
            " also=a\n",
            " right=h\n",
            " left=%any\n",
            "secrets {\n",
            "ike-1 { secret = 0x\n }\n",
            "}\n",
            "\"",
            "=",
            ":",
            "{",
            "\\",
            "#",
            "\n",
            " rightauth=eap\n",
            "remote_addrs = a\n",
            "children { x { remote_ts = 10.0.0.0/8\n } }\n",
            "ca x\n",
            "é",
            "@#",
        ][..],
    );
    let pieces = prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat().into_bytes());
    prop_oneof![pieces, prop::collection::vec(any::<u8>(), 0..256)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_file_is_a_plan_or_has_problems(bytes in files()) {
        let place = Workplace::new();
        let path = place.file("adit.toml", &bytes);
        let mut problems = Problems::default();
        let plan = assemble::plan(&path, &[], &Questions::noted(), &mut |_| (), &mut problems);
        prop_assert!(plan.is_some() == (problems.errors() == 0));
        for problem in problems.sorted() {
            prop_assert!(!problem.to_string().contains('\n'));
        }
    }

    #[test]
    fn every_file_is_imported_or_has_problems(bytes in others()) {
        let place = Workplace::new();
        for name in ["swanctl.conf", "ipsec.conf", "x.sswan"] {
            let path = place.file(name, &bytes);
            match Import::read(&path, None) {
                Ok(import) => prop_assert!(!import.text(None).is_empty()),
                Err(problems) => prop_assert!(problems.errors() > 0),
            }
        }
    }
}
