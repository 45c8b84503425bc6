//! Pools: folds over the elements under each window, in ascending order.

use graph_opt_ir::Op;
use graph_opt_ir::window::{self, Window};

use crate::RunError;
use crate::cpu::arena::{Lines, LinesMut};
use crate::cpu::array::{Array, Buf, Element};
use crate::cpu::cx::{Cx, Outputs, invalid, unsupported};
use crate::cpu::field::Fp;
use crate::cpu::scalar::{Fun, Real, Scalar};
use crate::cpu::simd::{Loop, widest};
use crate::geometry::Geometry;

/// Folds over the window of every output, row by row so that rows vectorise: `step` for every
/// element under a window, none for padding; `finish` learns how many taps met elements along
/// each axis.
fn fold<T: Scalar>(
    v: Lines<'_, T>,
    g: &Geometry,
    out: LinesMut<'_, T>,
    start: impl Fn(T) -> T,
    step: impl Fn(T, T) -> T,
    finish: impl Fn(T, [usize; 3]) -> T,
) {
    let fold = Fold { v, g, out, start, step, finish };
    if T::WIDE { widest(fold) } else { fold.run() }
}

struct Fold<'a, T, A, B, C> {
    v: Lines<'a, T>,
    g: &'a Geometry,
    out: LinesMut<'a, T>,
    start: A,
    step: B,
    finish: C,
}

impl<T, A, B, C> Loop for Fold<'_, T, A, B, C>
where
    T: Scalar,
    A: Fn(T) -> T,
    B: Fn(T, T) -> T,
    C: Fn(T, [usize; 3]) -> T,
{
    #[inline(always)]
    fn run(self) {
        let Self { v, g, mut out, start, step, finish } = self;
        let [_, ih, iw] = g.input;
        let [od, oh, ow] = g.output;
        let s = g.stride[2];
        // By tap along the width, the outputs of a row whose tap is inside the line.
        let inside: Vec<(usize, usize)> = (0..g.kernel[2])
            .map(|kx| {
                let shift = kx * g.dilation[2];
                let lo = g.begin[2].saturating_sub(shift).div_ceil(s).min(ow);
                (lo, (iw + g.begin[2]).saturating_sub(shift).div_ceil(s).min(ow))
            })
            .collect();
        let taps: Vec<usize> = (0..ow).map(|x| g.valid(2, x).len()).collect();
        for plane in out.planes() {
            for i in 0..out.rows() {
                let row = out.line(plane, i);
                let (z, y) = (i / oh % od, i % oh);
                let (kz, ky) = (g.valid(0, z), g.valid(1, y));
                let mut first = true;
                for (kz, ky) in kz.clone().flat_map(|z| ky.clone().map(move |y| (z, y))) {
                    let (Some(z), Some(y)) = (g.source(0, z, kz), g.source(1, y, ky)) else {
                        continue;
                    };
                    let line = v.line(plane, z * ih + y);
                    // In the first line, outputs from here on have not met an element.
                    let mut fresh = ow;
                    for (kx, &(lo, hi)) in inside.iter().enumerate() {
                        if lo >= hi {
                            continue;
                        }
                        let from = &line[lo * s + kx * g.dilation[2] - g.begin[2]..];
                        let row = &mut row[lo..hi];
                        let mut met = 0;
                        if first {
                            met = fresh.clamp(lo, hi) - lo;
                            let new = row[..met].iter_mut().zip(from.iter().step_by(s));
                            new.for_each(|(o, &e)| *o = start(e));
                            fresh = lo;
                        }
                        let (row, from) = (&mut row[met..], from.get(met * s..).unwrap_or(&[]));
                        match s {
                            1 => row.iter_mut().zip(from).for_each(|(o, &e)| *o = step(*o, e)),
                            2 => {
                                let from = from.iter().step_by(2);
                                row.iter_mut().zip(from).for_each(|(o, &e)| *o = step(*o, e));
                            }
                            _ => {
                                let from = from.iter().step_by(s);
                                row.iter_mut().zip(from).for_each(|(o, &e)| *o = step(*o, e));
                            }
                        }
                    }
                    first = false;
                }
                let (kz, ky) = (kz.len(), ky.len());
                for (o, &kx) in row.iter_mut().zip(&taps) {
                    *o = finish(*o, [kz, ky, kx]);
                }
            }
        }
    }
}

fn prepare(cx: &mut Cx<'_>) -> Result<(Geometry, Vec<usize>), RunError> {
    crop(cx)?;
    let a = cx.input(0)?;
    let g = Geometry::new(cx.op, &a.dims, None)?;
    let dims = g.output_dims(a.dims[0], a.dims[1], a.rank());
    Ok((g, dims))
}

