//! What becomes of files of gateways, and what is said about those that cannot be used.

use std::{fs, path::Path};

use ::openvpn::ServerWrap;

use super::{
    super::tests::{Workplace, without_columns},
    *,
};
use crate::config::schema::Kind;

/// Lines without which nothing works, up to line 6.
const IKEV2: &str = "[serve.x]\nprotocol = \"ikev2\"\nlisten = \"127.0.0.1:0\"\npool = \"10.99.0.0/24\"\n\
    certificate = \"both.pem\"\nidentity = \"vpn.example\"\n";
const OPENVPN: &str = "[serve.x]\nprotocol = \"openvpn\"\nlisten = \"127.0.0.1:0\"\npool = \"10.99.0.0/24\"\n\
    certificate = \"client.pem\"\nkey = \"client.key\"\n";
const USER: &str = "users.alice = { password = { file = \"password.txt\" } }\n";

fn serve(place: &Workplace, text: &str) -> Result<Vec<Gateway>, Vec<String>> {
    load(&place.file("serve.toml", text)).map_err(|problems| {
        let said =
            |problem: &&crate::config::Problem| without_columns(&problem.to_string()).replace(&place.path(""), "");
        let said: Vec<_> = problems.sorted().iter().map(said).collect();
        assert_eq!(problems.last().exit().code(), 2);
        said
    })
}

/// The only gateway of a file.
fn one(place: &Workplace, text: &str) -> Gateway {
    serve(place, text).unwrap_or_else(|error| panic!("{error:#?}\n{text}")).remove(0)
}

/// Everything that is said of it.
fn refused(place: &Workplace, text: &str) -> Vec<String> {
    serve(place, text).map(|_| ()).expect_err(text)
}

/// Whether one of them begins so.
fn begins(errors: &[String], said: &str) -> bool {
    errors.iter().any(|error| error.starts_with(said))
}

fn responder(gateway: &Gateway) -> &::ikev2::ResponderConfig {
    match &gateway.protocol {
        Protocol::Ikev2(config) => config,
        Protocol::OpenVpn { .. } => panic!("this is OpenVPN"),
    }
}

fn server(gateway: &Gateway) -> (&::openvpn::ServerConfig, &[(String, Secret)]) {
    match &gateway.protocol {
        Protocol::OpenVpn { config, passwords } => (config, passwords),
        Protocol::Ikev2(_) => panic!("this is IKEv2"),
    }
}

/// What the example names, with content that fits.
fn files_of_the_example(place: &Workplace) {
    let key = |name: &str, bytes: usize| {
        let digits: String =
            (0..bytes).map(|byte| format!("{byte:02x}")).map(|hex| hex[hex.len() - 2..].to_owned()).collect();
        place.file(
            name,
            format!("-----BEGIN OpenVPN Static key V1-----\n{digits}\n-----END OpenVPN Static key V1-----\n"),
        );
    };
    key("tls-crypt.key", 256);
    key("ta.key", 256);
    let v2 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, [7; 128]);
    let label = "OpenVPN tls-crypt-v2 server key";
    place.file("v2-server.key", format!("-----BEGIN {label}-----\n{v2}\n-----END {label}-----\n"));
    for name in ["alice.txt", "carol.txt", "alice-psk.txt"] {
        place.file(name, "secret\n");
    }
    let copy = |from: &str, to: &str| fs::copy(place.path(from), place.path(to)).unwrap();
    copy("client.pem", "gateway.pem");
    copy("client.key", "gateway.key");
    copy("both.pem", "server.pem");
    copy("ca.pem", "client-ca.pem");
    copy("client.key", "server.key");
}

