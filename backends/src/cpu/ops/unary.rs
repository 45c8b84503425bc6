//! Operators of one operand, element by element.

use graph_opt_ir::Op;

use crate::RunError;
use crate::cpu::arena::Elements;
use crate::cpu::array::{Array, Buf, Element, on_number};
use crate::cpu::cx::{Cx, Outputs, invalid, unsupported};
use crate::cpu::field::{Fp, Key};
use crate::cpu::scalar::{Fun, Real, Scalar};
use crate::cpu::simd::{Function, apply, inlined};

pub(super) use super::cast::{convert, within};

/// Applies the function to every element, in place if nobody else reads the array.
pub(super) fn map<T: Element + Copy>(
    cx: &Cx<'_>,
    a: Array,
    f: impl Function<T>,
) -> Result<Array, RunError> {
    // One compiled loop for each function only where it pays.
    if T::WIDE { map_with(cx, a, f) } else { map_with(cx, a, &(|x| f.of(x)) as &dyn Fn(T) -> T) }
}

fn map_with<T: Element + Copy>(
    cx: &Cx<'_>,
    a: Array,
    f: impl Function<T>,
) -> Result<Array, RunError> {
    let mut out = cx.over::<T>(a)?;
    let dims = out.dims.clone();
    out.typed_mut::<T>()?.each(&dims, |run| apply(run, f));
    Ok(out)
}

pub(super) fn unary(cx: &mut Cx<'_>) -> Outputs {
    let a = cx.take(0)?;
    let out = match &a.data {
        Buf::F32(_) => real::<f32>(cx, a)?,
        Buf::F64(_) => real::<f64>(cx, a)?,
        Buf::Field(_) => real::<Fp>(cx, a)?,
        Buf::I64(_) => whole::<i64>(cx, a)?,
        Buf::U64(_) => whole::<u64>(cx, a)?,
        _ => invalid!("{} of {} elements", cx.op.name(), a.dtype),
    };
    Ok(vec![out])
}

fn sign<T: Scalar>(x: T, k: Key<'_>) -> T {
    if x == T::ZERO || x.is_nan() {
        x
    } else if x.negative(k) {
        T::ONE.opposite()
    } else if T::ZERO.less(x, k) {
        T::ONE
    } else {
        T::ZERO
    }
}

/// Operators that are defined over whole numbers too.
fn whole<T: Scalar>(cx: &Cx<'_>, a: Array) -> Result<Array, RunError> {
    let k = cx.key();
    match cx.op {
        Op::Relu(_) => map(cx, a, |x: T| x.larger(T::ZERO, k)),
        Op::Neg(_) => map(cx, a, |x: T| x.opposite()),
        Op::Abs(_) => map(cx, a, |x: T| x.magnitude(k)),
        Op::Sign(_) => map(cx, a, |x: T| sign(x, k)),
        _ => unsupported!("{} of {} elements", cx.op.name(), a.dtype),
    }
}

