//! Which keys a connection of a TOML file has, and what each may be: checked before anything is made of them, so that what is
//! wrong is said in words of the file.

use std::{collections::BTreeSet, ops::Range};

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

/// What a key may be.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// A list; a single text stands for a list of one.
    Texts,
    Choice(&'static [&'static str]),
    /// A list of these, as [`Kind::Texts`].
    Choices(&'static [&'static str]),
    Flag,
    /// From, to.
    Number(i64, i64),
    Secret,
    Table(&'static [(&'static str, Self)]),
    /// A list of tables; a single one stands for a list of one.
    Tables(&'static [(&'static str, Self)]),
    /// A table of tables, each under a name that is free to choose.
    Named(&'static [(&'static str, Self)]),
    /// Any of these, which are written in different ways.
    Either(&'static [Self]),
}

use Kind::{Choice, Choices, Either, Flag, Named, Number, Secret, Table, Tables, Text, Texts};

/// How mistakes are spoken of in a kind of file.
pub(super) struct Manner {
    /// The example that has every key.
    pub(super) example: &'static str,
    /// What to write for a secret.
    pub(super) secret: &'static str,
    /// Each protocol with its keys, if one is easily taken for the other.
    pub(super) protocols: &'static [(&'static str, &'static [(&'static str, Kind)])],
}

/// Files of connections.
pub(super) const CONNECTION: Manner = Manner {
    example: "examples/connections.toml",
    secret: "write `{ file = \"…\" }`, `{ env = \"…\" }` or `{ credential = \"…\" }`, or leave it away to be asked",
    // What one of them has in keys, the other has in its profile.
    protocols: &[],
};

/// A mistake, where it is, and what can be done about it. Never quotes a value that may be a secret.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) span: Range<usize>,
    pub(super) problem: String,
    pub(super) hint: String,
}

/// What is wrong with a table and those inside of it.
#[derive(Debug, Default)]
pub(super) struct Mistakes {
    pub(super) list: Vec<Mistake>,
    pub(super) spoiled: Spoiled,
}

/// Keys that somebody wrote, and wrote wrong: what may have to be there is not missing where it is among them.
#[derive(Debug, Default)]
pub(super) struct Spoiled(BTreeSet<(usize, String)>);

impl Spoiled {
    /// `table`: where the table begins.
    pub(super) fn has(&self, table: usize, key: &str) -> bool {
        self.0.contains(&(table, key.to_owned()))
    }

