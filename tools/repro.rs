//! `graph-opt repro`

use std::path::{Path, PathBuf};

use graph_opt_backends::faults::repro;

use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Answer;
use crate::failure::{Result, differs, say, usage};
use crate::model;

#[derive(clap::Args)]
pub struct Args {
    /// The reproducer, which an internal error wrote
    file: PathBuf,
}

/// What became of an internal error.
#[derive(Serialize, JsonSchema)]
pub struct Reproduced {
    /// The error that was recorded.
    recorded: String,
    /// The error of this run; `null` if it is gone.
    now: Option<String>,
    /// Whether it is the same.
    same: bool,
}

pub fn main(args: &Args) -> Result<Answer> {
    let load = |p: &Path| model::load(&p.to_string_lossy()).map_err(|e| e.message);
    let r = repro::read(&args.file, &[], &load).map_err(usage)?;
    if r.version != env!("CARGO_PKG_VERSION") {
        say(format!("written by version {}, this is {}", r.version, env!("CARGO_PKG_VERSION")));
    }
    let found = r.run();
    let (text, failure) = match &found {
        None => (format!("the error is gone: {}\n", r.error), None),
        Some((_, true)) => (String::new(), Some(differs(format!("the same error: {}", r.error)))),
        Some((fault, false)) => {
            let other = format!("another error: {fault}\nit was: {}", r.error);
            (String::new(), Some(differs(other)))
        }
    };
    let same = matches!(found, Some((_, true)));
    let now = found.map(|(fault, _)| fault.to_string());
    let result = Reproduced { recorded: r.error, now, same };
    Ok(Answer { failure, ..Answer::new(result, text) })
}
