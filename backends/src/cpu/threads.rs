//! Spreading independent parts of an output over threads.

/// Calls `f(index of the first item, items)` on contiguous parts of `out`, whose items are `size`
/// elements each, on up to `threads` threads.
pub(crate) fn parts<T: Send>(
    out: &mut [T],
    size: usize,
    threads: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    if size == 0 || out.is_empty() {
        return;
    }
    let items = out.len() / size;
    let threads = threads.clamp(1, items.max(1));
    if threads == 1 {
        return f(0, out);
    }
    std::thread::scope(|s| {
        let mut rest = out;
        for i in 0..threads {
            let (lo, hi) = (items * i / threads, items * (i + 1) / threads);
            let (part, tail) = rest.split_at_mut((hi - lo) * size);
            rest = tail;
            let f = &f;
            if i + 1 == threads {
                f(lo, part);
            } else {
                s.spawn(move || f(lo, part));
            }
        }
    });
}
