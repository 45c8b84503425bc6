//! Normalisations and Softmax.

use graph_opt_ir::Op;

use crate::RunError;
use crate::cpu::arena::LinesMut;
use crate::cpu::array::{Array, Buf, Element};
use crate::cpu::cx::{Cx, Outputs, axis_of, extent, invalid, unsupported};
use crate::cpu::field::{Fp, Key};
use crate::cpu::scalar::{Fun, Real};
use crate::cpu::simd::{Loop, apply, inlined, widest_float};

/// Calls the function for the real type of the first operand.
macro_rules! by_type {
    ($f:ident, $cx:expr, $($arg:expr),*) => {{
        match &$cx.input(0)?.data {
            Buf::F32(_) => $f::<f32>($cx, $($arg),*),
            Buf::F64(_) => $f::<f64>($cx, $($arg),*),
            Buf::Field(_) => $f::<Fp>($cx, $($arg),*),
            _ => unsupported!("{} of {}", $cx.op.name(), $cx.input(0)?.dtype),
        }
    }};
}

pub(super) use by_type;

fn vector<'a, T: Element>(cx: &'a Cx<'_>, i: usize, n: usize) -> Result<&'a [T], RunError> {
    let v = cx.input(i)?.get::<T>()?;
    if v.len() != n {
        invalid!("operand {i} has {} elements for {n} channels", v.len());
    }
    Ok(v)
}

/// Scale and bias by channel: BatchNormalization, ImageScaler; and Affine.
pub(super) fn channels(cx: &mut Cx<'_>) -> Outputs {
    by_type!(channels_of, cx,)
}

fn channels_of<T: Real>(cx: &mut Cx<'_>) -> Outputs {
    let k = cx.key();
    let c = *cx.input(0)?.dims.get(1).unwrap_or(&1);
    // For each channel: x -> (x - mean) * scale + bias.
    let (mean, scale, bias): (Vec<T>, Vec<T>, Vec<T>) = match cx.op {
        Op::Affine(o) => {
            let (a, b) = (T::of(o.alpha.into(), k), T::of(o.beta.into(), k));
            let a0 = cx.take(0)?;
            return Ok(vec![super::unary::map(cx, a0, |x: T| a.times(x).plus(b))?]);
        }
        Op::ImageScaler(o) => {
            let bias = o.bias.as_deref().unwrap_or(&[]);
            if bias.len() != c {
                invalid!("{} biases for {c} channels", bias.len());
            }
            let bias = bias.iter().map(|&b| T::of(b.into(), k)).collect();
            (vec![T::ZERO; c], vec![T::of(o.scale.into(), k); c], bias)
        }
        Op::BatchNormalization(o) => {
            if o.training_mode != 0 && cx.opset >= 14 {
                return training::<T>(cx, o, c);
            }
            if o.training_mode != 0 || o.spatial == 0 || cx.outputs > 1 {
                unsupported!("BatchNormalization in training");
            }
            let e = T::of(o.epsilon.into(), k);
            let (s, b) = (vector::<T>(cx, 1, c)?, vector::<T>(cx, 2, c)?);
            let (m, v) = (vector::<T>(cx, 3, c)?, vector::<T>(cx, 4, c)?);
            let scale = s.iter().zip(v);
            let scale = scale.map(|(&s, &v)| s.over(T::call(Fun::Sqrt, v.plus(e), k), k)).collect();
            (m.to_vec(), scale, b.to_vec())
        }
        _ => invalid!("{} has no channels", cx.op.name()),
    };
    let a = cx.take(0)?;
    if a.rank() == 0 || a.len() == 0 {
        return Ok(vec![a]);
    }
    let mut a = cx.over::<T>(a)?;
    let dims = match a.is_contiguous() {
        true => vec![a.dims[0], c, a.dims.iter().skip(2).product()],
        false => a.dims.clone(),
    };
    let planes = a.typed_mut::<T>()?.lines_mut(&dims).merged();
    let (mean, scale, bias) = (&mean, &scale, &bias);
    if cx.env.fused {
        widest_float::<T>(Channels::<T, true> { planes, mean, scale, bias });
    } else {
        widest_float::<T>(Channels::<T, false> { planes, mean, scale, bias });
    }
    Ok(vec![a])
}

