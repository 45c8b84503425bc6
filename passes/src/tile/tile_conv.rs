//! `tile-conv`: one convolution, pool or matrix product becomes Slice, n smaller ones, and Concat.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   %W = const random(1)                        : f32[8,3,3,3]
//!   %y = Conv %x, %W {pads=[1,1,1,1]}           : f32[1,8,16,16]    ; conv1
//! }
//! ```
//! After `tile-conv{axis=h parts=2}`:
//! ```text
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   %W = const random(1)                        : f32[8,3,3,3]
//!   %a = Slice %x [2: 0..9]                     : f32[1,3,9,16]
//!   %b = Conv %a, %W {pads=[1,1,0,1]}           : f32[1,8,8,16]
//!   %c = Slice %x [2: 7..16]                    : f32[1,3,9,16]
//!   %d = Conv %c, %W {pads=[0,1,1,1]}           : f32[1,8,8,16]
//!   %y = Concat %b, %d {axis=2}                 : f32[1,8,16,16]
//! }
//! ```
//!
//! Along `c-in` (the axis that the operator sums over) the parts are partial sums, added up.

use graph_opt_ir::op::{Class, Op};
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::region::{self, Barrier, Need, Relation, Relations};
use graph_opt_ir::{Edit, EditError, Graph, NodeId, Span, ValueId};

use super::parts::PartsError;
use super::planner::TiledGroup;
use super::{Grid, Group, Reuse, build, partial_sums, parts, region_bytes};
use crate::fix_dims::Symbolic;
use crate::options::{OptionError, OptionInfo, Options, bytes_text, list_text, name_of};
use crate::pass::{Data, Exactness, Outcome, Pass, PassCtx, PassInfo};
use crate::units::{ByteSize, count};

/// Its entry in the registry.
pub(crate) const INFO: PassInfo = PassInfo {
    name: "tile-conv",
    summary: "one convolution, pool or matrix product into Slice, n smaller ones, and Concat",
    exactness: Exactness::BitExact,
    options: &[
        OptionInfo {
            name: "axis",
            value: "n|h|w|d|c-out|c-in|hxw|…",
            help: "axis of the result to cut, or two for a grid; c-in gives partial sums, which reassociates",
        },
        OptionInfo {
            name: "parts",
            value: "4|2x2",
            help: "number of parts; remainders are spread",
        },
        OptionInfo { name: "sizes", value: "[3,3,2]", help: "sizes of the parts along the axis" },
        OptionInfo {
            name: "max-bytes",
            value: "64KiB",
            help: "as many parts as it takes for a part's inputs and result together to fit",
        },
        OptionInfo {
            name: "ops",
            value: "conv|pool|matmul|all",
            help: "which operators to tile (default all)",
        },
    ],
    make,
};

/// An axis of the result of a convolution, pool or matrix product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Axis {
    /// Axis 0 of the result.
    Batch,
    /// The third axis from the end: planes of a volume.
    Depth,
    /// The second axis from the end: rows of an image.
    Height,
    /// The last axis: columns of an image.
    Width,
    /// Output channels of a convolution or pool; columns of a matrix product.
    ChannelsOut,
    /// The axis that the operator sums over: the parts are partial sums, which are added up.
    ChannelsIn,
}

const AXES: [(&str, Axis); 6] = [
    ("n", Axis::Batch),
    ("d", Axis::Depth),
    ("h", Axis::Height),
    ("w", Axis::Width),
    ("c-out", Axis::ChannelsOut),
    ("c-in", Axis::ChannelsIn),
];

/// Which operators are tiled.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Ops {
    /// Convolutions, pools and matrix products.
    #[default]
    All,
    /// Only convolutions, transposed and quantized ones included.
    Conv,
    /// Only pools: MaxPool, AveragePool, LpPool.
    Pool,
    /// Only matrix products: MatMul, Gemm and the quantized ones.
    Matmul,
}

const OPS: [(&str, Ops); 4] =
    [("conv", Ops::Conv), ("pool", Ops::Pool), ("matmul", Ops::Matmul), ("all", Ops::All)];

