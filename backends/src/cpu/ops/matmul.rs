//! Matrix products.

use graph_opt_ir::Op;

use crate::RunError;
use crate::cpu::arena::Matrix;
use crate::cpu::array::{Array, Buf, on_number};
use crate::cpu::cx::{Cx, Outputs, invalid, strides};
use crate::cpu::field::Fp;
use crate::cpu::gemm::{self, Finish, Strided};
use crate::cpu::scalar::Scalar;
use crate::cpu::simd::{Loop, widest_float};

/// A matrix within a tensor: first element, distance of rows, distance of columns.
#[derive(Clone, Copy)]
pub(super) struct View<'a, T> {
    pub v: &'a [T],
    pub row: usize,
    pub col: usize,
}

/// Rows of a product below which packing the right factor anew takes most of the time.
const FEW: usize = 8;

/// `a` (`m` by `k`) times `b` (`k` by `n`) into `out`.
pub(super) fn product<T: Scalar>(
    cx: &Cx<'_>,
    a: View<'_, T>,
    b: View<'_, T>,
    (m, k, n): (usize, usize, usize),
    out: &mut [T],
) {
    let single = (T::as_f32s(a.v), T::as_f32s(b.v), T::as_f32s_mut(out));
    if let (Some(x), Some(y), Some(out)) = single {
        let x = Strided { data: x, row: a.row, column: a.col };
        let y = Strided { data: y, row: b.row, column: b.col };
        let how = cx.env.how();
        if m >= FEW {
            gemm::gemm(&cx.rows(x, m, k), &y, Matrix::of(out, n), Finish::Nothing, how);
            return;
        }
        // Large weights and few rows: the weights, packed once, as the left factor. A product of
        // two numbers does not depend on their order, so the bits are the same.
        let (x, y) = (x.transposed(), y.transposed());
        let rows = cx.rows(y, n, k);
        if m == 1 {
            let column: Vec<f32> = x.data.iter().step_by(x.row.max(1)).take(k).copied().collect();
            gemm::gemv(&rows, &column, out, how.fused);
            return;
        }
        let mut turned = vec![0.0; out.len()];
        gemm::gemm(&rows, &x, Matrix::of(&mut turned, m), Finish::Nothing, how);
        for (i, row) in out.chunks_exact_mut(n.max(1)).enumerate() {
            row.iter_mut().zip(turned[i..].iter().step_by(m)).for_each(|(o, &x)| *o = x);
        }
        return;
    }
    if n == 0 {
        return;
    }
    if cx.env.fused || !T::ROUNDS {
        widest_float::<T>(Rowwise::<T, true> { a, b, k, n, out });
    } else {
        widest_float::<T>(Rowwise::<T, false> { a, b, k, n, out });
    }
}

/// The product row by row, each row a sum of rows of the right factor.
struct Rowwise<'a, T, const FUSED: bool> {
    a: View<'a, T>,
    b: View<'a, T>,
    k: usize,
    n: usize,
    out: &'a mut [T],
}

impl<T: Scalar, const FUSED: bool> Loop for Rowwise<'_, T, FUSED> {
    #[inline(always)]
    fn run(self) {
        let Self { a, b, k, n, out } = self;
        for (i, row) in out.chunks_exact_mut(n).enumerate() {
            row.fill(T::ZERO);
            for l in 0..k {
                let x = a.v[i * a.row + l * a.col];
                if b.col == 1 {
                    let b = &b.v[l * b.row..l * b.row + n];
                    row.iter_mut().zip(b).for_each(|(s, &y)| *s = s.fold::<FUSED>(x, y));
                } else {
                    for (j, s) in row.iter_mut().enumerate() {
                        *s = s.fold::<FUSED>(x, b.v[l * b.row + j * b.col]);
                    }
                }
            }
        }
    }
}

pub(super) fn matmul(cx: &mut Cx<'_>) -> Outputs {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![on_number!(&a.data, v => typed(cx, v, a, b)?, else {
        invalid!("MatMul of {}", a.dtype)
    })])
}

/// Extents of two operands of MatMul with the vectors made matrices; and of the result.
#[allow(clippy::type_complexity)]
pub(super) fn shapes(
    a: &[usize],
    b: &[usize],
) -> Result<(Vec<usize>, Vec<usize>, Vec<usize>, Vec<usize>), RunError> {
    let (mut x, mut y) = (a.to_vec(), b.to_vec());
    if x.is_empty() || y.is_empty() {
        invalid!("{a:?} by {b:?}");
    }
    if x.len() == 1 {
        x.insert(0, 1);
    }
    if y.len() == 1 {
        y.push(1);
    }
    if x[x.len() - 1] != y[y.len() - 2] {
        invalid!("{a:?} by {b:?}");
    }
    let batch = super::binary::broadcast(&x[..x.len() - 2], &y[..y.len() - 2])?;
    let mut dims = batch.clone();
    if a.len() > 1 {
        dims.push(x[x.len() - 2]);
    }
    if b.len() > 1 {
        dims.push(y[y.len() - 1]);
    }
    Ok((x, y, batch, dims))
}