    pub(super) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

/// Keys of `protocol = "openvpn"`, without the protocol.
pub(super) const OPENVPN: &[(&str, Kind)] =
    &[("profile", Text), ("user", Text), ("password", Secret), ("passphrase", Secret)];

/// Keys of `protocol = "ikev2"`, without the protocol.
pub(super) const IKEV2: &[(&str, Kind)] = &[
    ("remotes", Texts),
    ("ca", Texts),
    ("user", Text),
    ("password", Secret),
    ("psk", Secret),
    ("certificate", Text),
    ("key", Text),
    ("pkcs12", Text),
    ("remote_id", Text),
    ("local_id", Text),
    ("passphrase", Secret),
    ("nt_hash", Secret),
    ("crl", Texts),
    ("send_remote_id", Flag),
    ("auth", Choice(&["psk", "certificate", "eap"])),
    ("eap", Choices(&["mschapv2", "tls", "ttls", "gtc", "md5"])),
    ("eap_tls", Table(EAP_TLS)),
    ("ttls", Table(TTLS)),
    ("ike_proposals", Text),
    ("esp_proposals", Text),
    ("legacy", Flag),
    ("signature", Choice(&["auto", "rsa-pkcs1", "rsa-pss", "method1"])),
    ("remote_ts", Texts),
    ("fragment_size", Number(296, 1500)),
    ("fragmentation", Flag),
    ("mobike", Flag),
    ("initial_contact", Flag),
    ("liveness_seconds", Number(1, MAX)),
    ("nat_keepalive_seconds", Number(1, MAX)),
    ("child_rekey_seconds", Number(0, MAX)),
    ("ike_rekey_seconds", Number(0, MAX)),
    ("retransmit", Table(RETRANSMIT)),
    ("replay_window", Number(64, 65_536)),
    ("mtu", Number(576, 65_535)),
];

const EAP_TLS: &[(&str, Kind)] =
    &[("ca", Texts), ("crl", Texts), ("server_name", Text), ("min_version", VERSION), ("max_version", VERSION)];
const VERSION: Kind = Choice(&["1.2", "1.3"]);
const TTLS: &[(&str, Kind)] =
    &[("inner", Choice(&["pap", "mschapv2", "eap-md5", "eap-mschapv2", "eap-gtc"])), ("anonymous_identity", Text)];
const RETRANSMIT: &[(&str, Kind)] =
    &[("first_ms", Number(1, MAX)), ("limit_ms", Number(1, MAX)), ("tries", Number(1, 20))];

const MAX: i64 = u32::MAX as i64;

/// What people write for a key, with what they mean.
const ALIASES: &[(&str, &str)] = &[
    ("password_file", "`password = { file = \"…\" }`"),
    ("psk_file", "`psk = { file = \"…\" }`"),
    ("askpass", "`passphrase = { file = \"…\" }`"),
    ("passphrase_file", "`passphrase = { file = \"…\" }`"),
    ("host", "`remotes`"),
    ("gateway", "`remotes`"),
    ("server", "`remotes`"),
    ("addr", "`remotes`"),
    ("address", "`remotes`"),
    ("cert", "`certificate`"),
    ("p12", "`pkcs12`"),
    ("username", "`user`"),
    ("config", "`profile`"),
    ("user", "`users.NAME = { password = { file = \"…\" } }`"),
    ("users_file", "`users.NAME = { password = { file = \"…\" } }`"),
    ("ca", "`client_ca`"),
    ("crl", "`client_crl`"),
    ("local_id", "`identity`"),
    ("local", "`listen`"),
    ("port", "`listen`"),
    ("bind", "`listen`"),
    ("rightsourceip", "`pool`"),
    ("local_ts", "`routes`"),
    ("cipher", "`data_ciphers_fallback`"),
    ("verify_client_cert", "`client_certificate`"),
];

/// So many keys are named where none is near.
const KEYS_NAMED: usize = 10;

/// Checks every key of the table that begins at `start`, and makes lists of single texts. What is wrong is taken out of the
/// table, and into the list.
pub(super) fn check(
    table: &mut DeTable<'_>,
    start: usize,
    keys: &[(&str, Kind)],
    within: &str,
    manner: &Manner,
    mistakes: &mut Mistakes,
) {
    let mut wrong = Vec::new();
    for (key, value) in table.iter_mut() {
        let name = key.get_ref().as_ref();
        let before = mistakes.list.len();
        let usable = match keys.iter().find(|(known, _)| *known == name) {
            Some((_, kind)) => of_kind(value, *kind, &format!("{within}{name}"), manner, mistakes),
            None => {
                let problem = format!("unknown key `{within}{}`", name.escape_debug());
                let hint = elsewhere(name, within, manner).unwrap_or_else(|| meant(name, keys, manner));
                mistakes.list.push(Mistake { span: key.span(), problem, hint });
                mistakes.spoiled.0.extend(key_meant(name, keys).map(|key| (start, key.to_owned())));
                false
            }
        };
        if mistakes.list.len() > before {
            mistakes.spoiled.0.insert((start, name.to_owned()));
        }
        if !usable {
            wrong.push(name.to_owned());
        }
    }
    for name in wrong {
        table.remove(name.as_str());
    }
}

/// Whether anything is left of the value that can be used.
fn of_kind(value: &mut Spanned<DeValue<'_>>, kind: Kind, name: &str, manner: &Manner, mistakes: &mut Mistakes) -> bool {
    let span = value.span();
    let mut wrong = |wanted: &str, hint: &str| {
        let problem = format!("`{name}` has to be {wanted}");
        mistakes.list.push(Mistake { span: span.clone(), problem, hint: hint.to_owned() });
        false
    };
    let found = value.get_ref();
    match kind {
        Text => found.is_str() || wrong("a text", &format!("write `{name} = \"…\"`")),
        Flag => {
            let hint = if found.is_str() {
                "without quotation marks".to_owned()
            } else {
                format!("write `{name} = true`, or false")
            };
            found.is_bool() || wrong("true or false", &hint)
        }
        Number(from, to) => {
            let number = found.as_integer().and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
            // A number in quotation marks is found as a text; what is beyond the bounds lacks nothing else.
            let hint = if found.is_str() {
                "without quotation marks".to_owned()
            } else if number.is_some_and(|number| number > to) {
                format!("write `{name} = {to}`, or less, down to {from}")
            } else {
                format!("write `{name} = {from}`, or more, up to {to}")
            };
            number.is_some_and(|number| (from..=to).contains(&number))
                || wrong(&format!("a whole number from {from} to {to}"), &hint)
        }
        Choice(choices) => {
            found.as_str().is_some_and(|text| choices.contains(&text))
                || wrong(&format!("one of {}", quoted(choices)), &format!("write `{name} = \"{}\"`", choices[0]))
        }
        Texts => each(value, name, Text, manner, mistakes),
        Choices(choices) => each(value, name, Choice(choices), manner, mistakes),
        Either(kinds) => match kinds.iter().find(|kind| kind.is_written_as(found)) {
            Some(kind) => of_kind(value, *kind, name, manner, mistakes),
            None => {
                let wanted: Vec<_> = kinds.iter().map(|kind| kind.describe()).collect();
                wrong(&wanted.join(", or "), &format!("{} shows how", manner.example))
            }
        },
        Table(keys) => {
            let DeValue::Table(table) = value.get_mut() else {
                return wrong("a table", &format!("write `{name} = {{ {} = … }}`", keys[0].0));
            };
            check(table, span.start, keys, &format!("{name}."), manner, mistakes);
            true
        }
        Tables(keys) => {
            if found.is_table() {
                list_of_one(value);
            }
            let hint = format!("write `{name} = [{{ {} = … }}]`", keys[0].0);
            let DeValue::Array(list) = value.get_mut() else { return wrong("a list of tables", &hint) };
            keep(list, |value| {
                let span = value.span();
                if let DeValue::Table(table) = value.get_mut() {
                    check(table, span.start, keys, &format!("{name}."), manner, mistakes);
                    return true;
                }
                let problem = format!("`{name}` has to be a list of tables");
                mistakes.list.push(Mistake { span, problem, hint: hint.clone() });
                false
            })
        }
        Named(keys) => {
            let hint = format!("write `{name}.NAME = {{ {} = … }}`", keys[0].0);
            let DeValue::Table(tables) = value.get_mut() else { return wrong("a table of tables", &hint) };
            let mut wrong = Vec::new();
            for (key, value) in tables.iter_mut() {
                let span = value.span();
                if let DeValue::Table(table) = value.get_mut() {
                    check(table, span.start, keys, &format!("{name}."), manner, mistakes);
                } else {
                    let problem = format!("`{name}` has to be a table of tables");
                    mistakes.list.push(Mistake { span, problem, hint: hint.clone() });
                    wrong.push(key.get_ref().to_string());
                }
            }
            for key in wrong {
                tables.remove(key.as_str());
            }
            true
        }
        Secret => match secret(found) {
            Ok(()) => true,
            Err(problem) => {
                let typos: Vec<_> = misspelt_places(found, name).collect();
                if typos.is_empty() {
                    let problem = format!("`{name}`: {problem}");
                    mistakes.list.push(Mistake { span, problem, hint: manner.secret.to_owned() });
                }
                mistakes.list.extend(typos);
                false
            }
        },
    }
}

impl Kind {
    /// Whether a value looks as this kind does, right or wrong.
    fn is_written_as(self, value: &DeValue<'_>) -> bool {
        match self {
            Text | Choice(_) => value.is_str(),
            Flag => value.is_bool(),
            Number(..) => value.is_integer(),
            Texts | Choices(_) => value.is_array() || value.is_str(),
            Tables(_) => value.is_array() || value.is_table(),
            Table(_) | Named(_) => value.is_table(),
            Secret => value.is_table() || value.is_str(),
            Either(kinds) => kinds.iter().any(|kind| kind.is_written_as(value)),
        }
    }

