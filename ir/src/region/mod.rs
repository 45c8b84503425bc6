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
use crate::op_context::{OpCtx, RuleError};
use crate::tensor::Tensor;
use crate::window::{Span, Window};

pub(crate) use normal::disputed;
pub use normal::{normal_form, settled, unsettled, whole_of};
pub use relations::relations;

/// Shorthand for a barrier with a formatted message.
macro_rules! barrier {
    ($($arg:tt)*) => { return Err($crate::region::Barrier(format!($($arg)*))) };
}
pub(crate) use barrier;

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

    /// The span of the operand's axis, whose extent is `n`, that a region of the result needs:
    /// `None` for all of it, whatever its extent; an empty one if no element is needed.
    ///
    /// # Errors
    /// If the region cannot be computed from a part, or the extent matters and is unknown.
    pub fn need(&self, region: &Region, n: Option<i64>) -> Result<Option<Span>, Barrier> {
        let Some(r) = self.output().and_then(|o| region[o]) else { return Ok(None) };
        let extent = || n.ok_or_else(|| Barrier("an extent is unknown".into()));
        Ok(Some(match *self {
            Self::Same(_) => r,
            Self::Broadcast | Self::Whole | Self::Contract(_) => return Ok(None),
            Self::Window(_, win) => win.need(r, extent()?).span,
            Self::Transposed(_, win) => win.transposed_need(r, extent()?).0,
            Self::Block { out, outer, inner, partial } => {
                let (lo, hi) = (r.lo.div_euclid(outer), (r.hi + outer - 1).div_euclid(outer));
                let whole = r.lo % outer == 0 && r.hi % outer == 0;
                if !(whole || partial && hi - lo == 1) {
                    barrier!("cuts along axis {out} must be multiples of {outer}, not {r}");
                }
                Span::new(lo * inner, hi * inner)
            }
            Self::Affine { start, step, .. } if step > 0 => {
                let n = extent()?;
                // Indices before 0 and from n on are not read.
                let first = r.lo.max(-start.div_euclid(step));
                let (lo, last) = (start + step * first, start + step * (r.hi - 1));
                let last = if last >= n { n - 1 - (n - 1 - start).rem_euclid(step) } else { last };
                Span::new(lo.max(0), last + 1)
            }
            Self::Affine { start, step, .. } => {
                let s = Span::new(start + step * (r.hi - 1), start + step * r.lo + 1);
                if !Span::whole(extent()?).contains(s) {
                    barrier!("reads outside of the operand");
                }
                s
            }
            Self::Scaled { factor, halo, .. } => {
                let n = extent()?;
                let lo = (r.lo.div_euclid(factor) - halo).clamp(0, n);
                let hi = ((r.hi + factor - 1).div_euclid(factor) + halo).clamp(0, n);
                Span::new(lo, hi)
            }
        }))
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
pub fn tile(ctx: &OpCtx<'_>, output: usize, region: &Region) -> Result<Tile, Barrier> {
    let rel = relations(ctx, output)?;
    let mut region = region.clone();
    for (axis, why) in &rel.barriers {
        let Some(Some(span)) = region.get(*axis).copied() else { continue };
        // All of an axis is no cut.
        if known(&result(ctx, output)?[*axis]).map(Span::whole) != Some(span) {
            return Err(Barrier(why.clone()));
        }
        region[*axis] = None;
    }
    let region = &region;
    // A part of what Split and Crop cut out is a part of their operand, along all axes; of one
    // result of Split, so is the whole.
    let part = region.iter().any(Option::is_some);
    let cut = match ctx.op {
        Op::Split(_) | Op::Crop(_) if part || matches!(ctx.op, Op::Split(_)) => {
            let out = result(ctx, output)?;
            region.iter().zip(&out).map(|(r, d)| r.or(known(d).map(Span::whole))).collect()
        }
        // What auto_pad crops is cut off along all axes, as no attribute can say it.
        _ if part && rel.operands.iter().flatten().any(crops) => {
            let out = result(ctx, output)?;
            let mut cut = region.clone();
            for r in rel.operands.iter().flatten().filter(|r| crops(r)) {
                let Some(axis) = r.output() else { continue };
                cut[axis] = cut[axis].or(known(&out[axis]).map(Span::whole));
                if cut[axis].is_none() {
                    barrier!("auto_pad crops axis {axis}, whose extent runtimes read differently");
                }
            }
            cut
        }
        _ => region.clone(),
    };
    let mut parts = Vec::with_capacity(rel.operands.len());
    for (i, axes) in rel.operands.iter().enumerate() {
        parts.push(operand(ctx, i, axes, &cut)?);
    }
    adjust::adjust(ctx, output, region, &rel, parts)
}

/// Whether the windows leave out elements at a border.
fn crops(r: &Relation) -> bool {
    matches!(r, Relation::Window(_, w) if w.crops())
}

/// For each entry of a tile's `needs`, the operand that it is a need of; `None` for one that the
/// node does not have. A tile may have fewer operands than its node: a `Concat` of which only some
/// operands are needed keeps those in order; any other keeps the first ones.
pub fn operands_of(ctx: &OpCtx<'_>, tile: &Tile) -> Vec<Option<usize>> {
    let all = |n: usize| (0..n).map(|i| (i < ctx.inputs.len()).then_some(i)).collect();
    let Op::Concat(c) = ctx.op else { return all(tile.needs.len()) };
    if tile.needs.len() == ctx.inputs.len() {
        return all(tile.needs.len());
    }
    // Which operands are left follows from the relations: those whose part is not empty.
    let Ok(rel) = relations(ctx, 0) else { return Vec::new() };
    let mut out = Vec::new();
    for (i, axes) in rel.operands.iter().enumerate() {
        let Ok(axis) = crate::op_context::axis_of(c.axis, axes.len()) else { continue };
        let n = ctx.dims(i).and_then(|d| d.get(axis)).and_then(known);
        let left = axes[axis].need(&tile.computes, n);
        if matches!(left, Ok(s) if s.is_none_or(|s| !s.is_empty())) {
            out.push(Some(i));
        }
    }
    out
}

/// Extents of a result.
fn result(ctx: &OpCtx<'_>, output: usize) -> Result<Vec<crate::Dim>, Barrier> {
    let types = crate::infer::infer(ctx)?;
    match types.get(output).and_then(|t| t.dims()) {
        Some(d) => Ok(d.to_vec()),
        None => barrier!("the result's rank is unknown"),
    }
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
    ctx: &OpCtx<'_>,
    index: usize,
    axes: &[Relation],
    region: &Region,
) -> Result<Part, Barrier> {
    let mut part = Part::default();
    let dims = ctx.dims(index).unwrap_or_default();
    for (a, rel) in axes.iter().enumerate() {
        let n = dims.get(a).and_then(known);
        let span = rel.need(region, n).map_err(|e| match n {
            Some(_) => e,
            None => Barrier(format!("extent {a} of operand {index} is unknown")),
        })?;
        let mut w = None;
        match (rel, rel.output().and_then(|o| region[o]), n) {
            (Relation::Window(_, win), Some(r), Some(n)) => {
                let need = win.need(r, n);
                w = Some(Window { begin: need.begin, end: need.end, ..*win });
                if need.span.is_empty() {
                    part.hollow.push((a, (r.len() - 1) * win.stride + win.extent()));
                }
            }
            (Relation::Transposed(_, win), Some(r), Some(n)) => {
                w = Some(win.transposed_need(r, n).1);
            }
            (Relation::Window(_, win) | Relation::Transposed(_, win), ..) => w = Some(*win),
            (Relation::Affine { .. }, ..) => part.nothing |= span.is_some_and(Span::is_empty),
            _ => {}
        }
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
