//! Quantisation, and products of quantised tensors.

use graph_opt_ir::{DType, Op};

use super::conv::{direct, single, sizes};
use super::matmul::{View, product, shapes};
use crate::RunError;
use crate::cpu::arena::{Lines, LinesMut};
use crate::cpu::array::{Array, Buf, Element};
use crate::cpu::cx::{Cx, Outputs, axis_of, dtype_of, extent, invalid, strides, unsupported};
use crate::cpu::field::{Fp, Key};
use crate::cpu::scalar::Scalar;
use crate::cpu::simd::{Function, Loop, apply, apply_pairs, widest};
use crate::cpu::small::{self, Rounding};
use crate::cpu::spare;

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
    /// How many neighbours share a scale, at least.
    fn run(&self) -> usize {
        if self.block == 1 { self.inner } else { 1 }
    }

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
    if small::is_float(a.dtype) {
        unsupported!("arithmetic on {}", a.dtype);
    }
    a.to_i64s()
}

/// The numbers of an operand that is quantised, or native.
fn numbers(a: &Array) -> Result<Vec<f64>, RunError> {
    small::decoded(a).map_or_else(|| a.to_f64s(), Ok)
}

/// Elements of up to 16 bits as floats, which have them and their differences exactly.
fn levels(a: &Array) -> Option<Vec<f32>> {
    fn all<T: Copy + Into<f32>>(v: &[T]) -> Option<Vec<f32>> {
        let mut all = spare::unset(v.len());
        widest(Each { from: v, to: &mut all, f: |x: T| x.into() });
        Some(all)
    }
    match (&a.data, a.dtype) {
        (Buf::U8(v), DType::U8) => all(v),
        (Buf::I8(v), DType::I8) => all(v),
        (Buf::U16(v), DType::U16) => all(v),
        (Buf::I16(v), DType::I16) => all(v),
        _ => None,
    }
}

/// The codes of a narrow type, which are whole numbers within its limits, or NaN, which becomes 0.
fn narrowed(dims: Vec<usize>, codes: &[f32], t: DType) -> Result<Array, RunError> {
    fn all<T: Element>(dims: Vec<usize>, codes: &[f32], f: impl Fn(i32) -> T) -> Array {
        let mut all = spare::unset(codes.len());
        widest(Each { from: codes, to: &mut all, f: |x: f32| f(x as i32) });
        Array::new(dims, all)
    }
    Ok(match t {
        DType::U8 => all(dims, codes, |x| x as u8),
        DType::I8 => all(dims, codes, |x| x as i8),
        DType::U16 => all(dims, codes, |x| x as u16),
        DType::I16 => all(dims, codes, |x| x as i16),
        _ => unsupported!("quantising to {t}"),
    })
}

/// A function of each element.
struct Each<'a, T, U, F> {
    from: &'a [T],
    to: &'a mut [U],
    f: F,
}

impl<T: Copy, U, F: Fn(T) -> U> Loop for Each<'_, T, U, F> {
    #[inline(always)]
    fn run(self) {
        for (o, &x) in self.to.iter_mut().zip(self.from) {
            *o = (self.f)(x);
        }
    }
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
        DType::U2 => (0.0, 3.0),
        DType::I2 => (-2.0, 1.0),
        DType::I32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
        _ => unsupported!("quantising to {t}"),
    })
}

/// An array of this type of numbers that are within its limits.
fn of_type(dims: Vec<usize>, v: impl Iterator<Item = f64>, t: DType) -> Result<Array, RunError> {
    let a = match t {
        DType::U8 => Array::new(dims, v.map(|x| x as u8).collect()),
        DType::I8 => Array::new(dims, v.map(|x| x as i8).collect()),
        DType::U16 => Array::new(dims, v.map(|x| x as u16).collect()),
        DType::I16 => Array::new(dims, v.map(|x| x as i16).collect()),
        DType::I32 => Array::new(dims, v.map(|x| x as i32).collect()),
        t if small::is_whole(t) => return small::array(dims, v.map(|x| x as i8).collect(), t),
        _ => unsupported!("quantising to {t}"),
    };
    Ok(Array { dtype: t, ..a })
}

