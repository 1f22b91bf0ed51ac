//! Manual pages: one of the program, and one of each of its commands.

use clap::{Arg, Command};

/// All pages.
pub(super) struct Manual {
    program: Command,
}

/// What is told of the environment: a variable, what it is for, and the commands that look at it; none: all.
const ENVIRONMENT: &[(&str, &str, &[&str])] = &[
    (
        "ADIT_LOG",
        "Which lines of the log are written, as in `info,adit=debug`; it stands above --verbose and --quiet.",
        &[],
    ),
    (
        "ADIT_PASSWORD",
        "The password of IKEv2 connections that name no other.",
        &["forward", "probe", "up", "run", "check"],
    ),
    (
        "CREDENTIALS_DIRECTORY",
        "Where systemd has put the credentials of the unit, for secrets written as `{ credential = \"NAME\" }`.",
        &["forward", "probe", "up", "run", "check"],
    ),
    (
        "RUNTIME_DIRECTORY, XDG_RUNTIME_DIR",
        "Where the control socket is, unless it is said: `control.sock` in the first, which systemd sets, else `adit/control.sock` \
         in the second, else /run/adit/control.sock.",
        CONTROLLED,
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC",
        "Where systemd is told that the process is ready, reloading, stopping and alive, and how often.",
        &["run"],
    ),
];

/// The same of files.
const FILES: &[(&str, &str, &[&str])] = &[
    (
        "/run/adit/control.sock",
        "The control socket of `adit run`, unless the environment or `socket` of [control] says otherwise. It belongs to the user \
         of the process, with mode 0600: that user and root may use it.",
        CONTROLLED,
    ),
    ("/run/adit", "The journals of what TUN mode has changed and is to undo.", &["up", "run", "down"]),
    ("/run/netns/NAME, /etc/netns/NAME/resolv.conf", "Network namespaces by their names.", &["up", "run"]),
];

const CONTROLLED: &[&str] = &["run", "status", "connect", "disconnect", "cancel", "reload", "log", "healthcheck"];

impl Manual {
    pub(super) fn new(mut program: Command) -> Self {
        program.build();
        Self { program }
    }

    /// The names of the commands.
    pub(super) fn commands(&self) -> impl Iterator<Item = &str> {
        self.inner().map(Command::get_name)
    }

    /// The page of a command, or that of the program.
    pub(super) fn page(&self, name: Option<&str>) -> Option<String> {
        match name {
            None => Some(self.of_program()),
            Some(name) => self.inner().find(|inner| inner.get_name() == name).map(|inner| self.of_command(inner)),
        }
    }

    /// Every page, with the name of its file.
    pub(super) fn pages(&self) -> impl Iterator<Item = (String, String)> {
        let program = std::iter::once(("adit.1".to_owned(), self.of_program()));
        program.chain(self.inner().map(|inner| (format!("adit-{}.1", inner.get_name()), self.of_command(inner))))
    }

    fn inner(&self) -> impl Iterator<Item = &Command> {
        self.program.get_subcommands().filter(|inner| inner.get_name() != "help")
    }

    fn of_program(&self) -> String {
        let mut page = Page::begin("adit", &self.program);
        page.heading("DESCRIPTION");
        page.text(&about(&self.program));
        page.text("Each command has a page of its own. The options of the log stand before or behind a command.");
        page.heading("COMMANDS");
        for inner in self.inner() {
            page.tagged(&format!("\\fBadit\\-{}\\fR(1)", escaped(inner.get_name())), &plain(inner.get_about()));
        }
        page.options(&self.program);
        page.after(&self.program);
        page.notes(ENVIRONMENT, FILES, None);
        page.see_also(self.inner().map(Command::get_name));
        page.text
    }

