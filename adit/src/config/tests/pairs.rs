//! No mistake hides another: every two of a list of mistakes are put into one file, and both have to be said.

use std::collections::BTreeMap;

use super::{Workplace, without_columns};
use crate::config::check;

/// Something wrong, by itself.
struct Mistake {
    /// The heading of the table, with a number behind it where there are several of that heading.
    table: &'static str,
    key: &'static str,
    /// `None`: the key is not there.
    value: Option<&'static str>,
    /// The key in whose line it is said, if that is another one; empty: the heading.
    at: Option<&'static str>,
    said: &'static str,
}

impl Mistake {
    const fn at(mut self, key: &'static str) -> Self {
        self.at = Some(key);
        self
    }
}

const fn mistake(table: &'static str, key: &'static str, value: &'static str, said: &'static str) -> Mistake {
    Mistake { table, key, value: Some(value), at: None, said }
}

const fn missing(table: &'static str, key: &'static str, said: &'static str) -> Mistake {
    Mistake { table, key, value: None, at: None, said }
}

/// A file in which nothing is wrong: tables, with keys and values.
type File = &'static [(&'static str, &'static [(&'static str, &'static str)])];

/// The text of the file with these mistakes, and where each of them stands: the line of its key, or of the heading of its table.
fn text(base: File, mistakes: &[&Mistake]) -> (String, Vec<usize>) {
    let mut tables: Vec<(&str, BTreeMap<&str, &str>)> =
        base.iter().map(|(heading, keys)| (*heading, keys.iter().copied().collect())).collect();
    for mistake in mistakes {
        let place = tables.iter().position(|(heading, _)| *heading == mistake.table).unwrap_or_else(|| {
            tables.push((mistake.table, BTreeMap::new()));
            tables.len() - 1
        });
        let keys = &mut tables[place].1;
        match mistake.value {
            Some(value) => drop(keys.insert(mistake.key, value)),
            None => drop(keys.remove(mistake.key)),
        }
    }
    let (mut lines, mut places) = (Vec::new(), vec![0; mistakes.len()]);
    for (heading, keys) in &tables {
        lines.push(heading.split('#').next().unwrap().to_owned());
        for (place, mistake) in places.iter_mut().zip(mistakes).filter(|(_, mistake)| mistake.table == *heading) {
            let at = keys.keys().position(|key| *key == mistake.at.unwrap_or(mistake.key));
            *place = lines.len() + at.map_or(0, |at| at + 1);
        }
        lines.extend(keys.iter().map(|(key, value)| format!("{key} = {value}")));
    }
    (lines.join("\n") + "\n", places)
}

/// Every mistake by itself, and every two of them. `apart`: pairs that cannot be together, by what is said of them, and why not.
fn demand(place: &Workplace, base: File, mistakes: &[Mistake], apart: &[(&str, &str, &str)]) {
    let said_of = |mistakes: &[&Mistake]| {
        let (text, places) = text(base, mistakes);
        let checked = check(&place.file("adit.toml", &text), None);
        (without_columns(&checked.complaints()).replace(&place.path(""), ""), places, text)
    };
    let (said, _, text) = said_of(&[]);
    assert!(said.is_empty(), "the file by itself is right\n{text}\n{said}");
    let mut lacking = Vec::new();
    let mut pairs = 0;
    for (index, first) in mistakes.iter().enumerate() {
        let (said, ..) = said_of(&[first]);
        if said.lines().count() != 1 {
            lacking.push(format!("{}: nothing but this is wrong\n{said}", first.said));
        }
        for second in &mistakes[index + 1..] {
            let is = |mistake: &Mistake, said: &str| mistake.said == said;
            let are_apart = apart.iter().any(|(one, other, _)| {
                (is(first, one) && (is(second, other) || *other == second.table))
                    || (is(second, one) && (is(first, other) || *other == first.table))
            });
            if are_apart || (first.table, first.key) == (second.table, second.key) {
                continue;
            }
            pairs += 1;
            let (said, places, text) = said_of(&[first, second]);
            for (mistake, line) in [first, second].iter().zip(places) {
                let place = format!(" line {line}");
                let found = said.lines().any(|said| {
                    let behind = said.split_once(&place).is_some_and(|(_, rest)| rest.starts_with([':', ' ']));
                    behind && said.contains(mistake.said)
                });
                if !found {
                    lacking.push(format!("line {line}: {}\n{text}\n{said}", mistake.said));
                }
            }
        }
    }
    assert!(pairs > mistakes.len(), "{pairs} pairs");
    assert!(lacking.is_empty(), "{} of {pairs} pairs:\n{}", lacking.len(), lacking.join("\n---\n"));
}

