//! Profiles of OpenVPN and of strongSwan's Android client.

use std::{collections::HashMap, path::Path};

use adit_tunnel::Secret;
use base64::{Engine, prelude::BASE64_STANDARD};
use openvpn::{Outcome, Profile, ProfileError, Refusal};
use serde_json::{Map, Value as Json};

use super::{Import, Made, Value};
use crate::{
    config::{Problems, files::without_mark, reading::Reading, sswan as native},
    error::Error,
};

/// The profile is what describes the connection best: it is kept, and named.
pub(super) fn ovpn(path: &Path, bytes: &[u8], import: &mut Import, reading: &mut Reading<'_>) -> Option<()> {
    let beside = path.parent().unwrap_or_else(|| Path::new(""));
    let mut load = |file: &str| reading.file(&beside.join(file)).map_err(|error| error.to_string());
    let mut plain = None;
    let profile = match Profile::parse(bytes, &mut load) {
        Ok(profile) => profile,
        Err(error) => {
            // Without what is not supported, it may be of use.
            plain = Plain::of(bytes, beside, &error);
            let again = plain.as_ref().map(|plain| Profile::parse(plain.text.as_bytes(), &mut load));
            match again {
                Some(Ok(profile)) => profile,
                again => {
                    let place = format!("profile {}", path.display());
                    let again = again.and_then(Result::err);
                    let again = again.iter().flat_map(ProfileError::refusals);
                    let others = again.filter(|refusal| !error.refusals().contains(refusal));
                    for refusal in error.refusals().iter().chain(others) {
                        reading.problems.error(Error::at(&place, refusal));
                    }
                    return None;
                }
            }
        }
    };
    for (line, directive, why) in plain.iter().flat_map(|plain| &plain.left_out) {
        import.lose(format_args!("line {line}"), directive, why);
    }
    for outcome in profile.outcomes() {
        if let Outcome::Lossy(why) = &outcome.outcome {
            import.lose(format_args!("line {}", outcome.line), &outcome.directive, why);
        }
    }
    let mut made = Made::new(stem(path));
    made.text("protocol", "openvpn");
    match plain {
        Some(plain) => {
            made.note(
                "The profile is another one, without what is not supported: what else was said in it stays there.",
            );
            let what = format!("{} without what is not supported, and with whole paths", path.display());
            let file = import.new_file(format!("{}-plain.ovpn", made.name), what, Secret::new(plain.text));
            made.set("profile", Value::NewFile(file));
        }
        None => {
            made.note("The profile is used as it is: what is said in it stays there.");
            made.set("profile", Value::Path(path.to_owned()));
        }
    }
    import.connections.push(made);
    Some(())
}

/// A profile that asks for compression by LZO, or for what else is not supported, without that.
struct Plain {
    text: String,
    /// The numbers of their lines, their names, and why.
    left_out: Vec<(usize, String, String)>,
}

const COMPRESSION: &str = "LZO compression is not supported: the profile that is made says `comp-lzo no`, which works if the server \
                           compresses nothing by itself; else switch it off there";

/// Directives that are never left out by themselves: without the one another gateway might be trusted, with the other gone files
/// would be looked for elsewhere.
const FOR_THE_USER: [&str; 2] = ["verify-x509-name", "cd"];

