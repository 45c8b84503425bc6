//! What commands write: standard output, files and folders, tried before the work starts.

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;

use graph_opt_ir::atomic;

use crate::failure::{Failure, Result, io, usage};

/// Writes to standard output; a reader that went away is no failure.
pub fn bytes(all: &[u8]) -> Result {
    let mut o = std::io::stdout().lock();
    match o.write_all(all).and_then(|()| o.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(io("standard output", &e)),
        _ => Ok(()),
    }
}

/// Writes a file whole or not at all.
pub fn whole(path: &Path, bytes: &[u8]) -> Result {
    atomic::write(path, |out| out.write_all(bytes)).map_err(|e| failed(path, &e))
}

/// What went wrong at a file or folder.
pub fn failed(path: &Path, e: &std::io::Error) -> Failure {
    io(path.display(), e)
}

/// Refuses a file that could not be written: its folder is missing or read-only, or it is a folder.
pub fn probe(path: &Path) -> Result {
    if path.is_dir() {
        return Err(usage(format!("{}: expected a file, found a folder", path.display())));
    }
    match path.metadata() {
        // Devices and pipes are written to as they are.
        Ok(m) if !m.is_file() => Ok(()),
        _ => atomic::probe(path).map_err(|e| failed(path, &e)),
    }
}

/// Refuses a folder that could not be written to: it, or the innermost one around it that exists, is
/// read-only or no folder.
pub fn probe_folder(path: &Path) -> Result {
    let absolute = std::path::absolute(path).map_err(|e| failed(path, &e))?;
    let exists = absolute.ancestors().find(|p| p.exists());
    let Some(exists) = exists.filter(|p| p.is_dir()) else {
        return Err(usage(format!("{}: expected a folder", path.display())));
    };
    atomic::probe(&exists.join("graph-opt")).map_err(|e| failed(path, &e))
}

/// Refuses a model that could not be written: see [`probe`]; or one of a form that is not known, or
/// bytes for a terminal, or where standard output has the answer as JSON.
pub fn probe_model(name: &str, json: bool) -> Result {
    if name == "-" && json {
        return Err(usage("--json and -o -: only one of them can have standard output"));
    }
    if name == "-" {
        return match std::io::stdout().is_terminal() {
            true => Err(usage("-o -: a model is not for a terminal; send it to a file or a pipe")),
            false => Ok(()),
        };
    }
    if crate::host::holds(name) {
        return Ok(());
    }
    let path = Path::new(name);
    probe(path)?;
    let known = path.extension().is_some_and(|e| e == "onnx" || e == "gir");
    // A device or pipe may have any name.
    if known || path.metadata().is_ok_and(|m| !m.is_file()) {
        return Ok(());
    }
    Err(usage(format!("{name}: models are written as .onnx or .gir, or to - for standard output")))
}
