//! What `adit check` says.

use super::Workplace;
use crate::config::check;

#[test]
fn a_check_asks_nothing_and_says_what_would_be_asked() {
    let place = Workplace::new();
    let path = place.file(
        "adit.toml",
        "[connection.office]\nprotocol = \"ikev2\"\nremotes = [\"vpn.example\"]\nca = [\"ca.pem\"]\nuser = \"alice\"\n\
        forward = [{ listen = 33000, to = \"192.168.100.30:8080\" }]\n\
        [connection.other]\nautostart = false\nprotocol = \"ikev2\"\nremotes = [\"vpn.example\"]\nremote_id = \"x\"\nauth = \"psk\"\n",
    );
    let checked = check(&path, None);
    assert!(checked.is_fine(), "{}", checked.complaints());
    let said = checked.to_string();
    for line in [
        "office",
        "other (not connected by itself)",
        "  gateway vpn.example: ikev2 vpn.example:500",
        "  forward 127.0.0.1:33000: 127.0.0.1:33000 -> 192.168.100.30:8080",
    ] {
        assert!(said.lines().any(|found| found == line), "{line}\n{said}");
    }
    assert!(said.contains("would ask: connection `office`: Password of alice; "), "{said}");
    assert!(said.contains("would ask: connection `other`: Pre-shared key; "), "{said}");
    let json = checked.json();
    assert_eq!(json["ok"], true);
    assert_eq!(json["questions"].as_array().unwrap().len(), 2);
    assert_eq!(json["connections"][0]["gateways"][0]["servers"][0], "vpn.example:500");
    assert_eq!(json["files"].as_array().unwrap().len(), 2);
}

#[test]
fn a_mistake_hides_no_other() {
    let place = Workplace::new();
    let path = place.file(
        "adit.toml",
        "[connection.office]\npolcy = \"priority\"\n\
        [[connection.office.gateway]]\nname = \"a\"\nprotocol = \"ikev2\"\nremotes = [\"vpn:99999\"]\n\
        [[connection.office.gateway]]\nname = \"a\"\nprotocol = \"openvpn\"\nprofile = \"nofile.ovpn\"\n\
        [[connection.office.forward]]\nlisten = 33000\nto = \"nothing\"\ngateway = \"zz\"\n\
        [connection.other]\nprotocol = \"ikev2\"\nremotes = [\"vpn.example\"]\nauth = \"certificate\"\n",
    );
    let said = check(&path, None).complaints();
    for (line, problem) in [
        (2, "unknown key `polcy`"),
        (6, "`vpn:99999` is no gateway"),
        (8, "there is a gateway `a` already"),
        (10, "nofile.ovpn, the `profile`: No such file"),
        (13, "`nothing` is nothing to connect to"),
        (14, "there is no gateway `zz` in this connection; hint: choose one of `a`"),
        (15, "our certificate is missing"),
        (15, "the authority that vouches for the gateway is missing"),
    ] {
        let found = said.lines().any(|found| found.contains(&format!(" line {line} ")) && found.contains(problem));
        assert!(found, "line {line}: {problem}\n{said}");
    }
}

#[test]
fn a_check_of_one_connection_reads_the_files_of_that_one() {
    let place = Workplace::new();
    let path = place.file(
        "adit.toml",
        "[connection.a]\nprotocol = \"ikev2\"\nremotes = [\"a\"]\nremote_id = \"x\"\npsk = { file = \"psk.txt\" }\n\
        [connection.b]\nprotocol = \"openvpn\"\nprofile = \"nofile.ovpn\"\n",
    );
    assert!(check(&path, Some("a")).is_fine() && !check(&path, Some("b")).is_fine() && !check(&path, None).is_fine());
    let unknown = check(&path, Some("c"));
    assert!(
        unknown.complaints().contains("there is no connection `c`; hint: choose one of `a`, `b`"),
        "{}",
        unknown.complaints()
    );
    let json = check(&path, None).json();
    assert_eq!(json["ok"], false);
    assert!(json["errors"][0]["message"].as_str().unwrap().contains("nofile.ovpn"), "{json}");
}

