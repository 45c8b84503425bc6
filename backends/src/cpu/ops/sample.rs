//! GridSample: every output is interpolated between the neighbours of a place that the grid says.

use graph_opt_ir::{DType, Op};

use crate::RunError;
use crate::cpu::array::{Array, Buf, Element, on_any};
use crate::cpu::cx::{Cx, Outputs, invalid, strides, unsupported};
use crate::cpu::field::Fp;
use crate::cpu::scalar::Scalar;

/// Neighbours along an axis with their weights; `None` for those that count as 0.
pub(super) type Taps<T> = Vec<(Option<usize>, T)>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

struct Sampler {
    mode: Mode,
    padding: Padding,
    align: bool,
    /// Whether places are computed in `f32`, as runtimes do.
    single: bool,
}

/// Mirrors the place at both borders until it lies between them.
fn reflect(x: f64, lo: f64, hi: f64) -> f64 {
    let range = hi - lo;
    if range <= 0.0 {
        return lo;
    }
    let (beyond, from, to) = if x < lo {
        (lo - x, lo, hi)
    } else if x > hi {
        (x - hi, hi, lo)
    } else {
        return x;
    };
    let times = (beyond / range).trunc();
    let rest = (beyond - times * range).copysign(to - from);
    if times % 2.0 == 0.0 { from + rest } else { to - rest }
}

impl Sampler {
    /// The place among `n` elements that a coordinate of -1 to 1 says.
    fn place(&self, x: f64, n: usize) -> f64 {
        match (self.single, self.align) {
            (true, true) => f64::from((x as f32 + 1.0) / 2.0 * (n as f32 - 1.0)),
            (true, false) => f64::from(((x as f32 + 1.0) * n as f32 - 1.0) / 2.0),
            (false, true) => (x + 1.0) / 2.0 * (n as f64 - 1.0),
            (false, false) => ((x + 1.0) * n as f64 - 1.0) / 2.0,
        }
    }

    fn borders(&self, n: usize) -> (f64, f64) {
        let n = n as f64;
        if self.align { (0.0, n - 1.0) } else { (-0.5, n - 0.5) }
    }

    /// The element at an index, which may lie outside.
    fn pixel(&self, i: i64, n: usize) -> Option<usize> {
        let last = n.checked_sub(1)? as i64;
        let (lo, hi) = self.borders(n);
        let i = match self.padding {
            Padding::Zeros => return usize::try_from(i).ok().filter(|&i| i < n),
            Padding::Border => i,
            Padding::Reflection => reflect(i as f64, lo, hi) as i64,
        };
        Some(i.clamp(0, last) as usize)
    }

    fn taps(&self, x: f64, n: usize) -> Taps<f64> {
        let mut c = self.place(x, n);
        if self.mode == Mode::Nearest {
            c = c.round_ties_even();
        }
        // At borders, runtimes clamp the neighbours rather than the place.
        if self.padding == Padding::Reflection {
            let (lo, hi) = self.borders(n);
            c = reflect(c, lo, hi);
        }
        let first = c.floor();
        let t = c - first;
        let weights = match self.mode {
            Mode::Nearest => {
                let i = if c.is_nan() { i64::MIN } else { c as i64 };
                return vec![(self.pixel(i, n), 1.0)];
            }
            Mode::Linear => vec![1.0 - t, t],
            Mode::Cubic => cubic(t).to_vec(),
        };
        let before = i64::from(self.mode == Mode::Cubic);
        let at = |j: usize| (first as i64).saturating_sub(before).saturating_add(j as i64);
        weights.into_iter().enumerate().map(|(j, w)| (self.pixel(at(j), n), w)).collect()
    }
}

/// Weights of the four neighbours of a place that lies `t` after the second.
fn cubic(t: f64) -> [f64; 4] {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}

/// The weighted sum of the elements that the taps of all axes choose, from `at` on.
pub(super) fn interpolated<T: Scalar>(
    v: &[T],
    taps: &[Taps<T>],
    strides: &[usize],
    at: usize,
) -> T {
    let (Some((first, rest)), Some((&s, strides))) = (taps.split_first(), strides.split_first())
    else {
        return v[at];
    };
    let add = |sum: T, &(i, w): &(Option<usize>, T)| match i {
        Some(i) => sum.plus(w.times(interpolated(v, rest, strides, at + i * s))),
        None => sum,
    };
    first.iter().fold(T::ZERO, add)
}

/// The grid: a place for each output of a plane, in each image.
struct Grid<'a> {
    sampler: Sampler,
    places: &'a [f64],
    /// Batch, channels, outputs of a plane.
    counts: [usize; 3],
    /// Spatial extents of the image.
    image: &'a [usize],
}

