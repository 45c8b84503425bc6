//! Matrix product in `f32`, with the same bits whatever the blocking and the number of threads.
//!
//! Every element of the product is one left fold over k from +0, rounded once a step if fused.
//! Blocks of k take up the accumulators where the last one left them; partial sums are never
//! added. Only rows and columns are spread over vectors and threads.
#![allow(unsafe_code)] // Threads write disjoint tiles of one matrix.

mod kernel;

pub(crate) use kernel::NR;

use std::ops::Range;

use super::arena::Matrix;
use super::simd::{Level, Loop, widest};
use super::spare;
use kernel::{MR, STRIPS, Strips};

/// Depth of a block: a strip of B of this depth fits the first-level cache.
const KC: usize = 256;
/// Rows of a block: a block of A fits the second-level cache.
const MC: usize = 10 * MR;
/// Columns of a block: a block of B stays in the caches while the rows pass.
pub(crate) const NC: usize = 1024;

/// The right operand, which lays out its blocks for the kernels.
pub(crate) trait Columns: Sync {
    /// Threads share the columns in groups of so many.
    fn group(&self) -> usize {
        NR
    }

    /// Where the block of columns that begins there ends, at `end` at the latest.
    fn block(&self, from: usize, end: usize) -> usize {
        end.min(from + NC)
    }

    /// Lays out the rows `k` of the columns `n`, which are a block.
    fn lay(&self, k: Range<usize>, n: Range<usize>, to: &mut Block);
}

/// A block of the right operand: strips of [`NR`] elements of each row, which are columns or lie between them.
#[derive(Default)]
pub(crate) struct Block {
    pub data: Vec<f32>,
    /// Where in its strip each row begins.
    pub rows: Vec<usize>,
    /// Distance from one strip to the next.
    pub strip: usize,
    /// Number of columns.
    pub columns: usize,
    /// So many columns lie side by side, at these distances.
    pub run: usize,
    pub pitch: usize,
}

impl Block {
    /// Makes room for so many elements.
    pub fn room(&mut self, len: usize) -> &mut [f32] {
        if self.data.len() < len {
            spare::give(std::mem::replace(&mut self.data, spare::unset(len)));
        }
        &mut self.data[..len]
    }

    /// Lays out strips side by side, given each row.
    pub fn pack<'a>(&mut self, k: Range<usize>, columns: usize, row: impl Fn(usize) -> &'a [f32]) {
        // So many strips at a time: a few pages of memory for each row.
        const STEP: usize = 8;
        let depth = k.len();
        self.dense(depth, columns);
        for (i, strips) in self.data.chunks_mut(STEP * self.strip.max(1)).enumerate() {
            let first = i * STEP * NR;
            if first >= columns {
                break;
            }
            for (r, k) in k.clone().enumerate() {
                let row = &row(k)[first..columns.min(first + STEP * NR)];
                for (strip, from) in strips.chunks_mut(self.strip).zip(row.chunks(NR)) {
                    copy_row(from, &mut strip[r * NR..(r + 1) * NR]);
                }
            }
        }
    }

    /// Strips of so many rows that follow each other.
    fn dense(&mut self, depth: usize, columns: usize) {
        self.rows.clear();
        self.rows.extend((0..depth).map(|k| k * NR));
        self.strip = depth * NR;
        (self.columns, self.run, self.pitch) = (columns, columns, columns);
        self.room(columns.div_ceil(NR) * self.strip);
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        spare::give(std::mem::take(&mut self.data));
    }
}

/// The columns among `width` elements of strips from `at` on: where they begin, the row of so many columns and the
/// place in it, and how many they are.
pub(crate) fn runs(
    at: usize,
    width: usize,
    (run, pitch): (usize, usize),
) -> impl Iterator<Item = (usize, [usize; 2], usize)> {
    let (mut y, mut x) = (at / pitch, at % pitch);
    let mut done = 0;
    std::iter::from_fn(move || {
        loop {
            let left = width - done;
            if left == 0 {
                return None;
            }
            let found = (done, [y, x], run.saturating_sub(x).min(left));
            let step = (pitch - x).min(left);
            (done, y, x) = (done + step, y + 1, 0);
            if found.2 > 0 {
                return Some(found);
            }
        }
    })
}

