//! `--ikev2` and the options that go with it.

use clap::Parser;
use ikev2::{Credentials, ExpectedIdentity, PeerVerifier};

use super::{Workplace, proofs, sswan};
use crate::{
    arguments::{Arguments, Command},
    config::{Configuration, flags, load},
};

impl Workplace {
    /// The options of a command line; `@` stands for this directory.
    fn options(&self, line: &str) -> crate::arguments::Forward {
        let line = format!("adit forward {line} -L 1:h:2").replace('@', &self.path(""));
        let Command::Forward(forward) = Arguments::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("another command")
        };
        *forward
    }

    fn failed(&self, line: &str) -> String {
        load(&self.options(line)).map(|_| ()).unwrap_err().to_string().replace(&self.path(""), "")
    }
}

#[test]
fn a_gateway_and_a_password_are_enough() {
    let place = Workplace::new();
    let options = place.options("--ikev2 vpn.example:4500 --user alice --password-file @password.txt --ca @ca.pem");
    let mut draft = flags::quick("vpn.example:4500", &options).unwrap();
    let (PeerVerifier::Certificate(peer), Credentials::Eap(eap)) = proofs(&mut draft).unwrap() else { panic!("EAP") };
    assert_eq!((peer.identity, eap.identity.as_str(), eap.methods.len()), (ExpectedIdentity::Host, "alice", 1));
    let Configuration::Ikev2(config) = load(&options).unwrap() else { panic!("IKEv2") };
    assert_eq!((config.remotes()[0].host.as_str(), config.remotes()[0].port), ("vpn.example", 4500));
}

#[test]
fn user_and_password_may_be_one_file_and_the_shared_key_another() {
    let place = Workplace::new();
    place.file("login", "bob\nsecret\n");
    let options = place.options("--ikev2 h --auth-user-pass @login --ca @ca.pem --remote-id %any --legacy");
    let Configuration::Ikev2(config) = load(&options).unwrap() else { panic!("IKEv2") };
    assert!(config.settings().legacy);
    assert!(load(&place.options("--ikev2 h --psk-file @psk.txt --local-id alice")).is_ok());
}

#[test]
fn options_take_the_place_of_what_a_profile_says() {
    let place = Workplace::new();
    let profile =
        place.file("office.sswan", r#"{ "type": "ikev2-eap", "remote": { "addr": "a" }, "local": { "eap_id": "a" } }"#);
    let options =
        place.options("-c @office.sswan --user bob --password-file @password.txt --ca @ca.pem --eap mschapv2");
    let mut draft = sswan(&profile).unwrap();
    flags::add(&mut draft, &options).unwrap();
    let (_, Credentials::Eap(eap)) = proofs(&mut draft).unwrap() else { panic!("EAP") };
    assert_eq!((eap.identity.as_str(), eap.methods.len()), ("bob", 1));
}

#[test]
fn options_that_cannot_be_used_are_named() {
    let place = Workplace::new();
    place.file("a.toml", "");
    place.file("json.conf", "\u{feff}{ \"type\": \"ikev2-eap\" }");
    place.file("tables", "# mine\n\n[connection.x]\n");
    for (line, said) in [
        ("--ikev2 a:b --psk-file @psk.txt", "--ikev2: `a:b` is no gateway"),
        ("--ikev2 h", "--ikev2: nothing says how we prove who we are; hint: give --user NAME"),
        (
            "--ikev2 h --user a",
            "--ikev2: the authority that vouches for the gateway is missing; hint: give it with --ca FILE",
        ),
        ("--ikev2 h --cert @nofile --ca @ca.pem", "--cert: cannot read nofile: No such file"),
        ("--ikev2 h --psk-file @psk.txt --ca @ca.pem", "--ca: the authority of the gateway has no use"),
        ("-c @a.toml --user alice", "--user has no use with a.toml; hint: say it in that file"),
        ("-c @a.toml --askpass @psk.txt", "--askpass has no use with a.toml"),
        ("-c @a.ovpn --ca @ca.pem", "--ca has no use with a.ovpn"),
        ("-c @a.ovpn --connection x", "--connection has no use with a.ovpn; hint: only a TOML file"),
        ("-c @nofile.toml", "cannot read nofile.toml: No such file or directory (os error 2); hint: name a file"),
        ("-c @nofile.sswan", "cannot read nofile.sswan: No such file"),
        (
            "-c @a.json",
            "a.json: nothing is known by this extension; hint: an OpenVPN profile ends in .ovpn or .conf, a strong",
        ),
        (
            "-c @json.conf",
            "json.conf: this is no OpenVPN profile, but looks like a .sswan file; hint: give it a name that",
        ),
        (
            "-c @tables",
            "tables: this is no OpenVPN profile, but looks like a .toml file; hint: give it a name that ends in .t",
        ),
        ("--ikev2 h --user= --ca @ca.pem", "--user: the user name is empty"),
        (
            "--ikev2 h --psk-file @psk.txt --ike-proposals 3des-sha1-modp2048",
            "--ike-proposals: `3des` is no longer safe; hint: --legacy allows it all the same",
        ),
        ("--ikev2 h --psk-file @psk.txt --esp-proposals aes256gcm16-", "--esp-proposals: "),
        (
            "--ikev2 h --psk-file @psk.txt --ike-proposals marvin",
            "--ike-proposals: no algorithm is called `marvin`; hint: write them as in aes256gcm16-prfsha384-ecp384",
        ),
    ] {
        let error = place.failed(line);
        assert!(error.starts_with(said), "{line}: {error}");
    }
}
