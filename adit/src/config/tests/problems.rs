//! Everything that is wrong is found at once.

use super::Workplace;

const PSK: &str = "protocol = \"ikev2\"\nremotes = [\"a.example\"]\npsk = { file = \"psk.txt\" }\nremote_id = \"a\"\n";

#[test]
fn everything_wrong_with_a_file_is_said_at_once_in_its_order() {
    let place = Workplace::new();
    let said = place.complaints(
        r#"[admin]
listn = "127.0.0.1:9002"
[connection.a]
protocol = "ikev2"
remotes = ["a b", "a.example"]
ca = ["ca.pem", "nofile.pem", "psk.txt"]
usr = "alice"
password = "hunter2"
remote_ts = ["10/8"]
mtu = 5
[[connection.a.forward]]
listen = "vpn:80"
to = "host"
transport = "sctp"
[[connection.a.forward]]
listen = 70000
gateway = "x"
[connection.b]
protocol = "openvpn"
profile = "nofile.ovpn"
probe = { interval_ms = 5 }
[connections.c]
"#,
    );
    let expected = [
        "error: adit.toml line 2: unknown key `admin.listn`; hint: did you mean `listen`?",
        "error: adit.toml line 5: `a b` is no gateway; hint: write HOST",
        "error: adit.toml line 6: cannot read nofile.pem: No such file",
        "error: adit.toml line 6: psk.txt: there is no certificate in it",
        "error: adit.toml line 7: unknown key `usr`; hint: did you mean `user`?",
        "error: adit.toml line 8: `password`: a secret does not stand in this file; hint: write `{ file",
        "error: adit.toml line 9: `10/8` is no network; hint: ",
        "error: adit.toml line 10: `mtu` has to be a whole number from 576 to 65535; hint: ",
        "error: adit.toml line 12: `vpn:80` is no address to listen on; hint: write PORT",
        "error: adit.toml line 13: `host` is nothing to connect to; hint: write HOST:PORT",
        "error: adit.toml line 14: `forward.transport` has to be one of `tcp`, `udp`; hint: ",
        "error: adit.toml line 15: `to` is missing; hint: add `to = ",
        "error: adit.toml line 16: `forward.listen` has to be a whole number from 0 to 65535; hint: ",
        "error: adit.toml line 21: `probe.interval_ms` has to be",
        "error: adit.toml line 22: unknown table `connections`; hint: did you mean [connection.NAME]?",
        "error: adit.toml line 20: cannot read nofile.ovpn, the `profile`: No such file",
    ];
    for expected in expected {
        assert!(said.iter().any(|said| said.starts_with(expected)), "{expected}\n{said:#?}");
    }
    assert!(!said.concat().contains("hunter2"), "{said:#?}");
    let places: Vec<usize> = said
        .iter()
        .filter_map(|said| said.split_once(" line ")?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .collect();
    assert!(places.is_sorted() && places.len() >= expected.len(), "{said:#?}");
}

#[test]
fn broken_syntax_is_said_together_with_what_can_be_understood_all_the_same() {
    let place = Workplace::new();
    let said = place.complaints(
        "[connection.a]\nprotocol = \"ikev2\"\nusr = \"x\"\nremotes = [\"a\"\npsk = = 1\n[connection.b]\nx y\n",
    );
    assert!(said.len() >= 3 && said.iter().any(|said| said.contains("line 3: unknown key `usr`")), "{said:#?}");
    assert!(!said.iter().any(|said| said.contains("has no `")), "nothing is called missing: {said:#?}");
}

#[test]
fn a_column_is_counted_in_letters() {
    let place = Workplace::new();
    let path = place.file("adit.toml", format!("[connection.a]\n{PSK}description = \"über\"; mtu = 1"));
    let mut problems = crate::config::Problems::default();
    crate::config::assemble::described(&path, None, &mut problems);
    let said = problems.sorted()[0].to_string();
    assert!(said.contains("line 6 column 21: "), "{said}");
}

#[test]
fn what_two_connections_listen_on_is_different() {
    let place = Workplace::new();
    let other = PSK.replace("a.example", "b.example");
    for (first, second, taken) in [
        ("listen = \"127.0.0.1:80\"", "listen = \"127.0.0.1:80\"", Some("127.0.0.1:80/tcp")),
        ("listen = \"0.0.0.0:80\"", "listen = \"127.0.0.1:80\"", Some("127.0.0.1:80/tcp")),
        ("listen = \"127.0.0.1:80\"", "listen = \"[::]:80\"", Some("[::]:80/tcp")),
        ("listen = \"unix:/run/x\"", "listen = \"unix:/run/x\"", Some("/run/x")),
        ("listen = \"127.0.0.1:9002\"", "listen = 1", Some("127.0.0.1:9002/tcp")),
        ("listen = \"127.0.0.1:80\"", "listen = \"127.0.0.2:80\"", None),
        ("listen = \"127.0.0.1:80\"", "listen = \"127.0.0.1:80\"\ntransport = \"udp\"", None),
        ("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:0\"", None),
    ] {
        let said = place.complaints(&format!(
            "[admin]\nlisten = \"127.0.0.1:9002\"\n[connection.a]\n{PSK}[[connection.a.forward]]\n{first}\nto = \"h:1\"\n\
            [connection.b]\n{other}[[connection.b.forward]]\n{second}\nto = \"h:1\"\n"
        ));
        match taken {
            Some(taken) => {
                let problem = format!("{taken} is taken already: adit.toml line ");
                assert!(said.len() == 1 && said[0].contains(&problem), "{first} {second}: {said:#?}");
            }
            None => assert!(said.is_empty(), "{first} {second}: {said:#?}"),
        }
    }
}

#[test]
fn two_devices_have_names_of_their_own_and_do_not_both_take_everything() {
    let place = Workplace::new();
    let other = PSK.replace("a.example", "b.example");
    for (first, second, problem) in [
        ("device = \"a0\"", "device = \"b0\"", None),
        ("device = \"a0\"", "device = \"a0\"", Some("the device `a0` is taken already: ")),
        ("device = \"a0\"", "device = \"a0\"\nnetns = \"x\"", Some("the device `a0` is taken already: ")),
        ("device = \"a0\"", "mtu = 1300", Some("this one has no name; hint: ")),
        (
            "device = \"a0\"\nrouting = \"full\"",
            "device = \"b0\"\nrouting = \"full\"",
            Some("everything goes through another tunnel already: "),
        ),
        ("device = \"a0\"\nrouting = \"full\"", "device = \"b0\"\nrouting = \"full\"\nnetns = \"x\"", None),
    ] {
        let said = place.complaints(&format!(
            "[connection.a]\n{PSK}[connection.a.tun]\n{first}\n[connection.b]\n{other}[connection.b.tun]\n{second}\n"
        ));
        match problem {
            Some(problem) => assert!(said.len() == 1 && said[0].contains(problem), "{first} {second}: {said:#?}"),
            None => assert!(said.is_empty(), "{first} {second}: {said:#?}"),
        }
    }
}

#[test]
fn what_does_not_fit_together_is_said() {
    let place = Workplace::new();
    let gateways = "[[connection.office.gateway]]\nname = \"a\"\n";
    for (lines, said) in [
        (
            "forward = [{ listen = 1, to = \"h:1\", gateway = \"x\" }]",
            "there is no gateway `x` in this connection; hint: add `name",
        ),
        ("probe = { interval_ms = 500 }", "this probe names nothing to be reached; hint: add `tcp"),
        ("probe = { tcp = \"h:1\", gateway = true }", "a probe has one target; hint: "),
        ("probe = { icmp = \"host\" }", "`host` is no address; hint: "),
        ("while_down = \"refuse\"\nwait_seconds = 3", "nothing waits where `while_down = \"refuse\"`; hint: "),
        (
            "forward = [{ listen = 1, to = \"h:1\", transport = \"udp\", proxy_protocol = true }]",
            "the PROXY protocol is for TCP alone",
        ),
        ("forward = [{ listen = 1, to = \"h:1\", mode = \"0600\" }]", "only a unix socket has a mode"),
        ("forward = [{ listen = \"unix:run/x\", to = \"h:1\" }]", "a unix socket has an absolute path"),
        ("forward = { listen = 1, to = \"h:0\" }", "`h:0` is nothing to connect to"),
        ("socks = { listen = 1, user = \"x\" }", "this user has no password; hint: "),
        ("socks = { listen = 1, password = \"file:password.txt\" }", "this password has no user; hint: "),
        (
            "reverse = [{ port = 1, to = \"h:1\" }, { port = 1, to = \"h:2\" }]",
            "this port of the tunnel is taken already: ",
        ),
        (
            "reverse = { port = 53, to = \"unix:/run/dns\", transport = \"udp\" }",
            "`unix:/run/dns` takes no datagrams; hint: name a host",
        ),
        (
            "forward = [{ listen = 1, to = \"h:1\", name = \"x\" }, { listen = 2, to = \"h:1\", name = \"x\" }]",
            "there is a forward `x` already: ",
        ),
        (
            "forward = [{ listen = 0, to = \"h:1\" }, { listen = 0, to = \"h:1\" }]",
            "there is a forward `127.0.0.1:0` already: ",
        ),
        ("policy = \"random\"", "`policy` has to be one of `priority`, `round-robin`, `lowest-latency`"),
        ("liveness = \"slow\"", "`liveness` has to be one of `normal`, `fast`"),
        ("liveness = 3", "`liveness` has to be one of `normal`, `fast`, or a table; hint: "),
        ("fail_back_seconds = \"no\"", "`fail_back_seconds` has to be one of `never`"),
        ("gateway = \"vpn.example\"", "`gateway` has to be a list of tables; hint: write [[connection.NAME.gateway]]"),
        ("tun = { device = \"this-name-is-too-long\" }", "is no name of a device; hint: "),
        ("tun = { routing = [\"x\"] }", "`x` is no network; hint: "),
        ("psk = { credential = \"../x\" }\nmtu = 1400", "duplicate key"),
    ] {
        let said_of_it = place.complaints(&format!("[connection.office]\n{PSK}{lines}\n"));
        assert!(said_of_it.len() == 1, "{lines}: {said_of_it:#?}");
        let found = said_of_it[0].starts_with("error: adit.toml line ") && said_of_it[0].contains(said);
        assert!(found, "{lines}\n{said}\n{said_of_it:#?}");
    }
    let twice = place.complaints(&format!("[connection.office]\n{PSK}{gateways}{gateways}"));
    assert!(twice.len() == 1 && twice[0].contains("there is a gateway `a` already: adit.toml line 6"), "{twice:#?}");
    let pinned = place.complaints(&format!(
        "[connection.office]\n{PSK}{gateways}[[connection.office.forward]]\nlisten = 1\nto = \"h:1\"\ngateway = \"b\"\n"
    ));
    assert!(pinned[0].ends_with("there is no gateway `b` in this connection; hint: choose one of `a`"), "{pinned:#?}");
    let nowhere = place.complaints("[connection.office]\n[[connection.office.gateway]]\nremotes = [\"a\"]\n");
    assert!(
        nowhere.len() == 1 && nowhere[0].contains("this gateway has no `protocol`, and its connection neither"),
        "{nowhere:#?}"
    );
}

#[test]
fn what_is_probably_not_meant_is_a_warning_and_no_obstacle() {
    let place = Workplace::new();
    for (lines, said) in [
        ("standby = \"hot\"", "a hot standby takes a second gateway, and there is one; hint: "),
        (
            "socks = { listen = \"0.0.0.0:1080\" }",
            "everybody who reaches this proxy reaches everything behind the gateway; hint: ",
        ),
    ] {
        let text = format!("[connection.office]\n{PSK}{lines}\n");
        let said_of_it = place.complaints(&text);
        assert!(
            said_of_it.len() == 1 && said_of_it[0].starts_with("warning: ") && said_of_it[0].contains(said),
            "{said_of_it:#?}"
        );
        place.plan(&text);
    }
}

#[cfg(unix)]
#[test]
fn a_secret_that_everybody_can_read_is_warned_about() {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};
    let place = Workplace::new();
    let text = format!("[connection.office]\n{PSK}");
    std::fs::set_permissions(place.0.join("psk.txt"), Permissions::from_mode(0o644)).unwrap();
    let said = place.complaints(&text);
    assert_eq!(
        said,
        [
            "warning: adit.toml line 4: every user of this machine can read psk.txt; hint: `chmod 600 psk.txt`; in Kubernetes, `defaultMode: 0400`"
        ]
    );
    std::fs::set_permissions(place.0.join("psk.txt"), Permissions::from_mode(0o640)).unwrap();
    assert!(place.complaints(&text).is_empty());
}

