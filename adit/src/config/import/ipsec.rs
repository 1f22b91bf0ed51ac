//! `ipsec.conf` and `ipsec.secrets`: the older files of strongSwan.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    Import, Value,
    dirs::{Store, matching},
    ike::{Connection, Credential, CredentialKind, End, Said, flag, is_anybody, seconds, secret},
};
use crate::{
    config::{
        Problems,
        files::{read, without_mark},
    },
    error::Error,
};

/// Files within files, and sections that name others.
const MAX_DEPTH: usize = 10;

/// A section of the file.
#[derive(Debug, Clone, Default)]
struct Section {
    place: String,
    /// In their order; a later one takes the place of an earlier one.
    keys: Vec<Said>,
}

pub(super) fn import(path: &Path, bytes: &[u8], import: &mut Import, problems: &mut Problems) -> Option<()> {
    let errors = problems.errors();
    let mut file = File::default();
    file.parse(path, bytes, 0, problems);
    if problems.errors() > errors {
        return None;
    }
    let store = Store::of_ipsec(path);
    let secrets = path.with_file_name("ipsec.secrets");
    let mut credentials = Vec::new();
    if secrets.is_file() {
        problems.file(secrets.clone());
        read_secrets(&secrets, 0, &mut credentials, import);
    } else {
        import.lose(
            "ipsec.secrets",
            "secrets",
            "there is no such file beside this one: what would be in it is asked for",
        );
    }
    for said in &file.setup {
        let why = match said.key.as_str() {
            "uniqueids" => "that is the gateway's matter; `initial_contact = false` leaves older sessions alone",
            "charondebug" => "`--verbose` and ADIT_LOG say how much is logged",
            "strictcrlpolicy" => {
                "nothing is fetched to see what was revoked; `crl = [\"…\"]` names lists, which are then needed for every certificate"
            }
            _ => "this is about strongSwan's own processes",
        };
        import.lose(&said.place, &said.key, why);
    }
    let mut authorities = Vec::new();
    for (name, section) in &file.authorities {
        let is_ignored = section.keys.iter().any(|said| said.key == "auto" && said.value == "ignore");
        for said in &section.keys {
            match said.key.as_str() {
                "cacert" if is_ignored => import.lose(
                    &said.place,
                    format_args!("ca {name}: cacert"),
                    "with `auto=ignore`, nobody is vouched for by it",
                ),
                "cacert" => authorities.push(said.value.clone()),
                // Whether it counts, which was looked at.
                "auto" => {}
                _ => import.lose(
                    &said.place,
                    format_args!("ca {name}: {}", said.key),
                    "nothing is fetched to see what was revoked",
                ),
            }
        }
    }
    for (name, section) in &file.connections {
        if name == "%default" {
            continue;
        }
        let whole = file.whole(section, problems, 0);
        // A section that only others take over, as `also` has it.
        let used = file
            .connections
            .iter()
            .any(|(_, other)| other.keys.iter().any(|said| said.key == "also" && said.value == *name));
        let reached = whole.keys.iter().any(|said| matches!(said.key.as_str(), "left" | "right"));
        if used && !reached {
            continue;
        }
        if let Some(mut made) = connection(name, &whole, import) {
            if made.theirs.authorities.is_empty() {
                made.theirs.authorities.clone_from(&authorities);
            }
            made.finish(&store, &credentials, import);
        }
    }
    (problems.errors() == errors).then_some(())
}

#[derive(Default)]
struct File {
    setup: Vec<Said>,
    connections: Vec<(String, Section)>,
    authorities: Vec<(String, Section)>,
}

