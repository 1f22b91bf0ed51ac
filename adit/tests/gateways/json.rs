//! The log of `--log-format json`, as a reader takes it that knows no mercy.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

/// A JSON value, none of whose objects has a name twice: most readers would keep one of the two.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Strict {
    Object(BTreeMap<String, Self>),
    List(Vec<Self>),
    Text(String),
    Other,
}

impl Strict {
    pub(crate) fn parse(line: &str) -> Self {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// What is found there.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.get(name),
            Self::List(_) | Self::Text(_) | Self::Other => None,
        }
    }

    /// The text that is found there.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Self::Text(text) => Some(text),
            Self::Object(_) | Self::List(_) | Self::Other => None,
        }
    }

    /// The list that is found there.
    pub(crate) fn list(&self, name: &str) -> &[Self] {
        match self.get(name) {
            Some(Self::List(list)) => list,
            Some(Self::Object(_) | Self::Text(_) | Self::Other) | None => &[],
        }
    }
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Strict;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Strict>()? {
                    if members.insert(name.clone(), value).is_some() {
                        return Err(A::Error::custom(format_args!("`{name}` is there twice")));
                    }
                }
                Ok(Strict::Object(members))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Strict, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = list.next_element()? {
                    all.push(one);
                }
                Ok(Strict::List(all))
            }

            fn visit_str<E>(self, text: &str) -> Result<Strict, E> {
                Ok(Strict::Text(text.to_owned()))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
                Ok(Strict::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
                Ok(Strict::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
                Ok(Strict::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
                Ok(Strict::Other)
            }

            fn visit_unit<E>(self) -> Result<Strict, E> {
                Ok(Strict::Other)
            }
        }
        from.deserialize_any(Reader)
    }
}

#[test]
fn a_name_that_is_there_twice_is_seen() {
    let twice = serde_json::from_str::<Strict>(r#"{"spans":[{"name":"office","name":"connection"}]}"#).unwrap_err();
    assert!(twice.to_string().contains("`name` is there twice"), "{twice}");
    let known = Strict::parse(r#"{"a":"text","b":[1,-1,1.5,true,null]}"#);
    assert_eq!((known.text("a"), known.list("b").len(), known.text("c")), (Some("text"), 5, None));
}
