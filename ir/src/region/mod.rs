//! Region rules: from a region of a node's result to the region of each operand that it needs.
//!
//! Each operator declares how every axis of every operand relates to the axes of its result ([`Relation`],
//! in `relations.rs`). Everything else is derived from that: [`tile`] returns, for a region of the result,
//! the region of every operand, and the operator that computes the one from the others. Tiling, fusing,
//! device splits, costs and proofs use it.

mod adjust;
mod einsum;
mod indexed;
mod normal;
mod recurrent;
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

/// A region of a tensor: a span along each axis, or `None` for the whole axis, also if its extent is
/// unknown.
pub type Region = Vec<Option<Span>>;

/// How one axis of an operand relates to the axes of the result. `usize` fields are axes of the result.
#[derive(Clone, PartialEq, Debug)]
pub enum Relation {
    /// Index `i` of the result needs index `i` of the operand. The operator computes a part of the axis as it
    /// does the whole, wherever the part begins.
    Same(usize),
    /// A broadcast axis of extent 1: every region needs its only element.
    Broadcast,
    /// Every region of the result needs the whole axis.
    Whole,
    /// The axis is summed over, so every region needs all of it. Axes of operands that are contracted with
    /// each other have the same number. Splitting them yields partial sums.
    Contract(u8),
    /// A window slides over the axis.
    Window(usize, Window),
    /// A transposed window spreads the axis over the result.
    Transposed(usize, Window),
    /// Blocks of `inner` elements of this axis correspond to blocks of `outer` elements of the output axis.
    /// With `partial`, a part of one output block needs its whole input block.
    Block {
        /// Axis of the result.
        out: usize,
        /// Number of elements of an output block.
        outer: i64,
        /// Number of elements of an input block.
        inner: i64,
        /// Whether parts of one output block can be computed alone (groups of a convolution).
        partial: bool,
    },
    /// Index `i` of the result is index `start + step * i` of the operand. Indices out of its range are not
    /// read: they are the padding of Pad, or in other operands of Concat.
    Affine {
        /// Axis of the result.
        out: usize,
        /// Input index of output 0.
        start: i64,
        /// Difference of the input indices of consecutive outputs.
        step: i64,
    },
    /// The axis gets a border of its own elements: index `i` of the result is index `i - begin` of the operand
    /// or, outside of it, one that is as far inside (`mirrored`) or the one at the edge.
    Bordered {
        /// Axis of the result.
        out: usize,
        /// Number of elements before the operand's first.
        begin: i64,
        /// Whether the border is the mirror image of what is inside, without the edge itself.
        mirrored: bool,
    },
    /// The axis is enlarged by an integer factor, by interpolation between neighbours.
    Scaled {
        /// Axis of the result.
        out: usize,
        /// Number of outputs for each input.
        factor: i64,
        /// Number of neighbouring inputs on either side that interpolation reads.
        halo: i64,
    },
}

impl Relation {
    /// Index `i` along this axis of the result needs index `i` of the operand; but unlike with
    /// [`Same`](Self::Same), where a part begins changes the operator that computes it.
    pub(crate) fn at(axis: usize) -> Self {
        let (kernel, stride, dilation) = (1, 1, 1);
        let (begin, end, ceil, output_padding) = (0, 0, false, 0);
        let window = Window { kernel, stride, dilation, begin, end, ceil, output_padding };
        Self::Window(axis, window)
    }

    /// The axis of the result to which it relates, if it relates to one.
    pub fn output(&self) -> Option<usize> {
        match *self {
            Self::Same(o) | Self::Window(o, _) | Self::Transposed(o, _) => Some(o),
            Self::Block { out, .. }
            | Self::Affine { out, .. }
            | Self::Bordered { out, .. }
            | Self::Scaled { out, .. } => Some(out),
            Self::Broadcast | Self::Whole | Self::Contract(_) => None,
        }
    }