/// Cuts off what `auto_pad` crops; over the rest it pads nothing along that axis.
fn crop(cx: &mut Cx<'_>) -> Result<(), RunError> {
    let a = cx.input(0)?;
    let spatial: Vec<Option<i64>> = a.dims.iter().skip(2).map(|&n| i64::try_from(n).ok()).collect();
    let windows = window::windows(cx.op, &spatial, None)?;
    let mut dims = a.dims.clone();
    let (strides, mut offset) = (a.strides(), 0);
    for (i, w) in windows.into_iter().enumerate() {
        let Some(w) = w.filter(Window::crops) else { continue };
        let (begin, end) = ((-w.begin).max(0) as usize, (-w.end).max(0) as usize);
        offset += begin * strides[2 + i];
        dims[2 + i] = dims[2 + i].saturating_sub(begin + end);
    }
    if dims != a.dims {
        cx.inputs[0] = Some(a.part(dims, offset, &strides).copied());
    }
    Ok(())
}

pub(super) fn max_pool(cx: &mut Cx<'_>) -> Outputs {
    let (g, dims) = prepare(cx)?;
    let a = cx.input(0)?;
    if cx.outputs > 1 {
        return indices(cx, &g, dims);
    }
    fn run<T: Scalar>(
        cx: &Cx<'_>,
        a: &Array,
        g: &Geometry,
        dims: &[usize],
        least: T,
        larger: impl Fn(T, T) -> T,
    ) -> Result<Array, RunError> {
        let mut out = cx.output::<T>(dims, a.dtype)?;
        if g.outputs() == 0 {
            return Ok(out);
        }
        let none = |o: T, n: [usize; 3]| if n.contains(&0) { least } else { o };
        fold(a.lines()?, g, out.lines_mut()?, |x| x, larger, none);
        Ok(out)
    }
    fn plain<T: Scalar>(
        cx: &Cx<'_>,
        a: &Array,
        g: &Geometry,
        dims: &[usize],
    ) -> Result<Array, RunError> {
        let k = cx.key();
        run::<T>(cx, a, g, dims, least(cx), |a, x| a.larger(x, k))
    }
    Ok(vec![match &a.data {
        Buf::F32(_) => plain::<f32>(cx, a, &g, &dims)?,
        Buf::F64(_) => plain::<f64>(cx, a, &g, &dims)?,
        Buf::Field(_) => plain::<Fp>(cx, a, &g, &dims)?,
        Buf::I64(_) => plain::<i64>(cx, a, &g, &dims)?,
        _ => unsupported!("MaxPool of {}", a.dtype),
    }])
}

/// What a window without elements gives.
fn least<T: Scalar>(cx: &Cx<'_>) -> T {
    T::of(f64::NEG_INFINITY, cx.key())
}

/// MaxPool with its second result: where each maximum stands in the whole tensor.
fn indices(cx: &Cx<'_>, g: &Geometry, dims: Vec<usize>) -> Outputs {
    let Op::MaxPool(o) = cx.op else { invalid!("not a MaxPool") };
    let a = cx.input(0)?;
    fn run<T: Scalar>(
        cx: &Cx<'_>,
        v: &[T],
        g: &Geometry,
        dims: &[usize],
        column_major: bool,
    ) -> Result<(Vec<T>, Vec<i64>), RunError> {
        let (mut out, mut at) = (cx.zeros::<T>(dims)?, cx.zeros::<i64>(dims)?);
        let k = cx.key();
        let [id, ih, iw] = g.input;
        let [od, oh, ow] = g.output;
        for i in 0..out.len() {
            let (plane, z, y, x) = (i / (od * oh * ow), i / (oh * ow) % od, i / ow % oh, i % ow);
            let mut best: Option<(T, [usize; 3])> = None;
            for kz in g.valid(0, z) {
                for ky in g.valid(1, y) {
                    for kx in g.valid(2, x) {
                        let p = (g.source(0, z, kz), g.source(1, y, ky), g.source(2, x, kx));
                        let (Some(z), Some(y), Some(x)) = p else { continue };
                        let e = v[((plane * id + z) * ih + y) * iw + x];
                        // The first of equals; in the field, the one that is the maximum.
                        best = match best {
                            Some((b, at)) if b.is_nan() || b.larger(e, k) == b => Some((b, at)),
                            _ => Some((e, [z, y, x])),
                        };
                    }
                }
            }
            if let Some((e, [z, y, x])) = best {
                out[i] = e;
                let within =
                    if column_major { (x * ih + y) * id + z } else { (z * ih + y) * iw + x };
                at[i] = (plane * id * ih * iw + within) as i64;
            }
        }
        Ok((out, at))
    }
    let order = o.storage_order != 0;
    let (data, at) = match &a.data {
        Buf::F32(v) => wrap(run(cx, v, g, &dims, order)?),
        Buf::F64(v) => wrap(run(cx, v, g, &dims, order)?),
        Buf::Field(v) => wrap(run(cx, v, g, &dims, order)?),
        Buf::I64(v) => wrap(run(cx, v, g, &dims, order)?),
        _ => unsupported!("MaxPool of {}", a.dtype),
    };
    let at = Array::new(dims.clone(), at);
    Ok(vec![Array { dims, dtype: a.dtype, data }, at])
}

