//! Control wraps, and how the server is verified.

use bytes::Bytes;

use super::{
    super::draft::{Trouble, Wrap},
    APPLIED, Applied, Context, HARMLESS, lossy, one, text,
};
use crate::{
    config::{KeyDirection, NameCheck, TlsVersion},
    keys::{StaticKey, pem},
};

/// `tls-auth FILE [DIRECTION]`.
pub(in super::super) fn tls_auth(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    if let Some(word) = arguments.get(1) {
        cx.connection.key_direction = Some(direction(word)?);
    }
    let Some(content) = cx.content(arguments)? else { return HARMLESS };
    let key = StaticKey::parse(text(&content)?).map_err(|e| e.to_string())?;
    set_wrap(cx, Wrap::TlsAuth(key))
}

pub(in super::super) fn tls_crypt(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let Some(content) = cx.content(arguments)? else { return HARMLESS };
    let key = StaticKey::parse(text(&content)?).map_err(|e| e.to_string())?;
    set_wrap(cx, Wrap::TlsCrypt(key))
}

/// `tls-crypt-v2 FILE [force-cookie|allow-noncookie]`; the flags are for servers.
pub(in super::super) fn tls_crypt_v2(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let Some(content) = cx.content(arguments)? else { return HARMLESS };
    let (key, wrapped): (StaticKey, Bytes) =
        StaticKey::parse_tls_crypt_v2(text(&content)?).map_err(|e| e.to_string())?;
    set_wrap(cx, Wrap::TlsCryptV2(key, wrapped))
}

/// One kind alone; a `<connection>` block may have another than the rest.
fn set_wrap(cx: &mut Context<'_>, wrap: Wrap) -> Applied {
    let connection = &mut *cx.connection;
    if let Some(other) = &connection.wrap
        && std::mem::discriminant(other) != std::mem::discriminant(&wrap)
    {
        return Err("only one of tls-auth, tls-crypt and tls-crypt-v2 is possible; keep that of the server".into());
    }
    connection.wrap = Some(wrap);
    APPLIED
}

pub(in super::super) fn key_direction(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.connection.key_direction = Some(direction(one(arguments)?)?);
    APPLIED
}

fn direction(word: &str) -> Result<KeyDirection, Trouble> {
    match word {
        "0" => Ok(KeyDirection::Normal),
        "1" => Ok(KeyDirection::Inverse),
        _ => Err("the direction of a key is 0 or 1; clients have 1".into()),
    }
}

pub(in super::super) fn ca(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let Some(content) = cx.content(arguments)? else { return HARMLESS };
    cx.draft.server.ca = pem::certificates(content.expose()).map_err(|e| e.to_string())?;
    APPLIED
}

/// `crl-verify FILE`.
pub(in super::super) fn crl_verify(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    if arguments.get(1) == Some(&"dir") {
        return Err("folders of revoked numbers are not supported; name one file, a revocation list".into());
    }
    let Some(content) = cx.content(arguments)? else { return HARMLESS };
    cx.draft.server.crls = pem::crls(content.expose()).map_err(|e| e.to_string())?;
    APPLIED
}

/// `peer-fingerprint AA:BB:…`, or a block with one in each line.
pub(in super::super) fn peer_fingerprint(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let content;
    let lines: Vec<&str> = match cx.inline {
        Some(inline) => {
            content = adit_tunnel::Secret::new(inline);
            let lines = text(&content)?.lines().map(str::trim);
            lines.filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])).collect()
        }
        None => vec![one(arguments)?],
    };
    for line in lines {
        let fingerprint =
            fingerprint(line).ok_or("a fingerprint is 32 pairs of hexadecimal digits with colons between")?;
        if cx.draft.server.fingerprints.len() == MAX_FINGERPRINTS {
            return Err(format!("there are more than {MAX_FINGERPRINTS} fingerprints").into());
        }
        cx.draft.server.fingerprints.push(fingerprint);
    }
    APPLIED
}

fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let byte = |pair: &str| (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok()).flatten();
    let bytes: Option<Vec<u8>> = text.split(':').map(byte).collect();
    bytes?.try_into().ok()
}

