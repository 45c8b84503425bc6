//! Fourier transforms, and the windows and weights that go with them.

use std::f64::consts::{PI, TAU};

use graph_opt_ir::{DType, Op};

use super::norm::by_type;
use crate::RunError;
use crate::cpu::array::{Array, Buf};
use crate::cpu::cx::{Cx, Outputs, axis_of, dtype_of, extent, invalid, unsupported};
use crate::cpu::field::Fp;
use crate::cpu::scalar::Real;

/// Cosines and sines of the parts of a circle.
struct Circle<T>(Vec<(T, T)>);

impl<T: Real> Circle<T> {
    /// Of `n` equal parts.
    fn of(cx: &Cx<'_>, n: usize) -> Result<Self, RunError> {
        cx.room::<(T, T)>(&[n])?;
        let k = cx.key();
        // Those of the axes are whole numbers, which floats would not give.
        let part = |i: usize| match 8 * i as u128 / n as u128 {
            e if e * n as u128 == 8 * i as u128 && e % 2 == 0 => {
                [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][e as usize / 2 % 4]
            }
            _ => {
                let (s, c) = (TAU * i as f64 / n as f64).sin_cos();
                (c, s)
            }
        };
        Ok(Self((0..n).map(part).map(|(c, s)| (T::of(c, k), T::of(s, k))).collect()))
    }

    /// Cosine and sine of `i * j` parts.
    fn at(&self, i: usize, j: usize) -> (T, T) {
        self.0[(i as u128 * j as u128 % self.0.len() as u128) as usize]
    }

    /// Frequency `f` of a signal: real and imaginary part.
    fn frequency(&self, f: usize, signal: &[(T, T)]) -> (T, T) {
        signal.iter().enumerate().fold((T::ZERO, T::ZERO), |(re, im), (t, &(x, y))| {
            let (c, s) = self.at(f, t);
            (re.plus(x.times(c)).plus(y.times(s)), im.plus(y.times(c)).minus(x.times(s)))
        })
    }

    /// Element `t` of the signal with these frequencies.
    fn element(&self, t: usize, frequencies: &[(T, T)]) -> (T, T) {
        frequencies.iter().enumerate().fold((T::ZERO, T::ZERO), |(re, im), (f, &(x, y))| {
            let (c, s) = self.at(f, t);
            (re.plus(x.times(c)).minus(y.times(s)), im.plus(y.times(c)).plus(x.times(s)))
        })
    }
}

/// Runs the kernel, in `f64` instead of `f32`: in sums of many terms that cancel, nothing else remains.
macro_rules! widely {
    ($f:ident, $cx:expr) => {{
        let single = matches!($cx.input(0)?.data, Buf::F32(_));
        for slot in $cx.inputs.iter_mut().filter(|_| single) {
            if let Some(a) = slot.take_if(|a| a.dtype == DType::F32) {
                *slot = Some(super::convert(a, DType::F64, $cx.env)?);
            }
        }
        let out: Outputs = by_type!($f, $cx,);
        let narrow = |a| if single { super::convert(a, DType::F32, $cx.env) } else { Ok(a) };
        out?.into_iter().map(narrow).collect()
    }};
}

pub(super) fn dft(cx: &mut Cx<'_>) -> Outputs {
    widely!(dft_of, cx)
}

