//! The text of a profile as lines of words and inline blocks.

use zeroize::Zeroizing;

use super::lexer::{self, LexError, Words};

/// One thing in a profile.
pub(super) struct Item<'a> {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) content: Content<'a>,
}

pub(super) enum Content<'a> {
    /// A directive with its values; at least one word.
    Words(Words),
    /// `<name>` and what stands between it and `</name>`.
    Block { name: String, content: &'a [u8] },
    /// A line nobody can read.
    Unreadable(&'static str),
    /// A line that is no text. Nothing behind it was looked at.
    NotText(&'static str),
    /// A line that cannot be split into words; the first word is kept.
    Unsplit { name: String, error: LexError },
}

/// Splits a profile. LF and CRLF end lines, a byte order mark is skipped, comments and empty lines are left out.
pub(super) fn items(text: &[u8]) -> Vec<Item<'_>> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut lines = Lines { rest: text, line: 0 };
    let mut items = Vec::new();
    while let Some(bytes) = lines.next() {
        let line = lines.line;
        let trimmed = bytes.trim_ascii();
        if matches!(trimmed.first(), None | Some(b'#' | b';')) {
            continue;
        }
        let text = match text_line(trimmed) {
            Ok(text) => text,
            Err(reason) => {
                items.push(Item { line, content: Content::NotText(reason) });
                break;
            }
        };
        let content = match lexer::words(text, lexer::MAX_WORD_BYTES) {
            Ok(words) => match block_name(&words) {
                Some(name) => block(name, &mut lines),
                None => Content::Words(without_dashes(words)),
            },
            Err(error) => {
                let name = text.split_ascii_whitespace().next().unwrap_or_default().to_owned();
                Content::Unsplit { name, error }
            }
        };
        items.push(Item { line, content });
    }
    items
}

/// The line as text, or what it is instead.
fn text_line(line: &[u8]) -> Result<&str, &'static str> {
    let is_binary = |&byte: &u8| byte < b' ' && !matches!(byte, b'\t' | b'\r' | 0x0b | 0x0c);
    if line.starts_with(b"\xff\xfe") || line.starts_with(b"\xfe\xff") {
        return Err("it is UTF-16; save the profile as UTF-8");
    }
    if line.iter().any(is_binary) {
        return Err("it is not text, so this is no profile; give the `.ovpn` file");
    }
    str::from_utf8(line).map_err(|_| "it is not UTF-8; save the profile as UTF-8")
}

/// `<name>` alone on a line.
fn block_name(words: &[String]) -> Option<String> {
    let [word] = words else { return None };
    let name = word.strip_prefix('<')?.strip_suffix('>')?;
    (!name.is_empty() && !name.starts_with('/')).then(|| name.to_owned())
}

fn block<'a>(name: String, lines: &mut Lines<'a>) -> Content<'a> {
    let end = format!("</{name}>");
    let content = lines.rest;
    let before = content.len();
    loop {
        let at = before - lines.rest.len();
        match lines.next() {
            None => return Content::Unreadable("the block that begins here is not closed; add its `</…>` line"),
            Some(line) if line.trim_ascii_start().starts_with(end.as_bytes()) => {
                return Content::Block { name, content: content.get(..at).unwrap_or_default() };
            }
            Some(_) => {}
        }
    }
}

/// `--remote` is the same as `remote`.
fn without_dashes(mut words: Words) -> Words {
    if let Some(first) = words.first_mut()
        && first.len() > 2
        && let Some(name) = first.strip_prefix("--")
    {
        *first = name.to_owned();
    }
    words
}

/// Lines with their numbers, without their ends.
struct Lines<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.iter().position(|&byte| byte == b'\n').unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.get(1..).unwrap_or_default();
        self.line += 1;
        Some(line)
    }
}

/// The lines of a small text file such as that of `auth-user-pass`, without their ends.
pub(super) fn text_lines(bytes: &[u8]) -> Option<Zeroizing<Vec<String>>> {
    let text = str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).ok()?;
    Some(Zeroizing::new(text.lines().map(str::to_owned).collect()))
}
