//! Windows over up to three spatial axes, as the kernels walk them.

use graph_opt_ir::Op;
use graph_opt_ir::window::{Window, windows};

use crate::RunError;
use crate::cpu::cx::{extent, invalid, unsupported};

/// Windows along depth, height and width; axes that are missing are trivial.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub input: [usize; 3],
    pub output: [usize; 3],
    pub kernel: [usize; 3],
    pub stride: [usize; 3],
    pub dilation: [usize; 3],
    pub begin: [usize; 3],
    /// Padding after the last element.
    pub end: [usize; 3],
}

impl Geometry {
    /// Of the operator over an input of these extents (batch and channels included).
    pub fn new(op: &Op, x: &[usize], w: Option<&[usize]>) -> Result<Self, RunError> {
        if x.len() < 3 || w.is_some_and(|w| w.len() != x.len()) {
            invalid!("an input of rank {} with weights {w:?}", x.len());
        }
        if x.len() > 5 {
            unsupported!("{} spatial axes", x.len() - 2);
        }
        let known =
            |d: &[usize]| -> Vec<_> { d[2..].iter().map(|&n| i64::try_from(n).ok()).collect() };
        let kernel = w.map(known);
        let all = windows(op, &known(x), kernel.as_deref())?;
        let skip = 5 - x.len();
        let mut g = Self {
            input: [1; 3],
            output: [1; 3],
            kernel: [1; 3],
            stride: [1; 3],
            dilation: [1; 3],
            begin: [0; 3],
            end: [0; 3],
        };
        for (i, w) in all.into_iter().enumerate() {
            let Some(w): Option<Window> = w else { invalid!("the kernel's extents are unknown") };
            let (axis, n) = (skip + i, x[2 + i]);
            let out = match op {
                Op::ConvTranspose(_) => w.transposed_outputs(n as i64),
                _ => w.outputs(n as i64),
            };
            let Some(out) = out else { invalid!("no window fits into {n} elements: {w:?}") };
            g.input[axis] = n;
            g.output[axis] = extent(out)?;
            g.kernel[axis] = extent(w.kernel)?;
            g.stride[axis] = extent(w.stride)?;
            g.dilation[axis] = extent(w.dilation)?;
            if w.crops() {
                unsupported!("auto_pad that crops");
            }
            g.begin[axis] = extent(w.begin)?;
            g.end[axis] = extent(w.end)?;
        }
        Ok(g)
    }

    /// Extents of the result over this many spatial axes.
    pub fn output_dims(&self, batch: usize, channels: usize, rank: usize) -> Vec<usize> {
        let mut dims = vec![batch, channels];
        dims.extend_from_slice(&self.output[5 - rank..]);
        dims
    }

    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    pub fn outputs(&self) -> usize {
        self.output.iter().product()
    }

    /// Index along an input axis that tap `k` of output `o` reads, if it is not padding.
    #[inline]
    pub fn source(&self, axis: usize, o: usize, k: usize) -> Option<usize> {
        let i = (o * self.stride[axis] + k * self.dilation[axis]).checked_sub(self.begin[axis])?;
        (i < self.input[axis]).then_some(i)
    }

    /// Taps along the axis that read elements rather than padding, for output `o`.
    pub fn valid(&self, axis: usize, o: usize) -> std::ops::Range<usize> {
        let at = o * self.stride[axis];
        let d = self.dilation[axis];
        let lo = self.begin[axis].saturating_sub(at).div_ceil(d);
        let hi = (self.input[axis] + self.begin[axis]).saturating_sub(at).div_ceil(d);
        let hi = hi.min(self.kernel[axis]);
        lo.min(hi)..hi
    }
}