    fn of_command(&self, command: &Command) -> String {
        let name = command.get_name();
        let mut page = Page::begin(&format!("adit-{name}"), command);
        page.heading("DESCRIPTION");
        page.text(&about(command));
        page.options(command);
        page.after(command);
        page.notes(ENVIRONMENT, FILES, Some(name));
        let related: &[&str] = match name {
            "forward" | "up" => &["run", "probe", "check", "import"],
            "run" => &["check", "status", "connect", "disconnect", "reload", "log", "healthcheck"],
            "check" | "import" => &["run", "forward", "serve", "probe"],
            "serve" => &["check", "demo"],
            "probe" => &["forward", "check"],
            "down" => &["up"],
            "completions" => &["man"],
            "man" => &["completions"],
            "demo" => &["forward", "serve"],
            _ => CONTROLLED,
        };
        page.see_also(related.iter().copied().filter(|other| *other != name));
        page.text
    }
}

/// A page as it grows.
struct Page {
    text: String,
}

impl Page {
    fn begin(name: &str, command: &Command) -> Self {
        let mut page = Self { text: String::new() };
        let version = env!("CARGO_PKG_VERSION");
        page.line(&format!(".TH {} 1 \"\" \"adit {version}\" \"User Commands\"", escaped(&name.to_uppercase())));
        page.heading("NAME");
        page.line(&format!("{} \\- {}", escaped(name), escaped(&plain(command.get_about()))));
        page.heading("SYNOPSIS");
        let usage = command.clone().render_usage().to_string();
        for line in usage.trim_start_matches("Usage:").lines().map(str::trim).filter(|line| !line.is_empty()) {
            page.line(&format!("\\fB{}\\fR", escaped(line)));
            page.line(".br");
        }
        page
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn heading(&mut self, heading: &str) {
        self.line(&format!(".SH \"{}\"", escaped(&heading.to_uppercase()).replace('"', "\\(dq")));
    }

    /// Paragraphs.
    fn text(&mut self, text: &str) {
        for paragraph in text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty()) {
            self.line(".PP");
            for line in paragraph.lines() {
                self.line(&escaped(line.trim()));
            }
        }
    }

    /// Lines that stay as they are.
    fn lines(&mut self, lines: &[&str]) {
        self.line(".PP");
        self.line(".nf");
        for line in lines {
            self.line(&escaped(line));
        }
        self.line(".fi");
    }

