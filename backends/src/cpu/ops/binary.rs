//! Operators of several operands, element by element, broadcast against each other.

use graph_opt_ir::Op;

use crate::RunError;
use crate::cpu::arena::{Elements, pairs};
use crate::cpu::array::{Array, Buf, Element, Text, on_any, on_number};
use crate::cpu::cx::{Cx, Outputs, invalid, strides, unsupported};
use crate::cpu::field::Fp;
use crate::cpu::scalar::{Real, Scalar};
use crate::cpu::simd::{Loop, apply, apply_pairs, widest_for};

/// Shape of the broadcast operands: ONNX, "Multidirectional Broadcasting".
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, RunError> {
    let rank = a.len().max(b.len());
    let at = |d: &[usize], i: usize| (i + d.len()).checked_sub(rank).map_or(1, |j| d[j]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => invalid!("{a:?} and {b:?} do not broadcast"),
        })
        .collect()
}

/// Strides of a whole operand within the broadcast shape: 0 along axes that it is repeated over.
pub(crate) fn spread(from: &[usize], to: &[usize]) -> Vec<usize> {
    repeated(from, &strides(from), to)
}

fn repeated(from: &[usize], s: &[usize], to: &[usize]) -> Vec<usize> {
    let skip = to.len() - from.len();
    let stride = |i: usize| if from[i] == 1 { 0 } else { s[i] };
    (0..to.len()).map(|i| if i < skip { 0 } else { stride(i - skip) }).collect()
}

/// As [`spread`], wherever the operand stands.
fn steps(a: &Array, to: &[usize]) -> Vec<usize> {
    repeated(&a.dims, &a.strides(), to)
}

/// Applies the function to the broadcast operands.
pub(super) fn zip<T: Element + Copy, U: Element + Copy>(
    cx: &Cx<'_>,
    a: Array,
    b: &Array,
    f: impl Fn(T, T) -> U,
) -> Result<Array, RunError> {
    let dims = broadcast(&a.dims, &b.dims)?;
    let mut v = Vec::with_capacity(cx.room::<U>(&dims)?);
    let mut extend = |x: &[T], y: &[T]| widest_for::<T>(Zip { x, y, f: &f, out: &mut v });
    if a.dims == b.dims && a.is_contiguous() && b.is_contiguous() {
        extend(a.get::<T>()?, b.get::<T>()?);
        return Ok(Array::new(dims, v));
    }
    let (x, y) = (a.typed::<T>()?, b.typed::<T>()?);
    let (sa, sb) = (steps(&a, &dims), steps(b, &dims));
    pairs(&dims, (x, &sa), (y, &sb), extend);
    Ok(Array::new(dims, v))
}

/// Appends the function of pairs; one of the runs may be a single element that is repeated.
struct Zip<'a, T, U, F> {
    x: &'a [T],
    y: &'a [T],
    f: &'a F,
    out: &'a mut Vec<U>,
}

impl<T: Copy, U, F: Fn(T, T) -> U> Loop for Zip<'_, T, U, F> {
    #[inline(always)]
    fn run(self) {
        let Self { x, y, f, out } = self;
        match (x, y) {
            (x, &[y]) => out.extend(x.iter().map(|&x| f(x, y))),
            (&[x], y) => out.extend(y.iter().map(|&y| f(x, y))),
            (x, y) => out.extend(x.iter().zip(y).map(|(&x, &y)| f(x, y))),
        }
    }
}

/// As [`zip`] with a result of the operands' type, in place where that is possible.
fn fold<T: Element + Copy>(
    cx: &Cx<'_>,
    a: Array,
    b: Array,
    f: impl Fn(T, T) -> T,
) -> Result<Array, RunError> {
    // One compiled loop for each function only where it pays.
    if T::WIDE { fold_with(cx, a, b, f) } else { fold_with(cx, a, b, &f as &dyn Fn(T, T) -> T) }
}

