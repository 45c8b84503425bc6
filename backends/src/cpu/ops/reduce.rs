//! Operators that reduce axes. Every result is one left fold over its elements in ascending
//! order, from the first axis to the last.

use graph_opt_ir::Op;

use crate::RunError;
use crate::cpu::array::{Array, Buf, Element, on_number};
use crate::cpu::cx::{Cx, Outputs, axis_of, invalid, unsupported};
use crate::cpu::field::{Fp, Key};
use crate::cpu::scalar::{Fun, Real, Scalar};
use crate::cpu::simd::{Loop, apply, apply_pairs, inlined, widest_for};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    L1,
    L2,
    SumSquare,
    LogSum,
    LogSumExp,
}

/// Folds over the marked axes; the result has the unmarked axes in order.
///
/// `start` makes the accumulator from the first element.
fn fold<T: Scalar>(
    v: &[T],
    dims: &[usize],
    over: &[bool],
    out: usize,
    start: impl Fn(T) -> T,
    step: impl Fn(T, T) -> T,
) -> Vec<T> {
    let mut acc = vec![T::ZERO; out];
    if v.is_empty() {
        return acc;
    }
    // Neighbouring axes of one kind count as one.
    let mut groups: Vec<(usize, bool)> = vec![];
    for (&d, &r) in dims.iter().zip(over) {
        match groups.last_mut() {
            _ if d == 1 => {}
            Some((n, kind)) if *kind == r => *n *= d,
            _ => groups.push((d, r)),
        }
    }
    if groups.is_empty() {
        groups.push((1, false));
    }
    // Where the result stands that the element at each index of the outer groups belongs to.
    let (len, reduced) = groups.pop().unwrap_or((1, false));
    let mut place = vec![0; groups.len()];
    let mut scale = if reduced { 1 } else { len };
    for (i, &(n, r)) in groups.iter().enumerate().rev() {
        if !r {
            place[i] = scale;
            scale *= n;
        }
    }
    widest_for::<T>(Fold {
        v,
        len,
        reduced,
        groups: &groups,
        place: &place,
        start,
        step,
        acc: &mut acc,
    });
    acc
}

/// Folds rows of elements into their places in the result.
struct Fold<'a, T, S, F> {
    v: &'a [T],
    /// Elements of a row, and whether they make one of the result.
    len: usize,
    reduced: bool,
    /// Extents of the axes around a row, and whether they are reduced.
    groups: &'a [(usize, bool)],
    /// How far apart the results of neighbours along these axes stand.
    place: &'a [usize],
    start: S,
    step: F,
    acc: &'a mut [T],
}

impl<T: Copy, S: Fn(T) -> T, F: Fn(T, T) -> T> Loop for Fold<'_, T, S, F> {
    #[inline(always)]
    fn run(self) {
        let Self { v, len, reduced, groups, place, start, step, acc } = self;
        let mut index = vec![0; groups.len()];
        let mut at = 0;
        for row in v.chunks_exact(len) {
            let first = groups.iter().zip(&index).all(|(g, &i)| !g.1 || i == 0);
            if reduced {
                let mut rest = row.iter();
                let mut s = acc[at];
                if first && let Some(&x) = rest.next() {
                    s = start(x);
                }
                for &x in rest {
                    s = step(s, x);
                }
                acc[at] = s;
            } else {
                let acc = &mut acc[at..at + len];
                if first {
                    acc.iter_mut().zip(row).for_each(|(a, &x)| *a = start(x));
                } else {
                    acc.iter_mut().zip(row).for_each(|(a, &x)| *a = step(*a, x));
                }
            }
            for i in (0..groups.len()).rev() {
                index[i] += 1;
                at += place[i];
                if index[i] < groups[i].0 {
                    break;
                }
                at -= place[i] * groups[i].0;
                index[i] = 0;
            }
        }
    }
}

