//! DeformConv: a convolution whose taps are moved by offsets, and interpolated.

use graph_opt_ir::Op;

use super::norm::by_type;
use super::sample::{Taps, interpolated};
use crate::RunError;
use crate::cpu::array::{Array, Buf};
use crate::cpu::cx::{Cx, Outputs, extent, invalid, unsupported};
use crate::cpu::field::{Fp, Key};
use crate::cpu::scalar::Real;

pub(super) fn deform_conv(cx: &mut Cx<'_>) -> Outputs {
    by_type!(deform_conv_of, cx,)
}

/// The two neighbours of a place among `n` elements; those outside count as 0.
fn taps<T: Real>(x: f64, n: usize, k: Key<'_>) -> Taps<T> {
    let first = x.floor();
    let at = |i: i64| usize::try_from(i).ok().filter(|&i| i < n);
    let (i, t) = (first as i64, x - first);
    vec![(at(i), T::of(1.0 - t, k)), (at(i.saturating_add(1)), T::of(t, k))]
}

/// Extents, after checking that they fit together.
struct Sizes {
    batch: usize,
    channels: usize,
    outs: usize,
    image: [usize; 2],
    kernel: [usize; 2],
    output: [usize; 2],
    groups: usize,
    offset_groups: usize,
}

fn pair(attr: &Option<Vec<i64>>, other: [i64; 2]) -> Result<[i64; 2], RunError> {
    match attr.as_deref() {
        None => Ok(other),
        Some(&[a, b]) => Ok([a, b]),
        Some(v) => invalid!("{} numbers in an attribute instead of 2", v.len()),
    }
}

fn sizes(cx: &Cx<'_>, o: &graph_opt_ir::op::DeformConv) -> Result<Sizes, RunError> {
    let (x, w, d) = (&cx.input(0)?.dims, &cx.input(1)?.dims, &cx.input(2)?.dims);
    if x.len() > 4 {
        unsupported!("{} spatial axes", x.len() - 2);
    }
    let (&[n, c, h, wd], &[m, per, kh, kw], &[dn, dc, oh, ow]) = (&x[..], &w[..], &d[..]) else {
        invalid!("{x:?} by {w:?} with offsets {d:?}")
    };
    let (groups, offset_groups) = (extent(o.group)?, extent(o.offset_group)?);
    let taps = kh.checked_mul(kw).and_then(|t| t.checked_mul(offset_groups));
    let divides = |g: usize, n: usize| g > 0 && n.is_multiple_of(g);
    let fits = divides(groups, m)
        && divides(offset_groups, c)
        && per.checked_mul(groups) == Some(c)
        && dn == n
        && taps.and_then(|t| t.checked_mul(2)) == Some(dc)
        && cx.opt(3).is_none_or(|b| b.dims == [m])
        && cx.opt(4).is_none_or(|k| Some(k.dims.clone()) == taps.map(|t| vec![n, t, oh, ow]))
        && pair(&o.kernel_shape, [kh as i64, kw as i64])? == [kh as i64, kw as i64];
    if !fits {
        invalid!("{x:?} by {w:?} with offsets {d:?} in {groups} and {offset_groups} groups");
    }
    Ok(Sizes {
        batch: n,
        channels: c,
        outs: m,
        image: [h, wd],
        kernel: [kh, kw],
        output: [oh, ow],
        groups,
        offset_groups,
    })
}

fn deform_conv_of<T: Real>(cx: &mut Cx<'_>) -> Outputs {
    let Op::DeformConv(o) = cx.op else { invalid!("not a DeformConv") };
    let s = sizes(cx, o)?;
    let (steps, gaps) = (pair(&o.strides, [1, 1])?, pair(&o.dilations, [1, 1])?);
    let pads = match o.pads.as_deref() {
        None => [0; 4],
        Some(&[a, b, c, d]) => [a, b, c, d],
        Some(v) => invalid!("{} pads instead of 4", v.len()),
    };
    for d in 0..2 {
        if steps[d] < 1 || gaps[d] < 1 {
            invalid!("strides {steps:?} and dilations {gaps:?}");
        }
        let reach = i128::from(gaps[d]) * (s.kernel[d] as i128 - 1) + 1;
        let room = s.image[d] as i128 + i128::from(pads[d]) + i128::from(pads[d + 2]) - reach;
        if room < 0 || room / i128::from(steps[d]) + 1 != s.output[d] as i128 {
            invalid!("offsets for {:?} outputs of {:?}", s.output, s.image);
        }
    }
    let (k, a) = (cx.key(), cx.input(0)?);
    let (x, w) = (a.get::<T>()?, cx.input(1)?.get::<T>()?);
    let offsets = cx.reals(2)?;
    let bias = cx.opt(3).map(|b| b.get::<T>()).transpose()?;
    let mask = cx.opt(4).map(|m| m.get::<T>()).transpose()?;
    let [h, wd] = s.image;
    let [oh, ow] = s.output;
    let (area, taps_of) = (oh * ow, s.kernel[0] * s.kernel[1]);
    let dims = vec![s.batch, s.outs, oh, ow];
    let mut out = cx.zeros::<T>(&dims)?;
    if out.is_empty() {
        return Ok(vec![Array { dims, dtype: a.dtype, data: T::wrap(out) }]);
    }
    let rows = s.channels * taps_of;
    cx.room::<T>(&[s.channels, taps_of])?;
    let mut column = vec![T::ZERO; rows];
    let per = s.channels / s.offset_groups;
    for (n, p) in (0..s.batch).flat_map(|n| (0..area).map(move |p| (n, p))) {
        for t in 0..s.offset_groups * taps_of {
            let (g, tap) = (t / taps_of, t % taps_of);
            let base = n * s.offset_groups * taps_of + t;
            let at = |d: usize, i: usize, o: usize| {
                let start = i as f64 * steps[d] as f64 - pads[d] as f64;
                start + o as f64 * gaps[d] as f64 + offsets[(2 * base + d) * area + p]
            };
            let y: Taps<T> = taps(at(0, p / ow, tap / s.kernel[1]), h, k);
            let places = [y, taps(at(1, p % ow, tap % s.kernel[1]), wd, k)];
            for c in g * per..(g + 1) * per {
                let v = interpolated(x, &places, &[wd, 1], (n * s.channels + c) * h * wd);
                let scale = mask.map(|m| m[base * area + p]);
                column[c * taps_of + tap] = scale.map_or(v, |m| v.times(m));
            }
        }
        let size = rows / s.groups;
        for m in 0..s.outs {
            let group = m / (s.outs / s.groups);
            let column = &column[group * size..(group + 1) * size];
            let products = column.iter().zip(&w[m * size..(m + 1) * size]);
            let sum = products.fold(T::ZERO, |s, (&x, &w)| s.plus(x.times(w)));
            out[(n * s.outs + m) * area + p] = bias.map_or(sum, |b| sum.plus(b[m]));
        }
    }
    Ok(vec![Array { dims, dtype: a.dtype, data: T::wrap(out) }])
}
