//! Texts and lists of a TOML file that nobody has closed.
//!
//! To the parser everything that follows is part of them, and each of its lines another mistake. Here they end with their line, so
//! that the mistake is told once, where it begins, and the rest of the file is read as it was meant.

use std::mem;

/// Something that is not closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unclosed {
    /// Where it begins, in bytes.
    pub(super) at: usize,
    /// What would close it.
    pub(super) closing: char,
}

impl Unclosed {
    pub(super) fn problem(&self) -> &'static str {
        match self.closing {
            ']' => "this list has no end",
            '}' => "this table has no end",
            _ => "this text has no end",
        }
    }
}

/// The text with what is not closed ended by its line, and what that was. Only the ends of lines differ: what is before them stays in
/// its line and column.
pub(super) fn close(text: &str) -> (String, Vec<Unclosed>) {
    let mut scan = Scan { out: String::with_capacity(text.len()), ..Scan::default() };
    for line in text.split_inclusive('\n') {
        scan.line(line);
    }
    scan.close_all();
    (scan.out, scan.found)
}

#[derive(Default)]
struct Scan {
    out: String,
    found: Vec<Unclosed>,
    /// Lists and tables that are open, by what closes them.
    open: Vec<Unclosed>,
    /// The quotation mark of a text of several lines.
    long: Option<char>,
}

impl Scan {
    fn line(&mut self, line: &str) {
        // A table may go on with a key in the next line, behind a comma.
        let goes_on = || self.out.trim_end().ends_with([',', '{']) && self.open.iter().all(|open| open.closing == '}');
        if self.long.is_none() && is_statement(line) && !goes_on() {
            self.close_all();
        }
        let start = self.out.len();
        let mut chars = line.char_indices().peekable();
        let mut short: Option<(usize, char)> = None;
        while let Some((index, char)) = chars.next() {
            let rest = &line[index..];
            if let Some(quote) = self.long {
                if char == '\\' && quote == '"' {
                    chars.next();
                } else if is_triple(rest, quote) {
                    self.long = None;
                    // As many as end it, and up to two that belong to the text before.
                    while chars.next_if(|(_, next)| *next == quote).is_some() {}
                }
                continue;
            }
            if let Some((_, quote)) = short {
                if char == '\\' && quote == '"' {
                    chars.next_if(|(_, next)| *next != '\n');
                } else if char == quote {
                    short = None;
                } else if char == '\n' {
                    break;
                }
                continue;
            }
            match char {
                '#' => break,
                '"' | '\'' if is_triple(rest, char) => {
                    self.long = Some(char);
                    chars.next();
                    chars.next();
                }
                '"' | '\'' => short = Some((index, char)),
                // The name of a table is closed in its line, or is the parser's to judge.
                '[' if is_header(line) => break,
                '[' => self.open.push(Unclosed { at: start + index, closing: ']' }),
                '{' => self.open.push(Unclosed { at: start + index, closing: '}' }),
                ']' | '}' if self.open.last().is_some_and(|open| open.closing == char) => drop(self.open.pop()),
                _ => {}
            }
        }
        let Some((index, quote)) = short else { return self.out.push_str(line) };
        self.found.push(Unclosed { at: start + index, closing: quote });
        // What closes the list around it was hardly meant to be part of it.
        let body = line.trim_end();
        let mut inside = body;
        while let Some(shorter) = inside.strip_suffix([']', '}', ',', ' ']).filter(|shorter| shorter.len() > index + 1)
        {
            inside = shorter;
        }
        if self.open.is_empty() {
            inside = body;
        }
        let after = &body[inside.len()..];
        for closing in after.chars() {
            if self.open.last().is_some_and(|open| open.closing == closing) {
                self.open.pop();
            }
        }
        self.out.push_str(inside);
        self.out.push(quote);
        self.out.push_str(after);
        self.out.push_str(&line[body.len()..]);
    }

