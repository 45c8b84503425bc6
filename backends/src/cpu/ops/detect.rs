//! Regions of interest: RoiAlign and NonMaxSuppression.

use graph_opt_ir::{DType, Op};

use super::norm::by_type;
use crate::RunError;
use crate::cpu::array::{Array, Buf};
use crate::cpu::cx::{Cx, Outputs, extent, invalid, unsupported};
use crate::cpu::field::{Fp, Key};
use crate::cpu::scalar::Real;

pub(super) fn roi_align(cx: &mut Cx<'_>) -> Outputs {
    by_type!(roi_align_of, cx,)
}

/// Most samples along an axis of a bin that an attribute may ask for.
const SAMPLES: i64 = 4096;

/// One axis of a region of interest, divided into bins.
struct Bins {
    start: f64,
    /// Extent of a bin, and samples along it.
    size: f64,
    samples: f64,
    /// Extent of the image.
    n: usize,
    single: bool,
}

/// Two neighbours of a sample, and the weight of the second.
#[derive(Clone, Copy)]
struct Sample {
    low: usize,
    high: usize,
    weight: f64,
}

impl Bins {
    /// As runtimes do, which compute in `f32`.
    fn round(&self, x: f64) -> f64 {
        if self.single { f64::from(x as f32) } else { x }
    }

    /// Samples of a bin that lie in the image, and whether all of them do.
    fn samples(&self, bin: usize) -> (Vec<Sample>, bool) {
        if !self.size.is_finite() || !self.start.is_finite() {
            return (vec![], false);
        }
        let start = self.round(self.start + self.round(bin as f64 * self.size));
        let step = self.size / self.samples;
        // Those far outside are not even looked at, as there may be any number of them.
        let reach = |x: f64| ((x - start) / step).clamp(-1e15, 1e15);
        let (a, b) = (reach(-1.0), reach(self.n as f64));
        let first = (a.min(b).floor() - 2.0).max(0.0);
        let last = (a.max(b).ceil() + 2.0).min(self.samples - 1.0);
        let mut all = vec![];
        let mut i = first;
        while i <= last {
            let within = self.round((i + 0.5) * self.size);
            let x = self.round(start + self.round(within / self.samples));
            if let Some(s) = self.sample(x) {
                all.push(s);
            }
            i += 1.0;
        }
        let complete = all.len() as f64 >= self.samples;
        (all, complete)
    }

    fn sample(&self, x: f64) -> Option<Sample> {
        let last = self.n.checked_sub(1)?;
        if !(-1.0..=self.n as f64).contains(&x) {
            return None;
        }
        let x = x.max(0.0);
        let low = (x as usize).min(last);
        if low == last {
            return Some(Sample { low, high: low, weight: 0.0 });
        }
        Some(Sample { low, high: low + 1, weight: x - low as f64 })
    }
}

fn roi_align_of<T: Real>(cx: &mut Cx<'_>) -> Outputs {
    let Op::RoiAlign(o) = cx.op else { invalid!("not a RoiAlign") };
    let k = cx.key();
    let (a, rois) = (cx.input(0)?, cx.input(1)?);
    let &[batch, channels, h, w] = &a.dims[..] else { invalid!("rank {}", a.rank()) };
    let images = cx.ints(2)?;
    let &[count, 4] = &rois.dims[..] else { invalid!("regions of shape {:?}", rois.dims) };
    if images.len() != count {
        invalid!("{} images for {count} regions", images.len());
    }
    let half = match o.coordinate_transformation_mode.as_str() {
        _ if cx.opset < 16 => false,
        "half_pixel" => true,
        "output_half_pixel" => false,
        m => invalid!("coordinate_transformation_mode {m:?}"),
    };
    let greatest = match o.mode.as_str() {
        "avg" => false,
        "max" => true,
        m => invalid!("mode {m:?}"),
    };
    let (oh, ow) = (extent(o.output_height)?, extent(o.output_width)?);
    if o.sampling_ratio > SAMPLES {
        unsupported!("sampling_ratio {}", o.sampling_ratio);
    }
    let dims = vec![count, channels, oh, ow];
    cx.room::<T>(&dims)?;
    // Samples along an axis lie half an element from each other, or are as many as are asked for.
    let most = (h.max(w) + 4).max(o.sampling_ratio.max(0) as usize);
    cx.room::<[Sample; 2]>(&[oh.max(ow), most])?;
    let (v, places) = (a.get::<T>()?, cx.reals(1)?);
    let single = a.dtype != DType::F64 && !a.is_field();
    let round = |x: f64| if single { f64::from(x as f32) } else { x };
    let mut out = Vec::with_capacity(count * channels * oh * ow);
    for (roi, &image) in places.chunks_exact(4).zip(&images) {
        let Some(image) = usize::try_from(image).ok().filter(|&i| i < batch) else {
            invalid!("image {image} of {batch}")
        };
        let shift = if half { 0.5 } else { 0.0 };
        let at = |i: usize| round(round(roi[i] * f64::from(o.spatial_scale)) - shift);
        let bins = |lo: usize, hi: usize, bins: usize, n: usize| {
            let len = round(at(hi) - at(lo));
            let len = if half { len } else { len.max(1.0) };
            let size = round(len / bins.max(1) as f64);
            let samples = if o.sampling_ratio > 0 { o.sampling_ratio as f64 } else { size.ceil() };
            Bins { start: at(lo), size, samples, n, single }
        };
        let (x, y) = (bins(0, 2, ow, w), bins(1, 3, oh, h));
        let columns: Vec<_> = (0..ow).map(|b| x.samples(b)).collect();
        let rows: Vec<_> = (0..oh).map(|b| y.samples(b)).collect();
        let share = T::of((x.samples * y.samples).max(1.0), k);
        for c in 0..channels {
            let plane = &v[(image * channels + c) * h * w..][..h * w];
            for (rows, all_rows) in &rows {
                for (columns, all_columns) in &columns {
                    let each = rows.iter().flat_map(|&y| columns.iter().map(move |&x| (y, x)));
                    let terms = each.map(|(y, x)| corners(plane, w, (y, x), k));
                    out.push(if greatest {
                        let inside = terms.flatten().reduce(|a, b| a.larger(b, k));
                        // Samples outside of the image are 0.
                        match inside {
                            Some(m) if *all_rows && *all_columns => m,
                            Some(m) => m.larger(T::ZERO, k),
                            None => T::ZERO,
                        }
                    } else {
                        let value = |[a, b, c, d]: [T; 4]| a.plus(b).plus(c).plus(d);
                        terms.fold(T::ZERO, |s, t| s.plus(value(t))).over(share, k)
                    });
                }
            }
        }
    }
    Ok(vec![Array { dims, dtype: a.dtype, data: T::wrap(out) }])
}

