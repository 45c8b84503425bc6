//! The second of an operator's two functions: a region of an output → what it needs of each input.
//!
//! An operator states, once, how each axis of each operand relates to the axes of its result
//! ([`Relation`], in `relations.rs`). Everything else here follows from that: [`tile`] gives, for
//! a region of the result, the region of every operand, and the operator that computes the one
//! from the others. Tiling, fusing, device splits, costs and proofs all read this.

mod adjust;
mod normal;
mod relations;
mod reshape;

use crate::infer::known;
use crate::op::Op;
use crate::rule::{Ctx, RuleError};
use crate::tensor::Tensor;
use crate::window::{self, Span, Window};

pub use normal::{normal_form, whole_of};
pub use relations::relations;

/// A region of a tensor: a span along each axis, or `None` for the whole axis, whatever its extent.
pub type Region = Vec<Option<Span>>;

/// How one axis of an operand relates to the axes of the result.
#[derive(Clone, PartialEq, Debug)]
pub enum Relation {
    /// The same index along this output axis.
    Same(usize),
    /// A broadcast axis of extent 1: always its only element.
    Broadcast,
    /// The result needs all of it, whichever part of the result is asked for.
    Whole,
    /// All of it, summed over; operand axes of one contraction share its number, and splitting
    /// them gives partial sums.
    Contract(u8),
    /// A window slides over it.
    Window(usize, Window),
    /// It is spread by a transposed window.
    Transposed(usize, Window),
    /// Blocks of `inner` elements of this axis stand for blocks of `outer` elements of the output
    /// axis. With `partial`, a part of one output block needs its whole input block.
    Block {
        /// Output axis.
        out: usize,
        /// Elements of an output block.
        outer: i64,
        /// Elements of an input block.
        inner: i64,
        /// Whether parts of one output block can be computed alone (groups of a convolution).
        partial: bool,
    },
    /// Output index `i` is input index `start + step * i`; what lies outside is not read (the
    /// padding of Pad, the other operands of Concat).
    Affine {
        /// Output axis.
        out: usize,
        /// Input index of output 0.
        start: i64,
        /// Distance of input indices.
        step: i64,
    },
    /// Enlarged by a whole factor, looking at `halo` neighbours on either side.
    Scaled {
        /// Output axis.
        out: usize,
        /// Outputs an input.
        factor: i64,
        /// Neighbours on either side that interpolation reads.
        halo: i64,
    },
}

impl Relation {
    /// The output axis that it relates to.
    pub fn output(&self) -> Option<usize> {
        match *self {
            Self::Same(o) | Self::Window(o, _) | Self::Transposed(o, _) => Some(o),
            Self::Block { out, .. } | Self::Affine { out, .. } | Self::Scaled { out, .. } => {
                Some(out)
            }
            Self::Broadcast | Self::Whole | Self::Contract(_) => None,
        }
    }
}

/// How an operator's operands relate to one of its results.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Relations {
    /// For each operand, a relation an axis; empty where the operand is absent or a parameter that
    /// the tile replaces (a shape, the starts of a Slice).
    pub operands: Vec<Vec<Relation>>,
    /// Output axes that cannot be cut, and why.
    pub barriers: Vec<(usize, String)>,
}

/// Why a region of a result cannot be computed from a part of the operands.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Barrier(pub String);

impl From<RuleError> for Barrier {
    fn from(e: RuleError) -> Self {
        Self(e.0)
    }
}

/// Shorthand for a barrier with a formatted message.
macro_rules! barrier {
    ($($arg:tt)*) => { return Err($crate::region::Barrier(format!($($arg)*))) };
}
pub(crate) use barrier;

/// What a tile reads as one operand.
#[derive(Clone, PartialEq, Debug)]
pub enum Need {
    /// The operand is absent, or no element of it is needed.
    Nothing,
    /// This region of the operand.
    Region(Region),
    /// These elements instead of the operand: a shape, bounds or pads that fit the tile.
    Instead(Tensor),
    /// Zeros of these extents: the windows lie entirely in the padding.
    Zeros(Region, Vec<i64>),
}

/// How to compute a region of a result.
#[derive(Clone, PartialEq, Debug)]
pub struct Tile {
    /// The operator to run. `Identity` where the region of the first needed operand is the answer.
    pub op: Op,
    /// Its operands.
    pub needs: Vec<Need>,
    /// The region that it computes: the one asked for, or a larger one that must be cropped.
    pub computes: Region,
}

/// How to compute `region` of result `output` of the node.
///
/// # Errors
/// With the reason, if it cannot be computed exactly from a part of the operands.
pub fn tile(ctx: &Ctx<'_>, output: usize, region: &Region) -> Result<Tile, Barrier> {
    let rel = relations(ctx, output)?;
    for (axis, why) in &rel.barriers {
        if region.get(*axis).is_some_and(Option::is_some) {
            return Err(Barrier(why.clone()));
        }
    }
    let mut parts = Vec::with_capacity(rel.operands.len());
    for (i, axes) in rel.operands.iter().enumerate() {
        parts.push(operand(ctx, i, axes, region)?);
    }
    adjust::adjust(ctx, output, region, &rel, parts)
}

