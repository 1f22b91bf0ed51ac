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
        (10, "cannot read the profile"),
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
    assert!(json["errors"][0]["problem"].as_str().unwrap().contains("nofile.ovpn"), "{json}");
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