/// BatchNormalization by the statistics of the batch: the result, and the running mean and variance.
fn training<T: Real>(cx: &Cx<'_>, o: &graph_opt_ir::op::BatchNormalization, c: usize) -> Outputs {
    let (a, k) = (cx.input(0)?, cx.key());
    let inner: usize = a.dims.iter().skip(2).product();
    let n = T::of(a.len().checked_div(c).unwrap_or(0) as f64, k);
    let (s, b) = (vector::<T>(cx, 1, c)?, vector::<T>(cx, 2, c)?);
    let (m, v) = (vector::<T>(cx, 3, c)?, vector::<T>(cx, 4, c)?);
    let e = T::of(o.epsilon.into(), k);
    let (kept, new) = (T::of(o.momentum.into(), k), T::of(1.0 - f64::from(o.momentum), k));
    cx.room::<T>(&a.dims)?;
    let mut y = a.get::<T>()?.to_vec();
    let (mut mean, mut var) = (m.to_vec(), v.to_vec());
    let rows = |y: &[T], i: usize| -> Vec<std::ops::Range<usize>> {
        let starts = (i * inner..y.len()).step_by((c * inner).max(1));
        starts.map(|at| at..at + inner).collect()
    };
    for i in 0..if y.is_empty() { 0 } else { c } {
        let rows = rows(&y, i);
        let all = || rows.iter().flat_map(|r| &y[r.clone()]);
        let middle = all().fold(T::ZERO, |s, &x| s.plus(x)).over(n, k);
        let square = |s: T, x: &T| s.plus(x.minus(middle).times(x.minus(middle)));
        let spread = all().fold(T::ZERO, square).over(n, k);
        let r = s[i].over(T::call(Fun::Sqrt, spread.plus(e), k), k);
        for row in rows {
            y[row].iter_mut().for_each(|x| *x = x.minus(middle).times(r).plus(b[i]));
        }
        mean[i] = mean[i].times(kept).plus(middle.times(new));
        var[i] = var[i].times(kept).plus(spread.times(new));
    }
    let of = |dims: Vec<usize>, v: Vec<T>| Array { data: T::wrap(v), dims, dtype: a.dtype };
    Ok(vec![of(a.dims.clone(), y), of(vec![c], mean), of(vec![c], var)])
}

/// `(x - mean) * scale + bias`, by channel.
struct Channels<'a, T, const FUSED: bool> {
    planes: LinesMut<'a, T>,
    mean: &'a [T],
    scale: &'a [T],
    bias: &'a [T],
}

impl<T: Real, const FUSED: bool> Loop for Channels<'_, T, FUSED> {
    #[inline(always)]
    fn run(self) {
        let Self { mut planes, mean, scale, bias } = self;
        for i in planes.planes() {
            let c = i % mean.len();
            let (m, s, b) = (mean[c], scale[c], bias[c]);
            for row in 0..planes.rows() {
                planes.line(i, row).iter_mut().for_each(|x| *x = b.fold::<FUSED>(x.minus(m), s));
            }
        }
    }
}

/// Mean, and 1 over the square root of the variance plus epsilon.
#[inline(always)]
fn moments<T: Real>(v: &[T], epsilon: T, k: Key<'_>) -> (T, T) {
    let n = T::of(v.len() as f64, k);
    let mean = v.iter().fold(T::ZERO, |s, &x| s.plus(x)).over(n, k);
    let square = |s: T, x: &T| {
        let d = x.minus(mean);
        s.plus(d.times(d))
    };
    let variance = v.iter().fold(T::ZERO, square).over(n, k);
    (mean, T::ONE.over(T::call(Fun::Sqrt, variance.plus(epsilon), k), k))
}

pub(super) fn instance(cx: &mut Cx<'_>) -> Outputs {
    by_type!(instance_of, cx,)
}

fn instance_of<T: Real>(cx: &mut Cx<'_>) -> Outputs {
    let Op::InstanceNormalization(o) = cx.op else { invalid!("not an InstanceNormalization") };
    let k = cx.key();
    let a = cx.input(0)?;
    let c = *a.dims.get(1).unwrap_or(&1);
    let inner: usize = a.dims.iter().skip(2).product();
    let (s, b) = (vector::<T>(cx, 1, c)?, vector::<T>(cx, 2, c)?);
    cx.room::<T>(&a.dims)?;
    let mut v = a.get::<T>()?.to_vec();
    let e = T::of(o.epsilon.into(), k);
    for (i, row) in v.chunks_exact_mut(inner.max(1)).enumerate() {
        let (mean, r) = moments(row, e, k);
        let (scale, bias) = (r.times(s[i % c]), b[i % c]);
        apply(row, |x: T| x.minus(mean).times(scale).plus(bias));
    }
    Ok(vec![Array { data: T::wrap(v), dims: a.dims.clone(), dtype: a.dtype }])
}