fn dft_of<T: Real>(cx: &mut Cx<'_>) -> Outputs {
    let Op::DFT(o) = cx.op else { invalid!("not a DFT") };
    let (k, a) = (cx.key(), cx.input(0)?);
    let axis = match cx.opset {
        ..20 => o.axis,
        _ if cx.opt(2).is_some() => cx.int(2)?,
        _ => -2,
    };
    let axis = axis_of(axis, a.rank())?;
    let Some((&parts @ (1 | 2), _)) = a.dims.split_last() else {
        invalid!("{:?} has no last axis of 1 or 2", a.dims)
    };
    if axis + 1 == a.rank() {
        invalid!("axis {axis} is the last");
    }
    let (inverse, onesided) = (o.inverse != 0, o.onesided != 0);
    let n = a.dims[axis];
    let len = match cx.opt(1) {
        Some(_) => extent(cx.int(1)?)?,
        None if inverse && onesided => 2 * n.saturating_sub(1),
        None => n,
    };
    if len == 0 {
        invalid!("a transform of no elements");
    }
    let mut dims = a.dims.clone();
    dims[axis] = if onesided && !inverse { len / 2 + 1 } else { len };
    let made = if onesided && inverse { 1 } else { 2 };
    dims[a.rank() - 1] = made;
    let (circle, mut out) = (Circle::<T>::of(cx, len)?, cx.zeros::<T>(&dims)?);
    if out.is_empty() {
        return Ok(vec![Array { dims, dtype: a.dtype, data: T::wrap(out) }]);
    }
    let v = a.get::<T>()?;
    // Elements between neighbours along the axis, of the operand and of the result.
    let inner: usize = a.dims[axis + 1..a.rank() - 1].iter().product();
    let outer: usize = a.dims[..axis].iter().product();
    let read = if onesided && inverse { len / 2 + 1 } else { len };
    cx.room::<(T, T)>(&[read])?;
    let mut line = vec![(T::ZERO, T::ZERO); read];
    let share = T::of(len as f64, k);
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        for (t, x) in line.iter_mut().enumerate().take(n) {
            let at = ((o * n + t) * inner + i) * parts;
            *x = (v[at], if parts == 2 { v[at + 1] } else { T::ZERO });
        }
        if onesided && inverse {
            // What is left out are the conjugates of these; the first, and the middle, are their own.
            for (f, x) in line.iter_mut().enumerate() {
                if f == 0 || 2 * f == len {
                    x.1 = T::ZERO;
                } else {
                    *x = (x.0.plus(x.0), x.1.plus(x.1));
                }
            }
        }
        for f in 0..dims[axis] {
            let at = ((o * dims[axis] + f) * inner + i) * made;
            let (re, im) = match inverse {
                false => circle.frequency(f, &line),
                true => {
                    let (re, im) = circle.element(f, &line);
                    (re.over(share, k), im.over(share, k))
                }
            };
            out[at] = re;
            if made == 2 {
                out[at + 1] = im;
            }
        }
    }
    Ok(vec![Array { dims, dtype: a.dtype, data: T::wrap(out) }])
}

pub(super) fn stft(cx: &mut Cx<'_>) -> Outputs {
    widely!(stft_of, cx)
}

fn stft_of<T: Real>(cx: &mut Cx<'_>) -> Outputs {
    let Op::STFT(o) = cx.op else { invalid!("not an STFT") };
    let a = cx.input(0)?;
    let &[batch, n, parts @ (1 | 2)] = &a.dims[..] else { invalid!("a signal {:?}", a.dims) };
    let step = extent(cx.int(1)?)?;
    let window = cx.opt(2).map(|w| w.get::<T>()).transpose()?;
    let len = match (cx.opt(3), window) {
        (Some(_), _) => extent(cx.int(3)?)?,
        (None, Some(w)) => w.len(),
        (None, None) => n,
    };
    if step == 0 || len == 0 || len > n || window.is_some_and(|w| w.len() != len) {
        invalid!("frames of {len} at every {step} of {n} elements");
    }
    let frames = (n - len) / step + 1;
    let bins = if o.onesided != 0 { len / 2 + 1 } else { len };
    let dims = vec![batch, frames, bins, 2];
    let (circle, mut out) = (Circle::<T>::of(cx, len)?, cx.zeros::<T>(&dims)?);
    let v = a.get::<T>()?;
    for (i, frame) in out.chunks_exact_mut(2 * bins).enumerate() {
        let start = i / frames * n + i % frames * step;
        let one = |t: usize| {
            let x = &v[(start + t) * parts..][..parts];
            let x = (x[0], x.get(1).copied().unwrap_or(T::ZERO));
            window.map_or(x, |w| (x.0.times(w[t]), x.1.times(w[t])))
        };
        let line: Vec<(T, T)> = (0..len).map(one).collect();
        for (f, out) in frame.chunks_exact_mut(2).enumerate() {
            (out[0], out[1]) = circle.frequency(f, &line);
        }
    }
    Ok(vec![Array { dims, dtype: a.dtype, data: T::wrap(out) }])
}

