//! `?forward=NAME`.

/// The value of a key, with `%` and `+` undone; `None` unless it is there.
pub(super) fn value(query: &str, key: &str) -> Option<String> {
    let (_, value) =
        query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).find(|(k, _)| *k == key)?;
    Some(decoded(value))
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
        let query = "a=1&forward=127.0.0.1%3a33000&empty=&x=%2&s=a+b%C3%BC";
        for (key, expected) in [
            ("a", Some("1")),
            ("forward", Some("127.0.0.1:33000")),
            ("empty", Some("")),
            ("x", Some("%2")),
            ("s", Some("a bü")),
            ("f", None),
        ] {
            assert_eq!(value(query, key).as_deref(), expected, "{key}");
        }
        assert_eq!(value("", "a"), None);
    }
}
