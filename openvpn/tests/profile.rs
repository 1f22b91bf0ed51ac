//! Every directive has the outcome it is said to have, and what is "applied" changes something.

#[path = "support/examples.rs"]
mod examples;

use std::{collections::BTreeSet, env, fmt::Write as _, fs, path::PathBuf};

use examples::{Example, examples, load};
use openvpn::{Config, Credentials, Outcome, Profile, ProfileError, Secrets, directives};

fn parse(text: &str) -> Result<Profile, ProfileError> {
    Profile::parse(text, &mut load)
}

/// Everything that can be seen of a profile.
fn probe(text: &str) -> Result<String, ProfileError> {
    let profile = parse(text)?;
    let mut shown = format!("needs_passphrase: {}", profile.needs_key_passphrase());
    write!(shown, " needs_credentials: {:?}", profile.needs_credentials()).unwrap();
    let config = config(profile);
    write!(shown, " {config:?} warnings: {:?}", config.warnings()).unwrap();
    Ok(shown)
}

fn config(profile: Profile) -> Config {
    let credentials = Credentials { username: "asked".to_owned(), password: "secret".into() };
    let secrets = Secrets {
        credentials: profile.needs_credentials().map(|_| credentials),
        key_passphrase: profile.needs_key_passphrase().then(|| "s3cret pass".into()),
    };
    profile.into_config(secrets).unwrap()
}

/// What became of the example's first directive.
fn outcome(example: &Example) -> Outcome {
    let line = example.without().lines().count() + 1;
    match parse(&example.profile()) {
        Ok(profile) => profile.outcomes().iter().find(|outcome| outcome.line == line).unwrap().outcome.clone(),
        Err(error) => Outcome::Refused(error.to_string().into()),
    }
}

const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::Harmless => "harmless",
        Outcome::Lossy(_) => "lossy",
        Outcome::Refused(_) => "refused",
    }
}

#[test]
fn every_example_has_the_outcome_it_is_said_to_have() {
    let wrong: Vec<String> = examples()
        .iter()
        .map(|example| (example, outcome(example)))
        .filter(|(example, outcome)| word(outcome) != example.outcome)
        .map(|(example, outcome)| format!("{}: {outcome:?}", example.shown()))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_directive_has_examples_and_every_kind_of_outcome_it_claims() {
    let examples = examples();
    for (name, outcome, _) in directives() {
        let of_name = || examples.iter().filter(|example| example.directive() == name);
        assert!(of_name().count() > 0, "no example of `{name}`");
        let is_applied = of_name().any(|example| example.outcome == "applied");
        let promised = of_name().any(|example| example.outcome == outcome);
        let right = if outcome == "by value" { !is_applied } else { promised };
        assert!(right, "the examples of `{name}` do not show that it is {outcome}");
    }
    let applied: BTreeSet<&str> =
        examples.iter().filter(|example| example.outcome == "applied").map(Example::directive).collect();
    assert!(applied.len() > 80, "{}", applied.len());
}

#[test]
fn what_is_applied_changes_the_configuration() {
    for example in examples().iter().filter(|example| example.outcome == "applied") {
        let shown = example.shown();
        if example.change == "@parses" {
            let (_, rest) = example.text.split_once('\n').unwrap();
            assert!(parse(&format!("{}{rest}\n", example.without())).is_err(), "{shown}");
            continue;
        }
        let with = probe(&example.profile()).unwrap();
        assert!(with.contains(&example.change), "{shown}: no `{}` in\n{with}", example.change);
        // A profile that cannot be used without the line is changed by it enough.
        if let Ok(without) = probe(&example.without()) {
            assert_ne!(with, without, "{shown}");
            assert!(example.change.is_empty() || !without.contains(&example.change), "{shown} changes nothing");
        }
    }
}

/// The rows of `testdata/profile/behaviour.txt`.
fn behaviour() -> Vec<[String; 3]> {
    let text = fs::read_to_string(examples::testdata("profile/behaviour.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let row = |line: &str| line.split(" | ").map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
    lines.map(row).collect()
}

#[test]
fn every_applied_directive_has_a_test_that_shows_what_it_changes() {
    let rows = behaviour();
    let shown: BTreeSet<&str> = rows.iter().map(|[directive, ..]| directive.as_str()).collect();
    let applied: BTreeSet<&str> =
        directives().filter(|(_, outcome, _)| *outcome == "applied").map(|(name, ..)| name).collect();
    assert_eq!(shown, applied);
    for [directive, file, test] in &rows {
        let body = test_body(file, test).unwrap_or_else(|| panic!("no test `{test}` in {file}, for `{directive}`"));
        // The same test may know a setting by its name in the configuration, once another has shown how it gets there.
        let another = || rows.iter().any(|row| row[0] == *directive && row[1..] != [file.clone(), test.clone()]);
        assert!(mentions(&body, directive) || another(), "`{test}` in {file} does not mention `{directive}`");
    }
}

/// The text of a test, or of the case of the interop suite.
fn test_body(file: &str, test: &str) -> Option<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    if file == "interop" {
        let cases = fs::read_dir(root.join("interop/src/cases")).unwrap();
        let files = cases.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        let mut texts = files.map(|file| fs::read_to_string(file).unwrap());
        return texts.find(|text| text.contains(&format!("Case::new(\"{test}\",")));
    }
    let text = fs::read_to_string(root.join(file)).ok()?;
    let (before, body) = text.split_once(&format!("fn {test}()"))?;
    let attributes = before.rsplit("\n\n").next()?;
    assert!(attributes.contains("#[test]") || attributes.contains("#[tokio::test"), "{test} is no test");
    let end = if attributes.contains("\n    #[") || attributes.starts_with("    #[") { "\n    }\n" } else { "\n}\n" };
    Some(body.split(end).next()?.to_owned())
}

/// Whether the name stands in the text as a word of its own.
fn mentions(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + name.len()..].chars().next());
        // `\nNAME` in a string literal.
        let escaped = text[..at].ends_with("\\n");
        (escaped || !before.is_some_and(is_part)) && !after.is_some_and(is_part)
    })
}