impl File {
    fn parse(&mut self, path: &Path, bytes: &[u8], depth: usize, problems: &mut Problems) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = String::from_utf8_lossy(without_mark(bytes)).into_owned();
        let mut current = Current::Nothing;
        for (number, line) in lines(&text) {
            let place = format!("{name} line {number}");
            let Some(line) = line else {
                problems.error(Error::at(&place, "a quotation mark is not closed"));
                continue;
            };
            let indented = line.starts_with([' ', '\t']);
            if let Some((key, value)) = line.split_once('=').filter(|_| indented) {
                let said = Said { place: place.clone(), key: key.trim().to_owned(), value: unquoted(value.trim()) };
                match current {
                    Current::Nothing => problems.error(Error::at(&place, "this key is in no section")),
                    Current::Setup => self.setup.push(said),
                    Current::Connection(index) => self.connections[index].1.keys.push(said),
                    Current::Authority(index) => self.authorities[index].1.keys.push(said),
                }
                continue;
            }
            let header = line.trim().split_once(char::is_whitespace).map(|(word, name)| (word, name.trim()));
            // A name with blanks has quotation marks.
            let header = header.filter(|(_, name)| name.starts_with('"') || !name.contains(char::is_whitespace));
            let name = header.map(|(_, name)| unquoted(name)).unwrap_or_default();
            let words: Vec<_> = header.map(|(word, _)| [word, name.as_str()]).into_iter().flatten().collect();
            match words[..] {
                ["config", "setup"] => current = Current::Setup,
                ["conn", section] => current = Current::Connection(open(&mut self.connections, section, &place)),
                ["ca", section] => current = Current::Authority(open(&mut self.authorities, section, &place)),
                ["version", _] => {}
                ["include", pattern] if depth < MAX_DEPTH => {
                    let beside = path.parent().unwrap_or_else(|| Path::new(""));
                    for file in matching(&beside.join(pattern)) {
                        problems.file(file.clone());
                        match read(&file) {
                            Ok(bytes) => self.parse(&file, &bytes, depth + 1, problems),
                            Err(error) => {
                                problems.error(Error::at(&place, format!("cannot read {}: {error}", file.display())));
                            }
                        }
                    }
                    current = Current::Nothing;
                }
                ["include", _] => problems.error(Error::at(&place, "files include each other too deeply")),
                _ => problems.error(
                    Error::at(&place, "this is neither a section nor a key of one")
                        .hint("keys are indented, and have a `=`"),
                ),
            }
        }
    }

    /// With what `also` and `%default` add.
    fn whole(&self, section: &Section, problems: &mut Problems, depth: usize) -> Section {
        let mut keys: BTreeMap<String, Said> = BTreeMap::new();
        let mut order = Vec::new();
        let mut add = |said: Said, replace: bool| {
            if !keys.contains_key(&said.key) {
                order.push(said.key.clone());
            }
            if replace || !keys.contains_key(&said.key) {
                keys.insert(said.key.clone(), said);
            }
        };
        for said in section.keys.iter().filter(|said| said.key != "also") {
            add(said.clone(), true);
        }
        // Of several the last one is right.
        for said in section.keys.iter().rev().filter(|said| said.key == "also") {
            match self.connections.iter().find(|(name, _)| *name == said.value) {
                Some(_) if depth >= MAX_DEPTH => {
                    problems.error(Error::at(&said.place, "sections take each other over in a circle"));
                }
                Some((_, other)) => {
                    self.whole(other, problems, depth + 1).keys.into_iter().for_each(|said| add(said, false))
                }
                None => {
                    let error = format!("there is no `conn {}`", said.value.escape_debug());
                    problems.error(Error::at(&said.place, error).hint("correct `also`"));
                }
            }
        }
        if let Some((_, default)) = self.connections.iter().find(|(name, _)| name == "%default").filter(|_| depth == 0)
        {
            default.keys.iter().filter(|said| said.key != "also").for_each(|said| add(said.clone(), false));
        }
        let found = order.into_iter().filter_map(|key| keys.remove(&key));
        // A key with nothing behind it takes away what `%default` says, and is no key then.
        let keys = found.filter(|said| depth > 0 || !said.value.is_empty()).collect();
        Section { place: section.place.clone(), keys }
    }
}

#[derive(Clone, Copy)]
enum Current {
    Nothing,
    Setup,
    Connection(usize),
    Authority(usize),
}

/// The section of this name, which may have begun before.
fn open(sections: &mut Vec<(String, Section)>, name: &str, place: &str) -> usize {
    sections.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
        sections.push((name.to_owned(), Section { place: place.to_owned(), keys: Vec::new() }));
        sections.len() - 1
    })
}