fn fold_with<T: Element + Copy>(
    cx: &Cx<'_>,
    mut a: Array,
    mut b: Array,
    f: impl Fn(T, T) -> T,
) -> Result<Array, RunError> {
    let dims = broadcast(&a.dims, &b.dims)?;
    let dtype = if a.is_field() { a.dtype } else { T::DTYPE };
    let planned = cx.has_target();
    let free = |x: &mut Array| x.is_target() || T::unshared(&mut x.data).is_some();
    let left = a.dims == dims && (planned && !cx.is_target(&b) || free(&mut a));
    if !left && b.dims == dims && (planned || free(&mut b)) {
        return Ok(Array { dtype, ..over(cx, b, &a, |y, x| f(x, y))? });
    }
    if left {
        return over(cx, a, &b, f);
    }
    let out = Array { dtype, ..zip(cx, a, &b, f)? };
    if planned { cx.over::<T>(out) } else { Ok(out) }
}

/// `f(a, b)` where `a` stands, or where the result is to.
fn over<T: Element + Copy>(
    cx: &Cx<'_>,
    a: Array,
    b: &Array,
    f: impl Fn(T, T) -> T,
) -> Result<Array, RunError> {
    let steps = steps(b, &a.dims);
    let mut out = cx.over::<T>(a)?;
    let dims = out.dims.clone();
    let (v, b) = (out.typed_mut::<T>()?, b.typed::<T>()?);
    v.combine(&dims, b, &steps, |x, y| match *y {
        [y] => apply(x, |x| f(x, y)),
        _ => apply_pairs(x, y, &f),
    });
    Ok(out)
}

/// Before opset 7, operands were aligned by attributes; files of opset 7 still carry them.
fn no_legacy(cx: &Cx<'_>) -> Result<(), RunError> {
    let legacy = match cx.op {
        Op::Add(o) => o.broadcast,
        Op::Sub(o) => o.broadcast,
        Op::Mul(o) => o.broadcast,
        Op::Div(o) => o.broadcast,
        Op::Pow(o) => o.broadcast,
        _ => 0,
    };
    if legacy != 0 && cx.opset < 7 {
        unsupported!("the attribute broadcast of opset {}", cx.opset);
    }
    Ok(())
}

pub(super) fn arithmetic(cx: &mut Cx<'_>) -> Outputs {
    no_legacy(cx)?;
    let mut acc = cx.take(0)?;
    let count = cx.inputs.len();
    let variadic = matches!(cx.op, Op::Sum(_) | Op::Mean(_) | Op::Max(_) | Op::Min(_));
    if !variadic && count != 2 {
        invalid!("{} operands instead of 2", count);
    }
    if matches!(cx.op, Op::Pow(_)) {
        let b = cx.take(1)?;
        return Ok(vec![power(cx, acc, b)?]);
    }
    if !variadic && matches!(&acc.data, Buf::Bool(_)) {
        invalid!("{} of truth values", cx.op.name());
    }
    if count == 1 {
        // Nothing to fold, but the result must stand where it was planned.
        fn typed<T: Element + Copy>(
            _: &Elements<T>,
        ) -> fn(&Cx<'_>, Array) -> Result<Array, RunError> {
            |cx, a| cx.over::<T>(a)
        }
        let dtype = acc.dtype;
        let f = on_number!(&acc.data, v => typed(v), else invalid!("{} of {dtype}", cx.op.name()));
        acc = f(cx, acc)?;
    }
    for i in 1..count {
        let b = cx.take(i)?;
        if std::mem::discriminant(&acc.data) != std::mem::discriminant(&b.data) {
            invalid!("{} of {} and {}", cx.op.name(), acc.dtype, b.dtype);
        }
        acc = match &acc.data {
            Buf::F32(_) => real::<f32>(cx, acc, b)?,
            Buf::F64(_) => real::<f64>(cx, acc, b)?,
            Buf::Field(_) => real::<Fp>(cx, acc, b)?,
            Buf::I64(_) => number::<i64>(cx, acc, b)?,
            Buf::U64(_) => number::<u64>(cx, acc, b)?,
            _ => invalid!("{} of {} elements", cx.op.name(), acc.dtype),
        };
    }
    if matches!(cx.op, Op::Mean(_)) {
        fn divide<T: Scalar>(cx: &Cx<'_>, a: Array, n: f64) -> Result<Array, RunError> {
            let (k, n) = (cx.key(), T::of(n, cx.key()));
            super::unary::map(cx, a, |x: T| x.over(n, k))
        }
        acc = match &acc.data {
            Buf::F32(_) => divide::<f32>(cx, acc, count as f64)?,
            Buf::F64(_) => divide::<f64>(cx, acc, count as f64)?,
            Buf::Field(_) => divide::<Fp>(cx, acc, count as f64)?,
            _ => invalid!("Mean of {} elements", acc.dtype),
        };
    }
    Ok(vec![acc])
}

