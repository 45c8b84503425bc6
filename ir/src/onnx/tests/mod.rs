//! Tests over real and broken files, and of what the writer keeps.

mod hostile;
mod models;

use std::path::PathBuf;

/// Files shared between projects; tests that need them say so where they are absent.
fn shared(folder: &str) -> Option<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(folder);
    if dir.is_dir() {
        return Some(dir);
    }
    eprintln!("SKIPPED: {} is not there", dir.display());
    None
}
