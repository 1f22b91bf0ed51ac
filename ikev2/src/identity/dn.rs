//! Distinguished names (RFC 5280 §4.1.2.4): from text, to text, compared.

use adit_pki::der;
use x509_parser::{
    prelude::FromDer,
    x509::{AttributeTypeAndValue, X509Name},
};

use super::IdentityError;

/// The DER of a name written as `C=CH, O=Example, CN=name`, or `/C=CH/O=Example/CN=name`. `+` joins attributes of one
/// relative name; a backslash takes the meaning from what follows, or begins two hex digits (RFC 4514 §2.4).
pub(super) fn parse(text: &str) -> Result<Vec<u8>, IdentityError> {
    let text = text.trim();
    let (separator, text) = text.strip_prefix('/').map_or((',', text), |rest| ('/', rest));
    let mut names = Vec::new();
    for part in split(text, separator) {
        let mut attributes = split(part, '+').into_iter().map(attribute).collect::<Result<Vec<_>, _>>()?;
        // A SET is in the order of its encodings (X.690 §11.6).
        attributes.sort();
        names.extend(der::value(SET, &attributes.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    }
    Ok(der::sequence(&[&names]))
}

/// As text that [`parse`] reads, if it can be read.
pub(super) fn display(der: &[u8]) -> Option<String> {
    let name = read(der)?;
    let mut relative_names = Vec::new();
    for set in name.iter_rdn() {
        let attributes = set.iter().map(display_attribute).collect::<Option<Vec<_>>>()?;
        relative_names.push(attributes.join(" + "));
    }
    Some(relative_names.join(", "))
}

pub(super) fn is_readable(der: &[u8]) -> bool {
    read(der).is_some()
}

/// Whether two names are the same: relative names in the same order, strings without regard to their type, case and
/// runs of spaces (RFC 5280 §7.1), other values byte by byte. The empty name is nobody's.
pub(super) fn same(ours: &[u8], theirs: &[u8]) -> bool {
    match (comparable(ours), comparable(theirs)) {
        (Some(ours), Some(theirs)) => !ours.is_empty() && ours == theirs,
        _ => false,
    }
}

/// A relative name as it is compared: attributes sorted, because they are a set.
type Comparable = Vec<(String, Value)>;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Text(String),
    Other(u32, Vec<u8>),
}

fn comparable(der: &[u8]) -> Option<Vec<Comparable>> {
    let name = read(der)?;
    let value = |attribute: &AttributeTypeAndValue<'_>| match text(attribute) {
        Some(text) => Value::Text(text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()),
        None => Value::Other(attribute.attr_value().tag().0, attribute.attr_value().data.to_vec()),
    };
    let relative = name.iter_rdn().map(|set| {
        let mut attributes: Comparable = set.iter().map(|a| (a.attr_type().to_id_string(), value(a))).collect();
        attributes.sort();
        attributes
    });
    Some(relative.collect())
}

fn read(der: &[u8]) -> Option<X509Name<'_>> {
    let (rest, name) = X509Name::from_der(der).ok()?;
    // The parser passes over what is no relative name.
    (rest.is_empty() && name.as_raw().len() == der.len()).then_some(name)
}

/// The value of an attribute that is some kind of string.
fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let data = attribute.attr_value().data;
    match attribute.attr_value().tag().0 {
        UTF8_STRING | NUMERIC_STRING | PRINTABLE_STRING | IA5_STRING | VISIBLE_STRING => {
            str::from_utf8(data).ok().map(str::to_owned)
        }
        // T.61 in the standard, Latin-1 in practice.
        TELETEX_STRING => Some(data.iter().copied().map(char::from).collect()),
        BMP_STRING => {
            let (pairs, rest) = data.as_chunks::<2>();
            let units: Vec<u16> = pairs.iter().copied().map(u16::from_be_bytes).collect();
            rest.is_empty().then(|| String::from_utf16(&units).ok()).flatten()
        }
        UNIVERSAL_STRING => {
            let (quads, rest) = data.as_chunks::<4>();
            let text = quads.iter().map(|quad| char::from_u32(u32::from_be_bytes(*quad))).collect();
            rest.is_empty().then_some(text).flatten()
        }
        _ => None,
    }
}

fn display_attribute(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let oid = attribute.attr_type().to_id_string();
    let name = NAMES.iter().find(|(_, known)| *known == oid).map_or(oid.as_str(), |(name, _)| *name);
    let value = text(attribute)?;
    let mut escaped = String::new();
    for (index, c) in value.char_indices() {
        let at_edge = index == 0 || index + c.len_utf8() == value.len();
        match c {
            ',' | '+' | '\\' | '/' | '=' => escaped.extend(['\\', c]),
            ' ' if at_edge => escaped += "\\20",
            // No terminal is to obey a stranger's certificate.
            c if c.is_control() => c.to_string().bytes().for_each(|byte| escaped += &format!("\\{byte:02x}")),
            c => escaped.push(c),
        }
    }
    Some(format!("{name}={escaped}"))
}