#[test]
fn certificates_that_have_ended_or_belong_to_another_key_are_found() {
    let place = Workplace::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["old.example".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    place.file("old.pem", params.self_signed(&key).unwrap().pem());
    let common = "[connection.office]\nprotocol = \"ikev2\"\nremotes = [\"a\"]\n";
    let said = place
        .complaints(&format!("{common}ca = [\"old.pem\"]\nuser = \"u\"\npassword = {{ file = \"password.txt\" }}\n"));
    assert!(said.len() == 1 && said[0].starts_with("warning: adit.toml line 4: the certificate of"), "{said:#?}");
    assert!(said[0].contains("has expired: Jan  1 00:00:00 2002"), "{said:#?}");
    place.file("stranger.key", key.serialize_pem());
    for auth in ["auth = \"certificate\"", "eap = [\"tls\"]"] {
        let said = place.complaints(&format!(
            "{common}ca = [\"ca.pem\"]\n{auth}\ncertificate = \"client.pem\"\nkey = \"stranger.key\"\n"
        ));
        assert!(said.len() == 1 && said[0].contains("the private key does not belong to the certificate"), "{said:#?}");
    }
}

#[test]
fn every_refusal_of_a_profile_is_said() {
    let place = Workplace::new();
    place.file("b.ovpn", "client\ndev tap\nremote vpn.example 1194 udp\nsecret static.key\nca nofile.pem\n");
    let said = place.complaints("[connection.a]\nprotocol = \"openvpn\"\nprofile = \"b.ovpn\"\n");
    assert!(said.len() >= 3 && said.iter().all(|said| said.starts_with("error: profile b.ovpn: ")), "{said:#?}");
    let said = said.join("\n");
    assert!(["`dev`", "`secret`", "nofile.pem"].iter().all(|what| said.contains(what)), "{said}");
}

#[test]
fn connections_that_would_end_each_others_tunnels_are_warned_about() {
    let place = Workplace::new();
    let eap = "ca = [\"ca.pem\"]\nuser = \"alice\"\npassword = { file = \"password.txt\" }";
    let certificate = "ca = [\"ca.pem\"]\ncertificate = \"client.pem\"\nkey = \"client.key\"";
    let psk = "psk = { file = \"psk.txt\" }\nremote_id = \"x\"";
    let (off, on) = ("initial_contact = false", "initial_contact = true");
    for (first, first_more, second, second_more, expected) in [
        (
            "vpn.example",
            eap,
            "VPN.example.",
            eap,
            Some(("the same to VPN.example.:500, the user `alice`: ", "in both of them")),
        ),
        ("vpn.example", eap, "vpn.example:500", eap, Some(("each ends the tunnel of the other", "in both of them"))),
        ("2001:db8::1", certificate, "[2001:DB8:0::1]", certificate, Some(("the holder of ", "in both of them"))),
        ("vpn.example", psk, "vpn.example", psk, Some(("the address of this machine", "in both of them"))),
        ("vpn.example", eap, "vpn.example:4501", eap, None),
        ("vpn.example", eap, "vpn2.example", eap, None),
        ("vpn.example", eap, "vpn.example", certificate, None),
        ("vpn.example", psk, "vpn.example", &psk.replace("\"x\"", "\"y\""), None),
        ("vpn.example", psk, "vpn.example", &format!("{psk}\nlocal_id = \"b\""), None),
        ("vpn.example", eap, "vpn.example", &eap.replace("alice", "bob"), None),
        (
            "vpn.example",
            &format!("{psk}\nlocal_id = \"b\""),
            "vpn.example",
            &format!("{psk}\nlocal_id = \"b\""),
            Some((":500, `b`: ", "in both of them")),
        ),
        ("vpn.example", &format!("{eap}\n{off}"), "vpn.example", &format!("{eap}\n{off}"), None),
        (
            "vpn.example",
            &format!("{eap}\n{on}"),
            "vpn.example",
            &format!("{eap}\n{off}"),
            Some(("`a` ends the tunnel of `b` when it connects", "in `a`")),
        ),
        (
            "vpn.example",
            &format!("{eap}\n{off}"),
            "vpn.example",
            eap,
            Some(("`b` ends the tunnel of `a` when it connects", "in `b`")),
        ),
    ] {
        let connection = |name: &str, host: &str, more: &str| {
            format!("[connection.{name}]\nprotocol = \"ikev2\"\nremotes = [\"{host}\"]\n{more}\n")
        };
        let before = connection("a", first, first_more);
        let text = before.clone() + &connection("b", second, second_more);
        let checked = crate::config::check(&place.file("adit.toml", &text), None);
        let said = checked.complaints().replace(&place.path(""), "");
        let Some((what, cure)) = expected else {
            assert!(said.is_empty(), "{text}\n{said}");
            continue;
        };
        let line = before.lines().count() + 3;
        let begins = format!(
            "warning: adit.toml line {line} column 12: connection `b` and connection `a` (adit.toml line 3 column 12) are the same to "
        );
        assert!(checked.is_fine() && said.lines().count() == 1 && said.starts_with(&begins), "{begins}\n{said}");
        assert!(said.contains(what) && said.contains(&format!("`initial_contact = false` {cure};")), "{what}\n{said}");
        let warnings = &checked.json()["warnings"];
        assert_eq!(
            (&warnings[0]["line"], &warnings[0]["key"]),
            (&line.into(), &"connection.b.remotes[0]".into()),
            "{warnings:#}"
        );
        // What is not run is in nobody's way.
        assert!(crate::config::check(&place.file("adit.toml", &text), Some("a")).complaints().is_empty());
        assert_eq!(place.complaints(&text).len(), 1, "`adit run` says it too");
    }
}

#[test]
fn gateways_of_one_connection_that_share_an_identity_end_no_tunnel_of_another_by_default() {
    let place = Workplace::new();
    let psk = "protocol = \"ikev2\"\npsk = { file = \"psk.txt\" }\nremote_id = \"x\"\n";
    let two = |name: &str| {
        format!(
            "[connection.{name}]\n{psk}[[connection.{name}.gateway]]\nname = \"1\"\nremotes = [\"1.example\"]\n\
             [[connection.{name}.gateway]]\nname = \"2\"\nremotes = [\"2.example\"]\n"
        )
    };
    let alone = format!("[connection.c]\n{psk}remotes = [\"2.example\"]\n");
    assert!(place.complaints(&(two("a") + &two("b"))).is_empty(), "all of them have it off already");
    let said = place.complaints(&(two("a") + &two("b") + &alone));
    assert!(said.len() == 1 && said[0].contains("`c` ends the tunnel of `a` when it connects"), "{said:#?}");
}

#[test]
fn what_is_meant_is_proposed_and_nothing_twice() {
    let place = Workplace::new();
    let gateways = "[[connection.office.gateway]]\nname = \"zurich\"\n".repeat(2);
    let pinned = |name: &str| {
        let forward = format!("[[connection.office.forward]]\nlisten = 1\nto = \"h:1\"\ngateway = \"{name}\"\n");
        place.complaints(&format!("[connection.office]\n{PSK}{gateways}{forward}")).join("\n")
    };
    for name in ["other", "zurihc"] {
        let said = pinned(name);
        assert!(said.ends_with("hint: choose one of `zurich`"), "{said}");
    }
    // Which protocol this gateway is of, and which keys it has, is not said.
    let vague = place.complaints("[connection.office]\n[[connection.office.gateway]]\nfrobnicate = 1\n").join("\n");
    let names = vague.split_once("hint: there are ").unwrap().1.split(" and others").next().unwrap();
    let mut different: Vec<_> = names.split(", ").collect();
    let all = different.len();
    different.sort_unstable();
    different.dedup();
    assert_eq!((all, different.len()), (10, 10), "{names}");
    let text = "[connection.office]\nprotocol = \"ikev2\"\nremotes = [\"a\"]\nremote_id = \"a\"\n[connection.office.psk]\nflie = \"psk.txt\"\n";
    assert_eq!(
        place.complaints(text),
        ["error: adit.toml line 6: unknown key `psk.flie`; hint: did you mean `file`?"],
        "in the line of the key, and nothing is missing"
    );
}

#[test]
fn what_makes_no_configuration_of_a_profile_is_said_at_once_before_anybody_is_asked() {
    let place = Workplace::new();
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    place.file("stranger.key", key);
    place.file(
        "b.ovpn",
        "client\nremote vpn.example\ntls-version-min 1.3\ntls-version-max 1.2\nca ca.pem\ncert client.pem\nkey stranger.key\nauth-user-pass\n",
    );
    let said = place.complaints(
        "[connection.a]\nprotocol = \"openvpn\"\nprofile = \"b.ovpn\"\npassword = { file = \"nofile.txt\" }\n",
    );
    for expected in [
        "error: profile b.ovpn: line 3: `tls-version-min` is above `tls-version-max`",
        "error: profile b.ovpn: line 7: `key` does not belong to `cert`",
        "error: adit.toml line 4: cannot read nofile.txt",
    ] {
        assert!(said.iter().any(|said| said.starts_with(expected)), "{expected}\n{said:#?}");
    }
    assert_eq!(said.len(), 3, "{said:#?}");
}
