//! What cannot be cut into parts, and why.

use graph_opt_ir::op::Class;
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{Graph, NodeId, Span, region};

/// A node none of whose axes can be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untileable {
    /// The node that cannot be cut.
    pub node: NodeId,
    /// Why none of its axes can be cut: each reason once.
    pub reason: String,
}

/// An axis of a node's result that cannot be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeAxis {
    /// The node.
    pub node: NodeId,
    /// The axis of its first result.
    pub axis: usize,
    /// Number of elements along it.
    pub extent: u64,
    /// Why it cannot be cut.
    pub reason: String,
}

/// Nodes that cannot be cut along any axis, and the axes along which others cannot. Axes of one element and
/// those of unknown extent are not listed, nor are nodes that compute shapes or constants.
pub fn uncut(graph: &Graph) -> (Vec<Untileable>, Vec<WholeAxis>) {
    let (mut nodes, mut axes) = (Vec::new(), Vec::new());
    for node in graph.schedule() {
        let n = graph.node(node);
        let result = n.outputs.iter().enumerate().find_map(|(i, v)| Some((i, (*v)?)));
        let Some((index, v)) = result.filter(|_| n.op.class() != Class::Source) else { continue };
        let ty = &graph.value(v).ty;
        if ty.dtype().is_some_and(|d| d.is_int() && d.bits() > 8) {
            continue;
        }
        let Some(dims) = ty.dims() else {
            nodes.push(Untileable { node, reason: "the rank of its result is unknown".into() });
            continue;
        };
        let ctx = OpCtx::followed(graph, node);
        let known = |(axis, d): (usize, &graph_opt_ir::Dim)| Some((axis, d.known()?));
        let open = dims.iter().any(|d| d.known().is_none());
        let long: Vec<(usize, u64)> =
            dims.iter().enumerate().filter_map(known).filter(|(_, n)| *n > 1).collect();
        let whole: Vec<WholeAxis> = (long.iter())
            .filter_map(|&(axis, extent)| {
                let reason = halves(&ctx, index, dims.len(), (axis, extent)).err()?;
                Some(WholeAxis { node, axis, extent, reason })
            })
            .collect();
        if whole.is_empty() {
            continue;
        }
        if whole.len() < long.len() || open {
            axes.extend(whole);
            continue;
        }
        let mut reasons: Vec<String> = whole.into_iter().map(|w| w.reason).collect();
        reasons.dedup();
        nodes.push(Untileable { node, reason: reasons.join("; ") });
    }
    (nodes, axes)
}

/// Whether the axis of a result can be cut in halves; or why not.
fn halves(
    ctx: &OpCtx<'_>,
    output: usize,
    rank: usize,
    (axis, extent): (usize, u64),
) -> Result<(), String> {
    let rel = region::relations(ctx, output).map_err(|b| b.0)?;
    let align = region::alignment(&rel, axis).max(1);
    let half = (extent as i64 / 2).div_euclid(align) * align;
    if half == 0 {
        return Err(format!("cuts must be at multiples of {align}, and it has {extent} elements"));
    }
    let mut part = vec![None; rank];
    part[axis] = Some(Span::new(0, half));
    region::tile(ctx, output, &part).map(|_| ()).map_err(|b| b.0)
}
