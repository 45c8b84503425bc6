//! Operators that draw random numbers.
//!
//! ONNX leaves open how. Here each number is a function of the seed attribute or, without one, of the
//! node's label; of how many turns loops have made; and of its place. So runs of one graph agree, on
//! every machine. No other runtime draws these numbers, and a graph whose nodes have other labels draws
//! others: comparisons do not run such graphs.

use std::f64::consts::TAU;
use std::sync::atomic::Ordering;

use graph_opt_ir::{DType, Op};

use super::unary::convert;
use crate::RunError;
use crate::cpu::array::Array;
use crate::cpu::cx::{Cx, Outputs, dtype_of, extent, invalid, unsupported};
use crate::cpu::field::Key;

/// A stream of numbers in [0, 1).
struct Stream(Key<'static>);

impl Stream {
    fn of(cx: &Cx<'_>, seed: Option<f32>) -> Result<Self, RunError> {
        if cx.env.field {
            return Err(RunError::NotInField("random numbers".into()));
        }
        let Some(node) = cx.env.draws else { unsupported!("random numbers outside of a graph") };
        let key = seed.map_or(Key::new(node), |s| Key::new(0).named("seed").with_f64(s.into()));
        let turns = cx.env.turns.map_or(0, |t| t.load(Ordering::Relaxed));
        Ok(Self(key.with(turns)))
    }

    fn uniform(&self, i: usize) -> f64 {
        (self.0.with(i as u64).bits >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normally distributed, by the method of Box and Muller.
    fn normal(&self, i: usize) -> f64 {
        let (u, v) = (1.0 - self.uniform(2 * i), self.uniform(2 * i + 1));
        (-2.0 * u.ln()).sqrt() * (TAU * v).cos()
    }
}

pub(super) fn draw(cx: &mut Cx<'_>) -> Outputs {
    let like = |dtype: Option<i64>| -> Result<(Vec<usize>, DType), RunError> {
        let a = cx.input(0)?;
        Ok((a.dims.clone(), dtype.map_or(Ok(a.dtype), dtype_of)?))
    };
    let shaped = |shape: &[i64], dtype: i64| -> Result<(Vec<usize>, DType), RunError> {
        let dims = shape.iter().map(|&n| extent(n)).collect::<Result<_, _>>()?;
        Ok((dims, dtype_of(dtype)?))
    };
    let made = |(dims, to): (Vec<usize>, DType), f: &dyn Fn(usize) -> f64| -> Outputs {
        let n = cx.room::<f64>(&dims)?;
        Ok(vec![convert(cx, Array::new(dims, (0..n).map(f).collect::<Vec<f64>>()), to)?])
    };
    let between = |seed: Option<f32>, low: f32, high: f32| -> Result<_, RunError> {
        let (s, low, high) = (Stream::of(cx, seed)?, f64::from(low), f64::from(high));
        Ok(move |i: usize| low + s.uniform(i) * (high - low))
    };
    let about = |seed: Option<f32>, mean: f32, scale: f32| -> Result<_, RunError> {
        let (s, mean, scale) = (Stream::of(cx, seed)?, f64::from(mean), f64::from(scale));
        Ok(move |i: usize| mean + s.normal(i) * scale)
    };
    match cx.op {
        Op::RandomUniform(o) => made(shaped(&o.shape, o.dtype)?, &between(o.seed, o.low, o.high)?),
        Op::RandomUniformLike(o) => made(like(o.dtype)?, &between(o.seed, o.low, o.high)?),
        Op::RandomNormal(o) => made(shaped(&o.shape, o.dtype)?, &about(o.seed, o.mean, o.scale)?),
        Op::RandomNormalLike(o) => made(like(o.dtype)?, &about(o.seed, o.mean, o.scale)?),
        Op::Bernoulli(o) => {
            let (s, p) = (Stream::of(cx, o.seed)?, cx.reals(0)?);
            made(like(o.dtype)?, &|i| f64::from(u8::from(s.uniform(i) < p[i])))
        }
        Op::Multinomial(o) => {
            let &[batch, classes] = &cx.input(0)?.dims[..] else { invalid!("no rows of classes") };
            let count = extent(o.sample_size)?;
            if classes == 0 && batch != 0 {
                invalid!("no classes to choose from");
            }
            let (s, logs) = (Stream::of(cx, o.seed)?, cx.reals(0)?);
            // Sums of the probabilities of all classes up to each.
            let row = |v: &[f64]| {
                let most = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sums = v.iter().scan(0.0, |s, x| {
                    *s += (x - most).exp();
                    Some(*s)
                });
                sums.collect::<Vec<f64>>()
            };
            let rows: Vec<Vec<f64>> = logs.chunks_exact(classes.max(1)).map(row).collect();
            let chosen = |i: usize| {
                let sums = &rows[i / count];
                let at = s.uniform(i) * sums.last().copied().unwrap_or(0.0);
                sums.iter().position(|&s| at < s).unwrap_or(classes - 1) as f64
            };
            made((vec![batch, count], dtype_of(o.dtype)?), &chosen)
        }
        op => invalid!("{} draws no numbers", op.name()),
    }
}