fn reduced<T: Real>(
    cx: &Cx<'_>,
    a: &Array,
    over: &[bool],
    dims: &[usize],
    kind: Kind,
) -> Result<Vec<T>, RunError> {
    let (k, v) = (cx.key(), a.get::<T>()?);
    let n = cx.room::<T>(dims)?;
    let whole: usize = a.dims.iter().zip(over).filter(|x| *x.1).map(|x| *x.0).product();
    if whole == 0 {
        return Ok(vec![empty(kind, k); n]);
    }
    let magnitude = |x: T| x.magnitude(k);
    let zero = T::ZERO;
    let same = |x: T| x;
    let run =
        |start: &dyn Fn(T) -> T, step: &dyn Fn(T, T) -> T| fold(v, &a.dims, over, n, start, step);
    let log = inlined!(k, [], |x, k| T::call(Fun::Log, x, k));
    Ok(match kind {
        Kind::Sum | Kind::Mean | Kind::LogSum => {
            let mut s = fold(v, &a.dims, over, n, |x| zero.plus(x), |a, x| a.plus(x));
            if kind == Kind::Mean {
                let count = T::of(whole as f64, k);
                s.iter_mut().for_each(|x| *x = x.over(count, k));
            }
            if kind == Kind::LogSum {
                apply(&mut s, log);
            }
            s
        }
        Kind::Max => fold(v, &a.dims, over, n, same, |a, x| a.larger(x, k)),
        Kind::Min => fold(v, &a.dims, over, n, same, |a, x| a.smaller(x, k)),
        Kind::Prod => run(&same, &|a, x| a.times(x)),
        Kind::L1 => run(&|x| zero.plus(magnitude(x)), &|a, x| a.plus(magnitude(x))),
        Kind::L2 | Kind::SumSquare => {
            let mut s = if cx.env.fused {
                run(&|x| zero.fold::<true>(x, x), &|a, x| a.fold::<true>(x, x))
            } else {
                run(&|x| zero.fold::<false>(x, x), &|a, x| a.fold::<false>(x, x))
            };
            if kind == Kind::L2 {
                apply(&mut s, |x: T| T::call(Fun::Sqrt, x, k));
            }
            s
        }
        Kind::LogSumExp => {
            // Relative to the greatest, so that nothing overflows; in the field to the mean, so
            // that a shift of all elements is one of the result.
            let top = if T::NATIVE {
                fold(v, &a.dims, over, n, same, |a, x| a.larger(x, k))
            } else {
                let share = T::ONE.over(T::of(whole as f64, k), k);
                let s = fold(v, &a.dims, over, n, same, |a, x| a.plus(x));
                s.into_iter().map(|x| x.times(share)).collect()
            };
            let kept: Vec<usize> =
                a.dims.iter().zip(over).map(|(&d, &r)| if r { 1 } else { d }).collect();
            let top = Array::new(kept, top);
            let below = super::binary::zip(cx, a.clone(), &top, |x: T, m: T| x.minus(m))?;
            let mut e = below.get::<T>()?.to_vec();
            apply(&mut e, inlined!(k, [], |x, k| T::call(Fun::Exp, x, k)));
            let mut s = fold(&e, &a.dims, over, n, |x| zero.plus(x), |a, x| a.plus(x));
            apply(&mut s, log);
            apply_pairs(&mut s, top.get::<T>()?, |s, m| s.plus(m));
            s
        }
    })
}

/// Result of reducing no elements.
fn empty<T: Scalar>(kind: Kind, k: Key<'_>) -> T {
    match kind {
        Kind::Prod => T::ONE,
        Kind::Max | Kind::LogSum | Kind::LogSumExp => T::of(f64::NEG_INFINITY, k),
        Kind::Min => T::of(f64::INFINITY, k),
        Kind::Mean => T::ZERO.over(T::ZERO, k),
        _ => T::ZERO,
    }
}