/// The number as one of this type of floats.
fn rounded(x: f64, to: DType) -> f64 {
    match to {
        DType::F64 => x,
        DType::F16 => small::to_f16(x).to_f64(),
        DType::BF16 => small::to_bf16(x).to_f64(),
        _ => f64::from(x as f32),
    }
}

/// The zero points, one for each scale.
fn zeros(cx: &Cx<'_>) -> Result<Option<Vec<f64>>, RunError> {
    let zeros = cx.opt(2).map(numbers).transpose()?;
    if zeros.as_ref().is_some_and(|z| Some(z.len()) != cx.opt(1).map(Array::len)) {
        invalid!("scale and zero point differ in shape");
    }
    Ok(zeros)
}

pub(super) fn quantize(cx: &mut Cx<'_>) -> Outputs {
    let Op::QuantizeLinear(o) = cx.op else { invalid!("not a QuantizeLinear") };
    let (a, scale) = (cx.input(0)?, cx.input(1)?);
    let to = match (cx.opt(2), o.output_dtype) {
        (Some(z), _) => z.dtype,
        (None, 0) => DType::U8,
        (None, d) => dtype_of(d)?,
    };
    let at = places(&a.dims, &scale.dims, o.axis, o.block_size)?;
    let zeros = zeros(cx)?;
    let z = |i: usize| zeros.as_ref().map_or(0.0, |z| z[at.of(i)]);
    // The type in which it is divided; a scale of few bits has none of its own. Before version 23 nothing is
    // said of it, and runtimes widen halves.
    let precision = match (o.precision, scale.dtype) {
        (0, DType::F8E8M0) => a.dtype,
        (0, DType::F16 | DType::BF16) if cx.opset < 23 => DType::F32,
        (0, t) => t,
        (t, _) => dtype_of(t)?,
    };
    if !precision.is_float() {
        unsupported!("quantising in {precision}");
    }
    cx.room::<i64>(&a.dims)?;
    let is_small = small::is_float(to);
    let rounding = Rounding { saturate: o.saturate != 0, ..Rounding::DEFAULT };
    if let Buf::Field(x) = &a.data {
        let k = cx.key();
        let s: Vec<Fp> = match &scale.data {
            Buf::Field(s) => s.to_vec(),
            _ => numbers(scale)?.into_iter().map(|x| k.embed(x)).collect(),
        };
        let named = k.named("quantize").with(to.to_onnx() as u64);
        let named = named.with(precision.to_onnx() as u64 * 32 + rounding.key(to));
        let bits =
            |(i, &x): (usize, &Fp)| named.with(s[at.of(i)].get()).with(z(i).to_bits()).draw(x);
        let all = x.iter().enumerate().map(bits);
        if is_small {
            return Ok(vec![super::cast::drawn_ints(all, a.dims.clone(), to)?]);
        }
        let (lo, hi) = limits(to)?;
        let one = |b: u64| lo + (b % (hi - lo + 1.0) as u64) as f64;
        return Ok(vec![of_type(a.dims.clone(), all.map(one), to)?]);
    }
    let (lo, hi) = limits(to).unwrap_or_default();
    let narrow = matches!(to, DType::U8 | DType::I8 | DType::U16 | DType::I16);
    if let (true, DType::F32, Buf::F32(x), Buf::F32(s)) = (narrow, precision, &a.data, &scale.data)
    {
        let mut codes = spare::unset::<f32>(x.len());
        codes.copy_from_slice(x);
        let run = at.run().min(codes.len()).max(1);
        for (i, codes) in codes.chunks_mut(run).enumerate() {
            apply(codes, Quantise { scale: s[at.of(i * run)], zero: z(i * run) as f32, lo, hi });
        }
        let out = narrowed(a.dims.clone(), &codes, to)?;
        spare::give(codes);
        return Ok(vec![out]);
    }
    let (x, s) = (numbers(a)?, numbers(scale)?);
    let quotient = |(i, &x): (usize, &f64)| {
        let s = s[at.of(i)];
        match precision {
            DType::F64 => x / s,
            // The quotient of two narrow floats rounds to its type also by way of f32.
            t => rounded((rounded(x, t) as f32 / rounded(s, t) as f32).into(), t),
        }
    };
    let all = x.iter().enumerate().map(quotient).enumerate();
    if is_small {
        let code = |(i, q)| small::encode(q + z(i), to, rounding) as i8;
        return Ok(vec![small::array(a.dims.clone(), all.map(code).collect(), to)?]);
    }
    let (lo, hi) = limits(to)?;
    let one = |(i, q): (usize, f64)| (q.round_ties_even() + z(i)).clamp(lo, hi);
    Ok(vec![of_type(a.dims.clone(), all.map(one), to)?])
}

