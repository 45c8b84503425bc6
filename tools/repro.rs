//! `graph-opt repro`

use std::path::{Path, PathBuf};

use graph_opt_backends::faults::repro;

use crate::failure::{Result, differs, out, say, usage};
use crate::model;

#[derive(clap::Args)]
pub struct Args {
    /// The reproducer, which an internal error wrote
    file: PathBuf,
}

pub fn main(args: &Args) -> Result {
    let load = |p: &Path| model::load(&p.to_string_lossy()).map_err(|e| e.message);
    let r = repro::read(&args.file, &[], &load).map_err(usage)?;
    if r.version != env!("CARGO_PKG_VERSION") {
        say(format!("written by version {}, this is {}", r.version, env!("CARGO_PKG_VERSION")));
    }
    match r.run() {
        None => out(format!("the error is gone: {}\n", r.error)),
        Some((_, true)) => Err(differs(format!("the same error: {}", r.error))),
        Some((fault, false)) => {
            Err(differs(format!("another error: {fault}\nit was: {}", r.error)))
        }
    }
}
