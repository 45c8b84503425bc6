//! Constant nodes become constants of the graph: a node less, and less to write.

use graph_opt_ir::op::Op;
use graph_opt_ir::{Edit, EditError, NodeId, Ref};

use crate::pass::PassCtx;

/// Most nodes of one edit, which looks through its own lists.
const BATCH: usize = 64;

pub(super) fn sweep(cx: &mut PassCtx<'_, '_>) -> Result<usize, EditError> {
    // A function has no other constants than nodes.
    if cx.is_function() {
        return Ok(0);
    }
    let graph = cx.graph();
    let lifted = |id: NodeId| match graph.node(id).outputs[..] {
        // An output stays the result of a node: runtimes know no other.
        [Some(v)] => cx.selected(id) && !graph.value(v).is_output(),
        _ => false,
    };
    let nodes: Vec<NodeId> = (graph.schedule())
        .filter(|&id| matches!(graph.node(id).op, Op::Constant(_)) && lifted(id))
        .collect();
    let mut done = 0;
    for some in nodes.chunks(BATCH) {
        let graph = cx.graph();
        let mut edit = Edit::new("simplify constant nodes");
        for &id in some {
            let &[Some(v)] = &graph.node(id).outputs[..] else { continue };
            let Some(t) = graph.constant(v) else { continue };
            edit.consts.push((graph.value(v).name.to_string(), t));
            edit.replaces.push((v, Ref::Const(edit.consts.len() - 1)));
            edit.removes.push(id);
        }
        if edit.removes.is_empty() {
            continue;
        }
        done += edit.removes.len();
        cx.apply(&edit)?;
        if cx.is_done() {
            break;
        }
    }
    Ok(done)
}
