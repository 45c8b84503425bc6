//! Offsets of buffers in one arena: greedy by size (Pisarchyk and Lee, 2020).

use super::{ALIGNMENT, Buffer};

/// Steps whose buffers are looked through together.
const STEPS: usize = 64;

/// Gives every buffer an offset, the largest first, each into the tightest gap between those that
/// live at the same time; the bytes that they take together.
pub(super) fn assign(buffers: &mut [Buffer]) -> u64 {
    let mut order: Vec<usize> = (0..buffers.len()).filter(|&i| buffers[i].bytes > 0).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].bytes), buffers[i].from, i));
    // Those that have an offset, in each group of steps in which they live. Most live for few steps, so that
    // large graphs take little more time for each node than small ones.
    let groups = buffers.iter().map(|b| b.to / STEPS + 1).max().unwrap_or(0);
    let mut placed: Vec<Vec<usize>> = vec![Vec::new(); groups];
    let mut arena = 0;
    for i in order {
        let b = &buffers[i];
        let (first, last) = (b.from / STEPS, b.to / STEPS);
        let mut beside: Vec<&Buffer> = Vec::new();
        for (g, group) in placed.iter().enumerate().take(last + 1).skip(first) {
            let here = group.iter().map(|&p| &buffers[p]);
            // Each is taken in the first group that both live in.
            let once = here.filter(|p| g == (p.from / STEPS).max(first));
            beside.extend(once.filter(|p| p.from <= b.to && b.from <= p.to));
        }
        beside.sort_by_key(|p| p.offset);
        let size = b.bytes.next_multiple_of(ALIGNMENT);
        let mut best: Option<(u64, u64)> = None;
        let mut free = 0;
        for p in beside {
            let gap = p.offset.saturating_sub(free);
            if gap >= size && best.is_none_or(|(g, _)| gap < g) {
                best = Some((gap, free));
            }
            free = free.max(p.offset + p.bytes.next_multiple_of(ALIGNMENT));
        }
        let offset = best.map_or(free, |(_, at)| at);
        buffers[i].offset = offset;
        arena = arena.max(offset + size);
        placed[first..=last].iter_mut().for_each(|group| group.push(i));
    }
    arena
}