#[test]
fn profiles_are_checked_too() {
    let place = Workplace::new();
    let ca = std::fs::read_to_string(place.0.join("ca.pem")).unwrap();
    let path =
        place.file("a.ovpn", format!("client\ndev tun\nremote vpn.example 1194\nauth-user-pass\n<ca>\n{ca}</ca>\n"));
    let checked = check(&path, None);
    let said = checked.to_string();
    assert!(
        checked.is_fine() && said.contains("gateway vpn.example: openvpn vpn.example:1194"),
        "{}{said}",
        checked.complaints()
    );
    assert!(said.contains("would ask: User name; ") && said.contains("would ask: Password; "), "{said}");
    let path = place.file("a.sswan", "{ \"remote\": {} }");
    assert!(check(&path, None).complaints().contains("error: "));
    assert!(check(&path, Some("x")).complaints().contains("--connection has no use"));
    assert!(check(&place.file("a.txt", ""), None).complaints().contains("nothing is known by this extension"));
}

#[test]
fn a_user_who_is_for_another_command_is_told_of_once() {
    let place = Workplace::new();
    let path = place.file(
        "adit.toml",
        "[connection.a]\nprotocol = \"ikev2\"\nremotes = [\"a\"]\nremote_id = \"x\"\npsk = { file = \"psk.txt\" }\n\
        tun = { user = \"nobody\" }\n",
    );
    let checked = check(&path, None);
    let said = checked.complaints();
    assert!(checked.is_fine() && said.lines().count() == 1, "{said}");
    assert!(said.starts_with("warning: ") && said.contains("`user` belongs to `adit up`"), "{said}");
    let mut problems = crate::config::Problems::default();
    let questions = crate::config::Questions::noted();
    let alone = crate::config::assemble::one(&path, None, &questions, &mut |_| (), &mut problems).unwrap();
    assert_eq!(alone.tun.unwrap().user.as_deref(), Some("nobody"), "`adit up` has it");
}

#[test]
fn names_of_a_namespace_are_resolved_by_its_file_alone() {
    let place = Workplace::new();
    let check = |dns: &str| {
        let text = format!(
            "[connection.office]\nprotocol = \"ikev2\"\nremotes = [\"vpn.example\"]\nca = [\"ca.pem\"]\nuser = \"alice\"\n\
             [connection.office.tun]\nnetns = \"blue\"\ndns = \"{dns}\"\n"
        );
        check(&place.file("adit.toml", text), None)
    };
    for dns in ["auto", "file", "off"] {
        assert!(check(dns).is_fine(), "{dns}: {}", check(dns).complaints());
    }
    for dns in ["resolved", "resolvconf"] {
        let said = check(dns).complaints();
        assert!(
            said.contains(" line 8 ") && said.contains("network namespace") && said.contains("hint: say `file`"),
            "{said}"
        );
    }
}

#[test]
fn a_program_is_told_file_line_column_and_key() {
    let place = Workplace::new();
    let path = place.file(
        "a line 3.toml",
        "[connection.a]\nprotocol = \"ikev2\"\nremotes = [\"über\", \"a b\"]\npsk = { file = \"psk.txt\" }\nremote_id = \"x\"\n\
        [[connection.a.forward]]\nlisten = 1\nto = \"h:1\"\n[[connection.a.forward]]\nto = \"h:1\"\nlisten = { port = 1 }\n\
        frwrd = 1\n[connection.b]\nprotocol = \"ikev2\"\npsk = { file = \"psk.txt\" }\nremote_id = \"x\"\n",
    );
    let json = check(&path, None).json();
    let errors = json["errors"].as_array().unwrap();
    let expected = [
        (3, 20, "connection.a.remotes[1]", "`a b` is no gateway"),
        (11, 10, "connection.a.forward[1].listen", "`forward.listen` has to be"),
        (12, 1, "connection.a.forward[1].frwrd", "unknown key `forward.frwrd`"),
        (13, 1, "connection.b", "the connection `b` has no `remotes`"),
    ];
    assert_eq!(errors.len(), expected.len(), "{json:#}");
    for (error, (line, column, key, message)) in errors.iter().zip(expected) {
        assert_eq!(
            (&error["line"], &error["column"], &error["key"]),
            (&line.into(), &column.into(), &key.into()),
            "{error}"
        );
        assert_eq!(error["file"], path.display().to_string());
        assert!(error["message"].as_str().unwrap().starts_with(message) && error["hint"].is_string(), "{error}");
    }
    // What is wrong with a file as a whole has no line, and what is wrong with another file is of that file.
    let profile =
        place.file("x.ovpn", "client\ndev tun\nremote a 1194\nfrobnicate 1\nup /bin/sh\n<ca>\n</ca>\nauth-user-pass\n");
    let json = check(&profile, None).json();
    let first = &json["errors"][0];
    assert_eq!(
        (&first["file"], &first["key"]),
        (&profile.display().to_string().into(), &serde_json::Value::Null),
        "{json:#}"
    );
    assert_eq!(first["line"], 4, "{json:#}");
}

