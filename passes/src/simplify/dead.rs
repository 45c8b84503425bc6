//! Nodes that nothing reads.

use std::collections::HashSet;

use graph_opt_ir::{Edit, EditError, Graph, NodeId};

use crate::pass::PassCtx;

/// Whether running the node can be noticed other than by its results.
pub(super) fn has_effects(graph: &Graph, id: NodeId) -> bool {
    fn random(g: &Graph) -> bool {
        g.schedule().any(|n| {
            let op = &g.node(n).op;
            op.is_random() || op.subgraphs().iter().any(|s| random(s))
        })
    }
    let op = &graph.node(id).op;
    op.is_random() || op.subgraphs().iter().any(|s| random(s))
}

pub(super) fn sweep(cx: &mut PassCtx<'_, '_>) -> Result<usize, EditError> {
    let graph = cx.graph();
    let order: Vec<NodeId> = graph.schedule().collect();
    let mut dead: HashSet<NodeId> = HashSet::new();
    for &id in order.iter().rev() {
        let unread = graph.node(id).outputs.iter().flatten().all(|&v| {
            let value = graph.value(v);
            !value.is_output() && value.uses().all(|u| dead.contains(&u.node))
        });
        if unread && cx.selected(id) && !has_effects(graph, id) {
            dead.insert(id);
        }
    }
    if dead.is_empty() {
        return Ok(0);
    }
    let mut edit = Edit::new("simplify dead code");
    edit.removes = order.into_iter().filter(|id| dead.contains(id)).collect();
    cx.apply(&edit)?;
    Ok(dead.len())
}