impl Plain {
    /// `None`: it asks for no such thing. Files that it names beside it, at `beside`, are named by their whole path: the new one
    /// may stand elsewhere.
    fn of(bytes: &[u8], beside: &Path, error: &ProfileError) -> Option<Self> {
        let text = std::str::from_utf8(without_mark(bytes)).ok()?;
        let beside = std::path::absolute(if beside.as_os_str().is_empty() { Path::new(".") } else { beside }).ok()?;
        let removable =
            |refusal: &&Refusal| refusal.is_cured_by_removal() && !FOR_THE_USER.contains(&refusal.directive.as_str());
        let mut refusals = HashMap::new();
        for refusal in error.refusals().iter().filter(removable) {
            if let Some(line) = refusal.line {
                refusals.entry(line).or_insert(refusal);
            }
        }
        let mut plain = Self { text: String::new(), left_out: Vec::new() };
        let mut block: Option<Block> = None;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let trimmed = line.trim();
            let mut kept = line.to_owned();
            if let Some(Block { end, is_kept }) = block.take() {
                if trimmed != end {
                    block = Some(Block { end, is_kept });
                }
                if !is_kept {
                    continue;
                }
            } else {
                let (directive, rest) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
                let rest = rest.trim();
                let refusal = refusals.get(&number).copied();
                if let Some(name) = trimmed.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
                    block = Some(Block { end: format!("</{name}>"), is_kept: refusal.is_none() });
                }
                match (directive, rest.split(char::is_whitespace).next().unwrap_or_default()) {
                    ("comp-lzo", "" | "yes" | "adaptive") | ("compress", "lzo") => {
                        plain.left_out.push((number, directive.to_owned(), COMPRESSION.to_owned()));
                        kept = "comp-lzo no".to_owned();
                    }
                    _ if NAMES_A_FILE.contains(&directive) && refusal.is_none() => {
                        kept = moved(directive, rest, &beside)
                    }
                    _ => {}
                }
                if let Some(Refusal { directive: name, reason, .. }) = refusal.filter(|_| kept == line) {
                    let why = format!("{reason}. The profile that is made is without it");
                    plain.left_out.push((number, name.clone(), why));
                    // Its values may be nobody's business.
                    kept = format!("# left out: {name}");
                }
            }
            plain.text.push_str(&kept);
            plain.text.push('\n');
        }
        (!plain.left_out.is_empty()).then_some(plain)
    }
}

/// Lines that stand in the profile itself, and whether they stay there.
struct Block {
    end: String,
    is_kept: bool,
}

/// Directives whose first value is a file.
const NAMES_A_FILE: &[&str] = &[
    "askpass",
    "auth-user-pass",
    "ca",
    "cert",
    "crl-verify",
    "extra-certs",
    "http-proxy-user-pass",
    "key",
    "pkcs12",
    "secret",
    "tls-auth",
    "tls-crypt",
    "tls-crypt-v2",
];

/// The same directive, its file named from the root.
fn moved(directive: &str, values: &str, beside: &Path) -> String {
    let quote = values.chars().next().filter(|quote| ['"', '\''].contains(quote));
    let (file, rest) = match quote {
        Some(quote) => values.get(1..).and_then(|inner| inner.split_once(quote)).unwrap_or((values, "")),
        None => values.find(char::is_whitespace).map_or((values, ""), |end| values.split_at(end)),
    };
    if file.is_empty() || file == "[inline]" || Path::new(file).is_absolute() {
        return format!("{directive} {values}").trim_end().to_owned();
    }
    format!("{directive} {}{rest}", super::write::quoted(&beside.join(file).to_string_lossy()))
}

/// What to call the connection of a file that does not say it.
fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// JSON with certificates inside.
pub(super) fn sswan(path: &Path, bytes: &[u8], import: &mut Import, problems: &mut Problems) -> Option<()> {
    let place = path.display().to_string();
    // Whatever makes it unusable as it is, makes it unusable here.
    native::parse(&place, bytes, problems)?;
    let root: Map<String, Json> = serde_json::from_slice(without_mark(bytes)).unwrap_or_default();
    let text = |value: &Json| value.as_str().map(str::to_owned);
    let mut made =
        Made::new(root.get("name").and_then(text).filter(|name| !name.is_empty()).unwrap_or_else(|| stem(path)));
    made.text("protocol", "ikev2");
    let name = made.name.clone();
    let mut profile = Object { import, name: &name, prefix: "" };
    profile.members(&root, &mut made);
    import.connections.push(made);
    Some(())
}

struct Object<'a> {
    import: &'a mut Import,
    name: &'a str,
    prefix: &'static str,
}

const TUNNELED: &str =
    "only what is forwarded enters the tunnel; in TUN mode, `tun = { routing = […] }` says what does";