    /// `tag` is escaped already.
    fn tagged(&mut self, tag: &str, text: &str) {
        self.line(".TP");
        self.line(tag);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.line(&escaped(line));
        }
    }

    /// Arguments, and options by their headings.
    fn options(&mut self, command: &Command) {
        let shown: Vec<&Arg> = command.get_arguments().filter(|argument| !argument.is_hide_set()).collect();
        let mut headings: Vec<Option<&str>> = Vec::new();
        for argument in &shown {
            let heading = argument.get_help_heading();
            if !headings.contains(&heading) {
                headings.push(heading);
            }
        }
        // Those of the command itself come first, those of the log last.
        headings.sort_by_key(|heading| (heading.is_some(), heading.is_some_and(|text| text.starts_with("Log"))));
        for heading in headings {
            self.heading(heading.unwrap_or("Options"));
            let positional = |argument: &&&Arg| argument.is_positional();
            let here = || shown.iter().filter(move |argument| argument.get_help_heading() == heading);
            for argument in here().filter(positional).chain(here().filter(|argument| !argument.is_positional())) {
                self.option(argument);
            }
        }
    }

    fn option(&mut self, argument: &Arg) {
        let mut names: Vec<String> = Vec::new();
        names.extend(argument.get_short().map(|short| format!("\\fB\\-{}\\fR", escaped(&short.to_string()))));
        names.extend(argument.get_long().map(|long| format!("\\fB\\-\\-{}\\fR", escaped(long))));
        let mut tag = names.join(", ");
        if argument.get_action().takes_values() {
            let values: Vec<_> =
                argument.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect();
            let value = format!("\\fI{}\\fR", escaped(&values.join(" ")));
            tag = if tag.is_empty() { value } else { format!("{tag} {value}") };
        }
        let help = argument.get_long_help().or_else(|| argument.get_help());
        self.tagged(&tag, &help.map(ToString::to_string).unwrap_or_default());
        if argument.get_action().takes_values() {
            let possible = argument.get_possible_values();
            let names: Vec<_> =
                possible.iter().filter(|value| !value.is_hide_set()).map(|value| value.get_name()).collect();
            if !names.is_empty() {
                self.line(".br");
                self.line(&format!("One of: {}", escaped(&names.join(", "))));
            }
            let default: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            if !default.is_empty() {
                self.line(".br");
                self.line(&format!("Default: {}", escaped(&default.join(", "))));
            }
        }
    }

    /// What the help has behind its options: its own headings begin in the first column, and end with a colon.
    fn after(&mut self, command: &Command) {
        let text = command.get_after_long_help().or_else(|| command.get_after_help());
        let text = text.map(ToString::to_string).unwrap_or_default();
        let mut lines: Vec<&str> = Vec::new();
        let mut prose: Vec<&str> = Vec::new();
        for line in text.lines() {
            let indented = line.is_empty() || line.starts_with(' ');
            match (indented, line.strip_suffix(':')) {
                (false, Some(heading)) if !heading.contains(' ') || heading == "Exit codes" => {
                    self.block(&mut lines, &mut prose);
                    self.heading(if heading == "Exit codes" { "Exit status" } else { heading });
                }
                (true, _) if prose.is_empty() || !line.is_empty() => {
                    if !prose.is_empty() {
                        self.block(&mut Vec::new(), &mut prose);
                    }
                    lines.push(line);
                }
                (true, _) => {}
                (false, _) => {
                    self.block(&mut lines, &mut Vec::new());
                    prose.push(line);
                }
            }
        }
        self.block(&mut lines, &mut prose);
    }

    fn block(&mut self, lines: &mut Vec<&str>, prose: &mut Vec<&str>) {
        while lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
        if !lines.is_empty() {
            self.lines(lines);
            lines.clear();
        }
        if !prose.is_empty() {
            self.text(&prose.join("\n"));
            prose.clear();
        }
    }

    /// Variables and files; `command`: only those that it looks at.
    fn notes(&mut self, environment: &[(&str, &str, &[&str])], files: &[(&str, &str, &[&str])], command: Option<&str>) {
        for (heading, list) in [("Environment", environment), ("Files", files)] {
            let concerns =
                |commands: &[&str]| commands.is_empty() || command.is_none_or(|command| commands.contains(&command));
            let list: Vec<_> = list.iter().filter(|(.., commands)| concerns(commands)).collect();
            if list.is_empty() {
                continue;
            }
            self.heading(heading);
            for (name, text, _) in list {
                self.tagged(&format!("\\fB{}\\fR", escaped(name)), text);
            }
        }
    }

    fn see_also<'a>(&mut self, commands: impl Iterator<Item = &'a str>) {
        self.heading("See also");
        let mut line = "\\fBadit\\fR(1)".to_owned();
        for command in commands {
            line.push_str(&format!(", \\fBadit\\-{}\\fR(1)", escaped(command)));
        }
        self.line(&line);
    }
}

fn about(command: &Command) -> String {
    plain(command.get_long_about().or_else(|| command.get_about()))
}