impl Grid<'_> {
    /// Taps along all axes at an output of an image.
    fn taps(&self, n: usize, p: usize) -> Vec<Taps<f64>> {
        let r = self.image.len();
        let place = &self.places[(n * self.counts[2] + p) * r..][..r];
        // Coordinates come innermost axis first.
        self.image.iter().zip(place.iter().rev()).map(|(&d, &x)| self.sampler.taps(x, d)).collect()
    }

    /// Calls the function for every output: its index, where its plane starts in the image, its taps.
    fn each(&self, mut f: impl FnMut(usize, usize, &[Taps<f64>])) {
        let [batch, channels, size] = self.counts;
        if channels * size == 0 {
            return;
        }
        let plane: usize = self.image.iter().product();
        for (n, p) in (0..batch).flat_map(|n| (0..size).map(move |p| (n, p))) {
            let taps = self.taps(n, p);
            (n * channels..(n + 1) * channels).for_each(|c| f(c * size + p, c * plane, &taps));
        }
    }
}

fn weighted<T: Scalar>(cx: &Cx<'_>, v: &[T], g: &Grid<'_>, dims: &[usize]) -> Outcome<T> {
    let mut out = cx.zeros::<T>(dims)?;
    let (k, s) = (cx.key(), strides(g.image));
    g.each(|o, at, taps| {
        let one = |t: &Taps<f64>| t.iter().map(|&(i, w)| (i, T::of(w, k))).collect();
        let taps: Vec<Taps<T>> = taps.iter().map(one).collect();
        out[o] = interpolated(v, &taps, &s, at);
    });
    Ok(out)
}

fn nearest<T: Element>(cx: &Cx<'_>, v: &[T], g: &Grid<'_>, dims: &[usize]) -> Outcome<T> {
    let mut out = cx.zeros::<T>(dims)?;
    let s = strides(g.image);
    g.each(|o, at, taps| {
        let along = |(t, s): (&Taps<f64>, &usize)| t.first()?.0.map(|i| i * s);
        if let Some(i) = taps.iter().zip(&s).map(along).sum::<Option<usize>>() {
            out[o] = v[at + i].clone();
        }
    });
    Ok(out)
}

type Outcome<T> = Result<Vec<T>, RunError>;

pub(super) fn grid_sample(cx: &mut Cx<'_>) -> Outputs {
    let Op::GridSample(o) = cx.op else { invalid!("not a GridSample") };
    let mode = match o.mode.as_str() {
        "nearest" => Mode::Nearest,
        "linear" | "bilinear" => Mode::Linear,
        "cubic" | "bicubic" => Mode::Cubic,
        m => invalid!("mode {m:?}"),
    };
    let padding = match o.padding_mode.as_str() {
        "zeros" => Padding::Zeros,
        "border" => Padding::Border,
        "reflection" => Padding::Reflection,
        m => invalid!("padding_mode {m:?}"),
    };
    let (a, grid) = (cx.input(0)?, cx.input(1)?);
    let [batch, channels, image @ ..] = &a.dims[..] else { invalid!("rank {}", a.rank()) };
    let r = image.len();
    if r == 0 || grid.rank() != r + 2 || grid.dims[0] != *batch || grid.dims[r + 1] != r {
        invalid!("a grid {:?} for {:?}", grid.dims, a.dims);
    }
    if r > 3 {
        unsupported!("{r} spatial axes");
    }
    let mut dims = vec![*batch, *channels];
    dims.extend(&grid.dims[1..=r]);
    let single = grid.dtype != DType::F64 && !grid.is_field();
    let places = cx.reals(1)?;
    let g = Grid {
        sampler: Sampler { mode, padding, align: o.align_corners != 0, single },
        places: &places,
        counts: [*batch, *channels, grid.dims[1..=r].iter().product()],
        image,
    };
    if mode == Mode::Nearest {
        let data = on_any!(&a.data, v => Element::wrap(nearest(cx, v, &g, &dims)?));
        return Ok(vec![Array { dims, dtype: a.dtype, data }]);
    }
    let data = match &a.data {
        Buf::F32(v) => f32::wrap(weighted(cx, v, &g, &dims)?),
        Buf::F64(v) => f64::wrap(weighted(cx, v, &g, &dims)?),
        Buf::Field(v) => Fp::wrap(weighted(cx, v, &g, &dims)?),
        Buf::I64(_) | Buf::U64(_) => {
            cx.room::<f64>(&a.dims)?;
            let v = weighted(cx, &a.to_f64s()?, &g, &dims)?;
            return Ok(vec![super::unary::convert(cx, Array::new(dims, v), a.dtype)?]);
        }
        _ => unsupported!("{} interpolation of {}", o.mode, a.dtype),
    };
    Ok(vec![Array { dims, dtype: a.dtype, data }])
}