/// Copies a row of a strip; what lies beyond becomes 0. A full row is copied by a few instructions instead of a call.
#[inline(always)]
fn copy_row(from: &[f32], to: &mut [f32]) {
    if let (Ok(from), Ok(to)) = (<&[f32; NR]>::try_from(from), <&mut [f32; NR]>::try_from(&mut *to))
    {
        *to = *from;
        return;
    }
    let (to, rest) = to.split_at_mut(from.len());
    to.copy_from_slice(from);
    rest.fill(0.0);
}

/// A matrix in memory: element (row, column) at `row * rows + column * columns`.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub column: usize,
}

impl Strided<'_> {
    pub(crate) fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }
}

impl Columns for Strided<'_> {
    fn lay(&self, k: Range<usize>, n: Range<usize>, to: &mut Block) {
        if self.column == 1 {
            let row = |k| &self.data[k * self.row + n.start..][..n.len()];
            return to.pack(k, n.len(), row);
        }
        to.dense(k.len(), n.len());
        let strips = to.data.chunks_exact_mut(to.strip.max(1));
        for (strip, n0) in strips.zip(n.clone().step_by(NR)) {
            let columns = NR.min(n.end - n0);
            // Blocks of 16 rows, so that what is read and what is written stays close together.
            for k0 in k.clone().step_by(16) {
                let rows = (k.end - k0).min(16);
                for j in 0..columns {
                    let at = k0 * self.row + (n0 + j) * self.column;
                    let to = strip[(k0 - k.start) * NR + j..].iter_mut().step_by(NR);
                    if self.row == 1 {
                        to.zip(&self.data[at..at + rows]).for_each(|(d, x)| *d = *x);
                    } else {
                        let from = self.data[at..].iter().step_by(self.row).take(rows);
                        to.zip(from).for_each(|(d, x)| *d = *x);
                    }
                }
            }
            strip.chunks_exact_mut(NR).for_each(|row| row[columns..].fill(0.0));
        }
    }
}

/// The left operand in packed form: for each block of k, panels of up to `MR` rows, k by k.
#[derive(Debug)]
pub(crate) struct Rows {
    m: usize,
    k: usize,
    data: Vec<f32>,
}

impl Rows {
    /// Packs an `m` by `k` matrix.
    pub(crate) fn pack(a: Strided<'_>, m: usize, k: usize) -> Self {
        let mut data = spare::unset(m * k);
        let mut at = 0;
        for k0 in (0..k).step_by(KC) {
            let kc = KC.min(k - k0);
            for m0 in (0..m).step_by(MR) {
                let rows = MR.min(m - m0);
                let dst = &mut data[at..at + rows * kc];
                for j0 in (0..kc).step_by(16) {
                    let j1 = kc.min(j0 + 16);
                    for i in 0..rows {
                        let from = &a.data[(m0 + i) * a.row + (k0 + j0) * a.column..];
                        let to = dst[j0 * rows + i..].iter_mut().step_by(rows);
                        if a.column == 1 {
                            to.zip(&from[..j1 - j0]).for_each(|(d, x)| *d = *x);
                        } else {
                            let from = from.iter().step_by(a.column).take(j1 - j0);
                            to.zip(from).for_each(|(d, x)| *d = *x);
                        }
                    }
                }
                at += rows * kc;
            }
        }
        Self { m, k, data }
    }

    fn panel(&self, k0: usize, m0: usize) -> &[f32] {
        let kc = KC.min(self.k - k0);
        let rows = MR.min(self.m - m0);
        let at = k0 * self.m + m0 * kc;
        &self.data[at..at + rows * kc]
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        spare::give(std::mem::take(&mut self.data));
    }
}