#[derive(Clone, PartialEq, Eq, Debug)]
enum How {
    Parts(Vec<i64>),
    Sizes(Vec<i64>),
    MaxBytes(u64),
}

/// The pass `tile-conv`, which cuts single convolutions, pools and matrix products into parts.
///
/// ```
/// use graph_opt_passes::Pipeline;
/// use graph_opt_passes::tile::tile_conv::{Axis, Ops, TileConv};
///
/// let grid = TileConv::grid(&[(Axis::Height, 2), (Axis::Width, 3)])?.ops(Ops::Conv);
/// let text = "tile-conv{axis=hxw ops=conv parts=2x3}";
/// assert_eq!(Pipeline::default().then(grid).to_string(), text);
/// # Ok::<(), graph_opt_passes::OptionError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TileConv {
    axes: Vec<Axis>,
    how: How,
    ops: Ops,
}

impl TileConv {
    /// Cuts the axis into `parts` parts; remainders are spread.
    ///
    /// # Errors
    /// If `parts` is less than 1.
    pub fn parts(axis: Axis, parts: i64) -> Result<Self, OptionError> {
        Self::grid(&[(axis, parts)])
    }

    /// Cuts one axis or two, each into a number of parts.
    ///
    /// # Errors
    /// If there are no axes, more than two, or one axis twice; if one of two is [`Axis::ChannelsIn`]; or
    /// if a number of parts is less than 1.
    pub fn grid(axes: &[(Axis, i64)]) -> Result<Self, OptionError> {
        let (axes, parts) = axes.iter().copied().unzip();
        Self::checked(axes, How::Parts(parts))
    }

    /// Cuts the axis into parts of these sizes, in elements.
    ///
    /// # Errors
    /// If a size is less than 1.
    pub fn sizes(axis: Axis, sizes: Vec<i64>) -> Result<Self, OptionError> {
        Self::checked(vec![axis], How::Sizes(sizes))
    }

    /// Cuts the axis into the smallest number of parts whose inputs and result take at most `bytes`
    /// bytes.
    ///
    /// # Errors
    /// For [`Axis::ChannelsIn`].
    pub fn max_bytes(axis: Axis, bytes: u64) -> Result<Self, OptionError> {
        Self::checked(vec![axis], How::MaxBytes(bytes))
    }

    /// Tiles only these operators.
    #[must_use]
    pub fn ops(self, ops: Ops) -> Self {
        Self { ops, ..self }
    }

    fn checked(axes: Vec<Axis>, how: How) -> Result<Self, OptionError> {
        let err = |m: &str| Err(OptionError(m.into()));
        if axes.is_empty() || axes.len() > 2 || (axes.len() == 2 && axes[0] == axes[1]) {
            let axes = axes_text(&axes);
            return Err(OptionError(format!("a grid has two different axes, not {axes:?}")));
        }
        if axes.len() == 2 && axes.contains(&Axis::ChannelsIn) {
            return err("c-in makes no grid with another axis; use two passes");
        }
        match &how {
            How::Parts(p) if p.len() != axes.len() => {
                return err("parts must have one number for each axis, as in axis=hxw parts=2x2");
            }
            How::Sizes(_) | How::MaxBytes(_) if axes.len() != 1 => {
                return err("sizes and max-bytes go with one axis");
            }
            How::MaxBytes(_) if axes[0] == Axis::ChannelsIn => {
                return err("max-bytes cannot choose the parts of c-in; use parts");
            }
            How::Parts(n) | How::Sizes(n) if n.is_empty() || n.iter().any(|&n| n < 1) => {
                return err("parts and sizes must be whole numbers of at least 1");
            }
            _ => {}
        }
        Ok(Self { axes, how, ops: Ops::All })
    }
}

fn axes_text(axes: &[Axis]) -> String {
    axes.iter().map(|&a| name_of(a, &AXES)).collect::<Vec<_>>().join("x")
}