#[test]
fn the_example_is_accepted() {
    let place = Workplace::new();
    files_of_the_example(&place);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/serve.toml");
    // Neither a PKCS#12 file, nor a list, nor a variable can be made here.
    let text = fs::read_to_string(path)
        .unwrap()
        .replace("pkcs12 = \"gateway.p12\"\npassphrase = { env = \"P12_PASSPHRASE\" }", "certificate = \"both.pem\"")
        .replace("client_crl = ", "# client_crl = ")
        .replace("{ env = \"BOB_NT_HASH\" }", "{ file = \"hash.txt\" }")
        .replace("{ env = \"SHARED_PSK\" }", "{ file = \"psk.txt\" }")
        .replace("certificate = \"server.pem\"\nkey = \"server.key\"", "certificate = \"server.pem\"");
    let gateways = serve(&place, &text).unwrap();
    let names: Vec<_> = gateways.iter().map(|gateway| gateway.name.as_str()).collect();
    assert_eq!(names, ["office", "lab", "site", "old", "older", "newer"]);
    let keys: Vec<&str> = text.lines().filter_map(|line| line.split([' ', '.', '#']).next()).collect();
    for (key, _) in schema::IKEV2.iter().chain(schema::OPENVPN) {
        let known = keys.contains(key) || ["client_crl", "pkcs12", "passphrase"].contains(key);
        assert!(known, "`{key}` is not in the example");
    }
}

