//! Elements in files: what is read of them, and how much.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::TensorError;

/// Runs of at least so many bytes are read by themselves.
pub(super) const LONG: usize = 1024;
/// Bytes that are read at once where all are only looked at.
const PART: u64 = 1 << 20;

static READ: AtomicU64 = AtomicU64::new(0);

/// Bytes of external data that this process has read so far, the same bytes again as often as they were
/// read.
pub fn bytes_read() -> u64 {
    READ.load(Ordering::Relaxed)
}

/// Counts what was read.
pub(crate) fn count(bytes: u64) {
    READ.fetch_add(bytes, Ordering::Relaxed);
}

/// Appends this range of the file.
pub(super) fn read(
    path: &Path,
    offset: u64,
    len: u64,
    to: &mut Vec<u8>,
) -> Result<(), TensorError> {
    runs(path, std::iter::once(Some(offset)), len, to)
}

/// Appends runs of this length that begin at these offsets of the file; `None` lies beyond its end.
pub(super) fn runs(
    path: &Path,
    offsets: impl Iterator<Item = Option<u64>>,
    len: u64,
    to: &mut Vec<u8>,
) -> Result<(), TensorError> {
    let read = || -> std::io::Result<()> {
        let mut f = File::open(path)?;
        let size = f.metadata()?.len();
        for offset in offsets {
            let end = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            let offset = offset.ok_or_else(end)?;
            // Nothing is allocated for what is not there.
            let there = size.saturating_sub(offset).min(len);
            to.reserve(usize::try_from(there).unwrap_or(0));
            f.seek(SeekFrom::Start(offset))?;
            let n = f.by_ref().take(len).read_to_end(to)? as u64;
            count(n);
            if n != len {
                return Err(end());
            }
        }
        Ok(())
    };
    read().map_err(|source| TensorError::Io { path: path.into(), source })
}

/// Calls `f` with this range of the file, part by part.
pub(super) fn each(
    path: &Path,
    offset: u64,
    len: u64,
    mut f: impl FnMut(&[u8]),
) -> Result<(), TensorError> {
    let (mut part, mut at) = (Vec::new(), 0);
    while at < len {
        part.clear();
        read(path, offset.saturating_add(at), (len - at).min(PART), &mut part)?;
        f(&part);
        at += part.len() as u64;
    }
    Ok(())
}