fn make(o: &Options) -> Result<Box<dyn Pass>, OptionError> {
    let err = |m: &str| Err(OptionError(m.into()));
    let Some(axis) = o.get("axis") else { return err("axis is missing; try axis=h") };
    let one = |name: &str| match AXES.iter().find(|a| a.0 == name) {
        Some(a) => Ok(a.1),
        None => Err(OptionError(format!(
            "axis must be n, d, h, w, c-out, c-in or two of them as in hxw, not {axis:?}"
        ))),
    };
    let axes: Vec<Axis> = axis.split('x').map(one).collect::<Result<_, _>>()?;
    let parts = match o.get("parts") {
        None => None,
        Some(v) => Some(
            v.split('x')
                .map(|n| crate::options::positive("parts", n))
                .collect::<Result<Vec<_>, _>>()?,
        ),
    };
    let how = match (parts, o.list("sizes")?, o.bytes("max-bytes")?) {
        (Some(p), None, None) => How::Parts(p),
        (None, Some(s), None) => How::Sizes(s),
        (None, None, Some(b)) => How::MaxBytes(b),
        (None, None, None) => return err("one of parts, sizes and max-bytes is needed"),
        _ => return err("only one of parts, sizes and max-bytes"),
    };
    let ops = o.choice("ops", &OPS)?.unwrap_or_default();
    Ok(Box::new(TileConv::checked(axes, how)?.ops(ops)))
}

impl Pass for TileConv {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn options(&self) -> Options {
        let options = Options::default().with("axis", axes_text(&self.axes));
        let options = match &self.how {
            How::Parts(p) => {
                let p: Vec<String> = p.iter().map(ToString::to_string).collect();
                options.with("parts", p.join("x"))
            }
            How::Sizes(s) => options.with("sizes", list_text(s)),
            How::MaxBytes(b) => options.with("max-bytes", bytes_text(*b)),
        };
        if self.ops == Ops::All { options } else { options.with("ops", name_of(self.ops, &OPS)) }
    }

    fn exactness(&self) -> Exactness {
        match self.axes[..] {
            [Axis::ChannelsIn] => Exactness::Reassociates,
            _ => Exactness::BitExact,
        }
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        let all: Vec<NodeId> = cx.graph().schedule().collect();
        let (mut seen, mut done) = (0, 0);
        for id in all {
            let Some(node) = cx.graph().get_node(id) else { continue };
            // Bodies of control flow have their turn; other graphs in attributes are not touched.
            let hidden = match node.op.bodies()[..] {
                [] => node.op.subgraphs().iter().map(|g| candidates(g, self)).sum::<usize>(),
                _ => 0,
            };
            if hidden > 0 && cx.selected(id) {
                cx.remark(
                    id,
                    Outcome::Blocked,
                    format!("{hidden} inside its subgraphs are left as they are"),
                );
            }
            if !self.wants(&cx.graph().node(id).op) || !cx.selected(id) {
                continue;
            }
            seen += 1;
            if cx.is_done() {
                return Ok(());
            }
            let label = cx.graph().label(id).to_owned();
            match self.plan(cx.graph(), id, cx.symbolic) {
                Ok((edit, parts, tiled)) => {
                    cx.apply(&edit)?;
                    done += 1;
                    let what = match self.axes[..] {
                        [Axis::ChannelsIn] => count(parts, "partial sum"),
                        _ => count(parts, "part"),
                    };
                    let tiled = tiled.map(|group| cx.tiled(group));
                    let data = Data::Parts { parts, tiled };
                    cx.remark_with(label, Outcome::Applied, what, data);
                }
                Err((outcome, why)) => cx.remark_on(label, outcome, why),
            }
        }
        if seen == 0 {
            cx.remark_on("", Outcome::NoMatch, "no convolution, pool or matrix product to tile");
        } else if done == 0 {
            cx.remark_on(
                "",
                Outcome::NoEffect,
                format!("none of {} was tiled", count(seen, "node")),
            );
        }
        Ok(())
    }
}

/// How many nodes of the graph and its subgraphs the pass would tile.
fn candidates(graph: &Graph, pass: &TileConv) -> usize {
    let nodes = graph.schedule().map(|n| &graph.node(n).op);
    nodes
        .map(|op| {
            usize::from(pass.wants(op))
                + op.subgraphs().iter().map(|g| candidates(g, pass)).sum::<usize>()
        })
        .sum()
}

/// Why a node is not tiled, as the outcome and the message of a remark.
type Refusal = (Outcome, String);