const OFFICE: &str = "[connection.office]";
const OLD: &str = "[connection.old]";
const FIRST: &str = "[[connection.office.forward]]#1";
const SECOND: &str = "[[connection.office.forward]]#2";
const REVERSE: &str = "[[connection.office.reverse]]";
const SOCKS: &str = "[[connection.office.socks]]";
const TUN: &str = "[connection.old.tun]";
const GATEWAY: &str = "[[connection.two.gateway]]#1";
const OTHER: &str = "[[connection.two.gateway]]#2";

const CONNECTIONS: File = &[
    ("[limits]", &[("handshakes", "5")]),
    (
        OFFICE,
        &[
            ("protocol", "\"ikev2\""),
            ("remotes", "[\"a.example\"]"),
            ("auth", "\"certificate\""),
            ("ca", "[\"ca.pem\"]"),
            ("certificate", "\"client.pem\""),
            ("key", "\"client.key\""),
        ],
    ),
    (FIRST, &[("listen", "8001"), ("to", "\"h:1\"")]),
    (SECOND, &[("listen", "8002"), ("to", "\"h:1\"")]),
    (REVERSE, &[("port", "1"), ("to", "\"h:1\"")]),
    (SOCKS, &[("listen", "1080"), ("user", "\"u\""), ("password", "\"file:password.txt\"")]),
    (
        OLD,
        &[
            ("protocol", "\"openvpn\""),
            ("profile", "\"old.ovpn\""),
            ("user", "\"u\""),
            ("password", "\"file:password.txt\""),
        ],
    ),
    (TUN, &[("device", "\"a0\"")]),
    ("[connection.two]", &[("protocol", "\"ikev2\""), ("psk", "\"file:psk.txt\""), ("remote_id", "\"x\"")]),
    (GATEWAY, &[("name", "\"a\""), ("remotes", "\"a\"")]),
    (OTHER, &[("name", "\"b\""), ("remotes", "\"b\"")]),
];