fn typed<T: Scalar>(cx: &Cx<'_>, v: &[T], a: &Array, b: &Array) -> Result<Array, RunError> {
    let w = b.get::<T>()?;
    let (x, y, batch, dims) = shapes(&a.dims, &b.dims)?;
    let (m, k, n) = (x[x.len() - 2], x[x.len() - 1], y[y.len() - 1]);
    let mut out = cx.zeros::<T>(&dims)?;
    if m * n > 0 {
        let (bx, by) = (&x[..x.len() - 2], &y[..y.len() - 2]);
        if by.iter().all(|&d| d == 1) {
            // One matrix for all: the rows of the batch are rows of one product.
            let rows = batch.iter().product::<usize>() * m;
            if rows * k == v.len() {
                let (x, y) = (View { v, row: k, col: 1 }, View { v: w, row: n, col: 1 });
                product(cx, x, y, (rows, k, n), &mut out);
                return Ok(Array { dims, dtype: a.dtype, data: T::wrap(out) });
            }
        }
        let (sx, sy) = (super::binary::spread(bx, &batch), super::binary::spread(by, &batch));
        let sb = strides(&batch);
        for (i, out) in out.chunks_exact_mut(m * n).enumerate() {
            let at = |s: &[usize]| -> usize {
                (0..batch.len()).map(|d| i / sb[d] % batch[d] * s[d]).sum()
            };
            let a = View { v: &v[at(&sx) * m * k..][..m * k], row: k, col: 1 };
            let b = View { v: &w[at(&sy) * k * n..][..k * n], row: n, col: 1 };
            product(cx, a, b, (m, k, n), out);
        }
    }
    Ok(Array { dims, dtype: a.dtype, data: T::wrap(out) })
}

pub(super) fn gemm(cx: &mut Cx<'_>) -> Outputs {
    let a = cx.input(0)?;
    Ok(vec![match &a.data {
        Buf::F32(v) => gemm_of(cx, v, a)?,
        Buf::F64(v) => gemm_of(cx, v, a)?,
        Buf::Field(v) => gemm_of::<Fp>(cx, v, a)?,
        Buf::I64(v) => gemm_of(cx, v, a)?,
        Buf::U64(v) => gemm_of(cx, v, a)?,
        _ => invalid!("Gemm of {}", a.dtype),
    }])
}

/// `alpha * (A * B) + beta * C`: each sum is finished before it is scaled.
fn gemm_of<T: Scalar>(cx: &Cx<'_>, v: &[T], a: &Array) -> Result<Array, RunError> {
    let Op::Gemm(o) = cx.op else { invalid!("not a Gemm") };
    let b = cx.input(1)?;
    let (&[a0, a1], &[b0, b1]) = (&a.dims[..], &b.dims[..]) else {
        invalid!("ranks {} and {} instead of 2", a.rank(), b.rank());
    };
    let w = b.get::<T>()?;
    let (m, k, va) = match o.transA {
        0 => (a0, a1, View { v, row: a1, col: 1 }),
        _ => (a1, a0, View { v, row: 1, col: a1 }),
    };
    let (kb, n, vb) = match o.transB {
        0 => (b0, b1, View { v: w, row: b1, col: 1 }),
        _ => (b1, b0, View { v: w, row: 1, col: b1 }),
    };
    if k != kb {
        invalid!("{:?} by {:?}", a.dims, b.dims);
    }
    let mut out = cx.zeros::<T>(&[m, n])?;
    product(cx, va, vb, (m, k, n), &mut out);
    let key = cx.key();
    if o.alpha != 1.0 {
        let alpha = T::of(o.alpha.into(), key);
        out.iter_mut().for_each(|x| *x = alpha.times(*x));
    }
    if let Some(c) = cx.opt(2) {
        if super::binary::broadcast(&c.dims, &[m, n])? != [m, n] {
            invalid!("{:?} does not broadcast to [{m}, {n}]", c.dims);
        }
        let beta = (o.beta != 1.0).then(|| T::of(o.beta.into(), key));
        let s = super::binary::spread(&c.dims, &[m, n]);
        let c = c.get::<T>()?;
        for (i, row) in out.chunks_exact_mut(n.max(1)).enumerate() {
            for (j, x) in row.iter_mut().enumerate() {
                let c = c[i * s[0] + j * s[1]];
                *x = x.plus(beta.map_or(c, |b| b.times(c)));
            }
        }
    }
    Ok(Array { dims: vec![m, n], dtype: a.dtype, data: T::wrap(out) })
}