#[test]
fn what_could_be_said_in_a_file_is_named_by_its_keys_there_and_by_options_elsewhere() {
    let place = Workplace::new();
    let ca = super::read_text(&place, "ca.pem");
    let profile = format!("client\ndev tun\nremote a 1194\nremote-cert-tls server\nauth-user-pass\n<ca>\n{ca}</ca>\n");
    let profile = place.file("office.ovpn", profile);
    let toml = place.file("office.toml", "[connection.office]\nprotocol = \"openvpn\"\nprofile = \"office.ovpn\"\n");
    let (in_a_file, alone) = (check(&toml, None).to_string(), check(&profile, None).to_string());
    let keys = "connection `office`: User name; to leave nobody to be asked: add `user = \"…\"` and `password = {";
    assert!(in_a_file.contains(keys) && !in_a_file.contains("--"), "{in_a_file}");
    assert!(alone.contains("would ask: User name; ") && alone.contains("--auth-user-pass FILE"), "{alone}");
}

#[test]
fn what_is_not_there_on_this_machine_is_warned_about() {
    let place = Workplace::new();
    let path = place.file(
        "adit.toml",
        "[activity]\nfile = \"nofolder/activity.log\"\n[connection.a]\nprotocol = \"ikev2\"\nremotes = \"a\"\n\
        psk = { file = \"psk.txt\" }\nremote_id = \"x\"\ntun = { netns = \"no-such-namespace\" }\n\
        forward = { listen = \"unix:/nofolder/x.sock\", to = \"h:1\" }\n",
    );
    let checked = check(&path, None);
    let said = checked.complaints().replace(&place.path(""), "");
    for expected in [
        "warning: adit.toml line 2 column 8: there is no folder nofolder on this machine; hint: make it",
        "warning: adit.toml line 8 column 17: there is no network namespace `no-such-namespace` on this machine; hint: `ip",
        "warning: adit.toml line 9 column 22: there is no folder /nofolder on this machine; hint: make it",
    ] {
        assert!(said.lines().any(|line| line.starts_with(expected)), "{expected}\n{said}");
    }
    assert!(checked.is_fine() && checked.to_string().contains("can be used, 3 warnings"), "{checked}");
    // What runs it says so itself, when it needs them.
    assert!(place.complaints(&std::fs::read_to_string(&path).unwrap()).is_empty());
}

#[test]
fn a_file_of_gateways_is_checked_as_adit_serve_reads_it() {
    let place = Workplace::new();
    let gateway = |name: &str, port: u16, pool: &str| {
        format!(
            "[serve.{name}]\nprotocol = \"ikev2\"\nlisten = \"127.0.0.1:{port}\"\npool = \"{pool}\"\nidentity = \"x\"\n\
            psk = {{ key = \"file:psk.txt\" }}\n"
        )
    };
    let right = place.file("serve.toml", gateway("a", 4500, "10.0.0.0/24"));
    let checked = check(&right, None);
    assert!(checked.is_fine() && checked.complaints().is_empty(), "{}", checked.complaints());
    assert!(checked.to_string().ends_with("serve.toml: fine\ngateway a: ikev2 127.0.0.1:4500/udp\n"), "{checked}");
    assert_eq!(checked.json()["gateways"][0]["listen"][0], "127.0.0.1:4500/udp");
    let both = gateway("a", 4500, "10.0.0.0/24") + &gateway("b", 4500, "10.0.0.0/25");
    let checked = check(&place.file("serve.toml", both), None);
    assert!(!checked.is_fine(), "{checked}");
    let taken = " line 9 column 10: 127.0.0.1:4500 is taken already: ";
    assert!(checked.complaints().contains(taken), "{}", checked.complaints());
    let wide = gateway("a", 4500, "10.0.0.0/24") + &gateway("b", 4501, "10.0.0.0/25");
    let checked = check(&place.file("serve.toml", wide), None);
    assert!(checked.is_fine() && checked.complaints().contains("the pools of `a` and `b` overlap"), "{checked}");
    assert!(!check(&right, Some("a")).is_fine(), "there is no connection to choose");
}
