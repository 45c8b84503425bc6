//! Convolutions. Every output is one fold over (channel of the group, taps in row-major order)
//! from +0, padding taking part as multiplications by 0; the bias is added at the end.

use graph_opt_ir::Op;

use super::unfold::{BEYOND, Planes, Unfold, Windows};
use crate::RunError;
use crate::cpu::arena::{Lines, LinesMut};
use crate::cpu::array::{Array, Buf, Element};
use crate::cpu::cx::{Cx, Outputs, extent, invalid, unsupported};
use crate::cpu::field::Fp;
use crate::cpu::gemm::{self, Columns, Finish, Strided, runs};
use crate::cpu::scalar::Scalar;
use crate::cpu::simd::{Loop, widest_float};
use crate::cpu::spare;
use crate::cpu::threads::parts;
use crate::geometry::Geometry;

/// Extents of a convolution beside the windows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub batch: usize,
    pub groups: usize,
    /// Input channels of a group.
    pub cin: usize,
    /// Output channels of a group.
    pub cout: usize,
}

pub(super) fn conv(cx: &mut Cx<'_>) -> Outputs {
    let a = cx.input(0)?;
    let out = match &a.data {
        Buf::F32(_) => typed::<f32>(cx, a, single)?,
        Buf::F64(_) => typed::<f64>(cx, a, direct)?,
        Buf::Field(_) => typed::<Fp>(cx, a, direct)?,
        _ => unsupported!("{} of {}", cx.op.name(), a.dtype),
    };
    let Op::FusedConv(o) = cx.op else { return Ok(vec![out]) };
    // ONNX Runtime: the sum before the activation.
    let out = match cx.opt(3) {
        Some(z) => {
            let op = Op::from(graph_opt_ir::op::Sum {});
            let inputs = vec![Some(out), Some(z.clone())];
            let mut sum = Cx {
                op: &op,
                opset: 13,
                inputs,
                outputs: 1,
                env: cx.env,
                packs: None,
                target: None.into(),
            };
            super::binary::arithmetic(&mut sum)?.remove(0)
        }
        None => out,
    };
    activate(cx, &o.activation, o.activation_params.as_deref(), out)
}

/// The activation of a fused operator.
fn activate(cx: &Cx<'_>, name: &str, params: Option<&[f32]>, a: Array) -> Outputs {
    use graph_opt_ir::op;
    let p = |i: usize| params.and_then(|p| p.get(i).copied());
    let activation: Op = match name {
        "" => return Ok(vec![a]),
        "Relu" => op::Relu {}.into(),
        "Sigmoid" => op::Sigmoid {}.into(),
        "Tanh" => op::Tanh {}.into(),
        "LeakyRelu" => op::LeakyRelu { alpha: p(0).unwrap_or(0.01) }.into(),
        "HardSigmoid" => {
            op::HardSigmoid { alpha: p(0).unwrap_or(0.2), beta: p(1).unwrap_or(0.5) }.into()
        }
        "Clip" => {
            let op = Op::from(op::Clip { min: p(0), max: p(1) });
            let mut cx = Cx {
                op: &op,
                opset: 6,
                inputs: vec![Some(a)],
                outputs: 1,
                env: cx.env,
                packs: None,
                target: None.into(),
            };
            return super::unary::clip(&mut cx);
        }
        other => unsupported!("the activation {other}"),
    };
    let mut cx = Cx {
        op: &activation,
        opset: 13,
        inputs: vec![Some(a)],
        outputs: 1,
        env: cx.env,
        packs: None,
        target: None.into(),
    };
    super::unary::unary(&mut cx)
}

/// Windows and extents, checked against each other.
pub(super) fn sizes(op: &Op, x: &[usize], w: &[usize]) -> Result<(Geometry, Sizes), RunError> {
    let group = match op {
        Op::Conv(o) => o.group,
        Op::FusedConv(o) => o.group,
        Op::ConvInteger(o) => o.group,
        Op::QLinearConv(o) => o.group,
        Op::ConvTranspose(o) => o.group,
        _ => invalid!("{} is no convolution", op.name()),
    };
    let groups = extent(group)?;
    let g = Geometry::new(op, x, Some(w))?;
    let transposed = matches!(op, Op::ConvTranspose(_));
    let (c, per) = if transposed { (w[0], x[1]) } else { (x[1], w[0]) };
    if groups == 0 || c % groups != 0 || per % groups != 0 {
        invalid!("{groups} groups for {x:?} and weights {w:?}");
    }
    let (cin, cout) = if transposed { (x[1] / groups, w[1]) } else { (w[1], w[0] / groups) };
    if cin.checked_mul(groups) != Some(x[1]) || (transposed && w[0] != x[1]) {
        invalid!("{} channels, but weights {w:?} in {groups} groups", x[1]);
    }
    Ok((g, Sizes { batch: x[0], groups, cin, cout }))
}

