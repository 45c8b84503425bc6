//! Buffers by size class, given back for reuse when their last holder drops them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::device::Gpu;
use crate::RunError;

/// Buffers that nobody holds, by size.
#[derive(Default)]
pub(super) struct Pool {
    free: Mutex<BTreeMap<u64, Vec<wgpu::Buffer>>>,
    /// Where a run's pool takes buffers from, and gives them back at its end: in between, commands
    /// that are not submitted yet may use what is free, so no other run may have it.
    parent: Option<Arc<Pool>>,
}

/// A buffer that goes back to its pool when dropped. Commands that still read it have been
/// recorded before any that its next holder records, so it may be reused at once by commands; a
/// write from the host must wait for them to be submitted.
pub(super) struct Pooled {
    buffer: Option<wgpu::Buffer>,
    pool: Option<Arc<Pool>>,
}

impl Pooled {
    pub fn raw(&self) -> Result<&wgpu::Buffer, RunError> {
        self.buffer.as_ref().ok_or_else(|| RunError::Invalid("a buffer was given back".into()))
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let (Some(b), Some(pool)) = (self.buffer.take(), &self.pool) {
            let mut free = pool.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.entry(b.size()).or_default().push(b);
        }
    }
}

/// Sizes in eighths of a power of two, so that at most an eighth is wasted.
fn class(bytes: u64) -> u64 {
    let bytes = bytes.max(256);
    let step = (bytes.next_power_of_two() / 16).max(256);
    bytes.div_ceil(step) * step
}

impl Pool {
    /// A pool for one run.
    pub fn of_run(parent: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self { free: Mutex::default(), parent: Some(Arc::clone(parent)) })
    }

    /// Gives what is free to the pool that all runs share.
    pub fn give_back(&self) {
        let Some(parent) = &self.parent else { return };
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shared = parent.free.lock().unwrap_or_else(PoisonError::into_inner);
        for (size, mut all) in std::mem::take(&mut *free) {
            shared.entry(size).or_default().append(&mut all);
        }
    }

    fn take(&self, size: u64) -> Option<wgpu::Buffer> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.get_mut(&size).and_then(Vec::pop)
    }

    /// A buffer of at least this size.
    pub fn get(self: &Arc<Self>, gpu: &Gpu, bytes: u64) -> Result<Pooled, RunError> {
        let size = class(bytes);
        let found = self.take(size).or_else(|| self.parent.as_ref()?.take(size));
        let buffer = match found {
            Some(b) => b,
            None => create(gpu, size)?,
        };
        Ok(Pooled { buffer: Some(buffer), pool: Some(Arc::clone(self)) })
    }
}

/// A new buffer for a tensor of this size.
pub(super) fn create(gpu: &Gpu, bytes: u64) -> Result<wgpu::Buffer, RunError> {
    if bytes > gpu.largest() {
        return Err(RunError::Unsupported(format!(
            "a tensor of {bytes} bytes, as {} binds at most {}",
            gpu.info.name,
            gpu.largest()
        )));
    }
    let usage =
        wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let desc =
        wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false };
    Ok(gpu.device.create_buffer(&desc))
}

#[cfg(test)]
mod tests {
    use super::class;

    #[test]
    fn classes_waste_at_most_an_eighth() {
        for bytes in [1u64, 256, 257, 5000, 1 << 20, (1 << 20) + 1, 77_777_777] {
            let c = class(bytes);
            assert!(c >= bytes && c.is_multiple_of(4));
            assert!(c - bytes <= (bytes / 8).max(256), "{bytes} {c}");
        }
    }
}