pub(super) fn layer(cx: &mut Cx<'_>) -> Outputs {
    by_type!(layer_of, cx,)
}

fn layer_of<T: Real>(cx: &mut Cx<'_>) -> Outputs {
    let Op::LayerNormalization(o) = cx.op else { invalid!("not a LayerNormalization") };
    let k = cx.key();
    let a = cx.input(0)?;
    let axis = axis_of(o.axis, a.rank())?;
    let inner: usize = a.dims[axis..].iter().product();
    let row = |i: usize| -> Result<Option<Vec<T>>, RunError> {
        let Some(b) = cx.opt(i) else { return Ok(None) };
        Ok(Some(super::binary::expand(cx, b, &a.dims[axis..])?.get::<T>()?.to_vec()))
    };
    for i in [1, 2] {
        if let Some(b) = cx.opt(i)
            && super::binary::broadcast(&b.dims, &a.dims[axis..])? != a.dims[axis..]
        {
            unsupported!("operand {i} of shape {:?}", b.dims);
        }
    }
    let (s, b) = (row(1)?, row(2)?);
    cx.room::<T>(&a.dims)?;
    let mut v = a.get::<T>()?.to_vec();
    let e = T::of(o.epsilon.into(), k);
    let (mut means, mut inverse) = (vec![], vec![]);
    for row in v.chunks_exact_mut(inner.max(1)) {
        let (mean, r) = moments(row, e, k);
        for (i, x) in row.iter_mut().enumerate() {
            *x = x.minus(mean).times(r);
            if let Some(s) = &s {
                *x = x.times(s[i]);
            }
            if let Some(b) = &b {
                *x = x.plus(b[i]);
            }
        }
        means.push(mean);
        inverse.push(r);
    }
    let mut kept = a.dims.clone();
    kept[axis..].fill(1);
    let of =
        |v: Vec<T>, dims: &[usize]| Array { data: T::wrap(v), dims: dims.to_vec(), dtype: a.dtype };
    let mut out = vec![of(v, &a.dims), of(means, &kept), of(inverse, &kept)];
    out.truncate(cx.outputs.max(1));
    Ok(out)
}

/// Runs the function on every line along the axis.
fn lines<T: Real>(a: &Array, axis: usize, mut f: impl FnMut(&mut [T])) -> Result<Array, RunError> {
    let mut v = a.get::<T>()?.to_vec();
    let n = a.dims[axis];
    let inner: usize = a.dims[axis + 1..].iter().product();
    if !v.is_empty() {
        if inner == 1 {
            v.chunks_exact_mut(n).for_each(f);
        } else {
            let mut line = vec![T::ZERO; n];
            for block in v.chunks_exact_mut(n * inner) {
                for i in 0..inner {
                    line.iter_mut().enumerate().for_each(|(j, x)| *x = block[j * inner + i]);
                    f(&mut line);
                    line.iter().enumerate().for_each(|(j, &x)| block[j * inner + i] = x);
                }
            }
        }
    }
    Ok(Array { data: T::wrap(v), dims: a.dims.clone(), dtype: a.dtype })
}

pub(super) fn lp(cx: &mut Cx<'_>) -> Outputs {
    by_type!(lp_of, cx,)
}

fn lp_of<T: Real>(cx: &mut Cx<'_>) -> Outputs {
    let Op::LpNormalization(o) = cx.op else { invalid!("not an LpNormalization") };
    let k = cx.key();
    let a = cx.input(0)?;
    cx.room::<T>(&a.dims)?;
    let abs = |x: T| x.magnitude(k);
    let axis = axis_of(o.axis, a.rank())?;
    let norm = |v: &[T]| match o.p {
        1 => Ok(v.iter().fold(T::ZERO, |s, &x| s.plus(abs(x)))),
        2 => Ok(T::call(Fun::Sqrt, v.iter().fold(T::ZERO, |s, &x| s.plus(x.times(x))), k)),
        p => unsupported!("the exponent {p}"),
    };
    norm(&[])?;
    Ok(vec![lines(a, axis, |v: &mut [T]| {
        let n = norm(v).unwrap_or(T::ZERO);
        if n != T::ZERO {
            v.iter_mut().for_each(|x| *x = x.over(n, k));
        }
    })?])
}

