//! Offsets of buffers in one arena: greedy by size (Pisarchyk and Lee, 2020).

use super::{ALIGNMENT, Buffer};

/// Gives every buffer an offset, the largest first, each into the tightest gap between those that
/// live at the same time; the bytes that they take together.
pub(super) fn assign(buffers: &mut [Buffer]) -> u64 {
    let mut order: Vec<usize> = (0..buffers.len()).filter(|&i| buffers[i].bytes > 0).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].bytes), buffers[i].from, i));
    // Those that have an offset, by offset.
    let mut placed: Vec<Buffer> = Vec::with_capacity(order.len());
    let mut arena = 0;
    for i in order {
        let b = &buffers[i];
        let size = b.bytes.next_multiple_of(ALIGNMENT);
        let mut best: Option<(u64, u64)> = None;
        let mut free = 0;
        for p in placed.iter().filter(|p| p.from <= b.to && b.from <= p.to) {
            let gap = p.offset.saturating_sub(free);
            if gap >= size && best.is_none_or(|(g, _)| gap < g) {
                best = Some((gap, free));
            }
            free = free.max(p.offset + p.bytes.next_multiple_of(ALIGNMENT));
        }
        let offset = best.map_or(free, |(_, at)| at);
        buffers[i].offset = offset;
        arena = arena.max(offset + size);
        let at = placed.partition_point(|p| p.offset <= offset);
        placed.insert(at, buffers[i].clone());
    }
    arena
}
