//! Quantisation, and products of quantised tensors.

use graph_opt_ir::{DType, Op};

use super::conv::{direct, sizes};
use super::matmul::{View, product, shapes};
use crate::RunError;
use crate::cpu::arena::{Lines, LinesMut};
use crate::cpu::array::{Array, Buf, Element};
use crate::cpu::cx::{Cx, Outputs, axis_of, dtype_of, extent, invalid, strides, unsupported};
use crate::cpu::field::{Fp, Key};
use crate::cpu::scalar::Scalar;

/// For every element of `dims`, which element of a scale of this shape it goes with: one for all,
/// one an index of the axis, or one a block along it.
fn places(dims: &[usize], scale: &[usize], axis: i64, block: i64) -> Result<Places, RunError> {
    let n: usize = scale.iter().product();
    if n == 1 && scale.len() <= 1 {
        return Ok(Places { inner: usize::MAX, n: 1, block: 1, blocks: 1 });
    }
    let axis = axis_of(axis, dims.len())?;
    let inner: usize = dims[axis + 1..].iter().product::<usize>().max(1);
    if block == 0 && n == dims[axis] {
        return Ok(Places { inner, n: dims[axis], block: 1, blocks: n });
    }
    let block = extent(block)?;
    let fits = block > 0
        && scale.len() == dims.len()
        && (0..dims.len()).all(|i| match i == axis {
            true => scale[i] == dims[i].div_ceil(block),
            false => scale[i] == dims[i],
        });
    if !fits {
        invalid!("a scale of shape {scale:?} for {dims:?} in blocks of {block}");
    }
    Ok(Places { inner, n: dims[axis], block, blocks: scale[axis] })
}

struct Places {
    inner: usize,
    n: usize,
    block: usize,
    blocks: usize,
}

impl Places {
    fn of(&self, i: usize) -> usize {
        if self.inner == usize::MAX {
            return 0;
        }
        let (along, rest) = (i / self.inner % self.n, i / self.inner / self.n);
        match self.block {
            1 => along,
            b => (rest * self.blocks + along / b) * self.inner + i % self.inner,
        }
    }
}

/// Whole numbers of an operand, narrow types included.
fn wholes(a: &Array) -> Result<Vec<i64>, RunError> {
    use DType::*;
    if matches!(a.dtype, F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F4E2M1 | F8E8M0) {
        unsupported!("arithmetic on {}", a.dtype);
    }
    a.to_i64s()
}

/// Least and greatest number of a whole-number type.
fn limits(t: DType) -> Result<(f64, f64), RunError> {
    Ok(match t {
        DType::U8 => (0.0, 255.0),
        DType::I8 => (-128.0, 127.0),
        DType::U16 => (0.0, 65535.0),
        DType::I16 => (-32768.0, 32767.0),
        DType::U4 => (0.0, 15.0),
        DType::I4 => (-8.0, 7.0),
        DType::I32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
        _ => unsupported!("quantising to {t}"),
    })
}

/// An array of this type of numbers that are within its limits.
fn of_type(dims: Vec<usize>, v: impl Iterator<Item = f64>, t: DType) -> Result<Array, RunError> {
    let a = match t {
        DType::U8 | DType::U4 => Array::new(dims, v.map(|x| x as u8).collect()),
        DType::I8 | DType::I4 => Array::new(dims, v.map(|x| x as i8).collect()),
        DType::U16 => Array::new(dims, v.map(|x| x as u16).collect()),
        DType::I16 => Array::new(dims, v.map(|x| x as i16).collect()),
        DType::I32 => Array::new(dims, v.map(|x| x as i32).collect()),
        _ => unsupported!("quantising to {t}"),
    };
    Ok(Array { dtype: t, ..a })
}

pub(super) fn quantize(cx: &mut Cx<'_>) -> Outputs {
    let Op::QuantizeLinear(o) = cx.op else { invalid!("not a QuantizeLinear") };
    let (a, scale) = (cx.input(0)?, cx.input(1)?);
    let zero = cx.opt(2);
    let to = match (zero, o.output_dtype) {
        (Some(z), _) => z.dtype,
        (None, 0) => DType::U8,
        (None, d) => dtype_of(d)?,
    };
    let (lo, hi) = limits(to)?;
    let at = places(&a.dims, &scale.dims, o.axis, o.block_size)?;
    let zeros = zero.map(wholes).transpose()?;
    if zeros.as_ref().is_some_and(|z| z.len() != scale.len()) {
        invalid!("scale and zero point differ in shape");
    }
    let z = |i: usize| zeros.as_ref().map_or(0, |z| z[at.of(i)]);
    cx.room::<i64>(&a.dims)?;
    let out = match (&a.data, &scale.data) {
        (Buf::F32(x), Buf::F32(s)) => {
            let one = |(i, &x): (usize, &f32)| {
                let q = f64::from((x / s[at.of(i)]).round_ties_even());
                (q + z(i) as f64).clamp(lo, hi)
            };
            of_type(a.dims.clone(), x.iter().enumerate().map(one), to)?
        }
        (Buf::Field(x), Buf::Field(s)) => {
            let key = cx.key().named("quantize").with(to.to_onnx() as u64);
            let one = |(i, &x): (usize, &Fp)| {
                let bits = key.with(s[at.of(i)].get()).with(z(i) as u64).draw(x);
                lo + (bits % (hi - lo + 1.0) as u64) as f64
            };
            of_type(a.dims.clone(), x.iter().enumerate().map(one), to)?
        }
        _ => unsupported!("quantising {} by {}", a.dtype, scale.dtype),
    };
    Ok(vec![out])
}