fn bias<'a, T: Element>(cx: &'a Cx<'_>, i: usize, n: usize) -> Result<Option<&'a [T]>, RunError> {
    match cx.opt(i) {
        Some(b) if b.len() == n => Ok(Some(b.get::<T>()?)),
        Some(b) => invalid!("a bias of shape {:?} for {n} channels", b.dims),
        None => Ok(None),
    }
}

/// In `f32`: a matrix product, or directly where the groups are too small for one.
pub(super) fn single(
    cx: &Cx<'_>,
    v: Lines<'_, f32>,
    w: &[f32],
    bias: Option<&[f32]>,
    g: &Geometry,
    s: Sizes,
    mut out: LinesMut<'_, f32>,
) -> Result<(), RunError> {
    if s.groups > 1 && s.cout < 8 {
        return direct(cx, v, w, bias, g, s, out);
    }
    let k = s.cin * g.taps();
    if s.cout * g.outputs() == 0 {
        return Ok(());
    }
    // Packing copies the weights.
    cx.room::<f32>(&[s.cout, k])?;
    let pointwise = g.taps() == 1 && g.stride == [1; 3] && g.begin == [0; 3] && g.end == [0; 3];
    let planes = v.merged().filter(|_| pointwise);
    let rows = Windows::rows(g);
    let unfold = Unfold::new(g, rows);
    for group in 0..s.groups {
        let w = &w[group * s.cout * k..][..s.cout * k];
        let weights = cx.rows(Strided { data: w, row: k, column: 1 }, s.cout, k);
        let finish = match bias {
            Some(b) => Finish::AddRow(&b[group * s.cout..][..s.cout]),
            None => Finish::Nothing,
        };
        for b in 0..s.batch {
            let at = b * s.groups + group;
            let first = at * s.cin;
            let windows = Windows { data: v, first, unfold: &unfold, rows };
            let planes = planes.map(|data| Planes { data, first });
            let columns: &dyn Columns = planes.as_ref().map_or(&windows, |p| p);
            let out = out.matrix(at * s.cout, s.cout);
            gemm::gemm(&weights, columns, out, finish, cx.env.how());
        }
    }
    Ok(())
}

/// What computes a convolution: operands, then the result.
type Compute<T> = fn(
    &Cx<'_>,
    Lines<'_, T>,
    &[T],
    Option<&[T]>,
    &Geometry,
    Sizes,
    LinesMut<'_, T>,
) -> Result<(), RunError>;

fn typed<T: Scalar>(cx: &Cx<'_>, a: &Array, compute: Compute<T>) -> Result<Array, RunError> {
    let w = cx.input(1)?;
    let (g, s) = sizes(cx.op, &a.dims, &w.dims)?;
    let dims = g.output_dims(s.batch, s.groups * s.cout, a.rank());
    let bias = bias(cx, 2, s.groups * s.cout)?;
    let mut out = cx.output::<T>(&dims, a.dtype)?;
    compute(cx, a.lines()?, w.get()?, bias, &g, s, out.lines_mut()?)?;
    Ok(out)
}

/// Outputs computed side by side: eights of them, so many that sums of one hide the latency of others'.
const MANY: usize = BEYOND / 8;
const SOME: usize = 4;

