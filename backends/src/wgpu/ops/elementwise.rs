//! Operators on one element of each operand.

use graph_opt_ir::{DType, Op, Tensor};

use super::{Cx, MAX_AXES, Outputs, broadcast, merged, moved, push_axes, spread};
use crate::RunError;
use crate::wgpu::kernel::Kernel;
use crate::wgpu::run::{Slot, on_device, upload};
use crate::wgpu::stream::{Array, Params};

/// What the unary kernel computes for the operator, in terms of `x`; and the values of `a`, `b`.
pub(in crate::wgpu) fn body(op: &Op) -> Option<(&'static str, [f32; 2])> {
    let none = [0.0; 2];
    Some(match op {
        Op::Relu(_) => ("larger(x, 0.0)", none),
        Op::LeakyRelu(o) => ("select(x, x * a, x < 0.0)", [o.alpha, 0.0]),
        Op::ThresholdedRelu(o) => ("select(0.0, x, a < x)", [o.alpha, 0.0]),
        Op::Elu(o) => ("select(x, (exp_(x) - 1.0) * a, x < 0.0)", [o.alpha, 0.0]),
        Op::Selu(o) => {
            ("select((exp_(x) * a - a) * b, x * b, 0.0 < x || is_nan(x))", [o.alpha, o.gamma])
        }
        Op::Celu(o) => ("larger(x, 0.0) + smaller((exp_(x / a) - 1.0) * a, 0.0)", [o.alpha, 0.0]),
        Op::Sigmoid(_) => ("sigmoid_(x)", none),
        Op::HardSigmoid(o) => ("larger(smaller(x * a + b, 1.0), 0.0)", [o.alpha, o.beta]),
        Op::HardSwish(_) => ("x * larger(smaller(x * a + b, 1.0), 0.0)", [1.0 / 6.0, 0.5]),
        Op::Mish(_) => ("x * tanh_(softplus_(x))", none),
        Op::Gelu(o) if o.approximate == "tanh" => {
            ("0.5 * x * (1.0 + tanh_((x + b * (x * x * x)) * a))", [0.797_884_6, 0.044_715])
        }
        Op::Gelu(_) => ("0.5 * x * (1.0 + erf_(x * a))", [std::f32::consts::FRAC_1_SQRT_2, 0.0]),
        Op::Softplus(_) => ("softplus_(x)", none),
        Op::Softsign(_) => ("x / (1.0 + magnitude(x))", none),
        Op::Tanh(_) => ("tanh_(x)", none),
        Op::Exp(_) => ("exp_(x)", none),
        Op::Log(_) => ("log_(x)", none),
        Op::Sqrt(_) => ("sqrt(x)", none),
        Op::Reciprocal(_) => ("1.0 / x", none),
        Op::Abs(_) => ("magnitude(x)", none),
        Op::Neg(_) => ("-x", none),
        Op::Sign(_) => ("select(select(1.0, x, x == 0.0 || is_nan(x)), -1.0, x < 0.0)", none),
        Op::Floor(_) => ("floor(x)", none),
        Op::Ceil(_) => ("ceil(x)", none),
        Op::Round(_) => ("round(x)", none),
        Op::Erf(_) => ("erf_(x)", none),
        Op::Affine(o) => ("a * x + b", [o.alpha, o.beta]),
        _ => return None,
    })
}

/// What the binary kernel computes for the operator, in terms of `x` and `y`.
pub(in crate::wgpu) fn pair(op: &Op) -> Option<&'static str> {
    Some(match op {
        Op::Add(_) | Op::Sum(_) | Op::Mean(_) => "x + y",
        Op::Sub(_) => "x - y",
        Op::Mul(_) => "x * y",
        Op::Div(_) => "x / y",
        Op::Pow(_) => "power(x, y)",
        Op::Max(_) => "larger(x, y)",
        Op::Min(_) => "smaller(x, y)",
        Op::PRelu(_) => "select(x, x * y, x < 0.0)",
        _ => return None,
    })
}

/// Rounds `f32` to 16-bit floats and back, to the nearest, ties to even. Infinities and NaN pass.
const ROUND_F16: &str = "round_f16(x)";
const ROUND_BF16: &str = "round_bf16(x)";

