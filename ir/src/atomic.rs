//! Files and folders that appear complete or not at all.
//!
//! Each is made under a hidden name beside its place and then renamed, with the permissions that the
//! umask gives. All that are in the making are listed, so that a program that is interrupted can
//! remove them: [`abandon`].

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Paths in the making.
static MAKING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn making() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    MAKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file or folder in the making. It is removed when this is dropped.
struct Temporary(PathBuf);

impl Temporary {
    /// Creates it by `create` under a name that is not taken, beside the target.
    fn beside<T>(target: &Path, create: impl Fn(&Path) -> io::Result<T>) -> io::Result<(Self, T)> {
        let Some(name) = target.file_name() else { return Err(ErrorKind::InvalidFilename.into()) };
        let (name, pid) = (name.to_string_lossy(), process());
        // Held while it is created, so that `abandon` misses none.
        let mut all = making();
        for i in 0..1000 {
            let path = target.with_file_name(format!(".{name}.{pid}-{i}.tmp"));
            match create(&path) {
                Ok(made) => {
                    all.insert(path.clone());
                    return Ok((Self(path), made));
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    /// Renames it to its place.
    fn finish(self, target: &Path) -> io::Result<()> {
        let mut all = making();
        fs::rename(&self.0, target)?;
        all.remove(&self.0);
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut all = making();
        if all.remove(&self.0) {
            // There is an error to report already.
            let _ = remove(&self.0);
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Writes a file by `write`. A device or pipe is written to, and not replaced.
///
/// # Errors
/// If it cannot be written; what stood there before is unchanged then.
pub fn write(
    target: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    if fs::metadata(target).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
        let mut out = OpenOptions::new().write(true).open(target)?;
        write(&mut out)?;
        return out.flush();
    }
    let create = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
    let (temporary, file) = Temporary::beside(target, create)?;
    written(file, write)?;
    temporary.finish(target)
}

/// Closes the file, too: one that is open cannot be renamed everywhere.
fn written(file: File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    write(&mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// The number of this process; 0 where there are no processes, as in WebAssembly.
pub fn process() -> u32 {
    if cfg!(target_family = "wasm") { 0 } else { std::process::id() }
}

/// The folder for what is deleted again; where the system has none, as in WebAssembly, the working folder.
pub fn temporary() -> PathBuf {
    if cfg!(target_family = "wasm") { ".".into() } else { std::env::temp_dir() }
}

/// Checks that [`write()`] can create a file or [`Folder`] at the target.
///
/// # Errors
/// If its folder does not exist or is not writable.
pub fn probe(target: &Path) -> io::Result<()> {
    let create = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
    Temporary::beside(target, create).map(drop)
}

/// A folder in the making. It is removed if it is dropped before it is finished.
pub struct Folder {
    temporary: Temporary,
    target: PathBuf,
}

impl Folder {
    /// Begins a folder.
    ///
    /// # Errors
    /// If the target exists, or its parent does not, or is not writable.
    pub fn begin(target: &Path) -> io::Result<Self> {
        if target.exists() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let (temporary, ()) = Temporary::beside(target, |path| fs::create_dir(path))?;
        Ok(Self { temporary, target: target.into() })
    }

    /// Where its files are to be written.
    pub fn path(&self) -> &Path {
        &self.temporary.0
    }

    /// Puts it into its place.
    ///
    /// # Errors
    /// If it cannot be renamed.
    pub fn finish(self) -> io::Result<()> {
        self.temporary.finish(&self.target)
    }
}

/// Removes all files and folders in the making. No others can be begun or finished from then on: for
/// a program that is about to end.
pub fn abandon() {
    let all = making();
    for path in all.iter() {
        // Other threads may still be writing into a folder.
        for _ in 0..100 {
            match remove(path) {
                Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => {}
                _ => break,
            }
        }
    }
    std::mem::forget(all);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let all = fs::read_dir(dir).unwrap();
        all.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a");
        fs::write(&target, "old").unwrap();
        let fails = write(&target, |out| {
            out.write_all(b"new")?;
            Err(ErrorKind::StorageFull.into())
        });
        assert_eq!(fails.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(fs::read_to_string(&target).unwrap(), "old");
        let folder = Folder::begin(&dir.path().join("b")).unwrap();
        fs::write(folder.path().join("c"), "").unwrap();
        drop(folder);
        assert_eq!(names(dir.path()), ["a"]);
        write(&target, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(names(dir.path()), ["a"]);
        assert!(probe(&dir.path().join("none/x")).is_err() && probe(&target).is_ok());
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode();
        fs::write(at("plain"), "").unwrap();
        fs::create_dir(at("plain-folder")).unwrap();
        write(&at("file"), |_| Ok(())).unwrap();
        Folder::begin(&at("folder")).unwrap().finish().unwrap();
        assert_eq!(mode("file"), mode("plain"));
        assert_eq!(mode("folder"), mode("plain-folder"));
    }
}