    /// At the end of the line before this one.
    fn close_all(&mut self) {
        let mut open = mem::take(&mut self.open);
        if open.is_empty() {
            return;
        }
        let ends: String = open.iter().rev().map(|open| open.closing).collect();
        // In a line of its own it would move all that follow; behind a comment it would be part of it.
        let at = self.out.trim_end_matches(['\n', '\r']).len();
        let line = self.out[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let at = comment(&self.out[line..at]).map_or(at, |comment| line + comment);
        self.out.insert_str(at, &ends);
        open.truncate(1);
        self.found.append(&mut open);
    }
}

fn is_triple(text: &str, quote: char) -> bool {
    text.chars().take(3).filter(|char| *char == quote).count() == 3
}

/// Where the comment of a line begins, for one without quotation marks in it.
fn comment(line: &str) -> Option<usize> {
    line.rfind('#').filter(|hash| !line[*hash..].contains(['"', '\'']))
}

/// `[name]` or `[[name]]`, with nothing before it.
fn is_header(line: &str) -> bool {
    let name = line.trim().trim_start_matches('[');
    let Some((name, _)) = name.split_once(']') else { return false };
    line.trim_start().starts_with('[') && !name.is_empty() && is_name(name.trim())
}

/// `key = …` or the name of a table: neither is part of a list.
fn is_statement(line: &str) -> bool {
    is_header(line) || line.split_once('=').is_some_and(|(key, _)| is_name(key.trim()))
}

/// Letters and dots, as keys have them that are not quoted; a number is an element of a list.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(text: &str) -> (String, Vec<(usize, char)>) {
        let (text, found) = close(text);
        (text, found.iter().map(|found| (found.at, found.closing)).collect())
    }

    #[test]
    fn what_is_right_stays_as_it_is() {
        let right = "# [a\na = \"]\\\"[\" # \"\nb = '['\nc = [\n  1, # [\n  \"x\",\n  [\"y\"],\n]\nd = { e = [1] }\n[t]\n[[u.v]]\nf = \"\"\"\n[x = \"a\ng = 1\n\"\"\"\nh = '''a''''\ni = 1";
        assert_eq!(closed(right), (right.to_owned(), Vec::new()));
    }

    #[test]
    fn what_is_not_closed_ends_with_its_line_and_is_found_where_it_begins() {
        for (wrong, mended, found) in [
            ("a = \"b\nc = 1", "a = \"b\"\nc = 1", vec![(4, '"')]),
            ("a = 'b  \nc = 1", "a = 'b'  \nc = 1", vec![(4, '\'')]),
            ("a = [\"b]\nc = 1", "a = [\"b\"]\nc = 1", vec![(5, '"')]),
            ("a = { b = \"c }\nd = 1", "a = { b = \"c\" }\nd = 1", vec![(10, '"')]),
            ("a = [\"b\"\nc = 1", "a = [\"b\"]\nc = 1", vec![(4, ']')]),
            ("a = [\"b\" # x\n[c]", "a = [\"b\" ]# x\n[c]", vec![(4, ']')]),
            ("a = [[1, 2]\n[[c]]", "a = [[1, 2]]\n[[c]]", vec![(4, ']')]),
            ("a = [\n1,\n2,\nc = 1", "a = [\n1,\n2,]\nc = 1", vec![(4, ']')]),
            ("a = { b = 1", "a = { b = 1}", vec![(4, '}')]),
            ("a = { b = 1\nc = 1", "a = { b = 1}\nc = 1", vec![(4, '}')]),
            ("a = { b = 1,\nc = 1 }", "a = { b = 1,\nc = 1 }", vec![]),
            ("a = \"b\nc = \"d", "a = \"b\"\nc = \"d\"", vec![(4, '"'), (12, '"')]),
        ] {
            assert_eq!(closed(wrong), (mended.to_owned(), found), "{wrong}");
        }
    }

    proptest::proptest! {
        /// Lines and what stands before their ends stay where they are, so that what is said of them is true.
        #[test]
        fn lines_stay_where_they_are(text in "[a-c\\[\\]{}\"'=#,\\\\ \n]{0,60}") {
            let (mended, found) = close(&text);
            proptest::prop_assert_eq!(mended.matches('\n').count(), text.matches('\n').count());
            proptest::prop_assert!(mended.len() >= text.len());
            for unclosed in found {
                proptest::prop_assert!(mended.is_char_boundary(unclosed.at));
            }
        }
    }
}
