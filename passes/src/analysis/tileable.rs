//! Nodes that cannot be tiled, and why.

use graph_opt_ir::op::Class;
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{Graph, NodeId, Span, region};

/// A node none of whose spatial axes (or rows) can be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untileable {
    /// The node that cannot be cut.
    pub node: NodeId,
    /// Why none of its axes can be cut.
    pub reason: String,
}

/// Nodes that prevent tiling: none of their axes but batch and channels can be cut in halves. Nodes that
/// compute shapes or constants are not listed.
pub fn untileable(graph: &Graph) -> Vec<Untileable> {
    let mut all = Vec::new();
    for id in graph.schedule() {
        let node = graph.node(id);
        if node.op.class() == Class::Source {
            continue;
        }
        let Some(Some(v)) = node.outputs.first() else { continue };
        let ty = &graph.value(*v).ty;
        if ty.dtype().is_some_and(|d| d.is_int() && d.bits() > 8) {
            continue;
        }
        if let Err(reason) = halves(graph, id, ty) {
            all.push(Untileable { node: id, reason });
        }
    }
    all
}

fn halves(graph: &Graph, id: NodeId, ty: &graph_opt_ir::Type) -> Result<(), String> {
    let Some(dims) = ty.dims() else { return Err("the rank of its result is unknown".into()) };
    let ctx = OpCtx::of(graph, id);
    let mut why = None;
    // Images are cut along space, matrices along rows.
    let first = if dims.len() > 2 { 2 } else { 0 };
    for (a, d) in dims.iter().enumerate().skip(first) {
        let Some(n) = d.known().filter(|&n| n > 1) else { continue };
        let mut r = vec![None; dims.len()];
        let rel = region::relations(&ctx, 0).map_err(|b| b.0)?;
        let align = region::alignment(&rel, a).max(1);
        let half = (n as i64 / 2).div_euclid(align) * align;
        if half == 0 {
            continue;
        }
        r[a] = Some(Span::new(0, half));
        match region::tile(&ctx, 0, &r) {
            Ok(_) => return Ok(()),
            Err(b) => why = Some(b.0),
        }
    }
    // A node whose axes all have extent 1 does not prevent tiling.
    why.map_or(Ok(()), Err)
}