/// Cuts at separators that no backslash stands before.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut escaped = false;
    text.split(|c: char| {
        let cuts = c == separator && !escaped;
        escaped = c == '\\' && !escaped;
        cuts
    })
    .collect()
}

/// One attribute, `CN=name`.
fn attribute(text: &str) -> Result<Vec<u8>, IdentityError> {
    let malformed = || IdentityError::DistinguishedName(text.trim().to_owned());
    let (name, value) = text.split_once('=').ok_or_else(malformed)?;
    let (name, value) = (name.trim(), unescape(value.trim()).ok_or_else(malformed)?);
    let known = |(known, _): &&(&str, &str)| known.eq_ignore_ascii_case(name);
    let oid = NAMES.iter().chain(&ALIASES).find(known).map_or(name, |(_, oid)| oid);
    let oid_der = object_identifier(oid).ok_or_else(|| IdentityError::Attribute(name.to_owned()))?;
    if value.is_empty() {
        return Err(malformed());
    }
    let printable = |byte: u8| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte);
    let tag = match oid {
        EMAIL | DOMAIN_COMPONENT if value.is_ascii() => IA5_STRING,
        _ if value.bytes().all(printable) => PRINTABLE_STRING,
        _ => UTF8_STRING,
    };
    let tag = u8::try_from(tag).map_err(|_| malformed())?;
    Ok(der::sequence(&[&oid_der, &der::value(tag, &[value.as_bytes()])]))
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        if let Some((&[high, low], after)) = rest.split_first_chunk()
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            bytes.push(u8::try_from(high << 4 | low).ok()?);
            rest = after;
        } else {
            let (&escaped, after) = rest.split_first()?;
            bytes.push(escaped);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// The DER of an object identifier written with dots (X.690 §8.19).
fn object_identifier(text: &str) -> Option<Vec<u8>> {
    let mut numbers = text.split('.').map(|number| number.parse::<u32>().ok());
    let (first, second) = (numbers.next()??, numbers.next()??);
    if first > 2 || (first < 2 && second > 39) {
        return None;
    }
    let mut content = Vec::new();
    for number in [Some(first.checked_mul(40)?.checked_add(second)?)].into_iter().chain(numbers) {
        let number = number?;
        let groups = (0..5).rev().map(|group| (group, number >> (7 * group)));
        for (group, shifted) in groups.skip_while(|(group, shifted)| *group > 0 && *shifted == 0) {
            let more = if group > 0 { 0x80 } else { 0 };
            content.push(u8::try_from(shifted & 0x7f).ok()? | more);
        }
    }
    Some(der::value(0x06, &[&content]))
}

const SET: u8 = 0x31;
const UTF8_STRING: u32 = 12;
const NUMERIC_STRING: u32 = 18;
const PRINTABLE_STRING: u32 = 19;
const TELETEX_STRING: u32 = 20;
const IA5_STRING: u32 = 22;
const VISIBLE_STRING: u32 = 26;
const UNIVERSAL_STRING: u32 = 28;
const BMP_STRING: u32 = 30;

const EMAIL: &str = "1.2.840.113549.1.9.1";
const DOMAIN_COMPONENT: &str = "0.9.2342.19200300.100.1.25";

/// Attributes by the names they are shown with (RFC 4519 §2, RFC 2985 §5.2.1).
const NAMES: [(&str, &str); 18] = [
    ("CN", "2.5.4.3"),
    ("surname", "2.5.4.4"),
    ("serialNumber", "2.5.4.5"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("street", "2.5.4.9"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("title", "2.5.4.12"),
    ("description", "2.5.4.13"),
    ("postalCode", "2.5.4.17"),
    ("name", "2.5.4.41"),
    ("givenName", "2.5.4.42"),
    ("dnQualifier", "2.5.4.46"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("DC", DOMAIN_COMPONENT),
    ("emailAddress", EMAIL),
];

/// Other names of them in strongSwan's notation, where `SN` is a serial number.
const ALIASES: [(&str, &str); 8] = [
    ("E", EMAIL),
    ("email", EMAIL),
    ("SN", "2.5.4.5"),
    ("S", "2.5.4.4"),
    ("G", "2.5.4.42"),
    ("T", "2.5.4.12"),
    ("D", "2.5.4.13"),
    ("N", "2.5.4.41"),
];