fn wrap<T: Element>((v, at): (Vec<T>, Vec<i64>)) -> (Buf, Vec<i64>) {
    (T::wrap(v), at)
}

pub(super) fn average_pool(cx: &mut Cx<'_>) -> Outputs {
    let Op::AveragePool(o) = cx.op else { invalid!("not an AveragePool") };
    let (g, dims) = prepare(cx)?;
    let pads = o.count_include_pad != 0;
    fn run<T: Real>(
        cx: &Cx<'_>,
        a: &Array,
        g: &Geometry,
        dims: &[usize],
        pads: bool,
    ) -> Result<Array, RunError> {
        let mut result = cx.output::<T>(dims, a.dtype)?;
        if g.outputs() == 0 {
            return Ok(result);
        }
        fold(
            a.lines()?,
            g,
            result.lines_mut()?,
            |x| T::ZERO.plus(x),
            |a, x| a.plus(x),
            |o, n| {
                if n.contains(&0) { T::ZERO } else { o }
            },
        );
        // Divisors depend on the place only, and differ only near the border.
        let k = cx.key();
        let along = |axis: usize| -> Vec<usize> {
            let end = g.input[axis] + g.begin[axis] + g.end[axis];
            (0..g.output[axis])
                .map(|o| match pads {
                    // Taps beyond the padding, which ceil_mode leads to, do not count.
                    true => {
                        let room = end.saturating_sub(o * g.stride[axis]);
                        g.kernel[axis].min(room.div_ceil(g.dilation[axis]))
                    }
                    false => g.valid(axis, o).len(),
                })
                .collect()
        };
        let (z, y, x) = (along(0), along(1), along(2));
        let oh = g.output[1];
        let mut out = result.lines_mut::<T>()?;
        for (plane, i) in out.planes().flat_map(|p| (0..z.len() * oh).map(move |i| (p, i))) {
            let row = out.line(plane, i);
            let zy = z[i / oh] * y[i % oh];
            let mut last = (0, T::ONE);
            for (o, &n) in row.iter_mut().zip(&x) {
                if last.0 != zy * n {
                    last = (zy * n, T::of((zy * n) as f64, k));
                }
                if zy * n > 0 {
                    *o = o.over(last.1, k);
                }
            }
        }
        Ok(result)
    }
    let a = cx.input(0)?;
    Ok(vec![match &a.data {
        Buf::F32(_) => run::<f32>(cx, a, &g, &dims, pads)?,
        Buf::F64(_) => run::<f64>(cx, a, &g, &dims, pads)?,
        Buf::Field(_) => run::<Fp>(cx, a, &g, &dims, pads)?,
        _ => unsupported!("AveragePool of {}", a.dtype),
    }])
}

pub(super) fn lp_pool(cx: &mut Cx<'_>) -> Outputs {
    let Op::LpPool(o) = cx.op else { invalid!("not an LpPool") };
    let (g, dims) = prepare(cx)?;
    fn run<T: Real>(
        cx: &Cx<'_>,
        a: &Array,
        g: &Geometry,
        dims: &[usize],
        p: i64,
    ) -> Result<Vec<T>, RunError> {
        let mut out = cx.zeros(dims)?;
        let v = a.lines::<T>()?;
        let to = LinesMut::of(&mut out, dims);
        let k = cx.key();
        if g.outputs() == 0 {
            return Ok(out);
        }
        let none = |o: T, n: [usize; 3]| if n.contains(&0) { T::ZERO } else { o };
        let abs = |x: T| x.magnitude(k);
        match p {
            1 => fold(v, g, to, abs, |a, x| a.plus(abs(x)), none),
            2 => {
                fold(v, g, to, |x| x.times(x), |a, x| a.plus(x.times(x)), none);
                out.iter_mut().for_each(|x| *x = T::call(Fun::Sqrt, *x, k));
            }
            p => {
                let (e, inverse) = (T::of(p as f64, k), T::of(1.0 / p as f64, k));
                let f = |x: T| abs(x).power(e, k);
                fold(v, g, to, f, |a, x| a.plus(f(x)), none);
                out.iter_mut().for_each(|x| *x = x.power(inverse, k));
            }
        }
        Ok(out)
    }
    let a = cx.input(0)?;
    let data = match &a.data {
        Buf::F32(_) => f32::wrap(run(cx, a, &g, &dims, o.p)?),
        Buf::F64(_) => f64::wrap(run(cx, a, &g, &dims, o.p)?),
        Buf::Field(_) => Fp::wrap(run(cx, a, &g, &dims, o.p)?),
        _ => unsupported!("LpPool of {}", a.dtype),
    };
    Ok(vec![Array { dims, dtype: a.dtype, data }])
}
