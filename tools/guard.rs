//! What happens when a command breaks off: a panic, or a signal.

use std::backtrace::Backtrace;
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use graph_opt_ir::atomic;

#[cfg(not(target_family = "wasm"))]
use crate::failure::Failure;
use crate::failure::{Kind, Result, internal, say};
use crate::{cpufreq, output, reduce};

/// The last panic: its place and the calls that led to it.
static LAST: Mutex<Option<(String, String)>> = Mutex::new(None);

/// Lets panics be recorded instead of printed.
fn record(info: &PanicHookInfo<'_>) {
    let place = info.location().map_or_else(|| "unknown place".into(), ToString::to_string);
    // There, nothing catches a panic.
    if cfg!(target_family = "wasm") {
        say(format!("error: {info}"));
    }
    let calls = Backtrace::force_capture().to_string();
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some((place, calls));
}

/// Where the last panic was.
pub fn place() -> String {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    last.as_ref().map(|(place, _)| format!(" at {place}")).unwrap_or_default()
}

/// Makes Ctrl-C, and requests to end, remove what is in the making.
pub fn on_interrupt() -> Result {
    let handler = || {
        atomic::abandon();
        cpufreq::restore();
        reduce::stop_check();
        say("interrupted");
        std::process::exit(Kind::Interrupted.code().into());
    };
    set_handler(handler)
}

#[cfg(not(target_family = "wasm"))]
fn set_handler(handler: impl FnMut() + Send + 'static) -> Result {
    ctrlc::set_handler(handler).map_err(|e| Failure::new(Kind::InputOutput, e))
}

/// A WebAssembly module gets no signals.
#[cfg(target_family = "wasm")]
fn set_handler(_: impl FnMut() + Send + 'static) -> Result {
    Ok(())
}

/// Runs a command; a panic leaves a report in the folder.
pub fn guarded<T>(folder: &Path, command: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::set_hook(Box::new(record));
    catch_unwind(AssertUnwindSafe(command)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        let message = format!("panic{}: {}", place(), text.as_deref().unwrap_or("unknown"));
        let file = match report(folder, &message) {
            Ok(path) => format!("{} describes it", path.display()),
            Err(f) => format!("no report could be written: {}", f.message),
        };
        Err(internal(format!("{message}\n{file}")))
    })
}

/// Writes what is known of a panic.
fn report(folder: &Path, message: &str) -> Result<PathBuf> {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
    let calls = last.map(|(_, calls)| calls).unwrap_or_default();
    let words: Vec<OsString> = std::env::args_os().collect();
    let text = format!(
        "graph-opt report of an internal error\nversion: {}\ncommand: {words:?}\nerror: {message}\n\
         backtrace:\n{calls}",
        env!("CARGO_PKG_VERSION")
    );
    let path = folder.join(format!("graph-opt-report-{}.txt", atomic::process()));
    output::whole(&path, text.as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_reports() {
        let dir = tempfile::tempdir().unwrap();
        let none: [u8; 0] = [];
        let index = std::hint::black_box(1);
        let failure = guarded(dir.path(), || Ok(none[index])).unwrap_err();
        let _ = std::panic::take_hook();
        assert_eq!(failure.kind, Kind::Internal);
        assert!(failure.message.contains("guard.rs:"), "{}", failure.message);
        let file = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let text = std::fs::read_to_string(file).unwrap();
        for word in ["version: ", "command: ", "index out of bounds", "backtrace:"] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }
}
