//! Splits a line into words, as profiles and pushed options are written (OpenVPN 2.6 `options_parse.c`).

use zeroize::Zeroizing;

/// The words of one line. Some are secrets, so they are wiped on drop.
pub(crate) type Words = Zeroizing<Vec<String>>;

/// Longest word in bytes (OpenVPN 2.6 `OPTION_PARM_SIZE`, less its NUL).
pub(crate) const MAX_WORD_BYTES: usize = 255;

/// Most words of a line, the directive included (OpenVPN 2.6 `MAX_PARMS`).
pub(crate) const MAX_WORDS: usize = 16;

/// Why a line cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LexError {
    #[error("a quotation mark is not closed")]
    OpenQuote,
    #[error("a backslash may stand only before a space, a double quotation mark or another backslash; double it")]
    Backslash,
    #[error("a word is longer than {0} bytes")]
    WordTooLong(usize),
    #[error("more than {MAX_WORDS} words")]
    TooManyWords,
    #[error("it contains a control character")]
    ControlCharacter,
}

/// How far into a word we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    Plain,
    Double,
    Single,
}

/// Splits one line. `#` and `;` begin a comment where a word could begin. No word is longer than `max_word_bytes`.
pub(crate) fn words(line: &str, max_word_bytes: usize) -> Result<Words, LexError> {
    let mut words = Words::new(Vec::new());
    let mut word = Zeroizing::new(String::with_capacity(line.len().min(max_word_bytes)));
    let mut state = State::Between;
    let mut chars = line.chars();
    while let Some(mut c) = chars.next() {
        if state == State::Between {
            match c {
                '#' | ';' => break,
                c if is_space(c) => continue,
                '"' => state = State::Double,
                '\'' => state = State::Single,
                _ => state = State::Plain,
            }
            if state != State::Plain {
                continue;
            }
        }
        let escaped = c == '\\' && state != State::Single;
        if escaped {
            c = chars.next().filter(|c| matches!(c, '\\' | '"' | ' ')).ok_or(LexError::Backslash)?;
        }
        let ends = !escaped
            && match state {
                State::Plain | State::Between => is_space(c),
                State::Double => c == '"',
                State::Single => c == '\'',
            };
        if ends {
            push(&mut words, &mut word)?;
            state = State::Between;
        } else if c.is_control() && c != '\t' {
            return Err(LexError::ControlCharacter);
        } else if word.len() + c.len_utf8() > max_word_bytes {
            return Err(LexError::WordTooLong(max_word_bytes));
        } else {
            word.push(c);
        }
    }
    match state {
        State::Between => Ok(words),
        State::Plain => push(&mut words, &mut word).map(|()| words),
        State::Double | State::Single => Err(LexError::OpenQuote),
    }
}

fn push(words: &mut Words, word: &mut String) -> Result<(), LexError> {
    if words.len() == MAX_WORDS {
        return Err(LexError::TooManyWords);
    }
    words.push(std::mem::take(word));
    Ok(())
}

const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '\x0b' | '\x0c')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Result<Vec<String>, LexError> {
        words(line, MAX_WORD_BYTES).map(|words| words.to_vec())
    }

    #[test]
    fn quotes_and_escapes_follow_openvpn() {
        assert_eq!(
            split(r#"a "b c" 'd\e "f"' g\ h "i\"j" k\\"#).unwrap(),
            ["a", "b c", r#"d\e "f""#, "g h", "i\"j", "k\\"]
        );
        assert_eq!(split(r#"setenv X """#).unwrap(), ["setenv", "X", ""]);
        assert_eq!(split("\t  \r").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn comments_begin_only_where_a_word_begins() {
        assert_eq!(split("remote a#b ;c").unwrap(), ["remote", "a#b"]);
        assert_eq!(split("# all of it").unwrap(), Vec::<String>::new());
        assert_eq!(split("a '#b'").unwrap(), ["a", "#b"]);
    }

    #[test]
    fn what_openvpn_cannot_split_is_an_error() {
        assert_eq!(split(r"ca C:\keys\ca.crt"), Err(LexError::Backslash));
        assert_eq!(split("a \\"), Err(LexError::Backslash));
        assert_eq!(split("a \"b"), Err(LexError::OpenQuote));
        assert_eq!(split("a 'b"), Err(LexError::OpenQuote));
        assert_eq!(split(&"x".repeat(256)), Err(LexError::WordTooLong(255)));
        assert_eq!(split(&"x ".repeat(17)), Err(LexError::TooManyWords));
        assert_eq!(split("a b\0c"), Err(LexError::ControlCharacter));
    }
}
