//! Graphs with definitions in the place of nodes.

use std::collections::HashSet;

use super::{definition, is_defined};
use crate::graph::Graph;
use crate::op_context::OpCtx;
use crate::{Edit, Editor, NodeId, Type, ValueId, infer};

/// Most nodes that expansion may add.
pub(super) const NODES: usize = 1 << 16;

/// The edit that puts the node's definition in its place; `None` if it has none.
///
/// # Errors
/// With the reason, if the definition is unknown or cannot be moved into the graph.
pub fn in_place(
    graph: &Graph,
    node: NodeId,
    ctx: &OpCtx<'_>,
    origin: &str,
) -> Option<Result<Edit, String>> {
    let op = &graph.node(node).op;
    if !is_defined(graph, op) {
        return None;
    }
    let body = match definition(ctx) {
        Ok(Some(body)) => body,
        Ok(None) => return Some(Err("types are unknown on which its definition depends".into())),
        Err(e) => return Some(Err(e.0)),
    };
    let present: Vec<_> = graph.node(node).inputs.iter().flatten().copied().collect();
    Some(Edit::inline(graph, node, &body, &present, origin))
}

/// The graph with the definitions of all nodes in their places, as far as that is possible; `None` if
/// nothing changes. Only types that follow from the graph's inputs count, not those that a file declares.
/// Bodies of control flow stay as they are.
pub fn expanded(graph: &Graph) -> Option<Graph> {
    graph.schedule().find(|&n| is_defined(graph, &graph.node(n).op))?;
    let most = graph.len() + NODES;
    let mut all = graph.clone();
    let (mut tried, mut changed): (HashSet<NodeId>, bool) = (HashSet::new(), false);
    loop {
        let open = |&n: &NodeId| is_defined(&all, &all.node(n).op) && !tried.contains(&n);
        let todo: Vec<NodeId> = all.schedule().filter(open).collect();
        if todo.is_empty() || all.len() > most {
            return changed.then_some(all);
        }
        let types = infer::follow(&all, None);
        for n in todo {
            tried.insert(n);
            let ty = |v: ValueId| types.get(v.index()).unwrap_or(&Type::Unknown);
            let edit = in_place(&all, n, &OpCtx::with(&all, n, &ty), "expand");
            if let Some(Ok(edit)) = edit.filter(|_| all.len() <= most) {
                changed |= Editor::new(&mut all).apply(&edit).is_ok();
            }
        }
    }
}
