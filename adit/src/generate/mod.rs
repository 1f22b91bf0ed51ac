//! Made from the definition of the command line: completions for shells, and manual pages.

mod manual;

use std::{fs, io, path::Path};

use clap::CommandFactory;
use clap_complete::Shell;

use self::manual::Manual;
use crate::{
    arguments::{Arguments, Man},
    error::{Error, Exit},
    run::say,
};

/// `adit completions SHELL`.
pub(crate) fn completions(shell: Shell) -> Result<Exit, Error> {
    say(&completions_for(shell)).map(|()| Exit::Ok)
}

/// `adit man`: one page to standard output, or all of them into a directory.
pub(crate) fn man(arguments: &Man) -> Result<Exit, Error> {
    let manual = Manual::new(Arguments::command());
    match &arguments.dir {
        Some(directory) => {
            let written = write(&manual, directory);
            let written = written.map_err(|(path, error)| {
                let error = Error::new(Exit::Usage, format!("cannot write {}: {error}", path.display()));
                error.hint("name a directory this user may write to: it is made if it is not there")
            })?;
            say(&written.iter().map(|path| format!("{}\n", path.display())).collect::<String>())?;
        }
        None => match manual.page(arguments.command.as_deref()) {
            Some(page) => say(&page)?,
            None => {
                let name = arguments.command.as_deref().unwrap_or_default().escape_debug().to_string();
                let names: Vec<_> = manual.commands().collect();
                let error = Error::new(Exit::Usage, format!("there is no command `{name}`"));
                return Err(error.hint(format!("there are {}", names.join(", "))));
            }
        },
    }
    Ok(Exit::Ok)
}

/// Every page; their paths.
fn write(manual: &Manual, directory: &Path) -> Result<Vec<std::path::PathBuf>, (std::path::PathBuf, io::Error)> {
    fs::create_dir_all(directory).map_err(|error| (directory.to_owned(), error))?;
    let mut written = Vec::new();
    for (name, page) in manual.pages() {
        let path = directory.join(name);
        fs::write(&path, page).map_err(|error| (path.clone(), error))?;
        written.push(path);
    }
    Ok(written)
}

fn completions_for(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "adit", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_completes_every_command_and_its_options() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
            let script = completions_for(shell);
            for name in Arguments::command().get_subcommands().map(|inner| inner.get_name().to_owned()) {
                assert!(script.contains(&name), "{shell}: {name}");
            }
            assert!(script.contains("auth-user-pass"), "{shell}");
        }
    }

    #[test]
    fn all_pages_go_into_a_directory() {
        let folder = crate::tests::Folder::new();
        let directory = folder.path().join("man/man1");
        let manual = Manual::new(Arguments::command());
        let paths = write(&manual, &directory).unwrap();
        assert_eq!(paths.len(), Arguments::command().get_subcommands().count() + 1);
        let forward = fs::read_to_string(directory.join("adit-forward.1")).unwrap();
        assert_eq!(Some(forward), manual.page(Some("forward")));
        assert!(manual.page(Some("nothing")).is_none());
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(write(&manual, &folder.path().join("file")).is_err());
    }
}