fn blocked(b: impl ToString) -> Refusal {
    (Outcome::Blocked, b.to_string())
}

impl TileConv {
    fn wants(&self, op: &Op) -> bool {
        let pool = op.windowed().is_some_and(|w| w.is_pool());
        match (op.class(), self.ops) {
            (Class::Window, Ops::All) => true,
            (Class::Window, Ops::Conv) => !pool,
            (Class::Window, Ops::Pool) => pool,
            (Class::Matmul, Ops::All | Ops::Matmul) => true,
            _ => false,
        }
    }

    /// The edit, the number of parts, and the parts as tiles, if they are no partial sums.
    fn plan(
        &self,
        graph: &Graph,
        id: NodeId,
        symbolic: &Symbolic,
    ) -> Result<(Edit, usize, Option<TiledGroup>), Refusal> {
        let origin = format!("tile-conv {}", graph.label(id));
        if self.axes == [Axis::ChannelsIn] {
            let spans = |n| match &self.how {
                How::Parts(p) => parts::even(n, p[0], 1, false),
                How::Sizes(s) => parts::of_sizes(n, s),
                // Refused when the pass is made.
                How::MaxBytes(_) => Ok(vec![Span::whole(n)]),
            };
            return match partial_sums::partial_sums(graph, id, &spans, &origin).map_err(blocked)? {
                (_, 1) => Err((Outcome::NoEffect, "one part is the whole".into())),
                (edit, parts) => Ok((edit, parts, None)),
            };
        }
        let value = graph.node(id).outputs.first().copied().flatten();
        let Some(value) = value else {
            return Err(blocked("its first result is not used"));
        };
        let spans = self.spans(graph, id, value, symbolic)?;
        let mut group = unit(graph, id);
        let grid = Grid { axes: spans };
        if grid.len() == 1 {
            return Err((Outcome::NoEffect, "one part is the whole".into()));
        }
        let reuse = Reuse::Recompute;
        let edit = match build::tile_group(graph, &group, &grid, reuse, &origin) {
            Ok(e) => e,
            // Without its quantization the node may still be cut.
            Err(_) if group.nodes.len() > 1 => {
                group = Group { nodes: vec![id], outputs: vec![value] };
                build::tile_group(graph, &group, &grid, reuse, &origin)
                    .map_err(|(_, b)| blocked(b))?
            }
            Err((_, b)) => return Err(blocked(b)),
        };
        Ok((edit, grid.len(), Some(TiledGroup { group, grid, reuse })))
    }

    /// The axes of the result that are cut, and their parts.
    fn spans(
        &self,
        graph: &Graph,
        id: NodeId,
        value: ValueId,
        symbolic: &Symbolic,
    ) -> Result<Vec<(usize, Vec<Span>)>, Refusal> {
        let Some(dims) = graph.value(value).ty.dims() else {
            return Err(blocked("the rank of its result is unknown"));
        };
        let rel = region::relations(&OpCtx::of(graph, id), 0).map_err(blocked)?;
        let mut axes = Vec::new();
        for axis in &self.axes {
            let a = index(&graph.node(id).op, *axis, dims.len()).map_err(blocked)?;
            let Some(n) = dims[a].known().and_then(|n| i64::try_from(n).ok()) else {
                let hint = symbolic.hint(&dims[a]);
                return Err(blocked(format!("extent {a} of its result is {}{hint}", dims[a])));
            };
            axes.push((a, n));
        }
        match &self.how {
            How::Parts(p) => axes
                .iter()
                .zip(p)
                .map(|(&(a, n), &p)| Ok((a, aligned(&rel, a, n, p)?)))
                .collect::<Result<_, PartsError>>()
                .map_err(blocked),
            How::Sizes(s) => {
                let (a, n) = axes[0];
                Ok(vec![(a, parts::of_sizes(n, s).map_err(blocked)?)])
            }
            How::MaxBytes(limit) => {
                let (a, n) = axes[0];
                let mut least = u64::MAX;
                for p in 1..=n {
                    let Ok(spans) = aligned(&rel, a, n, p) else { continue };
                    let bytes = largest(graph, id, value, a, &spans).map_err(blocked)?;
                    least = least.min(bytes);
                    if bytes <= *limit {
                        return Ok(vec![(a, spans)]);
                    }
                }
                let why = format!(
                    "its smallest part along this axis takes {}, more than {}",
                    ByteSize(least),
                    ByteSize(*limit)
                );
                Err(blocked(why))
            }
        }
    }
}