/// Applies the unary kernel with this body.
pub(super) fn apply(
    cx: &mut Cx<'_, '_>,
    body: &str,
    numbers: &[f32],
    x: &Array,
) -> Result<Array, RunError> {
    let y = cx.stream.array(&x.dims, x.dtype)?;
    let kernel = Kernel::unary(&[("BODY", body)]);
    let params = Params::new(&[x.len()])?;
    let params = numbers.iter().fold(params, |p, &n| p.float(n));
    cx.run(&kernel, params, &[x], &y, x.len())?;
    Ok(y)
}

/// The array rounded to its type in the graph.
pub(super) fn rounded(cx: &mut Cx<'_, '_>, a: Array) -> Result<Array, RunError> {
    match a.dtype {
        DType::F16 => apply(cx, ROUND_F16, &[], &a),
        DType::BF16 => apply(cx, ROUND_BF16, &[], &a),
        _ => Ok(a),
    }
}

/// The bodies that no operator names.
#[cfg(test)]
pub(in crate::wgpu) const OTHER_BODIES: &[&str] =
    &[ROUND_F16, ROUND_BF16, LOWER, UPPER, BOTH, QUOTIENT, SQUARE, super::norm::SHIFTED_ROOT];

const LOWER: &str = "larger(x, a)";
const UPPER: &str = "smaller(x, b)";
const BOTH: &str = "smaller(larger(x, a), b)";
const QUOTIENT: &str = "x / a";
const SQUARE: &str = "x * x";

pub(super) fn unary(cx: &mut Cx<'_, '_>) -> Outputs {
    let (Some(_), Some((body, numbers))) = (cx.dims(0), body(cx.op)) else { return Ok(None) };
    let x = cx.array(0)?;
    let y = apply(cx, body, &numbers, &x)?;
    cx.computed(vec![y])
}

/// The one number of a host tensor.
fn scalar(t: &Tensor) -> Option<f32> {
    match t.to_f32s()?[..] {
        [x] => Some(x),
        _ => None,
    }
}

pub(super) fn clip(cx: &mut Cx<'_, '_>) -> Outputs {
    let Op::Clip(o) = cx.op else { return Ok(None) };
    if cx.dims(0).is_none() {
        return Ok(None);
    }
    let mut bounds = [None; 2];
    for (i, attr) in [o.min, o.max].into_iter().enumerate() {
        bounds[i] = match cx.tensor(i + 1)? {
            Some(t) => match scalar(&t) {
                Some(x) => Some(x),
                None => return Ok(None),
            },
            None if cx.opset < 11 => attr,
            None => None,
        };
    }
    let x = cx.array(0)?;
    let y = clipped(cx, bounds, &x)?;
    cx.computed(vec![y])
}

/// The array between bounds.
pub(super) fn clipped(
    cx: &mut Cx<'_, '_>,
    [lo, hi]: [Option<f32>; 2],
    x: &Array,
) -> Result<Array, RunError> {
    let numbers = [lo.unwrap_or(0.0), hi.unwrap_or(0.0)];
    let body = match (lo, hi) {
        (Some(_), Some(_)) => BOTH,
        (Some(_), None) => LOWER,
        (None, Some(_)) => UPPER,
        (None, None) => return Ok(x.clone()),
    };
    apply(cx, body, &numbers, x)
}

pub(super) fn cast(cx: &mut Cx<'_, '_>) -> Outputs {
    let Op::Cast(o) = cx.op else { return Ok(None) };
    let to = DType::from_onnx(o.to);
    let (Some(_), Some(to)) = (cx.dims(0), to.filter(|&t| on_device(t))) else { return Ok(None) };
    let x = Array { dtype: to, ..cx.array(0)? };
    cx.computed(vec![x])
}

/// Both arrays, broadcast, through the binary kernel; `None` if they do not fit.
pub(super) fn zip(
    cx: &mut Cx<'_, '_>,
    body: &str,
    a: &Array,
    b: &Array,
) -> Result<Option<Array>, RunError> {
    let Some(dims) = broadcast(&a.dims, &b.dims) else { return Ok(None) };
    let (sa, sb) = (spread(&a.dims, &dims), spread(&b.dims, &dims));
    let axes = merged((0..dims.len()).map(|i| (dims[i], [sa[i] as i64, sb[i] as i64])));
    if axes.len() > MAX_AXES {
        return Ok(None);
    }
    let y = cx.stream.array(&dims, a.dtype)?;
    let mut params = Params::new(&[y.len(), axes.len(), 0, 0])?;
    push_axes(&mut params, &axes)?;
    let kernel = Kernel::binary(&[("BODY", body)]);
    cx.run(&kernel, params, &[a, b], &y, y.len())?;
    Ok(Some(y))
}