/// Reduction of whole numbers.
fn whole<T: Scalar>(
    cx: &Cx<'_>,
    a: &Array,
    over: &[bool],
    dims: &[usize],
    kind: Kind,
) -> Result<Vec<T>, RunError> {
    let (k, v) = (cx.key(), a.get::<T>()?);
    let n = cx.room::<T>(dims)?;
    let count: usize = a.dims.iter().zip(over).filter(|x| *x.1).map(|x| *x.0).product();
    if count == 0 {
        let x = match kind {
            Kind::Sum | Kind::L1 | Kind::SumSquare => T::ZERO,
            Kind::Prod => T::ONE,
            // The least and the greatest number: conversion from floats saturates.
            Kind::Max => T::of(f64::NEG_INFINITY, k),
            Kind::Min => T::of(f64::INFINITY, k),
            _ => invalid!("reduction of no elements"),
        };
        return Ok(vec![x; n]);
    }
    let abs = |x: T| x.magnitude(k);
    let run =
        |start: &dyn Fn(T) -> T, step: &dyn Fn(T, T) -> T| fold(v, &a.dims, over, n, start, step);
    Ok(match kind {
        Kind::Sum => run(&|x| x, &|a, x| a.plus(x)),
        Kind::Mean => {
            let count = T::of(count as f64, k);
            let s = run(&|x| x, &|a, x| a.plus(x));
            s.into_iter().map(|x| x.over(count, k)).collect()
        }
        Kind::Max => run(&|x| x, &|a, x| a.larger(x, k)),
        Kind::Min => run(&|x| x, &|a, x| a.smaller(x, k)),
        Kind::Prod => run(&|x| x, &|a, x| a.times(x)),
        Kind::L1 => run(&abs, &|a, x| a.plus(abs(x))),
        Kind::SumSquare => run(&|x| x.times(x), &|a, x| a.plus(x.times(x))),
        _ => unsupported!("{} of {}", cx.op.name(), a.dtype),
    })
}

fn run(cx: &Cx<'_>, a: &Array, over: &[bool], keep: bool, kind: Kind) -> Result<Array, RunError> {
    let kept = |(&d, &r): (&usize, &bool)| if r { keep.then_some(1) } else { Some(d) };
    let dims: Vec<usize> = a.dims.iter().zip(over).filter_map(kept).collect();
    macro_rules! call {
        ($f:ident, $t:ty) => {
            <$t as Element>::wrap($f::<$t>(cx, a, over, &dims, kind)?)
        };
    }
    let data = match &a.data {
        Buf::F32(_) => call!(reduced, f32),
        Buf::F64(_) => call!(reduced, f64),
        Buf::Field(_) => call!(reduced, Fp),
        Buf::I64(_) => call!(whole, i64),
        Buf::U64(_) => call!(whole, u64),
        _ => unsupported!("{} of {}", cx.op.name(), a.dtype),
    };
    Ok(Array { dims, dtype: a.dtype, data })
}

pub(super) fn reduce(cx: &mut Cx<'_>) -> Outputs {
    macro_rules! parts {
        ($($op:ident $kind:ident $since:literal;)*) => {
            match cx.op {
                $(Op::$op(o) => {
                    (Kind::$kind, &o.axes, o.keepdims != 0, o.noop_with_empty_axes != 0, $since)
                })*
                _ => invalid!("{} is no reduction", cx.op.name()),
            }
        };
    }
    // Second, the version since which the axes are an operand.
    let (kind, axes, keep, noop, since) = parts! {
        ReduceSum Sum 13; ReduceMean Mean 18; ReduceMax Max 18; ReduceMin Min 18;
        ReduceProd Prod 18; ReduceL1 L1 18; ReduceL2 L2 18; ReduceSumSquare SumSquare 18;
        ReduceLogSum LogSum 18; ReduceLogSumExp LogSumExp 18;
    };
    let a = cx.input(0)?;
    let axes = if cx.opset < since { axes.clone() } else { cx.opt_ints(1)? };
    let axes = axes.unwrap_or_default();
    let mut over = vec![axes.is_empty() && !noop; a.rank()];
    for x in axes {
        over[axis_of(x, a.rank())?] = true;
    }
    if let Buf::Bool(v) = &a.data {
        // Since opset 20, of truth values: all and any.
        let v: Vec<i64> = v.iter().map(|&b| b.into()).collect();
        let a = Array::new(a.dims.clone(), v);
        let r = run(cx, &a, &over, keep, kind)?;
        // Of nothing, the least and the greatest number stand for false and true.
        let v: Vec<bool> = r.get::<i64>()?.iter().map(|&x| x > 0).collect();
        return Ok(vec![Array::new(r.dims, v)]);
    }
    Ok(vec![run(cx, a, &over, keep, kind)?])
}

