//! TOML files.

use std::{path::Path, time::Duration};

use ikev2::{SignatureChoice, TlsVersion};

use super::{Workplace, build, without_columns};
use crate::config::{
    assemble::described,
    draft::{Auth, Draft, Inner, Method},
    files::SecretSource,
    ovpn::Login,
    problems::Problems,
    schema,
    tables::Described,
};
use crate::error::Error;

/// The first gateway of a connection of a file.
fn load(path: &Path, name: Option<&str>) -> Result<Described, Error> {
    let mut problems = Problems::default();
    let mut connection = described(path, name, &mut problems);
    let gateway = connection.as_mut().and_then(|connection| connection.gateways.pop());
    match (problems.into_error(), gateway) {
        (Some(error), _) => Err(error),
        (None, gateway) => Ok(gateway.unwrap().described.unwrap()),
    }
}

impl Workplace {
    /// The connection of a file with this text.
    fn toml(&self, text: &str, name: Option<&str>) -> Result<Described, String> {
        load(&self.file("office.toml", text), name).map_err(|error| without_columns(&error.to_string()))
    }

    fn draft(&self, lines: &str) -> Draft {
        match self.toml(&format!("[connection.office]\nprotocol = \"ikev2\"\nremotes = [\"a\"]\n{lines}"), None) {
            Ok(Described::Ikev2(draft)) => *draft,
            Ok(Described::OpenVpn(..)) => panic!("this is IKEv2"),
            Err(error) => panic!("{error}"),
        }
    }

    /// What is said about a file with these lines in its connection, from line 4 on, after the file's name.
    fn refused(&self, lines: &str) -> String {
        let text = format!("[connection.office]\nprotocol = \"ikev2\"\nremotes = [\"a\"]\n{lines}");
        let error = match self.toml(&text, None) {
            Ok(Described::Ikev2(draft)) => without_columns(&build(*draft).map(|_| ()).unwrap_err().to_string()),
            Ok(Described::OpenVpn(..)) => panic!("this is IKEv2"),
            Err(error) => error,
        };
        error.replace(&self.path(""), "")
    }
}

#[test]
fn every_key_reaches_its_place() {
    let place = Workplace::new();
    let draft = place.draft(
        r#"
        ca = ["ca.pem"]
        crl = ["crl.pem"]
        remote_id = "vpn.example"
        send_remote_id = true
        local_id = "me@example"
        auth = "eap"
        certificate = "client.pem"
        key = "client.key"
        passphrase = { env = "PASSPHRASE" }
        user = "alice"
        password = { file = "password.txt" }
        eap = ["tls", "ttls", "mschapv2", "gtc", "md5"]
        eap_tls = { ca = ["radius.pem"], server_name = "radius.example", min_version = "1.3", max_version = "1.3" }
        ttls = { inner = "eap-mschapv2", anonymous_identity = "anon@example" }
        ike_proposals = "aes128-sha256-x25519"
        esp_proposals = "aes256gcm16"
        legacy = true
        signature = "rsa-pss"
        remote_ts = ["192.168.100.0/24", "fd00::/64"]
        fragment_size = 600
        fragmentation = false
        mobike = false
        initial_contact = false
        liveness_seconds = 7
        nat_keepalive_seconds = 8
        child_rekey_seconds = 3
        ike_rekey_seconds = 0
        retransmit = { first_ms = 100, limit_ms = 400, tries = 2 }
        replay_window = 2048
        mtu = 1300
        "#,
    );
    assert_eq!(draft.auth, Some(Auth::Eap));
    assert_eq!(draft.eap, [Method::Tls, Method::Ttls, Method::MsChapV2, Method::Gtc, Method::Md5]);
    assert_eq!(draft.passphrase.as_ref().unwrap().value, SecretSource::Variable("PASSPHRASE".into()));
    assert_eq!(draft.password.as_ref().unwrap().value, SecretSource::File(place.0.join("password.txt")));
    let tls = draft.tls.as_ref().unwrap();
    assert_eq!(tls.value.versions, (Some(TlsVersion::V1_3), Some(TlsVersion::V1_3)));
    assert_eq!((tls.value.ca.len(), tls.value.server_name.as_deref()), (1, Some("radius.example")));
    let ttls = &draft.ttls.as_ref().unwrap().value;
    assert_eq!((ttls.inner, ttls.anonymous_identity.as_deref()), (Some(Inner::EapMsChapV2), Some("anon@example")));
    assert!(draft.crl.len() == 1 && draft.remote_id.is_some() && draft.local_id.is_some());

    let lines = "auth = \"psk\"\npsk = { file = \"psk.txt\" }\nlegacy = true\nsignature = \"rsa-pss\"\n\
        remote_ts = [\"192.168.100.0/24\", \"fd00::/64\"]\nfragment_size = 600\nfragmentation = false\nmobike = false\n\
        initial_contact = false\nliveness_seconds = 7\nnat_keepalive_seconds = 8\nchild_rekey_seconds = 3\n\
        ike_rekey_seconds = 0\nretransmit = { first_ms = 100, limit_ms = 400, tries = 2 }\nreplay_window = 2048\n\
        mtu = 1300\nsend_remote_id = true\nlocal_id = \"me@example\"";
    let config = build(place.draft(lines)).unwrap();
    let settings = config.settings();
    assert!(settings.legacy && settings.send_remote_identity && settings.local_identity.is_some());
    assert_eq!(settings.signature, SignatureChoice::RsaPss);
    assert_eq!(
        settings.remote_networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["192.168.100.0/24", "fd00::/64"]
    );
    assert_eq!((settings.fragment_size, settings.fragmentation), (600, false));
    assert!(!settings.mobike && !settings.initial_contact);
    let seconds = [settings.liveness, settings.nat_keepalive, settings.child_rekey, settings.ike_rekey];
    assert_eq!(seconds.map(|wait| wait.as_secs()), [7, 8, 3, 0]);
    let schedule = settings.retransmission;
    assert_eq!((schedule.first, schedule.limit), (Duration::from_millis(100), Duration::from_millis(400)));
    assert_eq!((schedule.tries, settings.replay_window, settings.mtu), (2, 2048, Some(1300)));
}

