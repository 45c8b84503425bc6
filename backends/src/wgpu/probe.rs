//! How an adapter rounds sums of products.

use std::sync::Arc;

use graph_opt_ir::DType;

use super::buffers::Pool;
use super::device::Gpu;
use super::kernel::Kernel;
use super::stream::{Params, Stream};
use crate::RunError;

/// How an adapter rounds `fma(a, b, c)` and `a * b + c`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fusion {
    /// Both once: the kernels have the bits of the fused reference interpreter.
    Fused,
    /// Both twice: the kernels have the bits of the unfused reference interpreter.
    Unfused,
    /// `fma` once, the operators twice, as the reference interpreter does when fused; or something
    /// else that has the bits of neither.
    Mixed {
        /// Whether `fma` rounds once. The kernels write all their folds with it.
        fma: bool,
    },
}

impl Fusion {
    /// Whether folds round once a step, as the reference interpreter does with `fused`.
    pub fn folds_fused(self) -> bool {
        matches!(self, Self::Fused | Self::Mixed { fma: true })
    }
}

/// By one thread that computes a sum of products that the two kinds of rounding tell apart.
pub(super) fn fusion(gpu: &Gpu, pool: &Arc<Pool>) -> Result<Fusion, RunError> {
    let mut stream = Stream::new(gpu, pool);
    // (1 + e)^2 = 1 + 2e + e^2, of which e^2 is lost if the product is rounded.
    let e = f32::EPSILON;
    let (a, c) = (1.0 + e, -(1.0 + 2.0 * e));
    let x = stream.upload(bytemuck::cast_slice(&[a, a, c]))?;
    let y = stream.array(&[2], DType::F32)?;
    stream.run(&Kernel::probe(&[]), Params::default(), &[&x], &y.buffer, [1, 1, 1])?;
    let y = stream.read(&y)?;
    let once = |v: f32| v == e * e;
    match y[..] {
        [f, p] => Ok(match (once(f), once(p)) {
            (true, true) => Fusion::Fused,
            (false, false) => Fusion::Unfused,
            (fma, _) => Fusion::Mixed { fma },
        }),
        _ => Err(RunError::Invalid("the probe gave nothing".into())),
    }
}
