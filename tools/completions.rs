//! `graph-opt completions`

use clap_complete::Shell;

use crate::answer::Answer;
use crate::failure::{Result, internal};

#[derive(clap::Args)]
pub struct Args {
    /// The shell that reads them
    shell: Shell,
}

pub fn main(args: &Args) -> Result<Answer> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::command(), "graph-opt", &mut script);
    Ok(Answer::text(String::from_utf8(script).map_err(internal)?))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_gets_every_command() {
        for shell in Shell::value_variants() {
            let text = main(&Args { shell: *shell }).unwrap().text;
            for c in crate::command().get_subcommands() {
                assert!(text.contains(c.get_name()), "{shell}: {}", c.get_name());
            }
            assert!(text.contains("memory"), "{shell}");
        }
    }
}
