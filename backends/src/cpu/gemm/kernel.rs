//! Microkernels: one tile of the product, kept in registers over a block of the reduction.
//!
//! Every kernel does the same arithmetic: each element is a left fold over k, so their results
//! have the same bits.
#![allow(unsafe_code)] // Vector instructions, and tiles of a matrix through pointers.

use crate::cpu::simd::Level;

/// Most rows of a tile.
pub(crate) const MR: usize = 12;
/// Columns of a strip of B.
pub(crate) const NR: usize = 16;
/// Most strips of a tile.
pub(crate) const STRIPS: usize = 2;

/// Strips of a tile that the kernels of this level work on at once.
pub(crate) fn strips(level: Level) -> usize {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => STRIPS,
        _ => 1,
    }
}

/// What a tile reads of B: element (k, j) of strip `s` is at `rows[k] + s * strip + j`.
#[derive(Clone, Copy)]
// The portable kernel takes one strip.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(crate) struct Strips<'a> {
    pub at: *const f32,
    pub rows: &'a [usize],
    pub strip: usize,
    pub count: usize,
}

/// `c[i][j] = fold over k of a[k][i] * b[k][j]`, starting from +0 if `first`, else from `c`.
///
/// # Safety
/// `a` must have `rows` readable elements for each of B's rows, B its strips; `c` must have `rows` rows of
/// `b.count * NR` elements, `ldc` apart, that nobody else touches; `rows` must be in 1..=MR and `b.count` in
/// 1..=[`strips`]; the machine must have the features of `level`.
pub(crate) unsafe fn tile<const FUSED: bool>(
    level: Level,
    rows: usize,
    a: *const f32,
    b: Strips<'_>,
    c: *mut f32,
    ldc: usize,
    first: bool,
) {
    match level {
        // SAFETY: as promised by the caller.
        Level::Portable => unsafe { portable::<FUSED>(rows, a, b, c, ldc, first) },
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // Six rows of 16 fill the 16 registers.
            for i in (0..rows).step_by(6) {
                // SAFETY: rows of the tile that the caller promised.
                unsafe {
                    let (a, c) = ((a.add(i), rows), c.add(i * ldc));
                    match rows - i {
                        1 => avx2::<1, FUSED>(a, b, c, ldc, first),
                        2 => avx2::<2, FUSED>(a, b, c, ldc, first),
                        3 => avx2::<3, FUSED>(a, b, c, ldc, first),
                        4 => avx2::<4, FUSED>(a, b, c, ldc, first),
                        5 => avx2::<5, FUSED>(a, b, c, ldc, first),
                        _ => avx2::<6, FUSED>(a, b, c, ldc, first),
                    }
                }
            }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            let mut i = 0;
            while i < rows {
                // SAFETY: rows of the tile that the caller promised.
                i += unsafe {
                    let (a, c) = ((a.add(i), rows), c.add(i * ldc));
                    match b.count {
                        1 => avx512_rows::<1, FUSED>(rows - i, a, b, c, ldc, first),
                        _ => avx512_rows::<2, FUSED>(rows - i, a, b, c, ldc, first),
                    }
                };
            }
        }
    }
}

/// Row by row: what makes it slow is `mul_add` without an instruction for it, not the loads.
///
/// # Safety
/// As [`tile`], with one strip.
unsafe fn portable<const FUSED: bool>(
    rows: usize,
    a: *const f32,
    b: Strips<'_>,
    c: *mut f32,
    ldc: usize,
    first: bool,
) {
    for i in 0..rows {
        // SAFETY: the caller promises the extents of all three.
        unsafe {
            let row = std::slice::from_raw_parts_mut(c.add(i * ldc), NR);
            if first {
                row.fill(0.0);
            }
            for (k, &at) in b.rows.iter().enumerate() {
                let x = *a.add(k * rows + i);
                let b = std::slice::from_raw_parts(b.at.add(at), NR);
                for (s, &y) in row.iter_mut().zip(b) {
                    *s = if FUSED { x.mul_add(y, *s) } else { x * y + *s };
                }
            }
        }
    }
}