impl Object<'_> {
    fn members(&mut self, members: &Map<String, Json>, made: &mut Made) {
        // In an order that reads well; an order of its own for what is not known.
        for key in ["remote", "type", "local"] {
            if let Some(value) = members.get(key) {
                self.member(key, value, made);
            }
        }
        for (key, value) in members {
            if !["remote", "type", "local"].contains(&key.as_str()) && !value.is_null() {
                self.member(key, value, made);
            }
        }
    }

    fn member(&mut self, key: &str, value: &Json, made: &mut Made) {
        let text = || value.as_str().unwrap_or_default().to_owned();
        match (self.prefix, key) {
            ("", "uuid" | "name") => {}
            ("", "type") => match value.as_str().unwrap_or_default() {
                "ikev2-cert" => made.text("auth", "certificate"),
                "ikev2-eap-tls" => {
                    made.text("auth", "eap");
                    made.set("eap", Value::Texts(vec!["tls".into()]));
                }
                _ => {
                    made.text("auth", "eap");
                    made.set("eap", Value::Texts(["mschapv2", "gtc", "md5"].map(Into::into).into()));
                }
            },
            ("", "remote" | "local") => {
                let prefix = if key == "remote" { "remote." } else { "local." };
                let Some(members) = value.as_object() else { return };
                if prefix == "remote." {
                    self.address(members, made);
                }
                Object { import: self.import, name: self.name, prefix }.members(members, made);
            }
            ("", "ike-proposal") => made.text("ike_proposals", text()),
            ("", "esp-proposal") => made.text("esp_proposals", text()),
            ("", "mtu") => made.set("mtu", Value::Number(value.as_i64().unwrap_or_default())),
            ("", "nat-keepalive") => {
                made.set("nat_keepalive_seconds", Value::Number(value.as_i64().unwrap_or_default()))
            }
            ("", "ipv6-transport") if *value == Json::Bool(true) => {}
            ("", "ipv6-transport") => self.lose(
                key,
                "the gateway is reached by IPv6, too, where it has such an address; name its IPv4 address in `remotes`",
            ),
            ("", "split-tunneling" | "apps" | "excluded-apps") => self.lose(key, TUNNELED),
            ("", "proxy") => self.lose(key, "nothing here uses a proxy"),
            ("", "dns-servers") => self.lose(key, "names are asked of the DNS servers that the gateway names"),
            ("remote.", "addr" | "port") => {}
            ("remote.", "id") => made.text("remote_id", text()),
            ("remote.", "cert") => {
                let file = self.file("ca.crt", "the certificate of the authority", value);
                made.set("ca", Value::NewFiles(vec![file]));
            }
            ("remote.", "certreq") if *value == Json::Bool(true) => {}
            ("remote.", "certreq") => self.lose(key, "the gateway is asked for its certificate"),
            ("remote.", "revocation") => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    if *value != Json::Bool(false) {
                        self.lose(
                            &format!("revocation.{key}"),
                            "nothing is fetched to see what was revoked; `crl = [\"…\"]` names lists",
                        );
                    }
                }
            }
            ("local.", "eap_id") => made.text("user", text()),
            ("local.", "id") => made.text("local_id", text()),
            ("local.", "shared_secret") => {
                let what = format!("the password, `{}{key}` of the profile, on a line", self.prefix);
                let content = Secret::new([text().as_bytes(), b"\n"].concat());
                let file = self.import.new_file(format!("{}-password.txt", self.name), what, content);
                made.set("password", Value::NewSecret(file));
            }
            ("local.", "p12") => {
                let file = self.file("client.p12", "our certificate and key", value);
                made.set("pkcs12", Value::NewFile(file));
            }
            ("local.", "rsa-pss") => {
                if *value == Json::Bool(true) {
                    made.text("signature", "rsa-pss");
                }
            }
            _ => self.lose(key, "this key is not known"),
        }
    }

    fn address(&self, members: &Map<String, Json>, made: &mut Made) {
        let host = members.get("addr").and_then(Json::as_str).unwrap_or_default();
        let remote = match members.get("port").and_then(Json::as_u64) {
            Some(port) if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}"),
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        made.set("remotes", Value::Texts(vec![remote]));
    }

    /// Base64, perhaps on several lines: that it is was seen before.
    fn file(&mut self, name: &str, what: &str, value: &Json) -> String {
        let text: String = value.as_str().unwrap_or_default().split_whitespace().collect();
        let content = Secret::new(BASE64_STANDARD.decode(text).unwrap_or_default());
        let key = if name.starts_with("ca") { "cert" } else { "p12" };
        let what = format!("{what}, `{}{key}` of the profile, decoded from base64", self.prefix);
        self.import.new_file(format!("{}-{name}", self.name), what, content)
    }

    fn lose(&mut self, key: &str, why: &str) {
        let file = self.import.source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.import.lose(file, format_args!("{}{key}", self.prefix), why);
    }
}