    /// The span of the operand's axis, which has extent `n`, that a region of the result needs: `None` for
    /// the whole axis; an empty span if no element is needed.
    ///
    /// # Errors
    /// If the region cannot be computed from a part of the axis, or `n` is needed and unknown.
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
                    barrier!("cuts along axis {out} must be at multiples of {outer}, found {r}");
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
            Self::Bordered { begin, mirrored, .. } => {
                let n = extent()?;
                let (before, after) = ((begin - r.lo).max(0), (r.hi - begin - n).max(0));
                // The border at an end is made of as many elements inside of it.
                let inside = |border: i64| match border {
                    0 => 0,
                    border => 1 + if mirrored { border } else { 0 },
                };
                if inside(before).max(inside(after)) > n {
                    barrier!("the border is wider than the operand");
                }
                let clip = |i: i64| (i - begin).clamp(0, n);
                let (mut lo, mut hi) = (clip(r.lo), clip(r.hi));
                if before > 0 {
                    (lo, hi) = (0, hi.max(inside(before)));
                }
                if after > 0 {
                    (lo, hi) = (lo.min(n - inside(after)), n);
                }
                Span::new(lo, hi)
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
    /// For each operand, the relation of each axis. Empty if the operand is absent, or a parameter that a
    /// tile replaces (a shape, the starts of a Slice).
    pub operands: Vec<Vec<Relation>>,
    /// Axes of the result that cannot be cut, with the reasons.
    pub barriers: Vec<(usize, String)>,
}

/// The reason why a region of a result cannot be computed from parts of the operands.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Barrier(pub String);

impl From<RuleError> for Barrier {
    fn from(e: RuleError) -> Self {
        Self(e.0)
    }
}

/// One operand of a tile.
#[derive(Clone, PartialEq, Debug)]
pub enum Need {
    /// No operand: it is absent, or no element of it is needed.
    Nothing,
    /// This region of the node's operand.
    Region(Region),
    /// This constant instead of the node's operand: a shape, bounds or pads for the tile.
    Instead(Tensor),
    /// Zeros of these extents, in place of this region: the windows are entirely in the padding.
    Zeros(Region, Vec<i64>),
}

/// How to compute a region of a result.
#[derive(Clone, PartialEq, Debug)]
pub struct Tile {
    /// The operator to run; `Identity` if the result is the region of the first operand.
    pub op: Op,
    /// The operands of the operator.
    pub needs: Vec<Need>,
    /// The region that is computed: the requested one, or a larger one that the caller must crop.
    pub computes: Region,
    /// Which result of `op` it is.
    pub output: usize,
}

/// The operator and operands that compute `region` of result `output` of the node.
///
/// # Errors
/// With the reason, if the region cannot be computed exactly from parts of the operands.
pub fn tile(ctx: &OpCtx<'_>, output: usize, region: &Region) -> Result<Tile, Barrier> {
    let rel = relations(ctx, output)?;
    let mut region = region.clone();
    for (axis, why) in &rel.barriers {
        let Some(Some(span)) = region.get(*axis).copied() else { continue };
        // A span of the whole axis is not a cut.
        if known(&result(ctx, output)?[*axis]).map(Span::whole) != Some(span) {
            return Err(Barrier(why.clone()));
        }
        region[*axis] = None;
    }
    let region = &region;
    // Split and Crop take a part of their operand along all axes, so a tile of them does as well. For one
    // result of Split this holds even if the whole result is requested.
    let part = region.iter().any(Option::is_some);
    let cut = match ctx.op {
        Op::Split(_) | Op::Crop(_) if part || matches!(ctx.op, Op::Split(_)) => {
            let out = result(ctx, output)?;
            region.iter().zip(&out).map(|(r, d)| r.or(known(d).map(Span::whole))).collect()
        }
        // No attribute can express what auto_pad crops, so a tile cuts it off along all axes.
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

/// Whether the windows leave out elements at an end of the axis.
fn crops(r: &Relation) -> bool {
    matches!(r, Relation::Window(_, w) if w.crops())
}

/// For each entry of a tile's `needs`, the index of the node's operand to which it belongs; `None` if the
/// node does not have it. A tile may have fewer operands than its node: a `Concat` keeps those that are
/// needed, in order; other operators keep the first ones.
pub fn operands_of(ctx: &OpCtx<'_>, tile: &Tile) -> Vec<Option<usize>> {
    let all = |n: usize| (0..n).map(|i| (i < ctx.inputs.len()).then_some(i)).collect();
    let Op::Concat(c) = ctx.op else { return all(tile.needs.len()) };
    if tile.needs.len() == ctx.inputs.len() {
        return all(tile.needs.len());
    }
    // The operands that are left are those whose part is not empty.
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

/// Extents of result `output`.
fn result(ctx: &OpCtx<'_>, output: usize) -> Result<Vec<crate::Dim>, Barrier> {
    let types = crate::infer::infer(ctx)?;
    match types.get(output).and_then(|t| t.dims()) {
        Some(d) => Ok(d.to_vec()),
        None => barrier!("the result's rank is unknown"),
    }
}

/// Cuts along this axis of the result must be at multiples of this number, so that blocks stay whole; 1 if
/// cuts may be anywhere.
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

/// The part of an operand that a region needs, before the operator is adjusted to it.
#[derive(Clone, Debug, Default)]
struct Part {
    /// The region of the operand.
    spans: Region,
    /// Axes along which all windows are in the padding, with the extent that they cover.
    hollow: Vec<(usize, i64)>,
    /// The window of the tile along each axis; `None` if it has no window.
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
        // A span of the whole axis is not a cut.
        let span = span.filter(|s| n != Some(s.hi) || s.lo != 0);
        part.spans.push(span);
        part.windows.push(w);
    }
    Ok(part)
}

/// Extents of a region of a tensor with extents `dims`; `None` where the region has a whole axis of unknown
/// extent.
pub fn extents(region: &Region, dims: &[crate::Dim]) -> Vec<Option<i64>> {
    region.iter().zip(dims).map(|(r, d)| r.map_or_else(|| known(d), |s| Some(s.len()))).collect()
}

/// The smallest region that contains both, which have the same rank.
pub fn hull(a: &Region, b: &Region) -> Region {
    a.iter().zip(b).map(|(a, b)| Some((*a)?.hull((*b)?))).collect()
}