/// `out = a * x` for a single column.
pub(crate) fn gemv(a: &Rows, x: &[f32], out: &mut [f32], fused: bool) {
    assert!(x.len() == a.k && out.len() == a.m);
    if fused {
        widest(Column::<true> { a, x, out });
    } else {
        widest(Column::<false> { a, x, out });
    }
}

struct Column<'a, const FUSED: bool> {
    a: &'a Rows,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl<const FUSED: bool> Loop for Column<'_, FUSED> {
    #[inline(always)]
    fn run(self) {
        let Self { a, x, out } = self;
        let step = |s: &mut f32, w: f32, x: f32| {
            *s = if FUSED { w.mul_add(x, *s) } else { w * x + *s };
        };
        out.fill(0.0);
        for k0 in (0..a.k).step_by(KC) {
            let x = &x[k0..a.k.min(k0 + KC)];
            // Two panels side by side, so that sums of one hide the latency of the other's.
            for (i, out) in out.chunks_mut(2 * MR).enumerate() {
                let m0 = i * 2 * MR;
                let first = a.panel(k0, m0);
                if let Ok(out) = <&mut [f32; 2 * MR]>::try_from(&mut *out) {
                    let second = a.panel(k0, m0 + MR);
                    let mut sums = *out;
                    let panels = first.as_chunks::<MR>().0.iter().zip(second.as_chunks::<MR>().0);
                    for ((p, q), &x) in panels.zip(x) {
                        for j in 0..MR {
                            step(&mut sums[j], p[j], x);
                            step(&mut sums[MR + j], q[j], x);
                        }
                    }
                    *out = sums;
                    continue;
                }
                for (j, out) in out.chunks_mut(MR).enumerate() {
                    let panel = a.panel(k0, m0 + j * MR);
                    for (p, &x) in panel.chunks_exact(out.len()).zip(x) {
                        out.iter_mut().zip(p).for_each(|(s, &w)| step(s, w, x));
                    }
                }
            }
        }
    }
}

/// What is done with a finished element, by its row.
#[derive(Clone, Copy)]
pub(crate) enum Finish<'a> {
    Nothing,
    AddRow(&'a [f32]),
}

/// How to run: numbers of threads, rounding, instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub threads: usize,
    pub fused: bool,
    pub level: Level,
}

/// `c = a * b`
pub(crate) fn gemm(a: &Rows, b: &dyn Columns, c: Matrix<'_, f32>, finish: Finish<'_>, how: How) {
    let (m, n) = (a.m, c.columns);
    assert!(n == 0 || c.rows == m);
    if m == 0 || n == 0 {
        return;
    }
    // Threads share the side with more tiles.
    let work = m as u64 * n as u64 * a.k as u64;
    let threads = how.threads.clamp(1, 1 + (work >> 18) as usize);
    let group = b.group();
    let (tiles_m, tiles_n) = (m.div_ceil(MR), n.div_ceil(group));
    let by_n = tiles_n >= tiles_m;
    let tiles = if by_n { tiles_n } else { tiles_m };
    let threads = threads.min(tiles);
    let part = |i: usize| {
        let (lo, hi) = (tiles * i / threads, tiles * (i + 1) / threads);
        if by_n { (0..m, lo * group..n.min(hi * group)) } else { (lo * MR..m.min(hi * MR), 0..n) }
    };
    let run = |i: usize| {
        let (ms, ns) = part(i);
        // SAFETY: the parts are disjoint and lie within `c`, which is borrowed until all end.
        unsafe {
            if how.fused {
                block::<true>(a, b, ms, ns, &c, finish, how.level);
            } else {
                block::<false>(a, b, ms, ns, &c, finish, how.level);
            }
        }
    };
    if threads == 1 {
        return run(0);
    }
    std::thread::scope(|s| {
        for i in 1..threads {
            let run = &run;
            s.spawn(move || run(i));
        }
        run(0);
    });
}

