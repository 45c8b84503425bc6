//! `graph-opt man`

use std::path::{Path, PathBuf};

use clap_mangen::Man;

use crate::answer::Answer;
use crate::failure::{Result, internal};
use crate::folder::Folder;
use crate::output;

#[derive(clap::Args)]
pub struct Args {
    /// The folder to write to, a page for each command; it must not be there yet
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
}

pub fn main(args: &Args) -> Result<Answer> {
    output::probe_folder(&args.output)?;
    let folder = Folder::begin(&args.output)?;
    let mut root = crate::command();
    root.build();
    let pages = write(&root, folder.path())?;
    folder.finish()?;
    Ok(Answer::text(format!("wrote {pages} pages to {}\n", args.output.display())))
}

/// Writes the pages of a command and of those below it, and gives their number.
fn write(command: &clap::Command, folder: &Path) -> Result<usize> {
    let page = Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text).map_err(internal)?;
    output::whole(&folder.join(page.get_filename()), &text)?;
    let below = command.get_subcommands().filter(|c| c.get_name() != "help");
    below.map(|c| write(c, folder)).try_fold(1, |sum, pages| Ok(sum + pages?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("man1");
        main(&Args { output: output.clone() }).unwrap();
        for c in crate::command().get_subcommands() {
            let page = output.join(format!("graph-opt-{}.1", c.get_name()));
            let text = std::fs::read_to_string(&page).unwrap();
            assert!(text.starts_with(".ie") && text.contains(".SH SYNOPSIS"), "{text}");
        }
        let opt = std::fs::read_to_string(output.join("graph-opt-opt.1")).unwrap();
        assert!(opt.contains("\\-\\-memory") && opt.contains("Examples:"), "{opt}");
        assert!(main(&Args { output }).is_err(), "the folder is there already");
    }
}