/// HannWindow, HammingWindow and BlackmanWindow.
pub(super) fn window(cx: &mut Cx<'_>) -> Outputs {
    // Shares of the cosines of none, one and two turns.
    let (to, periodic, shares) = match cx.op {
        Op::HannWindow(o) => (o.output_datatype, o.periodic, [0.5, -0.5, 0.0]),
        Op::HammingWindow(o) => {
            let share = 25.0 / 46.0;
            (o.output_datatype, o.periodic, [share, share - 1.0, 0.0])
        }
        Op::BlackmanWindow(o) => (o.output_datatype, o.periodic, [0.42, -0.5, 0.08]),
        _ => invalid!("{} is no window", cx.op.name()),
    };
    let n = extent(cx.int(0)?)?;
    cx.room::<f64>(&[n])?;
    let turn = if periodic != 0 { n as f64 } else { n as f64 - 1.0 };
    let one = |i: usize| {
        let x = TAU * i as f64 / turn;
        match cx.op {
            Op::HannWindow(_) => (PI * i as f64 / turn).sin().powi(2),
            _ => shares[0] + shares[1] * x.cos() + shares[2] * (2.0 * x).cos(),
        }
    };
    let v = Array::new(vec![n], (0..n).map(one).collect::<Vec<f64>>());
    Ok(vec![super::unary::convert(cx, v, dtype_of(to)?)?])
}

pub(super) fn mel_weights(cx: &mut Cx<'_>) -> Outputs {
    let Op::MelWeightMatrix(o) = cx.op else { invalid!("not a MelWeightMatrix") };
    let (mels, len) = (extent(cx.int(0)?)?, extent(cx.int(1)?)?);
    let rate = extent(cx.int(2)?)?;
    let hertz = |i: usize| match cx.input(i)?.to_f64s()?[..] {
        [x] => Ok(x),
        ref v => invalid!("operand {i} has {} elements instead of one", v.len()),
    };
    let bins = len / 2 + 1;
    let mut out = cx.zeros::<f64>(&[bins, mels])?;
    let mel = |hertz: f64| 2595.0 * (hertz / 700.0).ln_1p() / 10f64.ln();
    let (lo, hi) = (mel(hertz(3)?), mel(hertz(4)?));
    let step = (hi - lo) / (mels as f64 + 2.0);
    // The frequency at which each triangle starts; the next two are its peak and its end.
    let edge = |i: usize| -> Result<usize, RunError> {
        let f = 700.0 * ((lo + i as f64 * step) / 2595.0 * 10f64.ln()).exp_m1();
        let bin = ((len as f64 + 1.0) * f / rate as f64).floor();
        match bin {
            b if b >= 0.0 && b < bins as f64 => Ok(b as usize),
            b => invalid!("frequency {b} of {bins}"),
        }
    };
    for m in 0..mels {
        let (start, peak, end) = (edge(m)?, edge(m + 1)?, edge(m + 2)?);
        if start == peak {
            out[peak * mels + m] = 1.0;
        }
        for b in start..=peak.max(start) {
            if start < peak && b <= peak {
                out[b * mels + m] = (b - start) as f64 / (peak - start) as f64;
            }
        }
        for b in peak..end {
            out[b * mels + m] = (end - b) as f64 / (end - peak) as f64;
        }
    }
    let v = Array::new(vec![bins, mels], out);
    Ok(vec![super::unary::convert(cx, v, dtype_of(o.output_datatype)?)?])
}