/// `verify-x509-name NAME [subject|name|name-prefix]`.
pub(in super::super) fn verify_x509_name(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let (name, kind) = match arguments {
        [name] => (*name, "subject"),
        [name, kind] => (*name, *kind),
        _ => return Err("write `verify-x509-name NAME [subject|name|name-prefix]`".into()),
    };
    if name.is_empty() {
        return Err("the name is empty".into());
    }
    cx.draft.server.name = Some(match kind {
        "subject" => NameCheck::Subject(name.to_owned()),
        "name" => NameCheck::CommonName(name.to_owned()),
        "name-prefix" => NameCheck::CommonNamePrefix(name.to_owned()),
        _ => return Err("the kind of name is unknown; write subject, name or name-prefix".into()),
    });
    APPLIED
}

pub(in super::super) fn x509_username_field(_: &mut Context<'_>, arguments: &[&str]) -> Applied {
    match arguments {
        [field] if field.eq_ignore_ascii_case("CN") => HARMLESS,
        _ => Err("names are checked in the common name only; remove it".into()),
    }
}

/// `remote-cert-tls server`: key usage must be there, and the extended key usage that OpenVPN wants of a server.
pub(in super::super) fn remote_cert_tls(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let eku = match one(arguments)? {
        "server" => SERVER_AUTH,
        "client" => CLIENT_AUTH,
        _ => return Err("write `remote-cert-tls server`".into()),
    };
    cx.draft.server.key_usage = Some(Vec::new());
    cx.draft.server.extended_key_usage = Some(eku.to_owned());
    APPLIED
}

/// `remote-cert-ku [HEX…]`.
pub(in super::super) fn remote_cert_ku(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let mask = |word: &&str| u16::from_str_radix(word.strip_prefix("0x").unwrap_or(word), 16);
    let masks: Result<Vec<u16>, _> = arguments.iter().map(mask).collect();
    let masks = masks.map_err(|_| "its values are hexadecimal numbers such as a0")?;
    if masks.contains(&0) {
        return Err("0 would accept every certificate; write `remote-cert-tls server`".into());
    }
    cx.draft.server.key_usage = Some(masks);
    APPLIED
}

pub(in super::super) fn remote_cert_eku(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let oid = match one(arguments)? {
        "TLS Web Server Authentication" | "serverAuth" => SERVER_AUTH,
        "TLS Web Client Authentication" | "clientAuth" => CLIENT_AUTH,
        word if word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.') => word,
        _ => return Err("write the usage as a number, such as 1.3.6.1.5.5.7.3.1".into()),
    };
    cx.draft.server.extended_key_usage = Some(oid.to_owned());
    APPLIED
}

pub(in super::super) fn ns_cert_type(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    match one(arguments)? {
        "server" => cx.draft.server.netscape_server = true,
        "client" => {
            return Err("this is for servers; write `ns-cert-type server`, or better `remote-cert-tls server`".into());
        }
        _ => return Err("write `remote-cert-tls server`".into()),
    }
    APPLIED
}

/// `tls-version-min VERSION [or-highest]`.
pub(in super::super) fn tls_version_min(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let (version, or_highest) = match arguments {
        [version] => (*version, false),
        [version, "or-highest"] => (*version, true),
        _ => return Err("write `tls-version-min 1.2`".into()),
    };
    cx.draft.settings.tls.min = Some(match version {
        "1.0" | "1.1" => return lossy("TLS 1.2 is the lowest version that is supported"),
        "1.2" => TlsVersion::V1_2,
        "1.3" => TlsVersion::V1_3,
        _ if or_highest => TlsVersion::V1_3,
        _ => return Err("the version is unknown; write 1.2 or 1.3".into()),
    });
    APPLIED
}

pub(in super::super) fn tls_version_max(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.draft.settings.tls.max = Some(match one(arguments)? {
        "1.0" | "1.1" => return Err("versions below TLS 1.2 are not secure and not supported; remove it".into()),
        "1.2" => TlsVersion::V1_2,
        "1.3" => TlsVersion::V1_3,
        _ => return Err("the version is unknown; write 1.2 or 1.3".into()),
    });
    APPLIED
}

