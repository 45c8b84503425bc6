//! The allocators of a session: the arena that serves single buffers, and the block that later runs
//! place all of them in.

use std::collections::{BTreeSet, HashMap};

/// Sizes are rounded up to this many bytes.
const UNIT: u64 = 256;
/// Bytes of the first region.
const FIRST: u64 = 1 << 20;
/// Most bytes that stay unused at the end of a chunk.
const DEAD: u64 = 128 << 20;
/// Bytes of a page of the system, which exists once it is written to.
const PAGE: u64 = 4096;
/// Distance of regions.
const FAR: u64 = 1 << 44;
/// The class of the largest chunks.
const CLASSES: u32 = 20;

/// The sizes that chunks are kept by: a power of two, times [`UNIT`].
fn class(bytes: u64) -> u32 {
    (bytes / UNIT).max(1).ilog2().min(CLASSES)
}

#[derive(Clone, Copy)]
struct Chunk {
    bytes: u64,
    free: bool,
    before: Option<u64>,
    after: Option<u64>,
}

/// ONNX Runtime's `BFCArena` with its default options: best fit among free chunks, which are split if
/// they are twice as large as needed; regions of twice the size where none fits. Memory counts once it
/// is written to, and is never given back.
pub(super) struct Arena {
    /// Bytes of the next region.
    next: u64,
    regions: Vec<Vec<bool>>,
    /// Chunks by their addresses.
    chunks: HashMap<u64, Chunk>,
    /// Free chunks: class, size, address.
    free: BTreeSet<(u32, u64, u64)>,
    pages: u64,
}

impl Arena {
    pub(super) fn new() -> Self {
        let (regions, chunks) = (Vec::new(), HashMap::new());
        Self { next: FIRST, regions, chunks, free: BTreeSet::new(), pages: 0 }
    }

    /// Bytes that were written to since the start.
    pub(super) fn touched(&self) -> u64 {
        self.pages * PAGE
    }

    /// A buffer, all of which is written to; `None` for an empty one.
    pub(super) fn take(&mut self, bytes: u64) -> Option<u64> {
        if bytes == 0 {
            return None;
        }
        let rounded = bytes.next_multiple_of(UNIT);
        let found = match self.find(rounded) {
            Some(f) => f,
            None => {
                self.extend(rounded);
                self.find(rounded)?
            }
        };
        self.write(found, bytes);
        Some(found)
    }

    fn extend(&mut self, bytes: u64) {
        let enough = bytes <= self.next;
        while bytes > self.next {
            self.next = self.next.saturating_mul(2);
        }
        let size = self.next;
        if enough {
            self.next = self.next.saturating_mul(2);
        }
        // The system maps regions from the top of the address space downwards.
        let at = u64::MAX / 2 / FAR * FAR - self.regions.len() as u64 * FAR;
        self.regions.push(vec![false; (size / PAGE + 1) as usize]);
        self.chunks.insert(at, Chunk { bytes: size, free: true, before: None, after: None });
        self.free.insert((class(size), size, at));
    }

    fn find(&mut self, bytes: u64) -> Option<u64> {
        let from = (class(bytes), bytes, 0);
        // A chunk of the largest class may be too small.
        let &(c, size, at) = self.free.range(from..).find(|f| f.1 >= bytes)?;
        self.free.remove(&(c, size, at));
        let mut chunk = self.chunks[&at];
        if size >= 2 * bytes || size - bytes >= DEAD {
            let (rest, after) = (at + bytes, chunk.after);
            let new = Chunk { bytes: size - bytes, free: true, before: Some(at), after };
            self.chunks.insert(rest, new);
            self.link(after, Some(rest));
            self.free.insert((class(new.bytes), new.bytes, rest));
            (chunk.bytes, chunk.after) = (bytes, Some(rest));
        }
        chunk.free = false;
        self.chunks.insert(at, chunk);
        Some(at)
    }

    fn link(&mut self, chunk: Option<u64>, before: Option<u64>) {
        if let Some(c) = chunk.and_then(|c| self.chunks.get_mut(&c)) {
            c.before = before;
        }
    }