/// The rows `ms` and columns `ns` of the product.
///
/// # Safety
/// Nobody else may touch this part of `c`.
#[allow(clippy::too_many_arguments)]
unsafe fn block<const FUSED: bool>(
    a: &Rows,
    b: &dyn Columns,
    ms: Range<usize>,
    ns: Range<usize>,
    c: &Matrix<'_, f32>,
    finish: Finish<'_>,
    level: Level,
) {
    let mut laid = Block::default();
    let mut n0 = ns.start;
    while n0 < ns.end {
        let n1 = b.block(n0, ns.end);
        // An empty sum is 0, and still goes through one block.
        for k0 in (0..a.k.max(1)).step_by(KC) {
            let k1 = a.k.min(k0 + KC);
            b.lay(k0..k1, n0..n1, &mut laid);
            let finish = if k1 == a.k { finish } else { Finish::Nothing };
            for i0 in ms.clone().step_by(MC) {
                let rows = i0..ms.end.min(i0 + MC);
                // SAFETY: the tiles lie within this part.
                unsafe { tiles::<FUSED>(level, a, k0, rows, &laid, c, n0, finish) };
            }
        }
        n0 = n1;
    }
}

/// Rows of A with all strips of a block of B, whose first column is `n0`.
///
/// # Safety
/// As [`block`].
#[allow(clippy::too_many_arguments)]
unsafe fn tiles<const FUSED: bool>(
    level: Level,
    a: &Rows,
    k0: usize,
    rows: Range<usize>,
    b: &Block,
    c: &Matrix<'_, f32>,
    n0: usize,
    finish: Finish<'_>,
) {
    let first = k0 == 0;
    let (last, rest) = ((b.columns - 1) / b.run, (b.columns - 1) % b.run);
    let len = last * b.pitch + rest + 1;
    // Kernels read whole strips.
    let end = b.rows.iter().max().map_or(0, |r| r + (len.div_ceil(NR) - 1) * b.strip + NR);
    assert!(end <= b.data.len(), "a block that is too short");
    let mut at = 0;
    while at < len {
        let count = kernel::strips(level).min((len - at).div_ceil(NR));
        let width = count * NR;
        let strips = Strips {
            // SAFETY: a strip of the block.
            at: unsafe { b.data.as_ptr().add(at / NR * b.strip) },
            rows: &b.rows,
            strip: b.strip,
            count,
        };
        let mut found = [Piece::default(); STRIPS * NR];
        let mut all = 0;
        for (mut from, [y, x], mut n) in runs(at, width.min(len - at), (b.run, b.pitch)) {
            let mut j = n0 + y * b.run + x;
            while n > 0 {
                let count = c.run_from(j).min(n);
                found[all] = Piece { from, to: c.column(j), n: count };
                (from, j, n, all) = (from + count, j + count, n - count, all + 1);
            }
        }
        let found = &found[..all];
        at += width;
        let whole = match found {
            [] => continue,
            [piece] => (piece.n == width).then_some(piece.to),
            _ => None,
        };
        for i in rows.clone().step_by(MR) {
            let count = MR.min(a.m - i);
            let pa = a.panel(k0, i).as_ptr();
            // SAFETY: the tile lies within this part; the panel and the strips have the same rows.
            unsafe {
                match whole {
                    Some(to) => {
                        let to = c.row(i).add(to);
                        kernel::tile::<FUSED>(level, count, pa, strips, to, c.step, first);
                    }
                    None => beside::<FUSED>(level, count, pa, strips, (c, i), found, first),
                }
                let Finish::AddRow(bias) = finish else { continue };
                for (i, x) in (i..i + count).zip(&bias[i..]) {
                    for p in found {
                        let run = std::slice::from_raw_parts_mut(c.row(i).add(p.to), p.n);
                        run.iter_mut().for_each(|v| *v += x);
                    }
                }
            }
        }
    }
}

/// Columns of a tile that lie side by side in each row of the product.
#[derive(Clone, Copy, Default)]
struct Piece {
    /// Where they begin in the tile, and in the rows.
    from: usize,
    to: usize,
    n: usize,
}