#[test]
fn ignore_unknown_option_lets_a_profile_pass() {
    let text =
        "client\nremote h\nca ca.crt\nauth-user-pass login.txt\nignore-unknown-option frobnicate\nfrobnicate 1\n";
    let profile = parse(text).unwrap();
    assert_eq!(profile.warnings(), ["line 6: `frobnicate` is ignored: it is unknown"]);
    assert!(profile.into_config(Secrets::default()).is_ok());
    assert!(parse(&text.replace("option frobnicate", "option twiddle")).is_err());
}

#[test]
fn what_is_ignored_changes_nothing() {
    // These begin with a line that announces a block.
    let announces = |example: &Example| example.text.contains("[inline]");
    let mut checked = 0;
    for example in examples().iter().filter(|e| e.outcome == "harmless" && !announces(e)) {
        assert_eq!(probe(&example.profile()).unwrap(), probe(&example.without()).unwrap(), "{}", example.shown());
        checked += 1;
    }
    assert!(checked > 90);
}

#[test]
fn every_refusal_names_line_directive_and_cure() {
    for example in examples().iter().filter(|example| example.outcome == "refused") {
        let error = parse(&example.profile()).unwrap_err();
        let refusal = &error.refusals()[0];
        assert!(refusal.reason.len() >= 15, "{}: {refusal}", example.shown());
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let text = "client\r\n# comment\r\n\r\nremote h 1\r\ncipher none\r\nup /bin/true\r\nfragment 1200\r\nca ca.crt\r\nauth-user-pass\r\n";
    let error = parse(text).unwrap_err();
    let lines: Vec<_> = error.refusals().iter().map(|r| (r.line, r.directive.as_str())).collect();
    assert_eq!(lines, [(Some(5), "cipher"), (Some(7), "fragment")]);
    assert!(error.to_string().starts_with("line 5: `cipher`: packets would not be encrypted"), "{error}");
    assert!(error.to_string().ends_with("(and 1 more)"), "{error}");
}

#[test]
fn the_table_of_outcomes_is_the_committed_one() {
    let mut text = String::from(HEAD);
    for (name, outcome, note) in directives() {
        writeln!(text, "| `{name}` | {outcome} | {note} |").unwrap();
    }
    text += EXAMPLES;
    for example in examples() {
        let outcome = outcome(&example);
        let note = match &outcome {
            Outcome::Applied | Outcome::Harmless => String::new(),
            Outcome::Lossy(text) | Outcome::Refused(text) => text.to_string(),
        };
        writeln!(text, "| `{}` | {} | {note} |", example.shown().replace('|', "\\|"), word(&outcome)).unwrap();
    }
    committed("DIRECTIVES.md", &text);
}

/// Compares with the committed file, or writes it when `UPDATE_SNAPSHOTS` is set.
fn committed(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let known = fs::read_to_string(&path).unwrap_or_default();
    let different = known.lines().zip(text.lines()).find(|(known, new)| known != new);
    assert!(
        known == text,
        "{name} differs, first at {different:?}; look at it, then run the test with UPDATE_SNAPSHOTS=1 and commit"
    );
}

const HEAD: &str = "# What becomes of each directive of a profile

Made by `UPDATE_SNAPSHOTS=1 cargo test -p openvpn --test profile`; the test fails when this file is not up to date.

* **applied**: it does what it does in OpenVPN;
* **harmless**: it is about something that does not exist here, and nobody will miss it;
* **lossy**: it is ignored, and a warning says what is lost;
* **refused**: the profile cannot be used as long as it stands there;
* **by value**: one of the last three.

| directive | outcome | |
|---|---|---|
";

const EXAMPLES: &str = "
## By value

| line | outcome | |
|---|---|---|
";

/// Shapes of profiles that providers hand out, by how often their directives occur (7310 profiles of 51 providers).
mod shapes {
    use openvpn::{Cipher, ControlWrap, Digest, Framing, KeyDirection};

    use super::*;

    fn profile(text: &str) -> Profile {
        let text = text
            .replace("CA\n", &format!("<ca>\n{}</ca>\n", String::from_utf8(load("ca.crt").unwrap()).unwrap()))
            .replace(
                "TA\n",
                &format!("<tls-auth>\n{}</tls-auth>\n", String::from_utf8(load("static.txt").unwrap()).unwrap()),
            )
            .replace(
                "TC\n",
                &format!("<tls-crypt>\n{}</tls-crypt>\n", String::from_utf8(load("static.txt").unwrap()).unwrap()),
            );
        parse(&text).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_commercial_provider_with_many_gateways() {
        let remotes: String = (1..=63).map(|i| format!("remote us{i}.vpn.example {}\r\n", 1194 + i % 3)).collect();
        let text = format!(
            "\u{feff}client\r\ndev tun\r\nproto udp\r\n{remotes}remote-random\r\nresolv-retry infinite\r\nnobind\r\n\
             persist-key\r\npersist-tun\r\ncipher AES-256-CBC\r\nauth SHA512\r\ntun-mtu 1500\r\ntun-mtu-extra 32\r\n\
             mssfix 1450\r\nping 15\r\nping-restart 0\r\nping-timer-rem\r\nreneg-sec 0\r\ncomp-lzo no\r\n\
             remote-cert-tls server\r\nauth-user-pass\r\nverb 3\r\npull\r\nfast-io\r\nkey-direction 1\r\n"
        );
        let profile = profile(
            &(text.replace("\r\n", "\n") + "CA\nTA\n")
                .replace('\n', "\r\n")
                .replace("CA\r\n", "CA\n")
                .replace("TA\r\n", "TA\n"),
        );
        assert_eq!(profile.warnings(), Vec::<String>::new());
        assert!(profile.needs_credentials().unwrap().username.is_none());
        let config = config(profile);
        assert_eq!(config.remotes().len(), 63);
        let settings = config.settings();
        assert!(matches!(
            settings.control_wrap,
            ControlWrap::TlsAuth { direction: KeyDirection::Inverse, digest: Digest::Sha512, .. }
        ));
        assert_eq!(settings.framing, Framing::V1);
        assert_eq!(settings.data_ciphers_fallback, Some(Cipher::Aes256Cbc));
        assert_eq!(config.warnings(), Vec::<String>::new());
    }

    #[test]
    fn an_old_profile_with_blowfish_and_no_check_of_the_server() {
        let profile = profile(
            "client\ndev tun\nproto tcp\nremote old.example 443\ncipher BF-CBC\nauth SHA1\nns-cert-type server\n\
             auth-user-pass\nscript-security 2\nup /etc/openvpn/update-resolv-conf\ndown /etc/openvpn/update-resolv-conf\n\
             route-method exe\nroute-delay 2\nkeysize 128\nkey-method 2\nmute-replay-warnings\nCA\n",
        );
        let warnings = profile.warnings();
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].starts_with("line 5: `cipher` is ignored"), "{warnings:?}");
        let config = config(profile);
        assert_eq!(config.settings().data_ciphers, Cipher::DEFAULT);
        assert_eq!(config.settings().data_ciphers_fallback, None);
    }

    #[test]
    fn a_modern_company_profile_with_connection_blocks() {
        let profile = profile(
            "# OVPN_ACCESS_SERVER_PROFILE=x\nsetenv FORWARD_COMPATIBLE 1\nclient\nserver-poll-timeout 4\nnobind\ndev tun\n\
             tls-version-min 1.2\nremote-cert-tls server\nauth-user-pass\ndata-ciphers AES-256-GCM:AES-128-GCM\n\
             push-peer-info\nsetenv UV_SITE hq\nsome-future-option 1\nverify-x509-name gw name\n\
             <connection>\nremote gw1.example 1194 udp\nexplicit-exit-notify 1\n</connection>\n\
             <connection>\nremote gw1.example 443 tcp\n</connection>\nCA\nTC\n",
        );
        assert_eq!(profile.warnings(), ["line 13: `some-future-option` is ignored: it is unknown"]);
        let config = config(profile);
        let remotes: Vec<_> = config.remotes().iter().map(|r| (r.port, r.explicit_exit_notify)).collect();
        assert_eq!(remotes, [(1194, Some(1)), (443, None)]);
        // The wrap was said after the blocks and still is theirs, for they have none of their own.
        assert!(matches!(config.settings().control_wrap, ControlWrap::TlsCrypt(_)));
        assert!(config.remotes().iter().all(|r| r.control_wrap.is_none()));
    }
}