fn number<T: Scalar>(cx: &Cx<'_>, a: Array, b: Array) -> Result<Array, RunError> {
    let k = cx.key();
    match cx.op {
        Op::Add(_) | Op::Sum(_) | Op::Mean(_) => fold(cx, a, b, |x: T, y: T| x.plus(y)),
        Op::Sub(_) => fold(cx, a, b, |x: T, y: T| x.minus(y)),
        Op::Mul(_) => fold(cx, a, b, |x: T, y: T| x.times(y)),
        Op::Div(_) => fold(cx, a, b, |x: T, y: T| x.over(y, k)),
        Op::Max(_) => fold(cx, a, b, |x: T, y: T| x.larger(y, k)),
        Op::Min(_) => fold(cx, a, b, |x: T, y: T| x.smaller(y, k)),
        Op::PRelu(_) => {
            if broadcast(&a.dims, &b.dims)? != a.dims {
                invalid!("slope {:?} does not broadcast to {:?}", b.dims, a.dims);
            }
            fold(cx, a, b, |x: T, y: T| {
                let z = x.times(y);
                if x.negative(k) { z } else { x }
            })
        }
        Op::Mod(o) => fold(cx, a, b, |x: T, y: T| {
            if y == T::ZERO {
                return T::ZERO;
            }
            let r = x.minus(x.over(y, k).times(y));
            let other = r != T::ZERO && r.negative(k) != y.negative(k);
            if o.fmod == 0 && other { r.plus(y) } else { r }
        }),
        _ => unsupported!("{} of {}", cx.op.name(), a.dtype),
    }
}

fn real<T: Real>(cx: &Cx<'_>, a: Array, b: Array) -> Result<Array, RunError> {
    let k = cx.key();
    match cx.op {
        Op::Mod(o) => fold(cx, a, b, |x: T, y: T| x.modulo(y, o.fmod != 0, k)),
        _ => number::<T>(cx, a, b),
    }
}

/// `Pow`: the exponent may be of another type than the base, and whole exponents are products.
fn power(cx: &Cx<'_>, a: Array, b: Array) -> Result<Array, RunError> {
    let k = cx.key();
    match &a.data {
        Buf::Field(_) => {
            if b.is_field() {
                return fold(cx, a, b, |x: Fp, e: Fp| x.power(e, k));
            }
            // The exponent may be of whole numbers.
            let e = b.to_f64s()?.into_iter().map(|e| k.embed(e)).collect();
            let b = Array { dims: b.dims, dtype: a.dtype, data: Fp::wrap(e) };
            let dtype = a.dtype;
            let p = fold(cx, a, b, |x: Fp, e: Fp| x.power(e, k))?;
            Ok(Array { dtype, ..p })
        }
        Buf::F32(_) => {
            let b = super::unary::convert(cx, b, graph_opt_ir::DType::F32)?;
            // The exponent 2 stands for a square nearly everywhere.
            if b.get::<f32>()? == [2.0] && b.rank() <= a.rank() {
                return super::unary::map(cx, a, |x: f32| x * x);
            }
            fold(cx, a, b, |x: f32, y: f32| x.power(y, k))
        }
        Buf::F64(_) => {
            let b = super::unary::convert(cx, b, graph_opt_ir::DType::F64)?;
            fold(cx, a, b, |x: f64, y: f64| x.power(y, k))
        }
        Buf::I64(_) => {
            let to = a.dtype;
            let wide = |a| super::unary::convert(cx, a, graph_opt_ir::DType::F64);
            let (a, b) = (wide(a)?, wide(b)?);
            let p = fold(cx, a, b, |x: f64, y: f64| x.power(y, k))?;
            super::unary::convert(cx, p, to)
        }
        _ => invalid!("Pow of {} elements", a.dtype),
    }
}

