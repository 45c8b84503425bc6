//! If with a constant condition.

use graph_opt_ir::op::Op;
use graph_opt_ir::{Edit, EditError, Graph, NodeId};

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
        if let Some(Ok(edit)) = taken(cx.graph(), id) {
            done += attempt(cx, &edit)?;
        }
    }
    Ok(done)
}

fn taken(graph: &Graph, id: NodeId) -> Option<Result<Edit, String>> {
    let node = graph.node(id);
    let Op::If(i) = &node.op else { return None };
    let condition = graph.constant((*node.inputs.first()?)?)?;
    let branch = match condition.bytes().ok()?.first()? {
        0 => &i.else_branch.0,
        _ => &i.then_branch.0,
    };
    Some(Edit::inline(graph, id, branch, &[], "simplify If"))
}