/// A tile whose columns are not contiguous in the product, from row `i` of it on: computed in a buffer, from which
/// its pieces are copied.
///
/// # Safety
/// As [`kernel::tile`], with only these pieces of `c`.
unsafe fn beside<const FUSED: bool>(
    level: Level,
    rows: usize,
    a: *const f32,
    b: Strips<'_>,
    (c, i): (&Matrix<'_, f32>, usize),
    found: &[Piece],
    first: bool,
) {
    const WIDTH: usize = STRIPS * NR;
    let mut tile = [0f32; MR * WIDTH];
    let beside = tile.as_mut_ptr();
    // SAFETY: `tile` has room for `MR` rows of all strips; of `c` only the pieces are touched.
    unsafe {
        if !first {
            for p in found {
                for r in 0..rows {
                    copy(c.row(i + r).add(p.to), beside.add(r * WIDTH + p.from), p.n);
                }
            }
        }
        kernel::tile::<FUSED>(level, rows, a, b, beside, WIDTH, first);
        for p in found {
            for r in 0..rows {
                copy(beside.add(r * WIDTH + p.from), c.row(i + r).add(p.to), p.n);
            }
        }
    }
}

/// Copies a few elements without a call.
///
/// # Safety
/// As [`std::ptr::copy_nonoverlapping`].
#[inline(always)]
unsafe fn copy(mut from: *const f32, mut to: *mut f32, mut n: usize) {
    // SAFETY: as promised by the caller.
    unsafe {
        while n >= 8 {
            to.cast::<[f32; 8]>().write_unaligned(from.cast::<[f32; 8]>().read_unaligned());
            (from, to, n) = (from.add(8), to.add(8), n - 8);
        }
        if n >= 4 {
            to.cast::<[f32; 4]>().write_unaligned(from.cast::<[f32; 4]>().read_unaligned());
            (from, to, n) = (from.add(4), to.add(4), n - 4);
        }
        for i in 0..n {
            *to.add(i) = *from.add(i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let key = crate::cpu::field::Key::new(seed);
        (0..n).map(|i| (key.with(i as u64).bits >> 40) as f32 / 8e6 - 1.0).collect()
    }

    #[test]
    fn all_kernels_threads_and_a_plain_loop_have_the_same_bits() {
        for (m, n, k) in
            [(1, 1, 1), (13, 33, 7), (5, 100, 300), (30, 17, 513), (64, 49, 600), (24, 2, 9)]
        {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let rows = Rows::pack(Strided { data: &a, row: k, column: 1 }, m, k);
            let mut bt = vec![0.0; k * n];
            for i in 0..k * n {
                bt[(i % n) * k + i / n] = b[i];
            }
            let views =
                [Strided { data: &b, row: n, column: 1 }, Strided { data: &bt, row: 1, column: k }];
            for fused in [true, false] {
                let mut want = vec![0.0f32; m * n];
                for i in 0..m * n {
                    for l in 0..k {
                        let (x, y) = (a[i / n * k + l], b[l * n + i % n]);
                        want[i] = if fused { x.mul_add(y, want[i]) } else { x * y + want[i] };
                    }
                }
                let mut levels = vec![Level::Portable, Level::best()];
                #[cfg(target_arch = "x86_64")]
                if Level::best() == Level::Avx512 {
                    levels.push(Level::Avx2);
                }
                for level in levels {
                    for threads in [1, 2, 3] {
                        for v in views {
                            let mut c = vec![1.0; m * n];
                            let how = How { threads, fused, level };
                            gemm(&rows, &v, Matrix::of(&mut c, n), Finish::Nothing, how);
                            assert_eq!(c, want, "{m} {n} {k} {how:?}");
                        }
                    }
                }
                let column: Vec<f32> = (0..k).map(|l| b[l * n]).collect();
                let mut c = vec![1.0; m];
                gemv(&rows, &column, &mut c, fused);
                let want: Vec<f32> = want.iter().step_by(n).copied().collect();
                assert_eq!(c, want, "{m} {k}");
            }
        }
    }
}
