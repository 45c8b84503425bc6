//! What commands read besides models.

use std::path::Path;

use graph_opt_passes::nearest;

use crate::failure::{Failure, Result, usage};

/// A text file.
pub fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| unread(path, &e))
}

/// A file that cannot be read; a similar name beside it is offered.
pub fn unread(path: &Path, e: &std::io::Error) -> Failure {
    let hint = match e.kind() {
        std::io::ErrorKind::NotFound => similar(path),
        _ => None,
    };
    let hint = hint.map(|n| format!("; did you mean {n}?")).unwrap_or_default();
    usage(format!("{}: {e}{hint}", path.display()))
}

/// The file in the same folder with the most similar name.
fn similar(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).ok()?;
    let names: Vec<String> =
        entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    let found = nearest(name, names.iter().map(String::as_str))?;
    Some(path.with_file_name(found).display().to_string())
}
