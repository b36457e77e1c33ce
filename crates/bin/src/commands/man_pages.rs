//! `man-pages`: the manual, one page for each command that users see, made of the command line's own definition.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli;
use crate::exit::{CliError, Exit};

/// How a command ends (CONTRACT.md, "Exit codes").
const EXITS: &[(&str, &str)] = &[
    ("0", "Done and complete."),
    ("1", "Failed."),
    ("2", "Wrong usage or configuration."),
    ("3", "Done but incomplete: some relay is degraded or could not be reached; each is named with its reason."),
];

const FILES: &[(&str, &str)] = &[
    ("./grasp-sync.toml", "The configuration, where --config names none; the first of these that exists."),
    ("$XDG_CONFIG_HOME/grasp-sync/config.toml", "The next."),
    (
        "/etc/grasp-sync.toml",
        "The last. grasp-sync.example.toml, among the documents, holds every key with its default.",
    ),
    ("./grasp-sync-data", "The store, where neither --store nor store.path names another."),
];

const ENVIRONMENT: &[(&str, &str)] = &[(
    "GRASP_SYNC_SECTION__KEY",
    "Overrides a key of the configuration, as GRASP_SYNC_SYNC__BATCH_WINDOW=2s does with sync.batch_window; flags override it \
     in turn.",
)];

/// Writes the pages into `dir`.
///
/// # Errors
/// They can't be written.
pub fn run(dir: &Path) -> Result<Exit, CliError> {
    let failed = |path: &Path, error: io::Error| CliError::Failed(format!("{}: {error}", path.display()));
    fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    let pages = pages().map_err(|error| failed(dir, error))?;
    for (name, page) in pages {
        let path = dir.join(name);
        fs::write(&path, page).map_err(|error| failed(&path, error))?;
    }
    Ok(Exit::Done)
}

/// Every page: the name of its file, and what is in it.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = cli::for_users();
    command.build();
    let mut pages = Vec::new();
    collect(&command, None, &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, above: Option<&str>, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let man = Man::new(command.clone()).source(format!("grasp-sync {}", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render(&mut page)?;
    let mut more = Roff::default();
    section(&mut more, "EXIT STATUS", EXITS);
    if above.is_none() {
        section(&mut more, "FILES", FILES);
        section(&mut more, "ENVIRONMENT", ENVIRONMENT);
    }
    let inner: Vec<_> = command.get_subcommands().filter(|command| command.get_name() != "help").collect();
    let others = above.into_iter().map(str::to_owned);
    let others: Vec<String> =
        others.chain(inner.iter().filter_map(|command| command.get_display_name().map(str::to_owned))).collect();
    if !others.is_empty() {
        more.control("SH", ["SEE ALSO"]);
        for (at, other) in others.iter().enumerate() {
            let end = if at + 1 < others.len() { "(1)," } else { "(1)" };
            more.control("BR", [other, end]);
        }
    }
    more.to_writer(&mut page)?;
    pages.push((man.get_filename(), page));
    for command in inner {
        collect(command, Some(name), pages)?;
    }
    Ok(())
}

fn section(roff: &mut Roff, title: &str, items: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (term, text) in items {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*text)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page as it reads: without what steers the typesetting.
    fn read(page: &[u8]) -> String {
        let text = String::from_utf8(page.to_vec()).expect("text");
        let text = ["\\fB", "\\fI", "\\fR"].iter().fold(text, |text, font| text.replace(font, ""));
        text.replace("\\-", "-").replace("\\*(Aq", "'")
    }

    fn of(command: &Command) -> String {
        let name = format!("{}.1", command.get_display_name().unwrap_or_else(|| command.get_name()));
        let page = pages().expect("rendered").into_iter().find(|(of, _)| *of == name);
        read(&page.unwrap_or_else(|| panic!("no page {name}")).1)
    }

    fn every(command: &Command) -> Vec<Command> {
        let inner = command.get_subcommands().filter(|command| command.get_name() != "help");
        std::iter::once(command.clone()).chain(inner.flat_map(every)).collect()
    }

    #[test]
    fn every_command_has_a_page_with_each_of_its_flags_and_what_it_is_for() {
        let mut command = cli::for_users();
        command.build();
        let all = every(&command);
        assert_eq!(all.len(), pages().expect("rendered").len(), "no page without a command");
        assert!(all.len() > 15, "commands of commands are among them");
        for command in all {
            let page = of(&command);
            for arg in command.get_arguments() {
                let name = arg.get_long().map_or_else(|| format!("[{}]", arg.get_id()), |long| format!("--{long}"));
                let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
                let shown = page.contains(&name)
                    || value.is_some_and(|value| {
                        page.contains(&format!("[{value}]")) || page.contains(&format!("<{value}>"))
                    });
                assert!(shown, "{} has no {name}:\n{page}", command.get_name());
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                let first = help.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
                assert!(page.contains(&first), "{} doesn't say of {name} `{first}`:\n{page}", command.get_name());
            }
            for inner in command.get_subcommands().filter(|command| command.get_name() != "help") {
                let about = inner.get_about().expect("it says what it does").to_string();
                assert!(page.contains(&about), "{about}:\n{page}");
            }
            assert!(page.contains("Wrong usage or configuration."), "{page}");
        }
    }

    #[test]
    fn what_is_not_for_users_has_no_page_and_is_not_named() {
        for (name, page) in pages().expect("rendered") {
            let page = read(&page);
            for inward in [cli::LOAD_PLUGIN, "man-pages"] {
                assert!(!name.contains(inward) && !page.contains(inward), "{name}:\n{page}");
            }
        }
    }
}