fn plain(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

/// Text for a line of roff: no letter of it is an instruction, and hyphens, quotation marks and carets can be copied.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (index, letter) in text.chars().enumerate() {
        match letter {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '\'' => escaped.push_str("\\(aq"),
            '`' => escaped.push_str("\\(ga"),
            '^' => escaped.push_str("\\(ha"),
            '~' => escaped.push_str("\\(ti"),
            // At the beginning of a line, it would be an instruction.
            '.' if index == 0 => escaped.push_str("\\&."),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;
    use crate::arguments::Arguments;

    /// Without what only makes letters stand for themselves.
    fn read(page: &str) -> String {
        let plain = page.replace("\\-", "-").replace("\\(aq", "'").replace("\\(ga", "`").replace("\\(ti", "~");
        plain.replace("\\fB", "").replace("\\fR", "").replace("\\fI", "").replace("\\&", "").replace("\\e", "\\")
    }

    #[test]
    fn every_command_has_a_page_with_its_options_their_values_and_what_else_there_is_to_know() {
        let manual = Manual::new(Arguments::command());
        let pages: Vec<_> = manual.pages().collect();
        let mut command = Arguments::command();
        command.build();
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            let file = format!("adit-{}.1", inner.get_name());
            let (_, page) = pages.iter().find(|(name, _)| *name == file).unwrap_or_else(|| panic!("{file}"));
            let page = read(page);
            for argument in inner.get_arguments() {
                let value = argument.get_value_names().unwrap_or_default().iter().map(|name| name.as_str());
                let value = value.collect::<Vec<_>>().join(" ");
                let long = argument.get_long().map(|long| format!("--{long}"));
                let takes = argument.get_action().takes_values();
                let tag = match (&long, takes) {
                    (Some(long), true) => format!("{long} {value}"),
                    (Some(long), false) => long.clone(),
                    (None, _) => value,
                };
                assert!(page.lines().any(|line| line.ends_with(&tag)), "{file}: {tag}\n{page}");
                for possible in argument.get_possible_values().iter().filter(|_| takes) {
                    assert!(page.contains(possible.get_name()), "{file}: {tag} {}", possible.get_name());
                }
            }
            for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "SEE ALSO"] {
                assert!(page.contains(&format!(".SH \"{heading}\"\n")), "{file}: {heading}\n{page}");
            }
            assert!(page.contains(&format!("\nadit {}", inner.get_name())), "{file}: its synopsis");
        }
        let forward = read(&manual.page(Some("forward")).unwrap());
        assert!(
            forward.contains("One of: mschapv2, tls, ttls, gtc, md5") && forward.contains("Default: text"),
            "{forward}"
        );
        let status = read(&manual.page(Some("status")).unwrap());
        assert!(status.contains("mode 0600") && !status.contains("ADIT_PASSWORD"), "{status}");
    }

    #[test]
    fn every_page_that_is_referred_to_is_there() {
        let manual = Manual::new(Arguments::command());
        let pages: Vec<_> = manual.pages().collect();
        let names: BTreeSet<String> = pages.iter().map(|(name, _)| name.replace(".1", "(1)")).collect();
        let mut referred = 0;
        for (name, page) in &pages {
            for word in read(page).split([' ', ',', '\n']).filter(|word| word.ends_with("(1)")) {
                assert!(names.contains(word), "{name} refers to {word}");
                referred += 1;
            }
        }
        assert!(referred > pages.len(), "{referred} references");
    }

    #[test]
    fn nothing_in_a_page_is_taken_for_an_instruction_that_is_none() {
        let macros = [".TH", ".SH", ".PP", ".TP", ".nf", ".fi", ".br"];
        for (name, page) in Manual::new(Arguments::command()).pages() {
            assert!(page.starts_with(".TH ADIT"), "{name}");
            for line in page.lines() {
                let known = !line.starts_with('.') || macros.iter().any(|known| line.split(' ').next() == Some(known));
                assert!(known && !line.starts_with('\''), "{name}: {line}");
                let escapes = line.match_indices('\\').map(|(at, _)| line.get(at + 1..at + 2).unwrap_or_default());
                for escape in escapes {
                    assert!(["f", "-", "(", "e", "&"].contains(&escape), "{name}: {line}");
                }
            }
        }
        assert_eq!(escaped(".\\-'x`"), "\\&.\\e\\-\\(aqx\\(ga");
    }
}