/// What Softmax takes from all elements: the greatest, so that nothing overflows; in the field the
/// mean, which shifts with them.
fn pivot<T: Real>(v: &[T], k: Key<'_>) -> T {
    if T::NATIVE {
        return v.iter().skip(1).fold(v[0], |m, &x| m.larger(x, k));
    }
    v.iter().fold(T::ZERO, |s, &x| s.plus(x)).over(T::of(v.len() as f64, k), k)
}

pub(super) fn softmax(cx: &mut Cx<'_>) -> Outputs {
    by_type!(softmax_of, cx,)
}

fn softmax_of<T: Real>(cx: &mut Cx<'_>) -> Outputs {
    let axis = match cx.op {
        Op::Softmax(o) => o.axis,
        Op::LogSoftmax(o) => o.axis,
        Op::Hardmax(o) => o.axis,
        _ => invalid!("{} is no Softmax", cx.op.name()),
    };
    let k = cx.key();
    let mut a = cx.take(0)?;
    let dims = a.dims.clone();
    cx.room::<T>(&dims)?;
    let axis = match axis {
        _ if a.rank() == 0 => invalid!("a scalar"),
        None if cx.opset < 13 => axis_of(1.min(a.rank() as i64 - 1), a.rank())?,
        axis => axis_of(axis.unwrap_or(-1), a.rank())?,
    };
    let mut along = axis;
    if cx.opset < 13 {
        // All axes from this one on are one.
        let (x, y) = dims.split_at(axis);
        a = a.reshaped(vec![x.iter().product(), y.iter().product()])?;
        along = 1;
    }
    let out = match cx.op {
        Op::Hardmax(_) => lines(&a, along, |v: &mut [T]| {
            let mut best = 0;
            (1..v.len()).for_each(|i| {
                if v[best].less(v[i], k) {
                    best = i;
                }
            });
            v.iter_mut()
                .enumerate()
                .for_each(|(i, x)| *x = if i == best { T::ONE } else { T::ZERO });
        })?,
        op => lines(&a, along, |v: &mut [T]| {
            let top = pivot(v, k);
            if matches!(op, Op::Softmax(_)) {
                apply(v, inlined!(k, [top], |x, k| T::call(Fun::Exp, x.minus(top), k)));
                let s = v.iter().fold(T::ZERO, |s, &x| s.plus(x));
                if T::NATIVE {
                    apply(v, |x: T| x.over(s, k));
                } else {
                    let share = T::ONE.over(s, k);
                    apply(v, |x: T| x.times(share));
                }
            } else {
                let mut e = v.to_vec();
                apply(&mut e, inlined!(k, [top], |x, k| T::call(Fun::Exp, x.minus(top), k)));
                let s = e.iter().fold(T::ZERO, |s, &x| s.plus(x));
                let log = T::call(Fun::Log, s, k);
                v.iter_mut().for_each(|x| *x = x.minus(top).minus(log));
            }
        })?,
    };
    Ok(vec![out.reshaped(dims)?])
}

pub(super) fn lrn(cx: &mut Cx<'_>) -> Outputs {
    by_type!(lrn_of, cx,)
}

fn lrn_of<T: Real>(cx: &mut Cx<'_>) -> Outputs {
    let Op::LRN(o) = cx.op else { invalid!("not an LRN") };
    let k = cx.key();
    let a = cx.input(0)?;
    let v = a.get::<T>()?;
    if a.rank() < 2 {
        invalid!("rank {}", a.rank());
    }
    let size = extent(o.size)?;
    if size == 0 {
        invalid!("size 0");
    }
    let (before, after) = ((size - 1) / 2, (size - 1).div_ceil(2));
    let (c, inner) = (a.dims[1], a.dims[2..].iter().product::<usize>());
    let mut out = cx.zeros::<T>(&a.dims)?;
    let scale = T::of(f64::from(o.alpha), k).over(T::of(size as f64, k), k);
    let (bias, beta) = (T::of(o.bias.into(), k), T::of(o.beta.into(), k));
    for (i, out) in out.chunks_exact_mut(inner.max(1)).enumerate() {
        let (image, ch) = (i / c * c, i % c);
        let near = ch.saturating_sub(before)..(ch.saturating_add(after).saturating_add(1)).min(c);
        for (p, o) in out.iter_mut().enumerate() {
            let at = |ch: usize| v[(image + ch) * inner + p];
            let sum = near.clone().fold(T::ZERO, |s, ch| s.plus(at(ch).times(at(ch))));
            *o = at(ch).over(bias.plus(scale.times(sum)).power(beta, k), k);
        }
    }
    Ok(vec![Array { data: T::wrap(out), dims: a.dims.clone(), dtype: a.dtype }])
}
