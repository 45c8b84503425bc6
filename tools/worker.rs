//! `graph-opt worker`: a program of its own, so that nothing here depends on the distributed engine.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::{Result, usage};

const PROGRAM: &str = "graph-opt-worker";

#[derive(clap::Args)]
pub struct Args {
    /// Arguments of graph-opt-worker; `graph-opt worker --help` shows its own
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

pub fn main(args: &Args) -> Result {
    // The one beside this program, or else any on PATH.
    let name = format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok().and_then(|p| Some(p.parent()?.join(&name)));
    let program = beside.filter(|p| p.is_file()).unwrap_or_else(|| PathBuf::from(&name));
    let mut command = Command::new(&program);
    command.args(&args.args);
    match execute(&mut command) {
        Ok(0) => Ok(()),
        // It has said what there is to say, with the exit codes of a program of its own.
        Ok(code) => std::process::exit(code.into()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(usage(format!(
            "{PROGRAM} is neither beside graph-opt nor on PATH; build it with: \
             cargo install --path tools/worker"
        ))),
        Err(e) => Err(usage(format!("{}: {e}", program.display()))),
    }
}

/// Runs it in place of this process, so that signals reach it.
#[cfg(unix)]
fn execute(command: &mut Command) -> std::io::Result<u8> {
    use std::os::unix::process::CommandExt;
    Err(command.exec())
}

/// Runs it; gives its exit code.
#[cfg(not(unix))]
fn execute(command: &mut Command) -> std::io::Result<u8> {
    let code = command.status()?.code();
    Ok(code.and_then(|c| u8::try_from(c).ok()).unwrap_or(1))
}