#[test]
fn secrets_are_in_no_message() {
    let hidden = "hunter2hunter2";
    let text = format!(
        "client\nremote h\nca ca.crt\nauth-token {hidden}\n<auth-user-pass>\nme\n{hidden}\n</auth-user-pass>\n\
         setenv opt frob {hidden}\n"
    );
    let profile = parse(&text).unwrap();
    let shown = format!("{profile:?} {:?} {:?}", profile.outcomes(), profile.warnings());
    assert!(!shown.contains(hidden));
    assert!(!format!("{:?}", config(profile)).contains(hidden));
    let error = parse(&format!("{text}auth-user-pass {hidden} {hidden}\nkey {hidden}\nfrob {hidden}\n")).unwrap_err();
    let rest: Vec<_> = error.refusals().iter().filter(|refusal| refusal.directive != "key").collect();
    assert!(!format!("{rest:?}").contains(hidden));
}

#[test]
fn a_key_without_its_tags_is_not_shown() {
    let key = String::from_utf8(load("ec.sec1.key").unwrap()).unwrap();
    let error = parse(&format!("client\n{key}\n\"{}\n", key.lines().nth(1).unwrap())).unwrap_err();
    let shown = format!("{error} {:?}", error.refusals());
    assert!(key.lines().filter(|line| !line.starts_with('-')).all(|line| !shown.contains(&line[..8])), "{shown}");
}