/// The array repeated to this shape.
pub(super) fn expand(cx: &Cx<'_>, a: &Array, dims: &[usize]) -> Result<Array, RunError> {
    let s: Vec<isize> = steps(a, dims).into_iter().map(|s| s as isize).collect();
    super::layout::strided(cx, a, dims.to_vec(), &s, 0)
}

pub(super) fn compare(cx: &mut Cx<'_>) -> Outputs {
    let (a, b) = (cx.take(0)?, cx.take(1)?);
    if let (Op::Equal(_), Buf::Bool(_)) = (cx.op, &a.data) {
        return Ok(vec![zip(cx, a, &b, |x: bool, y: bool| x == y)?]);
    }
    if let (Op::Equal(_), Buf::Str(_)) = (cx.op, &a.data) {
        let dims = broadcast(&a.dims, &b.dims)?;
        let (a, b) = (expand(cx, &a, &dims)?, expand(cx, &b, &dims)?);
        let all = a.get::<Text>()?.iter().zip(b.get::<Text>()?);
        let v = all.map(|(x, y)| x == y).collect();
        return Ok(vec![Array::new(dims, v)]);
    }
    fn run<T: Scalar>(cx: &Cx<'_>, a: Array, b: &Array) -> Result<Array, RunError> {
        let k = cx.key();
        let test = |f: &dyn Fn(T, T) -> bool| zip(cx, a, b, f);
        match cx.op {
            Op::Equal(_) => test(&|x: T, y: T| x.same(y, k)),
            Op::Less(_) => test(&|x: T, y: T| x.less(y, k)),
            Op::LessOrEqual(_) => test(&|x: T, y: T| x.less(y, k) || x.same(y, k)),
            Op::Greater(_) => test(&|x: T, y: T| y.less(x, k)),
            _ => test(&|x: T, y: T| y.less(x, k) || x.same(y, k)),
        }
    }
    fn typed<T: Scalar>(_: &[T]) -> fn(&Cx<'_>, Array, &Array) -> Result<Array, RunError> {
        run::<T>
    }
    let f = on_number!(&a.data, v => typed(v), else unsupported!("comparison of {}", a.dtype));
    Ok(vec![f(cx, a, &b)?])
}

pub(super) fn logic(cx: &mut Cx<'_>) -> Outputs {
    let (a, b) = (cx.take(0)?, cx.take(1)?);
    let v = match cx.op {
        Op::And(_) => zip(cx, a, &b, |x: bool, y: bool| x && y),
        Op::Or(_) => zip(cx, a, &b, |x: bool, y: bool| x || y),
        _ => zip(cx, a, &b, |x: bool, y: bool| x != y),
    };
    Ok(vec![v?])
}

/// `Where`: elements of the second or third operand, by the first.
pub(super) fn choose(cx: &mut Cx<'_>) -> Outputs {
    let (c, a, b) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let dims = broadcast(&broadcast(&a.dims, &b.dims)?, &c.dims)?;
    let (c, a, b) = (expand(cx, c, &dims)?, expand(cx, a, &dims)?, expand(cx, b, &dims)?);
    fn run<T: Element>(c: &[bool], a: &[T], b: &Array) -> Result<Vec<T>, RunError> {
        let all = c.iter().zip(a.iter().zip(b.get::<T>()?));
        Ok(all.map(|(&c, (x, y))| if c { x.clone() } else { y.clone() }).collect())
    }
    let c = c.get::<bool>()?;
    let data = on_any!(&a.data, v => Element::wrap(run(c, v, &b)?));
    Ok(vec![Array { dims, dtype: a.dtype, data }])
}
