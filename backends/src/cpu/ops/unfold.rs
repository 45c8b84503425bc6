//! Windows laid out in memory: padding is written out, and planes are split by strides, so that what neighbouring
//! outputs read through one tap lies side by side. Nothing is copied for each tap, as im2col does.

use std::ops::Range;

use crate::cpu::arena::Lines;
use crate::cpu::array::Element;
use crate::cpu::gemm::{Block, Columns, NC, NR};
use crate::geometry::Geometry;

/// What kernels may read beyond the last output.
pub(super) const BEYOND: usize = 64;

/// Where elements go for bands of rows of outputs of equal depth.
///
/// Of each channel, and each tap along the depth, there is a plane for each phase of the strides that taps read:
/// every `stride`-th row and column of the input. In these, output (y, x) of a band reads through each tap at
/// `y * pitch + x` from where the tap begins.
pub(super) struct Unfold<'a> {
    g: &'a Geometry,
    /// Phases that are read, along height and width.
    phases: [Vec<usize>; 2],
    /// Elements of a row, of a phase and of a channel.
    pub pitch: usize,
    phase: usize,
    pub channel: usize,
    /// Where each tap begins.
    pub taps: Vec<usize>,
}

impl<'a> Unfold<'a> {
    /// For bands of up to so many rows of outputs.
    pub fn new(g: &'a Geometry, rows: usize) -> Self {
        let span = |axis: usize| (g.kernel[axis] - 1) * g.dilation[axis];
        let phases = [1, 2].map(|axis| {
            let mut all: Vec<usize> =
                (0..g.kernel[axis]).map(|k| k * g.dilation[axis] % g.stride[axis]).collect();
            all.sort_unstable();
            all.dedup();
            all
        });
        let pitch = g.output[2] + span(2) / g.stride[2];
        let phase = (rows + span(1) / g.stride[1]) * pitch;
        let [down, across] = [phases[0].len(), phases[1].len()];
        // An odd number of cache lines: channels do not compete for the same sets of a cache.
        let channel = (g.kernel[0] * down * across * phase).next_multiple_of(NR) | NR;
        let [kd, kh, kw] = g.kernel;
        let taps = (0..kd * kh * kw).map(|t| {
            let (kz, ky, kx) = (t / (kh * kw), t / kw % kh, t % kw);
            let at = |axis: usize, k: usize| {
                let (step, first) = (k * g.dilation[axis], g.stride[axis]);
                let p = phases[axis - 1].partition_point(|&p| p < step % first);
                (p, step / first)
            };
            let ((py, y), (px, x)) = (at(1, ky), at(2, kx));
            ((kz * down + py) * across + px) * phase + y * pitch + x
        });
        let taps = taps.collect();
        Self { g, phases, pitch, phase, channel, taps }
    }

    /// Elements for so many channels.
    pub fn len(&self, channels: usize) -> usize {
        channels * self.channel + BEYOND
    }

    /// Lays out these planes of the input for the outputs of depth `z` in the rows `ys`.
    pub fn fill<T: Element + Copy>(
        &self,
        x: Lines<'_, T>,
        planes: Range<usize>,
        z: usize,
        ys: Range<usize>,
        to: &mut [T],
    ) {
        let g = self.g;
        let [_, ih, iw] = g.input;
        let step = g.stride[2];
        // Elements of a row that are inside of the image, by phase.
        let inside: Vec<Range<usize>> = self.phases[1]
            .iter()
            .map(|p| {
                let lo = g.begin[2].saturating_sub(*p).div_ceil(step).min(self.pitch);
                let hi = (iw + g.begin[2]).saturating_sub(*p).div_ceil(step).min(self.pitch);
                lo..hi.max(lo)
            })
            .collect();
        let rows = ys.len() + (g.kernel[1] - 1) * g.dilation[1] / g.stride[1];
        for (plane, to) in planes.zip(to.chunks_mut(self.channel)) {
            let mut phases = to.chunks_exact_mut(self.phase);
            for (kz, py) in
                (0..g.kernel[0]).flat_map(|k| self.phases[0].iter().map(move |p| (k, p)))
            {
                let z = g.source(0, z, kz);
                // The row of the input that is row `r` of the phase.
                let source = |r: usize| {
                    let y = ((ys.start + r) * g.stride[1] + py).checked_sub(g.begin[1]);
                    Some(x.line(plane, z? * ih + y.filter(|&y| y < ih)?))
                };
                for ((px, inside), to) in self.phases[1].iter().zip(&inside).zip(&mut phases) {
                    for (r, row) in to.chunks_exact_mut(self.pitch).take(rows).enumerate() {
                        let Some(line) = source(r).filter(|_| !inside.is_empty()) else {
                            row.fill(T::default());
                            continue;
                        };
                        row[..inside.start].fill(T::default());
                        row[inside.end..].fill(T::default());
                        let row = &mut row[inside.clone()];
                        let line = &line[inside.start * step + px - g.begin[2]..];
                        match step {
                            1 => row.copy_from_slice(&line[..row.len()]),
                            // A constant step makes better loops.
                            2 => row
                                .iter_mut()
                                .zip(line.iter().step_by(2))
                                .for_each(|(o, &e)| *o = e),
                            _ => row
                                .iter_mut()
                                .zip(line.iter().step_by(step))
                                .for_each(|(o, &e)| *o = e),
                        }
                    }
                }
            }
        }
    }
}

/// The windows of one image (the channels of a group, from this plane on) as columns of a matrix: row (channel, tap),
/// column output position.
pub(super) struct Windows<'a> {
    pub data: Lines<'a, f32>,
    pub first: usize,
    pub unfold: &'a Unfold<'a>,
    /// Most rows of outputs of a block.
    pub rows: usize,
}

impl Windows<'_> {
    /// Rows of outputs of a block that the caches hold.
    pub fn rows(g: &Geometry) -> usize {
        (NC / g.output[2].max(1)).clamp(1, g.output[1].max(1))
    }
}

impl Columns for Windows<'_> {
    fn group(&self) -> usize {
        self.unfold.g.output[2]
    }

    fn block(&self, from: usize, end: usize) -> usize {
        let [_, oh, ow] = self.unfold.g.output;
        let row = from / ow;
        // Up to the end of this depth.
        end.min((row + self.rows).min((row / oh + 1) * oh) * ow)
    }

    fn lay(&self, k: Range<usize>, n: Range<usize>, to: &mut Block) {
        let u = self.unfold;
        let [_, oh, ow] = u.g.output;
        let taps = u.taps.len();
        let (c0, c1) = (k.start / taps, k.end.div_ceil(taps));
        to.rows.clear();
        to.rows.extend(k.map(|k| (k / taps - c0) * u.channel + u.taps[k % taps]));
        (to.strip, to.columns, to.run, to.pitch) = (NR, n.len(), ow, u.pitch);
        let (row, count) = (n.start / ow, n.len() / ow);
        let (z, y) = (row / oh, row % oh);
        let planes = self.first + c0..self.first + c1;
        u.fill(self.data, planes, z, y..y + count, to.room(u.len(c1 - c0)));
    }
}

/// Planes that are single rows, each a row of the matrix.
pub(super) struct Planes<'a> {
    pub data: Lines<'a, f32>,
    pub first: usize,
}

impl Columns for Planes<'_> {
    fn lay(&self, k: Range<usize>, n: Range<usize>, to: &mut Block) {
        to.pack(k, n.len(), |k| &self.data.line(self.first + k, 0)[n.clone()]);
    }
}
