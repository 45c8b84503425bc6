//! The windows of a convolution as the columns of a matrix, of which only the blocks exist that
//! the matrix product is working on.

use std::ops::Range;

use crate::cpu::arena::Lines;
use crate::cpu::gemm::{Columns, copy_row};
use crate::geometry::Geometry;

/// One image (the channels of a group, from this plane on); row (channel, tap), column output
/// position.
pub(super) struct Im2col<'a> {
    pub data: Lines<'a, f32>,
    pub first: usize,
    pub geometry: &'a Geometry,
}

/// Columns that lie in one row of the output.
struct Run {
    z: usize,
    y: usize,
    x: usize,
    len: usize,
}

impl Columns for Im2col<'_> {
    fn pack(&self, k: Range<usize>, n: Range<usize>, width: usize, dst: &mut [f32]) {
        let g = self.geometry;
        let [_, ih, iw] = g.input;
        let [_, oh, ow] = g.output;
        let [kd, kh, kw] = g.kernel;
        let mut runs = Vec::with_capacity(4);
        let mut at = n.start;
        while at < n.end {
            let len = (ow - at % ow).min(n.end - at);
            runs.push(Run { z: at / (oh * ow), y: at / ow % oh, x: at % ow, len });
            at += len;
        }
        let s = g.stride[2];
        // Outputs along a row whose tap is inside the image, by tap.
        let valid: Vec<(usize, usize)> = (0..kw)
            .map(|kx| {
                let shift = kx * g.dilation[2];
                let lo = g.begin[2].saturating_sub(shift).div_ceil(s);
                (lo, (iw + g.begin[2]).saturating_sub(shift).div_ceil(s))
            })
            .collect();
        let (mut c, t) = (k.start / (kd * kh * kw), k.start % (kd * kh * kw));
        let (mut kz, mut ky, mut kx) = (t / (kh * kw), t / kw % kh, t % kw);
        for row in dst.chunks_exact_mut(width).take(k.len()) {
            let ((lo, hi), shift) = (valid[kx], kx * g.dilation[2]);
            let mut rest = row;
            for r in &runs {
                let (part, tail) = rest.split_at_mut(r.len);
                rest = tail;
                let (Some(z), Some(y)) = (g.source(0, r.z, kz), g.source(1, r.y, ky)) else {
                    part.fill(0.0);
                    continue;
                };
                let line = self.data.line(self.first + c, z * ih + y);
                let (a, b) = (lo.clamp(r.x, r.x + r.len), hi.clamp(r.x, r.x + r.len));
                let b = b.max(a);
                part[..a - r.x].fill(0.0);
                part[b - r.x..].fill(0.0);
                let inside = &mut part[a - r.x..b - r.x];
                if inside.is_empty() {
                    continue;
                }
                let from = &line[a * s + shift - g.begin[2]..];
                match s {
                    1 => copy_row(&from[..inside.len()], inside),
                    2 => inside.iter_mut().zip(from.iter().step_by(2)).for_each(|(o, x)| *o = *x),
                    _ => inside.iter_mut().zip(from.iter().step_by(s)).for_each(|(o, x)| *o = *x),
                }
            }
            rest.fill(0.0);
            kx += 1;
            if kx == kw {
                (kx, ky) = (0, ky + 1);
                if ky == kh {
                    (ky, kz) = (0, kz + 1);
                    if kz == kd {
                        (kz, c) = (0, c + 1);
                    }
                }
            }
        }
    }
}

/// Planes that are single rows, each a row of the matrix.
pub(super) struct Planes<'a> {
    pub data: Lines<'a, f32>,
    pub first: usize,
}

impl Columns for Planes<'_> {
    fn pack(&self, k: Range<usize>, n: Range<usize>, width: usize, dst: &mut [f32]) {
        for (row, k) in dst.chunks_exact_mut(width).zip(k) {
            copy_row(&self.data.line(self.first + k, 0)[n.clone()], row);
        }
    }
}