#[test]
fn what_is_not_said_keeps_its_default() {
    let place = Workplace::new();
    let config = build(place.draft("psk = { file = \"psk.txt\" }\nretransmit = { tries = 9 }")).unwrap();
    let settings = config.settings();
    assert!(settings.mobike && settings.fragmentation && settings.initial_contact && !settings.legacy);
    assert_eq!((settings.retransmission.first, settings.retransmission.tries), (Duration::from_millis(500), 9));
    assert_eq!((config.remotes()[0].host.as_str(), config.remotes()[0].port), ("a", 500));
}

#[test]
fn mistakes_are_named_with_file_and_line() {
    let place = Workplace::new();
    for (lines, said) in [
        ("pasword = 1", "office.toml line 4: unknown key `pasword`; hint: did you mean `password`?"),
        ("\nmobike = 1", "office.toml line 5: `mobike` has to be true or false; hint: write `mobike = true`, or false"),
        ("mobike = \"true\"", "office.toml line 4: `mobike` has to be true or false; hint: without quotation marks"),
        ("auth = \"xauth\"", "office.toml line 4: `auth` has to be one of `psk`, `certificate`, `eap`; hint: "),
        ("eap = [\"peap\"]", "office.toml line 4: `eap` has to be one of `mschapv2`, `tls`"),
        ("eap = [\n\"tls\",\n1]", "office.toml line 6: `eap` has to be one of `mschapv2`, `tls`"),
        ("ca = 1", "office.toml line 4: `ca` has to be a list of texts; hint: write `ca = [\"…\", \"…\"]`"),
        ("ca = [1]", "office.toml line 4: `ca` has to be a list of texts; hint: put each"),
        ("user = [\"a\"]", "office.toml line 4: `user` has to be a text; hint: write `user = \"…\"`"),
        ("ttls = \"pap\"", "office.toml line 4: `ttls` has to be a table; hint: write `ttls = { inner = … }`"),
        ("ttls = {}", "office.toml line 4: "),
        (
            "ike_rekey_seconds = -1",
            "office.toml line 4: `ike_rekey_seconds` has to be a whole number from 0 to 4294967295; hint: write \
             `ike_rekey_seconds = 0`, or more",
        ),
        (
            "mtu = 5",
            "office.toml line 4: `mtu` has to be a whole number from 576 to 65535; hint: write `mtu = 576`, or more, up to 65535",
        ),
        (
            "mtu = 65536",
            "office.toml line 4: `mtu` has to be a whole number from 576 to 65535; hint: write `mtu = 65535`, or less, down to 576",
        ),
        (
            "ike_rekey_seconds = \"5\"",
            "office.toml line 4: `ike_rekey_seconds` has to be a whole number from 0 to 4294967295; hint: without",
        ),
        ("\nliveness_seconds = 0", "office.toml line 5: `liveness_seconds` has to be a whole number from 1 to"),
        (
            "[connection.office.retransmit]\nfirst_ms = 1\ntries = 21",
            "office.toml line 6: `retransmit.tries` has to be a whole number from 1 to 20",
        ),
        (
            "retransmit = { time = 1 }",
            "office.toml line 4: unknown key `retransmit.time`; hint: there are `first_ms`, ",
        ),
        (
            "psk = { file = \"psk.txt\" }\nretransmit = { first_ms = 200, limit_ms = 100 }",
            "office.toml line 5: `retransmit.limit_ms` has to be no shorter than `first_ms`",
        ),
        (
            "remote_ts = [\n\"10.0.0.0/8\",\n\"10.0.0/8\"]",
            "office.toml line 6: `10.0.0/8` is no network; hint: write it as",
        ),
        ("ca = [\"nofile.pem\"]\nuser = \"u\"", "office.toml line 4: cannot read nofile.pem: No such file"),
        ("ca = [\"psk.txt\"]\nuser = \"u\"", "office.toml line 4: psk.txt: there is no certificate in it"),
        ("psk = { file = \"nofile\" }", "office.toml line 4: cannot read nofile: No such file"),
        ("psk = { env = \"ADIT_TEST_UNSET\" }", "office.toml line 4: the variable ADIT_TEST_UNSET is not set"),
        (
            "nt_hash = { file = \"psk.txt\" }\nuser = \"u\"\nca = [\"ca.pem\"]",
            "office.toml line 4: an NT hash has 32 hexadecimal",
        ),
        ("", "office.toml line 1 (connection `office`): nothing says how we prove who we are; hint: add `auth"),
        (
            "auth = \"certificate\"",
            "office.toml line 1 (connection `office`): our certificate is missing; hint: add `pkcs12",
        ),
        (
            "user = \"u\"",
            "office.toml line 1 (connection `office`): the authority that vouches for the gateway is missing; \
            hint: add `ca = [\"ca.pem\"]`",
        ),
        (
            "[connection.home]\nprotocol = \"l2tp\"",
            "office.toml line 5: this protocol is unknown; hint: write `protocol",
        ),
        (
            "[connection.home]\nremotes = [\"h\"]",
            "office.toml line 4: the connection `home` has no `protocol`; hint: add",
        ),
        (
            "[forward]",
            "office.toml line 4: unknown table `forward`; hint: connections are described in [connection.NAME]",
        ),
        ("= 1", "office.toml line 4: "),
    ] {
        let error = place.refused(lines);
        assert!(error.starts_with(said), "{lines}\n{error}\n{said}");
        let ours = !["invalid type", "expected one", "struct ", "Vec"].iter().any(|word| error.contains(word));
        assert!(ours, "{error}");
    }
    let gateway =
        place.toml("[connection.x]\nprotocol = \"ikev2\"\nremotes = [\"a:b\"]", None).map(|_| ()).unwrap_err();
    assert!(gateway.contains("line 3: `a:b` is no gateway; hint: write HOST or HOST:PORT"), "{gateway}");
}