    /// In words, as they stand in errors and in the reference.
    pub(super) fn describe(self) -> String {
        match self {
            Text => "a text".into(),
            Texts => "a list of texts".into(),
            Choice(choices) => format!("one of {}", quoted(choices)),
            Choices(choices) => format!("a list of {}", quoted(choices)),
            Flag => "true or false".into(),
            Number(from, to) => format!("a whole number from {from} to {to}"),
            Secret => "a secret".into(),
            Table(_) => "a table".into(),
            Tables(_) => "a list of tables".into(),
            Named(_) => "a table of tables".into(),
            Either(kinds) => kinds.iter().map(|kind| kind.describe()).collect::<Vec<_>>().join(", or "),
        }
    }
}

/// One text, or a list of them: then a list, without what is wrong in it.
fn each(value: &mut Spanned<DeValue<'_>>, name: &str, kind: Kind, manner: &Manner, mistakes: &mut Mistakes) -> bool {
    let span = value.span();
    if value.get_ref().is_str() {
        list_of_one(value);
    }
    let problem = format!("`{name}` has to be a list of texts");
    let DeValue::Array(list) = value.get_mut() else {
        let hint = format!("write `{name} = [\"…\", \"…\"]`");
        mistakes.list.push(Mistake { span, problem, hint });
        return false;
    };
    keep(list, |value| {
        if matches!(kind, Text) && !value.get_ref().is_str() {
            let hint = "put each into quotation marks".to_owned();
            mistakes.list.push(Mistake { span: value.span(), problem: problem.clone(), hint });
            return false;
        }
        of_kind(value, kind, name, manner, mistakes)
    })
}

/// Keeps what can be used. Whether anything is left, unless the list was empty from the beginning.
fn keep<'a>(list: &mut DeArray<'a>, mut usable: impl FnMut(&mut Spanned<DeValue<'a>>) -> bool) -> bool {
    let mut kept = DeArray::new();
    let all = std::mem::replace(list, DeArray::new());
    let was_empty = all.is_empty();
    for mut value in all {
        if usable(&mut value) {
            kept.push(value);
        }
    }
    *list = kept;
    was_empty || !list.is_empty()
}

fn list_of_one(value: &mut Spanned<DeValue<'_>>) {
    let mut list = DeArray::new();
    list.push(value.clone());
    *value.get_mut() = DeValue::Array(list);
}

/// Where a secret may be: a key of a table, or a text that begins so.
pub(super) const SECRET_PLACES: [&str; 3] = ["file", "env", "credential"];

/// What is wrong with the name of a secret.
fn secret(value: &DeValue<'_>) -> Result<(), &'static str> {
    if let Some(text) = value.as_str() {
        let named = text.split_once(':').filter(|(place, _)| SECRET_PLACES.contains(place));
        return match named {
            Some((_, name)) if !name.is_empty() => Ok(()),
            Some(_) => Err("the name of the file, variable or credential is missing"),
            None => Err("a secret does not stand in this file"),
        };
    }
    let Some(table) = value.as_table() else {
        return Err(if value.is_array() {
            "one secret is wanted, no list"
        } else {
            "a secret does not stand in this file"
        });
    };
    let mut known = table.iter().filter(|(key, _)| SECRET_PLACES.contains(&key.get_ref().as_ref()));
    match (known.next(), table.len()) {
        (Some((_, place)), 1) if place.get_ref().is_str() => Ok(()),
        (Some(_), 1) => Err("the name of a file, variable or credential has to be a text"),
        (Some(_), _) if known.next().is_some() => Err("a secret is in one place, either `file`, `env` or `credential`"),
        _ => Err("a secret is named by `file`, `env` or `credential`, and nothing else"),
    }
}

/// Keys in the table of a secret that are nearly those of a place.
fn misspelt_places(value: &DeValue<'_>, name: &str) -> impl Iterator<Item = Mistake> {
    let keys = value.as_table().into_iter().flatten().filter_map(move |(key, _)| {
        let written = key.get_ref().as_ref();
        let meant = nearest(&written.to_lowercase(), SECRET_PLACES).filter(|meant| *meant != written)?;
        let problem = format!("unknown key `{name}.{}`", written.escape_debug());
        Some(Mistake { span: key.span(), problem, hint: format!("did you mean `{meant}`?") })
    });
    keys.collect::<Vec<_>>().into_iter()
}

/// Which protocol has this key, if another has.
fn elsewhere(name: &str, within: &str, manner: &Manner) -> Option<String> {
    let has = |(_, keys): &&(&str, &[(&str, Kind)])| within.is_empty() && keys.iter().any(|(key, _)| *key == name);
    let (protocol, _) = manner.protocols.iter().find(has)?;
    Some(format!("`{name}` is for `protocol = \"{protocol}\"`"))
}

/// What to write in place of an unknown key.
fn meant(name: &str, keys: &[(&str, Kind)], manner: &Manner) -> String {
    if let Some((instead, _)) = alias(name, keys) {
        return format!("did you mean {instead}?");
    }
    if let Some(key) = key_meant(name, keys) {
        return format!("did you mean `{key}`?");
    }
    // Both protocols have some of them.
    let mut names = Vec::new();
    for (key, _) in keys {
        if !names.contains(key) {
            names.push(*key);
        }
    }
    let more = format!(" and others ({} has them all)", manner.example);
    let more = if names.len() > KEYS_NAMED { more.as_str() } else { "" };
    names.truncate(KEYS_NAMED);
    format!("there are {}{more}", quoted(&names))
}

/// The key that an unknown one stands for.
fn key_meant<'a>(name: &str, keys: &[(&'a str, Kind)]) -> Option<&'a str> {
    alias(name, keys).map(|(_, key)| key).or_else(|| nearest(name, keys.iter().map(|(key, _)| *key)))
}