fn real<T: Real>(cx: &Cx<'_>, a: Array) -> Result<Array, RunError> {
    let k = cx.key();
    // What operators define beyond their attributes are numbers of f32.
    let of = |x: f64| T::of(if T::NATIVE { x } else { f64::from(x as f32) }, k);
    macro_rules! call {
        ($f:ident) => {
            map::<T>(cx, a, inlined!(k, [], |x, k| T::call(Fun::$f, x, k)))
        };
    }
    let (one, zero) = (T::ONE, T::ZERO);
    match cx.op {
        Op::Exp(_) => call!(Exp),
        Op::Log(_) => call!(Log),
        Op::Sqrt(_) => call!(Sqrt),
        Op::Tanh(_) => call!(Tanh),
        Op::Sigmoid(_) => call!(Sigmoid),
        Op::Erf(_) => call!(Erf),
        Op::Softplus(_) => call!(Softplus),
        Op::Floor(_) => call!(Floor),
        Op::Ceil(_) => call!(Ceil),
        Op::Round(_) => call!(Round),
        Op::Sin(_) => call!(Sin),
        Op::Cos(_) => call!(Cos),
        Op::Tan(_) => call!(Tan),
        Op::Asin(_) => call!(Asin),
        Op::Acos(_) => call!(Acos),
        Op::Atan(_) => call!(Atan),
        Op::Sinh(_) => call!(Sinh),
        Op::Cosh(_) => call!(Cosh),
        Op::Asinh(_) => call!(Asinh),
        Op::Acosh(_) => call!(Acosh),
        Op::Atanh(_) => call!(Atanh),
        Op::Reciprocal(_) => map(cx, a, |x: T| one.over(x, k)),
        Op::LeakyRelu(o) => {
            let alpha = of(o.alpha.into());
            // The product in any case: a loop without branches.
            map(cx, a, |x: T| {
                let y = x.times(alpha);
                if x.negative(k) { y } else { x }
            })
        }
        Op::ThresholdedRelu(o) => {
            let alpha = of(o.alpha.into());
            map(cx, a, |x: T| if alpha.less(x, k) { x } else { zero })
        }
        Op::Elu(o) => {
            let alpha = of(o.alpha.into());
            let f = inlined!(k, [alpha], |x, k| {
                let y = T::call(Fun::Exp, x, k).minus(T::ONE).times(alpha);
                if x.negative(k) { y } else { x }
            });
            map::<T>(cx, a, f)
        }
        Op::Selu(o) => {
            let (alpha, gamma) = (of(o.alpha.into()), of(o.gamma.into()));
            let f = inlined!(k, [alpha, gamma], |x, k| {
                let y = T::call(Fun::Exp, x, k).times(alpha).minus(alpha).times(gamma);
                if T::ZERO.less(x, k) || x.is_nan() { x.times(gamma) } else { y }
            });
            map::<T>(cx, a, f)
        }
        Op::Celu(o) => {
            let alpha = of(o.alpha.into());
            let f = inlined!(k, [alpha], |x, k| {
                let y = T::call(Fun::Exp, x.over(alpha, k), k).minus(T::ONE).times(alpha);
                x.larger(T::ZERO, k).plus(y.smaller(T::ZERO, k))
            });
            map::<T>(cx, a, f)
        }
        Op::HardSigmoid(o) => {
            let (alpha, beta) = (of(o.alpha.into()), of(o.beta.into()));
            map(cx, a, |x: T| x.times(alpha).plus(beta).smaller(one, k).larger(zero, k))
        }
        Op::HardSwish(_) => {
            let (alpha, beta) = (of(f64::from(1.0f32 / 6.0)), of(0.5));
            let gate = |x: T| x.times(alpha).plus(beta).smaller(one, k).larger(zero, k);
            map(cx, a, |x: T| x.times(gate(x)))
        }
        Op::Mish(_) => {
            let f = inlined!(k, [], |x, k| {
                x.times(T::call(Fun::Tanh, T::call(Fun::Softplus, x, k), k))
            });
            map::<T>(cx, a, f)
        }
        Op::Softsign(_) => map(cx, a, |x: T| x.over(one.plus(x.magnitude(k)), k)),
        Op::Gelu(o) if o.approximate == "tanh" => {
            let (half, c, d) = (of(0.5), of(0.797_884_560_802_865_4), of(0.044_715));
            let f = inlined!(k, [half, c, d], |x, k| {
                let inner = x.plus(d.times(x.times(x).times(x))).times(c);
                half.times(x).times(T::ONE.plus(T::call(Fun::Tanh, inner, k)))
            });
            map::<T>(cx, a, f)
        }
        Op::Gelu(_) => {
            let (half, c) = (of(0.5), of(std::f64::consts::FRAC_1_SQRT_2));
            let f = inlined!(k, [half, c], |x, k| {
                half.times(x).times(T::ONE.plus(T::call(Fun::Erf, x.times(c), k)))
            });
            map::<T>(cx, a, f)
        }
        _ => whole::<T>(cx, a),
    }
}