/// Suites of TLS 1.2. Keywords of OpenSSL such as `DEFAULT` and `@SECLEVEL=0` mean nothing here.
pub(in super::super) fn tls_cipher(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let (known, unknown) = choose(one(arguments)?, tls12_suite);
    if known.is_empty() {
        return lossy("none of its suites is supported; the usual ones with ECDHE and AEAD are used");
    }
    cx.draft.settings.tls.ciphers = known;
    unknown_names(&unknown)
}

pub(in super::super) fn tls_ciphersuites(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let (known, unknown) = choose(one(arguments)?, |name| TLS13_SUITES.into_iter().find(|suite| *suite == name));
    if known.is_empty() {
        return Err("none of these suites is supported; add TLS_AES_256_GCM_SHA384".into());
    }
    cx.draft.settings.tls.ciphersuites = known;
    unknown_names(&unknown)
}

pub(in super::super) fn tls_groups(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let group = |name: &str| match name.to_ascii_lowercase().as_str() {
        "x25519" => Some("X25519"),
        "p-256" | "prime256v1" | "secp256r1" => Some("secp256r1"),
        "p-384" | "secp384r1" => Some("secp384r1"),
        _ => None,
    };
    let (known, unknown) = choose(one(arguments)?, group);
    if known.is_empty() {
        return Err("none of these groups is supported; add X25519".into());
    }
    cx.draft.settings.tls.groups = known;
    unknown_names(&unknown)
}

pub(in super::super) fn tls_cert_profile(_: &mut Context<'_>, arguments: &[&str]) -> Applied {
    match one(arguments)? {
        "preferred" => HARMLESS,
        "legacy" | "insecure" => lossy("certificates need SHA-256 and RSA keys of 2048 bits, or elliptic curves"),
        "suiteb" => Err("it would allow other certificates than suite B; write preferred".into()),
        _ => Err("the profile is unknown; write preferred".into()),
    }
}

/// Sorts a list with colons into names we know, in our spelling, and others.
fn choose(list: &str, find: impl Fn(&str) -> Option<&'static str>) -> (Vec<String>, Vec<&str>) {
    let mut known: Vec<String> = Vec::new();
    let mut unknown = Vec::new();
    for name in list.split(':').filter(|name| !name.is_empty()) {
        match find(name) {
            Some(name) if known.iter().any(|other| other == name) => {}
            Some(name) => known.push(name.to_owned()),
            // What is excluded need not be supported.
            None if name.starts_with('!') => {}
            None => unknown.push(name),
        }
    }
    (known, unknown)
}

fn unknown_names(names: &[&str]) -> Applied {
    if names.is_empty() { APPLIED } else { lossy(format!("not supported: {}", super::clean(&names.join(", ")))) }
}

/// OpenVPN's spelling of a suite of TLS 1.2, from that or OpenSSL's.
fn tls12_suite(name: &str) -> Option<&'static str> {
    let found = |suite: &&(&str, &str)| suite.0.eq_ignore_ascii_case(name) || suite.1.eq_ignore_ascii_case(name);
    TLS12_SUITES.iter().find(found).map(|suite| suite.0)
}

/// Those rustls has: OpenVPN's name, OpenSSL's name.
const TLS12_SUITES: [(&str, &str); 6] = [
    ("TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("TLS-ECDHE-ECDSA-WITH-CHACHA20-POLY1305-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ("TLS-ECDHE-RSA-WITH-AES-256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
    ("TLS-ECDHE-RSA-WITH-AES-128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    ("TLS-ECDHE-RSA-WITH-CHACHA20-POLY1305-SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
];

/// Those rustls has.
const TLS13_SUITES: [&str; 3] = ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"];

/// `id-kp-serverAuth` (RFC 5280 §4.2.1.12).
const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";

/// `id-kp-clientAuth` (RFC 5280 §4.2.1.12).
const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";

/// Most fingerprints; our judgement.
const MAX_FINGERPRINTS: usize = 64;