pub(super) fn dequantize(cx: &mut Cx<'_>) -> Outputs {
    let Op::DequantizeLinear(o) = cx.op else { invalid!("not a DequantizeLinear") };
    let (a, scale) = (cx.input(0)?, cx.input(1)?);
    let at = places(&a.dims, &scale.dims, o.axis, o.block_size)?;
    let zeros = cx.opt(2).map(wholes).transpose()?;
    if zeros.as_ref().is_some_and(|z| z.len() != scale.len()) {
        invalid!("scale and zero point differ in shape");
    }
    let v = wholes(a)?;
    fn run<T: Scalar>(
        cx: &Cx<'_>,
        v: &[i64],
        s: &[T],
        z: Option<&[i64]>,
        at: &Places,
    ) -> Result<Vec<T>, RunError> {
        cx.room::<T>(&[v.len()])?;
        let k = cx.key();
        let one = |(i, &x): (usize, &i64)| {
            let p = at.of(i);
            T::of((x - z.map_or(0, |z| z[p])) as f64, k).times(s[p])
        };
        Ok(v.iter().enumerate().map(one).collect())
    }
    let z = zeros.as_deref();
    let data = match &scale.data {
        Buf::F32(s) => f32::wrap(run(cx, &v, s, z, &at)?),
        Buf::Field(s) => Fp::wrap(run(cx, &v, s, z, &at)?),
        _ => unsupported!("dequantising by {}", scale.dtype),
    };
    Ok(vec![Array { dims: a.dims.clone(), dtype: scale.dtype, data }])
}

/// The scale and the zero point of DynamicQuantizeLinear.
pub(crate) fn dynamic_parameters(x: &[f32]) -> (f32, f32) {
    let (lo, hi) = x.iter().fold((0f32, 0f32), |(l, h), &x| (l.min(x), h.max(x)));
    let scale = if hi == lo { 1.0 } else { (hi - lo) / 255.0 };
    (scale, (0.0 - lo / scale).clamp(0.0, 255.0).round_ties_even())
}

/// An element as DynamicQuantizeLinear has it: a whole number from 0 to 255.
pub(crate) fn dynamic_level(x: f32, scale: f32, zero: f32) -> f32 {
    ((x / scale).round_ties_even() + zero).clamp(0.0, 255.0)
}

pub(super) fn dynamic(cx: &mut Cx<'_>) -> Outputs {
    let a = cx.input(0)?;
    let Buf::F32(x) = &a.data else {
        return Err(RunError::NotInField("DynamicQuantizeLinear of inputs".into()));
    };
    cx.room::<f32>(&a.dims)?;
    let (scale, zero) = dynamic_parameters(x);
    let one = |&x: &f32| f64::from(dynamic_level(x, scale, zero));
    let q = of_type(a.dims.clone(), x.iter().map(one), DType::U8)?;
    Ok(vec![q, Array::new(vec![], vec![scale]), Array::new(vec![], vec![zero as u8])])
}

/// The numbers less their zero point, which is one for all or one an index of the axis.
fn centred(a: &Array, zero: Option<&Array>, axis: usize) -> Result<Vec<i64>, RunError> {
    let v = wholes(a)?;
    let Some(zero) = zero else { return Ok(v) };
    let z = wholes(zero)?;
    let s = strides(&a.dims);
    let at = |i: usize| match z.len() {
        1 => Ok(z[0]),
        n if a.dims.get(axis) == Some(&n) => Ok(z[i / s[axis] % n]),
        n => invalid!("{n} zero points for {:?}", a.dims),
    };
    v.iter().enumerate().map(|(i, x)| Ok(x - at(i)?)).collect()
}

/// Sums as the `i32` that the operators define.
fn sums(dims: Vec<usize>, v: Vec<i64>) -> Array {
    Array::new(dims, v.into_iter().map(|x| x as i32).collect())
}