#[test]
fn of_any_two_mistakes_in_a_file_of_connections_both_are_said() {
    let place = Workplace::new();
    let ca = super::read_text(&place, "ca.pem");
    place.file(
        "old.ovpn",
        format!("client\ndev tun\nremote vpn.example 1194\nremote-cert-tls server\nauth-user-pass\n<ca>\n{ca}</ca>\n"),
    );
    let unknown = "this protocol is unknown";
    let mistakes = [
        missing(OFFICE, "remotes", "the connection `office` has no `remotes`"),
        mistake(OFFICE, "remotes", "5", "`remotes` has to be a list of texts"),
        mistake(OFFICE, "remotes", "[]", "`remotes` is empty"),
        mistake(OFFICE, "remotes", "[\"a b\", \"c\"]", "`a b` is no gateway"),
        mistake(OFFICE, "protocol", "\"l2tp\"", unknown),
        mistake(
            OFFICE,
            "protocol",
            "\"ikev3\"",
            "this protocol is unknown; hint: did you mean `protocol = \"ikev2\"`?",
        ),
        missing(OFFICE, "ca", "the authority that vouches for the gateway is missing"),
        mistake(OFFICE, "ca", "[\"nofile.pem\"]", "cannot read nofile.pem"),
        mistake(OFFICE, "ca", "[\"ca.pem\", 5]", "`ca` has to be a list of texts"),
        missing(OFFICE, "certificate", "our certificate is missing"),
        mistake(OFFICE, "certificate", "\"psk.txt\"", "psk.txt: there is no certificate in it"),
        mistake(OFFICE, "key", "\"nokey.pem\"", "cannot read nokey.pem"),
        mistake(OFFICE, "key", "\"password.txt\"", "password.txt: there is no private key in it"),
        mistake(OFFICE, "auth", "\"kerberos\"", "`auth` has to be one of"),
        mistake(OFFICE, "psk", "\"file:psk.txt\"", "the pre-shared key has no use"),
        mistake(OFFICE, "passphrase", "\"file:nophrase.txt\"", "cannot read nophrase.txt"),
        mistake(OFFICE, "polcy", "\"priority\"", "unknown key `polcy`"),
        mistake(OFFICE, "mtu", "5", "`mtu` has to be a whole number from 576 to 65535"),
        mistake(OFFICE, "remote_id", "\"C=CH, X\"", "`C=CH, X` is no identity"),
        mistake(OFFICE, "ike_proposals", "\"aes256-blowfish\"", "blowfish"),
        mistake(OFFICE, "ike_proposals", "\"aes128-sha1-modp1024\"", "is no longer safe"),
        mistake(OFFICE, "esp_proposals", "\"3des-sha1\"", "`3des` is no longer safe"),
        mistake(OFFICE, "retransmit", "{ first_ms = 200, limit_ms = 100 }", "`retransmit.limit_ms` has to be"),
        mistake(OFFICE, "remote_ts", "\"10/8\"", "`10/8` is no network"),
        mistake(OFFICE, "gateway", "\"vpn.example\"", "`gateway` has to be a list of tables"),
        mistake(OFFICE, "probe", "{ interval_ms = 500 }", "this probe names nothing to be reached"),
        mistake(OFFICE, "wait_seconds", "-1", "`wait_seconds` has to be a whole number"),
        mistake(FIRST, "listen", "\"vpn:80\"", "`vpn:80` is no address to listen on"),
        mistake(FIRST, "listen", "70000", "`forward.listen` has to be a whole number"),
        missing(FIRST, "listen", "`listen` is missing"),
        mistake(FIRST, "to", "\"host\"", "`host` is nothing to connect to"),
        missing(FIRST, "to", "`to` is missing"),
        mistake(FIRST, "gateway", "\"zz\"", "there is no gateway `zz` in this connection"),
        mistake(FIRST, "transport", "\"sctp\"", "`forward.transport` has to be one of"),
        mistake(FIRST, "mode", "\"0999\"", "only a unix socket has a mode"),
        mistake(SECOND, "listen", "8001", "127.0.0.1:8001/tcp is taken already"),
        mistake(SECOND, "name", "\"127.0.0.1:8001\"", "there is a forward `127.0.0.1:8001` already"),
        missing(REVERSE, "port", "`port` is missing"),
        mistake(REVERSE, "to", "\"host\"", "`host` is nothing to connect to"),
        missing(SOCKS, "password", "this user has no password").at("user"),
        mistake(SOCKS, "password", "\"file:nosocks.txt\"", "cannot read nosocks.txt"),
        missing(OLD, "profile", "the connection `old` has no `profile`"),
        mistake(OLD, "profile", "\"no.ovpn\"", "cannot read no.ovpn, the `profile`: No such file"),
        mistake(OLD, "password", "\"file:nopassword.txt\"", "cannot read nopassword.txt"),
        mistake(OLD, "password", "\"hunter2\"", "a secret does not stand in this file"),
        mistake(OLD, "password", "{ flie = \"x\" }", "unknown key `password.flie`; hint: did you mean `file`?"),
        mistake(OLD, "user", "\"\"", "the user name is empty"),
        mistake(TUN, "device", "\"this-name-is-too-long\"", "is no name of a device"),
        mistake(TUN, "routing", "[\"x\"]", "`x` is no network"),
        mistake(TUN, "netns", "\"no-such-namespace\"", "there is no network namespace `no-such-namespace`"),
        missing(GATEWAY, "remotes", "this gateway has no `remotes`"),
        mistake(GATEWAY, "protocol", "\"pptp\"", unknown),
        mistake(OTHER, "name", "\"a\"", "there is a gateway `a` already"),
        mistake(OTHER, "psk", "\"file:nopsk.txt\"", "cannot read nopsk.txt"),
        mistake("[admin]", "listen", "\"x\"", "`x` is no address to listen on"),
        mistake("[activity]", "keep", "3", "`activity` has no `file`").at(""),
        mistake("[limits]", "handshakes", "0", "`limits.handshakes` has to be a whole number"),
        mistake("[connections.x]", "a", "1", "unknown table `connections`").at(""),
    ];
    let apart = [
        (unknown, "the connection `office` has no `remotes`", "the protocol says whether it is needed"),
        (unknown, "the authority that vouches for the gateway is missing", "the same"),
        (unknown, "our certificate is missing", "the same"),
        (unknown, "the pre-shared key has no use", "the same"),
        (unknown, "this gateway has no `remotes`", "the same"),
        ("`gateway` has to be a list of tables", "the connection `office` has no `remotes`", "a gateway may have them"),
        ("`gateway` has to be a list of tables", "the authority that vouches for the gateway is missing", "the same"),
        ("`gateway` has to be a list of tables", "our certificate is missing", "the same"),
        ("`gateway` has to be a list of tables", "the pre-shared key has no use", "the same"),
        ("`gateway` has to be a list of tables", "there is no gateway `zz` in this connection", "it may be among them"),
        ("`auth` has to be one of", "the authority that vouches for the gateway is missing", "it may need none"),
        ("`auth` has to be one of", "our certificate is missing", "the same"),
        ("`auth` has to be one of", "the pre-shared key has no use", "it may be what is meant"),
        ("our certificate is missing", "password.txt: there is no private key in it", "it is not needed to see that"),
        ("only a unix socket has a mode", "`listen` is missing", "it may be meant to be one"),
        ("only a unix socket has a mode", "`forward.listen` has to be a whole number", "the same"),
        ("127.0.0.1:8001/tcp is taken already", FIRST, "what is listened to there is another port, or not known"),
        ("there is a forward `127.0.0.1:8001` already", FIRST, "its name follows from what it is"),
        ("127.0.0.1:8001/tcp is taken already", "there is a forward `127.0.0.1:8001` already", "one says the other"),
        (
            "cannot read nophrase.txt",
            "password.txt: there is no private key in it",
            "it may be inside of one that is locked",
        ),
    ];
    demand(&place, CONNECTIONS, &mistakes, &apart);
    // Of the first forward, all that says nothing of its port leaves the clash as it is.
    let both = [&mistakes[30], &mistakes[35]];
    let (text, _) = text(CONNECTIONS, &both);
    let said = check(&place.file("adit.toml", text), None).complaints();
    assert!(both.iter().all(|mistake| said.contains(mistake.said)), "{said}");
}