/// `R` rows of a strip; `a` is with the distance from one step of the sum to the next.
///
/// # Safety
/// As [`tile`], with `R` for the rows and one strip. The processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const R: usize, const FUSED: bool>(
    (mut a, lda): (*const f32, usize),
    b: Strips<'_>,
    c: *mut f32,
    ldc: usize,
    first: bool,
) {
    use std::arch::x86_64::*;
    let mut acc = [[_mm256_setzero_ps(); 2]; R];
    // SAFETY: the caller promises the extents of all three.
    unsafe {
        if !first {
            for (i, row) in acc.iter_mut().enumerate() {
                for (j, v) in row.iter_mut().enumerate() {
                    *v = _mm256_loadu_ps(c.add(i * ldc + 8 * j));
                }
            }
        }
        for &at in b.rows {
            let from = b.at.add(at);
            let y = [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))];
            for (i, row) in acc.iter_mut().enumerate() {
                let x = _mm256_set1_ps(*a.add(i));
                for (v, &y) in row.iter_mut().zip(&y) {
                    *v = if FUSED {
                        _mm256_fmadd_ps(x, y, *v)
                    } else {
                        _mm256_add_ps(_mm256_mul_ps(x, y), *v)
                    };
                }
            }
            a = a.add(lda);
        }
        for (i, row) in acc.iter().enumerate() {
            for (j, &v) in row.iter().enumerate() {
                _mm256_storeu_ps(c.add(i * ldc + 8 * j), v);
            }
        }
    }
}

/// As many rows as one kernel takes; how many those were.
///
/// # Safety
/// As [`avx512`], with `rows` for `R`.
#[cfg(target_arch = "x86_64")]
unsafe fn avx512_rows<const V: usize, const FUSED: bool>(
    rows: usize,
    a: (*const f32, usize),
    b: Strips<'_>,
    c: *mut f32,
    ldc: usize,
    first: bool,
) -> usize {
    macro_rules! rows {
        ($($r:literal)*) => {
            match rows {
                $($r.. => {
                    // SAFETY: as promised by the caller.
                    unsafe { avx512::<$r, V, FUSED>(a, b, c, ldc, first) };
                    $r
                })*
                0 => 0,
            }
        };
    }
    rows!(12 8 4 2 1)
}

/// `R` rows of `V` strips; `a` is with the distance from one step of the sum to the next.
///
/// # Safety
/// As [`tile`], with `R` for the rows and `V` strips. The processor has AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const R: usize, const V: usize, const FUSED: bool>(
    (mut a, lda): (*const f32, usize),
    b: Strips<'_>,
    c: *mut f32,
    ldc: usize,
    first: bool,
) {
    use std::arch::x86_64::*;
    let mut acc = [[_mm512_setzero_ps(); V]; R];
    // SAFETY: the caller promises the extents of all three.
    unsafe {
        if !first {
            for (i, row) in acc.iter_mut().enumerate() {
                for (j, v) in row.iter_mut().enumerate() {
                    *v = _mm512_loadu_ps(c.add(i * ldc + 16 * j));
                }
            }
        }
        for &at in b.rows {
            let from = b.at.add(at);
            let mut y = [_mm512_setzero_ps(); V];
            for (j, y) in y.iter_mut().enumerate() {
                *y = _mm512_loadu_ps(from.add(b.strip * j));
            }
            for (i, row) in acc.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*a.add(i));
                for (v, &y) in row.iter_mut().zip(&y) {
                    *v = if FUSED {
                        _mm512_fmadd_ps(x, y, *v)
                    } else {
                        _mm512_add_ps(_mm512_mul_ps(x, y), *v)
                    };
                }
            }
            a = a.add(lda);
        }
        for (i, row) in acc.iter().enumerate() {
            for (j, &v) in row.iter().enumerate() {
                _mm512_storeu_ps(c.add(i * ldc + 16 * j), v);
            }
        }
    }
}
