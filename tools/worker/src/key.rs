//! The key file: 32 random bytes that all machines of a dataflow have, and nobody else.

use std::io::Write;
use std::path::Path;

use crate::failure::{Result, usage};
use crate::protocol::seal::{KEY, Key};

/// The key file, in the folder of a split model.
pub const FILE: &str = "worker.key";

/// Makes a key unless there is one; whether it did.
pub fn make(path: &Path) -> Result<bool> {
    if path.exists() {
        load(path)?;
        return Ok(false);
    }
    let at = |e: &dyn std::fmt::Display| usage(format!("{}: {e}", path.display()));
    let mut key = [0; KEY];
    getrandom::fill(&mut key).map_err(|e| at(&e))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Such files are for their owner alone, and this one is there whole or not at all.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| at(&e))?;
    file.write_all(&key).and_then(|()| file.as_file().sync_all()).map_err(|e| at(&e))?;
    file.persist_noclobber(path).map_err(|e| at(&e.error))?;
    Ok(true)
}

/// Reads a key.
pub fn load(path: &Path) -> Result<Key> {
    let at = |why: String| usage(format!("{}: {why}", path.display()));
    let bytes = std::fs::read(path).map_err(|e| {
        at(format!(
            "{e}; it is the key of the dataflow, which graph-opt-worker start or dataflow makes: copy it \
             from that machine's folder to this one's"
        ))
    })?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_err(|e| at(e.to_string()))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(at(format!(
                "expected a key that only its owner may read, found mode {:04o}; chmod 600 it, and make a \
                 new one if others may have seen it",
                mode & 0o7777
            )));
        }
    }
    let found = bytes.len();
    let key = bytes.try_into().map_err(|_| {
        at(format!(
            "expected a key of {KEY} bytes, found {found}; delete it to have a new one made"
        ))
    })?;
    Ok(Key(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_owners() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let missing = load(&path).err().unwrap();
        assert!(missing.message.contains("copy it from"), "{}", missing.message);
        assert!(make(&path).unwrap());
        let key = load(&path).unwrap().0;
        assert_ne!(key, [0; KEY]);
        assert!(!make(&path).unwrap());
        assert_eq!(load(&path).unwrap().0, key);
        let other = dir.path().join("other.key");
        assert!(make(&other).unwrap());
        assert_ne!(load(&other).unwrap().0, key);
        std::fs::write(&other, [1; 31]).unwrap();
        assert!(load(&other).err().unwrap().message.contains("32 bytes, found 31"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |m| std::fs::set_permissions(&path, PermissionsExt::from_mode(m)).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            mode(0o640);
            assert!(load(&path).err().unwrap().message.contains("found mode 0640"));
        }
    }
}
