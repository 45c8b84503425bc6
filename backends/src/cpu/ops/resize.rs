//! Resize and Upsample: axis by axis, each output a weighted sum of neighbours along the axis.
//!
//! ONNX, operator Resize, defines where an output lies in the input (its coordinate) and the
//! weights of the neighbours. Coordinates are computed in `f32`, as runtimes do.

use graph_opt_ir::Op;

use crate::RunError;
use crate::cpu::array::{Array, Buf, Element, on_any};
use crate::cpu::cx::{Cx, Outputs, axis_of, extent, invalid, strides, unsupported};
use crate::cpu::field::Fp;
use crate::cpu::scalar::Scalar;

/// What the operator's many forms come down to.
struct Plan<'a> {
    mode: &'a str,
    coordinates: &'a str,
    nearest: &'a str,
    cubic: f32,
    exclude: bool,
    antialias: bool,
    outside: f32,
    scales: Vec<f32>,
    dims: Vec<usize>,
    /// Start and end of the region of interest along each axis, in parts of the extent.
    roi: Vec<(f32, f32)>,
}

fn floats(cx: &Cx<'_>, i: usize) -> Result<Option<Vec<f32>>, RunError> {
    let Some(a) = cx.opt(i) else { return Ok(None) };
    let v = a.to_f64s()?;
    Ok(Some(v.into_iter().map(|x| x as f32).collect()).filter(|v: &Vec<f32>| !v.is_empty()))
}

fn plan<'a>(cx: &'a Cx<'_>) -> Result<Plan<'a>, RunError> {
    let x = &cx.input(0)?.dims;
    let rank = x.len();
    let checked = |s: Vec<f32>, n: usize| {
        if s.len() != n || s.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
            invalid!("scales {s:?} for {n} axes");
        }
        Ok(s)
    };
    let scaled = |s: &[f32]| -> Result<Vec<usize>, RunError> {
        let one = |(&n, &s): (&usize, &f32)| extent((n as f64 * f64::from(s)).floor() as i64);
        x.iter().zip(s).map(one).collect()
    };
    let o = match cx.op {
        Op::Upsample(o) => {
            let s = match &o.scales {
                Some(s) if cx.opset < 9 => s.clone(),
                _ => floats(cx, 1)?.unwrap_or_default(),
            };
            let scales = checked(s, rank)?;
            let dims = scaled(&scales)?;
            return Ok(simple(&o.mode, scales, dims));
        }
        Op::Resize(o) if cx.opset < 11 => {
            let scales = checked(floats(cx, 1)?.unwrap_or_default(), rank)?;
            let dims = scaled(&scales)?;
            return Ok(simple(&o.mode, scales, dims));
        }
        Op::Resize(o) => o,
        _ => invalid!("{} is no resize", cx.op.name()),
    };
    let axes: Vec<usize> = match &o.axes {
        Some(a) => a.iter().map(|&a| axis_of(a, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).collect(),
    };
    let coordinates = o.coordinate_transformation_mode.as_deref().unwrap_or("half_pixel");
    let (mut scales, mut dims) = (vec![1.0; rank], x.clone());
    match (floats(cx, 2)?, cx.opt_ints(3)?.filter(|s| !s.is_empty())) {
        (Some(s), None) => {
            for (&a, s) in axes.iter().zip(checked(s, axes.len())?) {
                scales[a] = s;
            }
            dims = scaled(&scales)?;
        }
        (_, Some(sizes)) => {
            if sizes.len() != axes.len() {
                invalid!("{} sizes for {} axes", sizes.len(), axes.len());
            }
            let mut wanted = vec![];
            for (&a, &n) in axes.iter().zip(&sizes) {
                dims[a] = extent(n)?;
                wanted.push(dims[a] as f32 / x[a] as f32);
            }
            let one = match o.keep_aspect_ratio_policy.as_str() {
                "stretch" => None,
                "not_larger" => wanted.iter().copied().reduce(f32::min),
                "not_smaller" => wanted.iter().copied().reduce(f32::max),
                p => invalid!("keep_aspect_ratio_policy {p:?}"),
            };
            for (&a, w) in axes.iter().zip(wanted) {
                scales[a] = one.unwrap_or(w);
                if one.is_some() {
                    dims[a] = extent((scales[a] * x[a] as f32).round() as i64)?;
                }
            }
        }
        (None, None) => invalid!("neither scales nor sizes"),
    }
    let mut roi = vec![(0.0, 1.0); rank];
    if coordinates == "tf_crop_and_resize" {
        let r = floats(cx, 1)?.unwrap_or_default();
        if r.len() != 2 * axes.len() {
            invalid!("a region of interest of {} numbers for {} axes", r.len(), axes.len());
        }
        for (i, &a) in axes.iter().enumerate() {
            roi[a] = (r[i], r[axes.len() + i]);
        }
    }
    Ok(Plan {
        mode: &o.mode,
        coordinates,
        nearest: &o.nearest_mode,
        cubic: o.cubic_coeff_a,
        exclude: o.exclude_outside != 0,
        antialias: o.antialias != 0,
        outside: o.extrapolation_value,
        scales,
        dims,
        roi,
    })
}

