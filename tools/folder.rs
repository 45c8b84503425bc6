//! Folders that appear whole or not at all.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result, usage};

/// A folder in the making.
pub struct Folder {
    made: tempfile::TempDir,
    target: PathBuf,
}

impl Folder {
    /// Begins a folder that is not there yet.
    pub fn begin(target: &Path) -> Result<Self> {
        if target.exists() {
            return Err(usage(format!("{} is there already", target.display())));
        }
        let parent = target.parent().filter(|p| !p.as_os_str().is_empty());
        let made = tempfile::tempdir_in(parent.unwrap_or(Path::new(".")));
        let made = made.map_err(|e| failed(target, &e))?;
        Ok(Self { made, target: target.into() })
    }

    /// Where its files are to be written.
    pub fn path(&self) -> &Path {
        self.made.path()
    }

    /// Puts it into its place.
    pub fn finish(self) -> Result {
        let made = self.made.keep();
        // Folders for a single user's eyes become ordinary ones.
        readable(&made).and_then(|()| std::fs::rename(&made, &self.target)).map_err(|e| {
            let _ = std::fs::remove_dir_all(&made);
            failed(&self.target, &e)
        })
    }
}

/// What went wrong at a folder.
pub fn failed(folder: &Path, e: &std::io::Error) -> Failure {
    usage(format!("{}: {e}", folder.display()))
}

#[cfg(unix)]
fn readable(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn readable(_: &Path) -> std::io::Result<()> {
    Ok(())
}
