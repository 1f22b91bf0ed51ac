//! `?forward=NAME`.

/// What a query may ask about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) connections: Vec<String>,
    pub(super) forwards: Vec<String>,
}

impl Asked {
    /// What a query says, with `%` and `+` undone. The error is a key that is none: whoever misspells one would be told that
    /// everything is ready.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut asked = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match decoded(key).as_str() {
                "connection" => asked.connections.push(decoded(value)),
                "forward" => asked.forwards.push(decoded(value)),
                other => return Err(other.to_owned()),
            }
        }
        Ok(asked)
    }

    /// Each question: about a forward, of a connection where one is named, or about a connection, or about everything.
    pub(super) fn questions(&self) -> Vec<(Option<&str>, Option<&str>)> {
        all(&self.connections)
            .flat_map(|connection| all(&self.forwards).map(move |forward| (connection, forward)))
            .collect()
    }
}

/// Each of them, or one that stands for all.
fn all(names: &[String]) -> impl Iterator<Item = Option<&str>> {
    let none = names.is_empty().then_some(None);
    names.iter().map(|name| Some(name.as_str())).chain(none)
}

/// What is no escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = || -> Option<u8> {
            let digits = after.first_chunk::<2>()?;
            let digit = |digit: u8| char::from(digit).to_digit(16);
            u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()
        };
        let (byte, used) = match first {
            b'+' => (b' ', 0),
            b'%' => escaped().map_or((b'%', 0), |byte| (byte, 2)),
            other => (*other, 0),
        };
        bytes.push(byte);
        rest = &after[used..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_unescaped() {
        let query = "forward=127.0.0.1%3a33000&connection=&forward=%2&connectio%6e=a+b%C3%BC&";
        let asked = Asked::parse(query).unwrap();
        assert_eq!(asked.forwards, ["127.0.0.1:33000", "%2"]);
        assert_eq!(asked.connections, ["", "a bü"]);
        assert_eq!(Asked::parse("forward=a&forwards=b").unwrap_err(), "forwards");
        assert_eq!(Asked::parse("foo").unwrap_err(), "foo");
    }

    #[test]
    fn every_combination_is_a_question() {
        let questions = |query: &str| format!("{:?}", Asked::parse(query).unwrap().questions());
        assert_eq!(questions(""), "[(None, None)]");
        assert_eq!(questions("forward=x&forward=y"), "[(None, Some(\"x\")), (None, Some(\"y\"))]");
        assert_eq!(questions("connection=a&connection=b"), "[(Some(\"a\"), None), (Some(\"b\"), None)]");
        assert_eq!(questions("connection=a&forward=x"), "[(Some(\"a\"), Some(\"x\"))]");
    }
}