/// The level of a float, as a float; exact for types of up to 16 bits.
#[derive(Clone, Copy)]
struct Quantise {
    scale: f32,
    zero: f32,
    lo: f64,
    hi: f64,
}

impl Function<f32> for Quantise {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        ((x / self.scale).round_ties_even() + self.zero).clamp(self.lo as f32, self.hi as f32)
    }
}

pub(super) fn dequantize(cx: &mut Cx<'_>) -> Outputs {
    let Op::DequantizeLinear(o) = cx.op else { invalid!("not a DequantizeLinear") };
    let (a, scale) = (cx.input(0)?, cx.input(1)?);
    let at = places(&a.dims, &scale.dims, o.axis, o.block_size)?;
    let to = match o.output_dtype {
        0 => scale.dtype,
        d => dtype_of(d)?,
    };
    if !to.is_float() {
        unsupported!("dequantising to {to}");
    }
    cx.room::<f64>(&a.dims)?;
    let z = zeros(cx)?;
    let z = z.as_deref();
    if let (Some(mut levels), Buf::F32(s)) = (levels(a), &scale.data) {
        let run = at.run().min(levels.len()).max(1);
        for (i, levels) in levels.chunks_mut(run).enumerate() {
            let p = at.of(i * run);
            let (scale, zero) = (s[p], z.map_or(0.0, |z| z[p]) as f32);
            apply(levels, |x: f32| (x - zero) * scale);
        }
        let out = Array::new(a.dims.clone(), levels);
        return Ok(vec![super::cast::convert(cx, out, to)?]);
    }
    let v = numbers(a)?;
    fn run<T: Scalar>(cx: &Cx<'_>, v: &[f64], s: &[T], z: Option<&[f64]>, at: &Places) -> Vec<T> {
        let k = cx.key();
        let one = |(i, &x): (usize, &f64)| {
            let p = at.of(i);
            T::of(x - z.map_or(0.0, |z| z[p]), k).times(s[p])
        };
        v.iter().enumerate().map(one).collect()
    }
    let dims = a.dims.clone();
    if let Buf::Field(s) = &scale.data {
        let v = Fp::wrap(run(cx, &v, s, z, &at));
        let out = Array { dims, dtype: scale.dtype, data: v };
        return Ok(vec![super::cast::convert(cx, out, to)?]);
    }
    let out = if scale.dtype == DType::F64 {
        Array::new(dims, run(cx, &v, scale.get::<f64>()?, z, &at))
    } else {
        let s: Vec<f32> = numbers(scale)?.into_iter().map(|x| x as f32).collect();
        Array::new(dims, run(cx, &v, &s, z, &at))
    };
    Ok(vec![super::cast::convert(cx, out, to)?])
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
    let channels = s.groups * s.cout;
    let bias = match cx.opt(8) {
        Some(b) if linear && b.len() == channels => Some(b.to_i64s()?),
        Some(b) if linear => invalid!("a bias of shape {:?}", b.dims),
        _ => None,
    };
    let plane = g.outputs().max(1);
    let rows = wv.chunks((s.cin * g.taps()).max(1));
    let most = rows.map(|r| r.iter().map(|w| w.unsigned_abs()).sum()).max();
    let mut out;
    if in_f32(&x, most.unwrap_or(0)) {
        let (x, w) = (floats(&x), floats(&wv));
        let mut sums = cx.zeros::<f32>(&dims)?;
        let to = LinesMut::of(&mut sums, &dims);
        single(cx, Lines::of(&x, &a.dims), &w, None, &g, s, to)?;
        out = cx.zeros::<i64>(&dims)?;
        out.iter_mut().zip(sums).for_each(|(o, s)| *o = s as i64);
    } else {
        out = cx.zeros::<i64>(&dims)?;
        let to = LinesMut::of(&mut out, &dims);
        direct(cx, Lines::of(&x, &a.dims), &wv, None, &g, s, to)?;
    }
    for (i, row) in out.chunks_mut(plane).enumerate() {
        if let Some(b) = &bias {
            row.iter_mut().for_each(|x| *x += b[i % channels]);
        }
    }
    if !linear {
        return Ok(vec![sums(dims, out)]);
    }
    requantize(cx, out, dims, [1, 4, 6, 7], (plane, channels))
}