#[test]
fn wrong_passphrases_are_told_from_damaged_keys() {
    let text = "client\nremote h\nca ca.crt\ncert client.crt\nkey ec.dek-aes-256-cbc.key\n";
    let with = |passphrase: &str| {
        let secrets = Secrets { key_passphrase: Some(passphrase.into()), ..Secrets::default() };
        parse(text).unwrap().into_config(secrets)
    };
    assert!(with("wrong").unwrap_err().is_wrong_passphrase());
    assert!(with("s3cret pass").is_ok());
    let text = text.replace("cert client.crt\nkey ec.dek-aes-256-cbc.key", "pkcs12 rc2-40.p12");
    let profile = parse(&text).unwrap();
    assert!(profile.needs_key_passphrase());
    let secrets = Secrets { key_passphrase: Some("wrong".into()), ..Secrets::default() };
    assert!(profile.clone().into_config(secrets).unwrap_err().is_wrong_passphrase());
    assert!(!profile.clone().into_config(Secrets::default()).unwrap_err().is_wrong_passphrase());
    let secrets = Secrets { key_passphrase: Some("s3cret pass".into()), ..Secrets::default() };
    assert!(profile.into_config(secrets).is_ok());
}

/// Why a profile that can be read makes no configuration.
fn config_error(text: &str) -> String {
    let secrets = Secrets { key_passphrase: Some("wrong".into()), ..Secrets::default() };
    parse(&format!("client\nremote h\n{text}")).unwrap().into_config(secrets).unwrap_err().to_string()
}