/// Pooling over all spatial axes.
pub(super) fn global(cx: &mut Cx<'_>) -> Outputs {
    let a = cx.input(0)?;
    if a.rank() < 2 {
        invalid!("rank {}", a.rank());
    }
    let over: Vec<bool> = (0..a.rank()).map(|i| i >= 2).collect();
    let kind = match cx.op {
        Op::GlobalMaxPool(_) => Kind::Max,
        Op::GlobalAveragePool(_) => Kind::Mean,
        Op::GlobalLpPool(o) if o.p == 1 => Kind::L1,
        Op::GlobalLpPool(o) if o.p == 2 => Kind::L2,
        _ => unsupported!("this exponent"),
    };
    Ok(vec![run(cx, a, &over, true, kind)?])
}

/// ArgMax and ArgMin: the first (or last) of equal elements.
pub(super) fn arg(cx: &mut Cx<'_>) -> Outputs {
    let (axis, keep, last, least) = match cx.op {
        Op::ArgMax(o) => (o.axis, o.keepdims, o.select_last_index, false),
        Op::ArgMin(o) => (o.axis, o.keepdims, o.select_last_index, true),
        _ => invalid!("{} is no ArgMax", cx.op.name()),
    };
    let a = cx.input(0)?;
    let axis = axis_of(axis, a.rank())?;
    let n = a.dims[axis];
    if n == 0 {
        invalid!("axis {axis} is empty");
    }
    let mut dims = a.dims.clone();
    dims[axis] = 1;
    cx.room::<i64>(&dims)?;
    let inner: usize = a.dims[axis + 1..].iter().product();
    fn find<T: Scalar>(
        v: &[T],
        n: usize,
        inner: usize,
        last: bool,
        least: bool,
        k: Key<'_>,
    ) -> Vec<i64> {
        let better = |x: T, y: T| if least { x.less(y, k) } else { y.less(x, k) };
        let mut out = vec![];
        for block in v.chunks_exact((n * inner).max(1)) {
            for i in 0..inner {
                let mut best = 0;
                for j in 1..n {
                    let (x, y) = (block[j * inner + i], block[best * inner + i]);
                    if better(x, y) || (last && x.same(y, k)) {
                        best = j;
                    }
                }
                out.push(best as i64);
            }
        }
        out
    }
    let k = cx.key();
    let v = on_number!(&a.data, v => find(v, n, inner, last != 0, least, k), else {
        invalid!("{} of {}", cx.op.name(), a.dtype)
    });
    if keep == 0 {
        dims.remove(axis);
    }
    Ok(vec![Array::new(dims, v)])
}

/// CumSum and CumProd.
pub(super) fn cumulate(cx: &mut Cx<'_>) -> Outputs {
    let (exclusive, reverse) = match cx.op {
        Op::CumSum(o) => (o.exclusive != 0, o.reverse != 0),
        Op::CumProd(o) => (o.exclusive != 0, o.reverse != 0),
        _ => invalid!("{} does not cumulate", cx.op.name()),
    };
    let a = cx.input(0)?;
    let axis = axis_of(cx.int(1)?, a.rank())?;
    let n = a.dims[axis];
    let inner: usize = a.dims[axis + 1..].iter().product();
    fn run<T: Scalar>(
        cx: &Cx<'_>,
        v: &[T],
        dims: &[usize],
        (n, inner): (usize, usize),
        (exclusive, reverse): (bool, bool),
    ) -> Result<Vec<T>, RunError> {
        let (start, step): (T, fn(T, T) -> T) = match cx.op {
            Op::CumProd(_) => (T::ONE, T::times),
            _ => (T::ZERO, T::plus),
        };
        let mut out = cx.zeros::<T>(dims)?;
        let size = (n * inner).max(1);
        for (v, out) in v.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
            for i in 0..inner {
                let mut s = start;
                for j in 0..n {
                    let at = if reverse { n - 1 - j } else { j } * inner + i;
                    let next = step(s, v[at]);
                    out[at] = if exclusive { s } else { next };
                    s = next;
                }
            }
        }
        Ok(out)
    }
    let how = (exclusive, reverse);
    let data = on_number!(&a.data, v => Element::wrap(run(cx, v, &a.dims, (n, inner), how)?), else {
        invalid!("{} of {}", cx.op.name(), a.dtype)
    });
    Ok(vec![Array { dims: a.dims.clone(), dtype: a.dtype, data }])
}