#[test]
fn a_secret_in_the_file_is_refused_and_not_repeated() {
    let place = Workplace::new();
    for (value, why) in [
        ("\"hunter2\"", "a secret does not stand in this file"),
        ("4711", "a secret does not stand in this file"),
        ("47.11", "a secret does not stand in this file"),
        ("true", "a secret does not stand in this file"),
        ("[\"hunter2\"]", "one secret is wanted, no list"),
        ("{ value = \"hunter2\" }", "a secret is named by `file`, `env` or `credential`, and nothing else"),
        (
            "{ file = \"a\", value = \"hunter2\" }",
            "a secret is named by `file`, `env` or `credential`, and nothing else",
        ),
        ("{}", "a secret is named by `file`, `env` or `credential`, and nothing else"),
        ("{ file = \"a\", env = \"hunter2\" }", "a secret is in one place, either `file`, `env` or `credential`"),
        ("{ file = 4711 }", "the name of a file, variable or credential has to be a text"),
    ] {
        for key in ["psk", "password", "passphrase", "nt_hash"] {
            let error = place.refused(&format!("user = \"alice\"\n{key} = {value}"));
            assert!(error.starts_with(&format!("office.toml line 5: `{key}`: {why}; hint: write `{{ file")), "{error}");
            assert!(!["hunter2", "4711", "47.11", "true"].iter().any(|secret| error.contains(secret)), "{error}");
        }
    }
    let broken = place.refused("password = \"hunter2");
    assert!(broken.starts_with("office.toml line 4: ") && !broken.contains("hunter2"), "{broken}");
    let doubled = place.refused("psk = { file = \"psk.txt\" }\npsk = { env = \"hunter2\" }");
    assert!(doubled.starts_with("office.toml line 5: duplicate key") && !doubled.contains("hunter2"), "{doubled}");
}