/// The lines with something in them, by their number, without what stands behind a `#` that is in no quotation marks. What is in
/// quotation marks may go on in the next lines; `None` if they are never closed.
fn lines(text: &str) -> Vec<(usize, Option<String>)> {
    let mut found = Vec::new();
    let (mut line, mut begins, mut number) = (String::new(), 1, 1);
    let (mut quoted, mut escaped, mut comment) = (false, false, false);
    for letter in text.chars() {
        number += usize::from(letter == '\n');
        match letter {
            '\n' if !quoted => {
                found.push((begins, Some(std::mem::take(&mut line))));
                (begins, comment) = (number, false);
                continue;
            }
            _ if comment => continue,
            // An identity may be `@#` and digits.
            '#' if !quoted && !line.ends_with('@') => {
                comment = true;
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && letter == '\\' && !escaped;
        line.push(letter);
    }
    found.push((begins, (!quoted).then_some(line)));
    found.retain(|(_, line)| line.as_ref().is_none_or(|line| !line.trim().is_empty()));
    found
}

/// Without quotation marks, and what a backslash means within them.
fn unquoted(text: &str) -> String {
    let mut plain = String::new();
    let (mut quoted, mut escaped) = (false, false);
    for letter in text.chars() {
        match (escaped, letter) {
            (false, '"') => quoted = !quoted,
            (false, '\\') if quoted => {
                escaped = true;
                continue;
            }
            (true, 'n') => plain.push('\n'),
            (true, 't') => plain.push('\t'),
            (true, 'r') => plain.push('\r'),
            // A line that goes on in the next.
            (true, '\n') => {}
            (_, letter) => plain.push(letter),
        }
        escaped = false;
    }
    plain
}

fn connection(name: &str, section: &Section, import: &mut Import) -> Option<Connection> {
    let value = |key: &str| section.keys.iter().find(|said| said.key == key).map(|said| said.value.as_str());
    if value("keyexchange") == Some("ikev1") {
        import.lose(&section.place, format_args!("conn {name}"), "this is IKEv1, which is not supported");
        return None;
    }
    if matches!(value("type"), Some("passthrough" | "drop" | "pass")) {
        import.lose(&section.place, format_args!("conn {name}"), "it makes no tunnel");
        return None;
    }
    let mut made = Connection { name: name.to_owned(), place: section.place.clone(), ..Connection::default() };
    // The older way to say how both ends prove themselves: it counts for neither where the newer one is used for either.
    let newer = value("leftauth").is_some() || value("rightauth").is_some();
    if let Some(said) = section.keys.iter().find(|said| said.key == "authby" && !newer) {
        made.ours.auth = Some(said.clone());
        made.theirs.auth = Some(said.clone());
    }
    let mut rekeys = true;
    for said in &section.keys {
        rekeys &= !(said.key == "rekey" && flag(&said.value) == Some(false));
        key(said, &mut made, import);
    }
    if !rekeys {
        made.keys.retain(|(key, _)| !["child_rekey_seconds", "ike_rekey_seconds"].contains(key));
        made.keys.push(("child_rekey_seconds", Value::Number(0)));
        made.keys.push(("ike_rekey_seconds", Value::Number(0)));
    }
    Some(made)
}

fn key(said: &Said, made: &mut Connection, import: &mut Import) {
    for (prefix, ours) in [("left", true), ("right", false)] {
        if let Some(key) = said.key.strip_prefix(prefix) {
            let end = if ours { &mut made.ours } else { &mut made.theirs };
            return of_end(key, said, end, import);
        }
    }
    let value = said.value.as_str();
    let lose = |import: &mut Import, why: &str| import.lose(&said.place, &said.key, why);
    match said.key.as_str() {
        "authby" | "rekey" => {}
        "keyexchange" if ["ike", "ikev2"].contains(&value) => {}
        "type" if value == "tunnel" => {}
        "type" => lose(import, "there is tunnel mode alone"),
        "ike" => made.ike_proposals = Some(proposals(said)),
        "esp" => made.esp_proposals = Some(proposals(said)),
        "ah" => lose(import, "AH is not supported"),
        "auto" => match value {
            "start" => made.keys.push(("autostart", Value::Flag(true))),
            "add" | "ignore" => made.keys.push(("autostart", Value::Flag(false))),
            _ => {
                made.keys.push(("autostart", Value::Flag(true)));
                lose(import, "it is connected at start, not by the first packet");
            }
        },
        "eap_identity" => made.ours.eap_id = Some(said.clone()),
        "mobike" | "fragmentation" => {
            let name = if said.key == "mobike" { "mobike" } else { "fragmentation" };
            match (flag(value), value) {
                (Some(flag), _) => made.keys.push((name, Value::Flag(flag))),
                (None, "force" | "accept") => {
                    made.keys.push((name, Value::Flag(true)));
                    lose(import, "messages are fragmented where both ends can");
                }
                (None, _) => lose(import, "neither yes nor no"),
            }
        }
        "compress" if flag(value) == Some(false) => {}
        "compress" => lose(import, "packets are not compressed"),
        "dpddelay" => match seconds(value) {
            Some(0) | None => lose(
                import,
                "whether the gateway lives is always asked, after 30 seconds of silence unless `liveness` says otherwise",
            ),
            Some(seconds) => made.keys.push(("liveness_seconds", Value::Number(seconds))),
        },
        "ikelifetime" => match seconds(value) {
            Some(seconds) => made.keys.push(("ike_rekey_seconds", Value::Number(seconds))),
            None => lose(import, "this is no time"),
        },
        "lifetime" | "keylife" => match seconds(value) {
            Some(seconds) => made.keys.push(("child_rekey_seconds", Value::Number(seconds))),
            None => lose(import, "this is no time"),
        },
        "reauth" if flag(value) == Some(false) => {}
        "reauth" => lose(import, "keys are renewed without proving ourselves again"),
        "forceencaps" if flag(value) == Some(false) => {}
        "forceencaps" => lose(
            import,
            "NAT traversal is used where there is NAT, and always with another port than 500 (`remotes = [\"HOST:4500\"]`)",
        ),
        "dpdaction" | "closeaction" => lose(import, "a connection that was lost is always brought back"),
        "dpdtimeout" | "aggressive" | "modeconfig" | "xauth" | "xauth_identity" | "ikedscp" => {
            lose(import, "it is of IKEv1, or about marks of packets")
        }
        "keyingtries" => lose(import, "it is tried again for as long as it takes"),
        "margintime" | "rekeymargin" | "rekeyfuzz" | "marginbytes" | "marginpackets" | "lifebytes" | "lifepackets" => {
            lose(import, "keys are renewed by time (`child_rekey_seconds`), and before their counters end");
        }
        "aaa_identity" => {
            lose(import, "`eap_tls = { server_name = \"…\" }` says which name the server of EAP-TLS and EAP-TTLS has")
        }
        "replay_window" => match value.parse::<i64>() {
            Ok(size @ 64..=65_536) => made.keys.push(("replay_window", Value::Number(size))),
            _ => lose(import, "the window has 64 to 65536 packets"),
        },
        "inactivity" => lose(import, "an idle connection stays"),
        "mark" | "mark_in" | "mark_out" | "reqid" | "tfc" | "installpolicy" | "hw_offload" => {
            lose(import, "it is about the kernel's part, which does not exist here");
        }
        "mediation" | "mediated_by" | "me_peerid" => lose(import, "mediation is not supported"),
        _ => lose(import, "this key is not known"),
    }
}

fn of_end(key: &str, said: &Said, end: &mut End, import: &mut Import) {
    let value = said.value.as_str();
    let list = || value.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty());
    let lose = |import: &mut Import, why: &str| import.lose(&said.place, &said.key, why);
    match key {
        // With a mark in front: others may call, too. Our own address is asked about when it is known which end is ours.
        "" if is_anybody(value) => {}
        "" => {
            end.addresses = list()
                .map(|address| if is_anybody(&address) { address } else { address.trim_start_matches('%').to_owned() })
                .collect();
            end.addresses_said = Some(said.clone());
        }
        "id" => end.id = Some(said.clone()),
        "auth" => end.auth = Some(said.clone()),
        "cert" => {
            end.certificates.extend(list());
            end.certificates_said = Some(said.clone());
        }
        "ca" if is_anybody(value) => {}
        "ca" => lose(import, "authorities are files: name that of this one in `ca`"),
        "subnet" => end.networks.extend(list().map(|value| Said { value, ..said.clone() })),
        "sourceip" if list().all(|address| ["%config", "%config4", "%config6"].contains(&address.as_str())) => {}
        "sourceip" => lose(import, "an address is asked for, and the gateway chooses which"),
        "dns" => lose(import, "the gateway says which name servers there are"),
        "sendcert" => lose(import, "certificates are asked for and shown where they are needed"),
        "firewall" if flag(value) == Some(false) => {}
        "firewall" | "hostaccess" | "allowany" | "updown" => {
            lose(import, "no script is run, and no rule of a firewall is made")
        }
        "auth2" | "id2" | "cert2" | "ca2" => lose(import, "a second proof (RFC 4739) is not supported"),
        "ikeport" | "protoport" => lose(
            import,
            "`remotes = [\"HOST:PORT\"]` names the port; protocols and ports inside of the tunnel are not chosen",
        ),
        "certpolicy" | "groups" => lose(import, "whoever the authority vouches for is accepted, by `remote_id`"),
        "rsasigkey" | "sigkey" => lose(import, "keys without a certificate are not supported"),
        "nexthop" => lose(import, "the way to the gateway is chosen by the system"),
        _ => lose(import, "this key is not known"),
    }
}

/// Without a `!` behind them, the defaults are proposed, too.
fn proposals(said: &Said) -> Said {
    let value = match said.value.trim_end().strip_suffix('!') {
        Some(strict) => strict.to_owned(),
        None => format!("{},default", said.value),
    };
    Said { value, ..said.clone() }
}

/// `ID ID : KIND "secret"`, a line each.
fn read_secrets(path: &Path, depth: usize, found: &mut Vec<Credential>, import: &mut Import) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Ok(bytes) = read(path) else {
        import.lose(&name, "secrets", "this file cannot be read: what would be in it is asked for");
        return;
    };
    let text = String::from_utf8_lossy(without_mark(&bytes)).into_owned();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name} line {}", number + 1);
        let words = words(line);
        if words.is_empty() {
            continue;
        }
        if let [word, pattern] = &words[..]
            && word == "include"
        {
            let beside = path.parent().unwrap_or_else(|| Path::new(""));
            let files: Vec<PathBuf> = if depth < MAX_DEPTH { matching(&beside.join(pattern)) } else { Vec::new() };
            files.iter().for_each(|file| read_secrets(file, depth + 1, found, import));
            continue;
        }
        let Some(at) = words.iter().position(|word| word == ":") else {
            import.lose(&place, "secret", "this line has no ` : `");
            continue;
        };
        let (ids, rest) = (words[..at].to_vec(), &words[at + 1..]);
        let given = |text: Option<&String>| text.filter(|text| !text.starts_with('%')).map(|text| secret(text));
        let (kind, secret) = match rest {
            [kind, text] if kind == "PSK" => (CredentialKind::Psk, given(Some(text))),
            [kind, text] if kind == "EAP" || kind == "XAUTH" => (CredentialKind::Eap, given(Some(text))),
            [kind, text] if kind == "NTLM" => (CredentialKind::NtHash, given(Some(text))),
            [kind, file, more @ ..] if ["RSA", "ECDSA", "PKCS8", "BLISS"].contains(&kind.as_str()) => {
                (CredentialKind::Key(file.clone()), given(more.first()))
            }
            [kind, file, more @ ..] if kind == "P12" => (CredentialKind::Pkcs12(file.clone()), given(more.first())),
            [kind, ..] if kind == "PIN" => {
                import.lose(&place, "PIN", "smart cards are not supported");
                continue;
            }
            _ => {
                import.lose(&place, "secret", "a secret of this kind has no use here");
                continue;
            }
        };
        found.push(Credential { kind, ids, secret, place });
    }
}

/// Words, of which some are in quotation marks; a colon is one of its own where it stands alone or behind an identity.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '#' {
            break;
        }
        if first == '"' || first == '\'' {
            let inner = &rest[1..];
            let end = inner.find(first).unwrap_or(inner.len());
            words.push(inner[..end].to_owned());
            rest = inner.get(end + 1..).unwrap_or_default().trim_start();
            continue;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let word = &rest[..end];
        match word.strip_suffix(':').filter(|id| !id.is_empty() && !words.contains(&":".to_owned())) {
            Some(id) => words.extend([id.to_owned(), ":".to_owned()]),
            None => words.push(word.to_owned()),
        }
        rest = rest[end..].trim_start();
    }
    words
}