/// ConvInteger, and QLinearConv, which scales its sums.
pub(super) fn conv(cx: &mut Cx<'_>) -> Outputs {
    let linear = matches!(cx.op, Op::QLinearConv(_));
    let (w_at, xz, wz) = if linear { (3, 2, 5) } else { (1, 2, 3) };
    let (a, w) = (cx.input(0)?, cx.input(w_at)?);
    let (g, s) = sizes(cx.op, &a.dims, &w.dims)?;
    let dims = g.output_dims(s.batch, s.groups * s.cout, a.rank());
    cx.room::<i64>(&a.dims)?;
    cx.room::<i64>(&w.dims)?;
    let (x, wv) = (centred(a, cx.opt(xz), usize::MAX)?, centred(w, cx.opt(wz), 0)?);
    let mut out = cx.zeros::<i64>(&dims)?;
    let bias = match cx.opt(8) {
        Some(b) if linear && b.len() == s.groups * s.cout => Some(b.to_i64s()?),
        Some(b) if linear => invalid!("a bias of shape {:?}", b.dims),
        _ => None,
    };
    let (x, to) = (Lines::of(&x, &a.dims), LinesMut::of(&mut out, &dims));
    direct(cx, x, &wv, bias.as_deref(), &g, s, to)?;
    if !linear {
        return Ok(vec![sums(dims, out)]);
    }
    let channels = s.groups * s.cout;
    let plane = g.outputs().max(1);
    let channel = move |i: usize| i / plane % channels;
    requantize(cx, out, dims, [1, 4, 6, 7], &channel)
}

/// Sums of products to the scale and zero point of the result. `at` are the operands that hold
/// the scales of both factors and the result, and its zero point.
fn requantize(
    cx: &Cx<'_>,
    v: Vec<i64>,
    dims: Vec<usize>,
    at: [usize; 4],
    channel: &dyn Fn(usize) -> usize,
) -> Outputs {
    let zero = cx.input(at[3])?;
    let to = zero.dtype;
    let (lo, hi) = limits(to)?;
    let z = match wholes(zero)?[..] {
        [z] => z,
        _ => invalid!("the result's zero point is not a scalar"),
    };
    if cx.inputs.iter().flatten().any(Array::is_field) {
        let of = |i: usize| cx.input(at[i])?.get::<Fp>();
        let (x, w, y) = (of(0)?, of(1)?, of(2)?);
        let k: Key<'_> = cx.key().named("requantize");
        let one = |(i, v): (usize, i64)| {
            let c = if w.len() == 1 { 0 } else { channel(i) };
            let key = k.with(x[0].get()).with(w[c].get()).with(y[0].get()).with(z as u64);
            lo + (key.with(v as u64).bits % (hi - lo + 1.0) as u64) as f64
        };
        return Ok(vec![of_type(dims, v.into_iter().enumerate().map(one), to)?]);
    }
    let of = |i: usize| cx.input(at[i])?.get::<f32>();
    let (x, w, y) = (of(0)?, of(1)?, of(2)?);
    let (&[x], &[y]) = (x, y) else { unsupported!("scales that are not scalars") };
    if w.is_empty() {
        invalid!("an empty scale");
    }
    let one = |(i, v): (usize, i64)| {
        let w = if w.len() == 1 { w[0] } else { w[channel(i).min(w.len() - 1)] };
        let q = (v as f32 * (x * w / y)).round_ties_even();
        (f64::from(q) + z as f64).clamp(lo, hi)
    };
    Ok(vec![of_type(dims, v.into_iter().enumerate().map(one), to)?])
}

/// MatMulInteger, and QLinearMatMul, which scales its sums.
pub(super) fn matmul(cx: &mut Cx<'_>) -> Outputs {
    let linear = matches!(cx.op, Op::QLinearMatMul(_));
    let (b_at, az, bz) = if linear { (3, 2, 5) } else { (1, 2, 3) };
    let (a, b) = (cx.input(0)?, cx.input(b_at)?);
    let (x, y, batch, dims) = shapes(&a.dims, &b.dims)?;
    cx.room::<i64>(&a.dims)?;
    cx.room::<i64>(&b.dims)?;
    let va = centred(a, cx.opt(az), a.rank().saturating_sub(2))?;
    let vb = centred(b, cx.opt(bz), b.rank().saturating_sub(1))?;
    let (m, k, n) = (x[x.len() - 2], x[x.len() - 1], y[y.len() - 1]);
    let mut out = cx.zeros::<i64>(&dims)?;
    if m * n > 0 {
        let sx = super::binary::spread(&x[..x.len() - 2], &batch);
        let sy = super::binary::spread(&y[..y.len() - 2], &batch);
        let sb = strides(&batch);
        for (i, out) in out.chunks_exact_mut(m * n).enumerate() {
            let at = |s: &[usize]| -> usize {
                (0..batch.len()).map(|d| i / sb[d] % batch[d] * s[d]).sum()
            };
            let a = View { v: &va[at(&sx) * m * k..][..m * k], row: k, col: 1 };
            let b = View { v: &vb[at(&sy) * k * n..][..k * n], row: n, col: 1 };
            product(cx, a, b, (m, k, n), out);
        }
    }
    if !linear {
        return Ok(vec![sums(dims, out)]);
    }
    let column = move |i: usize| i % n.max(1);
    requantize(cx, out, dims, [1, 4, 6, 7], &column)
}