/// Plane by plane, for small groups and for all types but `f32`.
pub(super) fn direct<T: Scalar>(
    cx: &Cx<'_>,
    v: Lines<'_, T>,
    w: &[T],
    bias: Option<&[T]>,
    g: &Geometry,
    s: Sizes,
    out: LinesMut<'_, T>,
) -> Result<(), RunError> {
    if g.outputs() == 0 || s.cout == 0 {
        return Ok(());
    }
    let work = out.planes().len() * g.outputs() * s.cin * g.taps();
    let threads = if work < 1 << 18 { 1 } else { cx.env.threads };
    let unfold = Unfold::new(g, g.output[1]);
    // Every thread has its own; made here, where failure can be reported.
    let scratch: Result<Vec<Vec<T>>, _> =
        (0..threads).map(|_| cx.zeros(&[unfold.len(s.cin)])).collect();
    let pool = std::sync::Mutex::new(scratch?);
    parts(out, threads, |mut out| {
        let taken = pool.lock().ok().and_then(|mut p| p.pop());
        let Some(mut laid) = taken else { return };
        let mut filled = (usize::MAX, 0);
        for plane in out.planes() {
            let m = plane % (s.groups * s.cout);
            let at = plane / s.cout;
            let size = s.cin * g.taps();
            let w = &w[m * size..][..size];
            let b = bias.map(|b| b[m]);
            for z in 0..g.output[0] {
                if filled != (at, z) {
                    let planes = at * s.cin..(at + 1) * s.cin;
                    unfold.fill(v, planes, z, 0..g.output[1], &mut laid);
                    filled = (at, z);
                }
                let (u, v, at) = (&unfold, &laid[..], (plane, z * g.output[1]));
                let out = &mut out;
                macro_rules! run {
                    ($fused:literal, $n:expr) => {
                        widest_float::<T>(Plane::<T, $fused, { $n }> { u, v, w, b, g, at, out })
                    };
                }
                // Only of floats there are two kinds of rounding, only of f32 long vectors.
                match (T::ROUNDS && !cx.env.fused, if T::WIDE { g.outputs() } else { 0 }) {
                    (false, 0..=8) => run!(true, 1),
                    (false, 9..=32) => run!(true, SOME),
                    (false, _) => run!(true, MANY),
                    (true, 0..=8) => run!(false, 1),
                    (true, _) => run!(false, SOME),
                }
            }
        }
        spare::give(laid);
    });
    Ok(())
}

/// The outputs of one depth of a plane, eight times `N` side by side.
struct Plane<'a, 'b, T, const FUSED: bool, const N: usize> {
    u: &'a Unfold<'a>,
    v: &'a [T],
    w: &'a [T],
    b: Option<T>,
    g: &'a Geometry,
    /// The plane, and the first of the rows.
    at: (usize, usize),
    out: &'a mut LinesMut<'b, T>,
}

impl<T: Scalar, const FUSED: bool, const N: usize> Loop for Plane<'_, '_, T, FUSED, N> {
    #[inline(always)]
    fn run(self) {
        let Self { u, v, w, b, g, at: (plane, row), out } = self;
        let [_, oh, ow] = g.output;
        let len = (oh - 1) * u.pitch + ow;
        for at in (0..len).step_by(8 * N) {
            let sums = sums::<T, FUSED, N>(u, &v[at..], w);
            let sums = sums.as_flattened();
            for (from, [y, x], n) in runs(at, (8 * N).min(len - at), (ow, u.pitch)) {
                let out = &mut out.line(plane, row + y)[x..x + n];
                for (o, &a) in out.iter_mut().zip(&sums[from..]) {
                    let sum = T::total(a);
                    *o = b.map_or(sum, |b| sum.plus(b));
                }
            }
        }
    }
}

/// Sums over channels and taps that stay in registers.
#[inline(always)]
fn sums<T: Scalar, const FUSED: bool, const N: usize>(
    u: &Unfold<'_>,
    v: &[T],
    w: &[T],
) -> [[T::Sum; 8]; N] {
    let mut sums = [[T::NOTHING; 8]; N];
    for (c, w) in w.chunks_exact(u.taps.len()).enumerate() {
        let v = &v[c * u.channel..];
        for (&tap, &w) in u.taps.iter().zip(w) {
            let from = v[tap..].as_chunks::<8>().0;
            assert!(from.len() >= N, "a row that is too short");
            for (sums, from) in sums.iter_mut().zip(from) {
                for (s, &x) in sums.iter_mut().zip(from) {
                    *s = T::step::<FUSED>(*s, w, x);
                }
            }
        }
    }
    sums
}

