//! Matrix product in `f32`, with the same bits whatever the blocking and the number of threads.
//!
//! Every element of the product is one left fold over k from +0, rounded once a step if fused.
//! Blocks of k take up the accumulators where the last one left them; partial sums are never
//! added. Only rows and columns are spread over vectors and threads.
#![allow(unsafe_code)] // Threads write disjoint tiles of one matrix.

mod kernel;

use std::ops::Range;

use super::arena::Matrix;
use super::simd::{Level, Loop, widest};
use kernel::{HALF, MR, NR};

/// Depth of a block: a panel of B of this depth fits the first-level cache.
const KC: usize = 256;
/// Columns of a block: a block of B fits the second-level cache.
const NC: usize = 1024;

/// The right operand, which gives its blocks in packed form.
pub(crate) trait Columns: Sync {
    /// Writes the rows `k` of the columns `n` into `dst`, row after row of `width` elements, of
    /// which those beyond the columns become 0.
    fn pack(&self, k: Range<usize>, n: Range<usize>, width: usize, dst: &mut [f32]);
}

/// Copies a row of a packed block; what lies beyond becomes 0. Full rows are copied by a few instructions instead
/// of a call.
#[inline(always)]
pub(crate) fn copy_row(from: &[f32], to: &mut [f32]) {
    macro_rules! full {
        ($n:expr) => {
            if let (Ok(from), Ok(to)) =
                (<&[f32; $n]>::try_from(from), <&mut [f32; $n]>::try_from(&mut *to))
            {
                *to = *from;
                return;
            }
        };
    }
    full!(NR);
    full!(HALF);
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
    fn pack(&self, k: Range<usize>, n: Range<usize>, width: usize, dst: &mut [f32]) {
        let cols = n.len();
        if self.column == 1 {
            for (row, k) in dst.chunks_exact_mut(width).zip(k) {
                let at = k * self.row + n.start;
                copy_row(&self.data[at..at + cols], row);
            }
            return;
        }
        // Blocks of 16 rows, so that what is read and what is written stays close together.
        for k0 in k.clone().step_by(16) {
            let k1 = k.end.min(k0 + 16);
            for (j, n) in n.clone().enumerate() {
                let at = k0 * self.row + n * self.column;
                let to = (k0 - k.start) * width + j;
                if self.row == 1 {
                    let from = &self.data[at..at + k1 - k0];
                    dst[to..].iter_mut().step_by(width).zip(from).for_each(|(d, x)| *d = *x);
                } else {
                    let from = self.data[at..].iter().step_by(self.row).take(k1 - k0);
                    dst[to..].iter_mut().step_by(width).zip(from).for_each(|(d, x)| *d = *x);
                }
            }
        }
        for row in dst.chunks_exact_mut(width) {
            row[cols..].fill(0.0);
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
        let mut data = vec![0.0; m * k];
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
    // Threads share the longer side in whole tiles.
    let work = m as u64 * n as u64 * a.k as u64;
    let threads = how.threads.clamp(1, 1 + (work >> 18) as usize);
    let (tiles_m, tiles_n) = (m.div_ceil(MR), n.div_ceil(NR));
    let by_n = tiles_n >= tiles_m;
    let tiles = if by_n { tiles_n } else { tiles_m };
    let threads = threads.min(tiles);
    let part = |i: usize| {
        let (lo, hi) = (tiles * i / threads, tiles * (i + 1) / threads);
        if by_n { (0..m, lo * NR..n.min(hi * NR)) } else { (lo * MR..m.min(hi * MR), 0..n) }
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
    let mut packed = vec![0f32; KC.min(a.k) * NC.min(ns.len().next_multiple_of(HALF))];
    for n0 in ns.clone().step_by(NC) {
        let n1 = ns.end.min(n0 + NC);
        // An empty sum is 0, and still goes through one block.
        for k0 in (0..a.k.max(1)).step_by(KC) {
            let kc = KC.min(a.k - k0);
            let mut at = 0;
            for j in (n0..n1).step_by(NR) {
                let width = if n1 - j > HALF { NR } else { HALF };
                let dst = &mut packed[at..at + kc * width];
                b.pack(k0..k0 + kc, j..n1.min(j + NR), width, dst);
                at += kc * width;
            }
            let last = k0 + kc == a.k;
            for i in ms.clone().step_by(MR) {
                let rows = MR.min(a.m - i);
                let pa = a.panel(k0, i);
                let mut at = 0;
                for j in (n0..n1).step_by(NR) {
                    let width = if n1 - j > HALF { NR } else { HALF };
                    let cols = width.min(n1 - j);
                    let pb = &packed[at..at + kc * width];
                    at += kc * width;
                    // SAFETY: the tile lies within this part; both panels have `kc` rows.
                    unsafe {
                        let (pa, pb) = (pa.as_ptr(), pb.as_ptr());
                        let first = k0 == 0;
                        if cols == width && c.run_from(j) >= cols {
                            let at = c.element(i, j);
                            let ldc = c.row;
                            kernel::tile::<FUSED>(level, rows, width, kc, pa, pb, at, ldc, first);
                        } else {
                            edge::<FUSED>(level, rows, width, cols, kc, pa, pb, c, [i, j], first);
                        }
                        if last && let Finish::AddRow(bias) = finish {
                            for (r, &x) in bias[i..i + rows].iter().enumerate() {
                                runs(c, i + r, j, cols, |_, row| {
                                    row.iter_mut().for_each(|v| *v += x);
                                });
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Calls `f(first of them, elements)` for the columns of a row that lie side by side.
///
/// # Safety
/// Nobody else may touch these elements.
unsafe fn runs(
    c: &Matrix<'_, f32>,
    i: usize,
    j: usize,
    cols: usize,
    mut f: impl FnMut(usize, &mut [f32]),
) {
    let mut at = 0;
    while at < cols {
        let n = c.run_from(j + at).min(cols - at);
        // SAFETY: they lie side by side, and are for this call alone.
        f(at, unsafe { std::slice::from_raw_parts_mut(c.element(i, j + at), n) });
        at += n;
    }
}

/// A tile that is cut off at the right, or whose columns do not lie side by side: computed whole
/// beside the matrix.
///
/// # Safety
/// As [`kernel::tile`], with only `cols` columns of `c` from this row and column on.
#[allow(clippy::too_many_arguments)]
unsafe fn edge<const FUSED: bool>(
    level: Level,
    rows: usize,
    width: usize,
    cols: usize,
    kc: usize,
    a: *const f32,
    b: *const f32,
    c: &Matrix<'_, f32>,
    [i, j]: [usize; 2],
    first: bool,
) {
    let mut whole = [0f32; MR * NR];
    // SAFETY: `whole` has room for `MR` rows of `width`; of `c` only `cols` columns are touched.
    unsafe {
        for r in 0..rows {
            runs(c, i + r, j, cols, |at, run| {
                whole[r * width + at..][..run.len()].copy_from_slice(run);
            });
        }
        kernel::tile::<FUSED>(level, rows, width, kc, a, b, whole.as_mut_ptr(), width, first);
        for r in 0..rows {
            runs(c, i + r, j, cols, |at, run| {
                run.copy_from_slice(&whole[r * width + at..][..run.len()]);
            });
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
