//! Connections described in a TOML file.
//!
//! ```toml
//! [connection.office]
//! protocol = "ikev2"
//! remotes = ["vpn.example"]
//! ca = ["ca.pem"]
//! user = "alice"
//! password = { file = "password.txt" }
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use ikev2::{Retransmission, SignatureChoice, TlsVersion};
use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{
    draft::{Auth, Draft, Given, Inner, Method, Tls, Ttls, Wording},
    files::{Content, SecretSource, read},
    ovpn, schema,
};
use crate::error::{Error, Exit};

/// A connection of a file.
pub(super) enum Connection {
    Ikev2(Box<Draft>),
    /// A profile, and what is not in it.
    OpenVpn(PathBuf, ovpn::Given),
}

/// Reads the file, all of it, and takes the connection of this name, or the only one.
pub(super) fn load(path: &Path, name: Option<&str>) -> Result<Connection, Error> {
    let shown = path.display();
    let bytes = read(path).map_err(|error| Error::new(Exit::Usage, format!("cannot read {shown}: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| Error::new(Exit::Usage, format!("{shown}: this is not UTF-8")))?;
    let beside = path.parent().unwrap_or_else(|| Path::new(""));
    parse(&Source { name: shown.to_string(), text: &text, beside }, name)
}

/// The text of a file, for errors about it.
struct Source<'a> {
    name: String,
    text: &'a str,
    beside: &'a Path,
}

/// A table of the file, as its protocol has it.
enum Table {
    Ikev2(Box<Ikev2>),
    OpenVpn(OpenVpn),
}

fn parse(source: &Source<'_>, name: Option<&str>) -> Result<Connection, Error> {
    let mut tables = source.tables()?;
    let name = match name {
        Some(name) => name.to_owned(),
        None => source.only(&tables)?,
    };
    let Some((span, table)) = tables.remove(&name) else {
        let error = Error::new(Exit::Usage, format!("{}: there is no connection `{name}`", source.name));
        return Err(error.hint(format!("choose one of {}", list(&tables))));
    };
    match table {
        Table::Ikev2(table) => {
            let place = format!("{} line {} (connection `{name}`)", source.name, source.line(&span));
            table.into_draft(source, place).map(|draft| Connection::Ikev2(Box::new(draft)))
        }
        Table::OpenVpn(table) => {
            let login = match (table.user, table.password) {
                (None, None) => ovpn::Login::Unknown,
                (user, password) => {
                    ovpn::Login::Apart { user, password: password.map(|secret| source.secret(secret).value) }
                }
            };
            let passphrase = table.passphrase.map(|secret| source.secret(secret).value);
            Ok(Connection::OpenVpn(source.beside.join(table.profile), ovpn::Given { login, passphrase }))
        }
    }
}

fn list<T>(tables: &BTreeMap<String, T>) -> String {
    tables.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl Source<'_> {
    /// Every connection of the file, each valid in form.
    fn tables(&self) -> Result<BTreeMap<String, (Range<usize>, Table)>, Error> {
        let file = DeTable::parse(self.text).map_err(|error| self.error(&error))?;
        let mut tables = BTreeMap::new();
        for (key, value) in file.into_inner() {
            if key.get_ref() != "connection" {
                let problem = format!("unknown table `{}`", key.get_ref());
                return Err(self.wrong(&key.span(), problem).hint("connections are described in [connection.NAME]"));
            }
            let span = value.span();
            let DeValue::Table(connections) = value.into_inner() else {
                return Err(self.wrong(&span, "`connection` is no table").hint("write [connection.NAME]"));
            };
            for (name, table) in connections {
                tables.insert(name.get_ref().to_string(), (name.span(), self.table(name.get_ref(), table)?));
            }
        }
        Ok(tables)
    }

    fn table(&self, name: &str, value: Spanned<DeValue<'_>>) -> Result<Table, Error> {
        let span = value.span();
        let DeValue::Table(mut table) = value.into_inner() else {
            return Err(self.wrong(&span, format!("`{name}` is no connection")).hint("write [connection.NAME]"));
        };
        let Some(protocol) = table.remove("protocol") else {
            let error = self.wrong(&span, format!("the connection `{name}` has no `protocol`"));
            return Err(error.hint("add `protocol = \"ikev2\"` or `protocol = \"openvpn\"`"));
        };
        let ikev2 = match protocol.get_ref().as_str() {
            Some("ikev2") => true,
            Some("openvpn") => false,
            Some(_) | None => {
                let error = self.wrong(&protocol.span(), "this protocol is unknown");
                return Err(error.hint("write `protocol = \"ikev2\"` or `protocol = \"openvpn\"`"));
            }
        };
        let keys = if ikev2 { schema::IKEV2 } else { schema::OPENVPN };
        schema::check(&mut table, keys, "").map_err(|mistake| self.mistake(mistake))?;
        let needed = if ikev2 { "remotes" } else { "profile" };
        if !table.contains_key(needed) {
            let error = self.wrong(&span, format!("the connection `{name}` has no `{needed}`"));
            let example = if ikev2 { "add `remotes = [\"vpn.example\"]`" } else { "add `profile = \"office.ovpn\"`" };
            return Err(error.hint(example));
        }
        let deserializer = ValueDeserializer::from(Spanned::new(span, DeValue::Table(table)));
        let table = if ikev2 {
            Ikev2::deserialize(deserializer).map(|table| Table::Ikev2(Box::new(table)))
        } else {
            OpenVpn::deserialize(deserializer).map(Table::OpenVpn)
        };
        table.map_err(|error| self.error(&error))
    }

    /// The name of the only connection.
    fn only(&self, tables: &BTreeMap<String, (Range<usize>, Table)>) -> Result<String, Error> {
        let mut names = tables.keys();
        match (names.next(), names.next()) {
            (Some(name), None) => Ok(name.clone()),
            (None, _) => {
                let error = Error::new(Exit::Usage, format!("{}: there is no connection in it", self.name));
                Err(error.hint("connections are described in [connection.NAME]"))
            }
            (Some(_), Some(_)) => {
                let error = Error::new(Exit::Usage, format!("{}: there are several connections in it", self.name));
                Err(error.hint(format!("choose one of {} with --connection NAME", list(tables))))
            }
        }
    }

    /// Counted from 1.
    fn line(&self, span: &Range<usize>) -> usize {
        self.text.get(..span.start).unwrap_or(self.text).matches('\n').count() + 1
    }

    fn place(&self, span: &Range<usize>) -> String {
        format!("{} line {}", self.name, self.line(span))
    }

    fn wrong(&self, span: &Range<usize>, problem: impl fmt::Display) -> Error {
        Error::new(Exit::Usage, format!("{}: {problem}", self.place(span)))
    }

    fn mistake(&self, mistake: schema::Mistake) -> Error {
        self.wrong(&mistake.span, mistake.problem).hint(mistake.hint)
    }

    /// The parser's message never quotes the line: it may hold a secret.
    fn error(&self, error: &toml::de::Error) -> Error {
        match error.span() {
            Some(span) => self.wrong(&span, error.message()),
            None => Error::new(Exit::Usage, format!("{}: {}", self.name, error.message())),
        }
    }

    fn given<T>(&self, value: Spanned<T>) -> Given<T> {
        let place = self.place(&value.span());
        Given::new(value.into_inner(), place)
    }

    fn file(&self, path: Spanned<PathBuf>) -> Given<Content> {
        let Given { value, place } = self.given(path);
        Given::new(Content::File(self.beside.join(value)), place)
    }

    fn files(&self, paths: Vec<Spanned<PathBuf>>) -> Vec<Given<Content>> {
        paths.into_iter().map(|path| self.file(path)).collect()
    }

    fn secret(&self, secret: Spanned<SecretTable>) -> Given<SecretSource> {
        let Given { value, place } = self.given(secret);
        let source = match value {
            SecretTable::File(path) => SecretSource::File(self.beside.join(path)),
            SecretTable::Variable(name) => SecretSource::Variable(name),
        };
        Given::new(source, place)
    }
}

/// `protocol = "openvpn"`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenVpn {
    profile: PathBuf,
    user: Option<String>,
    password: Option<Spanned<SecretTable>>,
    passphrase: Option<Spanned<SecretTable>>,
}

/// `protocol = "ikev2"`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ikev2 {
    remotes: Vec<Spanned<String>>,
    #[serde(default)]
    ca: Vec<Spanned<PathBuf>>,
    #[serde(default)]
    crl: Vec<Spanned<PathBuf>>,
    remote_id: Option<Spanned<String>>,
    send_remote_id: Option<bool>,
    local_id: Option<Spanned<String>>,
    auth: Option<Auth>,
    psk: Option<Spanned<SecretTable>>,
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    pkcs12: Option<Spanned<PathBuf>>,
    passphrase: Option<Spanned<SecretTable>>,
    user: Option<Spanned<String>>,
    password: Option<Spanned<SecretTable>>,
    nt_hash: Option<Spanned<SecretTable>>,
    #[serde(default)]
    eap: Vec<Method>,
    eap_tls: Option<Spanned<TlsTable>>,
    ttls: Option<Spanned<TtlsTable>>,
    ike_proposals: Option<Spanned<String>>,
    esp_proposals: Option<Spanned<String>>,
    legacy: Option<bool>,
    signature: Option<Signature>,
    remote_ts: Option<Vec<Spanned<String>>>,
    fragment_size: Option<u16>,
    fragmentation: Option<bool>,
    mobike: Option<bool>,
    initial_contact: Option<bool>,
    liveness_seconds: Option<u32>,
    nat_keepalive_seconds: Option<u32>,
    child_rekey_seconds: Option<u32>,
    ike_rekey_seconds: Option<u32>,
    retransmit: Option<RetransmitTable>,
    replay_window: Option<u32>,
    mtu: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsTable {
    #[serde(default)]
    ca: Vec<Spanned<PathBuf>>,
    #[serde(default)]
    crl: Vec<Spanned<PathBuf>>,
    server_name: Option<String>,
    min_version: Option<Version>,
    max_version: Option<Version>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TtlsTable {
    inner: Inner,
    anonymous_identity: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetransmitTable {
    first_ms: Option<u32>,
    limit_ms: Option<u32>,
    tries: Option<u32>,
}

#[derive(Deserialize, Clone, Copy)]
enum Version {
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Signature {
    Auto,
    RsaPkcs1,
    RsaPss,
    Method1,
}

impl Ikev2 {
    fn into_draft(self, source: &Source<'_>, place: String) -> Result<Draft, Error> {
        let mut draft = Draft::new(place, Wording::Keys);
        let texts = |texts: Vec<Spanned<String>>| texts.into_iter().map(|text| source.given(text));
        draft.remotes = texts(self.remotes).map(|text| text.remote()).collect::<Result<_, _>>()?;
        draft.ca = source.files(self.ca);
        draft.crl = source.files(self.crl);
        draft.remote_id = self.remote_id.map(|id| source.given(id).remote_id()).transpose()?;
        draft.local_id = self.local_id.map(|id| source.given(id).identity()).transpose()?;
        draft.auth = self.auth;
        draft.psk = self.psk.map(|secret| source.secret(secret));
        draft.certificate = self.certificate.map(|path| source.file(path));
        draft.key = self.key.map(|path| source.file(path));
        draft.pkcs12 = self.pkcs12.map(|path| source.file(path));
        draft.passphrase = self.passphrase.map(|secret| source.secret(secret));
        draft.user = self.user.map(|user| source.given(user));
        draft.password = self.password.map(|secret| source.secret(secret));
        draft.nt_hash = self.nt_hash.map(|secret| source.secret(secret));
        draft.eap = self.eap;
        draft.tls = self.eap_tls.map(|table| source.given(table)).map(|Given { value, place }| {
            let (ca, crl) = (source.files(value.ca), source.files(value.crl));
            let versions = (value.min_version.map(Version::of), value.max_version.map(Version::of));
            Given::new(Tls { ca, crl, server_name: value.server_name, versions }, place)
        });
        draft.ttls = self.ttls.map(|table| source.given(table)).map(|Given { value, place }| {
            Given::new(Ttls { inner: value.inner, anonymous_identity: value.anonymous_identity }, place)
        });
        if let Some(proposals) = self.ike_proposals {
            draft.set_ike_proposals(source.given(proposals))?;
        }
        if let Some(proposals) = self.esp_proposals {
            draft.set_esp_proposals(source.given(proposals))?;
        }
        if let Some(networks) = self.remote_ts {
            let networks = texts(networks).map(|text| text.network()).collect::<Result<_, _>>()?;
            draft.set(|settings| settings.remote_networks = networks);
        }
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        macro_rules! set {
            ($($field:ident = $value:expr;)*) => { $(if let Some(value) = $value {
                draft.set(move |settings| settings.$field = value);
            })* };
        }
        set! {
            send_remote_identity = self.send_remote_id;
            legacy = self.legacy;
            signature = self.signature.map(Signature::choice);
            fragment_size = self.fragment_size;
            fragmentation = self.fragmentation;
            mobike = self.mobike;
            initial_contact = self.initial_contact;
            liveness = self.liveness_seconds.map(seconds);
            nat_keepalive = self.nat_keepalive_seconds.map(seconds);
            child_rekey = self.child_rekey_seconds.map(seconds);
            ike_rekey = self.ike_rekey_seconds.map(seconds);
            replay_window = self.replay_window;
            mtu = self.mtu.map(Some);
        }
        if let Some(table) = self.retransmit {
            draft.set(move |settings| table.apply(&mut settings.retransmission));
        }
        Ok(draft)
    }
}

impl RetransmitTable {
    fn apply(&self, schedule: &mut Retransmission) {
        let milliseconds = |value: u32| Duration::from_millis(value.into());
        schedule.first = self.first_ms.map_or(schedule.first, milliseconds);
        schedule.limit = self.limit_ms.map_or(schedule.limit, milliseconds);
        schedule.tries = self.tries.unwrap_or(schedule.tries);
    }
}

impl Version {
    const fn of(self) -> TlsVersion {
        match self {
            Self::V1_2 => TlsVersion::V1_2,
            Self::V1_3 => TlsVersion::V1_3,
        }
    }
}

impl Signature {
    const fn choice(self) -> SignatureChoice {
        match self {
            Self::Auto => SignatureChoice::Auto,
            Self::RsaPkcs1 => SignatureChoice::RsaPkcs1,
            Self::RsaPss => SignatureChoice::RsaPss,
            Self::Method1 => SignatureChoice::Method1,
        }
    }
}

/// `{ file = "…" }` or `{ env = "…" }`: no secret stands in the file itself.
#[derive(Deserialize)]
enum SecretTable {
    #[serde(rename = "file")]
    File(PathBuf),
    #[serde(rename = "env")]
    Variable(String),
}