/// Upsample, and Resize before opset 11.
fn simple(mode: &str, scales: Vec<f32>, dims: Vec<usize>) -> Plan<'_> {
    let roi = vec![(0.0, 1.0); dims.len()];
    Plan {
        mode,
        coordinates: "asymmetric",
        nearest: "floor",
        cubic: -0.75,
        exclude: false,
        antialias: false,
        outside: 0.0,
        scales,
        dims,
        roi,
    }
}

/// Neighbours of one output along an axis with their weights; none if it lies outside.
type Taps = Vec<(usize, f32)>;

impl Plan<'_> {
    /// Where output `o` lies along the axis of `n` inputs.
    fn coordinate(&self, axis: usize, o: usize, n: usize) -> Result<f32, RunError> {
        let (s, x, len) = (self.scales[axis], o as f32, self.dims[axis] as f32);
        let n = n as f32;
        Ok(match self.coordinates {
            "half_pixel" => (x + 0.5) / s - 0.5,
            "half_pixel_symmetric" => {
                let full = n * s;
                let adjust = len / full;
                let centre = n / 2.0;
                centre * (1.0 - adjust) + (x + 0.5) / s - 0.5
            }
            "pytorch_half_pixel" if len <= 1.0 => 0.0,
            "pytorch_half_pixel" => (x + 0.5) / s - 0.5,
            "align_corners" if len <= 1.0 => 0.0,
            "align_corners" => x * (n - 1.0) / (len - 1.0),
            "asymmetric" => x / s,
            "tf_half_pixel_for_nn" => (x + 0.5) / s,
            "tf_crop_and_resize" => {
                let (a, b) = self.roi[axis];
                match len > 1.0 {
                    true => a * (n - 1.0) + x * (b - a) * (n - 1.0) / (len - 1.0),
                    false => 0.5 * (a + b) * (n - 1.0),
                }
            }
            m => invalid!("coordinate_transformation_mode {m:?}"),
        })
    }

    fn taps(&self, axis: usize, n: usize) -> Result<Vec<Taps>, RunError> {
        (0..self.dims[axis]).map(|o| self.taps_of(axis, o, n)).collect()
    }

    fn taps_of(&self, axis: usize, o: usize, n: usize) -> Result<Taps, RunError> {
        let x = self.coordinate(axis, o, n)?;
        let last = n as i64 - 1;
        let outside = !(0.0..=last as f32).contains(&x);
        if self.coordinates == "tf_crop_and_resize" && outside {
            return Ok(vec![]);
        }
        let clamp = |i: i64| i.clamp(0, last) as usize;
        let weights: Vec<(i64, f32)> = match self.mode {
            "nearest" => {
                let i = match self.nearest {
                    // Exact halves are what the modes differ in.
                    "round_prefer_floor" if x - x.floor() == 0.5 => x.floor(),
                    "round_prefer_floor" | "round_prefer_ceil" => (x + 0.5).floor(),
                    "floor" => x.floor(),
                    "ceil" => x.ceil(),
                    m => invalid!("nearest_mode {m:?}"),
                };
                return Ok(vec![(clamp(i as i64), 1.0)]);
            }
            "linear" | "bilinear" | "trilinear" => {
                self.filter(axis, x, 1.0, |d| (1.0 - d).max(0.0))
            }
            "cubic" => {
                let a = self.cubic;
                self.filter(axis, x, 2.0, |d| {
                    if d <= 1.0 {
                        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
                    } else if d < 2.0 {
                        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
                    } else {
                        0.0
                    }
                })
            }
            m => invalid!("mode {m:?}"),
        };
        let inside = |i: i64| (0..=last).contains(&i);
        let drop = self.exclude;
        let mut out: Taps = vec![];
        for (i, w) in weights {
            if w != 0.0 && (!drop || inside(i)) {
                match out.last_mut() {
                    Some(t) if t.0 == clamp(i) => t.1 += w,
                    _ => out.push((clamp(i), w)),
                }
            }
        }
        if drop || self.antialias {
            let sum: f32 = out.iter().map(|t| t.1).sum();
            out.iter_mut().for_each(|t| t.1 /= sum);
        }
        Ok(out)
    }

    /// Weights around `x` by a kernel that reaches `reach` far, stretched when shrinking with
    /// antialiasing.
    fn filter(
        &self,
        axis: usize,
        x: f32,
        reach: f32,
        kernel: impl Fn(f32) -> f32,
    ) -> Vec<(i64, f32)> {
        let s = if self.antialias { self.scales[axis].min(1.0) } else { 1.0 };
        let reach = reach / s;
        let lo = (x - reach).floor() as i64 + i64::from(s == 1.0);
        let hi = (x + reach).ceil() as i64;
        // A factor so small that the neighbourhood is the whole axis, or more, ends here.
        let hi = hi.min(lo.saturating_add(1 << 20));
        (lo..=hi).map(|i| (i, kernel((i as f32 - x).abs() * s))).filter(|w| w.1 != 0.0).collect()
    }
}