pub(super) fn clip(cx: &mut Cx<'_>) -> Outputs {
    let Op::Clip(o) = cx.op else { invalid!("not a Clip") };
    let bound = |attr: Option<f32>, i: usize| match (cx.opt(i), attr) {
        (None, Some(x)) if cx.opset < 11 => Some(Array::new(vec![], vec![x])),
        (a, _) => a.cloned(),
    };
    let (lo, hi) = (bound(o.min, 1), bound(o.max, 2));
    let a = cx.take(0)?;
    fn scalar<T: Scalar>(b: Option<Array>, k: Key<'_>) -> Result<Option<T>, RunError> {
        let Some(b) = b else { return Ok(None) };
        // Before opset 11 the bounds are attributes, native f32 whatever they are to bound.
        match (b.get::<T>(), b.len()) {
            (Ok(&[x]), _) => Ok(Some(x)),
            (Err(_), 1) => Ok(b.to_f64s()?.first().map(|&x| T::of(x, k))),
            (_, n) => invalid!("a bound has {n} elements"),
        }
    }
    fn run<T: Scalar>(
        cx: &Cx<'_>,
        a: Array,
        (lo, hi): (Option<Array>, Option<Array>),
    ) -> Result<Array, RunError> {
        let k = cx.key();
        match (scalar::<T>(lo, k)?, scalar::<T>(hi, k)?) {
            (Some(l), Some(h)) => map(cx, a, |x: T| x.larger(l, k).smaller(h, k)),
            (Some(l), None) => map(cx, a, |x: T| x.larger(l, k)),
            (None, Some(h)) => map(cx, a, |x: T| x.smaller(h, k)),
            (None, None) => cx.over::<T>(a),
        }
    }
    fn typed<T: Scalar>(
        _: &Elements<T>,
    ) -> fn(&Cx<'_>, Array, (Option<Array>, Option<Array>)) -> Result<Array, RunError> {
        run::<T>
    }
    let f = on_number!(&a.data, v => typed(v), else invalid!("Clip of {}", a.dtype));
    Ok(vec![f(cx, a, (lo, hi))?])
}

fn infinite(o: &graph_opt_ir::op::IsInf, x: f64) -> bool {
    x.is_infinite() && if x > 0.0 { o.detect_positive != 0 } else { o.detect_negative != 0 }
}

/// What the operator says of numbers that floats may have and elements do not.
fn drawn_tests(cx: &Cx<'_>, v: &[Fp], test: impl Fn(f64) -> bool) -> Vec<bool> {
    let k = cx.key();
    let drawn = k.named(cx.op.name());
    let one = |&x: &Fp| k.known(x).map_or_else(|| drawn.draw(x) & 3 == 0, &test);
    v.iter().map(one).collect()
}

/// Operators whose result is a truth value.
pub(super) fn test(cx: &mut Cx<'_>) -> Outputs {
    let a = cx.input(0)?;
    cx.room::<bool>(&a.dims)?;
    let v: Vec<bool> = match (cx.op, &a.data) {
        (Op::Not(_), Buf::Bool(v)) => v.iter().map(|x| !x).collect(),
        // Of constants it is known; of other elements it is drawn.
        (Op::IsNaN(_), Buf::Field(v)) => drawn_tests(cx, v, f64::is_nan),
        (Op::IsInf(o), Buf::Field(v)) => drawn_tests(cx, v, |x| infinite(o, x)),
        (Op::IsNaN(_), Buf::F32(v)) => v.iter().map(|x| x.is_nan()).collect(),
        (Op::IsNaN(_), Buf::F64(v)) => v.iter().map(|x| x.is_nan()).collect(),
        (Op::IsInf(o), _) => a.to_f64s()?.into_iter().map(|x| infinite(o, x)).collect(),
        _ => invalid!("{} of {} elements", cx.op.name(), a.dtype),
    };
    Ok(vec![Array::new(a.dims.clone(), v)])
}