#[test]
fn every_common_key_reaches_its_place() {
    let place = Workplace::new();
    let gateway = one(
        &place,
        &format!(
            "{OPENVPN}{USER}routes = [\"192.168.100.0/24\", \"0.0.0.0/0\", \"fd00::/8\"]\ndns = \"10.0.0.53\"\n\
             search_domains = \"a.example\"\nsplit_domains = \"b.example\"\nallow = \"127.0.0.1/32\"\n\
             tun_name = \"adit7\"\nsingle = true\nmax_peers = 5\nmax_half_open = 4\nmtu = 1300\nreplay_window = 128\n"
        ),
    );
    assert_eq!(gateway.listen, [Listen::udp(([127, 0, 0, 1], 0))]);
    assert_eq!(gateway.pool.own_addresses().map(|net| net.to_string()).collect::<Vec<_>>(), ["10.99.0.1/24"]);
    let routes: Vec<_> = gateway.network.routes.iter().map(|route| route.destination.to_string()).collect();
    assert_eq!(routes, ["192.168.100.0/24", "fd00::/8"]);
    assert!(gateway.network.redirect4 && !gateway.network.redirect6);
    assert_eq!(gateway.network.dns.servers, ["10.0.0.53".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(gateway.network.dns.search_domains, ["a.example"]);
    assert_eq!(gateway.network.dns.resolve_domains, ["b.example"]);
    assert_eq!(gateway.allow.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.1/32"]);
    assert_eq!((gateway.tun_name.as_deref(), gateway.single, gateway.max_peers), (Some("adit7"), true, Some(5)));
    let (config, _) = server(&gateway);
    assert_eq!((config.limits().peers, config.limits().half_open), (5, 4));
    assert_eq!((config.settings().tun_mtu, config.settings().replay_window), (1300, 128));
}

#[test]
fn every_key_of_ikev2_reaches_its_place() {
    let place = Workplace::new();
    let gateway = one(
        &place,
        &format!(
            "{IKEV2}{USER}client_ca = \"ca.pem\"\npsk = {{ key = {{ file = \"psk.txt\" }} }}\n\
             eap = [\"ttls\", \"tls\", \"gtc\", \"md5\", \"mschapv2\"]\nttls_inner = [\"pap\", \"eap-gtc\"]\n\
             eap_tls = {{ min_version = \"1.3\" }}\nike_proposals = \"aes128-sha1-modp2048\"\n\
             esp_proposals = \"aes256gcm16\"\nlegacy = true\nsignature = \"rsa-pss\"\nfragmentation = false\n\
             fragment_size = 600\nmobike = false\nliveness_seconds = 7\nchild_rekey_seconds = 3\nike_rekey_seconds = 0\n\
             retransmit = {{ first_ms = 100, limit_ms = 400, tries = 2 }}\nhandshake_seconds = 9\nreplay_window = 2048\n\
             mtu = 1300\nmax_peers = 5\nmax_half_open = 4\nmax_half_open_per_address = 3\ncookie_threshold = 2\n"
        ),
    );
    let config = responder(&gateway);
    assert_eq!(config.identity().to_string(), "vpn.example");
    let settings = config.settings();
    assert!(settings.legacy && !settings.fragmentation && !settings.mobike);
    assert_eq!(settings.signature, ::ikev2::SignatureChoice::RsaPss);
    assert_eq!((settings.fragment_size, settings.replay_window, settings.mtu), (600, 2048, Some(1300)));
    let seconds = [settings.liveness, settings.child_rekey, settings.ike_rekey, settings.handshake_timeout];
    assert_eq!(seconds.map(|wait| wait.as_secs()), [7, 3, 0, 9]);
    assert_eq!((settings.retransmission.first.as_millis(), settings.retransmission.tries), (100, 2));
    let limits = config.limits();
    assert_eq!((limits.peers, limits.half_open), (5, 4));
    assert_eq!((limits.half_open_per_address, limits.cookie_threshold), (3, 2));
}

#[test]
fn every_key_of_openvpn_reaches_its_place() {
    let place = Workplace::new();
    files_of_the_example(&place);
    let text = format!(
        "{OPENVPN}{USER}tls_auth = \"ta.key\"\nkey_direction = 0\nauth = \"SHA256\"\n\
         data_ciphers = [\"AES-128-GCM\", \"AES-256-CBC\"]\ndata_ciphers_fallback = \"aes-128-cbc\"\n\
         tls_version_min = \"1.3\"\ntls_version_max = \"1.3\"\nreneg_seconds = 0\nhand_window_seconds = 9\n\
         ping_seconds = 3\nping_restart_seconds = 12\n\
         max_half_open_per_address = 3\n"
    );
    let gateway = one(&place, &text);
    let (config, passwords) = server(&gateway);
    assert_eq!((passwords[0].0.as_str(), passwords[0].1.expose()), ("alice", &b"secret"[..]));
    let settings = config.settings();
    let ServerWrap::TlsAuth { direction, digest, .. } = &settings.control_wrap else { panic!("tls-auth") };
    assert_eq!((*direction, digest.name()), (::openvpn::KeyDirection::Normal, "SHA256"));
    assert_eq!(
        settings.data_ciphers.iter().map(|cipher| cipher.name()).collect::<Vec<_>>(),
        ["AES-128-GCM", "AES-256-CBC"]
    );
    assert_eq!(settings.data_ciphers_fallback.unwrap().name(), "AES-128-CBC");
    assert_eq!(
        (settings.tls.min, settings.tls.max),
        (Some(::openvpn::TlsVersion::V1_3), Some(::openvpn::TlsVersion::V1_3))
    );
    assert_eq!((settings.reneg_sec.as_secs(), settings.hand_window.as_secs()), (0, 9));
    let keepalive = |lines: &str| {
        let gateway = one(&place, &format!("{OPENVPN}{USER}{lines}"));
        server(&gateway).0.settings().keepalive.map(|(ping, restart)| (ping.as_secs(), restart.as_secs()))
    };
    assert_eq!(settings.keepalive.unwrap().1.as_secs(), 12);
    assert_eq!(config.limits().half_open_per_address, 3);
    assert_eq!(keepalive(""), Some((10, 60)));
    assert_eq!(keepalive("ping_seconds = 20"), Some((20, 120)));
    assert_eq!(keepalive("ping_restart_seconds = 8"), Some((4, 8)));

    let crypt = one(&place, &format!("{OPENVPN}{USER}tls_crypt = \"tls-crypt.key\""));
    assert!(matches!(server(&crypt).0.settings().control_wrap, ServerWrap::TlsCrypt(_)));
    let v2 = "tls_crypt_v2 = \"v2-server.key\"\ntls_crypt_v2_force_cookie = true\ntls_crypt_v2_max_age_days = 2";
    let v2 = one(&place, &format!("{OPENVPN}{USER}{v2}"));
    let ServerWrap::TlsCryptV2 { force_cookie, max_age, .. } = &server(&v2).0.settings().control_wrap else {
        panic!("v2")
    };
    assert_eq!((*force_cookie, max_age.unwrap().as_secs()), (true, 2 * 86_400));
}

#[test]
fn mistakes_are_named_with_line_and_cure() {
    let place = Workplace::new();
    files_of_the_example(&place);
    for (lines, said) in [
        ("", "serve.toml line 1 (gateway `x`): nothing says who may come in; hint: add `users.NAME = { password"),
        ("usrs.a = 1", "serve.toml line 7: unknown key `usrs`; hint: did you mean `users`?"),
        ("user = \"a\"", "serve.toml line 7: unknown key `user`; hint: did you mean `users"),
        ("\nlocal_id = \"a\"", "serve.toml line 8: unknown key `local_id`; hint: did you mean `identity`?"),
        ("frobnicate = 1", "serve.toml line 7: unknown key `frobnicate`; hint: there are `listen`, `certificate`, "),
        (
            "users = \"a\"",
            "serve.toml line 7: `users` has to be a table of tables; hint: write `users.NAME = { password = ",
        ),
        ("users.a = \"b\"", "serve.toml line 7: `users` has to be a table of tables; hint: "),
        ("users.a = { pasword = 1 }", "serve.toml line 7: unknown key `users.pasword`; hint: did you mean `password`?"),
        (
            "users.a = { password = \"hunter2\" }",
            "serve.toml line 7: `users.password`: a secret does not stand in this file; hint: write `{ file",
        ),
        ("users.a = {}", "serve.toml line 7: the user `a` has no password; hint: add `password = { file"),
        ("users.a = { password = { file = \"nofile\" } }", "serve.toml line 7: cannot read nofile: No such file"),
        ("users.a = { nt_hash = { file = \"psk.txt\" } }", "serve.toml line 7: an NT hash has 32 hexadecimal digits"),
        (
            "psk = [{ identity = \"a\" }]",
            "serve.toml line 7: this pre-shared key has no `key`; hint: add `key = { file",
        ),
        ("psk = \"secret\"", "serve.toml line 7: `psk` has to be a list of tables; hint: write `psk = [{ key = … }]`"),
        ("psk = [1]", "serve.toml line 7: `psk` has to be a list of tables; hint: "),
        (
            "psk = [{ identity = \"C=CH, X\", key = { file = \"psk.txt\" } }]",
            "serve.toml line 7: `C=CH, X` is no identity",
        ),
        ("client_crl = \"ca.pem\"", "serve.toml line 7: this has no use without `client_ca`; hint: "),
        ("client_ca = \"psk.txt\"", "serve.toml line 7: psk.txt: there is no certificate in it"),
        ("eap = [\"peap\"]", "serve.toml line 7: `eap` has to be one of `mschapv2`, "),
        (
            "eap = \"tls\"",
            "serve.toml line 1 (gateway `x`): nothing vouches for the certificates of EAP-TLS; hint: add `client_ca",
        ),
        (
            "eap = \"tls\"\nclient_ca = \"ca.pem\"\nusers.a = { password = { file = \"password.txt\" } }",
            "serve.toml line 9: a user has no use, as EAP-TLS knows certificates alone; hint: ",
        ),
        (
            "eap = \"gtc\"",
            "serve.toml line 1 (gateway `x`): EAP asks for users, and there are none; hint: add `users.NAME",
        ),
        (
            "ttls_inner = \"pap\"",
            "serve.toml line 1 (gateway `x`): `ttls_inner` has no use without `ttls` in `eap`; hint: ",
        ),
        ("eap_tls = {}", "serve.toml line 7: this has no use without `tls` or `ttls` in `eap`; hint: "),
        ("ike_proposals = \"aes256-blowfish\"", "serve.toml line 7: "),
        (
            "users.alice = { password = { file = \"password.txt\" } }\nesp_proposals = \"3des-sha1\"",
            "serve.toml line 8: `3des` is no longer safe; hint: `legacy = true`",
        ),
        (
            "users.alice = { password = { file = \"password.txt\" } }\nretransmit = { first_ms = 200, limit_ms = 100 }",
            "serve.toml line 8: `retransmit.limit_ms` has to be no shorter",
        ),
        ("routes = \"10/8\"", "serve.toml line 7: `10/8` is no network; hint: write it as"),
        (
            "routes = [\"10.1.0.0/16\", \"10.99.0.5/24\"]",
            "serve.toml line 7: `10.99.0.5/24` is an address of a network, not the network; hint: did you mean 10.99.0.0/24?",
        ),
        (
            "allow = \"fd00::1/64\"",
            "serve.toml line 7: `fd00::1/64` is an address of a network, not the network; hint: did you mean fd00::/64?",
        ),
        (
            "tls_auth = \"ta.key\"",
            "serve.toml line 7: unknown key `tls_auth`; hint: `tls_auth` is for `protocol = \"openvpn\"`",
        ),
        ("dns = \"10.0.0.53:53\"", "serve.toml line 7: `10.0.0.53:53` is no address; hint: write it as"),
        ("allow = [\"intranet\"]", "serve.toml line 7: `intranet` is no network; hint: "),
        (
            "tun_name = \"a device with a name\"",
            "serve.toml line 7: `a device with a name` is no name of a device; hint: ",
        ),
        ("max_peers = 0", "serve.toml line 7: `max_peers` has to be a whole number from 1 to 1000000"),
        ("[serve.y]\nlisten = 1", "serve.toml line 7: the gateway `y` has no `protocol`; hint: add `protocol"),
        (
            "[connection.y]",
            "serve.toml line 7: `connection` belongs to `adit run`, `serve` to `adit serve`; hint: put it into a file of its own",
        ),
    ] {
        let error = refused(&place, &format!("{IKEV2}{lines}"));
        assert!(begins(&error, said), "{lines}\n{error:#?}\n{said}");
        assert!(!error.concat().contains("hunter2"), "{error:?}");
    }
    for (lines, said) in [
        ("", "serve.toml line 1 (gateway `x`): nothing says who may come in; hint: add `client_ca"),
        (
            "identity = \"a\"",
            "serve.toml line 7: unknown key `identity`; hint: `identity` is for `protocol = \"ikev2\"`",
        ),
        (
            "users.a = { nt_hash = { file = \"hash.txt\" } }",
            "serve.toml line 7: an NT hash serves EAP-MSCHAPv2 of IKEv2 alone; hint: add",
        ),
        ("client_certificate = \"required\"", "serve.toml line 7: nothing vouches for clients; hint: add `client_ca"),
        (
            "client_certificate = \"none\"\nclient_ca = \"ca.pem\"",
            "serve.toml line 8: this has no use, as clients show no certificates; hint: ",
        ),
        (
            "tls_crypt = \"ta.key\"\ntls_auth = \"ta.key\"",
            "serve.toml line 7: control packets are wrapped already; hint: ",
        ),
        ("tls_crypt = \"psk.txt\"", "serve.toml line 7: psk.txt: "),
        ("key_direction = 1", "serve.toml line 7: this has no use without `tls_auth`; hint: "),
        ("tls_crypt_v2_force_cookie = true", "serve.toml line 7: this has no use without `tls_crypt_v2`; hint: "),
        ("auth = \"SHA0\"", "serve.toml line 7: `SHA0` is no digest; hint: write it as"),
        (
            "data_ciphers = [\n\"AES-256-GCM\",\n\"BF-CBC\"]",
            "serve.toml line 9: `BF-CBC` is no cipher of the data channel; hint: there are AES-256-GCM, ",
        ),
        ("data_ciphers_fallback = \"none\"", "serve.toml line 7: `none` is no cipher"),
        (
            "ping_restart_seconds = 11\nping_seconds = 6",
            "serve.toml line 7: `ping_restart_seconds` has to be at least twice `ping_seconds`, which is 6; hint: write",
        ),
        (
            "users.alice = { password = { file = \"password.txt\" } }\ntls_version_min = \"1.3\"\ntls_version_max = \"1.2\"",
            "serve.toml line 1 (gateway `x`): `tls_version_min` is above `tls_version_max`; hint: ",
        ),
    ] {
        let error = refused(&place, &format!("{OPENVPN}{lines}"));
        assert!(begins(&error, said), "{lines}\n{error:#?}\n{said}");
    }
}

#[test]
fn where_to_listen_and_which_pool_is_checked() {
    let place = Workplace::new();
    let with = |listen: &str, pool: &str| {
        format!(
            "[serve.x]\nprotocol = \"ikev2\"\nlisten = [{listen}]\npool = [{pool}]\ncertificate = \"both.pem\"\n{USER}"
        )
    };
    let pool = "\"10.99.0.0/24\"";
    for (listen, said) in [
        ("", "line 3: `listen` is empty; hint: write `listen = ["),
        ("\"4500\"", "line 3: `4500` is no address to listen on; hint: write ADDRESS:PORT"),
        ("\"0.0.0.0\"", "line 3: `0.0.0.0` is no address to listen on; hint: "),
        ("\"vpn.example:4500\"", "line 3: `vpn.example:4500` is no address to listen on; hint: "),
        ("\"0.0.0.0:4500/tcp\"", "line 3: IKEv2 is answered over UDP alone; hint: leave `/tcp` away"),
        ("\"0.0.0.0:4500/sctp\"", "line 3: `/sctp` is neither /udp nor /tcp; hint: "),
    ] {
        let error = refused(&place, &with(listen, pool));
        assert!(begins(&error, &format!("serve.toml {said}")), "{listen}: {error:#?}");
    }
    for (pool, said) in [
        ("", "line 4: `pool` is empty; hint: write `pool = ["),
        ("\"10.99.0.1\"", "line 4: 10.99.0.1/32 has no address for a peer; hint: write it as 10.99.0.0/24"),
        ("\"127.0.0.0/8\"", "line 4: 127.0.0.0/8 is not a network of hosts; hint: "),
        ("\"10.0.0.0/8\",\n\"10.99.0.0/24\"", "line 5: 10.99.0.0/24 overlaps 10.0.0."),
    ] {
        let error = refused(&place, &with("\"[::1]:0\"", pool));
        assert!(begins(&error, &format!("serve.toml {said}")), "{pool}: {error:#?}");
    }
    for (missing, said) in [
        ("listen", "the gateway `x` has no `listen`; hint: add `listen"),
        ("pool", "the gateway `x` has no `pool`; hint: add `pool"),
    ] {
        let lines = IKEV2.lines().filter(|line| !line.starts_with(missing)).collect::<Vec<_>>().join("\n");
        let error = refused(&place, &lines);
        assert!(begins(&error, &format!("serve.toml line 1: {said}")), "{error:#?}");
    }
    let tcp = OPENVPN.replace("127.0.0.1:0", "[::1]:1194/tcp") + USER;
    assert_eq!(one(&place, &tcp).listen, [Listen::tcp(("::1".parse::<std::net::Ipv6Addr>().unwrap(), 1194))]);
    assert!(refused(&place, "")[0].contains("there is no gateway in it; hint: gateways are described in [serve.NAME]"));
}

#[test]
fn gateways_that_share_addresses_are_told_of() {
    let place = Workplace::new();
    let with = |pool: &str| {
        let other = IKEV2.replace("[serve.x]", "[serve.y]").replace("10.99.0.0/24", pool);
        serve(&place, &format!("{IKEV2}{USER}{other}{USER}")).unwrap()
    };
    assert_eq!(shared_pools(&with("10.99.1.0/24")), None);
    for pool in ["10.99.0.0/24", "10.99.0.128/25", "10.98.0.0/15"] {
        let said = shared_pools(&with(pool)).unwrap();
        assert!(said.starts_with("the pools of `x` and `y` overlap: "), "{pool}: {said}");
    }
}

#[test]
fn the_certificate_of_the_gateway_is_checked() {
    let place = Workplace::new();
    let lines = |certificate: &str| {
        let text = "[serve.x]\nprotocol = \"openvpn\"\nlisten = \"127.0.0.1:0\"\npool = \"10.99.0.0/24\"\n";
        format!("{text}{USER}{certificate}")
    };
    for (certificate, said) in [
        ("", "line 1 (gateway `x`): the certificate of the gateway is missing; hint: add `certificate"),
        ("key = \"client.key\"", "line 6: this key has no certificate; hint: add `certificate"),
        ("passphrase = { file = \"psk.txt\" }", "line 6: there is no key for this passphrase; hint: "),
        ("certificate = \"client.pem\"", "line 6: client.pem: there is no private key in it"),
        ("certificate = \"client.pem\"\npkcs12 = \"x\"", "line 7: there is a certificate already; hint: "),
        ("certificate = \"ca.pem\"\nkey = \"client.key\"", "line 6: "),
        ("pkcs12 = \"ca.pem\"", "line 6: ca.pem: "),
    ] {
        let error = refused(&place, &lines(certificate));
        assert!(begins(&error, &format!("serve.toml {said}")), "{certificate}\n{error:#?}");
    }
    let other = refused(&place, &(IKEV2.replace("vpn.example", "gateway.example") + USER));
    let said = "serve.toml line 6: the certificate of the gateway is not for gateway.example, but for vpn.example; ";
    assert!(other[0].starts_with(said) && other[0].contains("; hint: clients insist on it: "), "{other:?}");
    let none = refused(&place, &IKEV2.replace("certificate = \"both.pem\"\n", USER));
    assert!(none[0].contains("with EAP, the gateway proves itself by a certificate"), "{none:?}");
    let psk = "psk = { key = { file = \"psk.txt\" } }\n";
    let with_psk = IKEV2.replace("certificate = \"both.pem\"\n", psk);
    assert!(serve(&place, &with_psk).is_ok(), "a pre-shared key needs no certificate");
    let nobody = refused(&place, &with_psk.replace("identity = \"vpn.example\"\n", ""));
    assert!(nobody[0].contains("nothing says who the gateway is; hint: add `identity"), "{nobody:?}");
}

#[cfg(unix)]
#[test]
fn secrets_of_a_gateway_that_everybody_can_read_are_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let place = Workplace::new();
    let both = format!(
        "{IKEV2}{USER}psk = {{ key = \"file:psk.txt\" }}\n{}{USER}",
        OPENVPN.replace("serve.x", "serve.y").replace("127.0.0.1:0", "127.0.0.1:11194").replace("10.99", "10.98")
    );
    let said = || {
        let checked = crate::config::check(&place.file("serve.toml", &both), None);
        assert!(checked.is_fine(), "{}", checked.complaints());
        without_columns(&checked.complaints()).replace(&place.path(""), "")
    };
    assert_eq!(said(), "");
    for (name, lines) in
        [("psk.txt", vec![8]), ("password.txt", vec![7, 15]), ("both.pem", vec![5]), ("client.key", vec![14])]
    {
        let open = |mode| fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
        open(0o644);
        let expected: String = lines
            .iter()
            .map(|line| {
                format!(
                    "warning: serve.toml line {line}: every user of this machine can read {name}; hint: `chmod 600 {name}`; \
                     in Kubernetes, `defaultMode: 0400`\n"
                )
            })
            .collect();
        assert_eq!(said(), expected);
        open(0o600);
    }
}

#[test]
fn a_file_is_for_one_command_and_whoever_mixes_them_is_told_which_is_which() {
    let place = Workplace::new();
    let connection = "[admin]\nlisten = \"127.0.0.1:9\"\n[connection.a]\nprotocol = \"ikev2\"\nremotes = \"a\"\npsk = \"file:psk.txt\"\nremote_id = \"a\"\n";
    let text = format!("{IKEV2}{USER}{connection}");
    assert_eq!(
        refused(&place, &text),
        [
            "serve.toml line 8: `admin` belongs to `adit run`, `serve` to `adit serve`; hint: put it into a file of its own",
            "serve.toml line 10: `connection` belongs to `adit run`, `serve` to `adit serve`; hint: put it into a file of its own",
        ]
    );
    let said = crate::config::check(&place.file("both.toml", &text), None).complaints();
    let said = without_columns(&said).replace(&place.path(""), "");
    let expected = "error: both.toml line 1: `serve` belongs to `adit serve`, `connection` to `adit run`; hint: put it into a file of its own\n";
    assert_eq!(said, expected);
}

#[test]
fn clients_of_openvpn_show_what_they_are_asked_for() {
    let place = Workplace::new();
    let certificates = |lines: &str| {
        let gateway = one(&place, &format!("{OPENVPN}{lines}"));
        let config = format!("{:?}", server(&gateway).0);
        let (_, certificates) = config.split_once("certificates: ").unwrap();
        certificates.split(['(', ',']).next().unwrap_or_default().to_owned()
    };
    assert_eq!(certificates(USER), "None");
    assert_eq!(certificates("client_ca = \"ca.pem\""), "Required");
    assert_eq!(certificates(&format!("{USER}client_ca = \"ca.pem\"\nclient_certificate = \"optional\"")), "Optional");
}

#[test]
fn every_bound_is_one_that_works() {
    let place = Workplace::new();
    for (base, keys) in [(IKEV2, schema::IKEV2), (OPENVPN, schema::OPENVPN)] {
        for (key, kind) in keys {
            let Kind::Number(from, to) = kind else { continue };
            // These two have a meaning beside others alone.
            if ["key_direction", "tls_crypt_v2_max_age_days", "ping_restart_seconds"].contains(key) {
                continue;
            }
            for value in [from, to] {
                one(&place, &format!("{base}{USER}{key} = {value}"));
            }
        }
    }
}