pub(super) fn resize(cx: &mut Cx<'_>) -> Outputs {
    let p = plan(cx)?;
    let a = cx.input(0)?;
    cx.room::<u64>(&p.dims)?;
    if a.len() == 0 && p.dims.iter().all(|&d| d > 0) {
        invalid!("an empty input");
    }
    // The other axes of an empty result may be longer than any table.
    if p.dims.contains(&0) {
        let data = on_any!(&a.data, v => Element::wrap(picked(v, &[])));
        return Ok(vec![Array { dims: p.dims, dtype: a.dtype, data }]);
    }
    if p.mode == "nearest" && p.coordinates != "tf_crop_and_resize" {
        return nearest(&p, a);
    }
    let data = match &a.data {
        Buf::F32(v) => f32::wrap(weighted(cx, &p, v, &a.dims)?),
        Buf::F64(v) => f64::wrap(weighted(cx, &p, v, &a.dims)?),
        Buf::Field(v) => Fp::wrap(weighted(cx, &p, v, &a.dims)?),
        Buf::U8(v) => {
            let v: Vec<f32> = v.iter().map(|&x| x.into()).collect();
            let v = weighted(cx, &p, &v, &a.dims)?;
            u8::wrap(v.into_iter().map(|x| x as u8).collect())
        }
        _ => unsupported!("Resize of {}", a.dtype),
    };
    Ok(vec![Array { dims: p.dims, dtype: a.dtype, data }])
}

/// Picks elements of any type.
fn nearest(p: &Plan<'_>, a: &Array) -> Outputs {
    let taps: Vec<Vec<Taps>> =
        (0..a.rank()).map(|i| p.taps(i, a.dims[i])).collect::<Result<_, _>>()?;
    let s = strides(&a.dims);
    let mut from = vec![0usize];
    for (taps, s) in taps.iter().zip(s) {
        let step = |at: &usize| {
            let at = *at;
            taps.iter().map(move |t| at + t[0].0 * s).collect::<Vec<_>>()
        };
        from = from.iter().flat_map(step).collect();
    }
    let data = on_any!(&a.data, v => Element::wrap(picked(v, &from)));
    Ok(vec![Array { dims: p.dims.clone(), dtype: a.dtype, data }])
}

fn picked<T: Element>(v: &[T], from: &[usize]) -> Vec<T> {
    from.iter().map(|&i| v[i].clone()).collect()
}

/// Sums along one axis after the other, from the last to the first.
fn weighted<T: Scalar>(
    cx: &Cx<'_>,
    p: &Plan<'_>,
    v: &[T],
    dims: &[usize],
) -> Result<Vec<T>, RunError> {
    let k = cx.key();
    let (mut v, mut dims) = (v.to_vec(), dims.to_vec());
    let mut outside = vec![];
    for axis in (0..dims.len()).rev() {
        let taps = p.taps(axis, dims[axis])?;
        let same =
            taps.len() == dims[axis] && taps.iter().enumerate().all(|(i, t)| t[..] == [(i, 1.0)]);
        outside.push((axis, taps.iter().map(Vec::is_empty).collect::<Vec<_>>()));
        if same {
            continue;
        }
        let inner: usize = dims[axis + 1..].iter().product();
        let n = dims[axis];
        dims[axis] = taps.len();
        let mut out = cx.zeros::<T>(&dims)?;
        let size = (n * inner).max(1);
        let step = (taps.len() * inner).max(1);
        for (v, out) in v.chunks_exact(size).zip(out.chunks_exact_mut(step)) {
            for (taps, out) in taps.iter().zip(out.chunks_exact_mut(inner.max(1))) {
                for (t, &(i, w)) in taps.iter().enumerate() {
                    let (w, v) = (T::of(w.into(), k), &v[i * inner..][..inner]);
                    for (o, &x) in out.iter_mut().zip(v) {
                        *o = if t == 0 { w.times(x) } else { o.plus(w.times(x)) };
                    }
                }
            }
        }
        v = out;
    }
    if p.coordinates == "tf_crop_and_resize" {
        let s = strides(&dims);
        let fill = T::of(p.outside.into(), k);
        for (i, x) in v.iter_mut().enumerate() {
            if outside.iter().any(|(a, o)| o[i / s[*a] % dims[*a]]) {
                *x = fill;
            }
        }
    }
    Ok(v)
}