pub(super) fn binary(cx: &mut Cx<'_, '_>) -> Outputs {
    let Some(body) = pair(cx.op) else { return Ok(None) };
    let count = cx.inputs.len();
    let variadic = matches!(cx.op, Op::Sum(_) | Op::Mean(_) | Op::Max(_) | Op::Min(_));
    // Before opset 7, operands were aligned by attributes.
    if cx.opset < 7 || (!variadic && count != 2) || count == 0 {
        return Ok(None);
    }
    let dtype = cx.ty(0).map(|t| t.0);
    if let Op::Pow(_) = cx.op {
        return pow(cx);
    }
    if (0..count).any(|i| cx.dims(i).is_none() || cx.ty(i).map(|t| t.0) != dtype) {
        return Ok(None);
    }
    let mut acc = cx.array(0)?;
    for i in 1..count {
        let b = cx.array(i)?;
        if let Op::PRelu(_) = cx.op
            && broadcast(&acc.dims, &b.dims).as_ref() != Some(&acc.dims)
        {
            return Ok(None);
        }
        match zip(cx, body, &acc, &b)? {
            Some(y) => acc = y,
            None => return Ok(None),
        }
    }
    if let Op::Mean(_) = cx.op {
        acc = apply(cx, QUOTIENT, &[count as f32], &acc)?;
    }
    cx.computed(vec![acc])
}

/// The exponent may be of another type than the base; the exponent 2 stands for a square nearly
/// everywhere.
fn pow(cx: &mut Cx<'_, '_>) -> Outputs {
    let (Some(a), Some((t, b))) = (cx.dims(0), cx.ty(1)) else { return Ok(None) };
    let known = cx.inputs[1].as_ref().is_some_and(|s| s.host.is_some());
    if known && b.iter().product::<usize>() == 1 && b.len() <= a.len() {
        let Some(t) = cx.tensor(1)? else { return Ok(None) };
        let e = scalar(&t).or_else(|| t.to_i64s()?.first().map(|&e| e as f32));
        if e == Some(2.0) {
            let x = cx.array(0)?;
            let y = apply(cx, SQUARE, &[], &x)?;
            return cx.computed(vec![y]);
        }
    }
    let x = cx.array(0)?;
    let e = if on_device(t) {
        cx.array(1)?
    } else {
        let Some(v) = cx.tensor(1)?.and_then(|t| t.to_i64s()) else { return Ok(None) };
        let v: Vec<f32> = v.into_iter().map(|e| e as f32).collect();
        let dims: Vec<u64> = b.iter().map(|&d| d as u64).collect();
        let mut slot = Slot { host: Some(Tensor::f32s(&dims, &v)?), ..Slot::default() };
        upload(cx.stream, &mut slot)?
    };
    match zip(cx, "power(x, y)", &x, &e)? {
        Some(y) => cx.computed(vec![y]),
        None => Ok(None),
    }
}

/// `Where` of floats: the condition comes from the host.
pub(super) fn choose(cx: &mut Cx<'_, '_>) -> Outputs {
    let (Some(a), Some(b), Some((DType::Bool, c))) = (cx.dims(1), cx.dims(2), cx.ty(0)) else {
        return Ok(None);
    };
    let dims = broadcast(&a, &b).and_then(|d| broadcast(&d, &c));
    let (Some(dims), Some(t)) = (dims, cx.tensor(0)?) else { return Ok(None) };
    let (sa, sb, sc) = (spread(&a, &dims), spread(&b, &dims), spread(&c, &dims));
    let axes =
        merged((0..dims.len()).map(|i| (dims[i], [sc[i] as i64, sa[i] as i64, sb[i] as i64])));
    if axes.len() > MAX_AXES {
        return Ok(None);
    }
    let truth: Vec<f32> = t.bytes()?.iter().map(|&b| f32::from(b != 0)).collect();
    let c = cx.stream.upload(bytemuck::cast_slice(&truth))?;
    let (a, b) = (cx.array(1)?, cx.array(2)?);
    let y = cx.stream.array(&dims, a.dtype)?;
    let mut params = Params::new(&[y.len(), axes.len(), 0, 0])?;
    push_axes(&mut params, &axes)?;
    let c = Array { buffer: c, dims: vec![], dtype: DType::F32 };
    cx.run(&Kernel::select(&[]), params, &[&c, &a, &b], &y, y.len())?;
    moved(vec![y])
}