pub(super) fn conv_transpose(cx: &mut Cx<'_>) -> Outputs {
    let a = cx.input(0)?;
    let w = cx.input(1)?;
    let (g, s) = sizes(cx.op, &a.dims, &w.dims)?;
    let dims = g.output_dims(s.batch, s.groups * s.cout, a.rank());
    fn run<T: Scalar>(
        cx: &Cx<'_>,
        a: &Array,
        w: &Array,
        g: &Geometry,
        s: Sizes,
        dims: &[usize],
    ) -> Result<Array, RunError> {
        let mut result = cx.output::<T>(dims, a.dtype)?;
        let (w, b) = (w.get::<T>()?, bias::<T>(cx, 2, s.groups * s.cout)?);
        let work = result.len() * s.cin * g.taps();
        let threads = if work < 1 << 18 { 1 } else { cx.env.threads };
        let v = a.lines::<T>()?;
        parts(result.lines_mut()?, threads, |mut all| {
            for plane in all.planes() {
                let out = &mut all;
                if cx.env.fused || !T::ROUNDS {
                    widest_float::<T>(Transposed::<T, true> { v, w, bias: b, g, s, plane, out });
                } else {
                    widest_float::<T>(Transposed::<T, false> { v, w, bias: b, g, s, plane, out });
                }
            }
        });
        Ok(result)
    }
    Ok(vec![match &a.data {
        Buf::F32(_) => run::<f32>(cx, a, w, &g, s, &dims)?,
        Buf::F64(_) => run::<f64>(cx, a, w, &g, s, &dims)?,
        Buf::Field(_) => run::<Fp>(cx, a, w, &g, s, &dims)?,
        _ => unsupported!("ConvTranspose of {}", a.dtype),
    }])
}

/// One output channel. Each output is a fold over (input channel, taps) that reach it: inputs
/// are walked innermost, and meet no output twice for one tap. Meanwhile a row of outputs is split into
/// `stride` rows of every `stride`-th one, so that what neighbouring inputs reach lies side by side.
struct Transposed<'a, 'b, T, const FUSED: bool> {
    v: Lines<'a, T>,
    w: &'a [T],
    bias: Option<&'a [T]>,
    g: &'a Geometry,
    s: Sizes,
    plane: usize,
    out: &'a mut LinesMut<'b, T>,
}

impl<T: Scalar, const FUSED: bool> Loop for Transposed<'_, '_, T, FUSED> {
    #[inline(always)]
    fn run(self) {
        let Self { v, w, bias, g, s, plane, out } = self;
        let (b, m) = (plane / (s.groups * s.cout), plane % (s.groups * s.cout));
        let (group, m) = (m / s.cout, m % s.cout);
        let [id, ih, iw] = g.input;
        let [od, oh, ow] = g.output;
        // Output index along an axis that input `i` reaches through tap `k`.
        let target = |axis: usize, i: usize, k: usize| {
            (i * g.stride[axis] + k * g.dilation[axis]).checked_sub(g.begin[axis])
        };
        let step = g.stride[2];
        let (split, phases) = (ow.div_ceil(step), step.min(ow));
        let mut sums = spare::zeros::<T>(out.rows() * phases * split);
        for c in 0..s.cin {
            let c = group * s.cin + c;
            let w = &w[(c * s.cout + m) * g.taps()..][..g.taps()];
            for (t, &w) in w.iter().enumerate() {
                let [_, kh, kw] = g.kernel;
                let (kz, ky, kx) = (t / (kh * kw), t / kw % kh, t % kw);
                let shift = kx * g.dilation[2];
                // Inputs of a row whose target is inside the output.
                let lo = g.begin[2].saturating_sub(shift).div_ceil(step).min(iw);
                let hi = (ow + g.begin[2]).saturating_sub(shift).div_ceil(step).min(iw);
                if lo >= hi {
                    continue;
                }
                let first = lo * step + shift - g.begin[2];
                for z in 0..id {
                    let Some(oz) = target(0, z, kz).filter(|&o| o < od) else { continue };
                    for y in 0..ih {
                        let Some(oy) = target(1, y, ky).filter(|&o| o < oh) else { continue };
                        let line = &v.line(b * s.groups * s.cin + c, z * ih + y)[lo..hi];
                        let row = (oz * oh + oy) * phases + first % step;
                        let sums = &mut sums[row * split + first / step..][..line.len()];
                        for (o, &x) in sums.iter_mut().zip(line) {
                            *o = o.fold::<FUSED>(w, x);
                        }
                    }
                }
            }
        }
        let b = bias.map(|b| b[group * s.cout + m]);
        for i in 0..out.rows() {
            let sums = sums[i * phases * split..].chunks(split.max(1)).take(phases);
            for (phase, sums) in sums.enumerate() {
                let row = out.line(plane, i).iter_mut().skip(phase).step_by(step);
                row.zip(sums).for_each(|(o, &x)| *o = b.map_or(x, |b| x.plus(b)));
            }
        }
        spare::give(sums);
    }
}
