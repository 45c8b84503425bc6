//! Spreading independent parts of an output over threads.

use super::arena::LinesMut;

/// Calls `f` on the planes of `out`, parted among up to `threads` threads.
pub(crate) fn parts<T: Send>(
    out: LinesMut<'_, T>,
    threads: usize,
    f: impl Fn(LinesMut<'_, T>) + Sync,
) {
    let items = out.planes().len();
    let threads = threads.clamp(1, items.max(1));
    if threads == 1 {
        return f(out);
    }
    std::thread::scope(|s| {
        let mut rest = out;
        for i in 1..threads {
            let (part, tail) = rest.split(items * i / threads);
            rest = tail;
            let f = &f;
            s.spawn(move || f(part));
        }
        f(rest);
    });
}