/// The distance at which cuts along an output axis must lie so that blocks stay whole; 1 if
/// anywhere will do.
pub fn alignment(rel: &Relations, axis: usize) -> i64 {
    let blocks = rel.operands.iter().flatten().map(|r| match r {
        Relation::Block { out, outer, .. } if *out == axis => *outer,
        _ => 1,
    });
    blocks.fold(1, |a, b| a / gcd(a, b) * b)
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What an operand's region looks like, before the operator is adjusted to it.
#[derive(Clone, Debug, Default)]
struct Part {
    /// Spans that are needed.
    spans: Region,
    /// Axes along which the windows lie entirely in the padding, with the extent of the padding.
    hollow: Vec<(usize, i64)>,
    /// Window of the tile along each axis that has one.
    windows: Vec<Option<Window>>,
    /// Whether no element of the operand is needed.
    nothing: bool,
}

fn operand(
    ctx: &Ctx<'_>,
    index: usize,
    axes: &[Relation],
    region: &Region,
) -> Result<Part, Barrier> {
    let mut part = Part::default();
    let dims = ctx.dims(index).unwrap_or_default();
    for (a, rel) in axes.iter().enumerate() {
        let n = dims.get(a).and_then(known);
        let extent =
            || n.ok_or_else(|| Barrier(format!("extent {a} of operand {index} is unknown")));
        let mut w = None;
        let span = match *rel {
            Relation::Same(o) => region[o],
            Relation::Broadcast | Relation::Whole | Relation::Contract(_) => None,
            Relation::Window(o, win) => {
                w = Some(win);
                match region[o] {
                    None => None,
                    Some(r) => {
                        let need = win.need(r, extent()?);
                        w = Some(Window { begin: need.begin, end: need.end, ..win });
                        if need.span.is_empty() {
                            part.hollow.push((a, (r.len() - 1) * win.stride + win.extent()));
                        }
                        Some(need.span)
                    }
                }
            }
            Relation::Transposed(o, win) => {
                w = Some(win);
                match region[o] {
                    None => None,
                    Some(r) => {
                        let (span, cut) = win.transposed_need(r, extent()?);
                        w = Some(cut);
                        Some(span)
                    }
                }
            }
            Relation::Block { out, outer, inner, partial } => match region[out] {
                None => None,
                Some(r) => {
                    let (lo, hi) = (r.lo.div_euclid(outer), (r.hi + outer - 1).div_euclid(outer));
                    let whole = r.lo % outer == 0 && r.hi % outer == 0;
                    if !(whole || partial && hi - lo == 1) {
                        barrier!("cuts along axis {out} must be multiples of {outer}, not {r}");
                    }
                    Some(Span::new(lo * inner, hi * inner))
                }
            },
            Relation::Affine { out, start, step } => {
                let n = extent();
                match region[out] {
                    None => None,
                    Some(r) if step > 0 => {
                        let n = n?;
                        // Indices before 0 and from n on are not read.
                        let first = r.lo.max(-start.div_euclid(step));
                        let (lo, last) = (start + step * first, start + step * (r.hi - 1));
                        let last =
                            if last >= n { n - 1 - (n - 1 - start).rem_euclid(step) } else { last };
                        let s = Span::new(lo.max(0), last + 1);
                        part.nothing |= s.is_empty();
                        Some(s)
                    }
                    Some(r) => {
                        let s = Span::new(start + step * (r.hi - 1), start + step * r.lo + 1);
                        if !Span::whole(n?).contains(s) {
                            barrier!("reads outside of the operand");
                        }
                        Some(s)
                    }
                }
            }
            Relation::Scaled { out, factor, halo } => match region[out] {
                None => None,
                Some(r) => {
                    let n = extent()?;
                    let lo = (r.lo.div_euclid(factor) - halo).clamp(0, n);
                    let hi = ((r.hi + factor - 1).div_euclid(factor) + halo).clamp(0, n);
                    Some(Span::new(lo, hi))
                }
            },
        };
        // A span of the whole axis is no cut.
        let span = span.filter(|s| n != Some(s.hi) || s.lo != 0);
        part.spans.push(span);
        part.windows.push(w);
    }
    Ok(part)
}

/// Extents of a region of a tensor; `None` where the axis is whole and its extent unknown.
pub fn extents(region: &Region, dims: &[crate::Dim]) -> Vec<Option<i64>> {
    region.iter().zip(dims).map(|(r, d)| r.map_or_else(|| known(d), |s| Some(s.len()))).collect()
}

/// The smallest region that contains both.
pub fn hull(a: &Region, b: &Region) -> Region {
    a.iter().zip(b).map(|(a, b)| Some((*a)?.hull((*b)?))).collect()
}

/// The windows of the node as they are, for reports; see [`window::resolved`].
///
/// # Errors
/// As [`window::resolved`].
pub fn windows(ctx: &Ctx<'_>) -> Result<Option<Vec<Window>>, RuleError> {
    window::resolved(ctx)
}