#[test]
fn what_makes_no_configuration_names_line_directive_and_cure() {
    let wrong_ca = "<ca>\n-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n</ca>\n";
    let fingerprint = format!("peer-fingerprint {}\n", ["ab"; 32].join(":"));
    for (text, expected) in [
        ("ca ca.crt\ncert client.crt\nkey ec.dek-aes-256-cbc.key\n", "line 5: `key`: the passphrase"),
        ("ca ca.crt\npkcs12 modern.p12\n", "line 4: `pkcs12`: the passphrase"),
        ("auth-user-pass\nca ca.crt\n", "line 3: `auth-user-pass`: "),
        ("ca ca.crt\nkey rsa.pkcs1.key\ncert client.crt\n", "line 4: `key` does not belong to `cert`; use the two"),
        (
            "ca ca.crt\nkey rsa.1024.pem\ncert rsa.1024.pem\n",
            "line 4: `key` is an RSA key of 1024 bits, and only 2048 to 4096 bits can be used; make a new key",
        ),
        (&format!("{wrong_ca}auth-user-pass login.txt\n"), "line 3: certificate 1 of `ca` cannot be used"),
        (&format!("auth-user-pass login.txt\ncrl-verify crl.pem\n{fingerprint}"), "line 4: `crl-verify` needs `ca`: "),
        (
            "ca ca.crt\nauth-user-pass login.txt\ntls-version-max 1.2\ntls-version-min 1.3\n",
            "line 6: `tls-version-min` is above `tls-version-max`; remove",
        ),
    ] {
        let error = config_error(text);
        assert!(error.starts_with(expected) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn all_that_makes_no_configuration_is_said_at_once() {
    let wrong_ca = "<ca>\n-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n</ca>\n";
    let secrets = || Secrets { key_passphrase: Some("wrong".into()), ..Secrets::default() };
    for (text, expected) in [
        (
            format!(
                "{wrong_ca}auth-user-pass\nkey rsa.pkcs1.key\ncert client.crt\ntls-version-max 1.2\ntls-version-min 1.3\n"
            ),
            vec![
                "line 8: `auth-user-pass`: ",
                "line 12: `tls-version-min`",
                "line 3: certificate 1 of `ca`",
                "line 9: `key` does",
            ],
        ),
        (
            format!(
                "{wrong_ca}cert client.crt\nkey ec.dek-aes-256-cbc.key\ntls-version-max 1.2\ntls-version-min 1.3\n"
            ),
            vec!["line 9: `key`: the passphrase", "line 11: `tls-version-min`", "line 3: certificate"],
        ),
        // Who could be in a file that does not open is not missed.
        ("pkcs12 modern.p12\ncrl-verify crl.pem\n".to_owned(), vec!["line 3: `pkcs12`: the passphrase"]),
    ] {
        let profile = parse(&format!("client\nremote h\n{text}")).unwrap();
        let said: Vec<_> = profile.mistakes(secrets()).iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), expected.len(), "{said:#?}");
        assert!(said.iter().zip(&expected).all(|(said, expected)| said.starts_with(expected)), "{said:#?}");
        assert_eq!(profile.into_config(secrets()).unwrap_err().to_string(), said[0], "the first is the error");
    }
    let fine = parse("client\nremote h\nca ca.crt\nauth-user-pass login.txt\n").unwrap();
    assert_eq!(fine.mistakes(Secrets::default()), []);
}

#[test]
fn what_is_missing_is_said_beside_what_is_refused_unless_that_was_it() {
    let said =
        |text: &str| -> Vec<String> { parse(text).unwrap_err().refusals().iter().map(ToString::to_string).collect() };
    let all = said("dev tap\n");
    assert_eq!(all.len(), 5, "{all:#?}");
    assert!(all[0].starts_with("line 1: `dev`") && all[1].contains("add `client`"), "{all:#?}");
    assert!(all[2].contains("add `remote HOST PORT`") && all[3].contains("add `ca`"), "{all:#?}");
    // A name that was misspelt, a file that is not there, and a line that cannot be read may be it.
    for (text, count) in [
        ("dev tap\nclient\nremot h\nca nofile.pem\nauth-user-pass login.txt\n", 3),
        ("client\nremote h 70000\nca ca.crt\ncert client.crt\nkey nofile.key\n", 2),
        ("client\n\"remote h\nca ca.crt\nauth-user-pass\n", 1),
    ] {
        let all = said(text);
        assert!(all.len() == count && all.iter().all(|said| said.starts_with("line ")), "{text}{all:#?}");
    }
}

#[test]
fn lists_as_openssl_makes_them_by_default_are_read() {
    let text = "client\nremote h\nca ca.crt\nauth-user-pass login.txt\ncrl-verify crl.pem\n";
    assert!(parse(text).unwrap().into_config(Secrets::default()).is_ok());
}

#[test]
fn numbers_out_of_range_are_told_the_range() {
    for (line, range) in [
        ("tun-mtu 20", "a number from 100 to 65535"),
        ("ping 9999999999", "a number from 0 to 2147483647"),
        ("ping often", "a number from 0 to 2147483647"),
        ("hand-window 0", "a number from 1 to 2147483647"),
        ("connect-timeout 0", "a number from 1 to 2147483647"),
        ("replay-window 100000", "a number from 0 to 65536"),
        ("max-packet-size 10", "a number from 154 to 2048"),
        ("mssfix 9", "0, or a number from 200 to 65535"),
        ("reneg-bytes many", "a number from 0 to 18446744073709551615"),
        ("remote h 70000", "a number from 1 to 65535"),
    ] {
        let error = parse(&format!("client\n{line}\n")).unwrap_err().refusals()[0].to_string();
        assert!(error.starts_with("line 2: `") && error.ends_with(range), "{error}");
    }
}

#[test]
fn what_is_no_text_is_said_to_be_no_profile_in_one_line() {
    let mut state = 1u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let noise: Vec<u8> = (0..20_000).map(|_| byte()).collect();
    let only_line = |text: &[u8]| {
        let error = Profile::parse(text, &mut load).unwrap_err();
        assert_eq!(error.refusals().len(), 1, "{:?}", error.refusals());
        error.to_string()
    };
    let no_profile = "it is not text, so this is no profile; give the `.ovpn` file";
    assert_eq!(only_line(&noise), format!("line 1: {no_profile}"));
    // Wherever it begins: what can be read before it hardly was meant.
    let text = [b"frobnicate\nremote h\n".as_slice(), &noise].concat();
    assert_eq!(only_line(&text), format!("line 3: {no_profile}"));
    let utf16: Vec<u8> = "\u{feff}client\nremote h\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(only_line(&utf16), "line 1: it is UTF-16; save the profile as UTF-8");
}

#[test]
fn pkcs12_brings_its_ca_along() {
    let text = "client\nremote h\npkcs12 3des.p12\naskpass passphrase.txt\n";
    let profile = parse(text).unwrap();
    assert!(!profile.needs_key_passphrase());
    let shown = format!("{:?}", profile.into_config(Secrets::default()).unwrap());
    assert_eq!(shown.matches("CertificateDer(").count(), 3, "one CA, a chain of two");
}

#[test]
fn what_is_missing_as_a_whole_is_said_without_a_line() {
    let reason = |text: &str| parse(text).unwrap_err().to_string();
    assert!(reason("").contains("add `client`"));
    assert!(reason("client\nca ca.crt\nauth-user-pass\n").contains("add `remote HOST PORT`"));
    assert!(reason("client\nremote h\nauth-user-pass\n").contains("add `ca`"));
    assert!(reason("client\nremote h\nca ca.crt\n").contains("who we are"));
    assert!(reason("client\nremote h\nca ca.crt\nkey ec.sec1.key\n").contains("`cert`"));
    assert!(Profile::parse(vec![b'#'; 2 << 20], &mut load).is_err());
}

#[test]
fn something_else_than_a_profile_is_not_read_to_its_end() {
    let error = parse(&"remot x\n".repeat(100_000)).unwrap_err();
    let last = error.refusals().last().unwrap().to_string();
    assert_eq!(
        (error.refusals().len(), last.as_str()),
        (11, "line 11: nothing is read from here on, for 10 lines were refused")
    );
    let text = format!("client\nremote h\nca ca.crt\nauth-user-pass\n{}", "remote h\n".repeat(1000));
    assert!(parse(&text).unwrap_err().to_string().contains("more than 512 gateways"));
}

#[test]
fn comments_need_not_be_utf8_but_directives_do() {
    let mut text = b"client\n# M\xfcnchen\nremote h\nca ca.crt\nauth-user-pass\n".to_vec();
    assert!(Profile::parse(&text, &mut load).is_ok());
    text.extend(b"echo M\xfcnchen\n");
    let error = Profile::parse(&text, &mut load).unwrap_err();
    assert_eq!(error.to_string(), "line 6: it is not UTF-8; save the profile as UTF-8");
}

mod any_text {
    use proptest::prelude::*;

    use super::*;

    /// Words that lead deep into the parser, and noise.
    fn line() -> impl Strategy<Value = String> {
        let examples: Vec<String> = examples().into_iter().map(|example| example.text).collect();
        let name: Vec<&str> = directives().map(|(name, _, _)| name).collect();
        prop_oneof![
            prop::sample::select(examples),
            (prop::sample::select(name.clone()), any::<String>()).prop_map(|(name, rest)| format!("{name} {rest}")),
            (prop::sample::select(name), any::<String>())
                .prop_map(|(name, rest)| format!("<{name}>\n{rest}\n</{name}>")),
            any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn never_panics(lines in prop::collection::vec(line(), 0..30), bytes in any::<Vec<u8>>()) {
            for text in [lines.join("\n").into_bytes(), bytes] {
                if let Ok(profile) = Profile::parse(&text, &mut load) {
                    drop((profile.warnings(), profile.into_config(Secrets::default())));
                }
            }
        }

        #[test]
        fn is_the_same_with_crlf_and_dashes(indices in prop::collection::vec(0usize..1000, 1..8)) {
            let examples = examples();
            let lines: Vec<&str> = indices.iter().map(|i| examples[i % examples.len()].text.as_str()).filter(|text| !text.contains(['<', '{']) && !text.starts_with("--")).collect();
            let text = format!("client\nremote h\nca ca.crt\nauth-user-pass\n{}\n", lines.join("\n"));
            let dashed: String = text.lines().filter(|line| !line.is_empty()).map(|line| format!("  --{line} \r\n")).collect();
            prop_assert_eq!(probe_or_error(&text), probe_or_error(&dashed));
        }
    }

    fn probe_or_error(text: &str) -> String {
        match parse(text) {
            Ok(profile) => format!("{profile:?}"),
            Err(error) => format!("{error:?}"),
        }
    }
}