/// The four neighbours of a sample, each times its weight.
fn corners<T: Real>(plane: &[T], w: usize, (y, x): (Sample, Sample), k: Key<'_>) -> [T; 4] {
    let one = |(row, wy): (usize, f64), (column, wx): (usize, f64)| {
        T::of(wy * wx, k).times(plane[row * w + column])
    };
    let (top, bottom) = ((y.low, 1.0 - y.weight), (y.high, y.weight));
    let (left, right) = ((x.low, 1.0 - x.weight), (x.high, x.weight));
    [one(top, left), one(top, right), one(bottom, left), one(bottom, right)]
}

/// A box by its least and greatest coordinates.
#[derive(Clone, Copy)]
struct Bounds {
    lo: [f32; 2],
    hi: [f32; 2],
}

impl Bounds {
    fn of(v: &[f32], centred: bool) -> Self {
        if centred {
            let (w, h) = (v[2] / 2.0, v[3] / 2.0);
            return Self { lo: [v[0] - w, v[1] - h], hi: [v[0] + w, v[1] + h] };
        }
        let sorted = |a: f32, b: f32| if a >= b { (b, a) } else { (a, b) };
        let (x, y) = (sorted(v[1], v[3]), sorted(v[0], v[2]));
        Self { lo: [x.0, y.0], hi: [x.1, y.1] }
    }

    fn area(&self) -> f32 {
        (self.hi[0] - self.lo[0]) * (self.hi[1] - self.lo[1])
    }

    /// Whether the part that both share is more than this of what they cover together.
    fn overlaps(&self, o: &Self, threshold: f32) -> bool {
        let side = |d: usize| self.hi[d].min(o.hi[d]) - self.lo[d].max(o.lo[d]);
        if side(0) <= 0.0 || side(1) <= 0.0 {
            return false;
        }
        let (both, a, b) = (side(0) * side(1), self.area(), o.area());
        let union = a + b - both;
        a > 0.0 && b > 0.0 && both > 0.0 && union > 0.0 && both / union > threshold
    }
}

pub(super) fn non_max_suppression(cx: &mut Cx<'_>) -> Outputs {
    let Op::NonMaxSuppression(o) = cx.op else { invalid!("not a NonMaxSuppression") };
    let (boxes, scores) = (&cx.input(0)?.dims, &cx.input(1)?.dims);
    let (&[batch, n, 4], &[b, classes, m]) = (&boxes[..], &scores[..]) else {
        invalid!("boxes {boxes:?} with scores {scores:?}")
    };
    if batch != b || n != m || !(0..=1).contains(&o.center_point_box) {
        invalid!("boxes {boxes:?} with scores {scores:?}");
    }
    let reals = |i: usize| -> Result<Vec<f32>, RunError> {
        Ok(cx.reals(i)?.into_iter().map(|x| x as f32).collect())
    };
    let number = |i: usize| -> Result<Option<f32>, RunError> {
        Ok(if cx.opt(i).is_some() { reals(i)?.first().copied() } else { None })
    };
    let most = cx.opt_ints(2)?.and_then(|v| v.first().copied()).unwrap_or(0);
    let most = usize::try_from(most).unwrap_or(0).min(n);
    let (threshold, least) = (number(3)?.unwrap_or(0.0), number(4)?);
    cx.room::<[i64; 3]>(&[batch, classes, most])?;
    cx.room::<Bounds>(&[batch, n])?;
    let (boxes, scores) = (reals(0)?, reals(1)?);
    let bounds: Vec<Bounds> =
        boxes.chunks_exact(4).map(|v| Bounds::of(v, o.center_point_box != 0)).collect();
    let mut out: Vec<i64> = vec![];
    for (i, scores) in scores.chunks_exact(n.max(1)).enumerate() {
        let (image, class) = (i / classes, i % classes);
        let bounds = &bounds[image * n..(image + 1) * n];
        let mut order: Vec<usize> =
            (0..n).filter(|&j| least.is_none_or(|l| scores[j] > l)).collect();
        // The best first; of equals the first.
        order.sort_by(|&x, &y| (scores[y] + 0.0).total_cmp(&(scores[x] + 0.0)));
        let mut chosen: Vec<usize> = vec![];
        for j in order {
            if chosen.len() == most {
                break;
            }
            if !chosen.iter().any(|&c| bounds[j].overlaps(&bounds[c], threshold)) {
                chosen.push(j);
                out.extend([image as i64, class as i64, j as i64]);
            }
        }
    }
    Ok(vec![Array::new(vec![out.len() / 3, 3], out)])
}
