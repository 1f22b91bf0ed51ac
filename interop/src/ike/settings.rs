//! strongSwan's nested settings, as its files have them and as `swanctl --raw` prints them.

use std::{fmt::Write, iter::Peekable, str::Chars};

/// Sections and values, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings(Vec<(String, Value)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    Section(Settings),
}

impl Settings {
    /// Sets the value at a path of section names with dots between, and makes the sections.
    pub(crate) fn set(&mut self, path: &str, value: &str) {
        match path.split_once('.') {
            Some((section, rest)) => self.section_mut(section).set(rest, value),
            None => {
                self.0.retain(|(name, _)| name != path);
                self.0.push((path.to_owned(), Value::Text(value.to_owned())));
            }
        }
    }

    /// Takes out the value or section at a path.
    pub(crate) fn remove(&mut self, path: &str) {
        match path.split_once('.') {
            Some((section, rest)) => self.section_mut(section).remove(rest),
            None => self.0.retain(|(name, _)| name != path),
        }
    }

    fn section_mut(&mut self, name: &str) -> &mut Self {
        let place = self.0.iter().position(|(known, value)| known == name && matches!(value, Value::Section(_)));
        let place = place.unwrap_or_else(|| {
            self.0.push((name.to_owned(), Value::Section(Self::default())));
            self.0.len() - 1
        });
        match &mut self.0[place].1 {
            Value::Section(section) => section,
            Value::Text(_) => unreachable!("just found or made as a section"),
        }
    }

    /// The value of this name.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|(known, value)| match value {
            Value::Text(text) if known == name => Some(text.as_str()),
            Value::Text(_) | Value::Section(_) => None,
        })
    }

    /// The number of this name; 0 if there is none.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// The sections, with their names.
    pub(crate) fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.0.iter().filter_map(|(name, value)| match value {
            Value::Section(section) => Some((name.as_str(), section)),
            Value::Text(_) => None,
        })
    }

    /// The section of this name.
    pub(crate) fn section(&self, name: &str) -> Option<&Self> {
        self.sections().find_map(|(known, section)| (known == name).then_some(section))
    }

    /// As a file.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, 0);
        text
    }

    fn write(&self, text: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        for (name, value) in &self.0 {
            match value {
                Value::Text(value) => {
                    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
                    writeln!(text, "{indent}{name} = \"{value}\"").ok();
                }
                Value::Section(section) => {
                    writeln!(text, "{indent}{name} {{").ok();
                    section.write(text, depth + 1);
                    writeln!(text, "{indent}}}").ok();
                }
            }
        }
    }

    /// Reads what `swanctl --raw` prints: `name {key=value list=[a b] …}`. A value with blanks (a distinguished name) is
    /// cut at the first one, which harms nobody here.
    pub(crate) fn parse_raw(text: &str) -> Self {
        Self::parse_section(&mut text.chars().peekable())
    }

    fn parse_section(rest: &mut Peekable<Chars<'_>>) -> Self {
        let (mut found, mut word) = (Self::default(), String::new());
        while let Some(letter) = rest.next() {
            match letter {
                '{' => {
                    let name = std::mem::take(&mut word);
                    // "list-sa event {": the blank before the bracket ended the name.
                    let name = if name.is_empty() { found.take_bare() } else { name };
                    found.0.push((name, Value::Section(Self::parse_section(rest))));
                }
                '}' => break,
                '[' => {
                    word.extend(rest.by_ref().take_while(|letter| *letter != ']'));
                    found.push_word(&mut word);
                }
                letter if letter.is_whitespace() => found.push_word(&mut word),
                letter => word.push(letter),
            }
        }
        found.push_word(&mut word);
        found
    }

    fn push_word(&mut self, word: &mut String) {
        let word = std::mem::take(word);
        if let Some((name, value)) = word.split_once('=') {
            self.0.push((name.to_owned(), Value::Text(value.to_owned())));
        } else if !word.is_empty() {
            self.0.push((word, Value::Text(String::new())));
        }
    }

    /// The last word without a value: the name of the section that begins.
    fn take_bare(&mut self) -> String {
        self.0.pop().map(|(name, _)| name).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_make_sections_and_the_last_value_counts() {
        let mut settings = Settings::default();
        settings.set("connections.gw.local.auth", "psk");
        settings.set("connections.gw.local.id", "C=CH, CN=\"x\"");
        settings.set("connections.gw.local.auth", "pubkey");
        settings.set("pools.p4.addrs", "10.0.0.0/24");
        settings.remove("pools.p4");
        let expected = "connections {\n  gw {\n    local {\n      id = \"C=CH, CN=\\\"x\\\"\"\n      auth = \"pubkey\"\n    }\n  }\n}\npools {\n}\n";
        assert_eq!(settings.to_text(), expected);
    }

    #[test]
    fn raw_output_is_read_into_sections() {
        let text = "list-sa event {gw {uniqueid=1 remote-id=C=CH, CN=x local-vips=[10.0.0.1 fd00::1] child-sas {net-1 {name=net \
                    bytes-in=300 local-ts=[0.0.0.0/0] } } } }\nlist-sas reply {}";
        let raw = Settings::parse_raw(text);
        let (_, event) = raw.sections().next().unwrap();
        let gw = event.section("gw").unwrap();
        assert_eq!(gw.text("local-vips"), Some("10.0.0.1 fd00::1"));
        let child = gw.section("child-sas").unwrap().section("net-1").unwrap();
        assert_eq!((child.number("bytes-in"), child.number("bytes-out"), child.text("name")), (300, 0, Some("net")));
    }
}
