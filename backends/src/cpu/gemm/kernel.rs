//! Microkernels: one tile of the product, kept in registers over a block of the reduction.
//!
//! Every kernel does the same arithmetic: each element is a left fold over k, so their results
//! have the same bits.
#![allow(unsafe_code)] // Vector instructions, and tiles of a matrix through pointers.

use crate::cpu::simd::Level;

/// Most rows of a tile.
pub(crate) const MR: usize = 12;
/// Columns of a full panel of B.
pub(crate) const NR: usize = 32;
/// Columns of a narrow panel of B.
pub(crate) const HALF: usize = 16;

/// `c[i][j] = fold over k of a[k][i] * b[k][j]`, starting from +0 if `first`, else from `c`.
///
/// # Safety
/// `a` must have `kc * rows` readable elements, `b` `kc * width`; `c` must have `rows` rows of
/// `width` elements, `ldc` apart, that nobody else touches; `rows` must be in 1..=MR and `width`
/// be `NR` or `HALF`; the machine must have the features of `level`.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn tile<const FUSED: bool>(
    level: Level,
    rows: usize,
    width: usize,
    kc: usize,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    ldc: usize,
    first: bool,
) {
    match level {
        // SAFETY: as promised by the caller, for either width.
        Level::Portable => unsafe {
            match width {
                NR => portable::<NR, FUSED>(rows, kc, a, b, c, ldc, first),
                _ => portable::<HALF, FUSED>(rows, kc, a, b, c, ldc, first),
            }
        },
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // Six rows of 16 fill the 16 registers; larger tiles are made of those.
            let (mut i, mut j) = (0, 0);
            while j < width {
                while i < rows {
                    let r = (rows - i).min(6);
                    // SAFETY: a sub-tile of the tile that the caller promised.
                    unsafe {
                        let (a, b, c) = (a.add(i), b.add(j), c.add(i * ldc + j));
                        avx2_rows::<FUSED>(r, kc, (a, rows), (b, width), c, ldc, first);
                    }
                    i += r;
                }
                (i, j) = (0, j + 16);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            let mut i = 0;
            while i < rows {
                // SAFETY: rows of the tile that the caller promised.
                i += unsafe {
                    let (a, c) = ((a.add(i), rows), c.add(i * ldc));
                    match width {
                        NR => avx512_rows::<2, FUSED>(rows - i, kc, a, b, c, ldc, first),
                        _ => avx512_rows::<1, FUSED>(rows - i, kc, a, b, c, ldc, first),
                    }
                };
            }
        }
    }
}

/// Row by row: what makes it slow is `mul_add` without an instruction for it, not the loads.
///
/// # Safety
/// `a` has `kc * rows` elements, `b` has `kc * W`, and `c` has `rows` rows of `W` elements, `ldc` apart,
/// which nothing else reads or writes.
unsafe fn portable<const W: usize, const FUSED: bool>(
    rows: usize,
    kc: usize,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    ldc: usize,
    first: bool,
) {
    for i in 0..rows {
        // SAFETY: the caller promises the extents of all three.
        unsafe {
            let row = std::slice::from_raw_parts_mut(c.add(i * ldc), W);
            if first {
                row.fill(0.0);
            }
            for k in 0..kc {
                let x = *a.add(k * rows + i);
                let b = std::slice::from_raw_parts(b.add(k * W), W);
                for (s, &y) in row.iter_mut().zip(b) {
                    *s = if FUSED { x.mul_add(y, *s) } else { x * y + *s };
                }
            }
        }
    }
}

/// The kernel for so many rows.
///
/// # Safety
/// As [`avx2`], with `rows` for `R`, of which there are 1 to 6.
#[cfg(target_arch = "x86_64")]
unsafe fn avx2_rows<const FUSED: bool>(
    rows: usize,
    kc: usize,
    a: (*const f32, usize),
    b: (*const f32, usize),
    c: *mut f32,
    ldc: usize,
    first: bool,
) {
    // SAFETY: the caller promises the extents.
    unsafe {
        match rows {
            1 => avx2::<1, FUSED>(kc, a, b, c, ldc, first),
            2 => avx2::<2, FUSED>(kc, a, b, c, ldc, first),
            3 => avx2::<3, FUSED>(kc, a, b, c, ldc, first),
            4 => avx2::<4, FUSED>(kc, a, b, c, ldc, first),
            5 => avx2::<5, FUSED>(kc, a, b, c, ldc, first),
            _ => avx2::<6, FUSED>(kc, a, b, c, ldc, first),
        }
    }
}

/// `R` rows of 16 columns; `a` and `b` are each with the distance from one step of the sum to the next.
///
/// # Safety
/// The processor has AVX2 and FMA. From `a` on there are `kc` groups of `R` elements, from `b` on `kc`
/// groups of 16, and `c` has `R` rows of 16 elements, `ldc` apart, which nothing else reads or writes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const R: usize, const FUSED: bool>(
    kc: usize,
    (mut a, lda): (*const f32, usize),
    (mut b, ldb): (*const f32, usize),
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
        for _ in 0..kc {
            let y = [_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8))];
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
            (a, b) = (a.add(lda), b.add(ldb));
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
    kc: usize,
    a: (*const f32, usize),
    b: *const f32,
    c: *mut f32,
    ldc: usize,
    first: bool,
) -> usize {
    macro_rules! rows {
        ($($r:literal)*) => {
            match rows {
                $($r.. => {
                    // SAFETY: as promised by the caller.
                    unsafe { avx512::<$r, V, FUSED>(kc, a, b, c, ldc, first) };
                    $r
                })*
                0 => 0,
            }
        };
    }
    rows!(12 8 4 2 1)
}

/// `R` rows of `16 * V` columns; `a` is with the distance from one step of the sum to the next.
///
/// # Safety
/// The processor has AVX-512F. From `a` on there are `kc` groups of `R` elements, from `b` on `kc` groups
/// of `16 * V`, and `c` has `R` rows of `16 * V` elements, `ldc` apart, which nothing else reads or writes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const R: usize, const V: usize, const FUSED: bool>(
    kc: usize,
    (mut a, lda): (*const f32, usize),
    mut b: *const f32,
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
        for _ in 0..kc {
            let mut y = [_mm512_setzero_ps(); V];
            for (j, y) in y.iter_mut().enumerate() {
                *y = _mm512_loadu_ps(b.add(16 * j));
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
            (a, b) = (a.add(lda), b.add(16 * V));
        }
        for (i, row) in acc.iter().enumerate() {
            for (j, &v) in row.iter().enumerate() {
                _mm512_storeu_ps(c.add(i * ldc + 16 * j), v);
            }
        }
    }
}
