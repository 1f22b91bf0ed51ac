//! Made from the definition of the command line: completions for shells, and the manual page.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{
    arguments::Arguments,
    error::{Error, Exit},
    run::say,
};

/// `adit completions SHELL`.
pub(crate) fn completions(shell: Shell) -> Result<Exit, Error> {
    say(&completions_for(shell)).map(|()| Exit::Ok)
}

/// `adit man`: one page, which has every command.
pub(crate) fn man() -> Result<Exit, Error> {
    say(&manual().map_err(|error| Error::new(Exit::Other, format!("the manual page: {error}")))?).map(|()| Exit::Ok)
}

fn completions_for(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "adit", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn manual() -> std::io::Result<String> {
    let mut command = Arguments::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        let name = format!("adit {}", inner.get_name());
        let inner = clap_mangen::Man::new(inner.clone());
        page.extend(format!(".SH {}\n", name.to_uppercase()).bytes());
        let mut parts = Vec::new();
        inner.render_synopsis_section(&mut parts)?;
        inner.render_description_section(&mut parts)?;
        inner.render_options_section(&mut parts)?;
        inner.render_extra_section(&mut parts)?;
        // Its own headings stand below that of the command.
        page.extend(String::from_utf8_lossy(&parts).replace("\n.SH ", "\n.SS ").replacen(".SH ", ".SS ", 1).bytes());
    }
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands() -> Vec<String> {
        let names = Arguments::command().get_subcommands().map(|inner| inner.get_name().to_owned()).collect::<Vec<_>>();
        assert!(names.contains(&"forward".to_owned()) && names.contains(&"check".to_owned()), "{names:?}");
        names
    }

    #[test]
    fn every_shell_completes_every_command_and_its_options() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
            let script = completions_for(shell);
            for name in commands() {
                assert!(script.contains(&name), "{shell}: {name}");
            }
            assert!(script.contains("auth-user-pass"), "{shell}");
        }
    }

    #[test]
    fn the_manual_page_has_every_command_and_every_option() {
        let page = manual().unwrap();
        assert!(page.contains(".TH adit 1"), "{page}");
        let plain = page.replace("\\-", "-");
        for name in commands() {
            assert!(plain.contains(&format!(".SH ADIT {}\n", name.to_uppercase())), "{name}");
        }
        let command = Arguments::command();
        for inner in command.get_subcommands() {
            for option in inner.get_arguments().filter_map(|argument| argument.get_long()) {
                assert!(plain.contains(&format!("--{option}")), "{option}");
            }
        }
    }
}