/// Whether `f32` holds every partial sum of the products exactly, in any order of summation. `factors` is the largest
/// sum of weight magnitudes of an output; times the largest element it bounds all partial sums.
fn in_f32(v: &[i64], factors: u64) -> bool {
    let most = v.iter().map(|x| x.unsigned_abs()).max().unwrap_or(0);
    most.checked_mul(factors).is_some_and(|n| n <= 1 << f32::MANTISSA_DIGITS)
}

fn floats(v: &[i64]) -> Vec<f32> {
    v.iter().map(|&x| x as f32).collect()
}

/// Sums of products to the scale and zero point of the result. `at` are the operands that hold
/// the scales of both factors and the result, and its zero point; there are `channels` of them, each
/// of so many neighbours.
fn requantize(
    cx: &Cx<'_>,
    v: Vec<i64>,
    dims: Vec<usize>,
    at: [usize; 4],
    (neighbours, channels): (usize, usize),
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
            let c = if w.len() == 1 { 0 } else { i / neighbours % channels };
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
    let scales: Vec<f32> = w.iter().map(|w| x * w / y).collect();
    let mut codes = floats(&v);
    if let [scale] = scales[..] {
        apply(&mut codes, |v: f32| (v * scale).round_ties_even());
    } else if neighbours == 1 && scales.len() == channels {
        let row = |v: f32, scale: f32| (v * scale).round_ties_even();
        codes.chunks_mut(channels.max(1)).for_each(|c| apply_pairs(c, &scales, row));
    } else {
        for (i, codes) in codes.chunks_mut(neighbours.max(1)).enumerate() {
            let scale = scales[(i % channels).min(scales.len() - 1)];
            apply(codes, |v: f32| (v * scale).round_ties_even());
        }
    }
    let one = |q: f32| (f64::from(q) + z as f64).clamp(lo, hi);
    Ok(vec![of_type(dims, codes.into_iter().map(one), to)?])
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
    let columns = |b: &[i64]| {
        let mut sums = vec![0u64; n];
        for row in b.chunks_exact(n.max(1)) {
            sums.iter_mut().zip(row).for_each(|(s, x)| *s = s.saturating_add(x.unsigned_abs()));
        }
        sums.into_iter().max().unwrap_or(0)
    };
    let factors = vb.chunks_exact((k * n).max(1)).map(columns).max().unwrap_or(0);
    let single = in_f32(&va, factors).then(|| (floats(&va), floats(&vb)));
    if m * n > 0 {
        let sx = super::binary::spread(&x[..x.len() - 2], &batch);
        let sy = super::binary::spread(&y[..y.len() - 2], &batch);
        let sb = strides(&batch);
        for (i, out) in out.chunks_exact_mut(m * n).enumerate() {
            let at = |s: &[usize]| -> usize {
                (0..batch.len()).map(|d| i / sb[d] % batch[d] * s[d]).sum()
            };
            let (left, right) = (at(&sx) * m * k, at(&sy) * k * n);
            if let Some((va, vb)) = &single {
                let mut sums = vec![0f32; m * n];
                let a = View { v: &va[left..][..m * k], row: k, col: 1 };
                let b = View { v: &vb[right..][..k * n], row: n, col: 1 };
                product(cx, a, b, (m, k, n), &mut sums);
                out.iter_mut().zip(sums).for_each(|(o, s)| *o = s as i64);
            } else {
                let a = View { v: &va[left..][..m * k], row: k, col: 1 };
                let b = View { v: &vb[right..][..k * n], row: n, col: 1 };
                product(cx, a, b, (m, k, n), out);
            }
        }
    }
    if !linear {
        return Ok(vec![sums(dims, out)]);
    }
    requantize(cx, out, dims, [1, 4, 6, 7], (1, n.max(1)))
}