/// Parts of an output axis of extent `n`, cut only where the operator can be cut along this axis.
fn aligned(rel: &Relations, axis: usize, n: i64, parts: i64) -> Result<Vec<Span>, PartsError> {
    let inside = rel
        .operands
        .iter()
        .flatten()
        .any(|r| matches!(r, Relation::Block { out, partial: true, .. } if *out == axis));
    parts::even(n, parts, region::alignment(rel, axis), inside)
}

/// Bytes of the largest part: its result, and its slices of the operands that are not constants.
fn largest(
    graph: &Graph,
    id: NodeId,
    result: ValueId,
    axis: usize,
    spans: &[Span],
) -> Result<u64, Barrier> {
    let mut most = 0;
    for s in spans {
        let mut r = vec![None; graph.value(result).ty.rank().unwrap_or(0)];
        r[axis] = Some(*s);
        let tile = region::tile(&OpCtx::of(graph, id), 0, &r)?;
        let mut total = region_bytes(graph, result, &r);
        for (v, need) in graph.node(id).inputs.iter().zip(&tile.needs) {
            if let (Some(v), Need::Region(r)) = (v, need)
                && graph.constant(*v).is_none()
            {
                total = total.and_then(|t| t.checked_add(region_bytes(graph, *v, r)?));
            }
        }
        most = most.max(total.ok_or_else(|| Barrier("its extents are unknown".into()))?);
    }
    Ok(most)
}

/// The index of this axis in the result of the operator, of this rank.
fn index(op: &Op, axis: Axis, rank: usize) -> Result<usize, String> {
    let spatial = if op.class() == Class::Matmul { rank } else { rank.saturating_sub(2) };
    let from_end = |k: usize, name: &str| {
        if k <= spatial { Ok(rank - k) } else { Err(format!("its result has no axis {name}")) }
    };
    match (op.class(), axis) {
        (_, Axis::Width) => from_end(1, "w"),
        (_, Axis::Height) => from_end(2, "h"),
        (Class::Matmul, Axis::Depth) => Err("its result has no axis d".into()),
        (_, Axis::Depth) => from_end(3, "d"),
        (_, Axis::Batch) if rank > 0 => Ok(0),
        (Class::Matmul, Axis::ChannelsOut) => from_end(1, "c-out"),
        (_, Axis::ChannelsOut) if rank > 1 => Ok(1),
        (_, axis) => Err(format!("its result has no axis {axis:?}")),
    }
}

/// The nodes that are cut together with this one: a quantized convolution is one unit of
/// DequantizeLinear, Conv and QuantizeLinear, whose parts belong together.
fn unit(graph: &Graph, id: NodeId) -> Group {
    let node = graph.node(id);
    let mut nodes = vec![id];
    let mut output = node.outputs.iter().flatten().next().copied().unwrap_or(ValueId::new(0));
    let dequantized: Vec<NodeId> = node
        .inputs
        .iter()
        .flatten()
        .filter_map(|&v| graph.producer(v))
        .filter(|&p| matches!(graph.node(p).op, Op::DequantizeLinear(_)))
        .collect();
    let value = graph.value(output);
    let reader = match value.uses().collect::<Vec<_>>()[..] {
        [u] if !value.is_output() => Some(u.node),
        _ => None,
    };
    let quantize = reader.filter(|&r| matches!(graph.node(r).op, Op::QuantizeLinear(_)));
    if let (false, Some(q)) = (dequantized.is_empty(), quantize) {
        nodes.extend(dequantized);
        nodes.push(q);
        if let Some(Some(v)) = graph.node(q).outputs.first() {
            output = *v;
        }
    }
    nodes.sort_by_key(|&n| graph.position(n));
    nodes.dedup();
    Group { nodes, outputs: vec![output] }
}