/// What people write for a key, and the key.
fn alias<'a>(name: &str, keys: &[(&'a str, Kind)]) -> Option<(&'static str, &'a str)> {
    let is_in = |instead: &str, key: &str| instead.split('`').nth(1).is_some_and(|text| text.starts_with(key));
    ALIASES.iter().filter(|(alias, _)| *alias == name).find_map(|(_, instead)| {
        let (key, _) = keys.iter().find(|(key, _)| is_in(instead, key))?;
        Some((*instead, *key))
    })
}

/// The known name somebody may have meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|key| (distance(name, key), key)).min();
    near.filter(|(steps, key)| *steps <= key.len() / 3).map(|(_, key)| key)
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// How many letters have to be inserted, taken away, replaced, or swapped with the next (optimal string alignment).
fn distance(one: &str, two: &str) -> usize {
    let (one, two): (Vec<char>, Vec<char>) = (one.chars().collect(), two.chars().collect());
    let mut before = Vec::new();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (index, letter) in one.iter().enumerate() {
        let mut next = vec![index + 1];
        for (column, other) in two.iter().enumerate() {
            let replaced = row[column] + usize::from(letter != other);
            let mut least = replaced.min(row[column + 1] + 1).min(next[column] + 1);
            if index > 0 && column > 0 && (letter, &one[index - 1]) == (&two[column - 1], other) {
                let swapped: &Vec<usize> = &before;
                least = least.min(swapped[column - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_meant() {
        assert_eq!((distance("pasword", "password"), distance("", "abc"), distance("abc", "abd")), (1, 3, 1));
        assert_eq!((distance("flie", "file"), distance("ab", "ba"), distance("abc", "cab")), (1, 1, 2));
        for (name, said) in [
            ("pasword", "did you mean `password`?"),
            ("remote", "did you mean `remotes`?"),
            ("password_file", "did you mean `password = { file = \"…\" }`?"),
            ("cert", "did you mean `certificate`?"),
            ("ike_proposal", "did you mean `ike_proposals`?"),
            ("liveness", "there are `remotes`, `ca`, "),
        ] {
            let hint = meant(name, IKEV2, &CONNECTION);
            assert!(hint.starts_with(said), "{name}: {hint}");
        }
        assert_eq!(meant("ca", OPENVPN, &CONNECTION), "there are `profile`, `user`, `password`, `passphrase`");
        assert_eq!(
            meant("cert", OPENVPN, &CONNECTION),
            meant("ca", OPENVPN, &CONNECTION),
            "no key of the other protocol"
        );
    }
}