const LAB: &str = "[serve.lab]";
const AGED: &str = "[serve.old]";
const SITE: &str = "[serve.site]";

const GATEWAYS: File = &[
    (
        LAB,
        &[
            ("protocol", "\"ikev2\""),
            ("listen", "\"127.0.0.1:14500\""),
            ("pool", "\"10.99.0.0/24\""),
            ("certificate", "\"client.pem\""),
            ("key", "\"client.key\""),
            ("identity", "\"vpn.example\""),
            ("users.alice", "{ password = \"file:password.txt\" }"),
        ],
    ),
    (
        AGED,
        &[
            ("protocol", "\"openvpn\""),
            ("listen", "\"127.0.0.1:11194\""),
            ("pool", "\"10.98.0.0/24\""),
            ("certificate", "\"both.pem\""),
            ("client_ca", "\"ca.pem\""),
        ],
    ),
    (
        SITE,
        &[
            ("protocol", "\"ikev2\""),
            ("listen", "\"127.0.0.1:14501\""),
            ("pool", "\"10.97.0.0/24\""),
            ("identity", "\"vpn.example\""),
            ("psk", "{ key = \"file:psk.txt\" }"),
        ],
    ),
];

#[test]
fn of_any_two_mistakes_in_a_file_of_gateways_both_are_said() {
    let place = Workplace::new();
    let unknown = "this protocol is unknown";
    let mistakes = [
        missing(LAB, "protocol", "the gateway `lab` has no `protocol`"),
        mistake(LAB, "protocol", "\"l2tp\"", unknown),
        mistake(LAB, "protocol", "\"IKEv2\"", "this protocol is unknown; hint: did you mean `protocol = \"ikev2\"`?"),
        missing(LAB, "listen", "the gateway `lab` has no `listen`"),
        mistake(LAB, "listen", "[\"4500\"]", "`4500` is no address to listen on"),
        mistake(LAB, "listen", "5", "`listen` has to be a list of texts"),
        missing(LAB, "pool", "the gateway `lab` has no `pool`"),
        mistake(LAB, "pool", "\"10.99.0.1\"", "10.99.0.1/32 has no address for a peer"),
        missing(LAB, "certificate", "this key has no certificate").at("key"),
        mistake(LAB, "certificate", "\"nofile.pem\"", "cannot read nofile.pem"),
        mistake(LAB, "key", "\"nokey.pem\"", "cannot read nokey.pem"),
        mistake(LAB, "identity", "\"other.example\"", "the certificate of the gateway is not for other.example"),
        missing(LAB, "users.alice", "nothing says who may come in").at(""),
        mistake(LAB, "users.bob", "{}", "the user `bob` has no password"),
        mistake(LAB, "users.carol", "{ password = \"file:carol.txt\" }", "cannot read carol.txt"),
        mistake(LAB, "users.dan", "{ pasword = 1 }", "unknown key `users.pasword`"),
        mistake(LAB, "client_ca", "\"noca.pem\"", "cannot read noca.pem"),
        mistake(AGED, "client_crl", "\"nolist.pem\"", "cannot read nolist.pem"),
        mistake(LAB, "eap_tls", "{}", "this has no use without `tls` or `ttls` in `eap`"),
        mistake(LAB, "frobnicate", "1", "unknown key `frobnicate`"),
        mistake(LAB, "mtu", "1", "`mtu` has to be a whole number"),
        mistake(LAB, "esp_proposals", "\"3des-sha1\"", "`3des` is no longer safe"),
        mistake(LAB, "ike_proposals", "\"aes256-blowfish\"", "blowfish"),
        mistake(LAB, "retransmit", "{ first_ms = 200, limit_ms = 100 }", "`retransmit.limit_ms` has to be"),
        mistake(LAB, "routes", "\"10/8\"", "`10/8` is no network"),
        mistake(LAB, "dns", "\"10.0.0.53:53\"", "`10.0.0.53:53` is no address"),
        mistake(LAB, "allow", "\"intranet\"", "`intranet` is no network"),
        mistake(LAB, "tun_name", "\"a device with a name\"", "is no name of a device"),
        missing(AGED, "certificate", "the certificate of the gateway is missing"),
        mistake(AGED, "certificate", "\"client.pem\"", "there is no private key in it"),
        mistake(SITE, "listen", "\"127.0.0.1:11194\"", "127.0.0.1:11194 is taken already"),
        mistake(AGED, "client_ca", "\"psk.txt\"", "psk.txt: there is no certificate in it"),
        missing(AGED, "client_ca", "nothing says who may come in"),
        mistake(AGED, "tls_crypt", "\"password.txt\"", "password.txt: "),
        mistake(AGED, "key_direction", "1", "this has no use without `tls_auth`"),
        mistake(AGED, "auth", "\"SHA0\"", "`SHA0` is no digest"),
        mistake(AGED, "data_ciphers", "\"BF-CBC\"", "`BF-CBC` is no cipher of the data channel"),
        mistake(AGED, "ping_restart_seconds", "1", "`ping_restart_seconds` has to be a whole number"),
        mistake(AGED, "users.x", "{ nt_hash = \"file:hash.txt\" }", "an NT hash serves EAP-MSCHAPv2 of IKEv2 alone"),
        missing(SITE, "psk", "nothing says who may come in"),
        missing(SITE, "identity", "nothing says who the gateway is"),
        mistake(SITE, "psk", "[{ identity = \"a\" }]", "this pre-shared key has no `key`"),
        mistake("[sevre.x]", "a", "1", "unknown table `sevre`").at(""),
    ];
    let mut apart = vec![
        ("the user `bob` has no password", "nothing says who may come in", "then he may"),
        ("cannot read carol.txt", "nothing says who may come in", "then she may"),
        ("unknown key `users.pasword`", "nothing says who may come in", "then he may"),
        ("cannot read noca.pem", "nothing says who may come in", "then those it vouches for may"),
        ("an NT hash serves EAP-MSCHAPv2 of IKEv2 alone", "nothing says who may come in", "then he may"),
        ("nothing says who may come in", "the certificate of the gateway is not for other.example", "shown to nobody"),
    ];
    let certificate = "the certificate of the gateway is not for other.example";
    for unreadable in ["this key has no certificate", "cannot read nofile.pem", "cannot read nokey.pem"] {
        apart.push((certificate, unreadable, "it takes both to see that"));
    }
    for vague in ["the gateway `lab` has no `protocol`", unknown] {
        for other in [
            certificate,
            "nothing says who may come in",
            "the user `bob` has no password",
            "this has no use without `tls` or `ttls` in `eap`",
            "`3des` is no longer safe",
            "blowfish",
            "`retransmit.limit_ms` has to be",
        ] {
            apart.push((vague, other, "the protocol says whether it is so"));
        }
    }
    demand(&place, GATEWAYS, &mistakes, &apart);
}
