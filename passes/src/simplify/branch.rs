//! If with a constant condition.

use graph_opt_ir::op::Op;
use graph_opt_ir::{Edit, EditError, NodeId, infer};

use super::attempt;
use crate::pass::PassCtx;

/// Puts the branch that is always taken in the place of its If.
pub(super) fn sweep(cx: &mut PassCtx<'_, '_>) -> Result<usize, EditError> {
    let mut done = 0;
    let order: Vec<NodeId> = cx.graph().schedule().collect();
    for id in order {
        if !cx.selected(id) || cx.is_done() {
            continue;
        }
        // A branch that cannot be moved stays where it is.
        if let Some(Ok(edit)) = taken(cx, id) {
            done += attempt(cx, &edit)?;
        }
    }
    Ok(done)
}

fn taken(cx: &PassCtx<'_, '_>, id: NodeId) -> Option<Result<Edit, String>> {
    let graph = cx.graph();
    let node = graph.node(id);
    let Op::If(i) = &node.op else { return None };
    let condition = cx.constant((*node.inputs.first()?)?)?;
    let branch = i.taken(&condition)?;
    // In its place, it would contradict the graph; the model fails when it runs.
    if !infer::can_run(graph, id, branch, 0) {
        return None;
    }
    Some(Edit::inline(graph, id, branch, &[], "simplify If"))
}
