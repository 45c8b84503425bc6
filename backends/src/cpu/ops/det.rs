//! Determinants.

use graph_opt_ir::Op;

use super::norm::by_type;
use crate::cpu::array::{Array, Buf};
use crate::cpu::cx::{Cx, Outputs, invalid, unsupported};
use crate::cpu::field::{Fp, Key};
use crate::cpu::scalar::Real;

pub(super) fn det(cx: &mut Cx<'_>) -> Outputs {
    by_type!(det_of, cx,)
}

fn det_of<T: Real>(cx: &mut Cx<'_>) -> Outputs {
    let Op::Det(_) = cx.op else { invalid!("not a Det") };
    let a = cx.input(0)?;
    let (batch, n) = match &a.dims[..] {
        [batch @ .., h, w] if h == w => (batch.to_vec(), *h),
        dims => invalid!("{dims:?} are no square matrices"),
    };
    let count = cx.room::<T>(&batch)?;
    cx.room::<T>(&[3, n, n])?;
    let (k, v) = (cx.key(), a.get::<T>()?);
    let one = |i: usize| {
        let m = &v[i * n * n..(i + 1) * n * n];
        if T::NATIVE { eliminated(m.to_vec(), n, k) } else { expanded(m, n) }
    };
    let v = (0..count).map(one).collect();
    Ok(vec![Array { dims: batch, dtype: a.dtype, data: T::wrap(v) }])
}

/// By elimination, with the greatest element of each column as its pivot.
fn eliminated<T: Real>(mut m: Vec<T>, n: usize, k: Key<'_>) -> T {
    let mut det = T::ONE;
    for c in 0..n {
        let size = |r: usize| m[r * n + c].magnitude(k);
        let best = (c + 1..n).fold(c, |b, r| if size(b).less(size(r), k) { r } else { b });
        let pivot = m[best * n + c];
        if pivot == T::ZERO {
            return T::ZERO;
        }
        if best != c {
            (c..n).for_each(|j| m.swap(best * n + j, c * n + j));
            det = det.opposite();
        }
        det = det.times(pivot);
        for r in c + 1..n {
            let f = m[r * n + c].over(pivot, k);
            for j in c + 1..n {
                m[r * n + j] = m[r * n + j].minus(f.times(m[c * n + j]));
            }
        }
    }
    det
}

/// Without division (Bird, "A simple division-free algorithm for computing determinants"), so that it
/// is a polynomial of the elements.
fn expanded<T: Real>(a: &[T], n: usize) -> T {
    if n == 0 {
        return T::ONE;
    }
    let mut x = a.to_vec();
    for _ in 1..n {
        // Above the diagonal as it is, on it the sum of what follows on it, negative.
        let mut mu = vec![T::ZERO; n * n];
        let mut sum = T::ZERO;
        for i in (0..n).rev() {
            mu[i * n + i] = sum.opposite();
            mu[i * n + i + 1..(i + 1) * n].copy_from_slice(&x[i * n + i + 1..(i + 1) * n]);
            sum = sum.plus(x[i * n + i]);
        }
        for i in 0..n {
            for j in 0..n {
                let term = |s: T, l: usize| s.plus(mu[i * n + l].times(a[l * n + j]));
                x[i * n + j] = (i..n).fold(T::ZERO, term);
            }
        }
    }
    if n.is_multiple_of(2) { x[0].opposite() } else { x[0] }
}