#[test]
fn one_text_is_a_list_of_one() {
    let place = Workplace::new();
    let draft = place.draft("ca = \"ca.pem\"\ncrl = \"crl.pem\"\neap = \"tls\"\neap_tls = { ca = \"radius.pem\" }");
    assert_eq!((draft.ca.len(), draft.crl.len(), &draft.eap[..]), (1, 1, &[Method::Tls][..]));
    assert_eq!(draft.tls.unwrap().value.ca.len(), 1);
    let text = "[connection.x]\nprotocol = \"ikev2\"\nremotes = \"vpn.example\"\nremote_ts = \"10/8\"";
    let error = place.toml(text, None).map(|_| ()).unwrap_err();
    assert!(error.contains("line 4: `10/8` is no network"), "{error}");
}

#[test]
fn what_a_connection_cannot_do_without_is_named() {
    let place = Workplace::new();
    for (protocol, said) in [
        ("ikev2", "line 1: the connection `x` has no `remotes`; hint: add `remotes = [\"vpn.example\"]`"),
        ("openvpn", "line 1: the connection `x` has no `profile`; hint: add `profile = \"office.ovpn\"`"),
    ] {
        let error = place.toml(&format!("[connection.x]\nprotocol = \"{protocol}\""), None).map(|_| ()).unwrap_err();
        assert!(error.ends_with(said), "{error}");
    }
}

#[test]
fn every_bound_is_one_that_works() {
    let place = Workplace::new();
    for (key, kind) in schema::IKEV2 {
        if let schema::Kind::Number(from, to) = kind {
            for value in [from, to] {
                assert!(
                    build(place.draft(&format!("psk = {{ file = \"psk.txt\" }}\n{key} = {value}"))).is_ok(),
                    "{key}"
                );
            }
        }
    }
    for tries in [1, 20] {
        let lines = format!("psk = {{ file = \"psk.txt\" }}\nretransmit = {{ tries = {tries} }}");
        assert!(build(place.draft(&lines)).is_ok());
    }
}

#[test]
fn one_connection_of_several_is_chosen() {
    let place = Workplace::new();
    let text = "[connection.b]\nprotocol = \"ikev2\"\nremotes = [\"b\"]\n[connection.a]\nprotocol = \"openvpn\"\n\
        profile = \"sub/a.ovpn\"\nuser = \"u\"\npassword = { file = \"password.txt\" }\n";
    let unchosen = place.toml(text, None).map(|_| ()).unwrap_err();
    assert!(
        unchosen.ends_with("there are several connections in it; hint: choose one of `b`, `a` with --connection NAME")
    );
    let unknown = place.toml(text, Some("c")).map(|_| ()).unwrap_err();
    assert!(unknown.ends_with("there is no connection `c`; hint: choose one of `b`, `a`"), "{unknown}");
    let Ok(Described::Ikev2(draft)) = place.toml(text, Some("b")) else { panic!("b is IKEv2") };
    assert_eq!(draft.remotes[0].host, "b");
    let Ok(Described::OpenVpn(profile, given)) = place.toml(text, Some("a")) else { panic!("a is OpenVPN") };
    assert_eq!(profile, Some(place.0.join("sub/a.ovpn")));
    assert!(given.passphrase.is_none());
    let Login::Apart { user, password } = given.login else { panic!("{:?}", given.login) };
    let password = password.unwrap().value.read("a password").unwrap();
    assert_eq!((user.as_deref(), password.expose()), (Some("u"), &b"secret"[..]));
    let none = place.toml("", None).map(|_| ()).unwrap_err();
    assert!(none.contains("there is no connection in it; hint: "), "{none}");
}

#[test]
fn a_mistake_in_another_connection_is_found_too() {
    let place = Workplace::new();
    let text = "[connection.a]\nprotocol = \"ikev2\"\nremotes = [\"a\"]\n[connection.b]\nprotocol = \"openvpn\"\n\
        profile = \"b.ovpn\"\nca = [\"ca.pem\"]\n";
    let error = place.toml(text, Some("a")).map(|_| ()).unwrap_err();
    assert!(error.contains("line 7: unknown key `ca`; hint: there are `profile`, "), "{error}");
}

#[test]
fn the_example_can_be_used_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/connections.toml");
    for name in ["office", "branch", "campus", "lab"] {
        let Ok(Described::Ikev2(draft)) = load(&path, Some(name)) else { panic!("{name}") };
        assert!(!draft.remotes.is_empty(), "{name}");
    }
    assert!(matches!(load(&path, Some("old")), Ok(Described::OpenVpn(..))));
}
