//! Folders that appear whole or not at all.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use graph_opt_ir::atomic;

use crate::failure::{Result, usage};
use crate::output::failed;

/// A folder in the making.
pub struct Folder {
    made: atomic::Folder,
    target: PathBuf,
}

impl Folder {
    /// Begins a folder that is not there yet.
    pub fn begin(target: &Path) -> Result<Self> {
        let made = atomic::Folder::begin(target).map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => usage(format!("{} is there already", target.display())),
            _ => failed(target, &e),
        })?;
        Ok(Self { made, target: target.into() })
    }

    /// Where its files are to be written.
    pub fn path(&self) -> &Path {
        self.made.path()
    }

    /// Puts it into its place.
    pub fn finish(self) -> Result {
        self.made.finish().map_err(|e| failed(&self.target, &e))
    }
}