    /// Gives a buffer back; neighbours that are free are joined.
    pub(super) fn give(&mut self, at: u64) {
        let Some(&(mut chunk)) = self.chunks.get(&at) else { return };
        let mut start = at;
        let neighbour = |a: &Self, c: Option<u64>| {
            c.and_then(|c| a.chunks.get(&c).copied().filter(|x| x.free).map(|x| (c, x)))
        };
        if let Some((next, c)) = neighbour(self, chunk.after) {
            self.free.remove(&(class(c.bytes), c.bytes, next));
            self.chunks.remove(&next);
            (chunk.bytes, chunk.after) = (chunk.bytes + c.bytes, c.after);
            self.link(chunk.after, Some(start));
        }
        if let Some((last, c)) = neighbour(self, chunk.before) {
            self.free.remove(&(class(c.bytes), c.bytes, last));
            self.chunks.remove(&at);
            (chunk.bytes, chunk.before, start) = (chunk.bytes + c.bytes, c.before, last);
            self.link(chunk.after, Some(start));
        }
        chunk.free = true;
        self.chunks.insert(start, chunk);
        self.free.insert((class(chunk.bytes), chunk.bytes, start));
    }

    fn write(&mut self, at: u64, bytes: u64) {
        let top = u64::MAX / 2 / FAR;
        let region = (top - at / FAR) as usize;
        let from = at % FAR;
        let pages = (from / PAGE) as usize..=((from + bytes - 1) / PAGE) as usize;
        for page in &mut self.regions[region][pages] {
            self.pages += u64::from(!std::mem::replace(page, true));
        }
    }
}

/// ONNX Runtime's memory pattern: the first run is recorded, and all its buffers get offsets in one block,
/// best fit in the order of the run.
#[derive(Default)]
pub(super) struct Pattern {
    /// Blocks that are live, by offset: offset, size, buffer.
    live: Vec<(u64, u64, usize)>,
    /// Bytes of the whole block.
    pub(super) bytes: u64,
}

impl Pattern {
    pub(super) fn take(&mut self, buffer: usize, bytes: u64) {
        let bytes = bytes.next_multiple_of(64);
        if bytes == 0 {
            return;
        }
        let mut best = (u64::MAX, self.live.last().map_or(0, |b| b.0 + b.1), self.live.len());
        let mut end = 0;
        for (i, &(offset, size, _)) in self.live.iter().enumerate() {
            if let Some(waste) = offset.checked_sub(end).and_then(|gap| gap.checked_sub(bytes))
                && waste < best.0
            {
                best = (waste, end, i);
            }
            end = offset + size;
        }
        self.live.insert(best.2, (best.1, bytes, buffer));
        self.bytes = self.bytes.max(best.1 + bytes);
    }

    pub(super) fn give(&mut self, buffer: usize) {
        self.live.retain(|b| b.2 != buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arena_splits_joins_and_grows() {
        let mut a = Arena::new();
        // The first region is of 1 MiB; a half of it is split off, the rest is taken whole.
        let half = a.take(512 << 10).unwrap_or_default();
        let rest = a.take(300 << 10).unwrap_or_default();
        assert_eq!((rest - half, a.touched()), (512 << 10, 812 << 10));
        a.give(half);
        a.give(rest);
        // Both are one chunk again, which now needs no other region.
        assert_eq!(a.take(1 << 20), Some(half));
        assert_eq!(a.touched(), 1 << 20);
        // 3 MiB lie in a region of 4.
        a.take(3 << 20);
        assert_eq!(a.touched(), 4 << 20);
    }

    #[test]
    fn pattern_fills_the_smallest_gap() {
        let mut p = Pattern::default();
        for (i, bytes) in [256, 64, 128, 64].into_iter().enumerate() {
            p.take(i, bytes);
        }
        p.give(0);
        p.give(2);
        p.take(4, 128);
        assert_eq!(
            p.live.iter().map(|b| (b.0, b.2)).collect::<Vec<_>>(),
            [(256, 1), (320, 4), (448, 3)]
        );
        assert_eq!(p.bytes, 512);
    }
}
